#include "tune_print.h"

#include "sim/base/mem.h"
#include "sim/base/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_FRONT = 12, KEY_COLUMNS = 32 };

static bool has_key(const struct tune_study *s, const struct tune_point *p, size_t k)
{
    long owner = tune_space_owner(s->space, k);

    return owner < 0 || (size_t)owner == p->policy;
}

static char *append(char *text, const char *key, const char *value)
{
    char *longer = mem_format("%s%s%s %s", text, *text == '\0' ? "" : ", ", key, value);

    free(text);
    return longer;
}

char *tune_point_text(const struct tune_study *s, const struct tune_point *p)
{
    const struct sweep_axes *axes = tune_space_axes(s->space);
    char *text = mem_strdup("");

    if (tune_space_policies(s->space) > 1)
        text = append(text, "policy", tune_space_policy(s->space, p->policy));
    for (size_t k = 0; k < sweep_axes_count(axes); k++) {
        char *value;

        if (!has_key(s, p, k))
            continue;
        value = sweep_axes_text(axes, k, p->value[k]);
        text = append(text, sweep_axes_key(axes, k), value);
        free(value);
    }
    return text;
}

/* A figure's name without its unit. */
static char *short_name(int figure)
{
    const char *name = result_figure[figure].name;
    size_t length = strlen(name);

    if (result_figure[figure].kind == FIGURE_TIME)
        length -= strlen("_s");
    else if (result_figure[figure].kind == FIGURE_BYTES)
        length -= strlen("_bytes");
    return mem_format("%.*s", (int)length, name);
}

static void print_named(FILE *out, int figure, double value)
{
    char *name = short_name(figure);

    (void)fprintf(out, "%s %s", name, result_figure_text(figure, value).text);
    free(name);
}

/* ---- head ---- */

static void print_task(const struct tune_report *r, FILE *out)
{
    const struct tune_outcome *o = r->o;
    size_t points = tune_space_count(r->s->space), parts = 0;
    char *space = points > 0 ? mem_format("%zu points", points)
                             : mem_strdup("more points than can be listed");

    for (size_t i = 0; i < o->trials; i++)
        parts += o->trial[i].share < 1;
    (void)fprintf(out, "%s: %zu runs", space, o->trials);
    if (parts > 0)
        (void)fprintf(out, ", %zu of them over a part of the trace", parts);
    (void)fprintf(out, ", %.1f s%s\n", o->seconds,
                  o->whole ? "; none is left, so that this is the best there is" : "");
    if (o->refused > 0)
        text_paragraph(out, "note: ", "      ", "%zu points cannot be run; the first: %s",
                       o->refused, o->refusal);
    if (o->foreseeing > 0)
        text_paragraph(out, "note: ", "      ",
                       "%zu points were left out, for their policies know "
                       "what comes later",
                       o->foreseeing);
    free(space);
}

/* ---- the best ---- */

static void print_limits(const struct tune_report *r, const struct tune_trial *t,
                         FILE *out)
{
    const struct tune_spec *spec = r->s->spec;

    for (size_t i = 0; i < spec->limits; i++) {
        const struct tune_limit *l = &spec->limit[i];

        (void)fputs("  ", out);
        print_named(out, l->figure, t->figure[l->figure]);
        (void)fprintf(out, " (at %s %s)\n", l->least ? "least" : "most",
                      result_figure_text(l->figure, l->value).text);
    }
}

static void print_best(const struct tune_report *r, FILE *out)
{
    const struct tune_spec *spec = r->s->spec;
    const struct tune_trial *t = &r->o->trial[r->o->best];
    const struct sweep_axes *axes = tune_space_axes(r->s->space);

    (void)fputs("\nbest: ", out);
    for (size_t g = 0; g < spec->goals; g++) {
        (void)fputs(g > 0 ? ", " : "", out);
        print_named(out, spec->goal[g].figure, t->figure[spec->goal[g].figure]);
    }
    (void)fputc('\n', out);
    print_limits(r, t, out);
    if (tune_space_policies(r->s->space) > 1)
        (void)fprintf(out, "  %-*s = %s\n", KEY_COLUMNS, "policy",
                      tune_space_policy(r->s->space, t->point.policy));
    for (size_t k = 0; k < sweep_axes_count(axes); k++) {
        char *value = sweep_axes_text(axes, k, t->point.value[k]);

        if (has_key(r->s, &t->point, k))
            (void)fprintf(out, "  %-*s = %s\n", KEY_COLUMNS, sweep_axes_key(axes, k),
                          value);
        free(value);
    }
}

/* ---- how sure ---- */

