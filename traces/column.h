/* A column: rows of fixed size, loaded block by block and kept decompressed in a cache of
 * bounded size, which the columns of one trace share (least recently used goes first).
 *
 * The cache belongs to one thread at a time. A pointer into a block is valid until the
 * next load in the same cache. */
#ifndef MOESIM_TRACES_COLUMN_H
#define MOESIM_TRACES_COLUMN_H

#include "sim/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct column;

/* Fills `rows` with rows [first, first + count) of the column, checked. 0 or -1. */
typedef int column_load(void *context, uint64_t first, uint64_t count, void *rows,
                        struct err *e);

struct column_block {
    struct column *owner;
    uint64_t number;
    uint64_t stamp; /* the cache's clock when last used */
    unsigned char *rows;
    size_t bytes;
    bool lent; /* somebody else's, and stays */
};

struct column_cache {
    size_t limit, used; /* bytes; one block is kept whatever the limit */
    uint64_t clock;
    struct column_block *block;
    uint32_t blocks, room;
};

struct column {
    struct column_cache *cache;
    column_load *load;
    void *context;
    uint64_t rows, block_rows;
    int shift; /* block_rows is 1 << shift, or -1 */
    size_t row_bytes;
    uint32_t *slot; /* (block number): index in cache->block plus one, 0 if not loaded */
};

/* `block_rows` is the rows of a chunk of the file (0: any); it is adapted so that a block
 * is neither tiny nor huge. */
void column_init(struct column *c, struct column_cache *cache, uint64_t rows,
                 size_t row_bytes, uint64_t block_rows, column_load *load, void *context);
void column_release(struct column *c);
void column_cache_release(struct column_cache *cache);

/* All rows are in memory already, checked: nothing is loaded from here on. `rows`
 * outlives the column. */
void column_lend(struct column *c, unsigned char *rows);

/* Loads block `number`; its slot, or 0 on failure. */
uint32_t column_fetch(struct column *c, uint64_t number, struct err *e);

/* Row `row` (below c->rows), with the rows from there to the end of its block in `left`.
 * Borrowed. NULL on failure. */
static inline const unsigned char *column_row(struct column *c, uint64_t row,
                                              uint64_t *left, struct err *e)
{
    uint64_t number = c->shift >= 0 ? row >> c->shift : row / c->block_rows;
    uint32_t slot = c->slot[number];
    struct column_block *block;
    uint64_t skipped, in_block;

    if (slot == 0) {
        slot = column_fetch(c, number, e);
        if (slot == 0)
            return NULL;
    }
    block = &c->cache->block[slot - 1];
    block->stamp = ++c->cache->clock;
    skipped = row - number * c->block_rows;
    in_block = c->rows - number * c->block_rows;
    *left = (in_block < c->block_rows ? in_block : c->block_rows) - skipped;
    return block->rows + (size_t)skipped * c->row_bytes;
}

/* Copies rows [first, first + count) to `out`. 0 or -1. */
int column_read(struct column *c, uint64_t first, uint64_t count, void *out,
                struct err *e);

#endif
