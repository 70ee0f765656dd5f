#include "generate.h"

#include "draw_fit.h"
#include "draw_scale.h"
#include "gates.h"
#include "generate_write.h"
#include "rows_sweep.h"
#include "statistics.h"

#include "sim/base/mem.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TEMPLATE_MAX 64    /* rows that are searched for a template */
#define TEMPLATE_PAIRS 256 /* of requests, compared at each position */
#define FAR_PAIRS 20000
#define GATE_ROWS 20000
#define LARGEST_UNION 4 /* index: 16 requests govern, the other sizes follow */

struct source {
    struct trace *t;
    const struct trace_info *info;
    const struct trace_request *requests;
    struct draw_request *shape; /* [info->requests] */
    uint16_t *row[2];           /* work space of one row each */
};

/* ---- what the source's requests are made of ---- */

static int read_shape(struct source *s, uint64_t i, struct err *e)
{
    const struct trace_request *r = &s->requests[i];
    struct draw_request *shape = &s->shape[i];
    struct trace_token token[256];

    *shape = (struct draw_request){
        .prompt_tokens = r->prompt_tokens,
        .output_tokens = r->output_tokens,
        .group = r->group,
    };
    for (uint32_t first = 0; first < r->rows; first += 256) {
        uint32_t count = r->rows - first < 256 ? r->rows - first : 256;

        if (trace_read_token(s->t, r->first_row + first, count, token, e) != 0)
            return -1;
        if (first == 0)
            shape->first_position = token[0].position;
        for (uint32_t k = 0; k < count; k++)
            shape->prompt_rows += token[k].phase == TRACE_PREFILL;
    }
    shape->output_rows = r->rows - shape->prompt_rows;
    return 0;
}

/* Whether a row is recorded in layers [from, to) and in no others. */
static bool is_in(const struct source *s, const uint16_t *row, uint32_t from, uint32_t to)
{
    for (uint32_t l = 0; l < s->info->layers; l++, row += s->info->candidates)
        if ((*row != TRACE_NOT_RECORDED) != (l >= from && l < to))
            return false;
    return true;
}

/* Layers of an encoder, if a prompt and its answer are recorded on their sides alone; by
 * the first request that has both. */
static int find_encoder(struct source *s, uint32_t *layers, struct err *e)
{
    uint64_t i = 0;

    *layers = 0;
    while (i < s->info->requests &&
           (s->shape[i].prompt_rows == 0 || s->shape[i].output_rows == 0))
        i++;
    if (i == s->info->requests)
        return 0;
    if (trace_read_expert(s->t, s->requests[i].first_row, 1, s->row[0], e) != 0 ||
        trace_read_expert(s->t, s->requests[i].first_row + s->requests[i].rows - 1, 1,
                          s->row[1], e) != 0)
        return -1;
    for (uint32_t n = 1; n < s->info->layers; n++)
        if (is_in(s, s->row[0], 0, n) && is_in(s, s->row[1], n, s->info->layers))
            *layers = n;
    return 0;
}

/* ---- what trace_statistics does not measure ---- */

/* Adds to the experts that two rows share and could share. */
static int compare_rows(struct source *s, uint64_t a, uint64_t b, uint64_t *shared,
                        uint64_t *asked, struct err *e)
{
    const struct trace_info *info = s->info;

    if (trace_read_expert(s->t, a, 1, s->row[0], e) != 0 ||
        trace_read_expert(s->t, b, 1, s->row[1], e) != 0)
        return -1;
    for (uint32_t l = 0; l < info->layers; l++) {
        const uint16_t *x = s->row[0] + (size_t)l * info->candidates;
        const uint16_t *y = s->row[1] + (size_t)l * info->candidates;

        if (x[0] == TRACE_NOT_RECORDED || y[0] == TRACE_NOT_RECORDED)
            continue;
        *asked += info->top_k;
        for (uint32_t i = 0; i < info->top_k && x[i] != TRACE_NOT_RECORDED; i++)
            for (uint32_t j = 0; j < info->top_k; j++)
                *shared += x[i] == y[j];
    }
    return 0;
}

