/* MoE-Infinity's priority: known answers, and the released formula once more as it reads.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "cache_rig.h"
#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { LAYERS = 4, EXPERTS = 4 };

/* Of four layers of four experts, and the rows of a step's. */
struct small {
    struct cache *c;
    uint32_t tokens[EXPERTS];
};

static void begin(struct small *s, const char *options, int64_t slots)
{
    struct rig_stream stream = rig_stream_new(LAYERS, EXPERTS, 1, 1);

    rig_stream_finish(&stream);
    memset(s->tokens, 0, sizeof s->tokens);
    s->c = rig_cache(&stream, "moe-infinity", options, rig_unprotected(slots), NULL);
    assert_true(cache_wants_rows(s->c));
    cache_lend_rows(s->c, s->tokens);
    rig_stream_free(&stream);
}

/* One expert alone in its step. */
static void uses(struct small *s, uint32_t layer, uint16_t expert, uint32_t rows)
{
    s->tokens[expert] = rows;
    cache_begin_step(s->c, layer, &expert, 1);
    (void)cache_access(s->c, layer, expert, CACHE_UNUSED);
}

static bool is_there(const struct small *s, uint32_t layer, uint32_t expert)
{
    return cache_slot_of(s->c, layer, expert) != CACHE_NONE;
}

/* H = 2: at layer 0 layer 1 has 1 - 1/2, layer 2 nothing and layer 3 a third. */
static void layers_ahead_decay(void **state)
{
    static const uint32_t order[] = {2, 3, 1};
    struct small s;

    (void)state;
    begin(&s, NULL, 3);
    for (uint32_t l = 1; l < LAYERS; l++)
        uses(&s, l, 0, 1);
    for (uint32_t i = 0; i < 3; i++) {
        uses(&s, 0, (uint16_t)i, 1);
        for (uint32_t k = 0; k < 3; k++)
            assert_int_equal(is_there(&s, order[k], 0), k > i);
    }
    cache_free(s.c);
    /* At layer 3 all of its half are passed, 1; of the first half layer 1 has the least,
     * then of equals the lower layer goes; at last one of its own. */
    begin(&s, NULL, 3);
    for (uint32_t l = 0; l < 3; l++)
        uses(&s, l, 0, 1);
    uses(&s, 3, 0, 1);
    assert_false(is_there(&s, 1, 0));
    uses(&s, 3, 1, 1);
    assert_false(is_there(&s, 0, 0));
    uses(&s, 3, 2, 1);
    assert_false(is_there(&s, 2, 0));
    uses(&s, 3, 3, 1);
    assert_false(is_there(&s, 3, 0));
    cache_free(s.c);
    /* The paper's: the highest layer goes, the current one, too. */
    begin(&s, "{form: paper}", 3);
    for (uint32_t l = 0; l < LAYERS; l++)
        uses(&s, l, 0, 1);
    assert_true(is_there(&s, 0, 0) && is_there(&s, 1, 0) && !is_there(&s, 2, 0));
    uses(&s, 0, 1, 1);
    assert_false(is_there(&s, 3, 0));
    cache_free(s.c);
}

/* Of two of one layer the one with fewer tokens of the sequence goes, although it was
 * used last; with the sequence its tokens are forgotten, and the lower id goes. */
static void the_sequence_counts(void **state)
{
    static const char *const forms[] = {NULL, "{form: paper}"};

    (void)state;
    for (int i = 0; i < 4; i++) {
        bool ends = i % 2 == 1;
        struct small s;

        begin(&s, forms[i / 2], 2);
        uses(&s, 0, 0, 3);
        uses(&s, 0, 1, 2);
        if (ends) {
            cache_end_sequences(s.c, 1, 1);
            cache_end_pass(s.c);
        }
        uses(&s, 3, 0, 1);
        assert_int_equal(is_there(&s, 0, 0), !ends);
        assert_int_equal(is_there(&s, 0, 1), ends);
        cache_free(s.c);
    }
}

/* 3 hits of 4 tokens outweigh 2 hits of 5, 12 > 10 but for the ones in a million. */
static void hits_since_it_was_loaded_count(void **state)
{
    struct small s;

    (void)state;
    begin(&s, NULL, 2);
    for (uint32_t i = 0; i < 4; i++)
        uses(&s, 0, 0, 1);
    uses(&s, 0, 1, 1);
    uses(&s, 0, 1, 2);
    uses(&s, 0, 1, 2);
    uses(&s, 3, 0, 1);
    assert_true(is_there(&s, 0, 0) && !is_there(&s, 0, 1));
    cache_free(s.c);
}

/* ---- the released formula once more ---- */

struct naive {
    uint32_t layers, experts, now;
    double *matrix; /* (layer, expert) tokens of the sequences */
    double *visit;  /* (layer, expert) hits */
    bool *resident;
    bool paper;
};

static double topo(uint32_t i, uint32_t now, uint32_t half)
{
    double first = half == 0 ? 0 : 1 - (double)i / half;
    double last = ((double)i - half) / ((double)half + 1);

    if (now < half)
        return i >= half ? last : i > now ? first : 1;
    return i < half ? first : i > now ? last : 1;
}

