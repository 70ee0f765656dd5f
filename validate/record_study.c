/* What a baseline stores of a study: its inputs to the last number, and of each policy
 * what it did (counts, layers, which experts were loaded) and how long that took (shares,
 * operations by kind). */
#include "baseline_parts.h"
#include "tree_walk.h"

#include "models/catalogue.h"
#include "sim/base/file.h"
#include "sim/base/hash.h"
#include "sim/base/json.h"
#include "sim/base/mem.h"
#include "sim/experiment/experiment.h"
#include "sim/policy/policy.h"
#include "sim/result/result.h"
#include "sim/result/result_fields.h"
#include "traces/trace_digest.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- operations, as they come ---- */

struct kind_total {
    uint64_t count;
    sim_time time, least, most;
    sim_time launch; /* least above 0 from when what is before it on its lane was
                        launched until it was; 0: never */
};

/* Of one policy; sums, so that the order of what runs side by side is no matter. */
struct policy_total {
    struct kind_total kind[OP_KINDS];
    uint32_t *loads; /* (layer, expert) grown as layers come */
    size_t layers;
    sim_time issued[OP_LANES];
};

struct totals {
    struct policy_total *policy;
    size_t policies;
    uint32_t experts; /* room for each layer's */
};

static void add_load(struct totals *t, struct policy_total *p, uint32_t layer,
                     uint32_t expert)
{
    if (layer >= p->layers) {
        p->loads =
            mem_resize(p->loads, (size_t)(layer + 1) * t->experts, sizeof *p->loads);
        memset(p->loads + p->layers * t->experts, 0,
               (layer + 1 - p->layers) * t->experts * sizeof *p->loads);
        p->layers = layer + 1;
    }
    p->loads[(size_t)layer * t->experts + expert % t->experts]++;
}

/* Each policy's run is one thread's, and nothing else writes its totals. */
static void add_operation(void *context, uint32_t policy, op_id id, enum op_kind kind,
                          enum op_lane lane, uint32_t layer, uint32_t expert,
                          const struct op_times *times)
{
    struct totals *t = context;
    struct policy_total *p = &t->policy[policy];
    struct kind_total *k = &p->kind[kind];
    sim_time duration = times->end - times->start;
    sim_time launch = times->issued - p->issued[lane];

    (void)id;
    if (times->cancelled)
        return;
    p->issued[lane] = times->issued;
    if (launch > 0 && (k->launch == 0 || launch < k->launch))
        k->launch = launch;
    k->least = k->count == 0 || duration < k->least ? duration : k->least;
    k->most = duration > k->most ? duration : k->most;
    k->time += duration;
    k->count++;
    if (kind == OP_COPY_IN)
        add_load(t, p, layer, expert);
}

static void totals_release(struct totals *t)
{
    for (size_t i = 0; i < t->policies; i++)
        free(t->policy[i].loads);
    free(t->policy);
}

/* ---- inputs ---- */

/* At most a thousand hashes: of each request, or of so many that follow each other. */
static void put_requests(FILE *out, const struct trace *t, const struct trace_digest *d)
{
    enum { MOST = 1000 };
    const struct trace_request *request = trace_get_requests(t);
    uint64_t each = d->requests / MOST + (d->requests % MOST != 0);
    struct record_flow f;

    record_count(out, 4, "requests_a_hash", each);
    record_key(out, 4, "rows_a_hash");
    f = record_begin(out, 4, '[', ']');
    for (uint64_t i = 0; i < d->requests; i += each) {
        uint64_t rows = 0;

        for (uint64_t k = i; k < i + each && k < d->requests; k++)
            rows += request[k].rows;
        record_number(&f, NULL, rows);
    }
    record_end(&f);
    record_key(out, 4, "request");
    f = record_begin(out, 4, '[', ']');
    for (uint64_t i = 0; i < d->requests; i += each) {
        uint64_t count = d->requests - i < each ? d->requests - i : each;
        struct hash *h = hash_new();

        hash_add(h, d->request + i, count * sizeof *d->request);
        record_hash(&f, count == 1 ? d->request[i] : hash_now(h).low);
        hash_free(h);
    }
    record_end(&f);
}

