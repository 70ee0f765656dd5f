#include "largest.h"

#include "sim/base/mem.h"
#include "sim/base/pool.h"
#include "sim/base/text.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_BATCH = 1000000 }; /* as workload.batch has it */

struct search {
    const struct cfg *study;
    const struct experiment_folders *folders;
    struct shared *shared;
    bool continuous;
    uint64_t most; /* requests of the trace that may be taken */
    struct largest *found;
    int *status; /* [policies] */
};

/* The study without what stands for many runs. Owned. */
static struct cfg *plain_study(const struct cfg *study)
{
    struct cfg *c = cfg_copy(cfg_root(study));

    cfg_remove(c, "sweep");
    cfg_remove(c, "tune");
    return c;
}

static int put(struct cfg *c, const char *key, uint64_t value, struct err *e)
{
    char *text = mem_format("%s=%llu", key, (unsigned long long)value);
    int status = cfg_override(c, text, e);

    free(text);
    return status;
}

/* The study with one policy and a batch. Owned, or NULL. */
static struct cfg *with_batch(const struct search *s, size_t policy, uint64_t batch,
                              struct err *e)
{
    struct cfg *c = plain_study(s->study);
    int status;

    cfg_keep_item(c, "policies", policy);
    if (s->continuous) {
        status = put(c, "workload.max_sequences", batch, e);
    } else {
        status = put(c, "workload.batch", batch, e);
        if (status == 0)
            status = put(c, "workload.requests", batch, e);
    }
    if (status == 0 && cfg_override(c, "bounds=no", e) == 0 &&
        cfg_override(c, "passes=no", e) == 0)
        return c;
    cfg_free(c);
    return NULL;
}

static int refuse(const struct result *r, const struct run_memory *m, struct err *why)
{
    struct text_sizes size = text_sizes(run_memory_bytes(m), r->gpu_memory_bytes);

    return err_set(why,
                   "a GPU has %s in use (weights %s, staging %s, KV cache %s, "
                   "activations %s), of %s",
                   size.a, text_bytes((double)m->weights).text,
                   text_bytes((double)m->buffers).text, text_bytes((double)m->kv).text,
                   text_bytes((double)m->activations).text, size.b);
}

/* Tries a batch: 0 it fits, and the figures are its; 1 stopped; -1 it does not. */
static int try_batch(const struct search *s, size_t policy, uint64_t batch,
                     struct err *why)
{
    struct experiment_hooks hooks = {.shared = s->shared};
    struct largest *l = &s->found[policy];
    struct cfg *c = with_batch(s, policy, batch, why);
    struct result r;
    int status = c == NULL ? -1 : experiment_run(c, s->folders, 1, &hooks, &r, why);

    cfg_free(c);
    if (status < 0)
        return -1;
    l->runs++;
    if (status == 0) {
        const struct run_memory *m = &r.policy[0].run.total.memory;

        if (run_memory_bytes(m) > r.gpu_memory_bytes) {
            status = refuse(&r, m, why);
        } else {
            l->batch = batch;
            l->memory = *m;
            l->room_bytes = r.gpu_memory_bytes;
            result_figures(&r, &r.policy[0], l->figure);
        }
    }
    result_release(&r);
    return status;
}

/* Notes why a batch does not fit. */
static void note(struct largest *l, const struct err *why)
{
    free(l->why);
    l->why = mem_strdup(why->text);
}

static int search_policy(const struct search *s, size_t policy)
{
    struct largest *l = &s->found[policy];
    uint64_t beyond = s->most + 1, batch = 1;

    while (l->batch + 1 < beyond) {
        struct err why = {.text = ""};
        int status = try_batch(s, policy, batch, &why);

        if (status == 1)
            return 1;
        if (status < 0) {
            beyond = batch;
            note(l, &why);
        }
        if (beyond <= s->most)
            batch = l->batch + (beyond - l->batch) / 2;
        else
            batch = 2 * batch < s->most ? 2 * batch : s->most;
    }
    l->all = l->batch == s->most;
    return 0;
}

static void search_nth(void *context, size_t policy)
{
    struct search *s = context;

    s->status[policy] = search_policy(s, policy);
}

/* What is known of the study with its smallest batch, by the first policy that can run.
 */
static int look(struct search *s, size_t policies, struct err *e)
{
    const struct cfg_node *workload = cfg_find(cfg_root(s->study), "workload");
    const struct cfg_node *mode = workload == NULL ? NULL : cfg_find(workload, "mode");
    struct experiment_facts facts = {.requests = 0};
    int status = -1;

    s->continuous = mode != NULL && cfg_text(mode) != NULL &&
                    strcmp(cfg_text(mode), "continuous") == 0;
    if (mode != NULL && cfg_text(mode) != NULL && strcmp(cfg_text(mode), "recorded") == 0)
        return cfg_error(mode, e,
                         "recorded passes have the batch that was recorded; choose mode: "
                         "static or continuous");
    for (size_t i = 0; i < policies && status != 0; i++) {
        struct cfg *c = plain_study(s->study);
        struct err why = {.text = ""};

        cfg_keep_item(c, "policies", i);
        status =
            put(c, s->continuous ? "workload.max_sequences" : "workload.batch", 1, &why);
        if (status == 0)
            status = experiment_check(c, s->folders, &facts, &why);
        if (status != 0 && i == 0)
            *e = why;
        cfg_free(c);
    }
    s->most = facts.requests < MOST_BATCH ? facts.requests : MOST_BATCH;
    if (status == 0)
        *e = (struct err){.text = ""};
    return status;
}

int largest_find(const struct cfg *study, const struct experiment_folders *folders,
                 struct shared *shared, unsigned threads, struct largest **found,
                 size_t *count, struct err *e)
{
    const struct cfg_node *policies = cfg_find(cfg_root(study), "policies");
    struct search s = {.study = study, .folders = folders, .shared = shared};
    int status = 0;

    *found = NULL;
    *count = 0;
    if (policies == NULL || !cfg_is_list(policies) || cfg_count(policies) == 0)
        return cfg_error(cfg_root(study), e,
                         "there is no list 'policies'; add such as policies: "
                         "[lru-on-demand]");
    if (look(&s, cfg_count(policies), e) != 0)
        return -1;
    *count = cfg_count(policies);
    *found = s.found = mem_zalloc(*count, sizeof *s.found);
    s.status = mem_zalloc(*count, sizeof *s.status);
    for (size_t i = 0; i < *count; i++)
        s.found[i].policy = experiment_policy_name(policies, i);
    pool_run(threads, *count, search_nth, &s);
    for (size_t i = 0; i < *count; i++)
        status = s.status[i] != 0 ? s.status[i] : status;
    free(s.status);
    return status;
}

void largest_free(struct largest *l, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(l[i].policy);
        free(l[i].why);
    }
    free(l);
}
