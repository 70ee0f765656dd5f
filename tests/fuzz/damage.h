/* Good HDF5 files, and what can be done to them through HDF5, so that the damage gets
 * past checksums: attributes and values changed, objects removed, data sets replaced by
 * others of any type and shape. */
#ifndef MOESIM_TESTS_FUZZ_DAMAGE_H
#define MOESIM_TESTS_FUZZ_DAMAGE_H

#include "input.h"

/* A good file: its bytes, and the names in it. */
struct damage;
/* Learns the file at `path`, which may go. `extra` is a data set that it lacks and that
 * may be added; or NULL. Owned by the process: it is never freed. */
struct damage *damage_learn(const char *path, const char *extra);
/* Writes what the bytes say to `path`: these bytes themselves, or the good file, changed
 * up to eight times. */
void damage_write(const struct damage *d, const char *path, struct fuzz_bytes *b);

#endif
