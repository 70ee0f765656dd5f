/* The look-ahead file against brute force. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "sim/run/future.h"

#include "sim/base/mem.h"
#include "sim/base/rng.h"

#include <stdlib.h>
#include <string.h>

/* Steps as they are written, and the next uses found by looking for them. */
struct steps {
    uint32_t layers, experts, passes;
    uint32_t *count;  /* (pass, layer) */
    uint16_t *active; /* (pass, layer, experts) ascending, or as `order` says */
    enum cache_order order;
};

static uint32_t count_of(const struct steps *s, uint32_t pass, uint32_t layer)
{
    return s->count[(size_t)pass * s->layers + layer];
}

static const uint16_t *active_of(const struct steps *s, uint32_t pass, uint32_t layer)
{
    return s->active + ((size_t)pass * s->layers + layer) * s->experts;
}

/* Each expert is active with a probability of its step; some steps and whole passes have
 * none. */
static struct steps draw_steps(uint64_t seed, uint32_t layers, uint32_t experts,
                               uint32_t passes)
{
    struct steps s = {.layers = layers, .experts = experts, .passes = passes};
    struct rng r = rng_stream(seed, "steps", 0);
    size_t all = (size_t)passes * layers;

    s.count = mem_zalloc(all, sizeof *s.count);
    s.active = mem_alloc(all * experts, sizeof *s.active);
    for (size_t i = 0; i < all; i++) {
        double most = rng_below(&r, 8) == 0 ? 0.0 : rng_unit(&r);

        if (i % layers == 0 && rng_below(&r, 10) == 0) {
            i += layers - 1;
            continue;
        }
        for (uint32_t x = 0; x < experts; x++)
            if (rng_unit(&r) < most)
                s.active[i * experts + s.count[i]++] = (uint16_t)x;
    }
    return s;
}

/* The same steps, their experts in any order. */
static void shuffle_steps(struct steps *s, uint64_t seed)
{
    struct rng r = rng_stream(seed, "shuffle", 0);

    s->order = CACHE_ORDER_RECORDED;
    for (size_t step = 0; step < (size_t)s->passes * s->layers; step++)
        for (uint32_t i = s->count[step]; i > 1; i--) {
            uint16_t *active = s->active + step * s->experts;
            size_t other = rng_below(&r, i);
            uint16_t last = active[i - 1];

            active[i - 1] = active[other];
            active[other] = last;
        }
}

static void release_steps(struct steps *s)
{
    free(s->count);
    free(s->active);
}

static struct future *write_steps(const struct steps *s)
{
    struct err e = {.text = ""};
    struct future_writer *w = future_writer_new(s->layers, s->experts, s->order, &e);
    struct future *f;

    assert_non_null(w);
    for (uint32_t p = 0; p < s->passes; p++)
        for (uint32_t l = 0; l < s->layers; l++)
            if (future_writer_step(w, active_of(s, p, l), count_of(s, p, l), &e) != 0)
                fail_msg("%s", e.text);
    f = future_finish(w, &e);
    if (f == NULL)
        fail_msg("%s", e.text);
    return f;
}

/* Next uses by walking back over a table of the last seen. */
static struct cache_use *find_next(const struct steps *s)
{
    size_t objects = (size_t)s->layers * s->experts;
    struct cache_use *next = mem_alloc(s->passes * objects, sizeof *next);

    for (uint32_t p = s->passes; p-- > 0;)
        for (size_t i = 0; i < objects; i++) {
            uint32_t l = (uint32_t)(i / s->experts), x = (uint32_t)(i % s->experts);
            struct cache_use *use = &next[p * objects + i];

            *use = (struct cache_use){CACHE_NEVER, (uint32_t)i};
            if (p + 1 == s->passes)
                continue;
            *use = next[(p + 1) * objects + i];
            for (uint32_t k = 0; k < count_of(s, p + 1, l); k++)
                if (active_of(s, p + 1, l)[k] == x)
                    *use = (struct cache_use){
                        p + 1, l * s->experts + (s->order == CACHE_ORDER_ID ? x : k)};
        }
    return next;
}

/* What a reader shows `ahead` of step `at`; nothing beyond the end of the next pass. */
static void check_peek(const struct steps *s, const struct cache_use *next,
                       const struct future_reader *r, uint32_t at, uint32_t ahead)
{
    struct future_step step = future_reader_peek(r, ahead);
    uint32_t pass = (at + ahead) / s->layers;
    uint32_t layer = (at + ahead) % s->layers;

    if (pass >= s->passes || pass > at / s->layers + 1) {
        assert_int_equal(step.count, 0);
        return;
    }
    assert_int_equal(step.count, count_of(s, pass, layer));
    for (uint32_t i = 0; i < step.count; i++) {
        uint32_t x = active_of(s, pass, layer)[i];
        size_t at_use = ((size_t)pass * s->layers + layer) * s->experts + x;

        assert_int_equal(step.active[i], x);
        assert_int_equal(step.next_use[i].pass, next[at_use].pass);
        assert_int_equal(step.next_use[i].place, next[at_use].place);
    }
}

