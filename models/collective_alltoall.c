#include "collective_parts.h"

#include <assert.h>

/* What a phase does, as bits. In the words of dispatch; `reverse` swaps the ends. */
enum step {
    STEP_DIRECT = 1,  /* source to destination */
    STEP_GATHER = 2,  /* source to the GPU of its node with the destination's place */
    STEP_ACROSS = 4,  /* from there to the destination */
    STEP_ONCE = 8,    /* source to the GPU with its place in the destination's node */
    STEP_FORWARD = 16 /* from there to the destination */
};

static unsigned steps_of(const struct collective *c, uint32_t phase)
{
    bool second = (phase == 1) != c->reverse;

    switch (c->form) {
    case COLLECTIVE_RAILS:
        return second ? STEP_ACROSS : STEP_GATHER;
    case COLLECTIVE_FORWARD:
        return second ? STEP_FORWARD : STEP_ONCE;
    case COLLECTIVE_NORMAL:
        return STEP_ONCE | STEP_FORWARD;
    default:
        return STEP_DIRECT;
    }
}

sim_time collective_all_to_all_alpha(const struct topology *t, const struct collective *c,
                                     uint32_t phase)
{
    unsigned steps = steps_of(c, phase);
    sim_time near = t->gpus > 1 ? t->near_latency : 0;
    sim_time far = t->nodes > 1 ? t->far_latency : 0;
    sim_time alpha = 0;

    if (steps & STEP_DIRECT)
        alpha = c->network_only && t->ranks > 1 ? t->far_latency
                : near > far                    ? near
                                                : far;
    if (steps & (STEP_GATHER | STEP_FORWARD))
        alpha += near;
    if (steps & (STEP_ACROSS | STEP_ONCE))
        alpha += far;
    return alpha;
}

static uint64_t row_sum(const uint64_t *row, uint32_t count)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < count; i++)
        sum += row[i];
    return sum;
}

/* Units of a source for one node, each token counted once. */
static uint64_t node_units(const struct topology *t, const struct collective *c,
                           uint32_t source, uint32_t node)
{
    if (c->nodes != NULL)
        return c->nodes[(size_t)source * t->nodes + node];
    return row_sum(c->pairs + (size_t)source * t->ranks + (size_t)node * t->gpus,
                   t->gpus);
}

static void move(const struct collective *c, const struct collective_sink *s,
                 uint32_t source, uint32_t destination, uint64_t units)
{
    uint64_t bytes = units * c->unit_bytes;

    if (c->reverse)
        collective_move(s, destination, source, bytes);
    else
        collective_move(s, source, destination, bytes);
}

void collective_all_to_all_moves(const struct collective *c, uint32_t phase,
                                 const struct collective_sink *s)
{
    const struct topology *t = s->topology;
    unsigned steps = steps_of(c, phase);

    for (uint32_t from = 0; from < t->ranks; from++) {
        const uint64_t *row = c->pairs + (size_t)from * t->ranks;
        uint32_t place = from % t->gpus;

        for (uint32_t to = 0; to < t->ranks; to++) {
            uint32_t rail = from - place + to % t->gpus;
            uint32_t relay = to - to % t->gpus + place;

            if (steps & STEP_DIRECT)
                move(c, s, from, to, row[to]);
            if (steps & STEP_GATHER)
                move(c, s, from, rail, row[to]);
            if (steps & STEP_ACROSS)
                move(c, s, rail, to, row[to]);
            if (steps & STEP_FORWARD)
                move(c, s, relay, to, row[to]);
        }
        for (uint32_t m = 0; m < t->nodes && (steps & STEP_ONCE); m++)
            move(c, s, from, m * t->gpus + place, node_units(t, c, from, m));
    }
}

/* ---- the same by sums ---- */

/* Where bytes are counted, by rank or by node: at the ports that only NVLink (near) or
 * only the network (far) uses. */
