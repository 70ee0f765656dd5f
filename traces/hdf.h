/* HDF5, as the trace file uses it: checked opening, reading and appending of data sets
 * and attributes, with one sentence for each failure.
 *
 * The library is not safe for threads and prints its own errors unless told otherwise, so
 * every call of HDF5 in the program stands between hdf_enter() and hdf_leave(): one lock,
 * which a thread may take again, errors silent. All functions below but these two expect
 * the lock to be held. Data sets are read along their first dimension ("rows"). Messages
 * name file, data set and row. */
#ifndef MOESIM_TRACES_HDF_H
#define MOESIM_TRACES_HDF_H

#include "chunk.h"

#include "sim/base/err.h"

#include <hdf5.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HDF_MAX_RANK 3
#define HDF_CHUNK_BYTES ((size_t)512 << 10)      /* what we write at most */
#define HDF_MAX_CHUNK_BYTES ((uint64_t)16 << 20) /* what we read at most */
#define HDF_MAX_TEXT 65535                       /* bytes of an attribute's string */
#define HDF_MAX_NAME 256                         /* bytes of a string of a data set */

enum hdf_kind { HDF_U8, HDF_U16, HDF_U32, HDF_U64, HDF_I32, HDF_I64, HDF_F16, HDF_TEXT };

/* One open data set. {.id = -1} is closed. `path` and `name` are borrowed. */
struct hdf_set {
    hid_t id;
    hid_t memory_type;
    const char *path; /* of the file */
    const char *name; /* "/routing/expert" */
    enum hdf_kind kind;
    int rank;
    uint64_t dim[HDF_MAX_RANK];  /* dim[0] is the number of rows */
    uint64_t chunk_rows;         /* 0: not chunked */
    size_t width;                /* bytes of one value in memory */
    size_t row_bytes;            /* bytes of one row in memory */
    struct chunk_reader *chunks; /* reads whole chunks, or NULL: the library reads all */
};

void hdf_enter(void);
void hdf_leave(void);

/* ---- reading ---- */

/* The file, read only, or -1. */
hid_t hdf_file_open(const char *path, struct err *e);
/* Whether the absolute `name` leads to an object in this very file. */
bool hdf_exists(hid_t file, const char *name);
/* Whether `name` is absent or leads to an object in this very file: a link to another
 * file or to nothing is neither. 0 or -1. */
int hdf_check_link(hid_t file, const char *path, const char *name, struct err *e);
/* Opens `name` and checks kind, rank, storage and that every chunk is there, so that its
 * dimensions can be believed. 0 or -1. */
int hdf_set_open(struct hdf_set *s, hid_t file, const char *path, const char *name,
                 enum hdf_kind kind, int rank, struct err *e);
/* Rows [first, first + count) into `values`, count * row_bytes. HDF_F16 gives raw bits,
 * HDF_TEXT strings of `width` bytes padded with NUL. */
int hdf_set_read(const struct hdf_set *s, uint64_t first, uint64_t count, void *values,
                 struct err *e);
/* Whatever is buffered of one being written goes to the file. 0, or -1 if the library
 * says that this failed; of one that is read the answer tells nothing. */
int hdf_set_close(struct hdf_set *s);

/* An integer attribute of the object `name` ("/" is the root), from `low` to `high`. */
int hdf_attribute_int(hid_t file, const char *path, const char *name,
                      const char *attribute, int64_t low, int64_t high, int64_t *value,
                      struct err *e);
/* A string attribute of the root; owned. NULL on failure. */
char *hdf_attribute_text(hid_t file, const char *path, const char *attribute,
                         struct err *e);

/* ---- writing, to the file of hdf_out.h; each returns 0 or -1 ---- */

int hdf_group_create(hid_t file, const char *path, const char *name, struct err *e);
/* An empty data set that grows along dim[0]; `dim` gives the other dimensions. `rows` is
 * the largest number of rows expected (0: unknown), `text_bytes` the width of HDF_TEXT.
 */
int hdf_set_create(struct hdf_set *s, hid_t file, const char *path, const char *name,
                   enum hdf_kind kind, int rank, const uint64_t *dim, uint64_t rows,
                   size_t text_bytes, struct err *e);
int hdf_set_append(struct hdf_set *s, uint64_t count, const void *values, struct err *e);
int hdf_attribute_put_int(hid_t file, const char *path, const char *name,
                          const char *attribute, enum hdf_kind kind, int64_t value,
                          struct err *e);
int hdf_attribute_put_text(hid_t file, const char *path, const char *attribute,
                           const char *text, struct err *e);

#endif
