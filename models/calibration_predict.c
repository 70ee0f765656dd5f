/* What the cost functions say of one shape of a table. */
#include "calibration.h"

#include "cost.h"

static double seconds(sim_time t)
{
    return sim_time_seconds(t);
}

static double predict_gemm(struct cost *c, const uint64_t *v)
{
    return seconds(cost_gemm(c, (uint32_t)v[0], (uint32_t)v[1], (uint32_t)v[2]));
}

static double predict_move(struct cost *c, const uint64_t *v)
{
    const uint64_t values = v[1] * v[2];

    switch ((enum samples_move_kind)v[0]) {
    case MOVE_SCATTER:
        return seconds(cost_move(c, values + values / MOVE_TOP_K));
    case MOVE_GATED:
    case MOVE_ADD:
        return seconds(cost_move(c, 3 * values));
    default:
        return seconds(cost_move(c, 2 * values));
    }
}

static double predict_attention(struct cost *c, struct model *m, const uint64_t *v)
{
    const uint64_t rows = v[ATTENTION_ROWS], context = v[ATTENTION_CONTEXT];
    const uint64_t requests = v[ATTENTION_REQUESTS];
    const struct cost_batch b = {.tokens = (uint32_t)(requests * rows),
                                 .kv_tokens = requests * context,
                                 .pairs =
                                     requests * (rows * context - rows * (rows - 1) / 2)};

    m->heads = (uint32_t)v[ATTENTION_HEADS];
    m->kv_heads = (uint32_t)v[ATTENTION_KV_HEADS];
    m->head_dim = (uint32_t)v[ATTENTION_VALUE_DIM];
    if (v[ATTENTION_KEY_DIM] > v[ATTENTION_VALUE_DIM]) {
        m->attention = MODEL_ATTENTION_MLA;
        m->kv_rank = (uint32_t)v[ATTENTION_VALUE_DIM];
        m->rope_dim = (uint32_t)(v[ATTENTION_KEY_DIM] - v[ATTENTION_VALUE_DIM]);
    }
    return seconds(cost_attention(c, &b));
}

static void set_experts(struct model *m, const uint64_t *v,
                        const struct machine_tiles *tiles, struct cost_experts *x)
{
    m->hidden = (uint32_t)v[EXPERTS_HIDDEN];
    m->expert_ffn = (uint32_t)v[EXPERTS_INNER];
    m->matrices = (uint32_t)v[EXPERTS_MATRICES];
    m->top_k = (uint32_t)v[EXPERTS_TOP_K];
    for (uint64_t i = 0; i < v[EXPERTS_DISTINCT]; i++)
        cost_experts_add(x, (uint32_t)v[i == 0 ? EXPERTS_FIRST_ROWS : EXPERTS_ROWS],
                         tiles);
}

static double predict_launch(const struct machine_host *h, const uint64_t *v)
{
    const double count = (double)v[1];

    switch ((enum samples_launch_kind)v[0]) {
    case LAUNCH_EAGER:
        return count * seconds(h->launch_eager);
    case LAUNCH_NODE:
        return count * seconds(h->launch_graph);
    case LAUNCH_COPY:
        return count * seconds(h->copy_call);
    case LAUNCH_GRAPH:
        return seconds(h->graph_launch);
    default:
        return seconds(h->round_trip);
    }
}

static double predict_copy(const struct machine *m, enum calibration_table table,
                           const uint64_t *v)
{
    const struct machine_copy *const copies[COPY_KINDS] = {
        [COPY_H2D_PINNED] = &m->h2d_pinned,
        [COPY_D2H_PINNED] = &m->d2h_pinned,
        [COPY_H2D_PAGEABLE] = &m->h2d_pageable,
        [COPY_D2H_PAGEABLE] = &m->d2h_pageable,
    };
    struct machine_copy k = *copies[v[0]];
    uint64_t whole;

    if (table == CALIBRATE_DUPLEX)
        k.bytes_per_s *= v[0] % 2 == 0 ? m->h2d_duplex : m->d2h_duplex;
    if (table != CALIBRATE_CHUNKS)
        return seconds(cost_copy(&k, v[1]));
    whole = (v[1] - 1) / v[2];
    return (double)whole * seconds(cost_copy(&k, v[2])) +
           seconds(cost_copy(&k, v[1] - whole * v[2]));
}

double calibration_predict(const struct machine *m, unsigned bits,
                           enum calibration_table table,
                           const struct samples_point *point)
{
    const uint64_t *v = point->value;
    struct model model = {
        .activation_bits = bits, .dense_bits = bits, .expert_bits = bits};
    struct cost c = {.model = &model, .machine = m};
    static const struct machine_tiles rows_as_they_are = {1, {1}};
    struct cost_experts x = {.distinct = 0};

    switch (table) {
    case CALIBRATE_MOVE:
        return predict_move(&c, v);
    case CALIBRATE_GEMM:
        return predict_gemm(&c, v);
    case CALIBRATE_ATTENTION:
        return predict_attention(&c, &model, v);
    case CALIBRATE_EXPERTS:
        set_experts(&model, v, &m->gpu.tiles, &x);
        return seconds(cost_expert_group(&c, &x));
    case CALIBRATE_CPU:
        /* The host's processors compute in fp32 whatever the device does. */
        model.expert_bits = 32.0;
        set_experts(&model, v, &rows_as_they_are, &x);
        return seconds(cost_host_experts(&c, &x));
    case CALIBRATE_LAUNCH:
        return predict_launch(&m->host, v);
    default:
        return predict_copy(m, table, v);
    }
}
