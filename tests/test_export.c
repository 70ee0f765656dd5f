/* Parts of a trace, and traces for other tools, against brute force. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "trace_maker.h"

#include "sim/base/file.h"
#include "sim/base/mem.h"
#include "traces/export.h"
#include "traces/slice.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct trace_make make = {.layers = 5,
                                       .experts = 70,
                                       .top_k = 3,
                                       .candidates = 4,
                                       .requests = 8,
                                       .rows = 11,
                                       .prefill_rows = 4,
                                       .score_kind = TRACE_SCORE_SOFTMAX,
                                       .predicted = 2,
                                       .uneven = true,
                                       .passes = true,
                                       .expert_bytes = true,
                                       .missing = true,
                                       .seed = 417};

static struct trace *open_made(const char *path, const struct trace_make *m)
{
    struct err e = {.text = ""};
    struct trace *t;

    trace_make(path, m);
    t = trace_open(path, NULL, &e);
    assert_non_null(t);
    return t;
}

/* ---- slice ---- */

static void test_ranges(void **state)
{
    static const struct {
        const char *text;
        uint64_t first, last;
    } good[] = {{"3:7", 3, 7},
                {"3:", 3, UINT64_MAX},
                {":7", 0, 7},
                {"5", 5, 6},
                {":", 0, UINT64_MAX}};
    static const char *const bad[] = {
        "", "a", "3:3", "7:3", "-1", "3:7x", "3,4", "1:2:3", "99999999999999999999"};
    bool keep[10];

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct err e = {.text = ""};
        uint64_t first, last;

        assert_int_equal(slice_parse_range(good[i].text, &first, &last, &e), 0);
        assert_true(first == good[i].first && last == good[i].last);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err e = {.text = ""};
        uint64_t first, last;

        assert_int_equal(slice_parse_range(bad[i], &first, &last, &e), -1);
        assert_non_null(strstr(e.text, "is not a range"));
    }
    assert_int_equal(slice_parse_list("0,2:4,8", 9, keep, &(struct err){.text = ""}), 0);
    for (int i = 0; i < 9; i++)
        assert_int_equal(keep[i], i == 0 || i == 2 || i == 3 || i == 8);
    /* An open range ends with the items; what is behind them is not touched. */
    keep[9] = false;
    assert_int_equal(slice_parse_list("2,6:", 9, keep, &(struct err){.text = ""}), 0);
    for (int i = 0; i < 10; i++)
        assert_int_equal(keep[i], i == 2 || (i >= 6 && i < 9));
    assert_int_equal(slice_parse_list("9", 9, keep, &(struct err){.text = ""}), -1);
    assert_int_equal(slice_parse_list("4:10", 9, keep, &(struct err){.text = ""}), -1);
    assert_int_equal(slice_parse_list("3,2", 9, keep, &(struct err){.text = ""}), -1);
    assert_int_equal(slice_parse_list("3,", 9, keep, &(struct err){.text = ""}), -1);
}

/* Row `row` of the part is row `row + shift` of the whole, in the layers listed. */
static void assert_row(struct trace *part, uint64_t row, uint64_t shift,
                       uint32_t first_request, const uint32_t *layer)
{
    const struct trace_info *info = trace_get_info(part);
    struct err e = {.text = ""};
    struct trace_token token, want;
    uint16_t expert[5 * 4], all[5 * 4], predicted[5 * 2], all_predicted[5 * 2];
    float score[5 * 4], all_score[5 * 4];

    trace_make_row(&make, row + shift, &want, all, all_score, all_predicted);
    assert_int_equal(trace_read_token(part, row, 1, &token, &e), 0);
    assert_int_equal(trace_read_expert(part, row, 1, expert, &e), 0);
    assert_int_equal(trace_read_score(part, row, 1, score, &e), 0);
    assert_int_equal(trace_read_predicted(part, row, 1, predicted, &e), 0);
    assert_int_equal(token.request + first_request, want.request);
    assert_int_equal(token.position, want.position);
    assert_int_equal(token.phase, want.phase);
    for (uint32_t l = 0; l < info->layers; l++) {
        assert_memory_equal(expert + l * 4, all + layer[l] * 4, 4 * sizeof expert[0]);
        assert_memory_equal(score + l * 4, all_score + layer[l] * 4, 4 * sizeof score[0]);
        assert_memory_equal(predicted + l * 2, all_predicted + layer[l] * 2, 2 * 2);
    }
}

