/* What one GPU computes of a pass, on the host device and a tiny model: against a plain
 * forward pass; and its memory: growth, staging, failures. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "plain_block.h"

#include "gpu/block.h"
#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { TOKENS = PLAIN_TOKENS, CONTEXT = PLAIN_CONTEXT, PASS = 4 };

/* The plain pass through block.h. Experts in two groups; the weights are where they are.
 */
static int run_block(const struct tiny *t, struct block *b,
                     const struct cost_batch *batch, struct err *e)
{
    static const uint16_t ids[2][3] = {{1, 3, 4}, {0, 2}};
    const uint32_t tokens[8] = {1, 1, 1, 2, 1}; /* one row of expert 3 is padding */
    struct op_routing routing = {plain_choice, 2, TOKENS, 2};
    int status = block_begin(b, batch, PASS, e);

    for (uint32_t l = 0; l < t->model.layers && status == 0; l++) {
        uint32_t groups = model_layer_is_moe(&t->model, l) ? 2 : 0;

        status = block_dense(b, l, e);
        for (uint32_t g = 0; g < groups && status == 0; g++) {
            uint32_t moe = plain_moe_number(&t->model, l);
            const void *weight[3];

            for (uint32_t i = 0; i < 3 - g; i++)
                weight[i] = weights_expert(t->weights, moe, ids[g][i]);
            status = block_gate(b, moe, e);
            if (status == 0)
                status = block_experts(
                    b, &(struct block_group){ids[g], weight, tokens, 3 - g, &routing}, e);
        }
    }
    if (status == 0)
        status = block_head(b, 1, e);
    if (status == 0)
        status = t->device->ops->stream_finish(t->device, t->streams.compute, e);
    return status;
}

static void must_run(const struct tiny *t, struct block *b,
                     const struct cost_batch *batch)
{
    struct err e = {.text = ""};

    if (run_block(t, b, batch, &e) != 0)
        fail_msg("%s", e.text);
}

/* `rows` rows of `w` by what the last product gave. */
static void check_logits(const struct tiny *t, const struct block *b, uint32_t rows,
                         uint32_t columns, const float *h, const void *w)
{
    float expected[TOKENS * 96], got[TOKENS * 96];
    struct tiny_outputs x = {got, (size_t)rows * columns, 0};
    struct tiny_outputs y = {expected, x.count, 0};
    size_t bytes;

    memcpy(got, block_result(b, &bytes), x.count * sizeof *got);
    /* As large as the head's of all tokens, and a quarter more. */
    assert_int_equal(bytes, TOKENS * 96 * 5);
    plain_product((struct weights_matrix){columns, t->model.hidden}, rows, h, w,
                  expected);
    assert_true(tiny_difference(&x, &y) < 1e-5);
}

/* What a device of whole passes of the plain batch gives against the plain forward. */
static void check_forward(const struct tiny *t, const struct block *b)
{
    float expected[TOKENS * 64], got[TOKENS * 64], h[TOKENS * 64];
    struct tiny_outputs x = {got, TOKENS * 64, 0}, y = {expected, TOKENS * 64, 0};

    x.count = y.count = (size_t)TOKENS * t->model.hidden;
    memcpy(got, block_hidden(b), sizeof got);
    for (uint32_t i = 0; i < TOKENS; i++)
        memcpy(expected + (size_t)i * t->model.hidden,
               (const float *)weights_table(t->weights) +
                   (size_t)(PASS * 7 + i) * t->model.hidden,
               t->model.hidden * sizeof *expected);
    for (uint32_t l = 0; l < t->model.layers; l++)
        plain_layer(t, l, expected);
    assert_true(tiny_difference(&x, &y) < 1e-5);
    plain_norm(t, expected, h);
    check_logits(t, b, 1, t->model.vocab, h, weights_head(t->weights));
}

/* ---- a device that counts ---- */

