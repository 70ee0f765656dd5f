#include "result_reader.h"

#include "sim/base/mem.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_CHUNK_BYTES = 16 << 20 };

int result_reader_damaged(struct result_reader *r, const char *where, const char *name)
{
    return err_set(r->e, "%s: %s/%s is damaged; run again to make the result anew",
                   r->path, where, name);
}

/* ---- attributes and strings ---- */

/* Opens an attribute that must be there; -1 with the sentence. */
static hid_t open_attribute(struct result_reader *r, hid_t object, const char *where,
                            const char *name)
{
    hid_t id;

    if (H5Aexists(object, name) <= 0)
        return err_set(r->e,
                       "%s: attribute %s of %s/ is missing: damaged, or made by another "
                       "version of moesim; run again",
                       r->path, name, where);
    id = H5Aopen(object, name, H5P_DEFAULT);
    return id >= 0 ? id : result_reader_damaged(r, where, name);
}

static bool is_scalar(hid_t space)
{
    return space >= 0 && H5Sget_simple_extent_npoints(space) == 1;
}

static bool is_text(hid_t type)
{
    return type >= 0 && H5Tget_class(type) == H5T_STRING &&
           H5Tis_variable_str(type) == 0 && H5Tget_size(type) >= 1 &&
           H5Tget_size(type) <= RESULT_HDF_MAX_TEXT;
}

static bool is_integer(hid_t type, enum result_kind kind)
{
    hid_t want = result_hdf_memory_type(kind);

    return type >= 0 && H5Tget_class(type) == H5T_INTEGER &&
           H5Tget_size(type) == H5Tget_size(want) &&
           H5Tget_sign(type) == H5Tget_sign(want);
}

int result_reader_text(struct result_reader *r, hid_t object, const char *where,
                       const char *name, char **text)
{
    hid_t id = open_attribute(r, object, where, name);
    hid_t type, space;
    int status = 0;

    if (id < 0)
        return -1;
    type = H5Aget_type(id);
    space = H5Aget_space(id);
    if (!is_text(type) || !is_scalar(space)) {
        status = err_set(r->e, "%s: attribute %s of %s/ is not a string", r->path, name,
                         where);
    } else {
        *text = mem_zalloc(H5Tget_size(type) + 1, 1);
        if (H5Aread(id, type, *text) < 0)
            status = result_reader_damaged(r, where, name);
    }
    (void)H5Sclose(space);
    (void)H5Tclose(type);
    (void)H5Aclose(id);
    return status;
}

int result_reader_texts(struct result_reader *r, hid_t object, const char *where,
                        const struct result_text *table, void *record)
{
    for (; table->name != NULL; table++) {
        char *text = NULL;
        int status = result_reader_text(r, object, where, table->name, &text);

        memcpy((char *)record + table->offset, &text, sizeof text);
        if (status != 0)
            return -1;
    }
    return 0;
}

int result_reader_scalar(struct result_reader *r, hid_t object, const char *where,
                         const struct result_field *f, void *record)
{
    hid_t id = open_attribute(r, object, where, f->name);
    unsigned char value[8];
    hid_t type, space;
    int status = 0;

    if (id < 0)
        return -1;
    type = H5Aget_type(id);
    space = H5Aget_space(id);
    if (!is_integer(type, f->kind) || !is_scalar(space))
        status = err_set(r->e, "%s: attribute %s of %s/ has the wrong type or shape",
                         r->path, f->name, where);
    else if (H5Aread(id, result_hdf_memory_type(f->kind), value) < 0)
        status = result_reader_damaged(r, where, f->name);
    else
        result_hdf_scatter(f, value, 0, 1, record);
    (void)H5Sclose(space);
    (void)H5Tclose(type);
    (void)H5Aclose(id);
    return status;
}

int result_reader_scalars(struct result_reader *r, hid_t object, const char *where,
                          const struct result_field *table, void *record)
{
    for (; table->name != NULL; table++)
        if (result_reader_scalar(r, object, where, table, record) != 0)
            return -1;
    return 0;
}

/* ---- data sets ---- */

bool result_reader_has(hid_t parent, const char *name)
{
    H5L_info_t link;

    return H5Lexists(parent, name, H5P_DEFAULT) > 0 &&
           H5Lget_info(parent, name, &link, H5P_DEFAULT) >= 0 &&
           link.type == H5L_TYPE_HARD;
}

hid_t result_reader_group(struct result_reader *r, hid_t parent, const char *where,
                          const char *name)
{
    hid_t id;

    if (!result_reader_has(parent, name))
        return err_set(r->e, "%s: group %s/%s is missing", r->path, where, name);
    id = H5Gopen2(parent, name, H5P_DEFAULT);
    return id >= 0 ? id : result_reader_damaged(r, where, name);
}

