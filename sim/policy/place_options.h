/* Options of the place slot that all its plug-ins share; beside the plug-in's own in the
 * same mapping. */
#ifndef MOESIM_POLICY_PLACE_OPTIONS_H
#define MOESIM_POLICY_PLACE_OPTIONS_H

#include "place_window.h"
#include "sim/base/config.h"

enum place_migrate { PLACE_BLOCKING, PLACE_BACKGROUND };

struct place_params {
    int64_t slots; /* per layer, on all GPUs; 0: the least */
    int64_t groups;
    int replica;    /* enum place_choice */
    double foresee; /* share of right guesses; 0: no guesses */
    bool keep;      /* place_keep() each new placement */
    int migrate;    /* enum place_migrate */
    struct place_window_params window;
};
extern const struct option place_options[];

#endif
