/* Ways to spoil a trace file: values, attributes and data sets that a trace may not have.
 * After cmocka.h; what takes `f` between hdf_enter() and hdf_leave(). */
#ifndef MOESIM_TESTS_SPOIL_H
#define MOESIM_TESTS_SPOIL_H

#include "traces/hdf.h"
#include "traces/trace.h"

/* Files, groups, data sets, attributes and types that the library holds open. */
static inline int64_t spoil_held(void)
{
    ssize_t held;

    hdf_enter();
    held = H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL);
    hdf_leave();
    assert_true(held >= 0);
    return held;
}

/* Opens and checks; the error, "" if there is none. What is refused is so by its status
 * as well, and nothing is left open. */
static inline struct err spoil_examine(const char *path)
{
    int64_t held = spoil_held();
    struct err e = {.text = ""};
    struct trace *t = trace_open(path, NULL, &e);
    int status = t == NULL ? -1 : trace_check(t, &e);

    assert_int_equal(status, e.text[0] == '\0' ? 0 : -1);
    trace_close(t);
    assert_int_equal(spoil_held(), held);
    return e;
}

/* Lets `how` change the file. */
static inline void spoil_file(const char *path, void (*how)(hid_t f))
{
    hid_t f;

    hdf_enter();
    f = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    assert_true(f >= 0);
    how(f);
    assert_true(H5Fclose(f) >= 0);
    hdf_leave();
}

static inline void spoil_remove(hid_t f, const char *name)
{
    assert_true(H5Ldelete(f, name, H5P_DEFAULT) >= 0);
}

/* Puts a data set in the place of `name`: contiguous, or chunked with `filter`. */
static inline void put_set(hid_t f, const char *name, hid_t type, int rank,
                           const hsize_t *dim, const hsize_t *chunk, H5Z_filter_t filter,
                           const void *values)
{
    hid_t space = H5Screate_simple(rank, dim, NULL), list = H5Pcreate(H5P_DATASET_CREATE),
          set;

    if (H5Lexists(f, name, H5P_DEFAULT) > 0)
        spoil_remove(f, name);
    if (chunk != NULL)
        assert_true(H5Pset_chunk(list, rank, chunk) >= 0);
    if (filter != H5Z_FILTER_NONE)
        assert_true(H5Pset_filter(list, filter, 0, 0, NULL) >= 0);
    set = H5Dcreate2(f, name, type, space, H5P_DEFAULT, list, H5P_DEFAULT);
    assert_true(set >= 0);
    if (values != NULL)
        assert_true(H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    (void)H5Dclose(set);
    (void)H5Pclose(list);
    (void)H5Sclose(space);
}

/* Changes one value of a data set of integers. */
static inline void poke(hid_t f, const char *name, int rank, hsize_t row, int64_t value)
{
    hid_t set = H5Dopen2(f, name, H5P_DEFAULT), space = H5Dget_space(set);
    hid_t one = H5Screate(H5S_SCALAR);
    hsize_t point[3] = {row, 0, 0};

    assert_true(H5Sselect_elements(space, H5S_SELECT_SET, 1, point) >= 0);
    assert_true(H5Dwrite(set, H5T_NATIVE_INT64, one, space, H5P_DEFAULT, &value) >= 0);
    assert_true(rank <= 3);
    (void)H5Sclose(one);
    (void)H5Sclose(space);
    (void)H5Dclose(set);
}

/* Changes the raw bits of one score. */
static inline void poke_score(hid_t f, hsize_t row, hsize_t slot, uint16_t bits)
{
    hid_t set = H5Dopen2(f, "/routing/score", H5P_DEFAULT), space = H5Dget_space(set);
    hid_t one = H5Screate(H5S_SCALAR), type = H5Dget_type(set);
    hsize_t point[3] = {row, 1, slot};

    assert_true(H5Sselect_elements(space, H5S_SELECT_SET, 1, point) >= 0);
    assert_true(H5Dwrite(set, type, one, space, H5P_DEFAULT, &bits) >= 0);
    (void)H5Tclose(type);
    (void)H5Sclose(one);
    (void)H5Sclose(space);
    (void)H5Dclose(set);
}

/* Puts in the place of the chunk from `row` on what is no compressed data. */
static inline void spoil_chunk(const char *path, const char *name, int rank, hsize_t row)
{
    static const char rubbish[] = "no compressed data at all";
    hsize_t at[3] = {row, 0, 0};
    hid_t file, set;

    assert_true(rank <= 3);
    hdf_enter();
    file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    set = H5Dopen2(file, name, H5P_DEFAULT);
    assert_true(H5Dwrite_chunk(set, H5P_DEFAULT, 0, at, sizeof rubbish, rubbish) >= 0);
    assert_true(H5Dclose(set) >= 0);
    assert_true(H5Fclose(file) >= 0);
    hdf_leave();
}

static inline void set_int(hid_t f, const char *object, const char *name, int64_t value)
{
    hid_t space = H5Screate(H5S_SCALAR), id;

    if (H5Aexists_by_name(f, object, name, H5P_DEFAULT) > 0)
        assert_true(H5Adelete_by_name(f, object, name, H5P_DEFAULT) >= 0);
    id = H5Acreate_by_name(f, object, name, H5T_STD_I64LE, space, H5P_DEFAULT,
                           H5P_DEFAULT, H5P_DEFAULT);
    assert_true(H5Awrite(id, H5T_NATIVE_INT64, &value) >= 0);
    (void)H5Aclose(id);
    (void)H5Sclose(space);
}

static inline void set_text(hid_t f, const char *name, const char *text)
{
    hid_t space = H5Screate(H5S_SCALAR), type = H5Tcopy(H5T_C_S1), id;

    assert_true(H5Tset_size(type, H5T_VARIABLE) >= 0);
    assert_true(H5Adelete(f, name) >= 0);
    id = H5Acreate2(f, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(H5Awrite(id, type, &text) >= 0);
    (void)H5Aclose(id);
    (void)H5Tclose(type);
    (void)H5Sclose(space);
}

#endif
