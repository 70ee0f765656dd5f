/* The inside of `struct trace`, shared by the files that implement the reader. */
#ifndef MOESIM_TRACES_TRACE_STATE_H
#define MOESIM_TRACES_TRACE_STATE_H

#include "column.h"
#include "hdf.h"
#include "trace.h"

struct trace {
    char *path;
    hid_t file;
    struct trace_info info;
    struct trace_request *requests;
    unsigned fields;
    struct column_cache cache;

    /* {.id = -1} where the file has no such data set. */
    struct hdf_set expert_set, score_set, predicted_set, load_set;
    struct hdf_set request_set, position_set, phase_set, token_id_set, source_set;
    struct hdf_set pass_first_set, pass_row_set, pass_start_set;
    struct hdf_set resident_set; /* checked, and otherwise not read */

    struct column expert, score, predicted, load, token;
    struct column pass_first, pass_row, pass_start;

    uint32_t *seen; /* (expert): the last cell that named it; finds duplicates */
    uint32_t cell;  /* number of the cell being checked */
};

/* trace_head.c: reads and checks attributes, layers, groups and requests and opens the
 * data sets. Holds the library's lock. */
int trace_head_read(struct trace *t, struct err *e);

/* trace_check.c: whether values just read are ones a trace may hold. `first` is the row
 * of the first of them. 0 or -1. */
int trace_check_expert(struct trace *t, uint64_t first, uint64_t count,
                       const uint16_t *expert, struct err *e);
int trace_check_predicted(struct trace *t, uint64_t first, uint64_t count,
                          const uint16_t *expert, struct err *e);
int trace_check_score(struct trace *t, uint64_t first, uint64_t count,
                      const uint16_t *score, struct err *e);
int trace_check_token(struct trace *t, uint64_t first, uint64_t count,
                      const struct trace_token *token, struct err *e);
/* Whether the position of `row` lies behind the one of the prefill or decode row before
 * it in the same request. */
int trace_check_follows(const struct trace *t, uint64_t row, uint32_t position,
                        uint64_t row_before, uint32_t position_before, struct err *e);
/* Candidates that were not recorded have no score. */
int trace_check_unscored(const struct trace *t, uint64_t first, uint64_t count,
                         const uint16_t *expert, const uint16_t *score, struct err *e);
int trace_check_resident(const struct trace *t, uint64_t first, uint64_t count,
                         const uint8_t *resident, struct err *e);

/* The request that holds `row`. */
uint32_t trace_request_of(const struct trace *t, uint64_t row);

#endif
