#include "select_options.h"

#include <stddef.h>

static const char *const phases[] = {
    [SELECT_AUTO] = "auto", [SELECT_DECODE] = "decode", [SELECT_VERIFY] = "verify",
    [SELECT_ALL] = "all",   [SELECT_ALL + 1] = NULL,
};

const struct option select_options[] = {
    {"phases", OPT_CHOICE, offsetof(struct select_params, phases), "auto", 0, 0, phases,
     "passes whose experts it chooses: decode, those without prefill rows; verify, those "
     "of them that verify drafts; all; auto: as the system does it"},
    {.name = NULL},
};
