/* The selects against the vectors of an independent implementation (MOESIM_ORACLE). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "oracle_file.h"

#include "sim/policy/policy.h"
#include "sim/policy/select.h"

#include <math.h>
#include <string.h>

/* ---- a batch with the scores of all experts ---- */

struct batch {
    uint32_t rows, experts, top_k;
    uint16_t *candidate; /* (row, expert) by descending logit, ties to the lower id */
    float *logit;        /* of the same */
    uint16_t *choice;    /* (row, top_k) */
    struct view_row *row;
    struct select_room room;
};

static void sort_candidates(uint16_t *id, float *z, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++)
        for (uint32_t k = i; k > 0 && z[k - 1] < z[k]; k--) {
            float of = z[k];
            uint16_t x = id[k];

            z[k] = z[k - 1];
            z[k - 1] = of;
            id[k] = id[k - 1];
            id[k - 1] = x;
        }
}

static void batch_open(struct batch *b, const struct cfg_node *logits, uint32_t experts,
                       uint32_t top_k)
{
    *b = (struct batch){
        .rows = (uint32_t)cfg_count(logits), .experts = experts, .top_k = top_k};
    b->candidate = mem_alloc((size_t)b->rows * experts, sizeof *b->candidate);
    b->logit = mem_alloc((size_t)b->rows * experts, sizeof *b->logit);
    b->choice = mem_alloc((size_t)b->rows * top_k, sizeof *b->choice);
    b->row = mem_zalloc(b->rows, sizeof *b->row);
    for (uint32_t r = 0; r < b->rows; r++) {
        uint16_t *id = b->candidate + (size_t)r * experts;
        float *z = b->logit + (size_t)r * experts;

        for (uint32_t i = 0; i < experts; i++) {
            id[i] = (uint16_t)i;
            z[i] = (float)oracle_value(cfg_item(cfg_item(logits, r), i));
        }
        sort_candidates(id, z, experts);
        memcpy(b->choice + (size_t)r * top_k, id, top_k * sizeof *id);
        b->row[r].phase = VIEW_DECODE;
    }
}

static void batch_close(struct batch *b)
{
    free(b->candidate);
    free(b->logit);
    free(b->choice);
    free(b->row);
    select_room_release(&b->room);
}

static struct view look(const struct batch *b, const struct cache *cache)
{
    return (struct view){.layers = 1,
                         .experts = b->experts,
                         .top_k = b->top_k,
                         .candidates = b->experts,
                         .rows = b->rows,
                         .row = b->row,
                         .choice = b->choice,
                         .choice_stride = b->top_k,
                         .score = b->logit,
                         .score_stride = b->experts,
                         .score_kind = VIEW_LOGIT,
                         .sorted = true,
                         .candidate = b->candidate,
                         .candidate_stride = b->experts,
                         .cache = cache};
}

/* ---- a select with its state ---- */

struct chooser {
    struct cfg *document;
    struct policy *policy;
    const struct select_type *type;
    void *state;
    struct select_quality quality;
};

static void chooser_open(struct chooser *c, char *text, const struct policy_shape *shape)
{
    struct err e = {.text = ""};

    *c = (struct chooser){.document = cfg_parse("select", text, strlen(text), &e)};
    assert_non_null(c->document);
    c->policy = policy_from_node(cfg_root(c->document), "sim/policy/presets", &e);
    if (c->policy == NULL)
        fail_msg("%s: %s", text, e.text);
    free(text);
    c->type = policy_select(c->policy);
    if (c->type->state_size == NULL)
        return;
    c->state = mem_zalloc(1, c->type->state_size(shape, c->policy->params[SLOT_SELECT]));
    c->type->init(c->state, shape, c->policy->params[SLOT_SELECT]);
}

static void chooser_close(struct chooser *c)
{
    free(c->state);
    policy_free(c->policy);
    cfg_free(c->document);
}

static void choose(struct chooser *c, struct batch *b, const struct cache *cache)
{
    struct view v = look(b, cache);

    if (c->type->apply != NULL)
        select_apply(c->type, c->policy->params[SLOT_SELECT], c->state, &v, &b->room,
                     b->choice, &c->quality);
}

