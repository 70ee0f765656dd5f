#include "policy.h"

#include "sim/base/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- what the mapping holds ---- */

struct heading {
    const char *name;
    const struct cfg_node *preset;
    const struct cfg_node *slot[POLICY_SLOTS];
    bool dense;
};

#define SLOT_OPTION(which, key, help)                                                    \
    {                                                                                    \
        key, OPT_NODE, offsetof(struct heading, slot[which]), "", 0, 0, NULL, help       \
    }

static const struct option heading_options[] = {
    {"name", OPT_STRING, offsetof(struct heading, name), "", 0, 0, NULL,
     "label in reports"},
    {"preset", OPT_NODE, offsetof(struct heading, preset), "", 0, 0, NULL,
     "preset whose choices are the defaults"},
    SLOT_OPTION(SLOT_GATE, "gate", "capacity or dropless"),
    SLOT_OPTION(SLOT_SELECT, "select", "which experts a token may use"),
    SLOT_OPTION(SLOT_PLACE, "place", "which GPU holds which expert"),
    SLOT_OPTION(SLOT_CACHE, "cache", "what stays resident"),
    SLOT_OPTION(SLOT_PREFETCH, "prefetch", "what to load early"),
    SLOT_OPTION(SLOT_OFFLOAD, "offload", "where a non-resident expert runs"),
    SLOT_OPTION(SLOT_SCHEDULE, "schedule", "how copies and compute are arranged"),
    {"dense-equivalent", OPT_BOOL, offsetof(struct heading, dense), "no", 0, 0, NULL,
     "instead of all these: the dense model of as many FLOPs, for comparison"},
    {.name = NULL},
};

const struct plugin *policy_default(enum policy_slot slot)
{
    static const char *const names[] = {
        [SLOT_GATE] = "dropless",       [SLOT_SELECT] = "none",
        [SLOT_PLACE] = "linear",        [SLOT_CACHE] = "lru",
        [SLOT_PREFETCH] = "none",       [SLOT_OFFLOAD] = "fetch",
        [SLOT_SCHEDULE] = "overlapped",
    };
    const struct plugin *p = registry_find(slot, names[slot]);

    assert(p != NULL);
    return p;
}

/* ---- choosing a slot's plug-in ---- */

/* The names of a slot's plug-ins, NULL-terminated; the array is the caller's. */
static const char **slot_choices(enum policy_slot slot)
{
    const struct plugin *const *all = registry_all();
    const char **names;
    size_t count = 0;

    while (all[count] != NULL)
        count++;
    names = mem_alloc(count + 1, sizeof *names);
    count = 0;
    for (size_t i = 0; all[i] != NULL; i++) {
        if (all[i]->slot == slot)
            names[count++] = all[i]->name;
    }
    names[count] = NULL;
    return names;
}

/* Sets `*plugin` if the slot's node names one; leaves it otherwise. */
static int choose(enum policy_slot slot, const struct cfg_node *n,
                  const struct plugin **plugin, struct err *e)
{
    struct option o = {.name = policy_slot_name(slot), .type = OPT_CHOICE};
    const char **names;
    int index, status;

    if (n == NULL)
        return 0;
    if (cfg_is_map(n)) {
        n = cfg_find(n, "name");
        if (n == NULL)
            return 0;
    }
    names = slot_choices(slot);
    o.choices = names;
    status = cfg_bind_value(n, &o, &index, e);
    if (status == 0)
        *plugin = registry_find(slot, names[index]);
    free(names);
    return status;
}

/* ---- binding a slot's parameters ---- */

/* The options that all plug-ins of a slot share. */
static const struct shared {
    const struct option *options;
    size_t offset, size; /* in struct policy */
} shared[POLICY_SLOTS] = {
    [SLOT_SELECT] = {select_options, offsetof(struct policy, select),
                     sizeof(struct select_params)},
    [SLOT_PLACE] = {place_options, offsetof(struct policy, place),
                    sizeof(struct place_params)},
    [SLOT_CACHE] = {cache_options, offsetof(struct policy, cache),
                    sizeof(struct cache_params)},
    [SLOT_SCHEDULE] = {schedule_options, offsetof(struct policy, schedule),
                       sizeof(struct schedule_params)},
};

