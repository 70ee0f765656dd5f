/* How far a run that was predicted agrees with the same run executed on a device, one
 * policy at a time: pass by pass, operation by operation, layer by layer, and in the
 * order of the policies. Counts must be equal; times are compared.
 *
 * Operations are aligned by (pass, kind, layer, expert, n-th of those). A pass ends with
 * its head in order of submission. Groups of experts may be cut differently where a
 * prefetch arrives in time on one side only: then the layer's groups are compared as one,
 * by their sum. Where the executed run was repeated, its time is the median of repeats.
 *
 * Errors are |predicted / measured - 1|; passes of warm-up do not count. */
#ifndef MOESIM_VALIDATE_AGREEMENT_H
#define MOESIM_VALIDATE_AGREEMENT_H

#include "sim/exec/op.h"
#include "sim/result/result.h"
#include "tally.h"

/* An operation, as an observer was told of it. */
struct agreement_op {
    op_id id;
    enum op_kind kind;
    enum op_lane lane;
    uint32_t layer, expert;
    struct op_times times;
};

/* All of one run. Begins as {0}; agreement_ops_release. */
struct agreement_ops {
    struct agreement_op *op;
    size_t count, room;
};
void agreement_ops_add(struct agreement_ops *o, const struct agreement_op *op);
void agreement_ops_release(struct agreement_ops *o);

/* One policy, predicted once and executed `repeats` times; all borrowed. */
struct agreement_input {
    const char *label;
    uint64_t passes, warmup; /* warm-up passes come first and are among them */
    uint32_t repeats;
    bool emulated; /* what it was executed on stood in for something else: times of the
                      executed runs are not looked at */
    const struct run_pass *predicted;       /* [passes] */
    const struct run_pass *const *measured; /* [repeats][passes] */
    const struct agreement_ops *predicted_ops;
    const struct agreement_ops *measured_ops; /* [repeats] */
    uint32_t decoder_layers, moe_layers;
    const uint16_t *moe_layer; /* [moe_layers]: decoder layer of each */
};

/* An aligned operation. Seconds are NaN on a side that has none, or cancelled it. */
struct agreement_row {
    uint64_t pass;
    enum op_kind kind;
    enum op_lane lane;
    uint32_t layer;  /* decoder layer; that of the head is decoder_layers */
    uint32_t expert; /* of a copy */
    uint32_t number; /* n-th of its kind there; AGREEMENT_ALL: all of them together */
    double predicted_s, measured_s;
};
#define AGREEMENT_ALL UINT32_MAX

struct agreement_pass {
    double predicted_s, measured_s, least_s, most_s; /* of the repeats */
    uint64_t rows, outputs;
};

/* Of a set of pairs. */
struct agreement_error {
    size_t count;
    double predicted_s, measured_s; /* sums; NaN where there is none, like the next */
    double median, worst;
    size_t worst_at; /* its index in the set */
};

/* Where it is emulated, all that would be measured is NaN, and of_pass has the sum of
 * what is predicted. */
struct agreement {
    const char *label;
    bool emulated;
    uint64_t passes, warmup;
    struct agreement_pass *pass; /* [passes] */
    struct agreement_row *row;   /* [rows] by pass, kind, layer, expert, number */
    size_t rows;
    uint32_t decoder_layers;
    struct agreement_error of_pass;           /* worst_at counts from the warm-up's end */
    struct agreement_error of_kind[OP_KINDS]; /* worst_at: the row */
    double *layer_predicted_s, *layer_measured_s; /* [decoder_layers]: dense block, gate,
                                                     experts and copies in */
    /* Where a pass's time went, in seconds a pass (mean over passes and repeats): sums to
     * its latency exactly, so that the differences sum to the latency's. */
    double predicted_share_s[RUN_SHARES], measured_share_s[RUN_SHARES];
    double spread; /* median over passes of (most - least) / median of repeats */
};

/* Fills `a`; agreement_release. */
void agreement_find(const struct agreement_input *in, struct agreement *a);
void agreement_release(struct agreement *a);

/* The error over all policies' rows of a kind or, kind OP_KINDS, over all their passes.
 */
struct agreement_error agreement_over_all(const struct agreement *a, size_t policies,
                                          enum op_kind kind);

/* The share with the largest difference, in seconds a pass. */
enum run_share agreement_largest_share(const struct agreement *a, double *difference_s);

/* Kendall's tau-b (Kendall, "The treatment of ties in ranking problems", Biometrika 1945)
 * between predicted[n] and measured[n], over the pairs whose measured values differ by
 * more than `apart` of the smaller one; NaN where there is none. */
double agreement_tau(const double *predicted, const double *measured, size_t n,
                     double apart, size_t *pairs);

/* 0, or -1 naming the first count that differs (all but `late`, which is a matter of
 * time). */
int agreement_compare_counts(const char *label, const struct run_result *predicted,
                             const struct run_result *measured, struct err *e);
/* The same of all policies, with what executors were asked and did: [policies] each. */
int agreement_compare_results(const struct result *predicted,
                              const struct result *measured, const struct tally *asked,
                              const struct tally *done, struct err *e);

/* What all policies of a run count together. */
struct agreement_counts {
    uint64_t accesses, hits, loads, bypasses, host_runs, near_runs, prefetches, in_bytes,
        out_bytes;
};
struct agreement_counts agreement_sum_counts(const struct result *r);

#endif
