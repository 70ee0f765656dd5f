/* The slot rule of capacity gating, shared by the plug-ins that differ only in C.
 *
 * Each expert computes on C slots. Choices claim slots rank by rank and, within a rank,
 * row by row: a top-1 choice's slot is the running count of its expert, a rank j choice's
 * is the running count of that rank plus the expert's totals of all lower ranks, kept or
 * not (GShard, Lepikhin et al., ICLR 2021, algorithm 1, for two ranks). A slot >= C drops
 * the choice. */
#ifndef MOESIM_POLICY_GATE_CAPACITY_H
#define MOESIM_POLICY_GATE_CAPACITY_H

#include "slots.h"

/* The plug-ins' option `dispatch`. */
enum gate_dispatch { GATE_SPARSE, GATE_DENSE };
extern const char *const gate_dispatch_names[];
#define GATE_DISPATCH_HELP                                                               \
    "how several GPUs bring rows to their slots; sparse: row by row (Tutel); dense: by " \
    "products with one-hot matrices (GShard, fairseq)"

/* Arguments as of gate_type.apply. `capacity` is at least 0 and may be fractional: it is
 * rounded up, and held below 2^32. */
struct gate_result gate_capacity_apply(const struct view *v, double capacity,
                                       uint16_t *choice, uint32_t *scratch);

#endif
