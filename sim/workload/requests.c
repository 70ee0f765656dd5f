#include "requests.h"

#include "arrivals.h"
#include "sim/base/mem.h"

#include <stdlib.h>

/* How many requests are served: all there are, or as many as asked for. */
static int count_requests(struct requests *r, uint64_t wanted, uint64_t available,
                          const char *where, struct err *e)
{
    if (wanted > available)
        return err_set_key(e, "workload.requests",
                           "workload: requests is %llu, but %s has only %llu from the "
                           "first one on; 0 takes all",
                           (unsigned long long)wanted, where,
                           (unsigned long long)available);
    if (wanted == 0)
        wanted = available;
    if (wanted > UINT32_MAX)
        return err_set_key(
            e, "workload.requests",
            "workload: %s has %llu requests; at most %u can be served, so set "
            "requests",
            where, (unsigned long long)wanted, UINT32_MAX);
    r->count = (uint32_t)wanted;
    return 0;
}

static void make_requests(struct requests *r, struct trace *t, uint64_t first)
{
    const struct trace_request *all = trace_get_requests(t);
    uint64_t count = trace_get_info(t)->requests;

    r->request = mem_zalloc(r->count, sizeof *r->request);
    for (uint32_t i = 0; i < r->count; i++) {
        struct workload_request *q = &r->request[i];

        q->trace_request = (first + i) % count;
        q->group = all[q->trace_request].group;
        q->prompt_tokens = all[q->trace_request].prompt_tokens;
        q->output_tokens = all[q->trace_request].output_tokens;
    }
}

static int take_file(struct requests *r, struct trace *t, const struct workload_params *p,
                     struct err *e)
{
    struct arrivals a = {.request = NULL};
    int status;

    if (arrivals_read(&a, p->file, (uint64_t)p->requests, e) != 0)
        return err_about(e, "workload.file");
    status = count_requests(r, (uint64_t)p->requests, a.count, p->file, e);
    if (status == 0)
        make_requests(r, t, (uint64_t)p->first_request);
    for (uint32_t i = 0; i < r->count; i++) {
        if (p->arrivals == ARRIVALS_FILE)
            r->request[i].arrival = a.request[i].arrival;
        if (p->lengths == LENGTHS_FILE) {
            r->request[i].prompt_tokens = a.request[i].prompt_tokens;
            r->request[i].output_tokens = a.request[i].output_tokens;
        }
    }
    arrivals_release(&a);
    return status;
}

static int take_trace_arrivals(struct requests *r, struct trace *t, struct err *e)
{
    const struct trace_request *all = trace_get_requests(t);
    int64_t earliest = INT64_MAX;

    for (uint32_t i = 0; i < r->count; i++) {
        int64_t ns = all[r->request[i].trace_request].arrival_ns;

        if (ns < 0)
            return err_set_key(e, "workload.arrivals",
                               "%s: /request/arrival_ns of request %llu is not recorded, "
                               "which arrivals: trace needs",
                               trace_path(t),
                               (unsigned long long)r->request[i].trace_request);
        if (ns < earliest)
            earliest = ns;
    }
    for (uint32_t i = 0; i < r->count; i++) {
        uint64_t number = r->request[i].trace_request;
        int64_t ns = all[number].arrival_ns - earliest;

        if (ns > INT64_MAX / SIM_TIME_PER_NS)
            return err_set_key(
                e, "workload.arrivals",
                "%s: /request/arrival_ns of request %llu is %lld ns after the "
                "earliest; at most 106 days can be simulated",
                trace_path(t), (unsigned long long)number, (long long)ns);
        r->request[i].arrival = ns * SIM_TIME_PER_NS;
    }
    return 0;
}

static int take_poisson(struct requests *r, double rate, uint64_t seed, struct err *e)
{
    struct arrivals_poisson p;

    arrivals_poisson_init(&p, seed, rate);
    for (uint32_t i = 0; i < r->count; i++)
        if (arrivals_poisson_next(&p, &r->request[i].arrival, e) != 0)
            return -1;
    return 0;
}

/* Stable merge sort by arrival. */
static void sort_order(struct requests *r)
{
    uint32_t *from = mem_alloc(r->count, sizeof *from);
    uint32_t *to = mem_alloc(r->count, sizeof *to);

    for (uint32_t i = 0; i < r->count; i++)
        from[i] = i;
    for (uint64_t width = 1; width < r->count; width *= 2) {
        uint32_t *swap = from;

        for (uint64_t begin = 0; begin < r->count; begin += 2 * width) {
            uint64_t middle = begin + width < r->count ? begin + width : r->count;
            uint64_t end = middle + width < r->count ? middle + width : r->count;
            uint64_t a = begin;
            uint64_t b = middle;

            for (uint64_t k = begin; k < end; k++) {
                bool left = b == end || (a < middle && r->request[from[a]].arrival <=
                                                           r->request[from[b]].arrival);

                to[k] = left ? from[a++] : from[b++];
            }
        }
        from = to;
        to = swap;
    }
    free(to);
    r->order = from;
}

static void order_arrivals(struct requests *r)
{
    for (uint32_t i = 1; i < r->count; i++)
        if (r->request[i].arrival < r->request[i - 1].arrival) {
            sort_order(r);
            return;
        }
}

int requests_init(struct requests *r, struct trace *t, const struct workload_params *p,
                  uint64_t seed, struct err *e)
{
    uint64_t first = (uint64_t)p->first_request;

    *r = (struct requests){0};
    if (p->arrivals == ARRIVALS_FILE || p->lengths == LENGTHS_FILE) {
        if (take_file(r, t, p, e) != 0)
            return -1;
    } else {
        if (count_requests(r, (uint64_t)p->requests, trace_get_info(t)->requests - first,
                           trace_path(t), e) != 0)
            return -1;
        make_requests(r, t, first);
    }
    if (p->arrivals == ARRIVALS_TRACE && take_trace_arrivals(r, t, e) != 0)
        return -1;
    if (p->arrivals == ARRIVALS_POISSON && take_poisson(r, p->rate, seed, e) != 0)
        return -1;
    order_arrivals(r);
    return 0;
}

void requests_release(struct requests *r)
{
    free(r->request);
    free(r->order);
    *r = (struct requests){0};
}
