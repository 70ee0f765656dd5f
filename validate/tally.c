#include "tally.h"

#include "sim/exec/exec_forward.h"
#include "sim/base/mem.h"

#include <inttypes.h>
#include <stdlib.h>

struct exec {
    struct exec_forward front;
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

    *x = (struct exec){{ops, inner}, counts};
    return x;
}

struct exec *tally_exec_free(struct exec *x)
{
    struct exec *inner = x->front.inner;

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
    } else if (op->kind == OP_EXPERTS || op_is_elsewhere(op->kind)) {
        t->host_runs += op->kind == OP_HOST_EXPERTS ? op->group.count : 0;
        t->near_runs += op->kind == OP_NEAR_EXPERTS ? op->group.count : 0;
        for (uint32_t i = 0; i < op->group.count; i++) {
            uint32_t id = op->group.expert[i];

            t->tokens[(size_t)op->layer * t->experts + id] += op->group.tokens[id];
        }
    }
}

static op_id submit(struct exec *x, const struct op *op)
{
    count_op(x->counts, op);
    return exec_forward_submit(x, op);
}

const struct exec_ops tally_ops = {
    .name = "counted",
    .begin = exec_forward_begin,
    .check = exec_forward_check,
    .submit = submit,
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
        {"experts near the data", predicted->near_runs, done_->near_runs},
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
