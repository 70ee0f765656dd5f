/* Writing a result: everything goes to a temporary file, which is read back and takes its
 * name when it is whole. Object times are off, so that equal results are equal files. */
#include "result_hdf.h"
#include "traces/hdf.h"

#include "sim/base/mem.h"
#include "traces/hdf.h"
#include "traces/hdf_out.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct writer {
    const struct result *result;
    struct hdf_out *out;
    hid_t file;
    hid_t group_plist;
    bool failed; /* some call of the library failed; checked once at the end */
};

static bool check(struct writer *w, bool good)
{
    if (!good)
        w->failed = true;
    return good;
}

/* A type for strings of `length` bytes; owned. */
static hid_t text_type(size_t length)
{
    hid_t type = H5Tcopy(H5T_C_S1);

    (void)H5Tset_size(type, length + 1);
    (void)H5Tset_strpad(type, H5T_STR_NULLTERM);
    (void)H5Tset_cset(type, H5T_CSET_UTF8);
    return type;
}

static void write_attribute(struct writer *w, hid_t object, const char *name, hid_t disk,
                            hid_t memory, const void *value)
{
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t id = H5Acreate2(object, name, disk, space, H5P_DEFAULT, H5P_DEFAULT);

    if (check(w, id >= 0)) {
        (void)check(w, H5Awrite(id, memory, value) >= 0);
        (void)check(w, H5Aclose(id) >= 0);
    }
    (void)H5Sclose(space);
}

static void write_text(struct writer *w, hid_t object, const char *name, const char *text)
{
    hid_t type;

    if (text == NULL)
        text = "";
    type = text_type(strlen(text));
    write_attribute(w, object, name, type, type, text);
    (void)H5Tclose(type);
}

static void write_texts(struct writer *w, hid_t object, const struct result_text *table,
                        const void *record)
{
    for (; table->name != NULL; table++) {
        const char *text;

        memcpy(&text, (const char *)record + table->offset, sizeof text);
        write_text(w, object, table->name, text);
    }
}

/* The scalars of a table, one attribute each. */
static void write_scalars(struct writer *w, hid_t object,
                          const struct result_field *table, const void *record)
{
    for (; table->name != NULL; table++) {
        unsigned char value[8];

        result_hdf_gather(table, record, 0, 1, value);
        write_attribute(w, object, table->name, result_hdf_disk_type(table->kind),
                        result_hdf_memory_type(table->kind), value);
    }
}

/* A data set of one dimension, not yet written; -1 on failure. */
static hid_t new_column(struct writer *w, hid_t parent, const char *name, hid_t type,
                        hsize_t rows)
{
    hsize_t chunk = rows < RESULT_HDF_CHUNK_ROWS ? rows : RESULT_HDF_CHUNK_ROWS;
    hid_t plist = H5Pcreate(H5P_DATASET_CREATE);
    hid_t space = H5Screate_simple(1, &rows, NULL);
    hid_t id;

    (void)H5Pset_obj_track_times(plist, false);
    (void)H5Pset_chunk(plist, 1, &chunk);
    (void)H5Pset_shuffle(plist);
    (void)H5Pset_deflate(plist, 4);
    (void)H5Pset_fletcher32(plist);
    id = H5Dcreate2(parent, name, type, space, H5P_DEFAULT, plist, H5P_DEFAULT);
    (void)H5Sclose(space);
    (void)H5Pclose(plist);
    (void)check(w, id >= 0);
    return id;
}

static void write_rows(struct writer *w, hid_t column, hid_t memory_type, hsize_t first,
                       hsize_t count, const void *values)
{
    hid_t disk = H5Dget_space(column);
    hid_t memory = H5Screate_simple(1, &count, NULL);

    if (check(w,
              H5Sselect_hyperslab(disk, H5S_SELECT_SET, &first, NULL, &count, NULL) >= 0))
        (void)check(w, H5Dwrite(column, memory_type, memory, disk, H5P_DEFAULT, values) >=
                           0);
    (void)H5Sclose(memory);
    (void)H5Sclose(disk);
}

