/* Reading a result back. Nothing in the file is believed: every string, scalar and column
 * is checked for type and size before memory is taken for it. */
#include "result_hdf.h"

#include "sim/base/mem.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    MAX_POLICIES = 65536,
    MAX_LAYERS = 65535,
    MAX_CHUNK_BYTES = 16 << 20,
    /* Deflate shrinks at most 1032 times; a file that claims more than that lies. */
    MAX_EXPANSION = 1100
};

struct reader {
    const char *path;
    hid_t file;
    uint64_t file_bytes;
    struct err *e;
};

static int damaged(struct reader *r, const char *where, const char *name)
{
    return err_set(r->e, "%s: %s/%s is damaged; run again to make the result anew",
                   r->path, where, name);
}

/* ---- attributes and strings ---- */

/* Opens an attribute that must be there; -1 with the sentence. */
static hid_t open_attribute(struct reader *r, hid_t object, const char *where,
                            const char *name)
{
    hid_t id;

    if (H5Aexists(object, name) <= 0)
        return err_set(r->e, "%s: attribute %s of %s/ is missing", r->path, name, where);
    id = H5Aopen(object, name, H5P_DEFAULT);
    return id >= 0 ? id : damaged(r, where, name);
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

static int read_text(struct reader *r, hid_t object, const char *where, const char *name,
                     char **text)
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
            status = damaged(r, where, name);
    }
    (void)H5Sclose(space);
    (void)H5Tclose(type);
    (void)H5Aclose(id);
    return status;
}

static int read_texts(struct reader *r, hid_t object, const char *where,
                      const struct result_text *table, void *record)
{
    for (; table->name != NULL; table++) {
        char *text = NULL;
        int status = read_text(r, object, where, table->name, &text);

        memcpy((char *)record + table->offset, &text, sizeof text);
        if (status != 0)
            return -1;
    }
    return 0;
}

static int read_scalar(struct reader *r, hid_t object, const char *where,
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
        status = damaged(r, where, f->name);
    else
        result_hdf_scatter(f, value, 0, 1, record);
    (void)H5Sclose(space);
    (void)H5Tclose(type);
    (void)H5Aclose(id);
    return status;
}

static int read_scalars(struct reader *r, hid_t object, const char *where,
                        const struct result_field *table, void *record)
{
    for (; table->name != NULL; table++)
        if (read_scalar(r, object, where, table, record) != 0)
            return -1;
    return 0;
}

/* ---- data sets ---- */

static bool has_link(hid_t parent, const char *name)
{
    H5L_info_t link;

    return H5Lexists(parent, name, H5P_DEFAULT) > 0 &&
           H5Lget_info(parent, name, &link, H5P_DEFAULT) >= 0 &&
           link.type == H5L_TYPE_HARD;
}

