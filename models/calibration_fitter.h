/* What calibration.c (the fit) and calibration_numbers.c (what becomes of it in a machine
 * file) share. Nothing else includes this. */
#ifndef MOESIM_MODELS_CALIBRATION_FITTER_H
#define MOESIM_MODELS_CALIBRATION_FITTER_H

#include "calibration.h"

enum role {
    /* Of the GPU; rates in units per second, times in seconds. */
    GEMM_RATE,
    EXPERT_RATE,
    ATTENTION_RATE,
    WEIGHT_RATE, /* bytes of weights and KV cache */
    MOVE_RATE,   /* bytes of activations */
    KERNEL_FLOOR,
    EXPERT_FLOOR,
    ATTENTION_FLOOR,
    EXPOSED,
    FILL_ROWS,
    FEW_ROWS,
    /* Of the host. */
    HOST_RATE,
    HOST_BYTES_RATE,
    HOST_EXPOSED,
    HOST_FILL_ROWS,
    HOST_FEW_ROWS,
    LAUNCH_TIME,                               /* of each kind */
    COPY_LATENCY = LAUNCH_TIME + LAUNCH_KINDS, /* of each kind */
    COPY_RATE = COPY_LATENCY + COPY_KINDS,
    DUPLEX_SHARE = COPY_RATE + COPY_KINDS, /* in, out */
    ROLES = DUPLEX_SHARE + 2
};

struct fitter {
    struct calibration *c;
    double value[ROLES]; /* the best so far */
    double error[ROLES]; /* relative standard error */
    struct machine_tiles tiles;
};

/* Highest rates of a table of experts, in flops and in bytes of weights: raises what is
 * there. */
void fitter_expert_rates(const struct samples *s, double weight_bytes, double *flops,
                         double *bytes);
/* The highest of any shape on the device. */
void fitter_best_rates(const struct calibration *c, double *flops, double *bytes);

/* Lists the numbers of the machine file. */
void fitter_add_numbers(const struct fitter *f);

#endif
