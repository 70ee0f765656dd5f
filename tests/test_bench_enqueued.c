/* What one sample of each benchmark enqueues, on a device that only notes it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "gpu/bench_rig.h"
#include "sim/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KIB = 1024 };

struct device_stream {
    char name;
};
struct device_event {
    int number;
};

static struct device_stream stream = {'s'}, other = {'o'};
static struct device_event event[4] = {{0}, {1}, {2}, {3}};
static char said[4096]; /* what was enqueued since it was emptied */
static char pool[DEVICE_MEMORIES][64 * KIB];
static struct bench made;

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
    size_t length = strlen(said);
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(said + length, sizeof said - length, format, arguments);
    va_end(arguments);
}

/* "p+4096": the pool and how far in it. */
static const char *place(const void *p)
{
    static char text[4][32];
    static int at;
    static const char name[] = {'l', 'p', 'g'};

    at = (at + 1) % 4;
    for (int k = 0; k < DEVICE_MEMORIES; k++) {
        size_t offset = (size_t)((const char *)p - made.pool[k]);

        if (offset < made.pool_bytes) {
            (void)snprintf(text[at], sizeof text[at], "%c+%zu", name[k], offset);
            return text[at];
        }
    }
    return "x";
}

static void note_copy(struct device *d, struct device_stream *s, void *to,
                      const void *from, size_t bytes)
{
    (void)d;
    say("%c %s<-%s %zu; ", s->name, place(to), place(from), bytes);
}

static void note_spin(struct device *d, struct device_stream *s, double ns)
{
    (void)d, (void)ns;
    say("%c spin; ", s->name);
}

static void note_record(struct device *d, struct device_event *v, struct device_stream *s)
{
    (void)d;
    say("%c event %d; ", s->name, v->number);
}

static void note_hold(struct device *d, struct device_event *v, struct device_stream *s)
{
    (void)d;
    say("%c hold %d; ", s->name, v->number);
}

static int note_wait(struct device *d, struct device_event *v, struct err *e)
{
    (void)d, (void)e;
    say("wait %d; ", v->number);
    return 0;
}

static int note_finish(struct device *d, struct device_stream *s, struct err *e)
{
    (void)d, (void)e;
    say("%c ends; ", s->name);
    return 0;
}

/* A millisecond between two that follow each other. */
static double note_ns(struct device *d, struct device_event *a, struct device_event *b)
{
    (void)d;
    return 1e6 * (b->number - a->number);
}

static uint32_t held; /* blocks of memory and graphs */

static int note_alloc(struct device *d, enum device_memory kind, size_t bytes, void **p,
                      struct err *e)
{
    (void)d, (void)e;
    assert_int_equal(kind, DEVICE_MEMORY_LOCAL);
    *p = mem_zalloc(bytes, 1);
    say("alloc %zu; ", bytes);
    held++;
    return 0;
}

static void note_free(struct device *d, enum device_memory kind, void *p)
{
    (void)d, (void)kind;
    held--;
    free(p);
}

static void note_norm(struct device *d, struct device_stream *s,
                      const struct device_norm *n)
{
    (void)d;
    say("%c norm %ux%u; ", s->name, n->rows, n->hidden);
}

static void note_add(struct device *d, struct device_stream *s, void *y, const void *x,
                     size_t count)
{
    (void)d;
    assert_ptr_not_equal(x, y);
    say("%c add %zu; ", s->name, count);
}

static void note_gated(struct device *d, struct device_stream *s, const void *x, void *y,
                       uint32_t rows, uint32_t inner)
{
    (void)d;
    assert_ptr_not_equal(x, y);
    say("%c gated %ux%u; ", s->name, rows, inner);
}

static void note_gather(struct device *d, struct device_stream *s,
                        const struct device_permute *p, const void *x, void *y)
{
    (void)d;
    assert_ptr_not_equal(x, y);
    say("%c gather %u of %u x%u; ", s->name, p->rows, p->tokens, p->hidden);
}

static void note_scatter(struct device *d, struct device_stream *s,
                         const struct device_permute *p, const void *x, void *y)
{
    (void)d;
    assert_ptr_not_equal(x, y);
    say("%c scatter %u of %u x%u; ", s->name, p->rows, p->tokens, p->top_k);
}

