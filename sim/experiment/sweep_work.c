/* The work of a sweep: points dealt out to threads and programs, run, and kept. */
#include "sweep_state.h"

#include "sim/base/file.h"
#include "sim/base/mem.h"
#include "sim/base/pool.h"
#include "sim/result/result.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct unit {
    uint64_t first, count; /* places in the order of work */
};

/* Shared by the threads of a program. */
struct crew {
    struct sweep *s;
    const struct sweep_work *work;
    pthread_mutex_t lock;
    struct unit *unit;
    uint64_t units;
    struct unit now; /* what is left of the one that was taken last */
    bool ended;
    int status;
    struct err *e;
};

/* How many places from `first` on are of the same frame, and before `end`. */
static uint64_t frame_length(const struct sweep *s, uint64_t first, uint64_t end)
{
    uint64_t last = first + 1;

    while (last < end && sweep_by_hash(s->order[last].frame, s->order[first].frame) == 0)
        last++;
    return last - first;
}

/* Cuts the part into units, the same for every worker: whole frames as long as there is
 * much left for each worker, then less and less. */
static void cut(struct crew *c)
{
    uint64_t end = c->s->part, workers = c->work->workers;

    for (uint64_t at = 0; at < end;) {
        uint64_t most = (end - at) / (4 * workers);
        uint64_t frame = frame_length(c->s, at, end);

        if (most == 0)
            most = 1;
        if (workers == 1 || frame < most)
            most = frame;
        c->unit = mem_grow(c->unit, c->units, sizeof *c->unit);
        c->unit[c->units++] = (struct unit){at, most};
        at += most;
    }
}

/* The next point to work on; false: there is none. */
static bool next_point(struct crew *c, uint64_t *point)
{
    bool found = false;

    (void)pthread_mutex_lock(&c->lock);
    while (!c->ended && c->now.count == 0) {
        uint64_t number = c->work->take(c->work->context);

        if (number < c->units)
            c->now = c->unit[number];
        else
            c->ended = true;
    }
    if (!c->ended && !file_interrupted()) {
        *point = c->s->order[c->now.first++].point;
        c->now.count--;
        found = true;
    }
    (void)pthread_mutex_unlock(&c->lock);
    return found;
}

static double clock_seconds(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Makes the folder of a point's files, and writes the result or the sentence. */
static int keep(const struct sweep *s, const struct sweep_finished *f, struct err *e)
{
    char *result = sweep_point_file(s, f->point, false);
    char *failed = sweep_point_file(s, f->point, true);
    char *folder = mem_format("%.*s", (int)(strrchr(result, '/') - result), result);
    char *sentence = f->why == NULL ? NULL : mem_format("%s\n", f->why);
    int status = file_make_folder(folder, e);

    if (status == 0)
        status = f->why != NULL ? sweep_write_text(failed, sentence, e)
                                : result_write(f->r, result, e);
    if (status == 0 && f->why == NULL)
        (void)unlink(failed); /* of an earlier try */
    free(sentence);
    free(folder);
    free(failed);
    free(result);
    return status;
}

/* Runs a point. 0, 1 if a signal stopped it, -1. */
static int run_point(struct crew *c, struct sweep_finished *f, struct result *r,
                     struct err *why)
{
    struct experiment_hooks hooks = {.shared = c->work->shared};
    struct cfg *config = sweep_config(c->s, f->point, why);
    int status = -1;

    if (config != NULL)
        status = experiment_run(config, c->s->folders, 1, &hooks, r, why);
    cfg_free(config);
    return status;
}

static int finish_point(struct crew *c, uint64_t point, struct err *e)
{
    double begun = clock_seconds();
    struct sweep_finished f = {.point = point, .outcome = SWEEP_WAS_DONE};
    struct err why = {.text = ""};
    struct result r;
    int status = 0;

    if (!sweep_point_done(c->s, point)) {
        int ran = run_point(c, &f, &r, &why);

        if (ran == 1) {
            result_release(&r);
            return 1;
        }
        f.outcome = ran == 0 ? SWEEP_DONE : SWEEP_FAILED;
        f.why = ran == 0 ? NULL : why.text;
        f.r = ran == 0 ? &r : NULL;
        status = keep(c->s, &f, e);
        f.seconds = clock_seconds() - begun;
    }
    if (status == 0) {
        (void)pthread_mutex_lock(&c->lock);
        c->work->finished(c->work->context, &f);
        (void)pthread_mutex_unlock(&c->lock);
    }
    if (f.r != NULL)
        result_release(&r);
    return status;
}

/* One of the threads. */
static void work(void *context, size_t thread)
{
    struct crew *c = context;
    uint64_t point;

    (void)thread;
    while (next_point(c, &point)) {
        struct err e = {.text = ""};
        int status = finish_point(c, point, &e);

        if (status == 0)
            continue;
        (void)pthread_mutex_lock(&c->lock);
        c->ended = true;
        if (status < 0 && c->status == 0) {
            c->status = -1;
            *c->e = e;
        }
        (void)pthread_mutex_unlock(&c->lock);
    }
}

int sweep_run(struct sweep *s, const struct sweep_work *how, struct err *e)
{
    struct crew c = {.s = s, .work = how, .e = e};

    (void)pthread_mutex_init(&c.lock, NULL);
    cut(&c);
    pool_run(how->threads, how->threads, work, &c);
    (void)pthread_mutex_destroy(&c.lock);
    free(c.unit);
    if (c.status != 0)
        return -1;
    return file_interrupted() ? 1 : 0;
}