struct ports {
    uint64_t *near_out, *near_in;
    uint64_t *far_out, *far_in;
    uint64_t *up, *down; /* NULL: not oversubscribed */
};

/* Adds a row to the ports it goes into, but for `skip`; returns the sum of the rest. */
static uint64_t row_spread(uint64_t *in, const uint64_t *row, uint32_t count,
                           uint32_t skip)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < count; i++) {
        in[i] += row[i];
        sum += row[i];
    }
    if (skip >= count)
        return sum;
    in[skip] -= row[skip];
    return sum - row[skip];
}

static void count_crossing(const struct ports *p, uint32_t from, uint32_t to,
                           uint64_t units)
{
    if (p->up == NULL || from == to)
        return;
    p->up[from] += units;
    p->down[to] += units;
}

/* What source `from` has for node m. */
static void count_block(const struct topology *t, const struct collective *c,
                        unsigned steps, const struct ports *p, uint32_t from, uint32_t m)
{
    uint32_t g = t->gpus;
    uint32_t n = from / g;
    uint32_t place = from % g;
    const uint64_t *row = c->pairs + (size_t)from * t->ranks + (size_t)m * g;
    uint64_t units;

    if ((steps & STEP_DIRECT) && m == n && !c->network_only)
        p->near_out[from] += row_spread(p->near_in + (size_t)m * g, row, g, place);
    else if (steps & STEP_DIRECT) {
        units = row_spread(p->far_in + (size_t)m * g, row, g, m == n ? place : g);
        p->far_out[from] += units;
        count_crossing(p, n, m, units);
    }
    if (steps & STEP_GATHER)
        p->near_out[from] += row_spread(p->near_in + (size_t)n * g, row, g, place);
    if ((steps & STEP_ACROSS) && m != n) {
        (void)row_spread(p->far_out + (size_t)n * g, row, g, g);
        units = row_spread(p->far_in + (size_t)m * g, row, g, g);
        count_crossing(p, n, m, units);
    }
    if ((steps & STEP_ONCE) && m != n) {
        units = node_units(t, c, from, m);
        p->far_out[from] += units;
        p->far_in[m * g + place] += units;
        count_crossing(p, n, m, units);
    }
    if (steps & STEP_FORWARD)
        p->near_out[m * g + place] +=
            row_spread(p->near_in + (size_t)m * g, row, g, place);
}

void collective_all_to_all_loads(const struct topology *t, const struct collective *c,
                                 uint32_t phase, uint64_t *load)
{
    /* A transfer turned round swaps the ports out and in. */
    uint32_t out = c->reverse ? 1 : 0;
    uint32_t in = 1 - out;
    const struct ports p = {
        load + t->first[TOPOLOGY_NVLINK_OUT + out],
        load + t->first[TOPOLOGY_NVLINK_OUT + in],
        load + t->first[TOPOLOGY_PCIE_OUT + out],
        load + t->first[TOPOLOGY_PCIE_OUT + in],
        t->oversubscribed ? load + t->first[TOPOLOGY_UP + out] : NULL,
        t->oversubscribed ? load + t->first[TOPOLOGY_UP + in] : NULL,
    };
    unsigned steps = steps_of(c, phase);

    assert(t->nvlink);
    for (uint32_t from = 0; from < t->ranks; from++) {
        for (uint32_t m = 0; m < t->nodes; m++)
            count_block(t, c, steps, &p, from, m);
    }
    for (uint32_t r = 0; r < t->ranks && t->rails > 0; r++) {
        uint32_t nic = topology_nic(t, r);

        load[t->first[TOPOLOGY_NIC_OUT] + nic] += load[t->first[TOPOLOGY_PCIE_OUT] + r];
        load[t->first[TOPOLOGY_NIC_IN] + nic] += load[t->first[TOPOLOGY_PCIE_IN] + r];
    }
    for (uint32_t i = 0; i < t->links; i++)
        load[i] *= c->unit_bytes;
}
