#include "exec_count.h"

#include "sim/base/mem.h"

#include <stdlib.h>

struct exec {
    op_id last;
    sim_time now;
};

struct exec *exec_count_new(void)
{
    return mem_zalloc(1, sizeof(struct exec));
}

void exec_count_free(struct exec *x)
{
    free(x);
}

static op_id submit(struct exec *x, const struct op *op)
{
    (void)op;
    return ++x->last;
}

static sim_time wait(struct exec *x, op_id id)
{
    (void)id;
    return x->now;
}

static sim_time now(struct exec *x)
{
    return x->now;
}

static void sleep_until(struct exec *x, sim_time t)
{
    if (t > x->now)
        x->now = t;
}

static bool done(struct exec *x, op_id id)
{
    (void)x;
    (void)id;
    return true;
}

static void ignore(struct exec *x, op_id id)
{
    (void)x;
    (void)id;
}

static void times(struct exec *x, const op_id *id, size_t count, struct op_times *out)
{
    (void)id;
    for (size_t i = 0; i < count; i++)
        out[i] = (struct op_times){.issued = x->now, .start = x->now, .end = x->now};
}

static int drain(struct exec *x, struct err *e)
{
    (void)x;
    (void)e;
    return 0;
}

const struct exec_ops exec_count_ops = {
    .name = "counting",
    .submit = submit,
    .wait = wait,
    .now = now,
    .sleep_until = sleep_until,
    .done = done,
    .promote = ignore,
    .cancel = ignore,
    .times = times,
    .retire = ignore,
    .drain = drain,
};