static void test_slice(void **state)
{
    static const uint32_t layer[] = {1, 3, 4};
    struct err e = {.text = ""};
    char *path = trace_make_path("whole.h5"), *to = trace_make_path("part.h5");
    struct trace *t = open_made(path, &make), *part;
    /* Requests 2 to 4 are rows 23 to 58; of these rows 25 to 49 remain. */
    struct slice s = {2, 5, 25, 50, "1,3:5"};
    const struct trace_request *r;
    uint64_t *rows, count;
    int64_t start_ns;

    (void)state;
    assert_int_equal(trace_make_request(&make, 2).first_row, 23);
    assert_int_equal(trace_make_request(&make, 5).first_row, 59);
    assert_int_equal(slice_write(t, &s, to, &e), 0);
    part = trace_open(to, NULL, &e);
    assert_non_null(part);
    assert_int_equal(trace_check(part, &e), 0);
    assert_int_equal(trace_get_info(part)->rows, 25);
    assert_int_equal(trace_get_info(part)->requests, 3);
    assert_int_equal(trace_get_info(part)->layers, 3);
    assert_int_equal(trace_get_info(part)->moe_layer[1], 4);
    assert_int_equal(trace_get_info(part)->expert_bytes[2], 1004);
    for (uint64_t row = 0; row < 25; row++)
        assert_row(part, row, 25, 2, layer);
    r = trace_get_requests(part);
    assert_int_equal(r[0].rows, 36 - 25); /* request 2 ends at row 36 */
    assert_int_equal(r[1].first_row, 36 - 25);
    assert_int_equal(r[2].group, 0);
    /* Passes hold rows 3p to 3p + 2: the first that remains is pass 8, its last two rows.
     */
    assert_int_equal(trace_read_pass(part, 0, &rows, &count, &start_ns, &e), 0);
    assert_int_equal(count, 2);
    assert_int_equal(rows[1], 1);
    assert_int_equal(start_ns, 24 * 17);
    assert_int_equal(trace_get_info(part)->passes, 9);
    free(rows);
    trace_close(part);
    trace_close(t);
    (void)unlink(path);
    (void)unlink(to);
    free(path);
    free(to);
}

static void test_slices_that_are_empty(void **state)
{
    static const struct slice bad[] = {{8, 9, 0, UINT64_MAX, NULL},
                                       {0, UINT64_MAX, 96, UINT64_MAX, NULL},
                                       {0, 1, 11, 12, NULL},
                                       {0, UINT64_MAX, 0, UINT64_MAX, "5"}};
    char *path = trace_make_path("whole.h5"), *to = trace_make_path("part.h5");
    struct trace *t = open_made(path, &make);

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err e = {.text = ""};

        assert_int_equal(slice_write(t, &bad[i], to, &e), -1);
        assert_string_not_equal(e.text, "");
        assert_int_not_equal(access(to, F_OK), 0);
    }
    trace_close(t);
    (void)unlink(path);
    free(path);
    free(to);
}

static void test_slice_of_counts(void **state)
{
    struct err e = {.text = ""};
    char *path = trace_make_path("whole.h5"), *to = trace_make_path("part.h5");
    struct trace *t, *part;
    uint32_t count[7];

    (void)state;
    trace_make_counts(path, 3, 7, 20);
    t = trace_open(path, NULL, &e);
    assert_int_equal(slice_write(t, &(struct slice){0, UINT64_MAX, 4, 9, "2"}, to, &e),
                     0);
    part = trace_open(to, NULL, &e);
    assert_non_null(part);
    assert_int_equal(trace_get_info(part)->passes, 5);
    assert_int_equal(trace_read_load(part, 1, count, &e), 0);
    for (uint32_t x = 0; x < 7; x++)
        assert_int_equal(count[x], (5 * 7 + 2 * 3 + x) % 11);
    trace_close(part);
    trace_close(t);
    (void)unlink(path);
    (void)unlink(to);
    free(path);
    free(to);
}

