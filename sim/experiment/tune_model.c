#include "tune_model.h"

#include "gaussian.h"
#include "sim/base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One function of points; smaller is better. */
struct surface {
    struct gaussian *g;
    double limit; /* at most this is allowed; of the goal the best so far */
};

struct tune_model {
    const struct tune_space *space;
    bool parts; /* some trial was over a part: then the share is the first coordinate */
    size_t coordinates;
    bool any_allowed;
    struct surface goal;
    size_t limits;
    struct surface *limit; /* [limits]: those of the study, then whether it can be run */
};

/* Values of some trials: (trial, coordinate) and [trials]. */
struct values {
    size_t count;
    double *x, *y;
};

/* ---- scales ---- */

static double share_place(double share)
{
    const double least = 1.0 / 16;
    double place = 1 - log(share) / log(least);

    return place > 0 ? place : 0;
}

static void place(const struct tune_model *m, const struct tune_point *p, double share,
                  double *x)
{
    if (m->parts)
        *x++ = share_place(share);
    tune_space_place(m->space, p, x);
}

/* Whether all values of a figure are above zero, so that ratios are what counts. */
static bool takes_logarithm(const struct tune_trial *t, size_t count, int figure)
{
    bool above = result_figure[figure].kind != FIGURE_SHARE;

    for (size_t i = 0; i < count && above; i++)
        above = !t[i].ran || !(t[i].figure[figure] <= 0);
    return above;
}

static void scale_to_one(double *y, size_t count, double *also)
{
    double mean = 0, square = 0, deviation;

    for (size_t i = 0; i < count; i++)
        mean += y[i] / (double)count;
    for (size_t i = 0; i < count; i++)
        square += (y[i] - mean) * (y[i] - mean) / (double)count;
    deviation = square > 0 ? sqrt(square) : 1;
    for (size_t i = 0; i < count; i++)
        y[i] = (y[i] - mean) / deviation;
    *also = (*also - mean) / deviation;
}

/* ---- fitting ---- */

/* Takes the values over; fits if there are any. */
static struct gaussian *fit(const struct tune_model *m, struct values *v)
{
    struct gaussian_points p = {.lines = tune_space_lines(m->space) + m->parts,
                                .names = tune_space_names(m->space),
                                .count = v->count,
                                .x = v->x,
                                .y = v->y};
    struct gaussian *g = v->count == 0 ? NULL : gaussian_fit(&p);

    free(v->x);
    free(v->y);
    return g;
}

static struct values room_for(const struct tune_model *m, size_t count)
{
    return (struct values){0, mem_alloc(count * m->coordinates, sizeof(double)),
                           mem_alloc(count, sizeof(double))};
}

static void add(const struct tune_model *m, struct values *v, const struct tune_trial *t,
                double y)
{
    if (!isfinite(y))
        return;
    place(m, &t->point, t->share, v->x + v->count * m->coordinates);
    v->y[v->count++] = y;
}

static void fit_limit(const struct tune_model *m, const struct tune_limit *l,
                      const struct tune_trial *t, size_t count, struct surface *s)
{
    struct values v = room_for(m, count);
    bool as_log = takes_logarithm(t, count, l->figure) && l->value > 0;
    double sign = l->least ? -1 : 1;

    s->limit = sign * (as_log ? log(l->value) : l->value);
    for (size_t i = 0; i < count; i++) {
        double y = t[i].ran ? t[i].figure[l->figure] : NAN;

        add(m, &v, &t[i], sign * (as_log ? log(y) : y));
    }
    scale_to_one(v.y, v.count, &s->limit);
    s->g = fit(m, &v);
}

/* 1 where it did not run, else -1. */
static void fit_running(const struct tune_model *m, const struct tune_trial *t,
                        size_t count, struct surface *s)
{
    struct values v = room_for(m, count);
    bool any = false;

    for (size_t i = 0; i < count; i++) {
        any = any || !t[i].ran;
        add(m, &v, &t[i], t[i].ran ? -1 : 1);
    }
    if (!any)
        v.count = 0;
    s->limit = 0;
    s->g = fit(m, &v);
}

