/* The simulated executor remembers costs; what it remembers is what the cost model says,
 * whatever came before. And every executor has all that a runner asks of it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "cost_help.h"

#include "sim/exec/exec_count.h"
#include "sim/exec/exec_forward.h"
#include "sim/exec/exec_sim.h"

/* How long an operation of a batch takes, whose kernels are launched without delay. */
static sim_time length(struct exec *x, enum op_kind kind, uint32_t layer,
                       const struct cost_batch *batch)
{
    struct op op = {.kind = kind, .lane = LANE_COMPUTE, .layer = layer};
    struct op_times t;
    op_id id;

    op.batch = batch;
    id = exec_sim_ops.submit(x, &op);
    (void)exec_sim_ops.wait(x, id);
    exec_sim_ops.times(x, &id, 1, &t);
    return t.end - t.start;
}

/* A GPU of several may have no row in its first pass, and more rows at its dense blocks
 * than at its gates. */
static void batches_in_any_order(void **state)
{
    const struct cost_batch none = {.tokens = 0},
                            few = {.tokens = 3, .kv_tokens = 9, .pairs = 9},
                            many = {.tokens = 900, .kv_tokens = 900, .pairs = 900};
    const struct cost_batch *const order[] = {&none, &few, &many, &few, &none, &many};
    struct machine k = ideal();
    struct model m = small();
    struct exec_sim_options o = {.cost = {.model = &m, .machine = &k}};
    struct exec *x;

    (void)state;
    k.gpu.kernel_floor = 2 * SIM_TIME_PER_US;
    k.h2d_pinned.bytes_per_s = k.d2h_pinned.bytes_per_s = 1e10;
    x = exec_sim_new(&o);
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        const struct cost_batch *dense = order[i], *gate = order[(i + 1) % 4];

        for (uint32_t layer = 1; layer < 4; layer++) {
            assert_int_equal(length(x, OP_DENSE, layer, dense),
                             cost_dense(&o.cost, layer, dense));
            assert_int_equal(length(x, OP_GATE, layer, gate),
                             cost_gate(&o.cost, gate->tokens));
        }
        assert_int_equal(length(x, OP_HEAD, 0, dense), cost_head(&o.cost, dense));
    }
    exec_sim_free(x);
}

static void executors_are_complete(void **state)
{
    static const struct exec_ops *const all[] = {&exec_sim_ops, &exec_count_ops,
                                                 &exec_forward_ops};

    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const struct exec_ops *o = all[i];

        assert_true(o->submit != NULL && o->wait != NULL && o->now != NULL);
        assert_true(o->sleep_until != NULL && o->done != NULL && o->promote != NULL);
        assert_true(o->cancel != NULL && o->times != NULL && o->retire != NULL);
        assert_true(o->drain != NULL);
    }
}

/* What is counted is over as soon as it is submitted: hurrying it, or calling it off,
 * changes nothing. */
static void counted_operations_are_over(void **state)
{
    struct exec *x = exec_count_new();
    struct op op = {.kind = OP_COPY_IN, .lane = LANE_COPY_IN};
    struct err e = {.text = ""};
    struct op_times t;
    op_id id;

    (void)state;
    exec_count_ops.sleep_until(x, 7);
    id = exec_count_ops.submit(x, &op);
    exec_count_ops.promote(x, id);
    exec_count_ops.cancel(x, id);
    assert_true(exec_count_ops.done(x, id));
    exec_count_ops.times(x, &id, 1, &t);
    assert_true(t.issued == 7 && t.start == 7 && t.end == 7 && !t.cancelled);
    exec_count_ops.retire(x, id + 1);
    assert_int_equal(exec_count_ops.drain(x, &e), 0);
    assert_int_equal(exec_count_ops.now(x), 7);
    exec_count_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(batches_in_any_order),
                                       cmocka_unit_test(executors_are_complete),
                                       cmocka_unit_test(counted_operations_are_over)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
