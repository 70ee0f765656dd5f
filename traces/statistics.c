#include "statistics.h"

#include "sim/base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define WORD_BITS 64
#define PAIR_BYTES_MAX ((uint64_t)1 << 30)
#define PREDICTED_ROWS_MAX ((uint64_t)1 << 18)
#define UNION_ROWS_MAX ((uint64_t)1 << 20)
#define BLOCK_ROWS 256 /* read at once in the sweep that counts */

struct measure {
    struct trace *t;
    const struct trace_info *info;
    struct trace_statistics *s;
    size_t words;        /* of a set */
    size_t row_values;   /* layers * candidates */
    uint64_t *activated; /* (layer, expert) */
    uint64_t *shared;    /* (layer): experts that a row shares with the row before */
    uint64_t *pairs;     /* (layer): rows that have such a row before them */
    uint32_t *follows;   /* (layer, expert, expert of the next layer), or NULL */
};

static uint32_t count_bits(uint64_t word)
{
    return (uint32_t)__builtin_popcountll(word);
}

/* Executed experts of a cell: all before the first that was not recorded. */
static uint32_t executed(const struct measure *m, const uint16_t *cell)
{
    uint32_t k = 0;

    while (k < m->info->top_k && cell[k] != TRACE_NOT_RECORDED)
        k++;
    return k;
}

static const uint16_t *cell_of(const struct measure *m, const uint16_t *row,
                               uint32_t layer)
{
    return row + (size_t)layer * m->info->candidates;
}

/* ---- the sweep that counts ---- */

/* Experts that are in both cells, of which none names one twice. */
static uint32_t count_shared(const uint16_t *a, uint32_t a_count, const uint16_t *b,
                             uint32_t b_count)
{
    uint32_t shared = 0;

    for (uint32_t i = 0; i < a_count; i++)
        for (uint32_t j = 0; j < b_count; j++)
            shared += a[i] == b[j];
    return shared;
}

static void count_follows(struct measure *m, uint32_t layer, const uint16_t *cell,
                          uint32_t count, const uint16_t *next, uint32_t next_count)
{
    size_t experts = m->info->experts;

    for (uint32_t i = 0; i < count; i++) {
        uint32_t *table = m->follows + ((size_t)layer * experts + cell[i]) * experts;

        for (uint32_t j = 0; j < next_count; j++)
            table[next[j]]++;
    }
}

/* Counts one row; `before` is the row before it in the same request, or NULL. */
static void count_row(struct measure *m, const uint16_t *row, const uint16_t *before)
{
    uint32_t layers = m->info->layers;
    uint32_t count = executed(m, row);

    for (uint32_t l = 0; l < layers; l++) {
        const uint16_t *cell = cell_of(m, row, l);
        const uint16_t *next = l + 1 < layers ? cell_of(m, row, l + 1) : NULL;
        uint32_t next_count = next != NULL ? executed(m, next) : 0;

        for (uint32_t k = 0; k < count; k++)
            m->activated[(size_t)l * m->info->experts + cell[k]]++;
        if (before != NULL && count > 0) {
            const uint16_t *last = cell_of(m, before, l);
            uint32_t last_count = executed(m, last);

            m->shared[l] += count_shared(cell, count, last, last_count);
            m->pairs[l] += last_count > 0;
        }
        if (m->follows != NULL && next != NULL)
            count_follows(m, l, cell, count, next, next_count);
        count = next_count;
    }
}

/* Rows are read in blocks, with the last row of the block before kept in front. */
static int count_rows(struct measure *m, struct err *e)
{
    const struct trace_request *requests = trace_get_requests(m->t);
    uint16_t *rows = mem_zalloc((BLOCK_ROWS + 1) * m->row_values, sizeof *rows);
    uint64_t request = 0;
    int status = 0;

    for (uint64_t first = 0; first < m->info->rows && status == 0; first += BLOCK_ROWS) {
        uint64_t count =
            m->info->rows - first < BLOCK_ROWS ? m->info->rows - first : BLOCK_ROWS;

        memcpy(rows, rows + BLOCK_ROWS * m->row_values, m->row_values * sizeof *rows);
        status = trace_read_expert(m->t, first, count, rows + m->row_values, e);
        for (uint64_t i = 0; i < count && status == 0; i++) {
            const uint16_t *row = rows + (size_t)(i + 1) * m->row_values;

            while (first + i >= requests[request].first_row + requests[request].rows)
                request++;
            count_row(m, row,
                      first + i > requests[request].first_row ? row - m->row_values
                                                              : NULL);
        }
    }
    free(rows);
    return status;
}

