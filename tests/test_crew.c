/* What holds for any run over several GPUs: bounds, books, engines, names of experts,
 * rebalancing, expert buffering. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "naive_crew.h"

#include "models/collective.h"
#include "place_help.h"
#include "run_world.h"
#include "sim/base/mem.h"
#include "sim/run/exec_sim.h"

#include <stdlib.h>
#include <string.h>

/* Calls `body` with random cases; MOESIM_CREW_CASES many, or that of MOESIM_CREW_ONLY. */
static void each_case(const char *purpose, int count, void (*body)(struct crew_case *c))
{
    const char *cases = getenv("MOESIM_CREW_CASES"), *only = getenv("MOESIM_CREW_ONLY");

    if (cases != NULL)
        count = atoi(cases);
    for (int i = 0; i < count; i++) {
        struct rng r = rng_stream(20261, purpose, (uint64_t)i);
        struct crew_case c;

        if (only != NULL && i != atoi(only))
            continue;
        crew_case_draw(&c, &r);
        body(&c);
    }
}

static struct result run_of(const struct crew_lab *lab, const char *engine,
                            unsigned threads)
{
    struct result r;

    (void)crew_lab_run(lab, engine, threads, &r, NULL);
    return r;
}

/* Fails with the case in words. */
static void must(bool holds, const struct crew_case *c, const char *what, int64_t a,
                 int64_t b)
{
    char *text;

    if (holds)
        return;
    text = crew_case_text(c);
    fail_msg("%s: %lld and %lld; %s; %s", what, (long long)a, (long long)b, text,
             c->more);
}

/* ---- books ---- */

static void check_shares(const struct crew_case *c, const struct result *r, uint32_t p)
{
    const struct run_result *run = &r->policy[p].run;
    sim_time latency = 0;

    for (uint64_t i = 0; i < run->passes; i++) {
        struct run_pass pass;
        struct err e = {.text = ""};
        sim_time sum = 0;

        assert_int_equal(result_read_passes(r, p, i, 1, &pass, &e), 0);
        for (int s = 0; s < RUN_SHARES; s++) {
            must(pass.share[s] >= 0, c, "a share is negative", s, pass.share[s]);
            sum += pass.share[s];
        }
        must(sum == pass.latency, c, "shares and latency of a pass", sum, pass.latency);
        latency += pass.latency;
    }
    must(latency == run->total.latency, c, "passes and their sum", latency,
         run->total.latency);
    for (uint32_t l = 0; l < run->layers; l++)
        for (int s = 0; s < RUN_SHARES; s++)
            must(run->layer[l].share[s] >= 0, c, "a layer's share is negative", s,
                 run->layer[l].share[s]);
}

static void check_engines(struct crew_case *c)
{
    struct crew_lab *lab = crew_lab_new(c, NULL);
    struct result fifo = run_of(lab, "fifo", 1), event = run_of(lab, "event", 2);
    struct result again = run_of(lab, "fifo", 2);
    const struct run_result *a = &fifo.policy[0].run, *b = &event.policy[0].run;

    assert_true(!fifo.policy[0].event_driven && event.policy[0].event_driven);
    run_counts_equal(&a->total.counts, &b->total.counts, true);
    assert_int_equal(a->shards, strcmp(c->place, "moeshard") == 0 ? a->gpus : 1);
    for (uint32_t l = 0; l < a->layers; l++)
        run_counts_equal(&a->layer[l].counts, &b->layer[l].counts, true);
    check_shares(c, &fifo, 0);
    check_shares(c, &event, 0);
    /* Only attention groups whose GPUs hang on the same root share a link. */
    if (c->nvlink || c->tensor == 0 || c->tensor == c->gpus || c->per_root == 1) {
        must(a->total.latency == b->total.latency, c, "latency of fifo and event",
             a->total.latency, b->total.latency);
        must(a->elapsed == b->elapsed, c, "elapsed of fifo and event", a->elapsed,
             b->elapsed);
        assert_memory_equal(a->total.share, b->total.share, sizeof a->total.share);
    } else {
        must(a->total.latency <= b->total.latency, c, "fifo is later than event",
             a->total.latency, b->total.latency);
    }
    must(a->digest == again.policy[0].run.digest, c, "digests of two runs", 0, 1);
    assert_memory_equal(&a->total, &again.policy[0].run.total, sizeof a->total);
    assert_memory_equal(&fifo.policy[0].bounds, &again.policy[0].bounds,
                        sizeof fifo.policy[0].bounds);
    result_release(&fifo);
    result_release(&event);
    result_release(&again);
    crew_lab_free(lab);
}

