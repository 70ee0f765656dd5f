/* What else a trace says of itself: closed forms, then brute force on a random trace. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "trace_maker.h"

#include "sim/base/mem.h"
#include "sim/base/rng.h"
#include "traces/details.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A trace in memory. */
struct hand {
    uint32_t layers, experts, top_k, candidates;
    enum trace_score_kind kind;
    uint32_t groups, requests;
    const uint32_t *rows;   /* [requests] */
    const uint16_t *group;  /* [requests] */
    const uint8_t *phase;   /* (row) */
    const uint16_t *expert; /* (row, layer, candidate) */
    const float *score;     /* the same, or NULL */
};

static void must(int status, const struct err *e)
{
    if (status != 0)
        fail_msg("%s", e->text);
}

static struct trace_info info_of(const struct hand *h)
{
    struct trace_info info = {.model = mem_strdup("by hand"),
                              .source = mem_strdup(""),
                              .capture = mem_strdup(""),
                              .experts = h->experts,
                              .top_k = h->top_k,
                              .candidates = h->candidates,
                              .layers = h->layers,
                              .score_kind = h->kind,
                              .groups = h->groups};

    info.moe_layer = mem_alloc(h->layers, sizeof info.moe_layer[0]);
    for (uint32_t l = 0; l < h->layers; l++)
        info.moe_layer[l] = (uint16_t)l;
    info.group_names = mem_alloc(h->groups, sizeof info.group_names[0]);
    for (uint32_t g = 0; g < h->groups; g++)
        info.group_names[g] = mem_format("group %u", g);
    return info;
}

static void write_rows(struct trace_writer *w, const struct hand *h)
{
    struct err e = {.text = ""};
    size_t values = (size_t)h->layers * h->candidates;
    uint64_t row = 0;

    for (uint32_t r = 0; r < h->requests; r++) {
        const struct trace_request request = {
            .arrival_ns = -1, .first_row = row, .rows = h->rows[r], .group = h->group[r]};

        for (uint32_t i = 0; i < h->rows[r]; i++, row++) {
            const struct trace_token token = {.request = r,
                                              .position = i,
                                              .phase = h->phase[row],
                                              .token_id = -1,
                                              .source = UINT16_MAX};

            must(trace_writer_rows(w, 1, &token, h->expert + row * values,
                                   h->score == NULL ? NULL : h->score + row * values,
                                   NULL, &e),
                 &e);
        }
        must(trace_writer_request(w, &request, &e), &e);
    }
}

struct measured {
    struct trace_statistics s;
    struct trace_details d;
};

static struct measured measure_file(const char *path)
{
    struct err e = {.text = ""};
    struct trace *t = trace_open(path, NULL, &e);
    struct measured m;

    must(t == NULL ? -1 : 0, &e);
    must(trace_details_measure(t, NULL, &m.s, &m.d, &e), &e);
    trace_close(t);
    (void)unlink(path);
    return m;
}

static struct measured measure(const struct hand *h)
{
    struct err e = {.text = ""};
    char *path = trace_make_path("details.h5");
    struct trace_info info = info_of(h);
    struct trace_writer *w = trace_writer_new(path, &info, &e);
    struct measured m;

    must(w == NULL ? -1 : 0, &e);
    write_rows(w, h);
    must(trace_writer_commit(w, &e), &e);
    trace_info_release(&info);
    m = measure_file(path);
    free(path);
    return m;
}

static void release(struct measured *m)
{
    trace_statistics_release(&m->s);
    trace_details_release(&m->d);
}

static void assert_within(double value, double want, double share)
{
    if (!(fabs(value - want) <= share * fmax(1.0, fabs(want))))
        fail_msg("%.15g is not %.15g", value, want);
}

static void assert_near(double value, double want)
{
    assert_within(value, want, 1e-12);
}

/* ---- closed forms ---- */

