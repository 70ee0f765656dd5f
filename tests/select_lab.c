#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "select_lab.h"

#include "sim/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char model_text[] =
    "name: tiny\nsource: by hand\nlayers: 4\nfirst_moe: 1\ndense_ffn: 512\nhidden: 256\n"
    "expert_ffn: 1024\n"
    "experts: 12\ntop_k: 3\nheads: 4\nhead_dim: 64\nvocab: 1000\ngate: softmax\n"
    "expert_bits: 16\ndense_bits: 16\nactivation_bits: 16\n";

int select_lab_set_up(void **state)
{
    static const struct trace_make made[TRACES] = {
        [WHOLE] = {.candidates = EXPERTS, .score_kind = TRACE_SCORE_SOFTMAX},
        [FEW] = {.candidates = 5, .score_kind = TRACE_SCORE_SIGMOID},
        [IDS] = {.candidates = TOP, .score_kind = TRACE_SCORE_NONE},
        [UNEVEN] = {.candidates = EXPERTS,
                    .score_kind = TRACE_SCORE_LOGIT,
                    .missing = true},
    };
    struct lab *l = mem_zalloc(1, sizeof *l);
    FILE *f;

    l->model = trace_make_path("model.yaml");
    f = fopen(l->model, "w");
    assert_non_null(f);
    assert_true(fputs(model_text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    for (int i = 0; i < TRACES; i++) {
        static const char *const names[TRACES] = {"whole.h5", "few.h5", "ids.h5",
                                                  "uneven.h5"};
        struct trace_make m = made[i];

        m.layers = LAYERS;
        m.experts = EXPERTS;
        m.top_k = TOP;
        m.requests = REQUESTS;
        m.rows = ROWS;
        m.prefill_rows = PREFILL;
        m.seed = 15;
        l->trace[i] = trace_make_path(names[i]);
        l->made[i] = m;
        trace_make(l->trace[i], &m);
    }
    *state = l;
    return 0;
}

int select_lab_tear_down(void **state)
{
    struct lab *l = *state;

    for (int i = 0; i < TRACES; i++) {
        (void)unlink(l->trace[i]);
        free(l->trace[i]);
    }
    (void)unlink(l->model);
    free(l->model);
    free(l);
    return 0;
}

int select_lab_try(const struct lab *l, int trace, const char *more, const char *policies,
                   struct result *r, struct err *e)
{
    static const struct experiment_folders folders = {"models/arch", "models/machine",
                                                      "sim/policy/presets"};
    const struct experiment_hooks hooks = {.timeline_path = NULL};
    const char *launch = strstr(more, "launch:") == NULL ? "launch: eager\n" : "";
    char *text = mem_format("trace: %s\nmodel: %s\nmachine: h100-80g\n%s%s\npolicies: "
                            "[%s]\n",
                            l->trace[trace], l->model, launch, more, policies);
    struct cfg *c = cfg_parse("select.yaml", text, strlen(text), e);
    int status = c == NULL ? -1 : experiment_run(c, &folders, 1, &hooks, r, e);

    free(text);
    cfg_free(c);
    return status;
}

struct result select_lab_run(const struct lab *l, int trace, const char *more,
                             const char *policies)
{
    struct err e = {.text = ""};
    struct result r;

    if (select_lab_try(l, trace, more, policies, &r, &e) != 0)
        fail_msg("%s; %s: %s", more, policies, e.text);
    return r;
}

struct result run_select(const struct lab *l, int trace, const char *more,
                         const char *select, const char *rest)
{
    char *policy = mem_format("{name: p, select: %s, %s}", select, rest);
    char *all = mem_format("bounds: no\n%s", more);
    struct result r = select_lab_run(l, trace, all, policy);

    free(policy);
    free(all);
    return r;
}
