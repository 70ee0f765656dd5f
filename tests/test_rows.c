#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "gpu/rows.h"
#include "sim/base/rng.h"

#include <string.h>

enum { MOST = 64 };

/* Sums of r sequences with t new rows behind a context of c - t tokens. */
static struct cost_batch batch_of(uint32_t r, uint32_t t, uint64_t c)
{
    return (struct cost_batch){.tokens = r * t,
                               .kv_tokens = r * c,
                               .pairs = r * (t * (c - t) + (uint64_t)t * (t + 1) / 2)};
}

static void test_sequences(void **state)
{
    (void)state;
    for (uint32_t r = 1; r <= 40; r += 3)
        for (uint32_t t = 1; t <= 33; t += 4)
            for (uint64_t c = t; c < 3000; c += 371) {
                struct cost_batch b = batch_of(r, t, c);

                assert_int_equal(rows_sequences(&b), r);
            }
    assert_int_equal(rows_sequences(&(struct cost_batch){.tokens = 1}), 1);
    /* Sums of nothing real stay within what there is. */
    assert_int_equal(
        rows_sequences(&(struct cost_batch){.tokens = 3, .kv_tokens = 99, .pairs = 4}),
        3);
}

static void test_attend(void **state)
{
    uint64_t first[MOST];
    uint32_t length[MOST];
    uint64_t pairs = 0;
    struct rows_span s = rows_attend(7, 3, 100, 210, first, length);

    (void)state;
    assert_int_equal(s.tokens, 100);
    assert_int_equal(s.longest, 30);
    for (int i = 0; i < 7; i++)
        pairs += length[i];
    assert_int_equal(pairs, 210);
    /* Contexts of 34, 33, 33 for 3, 2, 2 rows. */
    assert_int_equal(first[2], 0);
    assert_int_equal(first[3], 34);
    assert_int_equal(first[4], 34);
    assert_int_equal(first[6], 67);
    /* Never beyond its sequence, never nothing. */
    s = rows_attend(2, 2, 6, 100, first, length);
    assert_int_equal(length[0], 3);
    assert_int_equal(s.longest, 3);
    s = rows_attend(2, 2, 0, 0, first, length);
    assert_int_equal(length[1], 1);
    assert_int_equal(s.tokens, 2);
}

/* Two of five experts, one with a row of padding; two choices are not theirs. */
static void test_order(void **state)
{
    static const uint16_t choice[] = {4, 1, 2, 4, 1, UINT16_MAX, 4, 3};
    static const uint16_t expert[] = {1, 4};
    uint32_t tokens[5] = {0, 2, 0, 0, 4};
    struct op_routing routing = {choice, 2, 4, 2};
    struct rows_group g = {expert, 2, 5, tokens, &routing};
    static const uint32_t row_token[] = {0, 2, 0, 1, 3, 0};
    static const uint32_t none = UINT32_MAX;
    const uint32_t token_row[] = {2, 0, none, 3, 1, none, 4, none};
    uint32_t place[5], rows[2], got_token[6], got_row[8];
    struct err e = {.text = ""};

    (void)state;
    assert_int_equal(rows_order(&g, place, rows, got_token, got_row, &e), 0);
    assert_int_equal(rows[0], 2);
    assert_int_equal(rows[1], 4);
    assert_memory_equal(got_token, row_token, sizeof row_token);
    assert_memory_equal(got_row, token_row, sizeof token_row);
    tokens[1] = 1;
    assert_int_equal(rows_order(&g, place, rows, got_token, got_row, &e), -1);
    assert_non_null(strstr(e.text, "more tokens to expert 1 than"));
    tokens[1] = 2;
    tokens[4] = 2;
    e.text[0] = '\0';
    assert_int_equal(rows_order(&g, place, rows, got_token, got_row, &e), -1);
    assert_non_null(strstr(e.text, "more tokens to expert 4 than"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sequences),
                                       cmocka_unit_test(test_attend),
                                       cmocka_unit_test(test_order)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
