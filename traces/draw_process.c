#include "draw_process.h"

#include "sim/base/mem.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

void draw_process_start(struct draw_model *m, double sd, double persistence,
                        double popularity_sd)
{
    struct draw_process *p = mem_zalloc(1, sizeof *p);

    assert(m->process == NULL && !m->alone);
    p->sd = (float)sd;
    p->persistence = (float)persistence;
    p->state = mem_zalloc((size_t)m->layers * m->width, sizeof *p->state);
    m->process = p;
    m->logit_scale = 1;
    for (uint32_t l = 0; l < m->layers; l++) {
        struct rng r = rng_stream(m->seed, "process bias", l);

        for (uint32_t x = 0; x < m->experts; x++)
            *draw_bias(m, l, x) = (float)popularity_sd * draw_normal(m, &r);
    }
}

void draw_process_free(struct draw_process *p)
{
    if (p == NULL)
        return;
    free(p->state);
    free(p);
}

/* Every row takes as many numbers of the request's stream, one for each expert of each
 * layer. */
void draw_process_step(struct draw_walk *w)
{
    const struct draw_model *m = w->m;
    const struct draw_process *p = m->process;
    float keep = w->row == 0 ? 0 : p->persistence;
    float renew = sqrtf(1 - keep * keep);

    assert(w->number_of_walk == p->walks);
    for (uint32_t l = 0; l < m->layers; l++) {
        float *state = p->state + (size_t)l * m->width;

        for (uint32_t x = 0; x < m->experts; x++) {
            float *a = &state[draw_place(m, x)];

            *a = keep * *a + renew * draw_normal(m, &w->noise);
        }
    }
}

/* What fills up the tables has no finite bias, and so no finite score. */
void draw_process_score(struct draw_model *m, uint32_t layer)
{
    const float *restrict bias = m->bias + (size_t)layer * m->width;
    const float *restrict state = m->process->state + (size_t)layer * m->width;
    const float sd = m->process->sd;
    float *restrict score = m->score;

    for (size_t i = 0; i < m->width; i++)
        score[i] = bias[i] + sd * state[i];
}
