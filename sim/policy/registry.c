#include "cache.h"
#include "slots.h"

#include <string.h>

extern const struct gate_type gate_capacity_factor, gate_capacity_fraction, gate_dropless;
extern const struct select_type select_none;
extern const struct place_type place_linear;
extern const struct prefetch_type prefetch_frequency, prefetch_markov, prefetch_none,
    prefetch_oracle, prefetch_previous_token;
extern const struct offload_type offload_fetch;
extern const struct schedule_type schedule_overlapped, schedule_serial;

/* In slot order, then by name. */
static const struct plugin *const all[] = {
    &gate_capacity_factor.plugin, &gate_capacity_fraction.plugin,
    &gate_dropless.plugin,        &select_none.plugin,
    &place_linear.plugin,         &prefetch_frequency.plugin,
    &prefetch_markov.plugin,      &prefetch_none.plugin,
    &prefetch_oracle.plugin,      &prefetch_previous_token.plugin,
    &offload_fetch.plugin,        &schedule_overlapped.plugin,
    &schedule_serial.plugin,      NULL,
};

const struct plugin *const *registry_all(void)
{
    return all;
}

const struct plugin *registry_find(enum policy_slot slot, const char *name)
{
    for (size_t i = 0; all[i] != NULL; i++) {
        if (all[i]->slot == slot && strcmp(all[i]->name, name) == 0)
            return all[i];
    }
    return NULL;
}

const char *policy_slot_name(enum policy_slot slot)
{
    static const char *const names[] = {
        [SLOT_GATE] = "gate",         [SLOT_SELECT] = "select",
        [SLOT_PLACE] = "place",       [SLOT_CACHE] = "cache",
        [SLOT_PREFETCH] = "prefetch", [SLOT_OFFLOAD] = "offload",
        [SLOT_SCHEDULE] = "schedule",
    };

    return names[slot];
}

const char *policy_variant_name(enum policy_variant variant)
{
    static const char *const names[] = {
        [VARIANT_STANDARD] = "standard",
        [VARIANT_PAPER] = "paper",
        [VARIANT_RELEASED] = "released",
        [VARIANT_RECONSTRUCTION] = "reconstruction",
    };

    return names[variant];
}
