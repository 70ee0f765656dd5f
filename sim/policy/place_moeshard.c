#include "place_moeshard.h"

#include "place_fill.h"

static const char *const variants[] = {"v0", "v1", "v2", NULL};

static const struct option options[] = {
    {"variant", OPT_CHOICE, offsetof(struct place_shard_params, variant), "v2", 0, 0,
     variants,
     "kernels: v0 a GEMM pair per expert and source, v1 per expert, v2 block-sparse"},
    {.name = NULL},
};

static struct place_launch launch(const void *params)
{
    const struct place_shard_params *p = params;

    return (struct place_launch){
        .by_expert = p->variant != PLACE_SHARD_V2,
        .by_source = p->variant == PLACE_SHARD_V0,
        .block = p->variant == PLACE_SHARD_V2 ? PLACE_SHARD_BLOCK : 0,
    };
}

struct place_shard_work place_shard_work(enum place_shard_variant variant, uint32_t gpus,
                                         uint32_t experts, const uint32_t *tokens)
{
    struct place_shard_work work = {0};
    uint64_t active = 0;

    for (uint32_t e = 0; e < experts; e++) {
        uint64_t rows = 0;

        for (uint32_t g = 0; g < gpus; g++)
            rows += tokens[(size_t)g * experts + e];
        active += rows > 0;
        if (variant == PLACE_SHARD_V2)
            rows = (rows + PLACE_SHARD_BLOCK - 1) / PLACE_SHARD_BLOCK * PLACE_SHARD_BLOCK;
        work.rows += rows;
    }
    switch (variant) {
    case PLACE_SHARD_V0:
        work.gemms = 2 * (uint64_t)experts * gpus;
        break;
    case PLACE_SHARD_V1:
        work.gemms = 2 * active;
        break;
    case PLACE_SHARD_V2:
        work.gemms = 2;
        break;
    }
    return work;
}

uint64_t place_shard_bytes(uint32_t gpus, uint32_t experts, const uint64_t *tokens,
                           uint64_t token_bytes, uint32_t rank)
{
    uint64_t own = tokens[rank] * token_bytes, others = 0;

    for (uint32_t g = 0; g < gpus; g++)
        others += g == rank ? 0 : tokens[g] * token_bytes;
    return (gpus - 1) * (own + (uint64_t)experts * sizeof(int32_t)) + others;
}

const struct place_type place_moeshard = {
    .plugin = {.slot = SLOT_PLACE,
               .name = "moeshard",
               .help = "every GPU holds a slice of every expert and works on all tokens",
               .source = "MoEShard (EuroMLSys 2025)",
               .variant = VARIANT_PAPER,
               .lossless = true,
               .acts = ACT_SHARD,
               .options = options,
               .params_size = sizeof(struct place_shard_params)},
    .counts = true,
    .launch = launch,
    .assign = place_fill_shards,
};
