#include "sweep_identity.h"

#include "models/catalogue.h"
#include "sim/base/file.h"
#include "sim/base/mem.h"
#include "traces/trace_digest.h"

#include <stdlib.h>
#include <string.h>

struct known {
    char *path;
    struct hash_value hash;
    char *model; /* that a trace names; else NULL */
};

struct sweep_identity {
    const struct experiment_folders *folders;
    struct shared *shared;
    struct known *known;
    size_t count;
};

struct sweep_identity *sweep_identity_new(const struct experiment_folders *folders,
                                          struct shared *shared)
{
    struct sweep_identity *s = mem_zalloc(1, sizeof *s);

    s->folders = folders;
    s->shared = shared;
    return s;
}

void sweep_identity_free(struct sweep_identity *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->count; i++) {
        free(s->known[i].path);
        free(s->known[i].model);
    }
    free(s->known);
    free(s);
}

/* Fills in what is known of a file, whose path is there. */
typedef void reader(const struct sweep_identity *s, struct known *k);

static void read_trace(const struct sweep_identity *s, struct known *k)
{
    struct err ignored = {.text = ""};
    struct trace *t = shared_open_trace(s->shared, k->path, &ignored);
    struct trace_digest d = {.requests = 0};

    if (t != NULL && trace_digest(t, &d, &ignored) == 0) {
        k->hash = d.whole;
        k->model = mem_strdup(trace_get_info(t)->model);
    }
    trace_digest_release(&d);
    trace_close(t);
}

static void read_text(const struct sweep_identity *s, struct known *k)
{
    enum { LIMIT = 16 << 20 };
    struct err ignored = {.text = ""};
    size_t size = 0;
    char *text = file_read(k->path, LIMIT, &size, &ignored);
    struct hash *h = hash_new();

    (void)s;
    if (text != NULL)
        hash_add(h, text, size);
    k->hash = hash_now(h);
    hash_free(h);
    free(text);
}

/* What is known of a file, read once. Until the next call. */
static const struct known *look_up(struct sweep_identity *s, const char *path,
                                   reader *read)
{
    for (size_t i = 0; i < s->count; i++) {
        if (strcmp(s->known[i].path, path) == 0)
            return &s->known[i];
    }
    s->known = mem_grow(s->known, s->count, sizeof *s->known);
    s->known[s->count] = (struct known){.path = mem_strdup(path)};
    read(s, &s->known[s->count]);
    return &s->known[s->count++];
}

/* Puts the hash of what a file holds in the place of its path. */
static void replace(struct cfg *c, const struct cfg_node *n, struct hash_value v)
{
    cfg_set_text(c, n, hash_text(v).text);
}

static void replace_file(struct sweep_identity *s, struct cfg *c,
                         const struct cfg_node *below, const char *key, reader *read)
{
    const struct cfg_node *n = below == NULL ? NULL : cfg_find(below, key);

    if (n != NULL && cfg_text(n) != NULL && *cfg_text(n) != '\0')
        replace(c, n, look_up(s, cfg_text(n), read)->hash);
}

/* The same for what is found by name or path; the name stays out of it, too. */
static void replace_named(struct sweep_identity *s, struct cfg *c,
                          const struct cfg_node *below, const char *key,
                          const char *folder)
{
    const struct cfg_node *n = cfg_find(below, key);
    const char *name;
    char *path;

    if (n != NULL && cfg_is_map(n))
        n = cfg_find(n, "name");
    name = n == NULL ? NULL : cfg_text(n);
    if (name == NULL || *name == '\0')
        return;
    path = catalogue_path(name, folder);
    replace(c, n, look_up(s, path, read_text)->hash);
    free(path);
}

/* The model that only the trace names. */
static void add_model(struct sweep_identity *s, const struct cfg *point, struct hash *h)
{
    const struct cfg_node *root = cfg_root(point), *model = cfg_find(root, "model");
    const struct cfg_node *trace = cfg_find(root, "trace");
    const char *name;
    char *path;

    if (model != NULL && (!cfg_is_map(model) || cfg_find(model, "name") != NULL))
        return;
    if (trace == NULL || cfg_text(trace) == NULL)
        return;
    name = look_up(s, cfg_text(trace), read_trace)->model;
    if (name == NULL)
        return;
    path = catalogue_path(name, s->folders->models);
    hash_add_text(h, hash_text(look_up(s, path, read_text)->hash).text);
    free(path);
}

struct hash_value sweep_identity_of(struct sweep_identity *s, const struct cfg *point)
{
    struct cfg *c = cfg_copy(cfg_root(point));
    const struct cfg_node *root = cfg_root(c), *policies = cfg_find(root, "policies");
    struct hash *h = hash_new();
    struct hash_value value;
    char *text;

    replace_file(s, c, root, "trace", read_trace);
    replace_file(s, c, root, "profile", read_trace);
    replace_file(s, c, cfg_find(root, "workload"), "file", read_text);
    replace_named(s, c, root, "model", s->folders->models);
    replace_named(s, c, root, "machine", s->folders->machines);
    for (size_t i = 0; policies != NULL && i < cfg_count(policies); i++) {
        const struct cfg_node *p = cfg_item(policies, i);

        replace_named(s, c, p, "preset", s->folders->presets);
        replace_file(s, c, cfg_find(p, "place"), "file", read_text);
    }
    text = cfg_dump(c);
    hash_add_text(h, "moesim " MOESIM_VERSION);
    hash_add_text(h, text);
    add_model(s, point, h);
    value = hash_now(h);
    hash_free(h);
    free(text);
    cfg_free(c);
    return value;
}
