/* Whole runs of selects: traces of decode and prefill rows with scores of all experts, of
 * some and of none, a model, and what runs on them. */
#ifndef MOESIM_TESTS_SELECT_LAB_H
#define MOESIM_TESTS_SELECT_LAB_H

#include "sim/experiment/experiment.h"
#include "trace_maker.h"

enum { LAYERS = 3, EXPERTS = 12, TOP = 3, REQUESTS = 6, ROWS = 13, PREFILL = 6 };

/* With the scores of all experts, of five, of none; and with rows that executed fewer. */
enum { WHOLE, FEW, IDS, UNEVEN, TRACES };

struct lab {
    char *model, *trace[TRACES];
    struct trace_make made[TRACES];
};

/* For cmocka: the state is a struct lab. */
int select_lab_set_up(void **state);
int select_lab_tear_down(void **state);

/* Policies on an H100, or what `more` says of the rest; launched one by one unless it
 * says how. What experiment_run() returns. */
int select_lab_try(const struct lab *l, int trace, const char *more, const char *policies,
                   struct result *r, struct err *e);
/* ... where they must run. */
struct result select_lab_run(const struct lab *l, int trace, const char *more,
                             const char *policies);
/* ... of one policy with a select and `rest`, without bounds. */
struct result run_select(const struct lab *l, int trace, const char *more,
                         const char *select, const char *rest);

/* The run of the first policy. */
static inline const struct run_result *first(const struct result *r)
{
    return &r->policy[0].run;
}

#define FEW_SLOTS "cache: {name: lru, slots: 4}"

#endif
