/* Trace generator: draws routing from the model of draw.h and writes it as a trace file.
 *
 * Two ways to say how it shall look: by parameters, of which some may be given as the
 * statistic that the rows shall have instead (generate_trace), or by an example
 * (generate_like). Popularity is always fitted on the rows that are written, so that they
 * have the shares asked for whatever the other parameters do. Equal arguments give
 * byte-equal files. Arrival times are not drawn (arrival_ns is -1). */
#ifndef MOESIM_TRACES_GENERATE_H
#define MOESIM_TRACES_GENERATE_H

#include "trace.h"

#include "sim/base/config.h"

/* Bound by generate_options; the meaning of each is its help line there. */
struct generate_params {
    const char *model, *source;
    int64_t layers, first_layer, experts, top_k;
    int64_t requests, groups, seed;
    double prompt_tokens, output_tokens, prompt_spread, output_spread;
    double skew, tail, locality, affinity, cross_layer, domain, opening;
    int64_t prompt_template, output_template;
    bool scores;
    bool independent;
    double hot_weight, hot_share;
    int64_t sources, moe_every;
    double gini, top1_share, adjacent_overlap, next_layer_predictability, union_16;
};
extern const struct option generate_options[];

/* Writes the trace to `out`. Statistics that were asked for and cannot be had within 5 %
 * are an error, and nothing is written. 0 or -1. */
int generate_trace(const struct generate_params *p, const char *out, struct err *e);

struct generate_like_options {
    uint64_t seed;
    uint64_t
        requests; /* 0: as many as the source; more: its table again from the start */
    bool scores;
};

/* Measures the source (popularity, overlap of adjacent and of far rows, predictability,
 * distinct experts of a batch, templates) and draws a trace with its shape, requests and
 * groups and with statistics as near to these as the model gets. `o` may be NULL: seed 1,
 * scores iff the source has them. The caller compares the statistics of both. 0 or -1. */
int generate_like(struct trace *source, const struct generate_like_options *o,
                  const char *out, struct err *e);

#endif
