#include "timeline.h"

#include "sim/base/file.h"
#include "sim/base/mem.h"
#include "sim/base/json.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>

struct event {
    struct op_times times;
    int process;
    uint32_t layer, expert;
    enum op_kind kind;
    enum op_lane lane;
};

struct timeline {
    pthread_mutex_t lock; /* of all below */
    struct file_out *out;
    char **label; /* [processes] */
    int processes;
    struct event *event;
    size_t count, capacity;
};

struct timeline *timeline_new(const char *path, struct err *e)
{
    struct file_out *out = file_out_new(path, e);
    struct timeline *t;

    if (out == NULL)
        return NULL;
    t = mem_zalloc(1, sizeof *t);
    t->out = out;
    (void)pthread_mutex_init(&t->lock, NULL);
    return t;
}

int timeline_add_process(struct timeline *t, const char *label)
{
    int number;

    (void)pthread_mutex_lock(&t->lock);
    number = t->processes++;
    t->label = mem_resize(t->label, (size_t)t->processes, sizeof *t->label);
    t->label[number] = mem_strdup(label);
    (void)pthread_mutex_unlock(&t->lock);
    return number;
}

void timeline_op(struct timeline *t, int process, enum op_kind kind, enum op_lane lane,
                 uint32_t layer, uint32_t expert, const struct op_times *times)
{
    (void)pthread_mutex_lock(&t->lock);
    assert(process >= 0 && process < t->processes);
    if (t->count == t->capacity) {
        t->capacity = t->capacity * 2 + 1024;
        t->event = mem_resize(t->event, t->capacity, sizeof *t->event);
    }
    t->event[t->count++] = (struct event){.times = *times,
                                          .process = process,
                                          .layer = layer,
                                          .expert = expert,
                                          .kind = kind,
                                          .lane = lane};
    (void)pthread_mutex_unlock(&t->lock);
}

static int sign(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

/* A total order over everything that is written. */
static int compare(const void *a, const void *b)
{
    const struct event *x = a, *y = b;
    int order = sign(x->process, y->process);

    if (order == 0)
        order = sign(x->lane, y->lane);
    if (order == 0)
        order = sign(x->times.start, y->times.start);
    if (order == 0)
        order = sign(x->times.end, y->times.end);
    if (order == 0)
        order = sign(x->kind, y->kind);
    if (order == 0)
        order = sign(x->layer, y->layer);
    if (order == 0)
        order = sign(x->expert, y->expert);
    if (order == 0)
        order = sign(x->times.issued, y->times.issued);
    if (order == 0)
        order = sign(x->times.cancelled, y->times.cancelled);
    return order;
}

/* Picoseconds as microseconds, exactly. */
static void print_us(FILE *out, sim_time t)
{
    uint64_t ps = t < 0 ? 0 - (uint64_t)t : (uint64_t)t;

    (void)fprintf(out, "%s%" PRIu64 ".%06" PRIu64, t < 0 ? "-" : "", ps / 1000000,
                  ps % 1000000);
}

static void print_metadata(const struct timeline *t, int process, FILE *out)
{
    (void)fprintf(
        out, "{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":%d,\"args\":{\"name\":",
        process);
    json_string(out, t->label[process]);
    (void)fprintf(out,
                  "}},\n{\"name\":\"process_sort_index\",\"ph\":\"M\",\"pid\":%d,"
                  "\"args\":{\"sort_index\":%d}}",
                  process, process);
    for (int lane = 0; lane < OP_LANES; lane++) {
        (void)fprintf(out,
                      ",\n{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":%d,\"tid\":%d,"
                      "\"args\":{\"name\":",
                      process, lane);
        json_string(out, op_lane_name((enum op_lane)lane));
        (void)fprintf(out,
                      "}},\n{\"name\":\"thread_sort_index\",\"ph\":\"M\",\"pid\":%d,"
                      "\"tid\":%d,\"args\":{\"sort_index\":%d}}",
                      process, lane, lane);
    }
}

static void print_event(const struct event *v, FILE *out)
{
    bool copy = v->kind == OP_COPY_IN || v->kind == OP_COPY_OUT;
    const char *kind = op_kind_name(v->kind);

    if (copy)
        (void)fprintf(out, "{\"name\":\"%s L%" PRIu32 " E%" PRIu32 "\"", kind, v->layer,
                      v->expert);
    else if (v->kind == OP_HEAD)
        (void)fprintf(out, "{\"name\":\"%s\"", kind);
    else
        (void)fprintf(out, "{\"name\":\"%s L%" PRIu32 "\"", kind, v->layer);
    (void)fprintf(out, ",\"cat\":\"%s\",\"ph\":\"X\",\"ts\":", kind);
    print_us(out, v->times.start);
    (void)fputs(",\"dur\":", out);
    print_us(out, v->times.end - v->times.start);
    (void)fprintf(out, ",\"pid\":%d,\"tid\":%d,\"args\":{\"issued_us\":", v->process,
                  (int)v->lane);
    print_us(out, v->times.issued);
    if (v->kind != OP_HEAD)
        (void)fprintf(out, ",\"layer\":%" PRIu32, v->layer);
    if (copy)
        (void)fprintf(out, ",\"expert\":%" PRIu32, v->expert);
    (void)fprintf(out, "%s}}", v->times.cancelled ? ",\"cancelled\":true" : "");
}

static void timeline_free(struct timeline *t)
{
    for (int i = 0; i < t->processes; i++)
        free(t->label[i]);
    free(t->label);
    free(t->event);
    (void)pthread_mutex_destroy(&t->lock);
    free(t);
}

int timeline_commit(struct timeline *t, struct err *e)
{
    FILE *out = file_out_stream(t->out);
    int status;

    if (t->count > 0)
        qsort(t->event, t->count, sizeof *t->event, compare);
    (void)fputs("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[", out);
    for (int i = 0; i < t->processes; i++) {
        (void)fputs(i == 0 ? "\n" : ",\n", out);
        print_metadata(t, i, out);
    }
    for (size_t i = 0; i < t->count; i++) {
        (void)fputs(",\n", out);
        print_event(&t->event[i], out);
    }
    (void)fputs("\n]}\n", out);
    status = file_out_commit(t->out, e);
    timeline_free(t);
    return status;
}

void timeline_abandon(struct timeline *t)
{
    if (t == NULL)
        return;
    file_out_abandon(t->out);
    timeline_free(t);
}
