#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "config_sample.h"

#include <string.h>

static const char *const policies[] = {"lru", "lfu", "belady", NULL};

#define MEMBER(m) offsetof(struct sample, m)

const struct option sample_options[] = {
    {"batch", OPT_INT, MEMBER(batch), "8", 1, 65536, NULL, "requests together"},
    {"delta", OPT_INT, MEMBER(delta), "0", 0, 0, NULL, "any integer"},
    {"fraction", OPT_DOUBLE, MEMBER(fraction), "0.25", 0, 1, NULL, "share kept"},
    {"strict", OPT_BOOL, MEMBER(strict), "no", 0, 0, NULL, "refuse doubt"},
    {"policy", OPT_CHOICE, MEMBER(policy), "lfu", 0, 0, policies, "who is evicted"},
    {"capacity", OPT_BYTES, MEMBER(capacity_bytes), "1 MiB", 0, 0, NULL, "room"},
    {"poll", OPT_TIME, MEMBER(poll), "2.5 us", 0, 0, NULL, "time between looks"},
    {"name", OPT_STRING, MEMBER(name), "", 0, 0, NULL, "what reports call it"},
    {"extra", OPT_NODE, MEMBER(extra), "", 0, 0, NULL, "anything"},
    {.name = NULL},
};

struct cfg *sample_parse(const char *text)
{
    struct err e = {.text = ""};
    struct cfg *c = cfg_parse("demo.yaml", text, strlen(text), &e);

    if (c == NULL)
        fail_msg("%s", e.text);
    return c;
}
