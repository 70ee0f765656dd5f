/* Results: what a run found, for all its policies, with everything needed to repeat it.
 *
 * The same structure is filled by a run (sim/cmd/run.c), written to one HDF5 file and
 * read back by explain and report. Times are sim_time (picoseconds, int64) throughout;
 * the file keeps them so, and says so. File layout: see README.md beside it.
 *
 * Threads. The HDF5 library may be in use by one thread at a time, and these functions
 * take no lock: read and write results when all threads that read traces have ended. */
#ifndef MOESIM_RESULT_RESULT_H
#define MOESIM_RESULT_RESULT_H

#include "sim/base/err.h"
#include "sim/policy/plugin.h"
#include "sim/run/books.h"

#define RESULT_NONE UINT64_MAX /* a count that there is none of */

/* What no policy could beat on this trace, workload, machine and capacity. */
struct result_bounds {
    bool present;
    uint64_t
        belady_hits; /* most hits of any policy with this scope, capacity and order of
                        accesses that loads on demand (MIN with bypass; with unequal
                        expert sizes in one set: of a cache with room for that many of
                        the smallest, so still a bound); RESULT_NONE on several GPUs */
    uint64_t belady_bytes; /* least weight bytes over the link */
    sim_time compute; /* all passes with every expert resident, from graphs or launched
                         one by one: the shorter */
    sim_time copy;    /* belady_bytes at the link's full bandwidth */
    sim_time offline; /* max(compute, copy): perfect look-ahead */
    sim_time belady_time; /* simulated: Belady's choices, fetched on demand; 0: not run */
    uint64_t belady_time_hits; /* hits of that run */
    /* Several GPUs: all passes with the rows spread evenly, and over a network that takes
     * no time; 0 on one GPU. */
    sim_time balanced, free_network;
};

struct result_policy {
    char *label;
    char *description[POLICY_SLOTS]; /* "lru slots=16 scope=layer ..." per slot */
    bool lossless;
    char *variant; /* worst of its plug-ins: "standard" ... "reconstruction" */
    bool event_driven, graph;
    struct run_result run;
    struct result_bounds bounds;
    uint64_t file_passes; /* pass records in the file it was read from; 0: none */
};

/* One direction of one link between GPUs; those of a kind stand together. */
struct result_link {
    char *name; /* "GPU 3 NVLink out", "node 1 NIC 2 in" */
    char *kind; /* "NVLink out", "NIC in" */
    uint64_t bytes_per_s;
};

struct result {
    char *trace_path, *trace_source, *model, *machine, *machine_source;
    char *watch;   /* the predictor of misses that were watched, "markov width=4"; ""
                      or NULL: none */
    char *config;  /* YAML as run, overrides applied */
    char *version; /* of moesim, compiler */
    uint64_t seed;
    uint32_t layers, experts, top_k;
    uint16_t *moe_layer;    /* [layers] */
    uint64_t *expert_bytes; /* [layers] */
    char **group_names;
    uint32_t groups;
    uint64_t expert_total_bytes, dense_bytes, kv_peak_bytes, gpu_memory_bytes;
    uint32_t links; /* between several GPUs; 0 on one, or where none were timed */
    struct result_link *link; /* [links]; the same for all policies */
    uint32_t policies;
    struct result_policy *policy; /* [policies] */
    char *notes; /* newline-separated sentences a reader must know: prefill resampled, ...
                  */
    char *path;  /* the file it was read from, which holds the pass records; or NULL */
};
/* Frees what it owns, strings included, and leaves it empty. */
void result_release(struct result *r);

/* Writes the file whole or not at all. 0 or -1. */
int result_write(const struct result *r, const char *path, struct err *e);
/* Reads everything but the pass records; they stay in the file until asked for. */
int result_read(const char *path, struct result *r, struct err *e);
/* How many pass records there are: all passes or none. */
uint64_t result_pass_count(const struct result *r, uint32_t policy);
/* Pass records [first, first + count) of a policy: from its spool after a run, from the
 * file it was read from otherwise. */
int result_read_passes(const struct result *r, uint32_t policy, uint64_t first,
                       uint64_t count, struct run_pass *pass, struct err *e);

/* ---- figures derived from a result ---- */

/* What a select did, in shares; NaN where it chose for no rows. */
struct result_selected {
    double changed;   /* experts executed instead of recorded ones / choices recorded */
    double fewer;     /* choices left out, with nothing in their place / recorded */
    double mass_lost; /* gate mass lost / gate mass of the recorded choices */
    double top1_kept; /* rows that keep their best expert / rows */
    double saved;     /* distinct experts less / distinct experts as recorded */
};
struct result_selected result_selected(const struct select_quality *q);

