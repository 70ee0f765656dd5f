/* The selects on drawn batches, against rules written once more by sorting and counting;
 * what they do where there is nothing to do; and what they say they did. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "naive_select.h"

#include "sim/base/mem.h"
#include "sim/policy/policy.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CASES = 1500 }; /* of each rule */

/* ---- a select with its state ---- */

struct chooser {
    char *text;
    struct cfg *document;
    struct policy *policy;
    const struct select_type *type;
    const void *params;
    void *state;
    struct select_room room;
};

/* Takes the text. */
static void chooser_open(struct chooser *c, char *text, const struct naive_shape *shape,
                         const uint64_t *profile)
{
    struct policy_shape sizes = {.layers = NAIVE_LAYERS,
                                 .experts = shape->experts,
                                 .top_k = shape->top_k,
                                 .profile = profile};
    struct err e = {.text = ""};

    *c = (struct chooser){.text = text,
                          .document = cfg_parse("select", text, strlen(text), &e)};
    assert_non_null(c->document);
    c->policy = policy_from_node(cfg_root(c->document), "sim/policy/presets", &e);
    if (c->policy == NULL)
        fail_msg("%s: %s", text, e.text);
    c->type = policy_select(c->policy);
    c->params = c->policy->params[SLOT_SELECT];
    if (c->type->state_size == NULL)
        return;
    c->state = mem_zalloc(1, c->type->state_size(&sizes, c->params));
    memset(c->state, 0xa5, c->type->state_size(&sizes, c->params)); /* any contents */
    c->type->init(c->state, &sizes, c->params);
}

static void chooser_close(struct chooser *c)
{
    select_room_release(&c->room);
    free(c->state);
    policy_free(c->policy);
    cfg_free(c->document);
    free(c->text);
}

/* ---- what is expected ---- */

static const uint16_t *recorded_of(const struct naive_batch *b, uint32_t row)
{
    return b->choice + row * b->shape.top_k;
}

static bool has(const uint16_t *id, uint32_t count, uint16_t x)
{
    for (uint32_t i = 0; i < count; i++)
        if (id[i] == x)
            return true;
    return false;
}

static void fail_row(const struct chooser *c, const struct naive_batch *b, uint32_t row,
                     const uint16_t *is, const struct naive_picks *picks)
{
    struct naive_row x;

    naive_look(b, row, &x);
    print_error("%s: %u rows, %u experts, top %u of %u, score kind %d%s\n", c->text,
                b->rows, b->shape.experts, b->shape.top_k, b->shape.width,
                (int)b->shape.kind, b->shape.biased ? ", biased" : "");
    for (uint32_t i = 0; i < x.count; i++)
        print_error("%s%u:%.6g%s ", i == x.executed ? "| " : "", x.id[i], x.mass[i],
                    b->resident[x.id[i]] ? "r" : "");
    print_error("\nchosen: ");
    for (uint32_t i = 0; i < b->shape.top_k; i++)
        print_error("%d ", is[i] == VIEW_NO_EXPERT ? -1 : (int)is[i]);
    print_error("\nexpected: ");
    for (uint32_t i = 0; i < picks->count[row]; i++)
        print_error("%u ", x.id[picks->place[row][i]]);
    fail_msg("\nrow %u has other experts", row);
}

/* A row's choice is what the naive rule picks, or exactly as recorded where that is the
 * same experts. */
static void check_row(const struct chooser *c, const struct naive_batch *b, uint32_t row,
                      const uint16_t *is, const struct naive_picks *picks)
{
    const uint32_t top_k = b->shape.top_k;
    uint32_t count = 0, same = 0;
    struct naive_row x;

    naive_look(b, row, &x);
    while (count < top_k && is[count] != VIEW_NO_EXPERT)
        count++;
    for (uint32_t i = count; i < top_k; i++)
        assert_int_equal(is[i], VIEW_NO_EXPERT);
    if (count != picks->count[row])
        fail_row(c, b, row, is, picks);
    for (uint32_t i = 0; i < count; i++) {
        same += picks->place[row][i] < x.executed;
        if (!has(is, count, x.id[picks->place[row][i]]))
            fail_row(c, b, row, is, picks);
    }
    if (same == count && count == x.executed)
        assert_memory_equal(is, recorded_of(b, row), top_k * sizeof *is);
}

static void is_mass(uint64_t fixed, double mass, uint32_t rows)
{
    assert_true(fabs((double)fixed / (double)SELECT_MASS_ONE - mass) <= rows * 0x1p-32);
}

