#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "check_exec.h"

#include "sim/exec/exec_forward.h"
#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

/* One use of a slot by an operation. */
struct use {
    op_id id;
    uint32_t slot;
    uint32_t object; /* layer << 16 | expert */
    bool fill;
};

struct exec {
    struct exec_forward front;
    op_id last;
    size_t words;     /* of one row of `before` */
    uint64_t *before; /* (id, bit): what is over when the operation begins */
    uint64_t *host;   /* [words] what the host knows to be over */
    bool *cancelled;  /* [ids] */
    op_id lane[OP_LANES];
    op_id gate, hosted; /* the last gate; experts in place since then; 0: none */
    uint64_t group;     /* of experts since the last gate; 0: none */
    bool *ran;          /* [experts] since the last gate, and what routing names */
    bool *routed;
    uint32_t named; /* no expert from here on */
    struct use *use;
    size_t uses, room;
};

enum { MOST_OPS = 1 << 14 };

struct exec *check_exec_new(const struct exec_ops *ops, struct exec *inner)
{
    struct exec *x = mem_zalloc(1, sizeof *x);

    x->front = (struct exec_forward){ops, inner};
    x->words = MOST_OPS / 64;
    x->before = mem_zalloc((size_t)MOST_OPS * x->words, sizeof *x->before);
    x->host = mem_zalloc(x->words, sizeof *x->host);
    x->cancelled = mem_zalloc(MOST_OPS, sizeof *x->cancelled);
    x->ran = mem_zalloc(UINT16_MAX, sizeof *x->ran);
    x->routed = mem_zalloc(UINT16_MAX, sizeof *x->routed);
    return x;
}

static uint64_t *row_of(const struct exec *x, op_id id)
{
    return x->before + id * x->words;
}

/* `id` and all before it are in `set` from now on. */
static void join(const struct exec *x, uint64_t *set, op_id id)
{
    const uint64_t *row = row_of(x, id);

    for (size_t i = 0; i <= id / 64; i++)
        set[i] |= row[i];
    set[id / 64] |= UINT64_C(1) << (id % 64);
}

static bool is_before(const struct exec *x, op_id a, op_id b)
{
    return (row_of(x, b)[a / 64] >> (a % 64) & 1) != 0;
}

static void add_use(struct exec *x, uint32_t slot, uint32_t layer, uint32_t expert,
                    bool fill)
{
    if (x->uses == x->room) {
        x->room = x->room * 2 + 64;
        x->use = mem_resize(x->use, x->room, sizeof *x->use);
    }
    x->use[x->uses++] = (struct use){x->last, slot, layer << 16 | expert, fill};
}

static void add_uses(struct exec *x, const struct op *op)
{
    if (op->kind == OP_COPY_IN || op->kind == OP_COPY_OUT)
        add_use(x, op->copy.slot, op->layer, op->copy.expert, op->kind == OP_COPY_IN);
    for (uint32_t i = 0; op->kind == OP_EXPERTS && i < op->group.count; i++)
        add_use(x, op->group.slot[i], op->layer, op->group.expert[i], false);
}

static void name_expert(struct exec *x, bool *set, uint16_t expert)
{
    if (expert == UINT16_MAX)
        return; /* a rank that the gate left empty */
    set[expert] = true;
    if (expert >= x->named)
        x->named = expert + 1u;
}

/* Experts of the layer that the last gate chose. */
static void check_group(struct exec *x, const struct op *op)
{
    const struct op_routing *routing = op->group.routing;

    assert_true(x->gate != 0 && is_before(x, x->gate, x->last));
    if (op_is_elsewhere(op->kind)) {
        assert_int_equal(op->lane,
                         op->kind == OP_NEAR_EXPERTS ? LANE_NEAR : LANE_HOST_POOL);
        assert_null(op->group.slot);
        assert_int_equal(x->hosted, 0);
        x->hosted = x->last;
    }
    for (uint32_t i = 0; i < op->group.count; i++) {
        assert_true(op->group.tokens[op->group.expert[i]] > 0);
        if (x->ran[op->group.expert[i]])
            fail_msg("expert %u of layer %u runs twice", op->group.expert[i], op->layer);
        name_expert(x, x->ran, op->group.expert[i]);
    }
    for (uint32_t row = 0; row < routing->rows; row++)
        for (uint32_t k = 0; k < routing->top_k; k++)
            name_expert(x, x->routed, routing->choice[row * routing->stride + k]);
    x->group++;
}

/* A dense block or head, which wants what the layer before it gave. */
static void check_layer_end(struct exec *x, const struct op *op)
{
    for (uint32_t i = 0; x->group > 0 && i < x->named; i++)
        if (x->routed[i] && !x->ran[i])
            fail_msg("expert %u was routed to, but did not run before operation %llu", i,
                     (unsigned long long)x->last);
    if (x->hosted != 0 && !is_before(x, x->hosted, x->last))
        fail_msg("%s %llu does not wait for experts %llu that ran in place",
                 op_kind_name(op->kind), (unsigned long long)x->last,
                 (unsigned long long)x->hosted);
    x->gate = x->hosted = 0;
    x->group = 0;
}

