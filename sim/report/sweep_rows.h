/* The table of a sweep (sweep.csv), as its page needs it. */
#ifndef MOESIM_REPORT_SWEEP_ROWS_H
#define MOESIM_REPORT_SWEEP_ROWS_H

#include "sim/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What of a row is kept; times in seconds, sizes in bytes, NaN: none. */
enum sweep_figure {
    ROW_TOKENS, /* output tokens per second */
    ROW_TPOT,   /* median time per output token */
    ROW_TPOT_TAIL,
    ROW_TTFT,
    ROW_HITS, /* hit rate */
    ROW_LINK, /* bytes over the link */
    ROW_PASSES,
    ROW_WEIGHTS,
    ROW_BUFFERS,
    ROW_KV,
    ROW_ACTIVATIONS, /* GPU memory at its peak */
    ROW_LOST,        /* share of the gate mass that a select loses */
    ROW_TOP1,        /* share of rows that keep their best expert */
    ROW_CHOSEN,      /* rows that the select chose for */
    ROW_FIGURES
};

/* A policy in a point that was done. */
struct sweep_row {
    uint64_t point;
    char *identity, *label;
    bool bound;    /* it foresees */
    bool lossless; /* it changes nothing that the model computes */
    char *select;  /* its select, and what fills its other slots, in words */
    char *others;
    char **value;  /* [keys] */
    size_t *level; /* [keys] which of the key's levels that is */
    double figure[ROW_FIGURES];
};

/* A key that was swept. */
struct sweep_key {
    char *name;     /* "cache.slots" */
    char **level;   /* [levels] different values: numbers ascending, else as they come */
    double *number; /* [levels]; NULL: it has no numbers */
    size_t levels;
};

struct sweep_rows {
    size_t keys;
    struct sweep_key *key; /* [keys] */
    size_t rows;
    struct sweep_row *row; /* [rows] */
    uint64_t failed, missing;
    char *first_failure; /* why; NULL: nothing failed */
};

/* Reads FOLDER/sweep.csv. Fills `t` (owned). 0 or -1. */
int sweep_rows_read(const char *path, struct sweep_rows *t, struct err *e);
void sweep_rows_release(struct sweep_rows *t);
/* GPU memory in use at most. */
double sweep_row_memory(const struct sweep_row *row);

#endif
