#define _GNU_SOURCE /* flock */

#include "sweep.h"

#include "sweep_identity.h"
#include "sim/base/file.h"
#include "sim/base/mem.h"
#include "sim/result/result.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

struct place {
    uint64_t point;
    struct hash_value frame;
};

struct sweep {
    const struct cfg *study;
    const char *folder;
    const struct experiment_folders *folders;
    struct sweep_points *points;
    struct hash_value *identity; /* [points] */
    struct place *order;         /* [points] in which they are worked on */
    char **trace;                /* [traces] paths of those that are read */
    size_t traces;
    int lock;
};

/* ---- which points ---- */

/* A point's whole configuration: without a record per pass, unless the study wants it. */
static struct cfg *config_of(const struct sweep *s, uint64_t point, struct err *e)
{
    struct cfg *c = sweep_points_config(s->points, point, e);

    if (c == NULL || cfg_find(cfg_root(c), "passes") != NULL ||
        cfg_override(c, "passes=no", e) == 0)
        return c;
    cfg_free(c);
    return NULL;
}

/* Whether the sentence is about a key of the sweep that this point does not know. */
static bool blames_key(const struct sweep *s, const struct err *e)
{
    for (size_t k = 0; k < sweep_points_keys(s->points); k++) {
        if (sweep_points_blames(s->points, k, e))
            return true;
    }
    return false;
}

/* A key may be one that only some points know, such as an option of one cache. Some have
 * to know all. */
static int check_keys(const struct sweep *s, struct err *e)
{
    enum { TRIES = 256 };
    uint64_t count = sweep_points_count(s->points);
    uint64_t tries = count < TRIES ? count : TRIES;
    struct err first = {.text = ""};

    for (uint64_t i = 0; i < tries; i++) {
        struct err why = {.text = ""};
        struct cfg *c = config_of(s, i * count / tries, &why);
        int status = c == NULL ? -1 : experiment_check(c, s->folders, &why);

        cfg_free(c);
        if (status == 0)
            return 0;
        if (first.text[0] == '\0' && blames_key(s, &why))
            first = why;
    }
    if (first.text[0] == '\0')
        return 0;
    *e = first;
    return -1;
}

static struct hash_value frame_of(const struct cfg *point)
{
    struct cfg *c = cfg_copy(cfg_root(point));
    struct hash *h = hash_new();
    struct hash_value value;
    char *text;

    cfg_remove(c, "policies");
    text = cfg_dump(c);
    hash_add_text(h, text);
    value = hash_now(h);
    hash_free(h);
    free(text);
    cfg_free(c);
    return value;
}

static int by_hash(struct hash_value a, struct hash_value b)
{
    if (a.high != b.high)
        return a.high < b.high ? -1 : 1;
    return a.low < b.low ? -1 : a.low > b.low;
}

static int by_frame(const void *a, const void *b)
{
    const struct place *p = a, *q = b;
    int order = by_hash(p->frame, q->frame);

    return order != 0 ? order : p->point < q->point ? -1 : p->point > q->point;
}

/* Notes a trace that a point reads. */
static void note_trace(struct sweep *s, const struct cfg *point, const char *key)
{
    const struct cfg_node *n = cfg_find(cfg_root(point), key);
    const char *path = n == NULL ? NULL : cfg_text(n);

    if (path == NULL || *path == '\0')
        return;
    for (size_t i = 0; i < s->traces; i++) {
        if (strcmp(s->trace[i], path) == 0)
            return;
    }
    s->trace = mem_grow(s->trace, s->traces, sizeof *s->trace);
    s->trace[s->traces++] = mem_strdup(path);
}

static int identify(struct sweep *s, struct err *e)
{
    uint64_t count = sweep_points_count(s->points);
    struct sweep_identity *ids = sweep_identity_new(s->folders);
    int status = 0;

    s->identity = mem_alloc(count, sizeof *s->identity);
    s->order = mem_alloc(count, sizeof *s->order);
    for (uint64_t p = 0; p < count && status == 0; p++) {
        struct cfg *c = config_of(s, p, e);

        if (c == NULL) {
            status = -1;
            break;
        }
        s->identity[p] = sweep_identity_of(ids, c);
        s->order[p] = (struct place){p, frame_of(c)};
        note_trace(s, c, "trace");
        note_trace(s, c, "profile");
        cfg_free(c);
    }
    if (status == 0)
        qsort(s->order, count, sizeof *s->order, by_frame);
    sweep_identity_free(ids);
    return status;
}

struct sweep *sweep_new(const struct cfg *study, const char *folder,
                        const struct experiment_folders *folders, struct err *e)
{
    struct sweep *s = mem_zalloc(1, sizeof *s);

    s->study = study;
    s->folder = folder;
    s->folders = folders;
    s->lock = -1;
    s->points = sweep_points_new(study, e);
    if (s->points != NULL && check_keys(s, e) == 0 && identify(s, e) == 0)
        return s;
    sweep_free(s);
    return NULL;
}

void sweep_free(struct sweep *s)
{
    if (s == NULL)
        return;
    if (s->lock >= 0)
        (void)close(s->lock);
    sweep_points_free(s->points);
    for (size_t i = 0; i < s->traces; i++)
        free(s->trace[i]);
    free(s->trace);
    free(s->identity);
    free(s->order);
    free(s);
}

const struct sweep_points *sweep_get_points(const struct sweep *s)
{
    return s->points;
}

size_t sweep_traces(const struct sweep *s, const char *const **path)
{
    *path = (const char *const *)s->trace;
    return s->traces;
}

struct hash_text sweep_point_name(const struct sweep *s, uint64_t point)
{
    return hash_text(s->identity[point]);
}

