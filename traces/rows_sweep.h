/* All rows of a trace, or evenly spaced ones, seen once, block by block and in each block
 * layer by layer: what is counted of a layer then stays in the processor's cache. Memory
 * is of a block, whatever the trace. */
#ifndef MOESIM_TRACES_ROWS_SWEEP_H
#define MOESIM_TRACES_ROWS_SWEEP_H

#include "trace.h"

/* One layer of a block of rows; all borrowed until the visit ends. */
struct rows_layer {
    uint32_t layer, rows;
    uint64_t first;         /* row */
    const uint16_t *expert; /* (row, top_k) executed, the first `count` of each row */
    const uint16_t *count;  /* (row) */
    /* The same of the next layer; NULL at the last. */
    const uint16_t *next, *next_count;
    /* All candidates of row i are at cell[i * stride], their scores at score[i * stride],
     * which is NULL unless they were asked for. */
    const uint16_t *cell;
    const float *score;
    size_t stride;
    const struct trace_token *token; /* (row), where asked for */
};

struct rows_visitor {
    void (*visit)(void *context, const struct rows_layer *l);
    void *context;
};

struct rows_sweep {
    uint64_t step; /* rows 0, step, 2 step, ...; `first` counts these */
    bool tokens, scores;
    const struct rows_visitor *visitor; /* [visitors], in this order for each layer */
    size_t visitors;
    /* After each block, with the rows seen so far; -1 ends the sweep. NULL: nothing. */
    int (*after)(void *context, uint64_t rows, struct err *e);
    void *context; /* of `after` */
};

/* 0 or -1. */
int rows_sweep(struct trace *t, const struct rows_sweep *s, struct err *e);

/* Executed experts of a cell: all before the first that was not recorded, and none is
 * recorded behind that. */
static inline uint32_t rows_executed(const uint16_t *cell, uint32_t top_k)
{
    while (top_k > 0 && cell[top_k - 1] == TRACE_NOT_RECORDED)
        top_k--;
    return top_k;
}

#endif
