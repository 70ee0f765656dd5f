/* Fits the model of draw.h to statistics of a trace.
 *
 * The model is drawn on a sample of the rows that are to be written, the statistics are
 * measured on it, each parameter is moved against the error of the one statistic that it
 * governs, and so on until all are met or a number of rounds is done. Every round draws
 * the same numbers, so that the statistics move smoothly with the parameters and the
 * result is a function of its inputs alone. */
#ifndef MOESIM_TRACES_DRAW_FIT_H
#define MOESIM_TRACES_DRAW_FIT_H

#include "draw.h"

#define FIT_FAR 32 /* rows of one request that are this far apart are "far" */

/* Figures as trace_statistics defines them, but for two, which are overlaps as between
 * adjacent rows: `far_overlap` of rows t and t + FIT_FAR, `opening_overlap` of the rows
 * of fit_openings. Where a figure is negative or NULL, its parameter stays as it is. */
struct fit_target {
    const double *popularity;             /* (layer, expert); required */
    double adjacent_overlap;              /* governs persistence, all layers alike */
    const double *layer_adjacent_overlap; /* likewise, layer by layer */
    double far_overlap;                   /* affinity */
    double opening_overlap;               /* opening */
    double next_layer_predictability;     /* noise */
    double union_size;                    /* of `union_batch` requests: domain */
    uint32_t union_batch;
};

/* What was reached on the sample; -1 where there was nothing to measure. All but the
 * overlap of adjacent rows are measured only where there is a target. */
struct fit_result {
    double adjacent_overlap, far_overlap, opening_overlap;
    double next_layer_predictability, union_size;
};

/* Rows, counted through all requests, that are at the same position of their prompts or
 * outputs, soon after the template, in requests that are far from each other: owned,
 * (pair, 2). */
uint64_t *fit_openings(const struct draw_request *requests, size_t count,
                       uint32_t prompt_template, uint32_t output_template, size_t *pairs);

/* Sets the biases near what gives the shares (layer, expert). Draw templates after it. */
void fit_start(struct draw_model *m, const double *popularity);

void fit_model(struct draw_model *m, const struct draw_request *requests, size_t count,
               const struct fit_target *t, struct fit_result *r);

#endif
