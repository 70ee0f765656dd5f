/* Policies: seven slots, each filled by a one-file plug-in.
 *
 * A plug-in is one `const` struct that begins with `struct plugin`: who it is, its
 * parameters (one option table, bound to a plain struct), what it needs of a trace, and
 * whether it is lossless (the layer's output is the same as without it). Its functions
 * work on `void *state` of a size it tells; the runner owns the memory. They read the
 * view (view.h), fill an output array, allocate nothing, and never touch the executor,
 * the clock or a file. registry.c lists all plug-ins: adding one is one file and one
 * line. */
#ifndef MOESIM_POLICY_PLUGIN_H
#define MOESIM_POLICY_PLUGIN_H

#include "sim/base/config.h"

#include <stdbool.h>
#include <stddef.h>

enum policy_slot {
    SLOT_GATE,     /* capacity or dropless */
    SLOT_SELECT,   /* which experts a token may use */
    SLOT_PLACE,    /* which GPU holds which expert */
    SLOT_CACHE,    /* what stays resident */
    SLOT_PREFETCH, /* what to load early */
    SLOT_OFFLOAD,  /* where a non-resident expert runs */
    SLOT_SCHEDULE, /* how copies and compute are arranged */
    POLICY_SLOTS
};
/* "gate", "select", ...: the key in a configuration. */
const char *policy_slot_name(enum policy_slot slot);

/* What a plug-in needs beyond executed expert ids; bit set. */
enum policy_need {
    NEED_SCORES = 1 << 0,    /* scores of the recorded candidates */
    NEED_PREDICTED = 1 << 2, /* predictions recorded by the engine */
    NEED_FUTURE = 1 << 3,    /* an oracle: the routing of later steps. Only for workloads
                                whose passes do not depend on time */
    NEED_PROFILE = 1 << 4,   /* expert loads of a profile trace (or of this trace) */
    NEED_MAP = 1 << 5,       /* a placement from a file */
    NEED_ROWS = 1 << 6       /* the rows of each expert and where sequences end, which a
                                look-ahead does not have */
};

/* What a plug-in does that others must know of; bit set. */
enum policy_act {
    ACT_REROUTE = 1 << 0,  /* rewrites choices */
    ACT_PAD = 1 << 1,      /* every expert computes a capacity of rows, known before the
                              routing */
    ACT_SHARD = 1 << 2,    /* every GPU holds a slice of every expert: G slots for each */
    ACT_PREFETCH = 1 << 3, /* loads experts before they are asked for */
    ACT_HOST = 1 << 4,     /* may run experts on the host's processors */
    ACT_NEAR = 1 << 5,     /* may run experts on a unit beside their memory */
    ACT_IN_PLACE = ACT_HOST | ACT_NEAR,
    ACT_STAGES = 1 << 6,    /* takes a layer of several GPUs through stages of its own */
    ACT_RESIDENCY = 1 << 7, /* what is accessed depends on what is resident */
    ACT_LOWER = 1 << 8      /* may load experts in fewer bits */
};

enum policy_variant {
    VARIANT_STANDARD,      /* textbook algorithm */
    VARIANT_PAPER,         /* as published */
    VARIANT_RELEASED,      /* as the released code does it */
    VARIANT_RECONSTRUCTION /* never published in full */
};
const char *policy_variant_name(enum policy_variant variant);

struct plugin {
    enum policy_slot slot;
    const char *name;
    const char *help;   /* one line */
    const char *source; /* paper, equation, or code it follows */
    enum policy_variant variant;
    bool lossless;
    unsigned needs;               /* enum policy_need bits */
    unsigned acts;                /* enum policy_act bits */
    const struct option *options; /* NULL: no parameters */
    size_t params_size;           /* of the struct the options fill */
    const char *const *idle; /* options that its slot shares and that change nothing with
                                it; NULL at the end; NULL: none */
};

/* All plug-ins, in slot order, NULL at the end. */
const struct plugin *const *registry_all(void);
/* NULL if there is none of that name. */
const struct plugin *registry_find(enum policy_slot slot, const char *name);

#endif