/* ---- what is expected ---- */

static bool has(const struct cfg_node *ids, uint16_t id)
{
    for (size_t i = 0; i < cfg_count(ids); i++)
        if ((uint16_t)oracle_value(cfg_item(ids, i)) == id)
            return true;
    return false;
}

static void check_ids(const struct batch *b, const struct cfg_node *ids)
{
    assert_int_equal(cfg_count(ids), b->rows);
    for (uint32_t r = 0; r < b->rows; r++) {
        const uint16_t *choice = b->choice + (size_t)r * b->top_k;
        uint32_t count = 0;

        for (; count < b->top_k && choice[count] != VIEW_NO_EXPERT; count++)
            assert_true(has(cfg_item(ids, r), choice[count]));
        assert_int_equal(count, cfg_count(cfg_item(ids, r)));
    }
}

static double weight_of(const struct chooser *c, const struct select_step *s,
                        uint32_t row, uint16_t id)
{
    const uint16_t *ids = select_ids(s, row);
    uint32_t at = 0;

    while (ids[at] != id)
        at++;
    return c->type != NULL && c->type->weight != NULL
               ? c->type->weight(c->state, s, row, at)
               : select_masses(s, row)[at];
}

static void check_weights(const struct chooser *c, struct batch *b,
                          const struct cache *cache, const struct cfg_node *ids,
                          const struct cfg_node *weights, double tolerance)
{
    struct view v = look(b, cache);
    struct select_step s;

    select_look(&s, &b->room, &v);
    for (uint32_t r = 0; r < b->rows; r++) {
        const struct cfg_node *id = cfg_item(ids, r);
        double sum = 0;

        for (size_t i = 0; i < cfg_count(id); i++)
            sum += weight_of(c, &s, r, (uint16_t)oracle_value(cfg_item(id, i)));
        for (size_t i = 0; i < cfg_count(id); i++) {
            double own =
                weight_of(c, &s, r, (uint16_t)oracle_value(cfg_item(id, i))) / sum;
            double expected = oracle_value(cfg_item(cfg_item(weights, r), i));

            assert_true(fabs(own - expected) <= tolerance);
        }
    }
}

/* ---- Lynx and its controls ---- */

static char *lynx_text(const struct cfg_node *v)
{
    const char *rule = cfg_text(oracle_at(v, "rule"));
    const struct cfg_node *p = oracle_at(v, "params");

    if (strncmp(rule, "v1-", 3) == 0)
        return mem_format("{select: {name: lynx, form: %s, drop: %s}}", rule + 3,
                          cfg_text(oracle_at(p, "drop")));
    if (strcmp(rule, "v3") == 0)
        return mem_format("{select: {name: affinity-binning, alpha: %s, beta: %s, "
                          "theta: %s, margin: %s, rounding: %s}}",
                          cfg_text(oracle_at(p, "alpha")), cfg_text(oracle_at(p, "beta")),
                          cfg_text(oracle_at(p, "theta")),
                          cfg_text(oracle_at(p, "margin")),
                          cfg_text(oracle_at(p, "rounding")));
    if (strcmp(rule, "oea") == 0)
        return mem_format("{select: {name: oea, k0: %s}}", cfg_text(oracle_at(p, "k0")));
    if (strcmp(rule, "xshare") == 0)
        return mem_format("{select: {name: budget, experts: %s}}",
                          cfg_text(oracle_at(p, "budget")));
    if (strcmp(rule, "reduce") == 0)
        return mem_format("{select: {name: top-k, k: %s}}", cfg_text(oracle_at(p, "k1")));
    fail_msg("no select is called %s", rule);
    return NULL;
}

/* The vectors have eight digits of each number. */
static void is_near(double value, double expected)
{
    if (fabs(value - expected) > 5.1e-9)
        fail_msg("%.12g, not %.12g", value, expected);
}