static void put_trace(FILE *out, const struct trace *t, const struct trace_digest *d)
{
    const struct trace_info *info = trace_get_info(t);
    struct record_flow f;

    (void)fputs("  trace:\n", out);
    record_pair(out, 4, "digest", hash_text(d->whole).text);
    record_pair(out, 4, "model", info->model);
    record_count(out, 4, "rows", info->rows);
    record_count(out, 4, "requests", info->requests);
    record_count(out, 4, "experts", info->experts);
    record_count(out, 4, "top_k", info->top_k);
    put_requests(out, t, d);
    record_key(out, 4, "decoder_layer");
    f = record_begin(out, 4, '[', ']');
    for (uint32_t l = 0; l < info->layers; l++)
        record_number(&f, NULL, info->moe_layer[l]);
    record_end(&f);
    record_key(out, 4, "layer");
    f = record_begin(out, 4, '[', ']');
    for (uint32_t l = 0; l < d->layers; l++)
        record_hash(&f, d->layer[l]);
    record_end(&f);
}

/* Puts what `put` takes of a trace. 0 or -1. */
static int record_digest(FILE *out, const char *path,
                         void (*put)(FILE *out, const struct trace *t,
                                     const struct trace_digest *d),
                         struct err *e)
{
    struct trace *t = trace_open(path, NULL, e);
    struct trace_digest d;
    int status = t == NULL ? -1 : trace_digest(t, &d, e);

    if (status == 0) {
        put(out, t, &d);
        trace_digest_release(&d);
    }
    trace_close(t);
    return status;
}

static void put_profile(FILE *out, const struct trace *t, const struct trace_digest *d)
{
    (void)t;
    record_pair(out, 4, "profile", hash_text(d->whole).text);
}

int record_file(FILE *out, const char *key, const char *path, struct err *e)
{
    enum { LIMIT = 1 << 30 };
    struct hash *h;
    size_t size;
    char *bytes = file_read(path, LIMIT, &size, e);

    if (bytes == NULL)
        return -1;
    h = hash_new();
    hash_add(h, bytes, size);
    record_pair(out, 4, key, hash_text(hash_now(h)).text);
    hash_free(h);
    free(bytes);
    return 0;
}

static int record_files(FILE *out, const struct cfg *config, struct err *e)
{
    const char *profile = tree_text(TREE(cfg_root(config), "profile"));
    const char *requests = tree_text(TREE(cfg_root(config), "workload", "file"));
    int status = 0;

    if (*profile == '\0' && *requests == '\0')
        return 0;
    (void)fputs("  files:\n", out);
    if (*profile != '\0')
        status = record_digest(out, profile, put_profile, e);
    if (status == 0 && *requests != '\0')
        status = record_file(out, "workload.file", requests, e);
    return status;
}

int record_document(FILE *out, const char *key, struct cfg *c)
{
    static const char *const but[] = {"source", "error", "notes", "from_memory", NULL};

    if (c == NULL)
        return -1;
    (void)fprintf(out, "  %s:\n", key);
    record_flat(out, 4, cfg_root(c), but);
    cfg_free(c);
    return 0;
}

/* The model or machine of a study, as it is with the numbers that the study replaces. */
static int record_changed(FILE *out, const char *key, enum file_kind kind,
                          const struct cfg *config, const char *otherwise,
                          const char *folder, struct err *e)
{
    char *changed = NULL;
    int status =
        record_document(out, key,
                        catalogue_load_changed(kind, cfg_find(cfg_root(config), key),
                                               otherwise, folder, &changed, e));

    free(changed);
    return status;
}

