#include "statistics.h"

#include "sim/base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PAIR_BYTES_MAX ((uint64_t)1 << 30)
#define PREDICTED_ROWS_MAX ((uint64_t)1 << 18)
#define UNION_ROWS_MAX ((uint64_t)1 << 20)
#define BLOCK_ROWS 256 /* read at once in the sweep that counts */
#define LANES 16       /* scores that are added and compared side by side */

/* Slots that run requests next to each other, as far as the sweep has come. */
struct walk {
    uint32_t slots, ready; /* the first `ready` of them stand on the step's rows */
    uint64_t *row, *end;   /* (slot): the next row, and where its request ends */
    uint64_t next_request;
    uint64_t steps, distinct;
    bool over;
};

struct measure {
    struct trace *t;
    const struct trace_info *info;
    const struct trace_statistics_watch *watch; /* or NULL */
    struct trace_statistics *s;
    size_t row_values;   /* layers * candidates */
    uint64_t *activated; /* (layer, expert) */
    uint64_t *last;      /* (layer, expert): stamp of the last row that used it */
    uint64_t *recorded;  /* (layer): stamp of the last row with experts there */
    uint64_t *shared;    /* (layer): experts that a row shares with the row before */
    uint64_t *pairs;     /* (layer): rows that have such a row before them */
    size_t stride;       /* experts, rounded up to whole lanes */
    uint32_t *follows;   /* (layer, expert, expert of the next layer: stride), or NULL */
    struct walk walk[TRACE_UNION_SIZES];
    bool decode_only; /* walks pass over rows that are not decode */
    uint32_t stamp;   /* of the walks' last step */
    uint32_t *seen;   /* (layer, expert): stamp of the last step that used it */
    uint16_t *expert; /* one row */
};

/* Executed experts of a cell: all before the first that was not recorded, and none is
 * recorded behind that. */
static uint32_t executed(const struct measure *m, const uint16_t *cell)
{
    uint32_t k = m->info->top_k;

    while (k > 0 && cell[k - 1] == TRACE_NOT_RECORDED)
        k--;
    return k;
}

static const uint16_t *cell_of(const struct measure *m, const uint16_t *row,
                               uint32_t layer)
{
    return row + (size_t)layer * m->info->candidates;
}

/* The loops over the experts of a cell. Where their number is known to the compiler,
 * which it is for the most common ones, they are quick. */
static inline uint32_t mark_cell(uint32_t *seen, uint32_t stamp, const uint16_t *cell,
                                 uint32_t count)
{
    uint32_t distinct = 0;

    for (uint32_t i = 0; i < count; i++) {
        distinct += seen[cell[i]] != stamp;
        seen[cell[i]] = stamp;
    }
    return distinct;
}

#define BY_COUNT(count, call)                                                            \
    ((count) == 8 ? call(8) : (count) == 4 ? call(4) : call(count))

/* ---- distinct experts of a batch ---- */

/* Moves slot `i` to its next row that counts, in the next request if need be, which is at
 * most `last`. Returns 1, 0 when there is none, -1 on failure. */
static int advance(struct measure *m, struct walk *w, uint32_t i, uint64_t last,
                   struct err *e)
{
    const struct trace_request *requests = trace_get_requests(m->t);

    for (;;) {
        struct trace_token token;

        while (w->row[i] == w->end[i]) {
            w->over = w->next_request == m->info->requests;
            if (w->over || w->next_request > last)
                return 0;
            w->row[i] = requests[w->next_request].first_row;
            w->end[i] = w->row[i] + requests[w->next_request].rows;
            w->next_request++;
        }
        if (!m->decode_only)
            return 1;
        if (trace_read_token(m->t, w->row[i], 1, &token, e) != 0)
            return -1;
        if (token.phase == TRACE_DECODE)
            return 1;
        w->row[i]++;
    }
}

/* Distinct experts of the slots' present rows, summed over layers; moves to the next
 * rows. */
static int take_step(struct measure *m, struct walk *w, struct err *e)
{
    m->stamp++;
    for (uint32_t i = 0; i < w->slots; i++) {
        if (trace_read_expert(m->t, w->row[i]++, 1, m->expert, e) != 0)
            return -1;
        for (uint32_t l = 0; l < m->info->layers; l++) {
            const uint16_t *cell = cell_of(m, m->expert, l);
            uint32_t *seen = m->seen + (size_t)l * m->info->experts;
            uint32_t count = executed(m, cell);

#define MARK(n) mark_cell(seen, m->stamp, cell, n)
            w->distinct += w->slots == 1 ? count : BY_COUNT(count, MARK);
        }
    }
    w->ready = 0;
    w->steps++;
    return 0;
}

