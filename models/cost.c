#include "cost.h"

#include <assert.h>

/* Times are summed in seconds, in a fixed order, and rounded to sim_time once. */

struct rates {
    double floor_s;     /* of one kernel */
    double flops_per_s; /* peak */
    double bytes_per_s; /* reached */
    double value_bytes; /* of one activation */
    double dense_bytes; /* of one dense weight */
};

static struct rates rates_of(const struct cost *c)
{
    const struct machine *k = c->machine;
    const struct model *m = c->model;
    sim_time floor = k->gpu.kernel_floor;
    struct rates r;

    if (c->graph && floor < k->host.launch_graph)
        floor = k->host.launch_graph;
    r.floor_s = sim_time_seconds(floor);
    r.flops_per_s = m->activation_bits > 16.0 ? k->gpu.fp32_flops : k->gpu.bf16_flops;
    r.bytes_per_s = k->gpu.hbm_bytes_per_s * k->gpu.memory_efficiency;
    r.value_bytes = m->activation_bits / 8.0;
    r.dense_bytes = m->dense_bits / 8.0;
    return r;
}

/* Computing and reading at once: the longer, and what it does not hide of the shorter. */
static double together(const struct machine_rows *k, double flops_s, double bytes_s)
{
    double longer = flops_s > bytes_s ? flops_s : bytes_s;
    double shorter = flops_s > bytes_s ? bytes_s : flops_s;

    return longer + k->exposed * shorter;
}

/* As many rows as computing `products` products of matrices with `rows` rows together
 * takes the time of. */
static double computed_rows(const struct machine_rows *k, double rows, double products)
{
    double filled = rows + products * k->fill;
    double few =
        rows > products ? (rows - products) * k->few : 0.0; /* rows may be none */

    return k->few > 0.0 && few < filled ? few : filled;
}

/* y[rows][out] = x[rows][in] w[in][out] with so many bytes per weight. */
static double product_s(const struct cost *c, const struct rates *r, double rows,
                        double in, double out, double weight_bytes)
{
    const struct machine_rows *k = &c->machine->gpu.rows;
    double flops = 2.0 * computed_rows(k, rows, 1.0) * in * out;
    double bytes = in * out * weight_bytes + rows * (in + out) * r->value_bytes;

    return r->floor_s +
           together(k, flops / (r->flops_per_s * c->machine->gpu.gemm_efficiency),
                    bytes / r->bytes_per_s);
}

static double gemm_s(const struct cost *c, const struct rates *r, double rows, double in,
                     double out)
{
    return product_s(c, r, rows, in, out, r->dense_bytes);
}

/* A kernel that only moves `values` activations (reads and writes both counted). */
static double move_s(const struct cost *c, const struct rates *r, double values)
{
    return r->floor_s +
           values * r->value_bytes /
               (c->machine->gpu.hbm_bytes_per_s * c->machine->gpu.move_efficiency);
}

/* gate and up (or in), activation, down (or out). */
static double ffn_s(const struct cost *c, const struct rates *r, double rows,
                    double inner)
{
    double in = c->model->hidden;
    double wide = (c->model->matrices - 1) * inner;

    return gemm_s(c, r, rows, in, wide) + move_s(c, r, rows * (wide + inner)) +
           gemm_s(c, r, rows, inner, in);
}

/* The attention kernel: `row_values` of query and output move, and then either reading
 * the cache or computing on each pair takes longer. */
static double attend_s(const struct cost *c, const struct rates *r, double row_values,
                       double cache_bytes, double flops)
{
    const struct machine_gpu *g = &c->machine->gpu;

    return sim_time_seconds(g->attention_floor) + move_s(c, r, row_values) +
           together(&g->rows, flops / (r->flops_per_s * g->attention_efficiency),
                    cache_bytes / r->bytes_per_s);
}

static double grouped_attend_s(const struct cost *c, const struct rates *r, double rows,
                               double kv_tokens, double pairs)
{
    double inner = (double)c->model->heads * c->model->head_dim;

    return attend_s(c, r, 2.0 * rows * inner, kv_tokens * model_kv_bytes(c->model),
                    4.0 * inner * pairs);
}

