/* What a pass of a tiny model gives, layer by layer, by the reference's loops: three
 * sequences of one new token and a context of five each. */
#ifndef MOESIM_TESTS_PLAIN_BLOCK_H
#define MOESIM_TESTS_PLAIN_BLOCK_H

#include "tiny_device.h"

enum { PLAIN_TOKENS = 3, PLAIN_CONTEXT = 5 };

/* All experts' choices: (0, 1), (2, 3), (4, none). */
extern const uint16_t plain_choice[PLAIN_TOKENS * 2];

void plain_norm(const struct tiny *t, const float *x, float *y);
/* What `rows` rows of `in` values give by matrix `w`. */
void plain_product(struct weights_matrix shape, uint32_t rows, const float *x,
                   const float *w, float *y);
/* The number of an MoE layer among those. */
uint32_t plain_moe_number(const struct model *m, uint32_t layer);
/* Attention, FFN and experts: what they make of x, with fresh caches. */
void plain_layer(const struct tiny *t, uint32_t layer, float *x);

#endif
