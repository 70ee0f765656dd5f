/* What the files of a sweep's page share. */
#ifndef MOESIM_REPORT_REPORT_SWEEP_STATE_H
#define MOESIM_REPORT_REPORT_SWEEP_STATE_H

#include "report_sweep.h"
#include "sweep_rows.h"

#include <stdio.h>

/* How much a key decides. */
struct sweep_effect {
    size_t key;
    double share; /* what the best point loses if the key has its worst value */
    size_t worst; /* the level */
    double left;  /* the best goal with it */
};

struct sweep_page {
    const struct report_sweep_request *request;
    struct sweep_rows t;
    struct sweep_row **order; /* [ranked] from the best on */
    size_t ranked;
    struct sweep_effect *effect; /* [t.keys] from the greatest on */
    bool timed;                  /* the goal is tokens per second, else hits in % */
    bool labels;                 /* policies have several labels */
    FILE *out;
    bool undrawn;
};

/* What points are ranked by, more is better. */
double sweep_goal(const struct sweep_page *p, const struct sweep_row *row);
const char *sweep_goal_name(const struct sweep_page *p);
/* A point by its keys, "arc, slots 16". Owned. */
char *sweep_row_name(const struct sweep_page *p, const struct sweep_row *row);
/* The best goal of the points with a level of a key; NaN: none. */
double sweep_best_at(const struct sweep_page *p, size_t key, size_t level);
/* The level at the knee of a key with numbers; 0: it has none. */
size_t sweep_knee(const struct sweep_page *p, size_t key);
/* What a point costs: the less the better. */
typedef double sweep_cost(const struct sweep_row *row);
/* The front of goal and cost: rows, best goal first. Owned; `count` gets how many. */
const struct sweep_row **sweep_front(const struct sweep_page *p, sweep_cost *cost,
                                     size_t *count);
/* Time per output token at 99 %, in seconds. */
double sweep_row_tail(const struct sweep_row *row);

/* All figures. 0 or -1. */
int sweep_figures(struct sweep_page *p, struct err *e);

#endif
