#include "made_result.h"

#include "sim/base/file.h"
#include "sim/base/mem.h"
#include "sim/base/plain.h"
#include "sim/base/rng.h"
#include "sim/base/text.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void draw_counts(struct rng *g, struct run_counts *c)
{
    c->hits = 500 + rng_below(g, 500);
    c->loads = 100 + rng_below(g, 300);
    c->bypasses = rng_below(g, 50);
    c->host_runs = rng_below(g, 30);
    c->near_runs = c->host_runs / 3;
    c->low_loads = c->loads / 9;
    c->low_uses = 2 * c->low_loads;
    c->accesses = c->hits + c->loads + c->bypasses + run_in_place(c);
    c->activations = 2 * c->accesses;
    c->dropped = rng_below(g, 3);
    c->prefetches = 60 + rng_below(g, 90);
    c->prefetch_used = rng_below(g, 60);
    c->late = c->prefetch_used / 3;
    c->displaced = c->loads / 7;
    c->swaps = c->loads / 3;
    c->demand_bytes = (c->loads + c->bypasses) * 13230080;
    c->prefetch_bytes = c->prefetches * 13230080;
    c->wasted_bytes = (c->prefetches - c->prefetch_used) * 13230080;
    c->out_bytes = rng_below(g, 5) * 13230080;
    c->expert_gemms = rng_below(g, 50);
}

static void add_counts(struct run_counts *to, const struct run_counts *c)
{
    to->hits += c->hits;
    to->loads += c->loads;
    to->swaps += c->swaps;
    to->bypasses += c->bypasses;
    to->host_runs += c->host_runs;
    to->near_runs += c->near_runs;
    to->low_uses += c->low_uses;
    to->low_loads += c->low_loads;
    to->accesses += c->accesses;
    to->activations += c->activations;
    to->dropped += c->dropped;
    to->prefetches += c->prefetches;
    to->prefetch_used += c->prefetch_used;
    to->displaced += c->displaced;
    to->late += c->late;
    to->demand_bytes += c->demand_bytes;
    to->prefetch_bytes += c->prefetch_bytes;
    to->wasted_bytes += c->wasted_bytes;
    to->out_bytes += c->out_bytes;
    to->expert_gemms += c->expert_gemms;
    to->computed_rows += c->computed_rows;
    to->busiest_rows += c->busiest_rows;
    to->sent_rows += c->sent_rows;
    to->sent_bytes += c->sent_bytes;
    to->migrations += c->migrations;
    to->migrated_bytes += c->migrated_bytes;
}

/* What several GPUs have, of a step or of more. */
static void draw_parallel(struct rng *g, uint32_t gpus, struct run_counts *c)
{
    c->computed_rows = c->activations + c->activations / 4;
    c->busiest_rows = c->computed_rows / gpus * 3 / 2;
    c->sent_rows = c->activations / 2;
    c->sent_bytes = c->sent_rows * 5760;
    c->migrations = rng_below(g, 4);
    c->migrated_bytes = c->migrations * 13230080;
}

static sim_time draw_time(struct rng *g, double seconds)
{
    return sim_time_of_seconds(seconds * (0.5 + rng_unit(g)));
}

static void make_layers(struct rng *g, struct run_result *run, uint32_t layers,
                        uint32_t gpus)
{
    run->layers = layers;
    run->layer = mem_zalloc(layers, sizeof *run->layer);
    for (uint32_t l = 0; l < layers; l++) {
        struct run_layer *y = &run->layer[l];

        draw_counts(g, &y->counts);
        if (gpus > 0)
            draw_parallel(g, gpus, &y->counts);
        add_counts(&run->total.counts, &y->counts);
        y->share[SHARE_DENSE] = draw_time(g, 0.02);
        y->share[SHARE_EXPERT] = draw_time(g, 0.03);
        y->share[SHARE_COPY] = draw_time(g, 0.2);
        y->share[SHARE_HOST] = draw_time(g, 0.01);
        y->share[SHARE_COMM] = gpus > 0 ? draw_time(g, 0.1) : 0;
        y->share[SHARE_IMBALANCE] = gpus > 0 ? draw_time(g, 0.05) : 0;
        for (int s = 0; s < RUN_SHARES; s++) {
            run->total.share[s] += y->share[s];
            run->total.latency += y->share[s];
        }
        y->copies = y->counts.loads + y->counts.bypasses;
        y->copy_time = draw_time(g, 0.2);
        y->queue_time = draw_time(g, 0.1);
        y->late_time = draw_time(g, 0.005);
    }
}