/* Overlap of rows that are FIT_FAR apart in one request; -1 where there are none. */
static int measure_far(struct source *s, double *overlap, struct err *e)
{
    uint64_t stride = s->info->rows / FAR_PAIRS + 1, row = 0;
    uint64_t shared = 0, asked = 0;

    for (uint64_t i = 0; i < s->info->requests; i++) {
        uint64_t end = s->requests[i].first_row + s->requests[i].rows;

        for (; row < end; row += stride)
            if (row + FIT_FAR < end &&
                compare_rows(s, row, row + FIT_FAR, &shared, &asked, e) != 0)
                return -1;
    }
    *overlap = asked > 0 ? (double)shared / (double)asked : -1;
    return 0;
}

/* Overlap of row `position` of the prompts, or of the outputs, of requests that are far
 * from each other in the file; -1 where there are none. */
static int measure_position(struct source *s, bool output, uint32_t position,
                            double *overlap, struct err *e)
{
    uint64_t half = s->info->requests / 2, stride = half / TEMPLATE_PAIRS + 1;
    uint64_t shared = 0, asked = 0;

    for (uint64_t i = 0; i < half; i += stride) {
        const struct draw_request *a = &s->shape[i], *b = &s->shape[i + half];
        uint32_t a_rows = output ? a->output_rows : a->prompt_rows;
        uint32_t b_rows = output ? b->output_rows : b->prompt_rows;

        if (position < a_rows && position < b_rows &&
            compare_rows(
                s, s->requests[i].first_row + position + (output ? a->prompt_rows : 0),
                s->requests[i + half].first_row + position +
                    (output ? b->prompt_rows : 0),
                &shared, &asked, e) != 0)
            return -1;
    }
    *overlap = asked > 0 ? (double)shared / (double)asked : -1;
    return 0;
}

/* The template ends before the first position where requests share less than half way
 * from what independent rows share to all. */
static int measure_template(struct source *s, bool output, double independent,
                            uint32_t *rows, struct err *e)
{
    for (*rows = 0; *rows < TEMPLATE_MAX; (*rows)++) {
        double overlap;

        if (measure_position(s, output, *rows, &overlap, e) != 0)
            return -1;
        if (overlap < (1 + independent) / 2)
            break;
    }
    return 0;
}

static int measure_openings(struct source *s, uint32_t prompt_template,
                            uint32_t output_template, double *overlap, struct err *e)
{
    uint64_t shared = 0, asked = 0;
    size_t pairs;
    uint64_t *rows = fit_openings(s->shape, (size_t)s->info->requests, prompt_template,
                                  output_template, &pairs);
    int status = 0;

    for (size_t i = 0; i < pairs && status == 0; i++)
        status = compare_rows(s, rows[2 * i], rows[2 * i + 1], &shared, &asked, e);
    *overlap = asked > 0 ? (double)shared / (double)asked : -1;
    free(rows);
    return status;
}

/* The share of the executed experts of the gate mass of all, mean over cells; -1 where
 * the scores of all are not there. */
static int measure_mass(struct source *s, double *mass, struct err *e)
{
    struct gates *g;
    struct rows_visitor visitor = {gates_visit, NULL};
    struct rows_sweep sweep = {.step = s->info->rows / GATE_ROWS + 1,
                               .tokens = true,
                               .scores = true,
                               .visitor = &visitor,
                               .visitors = 1};
    double outside = 0, cells = 0;
    int status;

    *mass = -1;
    if (generate_scores_of(s->t) != GENERATE_SCORES_ALL)
        return 0;
    visitor.context = g = gates_new(s->t);
    status = rows_sweep(s->t, &sweep, e);
    for (size_t i = 0; i < (size_t)TRACE_PHASES * s->info->groups; i++) {
        outside += gates_sums(g)[i].outside;
        cells += (double)gates_sums(g)[i].cells;
    }
    if (cells > 0)
        *mass = 1 - outside / cells;
    gates_free(g);
    return status;
}

/* ---- all of it ---- */

