/* A naive count of what a run over several GPUs computes and sends: plain loops over
 * rows, written from the contracts of collective.h, place.h, gate_capacity.h and
 * sim/run/README.md. Placements come from place_new(), what a rebalance copies from
 * place_migrate.h, passes from the workload; all else is counted here once more. */
#ifndef MOESIM_TESTS_NAIVE_CREW_H
#define MOESIM_TESTS_NAIVE_CREW_H

#include "crew_lab.h"
#include "sim/policy/place.h"

/* What the naive count finds; owned arrays. */
struct crew_count {
    uint32_t layers, gpus, links;
    struct run_counts *layer; /* [layers] the fields of rows and migrations only */
    uint64_t *gpu_rows;       /* [gpus] */
    uint64_t *link_bytes;     /* [links] */
    uint64_t migrations, migrated_bytes;
};
/* The placement that its runs begin with. Owned. */
struct place *crew_place_naively(const struct crew_lab *lab);
struct crew_count crew_count_naively(const struct crew_lab *lab);
void crew_count_release(struct crew_count *x);

#endif
