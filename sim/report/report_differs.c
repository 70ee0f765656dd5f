#include "report_differs.h"

#include "sim/base/config.h"
#include "sim/base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *report_differs_short(const char *key)
{
    const char *dot = strrchr(key, '.');

    return dot == NULL ? key : dot + 1;
}

/* The axis of a key, new if need be. */
static struct report_axis *axis_of(struct report_differs *d, const char *key,
                                   size_t count)
{
    struct report_axis *a;

    for (size_t i = 0; i < d->axes; i++)
        if (strcmp(d->axis[i].key, key) == 0)
            return &d->axis[i];
    d->axis = mem_grow(d->axis, d->axes, sizeof *d->axis);
    a = &d->axis[d->axes++];
    *a = (struct report_axis){.key = mem_strdup(key),
                              .value = mem_zalloc(count, sizeof *a->value),
                              .number = mem_alloc(count, sizeof *a->number)};
    return a;
}

/* Enters all scalars below `n`, whose key is `key`, "" at the root. */
static void enter(struct report_differs *d, const struct cfg_node *n, const char *key,
                  size_t result, size_t count)
{
    if (cfg_is_scalar(n)) {
        struct report_axis *a = axis_of(d, key, count);

        free(a->value[result]);
        a->value[result] = mem_strdup(cfg_text(n));
        return;
    }
    for (size_t i = 0; i < cfg_count(n); i++) {
        const char *name = cfg_key(n, i);
        char *below;

        if (*key == '\0' && name != NULL && strcmp(name, "policies") == 0)
            continue;
        below = name == NULL ? mem_format("%s.%zu", key, i)
                             : mem_format("%s%s%s", key, *key == '\0' ? "" : ".", name);
        enter(d, cfg_item(n, i), below, result, count);
        free(below);
    }
}

static void release_axis(struct report_axis *a, size_t count)
{
    for (size_t r = 0; r < count; r++)
        free(a->value[r]);
    free(a->value);
    free(a->number);
    free(a->key);
}

const char *report_number(const char *text, double *number)
{
    char *end;

    *number = strtod(text, &end);
    return end == text || !isfinite(*number) ? NULL : end;
}

static void read_numbers(struct report_axis *a, size_t count)
{
    const char *unit = NULL; /* behind the first; the same behind all */
    bool all = true;

    for (size_t r = 0; r < count; r++) {
        const char *behind = report_number(a->value[r], &a->number[r]);

        unit = r == 0 ? behind : unit;
        all = all && behind != NULL && unit != NULL && strcmp(behind, unit) == 0;
    }
    for (size_t r = 0; r < count && !all; r++)
        a->number[r] = NAN;
}

/* Fills in what was not written; whether results differ. */
static bool complete(struct report_axis *a, size_t count)
{
    bool differs = false;

    for (size_t r = 0; r < count; r++) {
        if (a->value[r] == NULL)
            a->value[r] = mem_strdup("");
        differs = differs || strcmp(a->value[r], a->value[0]) != 0;
    }
    return differs;
}

void report_differs_find(const struct result *const *results, size_t count,
                         struct report_differs *d)
{
    size_t kept = 0;

    *d = (struct report_differs){.axes = 0};
    for (size_t r = 0; r < count; r++) {
        const char *text = results[r]->config == NULL ? "" : results[r]->config;
        struct err ignored = {.text = ""};
        struct cfg *c = cfg_parse("config", text, strlen(text), &ignored);

        if (c != NULL && cfg_is_map(cfg_root(c)))
            enter(d, cfg_root(c), "", r, count);
        cfg_free(c);
    }
    for (size_t i = 0; i < d->axes; i++) {
        if (complete(&d->axis[i], count)) {
            read_numbers(&d->axis[i], count);
            d->axis[kept++] = d->axis[i];
        } else {
            release_axis(&d->axis[i], count);
        }
    }
    d->axes = kept;
}

void report_differs_release(struct report_differs *d, size_t count)
{
    for (size_t i = 0; i < d->axes; i++)
        release_axis(&d->axis[i], count);
    free(d->axis);
    *d = (struct report_differs){.axes = 0};
}

bool report_differs_is_axis(const struct report_differs *d, size_t count)
{
    if (d->axes != 1 || isnan(d->axis[0].number[0]))
        return false;
    for (size_t r = 0; r < count; r++)
        for (size_t k = 0; k < r; k++)
            if (d->axis[0].number[r] == d->axis[0].number[k])
                return false;
    return true;
}

char *report_differs_text(const struct report_differs *d, size_t result, size_t most)
{
    char *text = mem_strdup("");

    for (size_t i = 0; i < d->axes && d->axes <= most; i++) {
        const char *value = d->axis[i].value[result];
        char *longer = mem_format("%s%s%s %s", text, i == 0 ? "" : ", ",
                                  report_differs_short(d->axis[i].key),
                                  *value == '\0' ? "default" : value);

        free(text);
        text = longer;
    }
    return text;
}
