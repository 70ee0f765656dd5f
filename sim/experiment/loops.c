#include "loops.h"

#include "sweep_points.h"
#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

static const struct cfg_node *loop_of(const struct cfg_node *policy)
{
    return cfg_is_map(policy) ? cfg_find(policy, "for") : NULL;
}

static int check_keys(const struct sweep_points *s, const struct cfg_node *policy,
                      struct err *e)
{
    for (size_t k = 0; k < sweep_points_keys(s); k++) {
        const char *key = sweep_points_key(s, k);

        if (cfg_find_path(policy, key) != NULL)
            return cfg_error(sweep_points_node(s, k), e,
                             "'%.80s' is one of 'for', and stands in the policy itself, "
                             "too; take it out of one of them",
                             key);
    }
    return 0;
}

/* Puts `count` policies, the points of `s`, in the place of number i. */
static int expand(struct cfg *c, size_t i, const struct sweep_points *s, size_t count,
                  struct err *e)
{
    char *first = mem_format("policies.%zu", i);
    int status = 0;

    cfg_repeat(c, first, count);
    free(first);
    for (size_t p = 0; p < count && status == 0; p++) {
        char *path = mem_format("policies.%zu", i + p);
        char *loop = mem_format("%s.for", path);

        cfg_remove(c, loop);
        status = sweep_points_put(s, p, c, path, e);
        free(loop);
        free(path);
    }
    return status;
}

static int expand_one(struct cfg *c, size_t i, struct err *e)
{
    const struct cfg_node *list = cfg_find(cfg_root(c), "policies");
    const struct cfg_node *policy = cfg_item(list, i), *loop = loop_of(policy);
    struct sweep_points *s;
    uint64_t most = LOOPS_MOST - (cfg_count(list) - 1);
    int status = -1;

    if (!cfg_is_map(loop))
        return cfg_error(loop, e,
                         "'for' is no mapping of keys to values; expected such as "
                         "{cache.slots: [4, 8, 16]}");
    s = sweep_points_of(loop, "for", e);
    if (s == NULL)
        return -1;
    if (cfg_count(list) > LOOPS_MOST || sweep_points_count(s) > most)
        (void)cfg_error(loop, e,
                        "'for' stands for %llu policies, which with the others are more "
                        "than %d; take fewer values, or moesim sweep",
                        (unsigned long long)sweep_points_count(s), LOOPS_MOST);
    else if (check_keys(s, policy, e) == 0)
        status = expand(c, i, s, (size_t)sweep_points_count(s), e);
    sweep_points_free(s);
    return status;
}

int loops_expand(struct cfg *config, struct err *e)
{
    const struct cfg_node *list = cfg_find(cfg_root(config), "policies");

    /* From the last one on, so that the numbers of those before it stay. */
    for (size_t i = list != NULL && cfg_is_list(list) ? cfg_count(list) : 0; i-- > 0;) {
        if (loop_of(cfg_item(list, i)) != NULL && expand_one(config, i, e) != 0)
            return -1;
    }
    return 0;
}

int loops_refuse(const struct cfg *config, struct err *e)
{
    const struct cfg_node *list = cfg_find(cfg_root(config), "policies");

    for (size_t i = 0; list != NULL && cfg_is_list(list) && i < cfg_count(list); i++) {
        const struct cfg_node *loop = loop_of(cfg_item(list, i));

        if (loop != NULL)
            return cfg_error(loop, e,
                             "'for' stands for several policies, and here one is taken "
                             "at a time; write them out, or search over its keys");
    }
    return 0;
}