static void check_lynx(const struct cfg_node *v)
{
    const struct cfg_node *expect = oracle_at(v, "expect");
    struct policy_shape shape = {.layers = 1,
                                 .experts = (uint32_t)oracle_number(v, "experts"),
                                 .top_k = (uint32_t)oracle_number(v, "top_k")};
    struct chooser c;
    struct batch b;
    const struct select_quality *q = &c.quality;

    batch_open(&b, oracle_at(v, "logits"), shape.experts, shape.top_k);
    chooser_open(&c, lynx_text(v), &shape);
    choose(&c, &b, NULL);
    check_ids(&b, oracle_at(expect, "ids"));
    check_weights(&c, &b, NULL, oracle_at(expect, "ids"), oracle_at(expect, "weights"),
                  5e-9);
    assert_int_equal(q->rows, b.rows);
    assert_int_equal(q->distinct, oracle_number(expect, "distinct_before"));
    assert_int_equal(q->left, oracle_number(expect, "distinct"));
    is_near((double)q->changed / (double)q->choices, oracle_number(expect, "changed"));
    is_near(select_quality_lost(q) / (double)q->rows, oracle_number(expect, "mass_lost"));
    is_near((double)q->top1 / (double)q->rows, oracle_number(expect, "top1_kept"));
    chooser_close(&c);
    batch_close(&b);
}

static void test_lynx(void **state)
{
    struct cfg *c = oracle_open("lynx_vectors", "lynx.json");
    const struct cfg_node *vectors;

    (void)state;
    if (c == NULL)
        skip();
    vectors = oracle_at(cfg_root(c), "vectors");
    assert_true(cfg_count(vectors) > 0);
    for (size_t i = 0; i < cfg_count(vectors); i++)
        check_lynx(cfg_item(vectors, i));
    cfg_free(c);
}

/* ---- MoE-ERAS, with its cache ---- */

struct eras {
    struct policy_shape shape;
    uint64_t *profile;
    double tolerance;
    struct chooser chooser;
    struct cache *cache;
    uint64_t misses;
};

#define CACHE "cache: {slots: %u, protect: prefer, preload: last, order: hits-first}"

static char *eras_text(const struct cfg_node *v, uint32_t slots)
{
    const char *rule = cfg_text(oracle_at(v, "rule"));
    const char *value = cfg_text(oracle_at(v, "value"));

    if (strcmp(rule, "threshold") == 0)
        return mem_format("{select: {name: eras-threshold, alpha: %s}, " CACHE "}", value,
                          slots);
    if (strcmp(rule, "bias") == 0)
        return mem_format("{select: {name: eras-bias, beta: %s}, " CACHE "}", value,
                          slots);
    assert_string_equal(rule, "topk");
    return mem_format("{" CACHE "}", slots);
}

/* Shares of six digits, of which one vector's sum to 1.000001: its weights agree to that.
 */
static void read_profile(struct eras *x, const struct cfg_node *freq)
{
    double sum = 0;

    x->tolerance = 5e-9;
    if (!cfg_is_list(freq))
        return;
    x->profile = mem_alloc(x->shape.experts, sizeof *x->profile);
    for (uint32_t i = 0; i < x->shape.experts; i++) {
        sum += oracle_value(cfg_item(freq, i));
        x->profile[i] = (uint64_t)llround(1e6 * oracle_value(cfg_item(freq, i)));
    }
    if (fabs(sum - 1) > 1e-9)
        x->tolerance = 1e-6;
    x->shape.profile = x->profile;
}

static void open_cache(struct eras *x)
{
    static const uint64_t bytes[] = {1};
    struct err e = {.text = ""};
    const struct policy *p = x->chooser.policy;
    struct cache_config config = {.algorithm = policy_cache(p),
                                  .params = p->cache,
                                  .layers = 1,
                                  .experts = x->shape.experts,
                                  .expert_bytes = bytes};

    assert_null(cache_resolve(&config.params, 1, x->shape.experts, bytes, &e));
    x->cache = cache_new(&config, &e);
    assert_non_null(x->cache);
}

