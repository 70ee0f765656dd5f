/* What the files of a sweep's page share. */
#ifndef MOESIM_REPORT_REPORT_SWEEP_STATE_H
#define MOESIM_REPORT_REPORT_SWEEP_STATE_H

#include "report_html.h"
#include "report_sweep.h"
#include "sim/result/result.h"
#include "sweep_rows.h"

#include <stdio.h>

/* How much a key decides. */
struct sweep_effect {
    size_t key;
    double share;       /* what the median point loses from the best bin to the worst */
    size_t best, worst; /* bins */
};

struct sweep_page {
    const char *sweep;         /* its folder */
    const struct result *best; /* of the best point */
    struct sweep_rows t;
    struct sweep_row **order; /* [ranked] from the best on; then [bounds] likewise */
    size_t ranked, bounds;
    struct sweep_effect *effect; /* [t.keys] from the greatest on */
    bool timed;                  /* the goal is tokens per second, else hits in % */
    bool labels;                 /* policies have several labels */
    bool grid;                   /* every combination of values is there */
    struct report_html *html;
    FILE *out; /* its */
};

/* What points are ranked by, more is better. */
double sweep_goal(const struct sweep_page *p, const struct sweep_row *row);
const char *sweep_goal_name(const struct sweep_page *p);
/* A point by its keys, "arc, slots 16". Owned. */
char *sweep_row_name(const struct sweep_page *p, const struct sweep_row *row);
/* A value as people read it: numbers in four digits. Owned. */
char *sweep_value_text(const char *value);
/* The bin at the knee of a key with numbers: of the best points of a grid, else of the
 * medians, smoothed so that they never fall; 0: it has none. */
size_t sweep_knee(const struct sweep_page *p, size_t key);
/* The height of the curve whose knee that is. */
double sweep_height(const struct sweep_page *p, size_t key, size_t bin);

/* ---- bins of a key's levels: few levels are each one, many numbers share twelve ---- */

size_t sweep_bins(const struct sweep_key *key);
size_t sweep_bin_of(const struct sweep_key *key, size_t level);
/* The level in the middle of a bin. */
size_t sweep_bin_middle(const struct sweep_key *key, size_t bin);
/* A quantile (0 .. 1) of the goals of a bin's points; NaN: there are none. */
double sweep_bin_quantile(const struct sweep_page *p, size_t key, size_t bin, double at);

/* What a point costs: the less the better. */
typedef double sweep_cost(const struct sweep_row *row);
/* The front of goal and cost: rows, best goal first. Owned; `count` gets how many. */
const struct sweep_row **sweep_front(const struct sweep_page *p, sweep_cost *cost,
                                     size_t *count);
/* Time per output token at 99 %, in seconds. */
double sweep_row_tail(const struct sweep_row *row);

/* Orders the rows: fills all that follows from `t`. */
void sweep_rank(struct sweep_page *p);

/* All figures. 0 or -1. */
int sweep_figures(struct sweep_page *p, struct err *e);
/* The one of points that lose something for speed, where there are any. 0 or -1. */
int sweep_quality(struct sweep_page *p, struct err *e);

#endif
