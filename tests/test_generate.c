/* Generated routing: independence in closed form, figures asked for and figures of an
 * example are met, equal arguments give equal files. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "trace_maker.h"

#include "sim/base/mem.h"
#include "traces/generate.h"
#include "traces/generate_write.h"
#include "traces/statistics.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TOLERANCE 0.05

/* Generates by parameters given as YAML. Owned path, or NULL with a sentence in `e`. */
static char *generate(const char *name, const char *yaml, struct err *e)
{
    char *path = trace_make_path(name);
    struct cfg *c = cfg_parse(name, yaml, strlen(yaml), e);
    struct generate_params p;

    assert_non_null(c);
    if (cfg_bind(cfg_root(c), generate_options, &p, e) != 0 ||
        generate_trace(&p, path, e) != 0) {
        assert_int_equal(access(path, F_OK), -1);
        free(path);
        path = NULL;
    }
    cfg_free(c);
    return path;
}

static char *must_generate(const char *name, const char *yaml)
{
    struct err e = {.text = ""};
    char *path = generate(name, yaml, &e);

    if (path == NULL)
        fail_msg("%s", e.text);
    return path;
}

static struct trace *must_open(const char *path)
{
    struct err e = {.text = ""};
    struct trace *t = trace_open(path, NULL, &e);

    if (t == NULL)
        fail_msg("%s", e.text);
    return t;
}

static struct trace_statistics measure(const char *path)
{
    struct err e = {.text = ""};
    struct trace *t = must_open(path);
    struct trace_statistics s;

    assert_int_equal(trace_statistics_measure(t, NULL, &s, &e), 0);
    trace_close(t);
    return s;
}

static void assert_within(const char *what, double value, double want, double part)
{
    if (!(fabs(value - want) <= part * fabs(want)))
        fail_msg("%s is %g, not within %g %% of %g", what, value, 100 * part, want);
}

static void discard(char *path)
{
    (void)unlink(path);
    free(path);
}

/* ---- by parameters ---- */

static bool same_bytes(const char *a, const char *b)
{
    FILE *x = fopen(a, "rb"), *y = fopen(b, "rb");
    int p, q;

    assert_non_null(x);
    assert_non_null(y);
    do {
        p = getc(x);
        q = getc(y);
    } while (p == q && p != EOF);
    (void)fclose(x);
    (void)fclose(y);
    return p == q;
}

static void test_equal_seeds(void **state)
{
    const char *yaml = "{layers: 3, experts: 20, top_k: 3, requests: 12, scores: true, "
                       "prompt_tokens: 9, output_tokens: 11, groups: 2, seed: %d}";
    char text[256];
    char *path[3];

    (void)state;
    for (int i = 0; i < 3; i++) {
        char name[32];

        (void)snprintf(name, sizeof name, "seed-%d.h5", i);
        (void)snprintf(text, sizeof text, yaml, i == 2 ? 2 : 1);
        path[i] = must_generate(name, text);
    }
    assert_true(same_bytes(path[0], path[1]));
    assert_false(same_bytes(path[0], path[2]));
    for (int i = 0; i < 3; i++)
        discard(path[i]);
}

/* What is written holds every rule of the format; prompts and outputs are told apart: of
 * n output tokens the first comes with the prompt's last row. */
static void test_what_is_written(void **state)
{
    char *path =
        must_generate("rows.h5", "{model: m, layers: 2, first_layer: 3, experts: "
                                 "9, top_k: 2, requests: 6, prompt_tokens: 7, "
                                 "output_tokens: 5, groups: 3, scores: yes}");
    struct err e = {.text = ""};
    struct trace *t = must_open(path);
    const struct trace_info *info = trace_get_info(t);
    const struct trace_request *r = trace_get_requests(t);

    (void)state;
    assert_int_equal(trace_check(t, &e), 0);
    assert_string_equal(info->model, "m");
    assert_int_equal(info->moe_layer[1], 4);
    assert_int_equal(info->score_kind, TRACE_SCORE_SOFTMAX);
    assert_int_equal(info->groups, 3);
    assert_non_null(strstr(info->source, "synthetic"));
    for (uint32_t i = 0; i < 6; i++) {
        struct trace_token token;

        assert_int_equal(r[i].group, i / 2);
        assert_int_equal(r[i].rows, r[i].prompt_tokens + r[i].output_tokens - 1);
        assert_int_equal(r[i].arrival_ns, -1);
        assert_int_equal(
            trace_read_token(t, r[i].first_row + r[i].prompt_tokens - 1, 1, &token, &e),
            0);
        assert_int_equal(token.phase, TRACE_PREFILL);
        assert_int_equal(token.position, r[i].prompt_tokens - 1);
        if (r[i].output_tokens > 1) {
            assert_int_equal(
                trace_read_token(t, r[i].first_row + r[i].prompt_tokens, 1, &token, &e),
                0);
            assert_int_equal(token.phase, TRACE_DECODE);
        }
    }
    trace_close(t);
    discard(path);
}

