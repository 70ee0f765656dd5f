/* What holds for any experiment, tried on random ones: bounds are never beaten, nothing
 * is lost or counted twice, names of experts do not matter, and what says the same in two
 * ways gives the same.
 *
 * Case N is a function of N. MOESIM_PROPERTY_CASES says how many are tried and
 * MOESIM_PROPERTY_FIRST from which on. A case that fails leaves its files, with the
 * configuration that shows it, and says where. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "property_case.h"
#include "run_world.h"

#include "sim/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A run of a case's experiment, or of one that should be like it. */
struct trial {
    const struct property_case *c;
    char *text; /* its configuration */
    struct result r;
};

/* Keeps the files and tells of them. */
static void violated(const struct trial *t, const char *format, ...)
    __attribute__((format(printf, 2, 3), noreturn));
static void violated(const struct trial *t, const char *format, ...)
{
    char *path = mem_format("%s/config.yaml", t->c->folder);
    FILE *f = fopen(path, "w");
    char sentence[400];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    assert_non_null(f);
    assert_true(fputs(t->text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    print_error("case %llu: %s\n"
                "again: MOESIM_PROPERTY_FIRST=%llu MOESIM_PROPERTY_CASES=1, or\n"
                "moesim run %s, which says\n",
                (unsigned long long)t->c->number, sentence,
                (unsigned long long)t->c->number, path);
    for (const char *line = t->text; *line != '\0';) { /* its room is 1 kB at a time */
        const char *end = strchr(line, '\n') + 1;

        print_error("%.*s", (int)(end - line), line);
        line = end;
    }
    fail();
    abort(); /* fail() does not return, but does not say so */
}

/* Takes `text`. */
static struct trial try_text(const struct property_case *c, char *text)
{
    static const struct experiment_folders folders = {"models/arch", "models/machine",
                                                      "sim/policy/presets"};
    struct experiment_hooks hooks = {.progress = NULL};
    struct trial t = {.c = c, .text = text};
    struct err e = {.text = ""};
    struct cfg *config = cfg_parse("config.yaml", text, strlen(text), &e);

    if (config == NULL || experiment_run(config, &folders, 1, &hooks, &t.r, &e) != 0)
        violated(&t, "it is refused: %s", e.text);
    cfg_free(config);
    return t;
}

static void end_trial(struct trial *t)
{
    result_release(&t->r);
    free(t->text);
}

static struct trial try_case(const struct property_case *c, const char *more)
{
    return try_text(c, property_config(c, "trace.h5", c->workload, more, c->policy, 0,
                                       PROPERTY_POLICIES));
}

static unsigned long long ull(uint64_t value)
{
    return value;
}

static bool has(const struct result_policy *p, enum policy_slot slot, const char *word)
{
    return strstr(p->description[slot], word) != NULL;
}

/* ---- bounds ---- */

static void check_bounds(const struct trial *t, const struct result_policy *p)
{
    const struct run_counts *n = &p->run.total.counts;
    const struct result_bounds *b = &p->bounds;
    uint64_t bytes = n->demand_bytes + n->prefetch_bytes;
    sim_time time = p->run.total.latency;
    const sim_time least[] = {b->offline, b->compute, b->copy, b->balanced,
                              b->free_network};

    if (!b->present)
        return;
    if (has(p, SLOT_PREFETCH, "none") && n->hits > b->belady_hits)
        violated(t, "%s has %llu hits, the bound is %llu", p->label, ull(n->hits),
                 ull(b->belady_hits));
    if (t->c->parallel != (b->belady_hits == RESULT_NONE))
        violated(t, "%s has a bound on hits on several GPUs, or none on one", p->label);
    if (bytes < b->belady_bytes)
        violated(t, "%s moves %llu bytes, the bound is %llu", p->label, ull(bytes),
                 ull(b->belady_bytes));
    for (size_t i = 0; i < sizeof least / sizeof *least; i++)
        if (time < least[i])
            violated(t, "%s takes %.6f us, bound %zu is %.6f us", p->label,
                     (double)time * 1e-6, i, (double)least[i] * 1e-6);
}

/* ---- conservation ---- */

/* Each of Belady's and LRU's stacks holds the smaller one's. */
static void check_sums(const struct trial *t, const struct result_policy *p)
{
    const struct run_result *run = &p->run;
    const struct run_counts *n = &run->total.counts;
    sim_time shares = 0;
    struct run_counts layers = {0};
    uint64_t loaded = 0;

    for (int s = 0; s < RUN_SHARES; s++)
        shares += run->total.share[s];
    for (uint32_t l = 0; l < run->layers; l++) {
        const struct run_counts *m = &run->layer[l].counts;

        layers.activations += m->activations;
        layers.dropped += m->dropped;
        layers.accesses += m->accesses;
        layers.hits += m->hits;
        layers.displaced += m->displaced;
        layers.swaps += m->swaps;
        layers.demand_bytes += m->demand_bytes;
        layers.prefetch_bytes += m->prefetch_bytes;
        layers.wasted_bytes += m->wasted_bytes;
        layers.out_bytes += m->out_bytes;
        layers.expert_gemms += m->expert_gemms;
        loaded += (m->loads + m->bypasses) * t->r.expert_bytes[l];
    }
    if (shares != run->total.latency)
        violated(t, "%s's shares of the time sum to %lld ps, not %lld", p->label,
                 (long long)shares, (long long)run->total.latency);
    if (n->accesses != n->hits + n->loads + n->bypasses + run_in_place(n))
        violated(t, "%s's accesses are not its hits and misses", p->label);
    if (layers.activations != n->activations || layers.dropped != n->dropped ||
        layers.accesses != n->accesses || layers.hits != n->hits ||
        layers.demand_bytes != n->demand_bytes ||
        layers.prefetch_bytes != n->prefetch_bytes ||
        layers.wasted_bytes != n->wasted_bytes || layers.displaced != n->displaced ||
        layers.swaps != n->swaps || layers.out_bytes != n->out_bytes ||
        layers.expert_gemms != n->expert_gemms)
        violated(t, "%s's layers do not sum to its totals", p->label);
    if (run->shards == 1 && loaded != n->demand_bytes)
        violated(t, "%s's %llu demanded bytes are not its misses' %llu", p->label,
                 ull(n->demand_bytes), ull(loaded));
    if (n->prefetch_used > n->prefetches || n->late > n->prefetch_used)
        violated(t, "%s uses more than it prefetched", p->label);
    if (n->swaps > n->loads)
        violated(t, "%s swaps more than it loads", p->label);
    if (n->displaced > n->loads + n->bypasses || (n->prefetches == 0 && n->displaced > 0))
        violated(t, "%s's prefetches drove out more than was missed", p->label);
}

/* Every token that the trace has, once; every expert that it names, run or dropped. */
static void check_tokens(const struct trial *t, const struct result_policy *p)
{
    const struct property_case *c = t->c;
    uint64_t prompt = 0, answer = 0, named = 0;
    size_t width = (size_t)c->layers * c->top_k;

    for (uint32_t q = 0; q < c->requests; q++) {
        prompt += c->prompt[q];
        answer += c->answer[q];
    }
    for (size_t i = 0; i < c->rows * width; i++)
        named += c->expert[i] != TRACE_NOT_RECORDED;
    if (p->run.prefill_rows != prompt || p->run.decode_rows != answer)
        violated(t, "%s has %llu and %llu rows of prompts and answers, not %llu and %llu",
                 p->label, ull(p->run.prefill_rows), ull(p->run.decode_rows), ull(prompt),
                 ull(answer));
    if (p->run.output_tokens != answer + c->requests)
        violated(t, "%s gives %llu tokens", p->label, ull(p->run.output_tokens));
    if (p->run.total.counts.activations + p->run.total.counts.dropped +
            p->run.quality.fewer !=
        named)
        violated(t, "%s runs %llu, drops %llu and leaves out %llu of %llu choices",
                 p->label, ull(p->run.total.counts.activations),
                 ull(p->run.total.counts.dropped), ull(p->run.quality.fewer), ull(named));
}

/* What a select did: nothing without one; by layer as in all; no more than there is to
 * change, and no more experts than each row may add. */
static void check_quality(const struct trial *t, const struct result_policy *p)
{
    const struct select_quality *q = &p->run.quality;
    struct select_quality layers = {0};
    uint64_t cells = t->c->rows * (uint64_t)t->c->layers;
    bool adds = has(p, SLOT_SELECT, "eras") || has(p, SLOT_SELECT, "budget");

    for (uint32_t l = 0; l < p->run.layers; l++)
        select_quality_add(&layers, &p->run.layer[l].quality);
    if (memcmp(&layers, q, sizeof layers) != 0)
        violated(t, "%s's layers do not sum to its quality", p->label);
    if (has(p, SLOT_SELECT, "none") ? q->rows != 0 : q->rows > cells)
        violated(t, "%s chooses for %llu of %llu rows", p->label, ull(q->rows),
                 ull(cells));
    if (q->changed + q->fewer > q->choices || q->top1 > q->rows || q->rows > q->choices ||
        q->choices > q->rows * t->c->top_k)
        violated(t, "%s's quality is no part of its choices", p->label);
    if (!adds && q->left > q->distinct)
        violated(t, "%s leaves %llu of %llu distinct experts", p->label, ull(q->left),
                 ull(q->distinct));
    if ((t->c->sorted || has(p, SLOT_SELECT, "top-k") || has(p, SLOT_SELECT, "naee")) &&
        t->c->score_kind != TRACE_SCORE_LOGIT && q->kept > q->mass)
        violated(t, "%s keeps more mass than there is", p->label);
}

/* ---- the same in other words ---- */

static bool same_counts(const struct run_counts *a, const struct run_counts *b,
                        bool timed)
{
    struct run_counts x = *a, y = *b;

    if (!timed)
        x.late = y.late = x.expert_gemms = y.expert_gemms = 0;
    return memcmp(&x, &y, sizeof x) == 0;
}

static void check_same(const struct trial *t, const struct result_policy *a,
                       const struct result_policy *b, const char *what, bool timed)
{
    if (!same_counts(&a->run.total.counts, &b->run.total.counts, timed))
        violated(t, "%s counts otherwise %s: %llu and %llu hits, %llu and %llu bytes",
                 a->label, what, ull(a->run.total.counts.hits),
                 ull(b->run.total.counts.hits), ull(a->run.total.counts.demand_bytes),
                 ull(b->run.total.counts.demand_bytes));
    if (memcmp(&a->run.quality, &b->run.quality, sizeof a->run.quality) != 0)
        violated(t, "%s selects otherwise %s", a->label, what);
    if (timed && a->run.total.latency != b->run.total.latency)
        violated(t, "%s takes %.6f and %.6f us %s", a->label,
                 (double)a->run.total.latency * 1e-6, (double)b->run.total.latency * 1e-6,
                 what);
    if (a->bounds.belady_hits != b->bounds.belady_hits ||
        a->bounds.belady_bytes != b->bounds.belady_bytes)
        violated(t, "%s has other bounds %s: %llu and %llu hits", a->label, what,
                 ull(a->bounds.belady_hits), ull(b->bounds.belady_hits));
    if (timed && a->bounds.offline != b->bounds.offline)
        violated(t, "%s has another bound in time %s", a->label, what);
}

/* Counts need no times; where batches form by arrival, they do. */
static void check_counting(const struct property_case *c, const struct trial *timed)
{
    struct trial t;

    if (!c->timeless)
        return;
    t = try_case(c, "engine: count\n");
    for (uint32_t i = 0; i < PROPERTY_POLICIES; i++)
        check_same(&t, &t.r.policy[i], &timed->r.policy[i], "where only counted", false);
    end_trial(&t);
}

static void check_alone(const struct property_case *c, const struct trial *beside,
                        struct rng *r)
{
    uint32_t i = property_draw(r, PROPERTY_POLICIES);
    struct trial t =
        try_text(c, property_config(c, "trace.h5", c->workload, "", c->policy, i, 1));

    check_same(&t, &t.r.policy[0], &beside->r.policy[i], "alone", true);
    if (memcmp(&t.r.policy[0].bounds, &beside->r.policy[i].bounds,
               sizeof t.r.policy[0].bounds) != 0)
        violated(&t, "%s has other bounds alone", t.r.policy[0].label);
    end_trial(&t);
}

/* One GPU is the case of several without collectives: it does the same, operation by
 * operation, at the same times. */
static void check_group_of_one(const struct property_case *c, const struct trial *plain)
{
    struct trial t;

    if (c->parallel)
        return;
    t = try_case(c, "bounds: no\nparallel: {gpus: 1}\n");
    for (uint32_t i = 0; i < PROPERTY_POLICIES; i++) {
        const struct run_result *a = &t.r.policy[i].run, *b = &plain->r.policy[i].run;

        if (a->digest != b->digest || a->elapsed != b->elapsed || a->tail != b->tail ||
            memcmp(a->total.share, b->total.share, sizeof a->total.share) != 0)
            violated(&t, "%s takes %.6f us as a group of one, %.6f us alone",
                     t.r.policy[i].label, (double)a->total.latency * 1e-6,
                     (double)b->total.latency * 1e-6);
        if (a->total.counts.hits != b->total.counts.hits ||
            a->total.counts.demand_bytes != b->total.counts.demand_bytes ||
            a->total.counts.prefetch_bytes != b->total.counts.prefetch_bytes ||
            a->total.counts.wasted_bytes != b->total.counts.wasted_bytes ||
            a->total.counts.out_bytes != b->total.counts.out_bytes ||
            a->total.counts.host_runs != b->total.counts.host_runs ||
            a->total.counts.near_runs != b->total.counts.near_runs ||
            a->total.counts.dropped != b->total.counts.dropped ||
            memcmp(&a->total.memory, &b->total.memory, sizeof a->total.memory) != 0 ||
            memcmp(&a->quality, &b->quality, sizeof a->quality) != 0)
            violated(&t, "%s counts otherwise as a group of one", t.r.policy[i].label);
        for (uint32_t l = 0; l < a->layers; l++)
            if (memcmp(a->layer[l].share, b->layer[l].share, sizeof a->layer[l].share) !=
                0)
                violated(&t, "%s has other shares of layer %u as a group of one",
                         t.r.policy[i].label, l);
    }
    end_trial(&t);
}

static void check_one_by_one(const struct property_case *c)
{
    static const char *const workload[] = {"{mode: static, batch: 1}",
                                           "{mode: continuous, max_sequences: 1}"};
    struct trial t[2];

    if (!c->timeless)
        return;
    for (int k = 0; k < 2; k++)
        t[k] = try_text(c, property_config(c, "trace.h5", workload[k], "", c->policy, 0,
                                           PROPERTY_POLICIES));
    for (uint32_t i = 0; i < PROPERTY_POLICIES; i++)
        check_same(&t[1], &t[1].r.policy[i], &t[0].r.policy[i],
                   "in continuous batches of one", true);
    end_trial(&t[0]);
    end_trial(&t[1]);
}

/* ---- names of experts ---- */

/* No tie is broken by ids, nothing is chosen by them from the start. */
static bool is_label_free(const struct property_case *c, const struct result_policy *p)
{
    static const char *const caches[] = {"lru ",  "fifo ",  "lifo ", "clock ",
                                         "slru ", "sieve ", "arc ",  "s3fifo "};
    bool free_of = false;

    for (size_t i = 0; i < sizeof caches / sizeof *caches; i++)
        free_of = free_of ||
                  strncmp(p->description[SLOT_CACHE], caches[i], strlen(caches[i])) == 0;
    /* Of a host that does not hold all experts it holds the lowest ids. */
    if (strstr(c->head, "host_memory") != NULL)
        return false;
    return free_of && !c->parallel && has(p, SLOT_CACHE, "order=recorded") &&
           has(p, SLOT_CACHE, "preload=none") && has(p, SLOT_OFFLOAD, "fetch") &&
           has(p, SLOT_GATE, "dropless") && has(p, SLOT_SELECT, "none") &&
           !has(p, SLOT_SCHEDULE, "empty=yes") &&
           (has(p, SLOT_PREFETCH, "none") || has(p, SLOT_PREFETCH, "oracle"));
}

static void check_relabelled(const struct property_case *c, const struct trial *named,
                             struct rng *r)
{
    uint16_t *to = mem_alloc((size_t)c->layers * c->experts, sizeof *to);
    struct trial t;

    for (uint32_t l = 0; l < c->layers; l++) {
        uint16_t *own = to + (size_t)l * c->experts;

        for (uint32_t x = 0; x < c->experts; x++) {
            uint32_t other = property_draw(r, x + 1);

            own[x] = own[other];
            own[other] = (uint16_t)x;
        }
    }
    property_write_trace(c, "relabelled.h5", to);
    t = try_text(c, property_config(c, "relabelled.h5", c->workload, "", c->policy, 0,
                                    PROPERTY_POLICIES));
    for (uint32_t i = 0; i < PROPERTY_POLICIES; i++)
        if (is_label_free(c, &named->r.policy[i]))
            check_same(&t, &t.r.policy[i], &named->r.policy[i],
                       "where experts have other names", true);
    end_trial(&t);
    free(to);
}

/* ---- inclusion ---- */

/* Of stack algorithms a larger cache holds what a smaller one does; and no bound falls
 * with more room. */
static void check_inclusion(const struct property_case *c, struct rng *r)
{
    static const char *const stacks[] = {"lru", "belady-bypass"};
    bool global = property_draw(r, 2) == 0;
    uint32_t most = global ? c->layers * c->experts : c->experts;
    char *policy[PROPERTY_POLICIES];
    uint32_t slots = 1 + property_draw(r, most);
    struct trial t;

    if (c->parallel || !c->timeless)
        return;
    for (uint32_t i = 0; i < 4; i++)
        policy[i] =
            mem_format("{cache: {name: %s, scope: %s: %u, protect: none, "
                       "order: %s}}",
                       stacks[i / 2], global ? "global, total_slots" : "layer, slots",
                       i % 2 == 1 && slots < most ? slots + 1 : slots,
                       c->number % 2 == 0 ? "recorded" : "id");
    t = try_text(
        c, property_config(c, "trace.h5", c->workload, "engine: count\n", policy, 0, 4));
    for (uint32_t i = 0; i < 4; i += 2) {
        const struct result_policy *p = &t.r.policy[i];

        if (p[0].run.total.counts.hits > p[1].run.total.counts.hits ||
            p[0].bounds.belady_hits > p[1].bounds.belady_hits ||
            p[0].bounds.belady_bytes < p[1].bounds.belady_bytes)
            violated(&t, "%s hits less often with a slot more", stacks[i / 2]);
    }
    if (t.r.policy[2].run.total.counts.hits != t.r.policy[2].bounds.belady_hits)
        violated(&t, "belady-bypass has %llu hits, its bound is %llu",
                 ull(t.r.policy[2].run.total.counts.hits),
                 ull(t.r.policy[2].bounds.belady_hits));
    end_trial(&t);
    for (uint32_t i = 0; i < 4; i++)
        free(policy[i]);
}

/* ---- all of them ---- */

static void try_number(uint64_t number)
{
    struct property_case *c = property_case_new(number);
    struct rng r = rng_stream(number, "property", 1);
    struct trial t = try_case(c, "");

    for (uint32_t i = 0; i < PROPERTY_POLICIES; i++) {
        check_bounds(&t, &t.r.policy[i]);
        check_sums(&t, &t.r.policy[i]);
        check_tokens(&t, &t.r.policy[i]);
        check_quality(&t, &t.r.policy[i]);
    }
    switch (number % 6) {
    case 0:
        check_counting(c, &t);
        break;
    case 1:
        check_alone(c, &t, &r);
        break;
    case 2:
        check_one_by_one(c);
        break;
    case 3:
        check_relabelled(c, &t, &r);
        break;
    case 4:
        check_group_of_one(c, &t);
        break;
    default:
        check_inclusion(c, &r);
    }
    end_trial(&t);
    property_case_remove(c);
}

static uint64_t number_of(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

enum { CASES = 150 }; /* the nightly tries thousands */

/* Those of thousands that once found a fault, tried each time. */
static const uint64_t found[] = {332, 804, 3277};

static void test_random_experiments(void **state)
{
    uint64_t first = number_of("MOESIM_PROPERTY_FIRST", 1);
    uint64_t cases = number_of("MOESIM_PROPERTY_CASES", CASES);

    (void)state;
    for (uint64_t i = 0; i < cases; i++)
        try_number(first + i);
    for (size_t i = 0; cases == CASES && i < sizeof found / sizeof *found; i++)
        try_number(found[i]);
    if (cases != CASES)
        print_message("%llu random experiments from %llu on\n", ull(cases), ull(first));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_experiments),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