static void check_quality(const struct naive_batch *b, const struct naive_picks *picks,
                          const struct select_quality *q)
{
    struct select_quality n = {.mass = q->mass, .kept = q->kept};
    double mass[2] = {0, 0};

    naive_measure(b, picks, &n, mass);
    is_mass(q->mass, mass[0], b->rows);
    is_mass(q->kept, mass[1], b->rows);
    assert_memory_equal(q, &n, sizeof n);
}

/* ---- drawn batches ---- */

static void draw_shape(struct rng *r, struct naive_shape *s)
{
    static const enum view_score kinds[] = {VIEW_SOFTMAX, VIEW_SIGMOID, VIEW_LOGIT};

    s->experts = 1 + (uint32_t)rng_below(r, NAIVE_EXPERTS);
    s->top_k = 1 + (uint32_t)rng_below(r, s->experts < 6 ? s->experts : 6);
    s->width = s->experts;
    if (rng_below(r, 3) == 0)
        s->width = s->top_k + (uint32_t)rng_below(r, s->experts - s->top_k + 1);
    if (rng_below(r, 6) == 0)
        s->width = s->top_k;
    s->kind = kinds[rng_below(r, 3)];
    s->sorted = rng_below(r, 2) == 0;
    s->biased = !s->sorted && rng_below(r, 2) == 0;
    s->ties = !s->biased && rng_below(r, 3) == 0;
}

/* Two batches in turn by one state: what a step leaves behind does not matter, nor how
 * many rows the one before had. Counts what was changed. */
static uint64_t try_rule(enum naive_rule rule, uint64_t number)
{
    struct rng r = rng_stream(number, "select", rule);
    struct select_quality q;
    struct naive_params p;
    struct naive_shape s;
    struct naive_batch b;
    struct chooser c;
    uint64_t changed = 0;

    draw_shape(&r, &s);
    if (rule == NAIVE_ERAS_BIAS) /* whose ties are a matter of rounding */
        s.ties = false;
    naive_draw_params(&r, rule, &p);
    naive_draw_batch(&r, &s, &b);
    chooser_open(&c, naive_text(&p), &s, b.profile);
    for (int step = 0; step < 2; step++) {
        uint64_t profile[NAIVE_LAYERS * NAIVE_EXPERTS];
        uint16_t choice[NAIVE_ROWS * NAIVE_EXPERTS];
        struct naive_picks picks;
        struct view v;

        memcpy(profile, b.profile, sizeof profile);
        if (step == 1)
            naive_draw_batch(&r, &s, &b);
        memcpy(b.profile, profile, sizeof profile); /* known from the start */
        v = naive_view(&b);
        memcpy(choice, b.choice, sizeof choice);
        q = (struct select_quality){.rows = 0};
        naive_select(&b, &p, &picks);
        select_apply(c.type, c.params, c.state, &v, &c.room, choice, &q);
        for (uint32_t row = 0; row < b.rows; row++)
            check_row(&c, &b, row, choice + row * s.top_k, &picks);
        check_quality(&b, &picks, &q);
        changed += q.changed + q.fewer;
    }
    chooser_close(&c);
    return changed;
}

static void test_rules(void **state)
{
    (void)state;
    for (int rule = 0; rule < NAIVE_RULES; rule++) {
        uint64_t changed = 0;

        for (uint64_t i = 0; i < CASES; i++)
            changed += try_rule((enum naive_rule)rule, i);
        assert_true(changed > CASES / 2); /* or they were tried on nothing */
    }
}

/* ---- nothing to do ---- */

/* With such options every row executes what was recorded, whoever chose it. */
static void test_nothing_to_do(void **state)
{
    static const char *const idle[] = {
        "eras-threshold, alpha: 0",
        "eras-bias, beta: 0",
        "affinity-binning, theta: 0",
        "affinity-binning, beta: 0, theta: 1", /* each expert counts 1 or more */
        "affinity-binning, alpha: 0, theta: 1",
        "budget, experts: 4096",
        "budget, share: 1, sum: executed",
        "lynx, drop: 0",
        "lynx, drop: 0, form: accuracy",
        "top-k, k: 6",
        "oea, k0: 6",
        "oea, k0: 4096, k_max: 1",
        "naee, beta: 1e-300",
        "naee, calibrate: 1000000000",
    };
    (void)state;
    for (uint64_t i = 0; i < 100; i++)
        for (size_t k = 0; k < sizeof idle / sizeof *idle; k++) {
            struct rng r = rng_stream(i, "idle", k);
            struct select_quality q = {.rows = 0};
            uint16_t choice[NAIVE_ROWS * NAIVE_EXPERTS];
            struct naive_shape s;
            struct naive_batch b;
            struct chooser c;
            struct view v;

            draw_shape(&r, &s);
            naive_draw_batch(&r, &s, &b);
            chooser_open(&c, mem_format("{select: {name: %s}}", idle[k]), &s, b.profile);
            memcpy(choice, b.choice, sizeof choice);
            v = naive_view(&b);
            select_apply(c.type, c.params, c.state, &v, &c.room, choice, &q);
            assert_memory_equal(choice, b.choice, sizeof choice);
            assert_int_equal(q.changed + q.fewer, 0);
            assert_int_equal(q.top1, q.rows);
            assert_int_equal(q.left, q.distinct);
            assert_int_equal(q.kept, q.mass);
            chooser_close(&c);
        }
}