static void check_books(struct crew_case *c)
{
    static const char *const more[] = {"", "launch: graph", "launch: eager"};

    c->more = more[c->seed % 3];
    if (c->seed % 4 == 0)
        c->workload =
            "{mode: continuous, max_sequences: 3, arrivals: poisson, rate: 2000}";
    check_engines(c);
}

static void test_books(void **state)
{
    (void)state;
    each_case("books", 60, check_books);
}

/* ---- bounds ---- */

static void check_bounds_of(const struct crew_lab *lab, const char *engine)
{
    struct result r = run_of(lab, engine, 1);
    const struct result_bounds *b = &r.policy[0].bounds;
    sim_time latency = r.policy[0].run.total.latency;

    assert_true(b->present && b->balanced > 0 && b->free_network > 0);
    check_shares(&lab->c, &r, 0);
    must(latency >= b->balanced, &lab->c, "below the balanced bound", latency,
         b->balanced);
    must(latency >= b->free_network, &lab->c, "below the free network", latency,
         b->free_network);
    result_release(&r);
}

static void check_bounds(struct crew_case *c)
{
    static const char *const more[] = {"", "launch: graph", "launch: eager"};
    struct crew_lab *lab;

    c->more = more[c->seed % 3];
    c->background = c->seed / 3 % 2 == 0;
    if (c->seed / 6 % 3 == 0)
        c->schedule_more =
            c->seed % 2 ? ", experts: serial, empty: yes" : ", experts: serial";
    if (c->interval == 0 && c->seed / 18 % 3 == 0)
        c->policy_more = ", cache: {name: lru, slots: 1}";
    if (c->seed % 5 == 0)
        c->policy_more = ", cache: {name: lifo, slots: 1, scope: global}";
    if (c->interval > 0)
        c->policy_more = NULL;
    lab = crew_lab_new(c, NULL);
    lab->machine.host.expert_overhead = c->seed % 4 == 0 ? 7000000 : 0;
    check_bounds_of(lab, "auto");
    check_bounds_of(lab, "event");
    crew_lab_free(lab);
}

static void test_bounds(void **state)
{
    (void)state;
    each_case("bounds", 60, check_bounds);
}

/* ---- names of experts ---- */

/* Whether each GPU holds the same experts by other names, slot by slot where there are
 * replicas, which take turns in that order. */
static bool placed_alike(const struct place *a, const struct place *b,
                         const uint16_t *name)
{
    uint32_t local = a->slots / a->gpus;

    for (size_t i = 0; i < (size_t)a->layers * a->slots; i++) {
        size_t first = i / local * local;
        bool found = a->expert[i] == PLACE_EMPTY;

        if (a->slots >= a->experts + a->gpus && !found &&
            b->expert[i] != name[a->expert[i]])
            return false;
        for (uint32_t j = 0; j < local && !found; j++)
            found = b->expert[first + j] == name[a->expert[i]];
        if (!found)
            return false;
    }
    return true;
}

static void shuffle(uint16_t *x, uint32_t count, struct rng *r)
{
    for (uint32_t i = count; i > 1; i--) {
        uint32_t j = (uint32_t)rng_below(r, i);
        uint16_t kept = x[j];

        x[j] = x[i - 1];
        x[i - 1] = kept;
    }
}

/* Other names: any, or such that experts of a GPU of the first layer change names among
 * themselves. */