static void note_gemm(struct device *d, struct device_stream *s,
                      const struct device_gemm *g)
{
    (void)d;
    say("%c gemm %ux%ux%u %s; ", s->name, g->rows, g->in, g->out, place(g->w));
}

static void note_attention(struct device *d, struct device_stream *s,
                           const struct device_attention *a)
{
    (void)d;
    say("%c attention %u rows %u/%u heads %u+%u longest %u %s %s; ", s->name, a->rows,
        a->heads, a->kv_heads, a->key_dim, a->value_dim, a->longest, place(a->keys),
        place(a->values));
}

static void note_experts(struct device *d, struct device_stream *s,
                         const struct device_group *g)
{
    (void)d;
    say("%c experts %ux%ux%u", s->name, g->ffn.hidden, g->ffn.inner, g->ffn.matrices);
    for (uint32_t i = 0; i < g->count; i++)
        say(" %u %s", g->rows[i], place(g->weight[i]));
    say("; ");
}

static void note_capture(struct device *d, struct device_stream *s)
{
    (void)d;
    say("%c begins; ", s->name);
}

static struct device_graph *note_captured(struct device *d, struct device_stream *s,
                                          struct err *e)
{
    (void)d, (void)e;
    say("%c captured; ", s->name);
    held++;
    return (struct device_graph *)(void *)pool;
}

static void note_graph(struct device *d, struct device_stream *s, struct device_graph *g)
{
    (void)d;
    assert_ptr_equal(g, pool);
    say("%c graph; ", s->name);
}

static void note_graph_free(struct device *d, struct device_graph *g)
{
    (void)d;
    assert_ptr_equal(g, pool);
    held--;
}

static const struct device_ops ops = {.name = "notes",
                                      .copy = note_copy,
                                      .spin = note_spin,
                                      .event_record = note_record,
                                      .event_hold = note_hold,
                                      .event_wait = note_wait,
                                      .event_ns = note_ns,
                                      .stream_finish = note_finish,
                                      .mem_alloc = note_alloc,
                                      .mem_free = note_free,
                                      .norm = note_norm,
                                      .add = note_add,
                                      .gated = note_gated,
                                      .gather = note_gather,
                                      .scatter = note_scatter,
                                      .gemm = note_gemm,
                                      .attention = note_attention,
                                      .experts = note_experts,
                                      .capture_begin = note_capture,
                                      .capture_end = note_captured,
                                      .graph_launch = note_graph,
                                      .graph_free = note_graph_free};

static void make(void)
{
    static struct device d = {&ops};

    made = (struct bench){.d = &d,
                          .o = &ops,
                          .element = 4,
                          .s = &stream,
                          .other = &other,
                          .pool_bytes = 64 * KIB};
    for (int i = 0; i < 4; i++)
        made.event[i] = &event[i];
    for (int k = 0; k < DEVICE_MEMORIES; k++)
        made.pool[k] = pool[k];
}

/* Sets a shape up and runs a sample, and expects what both enqueue; nothing is kept. */
static void done(const struct device_bench *k, const uint64_t *shape, const char *setup,
                 const char *run)
{
    struct err e = {.text = ""};
    double seconds = 0.0;

    made.shape = shape;
    said[0] = '\0';
    assert_int_equal(k->setup(&made, &e), 0);
    assert_string_equal(said, setup);
    said[0] = '\0';
    assert_int_equal(k->run(&made, &seconds, &e), 0);
    assert_string_equal(said, run);
    if (k->end != NULL)
        k->end(&made);
    free(made.state);
    made.state = NULL;
    bench_free_local(&made);
    assert_int_equal(held, 0);
}

#define LOCAL(bytes) "alloc " bytes "; s x<-p+0 " bytes "; s ends; "
#define SENT(bytes) LOCAL(bytes) "s x<-x " bytes "; s ends; "

/* The pattern, of 4 MiB, is copied as often as it takes, and no byte more than there are.
 */
static void test_patterns_fill_what_there_is(void **state)
{
    struct err e = {.text = ""};
    void *p;

    (void)state;
    make();
    said[0] = '\0';
    assert_int_equal(bench_local(&made, 2 * 4194304 + 8, &p, &e), 0);
    assert_string_equal(said, "alloc 8388616; s x<-p+0 4194304; s x<-p+0 4194304; "
                              "s x<-p+0 8; s ends; ");
    bench_free_local(&made);
    assert_int_equal(held, 0);
}