/* The experts of a step are accessed once each. */
static void access_all(struct eras *x, const struct batch *b,
                       const struct cfg_node *misses)
{
    uint16_t *active = mem_alloc(x->shape.experts, sizeof *active);
    uint16_t *turn = mem_alloc(x->shape.experts, sizeof *turn);
    bool *has_rows = mem_zalloc(x->shape.experts, sizeof *has_rows);
    uint32_t count = 0, missed = 0;

    for (size_t i = 0; i < (size_t)b->rows * b->top_k; i++)
        has_rows[b->choice[i]] = true;
    for (uint32_t i = 0; i < x->shape.experts; i++)
        if (has_rows[i])
            active[count++] = (uint16_t)i;
    cache_begin_step(x->cache, 0, active, count);
    cache_order_hits_first(x->cache, 0, active, count, turn);
    for (uint32_t i = 0; i < count; i++) {
        uint16_t id = active[turn[i]];

        if (cache_access(x->cache, 0, id, CACHE_UNUSED).outcome != CACHE_HIT) {
            assert_true(has(misses, id));
            missed++;
        }
    }
    assert_int_equal(missed, cfg_count(misses));
    x->misses += missed;
    free(active);
    free(turn);
    free(has_rows);
}

static void check_resident(const struct eras *x, const struct cfg_node *resident)
{
    assert_int_equal(cache_resident_count(x->cache), cfg_count(resident));
    for (size_t i = 0; i < cfg_count(resident); i++)
        assert_int_not_equal(
            cache_slot_of(x->cache, 0, (uint32_t)oracle_value(cfg_item(resident, i))),
            CACHE_NONE);
}

static void check_eras_step(struct eras *x, const struct cfg_node *logits,
                            const struct cfg_node *expect)
{
    struct batch b;

    batch_open(&b, logits, x->shape.experts, x->shape.top_k);
    choose(&x->chooser, &b, x->cache);
    check_ids(&b, oracle_at(expect, "ids"));
    check_weights(&x->chooser, &b, x->cache, oracle_at(expect, "ids"),
                  oracle_at(expect, "weights"), x->tolerance);
    access_all(x, &b, oracle_at(expect, "misses"));
    check_resident(x, oracle_at(expect, "resident"));
    batch_close(&b);
}

static void check_eras(const struct cfg_node *v)
{
    const struct cfg_node *expect = oracle_at(v, "expect"),
                          *logits = oracle_at(v, "logits");
    uint32_t offloaded = (uint32_t)oracle_number(v, "offloaded");
    struct eras x = {.shape = {.layers = 1,
                               .experts = (uint32_t)oracle_number(v, "experts"),
                               .top_k = (uint32_t)oracle_number(v, "top_k")}};
    const struct select_quality *q = &x.chooser.quality;

    read_profile(&x, oracle_at(v, "freq"));
    chooser_open(&x.chooser, eras_text(v, x.shape.experts - offloaded), &x.shape);
    open_cache(&x);
    for (size_t i = 0; i < cfg_count(logits); i++)
        check_eras_step(&x, cfg_item(logits, i), cfg_item(oracle_at(expect, "steps"), i));
    assert_int_equal(x.misses, oracle_number(expect, "misses"));
    assert_int_equal(x.misses, oracle_number(expect, "copies_in"));
    assert_int_equal(q->changed, oracle_number(expect, "changed"));
    if (q->rows > 0)
        is_near(select_quality_lost(q) / (double)q->rows,
                oracle_number(expect, "mass_lost"));
    chooser_close(&x.chooser);
    cache_free(x.cache);
    free(x.profile);
}

static void test_eras(void **state)
{
    struct cfg *c = oracle_open("eras_vectors", "eras.json");
    const struct cfg_node *vectors;

    (void)state;
    if (c == NULL)
        skip();
    vectors = oracle_at(cfg_root(c), "vectors");
    assert_true(cfg_count(vectors) > 0);
    for (size_t i = 0; i < cfg_count(vectors); i++)
        check_eras(cfg_item(vectors, i));
    cfg_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lynx),
        cmocka_unit_test(test_eras),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
