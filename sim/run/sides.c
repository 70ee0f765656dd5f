/* Passes of an encoder-decoder model: the rows of prompts go through the encoder's
 * layers, then all others through the decoder's. */
#include "run_state.h"

/* The layers of a side. */
static struct run_span span_of(const struct runner *c, bool encoder)
{
    const struct trace_info *t = c->setup->trace;
    struct run_span span = c->span;
    uint32_t split = c->setup->cost->model->encoder_layers, moe = 0;

    while (moe < span.moe_end && t->moe_layer[moe] < split)
        moe++;
    if (encoder) {
        span.to = split;
        span.moe_end = moe;
    } else {
        span.from = split;
        span.moe = moe;
    }
    return span;
}

/* Makes the rows of a side what is walked. False: there are none. */
static bool take_rows(struct runner *c, const struct pass *whole, bool encoder)
{
    struct pass *p = &c->side;
    uint32_t first = encoder ? 0 : whole->encoder.tokens;
    size_t cells = (size_t)first * c->layers;

    *p = *whole;
    p->rows = encoder ? whole->encoder.tokens : whole->rows - first;
    p->row += first;
    p->expert += cells * c->candidates;
    if (p->score != NULL)
        p->score += cells * c->candidates;
    if (p->predicted != NULL)
        p->predicted += cells * c->predicted;
    if (encoder) {
        p->batch = whole->encoder;
        p->finished_count = p->first_count = p->output_count = 0;
    }
    c->pass = p;
    c->encoding = encoder;
    for (uint32_t i = 0; i < c->gpus; i++)
        c->gpu[i].pass = p;
    return p->rows > 0;
}

static int begin_side(struct runner *c, struct err *e)
{
    struct gpu *g = c->gpu;

    selecting_begin_pass(c);
    if (c->spread != NULL)
        return routing_spread_pass(c, e);
    g->activation_bytes = 0;
    c->known_rows = UINT64_MAX; /* what is known is of the other side's rows */
    routing_alone_pass(c);
    g->dense.batch = g->gate.batch = &c->side.batch;
    return 0;
}

/* Steps that access nothing, for look-aheads that are written or read. */
static int skip(struct runner *c, struct err *e)
{
    for (uint32_t l = c->span.moe; l < c->span.moe_end; l++) {
        if (c->setup->record != NULL &&
            future_writer_step(c->setup->record, c->gpu->step.turn, 0, e) != 0)
            return -1;
        if (c->setup->future != NULL && future_reader_next(c->setup->future, e) != 0)
            return -1;
    }
    return 0;
}

int sides_each(struct runner *c, sides_walk *walk, struct err *e)
{
    const struct pass *whole = c->pass;
    const struct run_span all = c->span;
    int status = 0;

    for (int encoder = 1; encoder >= 0 && status == 0; encoder--) {
        c->span = span_of(c, encoder == 1);
        if (!take_rows(c, whole, encoder == 1))
            status = skip(c, e);
        else if (begin_side(c, e) != 0 || walk(c, e) != 0)
            status = -1;
        c->span = all;
    }
    c->pass = whole;
    for (uint32_t i = 0; i < c->gpus; i++)
        c->gpu[i].pass = whole;
    return status;
}
