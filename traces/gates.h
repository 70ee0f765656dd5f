/* How sure the router was: margin of the top choice and gate mass of the others, by phase
 * and group of requests. A visitor of rows_sweep.h, which has to give tokens and scores.
 */
#ifndef MOESIM_TRACES_GATES_H
#define MOESIM_TRACES_GATES_H

#include "rows_sweep.h"

/* Sums over the cells of one phase and group that have executed experts with mass. */
struct trace_gate {
    uint64_t cells;   /* with executed experts whose mass is not zero */
    uint64_t margins; /* of them, with a second choice */
    /* The largest score less the second one: of the executed experts, or of all recorded
     * candidates where one expert is executed (top_k 1). */
    double margin;
    double rest;    /* 1 - (mass of the largest score) / (mass of the executed experts) */
    double outside; /* 1 - (mass of the executed) / (mass of all recorded) */
};

struct gates;

struct gates *gates_new(struct trace *t);
void gates_free(struct gates *g);
void gates_visit(void *context, const struct rows_layer *l); /* of the struct gates */
/* (phase, group): [TRACE_PHASES * groups]; borrowed. */
const struct trace_gate *gates_sums(const struct gates *g);

#endif
