/* Times of a step whose misses swap experts: spare slots, write-back and loads in flight,
 * worked out by hand on the machine in round numbers of run_world.h, to the picosecond.
 * Where nothing else is said a victim goes out at half the speed that an expert comes in
 * at, and each copy takes CALL to issue. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "run_world.h"

#include "sim/base/mem.h"

#include <stdio.h>
#include <stdlib.h>

#define CALL (3 * WORLD_FLOOR / 10)
#define FLOW WORLD_FLOW
#define OUT (2 * WORLD_FLOW)
#define GROUP WORLD_GROUP
#define TRIP WORLD_TRIP

static struct run_world *swap_world(uint32_t experts, uint32_t top_k, const char *passes)
{
    struct run_world *w = run_world_spelled(1, experts, top_k, passes);

    w->machine.d2h_pinned.bytes_per_s = 5e10;
    w->machine.host.copy_call = CALL;
    return w;
}

/* Checks one pass of a run: how much of its copies shows, what the host takes beside its
 * round trips for routing and tokens, groups of experts. */
static void check(const struct run_world *w, const char *policy, uint32_t pass,
                  sim_time copy, sim_time host, uint32_t groups)
{
    struct run_case c = {.policy = policy, .event_driven = true, .keep_passes = true};
    struct run_result r;
    struct run_pass p;
    sim_time dense = WORLD_DENSE + WORLD_GATE + WORLD_HEAD;

    run_world_run(w, &c, &r);
    assert_true(pass < r.passes);
    assert_int_equal(fseek(r.pass_spool, (long)(pass * sizeof p), SEEK_SET), 0);
    assert_int_equal(fread(&p, sizeof p, 1, r.pass_spool), 1);
    if (p.share[SHARE_COPY] != copy || p.share[SHARE_HOST] != 2 * TRIP + host)
        fail_msg("%s, pass %u: copies show %lld ps, not %lld; host %lld, not %lld",
                 policy, pass, (long long)p.share[SHARE_COPY], (long long)copy,
                 (long long)p.share[SHARE_HOST], (long long)(2 * TRIP + host));
    assert_int_equal(p.share[SHARE_EXPERT], groups * GROUP);
    assert_int_equal(p.latency, dense + groups * GROUP + copy + 2 * TRIP + host);
    run_result_release(&r);
}

/* ---- spare slots ---- */

#define ONE(more) "{cache: {name: lru, slots: 1, write_back: yes" more "}}"

/* 0, then 1 in its place. Without a spare 1 comes in when 0 has gone out. With one it
 * comes in at once, and 0 goes out beside it. */
static void a_spare_does_not_wait_for_the_victim(void **state)
{
    struct run_world *w = swap_world(4, 1, "0 1 1");

    (void)state;
    check(w, ONE(""), 1, CALL + OUT + FLOW - 2 * CALL, 2 * CALL, 1);
    check(w, ONE(", spare: 1"), 0, FLOW, CALL, 1); /* there is room */
    check(w, ONE(", spare: 1"), 1, CALL + FLOW - 2 * CALL, 2 * CALL, 1);
    check(w, ONE(", spare: 1"), 2, 0, 0, 1);
    run_world_free(w);
}

/* The two directions share what a duplex of a half leaves of the link: both get 50 GB/s.
 * In: 100 GB/s for CALL alone, then half of it; it has CALL of FLOW behind it. */
static void both_directions_share_the_link(void **state)
{
    struct run_world *w = swap_world(4, 1, "0 1 1");

    (void)state;
    w->machine.h2d_duplex = w->machine.d2h_duplex = 0.5;
    check(w, ONE(", spare: 1"), 1, 2 * CALL + 2 * (FLOW - CALL) - 2 * CALL, 2 * CALL, 1);
    check(w, ONE(""), 1, CALL + OUT + FLOW - 2 * CALL, 2 * CALL,
          1); /* nothing to share */
    run_world_free(w);
}

/* The second load takes the slot that 0 is still leaving (at a tenth of the speed): its
 * write-back began two calls after the first decision. From one decision to the next go
 * the load, the group, the head and the tokens, the dense block, the gate and its trip.
 * With two spares nothing is waited for. */
static void a_spare_is_free_when_its_expert_is_out(void **state)
{
    struct run_world *w = swap_world(4, 1, "0 1 2");
    sim_time next =
        CALL + FLOW + GROUP + WORLD_HEAD + TRIP + WORLD_DENSE + WORLD_GATE + TRIP;

    (void)state;
    w->machine.d2h_pinned.bytes_per_s = 1e10;
    check(w, ONE(", spare: 1"), 2, 2 * CALL + 10 * FLOW + FLOW - next - 2 * CALL,
          2 * CALL, 1);
    check(w, ONE(", spare: 2"), 2, CALL + FLOW - 2 * CALL, 2 * CALL, 1);
    /* Nothing written back: it is free when it has been read, which is long ago. */
    check(w, "{cache: {name: lru, slots: 1, spare: 1}}", 2, FLOW, CALL, 1);
    run_world_free(w);
}

/* Both residents are used and make way in the same step: 2 and 3 come into the spares
 * while 0 and 1 run; without spares 0 and 1 must have run before, and start before the
 * host issues a copy. */
