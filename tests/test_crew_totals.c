/* Totals of runs over several GPUs by hand: every GPU does the same at the same times, so
 * that one GPU's operations, as the hook tells of them, are enough to know where the time
 * of each pass and each layer goes. Both engines share the code that keeps these books.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "crew_lab.h"
#include "sim/exec/op.h"
#include "sim/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GPUS = 4, LAYERS = 3, OPS = 4096 };

struct told {
    enum op_kind kind;
    uint32_t layer;
    struct op_times times;
};

struct log {
    struct told op[OPS];
    size_t count;
};

static void tell(void *context, uint32_t policy, op_id id, enum op_kind kind,
                 enum op_lane lane, uint32_t layer, uint32_t expert,
                 const struct op_times *times)
{
    struct log *log = context;

    (void)policy;
    (void)id;
    (void)expert;
    if (lane != LANE_COMPUTE && lane != LANE_NETWORK && lane != LANE_NODE)
        return;
    assert_true(log->count < OPS);
    log->op[log->count++] = (struct told){kind, layer, *times};
}

static int by_time(const void *x, const void *y)
{
    const struct told *a = x, *b = y;

    if (a->times.start != b->times.start)
        return a->times.start < b->times.start ? -1 : 1;
    if (a->times.end != b->times.end)
        return a->times.end < b->times.end ? -1 : 1;
    return (a->kind > b->kind) - (a->kind < b->kind);
}

/* One GPU's operations: those that all GPUs have at the same time, and the collectives of
 * all or of each group, once. */
static size_t keep_one_of_each(struct log *log, uint32_t groups)
{
    size_t kept = 0;

    qsort(log->op, log->count, sizeof *log->op, by_time);
    for (size_t i = 0; i < log->count;) {
        bool together = op_is_collective(log->op[i].kind);
        bool in_group = log->op[i].kind == OP_GATHER || log->op[i].kind == OP_SCATTER;
        size_t alike = together ? (in_group ? groups : 1) : GPUS;

        for (size_t j = 1; j < alike; j++)
            if (i + j >= log->count || by_time(&log->op[i], &log->op[i + j]) != 0)
                fail_msg("%s of layer %u is not the same on all GPUs",
                         op_kind_name(log->op[i].kind), log->op[i].layer);
        log->op[kept++] = log->op[i];
        i += alike;
    }
    return kept;
}

struct books {
    sim_time layer[LAYERS + 1][RUN_SHARES]; /* the last: outside the MoE layers */
    sim_time busy;
};

/* Which MoE layer an operation's time belongs to: one dense layer comes first. */
static uint32_t layer_of(const struct told *t)
{
    bool of_decoder =
        t->kind == OP_DENSE || t->kind == OP_GATHER || t->kind == OP_SCATTER;

    if (t->kind == OP_HEAD)
        return LAYERS;
    if (!of_decoder)
        return t->layer;
    assert_true(t->layer <= LAYERS);
    return t->layer == 0 ? LAYERS : t->layer - 1;
}

static sim_time least(sim_time a, sim_time b)
{
    return a < b ? a : b;
}

static sim_time most(sim_time a, sim_time b)
{
    return a > b ? a : b;
}

/* Adds one pass: until the host had launched an operation that is late, it was the host;
 * then, it was waiting for others or copies; then the operation itself. */
static void book_pass(struct books *b, const struct told *op, size_t count,
                      const struct run_pass *pass)
{
    sim_time at = pass->start, end = pass->start + pass->latency;
    uint32_t decoded = 0; /* MoE layers */

    for (size_t i = 0; i < count; i++) {
        const struct told *t = &op[i];
        bool together = op_is_collective(t->kind);
        sim_time begin = most(at, t->times.start);
        sim_time issued = least(most(t->times.issued, at), begin);
        bool last = t->kind == OP_GATHER && decoded == LAYERS; /* before the head */
        sim_time *share = b->layer[last ? LAYERS : layer_of(t)];

        if (t->times.start < pass->start || t->times.start >= end)
            continue;
        share[SHARE_HOST] += issued - at;
        share[together ? SHARE_IMBALANCE : SHARE_COPY] += begin - issued;
        share[together                ? SHARE_COMM
              : t->kind == OP_EXPERTS ? SHARE_EXPERT
                                      : SHARE_DENSE] += t->times.end - begin;
        if (!together)
            b->busy += t->times.end - t->times.start;
        decoded += t->kind == OP_COMBINE;
        at = t->times.end;
    }
    b->layer[LAYERS][SHARE_HOST] += end - at;
}

/* Twelve rows a pass, three on each GPU; each of 24 experts gets one of their choices. */
static const struct crew_case even = {.nodes = 1,
                                      .gpus = GPUS,
                                      .per_root = 1,
                                      .nvlink = true,
                                      .layers = LAYERS,
                                      .dense_layers = 1,
                                      .experts = 24,
                                      .top_k = 2,
                                      .candidates = 2,
                                      .hidden = 512,
                                      .shared_ffn = 4,
                                      .requests = 12,
                                      .rows = 5,
                                      .cyclic = true,
                                      .seed = 3,
                                      .workload = "{mode: static, batch: 12}",
                                      .place = "linear",
                                      .place_more = ""};

