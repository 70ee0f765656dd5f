/* What a policy sees: one step (pass, layer), read-only. Arrays are borrowed and valid
 * during the call. Choices are (row, rank): the executed experts of this layer in
 * recorded order, VIEW_NO_EXPERT where one was dropped or not recorded. */
#ifndef MOESIM_POLICY_VIEW_H
#define MOESIM_POLICY_VIEW_H

#include "cache.h"
#include "models/cost.h"

#define VIEW_NO_EXPERT UINT16_MAX
#define VIEW_NO_SOURCE UINT16_MAX

/* As in the trace file. */
enum view_phase { VIEW_PREFILL, VIEW_DECODE, VIEW_DRAFT, VIEW_VERIFY };

/* What a score is. Those of softmax and sigmoid are probabilities. */
enum view_score { VIEW_SOFTMAX, VIEW_SIGMOID, VIEW_LOGIT };

struct view_row {
    uint32_t request;
    uint32_t position;
    uint8_t phase;   /* enum view_phase */
    uint8_t opens;   /* its request's first row in the decoder behind an encoder */
    uint16_t source; /* rank that has its request, as recorded; or VIEW_NO_SOURCE */
};

struct view_future; /* the runner's oracle */

struct view {
    const struct cost *cost;            /* and through it the model and the machine */
    const uint64_t *expert_bytes;       /* [layers] weights of one expert */
    const struct machine_copy *copy_in; /* how they come from host memory */
    bool loads_run_each; /* what was loaded runs expert by expert as it comes; else in one
                            group when all of a step is there */
    uint64_t pass;
    uint32_t layer, layers; /* index among the MoE layers */
    uint32_t experts, top_k, candidates;
    uint32_t rows;
    const struct view_row *row;
    const uint16_t *choice; /* row r's choices begin at choice[r * choice_stride] */
    size_t choice_stride;
    const float
        *score; /* candidates' scores, row r from score[r * score_stride]; or NULL */
    size_t score_stride;
    enum view_score score_kind;
    bool sorted;               /* the scores of a row descend */
    const uint16_t *candidate; /* select alone: those candidates, as recorded: the
                                  executed ones first, VIEW_NO_EXPERT at the end */
    size_t candidate_stride;
    const uint16_t *predicted; /* recorded predictions for this layer, width values a row;
                                  NULL without NEED_PREDICTED */
    size_t predicted_stride;
    uint32_t predicted_width;
    const uint16_t *active; /* ascending ids of the experts that run: all that have
                               tokens, and with schedule: empty the others, too */
    uint32_t active_count;
    const uint32_t *tokens; /* [experts] rows of each */
    const uint64_t *load;   /* (layer, expert) tokens in the passes before this one */
    /* Where a GPU may hold every expert, its cache; else whether an expert is resident on
     * all GPUs that should hold it. */
    const struct cache *cache;
    bool (*resident)(const void *context, uint32_t layer, uint32_t expert);
    const void *resident_context;
    /* Oracles only: the active experts `ahead` steps after this one (1: the next layer;
     * beyond the last layer, the next pass), in the order of their accesses. Returns how
     * many; 0 past the end. */
    uint32_t (*future)(const struct view_future *f, uint32_t ahead,
                       const uint32_t **expert);
    const struct view_future *future_context;
};

/* Whether an expert of a layer is resident, or on its way. */
static inline bool view_is_resident(const struct view *v, uint32_t layer, uint32_t expert)
{
    if (v->cache != NULL)
        return cache_slot_of(v->cache, layer, expert) != CACHE_NONE;
    return v->resident != NULL && v->resident(v->resident_context, layer, expert);
}

#endif
