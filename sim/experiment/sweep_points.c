#include "sweep_points.h"

#include "sobol.h"
#include "sweep_axes.h"
#include "sim/base/mem.h"
#include "sim/base/rng.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_POINTS = 1000000, MOST_VALUES = 20000000, MOST_SOBOL = 40 };

enum method { GRID, RANDOM, LATIN_HYPERCUBE, SOBOL };

struct design {
    int method; /* enum method */
    int64_t count;
    int64_t seed;
};

#define AT(field) offsetof(struct design, field)
static const char *const methods[] = {"grid", "random", "latin-hypercube", "sobol", NULL};
static const struct option design_options[] = {
    {"method", OPT_CHOICE, AT(method), "grid", 0, 0, methods, "how points are chosen"},
    {"count", OPT_INT, AT(count), "0", 0, MOST_POINTS, NULL, "of them; a grid has all"},
    {"seed", OPT_INT, AT(seed), "1", 0, 9e15, NULL, "of random, latin-hypercube"},
    {.name = NULL},
};

struct sweep_points {
    struct design design;
    struct sweep_axes *axis;
    size_t axes;
    uint64_t points;
    double *u; /* (point, axis) in [0, 1); NULL: the grid */
};

/* ---- points ---- */

static int count_grid(struct sweep_points *s, const struct cfg_node *sweep, struct err *e)
{
    s->points = 1;
    for (size_t a = 0; a < s->axes; a++) {
        s->points *= sweep_axes_values(s->axis, a);
        if (s->points > MOST_POINTS)
            return cfg_error(sweep, e,
                             "the grid has more than %d points; take fewer values, or "
                             "points: {method: sobol, count: N}",
                             MOST_POINTS);
    }
    return 0;
}

static void draw_random(struct sweep_points *s)
{
    for (size_t a = 0; a < s->axes; a++) {
        struct rng r = rng_stream((uint64_t)s->design.seed, "sweep", a);

        for (uint64_t p = 0; p < s->points; p++)
            s->u[p * s->axes + a] = rng_unit(&r);
    }
}

static void draw_latin(struct sweep_points *s)
{
    uint64_t *part = mem_alloc(s->points, sizeof *part);

    for (size_t a = 0; a < s->axes; a++) {
        struct rng r = rng_stream((uint64_t)s->design.seed, "sweep", a);

        for (uint64_t p = 0; p < s->points; p++)
            part[p] = p;
        for (uint64_t p = s->points; p > 1; p--) {
            uint64_t other = rng_below(&r, p), last = part[p - 1];

            part[p - 1] = part[other];
            part[other] = last;
        }
        for (uint64_t p = 0; p < s->points; p++)
            s->u[p * s->axes + a] = ((double)part[p] + rng_unit(&r)) / (double)s->points;
    }
    free(part);
}

static int draw_sobol(struct sweep_points *s, const struct cfg_node *sweep,
                      const char *called, struct err *e)
{
    if (s->axes > MOST_SOBOL)
        return cfg_error(sweep, e,
                         "Sobol's sequence has at most %d dimensions here, and '%s' %zu "
                         "keys; choose method: latin-hypercube",
                         MOST_SOBOL, called, s->axes);
    return sobol_fill(s->u, s->points, (unsigned)s->axes, e);
}

static int choose(struct sweep_points *s, const struct cfg_node *sweep,
                  const char *called, struct err *e)
{
    const struct cfg_node *points = cfg_find(sweep, "points");
    bool drawn = s->design.method == RANDOM || s->design.method == LATIN_HYPERCUBE;

    if (!drawn && points != NULL && cfg_find(points, "seed") != NULL)
        return cfg_error(cfg_find(points, "seed"), e,
                         "'seed' has no effect on a method that draws nothing; take it "
                         "out, or choose method: random or latin-hypercube");
    if (s->design.method == GRID && s->design.count > 0)
        return cfg_error(points, e,
                         "a grid has all its points, whatever 'count' says; "
                         "choose method: random, latin-hypercube or sobol");
    if (s->design.method == GRID)
        return count_grid(s, sweep, e);
    if (s->design.count == 0)
        return cfg_error(points, e,
                         "'count' is missing; say how many points, such as "
                         "{method: sobol, count: 200}");
    s->points = (uint64_t)s->design.count;
    if (s->points > MOST_VALUES / s->axes)
        return cfg_error(points, e,
                         "%zu keys can have at most %zu points; take fewer of either",
                         s->axes, MOST_VALUES / s->axes);
    s->u = mem_alloc(s->points * s->axes, sizeof *s->u);
    if (s->design.method == SOBOL)
        return draw_sobol(s, sweep, called, e);
    if (s->design.method == RANDOM)
        draw_random(s);
    else
        draw_latin(s);
    return 0;
}