static int count_loads(struct measure *m, struct err *e)
{
    size_t cells = (size_t)m->info->layers * m->info->experts;
    uint32_t *count = mem_alloc(cells, sizeof *count);
    int status = 0;

    for (uint64_t n = 0; n < m->info->passes && status == 0; n++) {
        status = trace_read_load(m->t, n, count, e);
        for (size_t i = 0; i < cells && status == 0; i++)
            m->activated[i] += count[i];
    }
    free(count);
    return status;
}

/* ---- figures of the counts ---- */

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void measure_skew(struct measure *m)
{
    struct trace_statistics *s = m->s;
    uint32_t experts = m->info->experts;
    double *sorted = mem_alloc(experts, sizeof *sorted);

    for (uint32_t l = 0; l < m->info->layers; l++) {
        double *p = s->popularity + (size_t)l * experts;
        uint64_t sum = 0;
        double entropy = 0, gini = 0, overlap = 0;

        for (uint32_t x = 0; x < experts; x++)
            sum += m->activated[(size_t)l * experts + x];
        for (uint32_t x = 0; x < experts && sum > 0; x++) {
            double both = 0;

            p[x] = (double)m->activated[(size_t)l * experts + x] / (double)sum;
            both = fmin(1.0, m->info->top_k * p[x]);
            overlap += both * both / m->info->top_k;
            if (p[x] > 0)
                entropy -= p[x] * log2(p[x]);
        }
        memcpy(sorted, p, experts * sizeof *sorted);
        qsort(sorted, experts, sizeof *sorted, compare_doubles);
        for (uint32_t x = 0; x < experts; x++)
            gini += (2.0 * (x + 1) - experts - 1) * sorted[x] / experts;
        s->top1_share += sorted[experts - 1] / m->info->layers;
        s->entropy_bits += entropy / m->info->layers;
        s->gini += gini / m->info->layers;
        s->independent_overlap += overlap / m->info->layers;
    }
    free(sorted);
}

static void measure_overlap(struct measure *m)
{
    struct trace_statistics *s = m->s;
    double k = m->info->top_k;
    uint64_t shared = 0, pairs = 0;

    for (uint32_t l = 0; l < m->info->layers; l++) {
        shared += m->shared[l];
        pairs += m->pairs[l];
        if (m->pairs[l] > 0)
            s->layer_adjacent_overlap[l] = (double)m->shared[l] / (double)m->pairs[l] / k;
    }
    if (pairs > 0)
        s->adjacent_overlap = (double)shared / (double)pairs / k;
}

/* ---- predictability ---- */

/* P(e at l + 1 | e' at l), in the shape of the counts, which are freed. Owned. */
static float *turn_into_shares(struct measure *m)
{
    size_t experts = m->info->experts;
    size_t tables = (size_t)(m->info->layers - 1) * experts;
    float *share = mem_alloc(tables * experts, sizeof *share);

    for (size_t i = 0; i < tables; i++) {
        double times = (double)m->activated[i];

        for (size_t x = 0; x < experts; x++)
            share[i * experts + x] =
                times > 0 ? (float)((double)m->follows[i * experts + x] / times) : 0.0F;
    }
    free(m->follows);
    m->follows = NULL;
    return share;
}

/* The `k` best of `score`, the lower id where two are equal, into best[k]. */
static void choose_best(const float *score, uint32_t experts, uint32_t k, uint16_t *best)
{
    uint32_t held = 0;

    for (uint32_t x = 0; x < experts; x++) {
        uint32_t i;

        if (held == k && score[x] <= score[best[k - 1]])
            continue;
        i = held < k ? held++ : k - 1;
        for (; i > 0 && score[best[i - 1]] < score[x]; i--)
            best[i] = best[i - 1];
        best[i] = (uint16_t)x;
    }
}