static void test_launches_are_enqueued(void **state)
{
    (void)state;
    make();
    done(&bench_launch, (const uint64_t[]){LAUNCH_EAGER, 3}, LOCAL("65536"),
         "s spin; s norm 1x64; s norm 1x64; s norm 1x64; s ends; ");
    done(&bench_launch, (const uint64_t[]){LAUNCH_NODE, 2},
         LOCAL("65536") "s begins; s norm 1x64; s norm 1x64; s captured; ",
         "s spin; s spin; s event 0; s graph; s event 1; wait 1; ");
    done(&bench_launch, (const uint64_t[]){LAUNCH_GRAPH, 2},
         LOCAL("65536") "s begins; s norm 1x64; s norm 1x64; s captured; ",
         "s spin; s graph; s ends; ");
    done(&bench_launch, (const uint64_t[]){LAUNCH_COPY, 2}, LOCAL("65536"),
         "s spin; s x<-p+0 4096; s x<-p+0 4096; s ends; ");
    done(&bench_launch, (const uint64_t[]){LAUNCH_ROUND_TRIP, 640}, LOCAL("65536"),
         "s event 0; s spin; s event 1; s p+0<-x 640; s event 2; wait 2; ");
}

#define TIMED(what) "s spin; s event 0; " what "s event 1; wait 1; "

/* 8 rows of 2 tokens' 4 choices, 5 wide: x has two rows' width each. */
static void test_moves_are_enqueued(void **state)
{
    static const char *const run[] = {
        TIMED("s gather 8 of 2 x5; "), TIMED("s scatter 8 of 2 x4; "),
        TIMED("s norm 8x5; "), TIMED("s add 40; "), TIMED("s gated 8x5; ")};

    (void)state;
    make();
    for (uint64_t kind = 0; kind < MOVE_KINDS; kind++)
        done(&bench_move, (const uint64_t[]){kind, 8, 5},
             LOCAL("320") LOCAL("160") SENT("32") SENT("32") SENT("32"), run[kind]);
}

/* Weights lie in the pool, one after another; what else there is is allocated. */
static void test_kernels_are_enqueued(void **state)
{
    struct err e = {.text = ""};

    (void)state;
    make();
    done(&bench_gemm, (const uint64_t[]){3, 10, 20}, LOCAL("120") LOCAL("240"),
         TIMED("s gemm 3x10x20 l+0; "));
    done(&bench_gemm, (const uint64_t[]){1, 10, 20}, LOCAL("40") LOCAL("80"),
         TIMED("s gemm 1x10x20 l+1024; "));
    /* 2 requests of 3 rows at the end of 7 tokens; keys of 2 x 6 values and values of 4.
     */
    done(&bench_attention, (const uint64_t[]){4, 2, 6, 4, 2, 7, 3},
         LOCAL("576") LOCAL("384") SENT("48") SENT("24"),
         TIMED("s attention 6 rows 4/2 heads 6+4 longest 7 l+2048 l+2720; "));
    /* Three experts of 3 x 4 x 2 values, of 5, 2 and 2 rows: 9 of 5 tokens' 2 choices. */
    done(
        &bench_experts, (const uint64_t[]){4, 2, 3, 2, 3, 2, 5},
        LOCAL("80") LOCAL("80") LOCAL("144") LOCAL("144") LOCAL("144") SENT("36")
            SENT("40") SENT("40"),
        TIMED(
            "s gather 9 of 5 x4; s experts 4x2x3 5 l+3328 2 l+3424 2 l+3520; s scatter 9 "
            "of 5 x2; "));
    /* What the pool does not hold does not fit. */
    made.shape = (const uint64_t[]){1, 128, 129};
    assert_int_equal(bench_gemm.setup(&made, &e), 1);
    free(made.state);
    bench_free_local(&made);
    made.shape = (const uint64_t[]){1, 1, 33, 32, 1, 253, 1};
    assert_int_equal(bench_attention.setup(&made, &e), 1);
    free(made.state);
    made.shape = (const uint64_t[]){64, 64, 3, 1, 2, 1, 1};
    assert_int_equal(bench_experts.setup(&made, &e), 1);
    free(made.state);
    made.state = NULL;
    assert_int_equal(held, 0);
}

