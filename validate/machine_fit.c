#include "machine_fit.h"

#include "models/catalogue.h"
#include "models/machine.h"
#include "sim/base/file.h"
#include "sim/base/mem.h"
#include "sim/result/result.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LATENCY_BIT (1U << RUN_SHARES)

/* One match: its measured seconds and which parts of a pass they are. */
struct part {
    unsigned shares; /* bits 1 << enum run_share, or LATENCY_BIT */
    double *seconds; /* [steps] */
};

struct trial {
    const struct machine_fit_setup *setup;
    struct machine_fit_result *result;
    struct part part[MACHINE_FIT_MATCHES];
    struct run_pass *pass;                /* [steps] of the last replay */
    double *predicted, *measured, *sigma; /* [matches * train] */
};

void machine_fit_release(struct machine_fit_result *r)
{
    cfg_free(r->machine);
    free(r->predicted);
    free(r->measured);
    *r = (struct machine_fit_result){.machine = NULL};
}

/* ---- the machine file ---- */

/* Sets one number: "storage.bandwidth" to 3.1 with the unit that the file gives it. */
static int set_number(const struct machine_fit_setup *setup,
                      const struct machine_fit_result *r, size_t i, double value,
                      struct err *e)
{
    char *assignment =
        mem_format("%s.value=%.9g%s", setup->parameter[i], value, r->unit[i]);
    int status = cfg_override(r->machine, assignment, e);

    free(assignment);
    return status;
}

/* Finds the number of a dotted key and its unit in the document. */
static int find_number(const struct machine_fit_setup *setup,
                       struct machine_fit_result *r, size_t i, struct err *e)
{
    const struct cfg_node *at = cfg_root(r->machine);
    const char *text;
    char *end;
    char *key = mem_strdup(setup->parameter[i]);

    for (char *name = key, *dot; at != NULL && name != NULL; name = dot) {
        dot = strchr(name, '.');
        if (dot != NULL)
            *dot++ = '\0';
        at = cfg_find(at, name);
    }
    free(key);
    at = at == NULL ? NULL : cfg_find(at, "value");
    text = at == NULL ? NULL : cfg_text(at);
    if (text == NULL)
        return err_set(e,
                       "the machine file has no number '%s'; expected section.name, such "
                       "as storage.bandwidth",
                       setup->parameter[i]);
    r->start[i] = strtod(text, &end);
    r->unit[i] = end;
    if (end == text || !(r->start[i] > 0.0) || !isfinite(r->start[i]))
        return cfg_error(at, e, "'%s' has to start above zero to be fitted",
                         setup->parameter[i]);
    return 0;
}

static int load_machine(const struct machine_fit_setup *setup,
                        struct machine_fit_result *r, struct err *e)
{
    const struct cfg_node *given = cfg_find(cfg_root(setup->config), "machine");
    char *changed;

    if (given == NULL)
        return err_set(e, "the configuration names no machine to start from");
    r->machine = catalogue_load_changed(FILE_MACHINE, given, NULL,
                                        setup->folders->machines, &changed, e);
    free(changed);
    if (r->machine == NULL)
        return -1;
    for (size_t i = 0; i < setup->parameters; i++) {
        for (size_t j = 0; j < i; j++) {
            if (strcmp(setup->parameter[i], setup->parameter[j]) == 0)
                return err_set(e, "'%s' is to be fitted twice", setup->parameter[i]);
        }
        if (find_number(setup, r, i, e) != 0)
            return -1;
    }
    return 0;
}

/* ---- the measurements ---- */

static int parse_parts(const char *match, const char *parts, unsigned *shares,
                       struct err *e)
{
    static const char *const name[] = {
        [SHARE_DENSE] = "dense",   [SHARE_EXPERT] = "expert",
        [SHARE_HOSTED] = "hosted", [SHARE_COPY] = "copy",
        [SHARE_COMM] = "comm",     [SHARE_IMBALANCE] = "imbalance",
        [SHARE_HOST] = "host",     [RUN_SHARES] = "latency",
    };

