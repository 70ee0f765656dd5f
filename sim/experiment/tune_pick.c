#include "tune_pick.h"

#include "tune_model.h"
#include "sim/base/mem.h"
#include "sim/base/rng.h"

#include <gsl/gsl_qrng.h>
#include <math.h>
#include <stdlib.h>

enum {
    MOST_SOBOL = 40,
    AT_RANDOM = 1000, /* candidates of a space that is not listed */
    AROUND = 8,       /* ... the best so many, */
    MOVES = 100       /* so many about each */
};

struct tune_pick {
    const struct tune_study *s;
    struct tune_outcome *o;
    size_t drawn;
    gsl_qrng *sobol; /* NULL: too many keys */
    double *shift;   /* [drawn] */
    struct rng rng;
    struct tune_point *out; /* [outs] those that are not to be tried again */
    size_t outs;
};

struct tune_pick *tune_pick_new(const struct tune_study *s, struct tune_outcome *o)
{
    struct tune_pick *p = mem_zalloc(1, sizeof *p);

    p->s = s;
    p->o = o;
    p->drawn = tune_space_drawn(s->space);
    p->rng = rng_stream((uint64_t)s->spec->seed, "tune", 0);
    p->shift = mem_alloc(p->drawn, sizeof *p->shift);
    for (size_t i = 0; i < p->drawn; i++)
        p->shift[i] = rng_unit(&p->rng);
    if (p->drawn <= MOST_SOBOL)
        p->sobol = gsl_qrng_alloc(gsl_qrng_sobol, (unsigned)p->drawn);
    return p;
}

void tune_pick_free(struct tune_pick *p)
{
    if (p == NULL)
        return;
    for (size_t i = 0; i < p->outs; i++)
        tune_point_release(&p->out[i]);
    if (p->sobol != NULL)
        gsl_qrng_free(p->sobol);
    free(p->out);
    free(p->shift);
    free(p);
}

/* ---- which may be tried ---- */

static void leave_out(struct tune_pick *p, const struct tune_point *point)
{
    p->out = mem_grow(p->out, p->outs, sizeof *p->out);
    p->out[p->outs++] = tune_point_copy(p->s->space, point);
}

static bool is_among(const struct tune_pick *p, const struct tune_point *list,
                     size_t count, const struct tune_point *point)
{
    for (size_t i = 0; i < count; i++) {
        if (tune_space_same(p->s->space, &list[i], point))
            return true;
    }
    return false;
}

/* Whether a point was run: with `whole`, over the whole trace, or not to its end. */
static bool was_run(const struct tune_pick *p, const struct tune_point *point, bool whole)
{
    for (size_t i = 0; i < p->o->trials; i++) {
        const struct tune_trial *t = &p->o->trial[i];

        if ((!whole || t->share >= 1 || !t->ran) &&
            tune_space_same(p->s->space, &t->point, point))
            return true;
    }
    return false;
}

/* Whether a point that is new can be run; else it is counted and left out. */
static bool may_run(struct tune_pick *p, const struct tune_point *point)
{
    struct err why = {.text = ""};
    struct experiment_facts facts;
    enum tune_fate fate = tune_trial_check(p->s, point, &facts, &why);

    if (fate == TUNE_GOOD)
        return true;
    leave_out(p, point);
    if (fate == TUNE_FORESEES)
        p->o->foreseeing++;
    else if (p->o->refused++ == 0)
        p->o->refusal = mem_strdup(why.text);
    return false;
}

/* ---- spread ---- */

static struct tune_point next_spread(struct tune_pick *p)
{
    double *u = mem_alloc(p->drawn, sizeof *u);
    struct tune_point point;

    if (p->sobol != NULL)
        (void)gsl_qrng_get(p->sobol, u);
    for (size_t i = 0; i < p->drawn; i++)
        u[i] = p->sobol == NULL ? rng_unit(&p->rng) : fmod(u[i] + p->shift[i], 1);
    point = tune_space_draw(p->s->space, u);
    free(u);
    return point;
}

/* Takes a point, if it is new and can be run, into the list of `found`. */
static size_t offer(struct tune_pick *p, struct tune_point *list, size_t found,
                    struct tune_point point)
{
    if (!is_among(p, list, found, &point) && !is_among(p, p->out, p->outs, &point) &&
        !was_run(p, &point, false) && may_run(p, &point)) {
        list[found] = point;
        return found + 1;
    }
    tune_point_release(&point);
    return found;
}

size_t tune_pick_spread(struct tune_pick *p, size_t count, struct tune_point *point)
{
    const size_t tries = 50 * count, listed = tune_space_count(p->s->space);
    size_t found = 0;

    for (size_t i = 0; i < tries && found < count; i++)
        found = offer(p, point, found, next_spread(p));
    for (size_t i = 0; i < listed && found < count; i++) /* those that it did not hit */
        found = offer(p, point, found, tune_space_point(p->s->space, i));
    return found;
}

