#include "exec_device.h"

#include "block.h"
#include "host_experts.h"
#include "op_log.h"
#include "reference.h"
#include "sim/base/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SLOT_ALIGNMENT = 256, POISON = 0xff };

struct exec {
    struct exec_device_options options;
    struct device *d;
    const struct device_ops *o;
    struct block *block;
    struct host_experts *hosts; /* NULL until an operation wants it */
    op_id hosted;               /* experts in place whose sum is to be added; 0: none */
    /* Slots. */
    char *pool;
    size_t slot_bytes; /* from one to the next */
    uint32_t slots;
    const void **weight; /* [experts] scratch: of a group */
    struct op_log log;
    op_id retired; /* ids below will not be asked for */
    op_id last_compute;
    /* Reading back. */
    struct device_event *back;
    void *result;
    size_t result_bytes;
    void *written;            /* where copies out go to; NULL: none yet */
    uint64_t pass;            /* passes begun */
    uint32_t tokens, outputs; /* of this pass */
    struct err failure;
    struct exec_device_counts counts;
    uint64_t *tokens_of; /* (layer, expert) */
};

/* ---- streams, failure, what has ended ---- */

int exec_device_streams_new(struct device *d, struct exec_device_streams *s,
                            struct err *e)
{
    struct device_stream **all[] = {
        &s->compute, &s->in[WORK_DEMAND], &s->in[WORK_PREFETCH], &s->out, &s->back,
        &s->trip};
    static const int priority[] = {0, 0, 1, 1, 0, 0};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        *all[i] = d->ops->stream_new(d, priority[i], e);
        if (*all[i] == NULL)
            return -1;
    }
    return 0;
}

static sim_time now(struct exec *x)
{
    return op_log_now(&x->log);
}

static void fail(struct exec *x, const struct err *e)
{
    (void)err_set(&x->failure, "%s", e->text);
}

static bool failed(struct exec *x)
{
    return x->failure.text[0] != '\0' || x->o->check(x->d, &x->failure) != 0;
}

/* Forgets what is retired and has ended. */
static void forget(struct exec *x)
{
    struct op_log *l = &x->log;

    while (l->first < x->retired && l->first < l->next && !failed(x)) {
        const struct op_logged *d = op_log_find(l, l->first);

        if (!op_log_ended(l, d))
            return;
        if (x->options.observe != NULL && d->end != NULL) {
            struct op_times t = op_log_times(l, d);

            x->options.observe(x->options.observe_context, l->first, d->kind, d->lane,
                               d->layer, d->expert, &t);
        }
        op_log_forget(l);
    }
}

/* ---- submitting ---- */

static struct device_stream *stream_of(const struct exec *x, const struct op *op)
{
    const struct exec_device_streams *s = x->options.streams;

    switch (op->kind) {
    case OP_COPY_IN:
        return s->in[op->class_];
    case OP_COPY_OUT:
        return s->out;
    case OP_HOST_EXPERTS:
    case OP_NEAR_EXPERTS:
        return s->trip;
    default:
        return s->compute;
    }
}

static char *slot_at(const struct exec *x, uint32_t slot)
{
    assert(slot < x->slots);
    return x->pool + slot * x->slot_bytes;
}

static void copy_in_chunks(struct exec *x, struct device_stream *s, void *to,
                           const void *from, size_t bytes, uint64_t chunk_bytes)
{
    size_t step = chunk_bytes > 0 && chunk_bytes < bytes ? chunk_bytes : bytes;

    for (size_t at = 0; at < bytes; at += step)
        x->o->copy(x->d, s, (char *)to + at, (const char *)from + at,
                   bytes - at < step ? bytes - at : step);
}

static int run_copy_in(struct exec *x, const struct op *op, struct device_stream *s,
                       struct err *e)
{
    size_t bytes = weights_expert_bytes(x->options.weights);
    char *slot = slot_at(x, op->copy.slot);

