/* Agreement of what was predicted and executed, on operations spelled out. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "validate/agreement_print.h"
#include "validate/tally.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MS (1000 * SIM_TIME_PER_US)

static void add(struct agreement_ops *o, op_id id, enum op_kind kind, uint32_t layer,
                uint32_t expert, sim_time start, sim_time length)
{
    enum op_lane lane = kind == OP_HOST      ? LANE_HOST
                        : kind == OP_COPY_IN ? LANE_COPY_IN
                                             : LANE_COMPUTE;
    struct agreement_op op = {id,    kind,   lane,
                              layer, expert, {start, start, start + length, false}};

    agreement_ops_add(o, &op);
}

/* A pass of one dense layer 0 and one MoE layer, decoder layer 1; ids from `id`. Its
 * operations take `unit` each, its groups of experts, if two, half of it. */
static op_id add_pass(struct agreement_ops *o, op_id id, sim_time at, sim_time unit,
                      bool two_groups)
{
    add(o, id++, OP_DENSE, 0, 0, at, unit);
    add(o, id++, OP_DENSE, 1, 0, at, unit);
    add(o, id, OP_GATE, 0, 0, at, unit);
    add(o, id++, OP_HOST, 0, 0, at, unit);
    add(o, id++, OP_COPY_IN, 0, 5, at, unit);
    add(o, id++, OP_COPY_IN, 0, 3, at, 2 * unit);
    for (int i = 0; i < 1 + two_groups; i++)
        add(o, id++, OP_EXPERTS, 0, 0, at, two_groups ? unit / 2 : unit);
    add(o, id, OP_HEAD, 0, 0, at, unit);
    add(o, id++, OP_HOST, 0, 0, at, unit);
    return id;
}

static const struct agreement_row *find(const struct agreement *a, uint64_t pass,
                                        enum op_kind kind, uint32_t layer,
                                        uint32_t expert)
{
    for (size_t i = 0; i < a->rows; i++)
        if (a->row[i].pass == pass && a->row[i].kind == kind &&
            a->row[i].layer == layer && a->row[i].expert == expert)
            return &a->row[i];
    fail_msg("no such row");
    return NULL;
}

static void same(double a, double b)
{
    if (!(fabs(a - b) <= 1e-12 * fmax(1.0, fabs(b))))
        fail_msg("%.15g is not %.15g", a, b);
}

/* Three passes, the first for warm-up; predicted 4 ms an operation; measured 5 ms, 8 ms
 * and 5 ms, in the last pass with two groups where one was predicted. */
