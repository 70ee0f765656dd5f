#include "damage.h"

#include "sim/base/file.h"
#include "sim/base/mem.h"

#include <hdf5.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NAMES = 512 };

struct damage {
    char *bytes;
    size_t size;
    char *object[MAX_NAMES]; /* groups and data sets, "/" among them */
    size_t objects;
    struct {
        const char *object;
        char *name;
    } attribute[MAX_NAMES];
    size_t attributes;
};

/* ---- the good file ---- */

static herr_t learn_attribute(hid_t object, const char *name, const H5A_info_t *info,
                              void *context)
{
    struct damage *d = context;

    (void)object;
    (void)info;
    if (d->attributes < MAX_NAMES) {
        d->attribute[d->attributes].object = d->object[d->objects - 1];
        d->attribute[d->attributes++].name = mem_strdup(name);
    }
    return 0;
}

static herr_t learn_object(hid_t file, const char *name, const H5O_info_t *info,
                           void *context)
{
    struct damage *d = context;

    (void)info;
    if (d->objects == MAX_NAMES)
        return 0;
    d->object[d->objects++] =
        strcmp(name, ".") == 0 ? mem_strdup("/") : mem_format("/%s", name);
    return H5Aiterate_by_name(file, name, H5_INDEX_NAME, H5_ITER_INC, NULL,
                              learn_attribute, d, H5P_DEFAULT);
}

struct damage *damage_learn(const char *path, const char *extra)
{
    struct damage *d = mem_zalloc(1, sizeof *d);
    struct err e = {.text = ""};
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);

    fuzz_require(file >= 0);
    fuzz_require(H5Ovisit2(file, H5_INDEX_NAME, H5_ITER_INC, learn_object, d,
                           H5O_INFO_BASIC) >= 0);
    fuzz_require(H5Fclose(file) >= 0);
    if (extra != NULL && d->objects < MAX_NAMES)
        d->object[d->objects++] = mem_strdup(extra);
    d->bytes = file_read(path, (size_t)1 << 24, &d->size, &e);
    fuzz_require(d->bytes != NULL);
    return d;
}

/* ---- changing it ---- */

static const char *choose_object(const struct damage *d, struct fuzz_bytes *b)
{
    return d->object[fuzz_take(b, d->objects > 256 ? 2 : 1) % d->objects];
}

static void change_attribute(const struct damage *d, hid_t f, struct fuzz_bytes *b)
{
    size_t i = (size_t)fuzz_take(b, d->attributes > 256 ? 2 : 1) % d->attributes;
    int64_t value = fuzz_value(b);
    hid_t id, type;

    if (fuzz_choose(b, 16) == 15) {
        (void)H5Adelete_by_name(f, d->attribute[i].object, d->attribute[i].name,
                                H5P_DEFAULT);
        return;
    }
    id = H5Aopen_by_name(f, d->attribute[i].object, d->attribute[i].name, H5P_DEFAULT,
                         H5P_DEFAULT);
    if (id < 0)
        return;
    type = H5Aget_type(id);
    if (H5Tget_class(type) == H5T_INTEGER) {
        (void)H5Awrite(id, H5T_NATIVE_INT64, &value);
    } else if (H5Tis_variable_str(type) == 0) {
        char *text = mem_zalloc(H5Tget_size(type) + 8, 1);

        memcpy(text, &value, sizeof value);
        (void)H5Awrite(id, type, text);
        free(text);
    }
    (void)H5Tclose(type);
    (void)H5Aclose(id);
}

/* One value of a set as its writer made it. The library itself crashes when some of those
 * that replace_set() made are written to, so a set that was changed is left alone. */
static void change_value(const char *name, hid_t f, struct fuzz_bytes *b)
{
    hid_t set = H5Dopen2(f, name, H5P_DEFAULT);
    hid_t space = set >= 0 ? H5Dget_space(set) : -1, one = H5Screate(H5S_SCALAR);
    hid_t type = set >= 0 ? H5Dget_type(set) : -1;
    hsize_t point[3] = {fuzz_take(b, 1) % 8, fuzz_take(b, 1) % 2, fuzz_take(b, 1) % 2};
    hsize_t dim[H5S_MAX_RANK], most[H5S_MAX_RANK];
    int64_t value = fuzz_value(b);

    if (type >= 0 && space >= 0 && H5Sget_simple_extent_dims(space, dim, most) > 0 &&
        most[0] == H5S_UNLIMITED) {
        if (H5Tget_class(type) == H5T_INTEGER) {
            (void)H5Tclose(type);
            type = H5Tcopy(H5T_NATIVE_INT64);
        }
        if (H5Tget_size(type) <= sizeof value &&
            H5Sselect_elements(space, H5S_SELECT_SET, 1, point) >= 0 &&
            H5Sselect_valid(space) > 0)
            (void)H5Dwrite(set, type, one, space, H5P_DEFAULT, &value);
    }
    if (type >= 0)
        (void)H5Tclose(type);
    if (space >= 0)
        (void)H5Sclose(space);
    if (set >= 0)
        (void)H5Dclose(set);
    (void)H5Sclose(one);
}

/* Another data set under the same name, of any type and shape, written or not. */
static void replace_set(const char *name, hid_t f, struct fuzz_bytes *b)
{
    static const char zeros[65536];
    const hid_t types[] = {H5T_STD_U8LE,  H5T_STD_U16LE, H5T_STD_U32LE,  H5T_STD_U64LE,
                           H5T_STD_I64LE, H5T_STD_U16BE, H5T_IEEE_F32LE, H5T_C_S1};
    hid_t type = types[fuzz_choose(b, 8)], list = H5Pcreate(H5P_DATASET_CREATE), space;
    hid_t set;
    int rank = (int)fuzz_choose(b, 4);
    hsize_t dim[3], chunk[3], values = 1;

    for (int i = 0; i < rank; i++) {
        int64_t d = fuzz_value(b);

        dim[i] = d < 0 ? 0 : (hsize_t)d;
        chunk[i] = 1 + fuzz_take(b, 1) % 8;
        values = dim[i] > 4096 ? 65537 : values * dim[i];
    }
    (void)H5Ldelete(f, name, H5P_DEFAULT);
    space = rank == 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple(rank, dim, NULL);
    if (rank > 0 && fuzz_choose(b, 2) == 0)
        (void)H5Pset_chunk(list, rank, chunk);
    set = H5Dcreate2(f, name, type, space, H5P_DEFAULT, list, H5P_DEFAULT);
    if (set >= 0 && values <= 65536 / H5Tget_size(type) && fuzz_choose(b, 4) != 0)
        (void)H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, zeros);
    if (set >= 0)
        (void)H5Dclose(set);
    if (space >= 0)
        (void)H5Sclose(space);
    (void)H5Pclose(list);
}

void damage_write(const struct damage *d, const char *path, struct fuzz_bytes *b)
{
    hid_t f;

    if (fuzz_take(b, 1) % 4 == 0) {
        fuzz_write(path, b->next, b->left);
        return;
    }
    fuzz_write(path, d->bytes, d->size);
    f = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    fuzz_require(f >= 0);
    for (int i = 0; i < 8 && b->left > 0; i++)
        switch (fuzz_choose(b, 4)) {
        case 0:
            change_attribute(d, f, b);
            break;
        case 1:
            change_value(choose_object(d, b), f, b);
            break;
        case 2:
            replace_set(choose_object(d, b), f, b);
            break;
        default:
            (void)H5Ldelete(f, choose_object(d, b), H5P_DEFAULT);
        }
    fuzz_require(H5Fclose(f) >= 0);
}
