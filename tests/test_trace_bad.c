/* Malformed trace files: each gives one sentence that names the place, and no crash. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "spoil.h"
#include "trace_maker.h"

#include "sim/base/file.h"
#include "sim/base/mem.h"
#include "traces/hdf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROWS 33
#define LAYERS 3
#define EXPERTS 16
#define TOP_K 2

static const struct trace_make good = {.layers = LAYERS,
                                       .experts = EXPERTS,
                                       .top_k = TOP_K,
                                       .requests = 3,
                                       .rows = 10,
                                       .score_kind = TRACE_SCORE_SOFTMAX,
                                       .predicted = 2,
                                       .uneven = true,
                                       .known_source = true,
                                       .passes = true,
                                       .expert_bytes = true,
                                       .seed = 3};

/* ---- ways to spoil a file ---- */

static void no_format(hid_t f)
{
    assert_true(H5Adelete(f, "format") >= 0);
}
static void other_format(hid_t f)
{
    set_text(f, "format", "another-trace");
}
static void format_of_a_result(hid_t f)
{
    set_text(f, "format", "moesim-result");
}
static void version_2(hid_t f)
{
    set_int(f, "/", "version", 2);
}
static void text_version(hid_t f)
{
    assert_true(H5Adelete(f, "version") >= 0);
    assert_true(H5Arename(f, "model", "version") >= 0);
}
static void no_experts_attribute(hid_t f)
{
    assert_true(H5Adelete(f, "experts") >= 0);
}
static void experts_0(hid_t f)
{
    set_int(f, "/", "experts", 0);
}
static void experts_huge(hid_t f)
{
    set_int(f, "/", "experts", INT64_C(1) << 60);
}
static void experts_8(hid_t f)
{
    set_int(f, "/", "experts", 8);
}
static void experts_negative(hid_t f)
{
    set_int(f, "/", "experts", -16);
}
static void top_k_0(hid_t f)
{
    set_int(f, "/", "top_k", 0);
}
static void top_k_3(hid_t f)
{
    set_int(f, "/", "top_k", 3);
}
static void candidates_4(hid_t f)
{
    set_int(f, "/", "candidates", 4);
}
static void number_for_model(hid_t f)
{
    set_int(f, "/", "model", 5);
}
static void unknown_score_kind(hid_t f)
{
    set_text(f, "score_kind", "softmix");
}
static void kind_none_with_scores(hid_t f)
{
    set_text(f, "score_kind", "none");
}
static void sorted_2(hid_t f)
{
    set_int(f, "/", "sorted", 2);
}
static void no_moe_layer(hid_t f)
{
    spoil_remove(f, "/moe_layer");
}
static void layers_descend(hid_t f)
{
    poke(f, "/moe_layer", 1, 1, 1);
}
static void two_layers(hid_t f)
{
    put_set(f, "/moe_layer", H5T_STD_U16LE, 1, (hsize_t[]){2}, NULL, H5Z_FILTER_NONE,
            (uint16_t[]){1, 2});
}
static void expert_bytes_0(hid_t f)
{
    poke(f, "/expert_bytes", 1, 2, 0);
}
static void no_routing(hid_t f)
{
    spoil_remove(f, "/routing/expert");
}
static void no_routing_group(hid_t f)
{
    spoil_remove(f, "/routing");
}
static void routing_is_a_group(hid_t f)
{
    spoil_remove(f, "/routing/expert");
    (void)H5Gclose(
        H5Gcreate2(f, "/routing/expert", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
}
static void routing_is_elsewhere(hid_t f)
{
    spoil_remove(f, "/routing/expert");
    assert_true(H5Lcreate_external("other.h5", "/x", f, "/routing/expert", H5P_DEFAULT,
                                   H5P_DEFAULT) >= 0);
}
static void routing_i32(hid_t f)
{
    static int32_t zeros[ROWS * LAYERS * TOP_K];

    put_set(f, "/routing/expert", H5T_STD_I32LE, 3, (hsize_t[]){ROWS, LAYERS, TOP_K},
            NULL, H5Z_FILTER_NONE, zeros);
}
static void routing_flat(hid_t f)
{
    static uint16_t zeros[ROWS * LAYERS];

    put_set(f, "/routing/expert", H5T_STD_U16LE, 2, (hsize_t[]){ROWS, LAYERS}, NULL,
            H5Z_FILTER_NONE, zeros);
}
static void routing_short(hid_t f)
{
    static uint16_t ids[(ROWS - 1) * LAYERS * TOP_K];

    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++)
        ids[i] = (uint16_t)(i % TOP_K);
    put_set(f, "/routing/expert", H5T_STD_U16LE, 3, (hsize_t[]){ROWS - 1, LAYERS, TOP_K},
            NULL, H5Z_FILTER_NONE, ids);
}
static void routing_empty(hid_t f)
{
    put_set(f, "/routing/expert", H5T_STD_U16LE, 3, (hsize_t[]){0, LAYERS, TOP_K},
            (hsize_t[]){8, LAYERS, TOP_K}, H5Z_FILTER_NONE, NULL);
}
static void routing_claims_2_60(hid_t f)
{
    put_set(f, "/routing/expert", H5T_STD_U16LE, 3,
            (hsize_t[]){UINT64_C(1) << 60, LAYERS, TOP_K}, (hsize_t[]){64, LAYERS, TOP_K},
            H5Z_FILTER_NONE, NULL);
}
static void routing_never_written(hid_t f)
{
    put_set(f, "/routing/expert", H5T_STD_U16LE, 3, (hsize_t[]){ROWS, LAYERS, TOP_K},
            (hsize_t[]){4, LAYERS, TOP_K}, H5Z_FILTER_NONE, NULL);
}
static void routing_contiguous_never_written(hid_t f)
{
    put_set(f, "/routing/expert", H5T_STD_U16LE, 3, (hsize_t[]){ROWS, LAYERS, TOP_K},
            NULL, H5Z_FILTER_NONE, NULL);
}
static void routing_chunk_huge(hid_t f)
{
    put_set(f, "/routing/expert", H5T_STD_U16LE, 3, (hsize_t[]){1 << 23, LAYERS, TOP_K},
            (hsize_t[]){1 << 23, LAYERS, TOP_K}, H5Z_FILTER_NONE, NULL);
}
static void routing_odd_filter(hid_t f)
{
    static uint16_t zeros[ROWS * LAYERS * TOP_K];

    put_set(f, "/routing/expert", H5T_STD_U16LE, 3, (hsize_t[]){ROWS, LAYERS, TOP_K},
            (hsize_t[]){ROWS, LAYERS, TOP_K}, H5Z_FILTER_NBIT, zeros);
}
static void expert_out_of_range(hid_t f)
{
    poke(f, "/routing/expert", 3, 17, EXPERTS);
}
static void expert_twice(hid_t f)
{
    hid_t set = H5Dopen2(f, "/routing/expert", H5P_DEFAULT);
    uint16_t ids[ROWS * LAYERS * TOP_K];

    assert_true(H5Dread(set, H5T_NATIVE_UINT16, H5S_ALL, H5S_ALL, H5P_DEFAULT, ids) >= 0);
    (void)H5Dclose(set);
    poke(f, "/routing/expert", 3, 17, ids[17 * LAYERS * TOP_K + 1]);
}
static void expert_after_gap(hid_t f)
{
    poke(f, "/routing/expert", 3, 17, 65535);
}
static void no_score(hid_t f)
{
    spoil_remove(f, "/routing/score");
}
static void score_f32(hid_t f)
{
    static float zeros[ROWS * LAYERS * TOP_K];

    put_set(f, "/routing/score", H5T_IEEE_F32LE, 3, (hsize_t[]){ROWS, LAYERS, TOP_K},
            NULL, H5Z_FILTER_NONE, zeros);
}
static void score_nan(hid_t f)
{
    poke_score(f, 11, 0, 0x7e01);
}
static void score_infinite(hid_t f)
{
    poke_score(f, 11, 0, 0xfc00);
}
static void score_above_1(hid_t f)
{
    poke_score(f, 11, 0, 0x3c01);
}
static void score_negative(hid_t f)
{
    poke_score(f, 11, 1, 0x8001);
}
static void score_ascends(hid_t f)
{
    poke_score(f, 11, 0, 0x0001);
}
static void predicted_out_of_range(hid_t f)
{
    poke(f, "/routing/predicted", 3, 5, 300);
}
static void predicted_distance_0(hid_t f)
{
    set_int(f, "/routing/predicted", "distance", 0);
}
static void no_phase(hid_t f)
{
    spoil_remove(f, "/token/phase");
}
static void phase_4(hid_t f)
{
    poke(f, "/token/phase", 1, 9, 4);
}
static void phase_by_layer(hid_t f)
{
    static uint8_t ones[ROWS * LAYERS];

    put_set(f, "/token/phase", H5T_STD_U8LE, 2, (hsize_t[]){ROWS, LAYERS}, NULL,
            H5Z_FILTER_NONE, ones);
}
static void phase_u16(hid_t f)
{
    static uint16_t ones[ROWS];

    put_set(f, "/token/phase", H5T_STD_U16LE, 1, (hsize_t[]){ROWS}, NULL, H5Z_FILTER_NONE,
            ones);
}
static void position_repeats(hid_t f)
{
    poke(f, "/token/position", 1, 5, 3);
}
static void second_position(hid_t f)
{
    poke(f, "/token/position", 1, 1, 0);
}
static void token_of_other_request(hid_t f)
{
    poke(f, "/token/request", 1, 12, 2);
}
static void source_short(hid_t f)
{
    static uint16_t ranks[5];

    put_set(f, "/token/source", H5T_STD_U16LE, 1, (hsize_t[]){5}, NULL, H5Z_FILTER_NONE,
            ranks);
}
static void first_row_wrong(hid_t f)
{
    poke(f, "/request/first_row", 1, 1, 11);
}
static void rows_too_many(hid_t f)
{
    poke(f, "/request/rows", 1, 2, 4000000000);
}
static void rows_too_few(hid_t f)
{
    poke(f, "/request/rows", 1, 2, 3);
}
static void group_unknown(hid_t f)
{
    poke(f, "/request/group", 1, 1, 2);
}
static void arrival_negative(hid_t f)
{
    poke(f, "/request/arrival_ns", 1, 1, -2);
}
static void group_names_vary(hid_t f)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    const char *names[] = {"a", "b"};

    assert_true(H5Tset_size(type, H5T_VARIABLE) >= 0);
    put_set(f, "/group_name", type, 1, (hsize_t[]){2}, NULL, H5Z_FILTER_NONE, names);
    (void)H5Tclose(type);
}
static void pass_row_beyond(hid_t f)
{
    poke(f, "/pass/row", 1, 4, 33);
}
static void pass_empty(hid_t f)
{
    poke(f, "/pass/first", 1, 1, 0);
}
static void pass_beyond(hid_t f)
{
    poke(f, "/pass/first", 1, 2, INT64_MAX);
}
static void pass_start_negative(hid_t f)
{
    poke(f, "/pass/start_ns", 1, 2, -2);
}
static void pass_first_short(hid_t f)
{
    put_set(f, "/pass/first", H5T_STD_U64LE, 1, (hsize_t[]){2}, NULL, H5Z_FILTER_NONE,
            (uint64_t[]){0, 3});
}
static void counts_too_narrow(hid_t f)
{
    static uint32_t zeros[4 * LAYERS];

    spoil_remove(f, "/routing");
    (void)H5Gclose(H5Gcreate2(f, "/load", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    put_set(f, "/load/count", H5T_STD_U32LE, 3, (hsize_t[]){4, LAYERS, 1}, NULL,
            H5Z_FILTER_NONE, zeros);
}

static const struct {
    const char *name;
    void (*spoil)(hid_t f);
    const char *place, *what; /* both must be in the sentence */
} cases[] = {
    {"no format", no_format, "attribute format", "missing"},
    {"other format", other_format, "attribute format", "moesim-trace"},
    {"a result", format_of_a_result, "is a result of moesim", "where a trace is needed"},
    {"version 2", version_2, "attribute version", "is 2; this program reads version 1"},
    {"text for version", text_version, "attribute version", "one integer"},
    {"no experts", no_experts_attribute, "attribute experts", "missing"},
    {"0 experts", experts_0, "attribute experts", "from 1 to 4096"},
    {"2^60 experts", experts_huge, "attribute experts", "from 1 to 4096"},
    {"-16 experts", experts_negative, "attribute experts",
     "is -16; it must be from 1 to 4096"},
    {"8 of 16 experts", experts_8, "row 0, layer ", "is not below 8 (attribute experts)"},
    {"top-0", top_k_0, "attribute top_k", "is 0; it must be from 1 to 16"},
    {"top-3 of 2", top_k_3, "attribute candidates", "is 2; it must be from 3 to 16"},
    {"4 candidates", candidates_4, "dimension 2 of /routing/expert",
     "is 2 but attribute candidates says 4"},
    {"number for model", number_for_model, "attribute model", "one string"},
    {"unknown kind", unknown_score_kind, "attribute score_kind", "softmax"},
    {"kind none", kind_none_with_scores, "attribute score_kind", "/routing/score"},
    {"sorted 2", sorted_2, "attribute sorted", "is 2; it must be from 0 to 1"},
    {"no layers", no_moe_layer, "/moe_layer", "missing"},
    {"layers descend", layers_descend, "/moe_layer, row 1", "layer 1 does not follow 1;"},
    {"two layers", two_layers, "dimension 0 of /expert_bytes",
     "is 3 but /moe_layer says 2"},
    {"0 bytes", expert_bytes_0, "/expert_bytes, row 2", "0 bytes"},
    {"no ids", no_routing, "/routing/expert", "missing"},
    {"no routing", no_routing_group, "/routing/expert", "missing"},
    {"a group for ids", routing_is_a_group, "/routing/expert", "not a data set"},
    {"ids elsewhere", routing_is_elsewhere, "/routing/expert", "a link to another file"},
    {"i32 ids", routing_i32, "/routing/expert", "type u16"},
    {"flat ids", routing_flat, "/routing/expert", "must have 3 dimensions and has 2"},
    {"short ids", routing_short, "dimension 0 of /token/request",
     "is 33 but /routing/expert says 32"},
    {"empty ids", routing_empty, "/routing/expert", "empty"},
    {"2^60 rows", routing_claims_2_60, "/routing/expert", "more than the file can hold"},
    {"missing chunks", routing_never_written, "/routing/expert",
     "claims 33 rows in 9 chunks but holds 0 chunks"},
    {"missing values", routing_contiguous_never_written, "/routing/expert",
     "never written"},
    {"huge chunks", routing_chunk_huge, "/routing/expert", "above 16 MiB"},
    {"odd filter", routing_odd_filter, "/routing/expert", "filter 5"},
    {"expert out of range", expert_out_of_range, "/routing/expert, row 17, layer 0",
     "expert 16 is not below 16"},
    {"expert twice", expert_twice, "/routing/expert, row 17, layer 0",
     "expert 5 occurs twice"},
    {"expert after gap", expert_after_gap, "/routing/expert, row 17, layer 0",
     "expert 5 follows one that was"},
    {"no scores", no_score, "/routing/score", "missing"},
    {"f32 scores", score_f32, "/routing/score", "type f16"},
    {"NaN", score_nan, "/routing/score, row 11, layer 1", "not a finite number"},
    {"infinity", score_infinite, "/routing/score, row 11, layer 1",
     "not a finite number"},
    {"above 1", score_above_1, "/routing/score, row 11, layer 1",
     "score 1.00098 is not in [0, 1]"},
    {"negative", score_negative, "/routing/score, row 11, layer 1",
     "score -5.96046e-08 is not in"},
    {"ascending", score_ascends, "/routing/score, row 11, layer 1", "do not descend"},
    {"predicted", predicted_out_of_range, "/routing/predicted, row 5, layer 0",
     "expert 300 is not below 16"},
    {"distance 0", predicted_distance_0, "attribute distance of /routing/predicted",
     "is 0; it must be from 1 to 1024"},
    {"no phases", no_phase, "/token/phase", "missing"},
    {"phase 4", phase_4, "/token/phase, row 9", "phase 4 is not one of 0"},
    {"phases by layer", phase_by_layer, "/token/phase",
     "must have 1 dimension and has 2"},
    {"u16 phases", phase_u16, "/token/phase", "type u8"},
    {"position", position_repeats, "/token/position, row 5",
     "position 3 does not follow 7 of"},
    {"second position", second_position, "/token/position, row 1",
     "position 0 does not follow"},
    {"wrong request", token_of_other_request, "/token/request, row 12",
     "says request 2, but /request/first_row gives the row to request 1"},
    {"short source", source_short, "dimension 0 of /token/source",
     "is 5 but /routing/expert says 33"},
    {"first row", first_row_wrong, "/request/first_row, row 1", "is 11; it must be 10"},
    {"too many rows", rows_too_many, "/request/rows, row 2",
     "ends at row 4000000021 of 33"},
    {"too few rows", rows_too_few, "/request/rows",
     "covers 24 rows but /routing/expert has 33"},
    {"group", group_unknown, "/request/group, row 1", "group 2 is not below 2"},
    {"arrival", arrival_negative, "/request/arrival_ns, row 1", "-2 is negative"},
    {"group names", group_names_vary, "/group_name", "fixed length"},
    {"pass row", pass_row_beyond, "/pass/row, row 4", "33 is not below 33"},
    {"empty pass", pass_empty, "/pass/first, row 0", "from 0 to 0 of the 33"},
    {"pass beyond", pass_beyond, "/pass/first, row 1",
     "from 3 to 9223372036854775807 of the 33"},
    {"pass before 0", pass_start_negative, "/pass/start_ns, row 2", "-2 is negative"},
    {"short passes", pass_first_short, "/pass/first", "/pass/start_ns plus one says 12"},
    {"narrow counts", counts_too_narrow, "dimension 2 of /load/count",
     "is 1 but attribute experts says 16"},
};

static void write_bytes(const char *path, const char *bytes, size_t size)
{
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

static void test_spoilt_files(void **state)
{
    char *path = trace_make_path("bad.h5"), *bytes;
    struct err none = {.text = ""};
    size_t size;

    (void)state;
    trace_make(path, &good);
    bytes = file_read(path, (size_t)1 << 24, &size, &none);
    assert_non_null(bytes);
    assert_string_equal(spoil_examine(path).text, "");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err e;

        write_bytes(path, bytes, size);
        spoil_file(path, cases[i].spoil);
        e = spoil_examine(path);
        if (strncmp(e.text, path, strlen(path)) != 0 ||
            strstr(e.text, cases[i].place) == NULL ||
            strstr(e.text, cases[i].what) == NULL || strchr(e.text, '\n') != NULL)
            fail_msg("%s: \"%s\"", cases[i].name, e.text);
    }
    (void)unlink(path);
    free(bytes);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spoilt_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
