#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "schedule_lab.h"

#include <stdlib.h>
#include <string.h>

struct crew_case schedule_lab_case(struct rng *r, uint32_t parts, char *workload,
                                   size_t room)
{
    uint32_t gpus = 2U << rng_below(r, 2), own = 1 + (uint32_t)rng_below(r, 3);
    uint32_t requests = gpus * parts * (1 + (uint32_t)rng_below(r, 4));
    struct crew_case c = {.nodes = 1,
                          .gpus = gpus,
                          .per_root = 1,
                          .nvlink = rng_below(r, 2) == 0,
                          .cyclic = true,
                          .layers = 1 + (uint32_t)rng_below(r, 2),
                          .experts = gpus * own,
                          .top_k = own,
                          .candidates = own,
                          .hidden = 64U << rng_below(r, 6),
                          .requests = requests,
                          .rows = 2 + (uint32_t)rng_below(r, 5),
                          .seed = rng_u64(r),
                          .place = "linear",
                          .place_more = "",
                          .window = 1,
                          .more = "bounds: no\nlaunch: graph"};

    (void)snprintf(workload, room, "{mode: static, batch: %u}", requests);
    c.workload = workload;
    return c;
}

struct result schedule_lab_run(const struct crew_lab *lab, const char *policy,
                               schedule_lab_watch *watch, void *context)
{
    const struct experiment_folders folders = {"models/arch", "models/machine",
                                               "sim/policy/presets"};
    struct experiment_hooks hooks = {
        .machine = &lab->machine, .operation = watch, .operation_context = context};
    char *text = crew_lab_text(lab, "fifo", policy);
    struct err e = {.text = ""};
    struct cfg *config = cfg_parse("schedule.yaml", text, strlen(text), &e);
    struct result r = {.path = NULL};

    if (config == NULL || experiment_run(config, &folders, 1, &hooks, &r, &e) != 0)
        fail_msg("%s", e.text);
    cfg_free(config);
    free(text);
    return r;
}
