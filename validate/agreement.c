#include "agreement.h"

#include "sim/base/mem.h"
#include "sim/base/percentile.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void agreement_ops_add(struct agreement_ops *o, const struct agreement_op *op)
{
    if (o->count == o->room) {
        o->room = o->room * 2 + 1024;
        o->op = mem_resize(o->op, o->room, sizeof *o->op);
    }
    o->op[o->count++] = *op;
}

void agreement_ops_release(struct agreement_ops *o)
{
    free(o->op);
    *o = (struct agreement_ops){.op = NULL};
}

/* ---- aligning ---- */

/* An operation of one side: 0 predicted, 1 + i the i-th repeat. */
struct item {
    struct agreement_row key; /* but for number and seconds */
    uint32_t side;
    op_id id;
    double seconds; /* NaN: cancelled */
};

static int by_id(const void *a, const void *b)
{
    const struct agreement_op *x = a, *y = b;

    return (x->id > y->id) - (x->id < y->id);
}

static int order(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

static int compare_keys(const struct item *x, const struct item *y)
{
    int o = order(x->key.pass, y->key.pass);

    if (o == 0)
        o = order(x->key.kind, y->key.kind);
    if (o == 0)
        o = order(x->key.layer, y->key.layer);
    return o != 0 ? o : order(x->key.expert, y->key.expert);
}

static int compare_items(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    int o = compare_keys(x, y);

    if (o == 0)
        o = order(x->side, y->side);
    return o != 0 ? o : order(x->id, y->id);
}

/* Decoder layer of an operation. The host waits for a gate, or for the head. */
static uint32_t layer_of(const struct agreement_input *in, const struct agreement_op *op,
                         op_id head)
{
    if (op->kind == OP_HEAD || (op->kind == OP_HOST && op->id == head))
        return in->decoder_layers;
    if (op->kind == OP_DENSE)
        return op->layer;
    assert(op->layer < in->moe_layers);
    return in->moe_layer[op->layer];
}

/* Appends a side's operations to items[], with the passes they belong to. */
static size_t add_side(const struct agreement_input *in, const struct agreement_ops *ops,
                       uint32_t side, struct item *items)
{
    struct agreement_op *op = mem_alloc(ops->count, sizeof *op);
    op_id *head = mem_alloc(in->passes + 1, sizeof *head);
    size_t heads = 0, pass = 0;

    if (ops->count > 0)
        memcpy(op, ops->op, ops->count * sizeof *op);
    qsort(op, ops->count, sizeof *op, by_id);
    for (size_t i = 0; i < ops->count; i++)
        if (op[i].kind == OP_HEAD && heads < in->passes)
            head[heads++] = op[i].id;
    head[heads] = UINT64_MAX; /* prefetches behind the last pass */
    for (size_t i = 0; i < ops->count; i++) {
        const struct op_times *t = &op[i].times;

        while (op[i].id > head[pass])
            pass++;
        items[i] = (struct item){.key = {.pass = pass,
                                         .kind = op[i].kind,
                                         .lane = op[i].lane,
                                         .layer = layer_of(in, &op[i], head[pass]),
                                         .expert = op[i].expert},
                                 .side = side,
                                 .id = op[i].id,
                                 .seconds = t->cancelled || (side > 0 && in->emulated)
                                                ? NAN
                                                : sim_time_seconds(t->end - t->start)};
    }
    free(head);
    free(op);
    return ops->count;
}

static double median_of(double *value, size_t count)
{
    percentile_sort(value, count);
    return percentile_of_sorted(value, count, 0.5);
}

static void add_row(struct agreement *a, const struct item *of, uint32_t number,
                    double predicted, double *measured, size_t repeats)
{
    struct agreement_row *row = &a->row[a->rows++];
    size_t known = 0;

    *row = of->key;
    row->number = number;
    row->predicted_s = predicted;
    for (size_t i = 0; i < repeats; i++)
        if (!isnan(measured[i]))
            measured[known++] = measured[i];
    row->measured_s = median_of(measured, known);
}

/* item[0..count) have one key. Sides that have as many are paired one by one, otherwise
 * by their sums. */
static void add_rows(struct agreement *a, const struct agreement_input *in,
                     const struct item *item, size_t count, double *measured)
{
    size_t sides = 1 + (size_t)in->repeats;
    size_t each = count / sides;
    bool equal = count % sides == 0;

    for (size_t i = 0; equal && i < count; i++)
        equal = item[i].side == i / each;
    for (size_t n = 0; equal && n < each; n++) {
        for (size_t s = 1; s < sides; s++)
            measured[s - 1] = item[s * each + n].seconds;
        add_row(a, &item[0], (uint32_t)n, item[n].seconds, measured, in->repeats);
    }
    if (!equal) {
        double predicted = NAN;

        for (size_t s = 1; s < sides; s++)
            measured[s - 1] = NAN;
        for (size_t i = 0; i < count; i++) {
            double *sum = item[i].side == 0 ? &predicted : &measured[item[i].side - 1];

            *sum = isnan(*sum) ? item[i].seconds : *sum + item[i].seconds;
        }
        add_row(a, &item[0], AGREEMENT_ALL, predicted, measured, in->repeats);
    }
}

static void align(struct agreement *a, const struct agreement_input *in)
{
    size_t all = in->predicted_ops->count, count, end;
    struct item *item;
    double *measured = mem_alloc(in->repeats, sizeof *measured);

    for (uint32_t i = 0; i < in->repeats; i++)
        all += in->measured_ops[i].count;
    item = mem_alloc(all, sizeof *item);
    count = add_side(in, in->predicted_ops, 0, item);
    for (uint32_t i = 0; i < in->repeats; i++)
        count += add_side(in, &in->measured_ops[i], 1 + i, item + count);
    qsort(item, count, sizeof *item, compare_items);
    a->row = mem_alloc(count, sizeof *a->row); /* at most */
    for (size_t i = 0; i < count; i = end) {
        for (end = i + 1; end < count && compare_keys(&item[i], &item[end]) == 0; end++)
            ;
        add_rows(a, in, item + i, end - i, measured);
    }
    free(item);
    free(measured);
}

/* ---- errors ---- */

/* A set of pairs that grows. */
struct pairs {
    double *error;
    size_t count, room;
    struct agreement_error sum;
};

static void add_pair(struct pairs *p, size_t at, double predicted, double measured)
{
    double error;

    if (isnan(predicted) || isnan(measured) || measured <= 0.0)
        return;
    error = fabs(predicted / measured - 1.0);
    if (p->count == p->room) {
        p->room = p->room * 2 + 256;
        p->error = mem_resize(p->error, p->room, sizeof *p->error);
    }
    p->error[p->count++] = error;
    p->sum.predicted_s += predicted;
    p->sum.measured_s += measured;
    if (p->count == 1 || error > p->sum.worst) {
        p->sum.worst = error;
        p->sum.worst_at = at;
    }
}

static struct agreement_error finish_pairs(struct pairs *p)
{
    p->sum.count = p->count;
    p->sum.median = median_of(p->error, p->count);
    if (p->count == 0)
        p->sum.predicted_s = p->sum.measured_s = p->sum.worst = NAN;
    free(p->error);
    return p->sum;
}

static void add_kind(struct pairs *p, const struct agreement *a, enum op_kind kind)
{
    for (size_t i = 0; i < a->rows; i++)
        if (a->row[i].kind == kind && a->row[i].pass >= a->warmup &&
            a->row[i].pass < a->passes)
            add_pair(p, i, a->row[i].predicted_s, a->row[i].measured_s);
}

static void add_passes(struct pairs *p, const struct agreement *a)
{
    for (uint64_t i = a->warmup; i < a->passes; i++)
        add_pair(p, i - a->warmup, a->pass[i].predicted_s, a->pass[i].measured_s);
}

struct agreement_error agreement_over_all(const struct agreement *a, size_t policies,
                                          enum op_kind kind)
{
    struct pairs p = {.count = 0};

    for (size_t i = 0; i < policies; i++) {
        if (kind == OP_KINDS)
            add_passes(&p, &a[i]);
        else
            add_kind(&p, &a[i], kind);
    }
    return finish_pairs(&p);
}

static void find_layers(struct agreement *a)
{
    a->layer_predicted_s = mem_zalloc(a->decoder_layers, sizeof(double));
    a->layer_measured_s = mem_zalloc(a->decoder_layers, sizeof(double));
    for (uint32_t l = 0; a->emulated && l < a->decoder_layers; l++)
        a->layer_measured_s[l] = NAN;
    for (size_t i = 0; i < a->rows; i++) {
        const struct agreement_row *row = &a->row[i];

        if (row->pass < a->warmup || row->pass >= a->passes || row->kind == OP_HOST ||
            row->kind == OP_COPY_OUT || row->layer == a->decoder_layers ||
            isnan(row->predicted_s) || (isnan(row->measured_s) && !a->emulated))
            continue;
        a->layer_predicted_s[row->layer] += row->predicted_s;
        a->layer_measured_s[row->layer] += row->measured_s;
    }
}

/* Of what is emulated nothing is measured. */
static void forget_measured(struct agreement *a)
{
    for (uint64_t i = 0; i < a->passes; i++) {
        struct agreement_pass *p = &a->pass[i];

        p->measured_s = p->least_s = p->most_s = NAN;
    }
    for (int s = 0; s < RUN_SHARES; s++)
        a->measured_share_s[s] = NAN;
    a->spread = NAN;
}

static void find_passes(struct agreement *a, const struct agreement_input *in)
{
    double *value = mem_alloc(in->repeats, sizeof *value);
    double *spread = mem_alloc(in->passes, sizeof *spread);
    double counted = (double)(in->passes - in->warmup);

    a->pass = mem_zalloc(in->passes, sizeof *a->pass);
    for (uint64_t i = 0; i < in->passes; i++) {
        struct agreement_pass *p = &a->pass[i];
        bool counts = i >= in->warmup;

        for (uint32_t r = 0; r < in->repeats; r++)
            value[r] = sim_time_seconds(in->measured[r][i].latency);
        p->predicted_s = sim_time_seconds(in->predicted[i].latency);
        p->measured_s = median_of(value, in->repeats);
        p->least_s = value[0];
        p->most_s = value[in->repeats - 1];
        p->rows = in->predicted[i].rows;
        p->outputs = in->predicted[i].outputs;
        for (int s = 0; counts && s < RUN_SHARES; s++) {
            a->predicted_share_s[s] +=
                sim_time_seconds(in->predicted[i].share[s]) / counted;
            for (uint32_t r = 0; r < in->repeats; r++)
                a->measured_share_s[s] +=
                    sim_time_seconds(in->measured[r][i].share[s]) / counted / in->repeats;
        }
        if (counts)
            spread[i - in->warmup] =
                p->measured_s > 0.0 ? (p->most_s - p->least_s) / p->measured_s : 0.0;
    }
    a->spread = median_of(spread, in->passes - in->warmup);
    if (a->emulated)
        forget_measured(a);
    free(value);
    free(spread);
}

static void add_predicted(struct agreement *a)
{
    a->of_pass.predicted_s = 0.0;
    for (uint64_t i = a->warmup; i < a->passes; i++)
        a->of_pass.predicted_s += a->pass[i].predicted_s;
}

void agreement_find(const struct agreement_input *in, struct agreement *a)
{
    assert(in->repeats > 0 && in->warmup <= in->passes);
    *a = (struct agreement){.label = in->label,
                            .emulated = in->emulated,
                            .passes = in->passes,
                            .warmup = in->warmup,
                            .decoder_layers = in->decoder_layers};
    find_passes(a, in);
    align(a, in);
    for (int k = 0; k < OP_KINDS; k++)
        a->of_kind[k] = agreement_over_all(a, 1, (enum op_kind)k);
    a->of_pass = agreement_over_all(a, 1, OP_KINDS);
    if (a->emulated)
        add_predicted(a);
    find_layers(a);
}

void agreement_release(struct agreement *a)
{
    free(a->pass);
    free(a->row);
    free(a->layer_predicted_s);
    free(a->layer_measured_s);
    *a = (struct agreement){.label = NULL};
}

enum run_share agreement_largest_share(const struct agreement *a, double *difference_s)
{
    int largest = 0;

    *difference_s = 0.0;
    for (int s = 0; s < RUN_SHARES; s++) {
        double d = a->measured_share_s[s] - a->predicted_share_s[s];

        if (fabs(d) > fabs(*difference_s)) {
            *difference_s = d;
            largest = s;
        }
    }
    return (enum run_share)largest;
}

/* ---- the order of policies ---- */

double agreement_tau(const double *predicted, const double *measured, size_t n,
                     double apart, size_t *pairs)
{
    double agree = 0.0, tied = 0.0, all = 0.0;

    for (size_t i = 0; i < n; i++) {
        for (size_t j = i + 1; j < n; j++) {
            double less = fmin(measured[i], measured[j]);
            double d = measured[i] - measured[j];
            double p = predicted[i] - predicted[j];

            if (!(fabs(d) > apart * less))
                continue;
            all += 1.0;
            if (p == 0.0)
                tied += 1.0;
            else
                agree += (p > 0.0) == (d > 0.0) ? 1.0 : -1.0;
        }
    }
    *pairs = (size_t)all;
    if (all == 0.0)
        return NAN;
    return all == tied ? 0.0 : agree / sqrt(all * (all - tied));
}

/* ---- counts ---- */

static int compare_counts(const char *label, const char *where,
                          const struct run_counts *p, const struct run_counts *m,
                          struct err *e)
{
    const struct {
        const char *name;
        uint64_t predicted, measured;
    } field[] = {
        {"activations", p->activations, m->activations},
        {"dropped", p->dropped, m->dropped},
        {"accesses", p->accesses, m->accesses},
        {"hits", p->hits, m->hits},
        {"loads", p->loads, m->loads},
        {"loads that evict", p->swaps, m->swaps},
        {"bypasses", p->bypasses, m->bypasses},
        {"experts run on the host", p->host_runs, m->host_runs},
        {"experts run near the data", p->near_runs, m->near_runs},
        {"prefetches", p->prefetches, m->prefetches},
        {"prefetches used", p->prefetch_used, m->prefetch_used},
        {"experts loaded again after a prefetch", p->displaced, m->displaced},
        {"bytes on demand", p->demand_bytes, m->demand_bytes},
        {"bytes ahead of use", p->prefetch_bytes, m->prefetch_bytes},
        {"bytes in vain", p->wasted_bytes, m->wasted_bytes},
        {"bytes written back", p->out_bytes, m->out_bytes},
    };

    for (size_t i = 0; i < sizeof field / sizeof *field; i++)
        if (field[i].predicted != field[i].measured)
            return err_set(e,
                           "policy '%s': %" PRIu64 " %s%s were predicted, but %" PRIu64
                           " counted in the executed run; please report this",
                           label, field[i].predicted, field[i].name, where,
                           field[i].measured);
    return 0;
}

int agreement_compare_counts(const char *label, const struct run_result *predicted,
                             const struct run_result *measured, struct err *e)
{
    if (predicted->passes != measured->passes || predicted->layers != measured->layers)
        return err_set(e,
                       "policy '%s': %" PRIu64 " passes were predicted, but %" PRIu64
                       " executed; please report this",
                       label, predicted->passes, measured->passes);
    for (uint32_t l = 0; l < predicted->layers; l++) {
        char where[32];

        (void)snprintf(where, sizeof where, " in MoE layer %" PRIu32, l);
        if (compare_counts(label, where, &predicted->layer[l].counts,
                           &measured->layer[l].counts, e) != 0)
            return -1;
    }
    return compare_counts(label, "", &predicted->total.counts, &measured->total.counts,
                          e);
}

int agreement_compare_results(const struct result *predicted,
                              const struct result *measured, const struct tally *asked,
                              const struct tally *done, struct err *e)
{
    assert(predicted->policies == measured->policies);
    for (uint32_t i = 0; i < predicted->policies; i++) {
        const struct result_policy *p = &predicted->policy[i];

        if (agreement_compare_counts(p->label, &p->run, &measured->policy[i].run, e) !=
                0 ||
            tally_compare(p->label, &asked[i], &done[i], e) != 0)
            return -1;
    }
    return 0;
}

struct agreement_counts agreement_sum_counts(const struct result *r)
{
    struct agreement_counts sum = {.accesses = 0};

    for (uint32_t i = 0; i < r->policies; i++) {
        const struct run_counts *c = &r->policy[i].run.total.counts;

        sum.accesses += c->accesses;
        sum.hits += c->hits;
        sum.loads += c->loads;
        sum.bypasses += c->bypasses;
        sum.host_runs += c->host_runs;
        sum.near_runs += c->near_runs;
        sum.prefetches += c->prefetches;
        sum.in_bytes += c->demand_bytes + c->prefetch_bytes;
        sum.out_bytes += c->out_bytes;
    }
    return sum;
}