/* One whole column of plain values; none where there are no rows. */
static void write_array(struct writer *w, hid_t parent, const char *name,
                        enum result_kind kind, uint64_t rows, const void *values)
{
    hid_t column;

    if (rows == 0 || values == NULL)
        return;
    column = new_column(w, parent, name, result_hdf_disk_type(kind), rows);
    if (column < 0)
        return;
    write_text(w, column, "unit", result_hdf_unit(kind));
    write_rows(w, column, result_hdf_memory_type(kind), 0, rows, values);
    (void)check(w, H5Dclose(column) >= 0);
}

static const char *name_at(char *const *names, size_t stride, uint32_t i)
{
    char *name;

    memcpy(&name, (const char *)names + i * stride, sizeof name);
    return name;
}

/* One whole column of strings, `stride` bytes apart; none where there are no rows. */
static void write_names(struct writer *w, hid_t parent, const char *name, uint32_t rows,
                        char *const *names, size_t stride)
{
    size_t width = 1;
    hid_t type, column;
    char *packed;

    if (rows == 0)
        return;
    for (uint32_t i = 0; i < rows; i++) {
        size_t length = strlen(name_at(names, stride, i));

        width = length > width ? length : width;
    }
    packed = mem_zalloc(rows, width + 1);
    for (uint32_t i = 0; i < rows; i++)
        memcpy(packed + i * (width + 1), name_at(names, stride, i),
               strlen(name_at(names, stride, i)));
    type = text_type(width);
    column = new_column(w, parent, name, type, rows);
    if (column >= 0) {
        write_rows(w, column, type, 0, rows, packed);
        (void)check(w, H5Dclose(column) >= 0);
    }
    (void)H5Tclose(type);
    free(packed);
}

/* Strings too long for an attribute: a scalar data set each. */
static void write_long_texts(struct writer *w)
{
    for (const struct result_text *t = result_long_texts; t->name != NULL; t++) {
        hid_t space = H5Screate(H5S_SCALAR), plist = H5Pcreate(H5P_DATASET_CREATE);
        const char *text;
        hid_t type, id;

        memcpy(&text, (const char *)w->result + t->offset, sizeof text);
        if (text == NULL)
            text = "";
        type = text_type(strlen(text));
        (void)H5Pset_obj_track_times(plist, false);
        id = H5Dcreate2(w->file, t->name, type, space, H5P_DEFAULT, plist, H5P_DEFAULT);
        if (check(w, id >= 0)) {
            (void)check(w, H5Dwrite(id, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, text) >= 0);
            (void)check(w, H5Dclose(id) >= 0);
        }
        (void)H5Tclose(type);
        (void)H5Pclose(plist);
        (void)H5Sclose(space);
    }
}

/* ---- tables: groups of columns ---- */

struct table {
    const struct result_field *fields;
    hid_t group;
    hid_t *column; /* [fields]; owned */
};

static bool table_open(struct writer *w, struct table *t, hid_t parent, const char *name,
                       const struct result_field *fields, uint64_t rows)
{
    size_t count = 0;

    while (fields[count].name != NULL)
        count++;
    *t = (struct table){.fields = fields, .column = mem_zalloc(count, sizeof *t->column)};
    t->group = H5Gcreate2(parent, name, H5P_DEFAULT, w->group_plist, H5P_DEFAULT);
    if (!check(w, t->group >= 0))
        return false;
    for (size_t i = 0; fields[i].name != NULL; i++) {
        t->column[i] = new_column(w, t->group, fields[i].name,
                                  result_hdf_disk_type(fields[i].kind), rows);
        if (t->column[i] >= 0)
            write_text(w, t->column[i], "unit", result_hdf_unit(fields[i].kind));
    }
    return !w->failed;
}

