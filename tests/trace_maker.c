#include "trace_maker.h"

#include "sim/base/mem.h"
#include "sim/base/rng.h"

#include "traces/hdf.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const group_names[] = {"first group", "second \xc3\xa9"};

static void must(int status, const struct err *e)
{
    if (status == 0)
        return;
    (void)fprintf(stderr, "trace_maker: %s\n", e->text);
    exit(1);
}

char *trace_make_path(const char *name)
{
    const char *folder = getenv("TMPDIR");

    return mem_format("%s/moesim-%ld-%s", folder == NULL ? "/tmp" : folder,
                      (long)getpid(), name);
}

static uint32_t candidates_of(const struct trace_make *m)
{
    return m->candidates == 0 ? m->top_k : m->candidates;
}

static uint32_t rows_of(const struct trace_make *m, uint32_t request)
{
    return m->rows + (m->uneven ? request % 3 : 0);
}

struct trace_request trace_make_request(const struct trace_make *m, uint32_t request)
{
    struct trace_request r = {.arrival_ns = m->arrivals ? 1000003 * (int64_t)request : -1,
                              .prompt_tokens = m->prefill_rows + 5,
                              .output_tokens = rows_of(m, request) - m->prefill_rows + 1,
                              .rows = rows_of(m, request),
                              .group = (uint16_t)(request % 2)};

    for (uint32_t i = 0; i < request; i++)
        r.first_row += rows_of(m, i);
    return r;
}

uint64_t trace_make_rows(const struct trace_make *m)
{
    return trace_make_request(m, m->requests).first_row;
}

/* `width` distinct experts, by a partial shuffle. */
static void draw_experts(struct rng *r, uint32_t experts, uint32_t width,
                         uint16_t *expert)
{
    uint16_t *all = mem_alloc(experts, sizeof *all);

    for (uint32_t x = 0; x < experts; x++)
        all[x] = (uint16_t)x;
    for (uint32_t i = 0; i < width; i++) {
        uint32_t j = i + (uint32_t)rng_below(r, experts - i);
        uint16_t taken = all[j];

        all[j] = all[i];
        all[i] = taken;
        expert[i] = taken;
    }
    free(all);
}

/* Scores that descend, each a multiple of 2^-11 and so exact as a half. */
static void draw_scores(struct rng *r, uint32_t width, float *score)
{
    uint32_t level = 2047;

    for (uint32_t i = 0; i < width; i++) {
        uint32_t step = 2047 / width;

        level -= (uint32_t)rng_below(r, step + 1);
        score[i] = (float)level / 2048.0F;
    }
}

static void make_cell(const struct trace_make *m, struct rng *r, uint64_t row,
                      uint16_t *expert, float *score)
{
    uint32_t width = candidates_of(m), kept = width;

    if (m->routing == TRACE_MAKE_RANDOM)
        draw_experts(r, m->experts, width, expert);
    for (uint32_t j = 0; j < width && m->routing != TRACE_MAKE_RANDOM; j++)
        expert[j] =
            (uint16_t)(m->routing == TRACE_MAKE_CYCLIC ? (row * m->top_k + j) % m->experts
                                                       : j);
    draw_scores(r, width, score);
    if (m->missing && rng_below(r, 4) == 0)
        kept = (uint32_t)rng_below(r, width);
    for (uint32_t j = kept; j < width; j++) {
        expert[j] = TRACE_NOT_RECORDED;
        score[j] = 0;
    }
}

static void make_token(const struct trace_make *m, uint64_t row,
                       struct trace_token *token)
{
    uint32_t request = 0;
    uint64_t in_request = row;

    while (in_request >= rows_of(m, request))
        in_request -= rows_of(m, request++);
    token->request = request;
    token->position = (uint32_t)in_request + 3;
    token->phase = in_request < m->prefill_rows ? TRACE_PREFILL : TRACE_DECODE;
    token->token_id = m->known_source && row > 1 ? (int32_t)(row * 31 % 50021) : -1;
    token->source = m->known_source && row > 1 ? (uint16_t)(row % 5) : UINT16_MAX;
}

void trace_make_row(const struct trace_make *m, uint64_t row, struct trace_token *token,
                    uint16_t *expert, float *score, uint16_t *predicted)
{
    struct rng r = rng_stream(m->seed, "trace_make", row);
    struct rng foresight = rng_stream(m->seed, "predicted", row);
    uint32_t width = candidates_of(m);
    float *scratch = mem_alloc(width, sizeof *scratch);

    make_token(m, row, token);
    for (uint32_t l = 0; l < m->layers; l++) {
        make_cell(m, &r, row, expert + (size_t)l * width,
                  score == NULL ? scratch : score + (size_t)l * width);
        if (predicted != NULL)
            draw_experts(&foresight, m->experts, m->predicted,
                         predicted + (size_t)l * m->predicted);
    }
    free(scratch);
}

/* The head of a trace; release moe_layer and expert_bytes. */
static struct trace_info make_info(const struct trace_make *m)
{
    struct trace_info info = {.model = mem_strdup("test-model"),
                              .source = mem_strdup("trace_maker"),
                              .capture = mem_strdup("none"),
                              .experts = m->experts,
                              .top_k = m->top_k,
                              .candidates = candidates_of(m),
                              .layers = m->layers,
                              .predicted = m->predicted,
                              .distance = m->predicted > 0,
                              .score_kind = m->score_kind,
                              .sorted = m->score_kind != TRACE_SCORE_NONE,
                              .groups = 2};

