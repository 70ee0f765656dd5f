/* A placement that somebody else made: the experiment reads its map (place_map.h). */
#include "place_fill.h"

#include <string.h>

struct file {
    const char *file;
};

static const struct option options[] = {
    {"file", OPT_STRING, offsetof(struct file, file), "", 0, 0, NULL,
     "JSON or YAML, relative to the configuration's folder: SGLang's and vLLM's "
     "physical_to_logical_map, DeepSeek's phy2log, TensorRT-LLM's "
     "initial_global_assignments; it says how many slots there are"},
    {.name = NULL},
};

static int check(const void *params, const struct place_problem *p, struct err *e)
{
    (void)params;
    if (p->map == NULL)
        return err_set_key(e, "place.file",
                           "place: file needs a map; name it: "
                           "{name: file, file: map.json}");
    return place_check_slots(p, p->map, e);
}

static void assign(const void *params, const struct place_problem *p, uint32_t layer,
                   void *scratch, uint16_t *expert)
{
    (void)params;
    (void)scratch;
    memcpy(expert, p->map + (size_t)layer * p->slots, p->slots * sizeof *expert);
}

const struct place_type place_file = {
    .plugin = {.slot = SLOT_PLACE,
               .name = "file",
               .help = "as a file says, slots dealt to GPUs in equal contiguous parts",
               .source = "SGLang's --init-expert-location, TensorRT-LLM's "
                         "generate_eplb_config.py, DeepSeek's EPLB (phy2log)",
               .variant = VARIANT_STANDARD,
               .lossless = true,
               .needs = NEED_MAP,
               .options = options,
               .params_size = sizeof(struct file)},
    .check = check,
    .assign = assign,
};

const char *place_file_path(const void *params)
{
    return ((const struct file *)params)->file;
}
