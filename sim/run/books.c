/* The books of a run: where the time of a pass went, and what was counted. */
#include "run_state.h"

#include "sim/base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char *run_share_name(enum run_share share)
{
    static const char *const name[RUN_SHARES] = {
        "dense compute",         "expert compute", "experts in place", "exposed copy",
        "exposed communication", "imbalance wait", "launch and host",
    };

    return name[share];
}

void run_result_release(struct run_result *r)
{
    free(r->layer);
    free(r->request);
    free(r->gpu_rows);
    free(r->gpu_peak);
    free(r->link_bytes);
    free(r->placed.pass);
    free(r->placed.expert);
    free(r->watch);
    if (r->pass_spool != NULL)
        (void)fclose(r->pass_spool);
    *r = (struct run_result){.layer = NULL};
}

static sim_time within(sim_time t, sim_time low, sim_time high)
{
    return t < low ? low : t > high ? high : t;
}

static void add_share(struct runner *c, sim_time *share, enum run_share kind,
                      sim_time time)
{
    c->sum[kind] += time;
    share[kind] += time;
}

/* The gap until `start` before an operation that comes after collectives [from, until) of
 * the GPU: until each was launched, until its own experts on the host have ended, until
 * the others were there, until it has ended. Returns when the last of them has. */
static sim_time attribute_gap(struct runner *c, const struct lanes *l,
                              const struct op_times *times, uint32_t from, uint32_t until,
                              sim_time at, sim_time start)
{
    for (uint32_t i = from; i < until; i++) {
        const struct op_times *t = &times[i];
        sim_time *share = l->collective[i].share;
        sim_time begin = within(t->start, at, start);
        sim_time issued = within(t->issued, at, begin);
        sim_time end = within(t->end, begin, start), ran = issued;

        if (l->collective[i].hosted != 0)
            ran = within(times[l->collectives + i].end, issued, begin);
        add_share(c, share, SHARE_HOST, issued - at);
        add_share(c, share, SHARE_HOSTED, ran - issued);
        add_share(c, share, SHARE_IMBALANCE, begin - ran);
        add_share(c, share, SHARE_COMM, end - begin);
        at = end;
    }
    return at;
}

/* Times of a GPU's collectives and, behind them where it may have some, of the experts on
 * the host that each came after. */
static const struct op_times *collective_times(struct gpu *g)
{
    struct lanes *l = &g->lanes;
    size_t count = (g->hosted != NULL ? 2 : 1) * (size_t)l->collectives;

    if (count > l->gap_room) {
        l->gap_room = 2 * count;
        l->gap = mem_resize(l->gap, l->gap_room, sizeof *l->gap);
        l->gap_id = mem_resize(l->gap_id, l->gap_room, sizeof *l->gap_id);
    }
    for (uint32_t i = 0; i < l->collectives; i++) {
        const struct lane_collective *x = &l->collective[i];

        l->gap_id[i] = x->id;
        if (g->hosted != NULL)
            l->gap_id[l->collectives + i] = x->hosted != 0 ? x->hosted : x->id;
    }
    if (count > 0)
        l->ops->times(l->exec, l->gap_id, count, l->gap);
    return l->gap;
}

