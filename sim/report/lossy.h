/* Policies that change routing beside those that do not: how much of the gate mass each
 * loses, what time it takes, which belong together, and what the same loss costs by the
 * plainest way.
 *
 * A point is a policy. Those of one select and the same other choices that differ in one
 * numeric option alone, the knob of that select, are a line. The front has the points
 * that no other equals or beats in both mass lost and time and beats in one.
 *
 * Controls of a point have its other choices and change nothing, or give every row fewer
 * experts (select: top-k). Of two controls, some rows may take the one and the others the
 * other: that lies on the straight line between them. So at equal mass lost the control
 * takes the time on that line, or that of a control which loses no more, if that is less.
 * A select that is not faster than this is no progress. */
#ifndef MOESIM_REPORT_LOSSY_H
#define MOESIM_REPORT_LOSSY_H

#include "sim/result/result.h"

#include <stdbool.h>
#include <stddef.h>

#define LOSSY_SAME_TIME 0.01 /* a smaller lead in time is none */
/* A control chooses for as many rows, within this share of them. */
#define LOSSY_SAME_ROWS 0.1

enum lossy_role { LOSSY_PLAIN, LOSSY_TOP_K, LOSSY_SELECT };

struct lossy_point {
    /* Given; borrowed. */
    const char *select;           /* "top-k k=2 phases=auto"; "none" or NULL: no select */
    const char *label;            /* what it is called */
    char *others;                 /* its other choices, equal where these are; taken */
    double lost, top1_lost, time; /* shares, seconds; no NaN */
    double rows;                  /* that the select chose for */
    unsigned number;              /* the caller's */
    /* Found. */
    enum lossy_role role;
    size_t line; /* lossy.line */
    double knob; /* value; NaN: its line has none */
    bool front;
};

/* Points [first, first + count), by their knob. */
struct lossy_line {
    size_t first, count, group;
};

/* Lines of one select and the same values of its other options. */
struct lossy_group {
    char *name; /* "lynx form=accuracy", with what tells it from others of its select */
    char *knob; /* "drop"; NULL: it has none */
    enum lossy_role role;
};

struct lossy {
    struct lossy_point *point;
    struct lossy_line *line;
    struct lossy_group *group; /* plain, top-k, then by name */
    size_t points, lines, groups;
};

/* Enters a point (with all that is given) into `l`, zeroed at first. */
void lossy_add(struct lossy *l, struct lossy_point point);
/* Orders the points, and fills all that is found, lines and groups. Once. */
void lossy_find(struct lossy *l);
void lossy_release(struct lossy *l);

/* A policy of a result as a point, and enters it. False where it is none: it knows what
 * comes, was stopped or has no time, or it loses something that is no select's.
 * `s`: its summary; `unlike`: a text that tells results apart; `time`: seconds;
 * `label`: borrowed. */
bool lossy_add_policy(struct lossy *l, const struct result_policy *p,
                      const struct result_summary *s, const char *unlike,
                      const char *label, double time, unsigned number);
/* The value of a point's knob as it is written: "0.25". Owned; NULL: it has none. */
char *lossy_knob_text(const struct lossy *l, const struct lossy_point *p);

/* What stands against a select. */
enum lossy_control {
    LOSSY_NO_CONTROL,     /* no top-k reduction with the same other choices */
    LOSSY_OTHER_ROWS,     /* ... but some that chose for more rows, or fewer */
    LOSSY_NOT_SO_LITTLE,  /* all controls lose more: the plain policy is missing */
    LOSSY_NOT_SO_MUCH,    /* all lose less, and are slower: nothing to tell */
    LOSSY_BEATEN_BY_LESS, /* all lose less, and one takes no longer */
    LOSSY_KNOWN
};
struct lossy_against {
    enum lossy_control known;
    size_t controls; /* of top-k */
    double time;     /* of the control: LOSSY_KNOWN, LOSSY_BEATEN_BY_LESS */
    double most;     /* mass that the most lossy control loses */
    double rows;     /* that some top-k chose for: LOSSY_OTHER_ROWS */
};
struct lossy_against lossy_compare(const struct lossy *l, const struct lossy_point *p);
/* How much less time it takes than the control, a share of the control's; NaN: it is not
 * known. */
double lossy_lead(const struct lossy_against *a, double time);

#endif
