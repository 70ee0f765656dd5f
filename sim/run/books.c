/* The books of a run: where the time of a pass went, and what was counted. */
#include "sim/base/mem.h"
#include "run_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char *run_share_name(enum run_share share)
{
    static const char *const name[RUN_SHARES] = {
        "dense compute",         "expert compute", "experts on the host", "exposed copy",
        "exposed communication", "imbalance wait", "launch and host",
    };

    return name[share];
}

void run_result_release(struct run_result *r)
{
    free(r->layer);
    free(r->request);
    free(r->gpu_rows);
    free(r->link_bytes);
    if (r->pass_spool != NULL)
        (void)fclose(r->pass_spool);
    *r = (struct run_result){.layer = NULL};
}

/* Times of operations that have ended; valid until the next call. */
const struct op_times *books_times(struct run *r, const op_id *id, size_t count)
{
    if (count > r->times_capacity) {
        r->times_capacity = 2 * count;
        r->times = mem_resize(r->times, r->times_capacity, sizeof *r->times);
    }
    r->ops->times(r->exec, id, count, r->times);
    return r->times;
}

/* Every picosecond of the pass belongs to one share: see runner.h. */
void books_attribute(struct run *r)
{
    const struct op_times *times = books_times(r, r->log_id, r->log_count);
    const struct run_logged *log = r->log;
    size_t count = r->log_count;
    sim_time end = r->ops->now(r->exec), at = r->books.start;
    sim_time host = 0, copy = 0, busy = 0, ran[RUN_SHARES] = {0};

    for (size_t i = 0; i < count; i++) {
        sim_time start = times[i].start, stop = times[i].end;
        sim_time *share = log[i].share;

        busy += stop - start;
        if (start > at) { /* the lane was idle */
            sim_time issued = times[i].issued;
            sim_time launched = issued < at ? at : issued > start ? start : issued;

            host += launched - at;
            copy += start - launched;
            share[SHARE_HOST] += launched - at;
            share[SHARE_COPY] += start - launched;
            at = start;
        }
        ran[log[i].kind] += stop - at;
        share[log[i].kind] += stop - at;
        at = stop;
    }
    for (int i = 0; i < RUN_SHARES; i++)
        r->books.share[i] += ran[i];
    r->books.share[SHARE_HOST] += host + (end - at);
    r->books.share[SHARE_COPY] += copy;
    r->books.latency = end - r->books.start;
    r->result->compute_busy += busy;
    if (r->hosted != NULL)
        hosted_attribute(r);
}

void books_copies(struct run *r)
{
    const struct op_times *t = books_times(r, r->demand.id, r->demand.count);

    for (size_t i = 0; i < r->demand.count; i++) {
        struct run_layer *layer = &r->result->layer[r->demand.copy[i].layer];

        layer->queue_time += t[i].start - t[i].issued;
        layer->copy_time += t[i].end - t[i].start;
        layer->copies++;
    }
    t = books_times(r, r->late.id, r->late.count);
    for (size_t i = 0; i < r->late.count; i++) {
        const struct run_copy *c = &r->late.copy[i];

        if (t[i].end > c->asked)
            r->result->layer[c->layer].late_time += t[i].end - c->asked;
    }
}

void books_add(struct run_counts *sum, const struct run_counts *c)
{
    sum->activations += c->activations;
    sum->dropped += c->dropped;
    sum->accesses += c->accesses;
    sum->hits += c->hits;
    sum->late += c->late;
    sum->loads += c->loads;
    sum->bypasses += c->bypasses;
    sum->host_runs += c->host_runs;
    sum->prefetches += c->prefetches;
    sum->prefetch_used += c->prefetch_used;
    sum->demand_bytes += c->demand_bytes;
    sum->prefetch_bytes += c->prefetch_bytes;
    sum->wasted_bytes += c->wasted_bytes;
    sum->out_bytes += c->out_bytes;
    sum->computed_rows += c->computed_rows;
    sum->busiest_rows += c->busiest_rows;
    sum->sent_rows += c->sent_rows;
    sum->sent_bytes += c->sent_bytes;
    sum->migrations += c->migrations;
    sum->migrated_bytes += c->migrated_bytes;
}

static void book_requests(const struct run_setup *s, const struct pass *p, sim_time end,
                          struct run_request *request)
{
    for (uint32_t i = 0; i < p->first_count; i++)
        request[p->first[i]].first_token = end;
    for (uint32_t i = 0; i < p->output_count; i++) {
        struct run_request *q = &request[p->output[i]];

        q->last_token = end;
        q->output_tokens++;
    }
    for (uint32_t i = 0; i < p->finished_count; i++) {
        const struct workload_request *w =
            workload_get_request(s->workload, p->finished[i]);
        struct run_request *q = &request[p->finished[i]];

        q->trace_request = w->trace_request;
        q->arrival = w->arrival;
        q->prompt_tokens = w->prompt_tokens;
        q->group = w->group;
        q->finished = true;
        if (q->output_tokens == 0)
            q->first_token = q->last_token = end;
    }
}

int books_close(const struct run_setup *s, const struct pass *pass,
                const struct run_pass *books, struct run_result *result, struct err *e)
{
    struct run_pass *total = &result->total;
    uint64_t prefill = 0;

    for (uint32_t i = 0; i < pass->rows; i++)
        prefill += pass->row[i].phase == TRACE_PREFILL;
    result->prefill_rows += prefill;
    result->decode_rows += pass->rows - prefill;
    result->output_tokens += pass->output_count;
    result->passes++;
    total->latency += books->latency;
    total->rows += books->rows;
    total->outputs += books->outputs;
    for (int i = 0; i < RUN_SHARES; i++)
        total->share[i] += books->share[i];
    books_add(&total->counts, &books->counts);
    book_requests(s, pass, books->start + books->latency, result->request);
    if (result->pass_spool != NULL &&
        fwrite(books, sizeof *books, 1, result->pass_spool) != 1)
        return err_set(e,
                       "the temporary file for pass records cannot be written: %s; set "
                       "TMPDIR to a folder with room",
                       strerror(errno));
    return 0;
}

/* Conservation: accesses = hits + misses of each kind, shares = latency, tokens as handed
 * out. */
int books_check(const struct run_setup *s, const struct run_result *r, struct err *e)
{
    const struct run_counts *c = &r->total.counts;
    sim_time sum = 0;

    for (int i = 0; i < RUN_SHARES; i++)
        sum += r->total.share[i];
    if (c->accesses != c->hits + c->loads + c->bypasses + c->host_runs)
        return err_set(e,
                       "the runner's books do not balance: accesses are not hits + loads "
                       "+ bypasses + host runs; please report this");
    if (sum != r->total.latency)
        return err_set(e,
                       "the runner's books do not balance: the shares do not sum to the "
                       "latency; please report this");
    if (r->prefill_rows + r->decode_rows != workload_rows_done(s->workload))
        return err_set(e,
                       "the runner's books do not balance: rows were lost; please report "
                       "this");
    return 0;
}
