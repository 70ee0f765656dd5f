#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "hand_trace.h"

#include "trace_maker.h"

#include "sim/base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

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

struct hand_figures measure_file(const char *path)
{
    struct err e = {.text = ""};
    struct trace *t = trace_open(path, NULL, &e);
    struct hand_figures m;

    must(t == NULL ? -1 : 0, &e);
    must(trace_details_measure(t, NULL, &m.s, &m.d, &e), &e);
    trace_close(t);
    (void)unlink(path);
    return m;
}

struct hand_figures measure_hand(const struct hand *h)
{
    struct err e = {.text = ""};
    char *path = trace_make_path("details.h5");
    struct trace_info info = info_of(h);
    struct trace_writer *w = trace_writer_new(path, &info, &e);
    struct hand_figures m;

    must(w == NULL ? -1 : 0, &e);
    write_rows(w, h);
    must(trace_writer_commit(w, &e), &e);
    trace_info_release(&info);
    m = measure_file(path);
    free(path);
    return m;
}

void hand_figures_release(struct hand_figures *m)
{
    trace_statistics_release(&m->s);
    trace_details_release(&m->d);
}

void assert_within(double value, double want, double share)
{
    if (!(fabs(value - want) <= share * fmax(1.0, fabs(want))))
        fail_msg("%.15g is not %.15g", value, want);
}

void assert_near(double value, double want)
{
    assert_within(value, want, 1e-12);
}
