#include "place_options.h"

#define AT(field) offsetof(struct place_params, field)

static const char *const replicas[] = {"round-robin", "random", "nearest", NULL};
static const char *const migrations[] = {"blocking", "background", NULL};

const struct option place_options[] = {
    {"slots", OPT_INT, AT(slots), "0", 0, 65534, NULL,
     "experts and replicas of a layer on all GPUs together, a multiple of the GPUs; 0: "
     "as few as hold every expert once"},
    {"groups", OPT_INT, AT(groups), "1", 1, 65534, NULL,
     "groups of consecutive experts that group-limited routing knows (DeepSeek-V3: 8)"},
    {"replica", OPT_CHOICE, AT(replica), "round-robin", 0, 0, replicas,
     "which replica a token goes to; nearest: on its own GPU, else in its node, "
     "else any, in turn among equals"},
    {"interval", OPT_INT, AT(window.interval), "0", 0, 1e9, NULL,
     "passes from one rebalance to the next (vLLM: step_interval, 3000; SGLang: "
     "eplb_rebalance_num_iterations, 1000); 0: placed once, by the profile"},
    {"first", OPT_INT, AT(window.first), "0", 0, 1e9, NULL,
     "passes before the first rebalance; 0: as interval (vLLM: a quarter of it)"},
    {"window", OPT_INT, AT(window.window), "1000", 1, 1e6, NULL,
     "passes whose loads a rebalance counts (vLLM: window_size, 1000)"},
    {"foresee", OPT_DOUBLE, AT(foresee), "0", 0, 1, NULL,
     "with interval: 1, place by the loads of the coming pass as a predictor tells them "
     "that is right about this share of the choices and else names any expert "
     "(predictive replication: 0.994); 0: by those of the last passes"},
    {"keep", OPT_BOOL, AT(keep), "yes", 0, 0, NULL,
     "a rebalance renumbers GPUs and slots so that as much as possible stays in place"},
    {"migrate", OPT_CHOICE, AT(migrate), "blocking", 0, 0, migrations,
     "blocking: passes wait for a rebalance's copies; background: copies share the links "
     "with the tokens, and the old placement serves until they are there"},
    {.name = NULL},
};
