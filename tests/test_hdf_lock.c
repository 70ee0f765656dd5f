/* HDF5 is not safe for threads: whatever of a trace calls it waits while another thread
 * is between hdf_enter() and hdf_leave(). A call that does not wait is noticed when it
 * returns; a slow one that would not have waited is not, so that this never fails by
 * chance. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "trace_maker.h"

#include "traces/hdf.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { ROWS = 5000, EXPERTS = 4 }; /* more than a writer keeps back */

struct caller {
    const char *path;
    struct trace *trace;
    struct trace_writer *writer;
    int status;
    atomic_bool returned;
};

static uint16_t moe_layer[] = {0};
static struct trace_token token[ROWS];
static uint16_t expert[ROWS];

static void open_writer(struct caller *c)
{
    char text[] = "test";
    struct trace_info info = {.model = text,
                              .source = text,
                              .capture = text,
                              .experts = EXPERTS,
                              .top_k = 1,
                              .candidates = 1,
                              .layers = 1,
                              .moe_layer = moe_layer,
                              .score_kind = TRACE_SCORE_NONE};
    struct err e = {.text = ""};

    c->writer = trace_writer_new(c->path, &info, &e);
    c->status = c->writer == NULL ? -1 : 0;
}

static void write_rows(struct caller *c)
{
    struct err e = {.text = ""};

    c->status = trace_writer_rows(c->writer, ROWS, token, expert, NULL, NULL, &e);
}

static void write_request(struct caller *c)
{
    struct trace_request r = {.arrival_ns = -1,
                              .prompt_tokens = 1,
                              .output_tokens = ROWS,
                              .first_row = 0,
                              .rows = ROWS};
    struct err e = {.text = ""};

    c->status = trace_writer_request(c->writer, &r, &e);
}

static void write_pass(struct caller *c)
{
    uint64_t row = 0;
    struct err e = {.text = ""};

    c->status = trace_writer_pass(c->writer, &row, 1, -1, &e);
}

static void commit(struct caller *c)
{
    struct err e = {.text = ""};

    c->status = trace_writer_commit(c->writer, &e);
}

static void abandon(struct caller *c)
{
    trace_writer_abandon(c->writer);
}

static void open_trace(struct caller *c)
{
    struct err e = {.text = ""};

    c->trace = trace_open(c->path, NULL, &e);
    c->status = c->trace == NULL ? -1 : 0;
}

static void read_expert(struct caller *c)
{
    struct err e = {.text = ""};
    uint16_t one;

    c->status = trace_read_expert(c->trace, 0, 1, &one, &e);
}

static void read_token(struct caller *c)
{
    struct err e = {.text = ""};
    struct trace_token one;

    c->status = trace_read_token(c->trace, 0, 1, &one, &e);
}

static void close_trace(struct caller *c)
{
    trace_close(c->trace);
}

static const struct {
    const char *name;
    void (*call)(struct caller *c);
    long wait_ms; /* 0: need not wait for the other */
} calls[] = {
    {"new", open_writer, 20},       {"rows", write_rows, 20},
    {"request", write_request, 0}, /* is kept until the end */
    {"pass", write_pass, 20},       {"commit", commit, 200},
    {"open", open_trace, 20},       {"expert", read_expert, 20},
    {"token", read_token, 20},      {"close", close_trace, 20},
    {"new again", open_writer, 20}, {"abandon", abandon, 20},
};

struct job {
    void (*call)(struct caller *c);
    struct caller *c;
};

static void *call(void *context)
{
    struct job *j = context;

    j->call(j->c);
    atomic_store(&j->c->returned, true);
    return NULL;
}

static void every_call_waits(void **state)
{
    char *path = trace_make_path("lock.h5");
    struct caller c = {.path = path};

    (void)state;
    for (uint32_t i = 0; i < ROWS; i++) {
        token[i] = (struct trace_token){
            .position = i, .phase = TRACE_DECODE, .token_id = -1, .source = UINT16_MAX};
        expert[i] = (uint16_t)(i % EXPERTS);
    }
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        const struct timespec pause = {.tv_nsec = calls[i].wait_ms * 1000000};
        struct job job = {calls[i].call, &c};
        pthread_t thread;

        atomic_store(&c.returned, false);
        hdf_enter();
        assert_int_equal(pthread_create(&thread, NULL, call, &job), 0);
        (void)nanosleep(&pause, NULL);
        if (calls[i].wait_ms > 0 && atomic_load(&c.returned))
            fail_msg("%s does not wait", calls[i].name);
        hdf_leave();
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(c.status, 0);
    }
    assert_int_equal(unlink(path), 0);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_call_waits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