const struct option *policy_shared_options(enum policy_slot slot)
{
    return shared[slot].options;
}

const void *policy_shared_params(const struct policy *p, enum policy_slot slot)
{
    return shared[slot].options == NULL ? NULL : (const char *)p + shared[slot].offset;
}

/* A slot's parameters lie in one block, bound by one table: the name, then the options
 * that its plug-ins share, then the plug-in's own. */
struct bound_head {
    int name;
};

static size_t aligned(size_t size)
{
    return (size + 15) / 16 * 16;
}

static size_t shared_offset(void)
{
    return aligned(sizeof(struct bound_head));
}

static size_t own_offset(enum policy_slot slot)
{
    return shared_offset() + aligned(shared[slot].size);
}

static size_t option_count(const struct option *table)
{
    size_t count = 0;

    while (table != NULL && table[count].name != NULL)
        count++;
    return count;
}

/* Appends `from` to `table` with its offsets shifted; a scalar under the same key in
 * `defaults` (NULL: none) stands for the option's own default. */
static struct option *append(struct option *table, const struct option *from,
                             size_t shift, const struct cfg_node *defaults)
{
    for (size_t i = 0; i < option_count(from); i++) {
        const struct cfg_node *value =
            defaults == NULL ? NULL : cfg_find(defaults, from[i].name);

        *table = from[i];
        table->offset += shift;
        if (value != NULL) {
            assert(cfg_is_scalar(value));
            table->def = cfg_text(value);
        }
        table++;
    }
    return table;
}

/* Binds mapping `n` (or nothing, where a bare name stands) by the plug-in's options.
 * `common` and `own`: a preset's values for the slot's and for the plug-in's options.
 * Returns the block, owned, or NULL. */
static void *bind_slot(const struct plugin *plugin, const struct cfg_node *n,
                       const struct cfg_node *common, const struct cfg_node *own,
                       struct err *e)
{
    const struct option *slots = shared[plugin->slot].options;
    size_t count = option_count(plugin->options) + option_count(slots) + 2;
    struct option *table = mem_zalloc(count, sizeof *table), *next = table;
    const char **names = slot_choices(plugin->slot);
    void *block = mem_zalloc(1, own_offset(plugin->slot) + plugin->params_size);
    int status;

    *next++ = (struct option){.name = "name",
                              .type = OPT_CHOICE,
                              .offset = offsetof(struct bound_head, name),
                              .def = plugin->name,
                              .choices = names};
    next = append(next, slots, shared_offset(), common);
    next = append(next, plugin->options, own_offset(plugin->slot), own);
    assert(next == table + count - 1);
    status = cfg_bind(n != NULL && cfg_is_map(n) ? n : NULL, table, block, e);
    free(names);
    free(table);
    if (status == 0)
        return block;
    free(block);
    return NULL;
}

/* Sets `*base` to the plug-in that stands where the mapping says nothing. */
static int read_slot(struct policy *p, enum policy_slot slot, const struct cfg_node *mine,
                     const struct cfg_node *preset, const struct plugin **base,
                     struct err *e)
{
    const struct cfg_node *common = NULL, *own = NULL;
    const struct plugin *plugin;

    *base = policy_default(slot);
    if (choose(slot, preset, base, e) != 0)
        return -1;
    plugin = *base;
    if (choose(slot, mine, &plugin, e) != 0)
        return -1;
    if (preset != NULL) {
        /* Bound alone first, so that a bad value is blamed on the preset's file. */
        void *block = bind_slot(*base, preset, NULL, NULL, e);

        if (block == NULL)
            return -1;
        free(block);
        common = cfg_is_map(preset) ? preset : NULL;
        own = plugin == *base ? common : NULL;
    }
    p->plugin[slot] = plugin;
    p->block[slot] = bind_slot(plugin, mine, common, own, e);
    if (p->block[slot] == NULL)
        return -1;
    memcpy((char *)p + shared[slot].offset, (char *)p->block[slot] + shared_offset(),
           shared[slot].size);
    if (plugin->params_size > 0)
        p->params[slot] = (char *)p->block[slot] + own_offset(slot);
    return 0;
}

