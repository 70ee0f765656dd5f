#include "exec_device.h"

#include "block.h"
#include "host_experts.h"
#include "reference.h"
#include "sim/base/mem.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SLOT_ALIGNMENT = 256, ZERO_TRIES = 16, POISON = 0xff };

/* An operation that was submitted and is not forgotten yet. */
struct done {
    struct device_event *start, *end;
    sim_time issued;
    enum op_kind kind;
    enum op_lane lane;
    uint32_t layer, expert;
};

struct exec {
    struct exec_device_options options;
    struct device *d;
    const struct device_ops *o;
    struct block *block;
    struct host_experts *hosts; /* NULL until an operation wants it */
    op_id hosted; /* experts on the host whose sum is to be added; 0: none */
    /* Slots. */
    char *pool;
    size_t slot_bytes; /* from one to the next */
    uint32_t slots;
    const void **weight; /* [experts] scratch: of a group */
    /* Operations [first, next) are known; a ring. */
    struct done *ring;
    size_t room; /* a power of two */
    op_id first, next;
    op_id retired; /* ids below will not be asked for */
    op_id last_compute;
    struct device_event **spare; /* events not in use */
    size_t spares, spare_room;
    /* Time. */
    struct device_event *zero;
    int64_t zero_ns;
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

/* ---- streams, events, time ---- */

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

static int64_t clock_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static sim_time now(struct exec *x)
{
    return (clock_ns() - x->zero_ns) * SIM_TIME_PER_NS;
}

static void fail(struct exec *x, const struct err *e)
{
    (void)err_set(&x->failure, "%s", e->text);
}

static bool failed(struct exec *x)
{
    return x->failure.text[0] != '\0' || x->o->check(x->d, &x->failure) != 0;
}

/* NULL after a failure. */
static struct device_event *event_take(struct exec *x)
{
    if (x->spares > 0)
        return x->spare[--x->spares];
    return x->o->event_new(x->d, &x->failure);
}

static void event_give(struct exec *x, struct device_event *v)
{
    if (v == NULL)
        return;
    if (x->spares == x->spare_room) {
        x->spare_room = x->spare_room * 2 + 64;
        x->spare = mem_resize(x->spare, x->spare_room, sizeof(struct device_event *));
    }
    x->spare[x->spares++] = v;
}

/* Ties the clocks of host and device together: of some attempts, the one of which most is
 * known. */
static int find_zero(struct exec *x, struct err *e)
{
    int64_t least = INT64_MAX;

    x->zero = NULL;
    for (int i = 0; i < ZERO_TRIES; i++) {
        struct device_event *v = event_take(x);
        int64_t before = clock_ns(), after;

        if (v == NULL)
            return err_set(e, "%s", x->failure.text);
        x->o->event_record(x->d, v, x->options.streams->compute);
        if (x->o->event_wait(x->d, v, e) != 0)
            return -1;
        after = clock_ns();
        if (after - before >= least) {
            event_give(x, v);
            continue;
        }
        event_give(x, x->zero);
        x->zero = v;
        least = after - before;
        x->zero_ns = before + least / 2;
    }
    return 0;
}

static sim_time time_of(struct exec *x, struct device_event *v)
{
    if (v == NULL || x->failure.text[0] != '\0')
        return 0;
    return (sim_time)llround(x->o->event_ns(x->d, x->zero, v) * 1e3);
}

/* ---- what was submitted ---- */

static struct done *find(const struct exec *x, op_id id)
{
    if (id < x->first || id >= x->next)
        return NULL;
    return &x->ring[id & (x->room - 1)];
}

static struct done *add(struct exec *x, const struct op *op)
{
    struct done *d;

    if (x->next - x->first == x->room) {
        struct done *ring = mem_alloc(2 * x->room, sizeof *ring);

        for (op_id id = x->first; id < x->next; id++)
            ring[id & (2 * x->room - 1)] = x->ring[id & (x->room - 1)];
        free(x->ring);
        x->ring = ring;
        x->room *= 2;
    }
    d = &x->ring[x->next++ & (x->room - 1)];
    *d = (struct done){.kind = op->kind, .lane = op->lane, .layer = op->layer};
    if (op->kind == OP_COPY_IN || op->kind == OP_COPY_OUT)
        d->expert = op->copy.expert;
    return d;
}

static struct op_times times_of(struct exec *x, const struct done *d)
{
    struct op_times t = {
        .issued = d->issued, .start = time_of(x, d->start), .end = time_of(x, d->end)};

