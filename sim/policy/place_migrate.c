#include "place_migrate.h"

#include "sim/base/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- what must be copied ---- */

/* The GPU to fetch from, or `to` itself if it has the expert. */
static uint32_t source(const struct place *from, uint32_t layer, uint32_t expert,
                       uint32_t to, const uint64_t *sent)
{
    uint32_t count, best = UINT32_MAX;
    const uint32_t *slot = place_replicas(from, layer, expert, &count);
    bool best_near = false;

    assert(count > 0);
    for (uint32_t r = 0; r < count; r++) {
        uint32_t gpu = place_gpu(from, slot[r]);
        bool near = place_node(from, gpu) == place_node(from, to);

        if (gpu == to)
            return to;
        if (best == UINT32_MAX || (near && !best_near) ||
            (near == best_near && sent[gpu] < sent[best])) {
            best = gpu;
            best_near = near;
        }
    }
    return best;
}

static void add(struct place_migration *m, const struct place *from,
                struct place_copy copy, uint64_t bytes, size_t *room)
{
    if (m->copies == *room) {
        *room = *room > 0 ? 2 * *room : 64;
        m->copy = mem_resize(m->copy, *room, sizeof *m->copy);
    }
    m->copy[m->copies++] = copy;
    m->in[copy.to] += bytes;
    m->out[copy.from] += bytes;
    m->bytes += bytes;
    if (place_node(from, copy.from) != place_node(from, copy.to))
        m->network_bytes += bytes;
}

static void check_alike(const struct place *from, const struct place *to)
{
    (void)from;
    (void)to;
    assert(from->layers == to->layers && from->experts == to->experts);
    assert(from->gpus == to->gpus && from->nodes == to->nodes);
    assert(from->shards == 1 && to->shards == 1);
}

void place_migration_init(struct place_migration *m, const struct place *from,
                          const struct place *to, const uint64_t *expert_bytes)
{
    size_t room = 0;

    check_alike(from, to);
    *m = (struct place_migration){.in = mem_zalloc(to->gpus, sizeof *m->in),
                                  .out = mem_zalloc(to->gpus, sizeof *m->out)};
    for (uint32_t l = 0; l < to->layers; l++) {
        for (uint32_t e = 0; e < to->experts; e++) {
            uint32_t count, before = UINT32_MAX;
            const uint32_t *slot = place_replicas(to, l, e, &count);

            for (uint32_t r = 0; r < count; r++) {
                struct place_copy copy = {
                    .layer = l, .expert = e, .to = place_gpu(to, slot[r])};

                if (copy.to == before)
                    continue;
                before = copy.to;
                copy.from = source(from, l, e, copy.to, m->out);
                if (copy.from != copy.to)
                    add(m, from, copy, expert_bytes[l], &room);
            }
        }
    }
}

void place_migration_release(struct place_migration *m)
{
    free(m->copy);
    free(m->in);
    free(m->out);
    *m = (struct place_migration){.copy = NULL};
}

/* ---- assignment ---- */

/* Arrays for a matching of up to n rows, each with n + 1 entries; entry 0 is a stand-in
 * column from which each search starts. */
struct match {
    int64_t *row_price, *column_price, *slack;
    uint32_t *row_of, *before;
    bool *seen;
};

static struct match match_new(uint32_t n)
{
    return (struct match){.row_price = mem_alloc(n + 1, sizeof(int64_t)),
                          .column_price = mem_alloc(n + 1, sizeof(int64_t)),
                          .slack = mem_alloc(n + 1, sizeof(int64_t)),
                          .row_of = mem_alloc(n + 1, sizeof(uint32_t)),
                          .before = mem_alloc(n + 1, sizeof(uint32_t)),
                          .seen = mem_alloc(n + 1, sizeof(bool))};
}

static void match_free(struct match *m)
{
    free(m->row_price);
    free(m->column_price);
    free(m->slack);
    free(m->row_of);
    free(m->before);
    free(m->seen);
}

/* Finds the cheapest path by which row `row` gets a column, and re-seats along it. */
static void match_row(struct match *m, uint32_t n, const uint32_t *value, size_t stride,
                      uint32_t row)
{
    uint32_t column = 0, next = 0;

    m->row_of[0] = row;
    for (uint32_t j = 0; j <= n; j++) {
        m->slack[j] = INT64_MAX;
        m->seen[j] = false;
    }
    do {
        uint32_t i = m->row_of[column];
        int64_t least = INT64_MAX;

        m->seen[column] = true;
        for (uint32_t j = 1; j <= n; j++) {
            int64_t reduced;

            if (m->seen[j])
                continue;
            reduced = -(int64_t)value[(i - 1) * stride + j - 1] - m->row_price[i] -
                      m->column_price[j];
            if (reduced < m->slack[j]) {
                m->slack[j] = reduced;
                m->before[j] = column;
            }
            if (m->slack[j] < least) {
                least = m->slack[j];
                next = j;
            }
        }
        for (uint32_t j = 0; j <= n; j++) {
            if (m->seen[j]) {
                m->row_price[m->row_of[j]] += least;
                m->column_price[j] -= least;
            } else {
                m->slack[j] -= least;
            }
        }
        column = next;
    } while (m->row_of[column] != 0);
    for (; column != 0; column = m->before[column])
        m->row_of[column] = m->row_of[m->before[column]];
}

/* A permutation of n rows to columns with the largest sum of value[row * stride + column]
 * (the Hungarian method with shortest augmenting paths). Returns the sum; m->row_of[j +
 * 1] is 1 + the row of column j. */
