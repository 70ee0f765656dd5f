/* Rows in memory, as a pass or a request's read-ahead holds them, and how they are read
 * from a trace. */
#ifndef MOESIM_WORKLOAD_ROW_BLOCK_H
#define MOESIM_WORKLOAD_ROW_BLOCK_H

#include "sim/policy/view.h"
#include "traces/trace.h"

#define ROWS_MAX_BYTES (UINT64_C(8) << 30)

/* What is read of each row, in values per row; 0: not read. `trace` is borrowed. */
struct rows_shape {
    struct trace *trace;
    size_t experts;   /* L * M */
    size_t scores;    /* L * M */
    size_t predicted; /* L * P */
    /* Of an encoder-decoder model, whose prefill rows go through the encoder's layers and
     * all others through the decoder's: */
    bool sides;
    uint32_t layers, encoder_layers; /* MoE layers, and the encoder's of them */
};

/* Arrays by row; NULL where the shape has no such values. Zeroed is empty. */
struct rows {
    uint32_t capacity;
    struct view_row *row;
    uint16_t *expert;
    float *score;
    uint16_t *predicted;
};

/* Bytes that one row takes in memory. */
size_t rows_bytes(const struct rows_shape *s);
/* Room for at least `count` rows; what is there stays. Refuses more than a pass can
 * have: ROWS_MAX_BYTES of memory. */
int rows_reserve(struct rows *r, const struct rows_shape *s, uint64_t count,
                 struct err *e);
void rows_release(struct rows *r);

/* Reads the routing of trace rows [first, first + count) to rows [at, ...). The `row`
 * array is left alone. */
int rows_read(struct rows *r, const struct rows_shape *s, uint32_t at, uint64_t first,
              uint32_t count, struct err *e);
/* Refuses a row, read from trace row `number` to row `at`, that has routing in layers
 * which rows of its side do not go through. 0 or -1. */
int rows_check_side(const struct rows *r, const struct rows_shape *s, uint32_t at,
                    uint64_t number, bool encoder, struct err *e);
/* ... or a row of an answer whose position is inside of its prompt. */
int rows_check_position(const struct rows_shape *s, uint64_t number, uint32_t position,
                        uint32_t prompt, struct err *e);
void rows_copy(struct rows *to, const struct rows_shape *s, uint32_t at,
               const struct rows *from, uint32_t from_at, uint32_t count);

/* How many rows of a trace request, from its first, are prefill. */
int rows_count_prompt(const struct rows_shape *s, const struct trace_request *q,
                      uint32_t *count, struct err *e);

#endif
