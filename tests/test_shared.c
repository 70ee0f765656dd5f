/* What experiments share: made once, kept as long as there is room, given again. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "trace_maker.h"
#include "sim/base/mem.h"
#include "sim/experiment/shared.h"
#include "traces/trace_image.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static atomic_int made, freed;

/* A copy of the context, after a moment; none of an empty text. */
static void *make(void *context, struct err *e)
{
    const char *text = context;

    atomic_fetch_add(&made, 1);
    (void)nanosleep(&(struct timespec){.tv_nsec = 3000000}, NULL);
    if (*text != '\0')
        return mem_strdup(text);
    (void)err_set(e, "nothing to copy");
    return NULL;
}

static void release(void *value)
{
    atomic_fetch_add(&freed, 1);
    free(value);
}

static const struct shared_kind copies = {make, release}, others = {make, release};

static char *take(struct shared *s, const struct shared_kind *kind, const char *text)
{
    char copy[8];
    struct err e = {.text = ""};

    (void)strcpy(copy, text);
    return shared_take(s, kind, text, copy, &e);
}

static int reset(void **state)
{
    (void)state;
    atomic_store(&made, 0);
    atomic_store(&freed, 0);
    return 0;
}

static void test_made_once(void **state)
{
    struct shared *s = shared_new(4);
    char *a = take(s, &copies, "a"), *again = take(s, &copies, "a");
    char *b = take(s, &copies, "b"), *other = take(s, &others, "a");

    (void)state;
    assert_ptr_equal(a, again);
    assert_string_equal(b, "b");
    assert_ptr_not_equal(a, other);
    assert_int_equal(made, 3);
    shared_give_back(s, &copies, a);
    shared_give_back(s, &copies, again);
    shared_give_back(s, &copies, b);
    shared_give_back(s, &others, other);
    assert_int_equal(freed, 0);
    shared_free(s);
    assert_int_equal(freed, 3);
}

/* The one that was used longest ago goes; what somebody has in hand stays. */
static void test_room(void **state)
{
    struct shared *s = shared_new(2);
    char *held = take(s, &copies, "held");

    (void)state;
    for (int i = 0; i < 3; i++) {
        static const char *const text[] = {"a", "b", "c"};

        shared_give_back(s, &copies, take(s, &copies, text[i]));
    }
    assert_int_equal(made, 4);
    assert_int_equal(freed, 1); /* a */
    shared_give_back(s, &copies, take(s, &copies, "b"));
    assert_int_equal(made, 4);
    shared_give_back(s, &copies, take(s, &copies, "a"));
    assert_int_equal(made, 5);
    assert_int_equal(freed, 2); /* c */
    assert_string_equal(held, "held");
    shared_give_back(s, &copies, held);
    assert_int_equal(freed, 3); /* b */
    shared_free(s);
    assert_int_equal(freed, made);
}

/* What could not be made is tried again. */
static void test_failure(void **state)
{
    struct shared *s = shared_new(2);
    struct err e = {.text = ""};

    (void)state;
    assert_null(shared_take(s, &copies, "x", &(char[]){'\0'}, &e));
    assert_string_equal(e.text, "nothing to copy");
    assert_null(shared_take(s, &copies, "x", &(char[]){'\0'}, &e));
    assert_int_equal(made, 2);
    shared_free(s);
    assert_int_equal(freed, 0);
}

/* Without anything to share with, each taker has its own. */
static void test_alone(void **state)
{
    char *a = take(NULL, &copies, "a"), *b = take(NULL, &copies, "a");

    (void)state;
    assert_ptr_not_equal(a, b);
    shared_give_back(NULL, &copies, a);
    shared_give_back(NULL, &copies, b);
    shared_give_back(NULL, &copies, NULL);
    assert_int_equal(made, 2);
    assert_int_equal(freed, 2);
}