/* What is allocated, by kind, and which call is to fail. */
static struct {
    uint64_t calls, fail_at; /* of mem_alloc and stream_finish; 0: none fails */
    int64_t held[DEVICE_MEMORIES];
    uint64_t allocations;
    uint64_t most_bytes; /* of one allocation */
    size_t bytes[32];    /* of the first ones */
} seen;

static int fails(struct err *e)
{
    return ++seen.calls == seen.fail_at ? err_set(e, "call %d fails", 17) : 0;
}

static int counted_alloc(struct device *d, enum device_memory kind, size_t bytes,
                         void **p, struct err *e)
{
    if (fails(e) != 0 || device_host.mem_alloc(d, kind, bytes, p, e) != 0)
        return -1;
    seen.held[kind]++;
    if (seen.allocations < sizeof seen.bytes / sizeof *seen.bytes)
        seen.bytes[seen.allocations] = bytes;
    seen.allocations++;
    seen.most_bytes = bytes > seen.most_bytes ? bytes : seen.most_bytes;
    return 0;
}

static void counted_free(struct device *d, enum device_memory kind, void *p)
{
    seen.held[kind] -= p != NULL;
    device_host.mem_free(d, kind, p);
}

static int counted_finish(struct device *d, struct device_stream *s, struct err *e)
{
    return fails(e) != 0 ? -1 : device_host.stream_finish(d, s, e);
}

static struct device_ops counted;

static void open_model(struct tiny *t, const struct model *m)
{
    tiny_open(t, m, 0);
    counted = device_host;
    counted.mem_alloc = counted_alloc;
    counted.mem_free = counted_free;
    counted.stream_finish = counted_finish;
    t->device->ops = &counted;
    memset(&seen, 0, sizeof seen);
}

static void open_counted(struct tiny *t)
{
    struct model m = tiny_model();

    open_model(t, &m);
}

static void close_counted(struct tiny *t)
{
    t->device->ops = &device_host;
    tiny_close(t);
}

static struct block *block_of(const struct tiny *t)
{
    return block_new(t->device, t->weights, &t->model, t->streams.compute);
}

/* Waits for what is enqueued, frees the block, and finds that it kept nothing. */
static void end_block(struct tiny *t, struct block *b)
{
    struct err e = {.text = ""};

    assert_int_equal(device_host.stream_finish(t->device, t->streams.compute, &e), 0);
    block_free(b);
    for (int kind = 0; kind < DEVICE_MEMORIES; kind++)
        assert_int_equal(seen.held[kind], 0);
}

static const struct cost_batch plain_batch = {.tokens = TOKENS,
                                              .outputs = TOKENS,
                                              .kv_tokens = TOKENS * CONTEXT,
                                              .pairs = TOKENS * CONTEXT,
                                              .window_kv_tokens = TOKENS * 4,
                                              .window_pairs = TOKENS * 4};
/* One token that attends to itself. */
static const struct cost_batch small_batch = {.tokens = 1,
                                              .outputs = 1,
                                              .kv_tokens = 1,
                                              .pairs = 1,
                                              .window_kv_tokens = 1,
                                              .window_pairs = 1};

/* ---- tests ---- */

static void test_plain_forward(void **state)
{
    struct tiny t;
    struct block *b;

    (void)state;
    open_counted(&t);
    b = block_of(&t);
    must_run(&t, b, &plain_batch);
    check_forward(&t, b);
    end_block(&t, b);
    close_counted(&t);
}

/* Latent attention, with and without a rank of its queries; FFNs of two matrices; decoder
 * layers that attend to the encoder, too; layers without an FFN; experts in every second
 * layer. */
