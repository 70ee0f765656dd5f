/* What policies are given beside the trace: placements from files, and the expert loads
 * of a profile. */
#include "experiment_state.h"
#include "sim/base/mem.h"
#include "sim/policy/place_fill.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- placements from files ---- */

/* Reads the map of a policy with place: file, which says how many slots there are. */
static int load_map(struct experiment *x, uint32_t i, struct err *e)
{
    struct policy *p = x->policy[i];
    const struct place_map_shape shape = {x->info->layers, x->info->experts,
                                          x->info->moe_layer, x->model->layers};
    const char *path = place_file_path(p->params[SLOT_PLACE]);
    const uint32_t gpus = x->topology.ranks;
    struct place_map *map = &x->map[i];

    if (*path == '\0')
        return err_set_key(e, "place.file",
                           "place: file needs a map; name it: "
                           "{name: file, file: map.json}");
    if (place_map_load(map, path, &shape, e) != 0)
        return err_about(e, "place.file");
    if (p->place.slots > 0 && p->place.slots != map->slots)
        return err_set_key(e, "place.slots",
                           "place: slots is %" PRId64 ", but %s has %u; leave slots out",
                           p->place.slots, path, map->slots);
    if (map->slots % gpus != 0)
        return err_set_key(e, "place.file",
                           "%s: has %u slots a layer, which %u GPUs do not share "
                           "evenly; choose gpus: of parallel such that they do",
                           path, map->slots, gpus);
    p->place.slots = map->slots;
    p->map = map->expert;
    return 0;
}

int given_maps(struct experiment *x, struct err *e)
{
    x->map = mem_zalloc(x->policies, sizeof *x->map);
    for (uint32_t i = 0; x->is_parallel && i < x->policies; i++) {
        if ((policy_needs(x->policy[i]) & NEED_MAP) != 0 && load_map(x, i, e) != 0)
            return experiment_blame(x, x->policy[i], e);
    }
    return 0;
}

/* ---- the profile ---- */

static const char *profile_path(const struct experiment *x)
{
    return *x->p.profile != '\0' ? x->p.profile : x->trace_path;
}

/* Enters a row in the profile and in one of its samples. */
static void profile_row(struct profile *p, const struct trace_info *t,
                        const uint16_t *choice, uint64_t sample)
{
    size_t cells = (size_t)t->layers * t->experts;
    uint64_t *total = p->load;
    uint32_t *part = p->history == NULL ? NULL : p->history + sample * cells;

    for (uint32_t l = 0; l < t->layers; l++) {
        for (uint32_t k = 0; k < t->top_k; k++) {
            if (choice[k] == TRACE_NOT_RECORDED)
                continue;
            total[choice[k]]++;
            if (part != NULL)
                part[choice[k]]++;
        }
        choice += t->candidates;
        total += t->experts;
        part = part == NULL ? NULL : part + t->experts;
    }
}

/* Enters a pass of a count-only trace. 0 or -1. */
static int profile_pass(struct profile *p, const struct trace *t, uint64_t pass,
                        const uint32_t *count, struct err *e)
{
    const struct trace_info *info = trace_get_info(t);
    size_t cells = (size_t)info->layers * info->experts;
    uint32_t *part =
        p->history == NULL ? NULL : p->history + pass * p->samples / info->passes * cells;

    for (size_t i = 0; i < cells; i++) {
        p->load[i] += count[i];
        if (part == NULL)
            continue;
        if (count[i] > UINT32_MAX - part[i])
            return err_set(e,
                           "%s: passes up to %" PRIu64 " together have more than 2^32 "
                           "tokens of one expert; profile with fewer of them (moesim "
                           "trace slice)",
                           trace_path(t), pass);
        part[i] += count[i];
    }
    return 0;
}

static int read_counts(struct profile *p, struct trace *t, struct err *e)
{
    const struct trace_info *info = trace_get_info(t);
    uint32_t *count = mem_alloc((size_t)info->layers * info->experts, sizeof *count);
    int status = 0;

    for (uint64_t n = 0; n < info->passes && status == 0; n++) {
        status = trace_read_load(t, n, count, e);
        if (status == 0)
            status = profile_pass(p, t, n, count, e);
    }
    free(count);
    return status;
}

static int read_rows(struct profile *p, struct trace *t, struct err *e)
{
    enum { BLOCK = 256 };
    const struct trace_info *info = trace_get_info(t);
    uint32_t width = info->layers * info->candidates;
    uint16_t *expert = mem_alloc((size_t)width * BLOCK, sizeof *expert);
    int status = 0;

    for (uint64_t row = 0; row < info->rows && status == 0;) {
        uint64_t left = info->rows - row;
        uint64_t count = left < BLOCK ? left : BLOCK;

        status = trace_read_expert(t, row, count, expert, e);
        for (uint64_t i = 0; status == 0 && i < count; i++)
            profile_row(p, info, expert + i * width,
                        p->history == NULL ? 0 : (row + i) * p->samples / info->rows);
        row += count;
    }
    free(expert);
    return status;
}

static void free_profile(void *value)
{
    struct profile *p = value;

    free(p->load);
    free(p->history);
    free(p);
}

static void *make_profile(void *context, struct err *e)
{
    enum { MOST_SAMPLES = 64 };
    const struct experiment *x = context;
    const struct trace_info *t = x->info, *found;
    size_t cells = (size_t)t->layers * t->experts;
    struct trace *trace = shared_open_trace(x->hooks->shared, profile_path(x), e);
    struct profile *p;
    uint64_t parts; /* rows, or passes of counts */

    if (trace == NULL)
        return NULL;
    found = trace_get_info(trace);
    parts = found->counts_only ? found->passes : found->rows;
    if (found->layers != t->layers || found->experts != t->experts ||
        (!found->counts_only && !t->counts_only && found->candidates != t->candidates)) {
        trace_close(trace);
        (void)err_set(e, "%s: is of another shape than %s; profile with the same model",
                      profile_path(x), x->trace_path);
        return NULL;
    }
    p = mem_zalloc(1, sizeof *p);
    p->load = mem_zalloc(cells, sizeof *p->load);
    if (x->is_parallel) {
        p->samples = parts < MOST_SAMPLES ? (uint32_t)parts : MOST_SAMPLES;
        p->history = mem_zalloc(p->samples * cells, sizeof *p->history);
    }
    if ((found->counts_only ? read_counts : read_rows)(p, trace, e) != 0) {
        free_profile(p);
        p = NULL;
    }
    trace_close(trace);
    return p;
}

static const struct shared_kind profiles = {make_profile, free_profile};

/* Tokens of each expert over a whole trace: what a profile knows. */
int given_profile(struct experiment *x, struct err *e)
{
    char *text;

    if ((experiment_needs(x) & NEED_PROFILE) == 0)
        return 0;
    text = mem_format("%s of %s, %s", profile_path(x), x->trace_path,
                      x->is_parallel ? "in samples" : "whole");
    x->known = shared_take(x->hooks->shared, &profiles, text, x, e);
    free(text);
    if (x->known == NULL)
        return -1;
    x->profile = x->known->load;
    x->history = x->known->history;
    x->samples = x->known->samples;
    return 0;
}

void given_release(struct experiment *x)
{
    for (uint32_t i = 0; x->map != NULL && i < x->policies; i++)
        place_map_release(&x->map[i]);
    free(x->map);
    shared_give_back(x->hooks->shared, &profiles, x->known);
}
