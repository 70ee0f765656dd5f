/* What was checked and how it came out: cases, each with rows that were judged and, where
 * some fail, sentences that say why. A case is a baseline or a published table; whatever
 * it is, it is counted here and printed by check_print.h. */
#ifndef MOESIM_VALIDATE_CHECK_H
#define MOESIM_VALIDATE_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum check_verdict {
    CHECK_OK,
    CHECK_SHOWN,     /* there is nothing to judge it by */
    CHECK_EXPLAINED, /* is off, as somebody wrote down that it would be */
    CHECK_FAILED,    /* this and what follows fail */
    CHECK_BROKEN     /* could not be found out */
};
const char *check_verdict_name(enum check_verdict v);
static inline bool check_fails(enum check_verdict v)
{
    return v >= CHECK_FAILED;
}

/* One value that was held against what it should be, or (no `before`, no `after`) many
 * that are equal. Strings are owned. */
struct check_row {
    char *group, *name;   /* "machine", "h2d_pinned.bandwidth" */
    char *before, *after; /* as people read them; NULL: there is none */
    double numbers[2];    /* the same in `unit`; NaN: no numbers */
    const char *unit;     /* "s", "B", ""; constant */
    double change;        /* relative, or of shares the difference; NaN */
    double tolerance;     /* of the change; NaN: none was asked for */
    uint64_t values;      /* how many it stands for */
    enum check_verdict verdict;
    char *note; /* or NULL */
};

struct check_fact {
    char *name, *value; /* owned */
};

struct check_case {
    char *kind, *name, *title;  /* "study", "guard.yaml", in one line; owned */
    const char *before, *after; /* what the two values are called; constant */
    struct check_row *row;      /* [rows] */
    size_t rows;
    struct check_fact *fact; /* [facts] what a reader should know */
    size_t facts;
    char **finding; /* [findings] sentences, causes before effects; owned */
    size_t findings;
};

struct check {
    struct check_case *item; /* [cases] */
    size_t cases;
};

/* Adds a case (strings are copied); the pointer holds until the next one is added. */
struct check_case *check_add(struct check *c, const char *kind, const char *name,
                             const char *title);
/* Takes the last case away again. */
void check_drop(struct check *c);
void check_release(struct check *c);

/* Adds a row: all but what is given is empty, NaN, 1 value. Takes nothing: `group` and
 * `name` are copied. The pointer holds until the next one is added. */
struct check_row *check_add_row(struct check_case *c, const char *group, const char *name,
                                enum check_verdict verdict);
void check_add_fact(struct check_case *c, const char *name, const char *value);
/* Takes the sentence. */
void check_add_finding(struct check_case *c, char *sentence);

struct check_counts {
    uint64_t values, rows, ok, shown, explained, failed, broken; /* failed: not broken */
};
struct check_counts check_count(const struct check_case *c);
struct check_counts check_count_all(const struct check *c);
bool check_is_good(const struct check *c);

/* "stored 9.12 ms, now 9.21 ms (+1.0 %); why": a row in words. Owned. */
char *check_row_text(const struct check_case *c, const struct check_row *row);
/* "+1.0 %", with the digits that a small one needs; "" for NaN. Owned. */
char *check_change_text(double change);

#endif