static void draw_names(const struct place *p, uint16_t *name, bool any, struct rng *r)
{
    uint32_t local = p->slots / p->gpus;

    for (uint32_t i = 0; i < p->experts; i++)
        name[i] = (uint16_t)i;
    if (any) {
        shuffle(name, p->experts, r);
        return;
    }
    for (uint32_t g = 0; g < p->gpus; g++) {
        uint16_t held[64] = {0}, renamed[64];
        uint32_t count = 0;

        for (uint32_t j = 0; j < local; j++) {
            uint32_t replicas = 0;

            for (uint32_t s = 0; s < p->slots; s++)
                replicas += p->expert[s] == p->expert[g * local + j];
            if (p->expert[g * local + j] != PLACE_EMPTY && replicas == 1)
                held[count++] = p->expert[g * local + j];
        }
        memcpy(renamed, held, sizeof renamed);
        shuffle(renamed, count, r);
        for (uint32_t j = 0; j < count; j++)
            name[held[j]] = renamed[j];
    }
}

static unsigned renamed_runs, renamed_by_load;

static void check_same_runs(const struct crew_lab *a, const struct crew_lab *b)
{
    struct result x = run_of(a, "auto", 1), y = run_of(b, "auto", 1);
    const struct run_result *p = &x.policy[0].run, *q = &y.policy[0].run;

    must(p->total.latency == q->total.latency, &a->c, "latency by other names",
         p->total.latency, q->total.latency);
    assert_memory_equal(&p->total, &q->total, sizeof p->total);
    assert_memory_equal(p->layer, q->layer, p->layers * sizeof *p->layer);
    assert_memory_equal(p->gpu_rows, q->gpu_rows, p->gpus * sizeof *p->gpu_rows);
    assert_memory_equal(p->link_bytes, q->link_bytes, p->links * sizeof *p->link_bytes);
    assert_memory_equal(&x.policy[0].bounds, &y.policy[0].bounds,
                        sizeof x.policy[0].bounds);
    result_release(&x);
    result_release(&y);
}

static void check_names(struct crew_case *c)
{
    struct rng r = rng_stream(c->seed, "names", 0);
    bool by_load = strcmp(c->place, "eplb") == 0 || strcmp(c->place, "greedy") == 0 ||
                   strcmp(c->place, "replicate") == 0;
    struct crew_lab *a, *b;
    struct place *p, *q;
    uint16_t name[32];

    c->interval = 0;
    c->foresee = false;
    if (c->replica != NULL && strcmp(c->replica, "random") == 0)
        c->replica = NULL;
    if (strcmp(c->place, "moeshard") == 0)
        return;
    c->rows = by_load ? 40 : c->rows; /* so that few experts have the same load */
    a = crew_lab_new(c, NULL);
    p = crew_place_naively(a);
    draw_names(p, name, by_load, &r);
    b = crew_lab_new(c, name);
    q = crew_place_naively(b);
    if (placed_alike(p, q, name)) {
        check_same_runs(a, b);
        renamed_runs++;
        renamed_by_load += by_load;
    }
    place_free(p);
    place_free(q);
    crew_lab_free(a);
    crew_lab_free(b);
}

static void test_names(void **state)
{
    (void)state;
    each_case("names", 60, check_names);
    assert_true(getenv("MOESIM_CREW_ONLY") != NULL ||
                (renamed_runs >= 20 && renamed_by_load >= 6));
}

/* ---- replicas ---- */

static void check_slots(const char *name, const char *options, struct rng *r)
{
    struct place_problem sizes = made_sizes(24, r);
    struct made_problem m;
    double before = 0;

    sizes.layers = 1;
    m = made_problem(&sizes, (enum made_load)rng_below(r, 3), r);
    m.p.slots = (m.p.experts + m.p.gpus - 1) / m.p.gpus * m.p.gpus;
    for (int more = 0; more < 6; more++, m.p.slots += m.p.gpus) {
        struct place *p = place_by(name, options, &m.p);
        double bound = place_bound(p, 0, m.p.load), most = place_most(p, 0, m.p.load);

        assert_true(more == 0 || bound <= before);
        assert_true(most >= bound * (1 - 1e-12));
        before = bound;
        place_free(p);
    }
    made_problem_free(&m);
}

