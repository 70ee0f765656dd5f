#include "hdf.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#define DEFLATE_LEVEL 4
#define CHUNK_ROWS_MAX 16384

/* A half as h5py writes float16; the library has no name for it in this version. */
static hid_t half_type(void)
{
    hid_t type = H5Tcopy(H5T_IEEE_F32LE);

    if (type >= 0 && (H5Tset_fields(type, 15, 10, 5, 0, 10) < 0 ||
                      H5Tset_size(type, 2) < 0 || H5Tset_ebias(type, 15) < 0)) {
        (void)H5Tclose(type);
        return -1;
    }
    return type;
}

/* The type of `kind` on disk; owned. */
static hid_t disk_type(enum hdf_kind kind, size_t text_bytes)
{
    hid_t type;

    switch (kind) {
    case HDF_U8:
        return H5Tcopy(H5T_STD_U8LE);
    case HDF_U16:
        return H5Tcopy(H5T_STD_U16LE);
    case HDF_U32:
        return H5Tcopy(H5T_STD_U32LE);
    case HDF_U64:
        return H5Tcopy(H5T_STD_U64LE);
    case HDF_I32:
        return H5Tcopy(H5T_STD_I32LE);
    case HDF_I64:
        return H5Tcopy(H5T_STD_I64LE);
    case HDF_F16:
        return half_type();
    case HDF_TEXT:
        type = H5Tcopy(H5T_C_S1);
        (void)H5Tset_size(type, text_bytes);
        (void)H5Tset_strpad(type, H5T_STR_NULLPAD);
        (void)H5Tset_cset(type, H5T_CSET_UTF8);
        return type;
    }
    return -1;
}

static int write_failed(const char *path, const char *name, struct err *e)
{
    return err_set(e, "%s: the HDF5 library cannot write %s", path, name);
}

int hdf_group_create(hid_t file, const char *path, const char *name, struct err *e)
{
    hid_t create = H5Pcreate(H5P_GROUP_CREATE);
    hid_t group = -1;

    if (create >= 0 && H5Pset_obj_track_times(create, false) >= 0)
        group = H5Gcreate2(file, name, H5P_DEFAULT, create, H5P_DEFAULT);
    if (create >= 0)
        (void)H5Pclose(create);
    if (group < 0 || H5Gclose(group) < 0)
        return write_failed(path, name, e);
    return 0;
}

/* A chunk is whole rows, a power of two of them, as long as one row fits; else a part of
 * one row. */
static void choose_chunk(const struct hdf_set *s, uint64_t rows, hsize_t *chunk)
{
    uint64_t most = HDF_CHUNK_BYTES / s->row_bytes;
    uint64_t inner = s->width;

    for (int i = 1; i < s->rank; i++)
        chunk[i] = s->dim[i];
    chunk[0] = 1;
    while (chunk[0] * 2 <= most && chunk[0] < CHUNK_ROWS_MAX &&
           (rows == 0 || chunk[0] < rows))
        chunk[0] *= 2;
    if (most == 0) {
        assert(s->rank == HDF_MAX_RANK);
        inner *= s->dim[s->rank - 1];
        assert(inner <= HDF_CHUNK_BYTES);
        chunk[1] = HDF_CHUNK_BYTES / inner;
    }
}

static hid_t storage_list(const struct hdf_set *s, const hsize_t *chunk)
{
    hid_t plist = H5Pcreate(H5P_DATASET_CREATE);

    if (plist < 0)
        return -1;
    if (H5Pset_obj_track_times(plist, false) < 0 ||
        H5Pset_chunk(plist, s->rank, chunk) < 0 || H5Pset_shuffle(plist) < 0 ||
        H5Pset_deflate(plist, DEFLATE_LEVEL) < 0 || H5Pset_fletcher32(plist) < 0 ||
        H5Pset_fill_time(plist, H5D_FILL_TIME_ALLOC) < 0) {
        (void)H5Pclose(plist);
        return -1;
    }
    return plist;
}

