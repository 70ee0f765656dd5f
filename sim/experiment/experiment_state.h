/* Shared by experiment.c and given.c (loading), experiment_check.c and ignored.c
 * (checking), plan.c (which runs, and the result) and jobs.c (the runs). */
#ifndef MOESIM_EXPERIMENT_EXPERIMENT_STATE_H
#define MOESIM_EXPERIMENT_EXPERIMENT_STATE_H

#include "experiment.h"
#include "parallel.h"
#include "watching.h"
#include "sim/policy/place_map.h"
#include "sim/exec/exec_sim.h"
#include "sim/exec/timeline.h"

#include <pthread.h>

/* Expert loads that policies may know beforehand; owned arrays. */
struct profile {
    uint64_t *load;    /* (layer, expert) */
    uint32_t *history; /* (sample, layer, expert) of the rows, or the passes of counts, in
                          turn; NULL on one GPU */
    uint32_t samples;
};

struct experiment {
    const struct experiment_folders *folders;
    bool counted;                /* the trace may be of counts only (counted_run.h) */
    const struct cfg_node *root; /* of the configuration, for places in messages */
    struct experiment_params p;
    struct workload_params workload;
    const struct experiment_hooks *hooks;
    char *trace_path;
    struct trace *trace; /* its small parts; every run opens its own */
    const struct trace_info *info;
    struct model *model;
    struct model dense; /* its dense equivalent, where a policy asks for it; borrows */
    const struct machine *machine;
    struct machine *own_machine; /* the same, unless it is the caller's */
    uint64_t *expert_bytes;      /* [layers] */
    uint64_t expert_total_bytes;
    uint64_t gpu_bytes; /* GPU memory that may be used */
    enum tier home;
    uint64_t host_bytes;
    bool timeless;
    uint64_t requests;   /* that a run serves */
    uint64_t rows_total; /* of one run, where that is known beforehand; else 0 */
    struct workload_sizes sizes;
    uint64_t kv_bytes;      /* of the first policy's largest cache, on one GPU */
    bool tight;             /* some policy was refused for want of GPU memory */
    bool scores, predicted; /* some policy needs them */
    struct policy **policy;
    uint32_t policies;
    struct watching watch;
    struct place_map *map;   /* [policies] of those with place: file */
    struct profile *known;   /* where the next three are from; shared */
    const uint64_t *profile; /* (layer, expert), or NULL */
    /* Several GPUs. */
    bool is_parallel;
    struct parallel_params parallel;
    struct topology topology;
    const uint32_t
        *history; /* (sample, layer, expert) of the profile's rows in turn; or NULL */
    uint32_t samples;
    /* Of the recorded routing, by enum cache_order, for timeless workloads; or NULL.
     * Shared. */
    struct future *future[CACHE_ORDERS];
    char *routing_text, *frame_text; /* under which things are shared; owned */
    struct timeline *timeline;
};

/* Draws one GPU of a job, and tells the hooks of its operations. */
struct watcher {
    struct job *job;
    int process; /* in the timeline; -1: not drawn */
};

/* One run: a policy asked for, or a reference for the bounds. */
struct job {
    struct experiment *x;
    struct policy policy; /* shallow copy; a reference has another cache */
    uint32_t number;      /* of the policy */
    int process;          /* in the timeline; -1: not drawn */
    bool reference;       /* no pass records, no memory check */
    char *shared_as; /* a reference that other experiments may have run; owned; or NULL */
    bool ideal;      /* every expert resident, nothing to decide */
    bool event_driven, graph;
    struct parallel_setup *parallel; /* NULL: one GPU */
    enum exec_network network;
    struct watcher *watcher; /* [gpus] of those that are watched; or NULL */
    struct run_result result;
    struct bounds_counts *bounds; /* where to put them; NULL: not wanted */
    uint64_t rows_done;
    struct err err;
    int status;
};

struct jobs {
    struct job **job;
    size_t count;
    pthread_mutex_t lock; /* of the books of progress */
    struct experiment *x;
    uint64_t rows_total;
};

