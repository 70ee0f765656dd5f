#include "host_experts.h"

#include "block.h"
#include "reference.h"
#include "rows.h"
#include "sim/base/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_WORKERS = 256 };

/* Grown as needed, contents lost; freed with the group. */
struct area {
    void *p;
    size_t bytes;
};

enum local { ROWS, SUMS, INDEX, LOCALS };               /* in device memory */
enum pinned { OUT, BACK, SENT, PINNEDS };               /* page-locked */
enum plain { X, SUM, GATHERED, Y, WORK, LIST, PLAINS }; /* the host's own */

enum state { IDLE, TRAVELLING, COMPUTING };

/* Which row is which token's, as device_permute has it. */
struct routes {
    uint32_t top_k;
    uint32_t *token; /* [rows] */
    uint32_t *row;   /* (tokens, top_k) */
    float *weight;   /* (tokens, top_k) */
};

struct host_experts {
    struct device *d;
    const struct device_ops *o;
    const struct weights *w;
    const struct model *m;
    struct device_stream *trip;
    struct device_event *there; /* the rows are in host memory */
    enum device_element type;
    size_t element;
    struct device *cpu; /* its streams are the workers */
    struct device_stream *worker[MOST_WORKERS];
    struct device_event *ready[MOST_WORKERS]; /* its experts are computed */
    uint32_t workers;
    struct area local[LOCALS], pinned[PINNEDS], plain[PLAINS];
    enum state state;
    uint32_t tokens; /* of the pass */
    uint32_t sent;   /* rows that cross */
    bool whole;      /* ... which are those of all tokens in their order */
    /* The group, copied: rows are by expert, then by token. */
    uint32_t experts, rows;
    const void **weight; /* [experts] */
    uint32_t *of;        /* [experts] rows of each */
    uint32_t *place;     /* [model's experts] next row of each; scratch */
    struct routes cross; /* rows that cross, of the pass's tokens */
    struct routes run;   /* the group's rows, of those that cross */
};

static void free_areas(struct host_experts *h)
{
    for (int i = 0; i < LOCALS; i++)
        h->o->mem_free(h->d, DEVICE_MEMORY_LOCAL, h->local[i].p);
    for (int i = 0; i < PINNEDS; i++)
        h->o->mem_free(h->d, DEVICE_MEMORY_PINNED, h->pinned[i].p);
    for (int i = 0; i < PLAINS; i++)
        free(h->plain[i].p);
}

static int open_workers(struct host_experts *h, struct err *e)
{
    struct device_info info;
    bool missing;

    if (device_open("host", &h->cpu, &missing, e) != 0)
        return -1;
    h->cpu->ops->info(h->cpu, &info);
    do {
        h->worker[h->workers] = h->cpu->ops->stream_new(h->cpu, 0, e);
        h->ready[h->workers] = h->cpu->ops->event_new(h->cpu, e);
        if (h->worker[h->workers] == NULL || h->ready[h->workers] == NULL)
            return -1;
    } while (++h->workers + 1 < info.processors && h->workers < MOST_WORKERS);
    return 0;
}

struct host_experts *host_experts_new(struct device *d, const struct weights *w,
                                      const struct model *m, struct device_stream *trip,
                                      struct err *e)
{
    struct host_experts *h = mem_zalloc(1, sizeof *h);
    struct device_info info;

    d->ops->info(d, &info);
    h->d = d;
    h->o = d->ops;
    h->w = w;
    h->m = m;
    h->trip = trip;
    h->type = info.element;
    h->element = d->ops->element_bytes(d);
    h->weight = mem_alloc(m->experts, sizeof *h->weight);
    h->of = mem_alloc(m->experts, sizeof *h->of);
    h->place = mem_alloc(m->experts, sizeof *h->place);
    h->there = d->ops->event_new(d, e);
    if (h->there != NULL && open_workers(h, e) == 0)
        return h;
    host_experts_free(h);
    return NULL;
}