static void test_alignment(void **state)
{
    /* Dense blocks have numbers of decoder layers already; nobody asks for the second. */
    static const uint16_t moe_layer[] = {1, 1};
    static const sim_time unit[3] = {5 * MS, 8 * MS, 5 * MS};
    struct agreement_ops predicted = {NULL, 0, 0}, measured[3] = {{NULL, 0, 0}};
    struct run_pass said[3] = {{.latency = 0}}, done[3][3] = {{{.latency = 0}}};
    const struct run_pass *const all[] = {done[0], done[1], done[2]};
    struct agreement_input in = {.label = "lru",
                                 .passes = 3,
                                 .warmup = 1,
                                 .repeats = 3,
                                 .predicted = said,
                                 .measured = all,
                                 .predicted_ops = &predicted,
                                 .measured_ops = measured,
                                 .decoder_layers = 2,
                                 .moe_layers = 1,
                                 .moe_layer = moe_layer};
    struct agreement a;
    double most;

    (void)state;
    for (uint32_t p = 0; p < 3; p++) {
        said[p] = (struct run_pass){.latency = 20 * MS, .rows = 2, .outputs = 1};
        said[p].share[SHARE_DENSE] = 20 * MS;
        (void)add_pass(&predicted, 1 + p * 8, p * 100 * MS, 4 * MS, false);
        for (uint32_t r = 0; r < 3; r++) {
            done[r][p].latency = (p == 1 ? 25 : 40) * MS + r * MS;
            done[r][p].share[SHARE_DENSE] = 20 * MS;
            done[r][p].share[SHARE_COPY] = done[r][p].latency - 20 * MS;
            (void)add_pass(&measured[r], 1 + p * 8, p * 100 * MS, unit[r], p == 2);
        }
    }
    agreement_find(&in, &a);
    same(a.pass[1].measured_s, 26e-3);
    same(a.pass[2].least_s, 40e-3);
    same(a.pass[2].most_s, 42e-3);
    assert_int_equal(a.pass[1].rows, 2);
    assert_int_equal(a.pass[1].outputs, 1);
    assert_int_equal(a.of_pass.count, 2);
    same(a.of_pass.worst, 1.0 - 20.0 / 41.0);
    assert_int_equal(a.of_pass.worst_at, 1);
    same(a.of_pass.median, 1.0 - (20.0 / 26.0 + 20.0 / 41.0) / 2.0);
    same(a.spread, (2.0 / 26.0 + 2.0 / 41.0) / 2.0);
    same(find(&a, 1, OP_DENSE, 0, 0)->measured_s, 5e-3);
    same(find(&a, 1, OP_DENSE, 1, 0)->predicted_s, 4e-3);
    same(find(&a, 1, OP_COPY_IN, 1, 3)->measured_s, 10e-3);
    same(find(&a, 1, OP_EXPERTS, 1, 0)->number, 0);
    assert_int_equal(find(&a, 2, OP_EXPERTS, 1, 0)->number, AGREEMENT_ALL);
    same(find(&a, 2, OP_EXPERTS, 1, 0)->measured_s, 5e-3);
    same(find(&a, 2, OP_HOST, 2, 0)->measured_s, 5e-3); /* the wait for the head */
    assert_int_equal(a.of_kind[OP_DENSE].count, 4);
    same(a.of_kind[OP_DENSE].median, 0.2);
    same(a.layer_measured_s[0], 10e-3);
    same(a.layer_measured_s[1], 2 * (5 + 5 + 5 + 10 + 5) * 1e-3);
    assert_int_equal(agreement_largest_share(&a, &most), SHARE_COPY);
    same(most, ((26.0 - 20.0) + (41.0 - 20.0)) / 2.0 * 1e-3);
    assert_int_equal(agreement_over_all(&a, 1, OP_HEAD).count, 2);
    agreement_release(&a);
    agreement_ops_release(&predicted);
    for (int r = 0; r < 3; r++)
        agreement_ops_release(&measured[r]);
}

/* What one of two is: emulated, so that there is no figure of it, or measured. */
static void is_told(double x, bool emulated)
{
    assert_int_equal(isnan(x) != 0, emulated);
}

static void check_told(const struct agreement *a, bool emulated)
{
    assert_int_equal(a->emulated, emulated);
    assert_int_equal(a->of_pass.count, emulated ? 0 : 2);
    same(a->of_pass.predicted_s, 41e-3);
    is_told(a->of_pass.measured_s, emulated);
    is_told(a->of_pass.median, emulated);
    is_told(a->spread, emulated);
    for (int p = 0; p < 2; p++) {
        same(a->pass[p].predicted_s, (20 + p) * 1e-3);
        is_told(a->pass[p].measured_s, emulated);
        is_told(a->pass[p].least_s, emulated);
        is_told(a->pass[p].most_s, emulated);
    }
    for (size_t r = 0; r < a->rows; r++) {
        is_told(a->row[r].predicted_s, false);
        is_told(a->row[r].measured_s, emulated);
    }
    for (int s = 0; s < RUN_SHARES; s++)
        is_told(a->measured_share_s[s], emulated);
    same(a->predicted_share_s[SHARE_DENSE], 20.5e-3);
    same(a->layer_predicted_s[0], 8e-3);
    for (int l = 0; l < 2; l++)
        is_told(a->layer_measured_s[l], emulated);
    assert_int_equal(a->of_kind[OP_DENSE].count, emulated ? 0 : 4);
}

/* Two passes of one layer; what they took on what is emulated is not told anywhere, and
 * what is predicted is. Beside a policy that was measured the other says nothing. */
