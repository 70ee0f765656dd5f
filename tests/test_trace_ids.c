/* The rules for lists of expert ids against their plain reading, for every way in which
 * lists are checked: width by width, and above a width through marks. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "sim/base/mem.h"
#include "sim/base/rng.h"
#include "traces/trace_state.h"

#include <stdlib.h>
#include <string.h>

#define WIDEST 12

/* Below `experts` and different; 65535 only at the end. */
static bool is_good(const uint16_t *id, uint32_t width, uint32_t experts)
{
    for (uint32_t i = 0; i < width; i++) {
        if (id[i] == TRACE_NOT_RECORDED)
            continue;
        if (id[i] >= experts || (i > 0 && id[i - 1] == TRACE_NOT_RECORDED))
            return false;
        for (uint32_t j = 0; j < i; j++)
            if (id[j] == id[i])
                return false;
    }
    return true;
}

static bool passes(uint32_t width, uint32_t experts, const uint16_t *id, uint64_t rows)
{
    struct trace t = {
        .info = {.experts = experts, .layers = 1, .candidates = width, .top_k = 1}};
    char path[] = "ids";
    struct err e = {.text = ""};
    int status;

    t.path = path;
    t.seen = mem_zalloc(experts, sizeof t.seen[0]);
    status = trace_check_expert(&t, 0, rows, id, &e);
    free(t.seen);
    assert_int_equal(status == 0, e.text[0] == '\0');
    return status == 0;
}

/* `width` different ids. */
static void deal(struct rng *r, uint16_t *id, uint32_t width, uint32_t experts)
{
    for (uint32_t i = 0; i < width;) {
        uint32_t j = 0;

        id[i] = (uint16_t)rng_below(r, experts);
        while (id[j] != id[i])
            j++;
        i += j == i;
    }
}

/* One list is spoilt among good ones: a pair made equal, an id that is just too large or
 * far too large, or one that is missing. */
static void test_one_bad_list(void **state)
{
    static const uint32_t experts[] = {WIDEST, 256, TRACE_MAX_EXPERTS};
    static const uint16_t large[] = {0, 0x4000, 0x7fff, 0x8000, 0xfffe};
    struct rng r = rng_stream(1, "ids", 0);
    uint16_t id[3 * WIDEST], spoilt[3 * WIDEST];

    (void)state;
    for (int n = 0; n < 3 * WIDEST; n++) {
        uint32_t e = experts[n % 3], width = 1 + (uint32_t)n / 3;
        uint16_t *list = spoilt + width;

        for (uint32_t row = 0; row < 3; row++)
            deal(&r, id + row * width, width, e);
        assert_true(passes(width, e, id, 3));
        for (uint32_t i = 0; i < width; i++) {
            for (uint32_t j = 0; j < i; j++) {
                memcpy(spoilt, id, sizeof id);
                list[i] = list[j];
                assert_false(passes(width, e, spoilt, 3));
            }
            for (size_t k = 0; k < sizeof large / sizeof large[0]; k++) {
                memcpy(spoilt, id, sizeof id);
                list[i] = k == 0 ? (uint16_t)e : large[k];
                assert_false(passes(width, e, spoilt, 3));
            }
            memcpy(spoilt, id, sizeof id);
            list[i] = TRACE_NOT_RECORDED;
            assert_int_equal(passes(width, e, spoilt, 3), i + 1 == width);
        }
    }
}

/* Lists at random, of few experts, so that both verdicts are common. */
static void test_any_list(void **state)
{
    struct rng r = rng_stream(2, "ids", 0);
    int verdict[2] = {0, 0};

    (void)state;
    for (int n = 0; n < 60000; n++) {
        uint32_t width = 1 + (uint32_t)n % WIDEST;
        uint32_t experts = width + (uint32_t)rng_below(&r, 2 * width * width);
        uint16_t id[WIDEST];
        bool good;

        for (uint32_t i = 0; i < width; i++)
            id[i] = rng_below(&r, 20) == 0 ? TRACE_NOT_RECORDED
                                           : (uint16_t)rng_below(&r, experts + 1);
        good = is_good(id, width, experts);
        verdict[good]++;
        assert_int_equal(passes(width, experts, id, 1), good);
    }
    assert_true(verdict[0] > 10000 && verdict[1] > 10000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_bad_list),
        cmocka_unit_test(test_any_list),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
