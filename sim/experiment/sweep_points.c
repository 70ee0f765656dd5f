#include "sweep_points.h"

#include "experiment.h"
#include "sobol.h"
#include "sweep_range.h"
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

/* A key and its values: items of a list, numbers of a range, or any number of it. */
struct axis {
    char *key;
    const struct cfg_node *node;
    bool ranged;
    struct sweep_range range;
    double *number; /* [count] of a range; NULL: of a list, or any number */
    size_t count;   /* 0: any number of the range */
    unsigned depth; /* of what it names: deeper keys are put later */
};

struct sweep_points {
    const struct cfg *study;
    struct design design;
    struct axis *axis; /* as they are written */
    size_t *order;     /* [axes] in which they are put: what holds another one first */
    size_t axes;
    uint64_t points;
    double *u; /* (point, axis) in [0, 1); NULL: the grid */
};

/* ---- reading ---- */

static int read_range(struct sweep_points *s, struct axis *a, struct err *e)
{
    const char *text = cfg_text(a->node);
    const char *why = sweep_range_parse(text, &a->range);

    if (why != NULL)
        return cfg_error(a->node, e,
                         "'%.80s' is no range: %s; expected such as 1..64 log2, 8..64 "
                         "GiB in 4 or 0.5..0.9 step 0.1",
                         text, why);
    if (s->design.method == GRID || a->range.step > 0 || a->range.count > 0)
        a->number = sweep_range_values(&a->range, &a->count);
    if (s->design.method == GRID && a->number == NULL)
        return cfg_error(a->node, e,
                         "'%.80s' does not say which numbers a grid takes; add 'step S', "
                         "'in N', log2 or log10, or choose points: {method: sobol, "
                         "count: N}",
                         text);
    if (a->count > SWEEP_MOST_VALUES)
        return cfg_error(a->node, e,
                         "'%.80s' has more than %d values; take a larger step", text,
                         SWEEP_MOST_VALUES);
    return 0;
}

/* How deep the configuration is where a key leads; one of every policy is in the list. */
static unsigned depth_of(const char *key)
{
    unsigned depth = experiment_has_key(key) ? 1 : 3;

    for (; *key != '\0'; key++)
        depth += *key == '.';
    return depth;
}

/* A key of one policy without the policy, "cache.slots" of "policies.0.cache.slots", or
 * NULL. */
static const char *of_one_policy(const char *key)
{
    static const char policies[] = "policies.";
    size_t head = strlen(policies), number;

    if (strncmp(key, policies, head) != 0)
        return NULL;
    number = strspn(key + head, "0123456789");
    return number > 0 && key[head + number] == '.' ? key + head + number + 1 : NULL;
}

/* Refuses a key that another one takes the effect from. */
static int check_key(const struct sweep_points *s, const char *key,
                     const struct cfg_node *n, struct err *e)
{
    for (size_t a = 0; a < s->axes; a++) {
        const char *other = s->axis[a].key;
        const char *mine = of_one_policy(key), *its = of_one_policy(other);

        if (strcmp(key, other) == 0)
            return cfg_error(n, e, "'%s' is given already; give it once", key);
        if ((mine != NULL && strcmp(mine, other) == 0) ||
            (its != NULL && strcmp(its, key) == 0))
            return cfg_error(n, e,
                             "'%s' and '%s' are the same for a policy; give it for all "
                             "of them, or for each by its number",
                             other, key);
    }
    return 0;
}

static int read_axis(struct sweep_points *s, const char *key, const struct cfg_node *n,
                     struct err *e)
{
    struct axis *a;

    if (check_key(s, key, n, e) != 0)
        return -1;
    s->axis = mem_grow(s->axis, s->axes, sizeof *s->axis);
    a = &s->axis[s->axes++];
    *a = (struct axis){.key = mem_strdup(key), .node = n};
    a->depth = depth_of(key);
    if (cfg_is_list(n)) {
        a->count = cfg_count(n);
        for (size_t i = 0; i < a->count; i++) {
            const char *text = cfg_text(cfg_item(n, i));

            if (text != NULL && sweep_range_is(text))
                return cfg_error(cfg_item(n, i), e,
                                 "'%.80s' is a range, which stands alone and not in a "
                                 "list; write the numbers, or only the range",
                                 text);
        }
        return a->count > 0 ? 0
                            : cfg_error(n, e,
                                        "'%s' has no values; list some, such as "
                                        "[4, 8, 16]",
                                        key);
    }
    a->count = 1;
    a->ranged = sweep_range_is(cfg_text(n));
    if (!a->ranged)
        return 0;
    a->count = 0;
    return read_range(s, a, e);
}

