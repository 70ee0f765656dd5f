#include "cpu_moe.h"

#include "sim/base/mem.h"
#include "sim/base/pool.h"
#include "sim/policy/policy.h"
#include "sim/workload/workload.h"
#include "traces/trace.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const char *const cpu_moe_side_name[CPU_MOE_SIDES] = {"first", "last"};

/* ---- configurations ---- */

/* Puts a number under a path; in messages it stands where `source` says, or nowhere. */
static int put(struct cfg *c, const char *source, const char *path, uint64_t value,
               struct err *e)
{
    char *text = mem_format("%" PRIu64, value);
    int status = cfg_set(c, source, path, text, e);

    free(text);
    return status;
}

/* The study with the policy alone, and without what stands for many runs. Owned. */
static struct cfg *plain_study(const struct cpu_moe_task *t, const struct cpu_moe *m,
                               struct err *e)
{
    struct cfg *c = cfg_copy(cfg_root(t->study));

    cfg_remove(c, "sweep");
    cfg_remove(c, "tune");
    cfg_keep_item(c, "policies", m->policy_number);
    if (m->policy != NULL ||
        cfg_set(c, NULL, "policies", "[{name: n-cpu-moe, offload: {name: layers}}]", e) ==
            0)
        return c;
    cfg_free(c);
    return NULL;
}

struct cfg *cpu_moe_config(const struct cpu_moe_task *t, const struct cpu_moe *m,
                           enum cpu_moe_side side, uint32_t count, uint64_t context,
                           struct err *e)
{
    struct cfg *c = plain_study(t, m, e);

    if (c == NULL)
        return NULL;
    experiment_open_key(c, "policies.0.offload.count");
    cfg_remove(c, "workload.context");
    if (put(c, NULL, "policies.0.offload.count", count, e) == 0 &&
        cfg_set(c, NULL, "policies.0.offload.side", cpu_moe_side_name[side], e) == 0 &&
        (context == 0 || put(c, "--context", "workload.context", context, e) == 0))
        return c;
    cfg_free(c);
    return NULL;
}

/* ---- the policy and the layers ---- */

/* Whether a policy keeps the experts of whole layers on the host. 1, 0 or -1. */
static int is_layers(const struct cpu_moe_task *t, const struct cfg_node *n,
                     struct err *e)
{
    struct policy *p = policy_from_node(n, t->folders->presets, e);
    bool layers, part;

    if (p == NULL)
        return -1;
    layers = !p->dense && strcmp(policy_offload(p)->plugin.name, "layers") == 0;
    part = cache_is_sized(&p->cache) && p->cache.layer_slots != CACHE_SLOTS_ALL;
    policy_free(p);
    if (layers && part)
        return cfg_error(n, e,
                         "its cache has a size, but --n-cpu-moe keeps all experts of the "
                         "other layers on the GPU; leave the size out, or say "
                         "cache: {slots: all}");
    return layers;
}

static int find_policy(const struct cpu_moe_task *t, struct cpu_moe *m, struct err *e)
{
    const struct cfg_node *list = cfg_find(cfg_root(t->study), "policies");
    int status = 0;

    for (size_t i = 0; list != NULL && cfg_is_list(list) && i < cfg_count(list); i++) {
        status = is_layers(t, cfg_item(list, i), e);
        if (status != 0) {
            m->policy = status == 1 ? experiment_policy_name(list, i) : NULL;
            m->policy_number = i;
            break;
        }
    }
    return status < 0 ? -1 : 0;
}

static int find_layers(const struct cpu_moe_task *t, struct cpu_moe *m, struct err *e)
{
    const struct cfg_node *n = cfg_find(cfg_root(t->study), "trace");
    struct trace *trace;
    const struct trace_info *info;

    if (n == NULL || cfg_text(n) == NULL)
        return cfg_error(n == NULL ? cfg_root(t->study) : n, e,
                         "there is no 'trace'; name the file that holds the routing");
    trace = trace_open(cfg_text(n), NULL, e);
    if (trace == NULL)
        return cfg_locate(cfg_root(t->study), "trace", e);
    info = trace_get_info(trace);
    m->layers = info->layers;
    m->decoder_layer = mem_alloc(m->layers, sizeof *m->decoder_layer);
    for (uint32_t l = 0; l < m->layers; l++)
        m->decoder_layer[l] = (uint16_t)info->moe_layer[l];
    trace_close(trace);
    return 0;
}

