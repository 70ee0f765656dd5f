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

/* A few times a second at most. */
static bool is_due(struct progress_line *p)
{
    enum { PER_SECOND = 5 };
    const double now = clock_seconds();

    if (now - p->shown < 1.0 / PER_SECOND)
        return false;
    p->shown = now;
    return true;
}

static void show(struct progress_line *p, const char *unit, int digits,
                 unsigned long long done, unsigned long long total)
{
    double rate;

    if (p == NULL || !is_due(p))
        return;
    rate = (double)done / (p->shown - p->begun);
    if (total > done && rate > 0)
        (void)fprintf(stderr, "\r%s %3.0f %%, %.*f %s/s, %.0f s left   \033[K", p->what,
                      100.0 * (double)done / (double)total, digits, rate, unit,
                      (double)(total - done) / rate);
    else
        (void)fprintf(stderr, "\r%s %llu %s, %.*f %s/s   \033[K", p->what, done, unit,
                      digits, rate, unit);
    (void)fflush(stderr);
}

void progress_show(void *line, unsigned long long done, unsigned long long total)
{
    show(line, "tokens", 0, done, total);
}

void progress_points(void *line, unsigned long long done, unsigned long long total)
{
    show(line, "points", 1, done, total);
}

void progress_part(void *line, const char *part, unsigned long long done,
                   unsigned long long total)
{
    struct progress_line *p = line;

    if (p == NULL || !is_due(p))
        return;
    (void)fprintf(stderr, "\r%s %s, %llu of %llu, %.0f s   \033[K", p->what, part, done,
                  total, p->shown - p->begun);
    (void)fflush(stderr);
}

void progress_free(struct progress_line *p)
{
    if (p == NULL)
        return;
    (void)fprintf(stderr, "\r\033[K");
    free(p);
}