/* The keys of a mapping, with what stands above it before them; as in {cache: {slots:
 * [4, 8]}}. The depth of a document, and so of this recursion, is bounded. */
static int read_keys(struct sweep_points *s, const char *above,
                     const struct cfg_node *map, struct err *e)
{
    int status = 0;

    for (size_t i = 0; i < cfg_count(map) && status == 0; i++) {
        const struct cfg_node *n = cfg_item(map, i);
        char *key = mem_format("%s%s", above, cfg_key(map, i)), *below;

        if (cfg_is_map(n) && cfg_count(n) == 0 && strcmp(key, "points") != 0) {
            status =
                cfg_error(n, e, "'%s' has no values; list some, such as [4, 8, 16]", key);
        } else if (cfg_is_map(n) && strcmp(key, "points") != 0) {
            below = mem_format("%s.", key);
            status = read_keys(s, below, n, e);
            free(below);
        } else if (strcmp(key, "points") != 0) {
            status = read_axis(s, key, n, e);
        }
        free(key);
    }
    return status;
}

static int read_axes(struct sweep_points *s, const struct cfg_node *map,
                     const char *called, struct err *e)
{
    if (read_keys(s, "", map, e) != 0)
        return -1;
    if (s->axes == 0)
        return cfg_error(map, e,
                         "'%s' names no key; expected keys with values, such "
                         "as cache.slots: [4, 8, 16]",
                         called);
    return 0;
}

/* ---- points ---- */