static void test_emulated(void **state)
{
    static const uint16_t moe_layer[] = {1};
    struct agreement_ops predicted = {NULL, 0, 0}, measured = {NULL, 0, 0};
    struct run_pass said[2] = {{.latency = 0}}, done[2] = {{.latency = 0}};
    const struct run_pass *const all[] = {done};
    struct agreement_input in = {.label = "near",
                                 .passes = 2,
                                 .repeats = 1,
                                 .emulated = true,
                                 .predicted = said,
                                 .measured = all,
                                 .predicted_ops = &predicted,
                                 .measured_ops = &measured,
                                 .decoder_layers = 2,
                                 .moe_layers = 1,
                                 .moe_layer = moe_layer};
    struct agreement a[2];

    (void)state;
    for (uint32_t p = 0; p < 2; p++) {
        said[p] = (struct run_pass){.latency = (20 + p) * MS, .rows = 2, .outputs = 1};
        done[p] = (struct run_pass){.latency = 30 * MS, .rows = 2, .outputs = 1};
        said[p].share[SHARE_DENSE] = (20 + p) * MS;
        done[p].share[SHARE_COPY] = 30 * MS;
        (void)add_pass(&predicted, 1 + p * 8, p * 100 * MS, 4 * MS, false);
        (void)add_pass(&measured, 1 + p * 8, p * 100 * MS, 5 * MS, p == 1);
    }
    agreement_find(&in, &a[0]);
    in.emulated = false;
    agreement_find(&in, &a[1]);
    assert_int_equal(a[0].rows, a[1].rows);
    check_told(&a[0], true);
    check_told(&a[1], false);
    for (int k = 0; k <= OP_KINDS; k++) {
        struct agreement_error both = agreement_over_all(a, 2, (enum op_kind)k);
        struct agreement_error one = agreement_over_all(&a[1], 1, (enum op_kind)k);

        assert_int_equal(both.count, one.count);
        if (one.count > 0)
            same(both.predicted_s / both.measured_s, one.predicted_s / one.measured_s);
    }
    agreement_release(&a[0]);
    agreement_release(&a[1]);
    agreement_ops_release(&predicted);
    agreement_ops_release(&measured);
}

/* The list grows, and keeps what it had. */
static void test_many_operations(void **state)
{
    struct agreement_ops o = {NULL, 0, 0};

    (void)state;
    for (op_id id = 1; id <= 9000; id++)
        add(&o, id, OP_DENSE, (uint32_t)id, 0, 0, MS);
    assert_int_equal(o.count, 9000);
    assert_true(o.room >= o.count);
    for (size_t i = 0; i < o.count; i++)
        assert_true(o.op[i].id == i + 1 && o.op[i].layer == i + 1);
    agreement_ops_release(&o);
    assert_null(o.op);
    assert_int_equal(o.count, 0);
}

/* A prefetch that only one side made, or that was cancelled, has no error; of a run
 * without warm-up the first pass counts. */
