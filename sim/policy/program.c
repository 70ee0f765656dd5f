#include "program.h"

#include "slots.h"

#include <assert.h>

void program_add(struct program *p, enum stage_verb verb, uint32_t part)
{
    assert(p->count < PROGRAM_STAGES && part < PROGRAM_PARTS);
    p->stage[p->count++] = (struct stage){(uint8_t)verb, (uint8_t)part};
    if (part >= p->parts)
        p->parts = part + 1;
    if (verb == STAGE_DENSE && part >= p->batches)
        p->batches = part + 1;
    assert(p->batches <= PROGRAM_BATCHES);
}

void program_begin(struct program *p)
{
    program_add(p, STAGE_DENSE, 0);
    program_add(p, STAGE_GATE, 0);
    program_add(p, STAGE_DECIDE, 0);
    program_add(p, STAGE_ENCODE, 0);
    program_add(p, STAGE_EXCHANGE, 0);
}

void program_end(struct program *p)
{
    program_add(p, STAGE_DECODE, 0);
}

static void plan_plain(struct program *p)
{
    program_begin(p);
    program_add(p, STAGE_DISPATCH, 0);
    program_add(p, STAGE_EXPERTS, 0);
    program_add(p, STAGE_COMBINE, 0);
    program_end(p);
}

/* Rows to all GPUs, a slice of every expert on each, sums back. */
static void plan_shards(const struct program_shape *shape, struct program *p)
{
    program_add(p, STAGE_DENSE, 0);
    program_add(p, STAGE_GATE, 0);
    program_add(p, STAGE_DECIDE, 0);
    if (shape->counts) {
        program_add(p, STAGE_ENCODE, 0);
        program_add(p, STAGE_COUNTS, 0);
    }
    program_add(p, STAGE_GATHER, 0);
    program_add(p, STAGE_EXPERTS, 0);
    program_add(p, STAGE_SCATTER, 0);
    if (shape->counts)
        program_end(p);
}

void program_make(const struct schedule_type *type, const void *params,
                  const struct program_shape *shape, struct program *p)
{
    *p = (struct program){.parts = 1, .batches = 1};
    if (shape->sharded)
        plan_shards(shape, p);
    else if (type->stages != NULL && shape->gpus > 1)
        type->stages(params, shape, p);
    else
        plan_plain(p);
    assert(p->batches == 1 || p->batches == p->parts);
}
