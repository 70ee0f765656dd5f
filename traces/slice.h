/* A part of a trace as a new trace: some requests, layers or rows.
 *
 * A row stays if its request and the row itself are in the given ranges, both counted in
 * the whole trace. A request or recorded pass keeps the rows that stay and goes if none
 * does. A count-only trace is cut by layers, and its passes by the range of rows. */
#ifndef MOESIM_TRACES_SLICE_H
#define MOESIM_TRACES_SLICE_H

#include "trace.h"

/* Half-open ranges; {0, UINT64_MAX} is everything. */
struct slice {
    uint64_t first_request, last_request;
    uint64_t first_row, last_row;
    const char *layers; /* indices into /moe_layer such as "0,4:8,23"; NULL: all */
};

#define SLICE_EVERYTHING                                                                 \
    (struct slice)                                                                       \
    {                                                                                    \
        0, UINT64_MAX, 0, UINT64_MAX, NULL                                               \
    }

/* "a:b", "a:", ":b" or "a" (one item) into [*first, *last). 0 or -1. */
int slice_parse_range(const char *text, uint64_t *first, uint64_t *last, struct err *e);

/* A list of such ranges below `count` marks keep[]; each index at most once, ascending.
 */
int slice_parse_list(const char *text, uint32_t count, bool *keep, struct err *e);

/* Writes the part to `path`. 0 or -1: nothing remains, or a file is bad. */
int slice_write(struct trace *t, const struct slice *s, const char *path, struct err *e);

#endif
