#include "weights.h"

#include "reference.h"
#include "sim/base/mem.h"
#include "sim/base/rng.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { STAGE_ELEMENTS = 1 << 18, ALIGNMENT = 256 };

/* Sets of one shape in device memory, one after another. */
struct sets {
    char *p;
    size_t bytes;   /* of one */
    uint32_t wants; /* how many users there are */
    uint32_t count; /* how many there are of it; user i has set i mod count */
};

enum kind { ATTENTION, DENSE_FFN, SHARED_FFN, ROUTER, HEAD, NORM, TABLE, KINDS };

struct weights {
    struct device *d;
    const struct model *model;
    uint64_t seed;
    size_t element;
    enum device_element type;
    enum device_memory memory; /* of the images */
    char *image;
    float *floats; /* the same images; NULL where those are floats, or nobody asked */
    size_t image_bytes;
    uint64_t images, experts; /* distinct, and all */
    struct sets sets[KINDS];
};

/* ---- shapes ---- */

uint32_t weights_attention_shape(const struct model *m,
                                 struct weights_matrix shape[WEIGHTS_ATTENTION_MOST])
{
    uint32_t inner = m->heads * m->head_dim;
    uint32_t count = 0;

    if (m->attention == MODEL_ATTENTION_MLA) {
        uint32_t query = m->heads * (m->head_dim + m->rope_dim);
        uint32_t narrow = m->q_rank + m->kv_rank + m->rope_dim;

        shape[count++] =
            (struct weights_matrix){m->q_rank > 0 ? narrow : narrow + query, m->hidden};
        if (m->q_rank > 0)
            shape[count++] = (struct weights_matrix){query, m->q_rank};
        shape[count++] = (struct weights_matrix){2 * inner, m->kv_rank};
    } else {
        shape[count++] =
            (struct weights_matrix){inner + 2 * m->kv_heads * m->head_dim, m->hidden};
    }
    shape[count++] = (struct weights_matrix){m->hidden, inner};
    return count;
}

uint32_t weights_attentions(const struct model *m)
{
    return m->layers + (m->encoder_layers > 0 ? m->layers - m->encoder_layers : 0);
}

static uint32_t ffn_shape(const struct device_ffn *f, struct weights_matrix *shape)
{
    shape[0] = (struct weights_matrix){(f->matrices - 1) * f->inner, f->hidden};
    shape[1] = (struct weights_matrix){f->hidden, f->inner};
    return 2;
}

struct device_ffn weights_expert_ffn(const struct weights *w)
{
    return (struct device_ffn){
        .hidden = w->model->hidden,
        .inner = w->model->expert_ffn,
        .matrices = w->model->matrices,
    };
}

static struct device_ffn dense_ffn(const struct model *m, uint32_t inner)
{
    return (struct device_ffn){
        .hidden = m->hidden, .inner = inner, .matrices = m->matrices};
}

/* The matrices of one set. A norm's weights and the table are a matrix by their size. */
static uint32_t shape_of(const struct weights *w, enum kind kind,
                         struct weights_matrix shape[WEIGHTS_ATTENTION_MOST])
{
    const struct model *m = w->model;
    struct device_ffn ffn;

    switch (kind) {
    case ATTENTION:
        return weights_attention_shape(m, shape);
    case DENSE_FFN:
    case SHARED_FFN:
        ffn = dense_ffn(m, kind == DENSE_FFN ? m->dense_ffn : m->shared_ffn);
        return ffn_shape(&ffn, shape);
    case ROUTER:
        shape[0] = (struct weights_matrix){m->experts, m->hidden};
        return 1;
    case HEAD:
        shape[0] = (struct weights_matrix){m->vocab, m->hidden};
        return 1;
    case NORM:
        shape[0] = (struct weights_matrix){1, m->hidden};
        return 1;
    case TABLE:
        shape[0] = (struct weights_matrix){WEIGHTS_TABLE_ROWS, m->hidden};
        return 1;
    case KINDS:
        break;
    }
    assert(false);
    return 0;
}

