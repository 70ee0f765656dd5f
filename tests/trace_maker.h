/* Small traces for tests. What a row holds is a function of the description and the row's
 * number, so a test can ask for it again and compare. A failure ends the test program. */
#ifndef MOESIM_TESTS_TRACE_MAKER_H
#define MOESIM_TESTS_TRACE_MAKER_H

#include "traces/trace.h"

enum trace_make_routing {
    TRACE_MAKE_RANDOM,  /* distinct experts at random, scores descending */
    TRACE_MAKE_CYCLIC,  /* row t of any layer: experts (t k + j) mod E, j < k */
    TRACE_MAKE_CONSTANT /* experts 0 .. k - 1 in every row */
};

/* Zero means: candidates = top_k, first layer 0, no prefill, nothing optional. */
struct trace_make {
    uint32_t layers, experts, top_k, candidates;
    uint32_t requests;
    uint32_t rows;         /* of each request; request r has r % 3 more if `uneven` */
    uint32_t prefill_rows; /* the first of each request */
    enum trace_make_routing routing;
    enum trace_score_kind score_kind;
    uint32_t predicted; /* width; distance 1 */
    bool uneven;
    bool known_source; /* token_id and source too */
    bool arrivals;     /* request r arrives at 1000003 r ns */
    bool passes;       /* recorded passes of at most 3 rows */
    bool expert_bytes; /* layer l: 1000 + l */
    bool missing;      /* some cells are not recorded, wholly or from some slot on */
    uint64_t seed;
};

/* A path for a test's file, in the folder of temporary files; owned by the caller. */
char *trace_make_path(const char *name);

void trace_make(const char *path, const struct trace_make *m);
void trace_make_cyclic(const char *path, uint32_t layers, uint32_t experts,
                       uint32_t top_k, uint32_t rows);
void trace_make_random(const char *path, uint32_t layers, uint32_t experts,
                       uint32_t top_k, uint32_t requests, uint32_t rows, uint64_t seed);
/* `passes` passes of a count-only trace: count = (n * 7 + l * 3 + x) % 11. */
void trace_make_counts(const char *path, uint32_t layers, uint32_t experts,
                       uint32_t passes);

/* Changes one value of a data set of integers: the first of a row. */
void trace_poke(const char *path, const char *name, int rank, uint64_t row,
                int64_t value);

/* What trace_make wrote. `score` and `predicted` may be NULL. */
void trace_make_row(const struct trace_make *m, uint64_t row, struct trace_token *token,
                    uint16_t *expert, float *score, uint16_t *predicted);
uint64_t trace_make_rows(const struct trace_make *m);
struct trace_request trace_make_request(const struct trace_make *m, uint32_t request);

#endif
