#include "tune_trial.h"

#include "sim/base/mem.h"
#include "sim/base/pool.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

void tune_trial_release(struct tune_trial *t)
{
    tune_point_release(&t->point);
    free(t->why);
    t->why = NULL;
}

enum tune_fate tune_trial_check(const struct tune_study *s, const struct tune_point *p,
                                struct experiment_facts *facts, struct err *why)
{
    struct cfg *c = tune_space_config(s->space, p, why);
    int status = c == NULL ? -1 : experiment_check(c, s->folders, facts, why);

    cfg_free(c);
    if (status != 0)
        return TUNE_REFUSED;
    return facts->foresees ? TUNE_FORESEES : TUNE_GOOD;
}

double tune_trial_share(const struct experiment_facts *f, double wanted)
{
    double all = f->recorded > 0 ? (double)f->recorded : (double)f->requests;
    double least = 2 * (double)f->together, part;

    if (f->recorded > 0 && f->most > 0 && (double)f->most < all)
        all = (double)f->most;
    part = ceil(wanted * all - 1e-9);
    part = part < least ? least : part;
    return part < all ? part / all : 1;
}

static int limit(struct cfg *c, const char *key, double value, struct err *e)
{
    char *text = mem_format("workload.%s=%.0f", key, value);
    int status = cfg_override(c, text, e);

    free(text);
    return status;
}

/* Requests and passes are cut alike, as either may end the run. */
static int shorten(struct cfg *c, const struct experiment_facts *f, double share,
                   struct err *e)
{
    double passes = f->most > 0 ? (double)f->most : (double)f->recorded;

    if (f->recorded > 0 && (double)f->recorded < passes)
        passes = (double)f->recorded;
    if (share >= 1)
        return 0;
    if (f->recorded == 0 &&
        limit(c, "requests", round(share * (double)f->requests), e) != 0)
        return -1;
    return passes > 0 ? limit(c, "max_passes", ceil(share * passes - 1e-9), e) : 0;
}

struct cfg *tune_trial_config(const struct tune_study *s, const struct tune_point *p,
                              const struct experiment_facts *f, double share,
                              struct err *e)
{
    struct cfg *c = tune_space_config(s->space, p, e);

    if (c != NULL && shorten(c, f, share, e) == 0 &&
        cfg_override(c, "passes=no", e) == 0 &&
        (s->spec->bounds || cfg_override(c, "bounds=no", e) == 0))
        return c;
    cfg_free(c);
    return NULL;
}

/* ---- runs ---- */

struct crew {
    const struct tune_study *s;
    struct tune_trial *trial;
    bool stopped;
    pthread_mutex_t lock;
};

static int run(const struct tune_study *s, struct tune_trial *t, struct err *e)
{
    struct experiment_hooks hooks = {.shared = s->shared};
    struct experiment_facts facts = {.requests = 0};
    struct cfg *c = NULL;
    struct result r;
    int status = -1;

    if (tune_trial_check(s, &t->point, &facts, e) != TUNE_REFUSED)
        c = tune_trial_config(s, &t->point, &facts, t->share, e);
    if (c != NULL)
        status = experiment_run(c, s->folders, 1, &hooks, &r, e);
    if (status >= 0) {
        result_figures(&r, &r.policy[0], t->figure);
        result_release(&r);
    }
    cfg_free(c);
    return status;
}

static void run_nth(void *context, size_t number)
{
    struct crew *c = context;
    struct tune_trial *t = &c->trial[number];
    struct err why = {.text = ""};
    int status = run(c->s, t, &why);

    t->ran = status == 0;
    if (status < 0)
        t->why = mem_strdup(why.text);
    if (status != 1)
        return;
    (void)pthread_mutex_lock(&c->lock);
    c->stopped = true;
    (void)pthread_mutex_unlock(&c->lock);
}

int tune_trial_run(const struct tune_study *s, struct tune_trial *t, size_t count,
                   unsigned threads)
{
    struct crew c = {.s = s, .trial = t};

    (void)pthread_mutex_init(&c.lock, NULL);
    pool_run(threads, count, run_nth, &c);
    (void)pthread_mutex_destroy(&c.lock);
    return c.stopped ? 1 : 0;
}

/* ---- what came out ---- */

bool tune_trial_allowed(const struct tune_spec *s, const struct tune_trial *t)
{
    bool allowed = t->ran && t->share >= 1;

    for (size_t g = 0; g < s->goals && allowed; g++)
        allowed = isfinite(t->figure[s->goal[g].figure]);
    for (size_t i = 0; i < s->limits && allowed; i++)
        allowed = tune_limit_holds(&s->limit[i], t->figure[s->limit[i].figure]);
    return allowed;
}

double tune_trial_cost(const struct tune_spec *s, const struct tune_trial *t, size_t goal)
{
    const struct tune_goal *g = &s->goal[goal];

    return t->ran ? tune_goal_cost(g, t->figure[g->figure]) : NAN;
}