    info.moe_layer = mem_alloc(m->layers, sizeof info.moe_layer[0]);
    for (uint32_t l = 0; l < m->layers; l++)
        info.moe_layer[l] = (uint16_t)(l + 1);
    if (m->expert_bytes)
        info.expert_bytes = mem_alloc(m->layers, sizeof info.expert_bytes[0]);
    for (uint32_t l = 0; m->expert_bytes && l < m->layers; l++)
        info.expert_bytes[l] = 1000 + l;
    info.group_names = mem_alloc(2, sizeof info.group_names[0]);
    info.group_names[0] = mem_strdup(group_names[0]);
    info.group_names[1] = mem_strdup(group_names[1]);
    return info;
}

static void put_rows(struct trace_writer *w, const struct trace_make *m, struct err *e)
{
    size_t values = (size_t)m->layers * candidates_of(m);
    uint16_t *expert = mem_alloc(values, sizeof *expert);
    uint16_t *predicted = mem_alloc((size_t)m->layers * m->predicted, sizeof *predicted);
    float *score = mem_alloc(values, sizeof *score);

    for (uint64_t row = 0; row < trace_make_rows(m); row++) {
        struct trace_token token;

        trace_make_row(m, row, &token, expert, score,
                       m->predicted > 0 ? predicted : NULL);
        must(trace_writer_rows(w, 1, &token, expert,
                               m->score_kind == TRACE_SCORE_NONE ? NULL : score,
                               m->predicted > 0 ? predicted : NULL, e),
             e);
    }
    free(expert);
    free(predicted);
    free(score);
}

static void put_passes(struct trace_writer *w, uint64_t rows, struct err *e)
{
    for (uint64_t first = 0; first < rows; first += 3) {
        uint64_t row[3] = {first, first + 1, first + 2};

        must(trace_writer_pass(w, row, rows - first < 3 ? rows - first : 3,
                               (int64_t)first * 17, e),
             e);
    }
}

void trace_make(const char *path, const struct trace_make *m)
{
    struct err e = {.text = ""};
    struct trace_info info = make_info(m);
    struct trace_writer *w = trace_writer_new(path, &info, &e);

    must(w == NULL ? -1 : 0, &e);
    put_rows(w, m, &e);
    for (uint32_t i = 0; i < m->requests; i++) {
        struct trace_request r = trace_make_request(m, i);

        must(trace_writer_request(w, &r, &e), &e);
    }
    if (m->passes)
        put_passes(w, trace_make_rows(m), &e);
    must(trace_writer_commit(w, &e), &e);
    trace_info_release(&info);
}

void trace_make_cyclic(const char *path, uint32_t layers, uint32_t experts,
                       uint32_t top_k, uint32_t rows)
{
    trace_make(path, &(struct trace_make){.layers = layers,
                                          .experts = experts,
                                          .top_k = top_k,
                                          .requests = 1,
                                          .rows = rows,
                                          .routing = TRACE_MAKE_CYCLIC});
}

void trace_make_random(const char *path, uint32_t layers, uint32_t experts,
                       uint32_t top_k, uint32_t requests, uint32_t rows, uint64_t seed)
{
    trace_make(path, &(struct trace_make){.layers = layers,
                                          .experts = experts,
                                          .top_k = top_k,
                                          .requests = requests,
                                          .rows = rows,
                                          .score_kind = TRACE_SCORE_SOFTMAX,
                                          .seed = seed});
}

void trace_make_counts(const char *path, uint32_t layers, uint32_t experts,
                       uint32_t passes)
{
    struct err e = {.text = ""};
    struct trace_info info =
        make_info(&(struct trace_make){.layers = layers,
                                       .experts = experts,
                                       .top_k = 1,
                                       .score_kind = TRACE_SCORE_NONE});
    uint32_t *count = mem_alloc((size_t)layers * experts, sizeof *count);
    struct trace_writer *w;

    info.counts_only = true;
    w = trace_writer_new(path, &info, &e);
    must(w == NULL ? -1 : 0, &e);
    for (uint32_t n = 0; n < passes; n++) {
        for (uint32_t i = 0; i < layers * experts; i++)
            count[i] = (n * 7 + i / experts * 3 + i % experts) % 11;
        must(trace_writer_load(w, count, &e), &e);
    }
    must(trace_writer_commit(w, &e), &e);
    free(count);
    trace_info_release(&info);
}

void trace_poke(const char *path, const char *name, int rank, uint64_t row, int64_t value)
{
    const hsize_t point[3] = {row, 0, 0};
    struct err e = {.text = "a value cannot be changed"};
    hid_t f, set, space, one;

    hdf_enter();
    f = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    set = H5Dopen2(f, name, H5P_DEFAULT);
    space = H5Dget_space(set);
    one = H5Screate(H5S_SCALAR);
    must(rank <= 3 ? 0 : -1, &e);
    must(H5Sselect_elements(space, H5S_SELECT_SET, 1, point) >= 0 ? 0 : -1, &e);
    must(H5Dwrite(set, H5T_NATIVE_INT64, one, space, H5P_DEFAULT, &value) >= 0 ? 0 : -1,
         &e);
    (void)H5Sclose(one);
    (void)H5Sclose(space);
    (void)H5Dclose(set);
    must(H5Fclose(f) >= 0 ? 0 : -1, &e);
    hdf_leave();
}
