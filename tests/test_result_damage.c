/* Results that are damaged, lie, or are something else: refused with a sentence. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "made_result.h"
#include "sim/report/print.h"
#include "sim/result/result_fields.h"
#include "sim/base/mem.h"
#include "sim/base/rng.h"

#include <hdf5.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct made_shape shape = {
    .policies = 3, .layers = 5, .requests = 9, .passes = 20000, .seed = 41};
static const struct made_shape parallel = {
    .policies = 2, .layers = 3, .requests = 4, .passes = 50, .seed = 17, .gpus = 6};

static int set_up(void **state)
{
    *state = made_folder();
    return 0;
}

static int tear_down(void **state)
{
    made_folder_remove(*state);
    return 0;
}

static void assert_refused(const char *path, const char *says)
{
    struct err e = {.text = ""};
    struct result r;

    assert_int_equal(result_read(path, &r, &e), -1);
    if (strstr(e.text, says) == NULL || strstr(e.text, path) == NULL)
        fail_msg("'%s' does not say '%s'", e.text, says);
    assert_null(strchr(e.text, '\n'));
    assert_null(r.policy);
}

static void write_bytes(const char *path, const char *bytes, size_t size)
{
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

static void files_that_are_no_results(void **state)
{
    char *path = mem_format("%s/bad.h5", (char *)*state);
    hid_t file;

    assert_refused(path, "cannot be opened: No such file");
    assert_refused(*state, "is a folder where a result is needed");
    write_bytes(path, "", 0);
    assert_refused(path, "is not a result of moesim");
    write_bytes(path, "label,variant\n", 14);
    assert_refused(path, "is not a result of moesim");
    file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    (void)H5Fclose(file);
    assert_refused(path, "is not a result of moesim");
    free(path);
}

static void truncated_files(void **state)
{
    char *path = mem_format("%s/a.h5", (char *)*state);
    struct made_shape small = {.policies = 2, .layers = 3, .requests = 4, .passes = 50};
    struct result a = made_result(&small);
    struct err e = {.text = ""};
    size_t size;
    char *bytes;

    assert_int_equal(result_write(&a, path, &e), 0);
    bytes = made_read(path, &size);
    for (size_t part = 1; part < 40; part++) {
        struct result r;

        e.text[0] = '\0';
        write_bytes(path, bytes, size * part / 40);
        assert_int_equal(result_read(path, &r, &e), -1);
        assert_non_null(strstr(e.text, path));
    }
    free(bytes);
    result_release(&a);
    free(path);
}

/* One bit anywhere: headers and columns have checksums, so most are refused; what is read
 * all the same can be printed. */
static void flip_bits(const char *path, const struct made_shape *small)
{
    struct result a = made_result(small);
    struct rng g = rng_stream(2385, "flips", 0);
    struct run_pass pass[50];
    struct err e = {.text = ""};
    FILE *nowhere = fopen("/dev/null", "w");
    int refused = 0;
    size_t size;
    char *bytes;

    assert_non_null(nowhere);
    assert_int_equal(result_write(&a, path, &e), 0);
    bytes = made_read(path, &size);
    for (int i = 0; i < 150; i++) {
        size_t at = (size_t)rng_below(&g, size);
        char bit = (char)(1 << rng_below(&g, 7));
        struct result r;

        bytes[at] ^= bit;
        write_bytes(path, bytes, size);
        bytes[at] ^= bit;
        e.text[0] = '\0';
        if (result_read(path, &r, &e) != 0) {
            assert_non_null(strstr(e.text, path));
            refused++;
            continue;
        }
        result_print(&r, nowhere);
        result_print_json(&r, nowhere);
        if (result_pass_count(&r, 0) == 50)
            (void)result_read_passes(&r, 0, 0, 50, pass, &e);
        result_release(&r);
    }
    assert_in_range(refused, 50, 149);
    (void)fclose(nowhere);
    free(bytes);
    result_release(&a);
}

static void flipped_bits(void **state)
{
    char *path = mem_format("%s/a.h5", (char *)*state);
    struct made_shape small = {.policies = 1, .layers = 2, .requests = 4, .passes = 50};

    flip_bits(path, &small);
    small.gpus = 5;
    flip_bits(path, &small);
    free(path);
}

