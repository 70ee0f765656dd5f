#include "statistics.h"

#include "concurrent.h"

#include "sim/base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PAIR_BYTES_MAX ((uint64_t)1 << 30)
#define PREDICTED_ROWS_MAX ((uint64_t)1 << 17)
#define UNION_ROWS_MAX ((uint64_t)1 << 20)
#define LANES 16 /* scores that are added and compared side by side */

/* Distinct experts of steps of so many slots. */
struct unions {
    struct measure *m;
    struct concurrent *walk;
    uint64_t distinct;
};

struct measure {
    struct trace *t;
    const struct trace_info *info;
    const struct trace_statistics_watch *watch; /* or NULL */
    const struct trace_statistics_guest *guest; /* or NULL */
    struct trace_statistics *s;
    uint64_t *activated; /* (layer, expert) */
    uint64_t *last;      /* (layer, expert): stamp of the last row that used it */
    uint64_t *recorded;  /* (layer): stamp of the last row with experts there */
    uint64_t *shared;    /* (layer): experts that a row shares with the row before */
    uint64_t *pairs;     /* (layer): rows that have such a row before them */
    size_t stride;       /* experts, rounded up to whole lanes */
    uint32_t *follows;   /* (layer, expert, expert of the next layer: stride), or NULL */
    uint64_t rows_shown; /* of sweeps before the present one */
    struct unions unions[TRACE_UNION_SIZES];
    uint64_t request; /* of the last row that was swept */
    uint32_t stamp;   /* of the last step and layer */
    uint32_t *seen;   /* (expert): stamp of the last step that used it */
    /* Of predictability. */
    float *share;   /* as `follows` */
    float *score;   /* [stride] */
    uint16_t *left; /* [top_k] */
    uint64_t asked, foreseen;
};

/* The loops over the experts of a cell. Where their number is known to the compiler,
 * which it is for the most common ones, they are quick. */
#define BY_COUNT(count, call)                                                            \
    ((count) == 8 ? call(8) : (count) == 4 ? call(4) : call(count))

/* ---- distinct experts of a batch ---- */

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

static void forget_stamps(struct measure *m)
{
    memset(m->seen, 0, m->info->experts * sizeof m->seen[0]);
    m->stamp = 0;
}

static void take_step(void *context, const struct concurrent_step *step)
{
    struct unions *u = context;
    struct measure *m = u->m;
    uint32_t k = m->info->top_k;

    for (uint32_t l = 0; l < m->info->layers; l++) {
        if (++m->stamp == 0) {
            forget_stamps(m);
            m->stamp = 1;
        }
        for (uint32_t i = 0; i < step->slots; i++) {
            const uint16_t *cell = step->expert[i] + (size_t)l * k;
            uint32_t count = rows_executed(cell, k);

#define MARK(n) mark_cell(m->seen, m->stamp, cell, n)
            u->distinct += step->slots == 1 ? count : BY_COUNT(count, MARK);
        }
    }
}

int trace_statistics_phases(struct trace *t, unsigned *phases, struct err *e)
{
    const uint64_t rows = trace_get_info(t)->rows;
    enum { AT_ONCE = 1024 };
    struct trace_token *token = mem_alloc(AT_ONCE, sizeof *token);
    int status = 0;

    *phases = 0;
    for (uint64_t first = 0; first < rows && status == 0; first += AT_ONCE) {
        uint64_t count = rows - first < AT_ONCE ? rows - first : AT_ONCE;

        status = trace_read_token(t, first, count, token, e);
        for (uint64_t i = 0; i < count && status == 0; i++)
            *phases |= 1u << token[i].phase;
    }
    free(token);
    return status;
}

unsigned trace_statistics_counted(unsigned phases)
{
    return (phases & 1u << TRACE_DECODE) != 0 ? 1u << TRACE_DECODE
                                              : (1u << TRACE_PHASES) - 1;
}

