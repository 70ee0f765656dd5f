#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "naive_crew.h"

#include "place_help.h"
#include "sim/base/mem.h"
#include "sim/policy/place_migrate.h"
#include "sim/workload/workload.h"
#include "traces/trace.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST 16 /* choices of a row */

struct naive {
    const struct crew_lab *lab;
    const struct crew_case *c;
    struct crew_count *out;
    uint32_t gpus, slots, local;
    bool shards, exchanges;
    uint64_t there, back; /* bytes of a row */
    struct place *place;
    uint32_t *turn; /* (layer, expert) */
    /* Rebalancing. */
    uint64_t *seen; /* (pass, layer, expert) rows of every pass so far */
    uint64_t passes;
    uint64_t next; /* rebalance before the pass of this number */
    /* The pass. */
    const struct pass *pass;
    uint32_t *rank;  /* [rows] whose row it is to dispatch */
    uint32_t *order; /* [rows] by rank */
};

/* ---- ports: numbered kind after kind, as topology.h lists them ---- */

enum kind { NVLINK, PCIE, ROOT, NIC, UP, KINDS };

static uint32_t roots_of(const struct crew_case *c)
{
    return c->per_root == 1 || c->gpus == 1 ? 0 : (c->gpus - 1) / c->per_root + 1;
}

static uint32_t rails_of(const struct crew_case *c)
{
    if (!c->network)
        return 0;
    return c->rails == 0 || c->rails > c->gpus ? c->gpus : c->rails;
}

static uint32_t ports_of(const struct crew_case *c, enum kind kind)
{
    switch (kind) {
    case NVLINK:
        return c->nvlink ? c->nodes * c->gpus : 0;
    case PCIE:
        return c->nodes * c->gpus;
    case ROOT:
        return c->nodes * roots_of(c);
    case NIC:
        return c->nodes * rails_of(c);
    default:
        return c->oversubscribed ? c->nodes : 0;
    }
}

static void load_port(struct naive *n, enum kind kind, bool in, uint32_t i,
                      uint64_t bytes)
{
    uint32_t first = 0;

    for (int k = 0; k < (int)kind; k++)
        first += 2 * ports_of(n->c, (enum kind)k);
    assert_true(i < ports_of(n->c, kind));
    n->out->link_bytes[first + (in ? ports_of(n->c, kind) : 0) + i] += bytes;
}

static void send(struct naive *n, uint32_t from, uint32_t to, uint64_t bytes)
{
    const struct crew_case *c = n->c;
    uint32_t a = from / c->gpus, b = to / c->gpus;
    uint32_t x = from % c->gpus, y = to % c->gpus;

    if (from == to)
        return;
    if (a == b && c->nvlink) {
        load_port(n, NVLINK, false, from, bytes);
        load_port(n, NVLINK, true, to, bytes);
        return;
    }
    load_port(n, PCIE, false, from, bytes);
    load_port(n, PCIE, true, to, bytes);
    if (a == b) {
        if (roots_of(c) > 0 && x / c->per_root != y / c->per_root) {
            load_port(n, ROOT, false, a * roots_of(c) + x / c->per_root, bytes);
            load_port(n, ROOT, true, b * roots_of(c) + y / c->per_root, bytes);
        }
        return;
    }
    load_port(n, NIC, false, a * rails_of(c) + x * rails_of(c) / c->gpus, bytes);
    load_port(n, NIC, true, b * rails_of(c) + y * rails_of(c) / c->gpus, bytes);
    if (c->oversubscribed) {
        load_port(n, UP, false, a, bytes);
        load_port(n, UP, true, b, bytes);
    }
}

/* There and back by the same way. */
static void trip(struct naive *n, uint32_t from, uint32_t to)
{
    send(n, from, to, n->there);
    send(n, to, from, n->back);
}

/* ---- forms ---- */