    /* It can begin while its last kernels are still being launched. */
    if (t.issued > t.start)
        t.issued = t.start;
    return t;
}

static bool reached(struct exec *x, const struct done *d)
{
    if (d->end == NULL || failed(x))
        return true;
    return d != find(x, x->hosted) && x->o->event_reached(x->d, d->end);
}

/* Forgets what is retired and has ended. */
static void forget(struct exec *x)
{
    while (x->first < x->retired && x->first < x->next) {
        struct done *d = find(x, x->first);

        if (!reached(x, d))
            return;
        if (x->options.observe != NULL && !failed(x)) {
            struct op_times t = times_of(x, d);

            x->options.observe(x->options.observe_context, x->first, d->kind, d->lane,
                               d->layer, d->expert, &t);
        }
        event_give(x, d->start);
        event_give(x, d->end);
        x->first++;
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

static int run_host_experts(struct exec *x, const struct op *op, struct err *e)
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
    x->counts.host_runs += op->group.count;
    return host_experts_begin(x->hosts, op, block_normed(x->block), e);
}

/* The host's experts are computed, and their end is recorded. */
static int end_hosted(struct exec *x, struct err *e)
{
    const struct done *d = find(x, x->hosted);

    if (host_experts_end(x->hosts, e) != 0)
        return -1;
    x->o->event_record(x->d, d->end, x->options.streams->trip);
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
        return run_host_experts(x, op, e);
    case OP_HOST:
    case OP_KINDS:
        break;
    }
    assert(false);
    return -1;
}

/* Enqueues the operation between its events, behind what it comes after. `sum`: what the
 * host's experts gave is to be added before. */
static int enqueue(struct exec *x, const struct op *op, const struct done *d, bool sum,
                   struct err *e)
{
    struct device_stream *s = stream_of(x, op);

    for (uint32_t i = 0; i < op->after_count; i++) {
        const struct done *before = find(x, op->after[i]);

        if (before != NULL && before->end != NULL)
            x->o->event_hold(x->d, before->end, s);
    }
    x->o->event_record(x->d, d->start, s);
    if (sum && host_experts_add(x->hosts, s, block_hidden(x->block), e) != 0)
        return -1;
    if (run(x, op, s, e) != 0)
        return -1;
    if (op->kind != OP_HOST_EXPERTS)
        x->o->event_record(x->d, d->end, s);
    return 0;
}

static op_id submit(struct exec *x, const struct op *op)
{
    op_id id = x->next;
    struct done *d = add(x, op);
    bool sum = x->hosted != 0 && (op->kind == OP_DENSE || op->kind == OP_HEAD);
    struct err e = {""};
    int status = 0;

    if (op->lane == LANE_COMPUTE)
        x->last_compute = id;
    if (failed(x))
        return id;
    d->start = event_take(x);
    d->end = event_take(x);
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
    if (op->kind == OP_HOST_EXPERTS && status == 0)
        x->hosted = id;
    d->issued = now(x);
    return id;
}

/* ---- waiting ---- */

/* What the host would read: ids of the experts that the gate chose, tokens of the head.
 */
static size_t result_bytes(const struct exec *x, const struct done *d)
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

static int read_back(struct exec *x, op_id id, const struct done *d, struct err *e)
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
    const struct done *d = find(x, id);
    struct op_times t = {.cancelled = false};
    struct err e = {""};

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
    t.issued = t.start = time_of(x, d->end);
    t.end = now(x);
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
    const struct done *d = find(x, id);

    return d == NULL || reached(x, d);
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
        const struct done *d = find(x, id[i]);
        struct err e = {""};

        out[i] = (struct op_times){.cancelled = false};
        if (d == NULL || d->end == NULL || failed(x))
            continue;
        if (x->o->event_wait(x->d, d->end, &e) != 0)
            fail(x, &e);
        else
            out[i] = times_of(x, d);
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
    retire(x, x->next);
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
    void *p;

    struct err inner = {""};

    x->slots = slots->count;
    x->slot_bytes = (bytes + SLOT_ALIGNMENT - 1) / SLOT_ALIGNMENT * SLOT_ALIGNMENT;
    if (x->o->mem_alloc(x->d, DEVICE_MEMORY_LOCAL, x->slots * x->slot_bytes, &p,
                        &inner) != 0)
        return err_set(e, "%u expert slots of %zu bytes do not fit (%s); use fewer slots",
                       x->slots, x->slot_bytes, inner.text);
    x->pool = p;
    if (x->options.largest != NULL && block_reserve(x->block, x->options.largest, e) != 0)
        return -1;
    x->back = event_take(x);
    if (x->back == NULL)
        return err_set(e, "%s", x->failure.text);
    if (fill_slots(x, slots, e) != 0)
        return -1;
    return find_zero(x, e);
}

struct exec *exec_device_new(const struct exec_device_options *o)
{
    struct exec *x = mem_zalloc(1, sizeof *x);

    x->options = *o;
    x->d = o->device;
    x->o = o->device->ops;
    x->block = block_new(x->d, o->weights, o->model, o->streams->compute);
    x->room = 1024;
    x->ring = mem_alloc(x->room, sizeof *x->ring);
    x->first = x->next = 1;
    x->weight = mem_alloc(o->model->experts, sizeof *x->weight);
    x->tokens_of =
        mem_zalloc((size_t)o->model->moe_layers * o->model->experts, sizeof(uint64_t));
    return x;
}

void exec_device_free(struct exec *x)
{
    struct err ignored = {""};

    if (x == NULL)
        return;
    (void)finish(x, &ignored);
    host_experts_free(x->hosts);
    block_free(x->block);
    x->o->mem_free(x->d, DEVICE_MEMORY_LOCAL, x->pool);
    x->o->mem_free(x->d, DEVICE_MEMORY_PINNED, x->result);
    x->o->mem_free(x->d, DEVICE_MEMORY_PINNED, x->written);
    for (; x->first < x->next; x->first++) {
        event_give(x, find(x, x->first)->start);
        event_give(x, find(x, x->first)->end);
    }
    event_give(x, x->zero);
    event_give(x, x->back);
    while (x->spares > 0)
        x->o->event_free(x->d, x->spare[--x->spares]);
    free(x->spare);
    free(x->ring);
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
