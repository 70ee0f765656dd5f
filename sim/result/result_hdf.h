/* The few HDF5 calls that result files need, for the writer and the reader of results.
 * Between hdf_enter() and hdf_leave() of traces/hdf.h. */
#ifndef MOESIM_RESULT_RESULT_HDF_H
#define MOESIM_RESULT_RESULT_HDF_H

#include "result_fields.h"

#include <hdf5.h>

/* The type on disk (little endian) and in memory; not to be closed. */
hid_t result_hdf_disk_type(enum result_kind kind);
hid_t result_hdf_memory_type(enum result_kind kind);

/* "ps", "bytes", "bytes/s" or "1". */
const char *result_hdf_unit(enum result_kind kind);

/* Copies one member of `count` records, `stride` bytes apart, to or from a dense array.
 */
void result_hdf_gather(const struct result_field *f, const void *records, size_t stride,
                       size_t count, void *dense);
void result_hdf_scatter(const struct result_field *f, const void *dense, size_t stride,
                        size_t count, void *records);

/* The strings of a result and of a policy, by the attribute that holds them. */
struct result_text {
    const char *name; /* NULL ends a table */
    size_t offset;    /* of the char * */
};
extern const struct result_text result_head_texts[];   /* struct result */
extern const struct result_text result_long_texts[];   /* struct result; data sets */
extern const struct result_text result_policy_texts[]; /* struct result_policy */

/* Data sets have at most this many rows a chunk, strings at most this many bytes. */
#define RESULT_HDF_CHUNK_ROWS 8192
#define RESULT_HDF_MAX_TEXT ((size_t)16 << 20)

#endif