int hdf_set_create(struct hdf_set *s, hid_t file, const char *path, const char *name,
                   enum hdf_kind kind, int rank, const uint64_t *dim, uint64_t rows,
                   size_t text_bytes, struct err *e)
{
    hsize_t size[HDF_MAX_RANK] = {0}, most[HDF_MAX_RANK] = {H5S_UNLIMITED};
    hsize_t chunk[HDF_MAX_RANK];
    hid_t space = -1, plist = -1;

    assert(rank >= 1 && rank <= HDF_MAX_RANK);
    *s = (struct hdf_set){
        .id = -1, .path = path, .name = name, .kind = kind, .rank = rank};
    s->memory_type = disk_type(kind, text_bytes);
    if (s->memory_type < 0)
        return write_failed(path, name, e);
    s->width = H5Tget_size(s->memory_type);
    s->row_bytes = s->width;
    for (int i = 1; i < rank; i++) {
        size[i] = most[i] = s->dim[i] = dim[i];
        s->row_bytes *= (size_t)dim[i];
    }
    choose_chunk(s, rows, chunk);
    s->chunk_rows = chunk[0];
    space = H5Screate_simple(rank, size, most);
    plist = storage_list(s, chunk);
    if (space >= 0 && plist >= 0)
        s->id = H5Dcreate2(file, name, s->memory_type, space, H5P_DEFAULT, plist,
                           H5P_DEFAULT);
    if (space >= 0)
        (void)H5Sclose(space);
    if (plist >= 0)
        (void)H5Pclose(plist);
    if (s->id >= 0)
        return 0;
    (void)hdf_set_close(s);
    return write_failed(path, name, e);
}

int hdf_set_append(struct hdf_set *s, uint64_t count, const void *values, struct err *e)
{
    hsize_t start[HDF_MAX_RANK] = {s->dim[0]}, size[HDF_MAX_RANK] = {s->dim[0] + count};
    hid_t disk = -1, memory = -1;
    int status = -1;

    if (count == 0)
        return 0;
    for (int i = 1; i < s->rank; i++)
        size[i] = s->dim[i];
    if (H5Dset_extent(s->id, size) >= 0) {
        size[0] = count;
        disk = H5Dget_space(s->id);
        memory = H5Screate_simple(s->rank, size, NULL);
    }
    if (disk >= 0 && memory >= 0 &&
        H5Sselect_hyperslab(disk, H5S_SELECT_SET, start, NULL, size, NULL) >= 0 &&
        H5Dwrite(s->id, s->memory_type, memory, disk, H5P_DEFAULT, values) >= 0)
        status = 0;
    if (disk >= 0)
        (void)H5Sclose(disk);
    if (memory >= 0)
        (void)H5Sclose(memory);
    if (status != 0)
        return write_failed(s->path, s->name, e);
    s->dim[0] += count;
    return 0;
}

static int put_attribute(hid_t file, const char *path, const char *name,
                         const char *attribute, hid_t disk, hid_t memory,
                         const void *value, struct err *e)
{
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t id = -1;
    int status = -1;

    if (space >= 0 && disk >= 0)
        id = H5Acreate_by_name(file, name, attribute, disk, space, H5P_DEFAULT,
                               H5P_DEFAULT, H5P_DEFAULT);
    if (id >= 0 && H5Awrite(id, memory, value) >= 0)
        status = 0;
    if (id >= 0 && H5Aclose(id) < 0)
        status = -1;
    if (space >= 0)
        (void)H5Sclose(space);
    return status == 0 ? 0 : write_failed(path, attribute, e);
}

int hdf_attribute_put_int(hid_t file, const char *path, const char *name,
                          const char *attribute, enum hdf_kind kind, int64_t value,
                          struct err *e)
{
    hid_t disk = disk_type(kind, 0);
    int status =
        put_attribute(file, path, name, attribute, disk, H5T_NATIVE_INT64, &value, e);

    if (disk >= 0)
        (void)H5Tclose(disk);
    return status;
}

int hdf_attribute_put_text(hid_t file, const char *path, const char *attribute,
                           const char *text, struct err *e)
{
    size_t length = strlen(text);
    hid_t disk;
    int status;

    if (length > HDF_MAX_TEXT)
        return err_set(e, "%s: attribute %s is longer than 65535 bytes; shorten it", path,
                       attribute);
    disk = disk_type(HDF_TEXT, length == 0 ? 1 : length);
    status = put_attribute(file, path, "/", attribute, disk, disk, text, e);
    if (disk >= 0)
        (void)H5Tclose(disk);
    return status;
}