static void test_slots(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 300; i++) {
        struct rng r = rng_stream(20262, "slots", i);

        check_slots("eplb", "{form: global}", &r);
        check_slots("eplb", "{}", &r);
        check_slots("replicate", "{}", &r);
        check_slots("linear", "{spare: wrap}", &r);
    }
}

/* ---- rebalancing ---- */

/* Eight GPUs in two nodes, two experts each, a slot more on each. */
static const struct crew_case moving = {.nodes = 2,
                                        .gpus = 4,
                                        .network = true,
                                        .per_root = 2,
                                        .nvlink = true,
                                        .layers = 2,
                                        .experts = 16,
                                        .top_k = 2,
                                        .candidates = 2,
                                        .hidden = 128,
                                        .requests = 8,
                                        .rows = 8,
                                        .seed = 77,
                                        .workload = "{mode: static, batch: 8}",
                                        .place = "eplb",
                                        .place_more = "",
                                        .slots = 24,
                                        .window = 4,
                                        .more = "bounds: no"};

static struct result run_case(const struct crew_case *c, const char *engine)
{
    struct crew_lab *lab = crew_lab_new(c, NULL);
    struct result r = run_of(lab, engine, 1);

    crew_lab_free(lab);
    return r;
}

static void test_nothing_moves(void **state)
{
    static const char *const places[] = {"eplb", "greedy", "replicate", "linear",
                                         "random"};

    (void)state;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        struct crew_case c = moving;
        struct result r;

        c.cyclic = true;
        c.place = places[i];
        c.interval = 1;
        r = run_case(&c, "auto");
        assert_int_equal(r.policy[0].run.passes, 8);
        assert_int_equal(r.policy[0].run.total.counts.migrations, 0);
        assert_int_equal(r.policy[0].run.total.counts.migrated_bytes, 0);
        result_release(&r);
    }
}

/* Two runs that differ in the size of experts alone, which only their copies know. The
 * pass that waits for them is longer by what their busiest port takes. */
static void check_blocking(const struct crew_case *c, const char *engine)
{
    enum { AT = 3 };
    const uint64_t bytes[2] = {30000000, 70000000};
    struct crew_lab *lab = crew_lab_new(c, NULL);
    struct machine fleet = lab->machine;
    struct topology t;
    struct collective_terms terms = {.near_share = fleet.collective.share,
                                     .far_share = 1};
    uint64_t *load = NULL;
    sim_time time[2] = {0, 0};
    struct result r[2];

    fleet.nodes = c->nodes;
    t = topology_of(&fleet);
    for (int i = 0; i < 2; i++) {
        struct crew_case sized = *c;

        sized.expert_bytes = bytes[i];
        sized.first = AT;
        sized.interval = 1000;
        r[i] = run_case(&sized, engine);
        assert_int_equal(r[i].policy[0].run.total.counts.migrations, 1);
    }
    load = mem_alloc(t.links, sizeof *load);
    for (int i = 0; i < 2; i++) {
        for (uint32_t l = 0; l < t.links; l++) {
            uint64_t more =
                r[1].policy[0].run.link_bytes[l] - r[0].policy[0].run.link_bytes[l];

            assert_int_equal(more % (bytes[1] - bytes[0]), 0);
            load[l] = more / (bytes[1] - bytes[0]) * bytes[i];
        }
        time[i] = collective_ports_time(&t, &terms, load, false);
        assert_true(time[i] > 100 * SIM_TIME_PER_US);
    }
    for (uint64_t p = 0; p < r[0].policy[0].run.passes; p++) {
        struct run_pass a, b;
        struct err e = {.text = ""};

        assert_int_equal(result_read_passes(&r[0], 0, p, 1, &a, &e), 0);
        assert_int_equal(result_read_passes(&r[1], 0, p, 1, &b, &e), 0);
        assert_int_equal(b.latency - a.latency, p == AT ? time[1] - time[0] : 0);
        assert_int_equal(b.share[SHARE_COMM] - a.share[SHARE_COMM],
                         p == AT ? time[1] - time[0] : 0);
        assert_int_equal(a.counts.migrated_bytes > 0, p == AT);
    }
    assert_int_equal(r[1].policy[0].run.migration_time -
                         r[0].policy[0].run.migration_time,
                     time[1] - time[0]);
    result_release(&r[0]);
    result_release(&r[1]);
    free(load);
    crew_lab_free(lab);
}

