/* The columns and scalars of a result file: name, type, place in the structure. One table
 * each, read by the writer, the reader and the CSV, so that they cannot disagree. Names
 * carry their unit. Offsets of policy fields are in struct result_policy. */
#ifndef MOESIM_RESULT_RESULT_FIELDS_H
#define MOESIM_RESULT_RESULT_FIELDS_H

#include "result.h"

#define RESULT_FORMAT "moesim-result"
#define RESULT_VERSION 2

enum result_kind {
    RESULT_TIME,  /* sim_time, picoseconds */
    RESULT_BYTES, /* uint64_t */
    RESULT_RATE,  /* uint64_t, bytes per second */
    RESULT_U64,
    RESULT_TIMED, /* uint64_t, a count of what only times tell */
    RESULT_U32,
    RESULT_U16,
    RESULT_FLAG /* bool; one byte, 0 or 1 */
};

struct result_field {
    const char *name; /* NULL ends a table */
    enum result_kind kind;
    size_t offset;
};

extern const struct result_field result_pass_fields[];    /* struct run_pass */
extern const struct result_field result_layer_fields[];   /* struct run_layer */
extern const struct result_field result_request_fields[]; /* struct run_request */
extern const struct result_field result_policy_fields[];  /* struct result_policy */
extern const struct result_field result_placed_fields[];  /* struct run_placements */
extern const struct result_field result_watched_fields[]; /* struct run_result */
extern const struct result_field result_watch_fields[];   /* struct run_watched */
extern const struct result_field result_head_fields[];    /* struct result */
extern const struct result_field result_link_fields[];    /* struct result_link */

size_t result_field_size(const struct result_field *f);

#endif
