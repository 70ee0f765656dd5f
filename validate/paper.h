/* A published table, held against what is predicted for the same configurations. One YAML
 * file of validate/papers/ each (README.md has the keys).
 *
 * A row has the published figure, a tolerance, and where the prediction comes from: a
 * closed form (paper_formula.h), or a figure of a replay, alone or over the same figure
 * of another (paper_replay.h). Constants are stated once and hold for every replay of
 * the table. Those that were fitted were fitted on rows marked so, at most half of the
 * rows that are replays; a file that breaks this is refused.
 *
 * A row without a published figure is shown beside the others (a baseline that the
 * publication lacks), and counts as neither.
 *
 * A row that misses needs an explanation, which states the error that it explains. The
 * row fails the check if it misses without one, if the error is further than
 * PAPER_DRIFT from the stated one or has another sign, or if it no longer misses. */
#ifndef MOESIM_VALIDATE_PAPER_H
#define MOESIM_VALIDATE_PAPER_H

#include "sim/base/config.h"
#include "sim/base/err.h"

#include <stdbool.h>
#include <stddef.h>

#define PAPER_DRIFT 0.05 /* of the published figure */

/* ---- quantities as published ---- */

enum paper_dimension { PAPER_RATIO, PAPER_TIME, PAPER_BYTES };

struct paper_unit {
    const char *name; /* "ms"; "" for a plain number */
    enum paper_dimension dimension;
    double scale; /* to s, bytes, 1 */
};

struct paper_quantity {
    double value; /* in s, bytes, 1 */
    const struct paper_unit *unit;
    int decimals; /* digits behind the point, as written */
};

/* "28.9 ms", "32.2 %", "6.21". 0, or -1: `what` names the key in the message. */
int paper_read_quantity(const struct cfg_node *n, const char *what,
                        struct paper_quantity *q, struct err *e);

/* ---- the table ---- */

enum paper_provenance { PAPER_PUBLISHED, PAPER_ESTIMATE, PAPER_FITTED };

/* A number of machine, model, trace or configuration, such as "machine.gpu.fp32_flops".
 */
struct paper_constant {
    const char *name;
    const char *text;            /* "0.244 ms", as stated */
    double value;                /* the number in it */
    const char *unit;            /* what stands behind: "ms"; may be "" */
    int decimals;                /* behind the point, as stated */
    const struct cfg_node *sets; /* list of what it sets */
    int provenance;              /* enum paper_provenance */
    const char *source;
    double start, min, max; /* fitted: where the search begins, and its bounds */
};

struct paper_replay {
    const char *name;
    const struct cfg_node *set; /* list of "machine.gpus=8", ...; or NULL */
};

enum paper_relation { PAPER_ABOUT, PAPER_AT_LEAST, PAPER_AT_MOST };

enum paper_verdict {
    PAPER_OPEN,        /* not predicted yet */
    PAPER_OK,          /* within tolerance */
    PAPER_SHOWN,       /* predicted, where nothing was published */
    PAPER_EXPLAINED,   /* misses by what its explanation says */
    PAPER_UNEXPLAINED, /* misses, and nothing says why; this and what follows fail */
    PAPER_STALE,       /* misses, but not by what its explanation says */
    PAPER_NEEDLESS,    /* explains a miss that is none */
    PAPER_BROKEN       /* could not be predicted */
};
const char *paper_verdict_name(enum paper_verdict v);
static inline bool paper_verdict_fails(enum paper_verdict v)
{
    return v >= PAPER_UNEXPLAINED || v == PAPER_OPEN;
}

struct paper_figure; /* paper_replay.h */

enum paper_join { PAPER_ALONE, PAPER_OVER, PAPER_LESS };

/* One side of a row that is a replay. */
struct paper_side {
    size_t replay;      /* its number in the table */
    const char *policy; /* label in the replay's configuration */
};

struct paper_row {
    const char *what;
    struct paper_quantity published; /* value 0: nothing was; the unit is of use */
    int relation;                    /* enum paper_relation */
    double tolerance;
    bool fit;                          /* the constants were fitted on this row */
    const struct cfg_node *formula;    /* closed form; else NULL */
    const struct paper_figure *figure; /* of a replay; else NULL */
    struct paper_side run, other;
    enum paper_join join; /* `run` alone, over `other`, or less it */
    const char *why;      /* explanation of a miss, or NULL */
    double miss;          /* the error that it explains */
    /* The outcome, from paper_predict(). */
    double predicted, error; /* error: predicted / published - 1 */
    enum paper_verdict verdict;
    struct err broken;
};
static inline bool paper_row_is_published(const struct paper_row *row)
{
    return row->published.value > 0.0;
}

struct paper {
    struct cfg *document; /* owns all strings and nodes */
    const char *name, *title, *source, *notes;
    const struct cfg_node *base; /* machine, model, trace, config, set; or NULL */
    struct paper_constant *constant;
    size_t constants;
    struct paper_replay *replay;
    size_t replays;
    struct paper_row *row;
    size_t rows;
};

/* `path_or_name` as catalogue_load() takes it. Fills `p` (owned; paper_release). 0 or -1.
 */
int paper_load(const char *path_or_name, const char *folder, struct paper *p,
               struct err *e);
void paper_release(struct paper *p);

/* ---- predicting ---- */

struct paper_lab;

/* Predicts every row and judges it. A row that cannot be predicted says why in `broken`.
 * 0, or 1 if a signal stopped it. */
int paper_predict(struct paper *p, struct paper_lab *lab);

struct paper_counts {
    size_t rows, held_out, shown, ok, explained, failed; /* shown: not held out */
    double mean_fit, mean_held_out; /* mean of |error| of rows with a tolerance above 0
                                       that say "about"; NaN without any */
};
struct paper_counts paper_count(const struct paper *p);

/* ---- fitting its constants again ---- */

struct paper_refit {
    size_t constants;                       /* those that were fitted */
    const struct paper_constant **constant; /* [constants] borrowed from the table */
    double *value, *error; /* [constants] found now, and its standard error */
    bool *equal;           /* [constants] to the stated one, as far as its digits go */
    size_t rows;           /* used */
};
/* Starts from each constant's `start`, not from what is stated. 0 or -1. */
int paper_refit(const struct paper *p, struct paper_lab *lab, struct paper_refit *r,
                struct err *e);
void paper_refit_release(struct paper_refit *r);

#endif