static void test_blocking(void **state)
{
    struct crew_case c = moving;

    (void)state;
    check_blocking(&c, "fifo");
    check_blocking(&c, "event");
    c.nvlink = false;
    c.exchange = "flat";
    check_blocking(&c, "fifo");
    check_blocking(&c, "event");
}

static void check_background(struct crew_case *c)
{
    struct crew_lab *lab;
    struct result a, b;
    const struct run_counts *x, *y;

    c->rows = 12;
    c->more = "bounds: no";
    if (c->interval == 0)
        c->interval = 2;
    if (strcmp(c->place, "moeshard") == 0)
        c->place = "round-robin", c->place_more = "";
    c->expert_bytes = c->seed % 2 == 0 ? 500000 : 300000000;
    lab = crew_lab_new(c, NULL);
    a = run_of(lab, "auto", 1);
    lab->c.background = true;
    b = run_of(lab, "auto", 1);
    assert_true(b.policy[0].event_driven);
    check_shares(&lab->c, &b, 0);
    x = &a.policy[0].run.total.counts;
    y = &b.policy[0].run.total.counts;
    must(x->activations == y->activations, &lab->c, "activations",
         (int64_t)x->activations, (int64_t)y->activations);
    must(x->computed_rows == y->computed_rows, &lab->c, "computed rows",
         (int64_t)x->computed_rows, (int64_t)y->computed_rows);
    assert_int_equal(x->dropped, y->dropped);
    assert_int_equal(x->migrations > 0, y->migrations > 0);
    must(y->migrations <= x->migrations || c->interval > 0, &lab->c, "migrations", 0, 0);
    result_release(&a);
    result_release(&b);
    crew_lab_free(lab);
}

static void test_background(void **state)
{
    (void)state;
    each_case("background", 40, check_background);
}

/* The placement that a rebalance would make needs a history; the first one has none. */
static void test_no_history(void **state)
{
    struct crew_case c = moving;
    struct result r;

    (void)state;
    c.place = "anti-correlation";
    c.slots = 0;
    c.interval = 3;
    r = run_case(&c, "auto");
    assert_int_equal(r.policy[0].run.passes, 8);
    assert_true(r.policy[0].run.total.counts.migrated_bytes > 0);
    result_release(&r);
}

/* ---- expert buffering ---- */

/* All g experts of a GPU are active in each pass: Huang's miss rates, after the first
 * pass, which misses all. */
static void check_buffering(const char *cache, uint32_t slots, uint64_t later)
{
    enum { G = 6, PASSES = 10, LAYERS = 2, GPUS = 4 };
    struct crew_case c = moving;
    char *more =
        mem_format(", cache: {name: %s, slots: %u, protect: none}", cache, slots);
    const struct run_counts *x;
    struct result r;

    c.nodes = 1;
    c.gpus = GPUS;
    c.experts = G * GPUS;
    c.slots = 0;
    c.place = "linear";
    c.requests = G * GPUS / 2;
    c.workload = "{mode: static, batch: 12}";
    c.rows = PASSES;
    c.cyclic = true;
    c.policy_more = more;
    r = run_case(&c, "auto");
    x = &r.policy[0].run.total.counts;
    assert_int_equal(r.policy[0].run.passes, PASSES);
    assert_int_equal(x->accesses, LAYERS * GPUS * G * PASSES);
    assert_int_equal(x->loads + x->bypasses, LAYERS * GPUS * (G + (PASSES - 1) * later));
    assert_int_equal(x->hits, x->accesses - x->loads - x->bypasses);
    result_release(&r);
    free(more);
}