static uint64_t match(struct match *m, uint32_t n, const uint32_t *value, size_t stride)
{
    uint64_t sum = 0;

    for (uint32_t j = 0; j <= n; j++) {
        m->row_price[j] = 0;
        m->column_price[j] = 0;
        m->row_of[j] = 0;
    }
    for (uint32_t i = 1; i <= n; i++)
        match_row(m, n, value, stride, i);
    for (uint32_t j = 1; j <= n; j++)
        sum += value[(m->row_of[j] - 1) * stride + j - 1];
    return sum;
}

/* ---- renumbering ---- */

struct keep {
    uint32_t gpus, nodes, per_gpu;
    uint32_t *overlap;  /* (GPU of `to`, GPU of `from`) experts that both hold */
    uint32_t *together; /* (node of `to`, node of `from`) most that can stay */
    uint32_t *moved;    /* [gpus] which GPU of `to` goes here */
    uint32_t *node;     /* [nodes] likewise */
    struct match match;
    uint16_t *table; /* [slots] the layer as it was */
};

static void overlaps(struct keep *k, const struct place *from, const struct place *to,
                     uint32_t layer)
{
    memset(k->overlap, 0, (size_t)k->gpus * k->gpus * sizeof *k->overlap);
    for (uint32_t e = 0; e < to->experts; e++) {
        uint32_t new_count, old_count;
        const uint32_t *new_slot = place_replicas(to, layer, e, &new_count);
        const uint32_t *old_slot = place_replicas(from, layer, e, &old_count);

        for (uint32_t i = 0; i < new_count; i++) {
            uint32_t a = place_gpu(to, new_slot[i]);

            if (i > 0 && place_gpu(to, new_slot[i - 1]) == a)
                continue;
            for (uint32_t j = 0; j < old_count; j++) {
                uint32_t b = place_gpu(from, old_slot[j]);

                if (j == 0 || place_gpu(from, old_slot[j - 1]) != b)
                    k->overlap[(size_t)a * k->gpus + b]++;
            }
        }
    }
}

static uint64_t match_nodes(struct keep *k, uint32_t a, uint32_t b)
{
    uint32_t size = k->gpus / k->nodes;

    return match(&k->match, size,
                 &k->overlap[(size_t)a * size * k->gpus + (size_t)b * size], k->gpus);
}

/* Fills k->moved. */
static void choose(struct keep *k)
{
    uint32_t size = k->gpus / k->nodes;

    k->node[0] = 0;
    if (k->nodes > 1) {
        for (uint32_t a = 0; a < k->nodes; a++) {
            for (uint32_t b = 0; b < k->nodes; b++)
                k->together[a * k->nodes + b] = (uint32_t)match_nodes(k, a, b);
        }
        (void)match(&k->match, k->nodes, k->together, k->nodes);
        for (uint32_t b = 0; b < k->nodes; b++)
            k->node[b] = k->match.row_of[b + 1] - 1;
    }
    for (uint32_t b = 0; b < k->nodes; b++) {
        (void)match_nodes(k, k->node[b], b);
        for (uint32_t g = 0; g < size; g++)
            k->moved[b * size + g] = k->node[b] * size + k->match.row_of[g + 1] - 1;
    }
}

/* Writes the experts of `now` (which it empties) into `slot`, those of `old` where they
 * were, the others into what is free, in order. */
static void settle(const uint16_t *old, uint16_t *now, uint16_t *slot, uint32_t count)
{
    uint32_t next = 0;

    for (uint32_t s = 0; s < count; s++) {
        slot[s] = PLACE_EMPTY;
        for (uint32_t i = 0; i < count && slot[s] == PLACE_EMPTY; i++) {
            if (old[s] != PLACE_EMPTY && now[i] == old[s]) {
                slot[s] = now[i];
                now[i] = PLACE_EMPTY;
            }
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        if (now[i] == PLACE_EMPTY)
            continue;
        while (slot[next] != PLACE_EMPTY)
            next++;
        slot[next] = now[i];
    }
}

void place_keep(const struct place *from, struct place *to)
{
    uint32_t gpus = to->gpus, nodes = gpus % to->nodes == 0 ? to->nodes : 1;
    struct keep k = {.gpus = gpus,
                     .nodes = nodes,
                     .per_gpu = to->slots / gpus,
                     .overlap = mem_alloc((size_t)gpus * gpus, sizeof *k.overlap),
                     .together = mem_alloc((size_t)nodes * nodes, sizeof *k.together),
                     .moved = mem_alloc(gpus, sizeof *k.moved),
                     .node = mem_alloc(nodes, sizeof *k.node),
                     .match = match_new(gpus),
                     .table = mem_alloc(to->slots, sizeof *k.table)};

    check_alike(from, to);
    assert(from->slots == to->slots);
    for (uint32_t l = 0; l < to->layers; l++) {
        uint16_t *slot = &to->expert[(size_t)l * to->slots];
        const uint16_t *old = &from->expert[(size_t)l * to->slots];

        overlaps(&k, from, to, l);
        choose(&k);
        memcpy(k.table, slot, to->slots * sizeof *slot);
        for (uint32_t g = 0; g < gpus; g++)
            settle(&old[(size_t)g * k.per_gpu], &k.table[(size_t)k.moved[g] * k.per_gpu],
                   &slot[(size_t)g * k.per_gpu], k.per_gpu);
        place_index(to, l);
    }
    free(k.overlap);
    free(k.together);
    free(k.moved);
    free(k.node);
    match_free(&k.match);
    free(k.table);
}
