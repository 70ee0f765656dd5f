#include "counting.h"

#include "run_state.h"
#include "sim/base/file.h"
#include "sim/base/mem.h"
#include "traces/trace.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct counting {
    struct runner c;
    struct pass pass; /* of which only the index is known */
    struct run_counting *out;
    uint32_t *count; /* (layer, expert) of a pass */
    uint64_t *slot;  /* [slots] tokens */
    uint64_t *gpu;   /* [gpus] tokens */
    counting_told *told;
    void *context;
};

/* ---- a step ---- */

/* Deals an expert's tokens to its replicas, as rows would be one by one. */
static void deal(struct counting *t, uint32_t layer, uint32_t expert, uint32_t tokens)
{
    const struct runner *c = &t->c;
    const enum place_choice how = (enum place_choice)c->setup->policy->place.replica;
    const struct place *p = c->spread->place;
    uint64_t *turn = &c->spread->turn[(size_t)layer * c->experts + expert];
    uint32_t replicas, rest = tokens;
    const uint32_t *slot = place_replicas(p, layer, expert, &replicas);

    if (replicas == 1) { /* which takes no turns */
        t->slot[slot[0]] += tokens;
        return;
    }
    /* Whole rounds give every replica as many, and leave the turn where it was. */
    if (how == PLACE_ROUND_ROBIN) {
        for (uint32_t i = 0; i < replicas; i++)
            t->slot[slot[i]] += tokens / replicas;
        rest = tokens % replicas;
    }
    for (uint32_t i = 0; i < rest; i++)
        t->slot[place_choose(p, how, layer, expert, 0, *turn + i, c->setup->seed)]++;
    *turn += tokens;
}

/* What a GPU's experts take as one group. */
static sim_time group_time(const struct counting *t, uint32_t gpu)
{
    const struct runner *c = &t->c;
    struct cost_experts work = {.distinct = 0};

    for (uint32_t i = 0; i < c->spread->local; i++) {
        uint64_t tokens = t->slot[(size_t)gpu * c->spread->local + i];

        if (tokens > 0)
            cost_experts_add(&work, (uint32_t)tokens,
                             &c->setup->cost->machine->gpu.tiles);
    }
    return cost_expert_group(c->setup->cost, &work);
}

static void book_step(struct counting *t, struct run_counts *now)
{
    struct runner *c = &t->c;
    sim_time longest = 0;

    memset(t->gpu, 0, c->gpus * sizeof *t->gpu);
    for (uint32_t s = 0; s < c->spread->slots; s++)
        t->gpu[place_gpu(c->spread->place, s)] += t->slot[s];
    for (uint32_t g = 0; g < c->gpus; g++) {
        sim_time time = group_time(t, g);

        c->result->gpu_rows[g] += t->gpu[g];
        now->computed_rows += t->gpu[g];
        now->busiest_rows = t->gpu[g] > now->busiest_rows ? t->gpu[g] : now->busiest_rows;
        longest = time > longest ? time : longest;
    }
    t->out->expert_time += longest;
    if (now->computed_rows == 0)
        return;
    t->out->imbalance =
        mem_grow(t->out->imbalance, (size_t)t->out->steps, sizeof(double));
    t->out->imbalance[t->out->steps++] =
        (double)now->busiest_rows * c->gpus / (double)now->computed_rows;
}

static void run_step(struct counting *t, uint32_t layer)
{
    struct runner *c = &t->c;
    const uint32_t *count = t->count + (size_t)layer * c->experts;
    struct run_counts now = {.activations = 0};

    memset(t->slot, 0, c->spread->slots * sizeof *t->slot);
    for (uint32_t i = 0; i < c->experts; i++) {
        deal(t, layer, i, count[i]);
        now.activations += count[i];
    }
    book_step(t, &now);
    assert(now.activations == now.computed_rows);
    books_add(&c->books.counts, &now);
    books_add(&c->result->layer[layer].counts, &now);
    if (t->told != NULL)
        t->told(t->context, t->pass.index, layer, t->gpu);
}

