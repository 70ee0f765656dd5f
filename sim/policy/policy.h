/* A policy: one plug-in with bound parameters for each of the seven slots.
 *
 * It is read from YAML, either a preset's name or a mapping:
 *
 *   name: my label              # optional; made from the choices otherwise
 *   preset: lru-on-demand       # optional: defaults, a file of the preset folder
 *   cache: {name: lru, slots: 16}
 *   prefetch: markov            # a plug-in's name alone: its default parameters
 *
 * Each slot holds a plug-in's name or a mapping of `name` and its options (for cache,
 * place and schedule, those that all plug-ins of the slot share and the plug-in's own). A
 * slot that is absent has its default plug-in. Over a preset the mapping wins key by key:
 * a slot without `name` keeps the preset's plug-in; one that names another plug-in starts
 * from that plug-in's defaults, except that a cache keeps the preset's cache options
 * (capacity, scope, ...).
 *
 * `dense-equivalent: yes` instead of slots is no policy for experts but what they are
 * held against: the dense model of as many FLOPs per token (model_dense_equivalent()),
 * all of it in GPU memory, whose rows stay where they are.
 *
 * A preset is a mapping of slots like the above, with `help` and `source`, in
 * FOLDER/NAME.yaml. */
#ifndef MOESIM_POLICY_POLICY_H
#define MOESIM_POLICY_POLICY_H

#include "cache.h"
#include "place_options.h"
#include "schedule_options.h"
#include "select_options.h"
#include "slots.h"

struct policy {
    char *label;
    char *preset;                 /* NULL: none */
    uint32_t hosted_from, hosted; /* decoder layers that are on the host as a whole */
    bool dense;                   /* the model's dense equivalent: slots are not asked */
    const struct cfg_node *node;  /* where it was read from, for messages; or NULL */
    const struct plugin *plugin[POLICY_SLOTS];
    const void *params[POLICY_SLOTS]; /* what plugin->options filled; NULL without any */
    struct cache_params cache;        /* the options that a slot's plug-ins share */
    struct place_params place;
    struct schedule_params schedule;
    struct select_params select;
    const uint16_t *map; /* (layer, slot) of place: file, once it is read; borrowed */
    void *block[POLICY_SLOTS]; /* owns what params point into */
    struct cfg *document;      /* the preset's: owns its strings */
};

/* Reads a policy; `n` NULL gives the defaults. Borrows the strings of n's document: keep
 * it. Returns owned, or NULL for an unknown name or option, a value out of range, or a
 * combination that cannot work. */
struct policy *policy_from_node(const struct cfg_node *n, const char *preset_folder,
                                struct err *e);
void policy_free(struct policy *p);

/* Union of what the plug-ins need of a trace: enum policy_need bits. */
unsigned policy_needs(const struct policy *p);
/* Whether it knows what is routed later, which no policy in service does. */
bool policy_foresees(const struct policy *p);
/* What all its plug-ins together do: enum policy_act bits. */
unsigned policy_acts(const struct policy *p);
bool policy_does(const struct policy *p, enum policy_act act);
/* Whether copies come in two classes, cross each other on a link or share one with what
 * runs in place: it loads early, writes back, or loads beside experts on the host. */
bool policy_copies_aside(const struct policy *p);
/* Tells the cache which of `layers` MoE layers keep no expert by its offload; the cache
 * holds the others' experts, all of them if nothing says how many. moe_layer[layers] are
 * their numbers among the decoder layers; those that are on the host as a whole are
 * noted in the policy. */
void policy_close_layers(struct policy *p, uint32_t layers, const uint16_t *moe_layer,
                         uint32_t decoder_layers);
/* Whether the host of a GPU alone reads each layer's routing before it goes on: to load
 * experts, to pad them, or to launch those one by one that have rows. `whole`: every
 * expert is there from the start. A select is kernels beside the router's. */
bool policy_reads_routing(const struct policy *p, bool whole);
/* All plug-ins leave the layers' output as it is. */
bool policy_lossless(const struct policy *p);
/* The options that all plug-ins of a slot share, and where `p` has them; NULL: none. */
const struct option *policy_shared_options(enum policy_slot slot);
const void *policy_shared_params(const struct policy *p, enum policy_slot slot);
/* The plug-in that stands where a configuration says nothing. */
const struct plugin *policy_default(enum policy_slot slot);

/* The chosen plug-ins by their types. */
static inline const struct gate_type *policy_gate(const struct policy *p)
{
    return (const struct gate_type *)p->plugin[SLOT_GATE];
}
static inline const struct select_type *policy_select(const struct policy *p)
{
    return (const struct select_type *)p->plugin[SLOT_SELECT];
}
static inline const struct place_type *policy_place(const struct policy *p)
{
    return (const struct place_type *)p->plugin[SLOT_PLACE];
}
static inline const struct cache_algorithm *policy_cache(const struct policy *p)
{
    return (const struct cache_algorithm *)p->plugin[SLOT_CACHE];
}
static inline const struct prefetch_type *policy_prefetch(const struct policy *p)
{
    return (const struct prefetch_type *)p->plugin[SLOT_PREFETCH];
}
static inline const struct offload_type *policy_offload(const struct policy *p)
{
    return (const struct offload_type *)p->plugin[SLOT_OFFLOAD];
}
static inline const struct schedule_type *policy_schedule(const struct policy *p)
{
    return (const struct schedule_type *)p->plugin[SLOT_SCHEDULE];
}

/* The names of the presets in a folder (files NAME.yaml), sorted. NULL-terminated,
 * owned; free with policy_presets_free(). NULL if the folder cannot be read. */
char **policy_presets(const char *folder, struct err *e);
void policy_presets_free(char **names);

/* What a preset says of itself. */
struct policy_preset {
    const char *help;
    const char *source;
    const struct cfg_node *slot[POLICY_SLOTS]; /* NULL: left at its default */
};
/* Loads a preset's document, which owns what `preset` gets. NULL on failure. */
struct cfg *policy_preset_load(const char *folder, const char *name,
                               struct policy_preset *preset, struct err *e);

#endif
