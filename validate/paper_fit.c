/* The fitted constants of a table, fitted again: the model of the fit is the replays of
 * the rows marked so. */
#include "paper_replay.h"

#include "models/fit.h"
#include "sim/base/mem.h"

#include <math.h>
#include <stdlib.h>

struct trial {
    const struct paper *p;
    struct paper_lab *lab;
    size_t *constant; /* numbers of the fitted ones in the table */
    size_t constants;
    const struct paper_row **row; /* [rows] those fitted on */
    size_t rows;
    double *value;         /* [p->constants] of the present trial */
    struct paper_run *run; /* [p->replays] of the present trial */
    bool *wanted;          /* [p->replays] */
};

static int predict(void *context, const double *parameter, double *predicted,
                   struct err *e)
{
    struct trial *t = context;
    int status = 0;

    for (size_t i = 0; i < t->constants; i++)
        t->value[t->constant[i]] = parameter[i];
    for (size_t i = 0; i < t->p->replays && status == 0; i++) {
        if (t->wanted[i])
            status = paper_run(t->lab, t->p, i, t->value, &t->run[i], e);
    }
    if (status == 1)
        status = err_set(e, "stopped by a signal");
    for (size_t i = 0; i < t->rows && status == 0; i++)
        status = paper_row_figure(t->row[i], t->run, &predicted[i], e);
    for (size_t i = 0; i < t->p->replays; i++)
        paper_run_release(&t->run[i]);
    return status;
}

/* What is fitted, on which rows, and which replays these need. */
static void find_parts(struct trial *t)
{
    const struct paper *p = t->p;

    for (size_t i = 0; i < p->constants; i++) {
        t->value[i] = p->constant[i].value;
        if (p->constant[i].provenance == PAPER_FITTED)
            t->constant[t->constants++] = i;
    }
    for (size_t i = 0; i < p->rows; i++) {
        const struct paper_row *row = &p->row[i];

        if (!row->fit)
            continue;
        t->row[t->rows++] = row;
        paper_row_wants(row, t->wanted);
    }
}

static int solve(struct trial *t, struct fit_result *fit, struct err *e)
{
    struct fit_parameter parameter[FIT_MAX_PARAMETERS];
    double *published = mem_alloc(t->rows, sizeof *published);
    struct fit_problem problem = {.parameters = t->constants,
                                  .parameter = parameter,
                                  .points = t->rows,
                                  .measured = published,
                                  .sigma = published, /* relative errors */
                                  .model = predict,
                                  .context = t};
    int status;

    for (size_t i = 0; i < t->constants; i++) {
        const struct paper_constant *c = &t->p->constant[t->constant[i]];

        parameter[i] =
            (struct fit_parameter){.start = c->start, .min = c->min, .max = c->max};
    }
    for (size_t i = 0; i < t->rows; i++)
        published[i] = t->row[i]->published.value;
    status = fit_solve(&problem, fit, e);
    free(published);
    return status;
}

/* Half a unit of the last digit that is stated, and what the search may be off. */
static bool is_equal(const struct paper_constant *c, double value)
{
    return fabs(value - c->value) <= 0.51 * pow(10.0, -c->decimals);
}

static void tell(const struct trial *t, const struct fit_result *fit,
                 struct paper_refit *r)
{
    *r = (struct paper_refit){
        .constants = t->constants,
        .constant = mem_alloc(t->constants, sizeof(struct paper_constant *)),
        .value = mem_alloc(t->constants, sizeof *r->value),
        .error = mem_alloc(t->constants, sizeof *r->error),
        .equal = mem_alloc(t->constants, sizeof *r->equal),
        .rows = t->rows};
    for (size_t i = 0; i < t->constants; i++) {
        r->constant[i] = &t->p->constant[t->constant[i]];
        r->value[i] = fit->value[i];
        r->error[i] = fit->error[i];
        r->equal[i] = is_equal(r->constant[i], fit->value[i]);
    }
}

int paper_refit(const struct paper *p, struct paper_lab *lab, struct paper_refit *r,
                struct err *e)
{
    struct trial t = {.p = p,
                      .lab = lab,
                      .constant = mem_alloc(p->constants + 1, sizeof(size_t)),
                      .row = mem_alloc(p->rows + 1, sizeof(struct paper_row *)),
                      .value = mem_alloc(p->constants + 1, sizeof(double)),
                      .run = mem_zalloc(p->replays + 1, sizeof(struct paper_run)),
                      .wanted = mem_zalloc(p->replays + 1, sizeof(bool))};
    struct fit_result fit;
    int status;

    find_parts(&t);
    if (t.constants == 0)
        status = err_set(e, "no constant of table %s was fitted", p->name);
    else if (t.constants > FIT_MAX_PARAMETERS)
        status = err_set(e, "table %s has %zu fitted constants; at most %d can be",
                         p->name, t.constants, FIT_MAX_PARAMETERS);
    else
        status = solve(&t, &fit, e);
    if (status == 0)
        tell(&t, &fit, r);
    free(t.constant);
    free(t.row);
    free(t.value);
    free(t.run);
    free(t.wanted);
    return status;
}

void paper_refit_release(struct paper_refit *r)
{
    free(r->constant);
    free(r->value);
    free(r->error);
    free(r->equal);
    *r = (struct paper_refit){.constants = 0};
}