/* ---- residency above all ---- */

/* However little the others score, a row executes nothing that is missing where as many
 * candidates as it executes are resident; else it executes all of those. */
static void check_residents(const struct naive_batch *b, const uint16_t *choice)
{
    for (uint32_t row = 0; row < b->rows; row++) {
        struct naive_row x;
        uint32_t there = 0, taken = 0;

        naive_look(b, row, &x);
        for (uint32_t i = 0; i < x.count; i++)
            there += b->resident[x.id[i]];
        for (uint32_t i = 0; i < x.executed; i++)
            taken += b->resident[choice[row * b->shape.top_k + i]];
        assert_int_equal(taken, there < x.executed ? there : x.executed);
    }
}

static void test_residents_first(void **state)
{
    static const char *const most[] = {
        "eras-threshold, alpha: 2", "eras-threshold, alpha: 1e9", "eras-bias, beta: 1e9"};
    (void)state;
    for (uint64_t i = 0; i < 200; i++)
        for (size_t k = 0; k < sizeof most / sizeof *most; k++) {
            struct rng r = rng_stream(i, "residents", k);
            struct select_quality q = {.rows = 0};
            uint16_t choice[NAIVE_ROWS * NAIVE_EXPERTS];
            struct naive_shape s;
            struct naive_batch b;
            struct chooser c;
            struct view v;

            draw_shape(&r, &s);
            s.ties = false; /* one of weight 0 is worth nothing, wherever it is */
            naive_draw_batch(&r, &s, &b);
            chooser_open(&c, mem_format("{select: {name: %s}}", most[k]), &s, b.profile);
            memcpy(choice, b.choice, sizeof choice);
            v = naive_view(&b);
            select_apply(c.type, c.params, c.state, &v, &c.room, choice, &q);
            check_residents(&b, choice);
            assert_int_equal(q.fewer, 0);
            chooser_close(&c);
        }
}

/* ---- a threshold that is learned ---- */

/* Rows of two experts whose second weighs 1/8, 2/8, ... of the first: the first five
 * calibrate, so that the median is the third of their ratios. Rows of one tell nothing,
 * nor do other layers. */
static void test_median(void **state)
{
    static const struct naive_shape shape = {
        .experts = 2, .top_k = 2, .width = 2, .sorted = true};
    static const float ratio[] = {0.125F, 0.75F, 0.5F,  0.25F, 0.625F,
                                  0.375F, 0.5F,  0.75F, 0.125F};
    static const uint32_t kept[] = {2, 2, 2, 2, 2, 1, 2, 2, 1};
    enum { STEPS = sizeof ratio / sizeof *ratio };
    static const uint16_t two[] = {1, 0}, one[] = {1, VIEW_NO_EXPERT};
    struct chooser c;

    (void)state;
    chooser_open(&c, mem_strdup("{select: {name: naee, calibrate: 5}}"), &shape, NULL);
    for (size_t i = 0; i < NAIVE_LAYERS * STEPS; i++) {
        const float score[] = {0.5F, 0.5F * ratio[i % STEPS]}, half[] = {0.5F, 0};
        struct naive_batch b = {
            .shape = shape, .rows = 2, .layer = (uint32_t)(i / STEPS)};
        struct select_quality q = {.rows = 0};
        struct view v = naive_view(&b);
        uint16_t choice[4];

        naive_put_row(&b, 0, two, score);
        naive_put_row(&b, 1, one, half);
        memcpy(choice, b.choice, sizeof choice);
        select_apply(c.type, c.params, c.state, &v, &c.room, choice, &q);
        assert_int_equal(choice[0], 1);
        assert_int_equal(choice[1], kept[i % STEPS] == 2 ? 0 : VIEW_NO_EXPERT);
        assert_int_equal(choice[2], 1);
        assert_int_equal(q.fewer, 2 - kept[i % STEPS]);
    }
    chooser_close(&c);
}

