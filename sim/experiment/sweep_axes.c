#include "sweep_axes.h"

#include "experiment.h"
#include "sweep_range.h"
#include "sim/base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A key and its values: items of a list, numbers of a range, or any number of it. */
struct axis {
    char *key;
    const struct cfg_node *node;
    bool ranged;
    struct sweep_range range;
    double *number; /* [count] of a range; NULL: of a list, or any number */
    size_t count;   /* 0: any number of the range */
    bool whole;     /* those are all whole numbers of the range */
    unsigned depth; /* of what it names: deeper keys are put later */
    double *place;  /* [count] of the numbers of a list; NULL: of a range, or names */
};

struct sweep_axes {
    const struct cfg *study;
    const char *name; /* of the mapping; borrowed */
    const char *but;  /* a key that is none; borrowed, or NULL */
    enum sweep_axes_use use;
    struct axis *axis; /* as they are written */
    size_t *order;     /* [axes] in which they are put: what holds another one first */
    size_t axes;
};

/* ---- reading ---- */

/* The whole numbers of a range, if they are few. */
static void list_whole(struct axis *a)
{
    enum { FEW = 4096 };
    double count = a->range.high - a->range.low + 1;

    if (!a->range.whole || count > FEW)
        return;
    a->count = (size_t)count;
    a->whole = true;
    a->number = mem_alloc(a->count, sizeof *a->number);
    for (size_t i = 0; i < a->count; i++)
        a->number[i] = a->range.low + (double)i;
}