static void table_write(struct writer *w, struct table *t, const void *records,
                        size_t stride, uint64_t first, size_t count)
{
    void *dense = mem_alloc(count, 8);

    for (size_t i = 0; t->fields[i].name != NULL && !w->failed; i++) {
        result_hdf_gather(&t->fields[i], records, stride, count, dense);
        write_rows(w, t->column[i], result_hdf_memory_type(t->fields[i].kind), first,
                   count, dense);
    }
    free(dense);
}

static void table_close(struct writer *w, struct table *t)
{
    for (size_t i = 0; t->group >= 0 && t->fields[i].name != NULL; i++)
        if (t->column[i] >= 0)
            (void)check(w, H5Dclose(t->column[i]) >= 0);
    if (t->group >= 0)
        (void)check(w, H5Gclose(t->group) >= 0);
    free(t->column);
}

/* A table that is in memory as a whole. */
static void write_table(struct writer *w, hid_t parent, const char *name,
                        const struct result_field *fields, const void *records,
                        size_t stride, uint64_t rows)
{
    struct table t;

    if (rows == 0)
        return;
    if (table_open(w, &t, parent, name, fields, rows))
        table_write(w, &t, records, stride, 0, (size_t)rows);
    table_close(w, &t);
}

/* Pass records go from the spool, or from another result file, in blocks. */
static int write_passes(struct writer *w, hid_t parent, uint32_t policy, struct err *e)
{
    uint64_t rows = result_pass_count(w->result, policy);
    struct run_pass *block;
    struct table t;
    int status = 0;

    if (rows == 0)
        return 0;
    block = mem_alloc(RESULT_HDF_CHUNK_ROWS, sizeof *block);
    if (table_open(w, &t, parent, "pass", result_pass_fields, rows)) {
        for (uint64_t at = 0; at < rows && status == 0 && !w->failed;) {
            uint64_t left = rows - at;
            size_t count =
                left < RESULT_HDF_CHUNK_ROWS ? (size_t)left : RESULT_HDF_CHUNK_ROWS;

            status = hdf_out_check(w->out, e);
            if (status == 0)
                status = result_read_passes(w->result, policy, at, count, block, e);
            if (status == 0)
                table_write(w, &t, block, sizeof *block, at, count);
            at += count;
        }
    }
    table_close(w, &t);
    free(block);
    return status;
}

/* What several GPUs held, and from which pass on. */
static void write_placed(struct writer *w, hid_t group, const struct run_result *run)
{
    const struct run_placements *placed = &run->placed;

    write_scalars(w, group, result_placed_fields, placed);
    write_array(w, group, "placed_pass", RESULT_U64, placed->count, placed->pass);
    write_array(w, group, "placed_expert", RESULT_U16,
                placed->count * run->layers * placed->slots, placed->expert);
}

static int write_policy(struct writer *w, hid_t parent, uint32_t i, struct err *e)
{
    const struct result_policy *p = &w->result->policy[i];
    const uint64_t records = result_pass_count(w->result, i);
    char name[16];
    hid_t group;
    int status;

    (void)snprintf(name, sizeof name, "%" PRIu32, i);
    group = H5Gcreate2(parent, name, H5P_DEFAULT, w->group_plist, H5P_DEFAULT);
    if (!check(w, group >= 0))
        return 0;
    write_texts(w, group, result_policy_texts, p);
    write_scalars(w, group, result_policy_fields, p);
    write_attribute(w, group, "pass_records", H5T_STD_U64LE, H5T_NATIVE_UINT64, &records);
    write_table(w, group, "layer", result_layer_fields, p->run.layer,
                sizeof *p->run.layer, p->run.layers);
    write_table(w, group, "request", result_request_fields, p->run.request,
                sizeof *p->run.request, p->run.requests);
    write_array(w, group, "gpu_rows", RESULT_U64, p->run.gpus, p->run.gpu_rows);
    write_array(w, group, "gpu_peak_bytes", RESULT_BYTES, p->run.gpus, p->run.gpu_peak);
    write_array(w, group, "link_bytes", RESULT_BYTES, p->run.links, p->run.link_bytes);
    write_placed(w, group, &p->run);
    write_scalars(w, group, result_watched_fields, &p->run);
    write_table(w, group, "watch", result_watch_fields, p->run.watch,
                sizeof *p->run.watch, p->run.watched);
    status = write_passes(w, group, i, e);
    (void)check(w, H5Gclose(group) >= 0);
    return status;
}

