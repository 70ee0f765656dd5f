/* Scores for random experiments, and selects that choose by them. All of it is drawn from
 * streams of its own, so that what a case was without it stays. */
#include "property_case.h"

#include "sim/base/mem.h"
#include "traces/trace.h"

#include <stdlib.h>
#include <string.h>

void property_draw_scores(struct property_case *c)
{
    static const enum trace_score_kind kinds[] = {TRACE_SCORE_SOFTMAX,
                                                  TRACE_SCORE_SIGMOID, TRACE_SCORE_LOGIT};
    struct rng r = rng_stream(c->number, "scores", 0);

    c->candidates = c->top_k;
    c->score_kind = TRACE_SCORE_NONE;
    if (property_draw(&r, 2) == 0)
        return;
    c->score_kind = kinds[property_draw(&r, 3)];
    c->sorted = property_draw(&r, 2) == 0;
    c->candidates = c->experts;
    if (property_draw(&r, 3) == 0)
        c->candidates = c->top_k + property_draw(&r, c->experts - c->top_k + 1);
}

/* Experts that a cell did not execute, from its `count` on, in any order. */
static void append_others(const struct property_case *c, struct rng *r, uint32_t count,
                          uint16_t *candidate)
{
    uint32_t executed = count, width = c->candidates;

    for (uint16_t x = 0; x < c->experts; x++) {
        bool there = false;
        uint32_t at;

        for (uint32_t i = 0; i < executed; i++)
            there = there || candidate[i] == x;
        if (there)
            continue;
        at = executed + property_draw(r, count - executed + 1);
        if (count < width)
            candidate[count++] = candidate[at];
        if (at < width)
            candidate[at] = x;
    }
}

static void sort_down(float *score, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++)
        for (uint32_t k = i; k > 0 && score[k - 1] < score[k]; k--) {
            float x = score[k];

            score[k] = score[k - 1];
            score[k - 1] = x;
        }
}

void property_list_candidates(const struct property_case *c, uint64_t cell,
                              uint16_t *candidate, float *score)
{
    struct rng r = rng_stream(c->number, "candidates", cell);
    bool ties = c->number % 3 == 0;
    uint32_t count = 0;

    memset(candidate, 0xff, c->candidates * sizeof *candidate);
    memset(score, 0, c->candidates * sizeof *score);
    memcpy(candidate, c->expert + cell * c->top_k, c->top_k * sizeof *candidate);
    while (count < c->top_k && candidate[count] != TRACE_NOT_RECORDED)
        count++;
    if (count == c->top_k) {
        append_others(c, &r, count, candidate);
        count = c->candidates;
    }
    for (uint32_t i = 0; i < count; i++) {
        double u = ties ? property_draw(&r, 5) / 8.0 : rng_unit(&r);

        score[i] = (float)(c->score_kind == TRACE_SCORE_LOGIT ? 10 * u - 5 : u);
    }
    if (c->sorted)
        sort_down(score, count);
}

char *property_with_select(const struct property_case *c, uint32_t number, char *policy)
{
    static const char *const selects[] = {
        "lynx",
        "lynx, drop: 0.6, form: accuracy",
        "lynx, drop: 1",
        "affinity-binning",
        "affinity-binning, alpha: 7, beta: 5, margin: 3, rounding: floor",
        "oea",
        "oea, k0: 1, k_max: 2, max_p: 5",
        "budget, experts: 3",
        "budget, share: 0.4, warm_up: 1, sum: executed",
        "naee, beta: 0.6",
        "naee, calibrate: 7",
        "top-k",
        "eras-threshold",
        "eras-threshold, alpha: 100",
        "eras-bias, beta: 3",
    };
    enum { SELECTS = sizeof selects / sizeof *selects, KNOWN = SELECTS - 3 };
    static const char *const phases[] = {"auto", "all", "all", "decode"};
    struct rng r = rng_stream(c->number, "select", number);
    /* What is resident nobody knows beforehand. */
    bool foreseen = strstr(policy, "belady") != NULL || strstr(policy, "oracle") != NULL;
    const char *select, *when;
    char *longer;

    if (c->score_kind == TRACE_SCORE_NONE || property_draw(&r, 3) == 0)
        return policy;
    select = selects[property_draw(&r, foreseen ? KNOWN : SELECTS)];
    when = phases[property_draw(&r, 4)];
    longer = mem_format("{select: {name: %s, phases: %s}, %s", select, when, policy + 1);
    free(policy);
    return longer;
}
