#include "hdf.h"

#include "sim/base/file_kind.h"

#include "sim/base/mem.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Deflate expands at most 1032 times; a data set that claims more than this times the
 * bytes of its file is lying. */
#define MAX_EXPANSION 1100

static const struct kind_facts {
    const char *name;
    H5T_class_t type_class;
    size_t size;
    bool is_signed;
} kind_table[] = {
    [HDF_U8] = {"u8", H5T_INTEGER, 1, false},
    [HDF_U16] = {"u16", H5T_INTEGER, 2, false},
    [HDF_U32] = {"u32", H5T_INTEGER, 4, false},
    [HDF_U64] = {"u64", H5T_INTEGER, 8, false},
    [HDF_I32] = {"i32", H5T_INTEGER, 4, true},
    [HDF_I64] = {"i64", H5T_INTEGER, 8, true},
    [HDF_F16] = {"f16", H5T_FLOAT, 2, true},
    [HDF_TEXT] = {"text", H5T_STRING, 0, false},
};

/* Recursive: a result that is written may be read from another file meanwhile. */
static pthread_mutex_t library_lock;
static pthread_once_t made = PTHREAD_ONCE_INIT;
/* What the lock guards: how often it is held, and what prints errors otherwise. */
static unsigned entered;
static H5E_auto2_t handler;
static void *handler_data;

static void make_lock(void)
{
    pthread_mutexattr_t kind;

    (void)pthread_mutexattr_init(&kind);
    (void)pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_RECURSIVE);
    (void)pthread_mutex_init(&library_lock, &kind);
    (void)pthread_mutexattr_destroy(&kind);
}

