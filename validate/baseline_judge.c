/* What differs between what is stored and what is predicted now, value by value, and
 * whether it may. */
#include "baseline_parts.h"
#include "tree_walk.h"

#include "sim/base/mem.h"
#include "sim/base/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What a value is, which says how far it may change. */
enum nature { NATURE_NONE, NATURE_INPUT, NATURE_COUNT, NATURE_TIME, NATURE_ERROR };

/* Equal values of a group are one row. */
struct group {
    char *name;
    uint64_t equal;
};

struct judge {
    const struct baseline *baseline;
    struct check_case *c;
    struct group *group;
    size_t groups;
    bool failed;
};

static bool is(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

/* Whether the last name on the way is "NAME_UNIT"; an item of a list has its list's. */
static bool has_unit(const struct tree_path *p, const char *unit)
{
    const char *name = p->part[p->parts - 1];
    size_t length, tail = strlen(unit);

    if (p->parts > 1 && *name >= '0' && *name <= '9')
        name = p->part[p->parts - 2];
    length = strlen(name);
    return length > tail && is(name + length - tail, unit) && !is(name, "tokens_per_s");
}

/* Of policies, the parts that are times; the rest are counts. */
static enum nature nature_in_policy(const struct tree_path *p)
{
    const char *part = p->parts > 2 ? p->part[2] : "label", *last = p->part[p->parts - 1];

    if (is(part, "label") || is(part, "made_of"))
        return NATURE_INPUT;
    if (is(part, "times") || is(part, "figures") || is(part, "digest"))
        return NATURE_TIME;
    if (is(part, "operations"))
        return is(last, "number") ? NATURE_COUNT : NATURE_TIME;
    return is(part, "layers") && has_unit(p, "_ps") ? NATURE_TIME : NATURE_COUNT;
}

static enum nature nature_of(const struct tree_path *p)
{
    const char *last = p->part[p->parts - 1];

    if (is(p->part[0], "format") || is(p->part[0], "moesim"))
        return NATURE_NONE;
    if (is(p->part[0], "policies"))
        return nature_in_policy(p);
    if (is(p->part[0], "accuracy"))
        return is(last, "points") ? NATURE_INPUT : NATURE_ERROR;
    if (is(p->part[0], "papers"))
        return is(last, "error") ? NATURE_ERROR : NATURE_INPUT;
    return NATURE_INPUT;
}

/* The names from `first` on, with dots between; owned. */
static char *join(const struct tree_path *p, size_t first)
{
    char *text = mem_strdup(first < p->parts ? p->part[first] : "");

    for (size_t i = first + 1; i < p->parts; i++) {
        char *longer = mem_format("%s.%s", text, p->part[i]);

        free(text);
        text = longer;
    }
    return text;
}

static char *group_of(const struct tree_path *p)
{
    if (is(p->part[0], "policies") && p->parts > 2)
        return mem_format("%s, %s", p->part[1], p->part[2]);
    if (is(p->part[0], "papers") && p->parts > 1)
        return mem_format("%s, errors", p->part[1]);
    return mem_strdup(p->part[0]);
}

static char *name_of(const struct tree_path *p)
{
    if (is(p->part[0], "policies") && p->parts > 4 && is(p->part[2], "layers"))
        return mem_format("layer %s, %s", p->part[4], p->part[3]);
    if (is(p->part[0], "policies") && p->parts > 3 && is(p->part[2], "loaded"))
        return mem_format("layer %s, which experts", p->part[3]);
    if (is(p->part[0], "policies"))
        return p->parts > 3 ? join(p, 3) : join(p, 2);
    if (is(p->part[0], "papers") && p->parts > 3)
        return mem_strdup(p->part[3]);
    return p->parts > 1 ? join(p, 1) : join(p, 0);
}

/* "55 GB/s": the number, and what stands behind it. NaN: none. */
static double number_of(const char *text, const char **unit)
{
    char *end;
    double value = text == NULL ? NAN : strtod(text, &end);

    if (text == NULL || end == text)
        return NAN;
    *unit = end;
    return value;
}

/* Of two values in one unit; NaN where they are none. */
static double change_of(const char *before, const char *after, enum nature nature,
                        double numbers[2])
{
    const char *unit[2] = {"", ""};

    numbers[0] = number_of(before, &unit[0]);
    numbers[1] = number_of(after, &unit[1]);
    if (!isfinite(numbers[0]) || !isfinite(numbers[1]) || !is(unit[0], unit[1])) {
        numbers[0] = numbers[1] = NAN;
        return NAN;
    }
    if (nature == NATURE_ERROR)
        return fabs(numbers[1]) - fabs(numbers[0]);
    if (numbers[0] == 0.0)
        return INFINITY;
    return numbers[1] / numbers[0] - 1.0;
}

/* A value as people read it, by its name's unit; owned. */
static char *value_text(const struct tree_path *p, const char *text, enum nature nature)
{
    double value = strtod(text, NULL);

    if (nature == NATURE_TIME && (has_unit(p, "_ps") || has_unit(p, "_s")))
        return mem_strdup(text_time(has_unit(p, "_ps") ? value * 1e-12 : value).text);
    if (nature == NATURE_ERROR)
        return mem_strdup(text_share(value).text);
    if (has_unit(p, "_bytes"))
        return mem_strdup(text_bytes(value).text);
    return mem_strdup(text);
}

static const char *unit_of(const struct tree_path *p)
{
    return has_unit(p, "_ps")      ? "ps"
           : has_unit(p, "_s")     ? "s"
           : has_unit(p, "_bytes") ? "B"
                                   : "";
}

static void judge_row(struct judge *j, struct check_row *row, enum nature nature)
{
    const struct baseline *b = j->baseline;
    const double tolerance[] = {[NATURE_INPUT] = 0.0,
                                [NATURE_COUNT] = b->counts,
                                [NATURE_TIME] = b->times,
                                [NATURE_ERROR] = b->errors};
    bool numbers = !isnan(row->change);

    if (nature == NATURE_INPUT) {
        row->verdict = CHECK_FAILED;
        return;
    }
    row->tolerance = tolerance[nature];
    if (row->before == NULL || row->after == NULL)
        row->verdict = CHECK_FAILED;
    else if (nature == NATURE_ERROR)
        row->verdict = row->change > row->tolerance ? CHECK_FAILED : CHECK_OK;
    else if (numbers) /* but for how a double holds a decimal fraction */
        row->verdict =
            fabs(row->change) > row->tolerance * (1.0 + 1e-9) ? CHECK_FAILED : CHECK_OK;
    else /* a hash: any change at all, and so one that is allowed, makes another one */
        row->verdict = row->tolerance > 0.0 ? CHECK_OK : CHECK_FAILED;
    if (row->verdict == CHECK_OK)
        row->note = mem_strdup(nature == NATURE_ERROR && row->change < -row->tolerance
                                   ? "better"
                                   : "within tolerance");
}

static struct group *find_group(struct judge *j, const char *name)
{
    /* Values of a group follow each other. */
    if (j->groups == 0 || !is(j->group[j->groups - 1].name, name)) {
        j->group = mem_grow(j->group, j->groups, sizeof *j->group);
        j->group[j->groups++] = (struct group){.name = mem_strdup(name)};
    }
    return &j->group[j->groups - 1];
}

static void visit(void *context, const struct tree_path *path, const char *before,
                  const char *after)
{
    struct judge *j = context;
    enum nature nature = nature_of(path);
    char *group, *name;
    struct check_row *row;

    if (nature == NATURE_NONE)
        return;
    group = group_of(path);
    if (before != NULL && after != NULL && is(before, after)) {
        find_group(j, group)->equal++;
        free(group);
        return;
    }
    name = name_of(path);
    row = check_add_row(j->c, group, name, CHECK_FAILED);
    row->before = before == NULL ? NULL : value_text(path, before, nature);
    row->after = after == NULL ? NULL : value_text(path, after, nature);
    row->unit = unit_of(path);
    row->change = change_of(before, after, nature, row->numbers);
    judge_row(j, row, nature);
    j->failed = j->failed || check_fails(row->verdict);
    free(group);
    free(name);
}

static void add_fact(struct check_case *c, const char *name, const struct cfg_node *value)
{
    if (value != NULL && cfg_text(value) != NULL)
        check_add_fact(c, name, cfg_text(value));
}

static void add_equal(struct judge *j)
{
    for (size_t i = 0; i < j->groups; i++) {
        struct check_row *row = check_add_row(j->c, j->group[i].name, "equal", CHECK_OK);

        row->values = j->group[i].equal;
        row->note = mem_format("%llu equal", (unsigned long long)j->group[i].equal);
        free(j->group[i].name);
    }
    free(j->group);
}

void baseline_judge(const struct baseline *b, const struct cfg_node *now,
                    struct check_case *c)
{
    struct judge j = {.baseline = b, .c = c};

    add_fact(c, "stored by moesim", TREE(b->stored, "moesim"));
    add_fact(c, "trace", TREE(now, "config", "trace"));
    add_fact(c, "machine", TREE(now, "machine", "name"));
    add_fact(c, "model", TREE(now, "model", "name"));
    tree_walk(b->stored, now, visit, &j);
    add_equal(&j);
    if (j.failed)
        baseline_cause(b->stored, now, c);
}