static void test_one_sided(void **state)
{
    static const uint16_t moe_layer[] = {0};
    struct agreement_ops predicted = {NULL, 0, 0}, measured = {NULL, 0, 0};
    struct agreement_op cancelled = {2, OP_COPY_IN, LANE_COPY_IN,
                                     0, 3,          {0, 0, 4 * MS, true}};
    struct run_pass said = {.latency = 3 * MS}, done = {.latency = 4 * MS};
    const struct run_pass *const all[] = {&done};
    struct agreement_input in = {.label = "lru",
                                 .passes = 1,
                                 .repeats = 1,
                                 .predicted = &said,
                                 .measured = all,
                                 .predicted_ops = &predicted,
                                 .measured_ops = &measured,
                                 .decoder_layers = 1,
                                 .moe_layers = 1,
                                 .moe_layer = moe_layer};
    struct agreement a;

    (void)state;
    add(&predicted, 1, OP_GATE, 0, 0, 0, 2 * MS);
    agreement_ops_add(&predicted, &cancelled);
    add(&predicted, 3, OP_COPY_IN, 0, 5, 0, MS);
    add(&predicted, 4, OP_HEAD, 0, 0, 0, MS);
    add(&predicted, 5, OP_COPY_IN, 0, 6, 0, MS); /* behind the last pass */
    add(&measured, 4, OP_HEAD, 0, 0, 0, 2 * MS);
    add(&measured, 2, OP_COPY_IN, 0, 3, 0, 3 * MS);
    add(&measured, 1, OP_GATE, 0, 0, 0, 4 * MS);
    agreement_find(&in, &a);
    assert_int_equal(a.rows, 5);
    assert_true(isnan(find(&a, 0, OP_COPY_IN, 0, 3)->predicted_s));
    same(find(&a, 0, OP_COPY_IN, 0, 3)->measured_s, 3e-3);
    assert_true(isnan(find(&a, 0, OP_COPY_IN, 0, 5)->measured_s));
    assert_int_equal(find(&a, 1, OP_COPY_IN, 0, 6)->pass, 1);
    assert_int_equal(a.of_kind[OP_COPY_IN].count, 0);
    assert_true(isnan(a.of_kind[OP_COPY_IN].median));
    assert_true(isnan(a.of_kind[OP_COPY_IN].worst));
    assert_int_equal(a.of_kind[OP_GATE].count, 1);
    same(a.of_kind[OP_GATE].worst, 0.5);
    assert_int_equal(a.of_pass.count, 1);
    same(a.of_pass.median, 0.25);
    assert_int_equal(a.of_pass.worst_at, 0);
    same(a.layer_predicted_s[0], 2e-3);
    same(a.layer_measured_s[0], 4e-3);
    same(a.spread, 0.0);
    agreement_release(&a);
    assert_null(a.row);
    agreement_ops_release(&predicted);
    agreement_ops_release(&measured);
}

static void test_tau(void **state)
{
    static const double measured[] = {1.0, 2.0, 3.0, 4.0};
    size_t pairs;

    (void)state;
    same(agreement_tau((double[]){10, 20, 30, 40}, measured, 4, 0.1, &pairs), 1.0);
    assert_int_equal(pairs, 6);
    same(agreement_tau((double[]){4, 3, 2, 1}, measured, 4, 0.1, &pairs), -1.0);
    /* One discordant pair of six. */
    same(agreement_tau((double[]){1, 3, 2, 4}, measured, 4, 0.1, &pairs), 4.0 / 6.0);
    /* One predicted tie of six: 5 / sqrt(6 * 5). */
    same(agreement_tau((double[]){1, 2, 2, 4}, measured, 4, 0.1, &pairs),
         5.0 / sqrt(30.0));
    /* Only pairs that are apart: 3 and 4 are not, at 40 %. */
    same(agreement_tau((double[]){1, 2, 4, 3}, measured, 4, 0.4, &pairs), 1.0);
    assert_int_equal(pairs, 5);
    assert_true(
        isnan(agreement_tau(measured, (double[]){1, 1.05, 1, 1}, 4, 0.1, &pairs)));
    assert_int_equal(pairs, 0);
}

static void test_counts(void **state)
{
    struct run_layer p_layer = {.counts = {.hits = 3}}, m_layer = p_layer;
    struct run_result p = {.passes = 2, .layers = 1, .layer = &p_layer};
    struct run_result m = {.passes = 2, .layers = 1, .layer = &m_layer};
    struct tally a, b;
    struct err e = {.text = ""};

    (void)state;
    m_layer.counts.late = 7;
    assert_int_equal(agreement_compare_counts("lru", &p, &m, &e), 0);
    m_layer.counts.hits = 4;
    assert_int_equal(agreement_compare_counts("lru", &p, &m, &e), -1);
    assert_string_equal(e.text, "policy 'lru': 3 hits in MoE layer 0 were predicted, but "
                                "4 counted in the executed run; please report this");
    tally_init(&a, 1, 4);
    tally_init(&b, 1, 4);
    e.text[0] = '\0';
    assert_int_equal(tally_compare("lru", &a, &b, &e), 0);
    b.tokens[2] = 1;
    assert_int_equal(tally_compare("lru", &a, &b, &e), -1);
    assert_non_null(strstr(e.text, "expert 2 of MoE layer 0 was to compute 0 rows"));
    tally_release(&a);
    tally_release(&b);
}

