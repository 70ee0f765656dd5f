/* What a step asks of its executor, seen operation by operation: rows of each expert,
 * what slots hold at first, promotions, what a copy waits for, gates on one GPU. Every
 * executor that runs share this code, so that comparing them does not show a fault in it.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "run_world.h"

#include "sim/exec/exec_forward.h"
#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

/* In front of the simulated executor. */
struct exec {
    struct exec_forward front;
    uint64_t groups, rows; /* of experts */
    uint32_t slots, empty_slots;
    uint64_t promotions, cancellations;
    op_id group[4];     /* of each layer, the last */
    op_id cancelled[8]; /* since the last copy in */
    uint32_t cancelled_count;
    bool after_groups; /* the last copy in comes after the groups of layers 0 and 1 */
};

static bool comes_after(const struct op *op, op_id id)
{
    for (uint32_t i = 0; i < op->after_count; i++)
        if (op->after[i] == id)
            return true;
    return false;
}

/* A copy takes the memory of what was cancelled to make room for it. */
static void check_copy(struct exec *x, const struct op *op)
{
    for (uint32_t i = 0; i < x->cancelled_count; i++)
        assert_true(comes_after(op, x->cancelled[i]));
    x->cancelled_count = 0;
    x->after_groups = comes_after(op, x->group[0]) && comes_after(op, x->group[1]);
}

static void count_group(struct exec *x, const struct op *op)
{
    const struct op_routing *t = op->group.routing;
    uint64_t rows = 0;

    for (uint32_t i = 0; i < op->group.count; i++) {
        uint32_t id = op->group.expert[i], chosen = 0;

        for (uint32_t row = 0; row < t->rows; row++)
            for (uint32_t k = 0; k < t->top_k; k++)
                chosen += t->choice[row * t->stride + k] == id;
        assert_int_equal(op->group.tokens[id], chosen);
        rows += chosen;
    }
    assert_int_equal(op->group.work.rows, rows);
    assert_int_equal(op->group.work.distinct, op->group.count);
    x->groups++;
    x->rows += rows;
}

static op_id submit(struct exec *x, const struct op *op)
{
    op_id id;

    if (op->kind == OP_EXPERTS || op->kind == OP_HOST_EXPERTS)
        count_group(x, op);
    if (op->kind == OP_COPY_IN)
        check_copy(x, op);
    id = exec_forward_submit(x, op);
    if (op->kind == OP_EXPERTS && op->layer < 4)
        x->group[op->layer] = id;
    return id;
}

static int begin(struct exec *x, const struct exec_slots *slots, struct err *e)
{
    (void)e;
    x->slots = slots->count;
    for (uint32_t i = 0; i < slots->count; i++)
        x->empty_slots += slots->expert[i] == UINT32_MAX;
    return 0;
}

static void promote(struct exec *x, op_id id)
{
    x->promotions++;
    exec_forward_promote(x, id);
}

static void cancel(struct exec *x, op_id id)
{
    x->cancellations++;
    assert_true(x->cancelled_count < 8);
    x->cancelled[x->cancelled_count++] = id;
    exec_forward_cancel(x, id);
}

/* Runs and says what was seen. */
static struct exec watch(const struct run_world *w, const char *policy, bool event_driven,
                         struct run_result *r)
{
    struct exec_sim_options o = {.cost = {.model = &w->model, .machine = &w->machine},
                                 .event_driven = event_driven};
    struct exec x = {.front = {&exec_sim_ops, exec_sim_new(&o)}};
    struct exec_ops watching = exec_forward_ops;

    watching.name = "watching";
    watching.begin = begin;
    watching.submit = submit;
    watching.promote = promote;
    watching.cancel = cancel;
    run_world_run(w,
                  &(struct run_case){.policy = policy,
                                     .event_driven = event_driven,
                                     .seed = 3,
                                     .ops = &watching,
                                     .exec = &x},
                  r);
    exec_sim_free(x.front.inner);
    return x;
}

/* Up to 64 experts, more, and many more; one row a pass and several. */
static void the_rows_of_every_expert(void **state)
{
    static const uint32_t experts[] = {8, 64, 65, 200};
    static const uint32_t top_k[] = {1, 3, 4, 8};

    (void)state;
    for (int i = 0; i < 4 * 4 * 2; i++) {
        struct run_world *w =
            run_world_new(2, experts[i % 4], top_k[i / 4 % 4], 4, 6, NULL, (uint64_t)i);
        struct run_result r;
        struct exec x;

        w->workload.batch = i < 16 ? 1 : 3;
        x = watch(w, "{cache: {name: lru, slots: 8}}", false, &r);
        assert_true(x.groups > 0);
        assert_int_equal(x.rows, r.total.counts.activations);
        run_result_release(&r);
        run_world_free(w);
    }
}

static void slots_hold_nothing_at_first(void **state)
{
    struct run_world *w = run_world_new(3, 8, 2, 2, 4, NULL, 1);
    struct run_result r;
    struct exec x = watch(w, "{cache: {name: lru, slots: 5}}", false, &r);
    uint32_t staging = x.slots - 15;

    (void)state;
    assert_true(x.slots >= 15);
    assert_int_equal(x.empty_slots, x.slots);
    run_result_release(&r);
    x = watch(w, "{cache: {name: lru, slots: 5, preload: linear}}", false, &r);
    assert_int_equal(x.slots, 15 + staging);
    assert_int_equal(x.empty_slots, staging);
    run_result_release(&r);
    run_world_free(w);
}

