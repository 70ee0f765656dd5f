/* `order: recorded`: hits of a global LRU against a re-implementation that walks the rows
 * as an engine does that touches an expert once per row. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "sim/base/mem.h"
#include "sim/experiment/experiment.h"
#include "trace_maker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LAYERS 3
#define EXPERTS 12
#define TOP_K 3
#define OBJECTS (LAYERS * EXPERTS)

static const struct experiment_folders folders = {"models/arch", "models/machine",
                                                  "sim/policy/presets"};

static const char model_text[] =
    "name: tiny\nsource: by hand\nlayers: 4\nfirst_moe: 1\ndense_ffn: 512\n"
    "hidden: 256\nexpert_ffn: 1024\nexperts: 12\ntop_k: 3\nheads: 4\nhead_dim: 64\n"
    "vocab: 1000\ngate: softmax\nexpert_bits: 16\ndense_bits: 16\nactivation_bits: 16\n";

/* Least recently used residents first. */
struct naive {
    uint32_t object[OBJECTS];
    uint32_t count, slots;
    uint64_t hits, bypasses;
};

/* Moves the object to the end if it is there. */
static bool touch(struct naive *n, uint32_t object)
{
    for (uint32_t i = 0; i < n->count; i++) {
        if (n->object[i] != object)
            continue;
        memmove(&n->object[i], &n->object[i + 1], (n->count - i - 1) * sizeof *n->object);
        n->object[n->count - 1] = object;
        return true;
    }
    return false;
}

static void load(struct naive *n, uint32_t object, const bool *active)
{
    uint32_t victim = 0;

    if (n->count == n->slots) {
        while (victim < n->count && active[n->object[victim]])
            victim++;
        if (victim == n->count) {
            n->bypasses++;
            return;
        }
        memmove(&n->object[victim], &n->object[victim + 1],
                (n->count - victim - 1) * sizeof *n->object);
        n->count--;
    }
    n->object[n->count++] = object;
}

/* One layer of the pass of rows [first, first + count). The cache is asked once per
 * expert, at its last use. */
static void naive_step(struct naive *n, const struct trace_make *m, uint64_t first,
                       uint32_t count, uint32_t layer)
{
    uint32_t use[1024], uses = 0;
    bool active[OBJECTS] = {false};

    for (uint32_t row = 0; row < count; row++) {
        uint16_t expert[LAYERS * TOP_K];
        struct trace_token token;

        trace_make_row(m, first + row, &token, expert, NULL, NULL);
        for (uint32_t k = 0; k < TOP_K; k++) {
            uint16_t id = expert[layer * TOP_K + k];

            if (id == TRACE_NOT_RECORDED)
                continue;
            use[uses++] = layer * EXPERTS + id;
            active[layer * EXPERTS + id] = true;
        }
    }
    for (uint32_t i = 0; i < uses; i++) {
        bool last = true;

        for (uint32_t j = i + 1; j < uses; j++)
            last = last && use[j] != use[i];
        if (!last)
            continue;
        if (touch(n, use[i]))
            n->hits++;
        else
            load(n, use[i], active);
    }
}

static struct run_counts replay(const char *trace, const char *model, uint32_t slots,
                                const char *order)
{
    char *text = mem_format(
        "trace: %s\nmodel: %s\nmachine: phone-flash\nhome: storage\nbounds: no\n"
        "policies: [{cache: {name: lru, scope: global, total_slots: %u, order: %s}}]\n",
        trace, model, slots, order);
    struct experiment_hooks hooks = {.progress = NULL};
    struct err e = {.text = ""};
    struct cfg *c = cfg_parse("test", text, strlen(text), &e);
    struct run_counts counts;
    struct result r;

    if (c == NULL || experiment_run(c, &folders, 1, &hooks, &r, &e) != 0)
        fail_msg("%s", e.text);
    counts = r.policy[0].run.total.counts;
    result_release(&r);
    cfg_free(c);
    free(text);
    return counts;
}

static void hits_of_the_recorded_order(void **state)
{
    char *trace = trace_make_path("order.h5");
    char *model = trace_make_path("order.yaml");
    FILE *f = fopen(model, "w");
    unsigned differ = 0;

    (void)state;
    assert_non_null(f);
    assert_true(fputs(model_text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct trace_make m = {.layers = LAYERS,
                               .experts = EXPERTS,
                               .top_k = TOP_K,
                               .requests = 2,
                               .rows = 40,
                               .prefill_rows = 1 + (uint32_t)(seed % 5),
                               .missing = seed % 2 == 0,
                               .seed = seed};
        struct naive n = {.slots = (uint32_t)(2 + 2 * seed)};
        struct run_counts counts;

        trace_make(trace, &m);
        for (uint32_t request = 0; request < m.requests; request++) {
            uint64_t first = (uint64_t)request * m.rows;
            uint32_t rows = m.prefill_rows;

            for (uint32_t at = 0; at < m.rows; at += rows, rows = 1) {
                for (uint32_t layer = 0; layer < LAYERS; layer++)
                    naive_step(&n, &m, first + at, rows, layer);
            }
        }
        counts = replay(trace, model, n.slots, "recorded");
        assert_int_equal(counts.hits, n.hits);
        assert_int_equal(counts.bypasses, n.bypasses);
        differ += replay(trace, model, n.slots, "id").hits != n.hits;
    }
    assert_true(differ > 0); /* or the order would not be seen */
    (void)unlink(trace);
    (void)unlink(model);
    free(trace);
    free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(hits_of_the_recorded_order)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
