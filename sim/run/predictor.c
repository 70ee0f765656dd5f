/* What is loaded early: one predictor a run, of all experts of the model. */
#include "run_state.h"

#include "sim/base/mem.h"

#include <stdlib.h>

void predictor_init(struct runner *c)
{
    const struct run_setup *s = c->setup;
    struct predictor *p = &c->predictor;
    struct policy_shape shape = run_shape(c);

    p->type = policy_prefetch(s->policy);
    p->params = s->policy->params[SLOT_PREFETCH];
    if ((p->type->plugin.acts & ACT_PREFETCH) == 0)
        return;
    c->load = mem_zalloc((size_t)c->layers * c->experts, sizeof *c->load);
    p->want = mem_alloc(p->type->width(&shape, p->params), sizeof *p->want);
    p->state = mem_zalloc(1, p->type->state_size(&shape, p->params));
    p->type->init(p->state, &shape, p->params);
}

void predictor_release(struct predictor *p)
{
    free(p->state);
    free(p->want);
}

/* Does something for each GPU that holds a wanted expert: all that have a replica. */
static void for_want(struct runner *c, const struct prefetch_want *want,
                     void (*act)(struct gpu *g, uint32_t layer, uint32_t expert,
                                 uint32_t pass))
{
    uint32_t step = c->view.layer + want->ahead, layer = step % c->layers, count;
    uint32_t pass = (uint32_t)(c->pass->index + step / c->layers);
    const uint32_t *slot;

    if (c->spread == NULL) {
        act(c->gpu, layer, want->expert, pass);
        return;
    }
    slot = place_replicas(c->spread->place, layer, want->expert, &count);
    for (uint32_t i = 0; i < count; i++)
        act(&c->gpu[c->spread->gpu_of[slot[i]]], layer, slot[i] % c->spread->local, pass);
}

/* What is wanted and there already is held first: else the load of one want could evict
 * another. */
void predictor_step(struct runner *c)
{
    struct predictor *p = &c->predictor;
    uint32_t count = p->type->step(p->state, &c->view, p->want);

    for (uint32_t i = 0; i < count; i++)
        for_want(c, &p->want[i], residency_hold);
    for (uint32_t i = 0; i < count; i++)
        for_want(c, &p->want[i], residency_load_early);
}