/* ---- oracleGeneral ---- */

struct record {
    uint64_t time, object, size;
    int64_t next;
};

struct records {
    struct record *record;
    size_t count;
};

static uint64_t get_le(const unsigned char *from, int bytes)
{
    uint64_t value = 0;

    for (int i = bytes; i-- > 0;)
        value = value << 8 | from[i];
    return value;
}

static struct records read_records(const char *path)
{
    struct err e = {.text = ""};
    size_t size;
    char *bytes = file_read(path, (size_t)1 << 24, &size, &e);
    struct records r;

    assert_non_null(bytes);
    assert_int_equal(size % 24, 0);
    r.count = size / 24;
    r.record = mem_alloc(r.count, sizeof r.record[0]);
    for (size_t i = 0; i < r.count; i++) {
        const unsigned char *from = (const unsigned char *)bytes + i * 24;

        r.record[i] =
            (struct record){get_le(from, 4), get_le(from + 4, 8), get_le(from + 12, 4),
                            (int64_t)get_le(from + 16, 8)};
    }
    free(bytes);
    return r;
}

/* Appends the accesses of a pass of the rows listed: every (layer, expert) is asked for.
 */
static void brute_pass(struct records *r, uint64_t time, const uint64_t *row, size_t rows,
                       uint32_t layers_mask)
{
    for (uint32_t l = 0; l < make.layers; l++)
        for (uint32_t x = 0; x < make.experts; x++) {
            bool used = false;

            for (size_t i = 0; i < rows; i++) {
                struct trace_token token;
                uint16_t expert[5 * 4];

                trace_make_row(&make, row[i], &token, expert, NULL, NULL);
                for (uint32_t k = 0; k < make.top_k; k++)
                    used |= expert[l * 4 + k] == x;
            }
            if (used && (layers_mask >> l & 1) != 0)
                r->record[r->count++] =
                    (struct record){time, l * make.experts + x, 1000 + l, -1};
        }
}

static struct records brute_records(uint32_t batch, uint32_t layers_mask)
{
    struct records r = {.record = mem_alloc(65536, sizeof(struct record))};
    uint64_t time = 0, row[8];

    for (uint32_t first = 0; first < make.requests; first += batch) {
        uint32_t last = first + batch < make.requests ? first + batch : make.requests;

        for (uint32_t i = first; i < last; i++) {
            for (uint64_t j = 0; j < 4; j++)
                row[j] = trace_make_request(&make, i).first_row + j;
            brute_pass(&r, time++, row, 4, layers_mask);
        }
        for (uint64_t step = 4; step < 13; step++) {
            size_t rows = 0;

            for (uint32_t i = first; i < last; i++)
                if (step < trace_make_request(&make, i).rows)
                    row[rows++] = trace_make_request(&make, i).first_row + step;
            if (rows > 0)
                brute_pass(&r, time++, row, rows, layers_mask);
        }
    }
    for (size_t i = 0; i < r.count; i++)
        for (size_t j = i + 1; j < r.count && r.record[i].next < 0; j++)
            if (r.record[j].object == r.record[i].object)
                r.record[i].next = (int64_t)j;
    return r;
}

