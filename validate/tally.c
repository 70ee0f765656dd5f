#include "tally.h"

#include "sim/base/mem.h"

#include <inttypes.h>
#include <stdlib.h>

struct exec {
    const struct exec_ops *ops;
    struct exec *inner;
    struct tally *counts;
};

void tally_init(struct tally *t, uint32_t layers, uint32_t experts)
{
    *t = (struct tally){.layers = layers, .experts = experts};
    t->tokens = mem_zalloc((size_t)layers * experts, sizeof *t->tokens);
}

void tally_release(struct tally *t)
{
    free(t->tokens);
    *t = (struct tally){.tokens = NULL};
}

/* ---- the executor ---- */

struct exec *tally_exec_new(const struct exec_ops *ops, struct exec *inner,
                            struct tally *counts)
{
    struct exec *x = mem_alloc(1, sizeof *x);

    *x = (struct exec){ops, inner, counts};
    return x;
}

struct exec *tally_exec_free(struct exec *x)
{
    struct exec *inner = x->inner;

    free(x);
    return inner;
}

static void count_op(struct tally *t, const struct op *op)
{
    if (op->kind == OP_COPY_IN) {
        t->copies[op->class_]++;
        t->in_bytes[op->class_] += op->copy.bytes;
    } else if (op->kind == OP_COPY_OUT) {
        t->copies_out++;
        t->out_bytes += op->copy.bytes;
    } else if (op->kind == OP_EXPERTS || op->kind == OP_HOST_EXPERTS) {
        t->host_runs += op->kind == OP_HOST_EXPERTS ? op->group.count : 0;
        for (uint32_t i = 0; i < op->group.count; i++) {
            uint32_t id = op->group.expert[i];

            t->tokens[(size_t)op->layer * t->experts + id] += op->group.tokens[id];
        }
    }
}

static int begin(struct exec *x, const struct exec_slots *slots, struct err *e)
{
    return x->ops->begin == NULL ? 0 : x->ops->begin(x->inner, slots, e);
}

static int check(struct exec *x, struct err *e)
{
    return x->ops->check == NULL ? 0 : x->ops->check(x->inner, e);
}

static op_id submit(struct exec *x, const struct op *op)
{
    count_op(x->counts, op);
    return x->ops->submit(x->inner, op);
}

static sim_time wait(struct exec *x, op_id id)
{
    return x->ops->wait(x->inner, id);
}

static sim_time now(struct exec *x)
{
    return x->ops->now(x->inner);
}

static void sleep_until(struct exec *x, sim_time t)
{
    x->ops->sleep_until(x->inner, t);
}

static bool done(struct exec *x, op_id id)
{
    return x->ops->done(x->inner, id);
}

static void promote(struct exec *x, op_id id)
{
    x->ops->promote(x->inner, id);
}

static void cancel(struct exec *x, op_id id)
{
    x->ops->cancel(x->inner, id);
}

static void times(struct exec *x, const op_id *id, size_t count, struct op_times *out)
{
    x->ops->times(x->inner, id, count, out);
}

static void retire(struct exec *x, op_id id)
{
    x->ops->retire(x->inner, id);
}

static int drain(struct exec *x, struct err *e)
{
    return x->ops->drain(x->inner, e);
}

const struct exec_ops tally_ops = {
    .name = "counted",
    .begin = begin,
    .check = check,
    .submit = submit,
    .wait = wait,
    .now = now,
    .sleep_until = sleep_until,
    .done = done,
    .promote = promote,
    .cancel = cancel,
    .times = times,
    .retire = retire,
    .drain = drain,
};

/* ---- comparing ---- */

int tally_compare(const char *label, const struct tally *predicted,
                  const struct tally *done_, struct err *e)
{
    const struct {
        const char *name;
        uint64_t predicted, done;
    } field[] = {
        {"copies on demand", predicted->copies[WORK_DEMAND], done_->copies[WORK_DEMAND]},
        {"copies ahead of use", predicted->copies[WORK_PREFETCH],
         done_->copies[WORK_PREFETCH]},
        {"bytes copied on demand", predicted->in_bytes[WORK_DEMAND],
         done_->in_bytes[WORK_DEMAND]},
        {"bytes copied ahead of use", predicted->in_bytes[WORK_PREFETCH],
         done_->in_bytes[WORK_PREFETCH]},
        {"copies out", predicted->copies_out, done_->copies_out},
        {"bytes copied out", predicted->out_bytes, done_->out_bytes},
        {"experts on the host", predicted->host_runs, done_->host_runs},
    };

    for (size_t i = 0; i < sizeof field / sizeof *field; i++)
        if (field[i].predicted != field[i].done)
            return err_set(e,
                           "policy '%s': %" PRIu64 " %s were predicted, but the device "
                           "did %" PRIu64 "; please report this",
                           label, field[i].predicted, field[i].name, field[i].done);
    for (size_t i = 0; i < (size_t)predicted->layers * predicted->experts; i++)
        if (predicted->tokens[i] != done_->tokens[i])
            return err_set(e,
                           "policy '%s': expert %zu of MoE layer %zu was to compute "
                           "%" PRIu64 " rows, but the device computed %" PRIu64
                           "; please report this",
                           label, i % predicted->experts, i / predicted->experts,
                           predicted->tokens[i], done_->tokens[i]);
    return 0;
}