static void write_links(struct writer *w)
{
    const struct result *r = w->result;
    struct table t;

    if (r->links == 0)
        return;
    if (table_open(w, &t, w->file, "link", result_link_fields, r->links)) {
        write_names(w, t.group, "name", r->links, &r->link->name, sizeof *r->link);
        write_names(w, t.group, "kind", r->links, &r->link->kind, sizeof *r->link);
        table_write(w, &t, r->link, sizeof *r->link, 0, r->links);
    }
    table_close(w, &t);
}

static int write_all(struct writer *w, struct err *e)
{
    const struct result *r = w->result;
    uint32_t version = RESULT_VERSION;
    int status = 0;
    hid_t policies;

    write_text(w, w->file, "format", RESULT_FORMAT);
    write_attribute(w, w->file, "version", H5T_STD_U32LE, H5T_NATIVE_UINT32, &version);
    write_texts(w, w->file, result_head_texts, r);
    write_scalars(w, w->file, result_head_fields, r);
    write_long_texts(w);
    write_array(w, w->file, "moe_layer", RESULT_U16, r->layers, r->moe_layer);
    write_array(w, w->file, "expert_bytes", RESULT_BYTES, r->layers, r->expert_bytes);
    write_names(w, w->file, "group_name", r->groups, r->group_names,
                sizeof *r->group_names);
    write_links(w);
    policies = H5Gcreate2(w->file, "policy", H5P_DEFAULT, w->group_plist, H5P_DEFAULT);
    if (!check(w, policies >= 0))
        return 0;
    for (uint32_t i = 0; i < r->policies && status == 0; i++)
        status = write_policy(w, policies, i, e);
    (void)check(w, H5Gclose(policies) >= 0);
    return status;
}

static int write_file(const struct result *r, struct hdf_out *out, const char *path,
                      struct err *e)
{
    struct writer w = {.result = r, .out = out, .file = hdf_out_file(out)};
    int status;

    w.group_plist = H5Pcreate(H5P_GROUP_CREATE);
    (void)check(&w, H5Pset_obj_track_times(w.group_plist, false) >= 0);
    status = write_all(&w, e);
    (void)H5Pclose(w.group_plist);
    if (hdf_out_close(out, e) != 0)
        return -1;
    return status == 0 && w.failed
               ? err_set(e, "%s: the HDF5 library cannot write the result", path)
               : status;
}

/* Reads the finished file back: all columns are there, in all their length. */
static int verify(const struct result *r, const char *name, const char *path,
                  struct err *e)
{
    struct err said = {.text = ""};
    struct result is;
    bool whole = result_read(name, &is, &said) == 0;

    if (whole) {
        whole = is.policies == r->policies && is.layers == r->layers;
        for (uint32_t i = 0; whole && i < r->policies; i++)
            whole = result_pass_count(&is, i) == result_pass_count(r, i);
        result_release(&is);
    }
    return whole
               ? 0
               : err_set(e, "%s: what was written does not read back as it was meant%s%s",
                         path, said.text[0] == '\0' ? "" : ": ", said.text);
}

int result_write(const struct result *r, const char *path, struct err *e)
{
    struct hdf_out *out;
    int status;

    hdf_enter();
    out = hdf_out_new(path, e);
    status = out == NULL ? -1 : write_file(r, out, path, e);
    if (status == 0)
        status = verify(r, hdf_out_name(out), path, e);
    if (status == 0)
        status = hdf_out_commit(out, e);
    else
        hdf_out_abandon(out);
    hdf_leave();
    return status;
}