void books_attribute(struct runner *c, struct gpu *g, sim_time end)
{
    struct lanes *l = &g->lanes;
    const struct op_times *gap = collective_times(g);
    const struct op_times *times = lanes_times(l, l->log_id, l->log_count);
    const struct lane_op *log = l->log;
    size_t count = l->log_count;
    sim_time back = l->ops->now(l->exec), at = c->books.start;
    sim_time host = 0, copy = 0, busy = 0, ran[RUN_SHARES] = {0};
    uint32_t seen = 0, join = 0;

    for (size_t i = 0; i < count; i++) {
        sim_time start = times[i].start, stop = times[i].end;
        sim_time *share = log[i].share;

        busy += log[i].kind == SHARE_HOSTED ? 0 : stop - start;
        if (join < l->joins && l->join[join].at == i) {
            at = attribute_gap(c, l, gap, seen, l->join[join].until, at, start);
            seen = l->join[join++].until;
        }
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
        c->sum[i] += ran[i];
    c->sum[SHARE_HOST] += host + (back - at);
    c->sum[SHARE_COPY] += copy;
    c->sum[SHARE_IMBALANCE] += end - back;
    c->result->compute_busy += busy;
    if (g->hosted != NULL)
        hosted_attribute(c, g);
}

void books_copies(struct gpu *g)
{
    struct residency *r = &g->residency;
    const struct op_times *t = lanes_times(&g->lanes, r->demand.id, r->demand.count);

    for (size_t i = 0; i < r->demand.count; i++) {
        struct run_layer *layer = &g->result->layer[r->demand.copy[i].layer];

        layer->queue_time += t[i].start - t[i].issued;
        layer->copy_time += t[i].end - t[i].start;
        layer->copies++;
    }
    t = lanes_times(&g->lanes, r->late.id, r->late.count);
    for (size_t i = 0; i < r->late.count; i++) {
        const struct expert_copy *c = &r->late.copy[i];

        if (t[i].end > c->asked)
            g->result->layer[c->layer].late_time += t[i].end - c->asked;
    }
}

void books_memory(struct runner *c, struct gpu *g)
{
    struct run_memory m = {.weights = c->dense_bytes + c->result->cache_bytes,
                           .buffers = c->result->staging_bytes,
                           .kv = g->kv_bytes,
                           .activations = g->activation_bytes};
    uint64_t bytes = run_memory_bytes(&m);

    if (bytes > run_memory_bytes(&c->books.memory))
        c->books.memory = m;
    if (m.activations > c->result->activation_bytes)
        c->result->activation_bytes = m.activations;
    if (c->result->gpu_peak != NULL && bytes > c->result->gpu_peak[g->rank])
        c->result->gpu_peak[g->rank] = bytes;
}

void books_add(struct run_counts *sum, const struct run_counts *c)
{
    sum->activations += c->activations;
    sum->dropped += c->dropped;
    sum->accesses += c->accesses;
    sum->hits += c->hits;
    sum->late += c->late;
    sum->loads += c->loads;
    sum->swaps += c->swaps;
    sum->bypasses += c->bypasses;
    sum->host_runs += c->host_runs;
    sum->near_runs += c->near_runs;
    sum->low_uses += c->low_uses;
    sum->low_loads += c->low_loads;
    sum->prefetches += c->prefetches;
    sum->prefetch_used += c->prefetch_used;
    sum->displaced += c->displaced;
    sum->demand_bytes += c->demand_bytes;
    sum->prefetch_bytes += c->prefetch_bytes;
    sum->wasted_bytes += c->wasted_bytes;
    sum->out_bytes += c->out_bytes;
    sum->expert_gemms += c->expert_gemms;
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
    if (run_memory_bytes(&books->memory) > run_memory_bytes(&total->memory))
        total->memory = books->memory;
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
    if (c->accesses != c->hits + c->loads + c->bypasses + run_in_place(c))
        return err_set(e,
                       "the runner's books do not balance: accesses are not hits + loads "
                       "+ bypasses + host runs + near runs; please report this");
    if (c->low_loads > c->low_uses || c->low_loads > c->loads + c->bypasses ||
        c->low_uses - c->low_loads > c->hits)
        return err_set(e, "the runner's books do not balance: experts in fewer bits are "
                          "no loads or no hits; please report this");
    for (uint32_t i = 0; i < r->watched; i++) {
        const struct run_counts *layer = &r->layer[r->watch[i].layer].counts;

        if (r->watch[i].misses != layer->loads + layer->bypasses)
            return err_set(e,
                           "the runner's books do not balance: misses that are watched "
                           "are not loads + bypasses; please report this");
    }
    if (sum != r->total.latency)
        return err_set(e,
                       "the runner's books do not balance: the shares do not sum to the "
                       "latency; please report this");
    if (r->prefill_rows + r->decode_rows != workload_rows_done(s->workload))
        return err_set(e, "the runner's books do not balance: rows were lost; "
                          "please report this");
    return 0;
}