    if (bytes != op->copy.bytes)
        return err_set(e,
                       "an expert of layer %u has %llu bytes, but %zu on the device; the "
                       "model's weights must be as wide as the device's",
                       op->layer, (unsigned long long)op->copy.bytes, bytes);
    if (x->options.poison)
        x->o->fill(x->d, s, slot, POISON, bytes);
    if (x->options.stall_copy_ns > 0.0)
        x->o->spin(x->d, s, x->options.stall_copy_ns);
    copy_in_chunks(x, s, slot,
                   weights_expert(x->options.weights, op->layer, op->copy.expert), bytes,
                   op->copy.chunk_bytes);
    x->counts.copies[op->class_]++;
    x->counts.in_bytes[op->class_] += bytes;
    return x->o->check(x->d, e);
}

/* Weights do not change, so that nobody reads what is written back: it goes to memory of
 * its own. */
static int run_copy_out(struct exec *x, const struct op *op, struct device_stream *s,
                        struct err *e)
{
    size_t bytes = weights_expert_bytes(x->options.weights);

    if (x->written == NULL &&
        x->o->mem_alloc(x->d, DEVICE_MEMORY_PINNED, bytes, &x->written, e) != 0)
        return -1;
    copy_in_chunks(x, s, x->written, slot_at(x, op->copy.slot), bytes,
                   op->copy.chunk_bytes);
    x->counts.copies_out++;
    x->counts.out_bytes += bytes;
    return x->o->check(x->d, e);
}

static int run_experts(struct exec *x, const struct op *op, struct err *e)
{
    const struct model *m = x->options.model;
    struct block_group g = {.expert = op->group.expert,
                            .weight = x->weight,
                            .tokens = op->group.tokens,
                            .count = op->group.count,
                            .routing = op->group.routing};

    for (uint32_t i = 0; i < g.count; i++) {
        x->weight[i] = slot_at(x, op->group.slot[i]);
        x->tokens_of[(size_t)op->layer * m->experts + g.expert[i]] +=
            g.tokens[g.expert[i]];
    }
    x->counts.groups++;
    if (x->options.stall_ns > 0.0)
        x->o->spin(x->d, x->options.streams->compute, x->options.stall_ns);
    return block_experts(x->block, &g, e);
}

static int run_elsewhere(struct exec *x, const struct op *op, struct err *e)
{
    const struct exec_device_options *o = &x->options;

    if (x->hosts == NULL)
        x->hosts = host_experts_new(x->d, o->weights, o->model, o->streams->trip, e);
    if (x->hosts == NULL)
        return -1;
    for (uint32_t i = 0; i < op->group.count; i++) {
        uint32_t id = op->group.expert[i];

        x->tokens_of[(size_t)op->layer * o->model->experts + id] += op->group.tokens[id];
    }
    if (op->kind == OP_NEAR_EXPERTS)
        x->counts.near_runs += op->group.count;
    else
        x->counts.host_runs += op->group.count;
    return host_experts_begin(x->hosts, op, block_normed(x->block), e);
}

/* The experts in place are computed, and their end is recorded. */
static int end_hosted(struct exec *x, struct err *e)
{
    struct op_logged *d = op_log_find(&x->log, x->hosted);

    if (host_experts_end(x->hosts, e) != 0)
        return -1;
    x->o->event_record(x->d, d->end, x->options.streams->trip);
    d->pending = false;
    x->hosted = 0;
    return 0;
}

static int run_dense(struct exec *x, const struct op *op, struct err *e)
{
    if (op->layer == 0) {
        x->tokens = op->batch->tokens;
        x->outputs = op->batch->outputs;
        if (block_begin(x->block, op->batch, x->pass++, e) != 0)
            return -1;
    }
    return block_dense(x->block, op->layer, e);
}

