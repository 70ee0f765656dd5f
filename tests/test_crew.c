/* What holds for any run over several GPUs: bounds, books, engines, names of experts,
 * expert buffering. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "naive_crew.h"

#include "place_help.h"
#include "run_world.h"
#include "sim/base/mem.h"
#include "sim/exec/exec_sim.h"

#include <stdlib.h>
#include <string.h>

/* ---- books ---- */

static void check_engines(struct crew_case *c)
{
    struct crew_lab *lab = crew_lab_new(c, NULL);
    struct result fifo = crew_lab_result(lab, "fifo", 1);
    struct result event = crew_lab_result(lab, "event", 2);
    struct result again = crew_lab_result(lab, "fifo", 2);
    const struct run_result *a = &fifo.policy[0].run, *b = &event.policy[0].run;

    assert_true(!fifo.policy[0].event_driven && event.policy[0].event_driven);
    run_counts_equal(&a->total.counts, &b->total.counts, true);
    assert_int_equal(a->shards, strcmp(c->place, "moeshard") == 0 ? a->gpus : 1);
    for (uint32_t l = 0; l < a->layers; l++)
        run_counts_equal(&a->layer[l].counts, &b->layer[l].counts, true);
    crew_check_shares(c, &fifo, 0);
    crew_check_shares(c, &event, 0);
    /* Only attention groups whose GPUs hang on the same root share a link. */
    if (c->nvlink || c->tensor == 0 || c->tensor == c->gpus || c->per_root == 1) {
        crew_must(a->total.latency == b->total.latency, c, "latency of fifo and event",
                  a->total.latency, b->total.latency);
        crew_must(a->elapsed == b->elapsed, c, "elapsed of fifo and event", a->elapsed,
                  b->elapsed);
        assert_memory_equal(a->total.share, b->total.share, sizeof a->total.share);
    } else {
        crew_must(a->total.latency <= b->total.latency, c, "fifo is later than event",
                  a->total.latency, b->total.latency);
    }
    crew_must(a->digest == again.policy[0].run.digest, c, "digests of two runs", 0, 1);
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
    crew_each_case("books", 60, check_books);
}

/* ---- bounds ---- */

static void check_bounds_of(const struct crew_lab *lab, const char *engine)
{
    struct result r = crew_lab_result(lab, engine, 1);
    const struct result_bounds *b = &r.policy[0].bounds;
    sim_time latency = r.policy[0].run.total.latency;

    assert_true(b->present && b->balanced > 0 && b->free_network > 0);
    crew_check_shares(&lab->c, &r, 0);
    crew_must(latency >= b->balanced, &lab->c, "below the balanced bound", latency,
              b->balanced);
    crew_must(latency >= b->free_network, &lab->c, "below the free network", latency,
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
    crew_each_case("bounds", 60, check_bounds);
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
    struct result x = crew_lab_result(a, "auto", 1), y = crew_lab_result(b, "auto", 1);
    const struct run_result *p = &x.policy[0].run, *q = &y.policy[0].run;

    crew_must(p->total.latency == q->total.latency, &a->c, "latency by other names",
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
    crew_each_case("names", 60, check_names);
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

/* ---- expert buffering ---- */

/* All g experts of a GPU are active in each pass: Huang's miss rates, after the first
 * pass, which misses all. */
static void check_buffering(const char *cache, uint32_t slots, uint64_t later)
{
    enum { G = 6, PASSES = 10, LAYERS = 2, GPUS = 4 };
    struct crew_case c = crew_eight;
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
    r = crew_case_result(&c, "auto");
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
    struct crew_case c = crew_eight;
    struct crew_lab *lab;
    uint64_t hits = 0, accesses = 0;
    struct result r;

    (void)state;
    c.place = "greedy"; /* knows the profile, as pin does; eight GPUs, four slots each */
    c.experts = 32;
    c.slots = 0;
    c.policy_more = ", cache: {name: pin, slots: 2}";
    lab = crew_lab_new(&c, NULL);
    r = crew_lab_result(lab, "auto", 1);
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
        cmocka_unit_test(test_books),      cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_names),      cmocka_unit_test(test_slots),
        cmocka_unit_test(test_buffering),  cmocka_unit_test(test_pinned),
        cmocka_unit_test(test_many_links),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
