#include "schedule_options.h"

#include <stddef.h>

#define AT(field) offsetof(struct schedule_params, field)

static const char *const exchanges[] = {"auto",   "flat",        "rails", "forward",
                                        "normal", "low-latency", NULL};
static const char *const loads[] = {"together", "each", NULL};
static const char *const experts[] = {"grouped", "serial", NULL};

const struct option schedule_options[] = {
    {"exchange", OPT_CHOICE, AT(exchange), "auto", 0, 0, exchanges,
     "all-to-all of dispatch and combine; flat: every pair of GPUs directly; rails: "
     "inside the node first; forward: once to each node, then inside; normal, "
     "low-latency: as DeepEP; auto: forward over several nodes with NVLink, else flat"},
    {"fp8_dispatch", OPT_BOOL, AT(fp8_dispatch), "no", 0, 0, NULL,
     "dispatch rows in fp8 with their scales, as DeepEP can"},
    {"experts", OPT_CHOICE, AT(experts), "grouped", 0, 0, experts,
     "grouped: one grouped GEMM; serial: a loop launches each expert's own kernels"},
    {"loads", OPT_CHOICE, AT(loads), "together", 0, 0, loads,
     "together: what a step has loaded runs in one group when all of it is there; each: "
     "expert by expert as it comes"},
    {"empty", OPT_BOOL, AT(empty), "no", 0, 0, NULL,
     "experts: serial also launches those without a token"},
    {"wait", OPT_BOOL, AT(wait), "no", 0, 0, NULL,
     "several GPUs: the host waits until rows have arrived before it launches experts, "
     "as eager code does that asks the GPU in between"},
    {.name = NULL},
};
