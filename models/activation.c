#include "activation.h"

#include <assert.h>
#include <stddef.h>

static uint64_t bytes_of(double values, double bits)
{
    return (uint64_t)(values * bits / 8.0 + 0.5);
}

/* The masks of dense dispatch. With a gate of activations' own bits the last matrix made,
 * the sum or the only product, is the combine weights; else it is rounded to them. */
static void count_masks(struct activation *a, const struct model *m,
                        const struct cost_dispatch *d)
{
    double elements = (double)d->rows * d->experts * d->capacity;
    uint32_t made = d->top_k > 1 ? d->top_k + 1 : 1;

    if (d->gate_bits > 0)
        a->choices = bytes_of(made * elements, d->gate_bits);
    else
        a->choices = bytes_of((made - 1) * elements, m->activation_bits);
    a->truth = bytes_of(elements, 8.0);
    a->weights = a->mask = bytes_of(elements, m->activation_bits);
}

struct activation activation_count(const struct model *m, const struct cost_dispatch *d,
                                   uint64_t received, uint64_t at_once)
{
    double bits = m->activation_bits;
    double hidden = m->hidden;
    uint64_t choices = (uint64_t)d->rows * d->top_k;
    uint64_t slots = (uint64_t)d->experts * d->capacity;
    uint64_t sent = d->capacity > 0 ? slots : choices - d->dropped;
    struct activation a = {0};

    assert(at_once <= received && d->dropped <= choices);
    if (d->dense)
        count_masks(&a, m, d);
    else
        a.weights = bytes_of((double)choices, bits);
    a.dispatched = a.returned = bytes_of((double)sent * hidden, bits);
    a.received = a.outputs = bytes_of((double)received * hidden, bits);
    a.inner = bytes_of((double)at_once * m->matrices * m->expert_ffn, bits);
    a.joined = at_once < received ? a.outputs : 0;
    a.combined = bytes_of(d->rows * hidden, bits);
    return a;
}

uint64_t activation_bytes(const struct activation *a)
{
    return a->choices + a->truth + a->weights + a->mask + a->dispatched + a->received +
           a->inner + a->outputs + a->joined + a->returned + a->combined;
}

uint64_t activation_peak(const struct activation *a)
{
    uint64_t masks = a->weights + a->mask;
    uint64_t computed = a->received + a->outputs + a->joined;
    uint64_t phases[] = {
        a->choices + a->truth + a->weights,
        masks + a->truth,
        masks + a->dispatched + a->received,
        masks + a->received + a->inner + a->outputs,
        masks + computed + a->returned,
        masks + a->received + a->returned + a->combined,
    };
    uint64_t peak = 0;

    for (size_t i = 0; i < sizeof phases / sizeof phases[0]; i++)
        peak = phases[i] > peak ? phases[i] : peak;
    return peak;
}

uint64_t activation_head(const struct model *m, uint64_t outputs)
{
    return bytes_of((double)outputs * m->vocab, m->activation_bits + 32.0);
}