uint32_t cpu_moe_decoder_layers(const struct cpu_moe *m, uint32_t count)
{
    return count == 0 ? 0 : m->decoder_layer[count - 1] + 1U;
}

/* ---- what fits ---- */

/* Whether a count fits beside a context: 1, and `facts`; 0, and why not; -1. */
static int fits(const struct cpu_moe_task *t, const struct cpu_moe *m,
                const struct cpu_moe_answer *a, uint32_t count,
                struct experiment_facts *facts, struct err *e)
{
    struct cfg *c = cpu_moe_config(t, m, a->side, count, a->context, e);
    int status = c == NULL ? -1 : experiment_check(c, t->folders, facts, e);

    if (c != NULL && status != 0 && facts->tight)
        status = 1;
    cfg_free(c);
    return status < 0 ? -1 : status == 0;
}

static void note(struct cpu_moe_answer *a, struct err *why)
{
    free(a->why);
    a->why = mem_strdup(why->text);
    *why = (struct err){.text = ""};
}

/* The least count of one context and side. 0 or -1. */
static int bisect(const struct cpu_moe_task *t, const struct cpu_moe *m,
                  struct cpu_moe_answer *a, struct err *e)
{
    struct experiment_facts facts = {.requests = 0};
    uint32_t low = 0, high = m->layers; /* the least is in between, both included */
    int status = fits(t, m, a, high, &facts, e);

    if (status == 0)
        note(a, e);
    if (status != 1)
        return status;
    a->fits = true;
    a->kv_bytes = facts.kv_bytes;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        status = fits(t, m, a, middle, &facts, e);
        if (status < 0)
            return -1;
        if (status == 1) {
            high = middle;
        } else {
            low = middle + 1;
            note(a, e);
        }
    }
    a->count = high;
    return 0;
}

static int add_answers(const struct cpu_moe_task *t, struct cpu_moe *m, uint64_t context,
                       struct err *e)
{
    m->answer = mem_resize(m->answer, m->answers + CPU_MOE_SIDES, sizeof *m->answer);
    for (int side = 0; side < CPU_MOE_SIDES; side++) {
        struct cpu_moe_answer *a = &m->answer[m->answers++];

        *a = (struct cpu_moe_answer){.context = context, .side = (enum cpu_moe_side)side};
        if (bisect(t, m, a, e) != 0)
            return -1;
    }
    return 0;
}

static bool last_fits(const struct cpu_moe *m)
{
    bool any = false;

    for (int side = 1; side <= CPU_MOE_SIDES; side++)
        any = any || m->answer[m->answers - (size_t)side].fits;
    return any;
}

/* Those contexts that nobody asked for. 0 or -1. */
static int answer_usual(const struct cpu_moe_task *t, struct cpu_moe *m, struct err *e)
{
    const struct cfg_node *workload = cfg_find(cfg_root(t->study), "workload");
    struct workload_params own = {.context = 0};

    if (cfg_bind(workload, workload_options, &own, e) != 0)
        return -1;
    if (own.context > 0)
        return add_answers(t, m, (uint64_t)own.context, e);
    if (m->longest == 0)
        return err_set(e, "how long requests get is not known beforehand where passes "
                          "depend on time; name the contexts with --context");
    if (add_answers(t, m, m->longest, e) != 0)
        return -1;
    for (uint64_t c = CPU_MOE_SHORT; c <= CPU_MOE_LONG && last_fits(m); c *= 2) {
        if (c <= m->longest)
            continue;
        if (add_answers(t, m, c, e) != 0)
            return -1;
        if (last_fits(m))
            continue;
        for (int side = 0; side < CPU_MOE_SIDES; side++)
            free(m->answer[--m->answers].why);
        break;
    }
    return 0;
}

