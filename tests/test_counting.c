/* Placements by counts alone: the same tokens, maps and moves as in a run of the rows
 * that were counted; by hand; what counts cannot tell is refused by name. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "trace_maker.h"

#include "models/cost.h"
#include "sim/base/mem.h"
#include "sim/experiment/counted_run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LAYERS = 3, EXPERTS = 12, TOP_K = 3, GPUS = 4 };

/* Decoder layers 1 to 3 have experts, as trace_make() has it. */
static const char model_text[] =
    "{name: tiny, source: by hand, layers: 4, first_moe: 1, dense_ffn: 512,\n"
    " hidden: 256,\n"
    " expert_ffn: 1024, experts: 12, top_k: 3, heads: 4, head_dim: 64, vocab: 1000,\n"
    " gate: softmax, expert_bits: 16, dense_bits: 16, activation_bits: 16}\n";
static const uint64_t expert_bytes = UINT64_C(3) * 256 * 1024 * 2;

static const struct experiment_folders folders = {"models/arch", "models/machine",
                                                  "sim/policy/presets"};
static const char four[] = "machine: h100-80g\nparallel: {gpus: 4}\n";

/* ---- a trace of rows, and its counts ---- */

struct pair {
    char *model, *rows, *counts; /* files */
    uint64_t passes;
    uint32_t *count; /* (pass, layer, expert) */
};

static void write_counts(struct pair *p)
{
    struct err e = {.text = ""};
    struct trace *t = trace_open(p->rows, NULL, &e);
    struct trace_info info;
    struct trace_writer *w;

    assert_non_null(t);
    info = *trace_get_info(t);
    p->passes = info.passes;
    p->count = mem_zalloc(info.passes * LAYERS * EXPERTS, sizeof *p->count);
    info.counts_only = true;
    w = trace_writer_new(p->counts, &info, &e);
    assert_non_null(w);
    for (uint64_t n = 0; n < info.passes; n++) {
        uint32_t *count = p->count + n * LAYERS * EXPERTS;
        uint64_t *row, rows;
        int64_t start;

        assert_int_equal(trace_read_pass(t, n, &row, &rows, &start, &e), 0);
        for (uint64_t i = 0; i < rows; i++) {
            uint16_t choice[LAYERS * TOP_K];

            assert_int_equal(trace_read_expert(t, row[i], 1, choice, &e), 0);
            for (uint32_t k = 0; k < LAYERS * TOP_K; k++)
                if (choice[k] != TRACE_NOT_RECORDED)
                    count[k / TOP_K * EXPERTS + choice[k]]++;
        }
        assert_int_equal(trace_writer_load(w, count, &e), 0);
        free(row);
    }
    assert_int_equal(trace_writer_commit(w, &e), 0);
    trace_close(t);
}

static int set_up(void **state)
{
    static const struct trace_make make = {.layers = LAYERS,
                                           .experts = EXPERTS,
                                           .top_k = TOP_K,
                                           .requests = 9,
                                           .rows = 20,
                                           .passes = true,
                                           .uneven = true,
                                           .missing = true,
                                           .seed = 77};
    struct pair *p = mem_zalloc(1, sizeof *p);
    FILE *f;

    p->model = trace_make_path("model.yaml");
    f = fopen(p->model, "w");
    if (f == NULL || fputs(model_text, f) < 0 || fclose(f) != 0)
        return -1;
    p->rows = trace_make_path("rows");
    p->counts = trace_make_path("counts");
    trace_make(p->rows, &make);
    write_counts(p);
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct pair *p = *state;

    (void)unlink(p->rows);
    (void)unlink(p->counts);
    (void)unlink(p->model);
    free(p->model);
    free(p->rows);
    free(p->counts);
    free(p->count);
    free(p);
    return 0;
}

static struct cfg *configuration(const struct pair *p, const char *trace,
                                 const char *more)
{
    struct err e = {.text = ""};
    char *text = mem_format("trace: %s\nmodel: %s\n%s", trace, p->model, more);
    struct cfg *c = cfg_parse("test.yaml", text, strlen(text), &e);

    if (c == NULL)
        fail_msg("%s", e.text);
    free(text);
    return c;
}

static int count(const struct pair *p, const char *more, counted_told *told,
                 void *context, struct counted *r, struct err *e)
{
    static const struct experiment_hooks none = {.progress = NULL};
    struct cfg *c = configuration(p, p->counts, more);
    int status;

    assert_true(experiment_has_counts(c));
    status = experiment_count(c, &folders, &none, told, context, r, e);
    cfg_free(c);
    return status;
}

/* ---- as a run of the rows ---- */