    for (const char *at = parts;;) {
        size_t length = strcspn(at, "+");
        size_t i = 0;

        while (i <= RUN_SHARES &&
               (strlen(name[i]) != length || strncmp(name[i], at, length) != 0))
            i++;
        if (i > RUN_SHARES)
            return err_set(e,
                           "'%s': '%.*s' is no part of a pass; expected latency, dense, "
                           "expert, hosted, copy, comm, imbalance or host",
                           match, (int)length, at);
        *shares |= 1U << i;
        if (at[length] == '\0')
            return 0;
        at += length + 1;
    }
}

static int parse_match(struct trial *t, size_t i, struct err *e)
{
    const struct machine_fit_setup *setup = t->setup;
    const char *match = setup->match[i];
    const char *equals = strchr(match, '=');
    char *columns;
    int status;

    if (equals == NULL)
        return err_set(e, "'%s': expected COLUMNS=PARTS, such as wall_ms=latency", match);
    columns = mem_format("%.*s", (int)(equals - match), match);
    t->part[i].seconds = mem_alloc(setup->measured->steps, sizeof(double));
    status = measured_seconds(setup->measured, columns, t->part[i].seconds, e);
    free(columns);
    return status != 0 ? -1 : parse_parts(match, equals + 1, &t->part[i].shares, e);
}

static int read_measured(struct trial *t, struct err *e)
{
    static const double power[] = {
        [WEIGHT_ABSOLUTE] = 0.0, [WEIGHT_DURATION] = 0.5, [WEIGHT_RELATIVE] = 1.0};
    const struct machine_fit_setup *setup = t->setup;
    struct machine_fit_result *r = t->result;

    r->steps = setup->measured->steps;
    r->measured = mem_alloc(r->steps, sizeof *r->measured);
    r->predicted = mem_alloc(r->steps, sizeof *r->predicted);
    if (measured_seconds(setup->measured, setup->total, r->measured, e) != 0)
        return -1;
    for (size_t i = 0; i < setup->matches; i++) {
        if (parse_match(t, i, e) != 0)
            return -1;
        for (size_t k = 0; k < setup->train; k++) {
            size_t point = i * setup->train + k;

            t->measured[point] = t->part[i].seconds[k];
            t->sigma[point] = pow(t->measured[point], power[setup->weight]);
        }
    }
    return 0;
}

/* ---- the model: a replay ---- */

static double seconds_of(const struct part *part, const struct run_pass *pass)
{
    sim_time sum = (part->shares & LATENCY_BIT) != 0 ? pass->latency : 0;

    for (int i = 0; i < RUN_SHARES; i++) {
        if ((part->shares & 1U << i) != 0)
            sum += pass->share[i];
    }
    return sim_time_seconds(sum);
}

static int read_passes(struct trial *t, const struct result *result, struct err *e)
{
    const struct machine_fit_setup *setup = t->setup;
    uint64_t needed = setup->first_pass + t->result->steps;
    uint64_t count = result_pass_count(result, 0);

    if (count < needed)
        return err_set(e,
                       "the replay has %llu passes, but %llu measured steps from pass "
                       "%llu on need %llu; is %s of this run?",
                       (unsigned long long)count, (unsigned long long)t->result->steps,
                       (unsigned long long)setup->first_pass, (unsigned long long)needed,
                       setup->measured->path);
    if (count > needed) /* which of them were measured is not to be guessed */
        return err_set(
            e,
            "the replay has %llu passes, but %s has %llu steps, the first of "
            "them pass %llu; name the first one's pass with --first-pass (up "
            "to %llu), and end the replay with the last one's (--set "
            "workload.max_passes=%llu)",
            (unsigned long long)count, setup->measured->path,
            (unsigned long long)t->result->steps, (unsigned long long)setup->first_pass,
            (unsigned long long)(count - t->result->steps), (unsigned long long)needed);
    return result_read_passes(result, 0, setup->first_pass, t->result->steps, t->pass, e);
}