/* Each entry damages a good file in one way. */
struct damage {
    const char *object, *name; /* attribute `name` of `object`; or the link `name` */
    bool remove_link;
    uint64_t value; /* u32 or u64 attribute gets this; text where `text` */
    bool text;
    const char *says;
};

static void apply_damage(const char *path, const struct damage *d)
{
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    hid_t object = H5Oopen(file, d->object, H5P_DEFAULT);

    if (d->remove_link) {
        assert_true(H5Ldelete(object, d->name, H5P_DEFAULT) >= 0);
    } else if (d->text) {
        hid_t space = H5Screate(H5S_SCALAR);
        hid_t id;

        assert_true(H5Adelete(object, d->name) >= 0);
        id = H5Acreate2(object, d->name, H5T_STD_I16LE, space, H5P_DEFAULT, H5P_DEFAULT);
        assert_true(id >= 0);
        (void)H5Aclose(id);
        (void)H5Sclose(space);
    } else {
        hid_t id = H5Aopen(object, d->name, H5P_DEFAULT);

        assert_true(H5Awrite(id, H5T_NATIVE_UINT64, &d->value) >= 0);
        (void)H5Aclose(id);
    }
    (void)H5Oclose(object);
    (void)H5Fclose(file);
}

/* Each damage of a written file is refused with its sentence. */
static void check_damage(const char *folder, const struct made_shape *made,
                         const struct damage *damage, size_t count)
{
    char *path = mem_format("%s/a.h5", folder);
    struct result a = made_result(made);
    struct err e = {.text = ""};

    for (size_t i = 0; i < count; i++) {
        assert_int_equal(result_write(&a, path, &e), 0);
        apply_damage(path, &damage[i]);
        assert_refused(path, damage[i].says);
    }
    result_release(&a);
    free(path);
}

/* Requests of the last group are taken, those of one beyond are not. */
static void a_group_that_is_not_there(void **state)
{
    char *path = mem_format("%s/a.h5", (char *)*state);
    struct made_shape small = {.policies = 2, .layers = 1, .requests = 4};
    struct result a = made_result(&small), b;
    struct err e = {.text = ""};
    uint32_t all = a.groups;

    for (a.groups = 1; a.groups <= all; a.groups++) {
        char *says = mem_format("/policy/1/request/group, row 2: %u is no group; there "
                                "are %u",
                                a.groups, a.groups);

        for (uint32_t i = 0; i < 8; i++)
            a.policy[i / 4].run.request[i % 4].group = (uint16_t)(a.groups - 1);
        assert_int_equal(result_write(&a, path, &e), 0);
        assert_int_equal(result_read(path, &b, &e), 0);
        result_release(&b);
        a.policy[1].run.request[2].group = (uint16_t)a.groups;
        assert_int_equal(result_write(&a, path, &e), -1); /* which reads it again */
        assert_non_null(strstr(e.text, says));
        e.text[0] = '\0';
        free(says);
    }
    a.groups = 0; /* then they are numbers without a name */
    assert_int_equal(result_write(&a, path, &e), 0);
    a.groups = all;
    result_release(&a);
    free(path);
}

static void lying_files(void **state)
{
    static const struct damage damage[] = {
        {"/", "version", false, 7, false, "version 7, and this moesim reads version 2"},
        {"/", "version", false, 0, true, "attribute version of / has the wrong type"},
        {"/", "layers", false, 0, false, "0 MoE layers"},
        {"/", "layers", false, 4, false, "/moe_layer has 3 rows where 4 are told of"},
        {"/", "layers", false, UINT32_MAX, false, "MoE layers and"},
        {"/", "policies", false, 3, false, "group /policy/2 is missing"},
        {"/", "policies", false, UINT32_MAX, false, "policies cannot be"},
        {"/", "groups", false, 1, false, "does not name 1 groups"},
        {"/", "seed", false, 0, true, "attribute seed of / has the wrong type"},
        {"/", "model", false, 0, true, "attribute model of / is not a string"},
        {"/", "config", true, 0, false, "data set /config is missing"},
        {"/policy/1", "requests", false, 5, false, "has 4 rows where 5 are told of"},
        {"/policy/1", "requests", false, UINT64_MAX, false, "more requests than"},
        {"/policy/1", "layer", true, 0, false, "group /policy/1/layer is missing"},
        {"/policy/1/layer", "hits", true, 0, false, "data set /policy/1/layer/hits"},
        {"/policy/0", "digest", false, 0, true, "attribute digest of /policy/0/ has"},
        {"/policy/0", "label", false, 0, true, "attribute label of /policy/0/ is not a"},
        {"/policy/1", "schedule", false, 0, true,
         "attribute schedule of /policy/1/ is not"},
    };
    struct made_shape small = {.policies = 2, .layers = 3, .requests = 4, .passes = 50};

    check_damage(*state, &small, damage, sizeof damage / sizeof *damage);
}