static bool form_is(const struct naive *n, const char *name)
{
    const char *form = n->c->exchange;

    if (form == NULL)
        form = n->c->nodes > 1 && n->c->nvlink ? "forward" : "flat";
    return strcmp(form, name) == 0;
}

/* One row to `count` experts on `to`; how many rows its form sends to other GPUs. */
static uint32_t send_row(struct naive *n, uint32_t from, const uint32_t *to,
                         uint32_t count)
{
    uint32_t gpus = n->c->gpus, sent = 0;
    bool forwards = form_is(n, "forward") || form_is(n, "normal");

    for (uint32_t i = 0; i < count; i++) {
        bool known = false, visited = to[i] / gpus == from / gpus;

        for (uint32_t j = 0; j < i; j++) {
            known = known || to[j] == to[i];
            visited = visited || to[j] / gpus == to[i] / gpus;
        }
        if (forwards) {
            uint32_t relay = to[i] / gpus * gpus + from % gpus;

            if (!visited)
                trip(n, from, relay);
            if (known)
                continue;
            trip(n, relay, to[i]);
        } else if (form_is(n, "rails")) {
            uint32_t rail = from / gpus * gpus + to[i] % gpus;

            trip(n, from, rail);
            trip(n, rail, to[i]);
        } else {
            trip(n, from, to[i]);
        }
        sent += to[i] != from;
    }
    return sent;
}

/* Ring all-gather (reduce-scatter: the other way round in what is left out) of GPUs
 * [first, first + count), each with its bytes. */
static void ring(struct naive *n, uint32_t first, uint32_t count, const uint64_t *bytes,
                 bool scatter)
{
    uint32_t gpus = n->c->gpus;
    uint32_t rings = count > gpus && gpus > 1 ? gpus : 1;

    for (uint32_t q = 0; q < rings; q++) {
        uint32_t at[64];
        uint64_t total = 0, part[64];

        for (uint32_t i = 0; i < count; i++) {
            at[i] = rings == 1 ? first + i : i / gpus * gpus + (i % gpus + q) % gpus;
            part[i] =
                bytes[at[i] - first] / rings + (q < bytes[at[i] - first] % rings ? 1 : 0);
            total += part[i];
        }
        for (uint32_t i = 0; i < count; i++) {
            uint32_t next = (i + 1) % count;

            send(n, at[i], at[next], total - part[scatter ? i : next]);
        }
    }
}

/* ---- replicas ---- */

static int distance(const struct naive *n, uint32_t a, uint32_t b)
{
    return a == b ? 0 : a / n->c->gpus == b / n->c->gpus ? 1 : 2;
}

static uint32_t slot_for(struct naive *n, uint32_t layer, uint32_t expert, uint32_t from)
{
    const uint16_t *held = n->place->expert + (size_t)layer * n->slots;
    uint32_t slot[256], count = 0, left = 0;
    uint32_t turn = n->turn[layer * n->c->experts + expert];
    int least = 2;

    for (uint32_t s = 0; s < n->slots; s++)
        if (held[s] == expert)
            slot[count++] = s;
    assert_true(count > 0);
    if (count == 1)
        return slot[0];
    n->turn[layer * n->c->experts + expert]++;
    if (n->c->replica != NULL && strcmp(n->c->replica, "random") == 0) {
        uint64_t seed = n->c->seed & 0xffff;
        uint64_t key = rng_mix(seed ^ rng_mix((((uint64_t)layer << 32) + expert) + 1));

        return slot[(rng_mix(key + turn) >> 32) * count >> 32];
    }
    if (n->c->replica == NULL || strcmp(n->c->replica, "nearest") != 0)
        return slot[turn % count];
    for (uint32_t i = 0; i < count; i++)
        if (distance(n, slot[i] / n->local, from) < least)
            least = distance(n, slot[i] / n->local, from);
    for (uint32_t i = 0; i < count; i++)
        if (distance(n, slot[i] / n->local, from) == least)
            slot[left++] = slot[i];
    return slot[turn % left];
}

