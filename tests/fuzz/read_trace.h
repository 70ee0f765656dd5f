/* Reads a trace as its readers do, whole and in parts. */
#ifndef MOESIM_TESTS_FUZZ_READ_TRACE_H
#define MOESIM_TESTS_FUZZ_READ_TRACE_H

#include <stddef.h>

/* A trace that passes every check can be read, and gives the same values however it is
 * read; one that does not pass says why. */
void read_trace(const char *path, size_t cache_bytes);

#endif
