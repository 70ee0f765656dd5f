#define _GNU_SOURCE /* flock */

#include "sweep_state.h"

#include "sweep_identity.h"
#include "sim/base/file.h"
#include "sim/base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

/* ---- which points ---- */

struct cfg *sweep_config(const struct sweep *s, uint64_t point, struct err *e)
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
 * to know all. And where all points would say the same, it is said once. */
static int check_keys(const struct sweep *s, struct err *e)
{
    enum { TRIES = 256 };
    uint64_t count = sweep_points_count(s->points);
    uint64_t tries = count < TRIES ? count : TRIES;
    struct err blamed = {.text = ""}, first = {.text = ""};
    bool alike = true;

    for (uint64_t i = 0; i < tries; i++) {
        struct err why = {.text = ""};
        struct cfg *c = sweep_config(s, i * count / tries, &why);
        int status = c == NULL ? -1 : experiment_check(c, s->folders, NULL, &why);

        cfg_free(c);
        if (status == 0)
            return 0;
        if (i == 0)
            first = why;
        if (blamed.text[0] == '\0' && blames_key(s, &why))
            blamed = why;
        alike = alike && strcmp(first.text, why.text) == 0;
    }
    if (blamed.text[0] == '\0' && !alike)
        return 0;
    *e = blamed.text[0] != '\0' ? blamed : first;
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

int sweep_by_hash(struct hash_value a, struct hash_value b)
{
    if (a.high != b.high)
        return a.high < b.high ? -1 : 1;
    return a.low < b.low ? -1 : a.low > b.low;
}

static int by_frame(const void *a, const void *b)
{
    const struct place *p = a, *q = b;
    int order = sweep_by_hash(p->frame, q->frame);

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

/* Finds identity and place of a point. */
static int identify(struct sweep *s, struct sweep_identity *ids, struct place *place,
                    uint64_t point, struct err *e)
{
    struct cfg *c = sweep_config(s, point, e);

    if (c == NULL)
        return -1;
    s->identity[point] = sweep_identity_of(ids, c);
    *place = (struct place){point, frame_of(c)};
    cfg_free(c);
    return 0;
}

int sweep_identify(struct sweep *s, const struct sweep_part *part, struct shared *shared,
                   struct err *e)
{
    struct sweep_identity *ids = sweep_identity_new(s->folders, shared);
    uint64_t count = sweep_points_count(s->points);
    uint64_t first = part->single ? part->index : 0;
    int status = 0;

    s->part = part->single ? 1 : count;
    s->identity = mem_alloc(count, sizeof *s->identity);
    s->order = mem_alloc(s->part, sizeof *s->order);
    for (uint64_t i = 0; i < s->part && status == 0; i++) {
        if (file_interrupted())
            status = err_set(e, "stopped by a signal, before the first point");
        else
            status = identify(s, ids, &s->order[i], first + i, e);
    }
    sweep_identity_free(ids);
    if (status != 0)
        return -1;
    qsort(s->order, s->part, sizeof *s->order, by_frame);
    if (!part->single) {
        first = count * part->shard / part->shards;
        s->part = count * (part->shard + 1) / part->shards - first;
        memmove(s->order, s->order + first, s->part * sizeof *s->order);
    }
    return 0;
}

/* The traces that points name; each value of a key that is one counts, whether or not its
 * points are in the part. */
static void find_traces(struct sweep *s)
{
    uint64_t count = sweep_points_count(s->points), tries = count < 4096 ? count : 4096;
    struct err ignored = {.text = ""};

    for (uint64_t i = 0; i < tries; i++) {
        struct cfg *c = sweep_config(s, i * count / tries, &ignored);

        if (c == NULL)
            continue;
        note_trace(s, c, "trace");
        note_trace(s, c, "profile");
        cfg_free(c);
    }
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
    if (s->points != NULL && check_keys(s, e) == 0) {
        find_traces(s);
        return s;
    }
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

uint64_t sweep_part_count(const struct sweep *s)
{
    return s->part;
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

int sweep_write_text(const char *path, const char *text, struct err *e)
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
        status = alone ? sweep_write_text(path, text, e)
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

/* Whether an entry is a temporary of a file of a sweep: of a point, the study, a table.
 */
static bool is_temporary(const char *entry)
{
    static const char *const files[] = {"study.yaml", "sweep.csv", "sweep.h5"};
    enum { DIGITS = sizeof(struct hash_text) - 1 };
    long process;
    size_t length = file_temporary_of(entry, &process);

    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        if (length == strlen(files[i]) && strncmp(entry + 1, files[i], length) == 0)
            return true;
    }
    return length > DIGITS && strspn(entry + 1, "0123456789abcdef") == DIGITS;
}

static void clear_file(const char *path, const char *name)
{
    if (is_temporary(name))
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

uint64_t sweep_part_point(const struct sweep *s, uint64_t i)
{
    return s->order[i].point;
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