static void test_other_models(void **state)
{
    struct model m[4] = {tiny_model(), tiny_model(), tiny_model(), tiny_model()};

    (void)state;
    m[0].attention = m[1].attention = MODEL_ATTENTION_MLA;
    m[0].kv_rank = m[1].kv_rank = 24;
    m[0].rope_dim = m[1].rope_dim = 8;
    m[1].q_rank = 40;
    m[2].matrices = 2;
    m[3].encoder_layers = 2;
    m[3].moe_every = 2;
    m[3].moe_layers = 2;
    m[3].shared_ffn = 0;
    for (int i = 0; i < 4; i++) {
        struct tiny t;
        struct block *b;

        open_model(&t, &m[i]);
        b = block_of(&t);
        must_run(&t, b, &plain_batch);
        check_forward(&t, b);
        end_block(&t, b);
        close_counted(&t);
    }
}

/* The gate multiplies what the last norm gave by its own layer's router. */
static void test_gate(void **state)
{
    struct tiny t;
    struct block *b;
    struct err e = {.text = ""};

    (void)state;
    open_counted(&t);
    b = block_of(&t);
    assert_int_equal(block_begin(b, &plain_batch, PASS, &e), 0);
    assert_int_equal(block_dense(b, 0, &e), 0);
    for (uint32_t moe = 0; moe < 3; moe++) {
        assert_int_equal(block_gate(b, moe, &e), 0);
        assert_int_equal(device_host.stream_finish(t.device, t.streams.compute, &e), 0);
        check_logits(&t, b, TOKENS, t.model.experts, block_normed(b),
                     weights_router(t.weights, moe));
    }
    end_block(&t, b);
    close_counted(&t);
}

/* Every buffer of the small pass is too small for the next one, and is replaced by one
 * that is large enough; then nothing grows. */
static void test_growth(void **state)
{
    struct tiny t;
    struct block *b;
    struct err e = {.text = ""};
    uint64_t allocations;

    (void)state;
    open_counted(&t);
    b = block_of(&t);
    assert_int_equal(block_begin(b, &small_batch, PASS, &e), 0);
    assert_int_equal(block_dense(b, 0, &e), 0);
    assert_int_equal(device_host.stream_finish(t.device, t.streams.compute, &e), 0);
    must_run(&t, b, &plain_batch);
    check_forward(&t, b);
    allocations = seen.allocations;
    must_run(&t, b, &plain_batch);
    check_forward(&t, b);
    assert_int_equal(block_begin(b, &small_batch, PASS, &e), 0);
    assert_int_equal(seen.allocations, allocations);
    end_block(&t, b);
    close_counted(&t);
}

/* What was reserved for the largest pass is enough for it: nothing more is asked for. */
static void test_reserve(void **state)
{
    struct tiny t;
    struct block *b;
    struct err e = {.text = ""};
    uint64_t allocations;

    (void)state;
    open_counted(&t);
    b = block_of(&t);
    assert_int_equal(block_reserve(b, &plain_batch, &e), 0);
    allocations = seen.allocations;
    must_run(&t, b, &plain_batch);
    assert_int_equal(seen.allocations, allocations);
    /* Once more: only the indices' memory is the pass's, and asked for again. */
    assert_int_equal(block_reserve(b, &plain_batch, &e), 0);
    assert_int_equal(seen.allocations, allocations + 1);
    end_block(&t, b);
    close_counted(&t);
}

/* What is reserved for 3 tokens, 6 choices and 15 tokens of context, in floats, and a
 * quarter more but for what is pinned and the caches. */
