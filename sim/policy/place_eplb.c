/* DeepSeek's expert-parallel load balancer, slot for slot.
 *
 * Hierarchical, if the groups divide evenly over the nodes: (1) groups are packed into
 * nodes; (2) in each node replicas are granted one by one to the expert with the largest
 * load per replica; (3) the node's replicas are packed onto its GPUs. Otherwise global:
 * the same with one group and one node. Packing n items into m packs takes them by
 * weight, largest first, into the lightest pack that has fewer than n / m. With one item
 * per pack nothing is weighed: item i goes into pack i.
 *
 * To give the published results exactly, arithmetic and ties are those of the published
 * code on a CPU: loads are rounded to float first; load per replica and pack sums are
 * float divisions and additions; equal items keep their order, equal packs and equal
 * experts go to the lower index (Python's min and torch's max over a dimension take the
 * first). Items are ordered: the experts of a node by group as packed, then the further
 * replicas as granted. Two things are left to chance there: torch does not promise that
 * its sort is stable, which matters only between different experts of equal load per
 * replica; and the order in which it adds a group's loads, which is without effect while
 * a group's sum is below 2^24 whole tokens. Here the sum is taken in double and rounded
 * once.
 *
 * Cost: O((slots + experts) log(gpus + experts)) a layer, from a radix sort and heaps of
 * (value, index) keys; a key is unique, so that the heap has no order of its own. */
#include "place_fill.h"

#include <assert.h>
#include <string.h>

enum form { FORM_AUTO, FORM_GLOBAL };

struct eplb {
    int form;
};

static const char *const forms[] = {"auto", "global", NULL};

static const struct option options[] = {
    {"form", OPT_CHOICE, offsetof(struct eplb, form), "auto", 0, 0, forms,
     "auto: hierarchical where the groups divide evenly over the nodes, else global"},
    {.name = NULL},
};

/* Sizes, after the choice of the form. */
struct shape {
    uint32_t experts, groups, nodes, gpus, slots;
};

struct state {
    uint64_t *key;      /* [most] a sort's keys */
    uint64_t *spare;    /* [most] */
    uint64_t *heap;     /* [most] */
    float *weight;      /* [most] */
    float *value;       /* [most] of the items being packed */
    uint32_t *pack;     /* [most] */
    uint32_t *rank;     /* [most] */
    uint32_t *packed;   /* [most] items of a pack */
    uint32_t *order;    /* [experts] by node, as packed: the expert */
    uint32_t *item;     /* [slots of a node] index in the node of the expert replicated */
    uint32_t *replicas; /* [experts of a node] */
};

static struct shape shape_of(const struct eplb *how, const struct place_problem *p)
{
    bool global = how->form == FORM_GLOBAL || p->groups % p->nodes != 0;

    return (struct shape){.experts = p->experts,
                          .groups = global ? 1 : p->groups,
                          .nodes = global ? 1 : p->nodes,
                          .gpus = p->gpus,
                          .slots = p->slots};
}

static int check(const void *params, const struct place_problem *p, struct err *e)
{
    struct shape z = shape_of(params, p);

    if (p->groups == 0 || p->experts % z.groups != 0)
        return err_set_key(e, "place.groups",
                           "placement eplb: %u experts cannot be split into %u groups of "
                           "one size",
                           p->experts, p->groups);
    if (p->gpus % z.nodes != 0)
        return err_set_key(
            e, "place.form",
            "placement eplb: %u GPUs cannot be shared evenly by %u nodes; use "
            "form: global",
            p->gpus, p->nodes);
    return 0;
}

/* No array needs more entries than this: slots >= experts >= groups, slots >= gpus. */
static size_t scratch_size(const void *params, const struct place_problem *p)
{
    (void)params;
    return p->slots * (3 * sizeof(uint64_t) + 2 * sizeof(float) + 6 * sizeof(uint32_t));
}

static struct state state_at(void *memory, uint32_t most)
{
    struct state s = {.key = memory};

    s.spare = s.key + most;
    s.heap = s.spare + most;
    s.weight = (float *)(void *)(s.heap + most);
    s.value = s.weight + most;
    s.pack = (uint32_t *)(void *)(s.value + most);
    s.rank = s.pack + most;
    s.packed = s.rank + most;
    s.order = s.packed + most;
    s.item = s.order + most;
    s.replicas = s.item + most;
    return s;
}

/* ---- keys: (value, index), ascending in both, for values that are not negative ---- */

