/* What the files of the report share. */
#ifndef MOESIM_REPORT_REPORT_STATE_H
#define MOESIM_REPORT_REPORT_STATE_H

#include "explain_state.h"
#include "report.h"
#include "report_differs.h"
#include "report_html.h"

/* One policy of one of the results. */
struct report_entry {
    const struct result *result;
    const struct result_policy *policy;
    uint32_t number; /* of the policy in its result */
    size_t which;    /* of the result */
    char *label;     /* unique: with what its result differs in, of several */
    char *row;       /* "3 lru", "bound belady": its name in figures */
    unsigned rank;   /* from 1, by report_measure; 0: a bound, or stopped */
    bool bound;      /* nobody would choose it (result_is_reference()) */
    double measure;  /* what it is ranked by, the less the better; NaN: none */
    struct result_summary s;
};

/* What policies are ranked by: the first that any of them has. */
enum report_measure {
    MEASURE_TPOT, /* median time per output token */
    MEASURE_TTFT, /* ... to the first token */
    MEASURE_HITS  /* nothing was timed */
};

struct report_page {
    const struct result *const *results;
    size_t count;
    struct report_differs differs;
    enum report_measure measure;
    struct report_entry
        *entry;             /* [entries] by rank, then bounds, then what was stopped */
    size_t entries, ranked; /* ranked: the first so many */
    const struct curve
        *curve; /* hits against slots of the first result's trace; or NULL */
    struct explain_selects selects; /* of all entries; numbers are theirs */
    struct report_html *html;
    FILE *out; /* its */
};

/* "time per output token", ...: of the page's measure. */
const char *report_measure_name(const struct report_page *p);
/* An entry's measure as text. */
struct text_figure report_measure_text(const struct report_page *p,
                                       const struct report_entry *entry);
/* How many entries are of results of several GPUs, or of one. */
size_t report_entries(const struct report_page *p, bool parallel);
/* What bounds it, in a word or two: "cache choices", ... */
const char *report_limit_name(enum explain_verdict verdict);

/* What a reader must beware of: of results, count, measure. */
void report_caveats(const struct report_page *p);
/* The first screen: winner, reason, caveat. */
void report_answer(const struct report_page *p);
/* Enters the policies that lose something for speed, and those beside them, into
 * p->selects (owned). */
void report_selects_find(struct report_page *p);
/* What selects lose in the answer, and whether it is worth it. */
void report_selects(const struct report_page *p);
/* Who hits more than the winner and is slower, and why; nothing where nobody does. */
void report_hits(const struct report_page *p);
/* The tables of policies: of those on one GPU, and of those on several. */
void report_tables(const struct report_page *p);
/* All figures, and their files. 0 or -1. */
int report_figures(struct report_page *p, struct err *e);

#endif