static uint32_t users_of(const struct model *m, enum kind kind)
{
    switch (kind) {
    case ATTENTION:
        return weights_attentions(m);
    case DENSE_FFN:
        return m->dense_ffn > 0 ? m->layers - m->moe_layers : 0;
    case SHARED_FFN:
        return m->shared_ffn > 0 ? m->moe_layers : 0;
    case ROUTER:
        return m->moe_layers;
    default:
        return 1;
    }
}

/* ---- values ---- */

/* Uniform with a spread of 1/sqrt(in), two from each draw; norms and the table have a
 * spread of their own. */
static void draw(struct rng *r, float *to, size_t count, float scale, float middle)
{
    for (size_t i = 0; i < count; i += 2) {
        uint64_t bits = rng_u64(r);

        to[i] = middle + scale * (float)(int32_t)(bits >> 32) * 0x1p-31F;
        if (i + 1 < count)
            to[i + 1] = middle + scale * (float)(int32_t)bits * 0x1p-31F;
    }
}

static float scale_of(enum kind kind, uint32_t in)
{
    if (kind == NORM)
        return 0.2F;
    return kind == TABLE ? sqrtf(3.0F) : sqrtf(3.0F / (float)in);
}

/* Draws the whole expert in host memory. */
static void draw_image(const struct weights *w, uint64_t number, float *stage)
{
    struct device_ffn ffn = weights_expert_ffn(w);
    struct rng r = rng_stream(w->seed, "expert weights", number);
    struct weights_matrix shape[2];
    char *to = w->image + number * w->image_bytes;
    float *also =
        w->floats == NULL ? NULL : w->floats + number * device_ffn_elements(&ffn);

    (void)ffn_shape(&ffn, shape);
    for (int i = 0; i < 2; i++) {
        size_t left = (size_t)shape[i].out * shape[i].in;

        while (left > 0) {
            size_t count = left < STAGE_ELEMENTS ? left : STAGE_ELEMENTS;

            draw(&r, stage, count, sqrtf(3.0F / (float)shape[i].in), 0.0F);
            reference_to_elements(w->type, stage, to, count);
            if (also != NULL) {
                reference_of_elements(w->type, to, also, count);
                also += count;
            }
            to += count * w->element;
            left -= count;
        }
    }
}

/* Draws one set piece by piece and sends it to the device. */
static int send_set(const struct weights *w, enum kind kind, uint32_t number,
                    float *stage, void *pinned, struct device_stream *s, struct err *e)
{
    const struct device_ops *o = w->d->ops;
    struct rng r = rng_stream(w->seed, "dense weights", (uint64_t)kind << 32 | number);
    struct weights_matrix shape[WEIGHTS_ATTENTION_MOST];
    uint32_t matrices = shape_of(w, kind, shape);
    char *to = w->sets[kind].p + number * w->sets[kind].bytes;

    for (uint32_t i = 0; i < matrices; i++) {
        size_t left = (size_t)shape[i].out * shape[i].in;

        while (left > 0) {
            size_t count = left < STAGE_ELEMENTS ? left : STAGE_ELEMENTS;

            draw(&r, stage, count, scale_of(kind, shape[i].in),
                 kind == NORM ? 1.0F : 0.0F);
            reference_to_elements(w->type, stage, pinned, count);
            o->copy(w->d, s, to, pinned, count * w->element);
            if (o->stream_finish(w->d, s, e) != 0)
                return -1;
            to += count * w->element;
            left -= count;
        }
    }
    return 0;
}

/* ---- how many of each ---- */

