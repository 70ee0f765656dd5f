#include "tune.h"

#include "tune_pick.h"
#include "sim/base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    TOGETHER = 4,   /* runs between two looks at what is known: more for no thread */
    SPREAD_PART = 4 /* of all runs, for points that are spread */
};

struct search {
    const struct tune_study *s;
    const struct tune_hooks *hooks;
    struct tune_outcome *o;
    struct tune_pick *pick;
    size_t runs; /* that it may take */
};

static double clock_seconds(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double tune_miss(const struct tune_spec *s, const struct tune_trial *t)
{
    double sum = 0;

    for (size_t i = 0; i < s->limits; i++) {
        const struct tune_limit *l = &s->limit[i];
        double value = t->figure[l->figure];

        if (!tune_limit_holds(l, value))
            sum += fabs(value - l->value) / (fabs(l->value) > 0 ? fabs(l->value) : 1);
    }
    return sum;
}

/* ---- runs ---- */

/* The largest share of the trace that a point was run over; 0: none. */
static double share_so_far(const struct search *w, const struct tune_point *p)
{
    double share = 0;

    for (size_t i = 0; i < w->o->trials; i++) {
        const struct tune_trial *t = &w->o->trial[i];

        if (t->share > share && tune_space_same(w->s->space, &t->point, p))
            share = t->share;
    }
    return share;
}

/* The share for a run of a point: what is wanted, or where that is no more than it was
 * run over already, all of the trace. */
static double share_for(const struct search *w, const struct tune_point *p, double wanted)
{
    struct experiment_facts facts = {.requests = 0};
    struct err ignored = {.text = ""};
    double share;

    (void)tune_trial_check(w->s, p, &facts, &ignored);
    share = tune_trial_share(&facts, wanted);
    return share > share_so_far(w, p) ? share : 1;
}

/* Runs points over shares of the trace, a few at a time. Takes the points over. */
static int run(struct search *w, struct tune_point *point, size_t count, double wanted)
{
    struct tune_outcome *o = w->o;
    size_t first = o->trials;
    int status = 0;

    for (size_t i = 0; i < count; i++) {
        double share = share_for(w, &point[i], wanted);

        o->trial = mem_grow(o->trial, o->trials, sizeof *o->trial);
        o->trial[o->trials++] = (struct tune_trial){.point = point[i], .share = share};
    }
    for (size_t at = first; at < o->trials && status == 0; at += TOGETHER) {
        size_t some = o->trials - at < TOGETHER ? o->trials - at : TOGETHER;

        status = tune_trial_run(w->s, &o->trial[at], some, w->hooks->threads);
        if (w->hooks->progress != NULL)
            w->hooks->progress(w->hooks->context, at + some, w->runs);
    }
    return status;
}

/* ---- successive halving ---- */

/* How many of trials [first, end) are better in some goal, over the goals; what does not
 * run or misses limits is behind all others. */
static double rank_of(const struct search *w, size_t which, size_t first, size_t end)
{
    const struct tune_spec *s = w->s->spec;
    const struct tune_trial *t = w->o->trial;
    double rank = 0;

    if (!t[which].ran)
        return INFINITY;
    for (size_t g = 0; g < s->goals; g++) {
        double cost = tune_trial_cost(s, &t[which], g);

        if (!isfinite(cost))
            return INFINITY;
        for (size_t i = first; i < end; i++)
            rank += tune_trial_cost(s, &t[i], g) < cost;
    }
    return rank + (double)(s->goals * (end - first)) * tune_miss(s, &t[which]);
}

/* The best `count` of trials [first, end) that ran; copies of their points. */
static size_t best_of(const struct search *w, size_t first, size_t end, size_t count,
                      struct tune_point *point)
{
    double last = -1;
    size_t last_at = 0, found = 0;

    while (found < count) {
        double least = INFINITY;
        size_t at = end;

        for (size_t i = first; i < end; i++) {
            double rank = rank_of(w, i, first, end);

            if ((rank > last || (rank == last && i > last_at)) && rank < least) {
                least = rank;
                at = i;
            }
        }
        if (at == end)
            break;
        last = least;
        last_at = at;
        if (w->o->trial[at].share < 1)
            point[found++] = tune_point_copy(w->s->space, &w->o->trial[at].point);
    }
    return found;
}

static int halve(struct search *w)
{
    static const double share[] = {1.0 / 9, 1.0 / 3, 1};
    enum { RUNGS = sizeof share / sizeof *share, KEEP = 3 };
    size_t count = w->runs / SPREAD_PART > 0 ? w->runs / SPREAD_PART : 1;
    struct tune_point *point = mem_alloc(count, sizeof *point);
    size_t first = 0, found = tune_pick_spread(w->pick, count, point);
    int status = run(w, point, found, share[0]);

    for (size_t rung = 1; rung < RUNGS && status == 0; rung++) {
        size_t end = w->o->trials;

        count = (end - first + KEEP - 1) / KEEP;
        found = best_of(w, first, end, count, point);
        status = run(w, point, found, share[rung]);
        first = found > 0 ? end : first;
    }
    free(point);
    return status;
}

/* ---- the rest of the runs ---- */

/* Weights of the first goal: van der Corput's sequence, so that any few are spread. */
static double weight_of(size_t round)
{
    double weight = 0, part = 0.5;

    for (round++; round > 0; round /= 2, part /= 2)
        weight += part * (double)(round % 2);
    return weight;
}

static int go_on(struct search *w)
{
    struct tune_point point[TOGETHER];
    int status = 0;

    for (size_t round = 0; status == 0 && w->o->trials < w->runs; round++) {
        size_t left = w->runs - w->o->trials, found;

        found = tune_pick_worthy(w->pick, left < TOGETHER ? left : TOGETHER,
                                 weight_of(round), point);
        if (found == 0)
            break; /* all were run that can be */
        status = run(w, point, found, 1);
    }
    return status;
}

static int run_whole(struct search *w)
{
    struct tune_point *point = mem_alloc(w->runs, sizeof *point);
    size_t found = tune_pick_spread(w->pick, w->runs, point);
    int status = run(w, point, found, 1);

    free(point);
    return status;
}

/* ---- what came out ---- */

/* Whether trial a is as good as b in all that is asked of it, and better in something. */
static bool is_better(const struct tune_spec *s, const struct tune_trial *a,
                      const struct tune_trial *b)
{
    bool better = false;

    for (size_t g = 0; g < s->goals; g++) {
        double one = tune_trial_cost(s, a, g), other = tune_trial_cost(s, b, g);

        if (one > other)
            return false;
        better = better || one < other;
    }
    for (size_t i = 0; i < s->limits; i++) {
        double sign = s->limit[i].least ? -1 : 1;
        double one = sign * a->figure[s->limit[i].figure];
        double other = sign * b->figure[s->limit[i].figure];

        if (one > other)
            return false;
        better = better || one < other;
    }
    return better;
}

static bool is_in_front(const struct search *w, size_t which)
{
    const struct tune_trial *t = w->o->trial;

    if (!tune_trial_allowed(w->s->spec, &t[which]))
        return false;
    for (size_t i = 0; i < w->o->trials; i++) {
        if (tune_trial_allowed(w->s->spec, &t[i]) &&
            is_better(w->s->spec, &t[i], &t[which]))
            return false;
    }
    return true;
}

/* By the first goal; insertion keeps the order of equals. */
static void find_front(struct search *w)
{
    struct tune_outcome *o = w->o;

    o->front = mem_alloc(o->trials, sizeof *o->front);
    for (size_t i = 0; i < o->trials; i++) {
        size_t at = o->fronts;

        if (!is_in_front(w, i))
            continue;
        for (; at > 0 && tune_trial_cost(w->s->spec, &o->trial[o->front[at - 1]], 0) >
                             tune_trial_cost(w->s->spec, &o->trial[i], 0);
             at--)
            o->front[at] = o->front[at - 1];
        o->front[at] = i;
        o->fronts++;
    }
}

/* The allowed trial of least cost but for `but`, the first of equals. */
static size_t least_cost(const struct search *w, size_t but)
{
    const struct tune_spec *s = w->s->spec;
    const struct tune_trial *t = w->o->trial;
    size_t best = TUNE_NONE;

    for (size_t i = 0; i < w->o->trials; i++) {
        if (i != but && tune_trial_allowed(s, &t[i]) &&
            (best == TUNE_NONE ||
             tune_trial_cost(s, &t[i], 0) < tune_trial_cost(s, &t[best], 0)))
            best = i;
    }
    return best;
}

static bool has_goals(const struct tune_spec *s, const struct tune_trial *t)
{
    bool has = true;

    for (size_t g = 0; g < s->goals; g++)
        has = has && isfinite(tune_trial_cost(s, t, g));
    return has;
}

static size_t least_miss(const struct search *w)
{
    const struct tune_spec *s = w->s->spec;
    size_t nearest = TUNE_NONE;

    for (size_t i = 0; i < w->o->trials; i++) {
        const struct tune_trial *t = &w->o->trial[i];

        if (t->share >= 1 && has_goals(s, t) && isfinite(tune_miss(s, t)) &&
            (nearest == TUNE_NONE ||
             tune_miss(s, t) < tune_miss(s, &w->o->trial[nearest])))
            nearest = i;
    }
    return nearest;
}

static bool is_whole(const struct search *w)
{
    size_t run_whole = 0;

    for (size_t i = 0; i < w->o->trials; i++)
        run_whole += w->o->trial[i].share >= 1 || !w->o->trial[i].ran;
    return tune_space_count(w->s->space) > 0 &&
           run_whole + w->o->refused + w->o->foreseeing == tune_space_count(w->s->space);
}

static int conclude(struct search *w, struct err *e)
{
    struct tune_outcome *o = w->o;

    if (o->trials == 0 && o->refused > 0)
        return err_set(e, "%s", o->refusal);
    if (o->trials == 0)
        return err_set(e,
                       "all points have policies that know what comes later, which none "
                       "in service does; add others");
    o->best = least_cost(w, TUNE_NONE);
    o->second = o->best == TUNE_NONE ? TUNE_NONE : least_cost(w, o->best);
    o->nearest = o->best == TUNE_NONE ? least_miss(w) : TUNE_NONE;
    o->whole = is_whole(w);
    find_front(w);
    return 0;
}

int tune_search(const struct tune_study *s, const struct tune_hooks *hooks,
                struct tune_outcome *o, struct err *e)
{
    struct search w = {
        .s = s, .hooks = hooks, .o = o, .runs = (size_t)s->spec->evaluations};
    size_t points = tune_space_count(s->space);
    double begun = clock_seconds();
    int status;

    *o = (struct tune_outcome){
        .best = TUNE_NONE, .second = TUNE_NONE, .nearest = TUNE_NONE};
    w.pick = tune_pick_new(s, o);
    if (points > 0 && points <= w.runs) {
        status = run_whole(&w);
    } else {
        status = halve(&w);
        status = status == 0 ? go_on(&w) : status;
    }
    tune_pick_free(w.pick);
    o->seconds = clock_seconds() - begun;
    return status == 0 ? conclude(&w, e) : status;
}

void tune_outcome_release(struct tune_outcome *o)
{
    for (size_t i = 0; i < o->trials; i++)
        tune_trial_release(&o->trial[i]);
    free(o->trial);
    free(o->front);
    free(o->refusal);
    *o = (struct tune_outcome){.best = TUNE_NONE};
}
