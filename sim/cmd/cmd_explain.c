#include "cmd.h"
#include "sim/result/result.h"
#include "sim/report/explain.h"

#include <stdio.h>

int cmd_explain(int argc, char **argv)
{
    struct flag table[] = {{.name = NULL}};
    const struct command command = {
        "moesim explain RESULT",
        "Says where the time of each policy went: who waited for what in each layer,\n"
        "late prefetches, wasted bytes, queueing on the link; how far each is from the\n"
        "bounds in hits and in time; whether the policy, the working set or the\n"
        "bandwidth is to blame.",
        "moesim explain out/demo/result.h5", table};
    struct err e = {.text = ""};
    struct result r;
    int status;
    int count = flags_parse(&command, argc, argv);

    if (count < 0)
        return count == -2 ? EXIT_GOOD : EXIT_MISUSE;
    if (count != 1)
        return flags_misuse(&command, "explain takes one result file");
    if (result_read(argv[0], &r, &e) != 0)
        return cmd_fail(&e);
    status = result_explain(&r, stdout, &e) == 0 ? EXIT_GOOD : cmd_fail(&e);
    result_release(&r);
    return status;
}
