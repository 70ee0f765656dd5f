/* For tests of the runner: a small trace whose routing is drawn or spelled out, a model
 * and a machine in round numbers, and runs of a policy on them.
 *
 * Every rate of the GPU is as good as infinite, so that a part takes the floors of its
 * kernels: a dense block 6, a gate 2, a group of experts 6, a head 3 floors. Host
 * launches cost nothing until a test says so. */
#ifndef MOESIM_TESTS_RUN_WORLD_H
#define MOESIM_TESTS_RUN_WORLD_H

#include "check_exec.h"
#include "sim/exec/exec_sim.h"
#include "sim/run/runner.h"

#define WORLD_FLOOR SIM_TIME_PER_US
#define WORLD_DENSE (6 * WORLD_FLOOR)
#define WORLD_GATE (2 * WORLD_FLOOR)
#define WORLD_GROUP (6 * WORLD_FLOOR)
#define WORLD_HEAD (3 * WORLD_FLOOR)
#define WORLD_KERNELS_LAYER (6 + 2 + 6) /* with one group of experts */
#define WORLD_KERNELS_HEAD 3
#define WORLD_TRIP (5 * WORLD_FLOOR) /* host round trip */
#define WORLD_BYTES 1000000          /* of one expert ... */
#define WORLD_FLOW                                                                       \
    (10 * WORLD_FLOOR)        /* ... and their time on the link, without latency */
#define WORLD_NONE UINT16_MAX /* in routing: no expert */
#define WORLD_PROMPT 5        /* tokens */

struct run_world {
    uint32_t layers, experts, top_k;
    uint32_t requests, rows; /* all requests have as many rows, ... */
    uint32_t prompt;         /* the first of them of its prompt */
    uint16_t *expert;        /* (row, layer, rank) */
    char *path;
    struct trace *trace;
    struct model model;
    struct machine machine;
    uint64_t *expert_bytes; /* [layers] */
    struct workload_params workload;
};

/* Routing is (row, layer, rank), the ids of a row in any order and WORLD_NONE behind
 * them; NULL: drawn from `seed`, skewed, some rows short. Requests are decode rows only;
 * the workload is static, one request at a time, a pass per row. Owned; the file is in
 * /tmp. */
struct run_world *run_world_new(uint32_t layers, uint32_t experts, uint32_t top_k,
                                uint32_t requests, uint32_t rows, const uint16_t *expert,
                                uint64_t seed);
/* The same with a real model and machine, which are copied and whose strings are
 * borrowed; its routing is spelled out. Of an encoder-decoder model each row is routed in
 * the layers of its side alone, behind a prompt of WORLD_PROMPT tokens that were not
 * recorded and are not served. */
struct run_world *run_world_of(const struct model *m, const struct machine *k,
                               uint32_t requests, uint32_t rows, const uint16_t *expert);
/* The same where the first `prompt` of the `rows` rows of each request are its prompt. */
struct run_world *run_world_prompted(const struct model *m, const struct machine *k,
                                     uint32_t requests, uint32_t prompt, uint32_t rows,
                                     const uint16_t *expert);
/* Removes the file, too. */
void run_world_free(struct run_world *w);
/* The routing of a pass of one row after another, "01|2 12|" : layers by bars, passes by
 * blanks, experts by digit. */
struct run_world *run_world_spelled(uint32_t layers, uint32_t experts, uint32_t top_k,
                                    const char *passes);

struct run_case {
    const char *policy; /* YAML, flow style */
    bool event_driven, graph, count;
    bool running_ahead; /* nothing to decide: all experts resident */
    bool keep_passes;
    bool unchecked; /* without check_exec.h, for long runs */
    enum tier home;
    uint64_t host_bytes; /* 0: no limit */
    uint64_t chunk_bytes;
    uint64_t seed;
    struct future_writer *record;
    const struct run_watch *watch; /* or NULL */
    const struct exec_ops *ops;    /* instead of the simulated executor; or NULL */
    struct exec *exec;             /* borrowed */
    struct err *failure; /* NULL: the run must succeed; else it may fail, with this */
};

/* Runs it and fails the test on an error. Every run is watched by check_exec.h, unless it
 * says not. */
void run_world_run(const struct run_world *w, const struct run_case *c,
                   struct run_result *result);
/* What every step of the workload routes to, for policies with this order of accesses.
 * Owned. */
struct future *run_world_future(const struct run_world *w, enum cache_order order);

/* Reads a policy; owns its document. Fails the test on an error. */
struct run_policy_text {
    struct cfg *document;
    struct policy *policy;
};
struct run_policy_text run_policy_read(const char *text);
void run_policy_release(struct run_policy_text *t);
/* Resolves its cache's slots, as an experiment does; here more than there are is fine. */
void run_policy_slots(struct policy *p, const struct run_world *w);

/* "{cache: {name: NAME, slots: N, ...}...}" of every cache policy of the registry: calls
 * `visit` with the name. */
void run_world_each_cache(void (*visit)(void *context, const char *name), void *context);

/* Counts are equal, but for `late` where `timed` is false. */
void run_counts_equal(const struct run_counts *a, const struct run_counts *b, bool timed);

#endif