/* A copy that is still on its way when its expert is wanted goes ahead of those that are
 * only foreseen: each of those that the books call late, and no other. */
static void late_copies_are_promoted(void **state)
{
    uint64_t late = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 4; seed++) {
        struct run_world *w = run_world_new(4, 16, 2, 2, 12, NULL, seed);
        struct run_result r;
        struct exec x;

        w->machine.h2d_pinned.bytes_per_s /= 3;
        x = watch(w,
                  "{cache: {name: lru, slots: 6}, prefetch: {name: oracle, "
                  "distance: 2}}",
                  true, &r);

        assert_int_equal(x.promotions, r.total.counts.late);
        late += r.total.counts.late;
        run_result_release(&r);
        run_world_free(w);
    }
    assert_true(late > 20);
}

/* Experts of layer 2 take 1.0 MB, those of layers 0 and 1 0.6 MB, and 1.3 MB are there:
 * one large or two small ones. FIFO has 0:0 and 1:1; the second pass puts 0:2 in place of
 * 0:0, reads 1:1, which is there, and needs the memory of both for 2:3. It goes to the
 * slot of the last victim, 0:2, and yet the memory of the first is read later. */
static void a_copy_waits_for_all_victims(void **state)
{
    struct run_world *w = run_world_spelled(3, 4, 1, "0|1| 2|1|3");
    struct run_result r;
    struct exec x;

    (void)state;
    w->expert_bytes[0] = w->expert_bytes[1] = 600000;
    x = watch(w, "{cache: {name: fifo, scope: global, bytes: 1300000 B}}", false, &r);
    assert_int_equal(r.total.counts.loads, 4);
    assert_true(x.after_groups);
    run_result_release(&r);
    run_world_free(w);
}

/* Prefetches that are thrown away before they arrive, where a copy may have several
 * victims. */
static void a_copy_waits_for_what_it_cancels(void **state)
{
    uint64_t cancelled = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 6; seed++) {
        struct run_world *w = run_world_new(4, 16, 2, 2, 12, NULL, seed);
        struct run_result r;
        struct exec x;

        for (uint32_t l = 0; l < 4; l++)
            w->expert_bytes[l] = l % 2 == 0 ? 400000 : 1000000;
        w->machine.h2d_pinned.bytes_per_s /= 10;
        x = watch(w,
                  "{cache: {name: fifo, scope: global, bytes: 6 MB}, prefetch: {name: "
                  "markov, distance: 3, candidates: 8}}",
                  true, &r);
        cancelled += x.cancellations;
        run_result_release(&r);
        run_world_free(w);
    }
    assert_true(cancelled > 20);
}

/* Six rows that all want expert 1 of four: a quarter of the rows as capacity lets in two
 * of them (1.5, rounded up), half lets in three; a factor of 2 on 6 rows over four
 * experts three. */
static void a_gate_drops_on_one_gpu(void **state)
{
    static const struct {
        const char *gate;
        uint64_t kept;
    } cases[] = {{"{name: capacity-fraction, cf: 0.5}", 3},
                 {"{name: capacity-factor, cf: 2, min_capacity: 0}", 3},
                 {"{name: capacity-factor, cf: 2, min_capacity: 5}", 5},
                 {"{name: dropless}", 6}};
    enum { ROWS = 3, LAYERS = 2, REQUESTS = 6 };
    uint16_t expert[REQUESTS * ROWS * LAYERS];

    (void)state;
    for (size_t i = 0; i < sizeof expert / sizeof *expert; i++)
        expert[i] = 1;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct run_world *w = run_world_new(LAYERS, 4, 1, REQUESTS, ROWS, expert, 0);
        char *policy =
            mem_format("{cache: {name: lru, slots: 4}, gate: %s}", cases[i].gate);
        struct run_result r;

        w->workload.batch = REQUESTS;
        run_world_run(w, &(struct run_case){.policy = policy, .seed = 3}, &r);
        assert_int_equal(r.passes, ROWS);
        assert_int_equal(r.total.counts.dropped,
                         LAYERS * ROWS * (REQUESTS - cases[i].kept));
        assert_int_equal(r.total.counts.activations, LAYERS * ROWS * cases[i].kept);
        for (uint32_t l = 0; l < LAYERS; l++)
            assert_int_equal(r.layer[l].counts.dropped,
                             ROWS * (REQUESTS - cases[i].kept));
        run_result_release(&r);
        run_world_free(w);
        free(policy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rows_of_every_expert),
        cmocka_unit_test(slots_hold_nothing_at_first),
        cmocka_unit_test(late_copies_are_promoted),
        cmocka_unit_test(a_copy_waits_for_all_victims),
        cmocka_unit_test(a_copy_waits_for_what_it_cancels),
        cmocka_unit_test(a_gate_drops_on_one_gpu),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