static void lying_files_of_several_gpus(void **state)
{
    static const struct damage damage[] = {
        {"/", "links", false, 15, false, "/link/name does not name 15 links"},
        {"/", "links", false, 0, false, "6 GPUs and 16 links, which cannot be"},
        {"/", "links", false, UINT32_MAX, false, "links cannot be"},
        {"/", "link", true, 0, false, "group /link is missing"},
        {"/link", "kind", true, 0, false, "data set /link/kind is missing"},
        {"/link", "bytes_per_s", true, 0, false, "/link/bytes_per_s is missing"},
        {"/policy/0", "gpus", false, 7, false, "has 6 rows where 7 are told of"},
        {"/policy/0", "gpus", false, UINT32_MAX, false, "which cannot be"},
        {"/policy/1", "links", false, 17, false, "6 GPUs and 17 links, which cannot be"},
        {"/policy/1", "gpu_rows", true, 0, false, "/policy/1/gpu_rows is missing"},
        {"/policy/1", "gpu_peak_bytes", true, 0, false,
         "/policy/1/gpu_peak_bytes is missing"},
        {"/policy/1", "link_bytes", true, 0, false, "/policy/1/link_bytes is missing"},
        {"/policy/0", "shards", false, 0, true, "attribute shards of /policy/0/ has"},
        {"/policy/0", "placements", false, 1, false, "placements whose sizes cannot be"},
        {"/policy/0", "placements_kept", false, 0, false, "whose sizes cannot be"},
        {"/policy/0", "placements_kept", false, 3, false, "has 2 rows where 3 are"},
        {"/policy/0", "place_slots", false, 17, false, "whose sizes cannot be"},
        {"/policy/0", "place_slots", false, 0, false, "whose sizes cannot be"},
        {"/policy/0", "place_slots", false, 24, false, "has 108 rows where 144 are"},
        {"/policy/0", "place_slots", false, 65532, false, "rows where 393192 are"},
        {"/policy/1", "placed_expert", true, 0, false, "placed_expert is missing"},
        {"/policy/1", "placed_pass", true, 0, false, "placed_pass is missing"},
        {"/", "experts", false, 2, false, "placements of experts that there are not"},
    };

    check_damage(*state, &parallel, damage, sizeof damage / sizeof *damage);
}

/* A file of before several GPUs: one sentence, with what to do. */
static void an_older_file_is_refused(void **state)
{
    char *path = mem_format("%s/a.h5", (char *)*state);
    struct result a = made_result(&parallel);
    struct err e = {.text = ""};
    hid_t file;

    assert_int_equal(result_write(&a, path, &e), 0);
    file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    assert_true(H5Adelete(file, "links") >= 0);
    (void)H5Fclose(file);
    assert_refused(path, "made by another version of moesim; run again");
    result_release(&a);
    free(path);
}

/* ... and of half its bytes: it is what it was, but broken. */
static void a_file_cut_short(void **state)
{
    char *path = mem_format("%s/a.h5", (char *)*state), *bytes;
    struct result a = made_result(&parallel);
    struct err e = {.text = ""};
    size_t size;

    assert_int_equal(result_write(&a, path, &e), 0);
    bytes = made_read(path, &size);
    assert_int_equal(truncate(path, (off_t)size / 2), 0);
    assert_refused(path, "is an HDF5 file, but damaged, cut short or not readable");
    result_release(&a);
    free(bytes);
    free(path);
}