/* Two policies: what is said of them, or "" where all agrees. */
static const char *compare_two(struct result_policy *p, struct result_policy *m,
                               const struct tally *asked, const struct tally *done)
{
    static struct err e;
    const struct result predicted = {.policies = 2, .policy = p};
    const struct result measured = {.policies = 2, .policy = m};
    int status;

    e.text[0] = '\0';
    status = agreement_compare_results(&predicted, &measured, asked, done, &e);
    assert_int_equal(status, e.text[0] == '\0' ? 0 : -1);
    return e.text;
}

/* The first policy that differs, and its counts before what its executor did. */
static void test_results(void **state)
{
    struct result_policy p[] = {{.label = "lru"}, {.label = "lfu"}};
    struct result_policy m[] = {{.label = "lru"}, {.label = "lfu"}};
    struct tally asked[2], done[2];

    (void)state;
    for (int i = 0; i < 2; i++) {
        tally_init(&asked[i], 1, 4);
        tally_init(&done[i], 1, 4);
    }
    assert_string_equal(compare_two(p, m, asked, done), "");
    done[1].copies_out = 1;
    assert_string_equal(compare_two(p, m, asked, done),
                        "policy 'lfu': 0 copies out were predicted, but the device "
                        "did 1; please report this");
    m[1].run.total.counts.hits = 2;
    assert_string_equal(compare_two(p, m, asked, done),
                        "policy 'lfu': 0 hits were predicted, but 2 counted in the "
                        "executed run; please report this");
    done[1].copies_out = 0;
    assert_string_equal(compare_two(p, m, asked, done),
                        "policy 'lfu': 0 hits were predicted, but 2 counted in the "
                        "executed run; please report this");
    p[0].run.passes = 3;
    assert_string_equal(compare_two(p, m, asked, done),
                        "policy 'lru': 3 passes were predicted, but 0 executed; please "
                        "report this");
    for (int i = 0; i < 2; i++) {
        tally_release(&asked[i]);
        tally_release(&done[i]);
    }
}

/* Every count is compared, in each layer and over all, and named where it differs; how
 * many came late is a matter of time. */
static void test_every_count(void **state)
{
    static const struct {
        size_t at;
        const char *name;
    } field[] = {
        {offsetof(struct run_counts, activations), "activations"},
        {offsetof(struct run_counts, dropped), "dropped"},
        {offsetof(struct run_counts, accesses), "accesses"},
        {offsetof(struct run_counts, hits), "hits"},
        {offsetof(struct run_counts, loads), "loads"},
        {offsetof(struct run_counts, swaps), "loads that evict"},
        {offsetof(struct run_counts, bypasses), "bypasses"},
        {offsetof(struct run_counts, host_runs), "experts run on the host"},
        {offsetof(struct run_counts, near_runs), "experts run near the data"},
        {offsetof(struct run_counts, prefetches), "prefetches"},
        {offsetof(struct run_counts, prefetch_used), "prefetches used"},
        {offsetof(struct run_counts, displaced), "experts loaded again after a prefetch"},
        {offsetof(struct run_counts, demand_bytes), "bytes on demand"},
        {offsetof(struct run_counts, prefetch_bytes), "bytes ahead of use"},
        {offsetof(struct run_counts, wasted_bytes), "bytes in vain"},
        {offsetof(struct run_counts, out_bytes), "bytes written back"},
    };
    const struct run_layer none[2] = {{.counts = {.hits = 0}}};

    (void)state;
    for (size_t i = 0; i < sizeof field / sizeof *field; i++) {
        for (int place = 0; place < 2; place++) {
            struct run_layer p_layer[2], m_layer[2];
            struct run_result p = {.layers = 2, .layer = p_layer};
            struct run_result m = {.layers = 2, .layer = m_layer};
            struct run_counts *c = place == 0 ? &m_layer[1].counts : &m.total.counts;
            struct err e = {.text = ""};
            char wanted[160];

            memcpy(p_layer, none, sizeof none);
            memcpy(m_layer, none, sizeof none);
            assert_int_equal(agreement_compare_counts("lru", &p, &m, &e), 0);
            *(uint64_t *)(void *)((char *)c + field[i].at) = 9;
            assert_int_equal(agreement_compare_counts("lru", &p, &m, &e), -1);
            (void)snprintf(wanted, sizeof wanted,
                           "policy 'lru': 0 %s%s were predicted, but 9 counted in the "
                           "executed run; please report this",
                           field[i].name, place == 0 ? " in MoE layer 1" : "");
            assert_string_equal(e.text, wanted);
        }
    }
}

