/* The simulated executor remembers costs; what it remembers is what the cost model says,
 * whatever came before. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "cost_help.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(batches_in_any_order)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
