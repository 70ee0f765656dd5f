#include "tune_space.h"

#include "experiment.h"
#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

struct tune_space {
    struct sweep_axes *axes;
    size_t keys, policies;
    char **label; /* [policies] */
    long *owner;  /* [keys] */
    size_t count;
    size_t *listed; /* [count] numbers of the grid's points, each once; or NULL */
};

/* The policy of "policies.1.cache.slots", or -1. */
static long owner_of(const char *key)
{
    if (experiment_key_of_policy(key) == NULL)
        return -1;
    return strtol(strchr(key, '.') + 1, NULL, 10);
}

/* ---- which points ---- */

/* The number of values in a grid, or 0 where there is any number of them or too many. */
static size_t grid_size(const struct tune_space *s)
{
    size_t size = s->policies;

    for (size_t k = 0; k < s->keys; k++) {
        size *= sweep_axes_values(s->axes, k);
        if (size == 0 || size > 64 * TUNE_LISTED)
            return 0;
    }
    return size;
}

/* The last key changes fastest. */
static struct tune_point grid_point(const struct tune_space *s, size_t i)
{
    struct tune_point p = {.value = mem_zalloc(s->keys, sizeof *p.value)};

    for (size_t k = s->keys; k-- > 0;) {
        p.value[k].index = i % sweep_axes_values(s->axes, k);
        i /= sweep_axes_values(s->axes, k);
    }
    p.policy = i;
    return p;
}

/* Values of keys that the point's policy has not are the first ones. */
static bool is_plain(const struct tune_space *s, const struct tune_point *p)
{
    for (size_t k = 0; k < s->keys; k++) {
        if (s->owner[k] >= 0 && (size_t)s->owner[k] != p->policy &&
            (p->value[k].index != 0 || p->value[k].u > 0))
            return false;
    }
    return true;
}

static void make_plain(const struct tune_space *s, struct tune_point *p)
{
    for (size_t k = 0; k < s->keys; k++) {
        if (s->owner[k] >= 0 && (size_t)s->owner[k] != p->policy)
            p->value[k] = (struct sweep_value){.index = 0};
    }
}

static void list_points(struct tune_space *s)
{
    size_t size = grid_size(s);

    s->listed = mem_alloc(size, sizeof *s->listed);
    for (size_t i = 0; i < size; i++) {
        struct tune_point p = grid_point(s, i);

        if (is_plain(s, &p))
            s->listed[s->count++] = i;
        tune_point_release(&p);
    }
    if (s->count > TUNE_LISTED)
        s->count = 0;
}

struct tune_space *tune_space_new(const struct cfg *study, const struct cfg_node *over,
                                  struct err *e)
{
    const struct cfg_node *policies = cfg_find(cfg_root(study), "policies");
    struct sweep_axes *axes = sweep_axes_new(study, over, "over", NULL, AXES_SEARCHED, e);
    struct tune_space *s;

    if (axes == NULL)
        return NULL;
    s = mem_zalloc(1, sizeof *s);
    s->axes = axes;
    s->keys = sweep_axes_count(axes);
    if (policies != NULL && cfg_is_list(policies))
        s->policies = cfg_count(policies);
    s->label = mem_zalloc(s->policies + 1, sizeof *s->label);
    for (size_t i = 0; i < s->policies; i++)
        s->label[i] = experiment_policy_name(policies, i);
    s->policies += s->policies == 0; /* a run will say what is wrong with none */
    s->owner = mem_alloc(s->keys, sizeof *s->owner);
    for (size_t k = 0; k < s->keys; k++)
        s->owner[k] = owner_of(sweep_axes_key(axes, k));
    list_points(s);
    return s;
}

void tune_space_free(struct tune_space *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->policies; i++)
        free(s->label[i]);
    sweep_axes_free(s->axes);
    free(s->label);
    free(s->owner);
    free(s->listed);
    free(s);
}

const struct sweep_axes *tune_space_axes(const struct tune_space *s)
{
    return s->axes;
}

size_t tune_space_policies(const struct tune_space *s)
{
    return s->policies;
}

