/* Logits that follow a process of their own for each expert and layer, and what becomes
 * of a cell's scores with it:
 *
 *     z(t, l, e) = bias(l, e) + sd a(t, l, e)
 *     a(t, l, e) = p a(t - 1, l, e) + sqrt(1 - p^2) n(t, l, e),      p = persistence
 *
 * a is stationary within a request, with variance 1; n, and a of a request's first row,
 * are standard normal; bias is popularity_sd times a standard normal number. Experts and
 * layers are independent of each other, and requests have the bias alone in common.
 *
 * With 8 experts, top_k 2, persistence 0.5, popularity_sd 0.2 and sd 1.386 (what is new
 * in a row, sd sqrt(1 - p^2), is then 1.2), MoE-ERAS's threshold (MLArchSys 2024) changes
 * as large a share of the selections as was measured on Mixtral-8x7B: to 0.013 in the
 * mean over 3 to 6 offloaded experts and thresholds 0.05, 0.15 and 0.25. */
#ifndef MOESIM_TRACES_DRAW_PROCESS_H
#define MOESIM_TRACES_DRAW_PROCESS_H

#include "draw.h"

struct draw_process {
    float sd, persistence;
    float *state; /* (layer, width): a of the last row of the walk that began last */
    uint64_t walks;
};

/* Makes `m` draw by processes, and sets its biases. Its logits are z. */
void draw_process_start(struct draw_model *m, double sd, double persistence,
                        double popularity_sd);
/* NULL is fine. */
void draw_process_free(struct draw_process *p);

/* The state moves on to the walk's row, which is the one behind that of the last step. */
void draw_process_step(struct draw_walk *w);

/* Scores of a cell into m->score. */
void draw_process_score(struct draw_model *m, uint32_t layer);

#endif