static int record_inputs(FILE *out, const struct cfg *config, const struct result *r,
                         const struct experiment_folders *folders, struct err *e)
{
    static const char *const all[] = {NULL};

    if (record_digest(out, tree_text(TREE(cfg_root(config), "trace")), put_trace, e) !=
            0 ||
        record_files(out, config, e) != 0 ||
        record_changed(out, "machine", FILE_MACHINE, config, NULL, folders->machines,
                       e) != 0 ||
        record_changed(out, "model", FILE_MODEL, config, r->model, folders->models, e) !=
            0)
        return -1;
    (void)fputs("  config:\n", out);
    record_flat(out, 4, cfg_root(config), all);
    return 0;
}

/* ---- outcomes ---- */

static uint64_t field_value(const struct result_field *f, const void *of)
{
    const char *at = (const char *)of + f->offset;
    uint64_t u64;
    uint32_t u32;
    uint16_t u16;

    switch (result_field_size(f)) {
    case 8:
        memcpy(&u64, at, sizeof u64);
        return u64;
    case 4:
        memcpy(&u32, at, sizeof u32);
        return u32;
    case 2:
        memcpy(&u16, at, sizeof u16);
        return u16;
    default:
        return *(const unsigned char *)at;
    }
}

/* Times, and what only they tell. */
static bool is_timed(const struct result_field *f)
{
    return f->kind == RESULT_TIME || f->kind == RESULT_TIMED;
}

static void put_fields(FILE *out, const char *key, const struct result_field *f,
                       const void *of, bool timed)
{
    struct record_flow flow;

    record_key(out, 6, key);
    flow = record_begin(out, 6, '{', '}');
    for (; f->name != NULL; f++) {
        uint64_t value = field_value(f, of);

        if (is_timed(f) == timed && strcmp(f->name, "digest") != 0 &&
            value != RESULT_NONE)
            record_number(&flow, f->name, value);
    }
    record_end(&flow);
}

static void put_figure(struct record_flow *f, const char *key, double value)
{
    struct mem_stream m;
    char *text;

    if (!isfinite(value))
        return;
    mem_stream_open(&m);
    (void)fprintf(m.out, "%s: ", key);
    json_number(m.out, value);
    text = mem_stream_close(&m);
    record_item(f, text);
    free(text);
}

static void put_figures(FILE *out, const struct result_policy *p)
{
    struct result_summary s = result_summarise(p);
    struct record_flow f;

    record_key(out, 6, "figures");
    f = record_begin(out, 6, '{', '}');
    put_figure(&f, "tpot_p50_s", s.tpot_p50);
    put_figure(&f, "tpot_p99_s", s.tpot_p99);
    put_figure(&f, "ttft_p50_s", s.ttft_p50);
    put_figure(&f, "ttft_p99_s", s.ttft_p99);
    put_figure(&f, "tokens_per_s", s.tokens_per_s);
    record_end(&f);
}

/* `alone`: on one GPU, so that its operations are the only ones on their lanes. */
static void put_operations(FILE *out, const struct policy_total *t, bool alone)
{
    (void)fputs("      operations:\n", out);
    for (int k = 0; k < OP_KINDS; k++) {
        const struct kind_total *kind = &t->kind[k];
        struct record_flow f;

        if (kind->count == 0)
            continue;
        record_key(out, 8, op_kind_name((enum op_kind)k));
        f = record_begin(out, 8, '{', '}');
        record_number(&f, "number", kind->count);
        record_number(&f, "total_ps", (uint64_t)kind->time);
        record_number(&f, "shortest_ps", (uint64_t)kind->least);
        record_number(&f, "longest_ps", (uint64_t)kind->most);
        if (alone && kind->launch > 0)
            record_number(&f, "launch_ps", (uint64_t)kind->launch);
        record_end(&f);
    }
}