/* ---- the whole ---- */

/* Appends "+name" to an owned label. */
static char *longer_label(char *label, const struct plugin *plugin)
{
    char *longer = mem_format("%s+%s", label, plugin->name);

    free(label);
    return longer;
}

/* The preset, then what is chosen instead of its choices ("belady+markov"); without a
 * preset the cache, then what is chosen instead of the defaults ("lru+markov+serial"). */
static char *default_label(const struct policy *p, const struct plugin *const *base)
{
    bool preset = p->preset != NULL;
    char *label = mem_strdup(preset ? p->preset : p->plugin[SLOT_CACHE]->name);

    for (int slot = 0; slot < POLICY_SLOTS; slot++) {
        if (p->plugin[slot] != base[slot] && (preset || slot != SLOT_CACHE))
            label = longer_label(label, p->plugin[slot]);
    }
    return label;
}

/* True for a scalar that names a cache where one of the presets is meant. */
static bool is_cache_only(const struct cfg_node *n, char *const *presets)
{
    if (!cfg_is_scalar(n) || registry_find(SLOT_CACHE, cfg_text(n)) == NULL)
        return false;
    for (; *presets != NULL; presets++) {
        if (strcmp(*presets, cfg_text(n)) == 0)
            return false;
    }
    return true;
}

static int read_preset(struct policy *p, const struct cfg_node *n, const char *folder,
                       struct policy_preset *preset, struct err *e)
{
    struct option o = {.name = "preset", .type = OPT_CHOICE};
    char **names;
    int index;

    if (n == NULL)
        return 0;
    names = policy_presets(folder, e);
    if (names == NULL)
        return -1;
    o.choices = (const char *const *)names;
    if (is_cache_only(n, names))
        (void)cfg_error(n, e,
                        "'%s' is a cache, not a preset; choose it with {cache: {name: "
                        "%s, slots: 4}}",
                        cfg_text(n), cfg_text(n));
    else if (cfg_bind_value(n, &o, &index, e) == 0)
        p->preset = mem_strdup(names[index]);
    policy_presets_free(names);
    if (p->preset == NULL)
        return -1;
    p->document = policy_preset_load(folder, p->preset, preset, e);
    return p->document == NULL ? -1 : 0;
}

/* A dense model has no experts to have choices about. */
static int check_dense(const struct heading *h, struct err *e)
{
    if (h->dense && h->preset != NULL)
        return cfg_error(h->preset, e,
                         "'preset' has nothing to do beside 'dense-equivalent', which "
                         "runs no experts; leave one of them out");
    for (int slot = 0; h->dense && slot < POLICY_SLOTS; slot++)
        if (h->slot[slot] != NULL)
            return cfg_error(h->slot[slot], e,
                             "'%s' has nothing to do beside 'dense-equivalent', which "
                             "runs no experts; leave one of them out",
                             policy_slot_name((enum policy_slot)slot));
    return 0;
}

static int read_policy(struct policy *p, const struct cfg_node *n, const char *folder,
                       struct err *e)
{
    struct heading heading = {.name = ""};
    struct policy_preset preset = {0};
    const struct plugin *base[POLICY_SLOTS];

    if (n != NULL && cfg_is_scalar(n))
        heading.preset = n;
    else if (cfg_bind(n, heading_options, &heading, e) != 0 ||
             check_dense(&heading, e) != 0)
        return -1;
    if (read_preset(p, heading.preset, folder, &preset, e) != 0)
        return -1;
    for (int slot = 0; slot < POLICY_SLOTS; slot++) {
        if (read_slot(p, (enum policy_slot)slot, heading.slot[slot], preset.slot[slot],
                      &base[slot], e) != 0)
            return -1;
    }
    p->dense = heading.dense;
    if (heading.name[0] != '\0')
        p->label = mem_strdup(heading.name);
    else
        p->label = p->dense ? mem_strdup("dense-equivalent") : default_label(p, base);
    return 0;
}