static void victims_that_are_used_run_meanwhile(void **state)
{
    static const char none[] = "{cache: {name: lru, slots: 2, protect: prefer, order: "
                               "hits-first}}",
                      two[] = "{cache: {name: lru, slots: 2, protect: prefer, order: "
                              "hits-first, spare: 2}}";
    struct run_world *w = swap_world(4, 4, "01 0123");

    (void)state;
    check(w, two, 1, CALL + 2 * FLOW - 2 * CALL - GROUP, 2 * CALL, 2);
    check(w, none, 1, 2 * FLOW, 0, 2);
    run_world_free(w);
}

/* ---- one stream ---- */

#define TWO(more)                                                                        \
    "{cache: {name: lru, slots: 2, write_back: yes" more "}, schedule: serial}"

/* Two misses, four copies. With spares all come one after another: in, out, in, out.
 * Without, what goes out waits for nothing, and what comes in for its victim: out, then
 * in beside the other one's out, then in. */
static void one_stream_takes_turns(void **state)
{
    struct run_world *w = swap_world(4, 2, "01 23");

    (void)state;
    check(w, TWO(", spare: 2"), 1, CALL + 2 * (FLOW + OUT) - 4 * CALL, 4 * CALL, 1);
    check(w, TWO(", spare: 1"), 1, CALL + 2 * (FLOW + OUT) - 4 * CALL, 4 * CALL, 1);
    check(w, TWO(""), 1, CALL + 2 * OUT + FLOW - 4 * CALL, 4 * CALL, 1);
    check(w, "{cache: {name: lru, slots: 2, write_back: yes, spare: 2}}", 1,
          CALL + 2 * FLOW - 4 * CALL, 4 * CALL, 1);
    run_world_free(w);
}

/* As released: experts 0 and 1 of four start on the host, and both swaps of the first
 * pass are in flight. */
static void the_preset_swaps(void **state)
{
    struct run_world *w = swap_world(4, 2, "01 12 3");
    static const char preset[] = "{preset: mixtral-offloading, cache: {slots: 2}}";

    (void)state;
    check(w, preset, 0, CALL + 2 * (FLOW + OUT) - 4 * CALL, 4 * CALL, 1);
    check(w, preset, 1, CALL + FLOW + OUT - 2 * CALL, 2 * CALL, 1);
    check(w, preset, 2, CALL + FLOW + OUT - 2 * CALL, 2 * CALL, 1);
    run_world_free(w);
}

/* ---- loads in flight ---- */

#define FOUR(more) "{cache: {name: lru, slots: 4" more "}}"

/* Four misses. The link takes one load after another whatever is in flight. With three it
 * is never idle: the host waits for the first load and a trip, asks for the fourth, and
 * the first expert has run by itself meanwhile. With one each load is asked for when its
 * predecessor is known to be there. */
static void the_host_waits_for_loads_in_flight(void **state)
{
    struct run_world *w = swap_world(4, 4, "0123 0123");

    (void)state;
    check(w, FOUR(""), 0, CALL + 4 * FLOW - 4 * CALL, 4 * CALL, 1);
    check(w, FOUR(", in_flight: 4"), 0, CALL + 4 * FLOW - 4 * CALL, 4 * CALL, 1);
    check(w, FOUR(", in_flight: 9"), 0, CALL + 4 * FLOW - 4 * CALL, 4 * CALL, 1);
    check(w, FOUR(", in_flight: 3"), 0, CALL + FLOW - 3 * CALL + 3 * FLOW - GROUP,
          3 * CALL, 2);
    check(w, FOUR(", in_flight: 1"), 0, FLOW + 3 * (FLOW + TRIP + CALL - GROUP), CALL, 4);
    check(w, FOUR(", in_flight: 1"), 1, 0, 0, 1);
    /* A set of two slots has no more than two in flight: 0; 1; then 2 and 3. */
    check(w, "{cache: {name: lru, slots: 2, protect: none, in_flight: 3, spare: 4}}", 0,
          CALL + FLOW - 2 * CALL + 2 * (FLOW - GROUP) + FLOW, 2 * CALL, 3);
    run_world_free(w);
}

/* In one stream the first expert runs behind the three loads, and the fourth load behind
 * it. */
static void loads_in_flight_in_one_stream(void **state)
{
    struct run_world *w = swap_world(4, 4, "0123");

    (void)state;
    check(w, "{cache: {name: lru, slots: 4, in_flight: 3}, schedule: serial}", 0,
          CALL + 3 * FLOW - 3 * CALL + FLOW, 3 * CALL, 2);
    check(w, "{cache: {name: lru, slots: 4}, schedule: serial}", 0,
          CALL + 4 * FLOW - 4 * CALL, 4 * CALL, 1);
    run_world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_spare_does_not_wait_for_the_victim),
        cmocka_unit_test(both_directions_share_the_link),
        cmocka_unit_test(a_spare_is_free_when_its_expert_is_out),
        cmocka_unit_test(victims_that_are_used_run_meanwhile),
        cmocka_unit_test(one_stream_takes_turns),
        cmocka_unit_test(the_preset_swaps),
        cmocka_unit_test(the_host_waits_for_loads_in_flight),
        cmocka_unit_test(loads_in_flight_in_one_stream),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