/* Adds to the experts asked for, and to those foreseen, of one row. */
static void predict_row(const struct measure *m, const float *share, const uint16_t *row,
                        float *score, uint16_t *best, uint64_t *asked, uint64_t *foreseen)
{
    uint32_t experts = m->info->experts, k = m->info->top_k;

    for (uint32_t l = 0; l + 1 < m->info->layers; l++) {
        const uint16_t *cell = cell_of(m, row, l), *next = cell_of(m, row, l + 1);
        uint32_t count = executed(m, cell), next_count = executed(m, next);

        if (count == 0)
            continue;
        memset(score, 0, experts * sizeof *score);
        for (uint32_t i = 0; i < count; i++) {
            const float *table = share + ((size_t)l * experts + cell[i]) * experts;

            for (uint32_t x = 0; x < experts; x++)
                score[x] += table[x];
        }
        choose_best(score, experts, k, best);
        *asked += next_count;
        *foreseen += count_shared(best, k, next, next_count);
    }
}

static int measure_predictability(struct measure *m, struct err *e)
{
    uint64_t stride = (m->info->rows + PREDICTED_ROWS_MAX - 1) / PREDICTED_ROWS_MAX;
    uint64_t asked = 0, foreseen = 0;
    uint16_t *row, *best;
    float *share, *score;
    int status = 0;

    m->s->next_layer_predictability = -1;
    if (m->follows == NULL)
        return 0;
    share = turn_into_shares(m);
    score = mem_alloc(m->info->experts, sizeof *score);
    row = mem_alloc(m->row_values, sizeof *row);
    best = mem_alloc(m->info->top_k, sizeof *best);
    for (uint64_t i = 0; i < m->info->rows && status == 0; i += stride) {
        status = trace_read_expert(m->t, i, 1, row, e);
        if (status == 0)
            predict_row(m, share, row, score, best, &asked, &foreseen);
    }
    if (asked > 0)
        m->s->next_layer_predictability = (double)foreseen / (double)asked;
    free(share);
    free(score);
    free(row);
    free(best);
    return status;
}

/* ---- distinct experts of a batch ---- */

struct slots {
    uint32_t count;
    uint64_t *row, *end; /* (slot): the next row, and where its request ends */
    uint64_t next_request;
    bool decode_only; /* rows that are not decode are passed over */
    uint64_t *used;   /* (layer, word): experts of the step */
    uint16_t *expert; /* one row */
};

/* Moves slot `i` to its next row that counts, in the next request if need be. Returns 1,
 * 0 when no request is left, -1 on failure. */
static int advance(struct measure *m, struct slots *s, uint32_t i, struct err *e)
{
    const struct trace_request *requests = trace_get_requests(m->t);

    for (;;) {
        struct trace_token token;

        while (s->row[i] == s->end[i]) {
            if (s->next_request == m->info->requests)
                return 0;
            s->row[i] = requests[s->next_request].first_row;
            s->end[i] = s->row[i] + requests[s->next_request].rows;
            s->next_request++;
        }
        if (!s->decode_only)
            return 1;
        if (trace_read_token(m->t, s->row[i], 1, &token, e) != 0)
            return -1;
        if (token.phase == TRACE_DECODE)
            return 1;
        s->row[i]++;
    }
}

/* Distinct experts of the slots' present rows, summed over layers; moves to the next
 * rows. */
static int take_step(struct measure *m, struct slots *s, uint64_t *distinct,
                     struct err *e)
{
    memset(s->used, 0, m->info->layers * m->words * sizeof s->used[0]);
    for (uint32_t i = 0; i < s->count; i++) {
        if (trace_read_expert(m->t, s->row[i]++, 1, s->expert, e) != 0)
            return -1;
        for (uint32_t l = 0; l < m->info->layers; l++) {
            const uint16_t *cell = cell_of(m, s->expert, l);
            uint64_t *used = s->used + l * m->words;

            for (uint32_t k = 0; k < m->info->top_k && cell[k] != TRACE_NOT_RECORDED; k++)
                used[cell[k] / WORD_BITS] |= UINT64_C(1) << (cell[k] % WORD_BITS);
        }
    }
    for (size_t i = 0; i < m->info->layers * m->words; i++)
        *distinct += count_bits(s->used[i]);
    return 0;
}

