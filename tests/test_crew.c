/* What holds for any run over several GPUs: bounds, books, engines, names of experts,
 * rebalancing, expert buffering. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "crew_lab.h"

#include "models/collective.h"
#include "place_help.h"
#include "run_world.h"
#include "sim/base/mem.h"

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
        struct err e = {""};
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
    /* Copies in the background are there sooner if the network is free, and so the runs
     * are not placed alike. */
    if (lab->c.background)
        latency = latency > b->free_network ? latency : b->free_network;
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
        c->policy_more = ", cache: {name: lifo, slots: 2, scope: global}";
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_books),
        cmocka_unit_test(test_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
