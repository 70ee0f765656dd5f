#include "shared.h"

#include "sim/base/mem.h"
#include "traces/trace_image.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    char *text;
    const struct shared_kind *kind;
    void *value;    /* NULL while it is being made */
    unsigned users; /* who have it in hand */
    uint64_t used;  /* when last */
};

struct lent {
    char *path;
    void *image;
};

struct shared {
    pthread_mutex_t lock;
    pthread_cond_t made;
    struct entry **entry;
    size_t entries;
    unsigned most;
    uint64_t clock;
    struct lent *lent;
    size_t lents;
};

struct shared *shared_new(unsigned most)
{
    struct shared *s = mem_zalloc(1, sizeof *s);

    (void)pthread_mutex_init(&s->lock, NULL);
    (void)pthread_cond_init(&s->made, NULL);
    s->most = most;
    return s;
}

static void drop(struct shared *s, size_t i)
{
    struct entry *n = s->entry[i];

    if (n->value != NULL)
        n->kind->free(n->value);
    free(n->text);
    free(n);
    s->entry[i] = s->entry[--s->entries];
}

void shared_free(struct shared *s)
{
    if (s == NULL)
        return;
    while (s->entries > 0)
        drop(s, s->entries - 1);
    for (size_t i = 0; i < s->lents; i++)
        free(s->lent[i].path);
    free(s->lent);
    free(s->entry);
    (void)pthread_cond_destroy(&s->made);
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
}

/* Makes room: the one of those nobody has in hand that was used longest ago goes. */
static void trim(struct shared *s)
{
    size_t idle = 0, oldest = 0;

    for (size_t i = 0; i < s->entries; i++) {
        if (s->entry[i]->users > 0 || s->entry[i]->value == NULL)
            continue;
        if (idle++ == 0 || s->entry[i]->used < s->entry[oldest]->used)
            oldest = i;
    }
    if (idle > s->most)
        drop(s, oldest);
}

static struct entry *find(struct shared *s, const struct shared_kind *kind,
                          const char *text)
{
    for (size_t i = 0; i < s->entries; i++) {
        if (s->entry[i]->kind == kind && strcmp(s->entry[i]->text, text) == 0)
            return s->entry[i];
    }
    return NULL;
}

static struct entry *add(struct shared *s, const struct shared_kind *kind,
                         const char *text)
{
    struct entry *n = mem_zalloc(1, sizeof *n);

    n->kind = kind;
    n->text = mem_strdup(text);
    s->entry = mem_grow(s->entry, s->entries, sizeof *s->entry);
    s->entry[s->entries++] = n;
    return n;
}

static void forget(struct shared *s, const struct entry *n)
{
    for (size_t i = 0; i < s->entries; i++) {
        if (s->entry[i] == n) {
            drop(s, i);
            return;
        }
    }
}

void *shared_take(struct shared *s, const struct shared_kind *kind, const char *text,
                  void *context, struct err *e)
{
    struct entry *n;
    void *value;

    if (s == NULL)
        return kind->make(context, e);
    (void)pthread_mutex_lock(&s->lock);
    while ((n = find(s, kind, text)) != NULL && n->value == NULL)
        (void)pthread_cond_wait(&s->made, &s->lock);
    if (n == NULL) {
        n = add(s, kind, text);
        (void)pthread_mutex_unlock(&s->lock);
        value = kind->make(context, e);
        (void)pthread_mutex_lock(&s->lock);
        n->value = value;
        (void)pthread_cond_broadcast(&s->made);
    }
    value = n->value;
    n->users++;
    if (value == NULL)
        forget(s, n);
    (void)pthread_mutex_unlock(&s->lock);
    return value;
}

void shared_give_back(struct shared *s, const struct shared_kind *kind, void *value)
{
    if (value == NULL)
        return;
    if (s == NULL) {
        kind->free(value);
        return;
    }
    (void)pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->entries; i++) {
        if (s->entry[i]->value != value)
            continue;
        s->entry[i]->used = ++s->clock;
        s->entry[i]->users--;
        break;
    }
    trim(s);
    (void)pthread_mutex_unlock(&s->lock);
}

/* ---- traces ---- */

void shared_lend_trace(struct shared *s, const char *path, void *image)
{
    s->lent = mem_grow(s->lent, s->lents, sizeof *s->lent);
    s->lent[s->lents++] = (struct lent){mem_strdup(path), image};
}

struct trace *shared_open_trace(struct shared *s, const char *path, struct err *e)
{
    struct trace *t = trace_open(path, NULL, e);

    for (size_t i = 0; t != NULL && s != NULL && i < s->lents; i++) {
        if (strcmp(s->lent[i].path, path) == 0)
            trace_image_use(t, s->lent[i].image);
    }
    return t;
}