/* Two distances, without a draw. */
static void make_watch(struct run_result *run)
{
    run->watched = 2 * run->layers;
    run->watch = mem_zalloc(run->watched, sizeof *run->watch);
    for (uint32_t i = 0; i < run->watched; i++) {
        const struct run_layer *y = &run->layer[i % run->layers];
        uint64_t misses = y->counts.loads + y->counts.bypasses;

        run->watch[i] = (struct run_watched){.distance = i < run->layers ? 1 : 3,
                                             .layer = i % run->layers,
                                             .misses = misses,
                                             .named = misses / 2,
                                             .guesses = 2 * misses + 7,
                                             .right = misses + i,
                                             .absent = misses / 3,
                                             .named_time = y->copy_time / 2,
                                             .fits_time = y->copy_time / 3,
                                             .hidden_time = y->copy_time / 5,
                                             .all_hidden_time = y->copy_time / 4};
    }
}

static void make_requests(struct rng *g, struct run_result *run, uint32_t requests)
{
    run->requests = requests;
    run->request = mem_zalloc(requests, sizeof *run->request);
    for (uint32_t i = 0; i < requests; i++) {
        struct run_request *q = &run->request[i];

        q->trace_request = i;
        q->arrival = (sim_time)i * SIM_TIME_PER_S / 7;
        q->first_token = q->arrival + draw_time(g, 0.35);
        q->prompt_tokens = 10 + (uint32_t)rng_below(g, 300);
        q->output_tokens = 2 + (uint32_t)rng_below(g, 60);
        q->last_token = q->first_token + draw_time(g, 0.025 * q->output_tokens);
        q->group = (uint16_t)(i % 2);
        q->finished = true;
        run->output_tokens += q->output_tokens;
    }
}

static void make_passes(struct rng *g, struct run_result *run, uint64_t passes,
                        uint32_t gpus)
{
    sim_time at = 0;

    run->passes = passes;
    if (passes == 0)
        return;
    run->pass_spool = tmpfile();
    for (uint64_t i = 0; i < passes; i++) {
        struct run_pass p = {.start = at, .rows = 1 + (uint32_t)rng_below(g, 8)};

        p.outputs = p.rows;
        draw_counts(g, &p.counts);
        if (gpus > 0)
            draw_parallel(g, gpus, &p.counts);
        for (int s = 0; s < RUN_SHARES; s++)
            p.latency += p.share[s] =
                s == SHARE_COMM || s == SHARE_IMBALANCE || s == SHARE_HOSTED
                    ? 0
                    : draw_time(g, 0.004);
        at += p.latency + SIM_TIME_PER_US;
        if (fwrite(&p, sizeof p, 1, run->pass_spool) != 1)
            abort();
    }
}

/* NVLink out and in of every GPU, a NIC out and in of every node. */
enum { NODE_GPUS = 4 };

static uint32_t node_count(uint32_t gpus)
{
    return (gpus + NODE_GPUS - 1) / NODE_GPUS;
}

static void make_links(struct result *r, uint32_t gpus)
{
    static const char *const kind[] = {"NVLink out", "NVLink in", "NIC out", "NIC in"};
    uint32_t at = 0;

    r->links = 2 * gpus + 2 * node_count(gpus);
    r->link = mem_zalloc(r->links, sizeof *r->link);
    for (int k = 0; k < 4; k++)
        for (uint32_t i = 0; i < (k < 2 ? gpus : node_count(gpus)); i++, at++)
            r->link[at] = (struct result_link){
                .name = k < 2 ? mem_format("GPU %u %s", i, kind[k])
                              : mem_format("node %u %s", i, kind[k]),
                .kind = mem_strdup(kind[k]),
                .bytes_per_s = k < 2 ? UINT64_C(360000000000) : UINT64_C(45000000000),
            };
}