static void compare_records(struct trace *t, const struct export_options *o,
                            uint32_t layers_mask)
{
    struct err e = {.text = ""};
    char *to = trace_make_path("x.oracle"), *spill = mem_format("%s.spill", to);
    struct records want = brute_records(o->batch, layers_mask), got;
    uint64_t accesses = 0;

    assert_int_equal(export_oracle_general(t, to, o, &accesses, &e), 0);
    got = read_records(to);
    assert_int_equal(got.count, want.count);
    assert_int_equal(accesses, want.count);
    for (size_t i = 0; i < want.count; i++) {
        assert_int_equal(got.record[i].time, want.record[i].time);
        assert_int_equal(got.record[i].object, want.record[i].object);
        assert_int_equal(got.record[i].size, o->unit_size ? 1 : want.record[i].size);
        assert_int_equal(got.record[i].next, want.record[i].next);
    }
    assert_int_not_equal(access(spill, F_OK), 0);
    (void)unlink(to);
    free(got.record);
    free(want.record);
    free(to);
    free(spill);
}

static void test_oracle_general(void **state)
{
    char *path = trace_make_path("whole.h5");
    struct trace *t = open_made(path, &make);

    (void)state;
    compare_records(t, &(struct export_options){.batch = 1}, 31);
    compare_records(t, &(struct export_options){.batch = 1, .unit_size = true}, 31);
    compare_records(t, &(struct export_options){.batch = 3}, 31);
    compare_records(t, &(struct export_options){.batch = 8, .layers = "0,2:4"}, 13);
    trace_close(t);
    (void)unlink(path);
    free(path);
}

/* More accesses than one block of the spill file: a cyclic trace has a closed form. Row t
 * uses 2 of 8 experts in 3 layers, so an object comes back after 4 rows of 6 accesses. */
static void test_oracle_general_beyond_one_block(void **state)
{
    struct err e = {.text = ""};
    char *path = trace_make_path("cyclic.h5"), *to = trace_make_path("x.oracle");
    uint64_t rows = 16 * 1024, accesses;
    struct trace *t;
    struct records r;

    (void)state;
    trace_make_cyclic(path, 3, 8, 2, (uint32_t)rows);
    t = trace_open(path, NULL, &e);
    assert_non_null(t);
    assert_int_equal(export_oracle_general(t, to, NULL, &accesses, &e), 0);
    r = read_records(to);
    assert_int_equal(r.count, rows * 6);
    for (size_t i = 0; i < r.count; i++) {
        assert_int_equal(r.record[i].time, i / 6);
        assert_int_equal(r.record[i].size, 1);
        assert_int_equal(r.record[i].object, i % 6 / 2 * 8 + (i / 6 * 2 + i % 2) % 8);
        assert_int_equal(r.record[i].next, i + 24 < r.count ? (int64_t)i + 24 : -1);
    }
    free(r.record);
    trace_close(t);
    (void)unlink(path);
    (void)unlink(to);
    free(path);
    free(to);
}

/* As many experts as bits of a word: each row's three experts of a layer are its
 * accesses, and none of the next layer's. */
static void test_experts_that_fill_words(void **state)
{
    enum { LAYERS = 3, EXPERTS = 64, TOP_K = 3, ROWS = 100 };
    const struct export_options o = {.batch = 1, .unit_size = true};
    char *path = trace_make_path("words.h5"), *to = trace_make_path("words.oracle");
    struct err e = {.text = ""};
    uint64_t accesses = 0, number = 0;
    struct records got;
    struct trace *t;

    (void)state;
    trace_make_cyclic(path, LAYERS, EXPERTS, TOP_K, ROWS);
    t = trace_open(path, NULL, &e);
    assert_non_null(t);
    assert_int_equal(export_oracle_general(t, to, &o, &accesses, &e), 0);
    assert_int_equal(accesses, ROWS * LAYERS * TOP_K);
    got = read_records(to);
    assert_int_equal(got.count, accesses);
    for (uint64_t row = 0; row < ROWS; row++)
        for (uint64_t l = 0; l < LAYERS; l++)
            for (uint64_t k = 0; k < TOP_K; k++, number++) {
                assert_int_equal(got.record[number].time, row);
                assert_int_equal(got.record[number].object / EXPERTS, l);
            }
    trace_close(t);
    (void)unlink(path);
    (void)unlink(to);
    free(got.record);
    free(path);
    free(to);
}

