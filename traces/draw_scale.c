#include "draw_scale.h"

#include "sim/base/mem.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#define SAMPLE_VALUES ((uint64_t)1 << 20)
#define HALVINGS 30

/* Scores of all experts, as logits of scale 1. */
struct sample {
    float *score; /* (cell, expert), descending */
    size_t cells;
};

static uint64_t count_rows(const struct draw_request *requests, size_t count)
{
    uint64_t rows = 0;

    for (size_t i = 0; i < count; i++)
        rows += (uint64_t)requests[i].prompt_rows + requests[i].output_rows;
    return rows;
}

static struct sample draw_sample(struct draw_model *m,
                                 const struct draw_request *requests, size_t count)
{
    size_t values = (size_t)m->layers * m->experts;
    uint64_t rows = count_rows(requests, count), room = SAMPLE_VALUES / values + 1;
    uint64_t stride = (rows + room - 1) / room, row = 0, drawn = 0;
    uint16_t *expert = mem_alloc(values, sizeof *expert);
    struct sample s = {.score = mem_alloc((size_t)room, values * sizeof *s.score)};

    m->logit_scale = 1;
    for (size_t i = 0; i < count; i++) {
        uint64_t end = row + requests[i].prompt_rows + requests[i].output_rows;
        struct draw_walk w;

        draw_walk_begin(&w, m, i, &requests[i]);
        for (; row < end; row++)
            if (row % stride == 0)
                draw_walk_row_all(&w, expert, s.score + drawn++ * values);
            else
                draw_walk_row(&w, NULL, NULL);
    }
    s.cells = (size_t)drawn * m->layers;
    free(expert);
    return s;
}

static double mean_mass(const struct sample *s, const struct draw_model *m, float scale)
{
    double sum = 0;

    for (size_t c = 0; c < s->cells; c++) {
        const float *score = s->score + c * m->experts;
        float executed = 0, all = 0;

        for (uint32_t i = 0; i < m->experts; i++) {
            all += expf(scale * (score[i] - score[0]));
            if (i + 1 == m->top_k)
                executed = all;
        }
        sum += (double)(executed / all);
    }
    return sum / (double)s->cells;
}

void draw_scale_fit(struct draw_model *m, const struct draw_request *requests,
                    size_t count, double mass)
{
    struct sample s = draw_sample(m, requests, count);
    double low = log(DRAW_SCALE_LEAST), high = log(DRAW_SCALE_MOST);

    assert(s.cells > 0);
    for (int i = 0; i < HALVINGS; i++) {
        double middle = (low + high) / 2;

        if (mean_mass(&s, m, (float)exp(middle)) < mass)
            low = middle;
        else
            high = middle;
    }
    m->logit_scale = (float)exp(low);
    free(s.score);
}
