/* Traces that are unusual: what is stored otherwise than the writer does, accepted or
 * not; faults at the seams of blocks; values at their bounds. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "spoil.h"
#include "trace_maker.h"

#include "sim/base/mem.h"
#include "traces/export.h"
#include "traces/generate.h"
#include "traces/slice.h"
#include "traces/statistics.h"
#include "traces/trace_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROWS = 33, LAYERS = 3, TOP_K = 2 };

static const struct trace_make good = {.layers = LAYERS,
                                       .experts = 16,
                                       .top_k = TOP_K,
                                       .requests = 3,
                                       .rows = 10,
                                       .score_kind = TRACE_SCORE_SOFTMAX,
                                       .predicted = 2,
                                       .uneven = true,
                                       .passes = true,
                                       .expert_bytes = true,
                                       .seed = 3};

static void spoil(const char *path, void (*how)(hid_t f))
{
    hid_t f;

    hdf_enter();
    f = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    assert_true(f >= 0);
    how(f);
    assert_true(H5Fclose(f) >= 0);
    hdf_leave();
}

/* ---- attributes as others write them ---- */

/* An attribute of `count` values of a type in memory and on disk. */
static void set_attribute(hid_t f, const char *name, hid_t type, hsize_t count,
                          const void *values)
{
    hid_t space = count == 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, &count, NULL);
    hid_t id;

    assert_true(H5Adelete(f, name) >= 0);
    id = H5Acreate2(f, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(id >= 0);
    assert_true(values == NULL || H5Awrite(id, type, values) >= 0);
    (void)H5Aclose(id);
    (void)H5Sclose(space);
}

/* h5py writes a bool as an enumeration of bytes. */
static void sorted_is_a_bool(hid_t f)
{
    const int8_t no = 0, yes = 1;
    hid_t type = H5Tenum_create(H5T_NATIVE_INT8);

    assert_true(H5Tenum_insert(type, "FALSE", &no) >= 0);
    assert_true(H5Tenum_insert(type, "TRUE", &yes) >= 0);
    set_attribute(f, "sorted", type, 0, &yes);
    (void)H5Tclose(type);
}

static void fixed_model(hid_t f)
{
    hid_t type = H5Tcopy(H5T_C_S1);

    assert_true(H5Tset_size(type, 5) >= 0);
    set_attribute(f, "model", type, 0, "fixed");
    (void)H5Tclose(type);
}

static void one_in_a_list(hid_t f)
{
    set_attribute(f, "top_k", H5T_NATIVE_UINT8, 1, &(uint8_t){TOP_K});
}

static void test_other_attributes(void **state)
{
    char *path = trace_make_path("odd.h5");
    struct err e = {.text = ""};
    struct trace *t;

    (void)state;
    trace_make(path, &good);
    spoil(path, sorted_is_a_bool);
    spoil(path, fixed_model);
    spoil(path, one_in_a_list);
    assert_string_equal(spoil_examine(path).text, "");
    t = trace_open(path, NULL, &e);
    assert_non_null(t);
    assert_true(trace_get_info(t)->sorted);
    assert_int_equal(trace_get_info(t)->top_k, TOP_K);
    assert_string_equal(trace_get_info(t)->model, "fixed");
    /* What lies in chunks is read by our own reader, not by the library. */
    assert_non_null(t->expert_set.chunks);
    trace_close(t);
    (void)unlink(path);
    free(path);
}