static void test_exports_need_rows(void **state)
{
    struct err e = {.text = ""}, f = {.text = ""};
    char *path = trace_make_path("counts.h5"), *to = trace_make_path("x.oracle");
    struct trace *t;

    (void)state;
    trace_make_counts(path, 2, 3, 4);
    t = trace_open(path, NULL, &e);
    assert_int_equal(export_oracle_general(t, to, NULL, NULL, &e), -1);
    assert_non_null(strstr(e.text, "/routing/expert is missing"));
    assert_int_equal(export_csv(t, to, &f), -1);
    assert_int_not_equal(access(to, F_OK), 0);
    trace_close(t);
    (void)unlink(path);
    free(path);
    free(to);
}

/* ---- CSV ---- */

static void test_csv(void **state)
{
    struct err e = {.text = ""};
    char *path = trace_make_path("whole.h5"), *to = trace_make_path("x.csv"), *text,
         *line;
    struct trace *t = open_made(path, &make);
    size_t size;

    (void)state;
    assert_int_equal(export_csv(t, to, &e), 0);
    text = file_read(to, (size_t)1 << 24, &size, &e);
    assert_non_null(text);
    line = strtok(text, "\n");
    assert_string_equal(line, "row,request,position,phase,layer,slot,expert,score");
    for (uint64_t row = 0; row < trace_make_rows(&make); row++) {
        struct trace_token token;
        uint16_t expert[5 * 4];
        float score[5 * 4];

        trace_make_row(&make, row, &token, expert, score, NULL);
        for (uint32_t i = 0; i < 20; i++) {
            char want[128];

            if (i % 4 >= make.top_k || expert[i] == TRACE_NOT_RECORDED)
                continue;
            (void)snprintf(want, sizeof want, "%" PRIu64 ",%u,%u,%s,%u,%u,%u,%.6g", row,
                           (unsigned)token.request, (unsigned)token.position,
                           token.phase == TRACE_PREFILL ? "prefill" : "decode",
                           (unsigned)(i / 4 + 1), (unsigned)(i % 4), (unsigned)expert[i],
                           (double)score[i]);
            line = strtok(NULL, "\n");
            assert_non_null(line);
            assert_string_equal(line, want);
        }
    }
    assert_null(strtok(NULL, "\n"));
    free(text);
    trace_close(t);
    (void)unlink(path);
    (void)unlink(to);
    free(path);
    free(to);
}

static void test_sizes_of_records(void **state)
{
    char *path = trace_make_path("sizes.h5"), *to = trace_make_path("sizes.oracle");
    struct err e = {.text = ""};
    struct trace *t;

    (void)state;
    trace_make(path, &make);
    trace_poke(path, "/expert_bytes", 1, 2, UINT32_MAX);
    t = trace_open(path, NULL, &e);
    assert_int_equal(export_oracle_general(t, to, NULL, NULL, &e), 0);
    trace_close(t);
    (void)unlink(to);
    trace_poke(path, "/expert_bytes", 1, 2, INT64_C(1) << 32);
    t = trace_open(path, NULL, &e);
    assert_non_null(t);
    assert_int_equal(export_oracle_general(t, to, NULL, NULL, &e), -1);
    assert_string_equal(e.text + strlen(path),
                        ": /expert_bytes, row 2: 4294967296 bytes do not fit the "
                        "format's 32 bits; export with size 1");
    e.text[0] = '\0';
    assert_int_equal(export_oracle_general(
                         t, to, &(struct export_options){.unit_size = true}, NULL, &e),
                     0);
    trace_close(t);
    (void)unlink(path);
    (void)unlink(to);
    free(path);
    free(to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_slice),
        cmocka_unit_test(test_slices_that_are_empty),
        cmocka_unit_test(test_slice_of_counts),
        cmocka_unit_test(test_oracle_general),
        cmocka_unit_test(test_oracle_general_beyond_one_block),
        cmocka_unit_test(test_experts_that_fill_words),
        cmocka_unit_test(test_exports_need_rows),
        cmocka_unit_test(test_csv),
        cmocka_unit_test(test_sizes_of_records),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
