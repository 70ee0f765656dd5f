/* What else a trace says of itself, beside statistics.h: how sure the router was, how
 * many experts a batch could do without, reuse distances, and drift. `moesim trace info`
 * prints it. Everything is counted in the sweep that statistics.h takes, of all rows,
 * and after it batches of groups; memory is bounded whatever the trace. */
#ifndef MOESIM_TRACES_DETAILS_H
#define MOESIM_TRACES_DETAILS_H

#include "drift.h"
#include "drops.h"
#include "gates.h"
#include "reuse.h"
#include "statistics.h"

enum { DETAILS_BATCHES = 3 };
extern const uint32_t details_batch[DETAILS_BATCHES]; /* rows: 1, 8, 32 */

/* Batches end once they held so many rows of a phase, ... */
#define DETAILS_PHASE_ROWS ((uint64_t)1 << 20)
/* ... or of one of several groups: 2^15, and 2^19 of all groups together. */
uint64_t details_group_rows(uint32_t groups);

/* Tokens of the passes of a count-only trace: the mean over layers of a layer's counts,
 * by top_k. */
struct trace_tokens {
    double mean, least, most; /* over passes */
};

struct trace_details {
    bool scores;     /* without, gates and drops are NULL */
    bool all_scores; /* of all experts: `outside` of the gates is known */
    uint32_t groups;
    unsigned phases; /* 1 << enum trace_phase of those present */
    /* (phase, group): [TRACE_PHASES * groups] */
    struct trace_gate *gate;
    /* By phase, over all groups: (phase, batch); and by group, if there are several, of
     * its requests alone: (group, batch), over decode rows (all rows where there are
     * none). Steps as of statistics.h's union_size. */
    struct drop_sums *phase_drops; /* [TRACE_PHASES * DETAILS_BATCHES] */
    struct drop_sums *group_drops; /* [groups * DETAILS_BATCHES], or NULL */
    uint32_t reuse_bins;
    uint64_t *reuse; /* (layer, bin), reuse.h; NULL for count-only traces */
    struct trace_drift drift;
    struct trace_tokens tokens; /* of count-only traces */
};

/* Fills both; release with trace_statistics_release and trace_details_release. Reads all
 * ids, tokens and scores, and so checks them. `watch` may be NULL. 0 or -1. */
int trace_details_measure(struct trace *t, const struct trace_statistics_watch *watch,
                          struct trace_statistics *s, struct trace_details *d,
                          struct err *e);
void trace_details_release(struct trace_details *d);

#endif
