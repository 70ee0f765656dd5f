/* Test vectors of an independent implementation, from the folder that MOESIM_ORACLE
 * names: JSON, which the reader of YAML takes. Include cmocka.h first. */
#ifndef MOESIM_TESTS_ORACLE_FILE_H
#define MOESIM_TESTS_ORACLE_FILE_H

#include "sim/base/config.h"
#include "sim/base/mem.h"

#include <stdio.h>
#include <stdlib.h>

/* The document, or NULL, having said so, where there are no vectors to be had. */
static inline struct cfg *oracle_open(const char *test, const char *file)
{
    const char *folder = getenv("MOESIM_ORACLE");
    struct err e = {.text = ""};
    struct cfg *c;
    char *path;

    if (folder == NULL || *folder == '\0') {
        printf("skip %s: needs MOESIM_ORACLE\n", test);
        return NULL;
    }
    path = mem_format("%s/%s", folder, file);
    c = cfg_load(path, &e);
    free(path);
    if (c == NULL)
        fail_msg("%s", e.text);
    return c;
}

static inline const struct cfg_node *oracle_at(const struct cfg_node *n, const char *key)
{
    const struct cfg_node *found = cfg_find(n, key);

    if (found == NULL)
        fail_msg("a vector has no %s", key);
    return found;
}

static inline double oracle_value(const struct cfg_node *n)
{
    char *end;
    double value = strtod(cfg_text(n), &end);

    if (*end != '\0')
        fail_msg("'%s' is no number", cfg_text(n));
    return value;
}

static inline double oracle_number(const struct cfg_node *n, const char *key)
{
    return oracle_value(oracle_at(n, key));
}

#endif
