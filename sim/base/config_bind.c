/* Option tables: from a mapping to a struct, and to help. */
#include "config_node.h"

#include "mem.h"
#include "nearest.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

/* ---- errors ---- */

static struct cfg_words allowed_keys(const struct option *table)
{
    struct cfg_words words = {"allowed: "};
    size_t used = strlen(words.text);

    for (const struct option *o = table; o->name != NULL; o++) {
        int length = snprintf(words.text + used, sizeof words.text - used, "%s%s",
                              o > table ? ", " : "", o->name);

        used += (size_t)length;
        if (used >= sizeof words.text)
            return (struct cfg_words){"see the help for the keys there are"};
    }
    return words;
}

static int unknown_key(const struct cfg_node *item, const struct option *table,
                       struct err *e)
{
    struct nearest near = nearest_to(item->key);
    struct cfg_words key = cfg_show(item->key, 48);
    struct cfg_words path = cfg_show_path(item->parent);

    for (const struct option *o = table; o->name != NULL; o++)
        nearest_try(&near, o->name);
    if (near.best != NULL)
        return cfg_error_at(item->keyed, e, "unknown key '%s'%s%s", key.text, path.text,
                            nearest_hint(&near).text);
    if (table->name == NULL)
        return cfg_error_at(item->keyed, e, "unknown key '%s'%s; no keys are allowed",
                            key.text, path.text);
    return cfg_error_at(item->keyed, e, "unknown key '%s'%s; %s", key.text, path.text,
                        allowed_keys(table).text);
}

/* "'batch' is 0; expected an integer from 1 to 65536". */
static int wrong_value(struct cfg_place place, const char *text, const char *mark,
                       const struct option *o, struct err *e)
{
    struct nearest near = nearest_to(text);
    struct cfg_words shown = cfg_show(text, 60);

    for (size_t i = 0; o->choices != NULL && o->choices[i] != NULL; i++)
        nearest_try(&near, o->choices[i]);
    return cfg_error_at(place, e, "'%s' is %s%s%s; expected %s%s", o->name, mark,
                        shown.text, mark, cfg_expected(o).text, nearest_hint(&near).text);
}

static int missing_key(const struct cfg_node *n, const struct option *o, struct err *e)
{
    if (n == NULL)
        return err_set(e, "'%s' is missing; expected %s", o->name, cfg_expected(o).text);
    return cfg_error(n, e, "'%s' is missing%s; expected %s", o->name,
                     cfg_show_path(n).text, cfg_expected(o).text);
}

/* ---- binding ---- */

static void store_node(const struct cfg_node *n, const struct option *o, void *target)
{
    memcpy((char *)target + o->offset, &n, sizeof n);
}

static int bind_default(const struct cfg_node *n, const struct option *o, void *target,
                        struct err *e)
{
    bool fits;

    if (o->def == NULL)
        return missing_key(n, o, e);
    if (o->type >= OPT_NODE) {
        assert(o->def[0] == '\0');
        store_node(NULL, o, target);
        return 0;
    }
    fits = cfg_store(o->def, o, target);
    assert(fits);
    (void)fits;
    return 0;
}

int cfg_bind_value(const struct cfg_node *n, const struct option *o, void *target,
                   struct err *e)
{
    /* Quotes make a number or a truth value plain text; for the others, and for the words
     * beside a number, they are free. */
    bool strict = o->type == OPT_INT || o->type == OPT_DOUBLE || o->type == OPT_BOOL;
    const char *mark;

    if (cfg_is_null(n)) {
        if (o->type >= OPT_NODE && o->def != NULL) {
            store_node(NULL, o, target);
            return 0;
        }
        return wrong_value(n->place, "empty", "", o, e);
    }
    if (o->type >= OPT_NODE) {
        store_node(n, o, target);
        return 0;
    }
    if (n->kind != CFG_SCALAR)
        return wrong_value(n->place, n->kind == CFG_LIST ? "a list" : "a mapping", "", o,
                           e);
    mark = n->quoted || n->text[0] == '\0' || strpbrk(n->text, " ;'") != NULL ? "\"" : "";
    if ((strict && n->quoted && cfg_choice(n->text, o) < 0) ||
        !cfg_store(n->text, o, target))
        return wrong_value(n->place, n->text, mark, o, e);
    return 0;
}

static bool in_table(const char *key, const struct option *table)
{
    for (; table->name != NULL; table++) {
        if (strcmp(key, table->name) == 0)
            return true;
    }
    return false;
}

int cfg_bind(const struct cfg_node *n, const struct option *table, void *target,
             struct err *e)
{
    if (n != NULL && n->kind != CFG_MAP)
        return cfg_error(n, e, "%s stands%s where a mapping belongs; %s",
                         n->kind == CFG_LIST ? "a list" : "a single value",
                         cfg_show_path(n).text, allowed_keys(table).text);
    /* A mistyped key would also be missing; the typing error is the better message. */
    for (size_t i = 0; n != NULL && i < n->count; i++) {
        if (!in_table(n->items[i]->key, table))
            return unknown_key(n->items[i], table, e);
    }
    for (const struct option *o = table; o->name != NULL; o++) {
        const struct cfg_node *value = n == NULL ? NULL : cfg_find(n, o->name);

        if (value == NULL ? bind_default(n, o, target, e) != 0
                          : cfg_bind_value(value, o, target, e) != 0)
            return -1;
    }
    return 0;
}

int cfg_parse_value(const char *text, const struct option *o, void *target, struct err *e)
{
    if (cfg_store(text, o, target))
        return 0;
    return wrong_value((struct cfg_place){0}, text,
                       text[0] == '\0' || strpbrk(text, " ;'") != NULL ? "\"" : "", o, e);
}

void cfg_help(const struct option *table, int indent, FILE *out)
{
    size_t width = 0;

    for (const struct option *o = table; o->name != NULL; o++) {
        if (strlen(o->name) > width)
            width = strlen(o->name);
    }
    for (const struct option *o = table; o->name != NULL; o++) {
        const char *def = o->def == NULL ? "required" : o->def;
        const char *word = o->def == NULL || o->def[0] == '\0' ? "" : "default ";

        if (o->def != NULL && o->def[0] == '\0')
            def = "optional";
        (void)fprintf(out, "%*s%-*s  %s (%s; %s%s)\n", indent, "", (int)width, o->name,
                      o->help == NULL ? "" : o->help, cfg_expected(o).text, word, def);
    }
}