/* What is known of the study with all experts on the host. 0 or -1. */
static int look(const struct cpu_moe_task *t, struct cpu_moe *m, struct err *e)
{
    struct cpu_moe_answer plain = {.context = 0, .side = CPU_MOE_FIRST};
    struct experiment_facts facts = {.requests = 0};
    struct err why = {.text = ""};
    int status;

    if (find_policy(t, m, e) != 0 || find_layers(t, m, e) != 0)
        return -1;
    status = fits(t, m, &plain, m->layers, &facts, &why);
    if (status == 0)
        return err_set(e,
                       "not even with the experts of all %u layers on the CPU does the "
                       "rest fit: %s",
                       m->layers, why.text);
    m->longest = facts.longest;
    if (status == 1 && facts.recorded > 0)
        return err_set(e, "recorded passes have the batch that was recorded; choose "
                          "workload.mode: static or continuous");
    if (status < 0)
        *e = why;
    return status < 0 ? -1 : 0;
}

static int answer_all(const struct cpu_moe_task *t, struct cpu_moe *m, struct err *e)
{
    bool any = false;

    if (look(t, m, e) != 0 || (t->contexts == 0 && answer_usual(t, m, e) != 0))
        return -1;
    for (size_t i = 0; i < t->contexts; i++)
        if (add_answers(t, m, t->context[i], e) != 0)
            return -1;
    for (size_t i = 0; i < m->answers; i++)
        any = any || m->answer[i].fits;
    if (any)
        return 0;
    return err_set(e,
                   "not even with the experts of all %u layers on the CPU is there room "
                   "for a context of %" PRIu64 " tokens: %s",
                   m->layers, m->answer[0].context, m->answer[0].why);
}

/* ---- how fast ---- */

static size_t find_run(const struct cpu_moe *m, enum cpu_moe_side side, uint32_t count)
{
    size_t i = 0;

    while (i < m->runs && (m->run[i].side != side || m->run[i].count != count))
        i++;
    return i;
}

/* Adds a count to those that are run, or a longer context to one. */
static void add_run(struct cpu_moe *m, const struct cpu_moe_answer *a, uint32_t count)
{
    size_t i = find_run(m, a->side, count);

    if (i == m->runs) {
        m->run = mem_resize(m->run, m->runs + 1, sizeof *m->run);
        m->run[m->runs++] = (struct cpu_moe_run){.side = a->side, .count = count};
    }
    if (m->run[i].context < a->context)
        m->run[i].context = a->context;
}

static int by_side_and_count(const void *a, const void *b)
{
    const struct cpu_moe_run *p = a, *q = b;

    if (p->side != q->side)
        return p->side < q->side ? -1 : 1;
    return (p->count > q->count) - (p->count < q->count);
}

/* Of every answer its count, one, two and four more, and all layers. */
static void plan_runs(struct cpu_moe *m)
{
    static const uint32_t more[] = {0, 1, 2, 4};

    for (size_t i = 0; i < m->answers; i++) {
        const struct cpu_moe_answer *a = &m->answer[i];

        if (!a->fits)
            continue;
        for (size_t k = 0; k < sizeof more / sizeof *more; k++)
            if (a->count + more[k] <= m->layers)
                add_run(m, a, a->count + more[k]);
        add_run(m, a, m->layers);
    }
    for (size_t i = 0; i < m->answers;
         i++) /* counts of shorter contexts may serve, too */
        for (size_t k = 0; k < m->runs; k++)
            if (m->answer[i].fits && m->answer[i].side == m->run[k].side &&
                m->answer[i].count <= m->run[k].count)
                add_run(m, &m->answer[i], m->run[k].count);
    qsort(m->run, m->runs, sizeof *m->run, by_side_and_count);
}