static void compare(const struct run_result *a, const struct run_result *b)
{
    const struct run_counts *x = &a->total.counts, *y = &b->total.counts;
    const struct run_placements *p = &a->placed, *q = &b->placed;

    assert_int_equal(a->passes, b->passes);
    assert_memory_equal(a->gpu_rows, b->gpu_rows, GPUS * sizeof *a->gpu_rows);
    assert_int_equal(x->activations, y->activations);
    assert_int_equal(x->computed_rows, y->computed_rows);
    assert_int_equal(x->busiest_rows, y->busiest_rows);
    assert_int_equal(x->migrations, y->migrations);
    assert_int_equal(x->migrated_bytes, y->migrated_bytes);
    for (uint32_t l = 0; l < LAYERS; l++) {
        assert_int_equal(a->layer[l].counts.busiest_rows,
                         b->layer[l].counts.busiest_rows);
        assert_int_equal(a->layer[l].counts.migrated_bytes,
                         b->layer[l].counts.migrated_bytes);
    }
    assert_int_equal(p->made, q->made);
    assert_int_equal(p->count, q->count);
    assert_int_equal(p->slots, q->slots);
    assert_memory_equal(p->pass, q->pass, p->count * sizeof *p->pass);
    assert_memory_equal(p->expert, q->expert,
                        p->count * LAYERS * p->slots * sizeof *p->expert);
}

static void counts_give_what_rows_give(void **state)
{
    static const char policies[] =
        "policies:\n"
        "- {name: a, place: linear}\n"
        "- {name: b, place: random}\n"
        "- {name: c, place: {name: greedy, interval: 3, window: 5}}\n"
        "- {name: d, place: {name: eplb, slots: 16}}\n"
        "- {name: e, place: {name: eplb, slots: 16, interval: 4, window: 8, first: 2}}\n"
        "- {name: f, place: {name: eplb, slots: 16, interval: 7, keep: no}}\n"
        "- {name: g, place: {name: eplb, slots: 16, replica: random}}\n"
        "- {name: h, place: {name: replicate, slots: 16, interval: 2}}\n"
        "- {name: i, place: {name: anti-correlation, interval: 6}}\n"
        "- {name: j, place: {name: linear, slots: 16, spare: wrap}}\n";
    const struct pair *p = *state;
    char *rows =
        mem_format("%sworkload: {mode: recorded}\nengine: count\nprofile: %s\n%s", four,
                   p->counts, policies);
    char *counts = mem_format("%s%s", four, policies);
    struct cfg *c = configuration(p, p->rows, rows);
    struct experiment_hooks none = {.progress = NULL};
    struct err e = {.text = ""};
    struct result a;
    struct counted b;
    uint64_t moves = 0;

    assert_false(experiment_has_counts(c));
    if (experiment_run(c, &folders, 1, &none, &a, &e) != 0 ||
        count(p, counts, NULL, NULL, &b, &e) != 0)
        fail_msg("%s", e.text);
    assert_int_equal(a.policies, 10);
    assert_int_equal(b.policies, 10);
    assert_int_equal(b.passes, p->passes);
    for (uint32_t i = 0; i < 10; i++) {
        uint64_t bytes = a.policy[i].run.total.counts.migrated_bytes;

        compare(&a.policy[i].run, &b.policy[i].run);
        assert_int_equal(b.policy[i].moved * expert_bytes, bytes);
        moves += bytes;
    }
    assert_true(moves > 0);
    assert_non_null(strstr(b.notes, "profile: FILE"));
    result_release(&a);
    counted_release(&b);
    cfg_free(c);
    free(rows);
    free(counts);
}

/* ---- by hand ---- */

struct told {
    const struct pair *pair;
    uint64_t steps;
    double most, sum;
    sim_time time;
    const struct cost *cost;
};

/* Linear: GPU g has experts 3 g to 3 g + 2. */
static void look(void *context, const char *policy, uint64_t pass, uint32_t layer,
                 const uint64_t *tokens, uint32_t gpus)
{
    struct told *t = context;
    const uint32_t *of = t->pair->count + (pass * LAYERS + layer - 1) * EXPERTS;
    uint64_t sum = 0, most = 0;
    sim_time longest = 0;

    assert_string_equal(policy, "p");
    assert_int_equal(gpus, GPUS);
    for (uint32_t g = 0; g < GPUS; g++) {
        struct cost_experts work = {.distinct = 0};
        uint64_t own = 0;
        sim_time time;

        for (uint32_t i = 3 * g; i < 3 * g + 3; i++) {
            own += of[i];
            if (of[i] > 0)
                cost_experts_add(&work, of[i], &t->cost->machine->gpu.tiles);
        }
        assert_int_equal(tokens[g], own);
        time = cost_expert_group(t->cost, &work);
        longest = time > longest ? time : longest;
        sum += own;
        most = own > most ? own : most;
    }
    t->time += longest;
    if (sum > 0) {
        double imbalance = (double)most * GPUS / (double)sum;

        t->steps++;
        t->sum += imbalance;
        t->most = fmax(t->most, imbalance);
    }
}