static uint32_t bits_of(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float float_of(uint64_t key)
{
    uint32_t bits = (uint32_t)(key >> 32);
    float x;

    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint64_t light_first(float x, uint32_t index)
{
    return (uint64_t)bits_of(x) << 32 | index;
}

static uint64_t heavy_first(float x, uint32_t index)
{
    return (uint64_t)~bits_of(x) << 32 | index;
}

/* Sinks `key` from entry `at` of a binary min-heap. */
static void sink(uint64_t *heap, uint32_t count, uint32_t at, uint64_t key)
{
    uint32_t child;

    while ((child = 2 * at + 1) < count) {
        child += child + 1 < count && heap[child + 1] < heap[child];
        if (key < heap[child])
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = key;
}

/* Sorts by the upper half, stable, a byte at a time. */
static void sort(uint64_t *key, uint64_t *spare, uint32_t count)
{
    for (unsigned shift = 32; shift < 64; shift += 8) {
        uint32_t start[256] = {0}, sum = 0;

        for (uint32_t i = 0; i < count; i++)
            start[key[i] >> shift & 0xff]++;
        for (uint32_t d = 0; d < 256; d++) {
            uint32_t n = start[d];

            start[d] = sum;
            sum += n;
        }
        for (uint32_t i = 0; i < count; i++)
            spare[start[key[i] >> shift & 0xff]++] = key[i];
        memcpy(key, spare, count * sizeof *key);
    }
}

/* ---- the two steps ---- */

/* Fills s->pack and s->rank for items of s->value. */
static void pack(struct state *s, uint32_t items, uint32_t packs)
{
    uint32_t room = items / packs, open = packs;

    assert(items % packs == 0);
    if (room == 1) {
        for (uint32_t i = 0; i < items; i++) {
            s->pack[i] = i;
            s->rank[i] = 0;
        }
        return;
    }
    for (uint32_t i = 0; i < items; i++)
        s->key[i] = heavy_first(s->value[i], i);
    sort(s->key, s->spare, items);
    for (uint32_t i = 0; i < packs; i++) {
        s->heap[i] = light_first(0.0F, i);
        s->packed[i] = 0;
    }
    for (uint32_t i = 0; i < items; i++) {
        uint32_t item = (uint32_t)s->key[i], p = (uint32_t)s->heap[0];
        float weight = float_of(s->heap[0]) + s->value[item];

        s->pack[item] = p;
        s->rank[item] = s->packed[p]++;
        if (s->packed[p] < room)
            sink(s->heap, open, 0, light_first(weight, p));
        else if (--open > 0)
            sink(s->heap, open, 0, s->heap[open]);
    }
}

/* Fills s->item and s->replicas for experts of s->weight. */
static void replicate(struct state *s, uint32_t experts, uint32_t slots)
{
    for (uint32_t i = 0; i < experts; i++) {
        s->item[i] = i;
        s->replicas[i] = 1;
        s->heap[i] = heavy_first(s->weight[i], i);
    }
    for (uint32_t i = experts / 2; i-- > 0;)
        sink(s->heap, experts, i, s->heap[i]);
    for (uint32_t i = experts; i < slots; i++) {
        uint32_t e = (uint32_t)s->heap[0];

        s->item[i] = e;
        s->replicas[e]++;
        sink(s->heap, experts, 0, heavy_first(s->weight[e] / (float)s->replicas[e], e));
    }
}

/* Fills s->order: which expert stands at each place of the nodes' lists. */
static void groups_to_nodes(const struct shape *z, const double *load, struct state *s)
{
    uint32_t size = z->experts / z->groups, per_node = z->groups / z->nodes;

    for (uint32_t g = 0; g < z->groups; g++) {
        double sum = 0.0;

        for (uint32_t i = 0; i < size; i++)
            sum += (double)(float)load[g * size + i];
        s->value[g] = (float)sum;
    }
    pack(s, z->groups, z->nodes);
    for (uint32_t g = 0; g < z->groups; g++) {
        uint32_t *to = &s->order[(s->pack[g] * per_node + s->rank[g]) * size];

        for (uint32_t i = 0; i < size; i++)
            to[i] = g * size + i;
    }
}

static void assign(const void *params, const struct place_problem *p, uint32_t layer,
                   void *scratch, uint16_t *expert)
{
    const struct shape z = shape_of(params, p);
    const double *load = &p->load[(size_t)layer * p->experts];
    struct state s = state_at(scratch, p->slots);
    uint32_t experts = z.experts / z.nodes, slots = z.slots / z.nodes;
    uint32_t per_gpu = z.slots / z.gpus;

    groups_to_nodes(&z, load, &s);
    for (uint32_t n = 0; n < z.nodes; n++) {
        const uint32_t *order = s.order + (size_t)n * experts;
        uint16_t *to = &expert[n * slots];

        for (uint32_t i = 0; i < experts; i++)
            s.weight[i] = (float)load[order[i]] + 0.0F; /* no negative zero */
        replicate(&s, experts, slots);
        for (uint32_t i = 0; i < slots; i++)
            s.value[i] = s.weight[s.item[i]] / (float)s.replicas[s.item[i]];
        pack(&s, slots, z.gpus / z.nodes);
        for (uint32_t i = 0; i < slots; i++)
            to[s.pack[i] * per_gpu + s.rank[i]] = (uint16_t)order[s.item[i]];
    }
}

const struct place_type place_eplb = {
    .plugin = {.slot = SLOT_PLACE,
               .name = "eplb",
               .help =
                   "groups to nodes, replicas of the hottest experts, replicas to the "
                   "lightest GPUs; fills every slot",
               .source = "DeepSeek's EPLB (deepseek-ai/EPLB, eplb.py)",
               .variant = VARIANT_RELEASED,
               .lossless = true,
               .needs = NEED_PROFILE,
               .options = options,
               .params_size = sizeof(struct eplb)},
    .check = check,
    .scratch_size = scratch_size,
    .assign = assign,
};