static void two_of_them(hid_t f)
{
    set_attribute(f, "top_k", H5T_NATIVE_UINT8, 2, (uint8_t[]){2, 2});
}
static void top_k_half(hid_t f)
{
    set_attribute(f, "top_k", H5T_NATIVE_DOUBLE, 0, &(double){2.0});
}
static void no_text(hid_t f)
{
    hid_t type = H5Tcopy(H5T_C_S1);

    assert_true(H5Tset_size(type, H5T_VARIABLE) >= 0);
    set_attribute(f, "model", type, 0, NULL);
    (void)H5Tclose(type);
}
static void two_texts(hid_t f)
{
    hid_t type = H5Tcopy(H5T_C_S1);

    assert_true(H5Tset_size(type, 2) >= 0);
    set_attribute(f, "model", type, 2, "abcd");
    (void)H5Tclose(type);
}
static void number_for_kind(hid_t f)
{
    set_int(f, "/", "score_kind", 5);
}
static void wide_predictions(hid_t f)
{
    static uint16_t zeros[ROWS * LAYERS * 17];

    put_set(f, "/routing/predicted", H5T_STD_U16LE, 3, (hsize_t[]){ROWS, LAYERS, 17},
            NULL, H5Z_FILTER_NONE, zeros);
    set_int(f, "/routing/predicted", "distance", 1);
}
static void short_predictions(hid_t f)
{
    static uint16_t zeros[ROWS * 2 * 2];

    put_set(f, "/routing/predicted", H5T_STD_U16LE, 3, (hsize_t[]){ROWS, 2, 2}, NULL,
            H5Z_FILTER_NONE, zeros);
    set_int(f, "/routing/predicted", "distance", 1);
}
static void too_many_layers(hid_t f)
{
    static uint16_t number[1025];

    for (uint16_t i = 0; i < 1025; i++)
        number[i] = i;
    put_set(f, "/moe_layer", H5T_STD_U16LE, 1, (hsize_t[]){1025}, NULL, H5Z_FILTER_NONE,
            number);
}
static void too_many_bytes(hid_t f)
{
    poke(f, "/expert_bytes", 1, 1, (INT64_C(1) << 48) + 1);
}
/* Each dimension could be there, and not all of them together. */
static void predictions_without_end(hid_t f)
{
    put_set(f, "/routing/predicted", H5T_STD_U16LE, 3, (hsize_t[]){ROWS, 3000, 3000},
            (hsize_t[]){1, 1000, 1000}, H5Z_FILTER_NONE, NULL);
    set_int(f, "/routing/predicted", "distance", 1);
}
static void values_elsewhere(hid_t f)
{
    hsize_t dim = LAYERS;
    hid_t list = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(1, &dim, NULL);

    spoil_remove(f, "/moe_layer");
    assert_true(H5Pset_external(list, "/dev/zero", 0, 100) >= 0);
    (void)H5Dclose(H5Dcreate2(f, "/moe_layer", H5T_STD_U16LE, space, H5P_DEFAULT, list,
                              H5P_DEFAULT));
    (void)H5Pclose(list);
    (void)H5Sclose(space);
}
static void values_of_another(hid_t f)
{
    hsize_t dim = LAYERS;
    hid_t list = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(1, &dim, NULL);

    spoil_remove(f, "/moe_layer");
    assert_true(H5Pset_virtual(list, space, ".", "/request/group", space) >= 0);
    (void)H5Dclose(H5Dcreate2(f, "/moe_layer", H5T_STD_U16LE, space, H5P_DEFAULT, list,
                              H5P_DEFAULT));
    (void)H5Pclose(list);
    (void)H5Sclose(space);
}
static void signed_layers(hid_t f)
{
    put_set(f, "/moe_layer", H5T_STD_I16LE, 1, (hsize_t[]){3}, NULL, H5Z_FILTER_NONE,
            (int16_t[]){1, 2, 3});
}
static void layers_in_halves(hid_t f)
{
    hid_t type = H5Tcopy(H5T_IEEE_F32LE);

    assert_true(H5Tset_fields(type, 15, 10, 5, 0, 10) >= 0);
    assert_true(H5Tset_size(type, 2) >= 0 && H5Tset_ebias(type, 15) >= 0);
    put_set(f, "/moe_layer", type, 1, (hsize_t[]){3}, NULL, H5Z_FILTER_NONE,
            (uint16_t[]){1, 2, 3});
    (void)H5Tclose(type);
}
static void big_endian_scores(hid_t f)
{
    hid_t type = H5Tcopy(H5T_IEEE_F32BE);
    static uint16_t zeros[ROWS * LAYERS * TOP_K];

    assert_true(H5Tset_fields(type, 15, 10, 5, 0, 10) >= 0);
    assert_true(H5Tset_size(type, 2) >= 0 && H5Tset_ebias(type, 15) >= 0);
    put_set(f, "/routing/score", type, 3, (hsize_t[]){ROWS, LAYERS, TOP_K}, NULL,
            H5Z_FILTER_NONE, zeros);
    (void)H5Tclose(type);
}
static void bfloat_scores(hid_t f)
{
    hid_t type = H5Tcopy(H5T_IEEE_F32LE);
    static uint16_t zeros[ROWS * LAYERS * TOP_K];

    assert_true(H5Tset_fields(type, 15, 7, 8, 0, 7) >= 0);
    assert_true(H5Tset_size(type, 2) >= 0 && H5Tset_ebias(type, 127) >= 0);
    put_set(f, "/routing/score", type, 3, (hsize_t[]){ROWS, LAYERS, TOP_K}, NULL,
            H5Z_FILTER_NONE, zeros);
    (void)H5Tclose(type);
}