/* ---- gates ---- */

static uint32_t capacity_of(const struct naive *n, uint32_t rows)
{
    const struct crew_case *c = n->c;
    double share;

    if (strcmp(c->gate, "capacity-fraction") == 0)
        return (uint32_t)ceil(c->cf * rows);
    share = ceil(c->cf * rows * c->top_k / c->experts);
    return share > c->min_capacity ? (uint32_t)share : c->min_capacity;
}

/* Drops what finds no slot; how many. */
static uint32_t drop(const struct naive *n, uint16_t choice[][MOST], uint32_t rows)
{
    uint32_t dropped = 0;

    for (uint32_t e = 0; e < n->c->experts; e++) {
        uint32_t taken = 0;

        for (uint32_t k = 0; k < n->c->top_k; k++)
            for (uint32_t i = 0; i < rows; i++)
                if (choice[i][k] == e && taken++ >= capacity_of(n, rows)) {
                    choice[i][k] = UINT16_MAX;
                    dropped++;
                }
    }
    return dropped;
}

/* ---- one layer ---- */

struct layer_count {
    uint32_t layer;
    uint64_t *gpu_rows; /* [gpus] */
    struct run_counts c;
};

static void count_choices(struct naive *n, struct layer_count *x, uint32_t rank,
                          uint16_t choice[][MOST], uint32_t rows)
{
    for (uint32_t i = 0; i < rows; i++) {
        uint32_t to[MOST], count = 0;

        for (uint32_t k = 0; k < n->c->top_k; k++) {
            uint32_t expert = choice[i][k];

            if (expert == UINT16_MAX)
                continue;
            x->c.activations++;
            n->seen[(n->passes * n->c->layers + x->layer) * n->c->experts + expert]++;
            if (n->shards) {
                for (uint32_t g = 0; g < n->gpus; g++)
                    x->gpu_rows[g]++;
                continue;
            }
            to[count++] = slot_for(n, x->layer, expert, rank) / n->local;
            if (n->c->gate == NULL)
                x->gpu_rows[to[count - 1]]++;
        }
        if (!n->shards && n->c->gate == NULL)
            x->c.sent_rows += send_row(n, rank, to, count);
    }
}

/* Every slot that holds an expert gets a rank's capacity. */
static void count_padding(struct naive *n, struct layer_count *x, uint32_t rank,
                          uint32_t rows)
{
    const uint16_t *held = n->place->expert + (size_t)x->layer * n->slots;

    for (uint32_t s = 0; s < n->slots; s++) {
        uint32_t to = s / n->local;

        for (uint32_t i = 0; held[s] != PLACE_EMPTY && i < capacity_of(n, rows); i++) {
            x->gpu_rows[to]++;
            x->c.sent_rows += send_row(n, rank, &to, 1);
        }
    }
}

static void count_rank(struct naive *n, struct layer_count *x, uint32_t rank)
{
    const struct crew_case *c = n->c;
    uint16_t(*choice)[MOST] = mem_alloc(n->pass->rows, sizeof *choice);
    uint32_t rows = 0;

    for (uint32_t o = 0; o < n->pass->rows; o++) {
        uint32_t i = n->order[o];

        if (n->rank[i] != rank)
            continue;
        memcpy(choice[rows++],
               n->pass->expert + (i * c->layers + x->layer) * c->candidates,
               c->top_k * sizeof(uint16_t));
    }
    if (c->gate != NULL) {
        x->c.dropped += drop(n, choice, rows);
        count_padding(n, x, rank, rows);
    }
    count_choices(n, x, rank, choice, rows);
    free(choice);
}