static int count_grid(struct sweep_points *s, const struct cfg_node *sweep, struct err *e)
{
    s->points = 1;
    for (size_t a = 0; a < s->axes; a++) {
        s->points *= s->axis[a].count;
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

/* A few keys: by insertion, which keeps the order of equals. */
static void order_axes(struct sweep_points *s)
{
    s->order = mem_alloc(s->axes, sizeof *s->order);
    for (size_t i = 0; i < s->axes; i++) {
        size_t at = i;

        for (; at > 0 && s->axis[s->order[at - 1]].depth > s->axis[i].depth; at--)
            s->order[at] = s->order[at - 1];
        s->order[at] = i;
    }
}

struct sweep_points *sweep_points_of(const struct cfg_node *map, const char *called,
                                     struct err *e)
{
    struct sweep_points *s = mem_zalloc(1, sizeof *s);

    if (cfg_bind(cfg_find(map, "points"), design_options, &s->design, e) == 0 &&
        read_axes(s, map, called, e) == 0 && choose(s, map, called, e) == 0) {
        order_axes(s);
        return s;
    }
    sweep_points_free(s);
    return NULL;
}

struct sweep_points *sweep_points_new(const struct cfg *study, struct err *e)
{
    const struct cfg_node *sweep = cfg_find(cfg_root(study), "sweep");
    struct sweep_points *s;

    if (sweep == NULL || !cfg_is_map(sweep)) {
        (void)cfg_error(sweep == NULL ? cfg_root(study) : sweep, e,
                        "there is no mapping 'sweep' of keys to values; add such as "
                        "sweep: {cache.slots: [4, 8, 16]}");
        return NULL;
    }
    s = sweep_points_of(sweep, "sweep", e);
    if (s != NULL)
        s->study = study;
    return s;
}

void sweep_points_free(struct sweep_points *s)
{
    if (s == NULL)
        return;
    for (size_t a = 0; a < s->axes; a++) {
        free(s->axis[a].number);
        free(s->axis[a].key);
    }
    free(s->axis);
    free(s->order);
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
    return s->axis[k].key;
}

/* Which of its values key k has in a point of the grid. */
static size_t digit(const struct sweep_points *s, uint64_t point, size_t k)
{
    for (size_t a = s->axes - 1; a > k; a--)
        point /= s->axis[a].count;
    return (size_t)(point % s->axis[k].count);
}

/* The value of key k in a point: an item of a list, or else a text (owned). */
static const struct cfg_node *value_of(const struct sweep_points *s, uint64_t point,
                                       size_t k, char **text)
{
    const struct axis *a = &s->axis[k];
    double u = s->u == NULL ? 0 : s->u[point * s->axes + k];
    size_t i;

    *text = NULL;
    if (a->count == 0) {
        *text = sweep_range_text(&a->range, sweep_range_at(&a->range, u));
        return NULL;
    }
    i = s->u == NULL ? digit(s, point, k) : (size_t)(u * (double)a->count);
    if (a->ranged) {
        *text = sweep_range_text(&a->range, a->number[i]);
        return NULL;
    }
    return cfg_is_list(a->node) ? cfg_item(a->node, i) : a->node;
}

/* A document in one line: its lines, without what indents them. */
static char *in_one_line(char *text)
{
    char *to = text;

    for (const char *from = text; *from != '\0';) {
        from += strspn(from, " ");
        while (*from != '\n' && *from != '\0')
            *to++ = *from++;
        if (*from == '\n' && *++from != '\0')
            *to++ = ' ';
    }
    *to = '\0';
    return text;
}

char *sweep_points_value(const struct sweep_points *s, uint64_t point, size_t k)
{
    char *text;
    const struct cfg_node *item = value_of(s, point, k, &text);
    struct cfg *copy;

    if (item == NULL)
        return text;
    if (cfg_text(item) != NULL)
        return mem_strdup(cfg_text(item));
    copy = cfg_copy(item);
    text = in_one_line(cfg_dump(copy));
    cfg_free(copy);
    return text;
}

static int put(struct cfg *c, const char *path, const struct axis *a,
               const struct cfg_node *item, const char *text, struct err *e)
{
    experiment_open_key(c, path);
    return item != NULL ? cfg_put(c, path, a->node, item, e)
                        : cfg_put_text(c, path, a->node, text, e);
}

int sweep_points_put(const struct sweep_points *s, uint64_t point, struct cfg *c,
                     const char *above, struct err *e)
{
    int status = 0;

    for (size_t i = 0; i < s->axes && status == 0; i++) {
        size_t k = s->order[i];
        char *text, *path = mem_format("%s.%s", above, s->axis[k].key);
        const struct cfg_node *item = value_of(s, point, k, &text);

        status = put(c, path, &s->axis[k], item, text, e);
        free(text);
        free(path);
    }
    return status;
}

const struct cfg_node *sweep_points_node(const struct sweep_points *s, size_t k)
{
    return s->axis[k].node;
}

/* A key that is none of the configuration's is one of every policy. */
static int put_value(struct cfg *c, const struct axis *a, const struct cfg_node *item,
                     const char *text, struct err *e)
{
    const struct cfg_node *policies = cfg_find(cfg_root(c), "policies");
    int status = 0;

    if (experiment_has_key(a->key))
        return put(c, a->key, a, item, text, e);
    for (size_t i = 0; policies != NULL && i < cfg_count(policies) && status == 0; i++) {
        char *path = mem_format("policies.%zu.%s", i, a->key);

        status = put(c, path, a, item, text, e);
        free(path);
    }
    return status;
}

struct cfg *sweep_points_config(const struct sweep_points *s, uint64_t point,
                                struct err *e)
{
    struct cfg *c = cfg_copy(cfg_root(s->study));
    int status = 0;

    cfg_remove(c, "sweep");
    for (size_t i = 0; i < s->axes && status == 0; i++) {
        size_t k = s->order[i];
        char *text;
        const struct cfg_node *item = value_of(s, point, k, &text);

        status = put_value(c, &s->axis[k], item, text, e);
        free(text);
    }
    if (status == 0)
        return c;
    cfg_free(c);
    return NULL;
}

bool sweep_points_blames(const struct sweep_points *s, size_t k, const struct err *e)
{
    return cfg_blames_key(s->axis[k].node, e);
}
