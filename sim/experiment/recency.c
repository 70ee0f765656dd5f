#include "recency.h"

#include "sim/base/mem.h"

#include <assert.h>
#include <stdlib.h>

enum { WORD = 64, LEAST_WORDS = 8 };
#define UNTOUCHED UINT32_MAX

struct recency {
    uint32_t words, now; /* moments are 0 .. WORD * words - 1; now: the next one */
    uint32_t count;      /* of marks: objects that were touched */
    uint64_t *marked;    /* [words] */
    uint32_t *tree;      /* [words + 1] Fenwick tree of the words' marks; from 1 */
    uint32_t *moment;    /* [objects] or UNTOUCHED */
    uint32_t *object_at; /* [moments] whose mark it is */
};

struct recency *recency_new(uint32_t objects)
{
    struct recency *r = mem_zalloc(1, sizeof *r);

    /* Moments four times the objects: they move together every third of that. */
    r->words = LEAST_WORDS;
    while (r->words * (uint64_t)WORD < 4 * (uint64_t)objects)
        r->words *= 2;
    r->marked = mem_zalloc(r->words, sizeof *r->marked);
    r->tree = mem_zalloc((size_t)r->words + 1, sizeof *r->tree);
    r->moment = mem_alloc(objects, sizeof *r->moment);
    r->object_at = mem_alloc((size_t)r->words * WORD, sizeof *r->object_at);
    for (uint32_t i = 0; i < objects; i++)
        r->moment[i] = UNTOUCHED;
    return r;
}

void recency_free(struct recency *r)
{
    if (r == NULL)
        return;
    free(r->marked);
    free(r->tree);
    free(r->moment);
    free(r->object_at);
    free(r);
}

/* Marks in the words before `word`. */
static uint32_t count_before(const struct recency *r, uint32_t word)
{
    uint32_t sum = 0;

    for (uint32_t i = word; i > 0; i &= i - 1)
        sum += r->tree[i];
    return sum;
}

static void add(struct recency *r, uint32_t word, uint32_t more)
{
    for (uint32_t i = word + 1; i <= r->words; i += i & (0 - i))
        r->tree[i] += more;
}

uint32_t recency_rank(const struct recency *r, uint32_t object)
{
    uint32_t moment = r->moment[object];
    uint64_t earlier;

    if (moment == UNTOUCHED)
        return 0;
    earlier = r->marked[moment / WORD] & ((UINT64_C(1) << moment % WORD) - 1);
    return r->count - count_before(r, moment / WORD) -
           (uint32_t)__builtin_popcountll(earlier);
}

/* Moves the marks to the first moments, in their order. */
static void restart(struct recency *r)
{
    uint32_t count = 0;

    for (uint32_t w = 0; w < r->words; w++) {
        for (uint64_t bits = r->marked[w]; bits != 0; bits &= bits - 1) {
            uint32_t object = r->object_at[w * WORD + (uint32_t)__builtin_ctzll(bits)];

            r->object_at[count] = object;
            r->moment[object] = count++;
        }
    }
    assert(count == r->count);
    r->now = count;
    for (uint32_t w = 0; w < r->words; w++) {
        uint32_t left = count > w * WORD ? count - w * WORD : 0;

        r->marked[w] = left >= WORD ? ~UINT64_C(0) : (UINT64_C(1) << left) - 1;
        r->tree[w + 1] = 0;
    }
    for (uint32_t w = 0; w < r->words; w++)
        add(r, w, (uint32_t)__builtin_popcountll(r->marked[w]));
}

void recency_touch(struct recency *r, uint32_t object)
{
    uint32_t word, before = r->moment[object];

    if (r->now == r->words * WORD) {
        restart(r);
        before = r->moment[object];
    }
    word = r->now / WORD;
    r->marked[word] |= UINT64_C(1) << r->now % WORD;
    r->object_at[r->now] = object;
    r->moment[object] = r->now++;
    if (before == UNTOUCHED) {
        r->count++;
        add(r, word, 1);
        return;
    }
    r->marked[before / WORD] &= ~(UINT64_C(1) << before % WORD);
    if (before / WORD != word) {
        add(r, before / WORD, UINT32_MAX); /* one less */
        add(r, word, 1);
    }
}