static void test_buffering(void **state)
{
    (void)state;
    for (uint32_t s = 1; s < 6; s++) {
        check_buffering("lifo", s, 6 - s + 1);
        check_buffering("lru", s, 6);
        check_buffering("fifo", s, 6);
    }
    check_buffering("lifo", 6, 0);
    check_buffering("lru", 6, 0);
}

/* Rows of an expert in a layer, of row `p` of each request or of all (p UINT32_MAX). */
static uint32_t rows_of(const struct crew_lab *lab, uint32_t layer, uint32_t expert,
                        uint32_t p)
{
    const struct crew_case *c = &lab->c;
    uint32_t count = 0;

    for (size_t i = 0; i < (size_t)c->requests * c->rows; i++)
        for (uint32_t k = 0; k < c->top_k && (p == UINT32_MAX || i % c->rows == p); k++)
            count += lab->expert[(i * c->layers + layer) * c->candidates + k] == expert;
    return count;
}

/* Each GPU pins those of its own experts that the profile has most rows of; the slots of
 * its cache are not the experts of those numbers. */
static void test_pinned(void **state)
{
    enum { PINNED = 2 };
    struct crew_case c = moving;
    struct crew_lab *lab;
    uint64_t hits = 0, accesses = 0;
    struct result r;

    (void)state;
    c.place = "greedy"; /* knows the profile, as pin does; eight GPUs, four slots each */
    c.experts = 32;
    c.slots = 0;
    c.policy_more = ", cache: {name: pin, slots: 2}";
    lab = crew_lab_new(&c, NULL);
    r = run_of(lab, "auto", 1);
    {
        struct place *p = crew_place_naively(lab);

        for (uint32_t i = 0; i < c.layers * p->slots; i++) {
            uint32_t layer = i / p->slots, first = i / 4 * 4, better = 0;
            uint32_t mine = rows_of(lab, layer, p->expert[i], UINT32_MAX);

            for (uint32_t j = first; j < first + 4; j++) {
                uint32_t other = rows_of(lab, layer, p->expert[j], UINT32_MAX);

                better += other > mine || (other == mine && j < i);
            }
            for (uint32_t row = 0; row < c.rows; row++) {
                bool active = rows_of(lab, layer, p->expert[i], row) > 0;

                accesses += active;
                hits += active && better < PINNED;
            }
        }
        place_free(p);
    }
    assert_int_equal(r.policy[0].run.total.counts.accesses, accesses);
    assert_int_equal(r.policy[0].run.total.counts.hits, hits);
    assert_true(hits < accesses && hits > accesses / 3);
    result_release(&r);
    crew_lab_free(lab);
}

/* More links than the event-driven engine has numbers for: a sentence, before any lane.
 */
static void test_many_links(void **state)
{
    struct err e = {.text = ""};
    struct machine *m =
        machine_load("models/machine/h100-80g.yaml", "models/machine", &e);
    struct exec_sim_options o = {.cost.machine = m, .event_driven = true};
    struct topology t;
    struct exec **gpu;

    (void)state;
    assert_non_null(m);
    m->nodes = 2048 / m->gpus;
    t = topology_of(m);
    gpu = mem_zalloc(t.ranks, sizeof *gpu);
    assert_int_equal(exec_sim_new_group(&o, &t, NETWORK_AS_IT_IS, NULL, gpu, &e), -1);
    assert_non_null(strstr(e.text, "take fewer GPUs"));
    free(gpu);
    machine_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_books),         cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_names),         cmocka_unit_test(test_slots),
        cmocka_unit_test(test_nothing_moves), cmocka_unit_test(test_blocking),
        cmocka_unit_test(test_background),    cmocka_unit_test(test_no_history),
        cmocka_unit_test(test_buffering),     cmocka_unit_test(test_pinned),
        cmocka_unit_test(test_many_links),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