static double score(const struct naive *n, uint32_t x)
{
    uint32_t half = n->layers / 2, layer = x / n->experts, end = half * n->experts;
    uint32_t all = n->layers * n->experts;
    double topos = 0, row = 0, hits[2] = {0, 0}, visit, freqs, seq;

    for (uint32_t y = 0; y < all; y++)
        hits[y >= end] += n->resident[y] ? n->visit[y] : 0;
    for (uint32_t e = 0; e < n->experts; e++)
        row += n->matrix[layer * n->experts + e];
    if (n->paper)
        return ((row > 0 ? n->matrix[x] / row : 0) + 1e-6) *
               (1 - (double)layer / n->layers);
    for (uint32_t l = 0; l < n->layers; l++)
        topos += topo(l, n->now, half) * n->experts;
    visit = hits[x >= end] > 0 ? n->visit[x] : 1;
    freqs = (hits[0] > 0 ? hits[0] : end) + (hits[1] > 0 ? hits[1] : all - end);
    seq = row > 0 ? n->matrix[x] / row : 1.0 / n->experts;
    return (topo(layer, n->now, half) / topos + 1e-6) * (seq / n->layers + 1e-6) *
           (visit / freqs + 1e-6);
}

static uint32_t choose(const struct naive *n, const uint8_t *active, bool here)
{
    uint32_t best = CACHE_NONE;

    for (uint32_t x = 0; x < n->layers * n->experts; x++)
        if (n->resident[x] && !active[x] && (here || x / n->experts != n->now) &&
            (best == CACHE_NONE || score(n, x) < score(n, best)))
            best = x;
    return best;
}

/* Scores of equal experts of several layers are equal, and rounded differently here, so
 * that the last digits decide: the cache's victim has to be one of the least. */
static void agrees(struct naive *n, const uint8_t *active, const struct cache_result *r)
{
    uint32_t best = n->paper ? CACHE_NONE : choose(n, active, false), went;

    if (best == CACHE_NONE)
        best = choose(n, active, true);
    if (r->outcome == CACHE_BYPASS) {
        assert_int_equal(best, CACHE_NONE);
        return;
    }
    assert_int_equal(r->evicted_count, 1);
    went = r->evicted[0].layer * n->experts + r->evicted[0].expert;
    if (went != best) {
        assert_true(score(n, went) <= score(n, best) * (1 + 1e-12));
        assert_true(n->paper || went / n->experts != n->now ||
                    best / n->experts == n->now);
    }
    n->resident[went] = false;
}

static void compare(uint64_t seed, uint32_t layers, uint32_t slots, bool paper)
{
    enum { WIDTH = 3 };
    struct rig_stream s = rig_stream_random(seed, layers, 12, 150, WIDTH);
    uint32_t all = layers * s.experts, tokens[12], residents = 0;
    struct cache_params p = {.scope = CACHE_GLOBAL, .slots = slots, .staging = 1};
    struct cache *c =
        rig_cache(&s, "moe-infinity", paper ? "{form: paper}" : NULL, p, NULL);
    struct rng r = rng_stream(seed, "rows", 0);
    struct naive n = {.layers = layers, .experts = s.experts, .paper = paper};
    uint8_t *active = mem_zalloc(all, 1);

    n.matrix = mem_zalloc(all, sizeof *n.matrix);
    n.visit = mem_zalloc(all, sizeof *n.visit);
    n.resident = mem_zalloc(all, sizeof *n.resident);
    cache_lend_rows(c, tokens);
    for (uint32_t pass = 0; pass < s.passes; pass++) {
        for (n.now = 0; n.now < layers; n.now++) {
            const uint16_t *expert = rig_step(&s, pass, n.now);

            memset(active, 0, all);
            for (uint32_t i = 0; i < WIDTH; i++) {
                tokens[expert[i]] = 1 + (uint32_t)rng_below(&r, 3);
                active[n.now * s.experts + expert[i]] = 1;
                n.matrix[n.now * s.experts + expert[i]] += tokens[expert[i]];
            }
            cache_begin_step(c, n.now, expert, WIDTH);
            for (uint32_t i = 0; i < WIDTH; i++) {
                uint32_t x = n.now * s.experts + expert[i];
                struct cache_result result =
                    cache_access(c, n.now, expert[i], CACHE_UNUSED);

                assert_int_equal(result.outcome == CACHE_HIT, n.resident[x]);
                n.visit[x] = n.resident[x] ? n.visit[x] + 1 : 0;
                if (!n.resident[x] && residents == slots)
                    agrees(&n, active, &result);
                else
                    residents += !n.resident[x];
                n.resident[x] = result.outcome != CACHE_BYPASS;
            }
        }
        if (rng_below(&r, 12) == 0) {
            uint32_t ended = 1 + (uint32_t)rng_below(&r, 2);

            cache_end_sequences(c, ended, 2);
            for (uint32_t x = 0; x < all; x++)
                n.matrix[x] *= (2.0 - ended) / 2;
        }
        cache_end_pass(c);
    }
    cache_free(c);
    free(n.matrix);
    free(n.visit);
    free(n.resident);
    free(active);
    rig_stream_free(&s);
}

static void the_formula_once_more(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 4; seed++)
        for (uint32_t layers = 1; layers < 7; layers += 2 - layers % 2)
            for (uint32_t k = 0; k < 4; k++)
                compare(60 + seed, layers, (k < 2 ? 3 : 6) * layers, k % 2 == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layers_ahead_decay),
        cmocka_unit_test(the_sequence_counts),
        cmocka_unit_test(hits_since_it_was_loaded_count),
        cmocka_unit_test(the_formula_once_more),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