static int measure_union(struct measure *m, struct slots *s, double *size, struct err *e)
{
    uint64_t steps = 0, distinct = 0;
    int status = 1;

    *size = 0;
    s->next_request = 0;
    memset(s->row, 0, s->count * sizeof s->row[0]);
    memset(s->end, 0, s->count * sizeof s->end[0]);
    while (steps * s->count < UNION_ROWS_MAX) {
        for (uint32_t i = 0; i < s->count && status > 0; i++)
            status = advance(m, s, i, e);
        if (status <= 0)
            break;
        if (take_step(m, s, &distinct, e) != 0)
            return -1;
        steps++;
    }
    if (steps > 0)
        *size = (double)distinct / (double)steps / m->info->layers;
    return status < 0 ? -1 : 0;
}

/* Whether any row is decode. */
static int find_decode(struct measure *m, bool *found, struct err *e)
{
    *found = (trace_fields(m->t) & TRACE_HAS_PREFILL) == 0;
    for (uint64_t i = 0; i < m->info->rows && !*found; i++) {
        struct trace_token token;

        if (trace_read_token(m->t, i, 1, &token, e) != 0)
            return -1;
        *found = token.phase == TRACE_DECODE;
    }
    return 0;
}

static int measure_unions(struct measure *m, struct err *e)
{
    uint32_t most = 1u << (TRACE_UNION_SIZES - 1);
    struct slots s = {0};
    int status = find_decode(m, &s.decode_only, e);

    s.row = mem_alloc(most, sizeof s.row[0]);
    s.end = mem_alloc(most, sizeof s.end[0]);
    s.used = mem_alloc(m->info->layers * m->words, sizeof s.used[0]);
    s.expert = mem_alloc(m->row_values, sizeof s.expert[0]);
    for (int i = 0; i < TRACE_UNION_SIZES && status == 0; i++) {
        s.count = 1u << i;
        status = measure_union(m, &s, &m->s->union_size[i], e);
    }
    free(s.row);
    free(s.end);
    free(s.used);
    free(s.expert);
    return status;
}

/* ---- all of it ---- */

static int measure_rows(struct measure *m, struct err *e)
{
    uint64_t experts = m->info->experts;
    uint64_t cells = (m->info->layers - 1) * experts * experts;

    if (m->info->layers > 1 && cells <= PAIR_BYTES_MAX / sizeof m->follows[0])
        m->follows = mem_zalloc((size_t)cells, sizeof m->follows[0]);
    if (count_rows(m, e) != 0)
        return -1;
    measure_skew(m);
    measure_overlap(m);
    return measure_predictability(m, e) != 0 || measure_unions(m, e) != 0 ? -1 : 0;
}

int trace_statistics_measure(struct trace *t, struct trace_statistics *s, struct err *e)
{
    const struct trace_info *info = trace_get_info(t);
    struct measure m = {.t = t, .info = info, .s = s};
    int status;

    *s = (struct trace_statistics){
        .layers = info->layers, .experts = info->experts, .top_k = info->top_k};
    s->popularity = mem_zalloc((size_t)info->layers * info->experts, sizeof(double));
    s->layer_adjacent_overlap = mem_zalloc(info->layers, sizeof(double));
    m.words = (info->experts + WORD_BITS - 1) / WORD_BITS;
    m.row_values = (size_t)info->layers * info->candidates;
    m.activated = mem_zalloc((size_t)info->layers * info->experts, sizeof m.activated[0]);
    m.shared = mem_zalloc(info->layers, sizeof m.shared[0]);
    m.pairs = mem_zalloc(info->layers, sizeof m.pairs[0]);
    if (info->counts_only) {
        s->next_layer_predictability = -1;
        status = count_loads(&m, e);
        measure_skew(&m);
    } else {
        status = measure_rows(&m, e);
    }
    free(m.activated);
    free(m.shared);
    free(m.pairs);
    free(m.follows);
    if (status != 0)
        trace_statistics_release(s);
    return status;
}

void trace_statistics_release(struct trace_statistics *s)
{
    free(s->popularity);
    free(s->layer_adjacent_overlap);
    s->popularity = NULL;
    s->layer_adjacent_overlap = NULL;
}
