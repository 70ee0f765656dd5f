#include "reuse.h"

#include "sim/base/mem.h"

#include <stdlib.h>

enum { WORD = 64 };

/* The experts of a layer from the one accessed last to the one longest ago, with a mark
 * on the last expert of each bin that is full: bin b + 1 ends at place 2^b. */
struct stack {
    uint16_t *before, *after; /* (expert): its neighbours */
    uint16_t *bin;            /* (expert): 0 as long as it was not accessed */
    uint32_t held;
    uint16_t first, last;
    uint16_t mark[REUSE_BINS_MOST];
    uint64_t counts[REUSE_BINS_MOST];
};

struct reuse {
    uint32_t layers, experts, top_k, words;
    struct stack *stack; /* [layers] */
    uint64_t *used;      /* [words] bit set: experts of a cell */
};

uint32_t reuse_bins(uint32_t experts)
{
    uint32_t bins = 2;

    while (experts > UINT32_C(1) << (bins - 2))
        bins++;
    return bins;
}

struct reuse *reuse_new(const struct trace_info *info)
{
    struct reuse *r = mem_zalloc(1, sizeof *r);

    r->layers = info->layers;
    r->experts = info->experts;
    r->top_k = info->top_k;
    r->words = (info->experts + WORD - 1) / WORD;
    r->used = mem_zalloc(r->words, sizeof *r->used);
    r->stack = mem_zalloc(r->layers, sizeof *r->stack);
    for (uint32_t l = 0; l < r->layers; l++) {
        r->stack[l].before = mem_alloc(r->experts, sizeof(uint16_t));
        r->stack[l].after = mem_alloc(r->experts, sizeof(uint16_t));
        r->stack[l].bin = mem_zalloc(r->experts, sizeof(uint16_t));
    }
    return r;
}

void reuse_free(struct reuse *r)
{
    if (r == NULL)
        return;
    for (uint32_t l = 0; l < r->layers; l++) {
        free(r->stack[l].before);
        free(r->stack[l].after);
        free(r->stack[l].bin);
    }
    free(r->stack);
    free(r->used);
    free(r);
}

const uint64_t *reuse_counts(const struct reuse *r, uint32_t layer)
{
    return r->stack[layer].counts;
}

/* Every full bin that ends above the expert's old place gives its last expert to the next
 * bin, for the one that comes in front. */
static inline void shift_bins(struct stack *s, uint16_t expert, uint32_t bins)
{
    for (uint32_t b = 1; b < bins; b++) {
        uint16_t end = s->mark[b - 1];

        s->bin[end]++;
        s->mark[b - 1] = b == 1 ? expert : s->before[end];
    }
}

static inline void put_in_front(struct stack *s, uint16_t expert)
{
    s->after[expert] = s->first;
    s->before[s->first] = expert;
    s->first = expert;
    s->bin[expert] = 1;
}

static void push(struct stack *s, uint16_t expert)
{
    uint32_t full = 0; /* bins that end at a place that is taken */

    s->counts[0]++;
    while (UINT32_C(1) << full <= s->held)
        full++;
    shift_bins(s, expert, full + 1);
    if (s->held == 0) {
        s->first = s->last = expert;
        s->bin[expert] = 1;
    } else {
        put_in_front(s, expert);
    }
    s->held++;
    if (s->held == UINT32_C(1) << full)
        s->mark[full] = s->last;
}

static inline void touch(struct stack *s, uint16_t expert)
{
    uint32_t bin = s->bin[expert];

    if (bin == 0) {
        push(s, expert);
        return;
    }
    s->counts[bin]++;
    if (bin == 1)
        return;
    if (s->mark[bin - 1] == expert && (UINT32_C(1) << (bin - 1)) <= s->held)
        s->mark[bin - 1] = s->before[expert];
    shift_bins(s, expert, bin);
    if (expert == s->last)
        s->last = s->before[expert];
    else
        s->before[s->after[expert]] = s->before[expert];
    s->after[s->before[expert]] = s->after[expert];
    put_in_front(s, expert);
}

void reuse_visit(void *context, const struct rows_layer *l)
{
    struct reuse *r = context;
    struct stack *s = &r->stack[l->layer];
    const uint16_t *cell = l->expert;

    for (uint32_t i = 0; i < l->rows; i++, cell += r->top_k) {
        for (uint32_t j = 0; j < l->count[i]; j++)
            r->used[cell[j] / WORD] |= UINT64_C(1) << cell[j] % WORD;
        for (uint32_t w = 0; w < r->words; w++) {
            uint64_t bits = r->used[w];

            r->used[w] = 0;
            for (; bits != 0; bits &= bits - 1)
                touch(s, (uint16_t)(w * WORD + (uint32_t)__builtin_ctzll(bits)));
        }
    }
}
