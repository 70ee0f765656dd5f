#include "cmd.h"
#include "sim/base/file.h"
#include "sim/report/explain.h"
#include "sim/report/print_placement.h"
#include "sim/result/result.h"

#include <limits.h>
#include <stdio.h>

struct explain_flags {
    bool placement;
    const char *map, *policy;
    unsigned pass, layer; /* UINT_MAX: not given */
};

static int write_map(const struct result *r, const struct placement_choice *choice,
                     const char *from, const char *path, struct err *e)
{
    struct file_out *f =
        file_check_apart(path, from, e) == 0 ? file_out_new(path, e) : NULL;

    if (f == NULL)
        return -1;
    if (result_print_map(r, choice, file_out_stream(f), e) == 0)
        return file_out_commit(f, e);
    file_out_abandon(f);
    return -1;
}

static int explain(const struct result *r, const char *from,
                   const struct explain_flags *flags, struct err *e)
{
    const struct placement_choice choice = {
        .policy = flags->policy,
        .pass = flags->pass == UINT_MAX ? -1 : (int64_t)flags->pass,
        .layer = flags->layer == UINT_MAX ? -1 : (int64_t)flags->layer};

    if (flags->map != NULL && write_map(r, &choice, from, flags->map, e) != 0)
        return -1;
    if (flags->placement)
        return result_print_placement(r, &choice, stdout, e);
    return flags->map != NULL ? 0 : result_explain(r, stdout, e);
}

int cmd_explain(int argc, char **argv)
{
    struct explain_flags flags = {.pass = UINT_MAX, .layer = UINT_MAX};
    struct flag table[] = {
        {"--placement", 0, FLAG_SWITCH, &flags.placement, NULL,
         "of several GPUs: print which GPU held which experts of a layer"},
        {"--map", 'm', FLAG_TEXT, &flags.map, "FILE",
         "write a policy's placement as JSON, as SGLang's --init-expert-location and "
         "place: {name: file} read it"},
        {"--policy", 0, FLAG_TEXT, &flags.policy, "NAME",
         "with --placement or --map: of this policy"},
        {"--pass", 0, FLAG_NUMBER, &flags.pass, "N",
         "with --placement or --map: what was in force in pass N (default: at the end)"},
        {"--layer", 0, FLAG_NUMBER, &flags.layer, "N",
         "with --placement: of decoder layer N (default: the first with experts)"},
        {.name = NULL},
    };
    const struct command command = {
        "moesim explain RESULT [flags]",
        "Says where the time of each policy went: who waited for what in each layer,\n"
        "late prefetches, wasted bytes, queueing on the link; how far each is from the\n"
        "bounds in hits and in time; whether the policy, the working set or the\n"
        "bandwidth is to blame. Or, with flags, which GPU held which experts.",
        "moesim explain out/demo/result.h5", table};
    struct err e = {.text = ""};
    struct result r;
    int status;
    int count = flags_parse(&command, argc, argv);

    if (count < 0)
        return count == -2 ? EXIT_GOOD : EXIT_MISUSE;
    if (count != 1)
        return flags_misuse(&command, "explain takes one result file");
    if (!flags.placement && flags.map == NULL &&
        (flags.policy != NULL || flags.pass != UINT_MAX))
        return flags_misuse(&command, "--policy and --pass go with --placement or --map");
    if (!flags.placement && flags.layer != UINT_MAX)
        return flags_misuse(&command, "--layer goes with --placement");
    if (result_read(argv[0], &r, &e) != 0)
        return cmd_fail(&e);
    status = explain(&r, argv[0], &flags, &e) == 0 ? EXIT_GOOD : cmd_fail(&e);
    result_release(&r);
    return status;
}