void hdf_enter(void)
{
    (void)pthread_once(&made, make_lock);
    (void)pthread_mutex_lock(&library_lock);
    if (entered++ > 0)
        return;
    /* After a damaged file the library's own clean-up at exit may complain; there is
     * nothing left for it to do. It heeds this only before its first use. */
    (void)H5dont_atexit();
    (void)H5Eget_auto2(H5E_DEFAULT, &handler, &handler_data);
    (void)H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

void hdf_leave(void)
{
    (void)H5Eclear2(H5E_DEFAULT);
    if (--entered == 0)
        (void)H5Eset_auto2(H5E_DEFAULT, handler, handler_data);
    (void)pthread_mutex_unlock(&library_lock);
}

/* ---- types ---- */

/* The type of the values in memory; owned. Halves and text stay as they are on disk. */
static hid_t memory_type(enum hdf_kind kind, hid_t disk)
{
    switch (kind) {
    case HDF_U8:
        return H5Tcopy(H5T_NATIVE_UINT8);
    case HDF_U16:
        return H5Tcopy(H5T_NATIVE_UINT16);
    case HDF_U32:
        return H5Tcopy(H5T_NATIVE_UINT32);
    case HDF_U64:
        return H5Tcopy(H5T_NATIVE_UINT64);
    case HDF_I32:
        return H5Tcopy(H5T_NATIVE_INT32);
    case HDF_I64:
        return H5Tcopy(H5T_NATIVE_INT64);
    case HDF_F16:
    case HDF_TEXT:
        return H5Tcopy(disk);
    }
    return -1;
}

static bool is_half(hid_t type)
{
    size_t sign, exponent, exponent_bits, mantissa, mantissa_bits;

    return H5Tget_order(type) == H5T_ORDER_LE &&
           H5Tget_fields(type, &sign, &exponent, &exponent_bits, &mantissa,
                         &mantissa_bits) >= 0 &&
           sign == 15 && exponent == 10 && exponent_bits == 5 && mantissa == 0 &&
           mantissa_bits == 10 && H5Tget_ebias(type) == 15;
}

static bool type_matches(hid_t type, enum hdf_kind kind)
{
    const struct kind_facts *want = &kind_table[kind];

    if (H5Tget_class(type) != want->type_class)
        return false;
    if (kind == HDF_TEXT)
        return H5Tis_variable_str(type) == 0 && H5Tget_size(type) >= 1 &&
               H5Tget_size(type) <= HDF_MAX_NAME;
    if (H5Tget_size(type) != want->size)
        return false;
    if (kind == HDF_F16)
        return is_half(type);
    return (H5Tget_sign(type) == H5T_SGN_2) == want->is_signed;
}

/* ---- opening ---- */

hid_t hdf_file_open(const char *path, struct err *e)
{
    struct stat s;
    hid_t file;

    if (stat(path, &s) != 0)
        return err_set(e, "%s: cannot be opened: %s", path, strerror(errno));
    if (S_ISDIR(s.st_mode))
        return file_kind_check(path, FILE_TRACE, e);
    if (!S_ISREG(s.st_mode))
        return err_set(e, "%s: is not a regular file; give the name of a trace file",
                       path);
    file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (file >= 0)
        return file;
    if (H5Fis_hdf5(path) > 0)
        return err_set(e,
                       "%s: is an HDF5 file but truncated, damaged or still being "
                       "written; import or copy it again",
                       path);
    if (file_kind_check(path, FILE_TRACE, e) != 0)
        return -1;
    return err_set(e, "%s: is not an HDF5 file; make a trace with `moesim trace import`",
                   path);
}

enum where { ABSENT, HERE, ELSEWHERE };

/* Where the absolute `name` leads, link by link. */
static enum where find_object(hid_t file, const char *name)
{
    char part[128];
    size_t length = strlen(name);

    assert(name[0] == '/' && length < sizeof part);
    for (size_t i = 1; i <= length; i++) {
        H5L_info_t link;

        if (name[i] != '/' && name[i] != '\0')
            continue;
        memcpy(part, name, i);
        part[i] = '\0';
        if (H5Lexists(file, part, H5P_DEFAULT) <= 0)
            return ABSENT;
        if (H5Lget_info(file, part, &link, H5P_DEFAULT) < 0 ||
            link.type == H5L_TYPE_EXTERNAL ||
            H5Oexists_by_name(file, part, H5P_DEFAULT) <= 0)
            return ELSEWHERE;
    }
    return HERE;
}

bool hdf_exists(hid_t file, const char *name)
{
    return find_object(file, name) == HERE;
}

int hdf_check_link(hid_t file, const char *path, const char *name, struct err *e)
{
    if (find_object(file, name) != ELSEWHERE)
        return 0;
    return err_set(e,
                   "%s: %s is a link to another file or to nothing; a trace is one file: "
                   "copy the data set into it",
                   path, name);
}

/* Layout, filters and chunk size are ones we read; fills chunk_rows. */
static int check_storage(struct hdf_set *s, hid_t plist, struct err *e)
{
    H5D_layout_t layout = H5Pget_layout(plist);
    int filters = H5Pget_nfilters(plist);
    hsize_t chunk[HDF_MAX_RANK];
    uint64_t bytes = s->width;

    if (layout == H5D_CONTIGUOUS || layout == H5D_COMPACT) {
        if (H5Pget_external_count(plist) != 0)
            return err_set(e, "%s: %s is stored in other files; a trace is one file",
                           s->path, s->name);
        return 0;
    }
    if (layout != H5D_CHUNKED || H5Pget_chunk(plist, HDF_MAX_RANK, chunk) != s->rank)
        return err_set(e,
                       "%s: %s has a storage layout that a trace may not use; "
                       "write it chunked",
                       s->path, s->name);
    for (int i = 0; i < filters; i++) {
        size_t values = 0;
        unsigned flags = 0, config = 0;
        H5Z_filter_t id =
            H5Pget_filter2(plist, (unsigned)i, &flags, &values, NULL, 0, NULL, &config);

        if (id != H5Z_FILTER_SHUFFLE && id != H5Z_FILTER_DEFLATE &&
            id != H5Z_FILTER_FLETCHER32)
            return err_set(e,
                           "%s: %s uses filter %d; "
                           "only shuffle, deflate and fletcher32 are allowed",
                           s->path, s->name, (int)id);
    }
    for (int i = 0; i < s->rank; i++) {
        if (chunk[i] == 0 || chunk[i] > HDF_MAX_CHUNK_BYTES / bytes)
            return err_set(e,
                           "%s: %s has chunks above 16 MiB; "
                           "write chunks of at most 512 KiB",
                           s->path, s->name);
        bytes *= chunk[i];
    }
    s->chunk_rows = chunk[0];
    return 0;
}

/* The storage must be able to hold what the dimensions claim. */
static int check_claim(const struct hdf_set *s, hid_t file, hid_t plist, hid_t space,
                       struct err *e)
{
    uint64_t bytes = s->width, chunks = 1;
    hsize_t file_bytes = 0, held = 0, chunk[HDF_MAX_RANK];

    if (H5Fget_filesize(file, &file_bytes) < 0)
        file_bytes = 0;
    for (int i = 0; i < s->rank; i++) {
        if (s->dim[i] == 0)
            return err_set(e, "%s: %s is empty (dimension %d is 0)", s->path, s->name, i);
        if (s->dim[i] > file_bytes * MAX_EXPANSION / bytes)
            return err_set(e,
                           "%s: %s claims %" PRIu64 " rows, more than the file can hold; "
                           "the file is damaged",
                           s->path, s->name, s->dim[0]);
        bytes *= s->dim[i];
    }
    if (s->chunk_rows == 0) {
        if (H5Dget_storage_size(s->id) < bytes || H5Dget_storage_size(s->id) > file_bytes)
            return err_set(
                e, "%s: %s claims %" PRIu64 " rows but their values were never written",
                s->path, s->name, s->dim[0]);
        return 0;
    }
    (void)H5Pget_chunk(plist, HDF_MAX_RANK, chunk);
    for (int i = 0; i < s->rank; i++)
        chunks *= (s->dim[i] + chunk[i] - 1) / chunk[i];
    if (H5Dget_num_chunks(s->id, space, &held) < 0 || held != chunks)
        return err_set(e,
                       "%s: %s claims %" PRIu64 " rows in %" PRIu64
                       " chunks but holds %" PRIu64
                       " chunks; the file was not written to its end",
                       s->path, s->name, s->dim[0], chunks, (uint64_t)held);
    return 0;
}

static int open_shape(struct hdf_set *s, hid_t file, hid_t space, hid_t plist, int rank,
                      struct err *e)
{
    hsize_t dim[H5S_MAX_RANK];

    if (H5Sget_simple_extent_type(space) != H5S_SIMPLE ||
        H5Sget_simple_extent_ndims(space) != rank)
        return err_set(e, "%s: %s must have %d dimension%s and has %d", s->path, s->name,
                       rank, rank == 1 ? "" : "s", H5Sget_simple_extent_ndims(space));
    (void)H5Sget_simple_extent_dims(space, dim, NULL);
    s->rank = rank;
    for (int i = 0; i < rank; i++)
        s->dim[i] = dim[i];
    if (check_storage(s, plist, e) != 0 || check_claim(s, file, plist, space, e) != 0)
        return -1;
    s->row_bytes = s->width;
    for (int i = 1; i < rank; i++)
        s->row_bytes *= (size_t)s->dim[i];
    return 0;
}

int hdf_set_open(struct hdf_set *s, hid_t file, const char *path, const char *name,
                 enum hdf_kind kind, int rank, struct err *e)
{
    hid_t type, space, plist, access;
    int status;

    assert(rank >= 1 && rank <= HDF_MAX_RANK);
    *s = (struct hdf_set){
        .id = -1, .memory_type = -1, .path = path, .name = name, .kind = kind};
    if (!hdf_exists(file, name))
        return err_set(e, "%s: data set %s is missing", path, name);
    /* The reader keeps its own chunks, so the library need not keep any. */
    access = H5Pcreate(H5P_DATASET_ACCESS);
    (void)H5Pset_chunk_cache(access, 0, 0, 1.0);
    s->id = H5Dopen2(file, name, access);
    (void)H5Pclose(access);
    if (s->id < 0)
        return err_set(e, "%s: %s is not a data set, or damaged", path, name);
    type = H5Dget_type(s->id);
    space = H5Dget_space(s->id);
    plist = H5Dget_create_plist(s->id);
    if (type < 0 || space < 0 || plist < 0) {
        status = err_set(e, "%s: data set %s is damaged", path, name);
    } else if (!type_matches(type, kind)) {
        status = err_set(
            e, "%s: %s must be of type %s%s", path, name, kind_table[kind].name,
            kind == HDF_TEXT ? " (strings of a fixed length of at most 256 bytes)" : "");
    } else {
        s->memory_type = memory_type(kind, type);
        s->width = kind == HDF_TEXT ? H5Tget_size(type) : kind_table[kind].size;
        status = open_shape(s, file, space, plist, rank, e);
        if (status == 0 && s->chunk_rows > 0)
            s->chunks = chunk_reader_new(s->id, type, s->memory_type, plist);
    }
    if (type >= 0)
        (void)H5Tclose(type);
    if (space >= 0)
        (void)H5Sclose(space);
    if (plist >= 0)
        (void)H5Pclose(plist);
    if (status != 0)
        (void)hdf_set_close(s);
    return status;
}

int hdf_set_close(struct hdf_set *s)
{
    int status = 0;

    chunk_reader_free(s->chunks);
    s->chunks = NULL;
    if (s->memory_type >= 0)
        (void)H5Tclose(s->memory_type);
    if (s->id >= 0 && H5Dclose(s->id) < 0)
        status = -1;
    s->memory_type = -1;
    s->id = -1;
    return status;
}

/* The selection of rows [first, first + count), as a file space and a memory space. */
static int select_rows(const struct hdf_set *s, uint64_t first, uint64_t count,
                       hid_t *disk, hid_t *memory)
{
    hsize_t start[HDF_MAX_RANK] = {first}, size[HDF_MAX_RANK] = {count};

    for (int i = 1; i < s->rank; i++)
        size[i] = s->dim[i];
    *disk = H5Dget_space(s->id);
    *memory = H5Screate_simple(s->rank, size, NULL);
    return *disk >= 0 && *memory >= 0 &&
                   H5Sselect_hyperslab(*disk, H5S_SELECT_SET, start, NULL, size, NULL) >=
                       0
               ? 0
               : -1;
}

int hdf_set_read(const struct hdf_set *s, uint64_t first, uint64_t count, void *values,
                 struct err *e)
{
    hid_t disk, memory;
    int status = -1;

    if (count == 0)
        return 0;
    assert(first < s->dim[0] && count <= s->dim[0] - first);
    if (s->chunks != NULL && first % s->chunk_rows == 0 &&
        (count >= s->chunk_rows || first + count == s->dim[0]) &&
        chunk_reader_read(s->chunks, first, count, values))
        return 0;
    if (select_rows(s, first, count, &disk, &memory) == 0 &&
        H5Dread(s->id, s->memory_type, memory, disk, H5P_DEFAULT, values) >= 0)
        status = 0;
    if (disk >= 0)
        (void)H5Sclose(disk);
    if (memory >= 0)
        (void)H5Sclose(memory);
    if (status != 0)
        return err_set(e,
                       "%s: %s, rows %" PRIu64 " to %" PRIu64 " cannot be read: the file "
                       "is damaged; import or copy it again",
                       s->path, s->name, first, first + count - 1);
    return 0;
}

/* ---- attributes ---- */

static hid_t attribute_open(hid_t file, const char *path, const char *name,
                            const char *attribute, struct err *e)
{
    hid_t id;

    if (H5Aexists_by_name(file, name, attribute, H5P_DEFAULT) <= 0)
        return err_set(e, "%s: attribute %s of %s is missing", path, attribute, name);
    id = H5Aopen_by_name(file, name, attribute, H5P_DEFAULT, H5P_DEFAULT);
    if (id < 0)
        return err_set(e, "%s: attribute %s of %s is damaged", path, attribute, name);
    return id;
}

/* Whether the attribute holds exactly one value. */
static bool attribute_is_single(hid_t id)
{
    hid_t space = H5Aget_space(id);
    bool single = space >= 0 && H5Sget_simple_extent_npoints(space) == 1;

    if (space >= 0)
        (void)H5Sclose(space);
    return single;
}

int hdf_attribute_int(hid_t file, const char *path, const char *name,
                      const char *attribute, int64_t low, int64_t high, int64_t *value,
                      struct err *e)
{
    hid_t id = attribute_open(file, path, name, attribute, e);
    hid_t type;
    H5T_class_t type_class;
    int status;

    if (id < 0)
        return -1;
    type = H5Aget_type(id);
    type_class = type >= 0 ? H5Tget_class(type) : H5T_NO_CLASS;
    if (type_class == H5T_ENUM) { /* h5py's bool */
        hid_t base = H5Tget_super(type);

        (void)H5Tclose(type);
        type = base;
        type_class = type >= 0 ? H5Tget_class(type) : H5T_NO_CLASS;
    }
    if (type_class != H5T_INTEGER || H5Tget_size(type) > 8 || !attribute_is_single(id))
        status = err_set(e, "%s: attribute %s of %s must be one integer", path, attribute,
                         name);
    else if (H5Aread(id, H5T_NATIVE_INT64, value) < 0)
        status = err_set(e, "%s: attribute %s of %s is damaged", path, attribute, name);
    else if (*value < low || *value > high)
        status = err_set(e,
                         "%s: attribute %s of %s is %" PRId64 "; it must be from %" PRId64
                         " to %" PRId64,
                         path, attribute, name, *value, low, high);
    else
        status = 0;
    if (type >= 0)
        (void)H5Tclose(type);
    (void)H5Aclose(id);
    return status;
}

/* Reads the string of attribute `id` with type `type`; NULL if that fails. */
static char *read_text(hid_t id, hid_t type)
{
    char *text;

    if (H5Tis_variable_str(type) > 0) {
        char *value = NULL;

        if (H5Aread(id, type, &value) < 0 || value == NULL)
            return NULL;
        text =
            strnlen(value, HDF_MAX_TEXT + 1) <= HDF_MAX_TEXT ? mem_strdup(value) : NULL;
        (void)H5free_memory(value);
        return text;
    }
    /* The longest may end in a NUL. */
    if (H5Tget_size(type) == 0 || H5Tget_size(type) > HDF_MAX_TEXT + 1)
        return NULL;
    text = mem_zalloc(H5Tget_size(type) + 1, 1);
    if (H5Aread(id, type, text) < 0 || strlen(text) > HDF_MAX_TEXT) {
        free(text);
        return NULL;
    }
    return text;
}

char *hdf_attribute_text(hid_t file, const char *path, const char *attribute,
                         struct err *e)
{
    hid_t id = attribute_open(file, path, "/", attribute, e);
    hid_t type;
    char *text = NULL;

    if (id < 0)
        return NULL;
    type = H5Aget_type(id);
    if (type < 0 || H5Tget_class(type) != H5T_STRING || !attribute_is_single(id)) {
        (void)err_set(e, "%s: attribute %s of / must be one string", path, attribute);
    } else {
        text = read_text(id, type);
        if (text == NULL)
            (void)err_set(e,
                          "%s: attribute %s of / is damaged or longer than 65535 bytes",
                          path, attribute);
    }
    if (type >= 0)
        (void)H5Tclose(type);
    (void)H5Aclose(id);
    return text;
}
