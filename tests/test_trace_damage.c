/* Damaged trace files: cut, flipped, or something else. One sentence each, no crash, and
 * no other values than were written. */
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

#define LAYERS 3
#define TOP_K 2

static const struct trace_make good = {.layers = LAYERS,
                                       .experts = 16,
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

static void write_bytes(const char *path, const char *bytes, size_t size)
{
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

static char *good_bytes(const char *path, size_t *size)
{
    struct err e = {.text = ""};
    char *bytes;

    trace_make(path, &good);
    bytes = file_read(path, (size_t)1 << 24, size, &e);
    assert_non_null(bytes);
    assert_string_equal(spoil_examine(path).text, "");
    return bytes;
}

static void test_truncated_files(void **state)
{
    char *path = trace_make_path("cut.h5");
    size_t size;
    char *bytes = good_bytes(path, &size);

    (void)state;
    for (size_t cut = 0; cut < size; cut += cut < 600 ? 7 : 997) {
        struct err e;

        write_bytes(path, bytes, cut);
        e = spoil_examine(path);
        if (strncmp(e.text, path, strlen(path)) != 0)
            fail_msg("cut to %zu bytes: \"%s\"", cut, e.text);
    }
    (void)unlink(path);
    free(bytes);
    free(path);
}

static uint64_t hash_of(const char *path)
{
    struct err e = {.text = ""};
    struct trace *t = trace_open(path, NULL, &e);
    const struct trace_info *info;
    uint64_t hash = UINT64_C(14695981039346656037);

    if (t == NULL)
        return 0;
    info = trace_get_info(t);
    for (uint64_t row = 0; row < info->rows && e.text[0] == '\0'; row++) {
        uint16_t expert[LAYERS * TOP_K];
        float score[LAYERS * TOP_K];

        if (trace_read_expert(t, row, 1, expert, &e) != 0 ||
            trace_read_score(t, row, 1, score, &e) != 0)
            break;
        for (int i = 0; i < LAYERS * TOP_K; i++)
            hash = (hash ^ expert[i] ^ (uint64_t)(score[i] * 4096)) *
                   UINT64_C(1099511628211);
    }
    trace_close(t);
    return hash;
}

/* One flipped bit is either found or lies where it changes nothing: metadata and chunks
 * have checksums. */
static void test_flipped_bits(void **state)
{
    char *path = trace_make_path("flip.h5");
    size_t size, found = 0, tried = 0;
    char *bytes = good_bytes(path, &size);
    uint64_t hash = hash_of(path);

    (void)state;
    for (size_t i = 0; i < size; i += 61) {
        struct err e;

        bytes[i] ^= (char)(1 << (i % 8));
        write_bytes(path, bytes, size);
        bytes[i] ^= (char)(1 << (i % 8));
        e = spoil_examine(path);
        tried++;
        if (e.text[0] != '\0')
            found++;
        else
            assert_true(hash_of(path) == hash);
    }
    assert_true(found * 4 > tried); /* the rest is space that HDF5 does not use */
    (void)unlink(path);
    free(bytes);
    free(path);
}

static void test_files_that_are_something_else(void **state)
{
    char *path = trace_make_path("other.h5");
    struct err e;

    (void)state;
    write_bytes(path, "hello\n", 6);
    assert_non_null(strstr(spoil_examine(path).text, "is not an HDF5 file"));
    (void)unlink(path);
    assert_non_null(strstr(spoil_examine(path).text, "No such file"));
    assert_non_null(strstr(spoil_examine("/tmp").text, "a folder"));
    assert_string_equal(
        spoil_examine("/dev/null").text,
        "/dev/null: is not a regular file; give the name of a trace file");
    hdf_enter();
    (void)H5Fclose(H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT));
    hdf_leave();
    e = spoil_examine(path);
    assert_non_null(strstr(e.text, "attribute format of / is missing"));
    (void)unlink(path);
    free(path);
}

/* A chunk that cannot be expanded: its rows are named, the last one included. */
static void test_chunks_that_are_no_data(void **state)
{
    static const struct {
        const char *name;
        int rank;
        hsize_t row;
        const char *said;
    } known[] = {{"/token/request", 1, 16384, "rows 16384 to 16389"},
                 {"/token/position", 1, 16384, "rows 16384 to 16389"},
                 /* is read whole where prefill is looked for */
                 {"/token/phase", 1, 16384, "rows 0 to 16389"},
                 {"/routing/expert", 3, 16384, "rows 16384 to 16389"},
                 {"/moe_layer", 1, 0, "rows 0 to 0"},
                 {"/request/rows", 1, 0, "rows 0 to 0"}};
    char *path = trace_make_path("rubbish.h5");

    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        char *wanted = mem_format("%s: %s, %s cannot be read: the file is damaged; "
                                  "import or copy it again",
                                  path, known[i].name, known[i].said);

        trace_make_cyclic(path, 1, 8, 2, 16390);
        spoil_chunk(path, known[i].name, known[i].rank, known[i].row);
        assert_string_equal(spoil_examine(path).text, wanted);
        free(wanted);
    }
    (void)unlink(path);
    free(path);
}

/* What is asked for and not there is refused by status, too. */
static void test_what_is_missing(void **state)
{
    char *path = trace_make_path("missing.h5");
    char *wanted = mem_format("%s: attribute nothing of / is missing", path);
    struct err e = {.text = ""};
    int64_t value = 3;
    hid_t file;

    (void)state;
    trace_make(path, &good);
    hdf_enter();
    file = hdf_file_open(path, &e);
    assert_true(file >= 0);
    assert_int_equal(
        hdf_attribute_int(file, path, "/", "nothing", 0, INT64_MAX, &value, &e), -1);
    assert_string_equal(e.text, wanted);
    assert_int_equal(value, 3);
    e.text[0] = '\0';
    assert_null(hdf_attribute_text(file, path, "nothing", &e));
    assert_string_equal(e.text, wanted);
    e.text[0] = '\0';
    assert_int_equal(hdf_attribute_int(file, path, "/", "experts", 16, 16, &value, &e),
                     0);
    assert_int_equal(value, 16);
    assert_int_equal(hdf_attribute_int(file, path, "/", "experts", 17, 20, &value, &e),
                     -1);
    assert_int_equal(hdf_attribute_int(file, path, "/", "experts", 0, 15, &value, &e),
                     -1);
    assert_non_null(strstr(e.text, "experts of / is 16; it must be from "));
    (void)H5Fclose(file);
    hdf_leave();
    (void)unlink(path);
    free(wanted);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_truncated_files),
        cmocka_unit_test(test_flipped_bits),
        cmocka_unit_test(test_chunks_that_are_no_data),
        cmocka_unit_test(test_what_is_missing),
        cmocka_unit_test(test_files_that_are_something_else),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