/* Where all experts weigh alike, none weighs less than the median. */
static void test_median_of_equals(void **state)
{
    static const struct naive_shape shape = {.experts = 2, .top_k = 2, .width = 2};
    static const uint16_t id[] = {1, 0};
    static const float score[] = {0.5F, 0.5F};
    struct naive_batch b = {.shape = shape, .rows = 1};
    struct chooser c;

    (void)state;
    naive_put_row(&b, 0, id, score);
    chooser_open(&c, mem_strdup("{select: {name: naee, calibrate: 2}}"), &shape, NULL);
    for (int i = 0; i < 4; i++) {
        struct select_quality q = {.rows = 0};
        struct view v = naive_view(&b);
        uint16_t choice[2] = {1, 0};

        select_apply(c.type, c.params, c.state, &v, &c.room, choice, &q);
        assert_int_equal(q.fewer, 0);
    }
    chooser_close(&c);
}

/* A batch may have no rows: half of a pass of one, say. */
static void test_no_rows(void **state)
{
    static const struct naive_shape shape = {.experts = 5, .top_k = 2, .width = 5};
    static const uint64_t profile[NAIVE_LAYERS * 5] = {1, 2, 3};

    (void)state;
    for (int rule = 0; rule < NAIVE_RULES; rule++) {
        struct rng r = rng_stream(1, "none", (uint64_t)rule);
        struct naive_batch b = {.shape = shape};
        struct select_quality q = {.rows = 0}, none = {.rows = 0};
        struct view v = naive_view(&b);
        struct naive_params p;
        struct chooser c;

        naive_draw_params(&r, (enum naive_rule)rule, &p);
        chooser_open(&c, naive_text(&p), &shape, profile);
        select_apply(c.type, c.params, c.state, &v, &c.room, NULL, &q);
        assert_memory_equal(&q, &none, sizeof q);
        chooser_close(&c);
    }
}

/* ---- the best few of many ---- */

static void test_greatest(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 3000; i++) {
        struct rng r = rng_stream(i, "greatest", 0);
        uint32_t count = 1 + (uint32_t)rng_below(&r, 40);
        uint32_t keep = (uint32_t)rng_below(&r, count + 1);
        uint32_t values = 1 + (uint32_t)rng_below(&r, 30);
        uint16_t list[40];
        double value[40];
        bool first[40] = {false};

        for (uint32_t k = 0; k < count; k++) {
            uint32_t at = (uint32_t)rng_below(&r, k + 1);

            list[k] = list[at];
            list[at] = (uint16_t)k;
            value[k] = (double)rng_below(&r, values);
        }
        select_greatest(list, count, keep, value);
        for (uint32_t k = 0; k < keep; k++)
            first[list[k]] = true;
        for (uint32_t k = 0; k < count; k++) {
            uint32_t before = 0;

            for (uint32_t x = 0; x < count; x++)
                before += value[x] > value[k] || (value[x] == value[k] && x < k);
            assert_int_equal(first[k], before < keep);
        }
    }
}

/* ---- sums do not depend on the order of rows ---- */

/* Ten tenths are as much as one: of equal scores the lower id stays, whoever's rows come
 * first. */
static void test_tenths(void **state)
{
    static const struct naive_shape shape = {
        .experts = 4, .top_k = 2, .width = 4, .kind = VIEW_LOGIT, .sorted = true};
    struct naive_batch b = {.shape = shape, .rows = 10};
    struct select_quality q = {.rows = 0};
    uint16_t choice[20];
    struct chooser c;
    struct view v;

    (void)state;
    /* Nine rows have 3 a bin ahead of 0, one has 1 so: 3 counts nine, 1 one, and 0 ten
     * tenths. None has as much as theta, so that two stay: 3, and 0, which is before 1.
     */
    for (uint32_t row = 0; row < 10; row++) {
        uint16_t best = row == 4 ? 1 : 3;
        const uint16_t id[] = {best, 0, 2, row == 4 ? 3 : 1};
        const float score[] = {4, 3, -4, -5};

        naive_put_row(&b, row, id, score);
    }
    memcpy(choice, b.choice, sizeof choice);
    chooser_open(
        &c,
        mem_strdup("{select: {name: affinity-binning, alpha: 1, beta: 3, margin: "
                   "64, theta: 20}}"),
        &shape, NULL);
    v = naive_view(&b);
    select_apply(c.type, c.params, c.state, &v, &c.room, choice, &q);
    assert_int_equal(q.left, 2);
    for (uint32_t row = 0; row < 10; row++) {
        assert_true(has(choice + (size_t)row * 2, 2, 0));
        assert_true(has(choice + (size_t)row * 2, 2, 3));
    }
    chooser_close(&c);
}