static int read_range(struct sweep_axes *s, struct axis *a, struct err *e)
{
    const char *text = cfg_text(a->node);
    const char *why = sweep_range_parse(text, &a->range);

    if (why != NULL)
        return cfg_error(a->node, e,
                         "'%.80s' is no range: %s; expected such as 1..64 log2, 8..64 "
                         "GiB in 4 or 0.5..0.9 step 0.1",
                         text, why);
    if (s->use == AXES_GRID || a->range.step > 0 || a->range.count > 0)
        a->number = sweep_range_values(&a->range, &a->count);
    else if (s->use == AXES_SEARCHED)
        list_whole(a);
    if (s->use == AXES_GRID && a->number == NULL)
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

/* Refuses a key that another one takes the effect from. */
static int check_key(const struct sweep_axes *s, const char *key,
                     const struct cfg_node *n, struct err *e)
{
    for (size_t a = 0; a < s->axes; a++) {
        const char *other = s->axis[a].key;
        const char *mine = experiment_key_of_policy(key);
        const char *its = experiment_key_of_policy(other);

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

/* Where the items of a list stand by their ranks, if all are numbers of one unit: owned,
 * or NULL. */
static double *places_of(const struct cfg_node *list)
{
    size_t count = cfg_count(list);
    double *number = mem_alloc(count, sizeof *number), *place = NULL;
    char first[SWEEP_UNIT], unit[SWEEP_UNIT];
    size_t numbers = 0;

    for (; numbers < count; numbers++) {
        const char *text = cfg_text(cfg_item(list, numbers));

        if (text == NULL || !sweep_range_number(text, &number[numbers], unit))
            break;
        if (numbers == 0)
            memcpy(first, unit, sizeof first);
        else if (strcmp(first, unit) != 0)
            break;
    }
    if (numbers == count && count > 0)
        place = mem_zalloc(count, sizeof *place);
    for (size_t i = 0; place != NULL && count > 1 && i < count; i++) {
        size_t below = 0;

        for (size_t k = 0; k < count; k++)
            below += number[k] < number[i];
        place[i] = (double)below / (double)(count - 1);
    }
    free(number);
    return place;
}

static int read_axis(struct sweep_axes *s, const char *key, const struct cfg_node *n,
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
        a->place = places_of(n);
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
static int read_keys(struct sweep_axes *s, const char *above, const struct cfg_node *map,
                     struct err *e)
{
    int status = 0;

    for (size_t i = 0; i < cfg_count(map) && status == 0; i++) {
        const struct cfg_node *n = cfg_item(map, i);
        char *key = mem_format("%s%s", above, cfg_key(map, i)), *below;

        if (s->but != NULL && strcmp(key, s->but) == 0) {
            free(key);
            continue;
        }
        if (cfg_is_map(n) && cfg_count(n) == 0) {
            status =
                cfg_error(n, e, "'%s' has no values; list some, such as [4, 8, 16]", key);
        } else if (cfg_is_map(n)) {
            below = mem_format("%s.", key);
            status = read_keys(s, below, n, e);
            free(below);
        } else {
            status = read_axis(s, key, n, e);
        }
        free(key);
    }
    return status;
}

static int read_axes(struct sweep_axes *s, const struct cfg_node *map, struct err *e)
{
    if (read_keys(s, "", map, e) != 0)
        return -1;
    if (s->axes == 0)
        return cfg_error(map, e,
                         "'%s' names no key; expected keys with values, such "
                         "as cache.slots: [4, 8, 16]",
                         s->name);
    return 0;
}

/* A few keys: by insertion, which keeps the order of equals. */
static void order_axes(struct sweep_axes *s)
{
    s->order = mem_alloc(s->axes, sizeof *s->order);
    for (size_t i = 0; i < s->axes; i++) {
        size_t at = i;

        for (; at > 0 && s->axis[s->order[at - 1]].depth > s->axis[i].depth; at--)
            s->order[at] = s->order[at - 1];
        s->order[at] = i;
    }
}

struct sweep_axes *sweep_axes_new(const struct cfg *study, const struct cfg_node *map,
                                  const char *name, const char *but,
                                  enum sweep_axes_use use, struct err *e)
{
    struct sweep_axes *s = mem_zalloc(1, sizeof *s);

    s->study = study;
    s->name = name;
    s->but = but;
    s->use = use;
    if (read_axes(s, map, e) == 0) {
        order_axes(s);
        return s;
    }
    sweep_axes_free(s);
    return NULL;
}

void sweep_axes_free(struct sweep_axes *s)
{
    if (s == NULL)
        return;
    for (size_t a = 0; a < s->axes; a++) {
        free(s->axis[a].place);
        free(s->axis[a].number);
        free(s->axis[a].key);
    }
    free(s->axis);
    free(s->order);
    free(s);
}

/* ---- asking ---- */

size_t sweep_axes_count(const struct sweep_axes *s)
{
    return s->axes;
}

const char *sweep_axes_key(const struct sweep_axes *s, size_t k)
{
    return s->axis[k].key;
}

size_t sweep_axes_values(const struct sweep_axes *s, size_t k)
{
    return s->axis[k].count;
}

bool sweep_axes_ordered(const struct sweep_axes *s, size_t k)
{
    return s->axis[k].ranged || s->axis[k].place != NULL;
}

double sweep_axes_place(const struct sweep_axes *s, size_t k, struct sweep_value v)
{
    const struct axis *a = &s->axis[k];
    double number;

    if (!a->ranged)
        return a->place == NULL ? 0 : a->place[v.index];
    number = a->count == 0 ? sweep_range_at(&a->range, v.u) : a->number[v.index];
    return sweep_range_place(&a->range, number);
}

struct sweep_value sweep_axes_at(const struct sweep_axes *s, size_t k, double u)
{
    const struct axis *a = &s->axis[k];
    struct sweep_value v = {.u = a->count == 0 ? u : 0};

    if (a->whole)
        v.index = (size_t)(sweep_range_at(&a->range, u) - a->range.low);
    else
        v.index = (size_t)(u * (double)a->count);
    return v;
}

double sweep_axes_unit(const struct sweep_axes *s, size_t k, struct sweep_value v)
{
    const struct axis *a = &s->axis[k];

    if (a->count == 0)
        return v.u;
    return a->whole ? sweep_axes_place(s, k, v)
                    : ((double)v.index + 0.5) / (double)a->count;
}

/* A value of key k: an item of a list, or else a text (owned). */
static const struct cfg_node *value_of(const struct sweep_axes *s, size_t k,
                                       struct sweep_value v, char **text)
{
    const struct axis *a = &s->axis[k];

    *text = NULL;
    if (a->count == 0) {
        *text = sweep_range_text(&a->range, sweep_range_at(&a->range, v.u));
        return NULL;
    }
    if (a->ranged) {
        *text = sweep_range_text(&a->range, a->number[v.index]);
        return NULL;
    }
    return cfg_is_list(a->node) ? cfg_item(a->node, v.index) : a->node;
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

char *sweep_axes_text(const struct sweep_axes *s, size_t k, struct sweep_value v)
{
    char *text;
    const struct cfg_node *item = value_of(s, k, v, &text);
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

struct cfg *sweep_axes_config(const struct sweep_axes *s, const struct sweep_value *value,
                              struct err *e)
{
    struct cfg *c = cfg_copy(cfg_root(s->study));
    int status = 0;

    cfg_remove(c, "sweep");
    cfg_remove(c, "tune");
    for (size_t i = 0; i < s->axes && status == 0; i++) {
        size_t k = s->order[i];
        const struct axis *a = &s->axis[k];
        char *text;
        const struct cfg_node *item = value_of(s, k, value[k], &text);

        status = experiment_put(c, a->key, a->node, item, text, e);
        free(text);
    }
    if (status == 0)
        return c;
    cfg_free(c);
    return NULL;
}

int sweep_axes_put(const struct sweep_axes *s, const struct sweep_value *value,
                   struct cfg *c, const char *above, struct err *e)
{
    int status = 0;

    for (size_t i = 0; i < s->axes && status == 0; i++) {
        size_t k = s->order[i];
        const struct axis *a = &s->axis[k];
        char *text, *path = mem_format("%s.%s", above, a->key);
        const struct cfg_node *item = value_of(s, k, value[k], &text);

        experiment_open_key(c, path);
        status = item != NULL ? cfg_put(c, path, a->node, item, e)
                              : cfg_put_text(c, path, a->node, text, e);
        free(text);
        free(path);
    }
    return status;
}

const struct cfg_node *sweep_axes_node(const struct sweep_axes *s, size_t k)
{
    return s->axis[k].node;
}

bool sweep_axes_blames(const struct sweep_axes *s, size_t k, const struct err *e)
{
    return cfg_blames_key(s->axis[k].node, e);
}