static void print_spread(const struct tune_report *r, FILE *out)
{
    const struct tune_sure *sure = &r->sure;
    int figure = r->s->spec->goal[0].figure;
    char *name = short_name(figure);
    struct text_figure low = result_figure_text(figure, sure->low);
    struct text_figure high = result_figure_text(figure, sure->high);

    if (sure->spread == TUNE_BY_SEED)
        text_paragraph(out, "sure: ", "  ",
                       "over %zu seeds %s is %s in the mean, 95 %% interval %s to %s, "
                       "from %s to %s",
                       sure->seeds, name, result_figure_text(figure, sure->mean).text,
                       low.text, high.text, result_figure_text(figure, sure->least).text,
                       result_figure_text(figure, sure->most).text);
    else if (sure->spread == TUNE_BY_REQUEST)
        text_paragraph(out, "sure: ", "  ",
                       "no seed changes it: %s is exact for this trace; over requests "
                       "like these its 95 %% interval is %s to %s",
                       name, low.text, high.text);
    else if (r->s->spec->seeds > 0)
        text_paragraph(out, "sure: ", "  ",
                       "no seed changes it: %s is exact for this trace; no request has a "
                       "figure of its own that an interval could be over",
                       name);
    free(name);
}

static char *ratio_text(const struct result_comparison *c)
{
    if (isnan(c->ratio) || isnan(c->low))
        return mem_strdup("too few requests to compare one by one");
    return mem_format("request by request it takes %s times as long (95 %% interval "
                      "%s to %s)%s",
                      text_ratio(c->ratio).text, text_ratio(c->low).text,
                      text_ratio(c->high).text,
                      c->significant ? "" : ", which is no significant difference");
}

static void print_second(const struct tune_report *r, FILE *out)
{
    const struct tune_pair *p = &r->second;
    int figure = r->s->spec->goal[0].figure;
    char *point, *ratio;

    if (!p->present)
        return;
    point = tune_point_text(r->s, &r->o->trial[p->b].point);
    ratio = ratio_text(&p->c);
    text_paragraph(out, "next: ", "  ", "%s, at %s; %s", point,
                   result_figure_text(figure, p->b_goal).text, ratio);
    free(point);
    free(ratio);
}

/* a is the policy of `against:`, b the best of the others. */
static void print_against(const struct tune_report *r, FILE *out)
{
    const struct tune_pair *p = &r->against;
    const struct tune_spec *spec = r->s->spec;
    int figure = spec->goal[0].figure;
    char *name, *point, *ratio;
    bool better;

    if (!p->present)
        return;
    name = short_name(figure);
    point = tune_point_text(r->s, &r->o->trial[p->b].point);
    ratio = ratio_text(&p->c);
    better = tune_goal_cost(&spec->goal[0], p->b_goal) <
             tune_goal_cost(&spec->goal[0], p->a_goal);
    text_paragraph(out, "", "  ",
                   "%s %s: %s %s, against %s of %s, which is %+.1f %%; %s.",
                   better ? "Worth it against" : "Not worth it against", spec->against,
                   name, result_figure_text(figure, p->b_goal).text,
                   result_figure_text(figure, p->a_goal).text, spec->against,
                   100 * (p->b_goal / p->a_goal - 1), ratio);
    text_paragraph(out, "  ", "  ", "(The best of the others: %s.)", point);
    free(name);
    free(point);
    free(ratio);
}

/* ---- the front ---- */

static void print_front_line(const struct tune_report *r, size_t i, FILE *out)
{
    const struct tune_spec *spec = r->s->spec;
    const struct tune_trial *t = &r->o->trial[r->o->front[i]];
    char *point = tune_point_text(r->s, &t->point);
    char *figures = mem_strdup("");

    for (size_t k = 0; k < spec->goals + spec->limits; k++) {
        int figure =
            k < spec->goals ? spec->goal[k].figure : spec->limit[k - spec->goals].figure;
        char *longer = mem_format("%s%11s  ", figures,
                                  result_figure_text(figure, t->figure[figure]).text);

        free(figures);
        figures = longer;
    }
    text_paragraph(out, figures, "      ", "%s", point);
    free(figures);
    free(point);
}

static void print_front(const struct tune_report *r, FILE *out)
{
    const struct tune_spec *spec = r->s->spec;
    size_t shown = r->o->fronts < MOST_FRONT ? r->o->fronts : MOST_FRONT;

    if (spec->goals + spec->limits < 2)
        return;
    (void)fputs("\nNone of these is better than another in all of\n", out);
    for (size_t k = 0; k < spec->goals + spec->limits; k++) {
        char *name = short_name(k < spec->goals ? spec->goal[k].figure
                                                : spec->limit[k - spec->goals].figure);

        (void)fprintf(out, "%s%s", k > 0 ? ", " : "", name);
        free(name);
    }
    (void)fputs(":\n", out);
    for (size_t i = 0; i < shown; i++)
        print_front_line(r, i, out);
    if (shown < r->o->fronts)
        (void)fprintf(out, "  ... and %zu more\n", r->o->fronts - shown);
}

void tune_print(const struct tune_report *r, FILE *out)
{
    print_task(r, out);
    print_best(r, out);
    (void)fputc('\n', out);
    print_spread(r, out);
    print_second(r, out);
    if (r->against.present)
        (void)fputc('\n', out);
    print_against(r, out);
    print_front(r, out);
}
