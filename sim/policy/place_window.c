#include "place_window.h"

#include "sim/base/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct place_window {
    size_t cells; /* layers * experts */
    uint32_t window, passes, next;
    uint64_t interval, wait; /* passes until the next rebalance; unused without one */
    uint32_t *now;           /* [cells] the running pass */
    uint32_t *ring;          /* (pass, cell) */
    uint64_t *sum;           /* [cells] over the ring */
};

struct place_window *place_window_new(const struct place_window_params *params,
                                      uint32_t layers, uint32_t experts)
{
    struct place_window *w = mem_zalloc(1, sizeof *w);

    assert(params->window > 0 && params->interval >= 0 && params->first >= 0);
    w->cells = (size_t)layers * experts;
    w->window = (uint32_t)params->window;
    w->interval = (uint64_t)params->interval;
    w->wait = params->first > 0 ? (uint64_t)params->first : w->interval;
    w->now = mem_zalloc(w->cells, sizeof *w->now);
    w->ring = mem_alloc(w->window * w->cells, sizeof *w->ring);
    w->sum = mem_zalloc(w->cells, sizeof *w->sum);
    return w;
}

void place_window_free(struct place_window *w)
{
    if (w == NULL)
        return;
    free(w->now);
    free(w->ring);
    free(w->sum);
    free(w);
}

uint32_t *place_window_pass(struct place_window *w)
{
    return w->now;
}

bool place_window_end_pass(struct place_window *w)
{
    uint32_t *row = &w->ring[w->next * w->cells];

    if (w->passes == w->window) {
        for (size_t i = 0; i < w->cells; i++)
            w->sum[i] -= row[i];
    } else {
        w->passes++;
    }
    for (size_t i = 0; i < w->cells; i++)
        w->sum[i] += w->now[i];
    memcpy(row, w->now, w->cells * sizeof *row);
    memset(w->now, 0, w->cells * sizeof *w->now);
    w->next = (w->next + 1) % w->window;
    if (w->interval == 0 || --w->wait > 0)
        return false;
    w->wait = w->interval;
    return true;
}

void place_window_load(const struct place_window *w, double *load)
{
    for (size_t i = 0; i < w->cells; i++)
        load[i] = (double)w->sum[i];
}

const uint32_t *place_window_history(const struct place_window *w, uint32_t *passes)
{
    *passes = w->passes;
    return w->ring;
}
