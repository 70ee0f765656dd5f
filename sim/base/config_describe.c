/* A bound struct in words, for provenance. */
#include "config.h"
#include "mem.h"
#include "units.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The fewest digits that read back as the same number. */
static char *describe_double(double value)
{
    for (int digits = 15; digits < 17; digits++) {
        char *text = mem_format("%.*g", digits, value);

        if (strtod(text, NULL) == value)
            return text;
        free(text);
    }
    return mem_format("%.17g", value);
}

static char *describe_part(const struct cfg_part *part)
{
    char *percent, *text;

    if (part->percent == 0)
        return mem_format("%" PRIu64 "B", part->bytes);
    percent = describe_double(part->percent);
    text = mem_format("%s%%", percent);
    free(percent);
    return text;
}

static char *describe_value(const struct option *o, const void *target)
{
    const char *at = (const char *)target + o->offset;
    int64_t integer;

    switch (o->type) {
    case OPT_INT:
        integer = *(const int64_t *)(const void *)at;
        if (integer < 0 && o->choices != NULL)
            return mem_strdup(o->choices[-1 - integer]);
        return mem_format("%" PRId64, integer);
    case OPT_DOUBLE:
        return describe_double(*(const double *)(const void *)at);
    case OPT_BOOL:
        return mem_format("%s", *(const bool *)(const void *)at ? "yes" : "no");
    case OPT_STRING:
        return mem_format("%s", *(const char *const *)(const void *)at);
    case OPT_CHOICE:
        return mem_format("%s", o->choices[*(const int *)(const void *)at]);
    case OPT_BYTES:
        return mem_format("%" PRIu64 "B", *(const uint64_t *)(const void *)at);
    case OPT_PART:
        return describe_part((const struct cfg_part *)(const void *)at);
    case OPT_TIME:
        return mem_format("%" PRId64 "ps", *(const sim_time *)(const void *)at);
    case OPT_NODE:
    case OPT_NAMED:
        break;
    }
    return mem_strdup("...");
}

char *cfg_describe(const struct option *table, const void *target)
{
    char *text = mem_strdup("");

    for (const struct option *o = table; o != NULL && o->name != NULL; o++) {
        char *value = describe_value(o, target);
        char *longer =
            mem_format("%s%s%s=%s", text, *text == '\0' ? "" : " ", o->name, value);

        free(value);
        free(text);
        text = longer;
    }
    return text;
}