static int unions_init(struct measure *m, struct err *e)
{
    struct concurrent_plan plan = {.rows_most = UNION_ROWS_MAX, .step = take_step};

    m->seen = mem_zalloc(m->info->experts, sizeof m->seen[0]);
    if (trace_statistics_phases(m->t, &plan.phases, e) != 0)
        return -1;
    plan.phases = trace_statistics_counted(plan.phases);
    for (int i = 0; i < TRACE_UNION_SIZES; i++) {
        plan.slots = 1u << i;
        plan.context = &m->unions[i];
        m->unions[i].m = m;
        m->unions[i].walk = concurrent_new(m->t, &plan);
    }
    return 0;
}

static int unions_go(struct measure *m, uint64_t last, struct err *e)
{
    for (int i = 0; i < TRACE_UNION_SIZES; i++)
        if (concurrent_go(m->unions[i].walk, last, e) != 0)
            return -1;
    return 0;
}

static void measure_unions(struct measure *m)
{
    for (int i = 0; i < TRACE_UNION_SIZES; i++) {
        const struct unions *u = &m->unions[i];
        uint64_t steps = concurrent_steps(u->walk);

        if (steps > 0)
            m->s->union_size[i] = (double)u->distinct / (double)steps / m->info->layers;
    }
}

static void unions_release(struct measure *m)
{
    for (int i = 0; i < TRACE_UNION_SIZES; i++)
        concurrent_free(m->unions[i].walk);
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

/* Stamps of adjacent rows of a request follow each other, others do not; the first is 2.
 */
static void count_layer(void *context, const struct rows_layer *seen)
{
    struct measure *m = context;
    size_t experts = m->info->experts, l = seen->layer;
    uint64_t *activated = m->activated + l * experts, *last = m->last + l * experts;
    const uint16_t *cell = seen->expert;
    uint64_t shared = 0, pairs = 0;

    for (uint32_t i = 0; i < seen->rows; i++, cell += m->info->top_k) {
        uint32_t count = seen->count[i];
        uint64_t stamp = seen->first + i + seen->token[i].request + 2;

#define COUNT(n) count_cell(activated, last, stamp, cell, n)
        shared += BY_COUNT(count, COUNT);
        if (count > 0) {
            pairs += m->recorded[l] == stamp - 1;
            m->recorded[l] = stamp;
        }
    }
    m->shared[l] += shared;
    m->pairs[l] += pairs;
    if (seen->rows > 0)
        m->request = seen->token[seen->rows - 1].request;
}

static void count_next(void *context, const struct rows_layer *seen)
{
    struct measure *m = context;
    size_t k = m->info->top_k;
    uint32_t *tables = m->follows + seen->layer * m->info->experts * m->stride;

    for (uint32_t i = 0; i < seen->rows && seen->next != NULL; i++) {
        const uint16_t *cell = seen->expert + i * k, *next = seen->next + i * k;
        uint32_t count = seen->count[i], next_count = seen->next_count[i];

#define FOLLOW(n) count_follows(tables, m->stride, cell, n, next, n)
        if (count == next_count)
            BY_COUNT(count, FOLLOW);
        else
            count_follows(tables, m->stride, cell, count, next, next_count);
    }
}

static uint64_t predicted_rows(const struct measure *m, uint64_t *step)
{
    *step = (m->info->rows + PREDICTED_ROWS_MAX - 1) / PREDICTED_ROWS_MAX;
    return (m->info->rows + *step - 1) / *step;
}

static void show(const struct measure *m, uint64_t rows)
{
    uint64_t step, total = m->info->rows + predicted_rows(m, &step);

    if (m->watch != NULL)
        m->watch->show(m->watch->context, m->rows_shown + rows, total);
}

/* What follows the sweep finds its rows in memory. */
static int follow(void *context, uint64_t rows, struct err *e)
{
    struct measure *m = context;
    bool over = rows == m->info->rows;
    uint64_t last = over ? m->info->requests : m->request;

    show(m, rows);
    if (unions_go(m, last, e) != 0)
        return -1;
    return m->guest == NULL ? 0 : m->guest->follow(m->guest->context, last, e);
}

static int count_rows(struct measure *m, struct err *e)
{
    enum { OWN = 2 };
    size_t guests = m->guest == NULL ? 0 : m->guest->visitors, own = 0;
    struct rows_visitor *visitor = mem_alloc(OWN + guests, sizeof *visitor);
    const struct rows_sweep sweep = {.step = 1,
                                     .tokens = true,
                                     .scores = m->guest != NULL && m->guest->scores,
                                     .visitor = visitor,
                                     .visitors = guests + (m->follows == NULL ? 1 : 2),
                                     .after = follow,
                                     .context = m};
    int status;

    visitor[own++] = (struct rows_visitor){count_layer, m};
    if (m->follows != NULL)
        visitor[own++] = (struct rows_visitor){count_next, m};
    for (size_t i = 0; i < guests; i++)
        visitor[own++] = m->guest->visitor[i];
    status = rows_sweep(m->t, &sweep, e);
    free(visitor);
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
        if (status == 0 && m->guest != NULL)
            m->guest->pass(m->guest->context, n, count);
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

static void predict_layer(void *context, const struct rows_layer *seen)
{
    struct measure *m = context;
    size_t k = m->info->top_k, stride = m->stride;
    const float *share = m->share + seen->layer * m->info->experts * stride;
    float most[LANES];

    for (uint32_t i = 0; i < seen->rows && seen->next != NULL; i++) {
        if (seen->count[i] == 0)
            continue;
        add_tables(share, stride, seen->expert + i * k, seen->count[i], m->score, most);
        m->asked += seen->next_count[i];
        m->foreseen += count_foreseen(m->score, stride, most, m->info->top_k,
                                      seen->next + i * k, seen->next_count[i], m->left);
    }
}

static int show_predicted(void *context, uint64_t rows, struct err *e)
{
    (void)e;
    show(context, rows);
    return 0;
}

static int measure_predictability(struct measure *m, struct err *e)
{
    const struct rows_visitor visitor = {predict_layer, m};
    struct rows_sweep sweep = {
        .visitor = &visitor, .visitors = 1, .after = show_predicted, .context = m};
    int status;

    m->s->next_layer_predictability = -1;
    if (m->follows == NULL)
        return 0;
    (void)predicted_rows(m, &sweep.step);
    m->rows_shown = m->info->rows;
    m->share = turn_into_shares(m);
    m->score = mem_alloc(m->stride, sizeof *m->score);
    m->left = mem_alloc(m->info->top_k, sizeof *m->left);
    status = rows_sweep(m->t, &sweep, e);
    if (m->asked > 0)
        m->s->next_layer_predictability = (double)m->foreseen / (double)m->asked;
    free(m->share);
    free(m->score);
    free(m->left);
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
    status = unions_init(m, e);
    if (status == 0)
        status = count_rows(m, e);
    if (status == 0) {
        measure_skew(m);
        measure_overlap(m);
        measure_unions(m);
        status = measure_predictability(m, e);
    }
    unions_release(m);
    free(m->last);
    free(m->recorded);
    free(m->shared);
    free(m->pairs);
    free(m->follows);
    return status;
}

int trace_statistics_measure_with(struct trace *t,
                                  const struct trace_statistics_watch *watch,
                                  const struct trace_statistics_guest *guest,
                                  struct trace_statistics *s, struct err *e)
{
    const struct trace_info *info = trace_get_info(t);
    struct measure m = {.t = t, .info = info, .watch = watch, .guest = guest, .s = s};
    int status;

    *s = (struct trace_statistics){
        .layers = info->layers, .experts = info->experts, .top_k = info->top_k};
    s->popularity = mem_zalloc((size_t)info->layers * info->experts, sizeof(double));
    s->layer_adjacent_overlap = mem_zalloc(info->layers, sizeof(double));
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

int trace_statistics_measure(struct trace *t, const struct trace_statistics_watch *watch,
                             struct trace_statistics *s, struct err *e)
{
    return trace_statistics_measure_with(t, watch, NULL, s, e);
}

void trace_statistics_release(struct trace_statistics *s)
{
    free(s->popularity);
    free(s->layer_adjacent_overlap);
    s->popularity = NULL;
    s->layer_adjacent_overlap = NULL;
}