static int replay(struct trial *t, const double *parameter, struct err *e)
{
    const struct machine_fit_setup *setup = t->setup;
    struct experiment_hooks hooks = {.progress = NULL};
    struct machine *machine;
    struct result result;
    int status;

    for (size_t i = 0; i < setup->parameters; i++) {
        if (set_number(setup, t->result, i, parameter[i], e) != 0)
            return -1;
    }
    machine = machine_from_cfg(t->result->machine, e);
    if (machine == NULL)
        return -1;
    hooks.machine = machine;
    status = experiment_run(setup->config, setup->folders, 1, &hooks, &result, e);
    machine_free(machine);
    if (status < 0)
        return -1;
    status = status == 0 ? read_passes(t, &result, e)
                         : err_set(e, "stopped by a signal; nothing was written");
    result_release(&result);
    return status;
}

static int predict(void *context, const double *parameter, double *predicted,
                   struct err *e)
{
    struct trial *t = context;

    if (replay(t, parameter, e) != 0)
        return -1;
    for (size_t i = 0; i < t->setup->matches; i++) {
        for (size_t k = 0; k < t->setup->train; k++)
            predicted[i * t->setup->train + k] = seconds_of(&t->part[i], &t->pass[k]);
    }
    return 0;
}

/* ---- the fit ---- */

/* Gives each match a scale of its own: the root mean square of its weighted residuals. */
static int rescale(struct trial *t, struct err *e)
{
    const struct machine_fit_setup *setup = t->setup;

    if (predict(t, t->result->fit.value, t->predicted, e) != 0)
        return -1;
    for (size_t i = 0; i < setup->matches; i++) {
        double sum = 0.0, scale;

        for (size_t k = i * setup->train; k < (i + 1) * setup->train; k++) {
            double residual = (t->predicted[k] - t->measured[k]) / t->sigma[k];

            sum += residual * residual;
        }
        scale = sqrt(sum / (double)setup->train);
        for (size_t k = i * setup->train; scale > 0.0 && k < (i + 1) * setup->train; k++)
            t->sigma[k] *= scale;
    }
    return 0;
}

static int solve(struct trial *t, struct err *e)
{
    const struct machine_fit_setup *setup = t->setup;
    struct machine_fit_result *r = t->result;
    struct fit_parameter parameter[FIT_MAX_PARAMETERS];
    struct fit_problem problem = {.parameters = setup->parameters,
                                  .parameter = parameter,
                                  .points = setup->matches * setup->train,
                                  .measured = t->measured,
                                  .sigma = t->sigma,
                                  .model = predict,
                                  .context = t};

    for (size_t i = 0; i < setup->parameters; i++) {
        /* A number without a unit is a share. */
        double most = *r->unit[i] == '\0' ? 1.0 : r->start[i] * 1e4;

        parameter[i] = (struct fit_parameter){
            .start = r->start[i], .min = r->start[i] * 1e-4, .max = most};
        if (r->start[i] > most)
            return err_set(e, "'%s' is neither a share nor a number with a unit",
                           setup->parameter[i]);
    }
    if (fit_solve(&problem, &r->fit, e) != 0)
        return -1;
    if (setup->matches == 1)
        return 0;
    return rescale(t, e) != 0 ? -1 : fit_solve(&problem, &r->fit, e);
}

static int compare(struct trial *t, struct err *e)
{
    const struct part whole = {.shares = LATENCY_BIT};
    const struct machine_fit_setup *setup = t->setup;
    struct machine_fit_result *r = t->result;
    size_t rest = r->steps - setup->train;

    if (replay(t, r->fit.value, e) != 0)
        return -1;
    for (size_t i = 0; i < setup->matches; i++) {
        for (size_t k = 0; k < r->steps; k++)
            r->predicted[k] = seconds_of(&t->part[i], &t->pass[k]);
        r->part_train[i] = fit_compare(r->predicted, t->part[i].seconds, 0, setup->train);
        r->part_test[i] =
            fit_compare(r->predicted, t->part[i].seconds, setup->train, rest);
    }
    for (size_t k = 0; k < r->steps; k++)
        r->predicted[k] = seconds_of(&whole, &t->pass[k]);
    r->train = fit_compare(r->predicted, r->measured, 0, setup->train);
    r->test = fit_compare(r->predicted, r->measured, setup->train, rest);
    return 0;
}

