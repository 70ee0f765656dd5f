/* Chunks unpacked here and by HDF5 give the same values; what is damaged or packed in
 * another way is left to HDF5. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "trace_maker.h"

#include "sim/base/mem.h"
#include "sim/base/rng.h"
#include "traces/hdf.h"
#include "traces/trace_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME "/values"

enum { SHUFFLE = 1, DEFLATE = 2, SUM = 4, SPLIT = 8 };

/* A data set of `rows` rows of three values in chunks of `chunk` rows, small numbers with
 * some noise; closed again. With SPLIT chunks hold two of the three values. */
static void make_set(const char *path, hid_t type, hsize_t rows, hsize_t chunk,
                     int filters, const void *values)
{
    hsize_t dim[2] = {rows, 3}, size[2] = {chunk, (filters & SPLIT) != 0 ? 2 : 3};
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    hid_t space = H5Screate_simple(2, dim, NULL), plist = H5Pcreate(H5P_DATASET_CREATE);
    hid_t set;

    assert_true(H5Pset_chunk(plist, 2, size) >= 0);
    assert_true((filters & SHUFFLE) == 0 || H5Pset_shuffle(plist) >= 0);
    assert_true((filters & DEFLATE) == 0 || H5Pset_deflate(plist, 4) >= 0);
    assert_true((filters & SUM) == 0 || H5Pset_fletcher32(plist) >= 0);
    set = H5Dcreate2(file, NAME, type, space, H5P_DEFAULT, plist, H5P_DEFAULT);
    assert_true(set >= 0);
    assert_true(H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    (void)H5Dclose(set);
    (void)H5Pclose(plist);
    (void)H5Sclose(space);
    (void)H5Fclose(file);
}

static unsigned char *make_values(size_t width, size_t count, uint64_t seed)
{
    unsigned char *values = mem_zalloc(count, width);
    struct rng rng = rng_stream(seed, "values", width);

    for (size_t i = 0; i < count; i++) {
        values[i * width] = (unsigned char)rng_below(&rng, 32);
        if (width > 1)
            values[i * width + 1] = (unsigned char)(rng_below(&rng, 7) == 0);
        if (rng_below(&rng, 5) == 0)
            values[i * width + width - 1] = (unsigned char)rng_below(&rng, 128);
    }
    return values;
}

static void compare(const char *path, enum hdf_kind kind, hid_t type, int filters,
                    uint64_t rows, uint64_t chunk)
{
    size_t width = H5Tget_size(type), row_bytes = 3 * width;
    unsigned char *values = make_values(width, (size_t)rows * 3, rows);
    unsigned char *got = mem_alloc((size_t)rows, row_bytes);
    struct err e = {.text = ""};
    struct hdf_set s;
    hid_t file;

    make_set(path, type, rows, chunk, filters, values);
    file = hdf_file_open(path, &e);
    assert_int_equal(hdf_set_open(&s, file, path, NAME, kind, 2, &e), 0);
    assert_int_equal(s.chunks != NULL,
                     (filters & DEFLATE) != 0 && (filters & SPLIT) == 0);
    if (s.chunks != NULL) {
        memset(got, 0xa5, (size_t)rows * row_bytes);
        assert_true(chunk_reader_read(s.chunks, 0, rows, got));
        assert_memory_equal(got, values, (size_t)rows * row_bytes);
    }
    for (uint64_t first = 0; first < rows;
         first += chunk) { /* to the end, whole chunks */
        memset(got, 0xa5, (size_t)rows * row_bytes);
        assert_int_equal(hdf_set_read(&s, first, rows - first, got, &e), 0);
        assert_memory_equal(got, values + first * row_bytes, (rows - first) * row_bytes);
    }
    for (uint64_t first = 0; first + 2 <= rows; first += 5) { /* parts of chunks */
        assert_int_equal(hdf_set_read(&s, first, 2, got, &e), 0);
        assert_memory_equal(got, values + first * row_bytes, 2 * row_bytes);
    }
    (void)hdf_set_close(&s);
    (void)H5Fclose(file);
    free(values);
    free(got);
}

static void test_same_values(void **state)
{
    static const int filters[] = {SHUFFLE | DEFLATE | SUM,
                                  SHUFFLE | DEFLATE,
                                  DEFLATE,
                                  DEFLATE | SUM,
                                  SHUFFLE | SUM,
                                  SHUFFLE,
                                  SHUFFLE | DEFLATE | SPLIT};
    char *path = trace_make_path("chunk.h5");

    (void)state;
    hdf_enter();
    for (size_t i = 0; i < sizeof filters / sizeof filters[0]; i++)
        for (uint64_t rows = 37; rows <= 64; rows += 27) /* a last chunk in part; whole */
            for (uint64_t chunk = 8; chunk <= 100; chunk = chunk * 4 - 1) {
                compare(path, HDF_U8, H5T_NATIVE_UINT8, filters[i], rows, chunk);
                compare(path, HDF_U16, H5T_NATIVE_UINT16, filters[i], rows, chunk);
                compare(path, HDF_U32, H5T_NATIVE_UINT32, filters[i], rows, chunk);
                compare(path, HDF_I64, H5T_NATIVE_INT64, filters[i], rows, chunk);
            }
    hdf_leave();
    (void)unlink(path);
    free(path);
}

/* Every bit of a packed chunk, its checksum included, is looked at. */
static void test_flipped_bits(void **state)
{
    enum { ROWS = 40 };
    char *path = trace_make_path("chunk-flip.h5");
    unsigned char *values = make_values(2, ROWS * 3, 7);
    unsigned char packed[4096], got[ROWS * 3 * 2];
    hsize_t offset[2] = {0, 0}, size = 0;
    struct err e = {.text = ""};
    struct hdf_set s;
    uint32_t mask;
    hid_t file;

    (void)state;
    hdf_enter();
    make_set(path, H5T_NATIVE_UINT16, ROWS, ROWS, SHUFFLE | DEFLATE | SUM, values);
    file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    assert_int_equal(hdf_set_open(&s, file, path, NAME, HDF_U16, 2, &e), 0);
    assert_true(H5Dget_chunk_storage_size(s.id, offset, &size) >= 0);
    assert_true(size > 40 && size < sizeof packed);
    assert_true(H5Dread_chunk(s.id, H5P_DEFAULT, offset, &mask, packed) >= 0);
    for (size_t bit = 0; bit < 8 * (size_t)size; bit++) {
        packed[bit / 8] ^= (unsigned char)(1u << bit % 8);
        assert_true(H5Dwrite_chunk(s.id, H5P_DEFAULT, 0, offset, size, packed) >= 0);
        packed[bit / 8] ^= (unsigned char)(1u << bit % 8);
        assert_false(chunk_reader_read(s.chunks, 0, ROWS, got));
        e.text[0] = '\0';
        assert_int_equal(hdf_set_read(&s, 0, ROWS, got, &e), -1);
        assert_non_null(strstr(e.text,
                               "/values, rows 0 to 39 cannot be read: the file is "
                               "damaged; import or copy it again"));
    }
    /* A chunk whose filters were left out is plain: only HDF5 reads it. */
    assert_true(H5Dwrite_chunk(s.id, H5P_DEFAULT, SHUFFLE | DEFLATE | SUM, offset,
                               sizeof got, values) >= 0);
    (void)hdf_set_close(&s);
    (void)H5Fclose(file);
    file = hdf_file_open(path, &e);
    assert_int_equal(hdf_set_open(&s, file, path, NAME, HDF_U16, 2, &e), 0);
    assert_false(chunk_reader_read(s.chunks, 0, ROWS, got));
    assert_int_equal(hdf_set_read(&s, 0, ROWS, got, &e), 0);
    assert_memory_equal(got, values, sizeof got);
    (void)hdf_set_close(&s);
    (void)H5Fclose(file);
    hdf_leave();
    free(values);
    (void)unlink(path);
    free(path);
}

/* Chunks have eight dimensions at most: those of more are left to HDF5. */
static void test_many_dimensions(void **state)
{
    const hsize_t dim[9] = {8, 2, 1, 1, 1, 1, 1, 2, 1};
    char *path = trace_make_path("chunk-many.h5");

    (void)state;
    hdf_enter();
    for (int rank = 8; rank <= 9; rank++) {
        hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
        hid_t space = H5Screate_simple(rank, dim, NULL);
        hid_t plist = H5Pcreate(H5P_DATASET_CREATE), set;
        struct chunk_reader *c;

        assert_true(H5Pset_chunk(plist, rank, dim) >= 0 && H5Pset_deflate(plist, 4) >= 0);
        set =
            H5Dcreate2(file, NAME, H5T_STD_U8LE, space, H5P_DEFAULT, plist, H5P_DEFAULT);
        assert_true(set >= 0);
        c = chunk_reader_new(set, H5T_STD_U8LE, H5T_STD_U8LE, plist);
        assert_int_equal(c != NULL, rank == 8);
        chunk_reader_free(c);
        (void)H5Dclose(set);
        (void)H5Pclose(plist);
        (void)H5Sclose(space);
        (void)H5Fclose(file);
    }
    hdf_leave();
    (void)unlink(path);
    free(path);
}

/* By the definition: below `experts`, all different, what is not recorded at the end. */
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

/* All lists of up to four out of ids that are good, just too large, and at the edges of
 * what 16 bits hold, alone and behind a list that is good. */
static void test_every_short_list(void **state)
{
    static const uint32_t experts[] = {1, 2, 5, TRACE_MAX_EXPERTS};
    char name[] = "made up";
    struct trace t = {.path = name, .info = {.layers = 1}};

    (void)state;
    for (size_t n = 0; n < sizeof experts / sizeof experts[0]; n++) {
        uint16_t most = (uint16_t)experts[n];
        const uint16_t some[8] = {0,    1,      2,      (uint16_t)(most - 1),
                                  most, 0x7fff, 0x8000, 0xffff};

        t.info.experts = most;
        for (uint32_t list = 0; list < 8 * 8 * 8 * 8; list++)
            for (uint32_t width = 1; width <= 4; width++) {
                uint16_t id[8] = {0xffff, 0xffff, 0xffff, 0xffff};
                uint16_t *tail = id + width;
                struct err e = {.text = ""};
                bool good;

                for (uint32_t i = 0; i < width; i++)
                    tail[i] = some[list >> 3 * i & 7];
                t.info.candidates = width;
                good = trace_check_expert(&t, 0, 2, id, &e) == 0;
                assert_int_equal(good, is_good(tail, width, most));
            }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_values),
        cmocka_unit_test(test_flipped_bits),
        cmocka_unit_test(test_many_dimensions),
        cmocka_unit_test(test_every_short_list),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