/* A list over the layers of every count that some layer has. */
static void put_layers(FILE *out, const struct run_result *run)
{
    (void)fputs("      layers:\n", out);
    for (const struct result_field *f = result_layer_fields; f->name != NULL; f++) {
        struct record_flow flow;
        bool any = false;

        for (uint32_t l = 0; l < run->layers; l++)
            any = any || field_value(f, &run->layer[l]) != 0;
        if (!any || (run->counts_only && is_timed(f)))
            continue;
        record_key(out, 8, f->name);
        flow = record_begin(out, 8, '[', ']');
        for (uint32_t l = 0; l < run->layers; l++)
            record_number(&flow, NULL, field_value(f, &run->layer[l]));
        record_end(&flow);
    }
}

static void put_loads(FILE *out, const struct totals *t, const struct policy_total *p,
                      uint32_t layers)
{
    uint32_t *none = mem_zalloc(t->experts, sizeof *none);
    struct record_flow f;

    record_key(out, 6, "loaded");
    f = record_begin(out, 6, '[', ']');
    for (uint32_t l = 0; l < layers; l++) {
        struct hash *h = hash_new();

        hash_add(h, l < p->layers ? p->loads + (size_t)l * t->experts : none,
                 t->experts * sizeof *none);
        record_hash(&f, hash_now(h).low);
        hash_free(h);
    }
    record_end(&f);
    free(none);
}

static void put_policy(FILE *out, const struct result_policy *p, const struct totals *t,
                       const struct policy_total *total)
{
    char digest[24];

    (void)fputs("    - label: ", out);
    record_text(out, p->label);
    (void)fputs("\n      made_of:\n", out);
    for (int s = 0; s < POLICY_SLOTS; s++)
        record_pair(out, 8, policy_slot_name((enum policy_slot)s), p->description[s]);
    record_pair(out, 8, "engine", p->event_driven ? "event" : "fifo");
    record_pair(out, 8, "launch", p->graph ? "graph" : "eager");
    put_fields(out, "counts", result_policy_fields, p, false);
    if (!p->run.counts_only) {
        put_figures(out, p);
        put_fields(out, "times", result_policy_fields, p, true);
        put_operations(out, total, p->run.gpus <= 1);
        (void)snprintf(digest, sizeof digest, "x%016" PRIx64, p->run.digest);
        record_pair(out, 6, "digest", digest);
        put_loads(out, t, total, p->run.layers);
    }
    put_layers(out, &p->run);
}

/* ---- the whole ---- */

static int run(const struct baseline *b, const struct baseline_world *w,
               struct cfg *config, FILE *out, struct err *e)
{
    const struct cfg_node *policies = cfg_find(cfg_root(config), "policies");
    size_t count = policies == NULL ? 0 : cfg_count(policies);
    struct totals t = {.policies = count, .experts = TRACE_MAX_EXPERTS};
    struct experiment_hooks hooks = {.progress = w->progress,
                                     .context = w->context,
                                     .operation = add_operation,
                                     .operation_context = &t};
    struct result r;
    int status;

    t.policy = mem_zalloc(count + 1, sizeof *t.policy);
    status = experiment_run(config, w->folders, w->threads, &hooks, &r, e);
    if (status == 0) {
        status = record_inputs(out, config, &r, w->folders, e);
        (void)fputs("  policies:\n", out);
        for (uint32_t i = 0; i < r.policies; i++)
            put_policy(out, &r.policy[i], &t, &t.policy[i]);
        if (status == 0 && b->measured != NULL)
            status = record_accuracy(b, &r, out, e);
    }
    if (status >= 0)
        result_release(&r);
    totals_release(&t);
    return status;
}

int record_study(const struct baseline *b, const struct baseline_world *w, FILE *out,
                 struct err *e)
{
    char *path = baseline_path(b->path, b->study);
    struct cfg *config = w->load(path, b->set, b->path, e);
    int status = config == NULL ? -1 : run(b, w, config, out, e);

    cfg_free(config);
    free(path);
    return status;
}
