/* Small experiments over several GPUs: a trace, a model and a machine made to order, the
 * configuration that runs them, and what holds for any. */
#ifndef MOESIM_TESTS_CREW_LAB_H
#define MOESIM_TESTS_CREW_LAB_H

#include "models/machine.h"
#include "models/model.h"
#include "sim/base/rng.h"
#include "sim/experiment/experiment.h"

enum crew_sources { CREW_UNKNOWN, CREW_BY_REQUEST, CREW_BY_ROW };

/* One experiment; zero means none, data-parallel, dropless, linear. Text is YAML. */
struct crew_case {
    /* Machine. */
    uint32_t nodes, gpus; /* used, and of each node */
    uint32_t spare;       /* GPUs of the only node that stay idle */
    uint32_t rails, per_root;
    bool nvlink, network, oversubscribed;
    /* Model. */
    uint32_t layers, dense_layers; /* MoE layers, and what is before them */
    uint32_t experts, top_k, hidden, shared_ffn;
    /* Trace. */
    uint32_t requests, rows, prefill_rows, candidates;
    enum crew_sources sources;
    bool missing, one_expert;
    bool cyclic; /* row i of request r chooses (i + r) top_k and the next ones, modulo */
    uint64_t expert_bytes; /* recorded; 0: as the model has them */
    uint64_t seed;
    /* Experiment. */
    uint32_t tensor;      /* GPUs that share attention; 0: data-parallel */
    const char *workload; /* in braces */
    const char *place;    /* name */
    const char *place_more;
    uint32_t slots;
    const char *replica;  /* NULL: round-robin */
    const char *exchange; /* NULL: auto */
    bool fp8;
    const char *gate; /* NULL: dropless */
    double cf;
    uint32_t min_capacity;
    bool dense_dispatch;
    uint32_t interval, window, first;
    bool renumbers;            /* keep: no */
    bool foresee;              /* what the coming pass loads; interval 1 */
    bool background;           /* migration */
    const char *schedule;      /* NULL: overlapped */
    const char *schedule_more; /* after a comma; or NULL */
    const char *policy_more;   /* ", cache: {...}"; or NULL */
    const char *more;          /* top-level lines */
};

/* Eight GPUs in two nodes, two experts each, a slot more on each. */
extern const struct crew_case crew_eight;
/* Two GPUs of one node, two experts each; two requests of four rows that choose in turn.
 */
extern const struct crew_case crew_two;
/* Any but those that are refused. */
void crew_case_draw(struct crew_case *c, struct rng *r);
/* One that says what it is, for failures; owned. */
char *crew_case_text(const struct crew_case *c);

struct crew_lab {
    struct crew_case c;
    char *trace_path, *model_path;
    struct machine machine;
    uint16_t *expert; /* (row, layer, candidate) of the trace */
    uint16_t *source; /* [rows] */
};

/* Owned; files are in /tmp. `expert_of` renames experts, NULL: does not. */
struct crew_lab *crew_lab_new(const struct crew_case *c, const uint16_t *expert_of);
void crew_lab_free(struct crew_lab *lab);
/* Runs it with `engine` on `threads`; fails the test on an error unless `e` is given,
 * empty, and where the status is not that of an error although there is one. */
int crew_lab_run(const struct crew_lab *lab, const char *engine, unsigned threads,
                 struct result *r, struct err *e);
/* The configuration's text with `policies` instead of its own, NULL: its own; owned. */
char *crew_lab_text(const struct crew_lab *lab, const char *engine, const char *policies);
int crew_lab_run_text(const struct crew_lab *lab, const char *text, unsigned threads,
                      struct result *r, struct err *e);

/* Runs that must succeed, the second on one thread. */
struct result crew_lab_result(const struct crew_lab *lab, const char *engine,
                              unsigned threads);
struct result crew_case_result(const struct crew_case *c, const char *engine);

/* Calls `body` with random cases; MOESIM_CREW_CASES many, or that of MOESIM_CREW_ONLY. */
void crew_each_case(const char *purpose, int count, void (*body)(struct crew_case *c));
/* Fails with the case in words. */
void crew_must(bool holds, const struct crew_case *c, const char *what, int64_t a,
               int64_t b);
/* No share of policy `p` is negative; those of a pass sum up to its latency, and passes
 * to the run's. */
void crew_check_shares(const struct crew_case *c, const struct result *r, uint32_t p);

#endif