/* Its storage is in this file, in chunks of bearable size. */
static bool has_plain_layout(hid_t set)
{
    hid_t plist = H5Dget_create_plist(set);
    H5D_layout_t layout = plist >= 0 ? H5Pget_layout(plist) : H5D_LAYOUT_ERROR;
    hsize_t chunk = 0;
    bool good = false;

    if (layout == H5D_CHUNKED)
        good = H5Pget_chunk(plist, 1, &chunk) == 1 && chunk <= MAX_CHUNK_BYTES / 8;
    else if (layout == H5D_CONTIGUOUS || layout == H5D_COMPACT)
        good = H5Pget_external_count(plist) == 0;
    (void)H5Pclose(plist);
    return good;
}

/* Whether all of its rows were written. */
static bool has_all_rows(hid_t set, hid_t space, hsize_t rows)
{
    hid_t plist = H5Dget_create_plist(set);
    hid_t type = H5Dget_type(set);
    hsize_t chunk = 0, chunks = 0;
    bool all = false;

    if (plist >= 0 && H5Pget_layout(plist) != H5D_CHUNKED)
        all = type >= 0 && H5Dget_storage_size(set) / H5Tget_size(type) >= rows;
    else if (plist >= 0 && H5Pget_chunk(plist, 1, &chunk) == 1 && chunk > 0)
        all = H5Dget_num_chunks(set, space, &chunks) >= 0 &&
              chunks == (rows + chunk - 1) / chunk;
    (void)H5Tclose(type);
    (void)H5Pclose(plist);
    return all;
}

/* Opens a data set of one dimension; tells its rows. -1 with the sentence. */
static hid_t open_column(struct result_reader *r, hid_t parent, const char *where,
                         const char *name, uint64_t *rows)
{
    hsize_t dim = 0;
    hid_t id, space;

    if (!result_reader_has(parent, name))
        return err_set(r->e,
                       "%s: data set %s/%s is missing: damaged, or made by another "
                       "version of moesim; run again",
                       r->path, where, name);
    id = H5Dopen2(parent, name, H5P_DEFAULT);
    if (id < 0)
        return result_reader_damaged(r, where, name);
    space = H5Dget_space(id);
    if (space < 0 || H5Sget_simple_extent_ndims(space) != 1 ||
        H5Sget_simple_extent_dims(space, &dim, NULL) != 1 || !has_plain_layout(id))
        (void)err_set(r->e, "%s: data set %s/%s must have one dimension, in plain chunks",
                      r->path, where, name);
    else if (dim / RESULT_READER_EXPANSION > r->file_bytes)
        (void)err_set(r->e,
                      "%s: data set %s/%s claims %" PRIu64
                      " rows, more than the file can hold",
                      r->path, where, name, (uint64_t)dim);
    else if (!has_all_rows(id, space, dim))
        (void)err_set(r->e,
                      "%s: data set %s/%s was not written to its end; run again to make "
                      "the result anew",
                      r->path, where, name);
    else
        *rows = dim;
    (void)H5Sclose(space);
    if (r->e->text[0] == '\0')
        return id;
    (void)H5Dclose(id);
    return -1;
}

static int read_rows(hid_t column, hid_t memory_type, uint64_t first, uint64_t count,
                     void *values)
{
    hsize_t start = first, size = count;
    hid_t disk = H5Dget_space(column);
    hid_t memory = H5Screate_simple(1, &size, NULL);
    int status = -1;

    if (H5Sselect_hyperslab(disk, H5S_SELECT_SET, &start, NULL, &size, NULL) >= 0 &&
        H5Dread(column, memory_type, memory, disk, H5P_DEFAULT, values) >= 0)
        status = 0;
    (void)H5Sclose(memory);
    (void)H5Sclose(disk);
    return status;
}

/* Opens an integer column that must have `rows` rows; -1 with the sentence. */
static hid_t open_integers(struct result_reader *r, hid_t parent, const char *where,
                           const char *name, enum result_kind kind, uint64_t rows)
{
    uint64_t found = 0;
    hid_t id = open_column(r, parent, where, name, &found), type;
    int status = 0;

    if (id < 0)
        return -1;
    type = H5Dget_type(id);
    if (!is_integer(type, kind))
        status =
            err_set(r->e, "%s: data set %s/%s has the wrong type", r->path, where, name);
    else if (found != rows)
        status = err_set(
            r->e, "%s: data set %s/%s has %" PRIu64 " rows where %" PRIu64 " are told of",
            r->path, where, name, found, rows);
    (void)H5Tclose(type);
    if (status == 0)
        return id;
    (void)H5Dclose(id);
    return -1;
}

