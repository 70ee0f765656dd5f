/* What a baseline has of one policy, stored and predicted now, and what of it is another:
 * its decisions, what its operations cost, how many there are, when they are launched. */
#ifndef MOESIM_VALIDATE_POLICY_PAIR_H
#define MOESIM_VALIDATE_POLICY_PAIR_H

#include "sim/base/config.h"

struct policy_pair {
    const char *label;
    const struct cfg_node *old, *new;
};

/* A kind of decision, and the counts that tell of it. */
struct policy_decision {
    const char *what;     /* is decided otherwise */
    const char *slot;     /* ... by the plug-in of this slot, or NULL */
    const char *count[9]; /* ... if one of these is another; NULL ends them */
};
enum { POLICY_EVICTION = 4, POLICY_DECISIONS = 6 };
extern const struct policy_decision policy_decisions[];
/* The first that is another; POLICY_DECISIONS: none. `count` is what tells; NULL: only
 * which experts were loaded. */
size_t policy_decision_of(const struct policy_pair *p, const char **count);

/* A number of the operations of a kind; NaN: there are none. */
double policy_operation(const struct cfg_node *policy, const char *kind, const char *key);
/* How many there are. */
double policy_operations(const struct cfg_node *policy, const char *kind);
/* Whether operations of the kind cost otherwise: done as often for the same decisions,
 * they take another time; where they share a link only the shortest one tells. */
bool policy_costs_changed(const struct policy_pair *p, const char *kind);
/* A kind of which there are more or fewer operations; NULL: none. */
const char *policy_number_changed(const struct policy_pair *p);
/* A kind that the host launches slower or sooner after what was before; NULL: none. */
const char *policy_launch_changed(const struct policy_pair *p);
/* The share of the passes' time that changed most, and its times; NULL: none did. */
const char *policy_share_changed(const struct policy_pair *p, double *old, double *new);

#endif
