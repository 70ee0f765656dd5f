#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "place_help.h"

#include "sim/base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double draw(enum made_load kind, struct rng *r)
{
    switch (kind) {
    case MADE_REAL:
        return 1000.0 * rng_unit(r);
    case MADE_WHOLE:
        return (double)rng_below(r, 8);
    case MADE_SPIKY:
        break;
    }
    return (rng_below(r, 8) == 0 ? 50.0 : 1.0) * (1.0 + rng_unit(r));
}

struct made_problem made_problem(const struct place_problem *sizes, enum made_load kind,
                                 struct rng *r)
{
    struct made_problem m = {.p = *sizes};
    size_t cells = (size_t)sizes->layers * sizes->experts;

    m.p.samples = 8;
    m.load = mem_alloc(cells, sizeof *m.load);
    m.history = mem_alloc(cells * m.p.samples, sizeof *m.history);
    for (size_t i = 0; i < cells; i++)
        m.load[i] = draw(kind, r);
    for (size_t i = 0; i < cells * m.p.samples; i++)
        m.history[i] = (uint32_t)rng_below(r, 1000);
    m.p.load = m.load;
    m.p.history = m.history;
    m.p.seed = rng_u64(r);
    return m;
}

void made_problem_free(struct made_problem *m)
{
    free(m->load);
    free(m->history);
}

struct place_problem made_sizes(uint32_t most_slots, struct rng *r)
{
    struct place_problem p = {.layers = 1 + (uint32_t)rng_below(r, 3)};

    for (;;) {
        uint32_t per_gpu = 1 + (uint32_t)rng_below(r, 6), size;

        p.nodes = 1 + (uint32_t)rng_below(r, 4);
        p.gpus = p.nodes * (1 + (uint32_t)rng_below(r, 4));
        p.slots = p.gpus * per_gpu;
        p.groups = 1 + (uint32_t)rng_below(r, 8);
        size = 1 + (uint32_t)rng_below(r, 8);
        p.experts = p.groups * size;
        if (p.experts <= p.slots && p.slots <= most_slots)
            return p;
    }
}

const struct place_type *place_type_of(const char *name)
{
    const struct plugin *p = registry_find(SLOT_PLACE, name);

    assert_non_null(p);
    return (const struct place_type *)p;
}

void *place_params(const struct place_type *type, const char *options)
{
    struct err e = {.text = ""};
    struct cfg *c;
    void *params;

    if (type->plugin.params_size == 0)
        return NULL;
    c = cfg_parse("test", options, strlen(options), &e);
    params = mem_zalloc(1, type->plugin.params_size);
    if (c == NULL || cfg_bind(cfg_root(c), type->plugin.options, params, &e) != 0)
        fail_msg("%s", e.text);
    cfg_free(c);
    return params;
}

struct place *place_by(const char *name, const char *options,
                       const struct place_problem *p)
{
    const struct place_type *type = place_type_of(name);
    void *params = place_params(type, options);
    struct err e = {.text = ""};
    struct place *made = place_new(type, params, p, &e);

    if (made == NULL)
        fail_msg("%s", e.text);
    free(params);
    return made;
}

double place_most(const struct place *p, uint32_t layer, const double *load)
{
    double *gpu = mem_alloc(p->gpus, sizeof *gpu), most = 0.0;

    place_gpu_load(p, layer, load, gpu);
    for (uint32_t g = 0; g < p->gpus; g++)
        most = fmax(most, gpu[g]);
    free(gpu);
    return most;
}
