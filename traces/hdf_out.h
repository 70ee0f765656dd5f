/* An HDF5 file being written, which appears under its name when it is whole or not at
 * all.
 *
 * The library reports a write that failed late, from a cache, or never, and may then trip
 * over its own clean-up. So its writes go through a driver of ours to the temporary file
 * of a `struct file_out`: the first failure is kept, what comes behind it is dropped, and
 * the library sees none. Whoever writes asks hdf_out_check() now and then, to stop early;
 * hdf_out_commit() refuses a file any write to which failed. Between hdf_enter() and
 * hdf_leave(), like every call of HDF5. */
#ifndef MOESIM_TRACES_HDF_OUT_H
#define MOESIM_TRACES_HDF_OUT_H

#include "sim/base/err.h"

#include <hdf5.h>

struct hdf_out; /* opaque, owned by the caller */

/* Makes the temporary file, empty but for what the library puts there. Metadata have
 * checksums (the layout of HDF5 1.10), objects no times, so that equal calls give equal
 * bytes. Owned, or NULL. */
struct hdf_out *hdf_out_new(const char *path, struct err *e);
hid_t hdf_out_file(const struct hdf_out *o);
/* The temporary file's name; borrowed. */
const char *hdf_out_name(const struct hdf_out *o);
/* -1 with the cause once a write has failed. */
int hdf_out_check(const struct hdf_out *o, struct err *e);
/* All objects in the file must be closed by now. Closes it; the file is whole then, for a
 * reader to verify, under its temporary name. 0 or -1. */
int hdf_out_close(struct hdf_out *o, struct err *e);
/* Behind hdf_out_close(): syncs, puts it in place and frees. 0 or -1. */
int hdf_out_commit(struct hdf_out *o, struct err *e);
/* Removes the temporary file and frees. NULL is fine. */
void hdf_out_abandon(struct hdf_out *o);

#endif