/* Loads and checks part after part of the configuration, in which loops over policies
 * become those they stand for; `x` has folders and hooks, the rest is zero. Without
 * `reads` leaves out what reads the trace's rows, which only a run needs. 0 or -1; either
 * way release it. */
int experiment_prepare(struct experiment *x, struct cfg *config, bool reads,
                       struct err *e);
/* Steps of that: the maps of policies with place: file, and the profile where one asks
 * for expert loads. 0 or -1; either way release them. */
int given_maps(struct experiment *x, struct err *e);
int given_profile(struct experiment *x, struct err *e);
void given_release(struct experiment *x);
/* ... and the refusal of what a trace of counts cannot do. */
int counted_check(struct experiment *x, struct err *e);
/* What a policy runs: the model, or its dense equivalent, less the layers that are on the
 * host. Borrows what it holds. */
static inline struct model experiment_model(const struct experiment *x,
                                            const struct policy *p)
{
    struct model m = p->dense ? x->dense : *x->model;

    m.hosted_from = p->hosted_from;
    m.hosted = p->hosted;
    return m;
}
/* What any of its policies needs; enum policy_need bits. */
unsigned experiment_needs(const struct experiment *x);
/* The look-ahead in a policy's order, if it is not there yet. The policy takes routing as
 * it is recorded (job_takes_recorded). 0 or -1. */
int experiment_look_ahead(struct experiment *x, const struct policy *p, struct err *e);
/* Does not free `x` itself. */
void experiment_release(struct experiment *x);

/* Puts policy and place before a sentence about a key of the policy; the place alone
 * where it is about another key of the configuration. Returns -1. */
int experiment_blame(const struct experiment *x, const struct policy *p, struct err *e);

/* Checks every policy against trace, machine and memory, resolves its slots, and learns
 * which fields of the trace are needed. 0 or -1. */
int experiment_check_policies(struct experiment *x, struct err *e);
/* Refuses what cannot work together (combination.c). 0 or -1. */
int combination_check(const struct experiment *x, const struct policy *p, struct err *e);
/* Refuses a setting that is written, but has no effect given the others. When all is
 * loaded and checked. 0 or -1. */
int ignored_refuse(struct experiment *x, struct err *e);
/* Sentences, a line each, about those that only this choice of plug-ins and sizes, or
 * engine: count, leaves without effect. Owned; "" without any. */
char *ignored_notes(const struct experiment *x);
/* Those, and that a signal stopped it, or that policies know this very trace by their
 * profile: the notes of every result. Owned. */
char *experiment_notes(const struct experiment *x, bool stopped);
/* ... and what the runs say. Owned. */
char *experiment_result_notes(const struct experiment *x, const struct result *r,
                              bool stopped);

/* Whether a policy accesses the experts that are recorded, no others and no fewer, so
 * that one look-ahead serves all such policies. */
bool job_takes_recorded(const struct policy *p);
/* policy_reads_routing() of the policy on one GPU. */
bool job_reads_routing(const struct experiment *x, const struct policy *p);
/* GPU memory for experts, staging slots included. */
uint64_t job_cache_bytes(const struct experiment *x, const struct policy *p);
/* Writes down what every step of the policy routes to; over several GPUs by `setup`, else
 * NULL. Owned, or NULL. */
struct future *job_look_ahead(struct experiment *x, const struct policy *p,
                              struct parallel_setup *setup, struct err *e);
/* Runs all; returns 0, 1 (stopped by a signal) or -1 with the first failed job's error.
 */
int jobs_run(struct experiment *x, struct job **job, size_t count, unsigned threads,
             struct err *e);

/* Plans the runs of a prepared experiment, runs them, fills the result and, where all ran
 * to their ends, commits the timeline. Returns as experiment_run() does. */
int plan_run(struct experiment *x, struct cfg *config, unsigned threads, struct result *r,
             struct err *e);

#endif
