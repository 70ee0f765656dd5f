/* What a trace looks like: shape, skew, locality, predictability, distinct experts per
 * batch. `moesim trace info` prints it; the generator draws to it. One pass over the
 * rows. All figures are over executed experts of recorded rows. */
#ifndef MOESIM_TRACES_STATISTICS_H
#define MOESIM_TRACES_STATISTICS_H

#include "trace.h"

#define TRACE_UNION_SIZES 7 /* batch sizes 1, 2, 4, ..., 64 */

struct trace_statistics {
    uint32_t layers, experts, top_k;
    double *popularity; /* (layer, expert): share of the layer's activations, sums to 1 */
    double top1_share;  /* mean over layers of the largest share */
    double entropy_bits;            /* mean over layers of the share entropy */
    double gini;                    /* mean over layers */
    double adjacent_overlap;        /* mean |S_t & S_t+1| / k, same request, all layers */
    double independent_overlap;     /* mean over layers of sum_e (min(1, k p_e))^2 / k */
    double *layer_adjacent_overlap; /* [layers] */
    double next_layer_predictability; /* share of the experts at l+1 among the top_k best
                                         by sum over S_l of P(e at l+1 | e' at l) */
    double union_size[TRACE_UNION_SIZES]; /* mean distinct experts per layer for 2^i
                                             concurrent decodes of different requests;
                                             0 where there are fewer requests */
};

/* Fills `s`; release with trace_statistics_release. 0 or -1. */
int trace_statistics_measure(struct trace *t, struct trace_statistics *s, struct err *e);
void trace_statistics_release(struct trace_statistics *s);

#endif
