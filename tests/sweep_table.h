/* Tables of sweeps, as `moesim sweep` writes them, for the tests of their page. */
#ifndef MOESIM_TESTS_SWEEP_TABLE_H
#define MOESIM_TESTS_SWEEP_TABLE_H

#include <stdio.h>

/* A policy of a point. */
struct sweep_line {
    unsigned point;
    const char *identity;
    const char *outcome, *why, *status; /* NULL: "done", "", "complete" */
    const char *keys; /* the values of the swept keys, with a comma behind each */
    const char *label, *cache;
    /* Tokens per second, tokens' median and 99 % in s, GPU memory in bytes; negative:
     * none. */
    double tokens, tpot, tail, memory;
    double hits;
    /* What a select loses; NULL: there is none, and nothing is lost. */
    const char *select;
    double lost, top1;
};

/* The head; `keys` like "sweep.cache.slots,sweep.link,". */
void sweep_table_head(FILE *out, const char *keys);
void sweep_table_line(FILE *out, const struct sweep_line *line);

#endif
