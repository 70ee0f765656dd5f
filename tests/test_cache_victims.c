/* Who has to go where the first choice is protected or too small. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "cache_rig.h"

/* One step of a layer; the outcome of its last access. */
static struct cache_result step(struct cache *c, uint32_t layer, const uint16_t *expert,
                                uint32_t count)
{
    struct cache_result r = {.outcome = CACHE_HIT};

    cache_begin_step(c, layer, expert, count);
    for (uint32_t i = 0; i < count; i++)
        r = cache_access(c, layer, expert[i], CACHE_UNUSED);
    return r;
}

static void one(struct cache *c, uint16_t expert, enum cache_outcome outcome)
{
    assert_int_equal(step(c, 0, &expert, 1).outcome, outcome);
}

/* Two slots are for what was used again, two for the new. 0, 1 and 2 were, so that one of
 * them would go first; but they are active, and 4, the only new one, goes. */
static void s3fifo_takes_a_new_one_where_the_old_are_active(void **state)
{
    static const uint16_t active[] = {0, 1, 2, 5};
    struct rig_stream s = rig_stream_new(1, 8, 1, 1);
    struct cache_params p = {.slots = 4, .staging = 1};
    struct cache *c;

    (void)state;
    rig_stream_finish(&s);
    c = rig_cache(&s, "s3fifo", "{small: 0.5, threshold: 1}", p, NULL);
    for (uint16_t x = 0; x < 3; x++) {
        one(c, x, CACHE_LOAD);
        one(c, x, CACHE_HIT);
    }
    one(c, 3, CACHE_LOAD);
    one(c, 4, CACHE_LOAD);
    assert_int_equal(cache_slot_of(c, 0, 3), CACHE_NONE);
    assert_int_equal(step(c, 0, active, 4).outcome, CACHE_LOAD);
    assert_int_equal(cache_slot_of(c, 0, 4), CACHE_NONE);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_not_equal(cache_slot_of(c, 0, active[i]), CACHE_NONE);
    cache_free(c);
    rig_stream_free(&s);
}

/* Of 10 bytes an active expert has 5 and another 2; 5 more find 3 free and 2 that may go,
 * which is just enough; of 9 bytes it is one too few, and nothing goes. */
static void what_is_free_and_what_may_go_add_up(void **state)
{
    static const uint64_t bytes[] = {2, 5};
    static const uint16_t small[] = {0}, large[] = {0, 1};
    struct rig_stream s = rig_stream_new(2, 4, 1, 1);

    (void)state;
    rig_stream_finish(&s);
    for (uint64_t room = 9; room <= 10; room++) {
        struct cache_params p = {.scope = CACHE_GLOBAL, .bytes = room, .staging = 1};
        struct cache *c = rig_cache(&s, "lru", NULL, p, bytes);
        struct cache_result r;

        assert_int_equal(step(c, 0, small, 1).outcome, CACHE_LOAD);
        assert_int_equal(step(c, 1, large, 1).outcome, CACHE_LOAD);
        r = step(c, 1, large, 2);
        assert_int_equal(r.outcome, room == 10 ? CACHE_LOAD : CACHE_BYPASS);
        assert_int_equal(r.evicted_count, room == 10 ? 1 : 0);
        assert_int_equal(cache_slot_of(c, 0, 0) == CACHE_NONE, room == 10);
        cache_free(c);
    }
    rig_stream_free(&s);
}

/* Of what is there from the start an oracle knows the first use: the one that is never
 * used goes, whichever it is. The first access is the only miss. */
static void belady_knows_what_was_preloaded(void **state)
{
    static const struct {
        const char *letters;
        uint32_t slots;
    } known[] = {
        {"cacaca", 2}, {"cbcbcb", 2}, {"dabdab", 3}, {"dbcdbc", 3}, {"dacdac", 3}};

    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        struct cache_params p = {.slots = known[i].slots,
                                 .staging = 1,
                                 .protect = CACHE_PROTECT_NONE,
                                 .preload = CACHE_PRELOAD_LINEAR};
        struct rig_stream s = rig_stream_of(known[i].slots + 1, known[i].letters);

        assert_int_equal(rig_hits(&s, "belady", NULL, p), 5);
        rig_stream_free(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(s3fifo_takes_a_new_one_where_the_old_are_active),
        cmocka_unit_test(what_is_free_and_what_may_go_add_up),
        cmocka_unit_test(belady_knows_what_was_preloaded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