static void run_told(const struct crew_lab *lab, struct log *log, struct result *r)
{
    const struct experiment_folders folders = {"models/arch", "models/machine",
                                               "sim/policy/presets"};
    struct experiment_hooks hooks = {
        .machine = &lab->machine, .operation = tell, .operation_context = log};
    char *text = crew_lab_text(lab, "fifo", NULL);
    struct err e = {.text = ""};
    struct cfg *config = cfg_parse("totals", text, strlen(text), &e);

    if (config == NULL || experiment_run(config, &folders, 1, &hooks, r, &e) != 0)
        fail_msg("%s", e.text);
    cfg_free(config);
    free(text);
}

static void same(sim_time got, sim_time expected, uint32_t layer, int share)
{
    if (got != expected)
        fail_msg("share %d of layer %u is %lld, not %lld", share, layer, (long long)got,
                 (long long)expected);
}

/* What the run's books say against the sums of the hook's times. */
static void check_totals(const struct crew_lab *lab)
{
    struct log *log = mem_zalloc(1, sizeof *log);
    struct books b = {.busy = 0};
    const struct run_result *run;
    sim_time total[RUN_SHARES] = {0};
    struct result r;
    size_t count;

    run_told(lab, log, &r);
    run = &r.policy[0].run;
    count = keep_one_of_each(log, lab->c.tensor > 0 ? GPUS / lab->c.tensor : GPUS);
    assert_int_equal(run->passes, lab->c.rows);
    for (uint64_t i = 0; i < run->passes; i++) {
        struct run_pass pass;
        struct err e = {.text = ""};

        assert_int_equal(result_read_passes(&r, 0, i, 1, &pass, &e), 0);
        book_pass(&b, log->op, count, &pass);
    }
    for (uint32_t l = 0; l <= LAYERS; l++) {
        for (int s = 0; s < RUN_SHARES; s++) {
            if (l < LAYERS)
                same(run->layer[l].share[s], b.layer[l][s], l, s);
            total[s] += b.layer[l][s];
        }
        assert_true(b.layer[l][SHARE_HOST] > 0);
    }
    for (int s = 0; s < RUN_SHARES; s++)
        assert_int_equal(run->total.share[s], total[s]);
    assert_int_equal(run->compute_busy, b.busy);
    assert_true(b.busy > 0 && b.busy < run->elapsed);
    assert_int_equal(run->migration_time, 0);
    assert_int_equal(run->elapsed, run->total.latency);
    for (uint32_t g = 0; g < GPUS; g++)
        assert_int_equal(run->gpu_rows[g], LAYERS * lab->c.rows * 6);
    assert_int_equal(run->total.counts.busiest_rows, LAYERS * lab->c.rows * 6);
    assert_int_equal(run->total.counts.computed_rows, LAYERS * lab->c.rows * 24);
    result_release(&r);
    free(log);
}

static void the_time_of_every_layer(void **state)
{
    static const char *const more[] = {"launch: graph\nbounds: no",
                                       "launch: eager\nbounds: no"};
    static const uint32_t tensors[] = {0, 2, 4};
    static const sim_time launches[] = {0, 5000000, 60000000};

    (void)state;
    for (int i = 0; i < 2 * 3 * 3; i++) {
        struct crew_case c = even;
        struct crew_lab *lab;

        c.more = more[i % 2];
        c.tensor = tensors[i / 2 % 3];
        lab = crew_lab_new(&c, NULL);
        lab->machine.host.launch_eager = launches[i / 6];
        check_totals(lab);
        crew_lab_free(lab);
    }
}

/* Attention groups of as many rows take as long, whichever rows they are: on a GPU that
 * computes slowly a dense block's time is that of its tokens. */
static void every_group_has_its_own_tokens(void **state)
{
    struct crew_case c = even;
    struct crew_lab *lab;

    (void)state;
    c.more = "launch: graph\nbounds: no";
    for (uint32_t tensor = 0; tensor <= 2; tensor += 2) {
        c.tensor = tensor;
        lab = crew_lab_new(&c, NULL);
        lab->machine.gpu.bf16_flops = 1e9;
        check_totals(lab);
        crew_lab_free(lab);
    }
}

/* Two requests of 7 and 4 prompt tokens and 5 and 30 answer tokens, where 5 rows of each
 * were recorded: 11 prompt rows are drawn, and 29 - 5 of the second answer, whose
 * first token is the prompt's; 30 - 5 where prompts are skipped. */
