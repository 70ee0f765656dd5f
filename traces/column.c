#include "column.h"

#include "sim/base/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES_MIN ((size_t)64 << 10)
#define BLOCK_BYTES_MAX ((size_t)16 << 20)

void column_init(struct column *c, struct column_cache *cache, uint64_t rows,
                 size_t row_bytes, uint64_t block_rows, column_load *load, void *context)
{
    uint64_t least, most;

    assert(rows > 0 && row_bytes > 0);
    least = (BLOCK_BYTES_MIN + row_bytes - 1) / row_bytes;
    most = row_bytes < BLOCK_BYTES_MAX ? BLOCK_BYTES_MAX / row_bytes : 1;
    if (block_rows == 0)
        block_rows = 1;
    if (block_rows > most)
        block_rows = most;
    else if (block_rows < least)
        block_rows *= (least + block_rows - 1) / block_rows;
    *c = (struct column){.cache = cache,
                         .load = load,
                         .context = context,
                         .rows = rows,
                         .block_rows = block_rows,
                         .shift = -1,
                         .row_bytes = row_bytes};
    for (int i = 0; i < 63; i++)
        if (block_rows == UINT64_C(1) << i)
            c->shift = i;
    c->slot = mem_zalloc((size_t)((rows - 1) / block_rows + 1), sizeof c->slot[0]);
}

void column_release(struct column *c)
{
    free(c->slot);
    c->slot = NULL;
}

void column_cache_release(struct column_cache *cache)
{
    for (uint32_t i = 0; i < cache->blocks; i++)
        if (!cache->block[i].lent)
            free(cache->block[i].rows);
    free(cache->block);
    *cache = (struct column_cache){.limit = cache->limit};
}

/* Frees the block used longest ago; the last one takes its slot. A trace's columns are
 * all lent or none, so that it is no lent one. */
static void drop_oldest(struct column_cache *cache)
{
    uint32_t oldest = 0, last = cache->blocks - 1;
    struct column_block *block = cache->block;

    for (uint32_t i = 1; i < cache->blocks; i++)
        if (block[i].stamp < block[oldest].stamp)
            oldest = i;
    cache->used -= block[oldest].bytes;
    block[oldest].owner->slot[block[oldest].number] = 0;
    free(block[oldest].rows);
    block[oldest] = block[last];
    if (oldest != last)
        block[oldest].owner->slot[block[oldest].number] = oldest + 1;
    cache->blocks--;
}

/* Returns its slot. */
static uint32_t add_block(struct column_cache *cache, struct column_block block)
{
    if (cache->blocks == cache->room) {
        cache->room = cache->room * 2 + 16;
        cache->block = mem_resize(cache->block, cache->room, sizeof cache->block[0]);
    }
    block.stamp = ++cache->clock;
    cache->block[cache->blocks] = block;
    block.owner->slot[block.number] = ++cache->blocks;
    return cache->blocks;
}

uint32_t column_fetch(struct column *c, uint64_t number, struct err *e)
{
    struct column_cache *cache = c->cache;
    uint64_t first = number * c->block_rows;
    uint64_t count = c->rows - first < c->block_rows ? c->rows - first : c->block_rows;
    size_t bytes = (size_t)count * c->row_bytes;
    unsigned char *rows;

    while (cache->blocks > 0 && cache->used + bytes > cache->limit)
        drop_oldest(cache);
    rows = mem_alloc(bytes, 1);
    if (c->load(c->context, first, count, rows, e) != 0) {
        free(rows);
        return 0;
    }
    cache->used += bytes;
    return add_block(cache,
                     (struct column_block){
                         .owner = c, .number = number, .rows = rows, .bytes = bytes});
}

void column_lend(struct column *c, unsigned char *rows)
{
    free(c->slot);
    c->slot = mem_zalloc(1, sizeof c->slot[0]);
    c->block_rows = c->rows;
    c->shift = 63; /* all in block 0 */
    (void)add_block(c->cache,
                    (struct column_block){.owner = c, .rows = rows, .lent = true});
}

int column_read(struct column *c, uint64_t first, uint64_t count, void *out,
                struct err *e)
{
    unsigned char *next = out;

    while (count > 0) {
        uint64_t left;
        const unsigned char *rows = column_row(c, first, &left, e);

        if (rows == NULL)
            return -1;
        if (left > count)
            left = count;
        memcpy(next, rows, (size_t)left * c->row_bytes);
        next += (size_t)left * c->row_bytes;
        first += left;
        count -= left;
    }
    return 0;
}
