/* Fiddler (Kamahori et al., ICLR 2025, arXiv 2402.07033, Algorithm 1): a missing expert
 * runs on the host unless that takes longer than to copy its weights and run it on the
 * GPU. Each expert is judged alone, as if nothing else ran. The paper measures the times
 * beforehand; here the cost model tells them. */
#include "slots.h"

static struct cost_experts one_expert(const struct view *v, uint32_t expert)
{
    struct cost_experts work = {.distinct = 0};

    cost_experts_add(&work, v->tokens[expert], &v->cost->machine->gpu.tiles);
    return work;
}

static void decide(const void *params, const struct view *v, const uint16_t *missing,
                   uint32_t count, uint8_t *where)
{
    sim_time copy = cost_copy(v->copy_in, v->expert_bytes[v->layer]);

    (void)params;
    for (uint32_t i = 0; i < count; i++) {
        struct cost_experts work = one_expert(v, missing[i]);
        sim_time host =
            cost_host_trip(v->cost, work.rows) + cost_host_experts(v->cost, &work);
        sim_time gpu = copy + cost_expert_group(v->cost, &work);

        where[i] = host > gpu ? OFFLOAD_FETCH : OFFLOAD_HOST;
    }
}

const struct offload_type offload_fiddler = {
    .plugin = {.slot = SLOT_OFFLOAD,
               .name = "fiddler",
               .help =
                   "a missing expert runs where it is done sooner: on the host, or on "
                   "the GPU behind its copy",
               .source = "Kamahori et al., Fiddler, ICLR 2025, arXiv 2402.07033, "
                         "Algorithm 1",
               .variant = VARIANT_PAPER,
               .lossless = true,
               .acts = ACT_HOST},
    .decide = decide,
};