static void test_other_lengths(void **state)
{
    struct run_result p = {.passes = 2}, m = {.passes = 3};
    struct err passes = {.text = ""}, layers = {.text = ""};

    (void)state;
    assert_int_equal(agreement_compare_counts("lru", &p, &m, &passes), -1);
    assert_string_equal(passes.text, "policy 'lru': 2 passes were predicted, but 3 "
                                     "executed; please report this");
    m = (struct run_result){.passes = 2, .layers = 1};
    assert_int_equal(agreement_compare_counts("lru", &p, &m, &layers), -1);
}

/* ---- what an executor is asked to do ---- */

static op_id count_submitted(struct exec *x, const struct op *op)
{
    (void)op;
    return ++*(op_id *)(void *)x;
}

static const struct exec_ops inner_ops = {.name = "inner", .submit = count_submitted};

/* Two layers of four experts: 3 rows of expert 1 and 2 of expert 2 on the GPU, 5 of
 * expert 2 on the host, 4 of expert 3 near the data, all of layer 1. */
static void test_tally(void **state)
{
    static const uint16_t both[] = {1, 2}, one[] = {2}, last[] = {3};
    static const uint32_t few[] = {0, 3, 2, 0}, more[] = {0, 0, 5, 4};
    const struct op ops[] = {
        {.kind = OP_COPY_IN, .class_ = WORK_DEMAND, .copy = {.bytes = 100}},
        {.kind = OP_COPY_IN, .class_ = WORK_DEMAND, .copy = {.bytes = 20}},
        {.kind = OP_COPY_IN, .class_ = WORK_PREFETCH, .copy = {.bytes = 3}},
        {.kind = OP_COPY_OUT, .copy = {.bytes = 7}},
        {.kind = OP_COPY_OUT, .copy = {.bytes = 5}},
        {.kind = OP_EXPERTS,
         .layer = 1,
         .group = {.expert = both, .tokens = few, .count = 2}},
        {.kind = OP_HOST_EXPERTS,
         .layer = 1,
         .group = {.expert = one, .tokens = more, .count = 1}},
        {.kind = OP_NEAR_EXPERTS,
         .layer = 1,
         .group = {.expert = last, .tokens = more, .count = 1}},
        {.kind = OP_DENSE, .layer = 1}};
    static const char *const said[] = {"2 copies on demand",
                                       "1 copies ahead of use",
                                       "120 bytes copied on demand",
                                       "3 bytes copied ahead of use",
                                       "2 copies out",
                                       "12 bytes copied out",
                                       "1 experts on the host",
                                       "1 experts near the data"};
    op_id submitted = 0;
    struct tally t, other;
    struct exec *x;

    (void)state;
    tally_init(&t, 2, 4);
    x = tally_exec_new(&inner_ops, (struct exec *)(void *)&submitted, &t);
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        assert_int_equal(tally_ops.submit(x, &ops[i]), i + 1);
    assert_ptr_equal(tally_exec_free(x), &submitted);
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(t.tokens[i], i == 5 ? 3 : i == 6 ? 7 : i == 7 ? 4 : 0);
    for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
        struct err e = {.text = ""};
        char wanted[160];

        other = t;
        other.copies[WORK_DEMAND] += i == 0;
        other.copies[WORK_PREFETCH] += i == 1;
        other.in_bytes[WORK_DEMAND] += i == 2;
        other.in_bytes[WORK_PREFETCH] += i == 3;
        other.copies_out += i == 4;
        other.out_bytes += i == 5;
        other.host_runs += i == 6;
        other.near_runs += i == 7;
        assert_int_equal(tally_compare("lru", &t, &t, &e), 0);
        assert_int_equal(tally_compare("lru", &t, &other, &e), -1);
        (void)snprintf(wanted, sizeof wanted, "policy 'lru': %s were predicted", said[i]);
        assert_int_equal(strncmp(e.text, wanted, strlen(wanted)), 0);
    }
    tally_init(&other, 2, 4);
    memcpy(other.tokens, t.tokens, 8 * sizeof *t.tokens);
    other.copies[WORK_DEMAND] = 2, other.copies[WORK_PREFETCH] = 1;
    other.in_bytes[WORK_DEMAND] = 120, other.in_bytes[WORK_PREFETCH] = 3;
    other.copies_out = 2, other.out_bytes = 12, other.host_runs = 1;
    other.near_runs = 1;
    other.tokens[7] = 5;
    {
        struct err e = {.text = ""};

        assert_int_equal(tally_compare("lru", &t, &other, &e), -1);
        assert_string_equal(e.text,
                            "policy 'lru': expert 3 of MoE layer 1 was to compute "
                            "4 rows, but the device computed 5; please report "
                            "this");
    }
    tally_release(&t);
    tally_release(&other);
    assert_null(t.tokens);
}