static void test_what_is_refused(void **state)
{
    static const struct {
        void (*how)(hid_t f);
        const char *words;
    } bad[] = {
        {two_of_them, ": attribute top_k of / must be one integer"},
        {top_k_half, ": attribute top_k of / must be one integer"},
        {no_text, ": attribute model of / is damaged or longer than 65535 bytes"},
        {two_texts, ": attribute model of / must be one string"},
        {number_for_kind, ": attribute score_kind of / must be one string"},
        {wide_predictions,
         ": /routing/predicted is 17 wide, more than attribute experts (16)"},
        {short_predictions,
         ": dimension 1 of /routing/predicted is 2 but /moe_layer says 3"},
        {too_many_layers, ": /moe_layer has 1025 rows; at most 1024 are allowed"},
        {too_many_bytes, ": /expert_bytes, row 1: 281474976710657 bytes; it must be from "
                         "1 to 2^48"},
        {predictions_without_end, ": /routing/predicted claims 33 rows, more than the "
                                  "file can hold; the file is damaged"},
        {values_elsewhere, ": /moe_layer is stored in other files; a trace is one file"},
        {values_of_another, ": /moe_layer has a storage layout that a trace may not use; "
                            "write it chunked"},
        {signed_layers, ": /moe_layer must be of type u16"},
        {layers_in_halves, ": /moe_layer must be of type u16"},
        {big_endian_scores, ": /routing/score must be of type f16"},
        {bfloat_scores, ": /routing/score must be of type f16"},
    };
    char *path = trace_make_path("odd.h5");

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err e;

        trace_make(path, &good);
        spoil(path, bad[i].how);
        e = spoil_examine(path);
        if (strcmp(e.text + strlen(path), bad[i].words) != 0 ||
            strncmp(e.text, path, strlen(path)) != 0)
            fail_msg("expected '%s': \"%s\"", bad[i].words, e.text);
    }
    (void)unlink(path);
    free(path);
}

/* A text of `length` bytes, of a fixed length (and a NUL behind it) or a variable one. */
static void put_capture(const char *path, size_t length, bool fixed)
{
    char *text = mem_zalloc(length + 1, 1);
    hid_t f, type = H5Tcopy(H5T_C_S1);

    memset(text, 'c', length);
    hdf_enter();
    f = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    assert_true(f >= 0);
    if (fixed) {
        assert_true(H5Tset_size(type, length + 1) >= 0);
        set_attribute(f, "capture", type, 0, text);
    } else {
        set_text(f, "capture", text);
    }
    (void)H5Tclose(type);
    assert_true(H5Fclose(f) >= 0);
    hdf_leave();
    free(text);
}

static void test_longest_text(void **state)
{
    enum { LONGEST = 65535 };
    static const char long_text[] =
        ": attribute capture of / is damaged or longer than 65535 bytes";
    char *path = trace_make_path("longest.h5");

    (void)state;
    for (int fixed = 0; fixed < 2; fixed++) {
        struct err e = {.text = ""};
        struct trace *t;

        trace_make(path, &good);
        put_capture(path, LONGEST, fixed == 1);
        assert_string_equal(spoil_examine(path).text, "");
        t = trace_open(path, NULL, &e);
        assert_int_equal(strlen(trace_get_info(t)->capture), LONGEST);
        trace_close(t);
        put_capture(path, LONGEST + 1, fixed == 1);
        assert_string_equal(spoil_examine(path).text + strlen(path), long_text);
    }
    (void)unlink(path);
    free(path);
}

