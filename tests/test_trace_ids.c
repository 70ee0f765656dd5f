/* The rules for lists of expert ids against their plain reading, for every way in which
 * lists are checked: width by width, and above a width through marks; and for scores. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "sim/base/mem.h"
#include "sim/base/rng.h"
#include "traces/trace_state.h"

#include <stdio.h>
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

/* One list is spoilt among good ones, which stand before what is checked, too: a pair
 * made equal, an id that is just too large or far too large, or one that is missing. */
static void test_one_bad_list(void **state)
{
    static const uint32_t experts[] = {WIDEST, 256, TRACE_MAX_EXPERTS};
    static const uint16_t large[] = {0, 0x4000, 0x7fff, 0x8000, 0xfffe};
    struct rng r = rng_stream(1, "ids", 0);
    uint16_t id[6 * WIDEST], spoilt[6 * WIDEST];

    (void)state;
    for (int n = 0; n < 3 * WIDEST; n++) {
        uint32_t e = experts[n % 3], width = 1 + (uint32_t)n / 3;
        uint16_t *first = spoilt + 3 * width, *list = first + width;

        for (uint32_t row = 0; row < 6; row++)
            deal(&r, id + row * width, width, e);
        assert_true(passes(width, e, id, 6));
        for (uint32_t i = 0; i < width; i++) {
            for (uint32_t j = 0; j < i; j++) {
                memcpy(spoilt, id, sizeof id);
                list[i] = list[j];
                assert_false(passes(width, e, first, 3));
            }
            for (size_t k = 0; k < sizeof large / sizeof large[0]; k++) {
                memcpy(spoilt, id, sizeof id);
                list[i] = k == 0 ? (uint16_t)e : large[k];
                assert_false(passes(width, e, first, 3));
            }
            memcpy(spoilt, id, sizeof id);
            list[i] = TRACE_NOT_RECORDED;
            assert_int_equal(passes(width, e, first, 3), i + 1 == width);
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

/* ---- scores ---- */

/* Two scores of row 8, layer 1, in the last of four cells; the others hold zeros. */
static void check_scores(enum trace_score_kind kind, bool sorted, uint16_t a, uint16_t b,
                         const char *said)
{
    char name[] = "made up";
    const uint16_t score[8] = {0, 0, 0, 0, 0, 0, a, b};
    struct trace t = {.path = name,
                      .info = {.layers = 2,
                               .experts = 4,
                               .candidates = 2,
                               .score_kind = kind,
                               .sorted = sorted}};
    struct err e = {.text = ""};
    char wanted[256] = "";

    if (said[0] != '\0')
        (void)snprintf(wanted, sizeof wanted,
                       "made up: /routing/score, row 8, layer 1: %s", said);
    assert_int_equal(trace_check_score(&t, 7, 2, score, &e), said[0] == '\0' ? 0 : -1);
    assert_string_equal(e.text, wanted);
}

/* Logits are any finite numbers, others from 0 to 1; they descend, where they are said
 * to, up to a zero, which ends them. As 16-bit floats. */
static void test_scores(void **state)
{
    static const char order[] = "the scores do not descend; set attribute sorted to 0 or "
                                "sort the candidates",
                      infinite[] = "a score is not a finite number";
    static const struct {
        uint16_t a, b;
        const char *logit, *softmax;
    } known[] = {
        {0x3800, 0x3400, "", ""}, /* 0.5, 0.25 */
        {0x3400, 0x3800, order, order},
        {0x3c00, 0x3c00, "", ""}, /* 1, 1 */
        {0x3c01, 0x3c00, "",
         "score 1.00098 is not in [0, 1], as attribute score_kind says"},
        {0x0000, 0x8000, "", ""}, /* 0, -0 */
        {0x8000, 0x0000, "", ""},
        {0x0000, 0x3c00, order, order},
        {0x0000, 0xbc00, "", "score -1 is not in [0, 1], as attribute score_kind says"},
        {0xbc00, 0x0000, "", "score -1 is not in [0, 1], as attribute score_kind says"},
        {0xbc00, 0xc000, "", "score -1 is not in [0, 1], as attribute score_kind says"},
        {0xc000, 0xbc00, order,
         "score -2 is not in [0, 1], as attribute score_kind says"},
        {0x7bff, 0xfbff, "",
         "score 65504 is not in [0, 1], as attribute score_kind says"},
        {0x7c00, 0x0000, infinite, infinite},
        {0x0000, 0xfc00, infinite, infinite},
        {0x7e00, 0x0000, infinite, infinite},
    };

    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const char *const logit = known[i].logit, *const softmax = known[i].softmax;

        check_scores(TRACE_SCORE_LOGIT, true, known[i].a, known[i].b, logit);
        check_scores(TRACE_SCORE_SOFTMAX, true, known[i].a, known[i].b, softmax);
        check_scores(TRACE_SCORE_SIGMOID, true, known[i].a, known[i].b, softmax);
        check_scores(TRACE_SCORE_LOGIT, false, known[i].a, known[i].b,
                     logit == order ? "" : logit);
        check_scores(TRACE_SCORE_SOFTMAX, false, known[i].a, known[i].b,
                     softmax == order ? "" : softmax);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_bad_list),
        cmocka_unit_test(test_any_list),
        cmocka_unit_test(test_scores),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
