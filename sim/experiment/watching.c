#include "watching.h"

#include "sim/base/mem.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_AHEAD = 64 }; /* what prefetchers take as their distance */

struct keys {
    const struct cfg_node *predictor, *distances;
    int64_t width;
};

#define AT(field) offsetof(struct keys, field)

const struct option watching_options[] = {
    {"predictor", OPT_NAMED, AT(predictor), NULL, 0, 0, NULL,
     "who is asked what it would load, and loads nothing: frequency, previous-token or "
     "markov, or a mapping of the name and its options"},
    {"distances", OPT_NODE, AT(distances), "", 0, 0, NULL,
     "how many steps ahead it is asked, rising, such as [1, 2, 4]; 1 is the next layer; "
     "default [1]"},
    {"width", OPT_INT, AT(width), "0", 0, 65535, NULL,
     "most experts that it names for a step; 0: as many as the step runs that it is "
     "asked in"},
    {.name = NULL},
};

/* A policy of the predictor alone, `ahead` 0: as it is written. */
static struct policy *read_predictor(const struct keys *k, const struct cfg_node *place,
                                     uint32_t ahead, const char *folder,
                                     struct cfg **document, struct err *e)
{
    struct cfg *c = cfg_new();
    char *distance = mem_format("%" PRIu32, ahead);
    char *width = mem_format("%" PRId64, k->width);
    struct policy *p = NULL;
    int status = cfg_put(c, "prefetch", k->predictor, k->predictor, e);

    cfg_nest(c, "prefetch", "name");
    if (status == 0 && ahead > 0)
        status = cfg_put_text(c, "prefetch.distance", place, distance, e);
    if (status == 0 && ahead > 0 && k->width > 0)
        status = cfg_put_text(c, "prefetch.candidates", place, width, e);
    if (status == 0)
        p = policy_from_node(cfg_root(c), folder, e);
    free(distance);
    free(width);
    if (p == NULL)
        cfg_free(c);
    else
        *document = c;
    return p;
}

static int check_name(const struct cfg_node *predictor, struct err *e)
{
    const struct cfg_node *n =
        cfg_is_map(predictor) ? cfg_find(predictor, "name") : predictor;

    if (n == NULL || cfg_text(n) == NULL)
        return cfg_error(predictor, e,
                         "predictor: has no name; say {name: markov, ...}, or frequency "
                         "or previous-token");
    if (registry_find(SLOT_PREFETCH, cfg_text(n)) != NULL)
        return 0;
    return cfg_error(n, e,
                     "predictor: there is no '%.40s'; choose frequency, previous-token "
                     "or markov",
                     cfg_text(n));
}

/* What the watch says itself, or has no use for. */
static int check_options(const struct cfg_node *predictor, struct err *e)
{
    static const struct {
        const char *key, *instead;
    } taken[] = {{"distance", "distances"}, {"candidates", "width"}, {"width", "width"}};

    for (size_t i = 0; cfg_is_map(predictor) && i < sizeof taken / sizeof *taken; i++) {
        const struct cfg_node *n = cfg_find(predictor, taken[i].key);

        if (n != NULL)
            return cfg_error(n, e,
                             "predictor: '%s' is for what is loaded, and a watch loads "
                             "nothing; say watch: {%s: ...} instead",
                             taken[i].key, taken[i].instead);
    }
    return 0;
}

static int check_predictor(const struct keys *k, const char *folder, struct err *e)
{
    const struct plugin *plugin;
    struct cfg *document;
    struct policy *p;
    int status;

    if (check_name(k->predictor, e) != 0 || check_options(k->predictor, e) != 0)
        return -1;
    p = read_predictor(k, k->predictor, 0, folder, &document, e);
    if (p == NULL)
        return -1;
    status = 0;
    plugin = p->plugin[SLOT_PREFETCH];
    if ((plugin->acts & ACT_PREFETCH) == 0)
        status = cfg_error(k->predictor, e,
                           "predictor: %s names no experts; choose frequency, "
                           "previous-token or markov",
                           plugin->name);
    else if (plugin->needs != 0)
        status = cfg_error(k->predictor, e,
                           "predictor: %s is told more than the routing so far; choose "
                           "frequency, previous-token or markov (what the best one "
                           "could hide is said beside any)",
                           plugin->name);
    policy_free(p);
    cfg_free(document);
    return status;
}

/* Adds a distance; `n` is where it is written. */
static int add_distance(struct watching *w, const struct keys *k,
                        const struct cfg_node *n, uint32_t ahead, const char *folder,
                        struct err *e)
{
    struct run_watch *r = &w->run;
    uint32_t i = r->distances;

    if (i == RUN_WATCH_DISTANCES)
        return cfg_error(n, e, "'distances' has more than %d; leave some out",
                         RUN_WATCH_DISTANCES);
    if (i > 0 && ahead <= r->distance[i - 1])
        return cfg_error(n, e,
                         "'distances' must rise, and %" PRIu32 " stands behind %" PRIu32
                         "; put them in order, each once",
                         ahead, r->distance[i - 1]);
    w->policy[i] = read_predictor(k, n, ahead, folder, &w->document[i], e);
    if (w->policy[i] == NULL)
        return -1;
    r->distance[i] = ahead;
    r->params[i] = w->policy[i]->params[SLOT_PREFETCH];
    r->type = policy_prefetch(w->policy[i]);
    r->distances++;
    return 0;
}

static int read_distances(struct watching *w, const struct keys *k, const char *folder,
                          struct err *e)
{
    static const struct option one = {
        .name = "distances", .type = OPT_INT, .min = 1, .max = MOST_AHEAD};
    const struct cfg_node *list = k->distances;

    if (list == NULL)
        return add_distance(w, k, k->predictor, 1, folder, e);
    if (!cfg_is_list(list) || cfg_count(list) == 0)
        return cfg_error(
            list, e,
            "'distances' is no list of steps ahead; expected one such as [1, 2]");
    for (size_t i = 0; i < cfg_count(list); i++) {
        const struct cfg_node *n = cfg_item(list, i);
        int64_t ahead;

        if (cfg_bind_value(n, &one, &ahead, e) != 0 ||
            add_distance(w, k, n, (uint32_t)ahead, folder, e) != 0)
            return -1;
    }
    return 0;
}

int watching_read(struct watching *w, const struct cfg_node *n, const char *preset_folder,
                  struct err *e)
{
    struct keys k;

    *w = (struct watching){.text = NULL};
    if (n == NULL)
        return 0;
    if (cfg_bind(n, watching_options, &k, e) != 0 ||
        check_predictor(&k, preset_folder, e) != 0 ||
        read_distances(w, &k, preset_folder, e) != 0)
        return -1;
    w->text = k.width == 0
                  ? mem_strdup(w->run.type->plugin.name)
                  : mem_format("%s width=%" PRId64, w->run.type->plugin.name, k.width);
    return 0;
}

void watching_release(struct watching *w)
{
    for (uint32_t i = 0; i < RUN_WATCH_DISTANCES; i++) {
        policy_free(w->policy[i]);
        cfg_free(w->document[i]);
    }
    free(w->text);
}