int result_reader_column(struct result_reader *r, hid_t parent, const char *where,
                         const char *name, enum result_kind kind, uint64_t rows,
                         uint64_t first, uint64_t count, void *values)
{
    hid_t id = open_integers(r, parent, where, name, kind, rows);
    int status = 0;

    if (id < 0)
        return -1;
    if (read_rows(id, result_hdf_memory_type(kind), first, count, values) != 0)
        status = result_reader_damaged(r, where, name);
    (void)H5Dclose(id);
    return status;
}

int result_reader_check(struct result_reader *r, hid_t parent, const char *where,
                        const struct result_field *table, uint64_t rows)
{
    for (; table->name != NULL; table++) {
        hid_t id = open_integers(r, parent, where, table->name, table->kind, rows);

        if (id < 0)
            return -1;
        (void)H5Dclose(id);
    }
    return 0;
}

int result_reader_table(struct result_reader *r, hid_t parent, const char *where,
                        const struct result_field *table, uint64_t rows, uint64_t first,
                        uint64_t count, void *records, size_t stride)
{
    void *dense = mem_alloc((size_t)count, 8);
    int status = 0;

    for (; table->name != NULL && status == 0; table++) {
        status = result_reader_column(r, parent, where, table->name, table->kind, rows,
                                      first, count, dense);
        if (status == 0)
            result_hdf_scatter(table, dense, stride, (size_t)count, records);
    }
    free(dense);
    return status;
}

int result_reader_long_texts(struct result_reader *r, struct result *result)
{
    for (const struct result_text *t = result_long_texts; t->name != NULL; t++) {
        hid_t id, type, space;
        char *text = NULL;
        int status = 0;

        if (!result_reader_has(r->file, t->name))
            return err_set(r->e, "%s: data set /%s is missing", r->path, t->name);
        id = H5Dopen2(r->file, t->name, H5P_DEFAULT);
        if (id < 0)
            return result_reader_damaged(r, "", t->name);
        type = H5Dget_type(id);
        space = H5Dget_space(id);
        if (!is_text(type) || !is_scalar(space) || !has_plain_layout(id)) {
            status =
                err_set(r->e, "%s: data set /%s is not one string", r->path, t->name);
        } else {
            text = mem_zalloc(H5Tget_size(type) + 1, 1);
            if (H5Dread(id, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, text) < 0)
                status = result_reader_damaged(r, "", t->name);
        }
        memcpy((char *)result + t->offset, &text, sizeof text);
        (void)H5Sclose(space);
        (void)H5Tclose(type);
        (void)H5Dclose(id);
        if (status != 0)
            return -1;
    }
    return 0;
}

uint64_t *result_reader_array(struct result_reader *r, hid_t parent, const char *where,
                              const char *name, enum result_kind kind, uint64_t rows)
{
    uint64_t *values;

    if (rows / RESULT_READER_EXPANSION > r->file_bytes) {
        (void)err_set(r->e, "%s: %s/%s cannot have %" PRIu64 " rows in so small a file",
                      r->path, where, name, rows);
        return NULL;
    }
    values = mem_zalloc((size_t)rows, sizeof *values);
    if (result_reader_column(r, parent, where, name, kind, rows, 0, rows, values) == 0)
        return values;
    free(values);
    return NULL;
}

/* Takes what a column of strings holds; each is owned. */
static void unpack_names(const char *packed, size_t width, uint32_t rows, char **names,
                         size_t stride)
{
    for (uint32_t i = 0; i < rows; i++) {
        char *name = mem_format("%.*s", (int)width, packed + (size_t)i * width);

        memcpy((char *)names + i * stride, &name, sizeof name);
    }
}

int result_reader_names(struct result_reader *r, hid_t parent, const char *where,
                        const char *name, uint32_t rows, const char *what, char **names,
                        size_t stride)
{
    uint64_t found = 0;
    hid_t id, type;
    int status = 0;

    if (rows == 0)
        return 0;
    id = open_column(r, parent, where, name, &found);
    if (id < 0)
        return -1;
    type = H5Dget_type(id);
    if (!is_text(type) || found != rows || rows > UINT16_MAX + 1U ||
        H5Tget_size(type) > MAX_CHUNK_BYTES / rows) {
        status = err_set(r->e, "%s: data set %s/%s does not name %" PRIu32 " %s", r->path,
                         where, name, rows, what);
    } else {
        size_t width = H5Tget_size(type);
        char *packed = mem_zalloc(rows, width);

        if (read_rows(id, type, 0, rows, packed) != 0)
            status = result_reader_damaged(r, where, name);
        unpack_names(packed, width, rows, names, stride);
        free(packed);
    }
    (void)H5Tclose(type);
    (void)H5Dclose(id);
    return status;
}
