/* What moesim-ranks runs: for each collective what every rank sends, and what it must
 * receive by a closed form of (rank, index), so that a result is checked without any
 * other rank's help. Data are 32-bit words, so a case has whole words only. No MPI. */
#ifndef MOESIM_GPU_RANK_CASE_H
#define MOESIM_GPU_RANK_CASE_H

#include "communicator.h"

#include <stddef.h>
#include <stdint.h>

enum rank_case_call {
    RANK_CASE_ALL_TO_ALL,
    RANK_CASE_ALL_TO_ALL_V,
    RANK_CASE_ALL_GATHER,
    RANK_CASE_REDUCE_SCATTER,
};

struct rank_case {
    const char *name; /* "all_to_all" */
    const char *help; /* who sends what to whom */
    /* `bytes` of the case, as nccl-tests define them, is `parts` times a block of
     * rank_shape.unit words. */
    uint32_t (*parts)(uint32_t ranks);
    /* Blocks that go from one rank to another. NULL: no all-to-all. */
    uint32_t (*weight)(uint32_t ranks, uint32_t from, uint32_t to);
    /* Bus bandwidth is this times bytes / seconds: the share of `bytes` that must pass
     * the busiest rank's port. */
    double (*bus)(uint32_t ranks);
    const char *bus_formula;
    enum rank_case_call call;
};

/* A case at one size, seen by one rank. */
struct rank_shape {
    const struct rank_case *c;
    uint32_t ranks, rank;
    size_t unit; /* words in a block */
};

extern const struct rank_case rank_cases[];
extern const size_t rank_case_count;

/* The largest that fits into `bytes`; unit is 0 where nothing does. */
struct rank_shape rank_shape_of(const struct rank_case *c, uint32_t ranks, uint32_t rank,
                                size_t bytes);
size_t rank_shape_bytes(const struct rank_shape *s);
/* How much this rank sends and receives. */
size_t rank_shape_from_words(const struct rank_shape *s);
size_t rank_shape_to_words(const struct rank_shape *s);
/* matrix (sending rank, receiving rank): bytes; zeros where the case is no all-to-all. */
void rank_shape_matrix(const struct rank_shape *s, size_t *matrix);

/* Writes what this rank sends. */
void rank_shape_fill(const struct rank_shape *s, uint32_t *from);
/* The index of the first wrong word of what it received, with the right word in
 * *expected; rank_shape_to_words() where all are right. */
size_t rank_shape_wrong(const struct rank_shape *s, const uint32_t *to,
                        uint32_t *expected);
/* Enqueues it. `matrix` is rank_shape_matrix's. */
int rank_shape_run(const struct rank_shape *s, const struct communicator_ops *ops,
                   struct communicator *c, const size_t *matrix, void *to,
                   const void *from, struct err *e);

#endif