static void count_shards(struct naive *n, struct layer_count *x, const uint64_t *own)
{
    uint64_t counts[64];

    for (uint32_t g = 0; g < n->gpus; g++)
        counts[g] = n->c->experts * UINT64_C(4);
    if (n->gpus == 1)
        return;
    ring(n, 0, n->gpus, counts, false);
    ring(n, 0, n->gpus, own, false);
    ring(n, 0, n->gpus, own, true);
    x->c.sent_rows = (uint64_t)n->pass->rows * (n->gpus - 1);
    x->c.sent_bytes = 2 * x->c.sent_rows * n->back + (n->gpus - 1) * n->gpus * counts[0];
}

static void count_layer(struct naive *n, uint32_t layer, const uint64_t *own)
{
    struct layer_count x = {.layer = layer};
    struct run_counts *sum = &n->out->layer[layer];

    x.gpu_rows = mem_zalloc(n->gpus, sizeof *x.gpu_rows);
    for (uint32_t rank = 0; rank < n->gpus; rank++)
        count_rank(n, &x, rank);
    x.c.sent_bytes = x.c.sent_rows * (n->there + n->back);
    if (n->shards)
        count_shards(n, &x, own);
    for (uint32_t a = 0; n->exchanges && a < n->gpus; a++)
        for (uint32_t b = 0; b < n->gpus; b++)
            send(n, a, b, n->local * UINT64_C(4));
    for (uint32_t g = 0; g < n->gpus; g++) {
        n->out->gpu_rows[g] += x.gpu_rows[g];
        x.c.computed_rows += x.gpu_rows[g];
        if (x.gpu_rows[g] > x.c.busiest_rows)
            x.c.busiest_rows = x.gpu_rows[g];
    }
    free(x.gpu_rows);
    sum->activations += x.c.activations;
    sum->dropped += x.c.dropped;
    sum->computed_rows += x.c.computed_rows;
    sum->busiest_rows += x.c.busiest_rows;
    sum->sent_rows += x.c.sent_rows;
    sum->sent_bytes += x.c.sent_bytes;
}

/* ---- one pass ---- */

/* Whose each row is: of the attention group of its source, whose rows are dealt to its
 * GPUs in equal runs. */
static void deal_rows(struct naive *n)
{
    uint32_t tensor = n->c->tensor == 0 ? 1 : n->c->tensor, at = 0;

    for (uint32_t group = 0; group < n->gpus / tensor; group++) {
        uint32_t first = at, rows;

        for (uint32_t i = 0; i < n->pass->rows; i++) {
            const struct view_row *row = &n->pass->row[i];
            uint32_t of = row->source == UINT16_MAX ? row->request : row->source;

            if (of % (n->gpus / tensor) == group)
                n->order[at++] = i;
        }
        rows = at - first;
        for (uint32_t g = 0; g < tensor; g++)
            for (uint32_t o = rows * g / tensor; o < rows * (g + 1) / tensor; o++)
                n->rank[n->order[first + o]] = group * tensor + g;
    }
    assert_int_equal(at, n->pass->rows);
}

/* All-gather before, reduce-scatter after attention, and after an FFN beside it. */
static void count_tensor(struct naive *n, const uint64_t *own, bool ffn)
{
    uint32_t tensor = n->c->tensor;

    for (uint32_t first = 0; tensor > 0 && first < n->gpus; first += tensor)
        for (int times = 0; times < (ffn ? 2 : 1); times++) {
            ring(n, first, tensor, own + first, false);
            ring(n, first, tensor, own + first, true);
        }
}

static void count_pass(struct naive *n)
{
    const struct crew_case *c = n->c;
    uint64_t own[64] = {0};

    deal_rows(n);
    for (uint32_t i = 0; i < n->pass->rows; i++)
        own[n->rank[i]] += n->back;
    for (uint32_t l = 0; l < c->dense_layers; l++)
        count_tensor(n, own, true);
    for (uint32_t l = 0; l < c->layers; l++) {
        count_tensor(n, own, c->shared_ffn > 0);
        count_layer(n, l, own);
    }
    for (uint32_t first = 0; c->tensor > 0 && first < n->gpus; first += c->tensor)
        ring(n, first, c->tensor, own + first, false);
}