static void test_room_of_each(void **state)
{
    static const size_t known[] = {
        /* Indices: 6 groups of 2 x 6 choices and 8 experts, each up to 64 bytes more. */
        1049472,         3 * 64 * 5, /* hidden states */
        3 * 64 * 5,                  /* normed */
        3 * 64 * 5,                  /* what is added */
        3 * 128 * 5,                 /* first product of attention */
        3 * 1 * 5,                   /* no absorbed product */
        3 * 64 * 5,                  /* attended */
        3 * 2 * 56 * 5,              /* the wider FFN, gate and up */
        3 * 56 * 5,                  /* between */
        3 * 96 * 5,                  /* logits of the vocabulary */
        1 << 20,         /* the next indices' memory, of which the weights of tokens: */
        6 * 5,           /* are sent */
        3 * (4 + 3) * 5, /* two firsts in 8 bytes, two lengths and a row of the table */
        6 * 64 * 5,      /* rows of experts */
        6 * 64 * 5,      /* what they give */
        6 * 2 * 48 * 5,  /* between */
        (6 + 6) * 5,     /* their indices */
        15 * 64 * 4,     /* four caches of keys and values of 2 heads of 16 */
        15 * 64 * 4,     15 * 64 * 4, 15 * 64 * 4,
    };
    struct tiny t;
    struct block *b;
    struct err e = {.text = ""};

    (void)state;
    open_counted(&t);
    b = block_of(&t);
    assert_int_equal(block_reserve(b, &plain_batch, &e), 0);
    assert_int_equal(seen.allocations, sizeof known / sizeof *known);
    for (size_t i = 0; i < seen.allocations; i++)
        if (seen.bytes[i] != known[i])
            fail_msg("buffer %zu has %zu bytes, not %zu", i, seen.bytes[i], known[i]);
    end_block(&t, b);
    close_counted(&t);
}

/* More index arrays in a pass than one staging buffer of 1 MiB has room for: the second
 * buffer is used again in the next pass, and none comes to them. */
static void test_staging(void **state)
{
    enum { GROUPS = 16000 }; /* of 64 bytes, twice: just below 2 MiB */
    static const uint16_t id = 6;
    const uint16_t choice[TOKENS * 2] = {6,          WORLD_NONE, WORLD_NONE,
                                         WORLD_NONE, WORLD_NONE, WORLD_NONE};
    struct op_routing routing = {choice, 2, TOKENS, 2};
    const uint32_t tokens[8] = {0, 0, 0, 0, 0, 0, 1, 0};
    struct tiny t;
    struct block *b;
    struct err e = {.text = ""};
    const void *weight;
    uint64_t begun = 0;

    (void)state;
    open_counted(&t);
    weight = weights_expert(t.weights, 0, id);
    b = block_of(&t);
    for (int pass = 0; pass < 2; pass++) {
        assert_int_equal(block_begin(b, &plain_batch, PASS, &e), 0);
        assert_int_equal(block_dense(b, 0, &e), 0);
        for (int i = 0; i < 2 * GROUPS; i++)
            assert_int_equal(
                block_experts(b, &(struct block_group){&id, &weight, tokens, 1, &routing},
                              &e),
                0);
        assert_int_equal(device_host.stream_finish(t.device, t.streams.compute, &e), 0);
        if (pass == 0)
            begun = seen.allocations;
        assert_true(seen.held[DEVICE_MEMORY_PINNED] >= 2);
    }
    assert_int_equal(seen.allocations, begun);
    end_block(&t, b);
    close_counted(&t);
}

/* The caches get half as much again as the longer of the two spans has tokens, whichever
 * that is: keys and values of 2 heads of 16 in four bytes each. */
static void test_room_for_the_longer_span(void **state)
{
    const struct cost_batch batches[] = {
        {.tokens = 1,
         .kv_tokens = 4000,
         .pairs = 4000,
         .window_kv_tokens = 4,
         .window_pairs = 4},
        {.tokens = 1,
         .kv_tokens = 4,
         .pairs = 4,
         .window_kv_tokens = 4000,
         .window_pairs = 4000},
    };

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct tiny t;
        struct block *b;
        struct err e = {.text = ""};

        open_counted(&t);
        b = block_of(&t);
        seen.most_bytes = 0;
        assert_int_equal(block_begin(b, &batches[i], PASS, &e), 0);
        assert_int_equal(seen.most_bytes, 6000 * 2 * 2 * 16 * 4);
        end_block(&t, b);
        close_counted(&t);
    }
}

static uint64_t free_bytes;

static void crowded_info(struct device *d, struct device_info *info)
{
    device_host.info(d, info);
    info->local_free_bytes = free_bytes;
}

/* Caches of 22 tokens, of 2 heads of 16 with keys and values in four bytes each, get
 * seven eighths of what is free: so many as go in there, one at least and four at most.
 */
