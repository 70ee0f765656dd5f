/* Every plug-in of every slot over four GPUs: that it runs, that what it counts does not
 * depend on times, and that the counts are those of a naive count. What a cache does on
 * each GPU is what it does on one GPU whose trace has that GPU's experts only. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "run_world.h"

#include "sim/base/mem.h"
#include "sim/base/rng.h"
#include "sim/experiment/experiment.h"
#include "sim/policy/slots.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { GPUS = 4, OWN = 4, EXPERTS = GPUS * OWN, LAYERS = 3, TOP = 3 };
enum { REQUESTS = 8, ROWS = 14, BATCH = 4, CELLS = REQUESTS * ROWS * LAYERS * TOP };

static const char model_text[] =
    "name: tiny\nsource: by hand\nlayers: 3\nhidden: 64\nexpert_ffn: 64\nexperts: %d\n"
    "top_k: 3\nheads: 4\nhead_dim: 16\nvocab: 100\ngate: softmax\nexpert_bits: 16\n"
    "dense_bits: 16\nactivation_bits: 16\n";

struct lab {
    uint16_t expert[CELLS];
    struct run_world *all, *own[GPUS]; /* own: with the experts of one GPU */
    char *model[2];                    /* of all experts, of one GPU's */
};

/* A quarter of the experts chosen more often, and often again in the next row. */
static void draw(struct lab *l)
{
    struct rng r = rng_stream(4, "four", 0);

    for (size_t i = 0; i < CELLS; i += TOP) {
        for (uint32_t k = 0; k < TOP;) {
            uint16_t x = (uint16_t)rng_below(&r, rng_below(&r, 2) == 0 ? EXPERTS : 5);
            uint32_t j = 0;

            if (i >= LAYERS * TOP && rng_below(&r, 3) == 0)
                x = l->expert[i - LAYERS * TOP + k];
            l->expert[i + k] = x;
            while (l->expert[i + j] != x)
                j++;
            k += j == k;
        }
    }
}

static struct run_world *only_of(const struct lab *l, uint32_t gpu)
{
    uint16_t part[CELLS];

    for (size_t i = 0; i < CELLS; i += TOP) {
        uint32_t count = 0;

        for (uint32_t k = 0; k < TOP; k++)
            if (l->expert[i + k] / OWN == gpu)
                part[i + count++] = l->expert[i + k] % OWN;
        while (count < TOP)
            part[i + count++] = WORLD_NONE;
    }
    return run_world_new(LAYERS, OWN, TOP, REQUESTS, ROWS, part, 2 + gpu);
}

static int set_up(void **state)
{
    struct lab *l = mem_zalloc(1, sizeof *l);

    draw(l);
    l->all = run_world_new(LAYERS, EXPERTS, TOP, REQUESTS, ROWS, l->expert, 1);
    for (uint32_t g = 0; g < GPUS; g++)
        l->own[g] = only_of(l, g);
    for (int i = 0; i < 2; i++) {
        FILE *f;

        l->model[i] = mem_format("%s.%d.yaml", l->all->path, i);
        f = fopen(l->model[i], "w");
        assert_non_null(f);
        assert_true(fprintf(f, model_text, i == 0 ? EXPERTS : OWN) > 0);
        assert_int_equal(fclose(f), 0);
    }
    *state = l;
    return 0;
}

static int tear_down(void **state)
{
    struct lab *l = *state;

    run_world_free(l->all);
    for (uint32_t g = 0; g < GPUS; g++)
        run_world_free(l->own[g]);
    for (int i = 0; i < 2; i++) {
        (void)unlink(l->model[i]);
        free(l->model[i]);
    }
    free(l);
    return 0;
}