/* Of a mapping of the study, or, without one, of any. */
static struct sweep_points *read_points(const struct cfg *study,
                                        const struct cfg_node *map, const char *called,
                                        struct err *e)
{
    struct sweep_points *s = mem_zalloc(1, sizeof *s);

    if (cfg_bind(cfg_find(map, "points"), design_options, &s->design, e) == 0)
        s->axis = sweep_axes_new(study, map, called, "points",
                                 s->design.method == GRID ? AXES_GRID : AXES_DRAWN, e);
    if (s->axis != NULL) {
        s->axes = sweep_axes_count(s->axis);
        if (choose(s, map, called, e) == 0)
            return s;
    }
    sweep_points_free(s);
    return NULL;
}

struct sweep_points *sweep_points_of(const struct cfg_node *map, const char *called,
                                     struct err *e)
{
    return read_points(NULL, map, called, e);
}

struct sweep_points *sweep_points_new(const struct cfg *study, struct err *e)
{
    const struct cfg_node *sweep = cfg_find(cfg_root(study), "sweep");

    if (sweep == NULL || !cfg_is_map(sweep)) {
        (void)cfg_error(sweep == NULL ? cfg_root(study) : sweep, e,
                        "there is no mapping 'sweep' of keys to values; add such as "
                        "sweep: {cache.slots: [4, 8, 16]}");
        return NULL;
    }
    return read_points(study, sweep, "sweep", e);
}

void sweep_points_free(struct sweep_points *s)
{
    if (s == NULL)
        return;
    sweep_axes_free(s->axis);
    free(s->u);
    free(s);
}

/* ---- asking ---- */

uint64_t sweep_points_count(const struct sweep_points *s)
{
    return s->points;
}

size_t sweep_points_keys(const struct sweep_points *s)
{
    return s->axes;
}

const char *sweep_points_key(const struct sweep_points *s, size_t k)
{
    return sweep_axes_key(s->axis, k);
}

/* Which of its values key k has in a point of the grid. */
static size_t digit(const struct sweep_points *s, uint64_t point, size_t k)
{
    for (size_t a = s->axes - 1; a > k; a--)
        point /= sweep_axes_values(s->axis, a);
    return (size_t)(point % sweep_axes_values(s->axis, k));
}

/* The value of key k in a point. */
static struct sweep_value value_of(const struct sweep_points *s, uint64_t point, size_t k)
{
    struct sweep_value v = {.u = s->u == NULL ? 0 : s->u[point * s->axes + k]};

    v.index = s->u == NULL ? digit(s, point, k)
                           : (size_t)(v.u * (double)sweep_axes_values(s->axis, k));
    return v;
}

char *sweep_points_value(const struct sweep_points *s, uint64_t point, size_t k)
{
    return sweep_axes_text(s->axis, k, value_of(s, point, k));
}

/* The values of a point, [keys]. Owned. */
static struct sweep_value *values_of(const struct sweep_points *s, uint64_t point)
{
    struct sweep_value *value = mem_alloc(s->axes, sizeof *value);

    for (size_t k = 0; k < s->axes; k++)
        value[k] = value_of(s, point, k);
    return value;
}

struct cfg *sweep_points_config(const struct sweep_points *s, uint64_t point,
                                struct err *e)
{
    struct sweep_value *value = values_of(s, point);
    struct cfg *c = sweep_axes_config(s->axis, value, e);

    free(value);
    return c;
}

int sweep_points_put(const struct sweep_points *s, uint64_t point, struct cfg *c,
                     const char *above, struct err *e)
{
    struct sweep_value *value = values_of(s, point);
    int status = sweep_axes_put(s->axis, value, c, above, e);

    free(value);
    return status;
}

const struct cfg_node *sweep_points_node(const struct sweep_points *s, size_t k)
{
    return sweep_axes_node(s->axis, k);
}

bool sweep_points_blames(const struct sweep_points *s, size_t k, const struct err *e)
{
    return sweep_axes_blames(s->axis, k, e);
}