/* Equal shares and nothing that persists: b rows hold E (1 - (1 - k / E)^b) experts,
 * adjacent rows share k / E, and so they do when layers depend on each other. */
static void test_independent_rows(void **state)
{
    const char *yaml =
        "{layers: 4, experts: 16, top_k: 3, requests: 70, prompt_tokens: 0,"
        " output_tokens: 90, output_spread: 0, skew: 0, locality: 0, "
        "affinity: 0, domain: 0, cross_layer: %s}";

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct trace_statistics s;
        char text[256];
        char *path;

        (void)snprintf(text, sizeof text, yaml, i == 0 ? "0" : "0.9");
        path = must_generate("independent.h5", text);
        s = measure(path);
        for (int u = 0; u < TRACE_UNION_SIZES; u++)
            assert_within("union", s.union_size[u],
                          16 * (1 - pow(1 - 3.0 / 16, pow(2, u))), 0.01);
        assert_within("adjacent overlap", s.adjacent_overlap, 3.0 / 16, 0.03);
        assert_within("entropy", s.entropy_bits, 4, 0.01);
        if (i == 0)
            assert_true(s.next_layer_predictability < 0.25);
        else
            assert_true(s.next_layer_predictability > 0.5);
        trace_statistics_release(&s);
        discard(path);
    }
}

/* Each parameter moves the statistic that it is for. */
static void test_parameters_do_what_they_say(void **state)
{
    const char *base =
        "layers: 4, experts: 16, top_k: 2, requests: 64, prompt_tokens: 0, "
        "output_tokens: 60, groups: 8";
    const char *change[] = {"domain: 0, locality: 0.2", "domain: 0, locality: 0.9",
                            "affinity: 1, domain: 0.9, locality: 0.9",
                            "domain: 0, locality: 0.2, output_template: 30"};
    struct trace_statistics s[4];

    (void)state;
    for (int i = 0; i < 4; i++) {
        char *text = mem_format("{%s, %s}", base, change[i]);
        char *path;

        path = must_generate("change.h5", text);
        s[i] = measure(path);
        free(text);
        discard(path);
    }
    assert_true(s[1].adjacent_overlap > 1.3 * s[0].adjacent_overlap);
    assert_true(s[2].union_size[3] < 0.95 * s[1].union_size[3]);
    assert_true(s[3].union_size[4] < 0.95 * s[0].union_size[4]);
    for (int i = 0; i < 4; i++)
        trace_statistics_release(&s[i]);
}

static void test_figures_asked_for(void **state)
{
    char *path = must_generate(
        "figures.h5", "{layers: 6, experts: 24, top_k: 3, requests: 64, groups: 8, "
                      "prompt_tokens: 10, output_tokens: 60, affinity: 0.8, gini: 0.35, "
                      "top1_share: 0.1, adjacent_overlap: 0.45, "
                      "next_layer_predictability: 0.55, union_16: 17.5}");
    struct trace_statistics s = measure(path);

    (void)state;
    assert_within("gini", s.gini, 0.35, TOLERANCE);
    assert_within("top-1 share", s.top1_share, 0.1, TOLERANCE);
    assert_within("adjacent overlap", s.adjacent_overlap, 0.45, TOLERANCE);
    assert_within("predictability", s.next_layer_predictability, 0.55, TOLERANCE);
    assert_within("union of 16", s.union_size[4], 17.5, TOLERANCE);
    trace_statistics_release(&s);
    discard(path);
}

