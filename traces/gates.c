#include "gates.h"

#include "gate_mass.h"

#include "sim/base/mem.h"

#include <math.h>
#include <stdlib.h>

struct gates {
    const struct trace_info *info;
    const struct trace_request *requests;
    struct trace_gate *gate; /* (phase, group) */
    uint32_t *mass;          /* [top_k] */
    uint32_t *subject;       /* [room] of the block's rows: which gate */
    uint32_t room;
};

struct gates *gates_new(struct trace *t)
{
    struct gates *g = mem_zalloc(1, sizeof *g);

    g->info = trace_get_info(t);
    g->requests = trace_get_requests(t);
    g->gate = mem_zalloc((size_t)TRACE_PHASES * g->info->groups, sizeof *g->gate);
    g->mass = mem_alloc(g->info->top_k, sizeof *g->mass);
    return g;
}

void gates_free(struct gates *g)
{
    if (g == NULL)
        return;
    free(g->gate);
    free(g->mass);
    free(g->subject);
    free(g);
}

const struct trace_gate *gates_sums(const struct gates *g)
{
    return g->gate;
}

static void find_subjects(struct gates *g, const struct rows_layer *l)
{
    if (l->rows > g->room) {
        g->room = l->rows;
        g->subject = mem_resize(g->subject, g->room, sizeof *g->subject);
    }
    for (uint32_t i = 0; i < l->rows; i++)
        g->subject[i] =
            l->token[i].phase * g->info->groups + g->requests[l->token[i].request].group;
}

/* The two largest of `count` scores, and where the largest is. */
struct choice {
    float first, second;
    uint32_t at;
};

static inline struct choice find_choice(const float *score, uint32_t count)
{
    struct choice c = {score[0], -INFINITY, 0};

    for (uint32_t i = 1; i < count; i++) {
        bool larger = score[i] > c.first;
        float less = larger ? c.first : score[i];

        c.second = less > c.second ? less : c.second;
        c.first = larger ? score[i] : c.first;
        c.at = larger ? i : c.at;
    }
    return c;
}

static void add_cell(struct gates *g, struct trace_gate *gate, const uint16_t *cell,
                     const float *score, uint32_t count)
{
    uint64_t recorded = gate_mass(g->info, cell, score, count, g->mass);
    uint32_t compared =
        g->info->top_k == 1 ? rows_executed(cell, g->info->candidates) : count;
    struct choice c;
    uint64_t executed = 0;

    for (uint32_t i = 0; i < count; i++)
        executed += g->mass[i];
    if (executed == 0)
        return;
    c = find_choice(score, count);
    gate->cells++;
    gate->rest += 1.0 - (double)g->mass[c.at] / (double)executed;
    gate->outside += 1.0 - (double)executed / (double)recorded;
    if (compared < 2)
        return;
    if (compared != count)
        c = find_choice(score, compared);
    gate->margins++;
    gate->margin += (double)c.first - (double)c.second;
}

void gates_visit(void *context, const struct rows_layer *l)
{
    struct gates *g = context;

    if (l->layer == 0)
        find_subjects(g, l);
    for (uint32_t i = 0; i < l->rows; i++)
        if (l->count[i] > 0)
            add_cell(g, &g->gate[g->subject[i]], l->cell + i * l->stride,
                     l->score + i * l->stride, l->count[i]);
}
