/* What a trace looks like: shape, skew, locality, predictability, distinct experts per
 * batch. `moesim trace info` prints it; the generator draws to it.
 *
 * All figures are over executed experts of recorded cells; a cell is one (row, layer),
 * and S(t, l) is the set of its experts. A "mean over layers" weighs layers equally. The
 * file is swept once for counts and unions (each size of at most 2^20 rows), and once for
 * predictability (of at most 2^17 evenly spaced rows). */
#ifndef MOESIM_TRACES_STATISTICS_H
#define MOESIM_TRACES_STATISTICS_H

#include "rows_sweep.h"
#include "trace.h"

#define TRACE_UNION_SIZES 7 /* batch sizes 1, 2, 4, ..., 64 */

struct trace_statistics {
    uint32_t layers, experts, top_k;
    /* (layer, expert): share of the layer's activations p(e); sums to 1. */
    double *popularity;
    double top1_share;   /* mean over layers of the largest p(e) */
    double entropy_bits; /* mean over layers of -sum p log2 p */
    double gini; /* mean over layers of sum_i (2i - E - 1) p_(i) / E, p_(i) ascending from
                    i = 1 to E: 0 for equal shares, (E - 1) / E for one expert alone */
    /* Mean over all l, and all t where rows t and t + 1 are of one request and both cells
     * recorded, of |S(t, l) & S(t + 1, l)| / k. */
    double adjacent_overlap;
    /* What that would be if rows were independent: mean over layers of
     * sum_e min(1, k p(e))^2 / k. */
    double independent_overlap;
    double *layer_adjacent_overlap; /* [layers] */
    /* Share of the experts of S(t, l + 1) that are among the top_k best (ties: the lower
     * id) by sum over e' in S(t, l) of P(e at l + 1 | e' at l), with P counted on this
     * very trace. -1 for a single layer, or where the counts would need more than 1 GiB.
     */
    double next_layer_predictability;
    /* Mean over steps and layers of the number of distinct experts of 2^i concurrent
     * decodes of different requests: 2^i slots take the requests in file order, each slot
     * the next one as soon as its request ends (so that requests are not aligned by
     * step); a step is the next decode row of every slot, and counting ends when a
     * slot stays empty. A trace without decode rows counts with all of its rows. 0 where
     * there are fewer requests than slots. */
    double union_size[TRACE_UNION_SIZES];
};

/* Who is told of rows that were swept, of all that will be. */
struct trace_statistics_watch {
    void (*show)(void *context, uint64_t done, uint64_t total);
    void *context;
};

/* Fills `s`; release with trace_statistics_release. 0 or -1 (count-only traces have
 * the figures of popularity; adjacent overlap and unions are 0, predictability -1).
 * `watch` may be NULL. */
int trace_statistics_measure(struct trace *t, const struct trace_statistics_watch *watch,
                             struct trace_statistics *s, struct err *e);
void trace_statistics_release(struct trace_statistics *s);

/* Who sees all rows in the same sweep, for figures of its own (details.h). */
struct trace_statistics_guest {
    bool scores; /* they are wanted, and the trace has them; tokens always come */
    const struct rows_visitor *visitor; /* [visitors] */
    size_t visitors;
    /* After each block of rows: those of requests up to `last` are near. 0 or -1. */
    int (*follow)(void *context, uint64_t last, struct err *e);
    /* In place of rows, the passes of count-only traces: [layers * experts]. */
    void (*pass)(void *context, uint64_t n, const uint32_t *count);
    void *context; /* of both */
};

/* As trace_statistics_measure; `guest` may be NULL. */
int trace_statistics_measure_with(struct trace *t,
                                  const struct trace_statistics_watch *watch,
                                  const struct trace_statistics_guest *guest,
                                  struct trace_statistics *s, struct err *e);
/* Phases that rows have (1 << enum trace_phase); 0 or -1. */
int trace_statistics_phases(struct trace *t, unsigned *phases, struct err *e);
/* Of these, the phases whose rows are counted in batches: decode, or all without it. */
unsigned trace_statistics_counted(unsigned phases);

#endif