/* Puts another column in the place of the one at `where`: of zeros, or never written. */
static void put_column(const char *path, const char *where, hid_t type, hsize_t rows,
                       bool written)
{
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    hid_t list = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(1, &rows, NULL);
    hid_t column;

    if (H5Lexists(file, where, H5P_DEFAULT) > 0)
        assert_true(H5Ldelete(file, where, H5P_DEFAULT) >= 0);
    (void)H5Pset_chunk(list, 1, &rows);
    if (written)
        (void)H5Pset_alloc_time(list, H5D_ALLOC_TIME_EARLY);
    column = H5Dcreate2(file, where, type, space, H5P_DEFAULT, list, H5P_DEFAULT);
    assert_true(column >= 0);
    (void)H5Dclose(column);
    (void)H5Sclose(space);
    (void)H5Pclose(list);
    (void)H5Fclose(file);
}

/* What was lost behind the library's back: a pass more than there are records, a column,
 * all of them, a column that was made and never written. */
static void passes_that_are_not_there(void **state)
{
    static const struct damage damage = {"/policy/0", "passes", false, 51, false, ""};
    static const char lost[] = "/policy/0/pass/latency_ps";
    char *path = mem_format("%s/a.h5", (char *)*state);
    struct made_shape small = {.policies = 1, .layers = 3, .requests = 4, .passes = 50};
    struct result a = made_result(&small);
    struct err e = {.text = ""};
    hid_t file;

    assert_int_equal(result_write(&a, path, &e), 0);
    apply_damage(path, &damage);
    assert_refused(path, "tells of 51 passes and of records of 50");
    assert_int_equal(result_write(&a, path, &e), 0);
    file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    assert_true(H5Ldelete(file, lost, H5P_DEFAULT) >= 0);
    (void)H5Fclose(file);
    assert_refused(path, "latency_ps is missing");
    put_column(path, lost, H5T_STD_I64LE, 50, false);
    assert_refused(path, "latency_ps was not written to its end");
    file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    assert_true(H5Ldelete(file, "/policy/0/pass", H5P_DEFAULT) >= 0);
    (void)H5Fclose(file);
    assert_refused(path, "/policy/0/pass is missing");
    result_release(&a);
    free(path);
}

/* Columns of passes are read when they are asked for, but each must be what it is to be
 * from the start: one that holds other numbers, or a row less, is refused. */
static void every_column_of_passes_is_looked_at(void **state)
{
    char *path = mem_format("%s/a.h5", (char *)*state);
    struct made_shape small = {.policies = 1, .layers = 3, .requests = 4, .passes = 50};
    struct result a = made_result(&small);
    struct err e = {.text = ""};

    for (const struct result_field *f = result_pass_fields; f->name != NULL; f++) {
        char *column = mem_format("/policy/0/pass/%s", f->name);
        char *type = mem_format("%s has the wrong type", column);
        char *rows = mem_format("%s has 49 rows where 50 are told of", column);

        assert_int_equal(result_write(&a, path, &e), 0);
        put_column(path, column, H5T_IEEE_F64LE, 50, true);
        assert_refused(path, type);
        put_column(path, column, f->kind == RESULT_TIME ? H5T_STD_I64LE : H5T_STD_U64LE,
                   49, true);
        assert_refused(path, rows);
        free(column);
        free(type);
        free(rows);
    }
    result_release(&a);
    free(path);
}

static void a_folder_that_is_not_there(void **state)
{
    char *path = mem_format("%s/none/a.h5", (char *)*state);
    struct result a = made_result(&shape);
    struct err e = {.text = ""};

    assert_int_equal(result_write(&a, path, &e), -1);
    assert_non_null(strstr(e.text, "none/a.h5"));
    result_release(&a);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_that_are_no_results),
        cmocka_unit_test(truncated_files),
        cmocka_unit_test(flipped_bits),
        cmocka_unit_test(a_group_that_is_not_there),
        cmocka_unit_test(lying_files),
        cmocka_unit_test(lying_files_of_several_gpus),
        cmocka_unit_test(an_older_file_is_refused),
        cmocka_unit_test(a_file_cut_short),
        cmocka_unit_test(passes_that_are_not_there),
        cmocka_unit_test(every_column_of_passes_is_looked_at),
        cmocka_unit_test(a_folder_that_is_not_there),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
