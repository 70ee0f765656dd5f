#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "prefetch_world.h"

#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

struct world *world_new(uint32_t passes, uint32_t layers, uint32_t experts,
                        uint32_t top_k, uint32_t rows)
{
    struct world *w = mem_zalloc(1, sizeof *w);

    w->passes = passes;
    w->layers = layers;
    w->experts = experts;
    w->top_k = top_k;
    w->rows = rows;
    w->choice = mem_alloc((size_t)passes * layers * rows * top_k, sizeof *w->choice);
    w->row = mem_zalloc((size_t)passes * rows, sizeof *w->row);
    w->load = mem_zalloc((size_t)layers * experts, sizeof *w->load);
    for (uint32_t i = 0; i < passes * rows; i++) {
        w->row[i].request = i % rows;
        w->row[i].position = i / rows;
        w->row[i].phase = 1;
    }
    return w;
}

void world_free(struct world *w)
{
    free(w->choice);
    free(w->row);
    free(w->load);
    free(w);
}

uint16_t *world_choice(const struct world *w, uint32_t step, uint32_t row)
{
    return &w->choice[((size_t)step * w->rows + row) * w->top_k];
}

uint32_t world_active(const struct world *w, uint32_t step, uint16_t *active,
                      uint32_t *tokens)
{
    uint32_t count = 0;

    memset(tokens, 0, w->experts * sizeof *tokens);
    for (uint32_t i = 0; i < w->rows * w->top_k; i++) {
        uint16_t e = world_choice(w, step, 0)[i];

        if (e != VIEW_NO_EXPERT)
            tokens[e]++;
    }
    for (uint32_t e = 0; e < w->experts; e++) {
        if (tokens[e] > 0)
            active[count++] = (uint16_t)e;
    }
    return count;
}

static uint32_t future(const struct view_future *f, uint32_t ahead,
                       const uint32_t **expert)
{
    /* The tests own the world and hand it out as const; future() fills its buffer. */
    struct world *w = (struct world *)(uintptr_t)f;
    uint16_t active[256];
    uint32_t tokens[256];
    uint32_t count;

    *expert = w->expert;
    if (w->at + ahead >= w->passes * w->layers)
        return 0;
    count = world_active(w, w->at + ahead, active, tokens);
    for (uint32_t i = 0; i < count; i++)
        w->expert[i] = active[i];
    return count;
}

struct view world_view(struct world *w, uint32_t step, bool oracle)
{
    struct view v = {.pass = step / w->layers,
                     .layer = step % w->layers,
                     .layers = w->layers,
                     .experts = w->experts,
                     .top_k = w->top_k,
                     .candidates = w->top_k,
                     .rows = w->rows,
                     .row = &w->row[(size_t)(step / w->layers) * w->rows],
                     .choice = world_choice(w, step, 0),
                     .choice_stride = w->top_k,
                     .active = w->active,
                     .tokens = w->tokens,
                     .load = w->load,
                     .cache = w->cache};

    w->at = step;
    v.active_count = world_active(w, step, w->active, w->tokens);
    if (oracle) {
        v.future = future;
        v.future_context = &w->future;
    }
    return v;
}

void world_end_pass(struct world *w, uint32_t pass)
{
    for (uint32_t l = 0; l < w->layers; l++) {
        uint16_t active[256];
        uint32_t tokens[256];

        (void)world_active(w, pass * w->layers + l, active, tokens);
        for (uint32_t e = 0; e < w->experts; e++)
            w->load[l * w->experts + e] += tokens[e];
    }
}

struct world *world_random(struct rng *r)
{
    uint32_t experts = 2 + (uint32_t)rng_below(r, 30);
    struct world *w = world_new(6, 1 + (uint32_t)rng_below(r, 5), experts,
                                1 + (uint32_t)rng_below(r, experts < 4 ? experts : 4),
                                1 + (uint32_t)rng_below(r, 5));

    for (uint32_t s = 0; s < w->passes * w->layers; s++) {
        for (uint32_t row = 0; row < w->rows; row++) {
            uint16_t *c = world_choice(w, s, row);
            uint16_t first = (uint16_t)rng_below(r, experts);

            for (uint32_t j = 0; j < w->top_k; j++) {
                c[j] = (uint16_t)((first + j) % experts);
                if (rng_below(r, 16) == 0)
                    c[j] = VIEW_NO_EXPERT;
            }
        }
    }
    /* Requests change places between passes, and some leave. */
    for (uint32_t i = 0; i < w->passes * w->rows; i++)
        w->row[i].request = (uint32_t)rng_below(r, 6) * 8 + i % w->rows;
    return w;
}

/* ---- a plug-in at work ---- */

void prefetch_run_begin(struct prefetch_run *r, const struct world *w, const char *name,
                        const char *options, int fill)
{
    struct policy_shape shape = {
        .layers = w->layers, .experts = w->experts, .top_k = w->top_k};
    struct err e = {.text = ""};
    struct cfg *c = cfg_parse("test", options, strlen(options), &e);

    r->type = (const struct prefetch_type *)registry_find(SLOT_PREFETCH, name);
    assert_non_null(r->type);
    assert_non_null(c);
    r->params = mem_zalloc(1, r->type->plugin.params_size + 1);
    if (cfg_bind(cfg_root(c), r->type->plugin.options, r->params, &e) != 0)
        fail_msg("%s", e.text);
    cfg_free(c);
    /* Exactly what was asked for, so that the address sanitizer sees any excess. */
    r->state = mem_alloc(1, r->type->state_size(&shape, r->params));
    memset(r->state, fill, r->type->state_size(&shape, r->params));
    r->type->init(r->state, &shape, r->params);
    r->most = r->type->width(&shape, r->params);
    r->want = mem_alloc(r->most, sizeof *r->want);
}

void prefetch_run_step(struct prefetch_run *r, const struct view *v)
{
    r->count = r->type->step(r->state, v, r->want);
    assert_true(r->count <= r->most);
}

void prefetch_run_end(struct prefetch_run *r)
{
    free(r->params);
    free(r->state);
    free(r->want);
}

bool prefetch_run_exact(const struct prefetch_run *r, const struct world *w,
                        uint32_t step, uint32_t ahead)
{
    uint16_t active[256];
    uint32_t tokens[256];
    uint32_t count = world_active(w, step + ahead, active, tokens);
    bool equal = r->count == count;

    for (uint32_t i = 0; i < r->count; i++)
        equal = equal && r->want[i].ahead == ahead && tokens[r->want[i].expert] > 0;
    return equal;
}