/* ---- passes ---- */

static int run_pass(struct counting *t, struct trace *trace, struct err *e)
{
    struct runner *c = &t->c;
    const size_t cells = (size_t)c->layers * c->experts;

    if (trace_read_load(trace, t->pass.index, t->count, e) != 0)
        return -1;
    c->books = (struct run_pass){.start = 0};
    if (placement_begin_pass(c, e) != 0)
        return -1;
    for (uint32_t l = 0; l < c->layers; l++)
        run_step(t, l);
    if (c->spread->window != NULL)
        memcpy(place_window_pass(c->spread->window), t->count, cells * sizeof *t->count);
    placement_end_pass(c);
    books_add(&c->result->total.counts, &c->books.counts);
    c->result->passes++;
    return 0;
}

static void begin(struct counting *t, const struct run_setup *s, struct run_counting *out)
{
    const struct trace_info *info = s->trace;
    struct runner *c = &t->c;

    *out = (struct run_counting){.run = {.layers = info->layers,
                                         .gpus = s->parallel->topology->ranks,
                                         .nodes = s->parallel->topology->nodes,
                                         .shards = 1,
                                         .counts_only = true}};
    out->run.layer = mem_zalloc(info->layers, sizeof *out->run.layer);
    out->run.gpu_rows = mem_zalloc(out->run.gpus, sizeof *out->run.gpu_rows);
    out->run.gpu_peak = mem_zalloc(out->run.gpus, sizeof *out->run.gpu_peak);
    t->out = out;
    *c = (struct runner){.setup = s,
                         .result = &out->run,
                         .gpus = out->run.gpus,
                         .layers = info->layers,
                         .experts = info->experts,
                         .pass = &t->pass};
    c->spread = mem_zalloc(1, sizeof *c->spread);
    c->spread->p = s->parallel;
    c->spread->local = s->parallel->local;
    c->spread->slots = s->parallel->slots;
    c->spread->turn =
        mem_zalloc((size_t)info->layers * info->experts, sizeof *c->spread->turn);
    c->gpu = mem_zalloc(c->gpus, sizeof *c->gpu);
    t->count = mem_alloc((size_t)info->layers * info->experts, sizeof *t->count);
    t->slot = mem_alloc(c->spread->slots, sizeof *t->slot);
    t->gpu = mem_alloc(c->gpus, sizeof *t->gpu);
}

static void end(struct counting *t)
{
    placement_release(t->c.spread);
    free(t->c.spread->turn);
    free(t->c.spread);
    free(t->c.gpu);
    free(t->count);
    free(t->slot);
    free(t->gpu);
}

/* What the last placement has beside each expert's first slot, and what was moved. */
static void sum_up(const struct counting *t)
{
    const struct runner *c = &t->c;
    const struct place *p = c->spread->place;

    for (uint32_t l = 0; l < c->layers; l++) {
        for (uint32_t i = 0; i < c->experts; i++) {
            uint32_t replicas;

            (void)place_replicas(p, l, i, &replicas);
            t->out->replicas += replicas - 1;
        }
        t->out->moved +=
            c->result->layer[l].counts.migrated_bytes / c->setup->expert_bytes[l];
    }
}

int run_counting(const struct run_setup *setup, struct trace *trace, counting_told *told,
                 void *context, struct run_counting *out, struct err *e)
{
    struct counting t = {.told = told, .context = context};
    const uint64_t passes = setup->trace->passes;
    int status;

    assert(setup->parallel->balanced); /* nobody waits for a migration */
    begin(&t, setup, out);
    status = placement_init(&t.c, e);
    while (status == 0 && t.pass.index < passes && !file_interrupted()) {
        status = run_pass(&t, trace, e);
        t.pass.index++;
    }
    out->run.finished = status == 0 && out->run.passes == passes;
    if (status == 0)
        sum_up(&t);
    end(&t);
    return status;
}

void run_counting_release(struct run_counting *t)
{
    run_result_release(&t->run);
    free(t->imbalance);
    *t = (struct run_counting){.imbalance = NULL};
}
