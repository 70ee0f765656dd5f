/* How a command ends. */
#include "cmd.h"
#include "sim/base/file.h"

#include <stdio.h>

int cmd_fail(const struct err *e)
{
    (void)fprintf(stderr, "moesim: %s\n", e->text);
    return EXIT_BAD;
}

void cmd_end_on_signals(void)
{
    file_end_on_signals("moesim: stopped by a signal\n");
}