/* Percentiles by linear interpolation between closest ranks (numpy's default). Seconds;
 * NaN where there is nothing to tell. TPOT is over all requests with two output tokens,
 * also those that a limit or a signal cut short; TTFT over the finished ones. */
struct result_summary {
    uint64_t requests; /* finished */
    double tpot_mean, tpot_p50,
        tpot_p99; /* per request: (last - first token) / (n - 1) */
    double ttft_mean, ttft_p50, ttft_p99; /* first token - arrival */
    double tokens_per_s;                  /* output tokens / elapsed, copies behind the
                                             last token not counted */
    double hit_rate;                      /* hits / accesses */
    double gpu_busy;                      /* compute lane busy / elapsed */
    double link_bytes;                    /* demand + prefetch + out */
    double swaps; /* loads on demand for which something resident was evicted */
    double gap;   /* total pass time / offline bound - 1; NaN without bounds */
    /* Several GPUs; NaN on one. */
    double imbalance;    /* rows of the busiest GPU of each step / mean rows; 1: even */
    double comm_share;   /* exposed communication / total pass time */
    double sent_bytes;   /* between GPUs, migrations not included */
    double padding;      /* rows computed / rows that a token chose - 1 */
    double drop_share;   /* choices dropped / choices made */
    double balanced_gap; /* total pass time / bound - 1; NaN without bounds */
    double network_gap;
    struct result_selected select; /* of all layers; NaN without */
};
struct result_summary result_summarise(const struct result_policy *p);
/* "stopped after 3 of 12 requests" for a run that a signal cut short, whose figures must
 * not be read as those of a whole one; NULL for a whole one. Owned. */
char *result_stopped_text(const struct result_policy *p);
/* True if it knows the routing that is to come: a bound, not a policy that anyone can
 * have. */
bool result_foresees(const struct result_policy *p);
/* The same of what fills one slot, by its description. */
bool result_slot_foresees(enum policy_slot slot, const char *description);
/* True if it is the model's dense equivalent, by the description of its cache. */
bool result_is_dense(const struct result_policy *p);
bool result_slot_is_dense(enum policy_slot slot, const char *description);
/* True if it stands beside the policies that one could choose, for comparison: it
 * foresees, or is dense. */
bool result_is_reference(const struct result_policy *p);
/* True if the policies ran on several GPUs, or on one as the only one of several. */
bool result_is_parallel(const struct result *r);
/* In seconds; NaN where the run was not timed. */
double result_seconds(const struct run_result *run, sim_time time);
/* What a link was busy for, over the run with its tail; NaN where it was not timed. */
double result_busy_share(const struct run_result *run, double seconds);
/* Rows of the busiest GPU of each step over the mean; NaN without rows. */
double result_imbalance(const struct run_counts *c, uint32_t gpus);
/* "8 GPUs of h100-80g, 1 node"; the machine's name on one GPU. Owned. */
char *result_machine_text(const struct result *r);
/* Of one request, in seconds; NaN where it has none. */
double result_request_tpot(const struct run_request *q);
double result_request_ttft(const struct run_request *q);

/* Two policies on the same requests, paired by request: mean log ratio of TPOT (TTFT
 * where no request has two tokens) b / a with its 95 % interval (Student's t). No pairs
 * where a signal stopped one of the two. */
struct result_comparison {
    uint32_t a, b; /* a < b, but for result_compare_two() */
    uint64_t pairs;
    double ratio, low, high; /* geometric mean of b / a */
    bool significant;        /* the interval excludes 1, with Holm's correction over all
                                pairs that are compared */
};
/* The policy with the least median TPOT (TTFT where it has none), of those that do not
 * foresee, if there are any. */
uint32_t result_fastest(const struct result *r);
/* How many pairs are compared: all, in order of (a, b), of up to RESULT_ALL_PAIRS
 * policies; of more, whose pairs nobody reads, those with the fastest. */
enum { RESULT_ALL_PAIRS = 64 };
size_t result_pair_count(const struct result *r);
void result_compare(const struct result *r, struct result_comparison *c);
/* Two policies alone: `significant` is about this pair, without correction. */
struct result_comparison result_compare_two(const struct result *r, uint32_t a,
                                            uint32_t b);

#endif