/* Runs one sample of a shape in pools of 64 KiB, and expects what it enqueues. */
static void sampled(const struct device_bench *k, const uint64_t *shape,
                    const char *wanted)
{
    struct err e = {.text = ""};
    double seconds = 0.0;

    made.shape = shape;
    assert_int_equal(k->setup(&made, &e), 0);
    said[0] = '\0';
    assert_int_equal(k->run(&made, &seconds, &e), 0);
    assert_string_equal(said, wanted);
    assert_true(seconds > 0.999e-3 && seconds < 1.001e-3);
}

static void test_copies_are_enqueued(void **state)
{
    struct err e = {.text = ""};
    const uint64_t larger[] = {0, 64 * KIB + 1};

    (void)state;
    make();
    /* One copy after another comes from further on, and from the beginning where the
     * rest is too small. */
    sampled(&bench_copy, (const uint64_t[]){COPY_H2D_PINNED, 1000},
            "s spin; s event 0; s l+0<-p+0 1000; s event 1; wait 1; ");
    sampled(&bench_copy, (const uint64_t[]){COPY_D2H_PINNED, 1000},
            "s spin; s event 0; s p+1024<-l+1024 1000; s event 1; wait 1; ");
    sampled(&bench_copy, (const uint64_t[]){COPY_H2D_PAGEABLE, 256},
            "s spin; s event 0; s l+2048<-g+2048 256; s event 1; wait 1; ");
    sampled(&bench_copy, (const uint64_t[]){COPY_D2H_PAGEABLE, 64 * KIB - 2304},
            "s spin; s event 0; s g+2304<-l+2304 63232; s event 1; wait 1; ");
    sampled(&bench_copy, (const uint64_t[]){COPY_H2D_PINNED, 60000},
            "s spin; s event 0; s l+0<-p+0 60000; s event 1; wait 1; ");
    sampled(&bench_copy, (const uint64_t[]){COPY_H2D_PINNED, 5377},
            "s spin; s event 0; s l+0<-p+0 5377; s event 1; wait 1; ");
    sampled(&bench_chunks, (const uint64_t[]){COPY_D2H_PINNED, 1000, 400},
            "s spin; s event 0; s p+5632<-l+5632 400; s p+6032<-l+6032 400; "
            "s p+6432<-l+6432 200; s event 1; wait 1; ");
    sampled(&bench_duplex, (const uint64_t[]){COPY_H2D_PINNED, 256},
            "o spin; o p+6656<-l+6656 256; o event 2; o p+6912<-l+6912 256; "
            "o p+7168<-l+7168 256; o p+7424<-l+7424 256; s hold 2; s event 0; "
            "s l+7680<-p+7680 256; s event 1; wait 1; o ends; ");
    made.shape = larger;
    assert_int_equal(bench_copy.setup(&made, &e), 1);
    assert_int_equal(bench_chunks.setup(&made, &e), 1);
    assert_int_equal(bench_duplex.setup(&made, &e), 1);
}

/* Five experts on two workers: two on the first, three on the second, which has no more
 * rows than theirs. */
static void test_workers_are_dealt_to(void **state)
{
    (void)state;
    make();
    made.cpu = made.d;
    made.worker[0] = &stream;
    made.worker[1] = &other;
    made.workers = 2;
    made.cpu_pool = pool[0];
    made.pattern = mem_zalloc(BENCH_PATTERN, sizeof *made.pattern);
    done(&bench_cpu, (const uint64_t[]){4, 2, 3, 2, 5, 2, 7}, "",
         "s experts 4x2x3 7 l+0 2 l+96; o experts 4x2x3 2 l+192 2 l+288 2 l+384; s ends; "
         "o ends; ");
    /* One is none for the first. */
    done(&bench_cpu, (const uint64_t[]){4, 2, 3, 2, 1, 2, 7}, "",
         "o experts 4x2x3 7 l+512; s ends; o ends; ");
    free(made.pattern);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_patterns_fill_what_there_is),
        cmocka_unit_test(test_launches_are_enqueued),
        cmocka_unit_test(test_moves_are_enqueued),
        cmocka_unit_test(test_kernels_are_enqueued),
        cmocka_unit_test(test_copies_are_enqueued),
        cmocka_unit_test(test_workers_are_dealt_to),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
