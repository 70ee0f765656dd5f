#include "tune_spec.h"

#include "sim/base/mem.h"
#include "sim/base/units.h"
#include "sim/result/result_figures.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct keys {
    const struct cfg_node *minimise, *maximise, *over, *at_most, *at_least;
    int64_t evaluations, seeds, seed;
    const char *against;
};

#define AT(field) offsetof(struct keys, field)
const struct option tune_options[] = {
    {"minimise", OPT_NAMED, AT(minimise), "", 0, 0, NULL,
     "figure that should be small (a name as in summary.csv, such as tpot_p99); or two"},
    {"maximise", OPT_NAMED, AT(maximise), "", 0, 0, NULL, "figure that should be large"},
    {"over", OPT_NODE, AT(over), NULL, 0, 0, NULL,
     "keys and what they may be, as sweep has them; a policy of several is one more"},
    {"at_most", OPT_NODE, AT(at_most), "", 0, 0, NULL,
     "figures and what they may not be above: {ttft_p99: 500 ms, gpu_peak: 70 GB}"},
    {"at_least", OPT_NODE, AT(at_least), "", 0, 0, NULL,
     "figures and what they may not be below: {hit_rate: 70 %}"},
    {"evaluations", OPT_INT, AT(evaluations), "60", 2, 1000, NULL,
     "runs that the search may take, those of a part of the trace included"},
    {"seeds", OPT_INT, AT(seeds), "5", 0, 100, NULL,
     "runs of the best at other seeds, to say how sure it is"},
    {"seed", OPT_INT, AT(seed), "1", 0, 9e15, NULL, "of what the search draws"},
    {"against", OPT_STRING, AT(against), "", 0, 0, NULL,
     "name of a policy of the study that the best of the others is compared with"},
    {.name = NULL},
};
#undef AT

static int read_figure(const struct cfg_node *n, const char *name, int *figure,
                       struct err *e)
{
    struct err why = {.text = ""};

    *figure = result_figure_find(name, &why);
    return *figure >= 0 ? 0 : cfg_error(n, e, "%s", why.text);
}

/* ---- goals ---- */

static int add_goal(struct tune_spec *s, const struct cfg_node *n, bool large,
                    struct err *e)
{
    struct tune_goal *g = &s->goal[s->goals];

    if (s->goals == TUNE_GOALS)
        return cfg_error(n, e,
                         "there are %d goals already; make the others limits, such "
                         "as at_most: {gpu_peak: 70 GB}",
                         TUNE_GOALS);
    if (cfg_text(n) == NULL)
        return cfg_error(n, e, "expected the name of a figure, such as tpot_p99");
    g->large = large;
    if (read_figure(n, cfg_text(n), &g->figure, e) != 0)
        return -1;
    if (s->goals == 1 && g->figure == s->goal[0].figure)
        return cfg_error(n, e, "'%.40s' is a goal already; name another figure",
                         cfg_text(n));
    s->goals++;
    return 0;
}

static int add_goals(struct tune_spec *s, const struct cfg_node *n, bool large,
                     struct err *e)
{
    int status = 0;

    if (n == NULL)
        return 0;
    if (!cfg_is_list(n))
        return add_goal(s, n, large, e);
    for (size_t i = 0; i < cfg_count(n) && status == 0; i++)
        status = add_goal(s, cfg_item(n, i), large, e);
    return status;
}

/* ---- limits ---- */

/* "70 %", or a number. */
static int read_share(const struct cfg_node *n, const char *name, double *value,
                      struct err *e)
{
    const struct option number = {.name = name, .type = OPT_DOUBLE};
    const char *text = cfg_text(n);
    size_t length = text == NULL ? 0 : strcspn(text, "%");
    struct err why = {.text = ""};
    char *share;
    int status;

    if (text == NULL || text[length] == '\0' || text[length + 1] != '\0')
        return cfg_bind_value(n, &number, value, e);
    while (length > 0 && text[length - 1] == ' ')
        length--;
    share = mem_format("%.*s", (int)length, text);
    status = cfg_parse_value(share, &number, value, &why);
    free(share);
    *value /= 100;
    return status == 0 ? 0 : cfg_error(n, e, "expected a share, such as 0.7 or 70 %%");
}

