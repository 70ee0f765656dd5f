/* The runner's own state, shared by runner.c (passes, books) and step.c (one layer). */
#ifndef MOESIM_RUN_RUN_STATE_H
#define MOESIM_RUN_RUN_STATE_H

#include "runner.h"

/* One memory slot for an expert. */
struct run_slot {
    op_id ready;     /* the copy that filled it; 0 once it is known to have ended */
    op_id written;   /* a write-back that reads it and is not waited for yet; 0: none */
    op_id stopped;   /* a copy into it that nobody waited for in the end; 0: none */
    uint64_t group;  /* number of the last expert group that reads it; 0: none */
    bool prefetched; /* loaded ahead, not used yet */
};

/* Experts of this step that will run together. */
struct run_group {
    uint64_t number; /* groups are counted over the run, from 1 */
    uint16_t *expert;
    uint32_t *slot;
    uint32_t count;
    op_id *after;
    uint32_t after_count;
    struct op op; /* what is submitted of it */
};

/* An operation of the compute lane in this pass, for the books. */
struct run_logged {
    sim_time *share; /* [RUN_SHARES] of its MoE layer, or of what is outside them */
    enum run_share kind;
};

struct run_copy {
    uint32_t layer;
    sim_time asked; /* late prefetches: when it was wanted */
};

struct run_copies {
    op_id *id; /* [count], and beside it */
    struct run_copy *copy;
    size_t count, capacity;
};

/* The experts that a step takes from the cache, in the order of the accesses. */
struct run_accesses {
    const uint16_t *expert;
    const struct cache_use *use; /* each one's next use, or NULL */
    uint32_t count;
};

struct run_hosted; /* hosted.c */

struct run {
    const struct run_setup *setup;
    const struct exec_ops *ops;
    struct exec *exec;
    struct run_result *result;
    struct cache *cache;
    uint32_t layers, experts, top_k, candidates, predicted;
    uint32_t mask_words;
    struct machine_tiles tiles;
    bool reroutes, split, copies_wait, write_back; /* of the policy */
    const struct pass *pass;
    struct run_pass books; /* of the current pass */
    /* The current step. */
    uint32_t layer;
    bool single; /* one row, routed as recorded: each active expert has one token */
    struct op_routing routing;
    uint16_t *own_choice; /* (row, rank), where a gate or select rewrites */
    size_t own_choice_rows;
    uint64_t *mask;
    uint16_t *active;
    uint32_t active_count;
    uint32_t *tokens;
    uint32_t *scratch;
    uint32_t *found; /* slots of accesses that hit; scratch */
    uint16_t *turn;  /* the active ones in the order of the accesses; by id: `active` */
    bool *waits;     /* [experts] for `order: recorded` (step.c), NULL otherwise */
    struct view view;
    /* Operations. */
    struct run_slot *slot;
    struct run_group resident, missing; /* not submitted yet */
    uint64_t group_next, group_first;   /* the next number; the first one of this pass */
    op_id *group_id;  /* [group_next - group_first] of those submitted */
    op_id pass_first; /* first id of this pass; those before it have ended, but for
                         prefetch copies */
    op_id last_id;
    op_id last_compute, last_copy;
    struct op dense, gate; /* reused: only what differs is set anew */
    op_id *wait_for;       /* what the next copy waits for */
    uint32_t wait_count, wait_capacity;
    op_id *log_id; /* [log_count], and beside it */
    struct run_logged *log;
    size_t log_count;
    sim_time outside[RUN_SHARES];
    struct op_times *times; /* scratch */
    size_t times_capacity;
    struct run_copies demand, late;
    struct run_copies ahead; /* prefetches, from the oldest that may not have ended */
    op_id retired;           /* ids below have ended */
    void *prefetch_state;
    struct prefetch_want *want;
    uint64_t *load;            /* (layer, expert), for prefetchers */
    struct run_hosted *hosted; /* NULL: every missing expert is fetched */
    const uint64_t *profile;   /* (layer, expert) loads, for caches; or NULL */
    /* Of one GPU of several: */
    op_id arrived; /* the layer's groups come after this, too: the rows' arrival; or 0 */
    uint32_t held; /* experts that a loop over them goes over; 0: no loop */
    uint32_t *piece; /* rows of each chain of kernels; NULL: experts run as one group */
    const uint32_t *by_source; /* (source, expert) rows where chains are by source, too */
    uint32_t sources;
};

/* ---- runner.c: one GPU ---- */

void run_init(struct run *r, const struct run_setup *s, struct run_result *result);
void run_release(struct run *r);
/* Makes its cache and tells the executor what is resident. 0 or -1. */
int run_begin(struct run *r, struct err *e);
void run_begin_pass(struct run *r, const struct pass *pass);
/* Refuses a batch whose KV cache does not fit beside the weights. */
int run_check_kv(struct run *r, uint64_t pass, const struct cost_batch *b, struct err *e);
/* All operations before this pass have ended, but for prefetches. */
void run_retire(struct run *r);
/* Now and then: tells of progress. True if a signal asks to stop. */
bool run_report(const struct run_setup *s);

/* ---- books.c ---- */

/* Times of operations that have ended; valid until the next call. */
const struct op_times *books_times(struct run *r, const op_id *id, size_t count);
/* Every picosecond of the pass belongs to one share: see runner.h. */
void books_attribute(struct run *r);
void books_copies(struct run *r);
void books_add(struct run_counts *sum, const struct run_counts *c);
/* Adds a pass to the result. 0 or -1. */
int books_close(const struct run_setup *s, const struct pass *pass,
                const struct run_pass *books, struct run_result *result, struct err *e);
/* Conservation: accesses = hits + misses of each kind, shares = latency, tokens as handed
 * out. */
int books_check(const struct run_setup *s, const struct run_result *r, struct err *e);

/* ---- step.c ---- */

/* Shows policies the running step. */
void step_view(struct run *r);
/* Finds the executed experts of one layer: sets choice, active, turn, tokens and counts.
 */
void step_route(struct run *r, uint32_t layer);
/* Clears what step_route set. */
void step_clear(struct run *r);
/* Tells the setup's future_writer, if there is one, what the step routes to. 0 or -1. */
int step_record(struct run *r, struct err *e);
/* Residency, copies, expert groups, prefetches of the routed step. 0 or -1. */
int step_run(struct run *r, struct err *e);
/* True if the copy has ended by the host's time. */
bool step_copied(const struct run *r, op_id copy);
op_id step_submit(struct run *r, const struct op *op);
/* Submits an operation of the compute lane and enters it in the log; `share` are the
 * books of its MoE layer or of what is outside them. */
void step_compute(struct run *r, const struct op *op, sim_time *share,
                  enum run_share kind);

/* ---- hosted.c: experts that run on the host ---- */

/* NULL if the policy fetches whatever is missing. */
struct run_hosted *hosted_new(const struct run *r);
void hosted_free(struct run_hosted *h);
/* Asks where the step's missing experts run, with the view filled, and submits those that
 * stay on the host; `use` are the next uses of all of `turn`, or NULL. Returns the rest.
 */
struct run_accesses hosted_take(struct run *r, const struct cache_use *use);
/* Submits a dense block or head, which adds up what the experts of the layer before it
 * gave: it waits for those on the host, too. */
void hosted_join(struct run *r, const struct op *op, sim_time *share);
/* Books the pass's waits for them, which were booked as waits for copies, anew. */
void hosted_attribute(struct run *r);

#endif
