/* All plug-ins. One more: an extern line and an entry, in slot order. */
#include "cache.h"
#include "slots.h"

#include <assert.h>
#include <string.h>

extern const struct cache_algorithm cache_belady;
extern const struct cache_algorithm cache_belady_bypass;
extern const struct cache_algorithm cache_lru;

static const struct plugin *const plugins[] = {
    &cache_belady.plugin,
    &cache_belady_bypass.plugin,
    &cache_lru.plugin,
    NULL,
};

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
