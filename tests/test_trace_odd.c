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
    spoil_file(path, sorted_is_a_bool);
    spoil_file(path, fixed_model);
    spoil_file(path, one_in_a_list);
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
        spoil_file(path, bad[i].how);
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
    spoil_file(path, repeat_position);
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
    spoil_file(path, drafts_over_the_seam);
    spoil_file(path, repeat_position);
    assert_string_equal(spoil_examine(path).text, "");
    spoil_file(path, repeat_position_before_drafts);
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
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
