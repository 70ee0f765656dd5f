/* A trace that is no file: it stands in for traces/hdf.c, so that what reads traces can
 * be tried thousands of times a second. A few bytes describe a good trace, and then what
 * is changed in it: attributes, values, the shape or type of a data set, data sets that
 * are missing. Whatever has been made is what trace_open() reads, under any path. */
#ifndef MOESIM_TESTS_FUZZ_MEMORY_TRACE_H
#define MOESIM_TESTS_FUZZ_MEMORY_TRACE_H

#include "input.h"

/* The shape of the good trace. Zero: drawn. */
struct memory_trace_shape {
    uint32_t experts, layers;
    const char *model;
};

/* Makes the trace, until the next call. Takes bytes until `b` is empty, or the changes
 * say that they end. */
void memory_trace_make(struct fuzz_bytes *b, const struct memory_trace_shape *shape);

#endif