/* Enqueues what the operation is. 0 or -1. */
static int run(struct exec *x, const struct op *op, struct device_stream *s,
               struct err *e)
{
    switch (op->kind) {
    case OP_DENSE:
        return run_dense(x, op, e);
    case OP_GATE:
        return block_gate(x->block, op->layer, e);
    case OP_EXPERTS:
        return run_experts(x, op, e);
    case OP_HEAD:
        return block_head(x->block, op->batch->outputs, e);
    case OP_COPY_IN:
        return run_copy_in(x, op, s, e);
    case OP_COPY_OUT:
        return run_copy_out(x, op, s, e);
    case OP_HOST_EXPERTS:
    case OP_NEAR_EXPERTS:
        return run_elsewhere(x, op, e);
    case OP_ENCODE: /* rows are gathered and summed by the experts' own kernels */
    case OP_DECODE:
        return 0;
    default: /* what several GPUs do together, which is refused before a run */
        break;
    }
    assert(false);
    return -1;
}

/* Enqueues the operation between its events, behind what it comes after. `sum`: what the
 * experts in place gave is to be added before. */
static int enqueue(struct exec *x, const struct op *op, const struct op_logged *d,
                   bool sum, struct err *e)
{
    struct device_stream *s = stream_of(x, op);

    for (uint32_t i = 0; i < op->after_count; i++) {
        const struct op_logged *before = op_log_find(&x->log, op->after[i]);

        if (before != NULL && before->end != NULL)
            x->o->event_hold(x->d, before->end, s);
    }
    x->o->event_record(x->d, d->start, s);
    if (sum && host_experts_add(x->hosts, s, block_hidden(x->block), e) != 0)
        return -1;
    if (run(x, op, s, e) != 0)
        return -1;
    if (!op_is_elsewhere(op->kind))
        x->o->event_record(x->d, d->end, s);
    return 0;
}

static op_id submit(struct exec *x, const struct op *op)
{
    op_id id = x->log.next;
    struct op_logged *d = op_log_add(&x->log, op);
    bool sum = x->hosted != 0 &&
               (op->kind == OP_DENSE || op->kind == OP_HEAD || op->kind == OP_DECODE);
    struct err e = {.text = ""};
    int status = 0;

    if (op->lane == LANE_COMPUTE)
        x->last_compute = id;
    if (failed(x))
        return id;
    d->start = op_log_event(&x->log, &x->failure);
    d->end = op_log_event(&x->log, &x->failure);
    if (d->start == NULL || d->end == NULL)
        return id;
    if (sum)
        status = end_hosted(x, &e);
    else if (x->hosted != 0)
        status = host_experts_step(x->hosts, &e);
    if (status == 0)
        status = enqueue(x, op, d, sum, &e);
    if (status != 0)
        fail(x, &e);
    if (op_is_elsewhere(op->kind) && status == 0) {
        d->pending = true;
        x->hosted = id;
    }
    /* Where it waits for nothing but its lane, what keeps an idle lane is the launch. */
    d->issued = op->lane == LANE_COMPUTE && op->after_count == 0 ? SIM_TIME_MAX : now(x);
    return id;
}

/* ---- waiting ---- */

/* What the host would read: ids of the experts that the gate chose, tokens of the head.
 */
static size_t result_bytes(const struct exec *x, const struct op_logged *d)
{
    size_t most, bytes = 0;

    (void)block_result(x->block, &most);
    if (d->kind == OP_GATE)
        bytes = (size_t)x->tokens * x->options.model->top_k * sizeof(uint16_t);
    else if (d->kind == OP_HEAD)
        bytes = (size_t)x->outputs * sizeof(uint32_t);
    return bytes < most ? bytes : most;
}

/* Pinned memory of at least so many bytes. */
static int reserve_result(struct exec *x, size_t bytes, struct err *e)
{
    if (bytes <= x->result_bytes)
        return 0;
    x->o->mem_free(x->d, DEVICE_MEMORY_PINNED, x->result);
    x->result = NULL;
    x->result_bytes = 0;
    if (x->o->mem_alloc(x->d, DEVICE_MEMORY_PINNED, bytes, &x->result, e) != 0)
        return -1;
    x->result_bytes = bytes;
    return 0;
}