static void size_sets(struct weights *w, uint64_t budget_bytes)
{
    uint64_t single = 0, many = 0, left;

    for (int k = 0; k < KINDS; k++) {
        struct weights_matrix shape[WEIGHTS_ATTENTION_MOST];
        uint32_t matrices = shape_of(w, (enum kind)k, shape);
        struct sets *s = &w->sets[k];

        for (uint32_t i = 0; i < matrices; i++)
            s->bytes += (size_t)shape[i].out * shape[i].in * w->element;
        s->bytes = (s->bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        s->wants = s->count = users_of(w->model, (enum kind)k);
        single += s->wants > 0 ? s->bytes : 0;
        many += s->wants > 0 ? (s->wants - 1) * s->bytes : 0;
    }
    left = budget_bytes > single ? budget_bytes - single : 0;
    if (many <= left)
        return;
    for (int k = 0; k < KINDS; k++) {
        struct sets *s = &w->sets[k];

        if (s->wants > 1)
            s->count =
                1 + (uint32_t)((double)(s->wants - 1) * (double)left / (double)many);
    }
}

/* ---- all of them ---- */

static int make_images(struct weights *w, const struct weights_options *o, float *stage,
                       struct err *e)
{
    struct device_info info;
    struct device_ffn ffn = weights_expert_ffn(w);
    uint64_t budget = o->expert_budget_bytes;
    size_t also = o->floats && w->type != DEVICE_F32
                      ? device_ffn_elements(&ffn) * sizeof(float)
                      : 0;
    void *p;

    w->d->ops->info(w->d, &info);
    if (budget == 0)
        budget = info.host_free_bytes / 4;
    w->image_bytes = device_ffn_elements(&ffn) * w->element;
    w->experts = (uint64_t)w->model->moe_layers * w->model->experts;
    w->images = budget / (w->image_bytes + also);
    if (w->images > w->experts)
        w->images = w->experts;
    if (w->images == 0)
        w->images = 1;
    if (w->d->ops->mem_alloc(w->d, w->memory, w->images * w->image_bytes, &p, e) != 0)
        return -1;
    w->image = p;
    if (also > 0) {
        if (w->d->ops->mem_alloc(w->d, DEVICE_MEMORY_PAGEABLE, w->images * also, &p, e) !=
            0)
            return -1;
        w->floats = p;
    }
    for (uint64_t i = 0; i < w->images; i++)
        draw_image(w, i, stage);
    return 0;
}

static int make_sets(struct weights *w, const struct weights_options *o, float *stage,
                     struct err *e)
{
    const struct device_ops *ops = w->d->ops;
    struct device_info info;
    struct device_stream *s = ops->stream_new(w->d, 0, e);
    void *pinned, *p;
    int status = 0;

    ops->info(w->d, &info);
    size_sets(w,
              o->dense_budget_bytes > 0 ? o->dense_budget_bytes : info.local_free_bytes);
    if (s == NULL || ops->mem_alloc(w->d, DEVICE_MEMORY_PINNED,
                                    STAGE_ELEMENTS * w->element, &pinned, e) != 0)
        return -1;
    for (int k = 0; k < KINDS && status == 0; k++) {
        struct sets *sets = &w->sets[k];

        if (sets->count == 0)
            continue;
        status =
            ops->mem_alloc(w->d, DEVICE_MEMORY_LOCAL, sets->count * sets->bytes, &p, e);
        if (status != 0)
            break;
        sets->p = p;
        for (uint32_t i = 0; i < sets->count && status == 0; i++)
            status = send_set(w, (enum kind)k, i, stage, pinned, s, e);
    }
    ops->mem_free(w->d, DEVICE_MEMORY_PINNED, pinned);
    return status;
}

static int make_all(struct weights *w, const struct weights_options *o, struct err *e)
{
    const struct model *m = o->model;
    float *stage = mem_alloc(STAGE_ELEMENTS, sizeof *stage);
    int status;

    if (m->attention == MODEL_ATTENTION_MLA && m->kv_rank < m->head_dim)
        status = err_set(e,
                         "latent attention is executed in its absorbed form only, which "
                         "needs a kv_rank (%u) of at least head_dim (%u)",
                         m->kv_rank, m->head_dim);
    else
        status = make_sets(w, o, stage, e);
    if (status == 0)
        status = make_images(w, o, stage, e);
    free(stage);
    return status;
}

struct weights *weights_new(struct device *d, const struct weights_options *o,
                            struct err *e)
{
    struct weights *w = mem_zalloc(1, sizeof *w);
    struct device_info info;

    d->ops->info(d, &info);
    w->d = d;
    w->model = o->model;
    w->seed = o->seed;
    w->element = d->ops->element_bytes(d);
    w->type = info.element;
    w->memory = o->pageable ? DEVICE_MEMORY_PAGEABLE : DEVICE_MEMORY_PINNED;
    if (make_all(w, o, e) == 0)
        return w;
    weights_free(w);
    return NULL;
}

void weights_free(struct weights *w)
{
    if (w == NULL)
        return;
    for (int k = 0; k < KINDS; k++)
        w->d->ops->mem_free(w->d, DEVICE_MEMORY_LOCAL, w->sets[k].p);
    w->d->ops->mem_free(w->d, w->memory, w->image);
    w->d->ops->mem_free(w->d, DEVICE_MEMORY_PAGEABLE, w->floats);
    free(w);
}

static char *add_sentence(char *text, char *sentence)
{
    char *longer = mem_format("%s%s%s", text, *text == '\0' ? "" : " ", sentence);

    free(text);
    free(sentence);
    return longer;
}

char *weights_describe(const struct weights *w)
{
    static const char *const what[] = {"attention blocks", "dense FFNs", "shared FFNs",
                                       "routers"};
    char *text = mem_strdup("");

    if (w->images < w->experts)
        text = add_sentence(
            text,
            mem_format("%llu of %llu experts are distinct in host memory; the "
                       "others share their weights.",
                       (unsigned long long)w->images, (unsigned long long)w->experts));
    for (int k = ATTENTION; k <= ROUTER; k++)
        if (w->sets[k].count < w->sets[k].wants)
            text = add_sentence(
                text,
                mem_format("%u of %u %s are distinct in device memory; the others share "
                           "their weights.",
                           w->sets[k].count, w->sets[k].wants, what[k]));
    return text;
}

/* ---- asking for them ---- */

static const void *set_of(const struct weights *w, enum kind kind, uint32_t user)
{
    const struct sets *s = &w->sets[kind];

    return s->count == 0 ? NULL : s->p + (user % s->count) * s->bytes;
}

const void *weights_expert(const struct weights *w, uint32_t moe_layer, uint32_t id)
{
    uint64_t number = (uint64_t)moe_layer * w->model->experts + id;

    return w->image + number % w->images * w->image_bytes;
}

const void *weights_expert_float(const struct weights *w, uint32_t moe_layer, uint32_t id)
{
    struct device_ffn ffn = weights_expert_ffn(w);
    uint64_t number = (uint64_t)moe_layer * w->model->experts + id;

    if (w->type == DEVICE_F32)
        return weights_expert(w, moe_layer, id);
    assert(w->floats != NULL);
    return w->floats + number % w->images * device_ffn_elements(&ffn);
}

size_t weights_expert_bytes(const struct weights *w)
{
    return w->image_bytes;
}

const void *weights_attention(const struct weights *w, uint32_t attention)
{
    return set_of(w, ATTENTION, attention);
}

/* The number of a layer among those with experts, or among those without. */
static uint32_t number_among(const struct model *m, uint32_t layer)
{
    uint32_t below =
        layer <= m->first_moe ? 0 : (layer - m->first_moe - 1) / m->moe_every + 1;

    return model_layer_is_moe(m, layer) ? below : layer - below;
}

const void *weights_ffn(const struct weights *w, uint32_t layer, struct device_ffn *ffn)
{
    const struct model *m = w->model;
    enum kind kind = model_layer_is_moe(m, layer) ? SHARED_FFN : DENSE_FFN;

    *ffn = dense_ffn(m, kind == SHARED_FFN ? m->shared_ffn : m->dense_ffn);
    return set_of(w, kind, number_among(m, layer));
}

const void *weights_router(const struct weights *w, uint32_t moe_layer)
{
    return set_of(w, ROUTER, moe_layer);
}

const void *weights_head(const struct weights *w)
{
    return set_of(w, HEAD, 0);
}

const void *weights_norm(const struct weights *w)
{
    return set_of(w, NORM, 0);
}

const void *weights_table(const struct weights *w)
{
    return set_of(w, TABLE, 0);
}