/* ---- the mass of logits ---- */

/* The softmax in twice as many digits, over all that a logit can be. */
static void test_softmax(void **state)
{
    static const float ranges[] = {1e-3F, 1, 20, 650, 1400, 60000};
    struct naive_shape shape = {
        .experts = 12, .top_k = 2, .width = 12, .kind = VIEW_LOGIT};

    (void)state;
    for (uint64_t i = 0; i < 600; i++) {
        struct rng r = rng_stream(i, "softmax", 0);
        struct naive_batch b = {.shape = shape, .rows = 1};
        struct select_room room = {.rows = 0};
        uint16_t id[NAIVE_EXPERTS];
        float z[NAIVE_EXPERTS], most = -INFINITY;
        long double sum = 0;
        struct select_step s;
        struct view v;

        for (uint16_t x = 0; x < shape.width; x++) {
            id[x] = x;
            z[x] = ranges[i % 6] * (float)(rng_unit(&r) - 0.5);
            most = z[x] > most ? z[x] : most;
        }
        naive_put_row(&b, 0, id, z);
        v = naive_view(&b);
        select_look(&s, &room, &v);
        for (uint16_t x = 0; x < shape.width; x++)
            sum += expl((long double)z[x] - most);
        for (uint16_t at = 0; at < shape.width; at++) {
            long double own = expl((long double)z[select_ids(&s, 0)[at]] - most) / sum;
            long double is = select_masses(&s, 0)[at];

            if (fabsl(is - own) > 2e-15L * own + 1e-300L)
                fail_msg("%.17Lg, not %.17Lg", is, own);
        }
        select_room_release(&room);
    }
}

/* ---- passes ---- */

static void test_phases(void **state)
{
    static const struct view_row pass[][2] = {
        {{.phase = VIEW_PREFILL}, {.phase = VIEW_PREFILL}},
        {{.phase = VIEW_DECODE}, {.phase = VIEW_DECODE}},
        {{.phase = VIEW_DECODE}, {.phase = VIEW_PREFILL}},
        {{.phase = VIEW_DECODE}, {.phase = VIEW_VERIFY}},
        {{.phase = VIEW_PREFILL}, {.phase = VIEW_VERIFY}},
        {{.phase = VIEW_DRAFT}, {.phase = VIEW_DRAFT}},
    };
    enum { PASSES = sizeof pass / sizeof *pass };
    static const bool chosen[][PASSES] = {[SELECT_DECODE] = {0, 1, 0, 1, 0, 1},
                                          [SELECT_VERIFY] = {0, 0, 0, 1, 0, 0},
                                          [SELECT_ALL] = {1, 1, 1, 1, 1, 1}};
    static const struct {
        const char *name;
        bool decode;
    } made[] = {{"lynx", true},  {"affinity-binning", true},
                {"oea", true},   {"budget", true},
                {"top-k", true}, {"eras-threshold", false},
                {"naee", false}, {"eras-bias", false},
                {"none", false}};

    (void)state;
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
        const struct select_type *type =
            (const struct select_type *)registry_find(SLOT_SELECT, made[i].name);
        bool never = strcmp(made[i].name, "none") == 0;

        for (size_t k = 0; k < PASSES; k++) {
            for (int phases = SELECT_DECODE; phases <= SELECT_ALL; phases++)
                assert_int_equal(
                    select_chooses(type, (enum select_phases)phases, pass[k], 2),
                    chosen[phases][k] && !never);
            assert_int_equal(select_chooses(type, SELECT_AUTO, pass[k], 2),
                             chosen[made[i].decode ? SELECT_DECODE : SELECT_ALL][k] &&
                                 !never);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_nothing_to_do),
        cmocka_unit_test(test_residents_first),
        cmocka_unit_test(test_median),
        cmocka_unit_test(test_median_of_equals),
        cmocka_unit_test(test_no_rows),
        cmocka_unit_test(test_greatest),
        cmocka_unit_test(test_tenths),
        cmocka_unit_test(test_softmax),
        cmocka_unit_test(test_phases),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