static int check(const struct machine_fit_setup *setup, struct err *e)
{
    if (setup->matches < 1 || setup->matches > MACHINE_FIT_MATCHES)
        return err_set(e, "a fit takes 1 to %d matches", MACHINE_FIT_MATCHES);
    if (setup->parameters < 1 || setup->parameters > FIT_MAX_PARAMETERS)
        return err_set(e, "a fit takes 1 to %d parameters", FIT_MAX_PARAMETERS);
    if (setup->train < 1 || setup->train >= setup->measured->steps)
        return err_set(e, "%s has %zu steps; fit at least one and hold out at least one",
                       setup->measured->path, setup->measured->steps);
    if (cfg_override(setup->config, "bounds=no", e) != 0 ||
        cfg_override(setup->config, "passes=yes", e) != 0)
        return -1;
    return 0;
}

int machine_fit_run(const struct machine_fit_setup *setup, struct machine_fit_result *r,
                    struct err *e)
{
    struct trial t = {.setup = setup, .result = r};
    size_t points = setup->matches * setup->train;
    int status = -1;

    *r = (struct machine_fit_result){.machine = NULL};
    if (check(setup, e) != 0)
        return -1;
    t.pass = mem_alloc(setup->measured->steps, sizeof *t.pass);
    t.predicted = mem_alloc(points, sizeof *t.predicted);
    t.measured = mem_alloc(points, sizeof *t.measured);
    t.sigma = mem_alloc(points, sizeof *t.sigma);
    if (load_machine(setup, r, e) == 0 && read_measured(&t, e) == 0 && solve(&t, e) == 0)
        status = compare(&t, e);
    for (size_t i = 0; i < setup->matches; i++)
        free(t.part[i].seconds);
    free(t.pass);
    free(t.predicted);
    free(t.measured);
    free(t.sigma);
    if (status != 0)
        machine_fit_release(r);
    return status;
}

/* ---- the fitted file ---- */

static int set_text(struct cfg *c, const char *key, const char *text, struct err *e)
{
    char *quoted = mem_alloc(strlen(text) * 2 + 1, 1);
    char *assignment;
    char *to = quoted;
    int status;

    for (const char *from = text; *from != '\0'; from++) {
        if (*from == '"' || *from == '\\')
            *to++ = '\\';
        *to++ = *from;
    }
    *to = '\0';
    assignment = mem_format("%s=\"%s\"", key, quoted);
    status = cfg_override(c, assignment, e);
    free(assignment);
    free(quoted);
    return status;
}

static int note_number(const struct machine_fit_setup *setup,
                       const struct machine_fit_result *r, size_t i, const char *source,
                       struct err *e)
{
    double share = r->fit.error[i] / r->fit.value[i] * 100.0;
    char *key = mem_format("%s.source", setup->parameter[i]);
    char *text = isfinite(share)
                     ? mem_format("%s (standard error %.2g %%)", source, share)
                     : mem_format("%s (not determined by these steps)", source);
    char *error = mem_format("%s.error=%.3g", setup->parameter[i], r->test.mean_abs);
    int status = set_text(r->machine, key, text, e);

    if (status == 0)
        status = cfg_override(r->machine, error, e);
    free(key);
    free(text);
    free(error);
    return status;
}

int machine_fit_write(const struct machine_fit_setup *setup,
                      const struct machine_fit_result *r, const char *source,
                      const char *path, struct err *e)
{
    const char *slash = strrchr(path, '/');
    const char *base = slash == NULL ? path : slash + 1;
    size_t length = strlen(base);
    struct file_out *f;
    char *text;
    int status;

    if (length < 6 || strcmp(base + length - 5, ".yaml") != 0)
        return err_set(e, "%s: a machine file's name ends in .yaml", path);
    text = mem_format("%.*s", (int)(length - 5), base);
    status = set_text(r->machine, "name", text, e);
    free(text);
    for (size_t i = 0; status == 0 && i < setup->parameters; i++)
        status = note_number(setup, r, i, source, e);
    if (status != 0)
        return -1;
    f = file_out_new(path, e);
    if (f == NULL)
        return -1;
    text = cfg_dump(r->machine);
    (void)fputs(text, file_out_stream(f));
    free(text);
    return file_out_commit(f, e);
}