static struct run_counts counts_of(const struct lab *l, const struct run_world *w,
                                   const char *engine, const char *policy)
{
    static const struct experiment_folders folders = {"models/arch", "models/machine",
                                                      "sim/policy/presets"};
    const struct experiment_hooks hooks = {.timeline_path = NULL};
    char *text = mem_format("trace: %s\nmodel: %s\nmachine: a100-monde\nbounds: no\n"
                            "engine: %s\n%sworkload: {batch: %d}\npolicies: [{%s}]\n",
                            w->path, l->model[w != l->all], engine,
                            w == l->all ? "parallel: {gpus: 4}\n" : "", BATCH, policy);
    struct err e = {.text = ""};
    struct cfg *c = cfg_parse("four.yaml", text, strlen(text), &e);
    struct run_counts counts;
    struct result r = {.path = NULL};

    if (c == NULL || experiment_run(c, &folders, 1, &hooks, &r, &e) != 0)
        fail_msg("%s: %s", policy, e.text);
    counts = r.policy[0].run.total.counts;
    result_release(&r);
    cfg_free(c);
    free(text);
    return counts;
}

/* Distinct experts of every layer of every pass, and choices. */
static void count_naively(const struct lab *l, uint64_t *accesses, uint64_t *choices)
{
    *accesses = *choices = 0;
    for (uint32_t first = 0; first < REQUESTS; first += BATCH)
        for (uint32_t row = 0; row < ROWS; row++)
            for (uint32_t layer = 0; layer < LAYERS; layer++) {
                bool seen[EXPERTS] = {false};

                for (uint32_t i = 0; i < BATCH * TOP; i++) {
                    size_t at = ((size_t)(first + i / TOP) * ROWS + row) * LAYERS + layer;
                    uint16_t x = l->expert[at * TOP + i % TOP];

                    *accesses += !seen[x];
                    seen[x] = true;
                    ++*choices;
                }
            }
}

/* What the plug-in needs around it; NULL: cannot be alone in its slot. */
static char *policy_with(const struct plugin *p)
{
    bool places = p->slot == SLOT_PLACE, oracle = strstr(p->name, "bypass") != NULL;

    if (p->slot == SLOT_CACHE)
        return mem_format("cache: {name: %s, slots: 2}%s", p->name,
                          oracle ? ", prefetch: none" : "");
    if (places && (strcmp(p->name, "optimal") == 0 || /* a search over few slots only */
                   (p->needs & NEED_MAP) != 0))       /* cli_place.sh */
        return NULL;
    if ((p->acts & ACT_LOWER) != 0)
        return mem_format("cache: {name: lru, bytes: 50%%}, offload: %s", p->name);
    return mem_format("%s%s: %s", places ? "" : "cache: {name: lru, slots: 2}, ",
                      policy_slot_name(p->slot), p->name);
}

static void each_plugin_counts_alike(void **state)
{
    const struct lab *l = *state;
    const struct plugin *const *all = registry_all();
    uint64_t accesses, choices;
    uint32_t tried = 0;

    count_naively(l, &accesses, &choices);
    for (; *all != NULL; all++) {
        char *policy = policy_with(*all);
        struct run_counts a, b;
        bool pads = ((*all)->acts & ACT_PAD) != 0;
        bool sharded = ((*all)->acts & ACT_SHARD) != 0;
        uint32_t shards = sharded ? GPUS : 1; /* each GPU has a slice of each expert */
        bool selects = (*all)->slot == SLOT_SELECT && !(*all)->lossless;

        if (policy == NULL)
            continue;
        a = counts_of(l, l->all, "event", policy);
        b = counts_of(l, l->all, "count", policy);
        a.late = b.late = 0; /* a matter of times */
        if (memcmp(&a, &b, sizeof a) != 0)
            fail_msg("%s counts otherwise without times", policy);
        if (a.accesses != a.hits + a.loads + a.bypasses + run_in_place(&a))
            fail_msg("%s loses accesses", policy);
        if (selects && (a.activations > choices ||
                        (a.accesses > accesses && ((*all)->acts & ACT_RESIDENCY) == 0)))
            fail_msg("%s makes more of routing than there was", policy);
        if (!pads && !selects && a.activations != choices)
            fail_msg("%s: %llu choices", policy, (unsigned long long)a.activations);
        if (!pads && !selects && a.accesses != accesses * shards)
            fail_msg("%s: %llu accesses instead of %llu", policy,
                     (unsigned long long)a.accesses,
                     (unsigned long long)accesses * shards);
        free(policy);
        tried++;
    }
    assert_true(tried > 35);
}