/* Takes the steps that need no request behind `last`. */
static int walk_on(struct measure *m, struct walk *w, uint64_t last, struct err *e)
{
    while (!w->over && w->steps * w->slots < UNION_ROWS_MAX) {
        for (; w->ready < w->slots; w->ready++) {
            int status = advance(m, w, w->ready, last, e);

            if (status <= 0)
                return status;
        }
        if (take_step(m, w, e) != 0)
            return -1;
    }
    return 0;
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

static int walks_init(struct measure *m, struct err *e)
{
    m->seen = mem_zalloc((size_t)m->info->layers * m->info->experts, sizeof m->seen[0]);
    for (int i = 0; i < TRACE_UNION_SIZES; i++) {
        struct walk *w = &m->walk[i];

        w->slots = 1u << i;
        w->row = mem_zalloc(w->slots, sizeof w->row[0]);
        w->end = mem_zalloc(w->slots, sizeof w->end[0]);
    }
    return find_decode(m, &m->decode_only, e);
}

static void measure_unions(struct measure *m)
{
    for (int i = 0; i < TRACE_UNION_SIZES; i++) {
        const struct walk *w = &m->walk[i];

        if (w->steps > 0)
            m->s->union_size[i] =
                (double)w->distinct / (double)w->steps / m->info->layers;
    }
}

static void walks_release(struct measure *m)
{
    for (int i = 0; i < TRACE_UNION_SIZES; i++) {
        free(m->walk[i].row);
        free(m->walk[i].end);
    }
    free(m->seen);
}

/* ---- the sweep that counts ---- */

static inline void count_follows(uint32_t *tables, size_t stride, const uint16_t *cell,
                                 uint32_t count, const uint16_t *next,
                                 uint32_t next_count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t *table = tables + cell[i] * stride;

        for (uint32_t j = 0; j < next_count; j++)
            table[next[j]]++;
    }
}

static inline uint64_t count_cell(uint64_t *activated, uint64_t *last, uint64_t stamp,
                                  const uint16_t *cell, uint32_t count)
{
    uint64_t shared = 0;

    for (uint32_t i = 0; i < count; i++) {
        uint16_t x = cell[i];

        activated[x]++;
        shared += last[x] == stamp - 1;
        last[x] = stamp;
    }
    return shared;
}

/* Counts one row. Stamps of adjacent rows of a request follow each other, others do not;
 * the first is 2. */
static void count_row(struct measure *m, const uint16_t *row, uint64_t stamp)
{
    uint32_t layers = m->info->layers;
    size_t experts = m->info->experts;
    uint32_t count = executed(m, row);

    for (uint32_t l = 0; l < layers; l++) {
        const uint16_t *cell = cell_of(m, row, l);
        const uint16_t *next = l + 1 < layers ? cell_of(m, row, l + 1) : NULL;
        uint32_t next_count = next != NULL ? executed(m, next) : 0;
        uint64_t *activated = m->activated + l * experts, *last = m->last + l * experts;

#define COUNT(n) count_cell(activated, last, stamp, cell, n)
        m->shared[l] += BY_COUNT(count, COUNT);
        if (count > 0) {
            m->pairs[l] += m->recorded[l] == stamp - 1;
            m->recorded[l] = stamp;
        }
        if (m->follows != NULL && next_count > 0) {
            uint32_t *tables = m->follows + l * experts * m->stride;

#define FOLLOW(n) count_follows(tables, m->stride, cell, n, next, n)
            if (count == next_count)
                BY_COUNT(count, FOLLOW);
            else
                count_follows(tables, m->stride, cell, count, next, next_count);
        }
        count = next_count;
    }
}

static void show(const struct measure *m, uint64_t rows)
{
    uint64_t total = m->info->rows;

    if (m->watch == NULL)
        return;
    total += total < PREDICTED_ROWS_MAX ? total : PREDICTED_ROWS_MAX;
    m->watch->show(m->watch->context, rows, total);
}

