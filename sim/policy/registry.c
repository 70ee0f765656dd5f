/* All plug-ins. One more: an extern line and an entry, in slot order. */
#include "cache.h"
#include "slots.h"

#include <assert.h>
#include <string.h>

extern const struct gate_type gate_capacity_factor;
extern const struct gate_type gate_capacity_fraction;
extern const struct gate_type gate_dropless;
extern const struct select_type select_affinity_binning;
extern const struct select_type select_budget;
extern const struct select_type select_eras_bias;
extern const struct select_type select_eras_threshold;
extern const struct select_type select_lynx;
extern const struct select_type select_naee;
extern const struct select_type select_none;
extern const struct select_type select_oea;
extern const struct select_type select_top_k;
extern const struct place_type place_anti_correlation;
extern const struct place_type place_eplb;
extern const struct place_type place_file;
extern const struct place_type place_greedy;
extern const struct place_type place_linear;
extern const struct place_type place_moeshard;
extern const struct place_type place_optimal;
extern const struct place_type place_random;
extern const struct place_type place_replicate;
extern const struct place_type place_round_robin;
extern const struct place_type place_tensor;
extern const struct cache_algorithm cache_arc;
extern const struct cache_algorithm cache_belady;
extern const struct cache_algorithm cache_belady_bypass;
extern const struct cache_algorithm cache_clock;
extern const struct cache_algorithm cache_fifo;
extern const struct cache_algorithm cache_heat_protected_lru;
extern const struct cache_algorithm cache_least_stale_ewma;
extern const struct cache_algorithm cache_least_stale_layer;
extern const struct cache_algorithm cache_least_stale_queue;
extern const struct cache_algorithm cache_lfru;
extern const struct cache_algorithm cache_lfru_heat;
extern const struct cache_algorithm cache_lfu_aging;
extern const struct cache_algorithm cache_lfu_evict;
extern const struct cache_algorithm cache_lfu_keep;
extern const struct cache_algorithm cache_lifo;
extern const struct cache_algorithm cache_lru;
extern const struct cache_algorithm cache_moe_infinity;
extern const struct cache_algorithm cache_pin;
extern const struct cache_algorithm cache_random;
extern const struct cache_algorithm cache_s3fifo;
extern const struct cache_algorithm cache_sieve;
extern const struct cache_algorithm cache_slru;
extern const struct prefetch_type prefetch_frequency;
extern const struct prefetch_type prefetch_markov;
extern const struct prefetch_type prefetch_none;
extern const struct prefetch_type prefetch_oracle;
extern const struct prefetch_type prefetch_previous_token;
extern const struct offload_type offload_fetch;
extern const struct offload_type offload_fiddler;
extern const struct offload_type offload_hobbit;
extern const struct offload_type offload_host;
extern const struct offload_type offload_hybrid;
extern const struct offload_type offload_layers;
extern const struct offload_type offload_monde;
extern const struct schedule_type schedule_overlapped;
extern const struct schedule_type schedule_pipelined;
extern const struct schedule_type schedule_serial;
extern const struct schedule_type schedule_two_batch;

/* clang-format off: one entry a line */
static const struct plugin *const plugins[] = {
    &gate_capacity_factor.plugin,
    &gate_capacity_fraction.plugin,
    &gate_dropless.plugin,
    &select_affinity_binning.plugin,
    &select_budget.plugin,
    &select_eras_bias.plugin,
    &select_eras_threshold.plugin,
    &select_lynx.plugin,
    &select_naee.plugin,
    &select_none.plugin,
    &select_oea.plugin,
    &select_top_k.plugin,
    &place_anti_correlation.plugin,
    &place_eplb.plugin,
    &place_file.plugin,
    &place_greedy.plugin,
    &place_linear.plugin,
    &place_moeshard.plugin,
    &place_optimal.plugin,
    &place_random.plugin,
    &place_replicate.plugin,
    &place_round_robin.plugin,
    &place_tensor.plugin,
    &cache_arc.plugin,
    &cache_belady.plugin,
    &cache_belady_bypass.plugin,
    &cache_clock.plugin,
    &cache_fifo.plugin,
    &cache_heat_protected_lru.plugin,
    &cache_least_stale_ewma.plugin,
    &cache_least_stale_layer.plugin,
    &cache_least_stale_queue.plugin,
    &cache_lfru.plugin,
    &cache_lfru_heat.plugin,
    &cache_lfu_aging.plugin,
    &cache_lfu_evict.plugin,
    &cache_lfu_keep.plugin,
    &cache_lifo.plugin,
    &cache_lru.plugin,
    &cache_moe_infinity.plugin,
    &cache_pin.plugin,
    &cache_random.plugin,
    &cache_s3fifo.plugin,
    &cache_sieve.plugin,
    &cache_slru.plugin,
    &prefetch_frequency.plugin,
    &prefetch_markov.plugin,
    &prefetch_none.plugin,
    &prefetch_oracle.plugin,
    &prefetch_previous_token.plugin,
    &offload_fetch.plugin,
    &offload_fiddler.plugin,
    &offload_hobbit.plugin,
    &offload_host.plugin,
    &offload_hybrid.plugin,
    &offload_layers.plugin,
    &offload_monde.plugin,
    &schedule_overlapped.plugin,
    &schedule_pipelined.plugin,
    &schedule_serial.plugin,
    &schedule_two_batch.plugin,
    NULL,
};
/* clang-format on */

const char *policy_slot_name(enum policy_slot slot)
{
    static const char *const names[] = {"gate",     "select",  "place",   "cache",
                                        "prefetch", "offload", "schedule"};

    assert(slot < POLICY_SLOTS);
    return names[slot];
}

const char *policy_variant_name(enum policy_variant variant)
{
    static const char *const names[] = {"standard", "paper", "released",
                                        "reconstruction"};

    assert((size_t)variant < sizeof names / sizeof *names);
    return names[variant];
}

const struct plugin *const *registry_all(void)
{
    return plugins;
}

const struct plugin *registry_find(enum policy_slot slot, const char *name)
{
    for (const struct plugin *const *p = plugins; *p != NULL; p++) {
        if ((*p)->slot == slot && strcmp((*p)->name, name) == 0)
            return *p;
    }
    return NULL;
}