/* ---- seams and bounds ---- */

static void repeat_position(hid_t f)
{
    poke(f, "/token/position", 1, 16384, 16386);
}

/* Rows are checked by blocks of 16384, and the first of one against the last before. */
static void test_seams(void **state)
{
    char *path = trace_make_path("seams.h5");

    (void)state;
    trace_make_cyclic(path, 1, 8, 2, 16390);
    assert_string_equal(spoil_examine(path).text, "");
    spoil(path, repeat_position);
    assert_string_equal(spoil_examine(path).text + strlen(path),
                        ": /token/position, row 16384: position 16386 does not follow "
                        "16386 of row 16383; positions of prefill and decode "
                        "rows must ascend");
    (void)unlink(path);
    free(path);
}

static void drafts_over_the_seam(hid_t f)
{
    for (hsize_t row = 16380; row < 16387; row++)
        poke(f, "/token/phase", 1, row, TRACE_DRAFT);
}

static void repeat_position_before_drafts(hid_t f)
{
    drafts_over_the_seam(f);
    poke(f, "/token/position", 1, 16387, 16379 + 3);
}

/* Drafts may repeat positions, and what is not a draft is compared with what was none. */
static void test_drafts_over_a_seam(void **state)
{
    char *path = trace_make_path("drafts.h5");

    (void)state;
    trace_make_cyclic(path, 1, 8, 2, 16390);
    spoil(path, drafts_over_the_seam);
    spoil(path, repeat_position);
    assert_string_equal(spoil_examine(path).text, "");
    spoil(path, repeat_position_before_drafts);
    assert_string_equal(spoil_examine(path).text + strlen(path),
                        ": /token/position, row 16387: position 16382 does not follow "
                        "16382 of row 16379; positions of prefill and decode "
                        "rows must ascend");
    (void)unlink(path);
    free(path);
}

/* Cells of more than eight ids are numbered, and the numbers begin again where they are
 * used up: what was seen before counts no more. */
static void test_numbers_of_cells_begin_again(void **state)
{
    enum { WIDTH = 20 };
    char name[] = "made up";
    uint32_t seen[WIDTH];
    uint16_t id[WIDTH];
    struct trace t = {.path = name,
                      .info = {.layers = 1, .experts = WIDTH, .candidates = WIDTH},
                      .seen = seen,
                      .cell = UINT32_MAX};
    struct err e = {.text = ""};

    (void)state;
    for (uint16_t i = 0; i < WIDTH; i++) {
        seen[i] = 1;
        id[i] = i;
    }
    assert_int_equal(trace_check_expert(&t, 0, 1, id, &e), 0);
    assert_int_equal(t.cell, 1);
    assert_int_equal(trace_check_expert(&t, 0, 1, id, &e), 0);
    assert_int_equal(t.cell, 2);
    for (uint16_t i = 0; i < WIDTH; i++)
        assert_int_equal(seen[i], 2);
    id[19] = 0;
    assert_int_equal(trace_check_expert(&t, 7, 1, id, &e), -1);
    assert_string_equal(e.text, "made up: /routing/expert, row 7, layer 0: expert 0 "
                                "occurs twice");
}

static void test_fields_have_names(void **state)
{
    static const char *const name[] = {"/routing/expert",
                                       "/routing/score",
                                       "/routing/score of every expert",
                                       "/routing/predicted",
                                       "/pass",
                                       "/token/source",
                                       "prefill rows in /token/phase",
                                       "/request/arrival_ns",
                                       "/expert_bytes"};

    (void)state;
    for (unsigned i = 0; i < sizeof name / sizeof *name; i++)
        assert_string_equal(trace_field_name((enum trace_field)(1U << i)), name[i]);
    assert_string_equal(trace_field_name((enum trace_field)0), "unknown field");
}