/* An expert that always comes as it is is fetched; of the others fewer bytes come. */
static void experts_in_fewer_bits(void **state)
{
    const struct lab *l = *state;
    const char *const hobbit =
        "cache: {name: lru, bytes: 40%}, offload: {name: hobbit, bits: 4, t1: ";
    char *never = mem_format("%s1}", hobbit), *often = mem_format("%s0.2}", hobbit);
    struct run_counts a = counts_of(l, l->all, "event", never);
    struct run_counts b =
        counts_of(l, l->all, "event", "cache: {name: lru, bytes: 40%}, offload: fetch");
    struct run_counts low = counts_of(l, l->all, "event", often);
    uint64_t bytes = b.demand_bytes / (b.loads + b.bypasses);

    run_counts_equal(&a, &b, true);
    assert_true(low.low_loads > 0 && low.low_uses > low.low_loads);
    assert_int_equal(low.demand_bytes,
                     (low.loads + low.bypasses - low.low_loads) * bytes +
                         low.low_loads * bytes / 4);
    assert_true(low.demand_bytes < b.demand_bytes);
    free(never);
    free(often);
}

/* Whatever the order of the accesses. */
static void each_cache_is_one_of_a_gpu(void **state)
{
    static const char *const more[] = {
        "",
        ", order: recorded",
        ", order: hits-first, in_flight: 1, spare: 1",
        ", preload: linear",
        ", preload: last, write_back: yes, spare: 3, in_flight: 2",
        ", protect: none, admission: second-miss"};
    const struct lab *l = *state;

    for (const struct plugin *const *p = registry_all(); *p != NULL; p++) {
        for (size_t m = 0; (*p)->slot == SLOT_CACHE && m < sizeof more / sizeof *more;
             m++) {
            char *policy =
                mem_format("cache: {name: %s, slots: 2%s}", (*p)->name, more[m]);
            struct run_counts x, sum = {.hits = 0};

            if (strcmp((*p)->name, "pin") == 0 && m > 2) {
                free(policy); /* which fills itself, and admits nothing */
                continue;
            }
            x = counts_of(l, l->all, "event", policy);
            for (uint32_t g = 0; g < GPUS; g++) {
                struct run_counts own = counts_of(l, l->own[g], "event", policy);

                sum.hits += own.hits;
                sum.loads += own.loads;
                sum.bypasses += own.bypasses;
            }
            if (x.hits != sum.hits || x.loads != sum.loads || x.bypasses != sum.bypasses)
                fail_msg("%s: %llu hits, %llu loads over four GPUs; %llu, %llu on each",
                         policy, (unsigned long long)x.hits, (unsigned long long)x.loads,
                         (unsigned long long)sum.hits, (unsigned long long)sum.loads);
            free(policy);
        }
    }
}

/* Known beforehand, a load is never late for want of knowledge: more hits than on demand,
 * on every GPU's own experts. */
static void an_oracle_prefetches(void **state)
{
    const struct lab *l = *state;
    struct run_counts plain =
        counts_of(l, l->all, "event", "cache: {name: lru, slots: 3}");
    struct run_counts early =
        counts_of(l, l->all, "event", "cache: {name: lru, slots: 3}, prefetch: oracle");

    assert_true(early.hits > plain.hits);
    assert_true(early.prefetches > 0 && early.prefetch_used == early.prefetches);
    assert_int_equal(early.accesses, plain.accesses);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_plugin_counts_alike, set_up, tear_down),
        cmocka_unit_test_setup_teardown(experts_in_fewer_bits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(each_cache_is_one_of_a_gpu, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_oracle_prefetches, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
