/* Replays for published tables. A lab has a temporary folder, where it keeps the traces
 * that it generates, so that replays that differ in other things share them.
 *
 * A replay is made of the table's base, in this order: the base's machine, model, trace
 * and config; the base's `set`; the replay's `set`; the constants, which thus hold for
 * every replay. Shape of the trace (experts, top_k, layers, where they are) is the
 * model's. */
#ifndef MOESIM_VALIDATE_PAPER_REPLAY_H
#define MOESIM_VALIDATE_PAPER_REPLAY_H

#include "paper.h"

#include "sim/experiment/experiment.h"

#include <stdint.h>
#include <stdio.h>

struct paper_lab;

/* Returns owned, or NULL. `threads` as of experiment_run. The folders are borrowed. */
struct paper_lab *paper_lab_new(const struct experiment_folders *folders,
                                unsigned threads, struct err *e);
/* Removes the temporary folder. NULL is fine. */
void paper_lab_free(struct paper_lab *lab);
const struct experiment_folders *paper_lab_folders(const struct paper_lab *lab);

/* Changes a document by a list of "KEY=VALUE"; NULL is none. 0 or -1. */
int paper_apply(struct cfg *c, const struct cfg_node *set, struct err *e);

/* How long the MoE layers of one policy took, from the first gate to the last operation
 * that is not the next dense block. */
struct paper_span {
    sim_time total;
    uint64_t count; /* layers x passes */
};

struct paper_run {
    struct result result;
    struct paper_span *span; /* [result.policies] */
};

/* Carries one replay out. `value[constants]` stands for the constants' stated values, or
 * NULL. Fills `run` (owned; paper_run_release). 0; 1 if a signal stopped it; -1. */
int paper_run(struct paper_lab *lab, const struct paper *p, size_t replay,
              const double *value, struct paper_run *run, struct err *e);
void paper_run_release(struct paper_run *run);

/* A number of a replay. */
struct paper_figure {
    const char *name;
    enum paper_dimension dimension;
    const char *help;
    double (*get)(const struct paper_run *run, uint32_t policy);
};
/* NULL if there is none of that name. */
const struct paper_figure *paper_figure_find(const char *name);
void paper_figure_help(FILE *out);
/* Of the policy with that label. 0, or -1: there is none, or it has no such figure. */
int paper_figure_get(const struct paper_figure *f, const struct paper_run *run,
                     const char *policy, double *value, struct err *e);

/* Marks the replays that a row needs in wanted[replays]. */
void paper_row_wants(const struct paper_row *row, bool *wanted);
/* A row's prediction from run[replays]. 0 or -1. */
int paper_row_figure(const struct paper_row *row, const struct paper_run *run,
                     double *value, struct err *e);

#endif
