/* A trace in memory: its columns decompressed and checked, in one block that any number
 * of readers share, in threads or (where the block is shared memory) in processes. */
#ifndef MOESIM_TRACES_TRACE_IMAGE_H
#define MOESIM_TRACES_TRACE_IMAGE_H

#include "trace.h"

/* Bytes of the block; a multiple of 64. */
size_t trace_image_bytes(struct trace *t);
/* Half of the machine's memory: what images may take in all; beyond that traces are read
 * from their files. */
size_t trace_image_most(void);
/* Reads and checks the whole trace into it. 0 or -1. */
int trace_image_fill(struct trace *t, void *image, struct err *e);
/* From here on `t` reads from the block that another reader of the same file filled, and
 * nothing from the file. The block outlives it. */
void trace_image_use(struct trace *t, void *image);

#endif