static void rows_that_were_drawn(void **state)
{
    char path[] = "/tmp/moesim_crew_lengths_XXXXXX";
    FILE *f = fdopen(mkstemp(path), "w");
    struct crew_case c = even;
    struct crew_lab *lab;
    struct result r;
    char *workload = mem_format("{arrivals: file, lengths: file, file: %s}", path);

    (void)state;
    assert_non_null(f);
    assert_true(fputs("TIMESTAMP,ContextTokens,GeneratedTokens\n"
                      "2023-11-16 18:17:03.0000000,7,5\n"
                      "2023-11-16 18:17:03.0000000,4,30\n",
                      f) >= 0);
    assert_int_equal(fclose(f), 0);
    c.workload = workload;
    c.requests = 2;
    c.more = "bounds: no";
    lab = crew_lab_new(&c, NULL);
    (void)crew_lab_run(lab, "fifo", 1, &r, NULL);
    assert_int_equal(r.policy[0].run.rows_resampled, 11 + 29 - 5);
    assert_int_equal(r.policy[0].run.prompts_skipped, 0);
    assert_true(r.policy[0].run.finished);
    assert_int_equal(r.policy[0].run.request[0].prompt_tokens, 7);
    assert_int_equal(r.policy[0].run.request[1].prompt_tokens, 4);
    result_release(&r);
    crew_lab_free(lab);
    free(workload);
    workload =
        mem_format("{arrivals: file, lengths: file, prefill: skip, file: %s}", path);
    c.workload = workload;
    lab = crew_lab_new(&c, NULL);
    (void)crew_lab_run(lab, "fifo", 1, &r, NULL);
    assert_int_equal(r.policy[0].run.rows_resampled, 30 - 5);
    assert_int_equal(r.policy[0].run.prompts_skipped, 2);
    result_release(&r);
    crew_lab_free(lab);
    free(workload);
    assert_int_equal(remove(path), 0);
}

/* With one byte less than a run needs, its KV cache does not fit in the last pass: the
 * run fails, and says so. */
static void a_cache_that_outgrows_memory(void **state)
{
    struct crew_case c = even;
    struct crew_lab *lab;
    uint64_t least = 0, enough = UINT64_C(80000000000);
    struct err e = {.text = ""};

    (void)state;
    c.more = "bounds: no";
    lab = crew_lab_new(&c, NULL);
    while (enough - least > 1) {
        struct result r;

        e.text[0] = '\0';
        lab->machine.gpu.memory_bytes = least + (enough - least) / 2;
        if (crew_lab_run(lab, "fifo", 1, &r, &e) == 0) {
            enough = lab->machine.gpu.memory_bytes;
            assert_true(r.policy[0].run.finished);
            assert_string_equal(e.text, "");
            result_release(&r);
        } else {
            least = lab->machine.gpu.memory_bytes;
            assert_true(e.text[0] != '\0');
        }
    }
    lab->machine.gpu.memory_bytes = least;
    assert_int_equal(crew_lab_run(lab, "fifo", 1, &(struct result){.policies = 0}, &e),
                     -1);
    assert_non_null(strstr(e.text, "pass 4 needs "));
    crew_lab_free(lab);
}

/* A placement that needs the loads of batches has those of the profile at the start, and
 * places every row. */
static void a_placement_by_history(void **state)
{
    struct crew_case c = even;
    struct crew_lab *lab;
    struct result r;
    uint64_t rows = 0;

    (void)state;
    c.cyclic = false;
    c.place = "anti-correlation";
    c.more = "bounds: no";
    lab = crew_lab_new(&c, NULL);
    (void)crew_lab_run(lab, "fifo", 1, &r, NULL);
    for (uint32_t g = 0; g < GPUS; g++)
        rows += r.policy[0].run.gpu_rows[g];
    assert_int_equal(rows, r.policy[0].run.total.counts.activations);
    assert_true(rows > 0);
    result_release(&r);
    crew_lab_free(lab);
}

/* 65535 rows for each of twice 32768 chosen are just less than 32 bits hold; 65536 are as
 * many as they do not. */
static void a_capacity_beyond_32_bits(void **state)
{
    struct crew_case c = {.nodes = 1,
                          .gpus = 2,
                          .per_root = 1,
                          .nvlink = true,
                          .layers = 1,
                          .experts = 2,
                          .top_k = 2,
                          .candidates = 2,
                          .hidden = 64,
                          .requests = 2,
                          .rows = 32768,
                          .prefill_rows = 32768,
                          .workload = "{mode: static, batch: 2}",
                          .place = "linear",
                          .place_more = "",
                          .gate = "capacity-factor",
                          .cf = 65535,
                          .more = "bounds: no"};
    struct crew_lab *lab = crew_lab_new(&c, NULL);
    struct err e = {.text = ""};
    struct result r;

    (void)state;
    (void)crew_lab_run(lab, "count", 1, &r, NULL);
    assert_int_equal(r.policy[0].run.total.counts.computed_rows,
                     2 * UINT64_C(65535) * 65536);
    result_release(&r);
    lab->c.cf = 65536;
    assert_int_equal(crew_lab_run(lab, "count", 1, &r, &e), -1);
    assert_non_null(strstr(e.text, "gate: capacity-factor gives every expert 4294967296 "
                                   "rows, more than 4294967295; choose a smaller cf"));
    crew_lab_free(lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_time_of_every_layer),
        cmocka_unit_test(every_group_has_its_own_tokens),
        cmocka_unit_test(a_placement_by_history),
        cmocka_unit_test(rows_that_were_drawn),
        cmocka_unit_test(a_cache_that_outgrows_memory),
        cmocka_unit_test(a_capacity_beyond_32_bits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
