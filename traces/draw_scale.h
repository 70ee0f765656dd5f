/* The scale of logits by what the executed experts weigh. */
#ifndef MOESIM_TRACES_DRAW_SCALE_H
#define MOESIM_TRACES_DRAW_SCALE_H

#include "draw.h"

#define DRAW_SCALE_LEAST 0.01
#define DRAW_SCALE_MOST 100.0

/* Sets logit_scale so that the executed experts' share of the softmax over all experts'
 * logits is `mass`, mean over cells of a sample of the rows that are to be written; the
 * least or the most where that cannot be had. The share grows with the scale, from top_k
 * / experts to 1. `m` lists all experts and is fitted otherwise. */
void draw_scale_fit(struct draw_model *m, const struct draw_request *requests,
                    size_t count, double mass);

#endif