void host_experts_free(struct host_experts *h)
{
    if (h == NULL)
        return;
    device_close(h->cpu); /* waits for the workers */
    h->o->event_free(h->d, h->there);
    free_areas(h);
    free(h->weight);
    free(h->of);
    free(h->place);
    free(h);
}

/* ---- memory ---- */

static int grow(struct host_experts *h, struct area *a, enum device_memory kind,
                size_t bytes, struct err *e)
{
    if (bytes <= a->bytes)
        return 0;
    h->o->mem_free(h->d, kind, a->p);
    *a = (struct area){NULL, 0};
    bytes += bytes / 2;
    if (h->o->mem_alloc(h->d, kind, bytes, &a->p, e) != 0)
        return -1;
    a->bytes = bytes;
    return 0;
}

static void *grow_plain(struct host_experts *h, enum plain which, size_t bytes)
{
    struct area *a = &h->plain[which];

    if (bytes > a->bytes) {
        free(a->p);
        a->bytes = bytes + bytes / 2;
        a->p = mem_alloc(a->bytes, 1);
    }
    return a->p;
}

static size_t index_bytes(const struct host_experts *h)
{
    size_t choices = (size_t)h->tokens * h->cross.top_k;

    return h->sent * sizeof(uint32_t) + choices * (sizeof(uint32_t) + sizeof(float));
}

/* Nothing uses them: the last group's sum was added before this one's gate. */
static int make_room(struct host_experts *h, struct err *e)
{
    size_t hidden = h->m->hidden, sent = h->sent * hidden;

    if (grow(h, &h->local[ROWS], DEVICE_MEMORY_LOCAL, sent * h->element, e) != 0 ||
        grow(h, &h->local[SUMS], DEVICE_MEMORY_LOCAL, sent * h->element, e) != 0 ||
        grow(h, &h->local[INDEX], DEVICE_MEMORY_LOCAL, index_bytes(h), e) != 0 ||
        grow(h, &h->pinned[OUT], DEVICE_MEMORY_PINNED, sent * h->element, e) != 0 ||
        grow(h, &h->pinned[BACK], DEVICE_MEMORY_PINNED, sent * h->element, e) != 0 ||
        grow(h, &h->pinned[SENT], DEVICE_MEMORY_PINNED, index_bytes(h), e) != 0)
        return -1;
    (void)grow_plain(h, X, sent * sizeof(float));
    (void)grow_plain(h, SUM, sent * sizeof(float));
    (void)grow_plain(h, GATHERED, h->rows * hidden * sizeof(float));
    (void)grow_plain(h, Y, h->rows * hidden * sizeof(float));
    (void)grow_plain(h, WORK, (size_t)h->rows * 2 * h->m->expert_ffn * sizeof(float));
    return 0;
}

/* Room in every list for as many tokens, choices or rows as there may be. */
static void make_lists(struct host_experts *h, uint32_t top_k)
{
    size_t choices = (size_t)h->tokens * top_k;
    size_t most = choices > h->rows ? choices : h->rows;
    uint32_t *list = grow_plain(h, LIST, 2 * most * (3 * sizeof *list));

    for (int i = 0; i < 2; i++, list += 3 * most)
        *(i == 0 ? &h->cross : &h->run) =
            (struct routes){top_k, list, list + most, (void *)(list + 2 * most)};
}

/* ---- the group ---- */

/* Each token that chose any of the experts crosses once, and so does its sum. The rows'
 * order keeps what is about those, numbered anew. Where nobody did and all rows are
 * padding, the first token serves. */