/* Counts all rows in blocks, and has the walks follow, whose rows then are in memory. */
static int count_rows(struct measure *m, struct err *e)
{
    const struct trace_request *requests = trace_get_requests(m->t);
    uint16_t *rows = mem_alloc(BLOCK_ROWS * m->row_values, sizeof *rows);
    uint64_t request = 0;
    int status = 0;

    for (uint64_t first = 0; first < m->info->rows && status == 0; first += BLOCK_ROWS) {
        uint64_t count =
            m->info->rows - first < BLOCK_ROWS ? m->info->rows - first : BLOCK_ROWS;

        status = trace_read_expert(m->t, first, count, rows, e);
        for (uint64_t i = 0; i < count && status == 0; i++) {
            while (first + i >= requests[request].first_row + requests[request].rows)
                request++;
            count_row(m, rows + (size_t)i * m->row_values, first + i + request + 2);
        }
        for (int i = 0; i < TRACE_UNION_SIZES && status == 0; i++)
            status = walk_on(m, &m->walk[i], request, e);
        show(m, first + count);
    }
    for (int i = 0; i < TRACE_UNION_SIZES && status == 0; i++)
        status = walk_on(m, &m->walk[i], m->info->requests, e);
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
    size_t tables = (size_t)(m->info->layers - 1) * m->info->experts;
    float *share = mem_alloc(tables * m->stride, sizeof *share);

    for (size_t i = 0; i < tables; i++) {
        double times = (double)m->activated[i];

        for (size_t x = 0; x < m->stride; x++)
            share[i * m->stride + x] =
                times > 0 ? (float)((double)m->follows[i * m->stride + x] / times) : 0.0F;
    }
    free(m->follows);
    m->follows = NULL;
    return share;
}

/* Four scores, which one instruction adds; memory that was allocated is aligned to them.
 */
typedef float quad __attribute__((vector_size(16), may_alias));

/* Sums of the tables of a cell's experts, in order; most[j] is the largest of the sums
 * j, j + LANES, ... */
static void add_tables(const float *tables, size_t stride, const uint16_t *cell,
                       uint32_t count, float *restrict score, float *restrict most)
{
    for (size_t j = 0; j < LANES; j++)
        most[j] = 0;
    for (size_t x = 0; x < stride; x += LANES) {
        quad a = {0}, b = {0}, c = {0}, d = {0}, *sum = (quad *)(score + x);

        for (uint32_t i = 0; i < count; i++) {
            const quad *table = (const quad *)(tables + cell[i] * stride + x);

            a += table[0];
            b += table[1];
            c += table[2];
            d += table[3];
        }
        sum[0] = a;
        sum[1] = b;
        sum[2] = c;
        sum[3] = d;
        for (size_t j = 0; j < LANES; j++)
            most[j] = score[x + j] > most[j] ? score[x + j] : most[j];
    }
}

/* How many of [begin, end) are above `limit`, or not below it. */
static uint32_t count_above(const float *score, size_t begin, size_t end, float limit)
{
    uint32_t above = 0;

    for (size_t x = begin; x < end; x++)
        above += score[x] > limit;
    return above;
}

static uint32_t count_not_below(const float *score, size_t begin, size_t end, float limit)
{
    uint32_t above = 0;

    for (size_t x = begin; x < end; x++)
        above += score[x] >= limit;
    return above;
}

/* How many of the next layer's experts are among the k with the best scores. Those that k
 * lanes surpass are not; then the others are ranked from the lowest on, and where one is
 * among the best, so are all above it. */
static uint32_t count_foreseen(const float *score, size_t stride, const float *most,
                               uint32_t k, const uint16_t *next, uint32_t next_count,
                               uint16_t *left)
{
    uint32_t held = 0;

    for (uint32_t i = 0; i < next_count; i++) {
        uint32_t at = held;

        if (count_above(most, 0, LANES, score[next[i]]) >= k)
            continue;
        /* From the best to the worst; of equal ones the lower is better. */
        for (; at > 0 &&
               (score[left[at - 1]] < score[next[i]] ||
                (score[left[at - 1]] == score[next[i]] && left[at - 1] > next[i]));
             at--)
            left[at] = left[at - 1];
        left[at] = next[i];
        held++;
    }
    for (; held > 0; held--) {
        uint16_t x = left[held - 1];

        if (count_not_below(score, 0, x, score[x]) +
                count_above(score, x, stride, score[x]) <
            k)
            break;
    }
    return held;
}

