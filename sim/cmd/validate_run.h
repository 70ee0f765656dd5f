/* The two sides of `moesim validate`: one configuration run by the simulated executor
 * and, as often as asked, by the device executor, with every operation and count kept. */
#ifndef MOESIM_CMD_VALIDATE_RUN_H
#define MOESIM_CMD_VALIDATE_RUN_H

#include "gpu/bench_speed.h"
#include "gpu/exec_device.h"
#include "sim/experiment/experiment.h"
#include "validate/agreement.h"
#include "validate/speed.h"
#include "validate/tally.h"

/* One run of all policies. */
struct validate_side {
    struct result result;
    uint32_t policies; /* begun */
    struct agreement_ops *ops;
    struct tally *tally;
    double kv_token_bytes;     /* of one token in all layers */
    struct speed_probe speed;  /* that the machine file says */
    struct run_pass **pass;    /* [policies][passes] */
    struct cost_batch largest; /* no pass of any policy is larger in tokens, outputs or
                                  kv_tokens */
};
void validate_side_release(struct validate_side *s);

/* What executed runs share. */
struct validate_device {
    struct device *device;
    uint64_t expert_budget_bytes; /* of host memory; 0: a quarter of what is free */
    bool floats;                  /* some policy runs experts on the host */
    uint64_t reserve_bytes; /* of device memory: for the slots and caches of any policy */
    struct cost_batch largest; /* what passes need at most: see validate_side */
    struct exec_device_streams streams;
    struct weights *weights; /* made by the first run */
    struct model model;
    char *notes; /* what is shared; owned; or NULL */
    /* How fast it is: looked at before each policy of a run, and after the last one. */
    struct bench_speed *speed; /* made by the first run */
    struct speed_probe *probe; /* [probes] */
    size_t probes;
};
/* Leaves the device open. */
void validate_device_release(struct validate_device *d);

struct validate_progress {
    void (*show)(void *context, uint64_t rows_done, uint64_t rows_total); /* or NULL */
    void *context;
};

/* Fill `s` (owned; validate_side_release, also on failure). 0 or -1. `element_bits` is
 * the device's. */
int validate_predict(struct cfg *config, const struct experiment_folders *folders,
                     uint32_t element_bits, const struct validate_progress *progress,
                     struct validate_side *s, struct err *e);
int validate_execute(struct cfg *config, const struct experiment_folders *folders,
                     struct validate_device *d, uint32_t element_bits,
                     const struct validate_progress *progress, struct validate_side *s,
                     struct err *e);

#endif
