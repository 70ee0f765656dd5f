#include "draw.h"

#include <stdbool.h>

/* One of the `count` experts from `first` on that are not among those drawn; there is
 * one. */
static uint32_t draw_other(struct rng *r, uint32_t first, uint32_t count,
                           const uint16_t *expert, uint32_t drawn)
{
    for (;;) {
        uint32_t x = first + (uint32_t)rng_below(r, count), i = 0;

        while (i < drawn && expert[i] != x)
            i++;
        if (i == drawn)
            return x;
    }
}

void draw_alone(const struct draw_model *m, struct rng *r, uint16_t *expert)
{
    double cold_weight = 1.0 / m->experts;
    uint32_t hot = m->hot, cold = m->experts - m->hot; /* not drawn yet */

    for (uint32_t i = 0; i < m->top_k; i++) {
        double hot_weight = hot * (cold_weight + m->hot_weight);
        bool is_hot = rng_unit(r) * (hot_weight + cold * cold_weight) < hot_weight;

        if (cold == 0 || (is_hot && hot > 0)) {
            expert[i] = (uint16_t)draw_other(r, 0, m->hot, expert, i);
            hot--;
        } else {
            expert[i] = (uint16_t)draw_other(r, m->hot, m->experts - m->hot, expert, i);
            cold--;
        }
    }
}
