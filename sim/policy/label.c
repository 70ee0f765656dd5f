#include "label.h"

#include "sim/base/mem.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* ---- what a policy is made of, in words ---- */

struct choice {
    enum policy_slot slot;
    char *name; /* of the option; NULL: the slot's plug-in */
    char *value;
};

struct choices {
    struct choice *item;
    size_t count;
};

static void add(struct choices *c, enum policy_slot slot, const char *name, char *value)
{
    c->item = mem_grow(c->item, c->count, sizeof *c->item);
    c->item[c->count++] =
        (struct choice){slot, name == NULL ? NULL : mem_strdup(name), value};
}

static void add_options(struct choices *c, enum policy_slot slot,
                        const struct option *table, const void *params)
{
    for (const struct option *o = table; o != NULL && o->name != NULL; o++) {
        const struct option one[] = {*o, {.name = NULL}};
        char *text = cfg_describe(one, params);

        add(c, slot, o->name, mem_strdup(strchr(text, '=') + 1));
        free(text);
    }
}

static struct choices choices_of(const struct policy *p)
{
    struct choices c = {.item = NULL};

    for (int i = 0; i < POLICY_SLOTS; i++) {
        enum policy_slot slot = (enum policy_slot)i;

        add(&c, slot, NULL, mem_strdup(p->plugin[slot]->name));
        add_options(&c, slot, policy_shared_options(slot), policy_shared_params(p, slot));
        add_options(&c, slot, p->plugin[slot]->options, p->params[slot]);
    }
    return c;
}

static void release(struct choices *c)
{
    for (size_t i = 0; i < c->count; i++) {
        free(c->item[i].name);
        free(c->item[i].value);
    }
    free(c->item);
}

static bool same_name(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool is_same(const struct choice *a, const struct choice *b)
{
    return a->slot == b->slot && same_name(a->name, b->name);
}

/* The value of the same option (or plug-in) among the choices, or NULL: it has none. Of
 * equal plug-ins it stands at the same place, `at`. */
static const char *value_of(const struct choices *c, const struct choice *like, size_t at)
{
    if (at < c->count && is_same(&c->item[at], like))
        return c->item[at].value;
    for (size_t i = 0; i < c->count; i++) {
        if (is_same(&c->item[i], like))
            return c->item[i].value;
    }
    return NULL;
}

/* ---- a group of policies of one label ---- */

struct group {
    struct policy **policy;
    struct choices *choices;
    size_t count;
};

/* Whether some policy of the group has another value; one that cannot have the option
 * differs by its plug-in. */
static bool differs(const struct group *g, const struct choice *c, size_t at)
{
    for (size_t i = 0; i < g->count; i++) {
        const char *value = value_of(&g->choices[i], c, at);

        if (value != NULL && strcmp(value, c->value) != 0)
            return true;
    }
    return false;
}

/* Whether an option of another slot has this name and differs, too. */
static bool is_ambiguous(const struct group *g, const struct choices *own,
                         const struct choice *c)
{
    for (size_t i = 0; i < own->count; i++) {
        if (own->item[i].slot != c->slot && own->item[i].name != NULL &&
            strcmp(own->item[i].name, c->name) == 0 && differs(g, &own->item[i], i))
            return true;
    }
    return false;
}

static char *longer(const struct group *g, const struct choices *own, const char *label)
{
    char *text = mem_strdup(label);

    for (size_t i = 0; i < own->count; i++) {
        const struct choice *c = &own->item[i];
        const char *slot = policy_slot_name(c->slot);
        bool whole = c->name == NULL || is_ambiguous(g, own, c);
        char *more;

        if (!differs(g, c, i))
            continue;
        more = mem_format("%s %s%s%s=%s", text, whole ? slot : "",
                          whole && c->name != NULL ? "." : "",
                          c->name == NULL ? "" : c->name, c->value);
        free(text);
        text = more;
    }
    return text;
}

static void tell_group(const struct group *g)
{
    char **label = mem_alloc(g->count, sizeof *label);

    for (size_t i = 0; i < g->count; i++)
        g->choices[i] = choices_of(g->policy[i]);
    for (size_t i = 0; i < g->count; i++)
        label[i] = longer(g, &g->choices[i], g->policy[i]->label);
    for (size_t i = 0; i < g->count; i++) {
        free(g->policy[i]->label);
        g->policy[i]->label = label[i];
        release(&g->choices[i]);
    }
    free(label);
}

/* Policies of one label stand together, in their order. */
struct named {
    struct policy *policy;
    uint32_t number;
};

static int by_label(const void *a, const void *b)
{
    const struct named *x = a, *y = b;
    int order = strcmp(x->policy->label, y->policy->label);

    return order != 0 ? order : x->number < y->number ? -1 : x->number > y->number;
}

void policy_tell_apart(struct policy *const *p, uint32_t count)
{
    struct named *sorted = mem_alloc(count, sizeof *sorted);
    struct group g = {.policy = mem_alloc(count, sizeof *g.policy),
                      .choices = mem_alloc(count, sizeof *g.choices)};

    for (uint32_t i = 0; i < count; i++)
        sorted[i] = (struct named){p[i], i};
    qsort(sorted, count, sizeof *sorted, by_label);
    for (uint32_t first = 0, next; first < count; first = next) {
        g.count = 0;
        for (next = first; next < count && strcmp(sorted[next].policy->label,
                                                  sorted[first].policy->label) == 0;
             next++)
            g.policy[g.count++] = sorted[next].policy;
        if (g.count > 1)
            tell_group(&g);
    }
    free(sorted);
    free(g.policy);
    free(g.choices);
}
