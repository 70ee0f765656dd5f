/* Experts of whole layers stay where they are stored: llama.cpp's --n-cpu-moe N (the
 * first N layers; others count from the last one, ik_llama.cpp issue 2262) and --cpu-moe
 * (all). Passes of few rows run them on the host. From `batch` rows on their weights are
 * streamed to the GPU, pass by pass, and not kept (ggml's offload of operations,
 * GGML_OP_OFFLOAD_MIN_BATCH, 32 where nothing else is said). The other layers' experts
 * have the cache; without a size it holds all of them. A layer either loads or runs in
 * place, and the next one begins when it is done, so that on one GPU the two never share
 * the host's memory.
 *
 * `whole: yes` leaves nothing of those layers on the GPU, as --n-gpu-layers does for the
 * last ones: every pass computes them on the host, and rows cross at their borders only.
 * Decoder layers without experts go with the MoE layers beside them. */
#include "slots.h"

#include <string.h>

enum side { SIDE_FIRST, SIDE_LAST };
enum { COUNT_ALL = -1, BATCH_NEVER = -1 };

struct layers {
    int64_t count, batch;
    int side;
    bool whole;
};

static const char *const sides[] = {"first", "last", NULL};
static const char *const counts[] = {"all", NULL};
static const char *const batches[] = {"never", NULL};

static const struct option options[] = {
    {"count", OPT_INT, offsetof(struct layers, count), "all", 0, 65535, counts,
     "MoE layers whose experts never stay on the GPU; all: of every layer"},
    {"side", OPT_CHOICE, offsetof(struct layers, side), "first", 0, 0, sides,
     "which ones: the first or the last"},
    {"batch", OPT_INT, offsetof(struct layers, batch), "32", 1, 1000000000, batches,
     "rows of a pass from which their weights are streamed to the GPU instead"},
    {"whole", OPT_BOOL, offsetof(struct layers, whole), "no", 0, 0, NULL,
     "attention, router, shared and dense FFN of those layers, and their keys and "
     "values, "
     "are on the host, too; wants batch: never"},
    {.name = NULL},
};

static struct offload_closed closes(const void *params, uint32_t layers)
{
    const struct layers *l = params;
    uint32_t count =
        l->count == COUNT_ALL || l->count > layers ? layers : (uint32_t)l->count;

    return (struct offload_closed){l->side == SIDE_FIRST ? 0 : layers - count, count,
                                   l->whole};
}

static void decide(const void *params, const struct view *v, const uint16_t *missing,
                   uint32_t count, uint16_t *order, uint8_t *where)
{
    const struct layers *l = params;
    struct offload_closed c = closes(params, v->layers);

    (void)missing;
    (void)order;
    if (v->layer - c.from < c.count && (l->batch == BATCH_NEVER || v->rows < l->batch))
        memset(where, OFFLOAD_IN_PLACE, count);
}

static bool streams(const void *params)
{
    return ((const struct layers *)params)->batch != BATCH_NEVER;
}

const struct offload_type offload_layers = {
    .plugin = {.slot = SLOT_OFFLOAD,
               .name = "layers",
               .help =
                   "the experts of some layers run on the host, those of the others on "
                   "the GPU",
               .source = "llama.cpp --n-cpu-moe and --cpu-moe; GGML_OP_OFFLOAD_MIN_BATCH",
               .variant = VARIANT_RELEASED,
               .lossless = true,
               .acts = ACT_HOST,
               .options = options,
               .params_size = sizeof(struct layers)},
    .decide = decide,
    .closes = closes,
    .streams = streams,
};
