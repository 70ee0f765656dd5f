/* Why a run took as long as it did: the time of all passes, cut into parts by what it
 * would have taken to avoid them, and the verdict that follows.
 *
 * Four times are compared, each at most the next: C, every expert resident; O, perfect
 * look-ahead (the greater of C and the least copies at full bandwidth); B, Belady's
 * choices fetched on demand; T, the run. Its parts:
 *
 *   bandwidth    O - C   no policy avoids it at this capacity on this link
 *   launch, host         what the run's books say, at most min(B, T) - O
 *   working set          min(B, T) - O less launch and host: Belady stalls for it too,
 *                        look-ahead would hide it; at most the stalls that Belady keeps,
 *                        which are the run's stalls less T - B
 *   policy       T - B   Belady avoids it at this capacity; 0 where T < B
 *   compute              the rest
 *
 * They sum to T. The verdict is the greatest of bandwidth, working set and policy if it
 * is at least EXPLAIN_PART of T.
 *
 * Over several GPUs other bounds are known: E, rows spread evenly, all experts resident
 * and nothing padded or moved; N, a network that takes no time. What they save at most:
 *
 *   imbalance    T - E: uneven rows and padding; or, where exposed copies are at least
 *                EXPLAIN_PART of T,
 *   fetch        T - E: these, and waiting for GPUs that wait for them
 *   network      T - N
 *
 * They overlap, so they sum to nothing. The verdict is the greatest if it is at least
 * EXPLAIN_PART of T and not less than what launches and the host take, where that is at
 * least EXPLAIN_HOST of T. Without bounds the run's shares stand in. */
#ifndef MOESIM_REPORT_EXPLAIN_H
#define MOESIM_REPORT_EXPLAIN_H

#include "sim/result/result.h"

#define EXPLAIN_PART 0.05 /* a smaller share of the time is no failure */
#define EXPLAIN_HOST 0.25 /* from this share on, the host is what bounds the run */

enum explain_verdict {
    EXPLAIN_UNKNOWN,     /* the result has no bounds on the time */
    EXPLAIN_POLICY,      /* a better policy exists at this capacity */
    EXPLAIN_WORKING_SET, /* even Belady misses so much that it stalls */
    EXPLAIN_BANDWIDTH,   /* even perfect look-ahead stalls */
    EXPLAIN_COMPUTE,     /* no failure: compute-bound */
    EXPLAIN_HOST_BOUND,  /* no failure: bound by launches and the host */
    EXPLAIN_IMBALANCE,   /* several GPUs: uneven or padded rows */
    EXPLAIN_NETWORK,     /* ... the way between them */
    EXPLAIN_FETCH        /* ... experts that are not in their caches */
};

struct explain_finding {
    enum explain_verdict verdict;
    bool estimated; /* Belady was not simulated: B is told from its hits */
    double total;   /* T; all in seconds */
    double compute_bound, offline, belady;                /* C, O, B */
    double compute, bandwidth, working_set, policy, host; /* sum to total */
    /* Several GPUs: of the above only total and host are filled. */
    bool parallel;
    bool bounded;                     /* savings are from bounds, else from the shares */
    double balanced, free_network;    /* E, N */
    double imbalance, network, fetch; /* savings */
};

struct explain_finding explain_find(const struct result_policy *p);
/* "policy failure", ... */
const char *explain_verdict_name(enum explain_verdict verdict);
/* The verdict in a few sentences, and what would help. Owned strings. */
char *explain_verdict_text(const struct explain_finding *f, const struct result *r,
                           uint32_t policy);
char *explain_help_text(const struct explain_finding *f, const struct result *r,
                        uint32_t policy);
/* What counts as what, in one paragraph; constant. */
const char *explain_thresholds(bool parallel);

/* moesim explain: where the time went, per policy: shares, the per-layer stall table,
 * late prefetches, wasted bytes, queueing; regret in hits and in time; the verdict in
 * words. */
int result_explain(const struct result *r, FILE *out, struct err *e);

#endif