/* Of latent attention, the up-projections being absorbed into query and output. */
static double absorbed_attend_s(const struct cost *c, const struct rates *r, double rows,
                                double kv_tokens, double pairs)
{
    const struct model *m = c->model;
    double heads = m->heads;
    double latent = (double)m->kv_rank + m->rope_dim;

    return attend_s(c, r, rows * heads * (latent + m->kv_rank),
                    kv_tokens * model_kv_bytes(m),
                    2.0 * heads * (latent + m->kv_rank) * pairs);
}

/* QKV projection, rotation and cache write, attention, output projection. */
static double grouped_query_s(const struct cost *c, const struct rates *r, double rows,
                              double kv_tokens, double pairs)
{
    const struct model *m = c->model;
    double inner = (double)m->heads * m->head_dim;
    double kv = 2.0 * m->kv_heads * m->head_dim;

    return gemm_s(c, r, rows, m->hidden, inner + kv) +
           move_s(c, r, 2.0 * rows * (inner + kv)) +
           grouped_attend_s(c, r, rows, kv_tokens, pairs) +
           gemm_s(c, r, rows, inner, m->hidden);
}

/* Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1): either heads
 * attend to the compressed cache, the up-projections absorbed into query and output
 * (right for decode), or keys and values are expanded for the whole context first (right
 * for prefill). Engines take the cheaper one; so does this. */
static double latent_s(const struct cost *c, const struct rates *r, double rows,
                       double kv_tokens, double pairs)
{
    const struct model *m = c->model;
    double heads = m->heads;
    double inner = heads * m->head_dim;
    double query = heads * ((double)m->head_dim + m->rope_dim);
    double latent = (double)m->kv_rank + m->rope_dim;
    double narrow = m->q_rank > 0 ? m->q_rank + latent : latent;
    double t = gemm_s(c, r, rows, m->hidden, m->q_rank > 0 ? narrow : narrow + query) +
               move_s(c, r, 2.0 * rows * (narrow + query));
    double absorbed = gemm_s(c, r, rows, m->kv_rank, 2.0 * inner) +
                      absorbed_attend_s(c, r, rows, kv_tokens, pairs);
    double expanded = gemm_s(c, r, kv_tokens, m->kv_rank, 2.0 * inner) +
                      attend_s(c, r, rows * (query + inner),
                               kv_tokens * (query + inner) * r->value_bytes,
                               2.0 * (query + inner) * pairs);

    if (m->q_rank > 0)
        t += gemm_s(c, r, rows, m->q_rank, query);
    return t + (absorbed < expanded ? absorbed : expanded) +
           gemm_s(c, r, rows, inner, m->hidden);
}

/* A decoder's attention to its encoder's output. The query's projection needs no
 * rotation, keys and values are those of the first decode. Apart, lest it slow down what
 * other models ask. */
__attribute__((noinline)) static double
cross_s(const struct cost *c, const struct rates *r, const struct cost_batch *b)
{
    const struct model *m = c->model;
    double rows = b->tokens, fresh = (double)b->cross_new;
    double inner = (double)m->heads * m->head_dim;
    double kv = 2.0 * m->kv_heads * m->head_dim;
    double t =
        gemm_s(c, r, rows, m->hidden, inner) +
        attend_s(c, r, 2.0 * rows * inner, (double)b->cross_tokens * model_kv_bytes(m),
                 4.0 * inner * (double)b->cross_pairs) +
        gemm_s(c, r, rows, inner, m->hidden) + move_s(c, r, 3.0 * rows * m->hidden);

    return fresh > 0 ? t + gemm_s(c, r, fresh, m->hidden, kv) : t;
}

