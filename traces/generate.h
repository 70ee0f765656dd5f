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

enum generate_scores {
    GENERATE_SCORES_NO,
    GENERATE_SCORES_YES, /* of the executed experts: the softmax of their logits */
    GENERATE_SCORES_ALL, /* logits of all experts, in descending order */
};

/* Bound by generate_options; the meaning of each is its help line there. */
struct generate_params {
    const char *model, *source;
    int64_t layers, first_layer, experts, top_k;
    int64_t requests, groups, seed;
    double prompt_tokens, output_tokens, prompt_spread, output_spread;
    double skew, tail, locality, affinity, cross_layer, domain, opening;
    int64_t prompt_template, output_template;
    int scores; /* enum generate_scores */
    bool independent;
    double hot_weight, hot_share;
    int64_t sources, moe_every, encoder_layers;
    double gini, top1_share, adjacent_overlap, next_layer_predictability, union_16;
    double logit_scale;
    bool autoregressive;
    double logit_sd, persistence, popularity_sd;
};
extern const struct option generate_options[];

/* Writes the trace to `out`. Statistics that were asked for and cannot be had within 5 %
 * are an error, and nothing is written. 0 or -1. */
int generate_trace(const struct generate_params *p, const char *out, struct err *e);

struct generate_like_options {
    uint64_t seed;
    uint64_t
        requests; /* 0: as many as the source; more: its table again from the start */
    enum generate_scores scores;
};

/* What a trace has. */
enum generate_scores generate_scores_of(const struct trace *source);

/* Measures the source (popularity, overlap of adjacent and of far rows, predictability,
 * distinct experts of a batch, templates) and draws a trace with its shape, requests and
 * groups and with statistics as near to these as the model gets. Where both have scores
 * of all experts the executed ones have the same share of the gate mass, in the mean. `o`
 * may be NULL: seed 1, scores as generate_scores_of() says. The caller compares the
 * statistics of both. 0 or -1. */
int generate_like(struct trace *source, const struct generate_like_options *o,
                  const char *out, struct err *e);

#endif
