/* What a baseline stores of measurements: how far predictions are from them; and of the
 * measured steps of a recorded run. */
#include "baseline_parts.h"

#include "measured.h"
#include "models/fit.h"
#include "sim/base/mem.h"
#include "sim/result/result.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void record_errors(struct record_flow *f, const double *predicted, const double *measured,
                   size_t count)
{
    struct fit_errors errors = fit_compare(predicted, measured, 0, count);
    double largest = 0.0;

    for (size_t i = 0; i < count; i++)
        largest = fmax(largest, fabs(predicted[i] / measured[i] - 1.0));
    record_number(f, "points", count);
    record_share(f, "mean", errors.mean_abs);
    record_share(f, "median", errors.median_abs);
    record_share(f, "largest", largest);
    record_share(f, "bias", errors.mean);
}

/* ---- steps of a recorded run ---- */

struct steps {
    const char *file, *column, *policy;
    int64_t first_pass;
};

#define AT(field) offsetof(struct steps, field)
static const struct option steps_options[] = {
    {"file", OPT_STRING, AT(file), NULL, 0, 0, NULL, "CSV, a line for each step"},
    {"column", OPT_STRING, AT(column), "wall_ms", 0, 0, NULL,
     "what a step took, with its unit; or a sum such as stall_ms+mgmt_ms"},
    {"policy", OPT_STRING, AT(policy), "", 0, 0, NULL, "default: the first"},
    {"first_pass", OPT_INT, AT(first_pass), "0", 0, 1e15, NULL,
     "the pass of the first step"},
    {.name = NULL},
};

static int find_policy(const struct baseline *b, const struct result *r,
                       const struct steps *s, uint32_t *policy, struct err *e)
{
    for (*policy = 0; *policy < r->policies; (*policy)++) {
        if (*s->policy == '\0' || strcmp(r->policy[*policy].label, s->policy) == 0)
            return 0;
    }
    return cfg_error(b->measured, e, "the study has no policy '%s'", s->policy);
}

static int compare_steps(const struct baseline *b, const struct result *r,
                         const struct steps *s, const struct measured *m, FILE *out,
                         struct err *e)
{
    double *predicted = mem_alloc(m->steps, sizeof *predicted);
    double *seconds = mem_alloc(m->steps, sizeof *seconds);
    struct run_pass *pass = mem_alloc(m->steps, sizeof *pass);
    uint64_t first = (uint64_t)s->first_pass;
    struct record_flow f;
    uint32_t policy;
    int status = find_policy(b, r, s, &policy, e);

    if (status == 0 && result_pass_count(r, policy) < first + m->steps)
        status = cfg_error(b->measured, e,
                           "the study has %llu passes, too few for %zu steps from pass "
                           "%llu on",
                           (unsigned long long)result_pass_count(r, policy), m->steps,
                           (unsigned long long)first);
    if (status == 0)
        status = measured_seconds(m, s->column, seconds, e);
    if (status == 0)
        status = result_read_passes(r, policy, first, m->steps, pass, e);
    if (status == 0) {
        for (size_t i = 0; i < m->steps; i++)
            predicted[i] = sim_time_seconds(pass[i].latency);
        (void)fputs("  accuracy:\n", out);
        record_key(out, 4, s->column);
        f = record_begin(out, 4, '{', '}');
        record_errors(&f, predicted, seconds, m->steps);
        record_end(&f);
    }
    free(pass);
    free(seconds);
    free(predicted);
    return status;
}

int record_accuracy(const struct baseline *b, const struct result *r, FILE *out,
                    struct err *e)
{
    struct steps s;
    struct measured m;
    char *path;
    int status;

    if (cfg_bind(b->measured, steps_options, &s, e) != 0)
        return -1;
    path = baseline_path(b->path, s.file);
    status = measured_read(path, &m, e);
    free(path);
    if (status != 0)
        return -1;
    status = compare_steps(b, r, &s, &m, out, e);
    measured_release(&m);
    return status;
}
