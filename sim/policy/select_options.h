/* Options that all plug-ins of the select slot share. */
#ifndef MOESIM_POLICY_SELECT_OPTIONS_H
#define MOESIM_POLICY_SELECT_OPTIONS_H

#include "sim/base/config.h"

/* Passes whose experts a select chooses. */
enum select_phases {
    SELECT_AUTO,   /* as the system does it (struct select_type) */
    SELECT_DECODE, /* those without prefill rows */
    SELECT_VERIFY, /* those of them that verify drafts */
    SELECT_ALL
};

struct select_params {
    int phases; /* enum select_phases */
};
extern const struct option select_options[];

#endif
