/* From the scores of a cell to what is written of it. The scores are those in m->score,
 * at draw_place() of each expert, and -INFINITY at places that are no expert's.
 *
 * Scores are compared as they are, in single precision; of equal ones the lower id comes
 * first. Logits are the scores times m->logit_scale, in 16 bits, and keep that order:
 * whoever sorts the logits of a cell, equal ones by ascending id, finds the experts as
 * they are listed here, and so the executed ones in front. */
#ifndef MOESIM_TRACES_DRAW_CELL_H
#define MOESIM_TRACES_DRAW_CELL_H

#include "draw.h"

/* Finds the top_k best, in descending order; quick if most others are below `floor`.
 * Their scores are in m->best. */
void draw_cell_choose(struct draw_model *m, float floor, uint16_t *expert);

/* Makes weights of the scores of top_k experts, which descend: the softmax of their
 * logits. */
void draw_cell_weigh(const struct draw_model *m, float *score);

/* Lists all experts, in descending order, with their scores. */
void draw_cell_rank(struct draw_model *m, uint16_t *expert, float *score);

/* Makes logits of the scores of all experts, which descend. Each is rounded to the
 * nearest 16-bit float, unless one before it is not above that, or is equal and has the
 * higher id: then it is the next one that keeps the order. */
void draw_cell_logits(const struct draw_model *m, const uint16_t *expert, float *score);

#endif