struct cpu_moe_work {
    const struct cpu_moe_task *t;
    struct cpu_moe *m;
    int *status;     /* [runs] */
    struct err *err; /* [runs] */
};

static double share(double part, double whole)
{
    return whole > 0 ? part / whole : 0;
}

static void run_nth(void *context, size_t i)
{
    struct cpu_moe_work *w = context;
    struct cpu_moe_run *run = &w->m->run[i];
    struct experiment_hooks hooks = {.shared = w->t->shared};
    struct err *e = &w->err[i];
    struct cfg *c = cpu_moe_config(w->t, w->m, run->side, run->count, run->context, e);
    struct result r;

    w->status[i] = -1;
    if (c != NULL && cfg_set(c, NULL, "bounds", "no", e) == 0 &&
        cfg_set(c, NULL, "passes", "no", e) == 0)
        w->status[i] = experiment_run(c, w->t->folders, 1, &hooks, &r, e);
    cfg_free(c);
    if (w->status[i] < 0)
        return;
    run->memory = r.policy[0].run.total.memory;
    run->expert_bytes = r.policy[0].run.cache_bytes;
    run->dense_bytes = run->memory.weights - run->expert_bytes;
    run->room_bytes = r.gpu_memory_bytes;
    run->on_cpu = share((double)run_in_place(&r.policy[0].run.total.counts),
                        (double)r.policy[0].run.total.counts.accesses);
    result_figures(&r, &r.policy[0], run->figure);
    result_release(&r);
}

static int run_all(const struct cpu_moe_task *t, struct cpu_moe *m, struct err *e)
{
    struct cpu_moe_work w = {t, m, mem_zalloc(m->runs, sizeof *w.status),
                             mem_zalloc(m->runs, sizeof *w.err)};
    int status = 0;

    pool_run(t->threads, m->runs, run_nth, &w);
    for (size_t i = 0; i < m->runs && status >= 0; i++) {
        if (w.status[i] != 0)
            status = w.status[i];
        if (status < 0)
            *e = w.err[i];
    }
    free(w.status);
    free(w.err);
    return status;
}

/* Whether an answer's fastest run is the better one. Of one context the last layers have
 * to be worth leaving llama.cpp's own flag, which knows the first ones. */
static bool is_better(const struct cpu_moe *m, const struct cpu_moe_answer *a,
                      const struct cpu_moe_answer *b, int figure)
{
    double worth = a->side == CPU_MOE_LAST ? CPU_MOE_WORTH : 1;

    return a->context > b->context ||
           m->run[a->fastest].figure[figure] > worth * m->run[b->fastest].figure[figure];
}

static void choose(struct cpu_moe *m)
{
    struct err ignored = {.text = ""};
    int figure = result_figure_find("tokens_per_s", &ignored);
    bool any = false;

    for (size_t i = 0; i < m->answers; i++) {
        struct cpu_moe_answer *a = &m->answer[i];

        if (!a->fits)
            continue;
        a->least = a->fastest = find_run(m, a->side, a->count);
        for (size_t k = a->least; k < m->runs && m->run[k].side == a->side; k++)
            if (m->run[k].figure[figure] > m->run[a->fastest].figure[figure])
                a->fastest = k;
        if (!any || is_better(m, a, &m->answer[m->best], figure))
            m->best = i;
        any = true;
    }
}

int cpu_moe_find(const struct cpu_moe_task *t, struct cpu_moe *m, struct err *e)
{
    int status;

    *m = (struct cpu_moe){.parallel = cfg_find(cfg_root(t->study), "parallel") != NULL};
    if (answer_all(t, m, e) != 0)
        return -1;
    plan_runs(m);
    status = run_all(t, m, e);
    if (status == 0)
        choose(m);
    return status;
}

void cpu_moe_release(struct cpu_moe *m)
{
    for (size_t i = 0; i < m->answers; i++)
        free(m->answer[i].why);
    free(m->answer);
    free(m->run);
    free(m->decoder_layer);
    free(m->policy);
}
