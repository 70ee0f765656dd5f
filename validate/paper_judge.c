/* Predicting the rows of a table, and judging them. */
#include "paper_formula.h"
#include "paper_replay.h"

#include "sim/base/mem.h"

#include <math.h>
#include <stdlib.h>

const char *paper_verdict_name(enum paper_verdict v)
{
    static const char *const name[] = {
        [PAPER_OPEN] = "not predicted",
        [PAPER_OK] = "ok",
        [PAPER_SHOWN] = "not published",
        [PAPER_EXPLAINED] = "MISS",
        [PAPER_UNEXPLAINED] = "MISS, unexplained",
        [PAPER_STALE] = "MISS, explained otherwise",
        [PAPER_NEEDLESS] = "ok, yet a miss is explained",
        [PAPER_BROKEN] = "not predictable",
    };

    return name[v];
}

/* Published figures are rounded as written; a tolerance of 0 means equal but for how a
 * double holds a decimal fraction. */
static bool misses(const struct paper_row *row)
{
    double bound = row->tolerance > 0.0 ? row->tolerance : 1e-9;

    switch (row->relation) {
    case PAPER_AT_LEAST:
        return row->error < -bound;
    case PAPER_AT_MOST:
        return row->error > bound;
    default:
        return fabs(row->error) > bound;
    }
}

static void judge(struct paper_row *row)
{
    if (!paper_row_is_published(row)) {
        row->error = NAN;
        row->verdict = PAPER_SHOWN;
        return;
    }
    row->error = row->predicted / row->published.value - 1.0;
    if (!misses(row))
        row->verdict = row->why == NULL ? PAPER_OK : PAPER_NEEDLESS;
    else if (row->why == NULL)
        row->verdict = PAPER_UNEXPLAINED;
    else if (fabs(row->error - row->miss) > PAPER_DRIFT ||
             (row->error > 0.0) != (row->miss > 0.0))
        row->verdict = PAPER_STALE;
    else
        row->verdict = PAPER_EXPLAINED;
}

static int predict_row(struct paper_row *row, const struct paper_run *run,
                       const struct err *failed, struct paper_lab *lab)
{
    if (row->figure == NULL)
        return paper_formula(row->formula, paper_lab_folders(lab), &row->predicted,
                             &row->broken);
    if (failed[row->run.replay].text[0] != '\0')
        return err_set(&row->broken, "%s", failed[row->run.replay].text);
    if (row->join != PAPER_ALONE && failed[row->other.replay].text[0] != '\0')
        return err_set(&row->broken, "%s", failed[row->other.replay].text);
    return paper_row_figure(row, run, &row->predicted, &row->broken);
}

int paper_predict(struct paper *p, struct paper_lab *lab)
{
    struct paper_run *run = mem_zalloc(p->replays + 1, sizeof *run);
    struct err *failed = mem_zalloc(p->replays + 1, sizeof *failed);
    bool *wanted = mem_zalloc(p->replays + 1, sizeof *wanted);
    int status = 0;

    for (size_t i = 0; i < p->rows; i++)
        paper_row_wants(&p->row[i], wanted);
    for (size_t i = 0; i < p->replays && status != 1; i++) {
        if (wanted[i])
            status = paper_run(lab, p, i, NULL, &run[i], &failed[i]);
    }
    for (size_t i = 0; i < p->rows && status != 1; i++) {
        struct paper_row *row = &p->row[i];

        if (predict_row(row, run, failed, lab) == 0)
            judge(row);
        else
            row->verdict = PAPER_BROKEN;
    }
    for (size_t i = 0; i < p->replays; i++)
        paper_run_release(&run[i]);
    free(wanted);
    free(failed);
    free(run);
    return status == 1;
}

struct paper_counts paper_count(const struct paper *p)
{
    struct paper_counts c = {.rows = p->rows};
    size_t fit = 0, held_out = 0;
    double sum_fit = 0.0, sum_held_out = 0.0;

    for (size_t i = 0; i < p->rows; i++) {
        const struct paper_row *row = &p->row[i];
        bool counts = row->verdict != PAPER_OPEN && row->verdict != PAPER_BROKEN &&
                      row->relation == PAPER_ABOUT && row->tolerance > 0.0;

        c.shown += !paper_row_is_published(row);
        c.held_out += !row->fit && paper_row_is_published(row);
        c.ok += row->verdict == PAPER_OK;
        c.explained += row->verdict == PAPER_EXPLAINED;
        c.failed += paper_verdict_fails(row->verdict);
        if (counts && row->fit) {
            sum_fit += fabs(row->error);
            fit++;
        } else if (counts) {
            sum_held_out += fabs(row->error);
            held_out++;
        }
    }
    c.mean_fit = fit == 0 ? NAN : sum_fit / (double)fit;
    c.mean_held_out = held_out == 0 ? NAN : sum_held_out / (double)held_out;
    return c;
}