sim_time cost_dense(const struct cost *c, uint32_t layer, const struct cost_batch *b)
{
    const struct model *m = c->model;
    struct rates r = rates_of(c);
    bool windowed = model_layer_windowed(m, layer);
    double rows = b->tokens;
    double kv_tokens = (double)(windowed ? b->window_kv_tokens : b->kv_tokens);
    double pairs = (double)(windowed ? b->window_pairs : b->pairs);
    double attention = move_s(c, &r, 2.0 * rows * m->hidden) +
                       (m->attention == MODEL_ATTENTION_MLA
                            ? latent_s(c, &r, rows, kv_tokens, pairs)
                            : grouped_query_s(c, &r, rows, kv_tokens, pairs));
    uint32_t inner = model_layer_is_moe(m, layer) ? m->shared_ffn : m->dense_ffn;
    double t = attention + move_s(c, &r, 3.0 * rows * m->hidden);

    if (model_layer_crosses(m, layer))
        t += cross_s(c, &r, b);
    if (inner > 0)
        t += ffn_s(c, &r, rows, inner);
    return sim_time_of_seconds(t);
}

sim_time cost_gate(const struct cost *c, uint32_t tokens)
{
    struct rates r = rates_of(c);
    double rows = tokens;
    double experts = c->model->experts;

    return sim_time_of_seconds(gemm_s(c, &r, rows, c->model->hidden, experts) +
                               move_s(c, &r, rows * (experts + 2.0 * c->model->top_k)));
}

/* The same of a group of experts. Groups choose for all of their experts at once, so that
 * parts of one, which choose for themselves, may take less. The least is that of one
 * expert with all rows but the others' first ones, which are free where few are taken one
 * by one: of a concave function's sum the most uneven division is the least. */
static double computed_expert_rows(const struct cost *c, double rows, double experts)
{
    const struct machine_rows *k = &c->machine->gpu.rows;

    if (c->least && k->few > 0.0)
        return computed_rows(k, rows - experts + 1.0, 1.0);
    return computed_rows(k, rows, experts);
}

/* The products of experts, without floors: into the inner size and out of it. */
static double expert_products_s(const struct cost *c, const struct rates *r,
                                const struct cost_experts *x)
{
    const struct machine_gpu *g = &c->machine->gpu;
    double hidden = c->model->hidden;
    double inner = c->model->expert_ffn;
    double wide = (c->model->matrices - 1) * inner;
    double rows = (double)x->rows;
    double computed = computed_expert_rows(c, (double)x->padded_rows, x->distinct);
    double read = x->distinct - (double)x->spared;
    double weight_bytes = read * c->model->expert_bits / 8.0;
    double flops_per_s = r->flops_per_s * g->expert_gemm_efficiency;
    double in_s = together(
        &g->rows, 2.0 * computed * hidden * wide / flops_per_s,
        (weight_bytes * hidden * wide + rows * (hidden + wide) * r->value_bytes) /
            r->bytes_per_s);
    double out_s = together(
        &g->rows, 2.0 * computed * inner * hidden / flops_per_s,
        (weight_bytes * hidden * inner + rows * (hidden + inner) * r->value_bytes) /
            r->bytes_per_s);

    return in_s + out_s;
}

/* The activation between the products. */
static double activate_s(const struct cost *c, const struct rates *r, double rows)
{
    return move_s(c, r, rows * c->model->matrices * c->model->expert_ffn);
}

/* Two index kernels, and the weighted sum of each row's top_k. The permutation orders
 * indices only: the GEMM gathers rows as it reads. */
static double permute_s(const struct cost *c, const struct rates *r, double rows)
{
    double hidden = c->model->hidden;

    return r->floor_s + move_s(c, r, rows) +
           move_s(c, r, rows * hidden + rows / c->model->top_k * hidden);
}

sim_time cost_expert_group(const struct cost *c, const struct cost_experts *x)
{
    struct rates r = rates_of(c);
    double passed = (double)(x->rows + x->masked_rows);

    if (x->distinct == 0)
        return 0;
    return sim_time_of_seconds(sim_time_seconds(c->machine->gpu.expert_floor) +
                               2.0 * r.floor_s + expert_products_s(c, &r, x) +
                               activate_s(c, &r, passed) + permute_s(c, &r, passed));
}

