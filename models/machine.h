/* A machine: GPUs, links, host, storage, with costs. Loaded from models/machine/NAME.yaml
 * (strict); every number there stands with its unit and source, and with its fit error
 * (mean, relative) where it was fitted:
 * `hbm_bandwidth: {value: 3.35 TB/s, source: "...", error: 0.03}`.
 * Bandwidths are in bytes per second, one direction. All GPUs of a machine are alike. */
#ifndef MOESIM_MODELS_MACHINE_H
#define MOESIM_MODELS_MACHINE_H

#include "sim/base/config.h"
#include "sim/base/err.h"
#include "sim/base/units.h"

#include <stdbool.h>
#include <stdint.h>

/* Where weights can live, fastest first. On a unified-memory machine (a phone) the host
 * tier and the GPU tier are one memory and copies between them are free. */
enum tier { TIER_GPU, TIER_HOST, TIER_STORAGE, TIERS };

/* How a product of matrices with few rows goes on a processor core: weights are first
 * copied to its cache (filling), or taken row by row, where the first row comes with the
 * weights and each further one is slower than among many. All 0: the roofline. */
struct machine_rows {
    double exposed; /* share of the shorter of computing and reading that the longer does
                       not hide, [0, 1] */
    double fill;    /* computing takes as long as so many rows more do, */
    double few;     /* or, where that is quicker, so many times as long for each row but
                       the first; 0: never */
};

/* The heights of the tiles that kernels of expert GEMMs come in, ascending, each a
 * multiple of the first. 1 is a product with a vector. */
enum { MACHINE_TILES = 16 };
struct machine_tiles {
    uint32_t count;
    uint32_t rows[MACHINE_TILES];
};

/* The rows that an expert of so many takes: those of the smallest tile that holds them
 * all, or of whole tiles of the largest. */
static inline uint64_t machine_tiles_pad(const struct machine_tiles *t, uint32_t rows)
{
    uint64_t largest = t->rows[t->count - 1];

    for (uint32_t i = 0; i < t->count; i++)
        if (rows <= t->rows[i])
            return t->rows[i];
    return (rows + largest - 1) / largest * largest;
}

struct machine_gpu {
    char *name;
    uint64_t memory_bytes;
    double hbm_bytes_per_s;
    double bf16_flops; /* dense peak, flop/s */
    double fp32_flops;
    /* Reached shares of a peak, (0, 1]. Those with a default may be left out of a file.
     */
    double gemm_efficiency;        /* of flops, in dense GEMMs */
    double expert_gemm_efficiency; /* ... in grouped GEMMs; default gemm_efficiency */
    double attention_efficiency;   /* ... in attention; default gemm_efficiency */
    double memory_efficiency;      /* of HBM bandwidth, reading weights and KV cache */
    double move_efficiency; /* ... permuting, activating, summing; default the former */
    double exposed; /* share of the shorter of computing and reading that the longer
                       does not hide, [0, 1]; default 0 (roofline) */
    struct machine_rows rows;   /* of dense and grouped GEMMs; exposed: attention too */
    struct machine_tiles tiles; /* an expert's rows are padded to one of these */
    sim_time kernel_floor;      /* GPU time of a kernel apart from its flops and bytes */
    sim_time expert_floor;      /* more of it, once per expert group; default 0 */
    sim_time attention_floor;   /* more of it, per attention kernel; default 0 */
};

struct machine_host {
    uint64_t memory_bytes;
    double dram_bytes_per_s;
    double flops;             /* reached by CPU expert GEMMs */
    struct machine_rows rows; /* of CPU expert GEMMs */
    sim_time launch_eager;    /* host time per kernel launch */
    sim_time launch_graph;    /* least GPU time per kernel node of a replayed graph */
    sim_time graph_launch;    /* host time to launch one graph */
    sim_time round_trip;      /* small device-to-host copy, synchronise, resume */
    sim_time copy_call;       /* host time to issue one asynchronous copy */
    sim_time expert_overhead; /* host time of an eager framework's loop over experts for
                                 each of them, launches not included; default 0 */
    sim_time layer_overhead;  /* of a layer's experts on the host, whatever they are:
                                 waking its threads, handing over; default 0 */
};

/* Processors beside the memory in which experts are stored (MoNDE, arXiv 2405.18832): a
 * memory expander's. That memory counts as the host's: `host.memory` is its size, and the
 * GPU reads it over h2d. */
struct machine_near {
    double bytes_per_s;      /* at which a unit reads weights */
    double flops;            /* that it reaches */
    sim_time layer_overhead; /* of a layer's experts, whatever they are; default 0 */
    uint32_t units; /* of a node, each shared by as many of its GPUs; default 1 */
};

struct machine_copy { /* t(n) = latency + n / bandwidth */
    sim_time latency;
    double bytes_per_s;
};

/* What collectives take beyond hops and bytes; each may be left out of a file. Dispatch
 * and combine are those of expert parallelism. */
struct machine_collective {
    sim_time launch;     /* GPU time of one NCCL-like kernel; default gpu.kernel_floor */
    double share;        /* of the bandwidth between the GPUs of a node; default 1 */
    double gather_share; /* of all-gather and reduce-scatter; default share */
    /* The same of DeepEP's kernels; default as above. */
    sim_time normal_dispatch, normal_combine;
    sim_time low_latency_dispatch, low_latency_combine;
    double normal_share, low_latency_share;
};

struct machine {
    char *name;
    char *source;
    uint32_t numbers, estimates; /* in its file; those whose source says "estimate" */
    uint32_t gpus;               /* per node */
    uint32_t nodes;
    bool unified; /* GPU and host share one memory */
    struct machine_gpu gpu;
    struct machine_host host;
    struct machine_copy h2d_pinned, h2d_pageable, d2h_pinned, d2h_pageable;
    double h2d_duplex, d2h_duplex; /* share of its bandwidth a direction keeps while the
                                      other runs too, (0, 1] */
    bool has_near;
    struct machine_near near;
    bool has_storage;
    uint64_t storage_bytes;
    struct machine_copy storage_read; /* NVMe, phone flash; per read request */
    bool has_nvlink;
    struct machine_copy nvlink; /* GPU to GPU inside a node, per GPU and direction */
    bool has_network;
    struct machine_copy network; /* between nodes, per GPU and direction */
    uint32_t rails;              /* NICs of a node; 0: one per GPU */
    double oversubscription;     /* the NICs of a node over its way to the others, >= 1 */
    uint32_t gpus_per_root;      /* GPUs that share one PCIe link to the host */
    struct machine_collective collective;
};

/* `path_or_name` as catalogue_load() takes it. Returns owned, or NULL. */
struct machine *machine_load(const char *path_or_name, const char *folder, struct err *e);
/* From a document that was loaded, and perhaps changed (cfg_override), already; keeps
 * nothing of it. Returns owned, or NULL. */
struct machine *machine_from_cfg(const struct cfg *c, struct err *e);
void machine_free(struct machine *m);
/* The host's processors and memory in a GPU's place, so that the cost model tells what
 * else than experts takes on them: a roofline of host.flops and host.dram_bandwidth.
 * Lives no longer than `m`, whose strings it borrows. */
struct machine machine_of_host(const struct machine *m);

#endif