/* ---- placement ---- */

static struct place *place_for(const struct naive *n, const double *load,
                               const uint32_t *history, uint32_t samples)
{
    const struct crew_case *c = n->c;
    char *options = mem_format("{%s}", *c->place_more == '\0' ? "" : c->place_more + 2);
    struct place_problem p = {.layers = c->layers,
                              .experts = c->experts,
                              .gpus = n->gpus,
                              .nodes = c->nodes,
                              .groups = 1,
                              .slots = n->shards ? n->gpus * c->experts : n->slots,
                              .load = load,
                              .samples = samples,
                              .history = history,
                              .seed = c->seed & 0xffff};
    struct place *place = place_by(c->place, options, &p);

    free(options);
    return place;
}

/* By the whole trace, or evenly where it will be rebalanced. */
static void place_first(struct naive *n)
{
    const struct crew_case *c = n->c;
    size_t rows = (size_t)c->requests * c->rows;
    double *load = mem_zalloc((size_t)c->layers * c->experts, sizeof *load);

    for (uint32_t i = 0; c->interval > 0 && i < c->layers * c->experts; i++)
        load[i] = 1;
    for (size_t cell = 0; c->interval == 0 && cell < rows * c->layers; cell++)
        for (uint32_t k = 0; k < c->top_k; k++)
            if (n->lab->expert[cell * c->candidates + k] != TRACE_NOT_RECORDED)
                load[cell % c->layers * c->experts +
                     n->lab->expert[cell * c->candidates + k]]++;
    n->place = place_for(n, load, NULL, 0);
    free(load);
}

static void rebalance(struct naive *n)
{
    const struct crew_case *c = n->c;
    uint32_t cells = c->layers * c->experts;
    uint64_t window = c->window == 0 ? 1000 : c->window;
    uint64_t from = n->passes > window ? n->passes - window : 0;
    double *load = mem_zalloc(cells, sizeof *load);
    uint64_t *bytes = mem_alloc(c->layers, sizeof *bytes);
    struct place_migration m;
    struct place *to;

    for (size_t i = 0; c->foresee && i < (size_t)n->pass->rows * c->layers; i++)
        for (uint32_t k = 0; k < c->top_k; k++) {
            uint16_t expert = n->pass->expert[i * c->candidates + k];

            if (expert != TRACE_NOT_RECORDED)
                load[i % c->layers * c->experts + expert]++;
        }
    for (uint64_t p = from; !c->foresee && p < n->passes; p++)
        for (uint32_t i = 0; i < cells; i++)
            load[i] += (double)n->seen[p * cells + i];
    for (uint32_t l = 0; l < c->layers; l++)
        bytes[l] =
            c->expert_bytes > 0 ? c->expert_bytes : UINT64_C(3) * c->hidden * 2880 * 2;
    to = place_for(n, load, NULL, 0);
    if (!c->renumbers)
        place_keep(n->place, to);
    place_migration_init(&m, n->place, to, bytes);
    for (size_t i = 0; i < m.copies; i++) {
        struct run_counts *layer = &n->out->layer[m.copy[i].layer];

        send(n, m.copy[i].from, m.copy[i].to, bytes[m.copy[i].layer]);
        layer->migrations += i == 0 || m.copy[i - 1].layer != m.copy[i].layer;
        layer->migrated_bytes += bytes[m.copy[i].layer];
    }
    n->out->migrations += m.copies > 0;
    n->out->migrated_bytes += m.bytes;
    place_migration_release(&m);
    place_free(n->place);
    n->place = to;
    free(load);
    free(bytes);
    n->next = n->passes + c->interval;
}

/* ---- all ---- */

static struct workload_params workload_of(const struct crew_case *c,
                                          struct cfg **document)
{
    struct workload_params p = {0};
    struct err e = {.text = ""};