struct policy *policy_from_node(const struct cfg_node *n, const char *preset_folder,
                                struct err *e)
{
    struct policy *p = mem_zalloc(1, sizeof *p);

    p->node = n;
    if (read_policy(p, n, preset_folder, e) == 0)
        return p;
    policy_free(p);
    return NULL;
}

void policy_free(struct policy *p)
{
    if (p == NULL)
        return;
    for (int slot = 0; slot < POLICY_SLOTS; slot++)
        free(p->block[slot]);
    free(p->label);
    free(p->preset);
    cfg_free(p->document);
    free(p);
}

unsigned policy_acts(const struct policy *p)
{
    unsigned acts = 0;

    for (int slot = 0; slot < POLICY_SLOTS; slot++)
        acts |= p->plugin[slot]->acts;
    return acts;
}

bool policy_does(const struct policy *p, enum policy_act act)
{
    return (policy_acts(p) & (unsigned)act) != 0;
}

bool policy_copies_aside(const struct policy *p)
{
    const struct offload_type *o = policy_offload(p);

    return policy_does(p, ACT_PREFETCH) || p->cache.write_back ||
           (o->shares != NULL && o->shares(p->params[SLOT_OFFLOAD]));
}

/* The decoder layers of the closed ones, and those without experts on their side. */
static void host_layers(struct policy *p, const struct offload_closed *closed,
                        uint32_t layers, const uint16_t *moe_layer,
                        uint32_t decoder_layers)
{
    uint32_t to = closed->from + closed->count;

    if (!closed->whole || closed->count == 0)
        return;
    p->hosted_from = closed->from == 0 ? 0 : moe_layer[closed->from];
    p->hosted = (to == layers ? decoder_layers : moe_layer[to - 1] + 1u) - p->hosted_from;
}

void policy_close_layers(struct policy *p, uint32_t layers, const uint16_t *moe_layer,
                         uint32_t decoder_layers)
{
    const struct offload_type *o = policy_offload(p);
    struct offload_closed closed;

    if (o->closes == NULL)
        return;
    closed = o->closes(p->params[SLOT_OFFLOAD], layers);
    p->cache.closed_from = closed.from;
    p->cache.closed = closed.count;
    host_layers(p, &closed, layers, moe_layer, decoder_layers);
    if (!cache_is_sized(&p->cache))
        p->cache.layer_slots = CACHE_SLOTS_ALL;
}

bool policy_reads_routing(const struct policy *p, bool whole)
{
    return !whole || (p->plugin[SLOT_GATE]->acts & ACT_REROUTE) != 0 ||
           policy_does(p, ACT_PREFETCH) || schedule_launches_active(&p->schedule);
}

unsigned policy_needs(const struct policy *p)
{
    unsigned needs = 0;

    for (int slot = 0; slot < POLICY_SLOTS; slot++) {
        /* A placement that is renewed learns the loads on the way. */
        bool learns = slot == SLOT_PLACE && p->place.window.interval > 0;

        needs |= p->plugin[slot]->needs & ~(learns ? (unsigned)NEED_PROFILE : 0U);
    }
    if (p->cache.allocate == CACHE_ALLOCATE_PROFILE)
        needs |= NEED_PROFILE;
    return needs;
}

bool policy_foresees(const struct policy *p)
{
    return (policy_needs(p) & NEED_FUTURE) != 0 || p->place.foresee > 0.0;
}

bool policy_lossless(const struct policy *p)
{
    if (p->dense) /* another model altogether */
        return false;
    /* A predictor that places for the coming pass takes the router's place (predictive
     * replication), and errs. */
    if (p->place.foresee > 0.0 && p->place.foresee < 1.0)
        return false;
    for (int slot = 0; slot < POLICY_SLOTS; slot++) {
        if (!p->plugin[slot]->lossless)
            return false;
    }
    return true;
}
