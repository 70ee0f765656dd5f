#include "print_options.h"

#include "sim/base/json.h"
#include "sim/base/mem.h"
#include "sim/policy/policy.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Called for each column of a slot; `o` is NULL for that of the name. */
typedef void visitor(void *context, enum policy_slot slot, const struct option *o);

static bool is_listed(const struct option *table, const char *name)
{
    for (; table != NULL && table->name != NULL; table++) {
        if (strcmp(table->name, name) == 0)
            return true;
    }
    return false;
}

/* Whether a plug-in of the slot that stands before this one has the option, too. */
static bool is_earlier(const struct plugin *plugin, const char *name)
{
    const struct plugin *const *all = registry_all();

    for (; *all != plugin; all++) {
        if ((*all)->slot == plugin->slot && is_listed((*all)->options, name))
            return true;
    }
    return false;
}

static void visit_own(visitor *visit, void *context, const struct plugin *plugin)
{
    const struct option *o = plugin->options;

    for (; o != NULL && o->name != NULL; o++) {
        if (!is_earlier(plugin, o->name))
            visit(context, plugin->slot, o);
    }
}

static void visit_all(visitor *visit, void *context)
{
    for (int slot = 0; slot < POLICY_SLOTS; slot++) {
        const struct option *o = policy_shared_options((enum policy_slot)slot);

        visit(context, (enum policy_slot)slot, NULL);
        for (; o != NULL && o->name != NULL; o++)
            visit(context, (enum policy_slot)slot, o);
        for (const struct plugin *const *p = registry_all(); *p != NULL; p++) {
            if ((*p)->slot == (enum policy_slot)slot)
                visit_own(visit, context, *p);
        }
    }
}

struct heads {
    FILE *out;
    size_t count;
};

static void print_head(void *context, enum policy_slot slot, const struct option *o)
{
    struct heads *h = context;

    (void)fprintf(h->out, ",%s.%s", policy_slot_name(slot), o == NULL ? "name" : o->name);
    h->count++;
}

size_t print_option_heads(FILE *out)
{
    struct heads h = {.out = out};

    visit_all(print_head, &h);
    return h.count;
}

/* What stands behind "name=" in words such as "lru scope=layer slots=4", which no value
 * divides; owned, or NULL. */
static char *value_in(const char *description, const char *name)
{
    size_t length = strlen(name);

    for (const char *at = strchr(description, ' '); at != NULL; at = strchr(at, ' ')) {
        at++;
        if (strncmp(at, name, length) == 0 && at[length] == '=')
            return mem_format("%.*s", (int)strcspn(at + length + 1, " "),
                              at + length + 1);
    }
    return NULL;
}

struct values {
    const struct result_policy *p;
    FILE *out;
};

static void print_value(void *context, enum policy_slot slot, const struct option *o)
{
    struct values *v = context;
    const char *description = v->p->description[slot];
    char *value;

    (void)fputc(',', v->out);
    if (description == NULL)
        return;
    value = o == NULL ? mem_format("%.*s", (int)strcspn(description, " "), description)
                      : value_in(description, o->name);
    if (value == NULL)
        return;
    if (o != NULL && (o->type == OPT_BYTES || o->type == OPT_PART))
        value[strcspn(value, "B")] = '\0';
    if (o != NULL && o->type == OPT_BOOL)
        (void)fputs(strcmp(value, "yes") == 0 ? "true" : "false", v->out);
    else
        csv_string(v->out, value);
    free(value);
}

void print_option_values(const struct result_policy *p, FILE *out)
{
    struct values v = {p, out};

    visit_all(print_value, &v);
}