    *document = cfg_parse("workload", c->workload, strlen(c->workload), &e);
    if (*document == NULL || cfg_bind(cfg_root(*document), workload_options, &p, &e) != 0)
        fail_msg("%s", e.text);
    return p;
}

static void count_passes(struct naive *n, struct workload *w)
{
    uint32_t cells = n->c->layers * n->c->experts;
    struct err e = {.text = ""};
    int more;

    while ((more = workload_next(w, 0, &n->pass, &e)) == 1) {
        if (n->c->interval > 0 && n->passes == n->next)
            rebalance(n);
        n->rank = mem_resize(n->rank, n->pass->rows, sizeof *n->rank);
        n->order = mem_resize(n->order, n->pass->rows, sizeof *n->order);
        n->seen = mem_resize(n->seen, (n->passes + 1) * cells, sizeof *n->seen);
        memset(n->seen + n->passes * cells, 0, cells * sizeof *n->seen);
        count_pass(n);
        n->passes++;
    }
    if (more < 0)
        fail_msg("%s", e.text);
}

static void count_trace(struct naive *n)
{
    const struct crew_case *c = n->c;
    struct err e = {.text = ""};
    struct cfg *document;
    struct workload_params p = workload_of(c, &document);
    struct trace *t = trace_open(n->lab->trace_path, NULL, &e);
    struct model *m = model_load(n->lab->model_path, "models/arch", &e);
    struct workload *w = NULL;

    if (t != NULL && m != NULL)
        w = workload_new(t, m, &p, false, false, c->seed & 0xffff, &e);
    if (w == NULL)
        fail_msg("%s", e.text);
    count_passes(n, w);
    workload_free(w);
    model_free(m);
    trace_close(t);
    cfg_free(document);
}

static struct naive naive_of(const struct crew_lab *lab)
{
    const struct crew_case *c = &lab->c;
    struct naive n = {.lab = lab, .c = c, .gpus = c->nodes * c->gpus};

    n.slots = c->slots > 0 ? c->slots : (c->experts + n.gpus - 1) / n.gpus * n.gpus;
    n.local = n.slots / n.gpus;
    n.shards = strcmp(c->place, "moeshard") == 0;
    place_first(&n);
    return n;
}

struct place *crew_place_naively(const struct crew_lab *lab)
{
    return naive_of(lab).place;
}

struct crew_count crew_count_naively(const struct crew_lab *lab)
{
    const struct crew_case *c = &lab->c;
    struct crew_count out = {.layers = c->layers, .gpus = c->nodes * c->gpus};
    struct naive n = naive_of(lab);

    for (int k = 0; k < KINDS; k++)
        out.links += 2 * ports_of(c, (enum kind)k);
    out.layer = mem_zalloc(c->layers, sizeof *out.layer);
    out.gpu_rows = mem_zalloc(out.gpus, sizeof *out.gpu_rows);
    out.link_bytes = mem_zalloc(out.links, sizeof *out.link_bytes);
    n.out = &out;
    /* Hosts that look for missing experts need the counts in any form. */
    n.exchanges = c->gate == NULL && !n.shards &&
                  (c->policy_more != NULL ||
                   (!form_is(&n, "normal") && !form_is(&n, "low-latency")));
    n.back = UINT64_C(2) * c->hidden;
    n.there = c->fp8 ? c->hidden + c->hidden / 128 * 4 : n.back;
    n.turn = mem_zalloc((size_t)c->layers * c->experts, sizeof *n.turn);
    n.next = c->first > 0 ? c->first : c->interval;
    count_trace(&n);
    place_free(n.place);
    free(n.turn);
    free(n.seen);
    free(n.rank);
    free(n.order);
    return out;
}

void crew_count_release(struct crew_count *x)
{
    free(x->layer);
    free(x->gpu_rows);
    free(x->link_bytes);
}
