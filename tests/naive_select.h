/* For tests of the select slot: batches of rows with scores, and every rule once more, by
 * sorting and counting. */
#ifndef MOESIM_TESTS_NAIVE_SELECT_H
#define MOESIM_TESTS_NAIVE_SELECT_H

#include "sim/base/rng.h"
#include "sim/policy/select.h"

enum { NAIVE_EXPERTS = 20, NAIVE_ROWS = 12, NAIVE_LAYERS = 2 }; /* at most */

/* What a batch may be drawn as. */
struct naive_shape {
    uint32_t experts, top_k, width;
    enum view_score kind;
    bool sorted; /* as the trace says */
    bool biased; /* the router's choice is not its best by score */
    bool ties;   /* a few values alone; not where it is biased */
};
struct naive_batch {
    struct naive_shape shape;
    uint32_t rows, layer;
    /* (row, layer, candidate) as in a trace. */
    uint16_t candidate[NAIVE_ROWS * NAIVE_LAYERS * NAIVE_EXPERTS];
    float score[NAIVE_ROWS * NAIVE_LAYERS * NAIVE_EXPERTS];
    uint16_t choice[NAIVE_ROWS * NAIVE_EXPERTS]; /* (row, top_k) as recorded */
    struct view_row row[NAIVE_ROWS];
    bool resident[NAIVE_EXPERTS];
    uint64_t profile[NAIVE_LAYERS * NAIVE_EXPERTS];
};

/* Some rows have fewer than top_k experts, some none. Of the other layer's scores none is
 * a number. */
void naive_draw_batch(struct rng *r, const struct naive_shape *shape,
                      struct naive_batch *b);
/* Sets a row by hand: [width] of both, the first top_k of which are executed. */
void naive_put_row(struct naive_batch *b, uint32_t row, const uint16_t *id,
                   const float *score);
/* Borrows the batch, which says what is resident. */
struct view naive_view(const struct naive_batch *b);

/* A row in the order that select.h promises. */
struct naive_row {
    uint32_t executed, count;
    uint16_t id[NAIVE_EXPERTS];
    double score[NAIVE_EXPERTS], mass[NAIVE_EXPERTS];
};
void naive_look(const struct naive_batch *b, uint32_t row, struct naive_row *x);

enum naive_rule {
    NAIVE_LYNX,
    NAIVE_BINNING,
    NAIVE_ERAS_THRESHOLD,
    NAIVE_ERAS_BIAS,
    NAIVE_OEA,
    NAIVE_BUDGET,
    NAIVE_NAEE,
    NAIVE_TOP_K,
    NAIVE_RULES
};
struct naive_params {
    enum naive_rule rule;
    uint32_t percent; /* lynx: dropped; budget: kept */
    bool other;       /* the second form: accuracy, floor, sum of the executed */
    double alpha;     /* binning, threshold; beta of the bias and of naee */
    double theta;
    uint32_t beta, margin;
    uint32_t k, most, reach; /* oea: k0, k_max, max_p; budget: warm_up, experts */
};
void naive_draw_params(struct rng *r, enum naive_rule rule, struct naive_params *p);
/* As a policy; owned. */
char *naive_text(const struct naive_params *p);

/* Which places of its naive_row each row executes. */
struct naive_picks {
    uint32_t count[NAIVE_ROWS];
    uint16_t place[NAIVE_ROWS][NAIVE_EXPERTS];
};
/* Of naee with alpha 0, which calibrates, nothing: all stay. */
void naive_select(const struct naive_batch *b, const struct naive_params *p,
                  struct naive_picks *picks);
/* What it did: adds to all of q but the masses, which it adds to `mass`, as recorded and
 * as picked. */
void naive_measure(const struct naive_batch *b, const struct naive_picks *picks,
                   struct select_quality *q, double mass[2]);

#endif
