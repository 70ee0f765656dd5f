/* Writing traces: what is refused and with which sentence, how data sets lie in the file,
 * and what fills up on the way. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "file_limit.h"
#include "trace_maker.h"

#include "sim/base/file.h"
#include "sim/base/mem.h"
#include "traces/export.h"
#include "traces/hdf_out.h"
#include "traces/slice.h"
#include "traces/trace_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- what is refused ---- */

static uint16_t numbers[TRACE_MAX_LAYERS + 1];

static struct trace_info plain(void)
{
    return (struct trace_info){
        .experts = 5, .top_k = 2, .candidates = 2, .layers = 2, .moe_layer = numbers};
}

/* The sentence, "" if such a trace can be begun. */
static struct err begin(const struct trace_info *info)
{
    char *path = trace_make_path("begun.h5");
    struct err e = {.text = ""};
    struct trace_writer *w = trace_writer_new(path, info, &e);

    assert_int_equal(w == NULL, e.text[0] != '\0');
    trace_writer_abandon(w);
    assert_int_not_equal(access(path, F_OK), 0);
    free(path);
    return e;
}

static void refused(const struct trace_info *info, const char *words)
{
    struct err e = begin(info);

    if (strstr(e.text, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", e.text, words);
}

static void test_shapes_have_bounds(void **state)
{
    struct trace_info i = plain();

    (void)state;
    assert_string_equal(begin(&i).text, "");
    i.layers = TRACE_MAX_LAYERS;
    assert_string_equal(begin(&i).text, "");
    i.layers++;
    refused(&i, ": a trace of 1025 layers and 5 experts cannot be written; at most 1024 "
                "and 4096");
    i.layers = 0;
    refused(&i, ": a trace of 0 layers and 5 experts");
    i = plain();
    i.experts = TRACE_MAX_EXPERTS;
    assert_string_equal(begin(&i).text, "");
    i.experts = 0;
    refused(&i, ": a trace of 2 layers and 0 experts");
    i = plain();
    i.top_k = 0;
    refused(&i, ": top_k 0, candidates 2, experts 5 must ascend from 1");
    i = plain();
    i.candidates = 5;
    assert_string_equal(begin(&i).text, "");
    i.candidates = 6;
    refused(&i, ": top_k 2, candidates 6, experts 5 must ascend from 1");
    i = plain();
    i.predicted = 5;
    i.distance = 1;
    assert_string_equal(begin(&i).text, "");
    i.predicted = 6;
    refused(&i, ": predictions of 6 experts at distance 1 cannot be written");
    i.predicted = 1;
    i.distance = 0;
    refused(&i, ": predictions of 1 experts at distance 0 cannot be written");
    i = plain();
    i.moe_layer = (uint16_t[]){3, 3};
    refused(&i, ": layer numbers must ascend: 3, 3");
}

static char *long_text(size_t length)
{
    char *text = mem_alloc(length + 1, 1);

    memset(text, 'a', length);
    text[length] = '\0';
    return text;
}

/* A group's name has 256 bytes at most, an attribute's text 65535. */
static void test_names_have_bounds(void **state)
{
    struct trace_info i = plain();
    char *name[2] = {"short", long_text(256)}, *longer = long_text(257);
    char *most = long_text(65535), *more = long_text(65536);

    (void)state;
    i.groups = 2;
    i.group_names = name;
    assert_string_equal(begin(&i).text, "");
    free(name[1]);
    name[1] = longer;
    refused(&i, ": a group name is longer than 256 bytes; shorten it");
    i = plain();
    i.source = most;
    assert_string_equal(begin(&i).text, "");
    i.source = more;
    refused(&i, ": attribute source is longer than 65535 bytes; shorten it");
    free(longer);
    free(most);
    free(more);
}

struct row {
    struct trace_token token;
    uint16_t expert[4];
};

static const struct row a_row = {
    .token = {.phase = TRACE_DECODE, .token_id = -1, .source = UINT16_MAX},
    .expert = {4, 0, 1, 2}};

static struct trace_writer *writer(const char *path, const struct trace_info *info)
{
    struct err e = {.text = ""};
    struct trace_writer *w = trace_writer_new(path, info, &e);

    assert_string_equal(e.text, "");
    assert_non_null(w);
    return w;
}

static void not_committed(struct trace_writer *w, const char *words)
{
    struct err e = {.text = ""};

    assert_int_equal(trace_writer_commit(w, &e), -1);
    if (strstr(e.text, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", e.text, words);
}

static void test_traces_are_whole(void **state)
{
    char *path = trace_make_path("whole.h5"), *name[] = {"a", "b"};
    struct trace_info i = plain();
    struct trace_request r = {.arrival_ns = -1, .rows = 1};
    struct err e = {.text = ""};
    struct trace_writer *w = writer(path, &i);

    (void)state;
    not_committed(w, ": no row was written");
    i.counts_only = true;
    not_committed(writer(path, &i), ": no pass was written");
    i.counts_only = false;
    w = writer(path, &i);
    assert_int_equal(trace_writer_rows(w, 1, &a_row.token, a_row.expert, NULL, NULL, &e),
                     0);
    r.first_row = 1;
    assert_int_equal(trace_writer_request(w, &r, &e), 0);
    not_committed(w, ": request 0 begins at row 1 and not at 0, where the one before "
                     "ends");
    /* Groups are those that have a name; without any there is one. */
    w = writer(path, &i);
    r = (struct trace_request){.arrival_ns = -1, .rows = 1, .group = 1};
    assert_int_equal(trace_writer_request(w, &r, &e), -1);
    assert_non_null(strstr(e.text, ": request 0 to be written names group 1 of 0"));
    trace_writer_abandon(w);
    i.groups = 2;
    i.group_names = name;
    w = writer(path, &i);
    e.text[0] = '\0';
    assert_int_equal(trace_writer_request(w, &r, &e), 0);
    r.group = 2;
    assert_int_equal(trace_writer_request(w, &r, &e), -1);
    assert_non_null(strstr(e.text, ": request 1 to be written names group 2 of 2"));
    trace_writer_abandon(w);
    assert_int_not_equal(access(path, F_OK), 0);
    free(path);
}

/* A name of 256 bytes is read back whole, beside a short one. */
static void test_the_longest_name(void **state)
{
    char *path = trace_make_path("names.h5"), *name[] = {"short", long_text(256)};
    struct trace_info i = plain();
    struct trace_request r = {.arrival_ns = -1, .rows = 1, .group = 1};
    struct err e = {.text = ""};
    struct trace_writer *w;
    struct trace *t;

    (void)state;
    i.groups = 2;
    i.group_names = name;
    w = writer(path, &i);
    assert_int_equal(trace_writer_rows(w, 1, &a_row.token, a_row.expert, NULL, NULL, &e),
                     0);
    assert_int_equal(trace_writer_request(w, &r, &e), 0);
    assert_int_equal(trace_writer_commit(w, &e), 0);
    t = trace_open(path, NULL, &e);
    assert_string_equal(e.text, "");
    assert_non_null(t);
    assert_int_equal(trace_get_info(t)->groups, 2);
    assert_string_equal(trace_get_info(t)->group_names[0], name[0]);
    assert_string_equal(trace_get_info(t)->group_names[1], name[1]);
    assert_int_equal(trace_get_requests(t)[0].group, 1);
    trace_close(t);
    (void)unlink(path);
    free(path);
    free(name[1]);
}

/* ---- what is known late ---- */

/* A column is made when its first value is known; what came before is told as unknown,
 * also beyond one chunk. 40 requests are more than the list has room for at first. */
static void test_values_that_are_known_late(void **state)
{
    enum { REQUESTS = 40, ROWS = 500, ALL = REQUESTS * ROWS, LATE = ALL - 3 };
    char *path = trace_make_path("late_known.h5");
    struct trace_info i = plain();
    struct err e = {.text = ""};
    struct trace_writer *w;
    struct trace_token token;
    struct trace *t;

    (void)state;
    w = writer(path, &i);
    for (uint32_t n = 0; n < ALL; n++) {
        struct row row = a_row;

        row.token.request = n / ROWS;
        row.token.position = n % ROWS;
        row.token.source = n < LATE ? UINT16_MAX : (uint16_t)(n % 7);
        row.token.token_id = n < LATE + 1 ? -1 : (int32_t)n;
        assert_int_equal(trace_writer_rows(w, 1, &row.token, row.expert, NULL, NULL, &e),
                         0);
        if (n % ROWS == ROWS - 1)
            assert_int_equal(
                trace_writer_request(w,
                                     &(struct trace_request){.arrival_ns = -1,
                                                             .first_row = n + 1 - ROWS,
                                                             .rows = ROWS},
                                     &e),
                0);
    }
    assert_int_equal(trace_writer_commit(w, &e), 0);
    t = trace_open(path, NULL, &e);
    assert_non_null(t);
    assert_int_equal(trace_fields(t), TRACE_HAS_IDS | TRACE_HAS_SOURCE);
    for (uint32_t n = 0; n < ALL; n += n < LATE - 5 ? 61 : 1) {
        assert_int_equal(trace_read_token(t, n, 1, &token, &e), 0);
        assert_int_equal(token.request, n / ROWS);
        assert_int_equal(token.source, n < LATE ? UINT16_MAX : n % 7);
        assert_int_equal(token.token_id, n < LATE + 1 ? -1 : (int32_t)n);
    }
    trace_close(t);
    (void)unlink(path);
    free(path);
}

/* ---- how data sets lie in the file ---- */

/* Chunks are whole rows, a power of two of them, in 512 KiB and no more than hold all
 * rows; of wider rows, parts of one. */
static void test_chunks(void **state)
{
    static const struct {
        enum hdf_kind kind;
        int rank;
        uint64_t dim[3], rows;
        hsize_t chunk[3];
    } known[] = {
        {HDF_U8, 1, {0}, 0, {16384}},
        {HDF_U64, 1, {0}, 0, {16384}},
        {HDF_U64, 1, {0}, 5, {8}},
        {HDF_U64, 1, {0}, 8, {8}},
        {HDF_U64, 1, {0}, 1, {1}},
        {HDF_U16, 3, {0, 16, 8}, 0, {2048, 16, 8}},
        {HDF_U16, 3, {0, 16, 9}, 0, {1024, 16, 9}},
        {HDF_F16, 3, {0, 64, 4096}, 0, {1, 64, 4096}},
        {HDF_F16, 3, {0, 65, 4096}, 0, {1, 64, 4096}},
        {HDF_F16, 3, {0, 300, 1000}, 0, {1, 262, 1000}},
    };
    char *path = trace_make_path("chunks.h5");
    struct err e = {.text = ""};
    struct hdf_out *o;

    (void)state;
    hdf_enter();
    o = hdf_out_new(path, &e);
    assert_non_null(o);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        hsize_t chunk[3];
        struct hdf_set s;
        char name[8];
        hid_t plist;

        (void)snprintf(name, sizeof name, "/%zu", i);
        assert_int_equal(hdf_set_create(&s, hdf_out_file(o), path, name, known[i].kind,
                                        known[i].rank, known[i].dim, known[i].rows, 0,
                                        &e),
                         0);
        plist = H5Dget_create_plist(s.id);
        assert_int_equal(H5Pget_chunk(plist, 3, chunk), known[i].rank);
        for (int k = 0; k < known[i].rank; k++)
            assert_int_equal(chunk[k], known[i].chunk[k]);
        assert_int_equal(s.chunk_rows, known[i].chunk[0]);
        assert_int_equal(H5Pget_nfilters(plist), 3);
        (void)H5Pclose(plist);
        assert_int_equal(hdf_set_append(&s, 0, NULL, &e), 0);
        assert_int_equal(s.dim[0], 0);
        assert_int_equal(hdf_set_close(&s), 0);
    }
    hdf_out_abandon(o);
    hdf_leave();
    assert_int_not_equal(access(path, F_OK), 0);
    free(path);
}

/* More rows than fit in two chunks of any column, in one call and row by row. */
static void test_rows_at_once(void **state)
{
    enum { ROWS = 2 * 16384 + 100, CELLS = 4 };
    struct trace_token *token = mem_zalloc(ROWS, sizeof *token);
    uint16_t *expert = mem_alloc((size_t)ROWS * CELLS, sizeof *expert);
    char *path[2] = {trace_make_path("at-once.h5"), trace_make_path("one-by-one.h5")};
    struct trace_request all = {.arrival_ns = -1, .rows = ROWS};
    struct trace_info i = plain();
    char *bytes[2];
    size_t size[2];

    (void)state;
    for (uint32_t row = 0; row < ROWS; row++) {
        token[row] = a_row.token;
        token[row].position = row;
        for (uint32_t c = 0; c < CELLS; c++)
            expert[row * CELLS + c] = (uint16_t)((row / 7 + c) % 5);
    }
    for (int k = 0; k < 2; k++) {
        struct err e = {.text = ""};
        struct trace_writer *w = writer(path[k], &i);
        uint32_t step = k == 0 ? ROWS : 1;

        for (uint32_t row = 0; row < ROWS; row += step)
            assert_int_equal(trace_writer_rows(w, step, token + row,
                                               expert + (size_t)row * CELLS, NULL, NULL,
                                               &e),
                             0);
        assert_int_equal(trace_writer_request(w, &all, &e), 0);
        if (trace_writer_commit(w, &e) != 0)
            fail_msg("%s", e.text);
        bytes[k] = file_read(path[k], UINT32_MAX, &size[k], &e);
        assert_non_null(bytes[k]);
        (void)unlink(path[k]);
        free(path[k]);
    }
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(bytes[0], bytes[1], size[0]);
    free(bytes[0]);
    free(bytes[1]);
    free(token);
    free(expert);
}

/* What was written and closed is read back through the file that is being written. */
static void test_reading_while_writing(void **state)
{
    enum { ROWS = 70000 };
    static uint32_t values[ROWS], got[ROWS];
    char *path = trace_make_path("both.h5");
    struct err e = {.text = ""};
    struct hdf_out *o;
    struct hdf_set s;
    hid_t set;

    (void)state;
    for (uint32_t i = 0; i < ROWS; i++)
        values[i] = i * UINT32_C(2654435761);
    hdf_enter();
    o = hdf_out_new(path, &e);
    assert_non_null(o);
    assert_int_equal(
        hdf_set_create(&s, hdf_out_file(o), path, "/x", HDF_U32, 1, NULL, 0, 0, &e), 0);
    assert_int_equal(hdf_set_append(&s, 20000, values, &e), 0);
    assert_int_equal(hdf_set_append(&s, ROWS - 20000, values + 20000, &e), 0);
    assert_int_equal(s.dim[0], ROWS);
    assert_int_equal(hdf_set_close(&s), 0);
    set = H5Dopen2(hdf_out_file(o), "/x", H5P_DEFAULT);
    assert_true(set >= 0);
    assert_true(H5Dread(set, H5T_NATIVE_UINT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, got) >= 0);
    (void)H5Dclose(set);
    assert_memory_equal(got, values, sizeof got);
    assert_int_equal(hdf_out_close(o, &e), 0);
    assert_int_equal(hdf_out_commit(o, &e), 0);
    hdf_leave();
    assert_int_equal(access(path, F_OK), 0);
    (void)unlink(path);
    free(path);
}

/* What has a place behind the file's end, and was never written, reads as zeros. */
static void test_reading_what_was_not_written(void **state)
{
    enum { ROWS = 50000 };
    static uint32_t got[ROWS], zeros[ROWS];
    const hsize_t rows = ROWS;
    char *path = trace_make_path("unwritten.h5");
    struct err e = {.text = ""};
    struct hdf_out *o;
    hid_t space, plist, set;

    (void)state;
    memset(got, 0xa5, sizeof got);
    hdf_enter();
    o = hdf_out_new(path, &e);
    assert_non_null(o);
    space = H5Screate_simple(1, &rows, NULL);
    plist = H5Pcreate(H5P_DATASET_CREATE);
    assert_true(H5Pset_alloc_time(plist, H5D_ALLOC_TIME_EARLY) >= 0);
    assert_true(H5Pset_fill_time(plist, H5D_FILL_TIME_NEVER) >= 0);
    set = H5Dcreate2(hdf_out_file(o), "/x", H5T_STD_U32LE, space, H5P_DEFAULT, plist,
                     H5P_DEFAULT);
    assert_true(set >= 0);
    assert_true(H5Dread(set, H5T_NATIVE_UINT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, got) >= 0);
    assert_memory_equal(got, zeros, sizeof got);
    (void)H5Dclose(set);
    (void)H5Pclose(plist);
    (void)H5Sclose(space);
    hdf_out_abandon(o);
    hdf_leave();
    free(path);
}

/* ---- a file that may not grow ---- */

static struct trace *source;

static int write_csv(const char *path, struct err *e)
{
    return export_csv(source, path, e);
}

static int write_oracle(const char *path, struct err *e)
{
    return export_oracle_general(source, path, NULL, NULL, e);
}

static int write_slice(const char *path, struct err *e)
{
    return slice_write(source, &SLICE_EVERYTHING, path, e);
}

/* Beyond a limit nothing can be written: each says so, and leaves no file. */
static void test_full_files(void **state)
{
    static int (*const write[])(const char *, struct err *) = {write_csv, write_oracle,
                                                               write_slice};
    static const rlim_t limits[] = {1000, 9000, 60000};
    char *path = trace_make_path("source.h5"), *out = trace_make_path("full.out");
    char *spill = mem_format("%s.spill", out);
    struct err e = {.text = ""};

    (void)state;
    trace_make_random(path, 3, 64, 6, 8, 1500, 5);
    source = trace_open(path, NULL, &e);
    assert_non_null(source);
    for (size_t i = 0; i < sizeof write / sizeof *write; i++) {
        for (size_t l = 0; l < sizeof limits / sizeof *limits; l++) {
            rlim_t was = file_limit(limits[l]);
            int status;

            e.text[0] = '\0';
            status = write[i](out, &e);
            (void)file_limit(was);
            assert_int_equal(status, -1);
            if (strstr(e.text, "File too large") == NULL)
                fail_msg("%zu at %zu: \"%s\"", i, l, e.text);
            assert_int_not_equal(access(out, F_OK), 0);
            assert_int_not_equal(access(spill, F_OK), 0);
        }
    }
    trace_close(source);
    (void)unlink(path);
    free(path);
    free(out);
    free(spill);
}

/* Rows whose chunk cannot be written are refused by status and by sentence, one by one as
 * well as all together. */
static void test_rows_that_find_no_room(void **state)
{
    enum { ROWS = 4096, LAYERS = 64, TOP_K = 8, CELLS = LAYERS * TOP_K };
    struct trace_token *token = mem_zalloc(ROWS, sizeof *token);
    uint16_t *expert = mem_alloc((size_t)ROWS * CELLS, sizeof *expert);
    char *path = trace_make_path("no-room.h5");
    struct trace_info i = plain();

    (void)state;
    i.layers = LAYERS;
    i.experts = 64;
    i.top_k = i.candidates = TOP_K;
    for (uint32_t row = 0; row < ROWS; row++) {
        token[row] = a_row.token;
        token[row].position = row;
        for (uint32_t c = 0; c < CELLS; c++)
            expert[row * CELLS + c] = (uint16_t)((row * 7 + c) % 64);
    }
    for (uint32_t step = 1; step <= ROWS; step *= ROWS) {
        struct err e = {.text = ""};
        struct trace_writer *w = writer(path, &i);
        rlim_t was = file_limit(1000);
        uint32_t row = 0;

        while (row < ROWS && trace_writer_rows(w, step, token + row, expert + row * CELLS,
                                               NULL, NULL, &e) == 0)
            row += step;
        (void)file_limit(was);
        assert_true(row < ROWS);
        if (strstr(e.text, "File too large") == NULL)
            fail_msg("\"%s\"", e.text);
        trace_writer_abandon(w);
        assert_int_not_equal(access(path, F_OK), 0);
    }
    free(path);
    free(token);
    free(expert);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_traces_are_whole),
        cmocka_unit_test(test_the_longest_name),
        cmocka_unit_test(test_values_that_are_known_late),
        cmocka_unit_test(test_names_have_bounds),
        cmocka_unit_test(test_shapes_have_bounds),
        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_rows_at_once),
        cmocka_unit_test(test_reading_while_writing),
        cmocka_unit_test(test_reading_what_was_not_written),
        cmocka_unit_test(test_full_files),
        cmocka_unit_test(test_rows_that_find_no_room),
    };

    for (uint16_t i = 0; i <= TRACE_MAX_LAYERS; i++)
        numbers[i] = i;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
