#include "busy.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Jiffies of all processors together: all, and those spent idle. */
static void read_jiffies(const char *text, double *all, double *idle)
{
    enum { FIELDS = 8, IDLE = 3, IO_WAIT = 4 };
    const char *space = strchr(text, ' ');

    *all = *idle = 0.0;
    for (int i = 0; space != NULL && i < FIELDS; i++) {
        char *end;
        double value = strtod(space, &end);

        *all += value;
        *idle += i == IDLE || i == IO_WAIT ? value : 0.0;
        space = end;
    }
}

double busy_share(const char *before, const char *after)
{
    double all, idle, all_then, idle_then;

    read_jiffies(before, &all_then, &idle_then);
    read_jiffies(after, &all, &idle);
    return all > all_then ? 1.0 - (idle - idle_then) / (all - all_then) : (double)NAN;
}