static int fit(struct source *s, struct draw_model *m,
               const struct draw_request *requests, size_t count,
               const struct trace_statistics *have, struct err *e)
{
    struct fit_target t = {
        .popularity = have->popularity,
        .adjacent_overlap = have->adjacent_overlap > 0 ? have->adjacent_overlap : -1,
        .next_layer_predictability = have->next_layer_predictability,
        .union_size = -1,
    };
    uint32_t prompt_rows, output_rows;
    struct fit_result ignored;
    double mass;

    if (have->adjacent_overlap > 0)
        t.layer_adjacent_overlap = have->layer_adjacent_overlap;
    for (int i = 1; i <= LARGEST_UNION && m->groups > 1; i++)
        if (have->union_size[i] > 0) {
            t.union_size = have->union_size[i];
            t.union_batch = 1u << i;
        }
    if (measure_far(s, &t.far_overlap, e) != 0 ||
        measure_template(s, false, have->independent_overlap, &prompt_rows, e) != 0 ||
        measure_template(s, true, have->independent_overlap, &output_rows, e) != 0 ||
        measure_openings(s, prompt_rows, output_rows, &t.opening_overlap, e) != 0 ||
        measure_mass(s, &mass, e) != 0)
        return -1;
    fit_start(m, have->popularity);
    draw_model_templates(m, prompt_rows, output_rows);
    fit_model(m, requests, count, &t, &ignored);
    if (m->all && mass >= 0 && m->top_k < m->experts)
        draw_scale_fit(m, requests, count, mass);
    return 0;
}

/* Owned. */
static char *describe(const struct draw_model *m, const struct generate_like_options *o,
                      size_t requests)
{
    char *text = mem_format("seed=%" PRIu64 " requests=%zu", o->seed, requests), *longer;

    if (!m->all)
        return text;
    longer = mem_format("%s scores=all logit_scale=%.9g", text, (double)m->logit_scale);
    free(text);
    return longer;
}

static int generate(struct source *s, const struct trace_statistics *have,
                    const struct generate_like_options *o, const char *out, struct err *e)
{
    size_t count = (size_t)(o->requests > 0 ? o->requests : s->info->requests);
    struct draw_request *requests = mem_alloc(count, sizeof *requests);
    struct trace_info info = *s->info;
    uint32_t groups = info.groups > 0 ? info.groups : 1;
    struct draw_model *m =
        draw_model_new(o->seed, info.layers, info.experts, info.top_k, groups);
    int status;

    for (size_t i = 0; i < count; i++)
        requests[i] = s->shape[i % s->info->requests];
    status = find_encoder(s, &m->encoder_layers, e);
    m->all = o->scores == GENERATE_SCORES_ALL;
    info.candidates = m->all ? info.experts : info.top_k;
    info.predicted = 0;
    info.sorted = true;
    info.score_kind = generate_score_kind(o->scores);
    info.source = mem_format("synthetic, drawn by moesim trace gen to the statistics of "
                             "a trace with source: %s",
                             s->info->source);
    if (status == 0)
        status = generate_check(out, requests, count, e);
    if (status == 0)
        status = fit(s, m, requests, count, have, e);
    info.capture = describe(m, o, count);
    if (status == 0)
        status = generate_write(m, &info, requests, count, 0, out, e);
    free(info.source);
    free(info.capture);
    free(requests);
    draw_model_free(m);
    return status;
}

enum generate_scores generate_scores_of(const struct trace *source)
{
    unsigned fields = trace_fields(source);

    return (fields & TRACE_HAS_ALL_SCORES) != 0 ? GENERATE_SCORES_ALL
           : (fields & TRACE_HAS_SCORES) != 0   ? GENERATE_SCORES_YES
                                                : GENERATE_SCORES_NO;
}

int generate_like(struct trace *source, const struct generate_like_options *o,
                  const char *out, struct err *e)
{
    const struct trace_info *info = trace_get_info(source);
    struct generate_like_options fallback = {.seed = 1,
                                             .scores = generate_scores_of(source)};
    struct source s = {.t = source, .info = info, .requests = trace_get_requests(source)};
    struct trace_statistics have;
    size_t values = (size_t)info->layers * info->candidates;
    int status = 0;

    if (info->counts_only)
        return err_set(e, "%s: has counts only; a trace with /routing/expert is needed",
                       trace_path(source));
    if (trace_statistics_measure(source, NULL, &have, e) != 0)
        return -1;
    s.shape = mem_alloc((size_t)info->requests, sizeof *s.shape);
    s.row[0] = mem_alloc(values, sizeof *s.row[0]);
    s.row[1] = mem_alloc(values, sizeof *s.row[1]);
    for (uint64_t i = 0; i < info->requests && status == 0; i++)
        status = read_shape(&s, i, e);
    if (status == 0)
        status = generate(&s, &have, o != NULL ? o : &fallback, out, e);
    free(s.shape);
    free(s.row[0]);
    free(s.row[1]);
    trace_statistics_release(&have);
    return status;
}
