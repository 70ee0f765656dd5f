#include "read_trace.h"

#include "input.h"

#include "sim/base/mem.h"
#include "traces/trace.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Of many rows only some are read again. */
static uint64_t step(uint64_t rows)
{
    return rows / 64;
}

static void read_experts(struct trace *t, struct err *e)
{
    const struct trace_info *info = trace_get_info(t);
    size_t cells = (size_t)info->layers * info->candidates;
    uint16_t *expert = mem_alloc(cells, sizeof *expert);

    for (uint64_t row = info->rows; row-- > 0; row -= step(row)) {
        fuzz_require(trace_read_expert(t, row, 1, expert, e) == 0);
        for (size_t i = 0; i < cells; i++)
            fuzz_require(expert[i] < info->experts || expert[i] == TRACE_NOT_RECORDED);
    }
    free(expert);
}

static void read_scores(struct trace *t, struct err *e)
{
    const struct trace_info *info = trace_get_info(t);
    size_t cells = (size_t)info->layers * info->candidates;
    float *score = mem_alloc(cells, sizeof *score);

    for (uint64_t row = 0; row < info->rows; row += 1 + step(info->rows)) {
        fuzz_require(trace_read_score(t, row, 1, score, e) == 0);
        for (size_t i = 0; i < cells; i++)
            fuzz_require(isfinite(score[i]));
    }
    free(score);
}

static void read_predicted(struct trace *t, struct err *e)
{
    const struct trace_info *info = trace_get_info(t);
    size_t cells = (size_t)info->layers * info->predicted;
    uint16_t *expert = mem_alloc(cells, sizeof *expert);

    for (uint64_t row = 0; row < info->rows; row += 1 + step(info->rows))
        fuzz_require(trace_read_predicted(t, row, 1, expert, e) == 0);
    free(expert);
}

static void read_tokens(struct trace *t, struct err *e)
{
    const struct trace_info *info = trace_get_info(t);
    const struct trace_request *request = trace_get_requests(t);
    struct trace_token token;
    uint64_t rows = 0;

    for (uint64_t r = 0; r < info->requests; r++) {
        fuzz_require(request[r].first_row == rows && request[r].group < info->groups);
        rows += request[r].rows;
    }
    fuzz_require(rows == info->rows);
    for (uint64_t row = 0; row < info->rows; row += 1 + step(info->rows)) {
        fuzz_require(trace_read_token(t, row, 1, &token, e) == 0);
        fuzz_require(token.request < info->requests && token.phase < TRACE_PHASES);
    }
}

static void read_passes(struct trace *t, struct err *e)
{
    const struct trace_info *info = trace_get_info(t);
    uint64_t *rows, count;
    int64_t start_ns;

    for (uint64_t p = info->passes; p-- > 0;) {
        fuzz_require(trace_read_pass(t, p, &rows, &count, &start_ns, e) == 0);
        fuzz_require(count > 0 && start_ns >= -1);
        free(rows);
    }
}

static void read_loads(struct trace *t, struct err *e)
{
    const struct trace_info *info = trace_get_info(t);
    uint32_t *count = mem_alloc((size_t)info->layers * info->experts, sizeof *count);

    for (uint64_t p = 0; p < info->passes; p++)
        fuzz_require(trace_read_load(t, p, count, e) == 0);
    free(count);
}

void read_trace(const char *path, size_t cache_bytes)
{
    struct err e = {.text = ""};
    struct trace *t = trace_open(path, &(struct trace_options){cache_bytes}, &e);
    int status = t == NULL ? -1 : trace_check(t, &e);

    fuzz_require_sentence(status, &e);
    if (status == 0 && trace_get_info(t)->counts_only) {
        read_loads(t, &e);
    } else if (status == 0) {
        unsigned fields = trace_fields(t);

        read_experts(t, &e);
        read_tokens(t, &e);
        if ((fields & TRACE_HAS_SCORES) != 0)
            read_scores(t, &e);
        if ((fields & TRACE_HAS_PREDICTED) != 0)
            read_predicted(t, &e);
        if ((fields & TRACE_HAS_PASSES) != 0)
            read_passes(t, &e);
    }
    trace_close(t);
}
