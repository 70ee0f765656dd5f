/* Whole chunks of a data set, unpacked here: quicker by far than HDF5's own filters at
 * what traces consist of (shuffle, deflate and perhaps fletcher32, as in FORMAT.md).
 *
 * It only ever succeeds on chunks that are sound: those that are packed in another way,
 * or damaged, are left to the library, which reads them or finds what is wrong. Expects
 * the library's lock to be held (hdf.h). */
#ifndef MOESIM_TRACES_CHUNK_H
#define MOESIM_TRACES_CHUNK_H

#include <hdf5.h>
#include <stdbool.h>
#include <stdint.h>

struct chunk_reader;

/* For data set `set` (borrowed) of type `disk`, wanted as `memory`, whose creation
 * properties are `plist` and whose chunks span whole rows; owned. NULL: it is stored in a
 * way that only the library reads. */
struct chunk_reader *chunk_reader_new(hid_t set, hid_t disk, hid_t memory, hid_t plist);
void chunk_reader_free(struct chunk_reader *c);

/* Rows [first, first + count), where `first` begins a chunk. False: nothing of use is in
 * `values`; ask the library. */
bool chunk_reader_read(struct chunk_reader *c, uint64_t first, uint64_t count,
                       void *values);

#endif