static sim_time expert_alone(const struct cost *c, uint32_t rows,
                             const struct machine_tiles *tiles)
{
    struct rates r = rates_of(c);
    struct cost_experts x = {0};

    if (rows == 0)
        return 0;
    cost_experts_add(&x, rows, tiles);
    return sim_time_of_seconds(2.0 * r.floor_s + expert_products_s(c, &r, &x) +
                               activate_s(c, &r, rows));
}

sim_time cost_expert_alone(const struct cost *c, uint32_t rows)
{
    return expert_alone(c, rows, &c->machine->gpu.tiles);
}

sim_time cost_expert_alone_least(const struct cost *c, uint32_t rows)
{
    const struct machine_tiles smallest = {1, {c->machine->gpu.tiles.rows[0]}};

    return expert_alone(c, rows, &smallest);
}

sim_time cost_expert_permute(const struct cost *c, uint64_t rows, uint64_t masked)
{
    struct rates r = rates_of(c);

    return sim_time_of_seconds(permute_s(c, &r, (double)(rows + masked)));
}

/* A kernel that passes over S x E x C elements, so many bytes of each. */
static double mask_s(const struct cost *c, const struct rates *r,
                     const struct cost_dispatch *d, double bytes)
{
    double elements = (double)d->rows * d->experts * d->capacity;

    return move_s(c, r, elements * bytes / r->value_bytes);
}

/* Combine weights and dispatch mask of dense gating. */
static double masks_s(const struct cost *c, const struct rates *r,
                      const struct cost_dispatch *d)
{
    double gate = d->gate_bits > 0 ? d->gate_bits / 8.0 : r->value_bytes;
    double t = mask_s(c, r, d, gate + 1.0) + mask_s(c, r, d, 1.0 + r->value_bytes);

    for (uint32_t j = 0; j < d->top_k; j++)
        t += mask_s(c, r, d, gate);
    if (d->top_k > 1)
        t += mask_s(c, r, d, (d->top_k + 1.0) * gate);
    if (d->gate_bits > 0)
        t += mask_s(c, r, d, gate + r->value_bytes);
    return t;
}

/* The choices that travel. */
static double sent_rows(const struct cost_dispatch *d)
{
    uint64_t choices = (uint64_t)d->rows * d->top_k;

    assert(d->dropped <= choices);
    return (double)(choices - d->dropped);
}

sim_time cost_encode(const struct cost *c, const struct cost_dispatch *d)
{
    struct rates r = rates_of(c);
    double hidden = c->model->hidden;
    double slots = (double)d->experts * d->capacity;
    double t = 0.0;

    assert(!d->dense || d->capacity > 0 || d->rows == 0);
    if (d->rows == 0)
        return 0;
    if (d->dense)
        return sim_time_of_seconds(
            masks_s(c, &r, d) + product_s(c, &r, slots, d->rows, hidden, r.value_bytes));
    if (d->capacity > 0)
        t = move_s(c, &r, slots * hidden);
    return sim_time_of_seconds(t + move_s(c, &r, 2.0 * sent_rows(d) * hidden));
}

sim_time cost_decode(const struct cost *c, const struct cost_dispatch *d)
{
    struct rates r = rates_of(c);
    double hidden = c->model->hidden;
    double slots = (double)d->experts * d->capacity;

    if (d->rows == 0)
        return 0;
    if (d->dense)
        return sim_time_of_seconds(
            product_s(c, &r, d->rows, slots, hidden, r.value_bytes));
    return sim_time_of_seconds(move_s(c, &r, (sent_rows(d) + d->rows) * hidden));
}

sim_time cost_head(const struct cost *c, const struct cost_batch *b)
{
    struct rates r = rates_of(c);
    double hidden = c->model->hidden;
    double vocab =
        b->outputs > 0 ? c->model->vocab : 0; /* without a row no weight is read */

    return sim_time_of_seconds(move_s(c, &r, 2.0 * b->tokens * hidden) +
                               move_s(c, &r, 2.0 * b->outputs * hidden) +
                               gemm_s(c, &r, b->outputs, hidden, vocab));
}

