#include "cmd.h"
#include "sim/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

struct progress_line {
    const char *what;
    double begun, shown;
};

static double clock_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

struct progress_line *progress_new(const char *what)
{
    struct progress_line *p;

    if (!isatty(STDERR_FILENO))
        return NULL;
    p = mem_alloc(1, sizeof *p);
    p->what = what;
    p->begun = clock_seconds();
    p->shown = p->begun;
    return p;
}

void progress_show(void *line, unsigned long long done, unsigned long long total)
{
    enum { PER_SECOND = 5 };
    struct progress_line *p = line;
    double now;
    double rate;

    if (p == NULL)
        return;
    now = clock_seconds();
    if (now - p->shown < 1.0 / PER_SECOND)
        return;
    p->shown = now;
    rate = (double)done / (now - p->begun);
    if (total > done && rate > 0)
        (void)fprintf(stderr, "\r%s %3.0f %%, %.0f tokens/s, %.0f s left   \033[K",
                      p->what, 100.0 * (double)done / (double)total, rate,
                      (double)(total - done) / rate);
    else
        (void)fprintf(stderr, "\r%s %llu tokens, %.0f tokens/s   \033[K", p->what, done,
                      rate);
    (void)fflush(stderr);
}

void progress_free(struct progress_line *p)
{
    if (p == NULL)
        return;
    (void)fprintf(stderr, "\r\033[K");
    free(p);
}