/* ---- those who read ---- */

static void first_pass_goes_on(hid_t f)
{
    poke(f, "/pass/first", 1, 1, 0);
}

static void test_slices_fail_with_their_passes(void **state)
{
    char *path = trace_make_path("passes.h5"), *to = trace_make_path("passes_part.h5");
    struct err e = {.text = ""};
    struct trace *t;

    (void)state;
    trace_make(path, &good);
    spoil(path, first_pass_goes_on);
    t = trace_open(path, NULL, &e);
    assert_non_null(t);
    assert_int_equal(slice_write(t, &SLICE_EVERYTHING, to, &e), -1);
    assert_non_null(strstr(e.text, ": /pass/first, row 0: a pass from 0 to 0 of the 33"));
    assert_int_not_equal(access(to, F_OK), 0);
    trace_close(t);
    (void)unlink(path);
    free(path);
    free(to);
}

/* Everything is all layers, rows and requests; a part that begins where a request ends
 * and ends where one begins has none of either. */
static void test_slices_at_requests(void **state)
{
    static const struct trace_make many = {
        .layers = 60, .experts = 9, .top_k = 2, .requests = 5, .rows = 10, .seed = 2};
    static const struct {
        struct slice slice;
        uint64_t rows, requests, first_position;
    } known[] = {{{0, UINT64_MAX, 0, UINT64_MAX, NULL}, 50, 5, 0},
                 {{0, UINT64_MAX, 10, 30, NULL}, 20, 2, 0},
                 {{0, UINT64_MAX, 9, 31, NULL}, 22, 4, 9},
                 {{2, 3, 0, UINT64_MAX, NULL}, 10, 1, 0},
                 {{4, UINT64_MAX, 0, 49, NULL}, 9, 1, 0}};
    char *path = trace_make_path("many.h5"), *to = trace_make_path("many_part.h5");
    struct err e = {.text = ""};
    struct trace *t, *part;

    (void)state;
    trace_make(path, &many);
    t = trace_open(path, NULL, &e);
    assert_non_null(t);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        struct trace_token first, was;
        const struct trace_info *info;
        char *wanted;

        assert_int_equal(slice_write(t, &known[i].slice, to, &e), 0);
        part = trace_open(to, NULL, &e);
        assert_non_null(part);
        info = trace_get_info(part);
        assert_int_equal(info->layers, 60);
        assert_int_equal(info->rows, known[i].rows);
        assert_int_equal(info->requests, known[i].requests);
        assert_int_equal(trace_read_token(part, 0, 1, &first, &e), 0);
        assert_int_equal(trace_read_token(t, known[i].first_position, 1, &was, &e), 0);
        assert_int_equal(first.position, was.position);
        wanted = mem_format("%s; rows %d:%d, 60 of 60 layers", trace_get_info(t)->source,
                            (int[]){0, 10, 9, 20, 40}[i], (int[]){50, 30, 31, 30, 49}[i]);
        assert_string_equal(info->source, wanted);
        free(wanted);
        trace_close(part);
        (void)unlink(to);
    }
    trace_close(t);
    (void)unlink(path);
    free(path);
    free(to);
}