char *sweep_point_file(const struct sweep *s, uint64_t point, bool failed)
{
    struct hash_text name = sweep_point_name(s, point);

    return mem_format("%s/points/%.2s/%s.%s", s->folder, name.text, name.text,
                      failed ? "failed" : "h5");
}

bool sweep_point_done(const struct sweep *s, uint64_t point)
{
    char *file = sweep_point_file(s, point, false);
    bool done = access(file, F_OK) == 0;

    free(file);
    return done;
}

/* ---- the folder ---- */

static int write_text(const char *path, const char *text, struct err *e)
{
    struct file_out *f = file_out_new(path, e);

    if (f == NULL)
        return -1;
    (void)fputs(text, file_out_stream(f));
    return file_out_commit(f, e);
}

/* Whether the folder's study is this one; writes it there if nobody is at work. */
static int claim_study(const struct sweep *s, bool alone, struct err *e)
{
    enum { LIMIT = 32 << 20 };
    char *path = mem_format("%s/study.yaml", s->folder);
    char *text = cfg_dump(s->study);
    struct err ignored = {.text = ""};
    char *old = file_read(path, LIMIT, &(size_t){0}, &ignored);
    int status = 0;

    if (old == NULL || strcmp(old, text) != 0)
        status = alone ? write_text(path, text, e)
                       : err_set(e,
                                 "%s: the sweep of another study is at work there; wait "
                                 "for its end, or choose another folder",
                                 s->folder);
    free(old);
    free(text);
    free(path);
    return status;
}

/* Calls `each` with the path of everything in a folder. */
static void walk(const char *folder, void (*each)(const char *path, const char *name))
{
    DIR *d = opendir(folder);
    const struct dirent *entry;

    while (d != NULL && (entry = readdir(d)) != NULL) {
        char *path = mem_format("%s/%s", folder, entry->d_name);

        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            each(path, entry->d_name);
        free(path);
    }
    if (d != NULL)
        (void)closedir(d);
}

static void clear_file(const char *path, const char *name)
{
    size_t length = strlen(name);

    if (name[0] == '.' && length > 4 && strcmp(name + length - 4, ".tmp") == 0)
        (void)unlink(path);
}

static void clear_folder(const char *path, const char *name)
{
    (void)name;
    walk(path, clear_file);
}

/* What was being written by those who were killed. */
static void clear_abandoned(const struct sweep *s, const char *points)
{
    walk(s->folder, clear_file);
    walk(points, clear_folder);
}

int sweep_claim(struct sweep *s, struct err *e)
{
    char *points = mem_format("%s/points", s->folder);
    char *lock = mem_format("%s/.lock", s->folder);
    bool alone;
    int status = file_make_folder(points, e);

    if (status == 0) {
        s->lock = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        alone = s->lock >= 0 && flock(s->lock, LOCK_EX | LOCK_NB) == 0;
        if (s->lock < 0 || (!alone && flock(s->lock, LOCK_SH) != 0))
            status = err_set(e, "%s: %s", lock, strerror(errno));
        else
            status = claim_study(s, alone, e);
        if (status == 0 && alone)
            clear_abandoned(s, points);
        if (status == 0 && alone && flock(s->lock, LOCK_SH) != 0)
            status = err_set(e, "%s: %s", lock, strerror(errno));
    }
    free(lock);
    free(points);
    return status;
}

/* ---- work ---- */

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

/* The part's places in the order of work. */
static struct unit places_of(const struct sweep *s, const struct sweep_part *part)
{
    uint64_t count = sweep_points_count(s->points);
    uint64_t first = count * part->shard / part->shards;

    if (!part->single)
        return (struct unit){first, count * (part->shard + 1) / part->shards - first};
    for (uint64_t i = 0; i < count; i++) {
        if (s->order[i].point == part->index)
            return (struct unit){i, 1};
    }
    return (struct unit){0, 0};
}

uint64_t sweep_part_count(const struct sweep *s, const struct sweep_part *part)
{
    return places_of(s, part).count;
}

/* How many places from `first` on are of the same frame, and before `end`. */
static uint64_t frame_length(const struct sweep *s, uint64_t first, uint64_t end)
{
    uint64_t last = first + 1;

    while (last < end && by_hash(s->order[last].frame, s->order[first].frame) == 0)
        last++;
    return last - first;
}

/* Cuts the part into units, the same for every worker: whole frames as long as there is
 * much left for each worker, then less and less. */
static void cut(struct crew *c)
{
    struct unit all = places_of(c->s, &c->work->part);
    uint64_t end = all.first + all.count, workers = c->work->workers;

    for (uint64_t at = all.first; at < end;) {
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
        status = f->why != NULL ? write_text(failed, sentence, e)
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
    struct cfg *config = config_of(c->s, f->point, why);
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

static void *work(void *context)
{
    struct crew *c = context;
    uint64_t point;

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
    return NULL;
}

int sweep_run(struct sweep *s, const struct sweep_work *how, struct err *e)
{
    struct crew c = {.s = s, .work = how, .e = e};
    pthread_t *thread = mem_alloc(how->threads, sizeof *thread);
    unsigned started = 0;

    (void)pthread_mutex_init(&c.lock, NULL);
    cut(&c);
    while (started + 1 < how->threads &&
           pthread_create(&thread[started], NULL, work, &c) == 0)
        started++;
    (void)work(&c);
    while (started > 0)
        (void)pthread_join(thread[--started], NULL);
    (void)pthread_mutex_destroy(&c.lock);
    free(c.unit);
    free(thread);
    if (c.status != 0)
        return -1;
    return file_interrupted() ? 1 : 0;
}
