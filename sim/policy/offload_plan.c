#include "offload_plan.h"

#include "slots.h"

#include <string.h>

static struct cost_experts work_of(const struct offload_costs *c, const uint16_t *expert,
                                   uint32_t count)
{
    struct cost_experts work = {.distinct = 0};

    for (uint32_t i = 0; i < count; i++)
        cost_experts_add(&work, c->tokens[expert[i]], c->tiles);
    return work;
}

/* ---- what the cost model says ---- */

static sim_time gpu_time(const void *context, const struct cost_experts *group)
{
    const struct view *v = context;

    return cost_expert_group(v->cost, group);
}

static sim_time host_time(const void *context, const struct cost_experts *group,
                          sim_time sum)
{
    const struct view *v = context;
    uint64_t rows = group->rows < v->rows ? group->rows : v->rows;

    (void)sum;
    return v->cost->machine->host.layer_overhead + cost_host_trip(v->cost, rows) +
           cost_host_experts(v->cost, group);
}

static sim_time near_one(const void *context, uint32_t rows)
{
    const struct view *v = context;

    return cost_near_expert(v->cost, rows);
}

static sim_time near_time(const void *context, const struct cost_experts *group,
                          sim_time sum)
{
    const struct view *v = context;

    return v->cost->machine->near.layer_overhead + cost_host_trip(v->cost, group->rows) +
           sum;
}

/* Both ascend. */
static struct cost_experts resident_work(const struct view *v, const uint16_t *missing,
                                         uint32_t count)
{
    struct cost_experts work = {.distinct = 0};
    uint32_t passed = 0;

    for (uint32_t i = 0; i < v->active_count; i++) {
        if (passed < count && missing[passed] == v->active[i])
            passed++;
        else
            cost_experts_add(&work, v->tokens[v->active[i]],
                             &v->cost->machine->gpu.tiles);
    }
    return work;
}

static struct offload_costs costs(const struct view *v, const uint16_t *missing,
                                  uint32_t count)
{
    struct cost_experts resident = resident_work(v, missing, count);

    return (struct offload_costs){.copy =
                                      cost_copy(v->copy_in, v->expert_bytes[v->layer]),
                                  .before = v->cost->machine->host.copy_call,
                                  .busy = cost_expert_group(v->cost, &resident),
                                  .each = v->loads_run_each,
                                  .context = v,
                                  .gpu = gpu_time,
                                  .tokens = v->tokens,
                                  .tiles = &v->cost->machine->gpu.tiles};
}

struct offload_costs offload_costs_host(const struct view *v, const uint16_t *missing,
                                        uint32_t count)
{
    struct offload_costs c = costs(v, missing, count);

    c.in_place = host_time;
    return c;
}

struct offload_costs offload_costs_near(const struct view *v, const uint16_t *missing,
                                        uint32_t count)
{
    struct offload_costs c = costs(v, missing, count);

    c.one = near_one;
    c.in_place = near_time;
    return c;
}

/* ---- dividing ---- */

static bool comes_before(const uint32_t *tokens, uint16_t a, uint16_t b)
{
    return tokens[a] != tokens[b] ? tokens[a] > tokens[b] : a < b;
}

/* Shell's: it needs no memory, and steps have few experts. */
void offload_sort(const uint32_t *tokens, const uint16_t *expert, uint32_t count,
                  uint16_t *order)
{
    uint32_t gap = 1;

    memmove(order, expert, count * sizeof *order);
    while (gap < count / 3)
        gap = 3 * gap + 1;
    for (; gap > 0; gap /= 3) {
        for (uint32_t i = gap; i < count; i++) {
            uint16_t moved = order[i];
            uint32_t at = i;

            for (; at >= gap && comes_before(tokens, moved, order[at - gap]); at -= gap)
                order[at] = order[at - gap];
            order[at] = moved;
        }
    }
}

void offload_leave(const uint16_t *missing, uint32_t count, const uint16_t *place,
                   uint32_t left, uint8_t *where)
{
    for (uint32_t i = 0; i < left; i++) {
        uint32_t low = 0, high = count;

        while (high - low > 1) {
            uint32_t middle = low + (high - low) / 2;

            if (missing[middle] <= place[i])
                low = middle;
            else
                high = middle;
        }
        where[low] = OFFLOAD_IN_PLACE;
    }
}

/* The sides while one expert after the other goes from its place to the GPU. */
struct division {
    struct cost_experts copied, rest;
    sim_time sum;    /* one() of the rest */
    sim_time copies; /* when the last has come */
    sim_time run;    /* each: when the last has run */
};

static struct division divide_nothing(const struct offload_costs *c,
                                      const uint16_t *order, uint32_t count)
{
    struct division d = {
        .rest = work_of(c, order, count), .copies = c->before, .run = c->busy};

    for (uint32_t i = 0; c->one != NULL && i < count; i++)
        d.sum += c->one(c->context, c->tokens[order[i]]);
    return d;
}

static void move_one(struct division *d, const struct offload_costs *c, uint16_t expert)
{
    struct cost_experts one = work_of(c, &expert, 1);

    d->copied.distinct++;
    d->copied.rows += one.rows;
    d->copied.padded_rows += one.padded_rows;
    d->rest.distinct--;
    d->rest.rows -= one.rows;
    d->rest.padded_rows -= one.padded_rows;
    if (c->one != NULL)
        d->sum -= c->one(c->context, c->tokens[expert]);
    d->copies += c->copy;
    if (c->each)
        d->run = (d->run > d->copies ? d->run : d->copies) + c->gpu(c->context, &one);
}

static sim_time gpu_end(const struct division *d, const struct offload_costs *c)
{
    sim_time begun = c->busy > d->copies ? c->busy : d->copies;

    if (d->copied.distinct == 0 || c->each)
        return d->run;
    return begun + c->gpu(c->context, &d->copied);
}

static sim_time in_place_end(const struct division *d, const struct offload_costs *c)
{
    return d->rest.distinct > 0 ? c->in_place(c->context, &d->rest, d->sum) : 0;
}

struct offload_times offload_times_of(const struct offload_costs *c,
                                      const uint16_t *order, uint32_t count,
                                      uint32_t copied)
{
    struct division d = divide_nothing(c, order, count);

    for (uint32_t i = 0; i < copied; i++)
        move_one(&d, c, order[i]);
    return (struct offload_times){gpu_end(&d, c), in_place_end(&d, c)};
}

/* The GPU is never done before the last copy has come, and more copies come later: once
 * that is no earlier than what was found, nothing else is. */
uint32_t offload_best(const struct offload_costs *c, const uint16_t *order,
                      uint32_t count, uint32_t most)
{
    struct division d = divide_nothing(c, order, count);
    sim_time least = SIM_TIME_MAX;
    uint32_t best = 0;

    for (uint32_t copied = 0;; copied++) {
        sim_time end = gpu_end(&d, c);

        if (end < least) {
            sim_time in_place = in_place_end(&d, c);

            end = end > in_place ? end : in_place;
        }
        if (end < least) {
            least = end;
            best = copied;
        }
        if (copied == count || copied == most || d.copies + c->copy >= least)
            return best;
        move_one(&d, c, order[copied]);
    }
}
