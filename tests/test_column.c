/* A column whose rows are made up: how its blocks are cut, which ones stay in memory, and
 * what a load that fails leaves. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "spoil.h"
#include "trace_maker.h"

#include "traces/trace_state.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KIB = 1024 };

/* Row n begins with n. Loads are noted in order. */
struct source {
    size_t row_bytes;
    uint64_t bad; /* a load of this row fails */
    uint64_t first[64], count[64];
    size_t loads;
};

static int load(void *context, uint64_t first, uint64_t count, void *rows, struct err *e)
{
    struct source *s = context;

    s->first[s->loads] = first;
    s->count[s->loads++] = count;
    if (first <= s->bad && s->bad < first + count)
        return err_set(e, "row %d is bad", (int)s->bad);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t n = first + i;

        memcpy((char *)rows + i * s->row_bytes, &n, sizeof n);
    }
    return 0;
}

static void init(struct column *c, struct column_cache *cache, struct source *s,
                 uint64_t rows, size_t row_bytes, uint64_t block_rows)
{
    *s = (struct source){.row_bytes = row_bytes, .bad = UINT64_MAX};
    column_init(c, cache, rows, row_bytes, block_rows, load, s);
}

/* A block has 64 KiB at least and 16 MiB at most, in whole chunks where that goes. */
static void blocks_are_neither_tiny_nor_huge(void **state)
{
    static const struct {
        size_t row_bytes;
        uint64_t chunk_rows, block_rows;
        int shift;
    } known[] = {
        {8, 0, 8192, 13},           {8, 8192, 8192, 13},     {8, 8191, 16382, -1},
        {8, 8193, 8193, -1},        {8, 3000, 9000, -1},     {64, 1000, 2000, -1},
        {65, 1, 1009, -1},          {64 * KIB, 1, 1, 0},     {64 * KIB, 256, 256, 8},
        {64 * KIB, 257, 256, 8},    {64 * KIB - 1, 1, 2, 1}, {16384 * KIB, 9, 1, 0},
        {16384 * KIB + 1, 9, 1, 0}, {8192 * KIB, 9, 2, 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        struct column_cache cache = {.limit = 1};
        struct source s;
        struct column c;

        init(&c, &cache, &s, 100000, known[i].row_bytes, known[i].chunk_rows);
        assert_int_equal(c.block_rows, known[i].block_rows);
        assert_int_equal(c.shift, known[i].shift);
        assert_int_equal(c.row_bytes, known[i].row_bytes);
        column_release(&c);
        assert_null(c.slot);
    }
}

static uint64_t row_of(struct column *c, uint64_t row, uint64_t *left)
{
    struct err e = {.text = ""};
    const unsigned char *at = column_row(c, row, left, &e);
    uint64_t n;

    assert_non_null(at);
    memcpy(&n, at, sizeof n);
    return n;
}

/* Blocks of one row of 64 KiB, with room for three, of two columns. */
static void the_oldest_block_goes(void **state)
{
    struct column_cache cache = {.limit = 3 * 64 * KIB};
    struct source s, other;
    struct column c, d;
    uint64_t left;

    (void)state;
    init(&c, &cache, &s, 9, 64 * KIB, 1);
    init(&d, &cache, &other, 9, 64 * KIB, 1);
    for (uint64_t i = 0; i < 3; i++) {
        assert_int_equal(row_of(&c, i, &left), i);
        assert_int_equal(left, 1);
    }
    assert_int_equal(cache.blocks, 3);
    assert_int_equal(cache.used, 3 * 64 * KIB);
    /* Row 0 is used again, so row 1 is the oldest, and its slot goes to row 2. */
    assert_int_equal(row_of(&c, 0, &left), 0);
    assert_int_equal(row_of(&d, 7, &left), 7);
    assert_int_equal(s.loads, 3);
    assert_int_equal(other.loads, 1);
    assert_int_equal(cache.blocks, 3);
    assert_int_equal(cache.used, 3 * 64 * KIB);
    assert_int_equal(row_of(&c, 0, &left), 0);
    assert_int_equal(row_of(&c, 2, &left), 2);
    assert_int_equal(row_of(&d, 7, &left), 7);
    assert_int_equal(s.loads, 3);
    assert_int_equal(row_of(&c, 1, &left), 1);
    assert_int_equal(s.loads, 4);
    /* Now row 0 is. */
    assert_int_equal(row_of(&c, 2, &left), 2);
    assert_int_equal(row_of(&d, 7, &left), 7);
    assert_int_equal(s.loads, 4);
    assert_int_equal(row_of(&c, 0, &left), 0);
    assert_int_equal(s.loads, 5);
    column_cache_release(&cache);
    assert_int_equal(cache.limit, 3 * 64 * KIB);
    assert_int_equal(cache.blocks, 0);
    column_release(&c);
    column_release(&d);
}

/* Blocks of 8192 rows of 8 bytes, the last one of 3616; one byte of room keeps one. */
static void rows_are_read_across_blocks(void **state)
{
    struct column_cache cache = {.limit = 1};
    uint64_t rows = 20000, left, *values = malloc(rows * sizeof *values);
    struct err e = {.text = ""};
    struct source s;
    struct column c;

    (void)state;
    assert_non_null(values);
    init(&c, &cache, &s, rows, 8, 0);
    assert_int_equal(column_read(&c, 0, rows, values, &e), 0);
    for (uint64_t i = 0; i < rows; i++)
        assert_int_equal(values[i], i);
    assert_int_equal(s.loads, 3);
    assert_int_equal(s.count[0], 8192);
    assert_int_equal(s.first[2], 16384);
    assert_int_equal(s.count[2], 3616);
    assert_int_equal(cache.blocks, 1);
    assert_int_equal(cache.used, 3616 * 8);
    assert_int_equal(row_of(&c, 16390, &left), 16390);
    assert_int_equal(left, 3610);
    assert_int_equal(row_of(&c, 8191, &left), 8191);
    assert_int_equal(left, 1);
    assert_int_equal(column_read(&c, 8190, 4, values, &e), 0);
    assert_true(values[0] == 8190 && values[3] == 8193);
    assert_int_equal(column_read(&c, 5, 0, values, &e), 0);
    /* A load that fails is no block. */
    s.bad = 3;
    assert_int_equal(column_read(&c, 8192, 1, values, &e), 0);
    assert_int_equal(column_read(&c, 0, 1, values, &e), -1);
    assert_string_equal(e.text, "row 3 is bad");
    assert_int_equal(cache.blocks, 0);
    assert_int_equal(cache.used, 0);
    s.bad = UINT64_MAX;
    assert_int_equal(row_of(&c, 3, &left), 3);
    column_cache_release(&cache);
    column_release(&c);
    free(values);
}

/* More blocks than the list has room for at first: 16, then 48. */
static void many_blocks_stay(void **state)
{
    struct column_cache cache = {.limit = SIZE_MAX / 2};
    struct source s;
    struct column c;
    uint64_t left;

    (void)state;
    init(&c, &cache, &s, 40, 64 * KIB, 1);
    for (int again = 0; again < 2; again++)
        for (uint64_t i = 40; i-- > 0;)
            assert_int_equal(row_of(&c, i, &left), i);
    assert_int_equal(s.loads, 40);
    assert_int_equal(cache.blocks, 40);
    assert_int_equal(cache.room, 48);
    column_cache_release(&cache);
    column_release(&c);
}

/* Tokens are read by the largest of the chunks of three data sets, whichever has it: as
 * many of 33 rows as 64 KiB need. Without chunks there is nothing to go by. */
static void tokens_go_by_the_largest_chunk(void **state)
{
    static const char *const name[] = {"/token/request", "/token/position",
                                       "/token/phase"};
    static const hsize_t rows = 33;
    static uint32_t zeros[33], numbers[33];
    const uint64_t least =
        (65536 + sizeof(struct trace_token) - 1) / sizeof(struct trace_token);
    char *path = trace_make_path("blocks.h5");
    uint8_t decode[33];

    (void)state;
    memset(decode, TRACE_DECODE, sizeof decode);
    for (uint32_t i = 0; i < 33; i++)
        numbers[i] = i;
    trace_make_cyclic(path, 1, 8, 2, 33);
    for (int largest = 0; largest < 4; largest++) {
        struct err e = {.text = ""};
        struct trace *t;
        hid_t f;

        hdf_enter();
        f = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
        for (int i = 0; i < 3; i++) {
            const hsize_t chunk = i == largest ? 33 : (hsize_t)(7 + 2 * i);

            put_set(f, name[i], i < 2 ? H5T_STD_U32LE : H5T_STD_U8LE, 1, &rows,
                    largest == 3 ? NULL : &chunk, H5Z_FILTER_NONE,
                    i == 0   ? (const void *)zeros
                    : i == 1 ? (const void *)numbers
                             : (const void *)decode);
        }
        assert_true(H5Fclose(f) >= 0);
        hdf_leave();
        t = trace_open(path, NULL, &e);
        assert_string_equal(e.text, "");
        assert_non_null(t);
        assert_int_equal(t->token.block_rows,
                         largest == 3 ? least : (least + 32) / 33 * 33);
        assert_int_equal(trace_check(t, &e), 0);
        trace_close(t);
    }
    (void)unlink(path);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_neither_tiny_nor_huge),
        cmocka_unit_test(the_oldest_block_goes),
        cmocka_unit_test(rows_are_read_across_blocks),
        cmocka_unit_test(many_blocks_stay),
        cmocka_unit_test(tokens_go_by_the_largest_chunk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