/* ---- of most worth ---- */

struct candidates {
    struct tune_point *point; /* owned */
    size_t count;
    double *worth; /* [count], owned: as it was when it was last found */
};

static void add(struct tune_pick *p, struct candidates *c, struct tune_point point)
{
    if (is_among(p, p->out, p->outs, &point) || was_run(p, &point, true)) {
        tune_point_release(&point);
        return;
    }
    c->point = mem_grow(c->point, c->count, sizeof *c->point);
    c->point[c->count++] = point;
}

/* Adds points that differ from one in a coordinate or two, by little or by much. */
static void add_moves(struct tune_pick *p, struct candidates *c,
                      const struct tune_point *from)
{
    const double little = 0.2;

    for (int i = 0; i < MOVES; i++) {
        struct tune_point point = tune_point_copy(p->s->space, from);

        for (int moves = 1 + i % 2; moves > 0; moves--) {
            size_t coordinate = (size_t)rng_below(&p->rng, p->drawn);
            double u = rng_unit(&p->rng), near;
            struct tune_point moved;

            near = tune_space_unit(p->s->space, &point, coordinate) + little * (u - 0.5);
            if (i % 4 < 2 && near >= 0 && near < 1)
                u = near;
            moved = tune_space_move(p->s->space, &point, coordinate, u);
            tune_point_release(&point);
            point = moved;
        }
        add(p, c, point);
    }
}

/* The trials that are not worse than `than` others: those that are allowed, by cost. */
static bool is_among_best(const struct tune_pick *p, size_t which, size_t than)
{
    const struct tune_trial *t = p->o->trial;
    size_t better = 0;

    if (!tune_trial_allowed(p->s->spec, &t[which]))
        return false;
    for (size_t i = 0; i < p->o->trials; i++)
        better += tune_trial_allowed(p->s->spec, &t[i]) &&
                  tune_trial_cost(p->s->spec, &t[i], 0) <
                      tune_trial_cost(p->s->spec, &t[which], 0);
    return better < than;
}

static struct candidates gather(struct tune_pick *p)
{
    size_t listed = tune_space_count(p->s->space);
    struct candidates c = {.point = NULL};

    for (size_t i = 0; i < listed; i++)
        add(p, &c, tune_space_point(p->s->space, i));
    if (listed > 0)
        return c;
    for (size_t i = 0; i < AT_RANDOM; i++)
        add(p, &c, next_spread(p));
    for (size_t i = 0; i < p->o->trials; i++) {
        if (is_among_best(p, i, AROUND))
            add_moves(p, &c, &p->o->trial[i].point);
    }
    return c;
}

/* Finds what each candidate is worth. */
static void value(struct candidates *c, const struct tune_model *m)
{
    for (size_t i = 0; i < c->count; i++)
        c->worth[i] = tune_model_worth(m, &c->point[i]);
}

static bool may_take(const struct tune_pick *p, const struct tune_point *taken,
                     size_t count, const struct tune_point *point)
{
    return !is_among(p, taken, count, point) && !is_among(p, p->out, p->outs, point);
}

/* The candidate of most worth, the first of equals; NULL: none is left. Worth only falls
 * as more is believed of other points, so that those are looked at again whose worth was
 * more than the best one's is. */
static struct tune_point *most_worthy(const struct tune_pick *p, struct candidates *c,
                                      const struct tune_model *m,
                                      const struct tune_point *taken, size_t count)
{
    size_t best = c->count;

    for (;;) {
        size_t most = c->count;
        double worth;

        for (size_t i = 0; i < c->count; i++) {
            if ((most == c->count || c->worth[i] > c->worth[most]) &&
                may_take(p, taken, count, &c->point[i]))
                most = i;
        }
        if (most == c->count || most == best)
            return most == c->count ? NULL : &c->point[most];
        worth = tune_model_worth(m, &c->point[most]);
        best = worth >= c->worth[most] ? most : c->count;
        c->worth[most] = worth;
    }
}

size_t tune_pick_worthy(struct tune_pick *p, size_t count, double weight,
                        struct tune_point *point)
{
    struct tune_model *m = tune_model_new(p->s, p->o->trial, p->o->trials, weight);
    struct candidates c;
    size_t found = 0;

    if (m == NULL)
        return tune_pick_spread(p, count, point);
    c = gather(p);
    c.worth = mem_alloc(c.count, sizeof *c.worth);
    value(&c, m);
    while (found < count) {
        const struct tune_point *best = most_worthy(p, &c, m, point, found);

        if (best == NULL)
            break;
        if (!may_run(p, best))
            continue;
        point[found++] = tune_point_copy(p->s->space, best);
        tune_model_believe(m, best);
    }
    for (size_t i = 0; i < c.count; i++)
        tune_point_release(&c.point[i]);
    free(c.point);
    free(c.worth);
    tune_model_free(m);
    return found;
}
