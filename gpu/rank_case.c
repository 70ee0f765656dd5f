#include "rank_case.h"

#include "sim/base/rng.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#define WORD sizeof(uint32_t)

static uint32_t each_rank(uint32_t ranks)
{
    return ranks;
}

/* 0 + 1 + ... + (ranks - 1), which every row and column of cyclic_weight sums to. */
static uint32_t cyclic_parts(uint32_t ranks)
{
    return ranks * (ranks - 1) / 2;
}

static uint32_t other_ranks(uint32_t ranks)
{
    return ranks - 1;
}

static uint32_t equal_weight(uint32_t ranks, uint32_t from, uint32_t to)
{
    (void)ranks, (void)from, (void)to;
    return 1;
}

static uint32_t cyclic_weight(uint32_t ranks, uint32_t from, uint32_t to)
{
    return (from + to) % ranks;
}

static uint32_t hot_weight(uint32_t ranks, uint32_t from, uint32_t to)
{
    (void)ranks;
    return from != 0 && to == 0;
}

/* A rank keeps its own block. */
static double others_share(uint32_t ranks)
{
    return (double)(ranks - 1) / ranks;
}

/* Rank 0 keeps nothing. */
static double whole_share(uint32_t ranks)
{
    (void)ranks;
    return 1.0;
}

const struct rank_case rank_cases[] = {
    {"all_to_all", "every rank sends bytes, an equal part to each rank", each_rank,
     equal_weight, others_share, "(ranks - 1) / ranks", RANK_CASE_ALL_TO_ALL},
    {"all_to_all_v", "every rank sends bytes, (from + to) mod ranks parts to each rank",
     cyclic_parts, cyclic_weight, whole_share, "1", RANK_CASE_ALL_TO_ALL_V},
    {"all_to_all_hot", "rank 0 receives bytes, an equal part from each other rank",
     other_ranks, hot_weight, whole_share, "1", RANK_CASE_ALL_TO_ALL_V},
    {"all_gather", "every rank receives bytes, an equal part from each rank", each_rank,
     NULL, others_share, "(ranks - 1) / ranks", RANK_CASE_ALL_GATHER},
    {"reduce_scatter", "every rank sends bytes of fp32, of which it gets its part summed",
     each_rank, NULL, others_share, "(ranks - 1) / ranks", RANK_CASE_REDUCE_SCATTER},
};
const size_t rank_case_count = sizeof rank_cases / sizeof *rank_cases;

struct rank_shape rank_shape_of(const struct rank_case *c, uint32_t ranks, uint32_t rank,
                                size_t bytes)
{
    struct rank_shape s = {.c = c, .ranks = ranks, .rank = rank};

    assert(ranks >= 2 && rank < ranks);
    s.unit = bytes / WORD / c->parts(ranks);
    return s;
}

size_t rank_shape_bytes(const struct rank_shape *s)
{
    return s->unit * s->c->parts(s->ranks) * WORD;
}

/* Words that `from` sends to the ranks before `to`. */
static size_t words_before(const struct rank_shape *s, uint32_t from, uint32_t to)
{
    size_t sum = 0;

    for (uint32_t p = 0; p < to; p++)
        sum += s->c->weight(s->ranks, from, p);
    return sum * s->unit;
}

size_t rank_shape_from_words(const struct rank_shape *s)
{
    if (s->c->weight != NULL)
        return words_before(s, s->rank, s->ranks);
    return s->c->call == RANK_CASE_ALL_GATHER ? s->unit : s->unit * s->ranks;
}

size_t rank_shape_to_words(const struct rank_shape *s)
{
    size_t sum = 0;

    if (s->c->call == RANK_CASE_ALL_GATHER)
        return s->unit * s->ranks;
    if (s->c->call == RANK_CASE_REDUCE_SCATTER)
        return s->unit;
    for (uint32_t p = 0; p < s->ranks; p++)
        sum += s->c->weight(s->ranks, p, s->rank);
    return sum * s->unit;
}

void rank_shape_matrix(const struct rank_shape *s, size_t *matrix)
{
    for (uint32_t from = 0; from < s->ranks; from++) {
        for (uint32_t to = 0; to < s->ranks; to++)
            *matrix++ = s->c->weight != NULL
                            ? s->c->weight(s->ranks, from, to) * s->unit * WORD
                            : 0;
    }
}

/* The word that `rank` sends at `index`. */
static uint32_t sent_word(uint32_t rank, size_t index)
{
    return (uint32_t)(rng_mix(((uint64_t)rank << 40) + index) >> 32);
}

/* A whole number of 12 bits instead: sums over up to 4096 ranks are exact in fp32, in any
 * order. */
static float sent_float(uint32_t rank, size_t index)
{
    return (float)(sent_word(rank, index) >> 20);
}

static uint32_t word_of_float(float value)
{
    uint32_t word;

    memcpy(&word, &value, sizeof word);
    return word;
}

void rank_shape_fill(const struct rank_shape *s, uint32_t *from)
{
    size_t words = rank_shape_from_words(s);

    if (s->c->call == RANK_CASE_REDUCE_SCATTER) {
        for (size_t i = 0; i < words; i++)
            from[i] = word_of_float(sent_float(s->rank, i));
    } else {
        for (size_t i = 0; i < words; i++)
            from[i] = sent_word(s->rank, i);
    }
}

/* Blocks in the order of the rank they come from. */
static size_t wrong_block(const struct rank_shape *s, const uint32_t *to,
                          uint32_t *expected)
{
    size_t at = 0;

    for (uint32_t p = 0; p < s->ranks; p++) {
        bool gather = s->c->call == RANK_CASE_ALL_GATHER;
        size_t first = gather ? 0 : words_before(s, p, s->rank);
        size_t words = gather ? s->unit : s->c->weight(s->ranks, p, s->rank) * s->unit;

        for (size_t i = 0; i < words; i++, at++) {
            *expected = sent_word(p, first + i);
            if (to[at] != *expected)
                return at;
        }
    }
    return at;
}

static size_t wrong_sum(const struct rank_shape *s, const uint32_t *to,
                        uint32_t *expected)
{
    for (size_t i = 0; i < s->unit; i++) {
        float sum = 0.0f;

        for (uint32_t p = 0; p < s->ranks; p++)
            sum += sent_float(p, s->rank * s->unit + i);
        *expected = word_of_float(sum);
        if (to[i] != *expected)
            return i;
    }
    return s->unit;
}

size_t rank_shape_wrong(const struct rank_shape *s, const uint32_t *to,
                        uint32_t *expected)
{
    return s->c->call == RANK_CASE_REDUCE_SCATTER ? wrong_sum(s, to, expected)
                                                  : wrong_block(s, to, expected);
}

int rank_shape_run(const struct rank_shape *s, const struct communicator_ops *ops,
                   struct communicator *c, const size_t *matrix, void *to,
                   const void *from, struct err *e)
{
    size_t bytes = s->unit * WORD;

    switch (s->c->call) {
    case RANK_CASE_ALL_TO_ALL:
        return ops->all_to_all(c, to, from, bytes, e);
    case RANK_CASE_ALL_TO_ALL_V:
        return ops->all_to_all_v(c, to, from, matrix, e);
    case RANK_CASE_ALL_GATHER:
        return ops->all_gather(c, to, from, bytes, e);
    case RANK_CASE_REDUCE_SCATTER:
        return ops->reduce_scatter(c, to, from, s->unit, e);
    }
    return -1;
}
