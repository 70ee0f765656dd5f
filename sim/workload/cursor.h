/* A cursor: one request on its way through the workload. It knows which rows the request
 * is served (prompt first, then one row per pass), where each comes from (recorded, or
 * drawn from the same request's rows), and holds the next ones in memory. Each recorded
 * row is read once, in blocks.
 *
 * With `own_lengths` the request's prompt and output lengths are those it is given;
 * otherwise the trace's: its prompt_tokens, and as many output rows as were recorded. The
 * prompt pass gives the first output token, so n output tokens need n - 1 output rows, or
 * n when there is no prompt pass. An encoder's pass gives none, so that they need n; nor
 * are rows of one side drawn from those of the other. */
#ifndef MOESIM_WORKLOAD_CURSOR_H
#define MOESIM_WORKLOAD_CURSOR_H

#include "row_block.h"
#include "workload.h"
#include "sim/base/rng.h"

/* What all cursors of a workload share; borrowed. */
struct cursor_setup {
    struct rows_shape shape;
    bool own_lengths;
    int prefill;          /* enum workload_prefill */
    uint64_t seed;        /* draws are keyed by (seed, "resample", request) */
    uint32_t block_rows;  /* rows to read ahead */
    uint64_t most_prompt; /* rows of the longest prompt, where none may be cut */
};

struct cursor {
    uint32_t request;           /* the workload's index */
    uint32_t next;              /* rows served so far */
    uint32_t read;              /* rows that were read so far, from `next` on ahead */
    uint32_t prompt_rows, rows; /* to serve: of the prompt, and in all */
    uint32_t prompt_kept, output_kept; /* of those: recorded ones */
    bool prompt_skipped;               /* wholly or in part */
    bool own_lengths;                  /* positions are counted, not recorded */
    uint32_t prompt_tokens;            /* position of the first output row */
    uint32_t output_at;                /* first recorded row behind the prompt */
    uint32_t recorded;                 /* rows of the request in the trace */
    uint64_t first_row;                /* the first of them */
    uint16_t source; /* of its first row, as recorded; or VIEW_NO_SOURCE */
    struct rng stream;
    uint32_t block_next, block_end; /* rows of `block` that are still to be served */
    struct rows block;
};

/* Plans request `index`, a use of trace request `q`: which rows it is served. Sets
 * r->output_tokens to what it will be given. Refuses a request whose rows are missing.
 * Keeps the memory of the block, which cursor_start() makes. */
int cursor_plan(struct cursor *c, const struct cursor_setup *s, uint32_t index,
                const struct trace_request *q, struct workload_request *r, struct err *e);
/* Plans it and makes room to read ahead. */
int cursor_start(struct cursor *c, const struct cursor_setup *s, uint32_t index,
                 const struct trace_request *q, struct workload_request *r,
                 struct err *e);
void cursor_release(struct cursor *c);

/* Reads the next block. Call it when none of the last one is left, but some rows are. */
int cursor_fill(struct cursor *c, const struct cursor_setup *s, struct err *e);
/* Position of the row to be served as number `served`, without reading its routing. */
int cursor_position(const struct cursor *c, const struct cursor_setup *s, uint32_t served,
                    uint32_t *position, struct err *e);
/* How many of the next `count` rows are drawn rather than recorded. */
uint32_t cursor_count_drawn(const struct cursor *c, uint32_t count);

static inline bool cursor_is_done(const struct cursor *c)
{
    return c->next == c->rows;
}

/* Rows of the prompt that are still to be served. */
static inline uint32_t cursor_prompt_left(const struct cursor *c)
{
    return c->next < c->prompt_rows ? c->prompt_rows - c->next : 0;
}

#endif