static int read_back(struct exec *x, op_id id, const struct op_logged *d, struct err *e)
{
    size_t bytes = result_bytes(x, d), most;
    bool last = id == x->last_compute;
    struct device_stream *s =
        last ? x->options.streams->compute : x->options.streams->back;

    if (bytes == 0)
        return x->o->event_wait(x->d, d->end, e);
    if (reserve_result(x, bytes, e) != 0)
        return -1;
    if (!last)
        x->o->event_hold(x->d, d->end, s);
    x->o->copy(x->d, s, x->result, block_result(x->block, &most), bytes);
    x->o->event_record(x->d, x->back, s);
    return x->o->event_wait(x->d, x->back, e);
}

static int show_hidden(struct exec *x, struct err *e)
{
    size_t count = (size_t)x->tokens * x->options.model->hidden;
    size_t bytes = count * x->o->element_bytes(x->d);
    struct device_info info;
    float *value;

    if (reserve_result(x, bytes, e) != 0)
        return -1;
    x->o->info(x->d, &info);
    x->o->copy(x->d, x->options.streams->compute, x->result, block_hidden(x->block),
               bytes);
    if (x->o->stream_finish(x->d, x->options.streams->compute, e) != 0)
        return -1;
    value = mem_alloc(count, sizeof *value);
    reference_of_elements(info.element, x->result, value, count);
    x->options.hidden(x->options.hidden_context, x->pass - 1, x->tokens,
                      x->options.model->hidden, value);
    free(value);
    return 0;
}

static sim_time wait(struct exec *x, op_id id)
{
    const struct op_logged *d = op_log_find(&x->log, id);
    struct op_times t = {.cancelled = false};
    struct err e = {.text = ""};

    if (d == NULL || d->end == NULL || failed(x))
        return now(x);
    if (id == x->hosted && end_hosted(x, &e) != 0) {
        fail(x, &e);
        return now(x);
    }
    if (read_back(x, id, d, &e) != 0 ||
        (d->kind == OP_HEAD && x->options.hidden != NULL && show_hidden(x, &e) != 0)) {
        fail(x, &e);
        return now(x);
    }
    t.end = now(x);
    t.start = op_log_time(&x->log, d->end);
    if (t.start > t.end) /* events are as precise as op_log.c says */
        t.start = t.end;
    t.issued = t.start;
    if (x->options.observe != NULL)
        x->options.observe(x->options.observe_context, id, OP_HOST, LANE_HOST, d->layer,
                           0, &t);
    return t.end;
}

static void sleep_until(struct exec *x, sim_time t)
{
    sim_time left;

    while ((left = t - now(x)) > 0) {
        struct timespec pause = {.tv_sec = (time_t)(left / SIM_TIME_PER_S),
                                 .tv_nsec =
                                     (long)(left % SIM_TIME_PER_S / SIM_TIME_PER_NS) + 1};

        (void)nanosleep(&pause, NULL);
    }
}

static bool done(struct exec *x, op_id id)
{
    const struct op_logged *d = op_log_find(&x->log, id);

    return d == NULL || failed(x) || op_log_ended(&x->log, d);
}

static void promote(struct exec *x, op_id id)
{
    (void)x;
    (void)id;
}

static void cancel(struct exec *x, op_id id)
{
    (void)x;
    (void)id;
}

static void times(struct exec *x, const op_id *id, size_t count, struct op_times *out)
{
    for (size_t i = 0; i < count; i++) {
        const struct op_logged *d = op_log_find(&x->log, id[i]);
        struct err e = {.text = ""};

        out[i] = (struct op_times){.cancelled = false};
        if (d == NULL || d->end == NULL || failed(x))
            continue;
        if (x->o->event_wait(x->d, d->end, &e) != 0)
            fail(x, &e);
        else
            out[i] = op_log_times(&x->log, d);
    }
}

static void retire(struct exec *x, op_id id)
{
    if (id > x->retired)
        x->retired = id;
    forget(x);
}

/* Waits for all streams. */
static int finish(struct exec *x, struct err *e)
{
    const struct exec_device_streams *s = x->options.streams;
    struct device_stream *all[] = {
        s->compute, s->in[WORK_DEMAND], s->in[WORK_PREFETCH], s->out, s->back, s->trip};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (x->o->stream_finish(x->d, all[i], e) != 0)
            return -1;
    return 0;
}

