#include "draw_cell.h"

#include "half.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* ---- the best ---- */

/* Finds the best of the experts that take their noise from one draw. */
static void find_tops(struct draw_model *m)
{
    const size_t draws = m->width / DRAW_NORMALS;
    const float *restrict score = m->score;
    float *restrict top = m->top;

    for (size_t i = 0; i < draws; i++) {
        float first = score[i], second = score[draws + i], third = score[2 * draws + i];

        first = first > second ? first : second;
        top[i] = first > third ? first : third;
    }
}

/* Those that score above `floor`, in ascending order, and how many they are. What is
 * above cannot be foreseen, so there is no branch to foresee. */
static uint32_t find_candidates(struct draw_model *m, float floor)
{
    const uint32_t draws = m->width / DRAW_NORMALS;
    const float *score = m->score, *top = m->top;
    uint32_t *list = m->list, *candidate = m->candidate;
    uint32_t found = 0, count = 0;

    for (uint32_t i = 0; i < draws; i++) {
        list[found] = i;
        found += top[i] > floor;
    }
    for (uint32_t f = 0; f < found; f++)
        for (uint32_t n = 0; n < DRAW_NORMALS; n++) {
            float now = score[n * draws + list[f]];

            candidate[count] = list[f] * DRAW_NORMALS + n;
            m->candidate_score[count] = now;
            count += now > floor;
        }
    return count;
}

/* The places of few candidates in descending order, by comparing each with all before it;
 * again without a branch to foresee. */
static void order_few(struct draw_model *m, uint32_t count)
{
    const float *score = m->candidate_score;
    uint32_t place[DRAW_FEW];

    for (uint32_t i = 0; i < count; i++) {
        float mine = score[i];
        uint32_t before = 0;

        for (uint32_t j = 0; j < i; j++) {
            uint32_t better = score[j] >= mine;

            before += better;
            place[j] += 1 - better;
        }
        place[i] = before;
    }
    for (uint32_t i = 0; i < count; i++) {
        m->best[place[i]] = score[i];
        m->list[place[i]] = m->candidate[i];
    }
}

/* The best of many candidates in descending order, by insertion. */
static void order_many(struct draw_model *m, uint32_t count)
{
    const float *score = m->candidate_score;
    float *best = m->best;
    uint32_t last = m->top_k - 1;

    for (uint32_t c = 0; c < count; c++) {
        uint32_t i = c < last ? c : last;

        if (c > last && score[c] <= best[last])
            continue;
        for (; i > 0 && best[i - 1] < score[c]; i--) {
            best[i] = best[i - 1];
            m->list[i] = m->list[i - 1];
        }
        best[i] = score[c];
        m->list[i] = m->candidate[c];
    }
}

void draw_cell_choose(struct draw_model *m, float floor, uint16_t *expert)
{
    uint32_t count;

    find_tops(m);
    count = find_candidates(m, floor);
    if (count < m->top_k)
        count = find_candidates(m, -INFINITY);
    if (count <= DRAW_FEW)
        order_few(m, count);
    else
        order_many(m, count);
    for (uint32_t i = 0; i < m->top_k; i++)
        expert[i] = (uint16_t)m->list[i];
}

void draw_cell_weigh(const struct draw_model *m, float *score)
{
    float best = score[0], sum = 0;

    for (uint32_t i = 0; i < m->top_k; i++) {
        score[i] = expf(m->logit_scale * (score[i] - best));
        sum += score[i];
    }
    for (uint32_t i = 0; i < m->top_k; i++)
        score[i] /= sum;
}

/* ---- all of them ---- */

/* A number of 32 bits that descends as the score ascends; both zeros have the same. */
static inline uint32_t key_of_score(float score)
{
    uint32_t bits;

    score += 0.0F;
    memcpy(&bits, &score, sizeof bits);
    return (bits >> 31) != 0 ? bits : ~(bits | 0x80000000u);
}

#define DIGIT_BITS 8
#define DIGITS (32 / DIGIT_BITS)
#define DIGIT_VALUES (1u << DIGIT_BITS)

static inline uint32_t digit_of(uint64_t ranked, int digit)
{
    return (uint32_t)(ranked >> (32 + digit * DIGIT_BITS)) & (DIGIT_VALUES - 1);
}

/* Radix sort, from the last digit to the first; one that all keys share moves nothing. It
 * takes the same time whatever the scores are, and equal keys stay in ascending order of
 * ids. The upper half of a number is the key, the lower the expert. */
void draw_cell_rank(struct draw_model *m, uint16_t *expert, float *score)
{
    uint64_t *from = m->ranked, *to = m->ranked + m->experts;
    uint32_t place[DIGITS][DIGIT_VALUES] = {{0}};

    for (uint32_t x = 0; x < m->experts; x++) {
        from[x] = (uint64_t)key_of_score(m->score[draw_place(m, x)]) << 32 | x;
        for (int d = 0; d < DIGITS; d++)
            place[d][digit_of(from[x], d)]++;
    }
    for (int d = 0; d < DIGITS; d++) {
        uint32_t first = 0;
        uint64_t *swap = from;

        if (place[d][digit_of(from[0], d)] == m->experts)
            continue;
        for (uint32_t v = 0; v < DIGIT_VALUES; v++) {
            uint32_t count = place[d][v];

            place[d][v] = first;
            first += count;
        }
        for (uint32_t x = 0; x < m->experts; x++)
            to[place[d][digit_of(from[x], d)]++] = from[x];
        from = to;
        to = swap;
    }
    for (uint32_t i = 0; i < m->experts; i++) {
        expert[i] = (uint16_t)from[i];
        score[i] = m->score[draw_place(m, expert[i])];
    }
}

/* The half of half_order(). */
static uint16_t half_of_order(int32_t step)
{
    return (uint16_t)(step < 0 ? 0x8000 - step : step);
}

void draw_cell_logits(const struct draw_model *m, const uint16_t *expert, float *score)
{
    int32_t before = INT32_MAX;

    for (uint32_t i = 0; i < m->experts; i++) {
        float exact = m->logit_scale * score[i];
        int32_t step, most;

        /* Scores are sums of few numbers that are bounded, and so is the scale. */
        assert(fabsf(exact) <= HALF_MAX);
        step = half_order(half_of_float(exact));
        most = before - (i > 0 && expert[i] < expert[i - 1]);
        before = step < most ? step : most;
        score[i] = half_to_float(half_of_order(before));
    }
}