enum { MADE_EXPERTS = 32 };

/* Two placements of drawn experts, three slots a GPU. From a stream of its own, so that
 * it shifts nothing else. */
static void make_placements(uint64_t seed, uint32_t gpus, struct run_result *run)
{
    struct run_placements *placed = &run->placed;
    struct rng g = rng_stream(seed, "placed", gpus);
    const size_t cells = (size_t)run->layers * gpus * 3;

    *placed = (struct run_placements){.count = 2, .made = 5, .slots = 3 * gpus};
    placed->pass = mem_zalloc(2, sizeof *placed->pass);
    placed->pass[1] = 7;
    placed->expert = mem_alloc(2 * cells, sizeof *placed->expert);
    for (size_t i = 0; i < 2 * cells; i++)
        placed->expert[i] =
            rng_below(&g, 9) == 0 ? UINT16_MAX : (uint16_t)rng_below(&g, MADE_EXPERTS);
}

static void make_parallel(struct rng *g, uint32_t gpus, struct result_policy *p)
{
    struct run_result *run = &p->run;
    uint64_t rows = 0;

    run->gpus = gpus;
    run->nodes = node_count(gpus);
    run->shards = 1;
    run->gpu_rows = mem_alloc(gpus, sizeof *run->gpu_rows);
    for (uint32_t i = 0; i < gpus; i++)
        rows += run->gpu_rows[i] = 1000 + rng_below(g, 1000);
    run->gpu_peak = mem_alloc(gpus, sizeof *run->gpu_peak);
    for (uint32_t i = 0; i < gpus; i++)
        run->gpu_peak[i] = (20 + rng_below(g, 10)) << 30;
    run->total.counts.computed_rows = rows;
    run->links = 2 * gpus + 2 * node_count(gpus);
    run->link_bytes = mem_alloc(run->links, sizeof *run->link_bytes);
    for (uint32_t i = 0; i < run->links; i++)
        run->link_bytes[i] = rng_below(g, UINT64_C(1) << 33);
    run->activation_bytes = 12345678;
    run->migration_time = run->total.latency / 100;
    p->bounds = (struct result_bounds){
        .present = true,
        .balanced = run->total.latency * 4 / 5,
        .free_network = run->total.latency * 5 / 8,
    };
}

static void make_policy(const struct made_shape *shape, uint32_t i,
                        struct result_policy *p)
{
    static const char *const name[] = {"lru", "lfu", "fifo", "sieve", "belady", "arc"};
    struct rng g = rng_stream(shape->seed, "policy", i);
    struct run_result *run = &p->run;

    p->label = i < 6 ? mem_strdup(name[i]) : mem_format("%s-%u", name[i % 6], i / 6);
    for (int slot = 0; slot < POLICY_SLOTS; slot++)
        p->description[slot] = mem_strdup("none");
    free(p->description[SLOT_CACHE]);
    p->description[SLOT_CACHE] = mem_format("%s slots=16 scope=layer", name[i % 6]);
    p->variant = mem_strdup("standard");
    p->lossless = true;
    p->event_driven = i % 2 == 1;
    make_layers(&g, run, shape->layers, shape->gpus);
    make_watch(run);
    make_requests(&g, run, shape->requests);
    make_passes(&g, run, shape->passes, shape->gpus);
    if (run->passes == 0)
        run->passes = 300;
    run->total.rows = UINT64_C(5000000000); /* more than 32 bits hold */
    run->total.outputs = UINT64_C(4900000000);
    run->decode_rows = 300;
    run->prefill_rows = 21;
    run->elapsed = run->total.latency + SIM_TIME_PER_S / 100;
    run->compute_busy = run->total.share[SHARE_DENSE] + run->total.share[SHARE_EXPERT];
    run->copy_busy = run->elapsed / 2;
    run->digest = rng_u64(&g);
    run->cache_slots = 16 * shape->layers;
    run->cache_bytes = run->cache_slots * UINT64_C(13230080);
    run->staging_bytes = 4 * UINT64_C(13230080);
    run->finished = true;
    p->bounds = (struct result_bounds){
        .present = true,
        .belady_hits = run->total.counts.hits * 6 / 5,
        .belady_bytes = run->total.counts.demand_bytes / 2,
        .compute = run->compute_busy,
        .copy = run->total.latency / 3,
        .offline = run->total.latency / 3,
        .belady_time = run->total.latency * 2 / 3,
        .belady_time_hits = run->total.counts.hits * 7 / 6,
    };
    if (shape->gpus > 0) {
        make_parallel(&g, shape->gpus, p);
        make_placements(shape->seed + i, shape->gpus, run);
    }
}

