/* Random experiments for test_properties.c: a small trace, model, machine and a list of
 * policies, all functions of one number, as files in a folder of their own. */
#ifndef MOESIM_TESTS_PROPERTY_CASE_H
#define MOESIM_TESTS_PROPERTY_CASE_H

#include "sim/base/rng.h"
#include "sim/experiment/experiment.h"
#include "traces/trace.h"

enum { PROPERTY_POLICIES = 6 };

struct property_case {
    uint64_t number;
    char *folder;
    uint32_t layers, experts, top_k;
    uint32_t requests, rows;
    uint32_t *prompt, *answer; /* [requests] rows of each request */
    uint16_t *expert;          /* (row, layer, rank), not recorded ones at the end */
    uint32_t candidates;       /* of a cell: top_k, or with scores as many or more */
    enum trace_score_kind score_kind;
    bool sorted;
    uint64_t *expert_bytes; /* [layers], or NULL: all alike */
    bool parallel;          /* several GPUs */
    bool timeless;          /* passes do not depend on time */
    char *head;             /* YAML: all but trace, workload and policies */
    char *workload;
    char *policy[PROPERTY_POLICIES]; /* flow mappings without their names */
};

/* Makes the folder, and in it trace.h5, model.yaml and machine.yaml. */
struct property_case *property_case_new(uint64_t number);
void property_case_free(struct property_case *c);
/* Removes the folder as well. */
void property_case_remove(struct property_case *c);

/* Writes a trace with the ids of layer l mapped by `to` (layer, expert), or as they are.
 */
void property_write_trace(const struct property_case *c, const char *name,
                          const uint16_t *to);
/* A configuration with the folder's trace, policies [first, first + count) under names of
 * their own numbers, and `more` lines. Owned. */
char *property_config(const struct property_case *c, const char *trace,
                      const char *workload, const char *more, char *const *policy,
                      uint32_t first, uint32_t count);

/* ---- property_select.c ---- */

void property_draw_scores(struct property_case *c);
/* What a cell (row, layer) has in a trace with scores: [candidates] of both. */
void property_list_candidates(const struct property_case *c, uint64_t cell,
                              uint16_t *candidate, float *score);
/* Often gives a policy of such a case a select; takes its text, returns it owned. */
char *property_with_select(const struct property_case *c, uint32_t number, char *policy);

/* Below `bound`. */
static inline uint32_t property_draw(struct rng *r, uint32_t bound)
{
    return (uint32_t)rng_below(r, bound);
}

#endif