static void cross_by_token(struct host_experts *h)
{
    struct routes *c = &h->cross, *r = &h->run;

    c->top_k = 1;
    for (uint32_t i = 0; i < h->tokens; i++) {
        const uint32_t *from = r->row + (size_t)i * r->top_k;
        uint32_t *to = r->row + (size_t)h->sent * r->top_k;
        bool uses = h->sent == 0 && i + 1 == h->tokens;

        for (uint32_t k = 0; k < r->top_k; k++)
            uses = uses || from[k] != UINT32_MAX;
        c->row[i] = uses ? h->sent : UINT32_MAX;
        c->weight[i] = 1.0F;
        for (uint32_t k = 0; uses && k < r->top_k; k++) {
            r->weight[(size_t)h->sent * r->top_k + k] =
                block_token_weight(i, k, r->top_k);
            to[k] = from[k];
            if (to[k] != UINT32_MAX)
                r->token[to[k]] = h->sent;
        }
        if (uses)
            c->token[h->sent++] = i;
    }
    h->whole = h->sent == h->tokens;
}

/* Each expert's rows cross for it alone, and what it makes of them comes back to be
 * weighted and added there. */
static void cross_by_row(struct host_experts *h)
{
    struct routes all = h->run;

    h->run = h->cross;
    h->cross = all;
    for (uint32_t i = 0; i < h->tokens; i++)
        for (uint32_t k = 0; k < all.top_k; k++)
            all.weight[(size_t)i * all.top_k + k] = block_token_weight(i, k, all.top_k);
    h->run.top_k = 1;
    for (; h->sent < h->rows; h->sent++) {
        h->run.token[h->sent] = h->run.row[h->sent] = h->sent;
        h->run.weight[h->sent] = 1.0F;
    }
}

static int take_group(struct host_experts *h, const struct op *op, struct err *e)
{
    const struct op_routing *t = op->group.routing;
    struct rows_group g = {op->group.expert, op->group.count, h->m->experts,
                           op->group.tokens, t};

    h->tokens = t->rows;
    h->experts = g.count;
    h->rows = h->sent = 0;
    h->whole = false;
    for (uint32_t i = 0; i < h->experts; i++) {
        h->weight[i] = weights_expert_float(h->w, op->layer, g.expert[i]);
        h->rows += g.tokens[g.expert[i]];
    }
    make_lists(h, t->top_k);
    if (rows_order(&g, h->place, h->of, h->run.token, h->run.row, e) != 0)
        return -1;
    if (op->kind == OP_NEAR_EXPERTS)
        cross_by_row(h);
    else
        cross_by_token(h);
    return 0;
}

/* The device's gather and scatter of what crosses; the lists lie in `index` as
 * send_index() puts them. */
static struct device_permute crossing(const struct host_experts *h, uint32_t *index)
{
    size_t choices = (size_t)h->tokens * h->cross.top_k;

    return (struct device_permute){.tokens = h->tokens,
                                   .rows = h->sent,
                                   .top_k = h->cross.top_k,
                                   .hidden = h->m->hidden,
                                   .row_token = index,
                                   .token_row = index + h->sent,
                                   .token_weight = (void *)(index + h->sent + choices)};
}

static void send_index(struct host_experts *h)
{
    size_t choices = (size_t)h->tokens * h->cross.top_k;
    uint32_t *sent = h->pinned[SENT].p;

    memcpy(sent, h->cross.token, h->sent * sizeof *sent);
    memcpy(sent + h->sent, h->cross.row, choices * sizeof *sent);
    memcpy(sent + h->sent + choices, h->cross.weight, choices * sizeof(float));
    h->o->copy(h->d, h->trip, h->local[INDEX].p, sent, index_bytes(h));
}

int host_experts_begin(struct host_experts *h, const struct op *op, const void *normed,
                       struct err *e)
{
    const void *from = normed;

    assert(h->state == IDLE && op_is_elsewhere(op->kind));
    if (take_group(h, op, e) != 0 || make_room(h, e) != 0)
        return -1;
    if (!h->whole) {
        struct device_permute p = crossing(h, h->local[INDEX].p);

        send_index(h);
        h->o->gather(h->d, h->trip, &p, normed, h->local[ROWS].p);
        from = h->local[ROWS].p;
    }
    h->o->copy(h->d, h->trip, h->pinned[OUT].p, from,
               (size_t)h->sent * h->m->hidden * h->element);
    h->o->event_record(h->d, h->there, h->trip);
    h->state = TRAVELLING;
    return h->o->check(h->d, e);
}