/* One row of routing is larger than what is copied at once. */
static void test_slices_of_wide_rows(void **state)
{
    enum { WIDE_LAYERS = 270, EXPERTS = 4096 };
    const struct trace_make wide = {.layers = WIDE_LAYERS,
                                    .experts = EXPERTS,
                                    .top_k = 1,
                                    .requests = 1,
                                    .rows = 2,
                                    .predicted = EXPERTS,
                                    .seed = 8};
    char *path = trace_make_path("wide.h5"), *to = trace_make_path("wide_part.h5");
    uint16_t *got = mem_alloc(EXPERTS, sizeof *got);
    uint16_t *want = mem_alloc((size_t)WIDE_LAYERS * EXPERTS, sizeof *want);
    struct slice s = SLICE_EVERYTHING;
    struct err e = {.text = ""};
    uint16_t expert[WIDE_LAYERS];
    struct trace_token token;
    struct trace *t, *part;

    (void)state;
    trace_make(path, &wide);
    t = trace_open(path, NULL, &e);
    assert_non_null(t);
    s.layers = "269";
    assert_int_equal(slice_write(t, &s, to, &e), 0);
    part = trace_open(to, NULL, &e);
    assert_non_null(part);
    assert_int_equal(trace_get_info(part)->rows, 2);
    for (uint64_t row = 0; row < 2; row++) {
        trace_make_row(&wide, row, &token, expert, NULL, want);
        assert_int_equal(trace_read_predicted(part, row, 1, got, &e), 0);
        assert_memory_equal(got, want + (size_t)269 * EXPERTS, EXPERTS * sizeof *got);
    }
    trace_close(part);
    trace_close(t);
    (void)unlink(path);
    (void)unlink(to);
    free(path);
    free(to);
    free(got);
    free(want);
}

static void bytes_that_fit(hid_t f)
{
    poke(f, "/expert_bytes", 1, 2, UINT32_MAX);
}

static void bytes_that_do_not(hid_t f)
{
    poke(f, "/expert_bytes", 1, 2, INT64_C(1) << 32);
}

static void test_sizes_of_records(void **state)
{
    char *path = trace_make_path("sizes.h5"), *to = trace_make_path("sizes.oracle");
    struct err e = {.text = ""};
    struct trace *t;

    (void)state;
    trace_make(path, &good);
    spoil(path, bytes_that_fit);
    t = trace_open(path, NULL, &e);
    assert_int_equal(export_oracle_general(t, to, NULL, NULL, &e), 0);
    trace_close(t);
    (void)unlink(to);
    spoil(path, bytes_that_do_not);
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

static void test_no_trace_like_counts(void **state)
{
    char *path = trace_make_path("counts.h5"), *to = trace_make_path("like.h5");
    struct err e = {.text = ""};
    struct trace *t;

    (void)state;
    trace_make_counts(path, 2, 3, 4);
    t = trace_open(path, NULL, &e);
    assert_int_equal(generate_like(t, NULL, to, &e), -1);
    assert_string_equal(e.text + strlen(path),
                        ": has counts only; a trace with /routing/expert is needed");
    trace_close(t);
    (void)unlink(path);
    free(path);
    free(to);
}

struct shown {
    uint64_t first, last, total;
    size_t count;
};

static void note(void *context, uint64_t done, uint64_t total)
{
    struct shown *s = context;

    if (s->count == 0)
        s->first = done;
    else
        assert_true(done >= s->last);
    s->last = done;
    s->total = total;
    s->count++;
}

/* Rows are swept twice: for counts, and for what one layer foretells of the next. */
static void test_progress_is_told(void **state)
{
    char *path = trace_make_path("told.h5");
    struct shown shown = {.count = 0};
    const struct trace_statistics_watch watch = {note, &shown};
    struct err e = {.text = ""};
    struct trace_statistics s;
    struct trace *t;

    (void)state;
    trace_make_cyclic(path, 2, 8, 2, 5000);
    t = trace_open(path, NULL, &e);
    assert_int_equal(trace_statistics_measure(t, &watch, &s, &e), 0);
    assert_int_equal(shown.total, 10000);
    assert_true(shown.count >= 4);
    assert_true(shown.first < 5000);
    assert_true(shown.last >= 5000 && shown.last <= 10000);
    trace_statistics_release(&s);
    trace_close(t);
    (void)unlink(path);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_other_attributes),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_longest_text),
        cmocka_unit_test(test_seams),
        cmocka_unit_test(test_drafts_over_a_seam),
        cmocka_unit_test(test_numbers_of_cells_begin_again),
        cmocka_unit_test(test_fields_have_names),
        cmocka_unit_test(test_slices_fail_with_their_passes),
        cmocka_unit_test(test_slices_at_requests),
        cmocka_unit_test(test_slices_of_wide_rows),
        cmocka_unit_test(test_sizes_of_records),
        cmocka_unit_test(test_no_trace_like_counts),
        cmocka_unit_test(test_progress_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
