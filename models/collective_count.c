#include "collective_count.h"

#include "sim/base/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void collective_count_init(struct collective_count *x, const struct topology *t)
{
    size_t pairs = (size_t)t->ranks * t->ranks;

    *x = (struct collective_count){
        .ranks = t->ranks,
        .nodes = t->nodes,
        .gpus = t->gpus,
        .experts = mem_zalloc(pairs, sizeof(uint64_t)),
        .distinct = mem_zalloc(pairs, sizeof(uint64_t)),
        .by_node = mem_zalloc((size_t)t->ranks * t->nodes, sizeof(uint64_t)),
        .last_on_rank = mem_zalloc(t->ranks, sizeof(uint64_t)),
        .last_on_node = mem_zalloc(t->nodes, sizeof(uint64_t)),
    };
}

void collective_count_release(struct collective_count *x)
{
    free(x->experts);
    free(x->distinct);
    free(x->by_node);
    free(x->last_on_rank);
    free(x->last_on_node);
    *x = (struct collective_count){.ranks = 0};
}

void collective_count_reset(struct collective_count *x)
{
    size_t pairs = (size_t)x->ranks * x->ranks * sizeof(uint64_t);

    /* Tokens are numbered on, so that no rank seems to have had the next one. */
    memset(x->experts, 0, pairs);
    memset(x->distinct, 0, pairs);
    memset(x->by_node, 0, (size_t)x->ranks * x->nodes * sizeof(uint64_t));
}

void collective_count_add(struct collective_count *x, uint32_t source,
                          const uint32_t *destination, uint32_t experts)
{
    uint64_t *pairs = x->experts + (size_t)source * x->ranks;
    uint64_t *distinct = x->distinct + (size_t)source * x->ranks;
    uint64_t *by_node = x->by_node + (size_t)source * x->nodes;

    assert(source < x->ranks);
    x->token++;
    for (uint32_t i = 0; i < experts; i++) {
        uint32_t rank = destination[i];
        uint32_t node;

        assert(rank < x->ranks);
        pairs[rank]++;
        if (x->last_on_rank[rank] == x->token)
            continue;
        x->last_on_rank[rank] = x->token;
        distinct[rank]++;
        node = rank / x->gpus;
        by_node[node] += x->last_on_node[node] == x->token ? 0 : 1;
        x->last_on_node[node] = x->token;
    }
}
