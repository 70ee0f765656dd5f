/* A layer as a program: the stages that a schedule takes an MoE layer of several GPUs
 * through, in the order in which they are submitted. Time flows as lanes and what stages
 * wait for allow: a stage of one part waits for what came before of its part, a stage of
 * the whole for all parts.
 *
 *   plain        gate decide encode exchange dispatch experts combine decode
 *   2 chunks     gate decide encode exchange
 *                  dispatch 0, dispatch 1, experts 0, experts 1, combine 0, combine 1
 *                decode
 *
 *   network   | D0 | D1 | ... | C0 | C1 |
 *   compute        |  X0  |  X1  |            D, X, C: dispatch, experts, combine
 *
 *   two-batch    for each half: dense gate decide encode exchange dispatch
 *                for each half: experts combine decode
 *
 *   network   |    | D0 | D1 | C0 | C1 |
 *   compute   | A0 | A1 | X0 | X1 | A0 | ...    A: dense block and gate
 *
 * A part is a run of each GPU's rows; a GPU's experts run once for each part, and read
 * their weights as often. Where the dense block goes by parts, too, these are batches:
 * each has its gate for itself, and may be in another layer than the other one. */
#ifndef MOESIM_POLICY_PROGRAM_H
#define MOESIM_POLICY_PROGRAM_H

#include <stdbool.h>
#include <stdint.h>

enum {
    PROGRAM_PARTS = 16,
    PROGRAM_BATCHES = 2,
    PROGRAM_STAGES = 6 * PROGRAM_BATCHES + 3 * PROGRAM_PARTS
};

enum stage_verb {
    STAGE_DENSE,  /* attention, norms, dense and shared FFN */
    STAGE_GATE,   /* router and top-k */
    STAGE_DECIDE, /* rows' choices become work for GPUs; alone, the host waits for them */
    STAGE_ENCODE, /* rows are arranged by expert, where a kernel of its own does so */
    STAGE_EXCHANGE, /* numbers of rows, where hosts need them */
    STAGE_DISPATCH, /* rows to the GPUs of their experts */
    STAGE_EXPERTS,
    STAGE_COMBINE, /* ... and what they gave comes back */
    STAGE_DECODE,  /* and is summed; of a batch, only when its next layer begins */
    STAGE_COUNTS,  /* shards: numbers of rows to all */
    STAGE_GATHER,  /* shards: rows to all */
    STAGE_SCATTER  /* shards: sums of the slices to whose rows they are */
};

struct stage {
    uint8_t verb; /* enum stage_verb */
    uint8_t part; /* of dispatch, experts, combine; of the others, a batch; else 0 */
};

struct program {
    uint32_t parts;
    uint32_t batches; /* parts that the dense block goes by; else 1 */
    uint32_t count;
    struct stage stage[PROGRAM_STAGES]; /* [count] */
};

/* What a schedule plans for. */
struct program_shape {
    uint32_t gpus;
    bool sharded; /* every GPU has a slice of every expert */
    bool counts;  /* ... and numbers of rows are told before they come */
};

/* Appends a stage. */
void program_add(struct program *p, enum stage_verb verb, uint32_t part);
/* Appends dense block to exchange, and decode: what most programs begin and end with. */
void program_begin(struct program *p);
void program_end(struct program *p);

struct schedule_type;
/* The program of a schedule; one without stages of its own has the plain one, or that of
 * shards. */
void program_make(const struct schedule_type *type, const void *params,
                  const struct program_shape *shape, struct program *p);

#endif