static void check_uses(const struct steps *s, const struct future *f)
{
    uint64_t *uses = mem_zalloc((size_t)s->layers * s->experts, sizeof *uses);

    for (uint32_t p = 0; p < s->passes; p++)
        for (uint32_t l = 0; l < s->layers; l++)
            for (uint32_t i = 0; i < count_of(s, p, l); i++)
                uses[(size_t)l * s->experts + active_of(s, p, l)[i]]++;
    assert_memory_equal(future_uses(f), uses,
                        (size_t)s->layers * s->experts * sizeof *uses);
    free(uses);
}

/* Two readers go their own ways: one is always `lead` steps ahead of the other. */
static void check_steps(const struct steps *s, uint32_t lead)
{
    struct future *f = write_steps(s);
    struct cache_use *next = find_next(s);
    struct future_reader *first = future_reader_new(f);
    struct future_reader *second = future_reader_new(f);
    struct err e = {.text = ""};
    uint32_t all = s->passes * s->layers;

    assert_int_equal(future_passes(f), s->passes);
    check_uses(s, f);
    for (uint32_t at = 0; at < all + lead; at++) {
        if (at < all) {
            assert_int_equal(future_reader_next(first, &e), 0);
            for (uint32_t ahead = 0; ahead <= 2 * s->layers + 1; ahead++)
                check_peek(s, next, first, at, ahead);
        }
        if (at >= lead) {
            assert_int_equal(future_reader_next(second, &e), 0);
            check_peek(s, next, second, at - lead, 0);
            check_peek(s, next, second, at - lead, s->layers);
        }
    }
    /* Past the end there is nothing. */
    assert_int_equal(future_reader_next(first, &e), 0);
    assert_int_equal(future_reader_peek(first, 0).count, 0);
    assert_int_equal(future_reader_peek(first, s->layers).count, 0);
    future_reader_free(first);
    future_reader_free(second);
    future_free(f);
    free(next);
}

static void test_small(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct rng r = rng_stream(seed, "sizes", 0);
        struct steps s =
            draw_steps(seed, 1 + (uint32_t)rng_below(&r, 5),
                       1 + (uint32_t)rng_below(&r, 12), 1 + (uint32_t)rng_below(&r, 30));

        if (seed % 2 == 0)
            shuffle_steps(&s, seed);
        check_steps(&s, (uint32_t)rng_below(&r, 40));
        release_steps(&s);
    }
}

/* 2^18 words make a block of 1 MiB. 400 passes of 3 layers with about 500 of 1000 experts
 * take two words each: some 4 blocks. */
static void test_blocks(void **state)
{
    struct steps s = draw_steps(99, 3, 1000, 400);
    size_t words = 0;

    (void)state;
    for (size_t i = 0; i < (size_t)s.passes * s.layers; i++)
        words += 1 + 2 * (size_t)s.count[i];
    assert_true(words > 3 * ((size_t)1 << 18));
    check_steps(&s, 500);
    release_steps(&s);
}

/* One pass that is larger than a block, between small ones. */
static void test_large_pass(void **state)
{
    struct steps s = draw_steps(5, 40, 4000, 3);
    size_t words = 0;

    (void)state;
    for (uint32_t l = 0; l < s.layers; l++) {
        s.count[l] = l == 7 ? 1 : 0;
        s.active[(size_t)l * s.experts] = 3999;
        s.count[s.layers + l] = s.experts;
        for (uint32_t x = 0; x < s.experts; x++)
            s.active[((size_t)s.layers + l) * s.experts + x] = (uint16_t)x;
        words += 1 + 2 * (size_t)s.experts;
    }
    assert_true(words > (size_t)1 << 18);
    check_steps(&s, 1);
    release_steps(&s);
}

/* No step at all, and an unfinished writer. */
static void test_empty(void **state)
{
    struct steps none = draw_steps(1, 2, 3, 0);
    uint16_t one = 1;
    struct err e = {.text = ""};
    struct future_writer *w = future_writer_new(2, 3, CACHE_ORDER_ID, &e);

    (void)state;
    check_steps(&none, 0);
    assert_non_null(w);
    assert_int_equal(future_writer_step(w, &one, 1, &e), 0);
    future_writer_free(w);
    future_writer_free(NULL);
    future_free(NULL);
    future_reader_free(NULL);
    release_steps(&none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small),
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_large_pass),
        cmocka_unit_test(test_empty),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