/* What is printed of one policy, whose one pass took 2 ms and not 3, and whose layers'
 * times are given. */
static void print(double *layer_predicted_s, double *layer_measured_s,
                  const struct speed *speed, char *text, size_t size)
{
    struct agreement_pass pass = {3e-3, 2e-3, 2e-3, 2e-3, 1, 1};
    struct agreement a = {.label = "lru",
                          .passes = 1,
                          .pass = &pass,
                          .decoder_layers = 3,
                          .layer_predicted_s = layer_predicted_s,
                          .layer_measured_s = layer_measured_s};
    struct agreement_report r = {.version = "",
                                 .date = "",
                                 .device = "",
                                 .device_name = "",
                                 .driver = "",
                                 .clocks = "",
                                 .element = "",
                                 .machine = "",
                                 .model = "",
                                 .trace = "",
                                 .notes = "",
                                 .speed = speed,
                                 .policies = 1,
                                 .policy = &a};
    FILE *out = tmpfile();
    size_t length;

    assert_non_null(out);
    a.of_pass = agreement_over_all(&a, 1, OP_KINDS);
    agreement_print(&r, out);
    rewind(out);
    length = fread(text, 1, size - 1, out);
    text[length] = '\0';
    (void)fclose(out);
}

/* Every layer once, also where their differences are equal. */
static void test_worst_layers(void **state)
{
    double predicted[] = {2.0, 2.0, 3.0}, measured[] = {1.0, 1.0, 1.0};
    const struct speed speed = {.whole = 1.0};
    char text[8192];

    (void)state;
    print(predicted, measured, &speed, text, sizeof text);
    assert_non_null(
        strstr(text, "layer 2 (200.0 %), layer 0 (100.0 %), layer 1 (100.0 %)\n"));
    print(measured, measured, &speed, text, sizeof text);
    assert_non_null(strstr(text, "layer 0 (0.0 %), layer 1 (0.0 %), layer 2 (0.0 %)\n"));
}

/* Predicted 50 % too long, on a machine that was 25 % faster: 1.5 / 1.25 - 1 is left. */
static void test_printed_speed(void **state)
{
    const struct speed_probe predicted = {5e-3, 5e-3}, probe = {4e-3, 4e-3};
    double layer[] = {1.0, 1.0, 1.0};
    struct speed speed;
    char text[8192];

    (void)state;
    speed_find(&predicted, &probe, 1, &speed);
    print(layer, layer, &speed, text, sizeof text);
    assert_non_null(strstr(text, "The machine ran 1.250x as fast as its machine file "
                                 "says, 1.250..1.250x over the run"));
    assert_non_null(strstr(text, "20.0 %.\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_emulated),      cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_tau),           cmocka_unit_test(test_many_operations),
        cmocka_unit_test(test_one_sided),     cmocka_unit_test(test_counts),
        cmocka_unit_test(test_results),       cmocka_unit_test(test_every_count),
        cmocka_unit_test(test_other_lengths), cmocka_unit_test(test_tally),
        cmocka_unit_test(test_worst_layers),  cmocka_unit_test(test_printed_speed)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