struct result made_result(const struct made_shape *shape)
{
    struct result r = {
        .trace_path = mem_strdup("traces/samples/made.h5"),
        .trace_source = mem_strdup("made up for a test"),
        .model = mem_strdup("gpt-oss-20b"),
        .machine = mem_strdup("rtx4090-pcie4"),
        .machine_source = mem_strdup("vendor's sheet"),
        .watch = mem_strdup("markov width=4"),
        .config = mem_strdup("trace: made.h5\npolicies:\n  - {cache: lru}\n"),
        .version = mem_strdup("moesim 0.1 (gcc 12.2)"),
        .seed = 2385,
        .layers = shape->layers,
        .experts = MADE_EXPERTS,
        .top_k = 4,
        .groups = 2,
        .expert_total_bytes = shape->layers * UINT64_C(32) * 13230080,
        .dense_bytes = UINT64_C(1234567890),
        .kv_peak_bytes = 98765432,
        .gpu_memory_bytes = UINT64_C(24) << 30,
        .policies = shape->policies,
        .notes = mem_strdup("12 prompt rows were resampled.\nBounds hold per layer."),
    };

    r.moe_layer = mem_alloc(shape->layers, sizeof *r.moe_layer);
    r.expert_bytes = mem_alloc(shape->layers, sizeof *r.expert_bytes);
    for (uint32_t l = 0; l < shape->layers; l++) {
        r.moe_layer[l] = (uint16_t)(l + 1);
        r.expert_bytes[l] = 13230080;
    }
    r.group_names = mem_alloc(2, sizeof *r.group_names);
    r.group_names[0] = mem_strdup("code");
    r.group_names[1] = mem_strdup("prose, long");
    if (shape->gpus > 0)
        make_links(&r, shape->gpus);
    r.policy = mem_zalloc(shape->policies, sizeof *r.policy);
    for (uint32_t i = 0; i < shape->policies; i++)
        make_policy(shape, i, &r.policy[i]);
    return r;
}

char *made_printed(const struct result *r, void (*print)(const struct result *, FILE *))
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    if (out == NULL)
        abort();
    print(r, out);
    if (fclose(out) != 0)
        abort();
    return text;
}

/* ---- files ---- */

char *made_folder(void)
{
    const char *base = getenv("TMPDIR");
    char *folder = mem_format("%s/moesim-test-XXXXXX", base == NULL ? "/tmp" : base);

    if (mkdtemp(folder) == NULL)
        abort();
    return folder;
}

void made_folder_remove(char *folder)
{
    DIR *d = opendir(folder);
    struct dirent *entry;

    while (d != NULL && (entry = readdir(d)) != NULL) {
        char *path = mem_format("%s/%s", folder, entry->d_name);

        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            (void)unlink(path);
        free(path);
    }
    if (d != NULL)
        (void)closedir(d);
    (void)rmdir(folder);
    free(folder);
}

char *made_read(const char *path, size_t *size)
{
    struct err e = {.text = ""};
    char *bytes = file_read(path, (size_t)1 << 28, size, &e);

    if (bytes == NULL) {
        (void)fprintf(stderr, "%s\n", e.text);
        abort();
    }
    return bytes;
}

const char *made_too_wide(const char *text)
{
    while (*text != '\0') {
        size_t length = strcspn(text, "\n"), columns = 0;

        for (size_t at = 0; at < length; columns++) {
            size_t n = plain_utf8(text + at);

            if (n == 0)
                return text;
            at += n;
        }
        if (columns > TEXT_COLUMNS)
            return text;
        text += length + (text[length] == '\n');
    }
    return NULL;
}