sim_time cost_host_experts(const struct cost *c, const struct cost_experts *x)
{
    const struct model *m = c->model;
    const struct machine_host *h = &c->machine->host;
    double weights = (double)m->matrices * m->hidden * m->expert_ffn;
    double computed = computed_rows(&h->rows, (double)x->rows, x->distinct);
    double flops = 2.0 * weights * computed;
    double bytes = weights * x->distinct * m->expert_bits / 8.0;

    return sim_time_of_seconds(
        together(&h->rows, flops / h->flops, bytes / h->dram_bytes_per_s));
}

sim_time cost_near_expert(const struct cost *c, uint64_t rows)
{
    const struct model *m = c->model;
    const struct machine_near *n = &c->machine->near;
    double weights = (double)m->matrices * m->hidden * m->expert_ffn;
    double computing = 2.0 * weights * (double)rows / n->flops;
    double reading = weights * m->expert_bits / 8.0 / n->bytes_per_s;

    return sim_time_of_seconds(computing > reading ? computing : reading);
}

uint64_t cost_rows_bytes(const struct cost *c, uint64_t rows)
{
    double row_bytes = c->model->hidden * c->model->activation_bits / 8.0;

    return (uint64_t)((double)rows * row_bytes);
}

sim_time cost_host_trip(const struct cost *c, uint64_t rows)
{
    const struct machine *k = c->machine;
    uint64_t bytes = cost_rows_bytes(c, rows);

    return cost_copy(&k->d2h_pinned, bytes) + cost_copy(&k->h2d_pinned, bytes);
}

sim_time cost_gemm(const struct cost *c, uint32_t rows, uint32_t in, uint32_t out)
{
    struct rates r = rates_of(c);

    return sim_time_of_seconds(gemm_s(c, &r, rows, in, out));
}

sim_time cost_attention(const struct cost *c, const struct cost_batch *b)
{
    struct rates r = rates_of(c);

    double rows = b->tokens;
    double kv_tokens = (double)b->kv_tokens;
    double pairs = (double)b->pairs;

    return sim_time_of_seconds(c->model->attention == MODEL_ATTENTION_MLA
                                   ? absorbed_attend_s(c, &r, rows, kv_tokens, pairs)
                                   : grouped_attend_s(c, &r, rows, kv_tokens, pairs));
}

sim_time cost_move(const struct cost *c, uint64_t values)
{
    struct rates r = rates_of(c);

    return sim_time_of_seconds(move_s(c, &r, (double)values));
}

uint32_t cost_kernels(const struct cost *c, enum cost_part part)
{
    const struct model *m = c->model;

    switch (part) {
    case COST_DENSE:
        /* Norm, QKV, rotation, attention, output, residual and norm; the latent form has
         * an up-projection more, and one more for the query; the FFN has three. */
        return 6U + (m->attention == MODEL_ATTENTION_MLA ? 1U : 0U) +
               (m->q_rank > 0 ? 1U : 0U) + (m->shared_ffn > 0 ? 3U : 0U);
    case COST_GATE:
        return 2;
    case COST_EXPERTS:
        return 6;
    case COST_HEAD:
    case COST_EXPERT_ALONE:
    case COST_EXPERT_PERMUTE:
        return 3;
    }
    return 0;
}

uint32_t cost_cross_kernels(const struct cost *c, uint32_t layer,
                            const struct cost_batch *b)
{
    /* Query, attention, output, residual and norm; keys and values. */
    return !model_layer_crosses(c->model, layer) ? 0 : b->cross_new > 0 ? 5 : 4;
}

uint32_t cost_encode_kernels(const struct cost_dispatch *d)
{
    /* Each choice, their sum, rounding it; truth values, the mask of values; product. */
    if (d->dense)
        return d->top_k + (d->top_k > 1 ? 1U : 0U) + (d->gate_bits > 0 ? 1U : 0U) + 3U;
    return d->capacity > 0 ? 2 : 1;
}

uint32_t cost_decode_kernels(const struct cost_dispatch *d)
{
    (void)d;
    return 1;
}