static const uint8_t decode_rows[64] = {
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

/* Scores in no order: 3/4 beside 1/4, either way round, leaves 1/4 beside the best; 1/2
 * beside 1/8 leaves (1/8) / (5/8) = 1/5. A cell that was not recorded counts nowhere, one
 * with a single expert has no margin. */
static void test_gates_of_phases_and_groups(void **state)
{
    const uint16_t none = TRACE_NOT_RECORDED;
    const uint16_t expert[] = {0, 1, 3, 2, none, none, 1, 0, 2, none, 0, 3};
    const float score[] = {.75F, .25F, .25F, .75F, 0, 0, .5F, .125F, .5F, 0, .25F, .125F};
    const uint32_t rows[] = {4, 2};
    const uint16_t group[] = {0, 1};
    const uint8_t phase[] = {1, 1, 1, 0, 1, 3};
    const struct hand h = {1,    4,     2,     2,      TRACE_SCORE_SIGMOID, 2, 2, rows,
                           group, phase, expert, score};
    struct measured m = measure(&h);
    const struct trace_gate *gate = m.d.gate;

    (void)state;
    assert_true(m.d.scores);
    assert_false(m.d.all_scores);
    assert_int_equal(m.d.phases, 1 << 0 | 1 << 1 | 1 << 3);
    assert_int_equal(gate[0].cells, 1); /* prefill of the first group */
    assert_near(gate[0].margin, .375);
    assert_within(gate[0].rest, .2, 1e-12);
    assert_int_equal(gate[1].cells, 0);
    assert_int_equal(gate[2].cells, 2); /* its decode */
    assert_int_equal(gate[2].margins, 2);
    assert_near(gate[2].margin, 1);
    assert_near(gate[2].rest, .5);
    assert_int_equal(gate[3].cells, 1);
    assert_int_equal(gate[3].margins, 0);
    assert_near(gate[3].rest, 0);
    assert_int_equal(gate[4].cells + gate[5].cells + gate[6].cells, 0);
    assert_int_equal(gate[7].cells, 1); /* verify of the second */
    assert_near(gate[7].margin, .125);
    assert_within(gate[7].rest, 1. / 3, 1e-12);
    release(&m);
}

/* Of logits 2, 1, 0 and -1, two executed: the mass of the second is 1 / (1 + e) of both,
 * and (1 + 1/e) / (e^2 + e + 1 + 1/e) is not executed. */
static void test_gates_of_logits(void **state)
{
    const uint16_t expert[] = {1, 0, 3, 2};
    const float score[] = {1, 2, -1, 0};
    const uint32_t rows[] = {1};
    const uint16_t group[] = {0};
    const double e = exp(1);
    struct hand h = {1,    4,     2,           4,     TRACE_SCORE_LOGIT, 1, 1, rows,
                     group, decode_rows, expert, score};
    struct measured m = measure(&h);

    (void)state;
    assert_true(m.d.all_scores);
    assert_near(m.d.gate[1].margin, 1);
    assert_within(m.d.gate[1].rest, 1 / (1 + e), 1e-6);
    assert_within(m.d.gate[1].outside, (1 + 1 / e) / (e * e + e + 1 + 1 / e), 1e-6);
    release(&m);
    /* With one executed the margin is over the best of the others. */
    h.top_k = 1;
    m = measure(&h);
    assert_near(m.d.gate[1].margin, 1);
    assert_near(m.d.gate[1].rest, 0);
    assert_int_equal(m.d.gate[1].margins, 1);
    release(&m);
}

/* A row with masses 1/2, 1/4, 3/16 and 1/16 can lose the last one for 10 %, nothing for
 * 5 %. Eight such rows whose first three are alike and whose last ones differ: the mass is
 * 8, each of the last is 1/128 of it, so that a loss of 1 % takes one of them, 5 % takes
 * six (6/128) and 10 % all eight; the next one has 3/16. */
static void test_drops(void **state)
{
    uint16_t expert[8 * 4];
    float score[8 * 4];
    const uint32_t rows[] = {1, 1, 1, 1, 1, 1, 1, 1};
    const uint16_t group[8] = {0};
    const struct hand h = {1,    16,          4,      4,    TRACE_SCORE_SOFTMAX, 1, 8, rows,
                           group, decode_rows, expert, score};
    const struct drop_sums *sums;
    struct measured m;

    (void)state;
    for (uint16_t r = 0; r < 8; r++) {
        const uint16_t row[] = {0, 1, 2, (uint16_t)(15 - r)};
        const float of_row[] = {.5F, .25F, .1875F, .0625F};

        memcpy(expert + r * 4, row, sizeof row);
        memcpy(score + r * 4, of_row, sizeof of_row);
    }
    m = measure(&h);
    assert_null(m.d.group_drops); /* there is one group only */
    assert_int_equal(m.d.phase_drops[0].steps, 0);
    sums = m.d.phase_drops + DETAILS_BATCHES; /* decode */
    assert_int_equal(sums[0].steps, 8);
    assert_int_equal(sums[0].distinct, 32);
    assert_int_equal(sums[0].dropped[0], 0);
    assert_int_equal(sums[0].dropped[1], 0);
    assert_int_equal(sums[0].dropped[2], 8);
    assert_int_equal(sums[1].steps, 1);
    assert_int_equal(sums[1].distinct, 11);
    assert_int_equal(sums[1].dropped[0], 1);
    assert_int_equal(sums[1].dropped[1], 6);
    assert_int_equal(sums[1].dropped[2], 8);
    assert_int_equal(sums[2].steps, 0); /* eight requests for 32 slots */
    release(&m);
}

/* Row t uses (3t + j) mod 12: an expert comes again after all twelve. A constant row of
 * three finds each behind the two others. Without scores there are neither gates nor
 * drops. */
static void test_reuse(void **state)
{
    const struct trace_make constant = {.layers = 1,
                                        .experts = 12,
                                        .top_k = 3,
                                        .requests = 2,
                                        .rows = 50,
                                        .routing = TRACE_MAKE_CONSTANT};
    char *path = trace_make_path("reuse.h5");
    struct measured m;

    (void)state;
    trace_make_cyclic(path, 2, 12, 3, 400);
    m = measure_file(path);
    assert_int_equal(m.d.reuse_bins, 6); /* 0, 1, 2, 3-4, 5-8, 9-16 */
    for (uint32_t l = 0; l < 2; l++)
        for (uint32_t b = 0; b < 6; b++)
            assert_int_equal(m.d.reuse[l * 6 + b], b == 0 ? 12 : b == 5 ? 1200 - 12 : 0);
    assert_false(m.d.scores);
    assert_null(m.d.gate);
    assert_null(m.d.phase_drops);
    release(&m);
    trace_make(path, &constant);
    m = measure_file(path);
    assert_int_equal(m.d.reuse[0], 3);
    assert_int_equal(m.d.reuse[3], 300 - 3);
    release(&m);
    free(path);
}

/* 64 rows of top-1 in eight requests: expert 0 in the first half, expert 1 in the second.
 * One of the seven pairs of neighbours has nothing in common; of independent rows it
 * would be expected to differ by 1/2 * 2 sqrt(2/pi * 1/4 * 2/8) = sqrt(1 / (8 pi)), the
 * others by nothing. Requests 0 to 3 hold expert 0, each is one of the windows in turn,
 * and 16 of the 28 pairs differ. */
static void test_drift(void **state)
{
    uint16_t expert[64];
    const uint32_t rows[] = {8, 8, 8, 8, 8, 8, 8, 8};
    const uint16_t group[8] = {0};
    struct hand h = {1,     4,           1,      1,   TRACE_SCORE_NONE, 1, 8, rows,
                     group, decode_rows, expert, NULL};
    const double chance = sqrt(1 / (8 * 3.14159265358979323846));
    struct measured m;

    (void)state;
    for (int i = 0; i < 64; i++)
        expert[i] = i >= 32;
    m = measure(&h);
    assert_int_equal(m.d.drift.windows, 8);
    assert_near(m.d.drift.neighbours, 1. / 7);
    assert_near(m.d.drift.neighbours_independent, chance / 7);
    assert_near(m.d.drift.first_to_last, 1);
    assert_near(m.d.drift.first_to_last_independent, chance);
    assert_near(m.d.drift.dealt, 16. / 28);
    release(&m);
    /* The experts alternate: no window differs, in order; those in turn are alike, too. */
    for (int i = 0; i < 64; i++)
        expert[i] = (uint16_t)(i % 2);
    m = measure(&h);
    assert_near(m.d.drift.neighbours, 0);
    assert_near(m.d.drift.first_to_last, 0);
    assert_near(m.d.drift.dealt, 0);
    release(&m);
    /* A single row is one window, and two requests cannot be dealt to eight. */
    h.requests = 1;
    h.rows = (const uint32_t[]){1};
    m = measure(&h);
    assert_int_equal(m.d.drift.windows, 1);
    assert_near(m.d.drift.neighbours, -1);
    assert_near(m.d.drift.first_to_last, -1);
    release(&m);
    h.requests = 2;
    h.rows = (const uint32_t[]){30, 34};
    m = measure(&h);
    assert_near(m.d.drift.dealt, -1);
    assert_near(m.d.drift.neighbours, 0);
    release(&m);
}

/* Over 11 passes (7n + 3l + x) mod 11 takes every value once, for each expert. */
static void test_count_only(void **state)
{
    char *path = trace_make_path("details-counts.h5");
    double sum = 0, least = 1e9, most = 0;
    struct measured m;

    (void)state;
    trace_make_counts(path, 2, 3, 11);
    m = measure_file(path);
    for (uint32_t n = 0; n < 11; n++) {
        double of_pass = 0;

        for (uint32_t i = 0; i < 6; i++)
            of_pass += (n * 7 + i / 3 * 3 + i % 3) % 11;
        sum += of_pass / 2;
        least = fmin(least, of_pass / 2);
        most = fmax(most, of_pass / 2);
    }
    assert_near(m.d.tokens.mean, sum / 11);
    assert_near(m.d.tokens.least, least);
    assert_near(m.d.tokens.most, most);
    assert_int_equal(m.d.drift.windows, 8);
    assert_true(m.d.drift.neighbours > 0);
    assert_null(m.d.reuse);
    assert_null(m.d.gate);
    release(&m);
    free(path);
}

/* ---- brute force ---- */

enum {
    LAYERS = 3,
    EXPERTS = 41,
    REQUESTS = 45,
    GROUPS = 3,
    TOP_K = 5,
    ROWS_MOST = REQUESTS * 90
};

struct world {
    struct hand h;
    uint32_t rows[REQUESTS], all;
    uint16_t group[REQUESTS];
    uint8_t phase[ROWS_MOST];
    uint32_t request[ROWS_MOST];
    uint16_t *expert;
    float *score;
};

static void draw_cell(struct world *w, struct rng *r, uint16_t *cell, float *score)
{
    uint32_t kept = w->h.candidates;
    uint16_t all[EXPERTS];

    for (uint32_t x = 0; x < EXPERTS; x++)
        all[x] = (uint16_t)x;
    if (rng_below(r, 8) == 0)
        kept = (uint32_t)rng_below(r, w->h.candidates + 1);
    for (uint32_t i = 0; i < w->h.candidates; i++) {
        uint32_t j = i + (uint32_t)rng_below(r, (EXPERTS - i) / (i % 2 + 1));
        uint16_t x = all[j];

        all[j] = all[i];
        all[i] = x;
        cell[i] = i < kept ? x : TRACE_NOT_RECORDED;
        score[i] = i < kept ? (float)rng_below(r, 2049) / 2048.0F : 0;
        if (w->h.kind == TRACE_SCORE_LOGIT)
            score[i] = i < kept ? 8 * score[i] - 4 : 0;
    }
}

static struct world *draw_world(enum trace_score_kind kind, uint32_t candidates)
{
    struct world *w = mem_zalloc(1, sizeof *w);
    struct rng r = rng_stream(77, "details", kind * 100 + candidates);
    size_t values = (size_t)LAYERS * candidates;

    w->expert = mem_alloc(ROWS_MOST * values, sizeof *w->expert);
    w->score = mem_alloc(ROWS_MOST * values, sizeof *w->score);
    w->h = (struct hand){LAYERS,   EXPERTS,  TOP_K,    candidates, kind,      GROUPS,
                         REQUESTS, w->rows,  w->group, w->phase,   w->expert, w->score};
    for (uint32_t q = 0; q < REQUESTS; q++) {
        uint32_t prompt = (uint32_t)rng_below(&r, 40);

        w->rows[q] = prompt + (uint32_t)rng_below(&r, 50);
        w->group[q] = q < 2 * 4 ? (uint16_t)(q % 2) : (uint16_t)2;
        for (uint32_t i = 0; i < w->rows[q]; i++, w->all++) {
            w->request[w->all] = q;
            w->phase[w->all] = i < prompt ? TRACE_PREFILL
                               : rng_below(&r, 5) == 0
                                   ? (uint8_t)(TRACE_DRAFT + rng_below(&r, 2))
                                   : TRACE_DECODE;
            for (uint32_t l = 0; l < LAYERS; l++)
                draw_cell(w, &r, w->expert + w->all * values + l * candidates,
                          w->score + w->all * values + l * candidates);
        }
    }
    return w;
}

static void free_world(struct world *w)
{
    free(w->expert);
    free(w->score);
    free(w);
}

static size_t cell_at(const struct world *w, uint32_t row, uint32_t layer)
{
    return ((size_t)row * LAYERS + layer) * w->h.candidates;
}

static uint32_t recorded_of(const struct world *w, uint32_t row, uint32_t layer,
                            uint32_t most)
{
    const uint16_t *cell = w->expert + cell_at(w, row, layer);
    uint32_t n = 0;

    while (n < most && cell[n] != TRACE_NOT_RECORDED)
        n++;
    return n;
}

/* By expert, of all that is recorded in the cell. */
static void masses_of(const struct world *w, uint32_t row, uint32_t layer, double *mass)
{
    uint32_t n = recorded_of(w, row, layer, w->h.candidates);
    const uint16_t *cell = w->expert + cell_at(w, row, layer);
    const float *score = w->score + cell_at(w, row, layer);
    double sum = 0;

    for (uint32_t x = 0; x < EXPERTS; x++)
        mass[x] = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += exp((double)score[i]);
    for (uint32_t i = 0; i < n; i++)
        mass[cell[i]] =
            w->h.kind == TRACE_SCORE_LOGIT ? exp((double)score[i]) / sum : (double)score[i];
}

static int by_double(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void brute_gate(const struct world *w, const struct measured *m, unsigned phase,
                       uint32_t group)
{
    struct trace_gate gate = m->d.gate[phase * GROUPS + group], want = {0};

    for (uint32_t t = 0; t < w->all; t++)
        for (uint32_t l = 0; l < LAYERS; l++) {
            uint32_t n = recorded_of(w, t, l, TOP_K);
            uint32_t all = recorded_of(w, t, l, w->h.candidates);
            const uint16_t *cell = w->expert + cell_at(w, t, l);
            double score[EXPERTS], mass[EXPERTS], most = 0, executed = 0, recorded = 0;

            if (w->phase[t] != phase || w->group[w->request[t]] != group)
                continue;
            masses_of(w, t, l, mass);
            for (uint32_t i = 0; i < all; i++) {
                recorded += mass[cell[i]];
                if (i >= n)
                    continue;
                executed += mass[cell[i]];
                most = fmax(most, mass[cell[i]]);
                score[i] = (double)w->score[cell_at(w, t, l) + i];
            }
            if (executed == 0)
                continue;
            want.cells++;
            want.rest += 1 - most / executed;
            want.outside += 1 - executed / recorded;
            qsort(score, n, sizeof *score, by_double);
            want.margins += n > 1;
            want.margin += n > 1 ? score[n - 1] - score[n - 2] : 0;
        }
    assert_int_equal(gate.cells, want.cells);
    assert_int_equal(gate.margins, want.margins);
    assert_within(gate.margin, want.margin, 1e-9);
    assert_within(gate.rest, want.rest, 1e-6);
    assert_within(gate.outside, want.outside, 1e-6);
}

/* Adds a batch of rows to the sums, layer by layer. */
static void brute_batch(const struct world *w, const uint32_t *row, uint32_t slots,
                        struct drop_sums *sums)
{
    for (uint32_t l = 0; l < LAYERS; l++) {
        double sum[EXPERTS] = {0}, value[EXPERTS], total = 0;
        bool used[EXPERTS] = {false};
        uint32_t count = 0;

        for (uint32_t i = 0; i < slots; i++) {
            double mass[EXPERTS];

            masses_of(w, row[i], l, mass);
            for (uint32_t j = 0; j < recorded_of(w, row[i], l, TOP_K); j++) {
                uint16_t x = w->expert[cell_at(w, row[i], l) + j];

                sum[x] += mass[x];
                used[x] = true;
            }
        }
        for (uint32_t x = 0; x < EXPERTS; x++) {
            total += sum[x];
            if (used[x])
                value[count++] = sum[x];
        }
        qsort(value, count, sizeof *value, by_double);
        sums->distinct += count;
        for (int p = 0; p < DROP_LOSSES && total > 0; p++) {
            double dropped = 0;

            for (uint32_t i = 0; i < count; i++) {
                dropped += value[i];
                sums->dropped[p] += dropped * 100 <= total * drop_percent[p];
            }
        }
    }
    sums->steps++;
}

/* The rows of each slot one by one: every slot has its request, or takes the next. */
static struct drop_sums brute_drops(const struct world *w, uint32_t slots,
                                    unsigned phase, int group)
{
    uint32_t row[32], end[32], next = 0, first = 0;
    struct drop_sums sums = {0};

    for (uint32_t i = 0; i < slots; i++)
        row[i] = end[i] = 0;
    for (;;) {
        uint32_t batch[32];

        for (uint32_t i = 0; i < slots; i++) {
            for (; row[i] == end[i] || w->phase[row[i]] != phase; row[i]++) {
                while (row[i] == end[i]) {
                    if (next == REQUESTS)
                        return sums;
                    if (group < 0 || w->group[next] == (uint32_t)group) {
                        row[i] = first;
                        end[i] = first + w->rows[next];
                    }
                    first += w->rows[next++];
                }
                if (w->phase[row[i]] == phase)
                    break;
            }
            batch[i] = row[i]++;
        }
        brute_batch(w, batch, slots, &sums);
    }
}

static void assert_drops(const struct world *w, struct drop_sums have,
                         struct drop_sums want)
{
    /* Logits' masses are rounded, and a loss may be met or missed by that. */
    double room = w->h.kind == TRACE_SCORE_LOGIT ? 1e-3 : 0;

    assert_int_equal(have.steps, want.steps);
    assert_int_equal(have.distinct, want.distinct);
    for (int p = 0; p < DROP_LOSSES; p++)
        assert_within((double)have.dropped[p], (double)want.dropped[p], room);
}

static void brute_reuse(const struct world *w, const struct measured *m, uint32_t layer)
{
    uint64_t want[REUSE_BINS_MOST] = {0};
    uint16_t recent[EXPERTS];
    uint32_t held = 0;

    for (uint32_t t = 0; t < w->all; t++)
        for (uint16_t x = 0; x < EXPERTS; x++) {
            const uint16_t *cell = w->expert + cell_at(w, t, layer);
            uint32_t n = recorded_of(w, t, layer, TOP_K), i = 0, at = 0, bin = 0;

            while (i < n && cell[i] != x)
                i++;
            if (i == n)
                continue;
            while (at < held && recent[at] != x)
                at++;
            if (at < held)
                for (bin = 1; at + 1 > 1u << (bin - 1); bin++)
                    continue;
            else
                held++;
            want[bin]++;
            memmove(recent + 1, recent, at * sizeof *recent);
            recent[0] = x;
        }
    for (uint32_t b = 0; b < m->d.reuse_bins; b++)
        assert_int_equal(m->d.reuse[layer * m->d.reuse_bins + b], want[b]);
}

/* The mean over layers of the distance between the rows that `in` two windows. */
static double brute_distance(const struct world *w, const uint8_t *window, uint32_t a,
                             uint32_t b)
{
    double distance = 0;

    for (uint32_t l = 0; l < LAYERS; l++) {
        double in_a[EXPERTS] = {0}, in_b[EXPERTS] = {0}, of_a = 0, of_b = 0;

        for (uint32_t t = 0; t < w->all; t++)
            for (uint32_t i = 0; i < recorded_of(w, t, l, TOP_K); i++) {
                uint16_t x = w->expert[cell_at(w, t, l) + i];

                in_a[x] += window[t] == a;
                of_a += window[t] == a;
                in_b[x] += window[t] == b;
                of_b += window[t] == b;
            }
        for (uint32_t x = 0; x < EXPERTS; x++)
            distance += fabs(in_a[x] / of_a - in_b[x] / of_b) / 2 / LAYERS;
    }
    return distance;
}

static void brute_drift(const struct world *w, const struct measured *m)
{
    const struct trace_drift *r = &m->d.drift;
    uint8_t window[ROWS_MOST];
    double near = 0, dealt = 0;

    for (uint32_t t = 0; t < w->all; t++)
        window[t] = (uint8_t)(8 * t / w->all);
    for (uint32_t a = 0; a < 7; a++)
        near += brute_distance(w, window, a, a + 1) / 7;
    assert_within(r->neighbours, near, 1e-9);
    assert_within(r->first_to_last, brute_distance(w, window, 0, 7), 1e-9);
    for (uint32_t t = 0; t < w->all; t++)
        window[t] = (uint8_t)(w->request[t] % 8);
    for (uint32_t a = 0; a < 8; a++)
        for (uint32_t b = a + 1; b < 8; b++)
            dealt += brute_distance(w, window, a, b) / 28;
    assert_within(r->dealt, dealt, 1e-9);
    /* Rows are drawn independently here: what is seen is what is expected of that. */
    assert_within(r->neighbours / r->neighbours_independent, 1, .1);
}

static void check_world(enum trace_score_kind kind, uint32_t candidates)
{
    struct world *w = draw_world(kind, candidates);
    struct measured m = measure(&w->h);

    assert_true(w->all > 1500);
    for (unsigned p = 0; p < TRACE_PHASES; p++) {
        for (uint32_t g = 0; g < GROUPS; g++)
            brute_gate(w, &m, p, g);
        for (uint32_t b = 0; b < DETAILS_BATCHES; b++)
            assert_drops(w, m.d.phase_drops[p * DETAILS_BATCHES + b],
                         brute_drops(w, details_batch[b], p, -1));
    }
    for (uint32_t g = 0; g < GROUPS; g++)
        for (uint32_t b = 0; b < DETAILS_BATCHES; b++)
            assert_drops(w, m.d.group_drops[g * DETAILS_BATCHES + b],
                         brute_drops(w, details_batch[b], TRACE_DECODE, (int)g));
    for (uint32_t l = 0; l < LAYERS; l++)
        brute_reuse(w, &m, l);
    brute_drift(w, &m);
    release(&m);
    free_world(w);
}

static void test_executed_alone(void **state)
{
    (void)state;
    check_world(TRACE_SCORE_SIGMOID, TOP_K);
}

static void test_some_more_candidates(void **state)
{
    (void)state;
    check_world(TRACE_SCORE_SOFTMAX, TOP_K + 3);
}

static void test_all_logits(void **state)
{
    (void)state;
    check_world(TRACE_SCORE_LOGIT, EXPERTS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gates_of_phases_and_groups),
        cmocka_unit_test(test_gates_of_logits),
        cmocka_unit_test(test_drops),
        cmocka_unit_test(test_reuse),
        cmocka_unit_test(test_drift),
        cmocka_unit_test(test_count_only),
        cmocka_unit_test(test_executed_alone),
        cmocka_unit_test(test_some_more_candidates),
        cmocka_unit_test(test_all_logits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
