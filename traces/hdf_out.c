#include "hdf_out.h"

#include "sim/base/file.h"
#include "sim/base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct hdf_out {
    char *path;
    struct file_out *out;
    hid_t driver; /* outlives the file, whose last close still asks it */
    hid_t file;   /* -1: closed */
    int cause;    /* errno of the first write that failed; 0: none */
};

/* ---- the driver ---- */

/* The library's view of the file; `pub` is what it keeps there itself. */
struct disk {
    H5FD_t pub;
    struct hdf_out *to;
    int fd; /* of the file_out */
    haddr_t allocated, end;
};

/* What a property list carries: which file is meant. */
struct disk_options {
    struct hdf_out *to;
};

static H5FD_t *disk_open(const char *name, unsigned flags, hid_t access, haddr_t most)
{
    const struct disk_options *o = H5Pget_driver_info(access);
    struct disk *d;

    (void)name, (void)flags, (void)most;
    if (o == NULL)
        return NULL;
    d = mem_zalloc(1, sizeof *d);
    d->to = o->to;
    d->fd = fileno(file_out_stream(o->to->out));
    return &d->pub;
}

static herr_t disk_close(H5FD_t *f)
{
    free(f); /* file_out closes the descriptor */
    return 0;
}

/* As of the library's own driver for POSIX files: the same bytes come out. */
static herr_t disk_query(const H5FD_t *f, unsigned long *flags)
{
    (void)f;
    *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA |
             H5FD_FEAT_DATA_SIEVE | H5FD_FEAT_AGGREGATE_SMALLDATA |
             H5FD_FEAT_DEFAULT_VFD_COMPATIBLE;
    return 0;
}

static haddr_t disk_allocated(const H5FD_t *f, H5FD_mem_t type)
{
    (void)type;
    return ((const struct disk *)f)->allocated;
}

static herr_t disk_allocate(H5FD_t *f, H5FD_mem_t type, haddr_t address)
{
    (void)type;
    ((struct disk *)f)->allocated = address;
    return 0;
}

static haddr_t disk_end(const H5FD_t *f, H5FD_mem_t type)
{
    (void)type;
    return ((const struct disk *)f)->end;
}

/* What lies behind the end reads as zeros. */
static herr_t disk_read(H5FD_t *f, H5FD_mem_t type, hid_t list, haddr_t address,
                        size_t size, void *values)
{
    const struct disk *d = (struct disk *)f;
    char *at = values;

    (void)type, (void)list;
    while (size > 0) {
        ssize_t n = pread(d->fd, at, size, (off_t)address);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0) {
            memset(at, 0, size);
            return 0;
        }
        at += n;
        address += (haddr_t)n;
        size -= (size_t)n;
    }
    return 0;
}

static herr_t disk_write(H5FD_t *f, H5FD_mem_t type, hid_t list, haddr_t address,
                         size_t size, const void *values)
{
    struct disk *d = (struct disk *)f;
    const char *at = values;

    (void)type, (void)list;
    if (address + size > d->end)
        d->end = address + size;
    while (size > 0 && d->to->cause == 0) {
        ssize_t n = pwrite(d->fd, at, size, (off_t)address);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            d->to->cause = n == 0 ? ENOSPC : errno;
            break;
        }
        at += n;
        address += (haddr_t)n;
        size -= (size_t)n;
    }
    return 0;
}

/* The file ends where the last thing in it does. */
static herr_t disk_truncate(H5FD_t *f, hid_t list, hbool_t closing)
{
    struct disk *d = (struct disk *)f;
    int status;

    (void)list, (void)closing;
    if (d->end == d->allocated)
        return 0;
    do
        status = ftruncate(d->fd, (off_t)d->allocated);
    while (status != 0 && errno == EINTR);
    if (status != 0 && d->to->cause == 0)
        d->to->cause = errno;
    d->end = d->allocated;
    return 0;
}

static const H5FD_class_t disk_class = {
    .name = "moesim",
    .maxaddr = INT64_MAX,
    .fc_degree = H5F_CLOSE_STRONG,
    .fapl_size = sizeof(struct disk_options),
    .open = disk_open,
    .close = disk_close,
    .query = disk_query,
    .get_eoa = disk_allocated,
    .set_eoa = disk_allocate,
    .get_eof = disk_end,
    .read = disk_read,
    .write = disk_write,
    .truncate = disk_truncate,
    .fl_map = H5FD_FLMAP_DICHOTOMY,
};

/* ---- the file ---- */

static hid_t create(struct hdf_out *o)
{
    struct disk_options options = {o};
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), list = H5Pcreate(H5P_FILE_CREATE);
    hid_t file = -1;

    /* Attributes stay in the root's header, however many. */
    if (o->driver >= 0 && access >= 0 && list >= 0 &&
        H5Pset_driver(access, o->driver, &options) >= 0 &&
        H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110) >= 0 &&
        H5Pset_obj_track_times(list, false) >= 0 &&
        H5Pset_attr_phase_change(list, 64, 0) >= 0)
        file = H5Fcreate(file_out_name(o->out), H5F_ACC_TRUNC, list, access);
    if (access >= 0)
        (void)H5Pclose(access);
    if (list >= 0)
        (void)H5Pclose(list);
    return file;
}

struct hdf_out *hdf_out_new(const char *path, struct err *e)
{
    struct file_out *out = file_out_new(path, e);
    struct hdf_out *o;

    if (out == NULL)
        return NULL;
    o = mem_zalloc(1, sizeof *o);
    o->path = mem_strdup(path);
    o->out = out;
    o->driver = H5FDregister(&disk_class);
    o->file = create(o);
    if (o->file >= 0)
        return o;
    (void)err_set(e, "%s: cannot be created as an HDF5 file", path);
    hdf_out_abandon(o);
    return NULL;
}

hid_t hdf_out_file(const struct hdf_out *o)
{
    return o->file;
}

const char *hdf_out_name(const struct hdf_out *o)
{
    return file_out_name(o->out);
}

int hdf_out_check(const struct hdf_out *o, struct err *e)
{
    if (o->cause == 0)
        return 0;
    return err_set(e, "%s: writing failed: %s", o->path, strerror(o->cause));
}

int hdf_out_close(struct hdf_out *o, struct err *e)
{
    herr_t closed = o->file < 0 ? 0 : H5Fclose(o->file);

    o->file = -1;
    if (hdf_out_check(o, e) != 0)
        return -1;
    return closed >= 0 ? 0 : err_set(e, "%s: the HDF5 library cannot finish it", o->path);
}

int hdf_out_commit(struct hdf_out *o, struct err *e)
{
    int status;

    status = file_out_commit(o->out, e);
    o->out = NULL;
    hdf_out_abandon(o);
    return status;
}

void hdf_out_abandon(struct hdf_out *o)
{
    struct err ignored = {.text = ""};

    if (o == NULL)
        return;
    (void)hdf_out_close(o, &ignored);
    if (o->driver >= 0)
        (void)H5FDunregister(o->driver);
    file_out_abandon(o->out);
    free(o->path);
    free(o);
}
