/* What the files of the report share. */
#ifndef MOESIM_REPORT_REPORT_STATE_H
#define MOESIM_REPORT_REPORT_STATE_H

#include "explain.h"
#include "report_plot.h"

struct report_page {
    const struct result *const *results;
    size_t count;
    struct report_entry *entry;
    char **label; /* owns the entries' labels */
    size_t entries;
    const char *folder;
    FILE *out;
    bool *undrawn; /* set where gnuplot is missing or failed */
};

/* How many entries are of results of several GPUs, or of one. */
size_t report_entries(const struct report_page *p, bool parallel);
/* A verdict in its colour. */
void report_chip(FILE *out, enum explain_verdict verdict);
/* The tables of policies: of those on one GPU, and of those on several. */
void report_tables(const struct report_page *p);

#endif
