#include "exec_forward.h"

static const struct exec_forward *front(const struct exec *x)
{
    return (const struct exec_forward *)(const void *)x;
}

int exec_forward_begin(struct exec *x, const struct exec_slots *slots, struct err *e)
{
    const struct exec_forward *f = front(x);

    return f->ops->begin == NULL ? 0 : f->ops->begin(f->inner, slots, e);
}

int exec_forward_check(struct exec *x, struct err *e)
{
    const struct exec_forward *f = front(x);

    return f->ops->check == NULL ? 0 : f->ops->check(f->inner, e);
}

op_id exec_forward_submit(struct exec *x, const struct op *op)
{
    return front(x)->ops->submit(front(x)->inner, op);
}

sim_time exec_forward_wait(struct exec *x, op_id id)
{
    return front(x)->ops->wait(front(x)->inner, id);
}

sim_time exec_forward_now(struct exec *x)
{
    return front(x)->ops->now(front(x)->inner);
}

void exec_forward_sleep_until(struct exec *x, sim_time t)
{
    front(x)->ops->sleep_until(front(x)->inner, t);
}

bool exec_forward_done(struct exec *x, op_id id)
{
    return front(x)->ops->done(front(x)->inner, id);
}

void exec_forward_promote(struct exec *x, op_id id)
{
    front(x)->ops->promote(front(x)->inner, id);
}

void exec_forward_cancel(struct exec *x, op_id id)
{
    front(x)->ops->cancel(front(x)->inner, id);
}

void exec_forward_times(struct exec *x, const op_id *id, size_t count,
                        struct op_times *out)
{
    front(x)->ops->times(front(x)->inner, id, count, out);
}

void exec_forward_retire(struct exec *x, op_id id)
{
    front(x)->ops->retire(front(x)->inner, id);
}

int exec_forward_drain(struct exec *x, struct err *e)
{
    return front(x)->ops->drain(front(x)->inner, e);
}

const struct exec_ops exec_forward_ops = {
    .name = "forward",
    .begin = exec_forward_begin,
    .check = exec_forward_check,
    .submit = exec_forward_submit,
    .wait = exec_forward_wait,
    .now = exec_forward_now,
    .sleep_until = exec_forward_sleep_until,
    .done = exec_forward_done,
    .promote = exec_forward_promote,
    .cancel = exec_forward_cancel,
    .times = exec_forward_times,
    .retire = exec_forward_retire,
    .drain = exec_forward_drain,
};