static int read_value(const struct cfg_node *n, const char *name, enum figure_kind kind,
                      double *value, struct err *e)
{
    const struct option as_time = {.name = name, .type = OPT_TIME, .max = 1e6};
    const struct option as_bytes = {.name = name, .type = OPT_BYTES, .max = 1e18};
    sim_time time;
    uint64_t bytes;

    if (kind == FIGURE_TIME) {
        if (cfg_bind_value(n, &as_time, &time, e) != 0)
            return -1;
        *value = sim_time_seconds(time);
        return 0;
    }
    if (kind == FIGURE_BYTES) {
        if (cfg_bind_value(n, &as_bytes, &bytes, e) != 0)
            return -1;
        *value = (double)bytes;
        return 0;
    }
    return read_share(n, name, value, e);
}

static int add_limits(struct tune_spec *s, const struct cfg_node *map, bool least,
                      struct err *e)
{
    if (map != NULL && !cfg_is_map(map))
        return cfg_error(map, e,
                         "expected figures with what they may be, "
                         "such as {ttft_p99: 500 ms}");
    for (size_t i = 0; map != NULL && i < cfg_count(map); i++) {
        struct tune_limit *l;

        s->limit = mem_grow(s->limit, s->limits, sizeof *s->limit);
        l = &s->limit[s->limits];
        l->least = least;
        if (read_figure(cfg_item(map, i), cfg_key(map, i), &l->figure, e) != 0 ||
            read_value(cfg_item(map, i), cfg_key(map, i), result_figure[l->figure].kind,
                       &l->value, e) != 0)
            return -1;
        s->limits++;
    }
    return 0;
}

/* ---- the whole ---- */

/* Whether a figure that is asked for is there only with bounds. */
static bool needs_bounds(const struct tune_spec *s)
{
    bool needs = false;

    for (size_t i = 0; i < s->goals; i++)
        needs = needs || result_figure[s->goal[i].figure].bounds;
    for (size_t i = 0; i < s->limits; i++)
        needs = needs || result_figure[s->limit[i].figure].bounds;
    return needs;
}

int tune_spec_read(const struct cfg *study, struct tune_spec *s, struct err *e)
{
    const struct cfg_node *tune = cfg_find(cfg_root(study), "tune");
    struct keys keys;

    *s = (struct tune_spec){.node = tune};
    if (tune == NULL || !cfg_is_map(tune))
        return cfg_error(
            tune == NULL ? cfg_root(study) : tune, e,
            "there is no mapping 'tune' of what to search; add such as tune: "
            "{minimise: tpot_p99, over: {cache.slots: 4..16}}");
    if (cfg_bind(tune, tune_options, &keys, e) != 0 ||
        add_goals(s, keys.minimise, false, e) != 0 ||
        add_goals(s, keys.maximise, true, e) != 0 ||
        add_limits(s, keys.at_most, false, e) != 0 ||
        add_limits(s, keys.at_least, true, e) != 0)
        return -1;
    if (s->goals == 0)
        return cfg_error(tune, e,
                         "'tune' has no goal; add such as minimise: tpot_p99, or "
                         "maximise: tokens_per_s");
    if (!cfg_is_map(keys.over))
        return cfg_error(keys.over, e,
                         "expected keys with values, such as {cache.slots: 4..16}");
    s->over = keys.over;
    s->evaluations = keys.evaluations;
    s->seeds = keys.seeds;
    s->seed = keys.seed;
    s->against = keys.against;
    s->bounds = needs_bounds(s);
    return 0;
}

void tune_spec_release(struct tune_spec *s)
{
    free(s->limit);
    s->limit = NULL;
}

bool tune_limit_holds(const struct tune_limit *l, double value)
{
    return l->least ? value >= l->value : value <= l->value;
}

double tune_goal_cost(const struct tune_goal *g, double value)
{
    return g->large ? -value : value;
}
