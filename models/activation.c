#include "activation.h"

#include <assert.h>

static uint64_t bytes_of(const struct model *m, uint64_t values)
{
    return (uint64_t)((double)values * m->activation_bits / 8.0 + 0.5);
}

struct activation activation_count(const struct model *m, const struct cost_dispatch *d,
                                   uint64_t received, uint64_t at_once)
{
    uint64_t hidden = m->hidden;
    uint64_t choices = (uint64_t)d->rows * d->top_k;
    uint64_t slots = (uint64_t)d->experts * d->capacity;
    uint64_t sent = d->capacity > 0 ? slots : choices - d->dropped;
    struct activation a = {0};

    assert(at_once <= received && d->dropped <= choices);
    a.weights = bytes_of(m, d->dense ? d->rows * slots : choices);
    a.mask = bytes_of(m, d->dense ? d->rows * slots : 0);
    a.dispatched = a.returned = bytes_of(m, sent * hidden);
    a.received = a.outputs = bytes_of(m, received * hidden);
    a.inner = bytes_of(m, at_once * m->matrices * m->expert_ffn);
    a.combined = bytes_of(m, d->rows * hidden);
    return a;
}

uint64_t activation_bytes(const struct activation *a)
{
    return a->weights + a->mask + a->dispatched + a->received + a->inner + a->outputs +
           a->returned + a->combined;
}