const char *tune_space_policy(const struct tune_space *s, size_t i)
{
    return s->label[i];
}

long tune_space_owner(const struct tune_space *s, size_t k)
{
    return s->owner[k];
}

size_t tune_space_count(const struct tune_space *s)
{
    return s->count;
}

struct tune_point tune_space_point(const struct tune_space *s, size_t i)
{
    return grid_point(s, s->listed[i]);
}

size_t tune_space_drawn(const struct tune_space *s)
{
    return 1 + s->keys; /* the policy first */
}

static void set_coordinate(const struct tune_space *s, struct tune_point *p,
                           size_t coordinate, double u)
{
    if (coordinate == 0)
        p->policy = (size_t)(u * (double)s->policies);
    else
        p->value[coordinate - 1] = sweep_axes_at(s->axes, coordinate - 1, u);
}

struct tune_point tune_space_draw(const struct tune_space *s, const double *u)
{
    struct tune_point p = {.value = mem_zalloc(s->keys, sizeof *p.value)};

    for (size_t i = 0; i <= s->keys; i++)
        set_coordinate(s, &p, i, u[i]);
    make_plain(s, &p);
    return p;
}

double tune_space_unit(const struct tune_space *s, const struct tune_point *p,
                       size_t coordinate)
{
    return coordinate == 0
               ? ((double)p->policy + 0.5) / (double)s->policies
               : sweep_axes_unit(s->axes, coordinate - 1, p->value[coordinate - 1]);
}

struct tune_point tune_space_move(const struct tune_space *s, const struct tune_point *p,
                                  size_t coordinate, double u)
{
    struct tune_point moved = tune_point_copy(s, p);

    set_coordinate(s, &moved, coordinate, u);
    make_plain(s, &moved);
    return moved;
}

struct tune_point tune_point_copy(const struct tune_space *s, const struct tune_point *p)
{
    struct tune_point copy = {p->policy, mem_alloc(s->keys, sizeof *copy.value)};

    memcpy(copy.value, p->value, s->keys * sizeof *copy.value);
    return copy;
}

void tune_point_release(struct tune_point *p)
{
    free(p->value);
    p->value = NULL;
}

bool tune_space_same(const struct tune_space *s, const struct tune_point *a,
                     const struct tune_point *b)
{
    bool same = a->policy == b->policy;

    for (size_t k = 0; k < s->keys && same; k++)
        same = a->value[k].index == b->value[k].index && a->value[k].u == b->value[k].u;
    return same;
}

/* ---- where they are ---- */

/* A key with one value is nowhere. */
static bool has_place(const struct tune_space *s, size_t k)
{
    return sweep_axes_values(s->axes, k) != 1;
}

size_t tune_space_lines(const struct tune_space *s)
{
    size_t lines = 0;

    for (size_t k = 0; k < s->keys; k++)
        lines += has_place(s, k) && sweep_axes_ordered(s->axes, k);
    return lines;
}

size_t tune_space_names(const struct tune_space *s)
{
    size_t names = s->policies > 1;

    for (size_t k = 0; k < s->keys; k++)
        names += has_place(s, k) && !sweep_axes_ordered(s->axes, k);
    return names;
}

void tune_space_place(const struct tune_space *s, const struct tune_point *p, double *x)
{
    size_t line = 0, name = tune_space_lines(s);

    for (size_t k = 0; k < s->keys; k++) {
        if (!has_place(s, k))
            continue;
        if (sweep_axes_ordered(s->axes, k))
            x[line++] = sweep_axes_place(s->axes, k, p->value[k]);
        else
            x[name++] = (double)p->value[k].index;
    }
    if (s->policies > 1)
        x[name] = (double)p->policy;
}

struct cfg *tune_space_config(const struct tune_space *s, const struct tune_point *p,
                              struct err *e)
{
    struct cfg *c = sweep_axes_config(s->axes, p->value, e);

    if (c != NULL && s->policies > 1)
        cfg_keep_item(c, "policies", p->policy);
    return c;
}