static void linear_by_hand(void **state)
{
    const struct pair *p = *state;
    struct err e = {.text = ""};
    struct cfg *of_model = cfg_load(p->model, &e);
    struct cfg *of_machine = cfg_load("models/machine/h100-80g.yaml", &e);
    struct model *model = model_from_cfg(of_model, &e);
    struct machine *machine = machine_from_cfg(of_machine, &e);
    struct cost cost = {.model = model, .machine = machine};
    struct told told = {.pair = p, .cost = &cost};
    char *more = mem_format("%spolicies: [{name: p}]\n", four);
    struct counted r;

    assert_non_null(model);
    assert_non_null(machine);
    if (count(p, more, look, &told, &r, &e) != 0)
        fail_msg("%s", e.text);
    assert_true(told.steps > 100);
    assert_true(fabs(r.policy[0].imbalance_mean - told.sum / (double)told.steps) < 1e-12);
    assert_true(fabs(r.policy[0].imbalance_most - told.most) < 1e-12);
    assert_true(r.policy[0].imbalance_p99 <= told.most);
    assert_true(r.policy[0].imbalance_p99 > r.policy[0].imbalance_mean);
    assert_int_equal(r.policy[0].expert_time, told.time);
    assert_true(told.time > 0);
    assert_int_equal(r.policy[0].replicas, 0);
    assert_string_equal(r.notes, "");
    counted_release(&r);
    free(more);
    model_free(model);
    machine_free(machine);
    cfg_free(of_model);
    cfg_free(of_machine);
}

/* Four slots more than experts, in each of three layers, all filled by eplb. */
static void replicas_are_counted(void **state)
{
    const struct pair *p = *state;
    char *more = mem_format("%spolicies: [{place: {name: eplb, slots: 16}}]\n", four);
    struct err e = {.text = ""};
    struct counted r;

    if (count(p, more, NULL, NULL, &r, &e) != 0)
        fail_msg("%s", e.text);
    assert_int_equal(r.policy[0].replicas, 4 * LAYERS);
    assert_int_equal(r.policy[0].moved, 0);
    counted_release(&r);
    free(more);
}

/* ---- what is refused ---- */

static void what_counts_cannot_tell(void **state)
{
    static const struct {
        const char *more, *says;
    } cases[] = {
        {"machine: h100-80g\npolicies: [{name: p}]", "say parallel: {gpus: N}"},
        {"policies: [{cache: {name: lru, slots: 2}}]",
         "cache: lru needs /routing/expert"},
        {"policies: [{prefetch: markov}]", "prefetch: markov needs /routing/expert"},
        {"policies: [{gate: capacity-factor}]", "gate: capacity-factor needs"},
        {"policies: [{preset: deepep-low-latency, schedule: two-batch}]",
         "schedule: two-batch needs /routing/expert"},
        {"policies: [{place: tensor}]", "place: tensor has a slice"},
        {"policies: [{place: {name: eplb, slots: 16, replica: nearest}}]",
         "needs /token/source"},
        {"policies: [{place: {name: eplb, interval: 1, foresee: 0.9}}]",
         "needs /routing/expert"},
        {"policies: [{place: {name: eplb, interval: 1, migrate: background}}]",
         "choose blocking"},
        {"policies: [{name: p}]\nworkload: {batch: 3}", "'workload' has no effect here"},
        {"policies: [{name: p}]\nlaunch: graph", "'launch' has no effect here"},
        {"policies: [{name: p}]\nengine: event", "times need /routing/expert"},
        {"policies: [{name: p}]\nbounds: yes", "bounds on time need /routing/expert"},
        {"policies: [{place: {name: eplb, slots: 13}}]", "need a multiple of 4"},
        {"policies: [{place: {name: eplb, window: 3}}]", "'window' has no effect here"},
    };
    const struct pair *p = *state;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *more = mem_format("%s%s\n", i == 0 ? "" : four, cases[i].more);
        struct err e = {.text = ""};
        struct counted r;

        assert_int_equal(count(p, more, NULL, NULL, &r, &e), -1);
        if (strstr(e.text, cases[i].says) == NULL || strchr(e.text, '\n') != NULL)
            fail_msg("'%s' does not say '%s'", e.text, cases[i].says);
        free(more);
    }
}

/* Whatever is no run of counts says what it needs. */
static void other_runs_refuse_counts(void **state)
{
    const struct pair *p = *state;
    struct cfg *c = configuration(p, p->counts,
                                  "machine: h100-80g\nparallel: {gpus: 4}\n"
                                  "policies: [{name: p}]\n");
    struct err e = {.text = ""};

    assert_int_equal(experiment_check(c, &folders, NULL, &e), -1);
    assert_non_null(strstr(e.text, "replaying needs /routing/expert"));
    cfg_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_give_what_rows_give),
        cmocka_unit_test(linear_by_hand),
        cmocka_unit_test(replicas_are_counted),
        cmocka_unit_test(what_counts_cannot_tell),
        cmocka_unit_test(other_runs_refuse_counts),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