/* Adds to the experts asked for, and to those foreseen, of one row. */
static void predict_row(const struct measure *m, const float *share, const uint16_t *row,
                        float *score, uint16_t *left, uint64_t *asked, uint64_t *foreseen)
{
    size_t experts = m->info->experts, stride = m->stride;
    uint32_t k = m->info->top_k;
    float most[LANES];

    for (uint32_t l = 0; l + 1 < m->info->layers; l++) {
        const uint16_t *cell = cell_of(m, row, l), *next = cell_of(m, row, l + 1);
        uint32_t count = executed(m, cell), next_count = executed(m, next);

        if (count == 0)
            continue;
        add_tables(share + l * experts * stride, stride, cell, count, score, most);
        *asked += next_count;
        *foreseen += count_foreseen(score, stride, most, k, next, next_count, left);
    }
}

static int measure_predictability(struct measure *m, struct err *e)
{
    uint64_t stride = (m->info->rows + PREDICTED_ROWS_MAX - 1) / PREDICTED_ROWS_MAX;
    uint64_t asked = 0, foreseen = 0;
    uint16_t *left;
    float *share, *score;
    int status = 0;

    m->s->next_layer_predictability = -1;
    if (m->follows == NULL)
        return 0;
    share = turn_into_shares(m);
    score = mem_alloc(m->stride, sizeof *score);
    left = mem_alloc(m->info->top_k, sizeof *left);
    for (uint64_t i = 0; i < m->info->rows && status == 0; i += stride) {
        status = trace_read_expert(m->t, i, 1, m->expert, e);
        if (status == 0)
            predict_row(m, share, m->expert, score, left, &asked, &foreseen);
        if (i / stride % BLOCK_ROWS == 0)
            show(m, m->info->rows + i / stride);
    }
    if (asked > 0)
        m->s->next_layer_predictability = (double)foreseen / (double)asked;
    free(share);
    free(score);
    free(left);
    return status;
}

/* ---- all of it ---- */

static int measure_rows(struct measure *m, struct err *e)
{
    const struct trace_info *info = m->info;
    size_t cells = (size_t)info->layers * info->experts;
    uint64_t experts = info->experts, pairs = (info->layers - 1) * experts * experts;
    int status;

    m->stride = (info->experts + LANES - 1) / LANES * LANES;
    if (info->layers > 1 && pairs <= PAIR_BYTES_MAX / sizeof m->follows[0])
        m->follows = mem_zalloc((cells - info->experts) * m->stride, sizeof *m->follows);
    m->last = mem_zalloc(cells, sizeof m->last[0]);
    m->recorded = mem_zalloc(info->layers, sizeof m->recorded[0]);
    m->shared = mem_zalloc(info->layers, sizeof m->shared[0]);
    m->pairs = mem_zalloc(info->layers, sizeof m->pairs[0]);
    m->expert = mem_alloc(m->row_values, sizeof m->expert[0]);
    status = walks_init(m, e);
    if (status == 0)
        status = count_rows(m, e);
    if (status == 0) {
        measure_skew(m);
        measure_overlap(m);
        measure_unions(m);
        status = measure_predictability(m, e);
    }
    walks_release(m);
    free(m->last);
    free(m->recorded);
    free(m->shared);
    free(m->pairs);
    free(m->follows);
    free(m->expert);
    return status;
}

int trace_statistics_measure(struct trace *t, const struct trace_statistics_watch *watch,
                             struct trace_statistics *s, struct err *e)
{
    const struct trace_info *info = trace_get_info(t);
    struct measure m = {.t = t, .info = info, .watch = watch, .s = s};
    int status;

    *s = (struct trace_statistics){
        .layers = info->layers, .experts = info->experts, .top_k = info->top_k};
    s->popularity = mem_zalloc((size_t)info->layers * info->experts, sizeof(double));
    s->layer_adjacent_overlap = mem_zalloc(info->layers, sizeof(double));
    m.row_values = (size_t)info->layers * info->candidates;
    m.activated = mem_zalloc((size_t)info->layers * info->experts, sizeof m.activated[0]);
    if (info->counts_only) {
        s->next_layer_predictability = -1;
        status = count_loads(&m, e);
        measure_skew(&m);
    } else {
        status = measure_rows(&m, e);
    }
    free(m.activated);
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