static hid_t open_group(struct reader *r, hid_t parent, const char *where,
                        const char *name)
{
    hid_t id;

    if (!has_link(parent, name))
        return err_set(r->e, "%s: group %s/%s is missing", r->path, where, name);
    id = H5Gopen2(parent, name, H5P_DEFAULT);
    return id >= 0 ? id : damaged(r, where, name);
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

/* Opens a data set of one dimension; tells its rows. -1 with the sentence. */
static hid_t open_column(struct reader *r, hid_t parent, const char *where,
                         const char *name, uint64_t *rows)
{
    hsize_t dim = 0;
    hid_t id, space;

    if (!has_link(parent, name))
        return err_set(r->e, "%s: data set %s/%s is missing", r->path, where, name);
    id = H5Dopen2(parent, name, H5P_DEFAULT);
    if (id < 0)
        return damaged(r, where, name);
    space = H5Dget_space(id);
    if (space < 0 || H5Sget_simple_extent_ndims(space) != 1 ||
        H5Sget_simple_extent_dims(space, &dim, NULL) != 1 || !has_plain_layout(id))
        (void)err_set(r->e, "%s: data set %s/%s must have one dimension, in plain chunks",
                      r->path, where, name);
    else if (dim / MAX_EXPANSION > r->file_bytes)
        (void)err_set(r->e,
                      "%s: data set %s/%s claims %" PRIu64
                      " rows, more than the file can hold",
                      r->path, where, name, (uint64_t)dim);
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

/* Rows [first, first + count) of an integer column that must have `rows` of them. */
static int read_column(struct reader *r, hid_t parent, const char *where,
                       const char *name, enum result_kind kind, uint64_t rows,
                       uint64_t first, uint64_t count, void *values)
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
    else if (read_rows(id, result_hdf_memory_type(kind), first, count, values) != 0)
        status = damaged(r, where, name);
    (void)H5Tclose(type);
    (void)H5Dclose(id);
    return status;
}

/* Rows of all columns of a group, into records. */
static int read_table(struct reader *r, hid_t parent, const char *where,
                      const struct result_field *table, uint64_t rows, uint64_t first,
                      uint64_t count, void *records, size_t stride)
{
    void *dense = mem_alloc((size_t)count, 8);
    int status = 0;

    for (; table->name != NULL && status == 0; table++) {
        status = read_column(r, parent, where, table->name, table->kind, rows, first,
                             count, dense);
        if (status == 0)
            result_hdf_scatter(table, dense, stride, (size_t)count, records);
    }
    free(dense);
    return status;
}

static int read_long_texts(struct reader *r, struct result *result)
{
    for (const struct result_text *t = result_long_texts; t->name != NULL; t++) {
        hid_t id, type, space;
        char *text = NULL;
        int status = 0;

        if (!has_link(r->file, t->name))
            return err_set(r->e, "%s: data set /%s is missing", r->path, t->name);
        id = H5Dopen2(r->file, t->name, H5P_DEFAULT);
        if (id < 0)
            return damaged(r, "", t->name);
        type = H5Dget_type(id);
        space = H5Dget_space(id);
        if (!is_text(type) || !is_scalar(space) || !has_plain_layout(id)) {
            status =
                err_set(r->e, "%s: data set /%s is not one string", r->path, t->name);
        } else {
            text = mem_zalloc(H5Tget_size(type) + 1, 1);
            if (H5Dread(id, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, text) < 0)
                status = damaged(r, "", t->name);
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

static int read_group_names(struct reader *r, struct result *result)
{
    uint32_t groups = result->groups;
    uint64_t rows = 0;
    hid_t id, type;
    int status = 0;

    if (groups == 0)
        return 0;
    id = open_column(r, r->file, "", "group_name", &rows);
    if (id < 0)
        return -1;
    type = H5Dget_type(id);
    if (!is_text(type) || rows != groups || groups > UINT16_MAX + 1U ||
        H5Tget_size(type) > MAX_CHUNK_BYTES / groups) {
        status =
            err_set(r->e, "%s: data set /group_name does not name %" PRIu32 " groups",
                    r->path, groups);
    } else {
        size_t width = H5Tget_size(type);
        char *packed = mem_zalloc(groups, width);

        if (read_rows(id, type, 0, groups, packed) != 0)
            status = damaged(r, "", "group_name");
        result->group_names = mem_zalloc(groups, sizeof *result->group_names);
        for (uint32_t i = 0; i < groups; i++)
            result->group_names[i] =
                mem_format("%.*s", (int)width, packed + (size_t)i * width);
        free(packed);
    }
    (void)H5Tclose(type);
    (void)H5Dclose(id);
    return status;
}

/* ---- the whole ---- */

static int check_groups(struct reader *r, const struct result *result, const char *where,
                        const struct run_result *run)
{
    for (uint64_t i = 0; i < run->requests; i++)
        if (result->groups > 0 && run->request[i].group >= result->groups)
            return err_set(r->e,
                           "%s: %s/request/group, row %" PRIu64 ": %u is no group; there "
                           "are %" PRIu32,
                           r->path, where, i, run->request[i].group, result->groups);
    return 0;
}

static int read_arrays(struct reader *r, hid_t group, const struct result *result,
                       const char *where, struct result_policy *p)
{
    uint64_t rows = p->run.requests;
    char part[48];
    hid_t id;
    int status;

    p->run.layers = result->layers;
    p->run.layer = mem_zalloc(result->layers, sizeof *p->run.layer);
    (void)snprintf(part, sizeof part, "%s/layer", where);
    id = open_group(r, group, where, "layer");
    if (id < 0)
        return -1;
    status = read_table(r, id, part, result_layer_fields, result->layers, 0,
                        result->layers, p->run.layer, sizeof *p->run.layer);
    (void)H5Gclose(id);
    if (status != 0 || rows == 0)
        return status;
    if (rows / MAX_EXPANSION > r->file_bytes)
        return err_set(r->e, "%s: %s tells of more requests than the file can hold",
                       r->path, where);
    (void)snprintf(part, sizeof part, "%s/request", where);
    id = open_group(r, group, where, "request");
    if (id < 0)
        return -1;
    p->run.request = mem_zalloc((size_t)rows, sizeof *p->run.request);
    status = read_table(r, id, part, result_request_fields, rows, 0, rows, p->run.request,
                        sizeof *p->run.request);
    (void)H5Gclose(id);
    return status == 0 ? check_groups(r, result, where, &p->run) : -1;
}

static int read_policy(struct reader *r, hid_t policies, const struct result *result,
                       uint32_t i, struct result_policy *p)
{
    char name[16], where[32];
    hid_t group;
    int status;

    (void)snprintf(name, sizeof name, "%" PRIu32, i);
    (void)snprintf(where, sizeof where, "/policy/%" PRIu32, i);
    group = open_group(r, policies, "/policy", name);
    if (group < 0)
        return -1;
    status = read_texts(r, group, where, result_policy_texts, p);
    if (status == 0)
        status = read_scalars(r, group, where, result_policy_fields, p);
    if (status == 0)
        status = read_arrays(r, group, result, where, p);
    if (status == 0 && has_link(group, "pass"))
        p->file_passes = p->run.passes;
    (void)H5Gclose(group);
    return status;
}

static int check_version(struct reader *r)
{
    static const struct result_field field = {"version", RESULT_U32, 0};
    uint32_t version = 0;
    char *format = NULL;
    int status = 0;

    if (H5Aexists(r->file, "format") <= 0 ||
        read_text(r, r->file, "", "format", &format) != 0 ||
        strcmp(format, RESULT_FORMAT) != 0)
        status = err_set(
            r->e, "%s: is not a result of moesim; make one with `moesim run`", r->path);
    else if (read_scalar(r, r->file, "", &field, &version) != 0)
        status = -1;
    else if (version != RESULT_VERSION)
        status = err_set(r->e,
                         "%s: is a result of version %" PRIu32
                         ", and this moesim reads version %d; run again",
                         r->path, version, RESULT_VERSION);
    free(format);
    return status;
}

static int read_head(struct reader *r, struct result *result)
{
    uint64_t layers;
    int status = read_texts(r, r->file, "", result_head_texts, result);

    if (status == 0)
        status = read_scalars(r, r->file, "", result_head_fields, result);
    if (status == 0 && (result->layers == 0 || result->layers > MAX_LAYERS ||
                        result->policies > MAX_POLICIES))
        status = err_set(r->e,
                         "%s: %" PRIu32 " MoE layers and %" PRIu32
                         " policies cannot be; the file is damaged",
                         r->path, result->layers, result->policies);
    if (status != 0)
        return -1;
    layers = result->layers;
    result->policy = mem_zalloc(result->policies, sizeof *result->policy);
    result->moe_layer = mem_zalloc(layers, sizeof *result->moe_layer);
    result->expert_bytes = mem_zalloc(layers, sizeof *result->expert_bytes);
    if (read_group_names(r, result) != 0 || read_long_texts(r, result) != 0 ||
        read_column(r, r->file, "", "moe_layer", RESULT_U16, layers, 0, layers,
                    result->moe_layer) != 0)
        return -1;
    return read_column(r, r->file, "", "expert_bytes", RESULT_BYTES, layers, 0, layers,
                       result->expert_bytes);
}

static int read_all(struct reader *r, struct result *result)
{
    hid_t policies;
    int status = 0;

    if (check_version(r) != 0 || read_head(r, result) != 0)
        return -1;
    policies = open_group(r, r->file, "", "policy");
    if (policies < 0)
        return -1;
    for (uint32_t i = 0; i < result->policies && status == 0; i++)
        status = read_policy(r, policies, result, i, &result->policy[i]);
    (void)H5Gclose(policies);
    return status;
}

static int open_file(struct reader *r)
{
    struct stat s;

    if (stat(r->path, &s) != 0)
        return err_set(r->e, "%s: cannot be opened: %s", r->path, strerror(errno));
    if (!S_ISREG(s.st_mode))
        return err_set(r->e, "%s: is not a regular file; give the name of a result",
                       r->path);
    r->file_bytes = (uint64_t)s.st_size;
    r->file = H5Fopen(r->path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (r->file >= 0)
        return 0;
    if (H5Fis_hdf5(r->path) > 0)
        return err_set(r->e,
                       "%s: is an HDF5 file, but damaged, cut short or not readable; "
                       "run again to make the result anew",
                       r->path);
    return err_set(r->e, "%s: is not a result of moesim; make one with `moesim run`",
                   r->path);
}

int result_read(const char *path, struct result *result, struct err *e)
{
    struct reader r = {.path = path, .e = e};
    struct result_hdf_quiet quiet;
    int status;

    assert(e->text[0] == '\0');
    *result = (struct result){.path = NULL};
    result_hdf_enter(&quiet);
    status = open_file(&r);
    if (status == 0) {
        status = read_all(&r, result);
        (void)H5Fclose(r.file);
    }
    result_hdf_leave(&quiet);
    if (status == 0)
        result->path = mem_strdup(path);
    else
        result_release(result);
    return status;
}

/* ---- pass records ---- */

uint64_t result_pass_count(const struct result *r, uint32_t policy)
{
    const struct result_policy *p = &r->policy[policy];

    return p->run.pass_spool != NULL ? p->run.passes : p->file_passes;
}

static int read_spool(const struct run_result *run, uint64_t first, uint64_t count,
                      struct run_pass *pass, struct err *e)
{
    if (fseeko(run->pass_spool, (off_t)(first * sizeof *pass), SEEK_SET) != 0 ||
        fread(pass, sizeof *pass, (size_t)count, run->pass_spool) != count)
        return err_set(e, "the temporary file of pass records cannot be read back: %s",
                       strerror(errno));
    return 0;
}

static int read_file_passes(struct reader *r, uint32_t policy, uint64_t rows,
                            uint64_t first, uint64_t count, struct run_pass *pass)
{
    char where[40];
    hid_t group;
    int status;

    if (open_file(r) != 0)
        return -1;
    (void)snprintf(where, sizeof where, "/policy/%" PRIu32 "/pass", policy);
    group = H5Gopen2(r->file, where, H5P_DEFAULT);
    if (group < 0) {
        status = damaged(r, "", where + 1);
    } else {
        status = read_table(r, group, where, result_pass_fields, rows, first, count, pass,
                            sizeof *pass);
        (void)H5Gclose(group);
    }
    (void)H5Fclose(r->file);
    return status;
}

int result_read_passes(const struct result *r, uint32_t policy, uint64_t first,
                       uint64_t count, struct run_pass *pass, struct err *e)
{
    uint64_t rows = result_pass_count(r, policy);
    struct reader reader = {.path = r->path, .e = e};
    struct result_hdf_quiet quiet;
    int status;

    assert(e->text[0] == '\0');
    assert(first <= rows && count <= rows - first);
    if (count == 0)
        return 0;
    if (r->policy[policy].run.pass_spool != NULL)
        return read_spool(&r->policy[policy].run, first, count, pass, e);
    result_hdf_enter(&quiet);
    status = read_file_passes(&reader, policy, rows, first, count, pass);
    result_hdf_leave(&quiet);
    return status;
}