/* What each trial costs, scaled to 0 ... 1 over those of the whole trace. */
static void goal_costs(const struct tune_spec *s, const struct tune_trial *t,
                       size_t count, size_t goal, double *cost)
{
    bool as_log = takes_logarithm(t, count, s->goal[goal].figure);
    double sign = s->goal[goal].large ? -1 : 1, least = INFINITY, most = -INFINITY;

    for (size_t i = 0; i < count; i++) {
        double y = t[i].ran ? t[i].figure[s->goal[goal].figure] : NAN;

        cost[i] = sign * (as_log ? log(y) : y);
        if (!isfinite(cost[i]) || t[i].share < 1)
            continue;
        least = cost[i] < least ? cost[i] : least;
        most = cost[i] > most ? cost[i] : most;
    }
    for (size_t i = 0; i < count && most > least; i++)
        cost[i] = (cost[i] - least) / (most - least);
}

/* Of two goals, Chebyshev's number. Owned. */
static double *costs(const struct tune_spec *s, const struct tune_trial *t, size_t count,
                     double weight)
{
    const double some =
        0.05; /* of the sum, so that of equal ones the better one counts */
    double *cost = mem_alloc(count, sizeof *cost);
    double *other = mem_alloc(count, sizeof *other);

    goal_costs(s, t, count, 0, cost);
    if (s->goals > 1) {
        goal_costs(s, t, count, 1, other);
        for (size_t i = 0; i < count; i++) {
            double a = weight * cost[i], b = (1 - weight) * other[i];

            cost[i] = (a > b ? a : b) + some * (a + b);
            cost[i] = isfinite(a + b) ? cost[i] : NAN;
        }
    }
    free(other);
    return cost;
}

static void fit_goal(struct tune_model *m, const struct tune_spec *s,
                     const struct tune_trial *t, size_t count, double weight)
{
    struct values v = room_for(m, count);
    double *cost = costs(s, t, count, weight);

    m->goal.limit = INFINITY;
    for (size_t i = 0; i < count; i++) {
        add(m, &v, &t[i], cost[i]);
        if (!tune_trial_allowed(s, &t[i]))
            continue;
        m->any_allowed = true;
        m->goal.limit = cost[i] < m->goal.limit ? cost[i] : m->goal.limit;
    }
    scale_to_one(v.y, v.count, &m->goal.limit);
    m->goal.g = fit(m, &v);
    free(cost);
}

struct tune_model *tune_model_new(const struct tune_study *s, const struct tune_trial *t,
                                  size_t count, double weight)
{
    struct tune_model *m = mem_zalloc(1, sizeof *m);

    m->space = s->space;
    for (size_t i = 0; i < count; i++)
        m->parts = m->parts || t[i].share < 1;
    m->coordinates = tune_space_lines(s->space) + tune_space_names(s->space) + m->parts;
    fit_goal(m, s->spec, t, count, weight);
    m->limits = s->spec->limits + 1;
    m->limit = mem_zalloc(m->limits, sizeof *m->limit);
    for (size_t i = 0; i < s->spec->limits; i++)
        fit_limit(m, &s->spec->limit[i], t, count, &m->limit[i]);
    fit_running(m, t, count, &m->limit[s->spec->limits]);
    if (m->goal.g != NULL)
        return m;
    tune_model_free(m);
    return NULL;
}

void tune_model_free(struct tune_model *m)
{
    if (m == NULL)
        return;
    for (size_t i = 0; i < m->limits; i++)
        gaussian_free(m->limit[i].g);
    gaussian_free(m->goal.g);
    free(m->limit);
    free(m);
}

/* ---- asking ---- */

double tune_model_worth(const struct tune_model *m, const struct tune_point *p)
{
    const double explore = 1e-9; /* decides where nothing is expected any more */
    double *x = mem_alloc(m->coordinates, sizeof *x), worth = 1;

    place(m, p, 1, x);
    if (m->any_allowed) {
        struct gaussian_guess g = gaussian_at(m->goal.g, x);

        worth = gaussian_improvement(g, m->goal.limit) + explore * g.deviation;
    }
    for (size_t i = 0; i < m->limits; i++) {
        if (m->limit[i].g != NULL)
            worth *= gaussian_below(gaussian_at(m->limit[i].g, x), m->limit[i].limit);
    }
    free(x);
    return worth;
}

static void believe(struct surface *s, const double *x)
{
    struct gaussian *more =
        s->g == NULL ? NULL : gaussian_more(s->g, x, gaussian_at(s->g, x).mean);

    if (more == NULL)
        return;
    gaussian_free(s->g);
    s->g = more;
}

void tune_model_believe(struct tune_model *m, const struct tune_point *p)
{
    double *x = mem_alloc(m->coordinates, sizeof *x);

    place(m, p, 1, x);
    believe(&m->goal, x);
    for (size_t i = 0; i < m->limits; i++)
        believe(&m->limit[i], x);
    free(x);
}