static int check(struct exec *x, struct err *e)
{
    return failed(x) ? err_set(e, "%s", x->failure.text) : 0;
}

static int drain(struct exec *x, struct err *e)
{
    if (x->hosted != 0 && !failed(x) && end_hosted(x, &x->failure) != 0)
        return check(x, e);
    if (finish(x, &x->failure) != 0 || check(x, e) != 0)
        return check(x, e);
    retire(x, x->log.next);
    return 0;
}

/* ---- beginning and end ---- */

static int fill_slots(struct exec *x, const struct exec_slots *slots, struct err *e)
{
    struct device_stream *s = x->options.streams->compute;
    size_t bytes = weights_expert_bytes(x->options.weights);

    for (uint32_t i = 0; i < slots->count; i++) {
        if (x->options.poison)
            x->o->fill(x->d, s, slot_at(x, i), POISON, bytes);
        if (slots->expert[i] != UINT32_MAX)
            x->o->copy(
                x->d, s, slot_at(x, i),
                weights_expert(x->options.weights, slots->layer[i], slots->expert[i]),
                bytes);
    }
    return x->o->stream_finish(x->d, s, e);
}

static int begin(struct exec *x, const struct exec_slots *slots, struct err *e)
{
    size_t bytes = weights_expert_bytes(x->options.weights);
    struct err inner = {.text = ""};
    void *p;

    x->slots = slots->count;
    x->slot_bytes = (bytes + SLOT_ALIGNMENT - 1) / SLOT_ALIGNMENT * SLOT_ALIGNMENT;
    if (x->o->mem_alloc(x->d, DEVICE_MEMORY_LOCAL, x->slots * x->slot_bytes, &p,
                        &inner) != 0)
        return err_set(e, "%u expert slots of %zu bytes do not fit (%s); use fewer slots",
                       x->slots, x->slot_bytes, inner.text);
    x->pool = p;
    if (x->options.largest != NULL && block_reserve(x->block, x->options.largest, e) != 0)
        return -1;
    x->back = op_log_event(&x->log, &x->failure);
    if (x->back == NULL)
        return err_set(e, "%s", x->failure.text);
    if (fill_slots(x, slots, e) != 0)
        return -1;
    return op_log_zero(&x->log, x->options.streams->compute, e);
}

struct exec *exec_device_new(const struct exec_device_options *o)
{
    struct exec *x = mem_zalloc(1, sizeof *x);

    x->options = *o;
    x->d = o->device;
    x->o = o->device->ops;
    x->block = block_new(x->d, o->weights, o->model, o->streams->compute);
    op_log_init(&x->log, x->d);
    x->weight = mem_alloc(o->model->experts, sizeof *x->weight);
    x->tokens_of =
        mem_zalloc((size_t)o->model->moe_layers * o->model->experts, sizeof(uint64_t));
    return x;
}

void exec_device_free(struct exec *x)
{
    struct err ignored = {.text = ""};

    if (x == NULL)
        return;
    (void)finish(x, &ignored);
    host_experts_free(x->hosts);
    block_free(x->block);
    x->o->mem_free(x->d, DEVICE_MEMORY_LOCAL, x->pool);
    x->o->mem_free(x->d, DEVICE_MEMORY_PINNED, x->result);
    x->o->mem_free(x->d, DEVICE_MEMORY_PINNED, x->written);
    op_log_give(&x->log, x->back);
    op_log_release(&x->log);
    free(x->weight);
    free(x->tokens_of);
    free(x);
}

struct exec_device_counts exec_device_counts(const struct exec *x)
{
    struct exec_device_counts c = x->counts;

    c.tokens = x->tokens_of;
    return c;
}

char *exec_device_describe(const struct exec *x)
{
    char *weights = weights_describe(x->options.weights);
    char *block = block_describe(x->block);
    char *both = mem_format("%s%s%s", weights,
                            *weights != '\0' && *block != '\0' ? " " : "", block);

    free(weights);
    free(block);
    return both;
}

const struct exec_ops exec_device_ops = {
    .name = "device",
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