static void *take_many(void *context)
{
    static const char *const text[] = {"a", "b", "c", "d", "e"};

    for (int i = 0; i < 40; i++) {
        char *value = take(context, &copies, text[i % 5]);

        if (value == NULL || strcmp(value, text[i % 5]) != 0)
            return context;
        shared_give_back(context, &copies, value);
    }
    return NULL;
}

static void test_threads(void **state)
{
    struct shared *s = shared_new(8);
    pthread_t thread[4];

    (void)state;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, take_many, s), 0);
    for (int i = 0; i < 4; i++) {
        void *wrong;

        assert_int_equal(pthread_join(thread[i], &wrong), 0);
        assert_null(wrong);
    }
    assert_int_equal(made, 5);
    shared_free(s);
    assert_int_equal(freed, 5);
}

/* ---- a trace in memory ---- */

static void check_rows(struct trace *t, const struct trace_make *m)
{
    size_t width = (size_t)m->layers * m->candidates;
    size_t predicted = (size_t)m->layers * m->predicted;
    uint16_t *expert = mem_alloc(2 * (width + predicted), sizeof *expert);
    float *score = mem_alloc(2 * width, sizeof *score);

    for (uint64_t row = 0; row < trace_make_rows(m); row++) {
        struct trace_token is, want;
        struct err e = {.text = ""};

        trace_make_row(m, row, &want, expert, score, expert + 2 * width);
        assert_int_equal(trace_read_token(t, row, 1, &is, &e), 0);
        assert_int_equal(trace_read_expert(t, row, 1, expert + width, &e), 0);
        assert_int_equal(trace_read_score(t, row, 1, score + width, &e), 0);
        assert_int_equal(
            trace_read_predicted(t, row, 1, expert + 2 * width + predicted, &e), 0);
        assert_int_equal(is.position, want.position);
        assert_int_equal(is.token_id, want.token_id);
        assert_memory_equal(expert, expert + width, width * sizeof *expert);
        assert_memory_equal(score, score + width, width * sizeof *score);
        assert_memory_equal(expert + 2 * width, expert + 2 * width + predicted,
                            predicted * sizeof *expert);
    }
    free(score);
    free(expert);
}

/* Rows from memory are those of the file, which is not read any more. */
static void test_image(void **state)
{
    static const struct trace_make m = {.layers = 3,
                                        .experts = 40,
                                        .top_k = 3,
                                        .candidates = 7,
                                        .requests = 9,
                                        .rows = 211,
                                        .score_kind = TRACE_SCORE_SOFTMAX,
                                        .predicted = 2,
                                        .known_source = true,
                                        .passes = true,
                                        .seed = 12};
    char *path = trace_make_path("image");
    struct shared *s = shared_new(1);
    struct err e = {.text = ""};
    struct trace *t;
    uint64_t *rows, count;
    int64_t start;
    void *image;

    (void)state;
    trace_make(path, &m);
    t = trace_open(path, NULL, &e);
    assert_non_null(t);
    assert_int_equal(trace_image_bytes(t) % 64, 0);
    image = mem_alloc(trace_image_bytes(t), 1);
    assert_int_equal(trace_image_fill(t, image, &e), 0);
    check_rows(t, &m);
    trace_close(t);

    shared_lend_trace(s, path, image);
    trace_poke(path, "/routing/expert", 3, 5, 4095); /* no expert: it would be refused */
    t = shared_open_trace(s, path, &e);
    assert_non_null(t);
    check_rows(t, &m);
    assert_int_equal(trace_read_pass(t, 1, &rows, &count, &start, &e), 0);
    assert_true(count > 0 && rows[0] > 0);
    free(rows);
    trace_close(t);
    shared_free(s);
    free(image);
    (void)unlink(path);
    free(path);
}

#define FRESH(test) cmocka_unit_test_setup(test, reset)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FRESH(test_made_once), FRESH(test_room),    FRESH(test_failure),
        FRESH(test_alone),     FRESH(test_threads), FRESH(test_image),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
