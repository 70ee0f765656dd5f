/* A search as JSON and CSV. */
#include "tune_print.h"

#include "sim/base/json.h"
#include "sim/base/mem.h"

#include <math.h>
#include <stdlib.h>

static void put_number(FILE *out, const char *before, double x)
{
    (void)fputs(before, out);
    json_number(out, x);
}

/* ---- JSON ---- */

static void json_point(const struct tune_study *s, const struct tune_trial *t, FILE *out)
{
    const struct sweep_axes *axes = tune_space_axes(s->space);
    bool policies = tune_space_policies(s->space) > 1;
    const char *comma = policies ? ", " : "";

    (void)fputs("{\"keys\": {", out);
    if (policies) {
        (void)fputs("\"policy\": ", out);
        json_string(out, tune_space_policy(s->space, t->point.policy));
    }
    for (size_t k = 0; k < sweep_axes_count(axes); k++, comma = ", ") {
        char *value = sweep_axes_text(axes, k, t->point.value[k]);

        (void)fputs(comma, out);
        json_string(out, sweep_axes_key(axes, k));
        (void)fputs(": ", out);
        json_string(out, value);
        free(value);
    }
    (void)fputs("}, \"figures\": {", out);
    for (int i = 0; i < RESULT_FIGURES; i++) {
        (void)fprintf(out, "%s\"%s\": ", i > 0 ? ", " : "", result_figure[i].name);
        json_number(out, t->figure[i]);
    }
    (void)fputs("}}", out);
}

static void json_sure(const struct tune_sure *sure, FILE *out)
{
    static const char *const over[] = {"null", "\"seeds\"", "\"requests\""};

    (void)fprintf(out, ",\n  \"sure\": {\"drawn\": %s, \"over\": %s, \"seeds\": %zu",
                  sure->drawn ? "true" : "false", over[sure->spread], sure->seeds);
    if (sure->spread == TUNE_BY_SEED) {
        put_number(out, ", \"mean\": ", sure->mean);
        put_number(out, ", \"least\": ", sure->least);
        put_number(out, ", \"most\": ", sure->most);
    }
    if (sure->spread != TUNE_NO_SPREAD) {
        put_number(out, ", \"low\": ", sure->low);
        put_number(out, ", \"high\": ", sure->high);
    }
    (void)fputc('}', out);
}

static void json_pair(const struct tune_report *r, const char *name,
                      const struct tune_pair *p, FILE *out)
{
    if (!p->present)
        return;
    (void)fprintf(out, ",\n  \"%s\": {\"a\": ", name);
    json_point(r->s, &r->o->trial[p->a], out);
    (void)fputs(",\n    \"b\": ", out);
    json_point(r->s, &r->o->trial[p->b], out);
    put_number(out, ",\n    \"ratio_b_to_a\": ", p->c.ratio);
    put_number(out, ", \"low\": ", p->c.low);
    put_number(out, ", \"high\": ", p->c.high);
    (void)fprintf(out, ", \"significant\": %s}", p->c.significant ? "true" : "false");
}

void tune_print_json(const struct tune_report *r, FILE *out)
{
    const struct tune_spec *spec = r->s->spec;
    const struct tune_outcome *o = r->o;
    size_t parts = 0;

    for (size_t i = 0; i < o->trials; i++)
        parts += o->trial[i].share < 1;
    (void)fputs("{\n  \"goals\": [", out);
    for (size_t g = 0; g < spec->goals; g++)
        (void)fprintf(out, "%s\"%s\"", g > 0 ? ", " : "",
                      result_figure[spec->goal[g].figure].name);
    (void)fprintf(out,
                  "],\n  \"points\": %zu,\n  \"evaluations\": %zu,\n  \"of_a_part\": %zu"
                  ",\n  \"refused\": %zu,\n  \"foreseeing\": %zu,\n  \"whole\": %s",
                  tune_space_count(r->s->space), o->trials, parts, o->refused,
                  o->foreseeing, o->whole ? "true" : "false");
    put_number(out, ",\n  \"seconds\": ", o->seconds);
    put_number(out,
               ",\n  \"objective\": ", o->trial[o->best].figure[spec->goal[0].figure]);
    (void)fputs(",\n  \"best\": ", out);
    json_point(r->s, &o->trial[o->best], out);
    json_sure(&r->sure, out);
    json_pair(r, "second", &r->second, out);
    json_pair(r, "against", &r->against, out);
    (void)fputs(",\n  \"front\": [", out);
    for (size_t i = 0; i < o->fronts; i++) {
        (void)fputs(i > 0 ? ",\n    " : "\n    ", out);
        json_point(r->s, &o->trial[o->front[i]], out);
    }
    (void)fputs("]\n}\n", out);
}

/* ---- CSV ---- */

static void csv_head(const struct tune_study *s, FILE *out)
{
    const struct sweep_axes *axes = tune_space_axes(s->space);

    (void)fputs("run,share,outcome,why,policy", out);
    for (size_t k = 0; k < sweep_axes_count(axes); k++) {
        char *column = mem_format("over.%s", sweep_axes_key(axes, k));

        (void)fputc(',', out);
        csv_string(out, column);
        free(column);
    }
    for (int i = 0; i < RESULT_FIGURES; i++)
        (void)fprintf(out, ",%s", result_figure[i].name);
    (void)fputc('\n', out);
}

static const char *outcome_of(const struct tune_spec *s, const struct tune_trial *t)
{
    if (!t->ran)
        return "failed";
    if (t->share < 1)
        return "part";
    return tune_trial_allowed(s, t) ? "allowed" : "beyond a limit";
}

void tune_print_csv(const struct tune_report *r, FILE *out)
{
    const struct sweep_axes *axes = tune_space_axes(r->s->space);

    csv_head(r->s, out);
    for (size_t i = 0; i < r->o->trials; i++) {
        const struct tune_trial *t = &r->o->trial[i];

        (void)fprintf(out, "%zu,", i);
        csv_number(out, t->share);
        (void)fprintf(out, ",%s,", outcome_of(r->s->spec, t));
        csv_string(out, t->why);
        (void)fputc(',', out);
        csv_string(out, tune_space_policy(r->s->space, t->point.policy));
        for (size_t k = 0; k < sweep_axes_count(axes); k++) {
            char *value = sweep_axes_text(axes, k, t->point.value[k]);

            (void)fputc(',', out);
            csv_string(out, value);
            free(value);
        }
        for (int k = 0; k < RESULT_FIGURES; k++) {
            (void)fputc(',', out);
            csv_number(out, t->ran ? t->figure[k] : NAN);
        }
        (void)fputc('\n', out);
    }
}