static void check_order(struct exec *x, const struct op *op)
{
    switch (op->kind) {
    case OP_GATE:
        x->gate = x->last;
        memset(x->ran, 0, x->named * sizeof *x->ran);
        memset(x->routed, 0, x->named * sizeof *x->routed);
        x->named = 0;
        return;
    case OP_EXPERTS:
    case OP_HOST_EXPERTS:
    case OP_NEAR_EXPERTS:
        check_group(x, op);
        return;
    case OP_DENSE:
    case OP_HEAD:
        check_layer_end(x, op);
        return;
    default:
        return;
    }
}

static op_id submit(struct exec *x, const struct op *op)
{
    bool crosses = op->kind == OP_NEAR_EXPERTS && op->group.crosses;
    op_id id = exec_forward_submit(x, op);
    uint64_t *row;

    /* There, computed, and back: three works where they are simulated. */
    assert_true(id == x->last + 1 || (crosses && id == x->last + 3));
    assert_true(id < MOST_OPS);
    x->last = id;
    row = row_of(x, id);
    memcpy(row, x->host, x->words * sizeof *row);
    for (uint32_t i = 0; i < op->after_count; i++) {
        assert_true(op->after[i] < id);
        if (op->after[i] != 0)
            join(x, row, op->after[i]);
    }
    if (op->class_ == WORK_DEMAND) {
        if (x->lane[op->lane] != 0)
            join(x, row, x->lane[op->lane]);
        x->lane[op->lane] = id;
    }
    add_uses(x, op);
    check_order(x, op);
    return id;
}

static sim_time wait(struct exec *x, op_id id)
{
    join(x, x->host, id);
    return exec_forward_wait(x, id);
}

static bool done(struct exec *x, op_id id)
{
    bool over = exec_forward_done(x, id);

    if (over)
        join(x, x->host, id);
    return over;
}

static void cancel(struct exec *x, op_id id)
{
    x->cancelled[id] = true;
    exec_forward_cancel(x, id);
}

const struct exec_ops check_exec_ops = {
    .name = "watched",
    .begin = exec_forward_begin,
    .check = exec_forward_check,
    .submit = submit,
    .wait = wait,
    .now = exec_forward_now,
    .sleep_until = exec_forward_sleep_until,
    .done = done,
    .promote = exec_forward_promote,
    .cancel = cancel,
    .times = exec_forward_times,
    .retire = exec_forward_retire,
    .drain = exec_forward_drain,
};

static void check_read(const struct exec *x, const struct use *u, const struct use *fill)
{
    if (u->object != fill->object)
        fail_msg("operation %llu reads expert %u of layer %u from slot %u, which holds "
                 "expert %u of layer %u",
                 (unsigned long long)u->id, u->object & 0xffff, u->object >> 16, u->slot,
                 fill->object & 0xffff, fill->object >> 16);
    if (!fill->fill) /* there from the start */
        return;
    if (x->cancelled[fill->id])
        fail_msg("operation %llu reads slot %u, but its copy %llu was cancelled",
                 (unsigned long long)u->id, u->slot, (unsigned long long)fill->id);
    if (!is_before(x, fill->id, u->id))
        fail_msg("operation %llu does not wait for copy %llu into slot %u",
                 (unsigned long long)u->id, (unsigned long long)fill->id, u->slot);
}

/* Goes through the uses of one slot; `first` is the first of them. */
static void check_slot(const struct exec *x, size_t first)
{
    size_t since = first; /* the last fill; at the start the first use */

    for (size_t i = first; i < x->uses; i++) {
        const struct use *u = &x->use[i];

        if (u->slot != x->use[first].slot)
            continue;
        if (!u->fill) {
            /* What is written back may have been given up before it was all there. */
            if (!x->cancelled[x->use[since].id] || u->object != x->use[since].object)
                check_read(x, u, &x->use[since]);
            continue;
        }
        for (size_t j = since; j < i; j++) {
            const struct use *v = &x->use[j];

            if (v->slot == u->slot && !is_before(x, v->id, u->id))
                fail_msg("copy %llu into slot %u does not wait for operation %llu",
                         (unsigned long long)u->id, u->slot, (unsigned long long)v->id);
        }
        since = i;
    }
}

void check_exec_end(struct exec *x)
{
    bool *seen = mem_zalloc(UINT16_MAX, sizeof *seen);

    for (size_t i = 0; i < x->uses; i++) {
        assert_true(x->use[i].slot < UINT16_MAX);
        if (!seen[x->use[i].slot])
            check_slot(x, i);
        seen[x->use[i].slot] = true;
    }
    free(seen);
    free(x->before);
    free(x->host);
    free(x->cancelled);
    free(x->ran);
    free(x->routed);
    free(x->use);
    free(x);
}