static void test_caches_are_shared(void **state)
{
    static const uint64_t cache = 22 * 2 * 2 * 16 * 4;
    static const struct {
        uint64_t sevenths; /* of an eighth of what is free */
        const char *said;
    } known[] = {{0, "The KV caches of 4 attention blocks share 1 buffers."},
                 {2 * cache - 1, "The KV caches of 4 attention blocks share 1 buffers."},
                 {2 * cache, "The KV caches of 4 attention blocks share 2 buffers."},
                 {4 * cache - 7, "The KV caches of 4 attention blocks share 3 buffers."},
                 {4 * cache, ""},
                 {9 * cache, ""}};

    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        struct tiny t;
        struct block *b;
        struct err e = {.text = ""};
        char *said;

        open_counted(&t);
        counted.info = crowded_info;
        free_bytes = (known[i].sevenths + (i == 1 || i == 3 ? 0 : 6)) / 7 * 8;
        b = block_of(&t);
        said = block_describe(b);
        assert_string_equal(said, "");
        free(said);
        assert_int_equal(block_begin(b, &plain_batch, PASS, &e), 0);
        said = block_describe(b);
        assert_string_equal(said, known[i].said);
        free(said);
        end_block(&t, b);
        close_counted(&t);
    }
}

static uint32_t head_rows;

static void note_gemm(struct device *d, struct device_stream *s,
                      const struct device_gemm *g)
{
    head_rows = g->rows;
    device_host.gemm(d, s, g);
}

/* No more rows than the pass has come to the head; without any, nothing is computed. */
static void test_rows_of_the_head(void **state)
{
    struct tiny t;
    struct block *b;
    struct err e = {.text = ""};

    (void)state;
    open_counted(&t);
    counted.gemm = note_gemm;
    b = block_of(&t);
    assert_int_equal(block_begin(b, &plain_batch, PASS, &e), 0);
    assert_int_equal(block_head(b, 2, &e), 0);
    assert_int_equal(head_rows, 2);
    assert_int_equal(block_head(b, TOKENS + 4, &e), 0);
    assert_int_equal(head_rows, TOKENS);
    head_rows = 99;
    assert_int_equal(block_head(b, 0, &e), 0);
    assert_int_equal(head_rows, 99);
    end_block(&t, b);
    block_free(NULL);
    close_counted(&t);
}

/* Each allocation and each wait fails in turn, while buffers are made and while they
 * grow: the call says so, and nothing is left. */
static void test_failures(void **state)
{
    struct tiny t;
    uint64_t at = 0;
    int status;

    (void)state;
    open_counted(&t);
    do {
        struct block *b = block_of(&t);
        struct err e = {.text = ""};

        seen.calls = 0;
        seen.fail_at = ++at;
        status = block_begin(b, &small_batch, PASS, &e);
        if (status == 0)
            status = block_dense(b, 0, &e);
        if (status == 0)
            status = counted_finish(t.device, t.streams.compute, &e);
        if (status == 0)
            status = run_block(&t, b, &plain_batch, &e);
        if (status == 0)
            status = block_reserve(
                b, &(struct cost_batch){.tokens = 40, .outputs = 40, .kv_tokens = 4000},
                &e);
        assert_int_equal(seen.calls >= at, status != 0);
        assert_string_equal(e.text, status != 0 ? "call 17 fails" : "");
        seen.fail_at = 0;
        end_block(&t, b);
    } while (status != 0);
    assert_true(at > 30);
    close_counted(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_forward),
        cmocka_unit_test(test_other_models),
        cmocka_unit_test(test_gate),
        cmocka_unit_test(test_growth),
        cmocka_unit_test(test_reserve),
        cmocka_unit_test(test_room_of_each),
        cmocka_unit_test(test_staging),
        cmocka_unit_test(test_room_for_the_longer_span),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_caches_are_shared),
        cmocka_unit_test(test_rows_of_the_head),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