/* Of prompts alone the rows that run at the same time are theirs. */
static void test_figures_of_prompts(void **state)
{
    char *path = must_generate(
        "prompts.h5", "{layers: 6, experts: 24, top_k: 3, requests: 64, groups: 8, "
                      "prompt_tokens: 70, output_tokens: 0, affinity: 0.8, gini: 0.35, "
                      "adjacent_overlap: 0.45, union_16: 17.5}");
    struct trace_statistics s = measure(path);

    (void)state;
    assert_within("union of 16", s.union_size[4], 17.5, TOLERANCE);
    trace_statistics_release(&s);
    discard(path);
}

static void test_what_cannot_be(void **state)
{
    static const char *const bad[][2] = {
        {"{experts: 4, top_k: 5}", "top_k 5"},
        {"{requests: 3, groups: 4}", "groups"},
        {"{requests: 15, groups: 2, union_16: 9}", "union_16"},
        {"{requests: 20, groups: 1, union_16: 9}", "union_16"},
        {"{experts: 8, top_k: 4, skew: 6}", "skew"},
        {"{experts: 8, top_k: 2, gini: 0.95}", "share"},
        {"{prompt_tokens: 0, output_tokens: 0, requests: 2}", "rows"},
        {"{layers: 2, experts: 8, top_k: 2, requests: 4, cross_layer: 0.1, "
         "adjacent_overlap: 0.9}",
         "adjacent_overlap"},
        {"{layers: 2, experts: 8, top_k: 2, requests: 4, next_layer_predictability: "
         "0.99}",
         "next_layer_predictability 0.99 cannot be drawn"},
        {"{layers: 2, experts: 8, top_k: 2, requests: 32, groups: 2, output_tokens: 9, "
         "union_16: 7.9}",
         "union_16 7.9 cannot be drawn"},
        {"{layers: 2, experts: 8, top_k: 2, requests: 4, layer: 1}", "layer"},
        {"{layers: 0}", "layers"},
        {"{skew: .nan}", "skew"},
        {"{hot_weight: 0.6, skew: 0.4}", "skew is 0.4"},
        {"{hot_weight: 0.6, gini: 0.3}", "gini is 0.3"},
        {"{independent: yes, output_template: 3}", "output_template"},
        {"{independent: yes, scores: yes}", "scores"},
        {"{hot_weight: -1}", "hot_weight"},
        {"{sources: 65536}", "sources"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err e = {.text = ""};

        if (generate("bad.h5", bad[i][0], &e) != NULL)
            fail_msg("%s was generated", bad[i][0]);
        if (strstr(e.text, bad[i][1]) == NULL)
            fail_msg("%s gives \"%s\", which does not name %s", bad[i][0], e.text,
                     bad[i][1]);
    }
}

/* More rows than 32 bits number in blocks: the last one could not be told from the first.
 */
static void test_too_many_rows(void **state)
{
    struct draw_request r = {.prompt_rows = UINT32_MAX / 2, .output_rows = 1};
    struct err e = {.text = ""};

    (void)state;
    assert_int_equal(generate_check("many.h5", &r, 1, &e), -1);
    assert_non_null(strstr(e.text, "request 0 would have 2147483648 rows"));
    r.prompt_rows--;
    assert_int_equal(generate_check("many.h5", &r, 1, &e), 0);
}

/* ---- the router without dependence ---- */

/* Times that each expert is in the first `width` of a cell, per cell, and of a pair of
 * layers that both have a hot one in front. Of a trace with ids alone. */
struct counts {
    double share[32], both_hot, cells;
};

static struct counts count_experts(const char *path, uint32_t hot)
{
    struct trace *t = must_open(path);
    const struct trace_info *info = trace_get_info(t);
    size_t values = (size_t)info->layers * info->top_k;
    uint16_t *id = mem_alloc(values, sizeof *id);
    struct counts c = {.cells = (double)info->rows * info->layers};
    struct err e = {.text = ""};

    assert_int_equal(trace_check(t, &e), 0);
    for (uint64_t row = 0; row < info->rows; row++) {
        assert_int_equal(trace_read_expert(t, row, 1, id, &e), 0);
        for (size_t i = 0; i < values; i++)
            c.share[id[i]] += 1 / c.cells;
        for (size_t l = 1; l < info->layers; l += 2)
            c.both_hot += id[(l - 1) * info->top_k] < hot && id[l * info->top_k] < hot;
    }
    c.both_hot /= (double)info->rows * (info->layers / 2);
    free(id);
    trace_close(t);
    return c;
}

/* Within five standard errors of the share of `draws` that has probability p. */
static void assert_share(const char *what, double share, double p, double draws)
{
    if (fabs(share - p) > 5 * sqrt(p * (1 - p) / draws))
        fail_msg("%s is %g of %g draws, not %g", what, share, draws, p);
}

/* MoEShard's: of 30 experts, ceil(0.1 * 30) = 3 have the weight 1 / 30 + 0.6. Layers and
 * neighbouring rows are independent: rows share the sum of the squared probabilities. */
static void test_hot_router(void **state)
{
    char *path = must_generate(
        "hot.h5", "{layers: 4, experts: 30, top_k: 1, requests: 50, prompt_tokens: 120, "
                  "prompt_spread: 0, output_tokens: 0, hot_weight: 0.6}");
    struct counts c = count_experts(path, 3);
    struct trace_statistics s = measure(path);
    double hot = (1.0 / 30 + 0.6) / (1 + 3 * 0.6), cold = 1.0 / 30 / (1 + 3 * 0.6);

    (void)state;
    assert_true(c.cells == 50 * 120 * 4);
    for (int x = 0; x < 30; x++)
        assert_share("an expert", c.share[x], x < 3 ? hot : cold, c.cells);
    assert_share("a pair of layers", c.both_hot, 9 * hot * hot, c.cells / 2);
    assert_share("the overlap", s.adjacent_overlap, 3 * hot * hot + 27 * cold * cold,
                 c.cells / 3);
    trace_statistics_release(&s);
    discard(path);
}

/* Without replacement, by hand: of weights 2, 1, 1, 1 the first is among two in 2/5 +
 * 3/5 * 1/2 = 0.7 of the cells. All of four are always all. */
static void test_hot_router_top_k(void **state)
{
    const char *yaml = "{layers: 2, experts: 4, top_k: %d, requests: 40, prompt_tokens: "
                       "100, output_tokens: 0, hot_weight: 0.25, hot_share: 0.25}";

    (void)state;
    for (int k = 2; k <= 4; k += 2) {
        char text[256];
        char *path;
        struct counts c;

        (void)snprintf(text, sizeof text, yaml, k);
        path = must_generate("hot-k.h5", text);
        c = count_experts(path, 1);
        for (int x = 0; x < 4; x++)
            if (k == 2)
                assert_share("an expert", c.share[x], x == 0 ? 0.7 : 1.3 / 3, c.cells);
            else
                assert_true(fabs(c.share[x] - 1) < 1e-9);
        discard(path);
    }
}

/* Without hot experts all are alike, unlike the fitted model's to sampling error: the
 * chi-square of 16 shares has mean 15 and variance 30. */
static void test_independent_router(void **state)
{
    char *path = must_generate("alone.h5", "{layers: 5, experts: 16, top_k: 1, requests: "
                                           "64, independent: yes, skew: 0, groups: 4}");
    struct counts c = count_experts(path, 8);
    double chi = 0;

    (void)state;
    for (int x = 0; x < 16; x++)
        chi += pow(c.share[x] - 1.0 / 16, 2) * 16 * c.cells;
    assert_true(chi > 2 && chi < 15 + 5 * sqrt(30));
    discard(path);
}

/* Requests come from the ranks in turn, all rows of one from the same; encoder passes
 * have prompt rows alone, and layers may lie apart. */
static void test_sources_and_encoders(void **state)
{
    char *path = must_generate(
        "sources.h5", "{layers: 3, first_layer: 1, moe_every: 2, experts: 8, top_k: 1, "
                      "requests: 10, prompt_tokens: 12, prompt_spread: 0, "
                      "output_tokens: 0, sources: 4}");
    char *unknown = must_generate("none.h5", "{layers: 1, requests: 4}");
    struct trace *t = must_open(path), *none = must_open(unknown);
    struct trace_token token[12];
    struct err e = {.text = ""};

    (void)state;
    assert_int_equal(trace_get_info(t)->moe_layer[2], 5);
    assert_int_equal(trace_get_info(t)->rows, 120);
    assert_true((trace_fields(t) & TRACE_HAS_SOURCE) != 0);
    assert_true((trace_fields(none) & TRACE_HAS_SOURCE) == 0);
    for (uint32_t r = 0; r < 10; r++) {
        assert_int_equal(trace_read_token(t, r * 12, 12, token, &e), 0);
        for (uint32_t i = 0; i < 12; i++) {
            assert_int_equal(token[i].source, r % 4);
            assert_int_equal(token[i].phase, TRACE_PREFILL);
            assert_int_equal(token[i].position, i);
        }
    }
    assert_null(strstr(trace_get_info(none)->capture, "sources"));
    assert_non_null(strstr(trace_get_info(t)->capture, "sources=4"));
    trace_close(t);
    trace_close(none);
    discard(path);
    discard(unknown);
}

/* ---- by example ---- */

/* Every statistic of `path` within `part` of the source's. */
static void compare(const char *source, const char *path, double part)
{
    struct trace_statistics a = measure(source), b = measure(path);
    double distance = 0;

    assert_int_equal(a.layers, b.layers);
    assert_int_equal(a.experts, b.experts);
    for (size_t i = 0; i < (size_t)a.layers * a.experts; i++)
        distance += fabs(a.popularity[i] - b.popularity[i]) / 2 / a.layers;
    if (!(distance <= part))
        fail_msg("popularity differs by %g", distance);
    assert_within("top-1 share", b.top1_share, a.top1_share, part);
    assert_within("entropy", b.entropy_bits, a.entropy_bits, part);
    assert_within("gini", b.gini, a.gini, part);
    assert_within("adjacent overlap", b.adjacent_overlap, a.adjacent_overlap, part);
    assert_within("predictability", b.next_layer_predictability,
                  a.next_layer_predictability, part);
    for (int u = 0; u < TRACE_UNION_SIZES; u++)
        assert_within("union", b.union_size[u], a.union_size[u], part);
    trace_statistics_release(&a);
    trace_statistics_release(&b);
}

static char *must_generate_like(const char *name, const char *source,
                                const struct generate_like_options *o)
{
    char *path = trace_make_path(name);
    struct err e = {.text = ""};
    struct trace *t = must_open(source);

    if (generate_like(t, o, path, &e) != 0)
        fail_msg("%s", e.text);
    trace_close(t);
    return path;
}

static void test_like_an_example(void **state)
{
    struct generate_like_options o = {.seed = 99};
    char *source = must_generate(
        "source.h5", "{layers: 5, experts: 20, top_k: 3, requests: 100, groups: 10, "
                     "prompt_tokens: 12, output_tokens: 40, affinity: 0.8, domain: 0.5, "
                     "output_template: 4, locality: 0.7, seed: 5}");
    char *path = must_generate_like("like.h5", source, &o);
    struct trace *a = must_open(source), *b = must_open(path);

    (void)state;
    compare(source, path, TOLERANCE);
    assert_int_equal(trace_get_info(a)->rows, trace_get_info(b)->rows);
    assert_int_equal(trace_get_info(a)->requests, trace_get_info(b)->requests);
    for (uint32_t i = 0; i < 100; i++)
        assert_memory_equal(&trace_get_requests(a)[i].prompt_tokens,
                            &trace_get_requests(b)[i].prompt_tokens,
                            2 * sizeof(uint32_t));
    trace_close(a);
    trace_close(b);
    discard(source);
    discard(path);
}

/* More requests than the source has: its table from the start again. */
static void test_like_but_longer(void **state)
{
    struct generate_like_options o = {
        .seed = 3, .requests = 25, .scores = GENERATE_SCORES_YES};
    char *source = trace_make_path("short.h5");
    char *path;
    struct err e = {.text = ""};
    struct trace *t;

    (void)state;
    trace_make_cyclic(source, 3, 12, 3, 10);
    path = must_generate_like("longer.h5", source, &o);
    t = must_open(path);
    assert_int_equal(trace_check(t, &e), 0);
    assert_int_equal(trace_get_info(t)->requests, 25);
    assert_int_equal(trace_fields(t) & TRACE_HAS_SCORES, TRACE_HAS_SCORES);
    trace_close(t);
    discard(source);
    discard(path);
}

/* ---- the trace that ships, and recorded ones ---- */

/* The published figures of GPT-OSS-20B, which are in its source attribute, too. */
static void test_the_sample(void **state)
{
    static const double unions[] = {4.0, 0, 11.3, 17.4, 22.1, 25.7};
    struct trace_statistics s = measure("traces/samples/gpt-oss-20b-like.h5");

    (void)state;
    assert_within("top-1 share", s.top1_share, 0.082, TOLERANCE);
    assert_within("entropy", s.entropy_bits, 4.60, TOLERANCE);
    assert_within("gini", s.gini, 0.40, TOLERANCE);
    assert_within("adjacent overlap", s.adjacent_overlap, 0.437, TOLERANCE);
    for (int u = 0; u < 6; u++)
        if (unions[u] > 0)
            assert_within("union", s.union_size[u], unions[u], TOLERANCE);
    trace_statistics_release(&s);
}

/* The command of traces/samples/README.md. */
static void test_the_sample_again(void **state)
{
    struct err e = {.text = ""};
    struct generate_params p;
    struct cfg *c;
    char *path;

    (void)state;
    if (getenv("MOESIM_SLOW") == NULL) {
        print_message("skip the_sample_again: needs MOESIM_SLOW\n");
        skip();
    }
    path = trace_make_path("again.h5");
    c = cfg_load("traces/samples/gpt-oss-20b-like.yaml", &e);
    if (c == NULL || cfg_bind(cfg_root(c), generate_options, &p, &e) != 0 ||
        generate_trace(&p, path, &e) != 0)
        fail_msg("%s", e.text);
    cfg_free(c);
    assert_true(same_bytes(path, "traces/samples/gpt-oss-20b-like.h5"));
    discard(path);
}

static void like_a_recording(const char *archive)
{
    const char *data = getenv("MOESIM_DATA"), *python = getenv("PYTHON");
    char *source = trace_make_path("recorded.h5");
    char *command =
        mem_format("%s traces/python import --from npz '%s/routing/%s' -o '%s'",
                   python != NULL ? python : "/usr/bin/python3", data, archive, source);
    char *path;

    assert_int_equal(system(command), 0);
    path = must_generate_like("recorded-like.h5", source, NULL);
    compare(source, path, TOLERANCE);
    free(command);
    discard(source);
    discard(path);
}

static void test_like_deepseek_v2_lite(void **state)
{
    (void)state;
    if (getenv("MOESIM_DATA") == NULL) {
        print_message("skip like_deepseek_v2_lite: needs MOESIM_DATA\n");
        skip();
    }
    like_a_recording("dsv2lite_intent.npz");
}

static void test_like_longer_recordings(void **state)
{
    (void)state;
    if (getenv("MOESIM_DATA") == NULL || getenv("MOESIM_SLOW") == NULL) {
        print_message("skip like_longer_recordings: needs MOESIM_DATA and MOESIM_SLOW\n");
        skip();
    }
    like_a_recording("dsv2lite_law.npz");
    like_a_recording("gptoss20b_decode.npz");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_seeds),
        cmocka_unit_test(test_what_is_written),
        cmocka_unit_test(test_independent_rows),
        cmocka_unit_test(test_parameters_do_what_they_say),
        cmocka_unit_test(test_figures_asked_for),
        cmocka_unit_test(test_figures_of_prompts),
        cmocka_unit_test(test_what_cannot_be),
        cmocka_unit_test(test_too_many_rows),
        cmocka_unit_test(test_hot_router),
        cmocka_unit_test(test_hot_router_top_k),
        cmocka_unit_test(test_independent_router),
        cmocka_unit_test(test_sources_and_encoders),
        cmocka_unit_test(test_like_an_example),
        cmocka_unit_test(test_like_but_longer),
        cmocka_unit_test(test_the_sample),
        cmocka_unit_test(test_the_sample_again),
        cmocka_unit_test(test_like_deepseek_v2_lite),
        cmocka_unit_test(test_like_longer_recordings),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