/* Experts are dealt out to the workers in turn; the first one adds up. */
static void compute(struct host_experts *h)
{
    const struct device_ops *o = h->cpu->ops;
    size_t hidden = h->m->hidden;
    struct device_permute p = {
        .tokens = h->sent, .top_k = h->run.top_k, .hidden = h->m->hidden};
    uint32_t row = 0;

    for (uint32_t w = 0, at = 0; w < h->workers; w++) {
        struct device_group g = {.ffn = weights_expert_ffn(h->w),
                                 .weight = h->weight + at,
                                 .rows = h->of + at,
                                 .x = (float *)h->plain[GATHERED].p + row * hidden,
                                 .y = (float *)h->plain[Y].p + row * hidden,
                                 .work = (float *)h->plain[WORK].p +
                                         (size_t)row * 2 * h->m->expert_ffn};

        p.rows = 0;
        p.row_token = h->run.token + row;
        for (; at < (uint64_t)h->experts * (w + 1) / h->workers; at++, g.count++)
            p.rows += h->of[at];
        if (g.count > 0) {
            o->gather(h->cpu, h->worker[w], &p, h->plain[X].p,
                      (float *)h->plain[GATHERED].p + row * hidden);
            o->experts(h->cpu, h->worker[w], &g);
        }
        row += p.rows;
        o->event_record(h->cpu, h->ready[w], h->worker[w]);
        if (w > 0)
            o->event_hold(h->cpu, h->ready[w], h->worker[0]);
    }
    p.rows = h->rows;
    p.token_row = h->run.row;
    p.token_weight = h->run.weight;
    o->fill(h->cpu, h->worker[0], h->plain[SUM].p, 0, h->sent * hidden * sizeof(float));
    o->scatter(h->cpu, h->worker[0], &p, h->plain[Y].p, h->plain[SUM].p);
    o->event_record(h->cpu, h->ready[0], h->worker[0]);
}

static int begin_computing(struct host_experts *h, struct err *e)
{
    if (h->o->event_wait(h->d, h->there, e) != 0)
        return -1;
    reference_of_elements(h->type, h->pinned[OUT].p, h->plain[X].p,
                          (size_t)h->sent * h->m->hidden);
    compute(h);
    h->state = COMPUTING;
    return 0;
}

int host_experts_step(struct host_experts *h, struct err *e)
{
    if (h->state == TRAVELLING && h->o->event_reached(h->d, h->there))
        return begin_computing(h, e);
    return 0;
}

int host_experts_end(struct host_experts *h, struct err *e)
{
    size_t count = (size_t)h->sent * h->m->hidden;

    if (h->state == TRAVELLING && begin_computing(h, e) != 0)
        return -1;
    h->state = IDLE;
    if (h->cpu->ops->event_wait(h->cpu, h->ready[0], e) != 0)
        return -1;
    reference_to_elements(h->type, h->plain[SUM].p, h->pinned[BACK].p, count);
    h->o->copy(h->d, h->trip, h->local[SUMS].p, h->pinned[BACK].p, count * h->element);
    return h->o->check(h->d, e);
}

int host_experts_add(struct host_experts *h, struct device_stream *s, void *hidden,
                     struct err *e)
{
    struct device_permute p = crossing(h, h->local[INDEX].p);

    if (h->whole)
        h->o->add(h->d, s, hidden, h->local[SUMS].p, (size_t)h->sent * h->m->hidden);
    else
        h->o->scatter(h->d, s, &p, h->local[SUMS].p, hidden);
    return h->o->check(h->d, e);
}
