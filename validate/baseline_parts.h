/* Shared by the baseline*.c files: what a baseline stores is written as YAML text by
 * record_*(), and read and compared as two documents. */
#ifndef MOESIM_VALIDATE_BASELINE_PARTS_H
#define MOESIM_VALIDATE_BASELINE_PARTS_H

#include "baseline.h"

#include <stdio.h>

/* What `stored:` is to hold, without that key, two spaces in. 0; 1: a signal stopped it;
 * -1. Papers also add their rows to `c`, unless it is NULL. */
int record_study(const struct baseline *b, const struct baseline_world *w, FILE *out,
                 struct err *e);
int record_tables(const struct baseline *b, const char *machines, FILE *out,
                  struct err *e);
int record_papers(const struct baseline *b, const struct baseline_world *w,
                  struct check_case *c, FILE *out, struct err *e);
/* What was measured of a study's steps against its passes: the key `accuracy`. */
struct result;
int record_accuracy(const struct baseline *b, const struct result *r, FILE *out,
                    struct err *e);

/* Adds what differs and, where something fails, why (baseline_cause()). */
void baseline_judge(const struct baseline *b, const struct cfg_node *now,
                    struct check_case *c);
/* What of the inputs is another, and so what it explains. */
enum baseline_input {
    BASELINE_COSTS = 1 << 0,   /* numbers of the machine: times */
    BASELINE_ROUTING = 1 << 1, /* trace, model, settings: everything */
};
/* Adds a sentence for each; `c` has the rows that differ. Bits of enum baseline_input. */
unsigned baseline_inputs(const struct cfg_node *stored, const struct cfg_node *now,
                         struct check_case *c);
/* "layer 3 (decoder layer 5)"; owned. */
char *baseline_layer(const struct cfg_node *now, size_t layer);
/* Adds the sentences: causes of what failed, from inputs to effects. */
void baseline_cause(const struct cfg_node *stored, const struct cfg_node *now,
                    struct check_case *c);

/* ---- writing YAML (record_text.c) ---- */

/* A text, in quotes where it needs them. */
void record_text(FILE *out, const char *text);
/* "KEY: ", the key as text. */
void record_key(FILE *out, int indent, const char *key);
void record_pair(FILE *out, int indent, const char *key, const char *value);
void record_count(FILE *out, int indent, const char *key, uint64_t value);

/* A list or mapping in braces over several lines. */
struct record_flow {
    FILE *out;
    int indent;
    size_t column;
    size_t items;
    char end;
};
/* After record_key(). */
struct record_flow record_begin(FILE *out, int indent, char begin, char end);
/* An item ready to write; of a mapping "KEY: VALUE". */
void record_item(struct record_flow *f, const char *text);
/* ... from a key (NULL in a list) and a text. */
void record_item_text(struct record_flow *f, const char *key, const char *text);
void record_number(struct record_flow *f, const char *key, uint64_t value);
void record_share(struct record_flow *f, const char *key, double value);
void record_hash(struct record_flow *f, uint64_t hash);
void record_end(struct record_flow *f);

/* The values of a document, flat: "gpu.memory: 24 GB". Of a mapping with a `value` that;
 * without the keys in `but` (NULL ends them). Files are written without their folder. */
void record_flat(FILE *out, int indent, const struct cfg_node *n, const char *const *but);
/* KEY: and the values of a machine or model (taken; NULL fails) below it. 0 or -1. */
int record_document(FILE *out, const char *key, struct cfg *c);
/* "{points: 96, mean: 0.07, ...}": how far predictions are from measurements, as shares:
 * mean and median of |predicted / measured - 1|, the largest, and the mean with its sign.
 */
void record_errors(struct record_flow *f, const double *predicted, const double *measured,
                   size_t count);
/* "KEY: HASH" of a file's bytes. 0 or -1. */
int record_file(FILE *out, const char *key, const char *path, struct err *e);

#endif
