#include "concurrent.h"

#include "gate_mass.h"
#include "rows_sweep.h"

#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

#define HELD_BYTES ((size_t)16 << 20) /* of all slots, about */
enum { AHEAD_MOST = 32 };
#define ALL_PHASES ((1u << TRACE_PHASES) - 1)

struct slot {
    uint64_t row, end; /* the next row to read, and where its request ends */
    uint32_t at, held; /* of the rows that were read */
    uint16_t *expert;  /* (row, layer, top_k) */
    uint32_t *mass;    /* the same, or NULL */
};

struct concurrent {
    struct trace *t;
    const struct trace_info *info;
    struct concurrent_plan plan;
    uint32_t ahead; /* rows that a slot reads at once */
    uint32_t ready; /* the first `ready` slots stand on the step's rows */
    uint64_t next;  /* of the plan's requests */
    uint64_t steps;
    bool over;
    struct slot *slot;
    const uint16_t **expert; /* (slot) of a step */
    const uint32_t **mass;
    /* [ahead] rows as they are in the file. */
    uint16_t *cells;
    float *scores;
    struct trace_token *tokens;
};

struct concurrent *concurrent_new(struct trace *t, const struct concurrent_plan *plan)
{
    const struct trace_info *info = trace_get_info(t);
    size_t kept = (size_t)info->layers * info->top_k;
    size_t all = (size_t)info->layers * info->candidates;
    size_t bytes = sizeof(uint16_t) + (plan->masses ? sizeof(uint32_t) : 0);
    struct concurrent *c = mem_zalloc(1, sizeof *c);
    size_t ahead = HELD_BYTES / (kept * bytes * plan->slots);

    ahead = ahead < 1 ? 1 : ahead > AHEAD_MOST ? AHEAD_MOST : ahead;
    c->t = t;
    c->info = info;
    c->plan = *plan;
    c->ahead = (uint32_t)ahead;
    if (plan->request == NULL)
        c->plan.requests = info->requests;
    c->slot = mem_zalloc(plan->slots, sizeof *c->slot);
    c->expert = mem_alloc(plan->slots, sizeof *c->expert);
    c->mass = mem_zalloc(plan->slots, sizeof *c->mass);
    for (uint32_t i = 0; i < plan->slots; i++) {
        c->slot[i].expert = mem_alloc(ahead * kept, sizeof(uint16_t));
        if (plan->masses)
            c->slot[i].mass = mem_alloc(ahead * kept, sizeof(uint32_t));
    }
    c->cells = mem_alloc(ahead * all, sizeof *c->cells);
    if (plan->masses)
        c->scores = mem_alloc(ahead * all, sizeof *c->scores);
    c->tokens = mem_alloc(ahead, sizeof *c->tokens);
    return c;
}

void concurrent_free(struct concurrent *c)
{
    if (c == NULL)
        return;
    for (uint32_t i = 0; i < c->plan.slots; i++) {
        free(c->slot[i].expert);
        free(c->slot[i].mass);
    }
    free(c->slot);
    free(c->expert);
    free(c->mass);
    free(c->cells);
    free(c->scores);
    free(c->tokens);
    free(c);
}

uint64_t concurrent_steps(const struct concurrent *c)
{
    return c->steps;
}

/* Gives the slot its next request that has rows. Returns 1, or 0 when there is none up to
 * `last`. */
static int take_request(struct concurrent *c, struct slot *s, uint64_t last)
{
    const struct trace_request *requests = trace_get_requests(c->t);

    while (s->row == s->end) {
        uint64_t r;

        c->over = c->next == c->plan.requests;
        if (c->over)
            return 0;
        r = c->plan.request == NULL ? c->next : c->plan.request[c->next];
        if (r > last)
            return 0;
        s->row = requests[r].first_row;
        s->end = s->row + requests[r].rows;
        c->next++;
    }
    return 1;
}

/* Of the slot's next *rows rows, the first run that counts: it goes past those before,
 * and *rows is set to how many there are, perhaps none. 0 or -1. */
static int find_run(struct concurrent *c, struct slot *s, uint32_t *rows, struct err *e)
{
    uint32_t from = 0, to;

    if (c->plan.phases == ALL_PHASES)
        return 0;
    if (trace_read_token(c->t, s->row, *rows, c->tokens, e) != 0)
        return -1;
    while (from < *rows && (c->plan.phases >> c->tokens[from].phase & 1) == 0)
        from++;
    to = from;
    while (to < *rows && (c->plan.phases >> c->tokens[to].phase & 1) != 0)
        to++;
    s->row += from;
    *rows = to - from;
    return 0;
}

/* Keeps what was executed of the rows just read. */
static void keep_rows(struct concurrent *c, struct slot *s, uint32_t rows)
{
    uint32_t k = c->info->top_k, all = c->info->candidates;
    size_t cells = (size_t)rows * c->info->layers;

    if (k == all)
        memcpy(s->expert, c->cells, cells * k * sizeof *s->expert);
    for (size_t i = 0; i < cells && k != all; i++)
        memcpy(s->expert + i * k, c->cells + i * all, k * sizeof *s->expert);
    for (size_t i = 0; i < cells && s->mass != NULL; i++)
        (void)gate_mass(c->info, c->cells + i * all, c->scores + i * all,
                        rows_executed(c->cells + i * all, k), s->mass + i * k);
}

/* Brings the slot to its next row that counts. Returns 1, 0 when there is none up to
 * `last`, -1 on failure. */
static int advance(struct concurrent *c, struct slot *s, uint64_t last, struct err *e)
{
    while (s->at == s->held) {
        uint32_t rows;

        if (take_request(c, s, last) == 0)
            return 0;
        rows = s->end - s->row < c->ahead ? (uint32_t)(s->end - s->row) : c->ahead;
        if (find_run(c, s, &rows, e) != 0)
            return -1;
        if (rows > 0) {
            if (trace_read_expert(c->t, s->row, rows, c->cells, e) != 0 ||
                (s->mass != NULL &&
                 trace_read_score(c->t, s->row, rows, c->scores, e) != 0))
                return -1;
            keep_rows(c, s, rows);
        }
        s->row += rows;
        s->held = rows;
        s->at = 0;
    }
    return 1;
}

static void take_step(struct concurrent *c)
{
    size_t values = (size_t)c->info->layers * c->info->top_k;
    const struct concurrent_step step = {c->plan.slots, c->expert, c->mass};

    for (uint32_t i = 0; i < c->plan.slots; i++) {
        struct slot *s = &c->slot[i];

        c->expert[i] = s->expert + s->at * values;
        if (s->mass != NULL)
            c->mass[i] = s->mass + s->at * values;
        s->at++;
    }
    c->plan.step(c->plan.context, &step);
    c->ready = 0;
    c->steps++;
}

int concurrent_go(struct concurrent *c, uint64_t last, struct err *e)
{
    while (!c->over && c->steps * c->plan.slots < c->plan.rows_most) {
        for (; c->ready < c->plan.slots; c->ready++) {
            int status = advance(c, &c->slot[c->ready], last, e);

            if (status <= 0)
                return status;
        }
        take_step(c);
    }
    return 0;
}
