#include "future.h"

#include "sim/base/mem.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The file is a sequence of 32-bit words. A pass is: its length in words (this one
 * included), then for each layer a count n, n expert ids, n next uses of two words.
 * Passes are grouped into blocks, which are read and written whole; `block` knows where
 * each begins. */

enum { BLOCK_WORDS = 1 << 18, ACCESS_WORDS = 3 };

struct block {
    uint64_t offset; /* in words */
    size_t words;
    uint64_t first_pass;
};

struct future {
    FILE *file;
    uint32_t layers, experts;
    enum cache_order order;
    uint64_t passes;
    uint64_t words;
    struct block *blocks;
    size_t block_count, block_capacity;
    size_t largest_pass, largest_block; /* in words */
    uint64_t *uses;                     /* (layer, expert) */
    uint32_t *largest_step;             /* [layers] in accesses */
};

struct future_writer {
    struct future *future;
    uint32_t *buffer;
    size_t count, capacity;
    size_t pass_start; /* of the pass being written, in `buffer` */
    uint32_t layer;
};

struct loaded_pass {
    uint64_t pass;
    uint32_t *words;
    uint32_t *layer_at; /* [layers] where each layer's count is */
    bool present;
};

struct future_reader {
    struct future *future;
    uint32_t *block;
    size_t block_index, block_words, position; /* of the next pass to take */
    uint64_t next_pass;
    struct loaded_pass loaded[2]; /* passes p and p + 1, by parity */
    uint64_t pass;
    uint32_t layer;
    bool begun;
};

struct future_writer *future_writer_new(uint32_t layers, uint32_t experts,
                                        enum cache_order order, struct err *e)
{
    FILE *file = tmpfile();
    struct future_writer *w;

    assert(layers > 0 && experts > 0);
    if (file == NULL) {
        err_set(e,
                "no temporary file for the look-ahead: %s; set TMPDIR to a folder with "
                "room",
                strerror(errno));
        return NULL;
    }
    w = mem_zalloc(1, sizeof *w);
    w->future = mem_zalloc(1, sizeof *w->future);
    w->future->file = file;
    w->future->layers = layers;
    w->future->experts = experts;
    w->future->order = order;
    w->future->uses = mem_zalloc((size_t)layers * experts, sizeof(uint64_t));
    w->future->largest_step = mem_zalloc(layers, sizeof(uint32_t));
    w->capacity = BLOCK_WORDS;
    w->buffer = mem_alloc(w->capacity, sizeof *w->buffer);
    return w;
}

static int transfer(const struct future *f, uint32_t *words, size_t count,
                    uint64_t offset, bool out, struct err *e)
{
    char *at = (char *)words;
    size_t left = count * sizeof *words;
    off_t position = (off_t)(offset * sizeof *words);
    int fd = fileno(f->file);

    while (left > 0) {
        ssize_t n = out ? pwrite(fd, at, left, position) : pread(fd, at, left, position);

        if (n <= 0)
            return err_set(e,
                           "the temporary look-ahead file cannot be %s: %s; set TMPDIR "
                           "to a folder with room",
                           out ? "written" : "read",
                           n == 0 ? "it ended" : strerror(errno));
        at += n;
        position += n;
        left -= (size_t)n;
    }
    return 0;
}

/* Writes the passes in the buffer, which are whole, as one block. */
static int flush_block(struct future_writer *w, struct err *e)
{
    struct future *f = w->future;

    if (w->pass_start == 0)
        return 0;
    if (transfer(f, w->buffer, w->pass_start, f->words, true, e) != 0)
        return -1;
    if (f->block_count == f->block_capacity) {
        f->block_capacity = f->block_capacity * 2 + 16;
        f->blocks = mem_resize(f->blocks, f->block_capacity, sizeof *f->blocks);
    }
    f->blocks[f->block_count].offset = f->words;
    f->blocks[f->block_count].words = w->pass_start;
    f->block_count++;
    if (w->pass_start > f->largest_block)
        f->largest_block = w->pass_start;
    f->words += w->pass_start;
    w->count = w->pass_start = 0;
    return 0;
}

static void reserve(struct future_writer *w, size_t more)
{
    while (w->count + more > w->capacity) {
        w->capacity *= 2;
        w->buffer = mem_resize(w->buffer, w->capacity, sizeof *w->buffer);
    }
}

int future_writer_step(struct future_writer *w, const uint16_t *active, uint32_t count,
                       struct err *e)
{
    struct future *f = w->future;
    uint64_t *uses = f->uses + (size_t)w->layer * f->experts;

    if (count > f->largest_step[w->layer])
        f->largest_step[w->layer] = count;
    reserve(w, 2 + ACCESS_WORDS * (size_t)count);
    if (w->layer == 0)
        w->count++; /* the pass's length, known at its end */
    w->buffer[w->count++] = count;
    for (uint32_t i = 0; i < count; i++) {
        assert(active[i] < f->experts);
        w->buffer[w->count + i] = active[i];
        uses[active[i]]++;
    }
    memset(w->buffer + w->count + count, 0, count * sizeof(struct cache_use));
    w->count += ACCESS_WORDS * (size_t)count; /* next uses: see complete_pass() */
    if (++w->layer < f->layers)
        return 0;
    w->layer = 0;
    w->buffer[w->pass_start] = (uint32_t)(w->count - w->pass_start);
    if (w->count - w->pass_start > f->largest_pass)
        f->largest_pass = w->count - w->pass_start;
    w->pass_start = w->count;
    f->passes++;
    return w->count >= BLOCK_WORDS ? flush_block(w, e) : 0;
}

void future_writer_free(struct future_writer *w)
{
    if (w == NULL)
        return;
    future_free(w->future);
    free(w->buffer);
    free(w);
}

static struct cache_use *uses_of(uint32_t *words, uint32_t count)
{
    return (struct cache_use *)(void *)(words + count);
}

/* Fills in the next uses of one pass. `next` is (layer, expert). */
static void complete_pass(const struct future *f, uint32_t *words, uint64_t pass,
                          struct cache_use *next)
{
    bool by_id = f->order == CACHE_ORDER_ID;
    uint32_t *at = words + 1;

    for (uint32_t l = 0; l < f->layers; l++) {
        uint32_t count = *at++, first = l * f->experts;
        struct cache_use *use = uses_of(at, count);

        for (uint32_t i = 0; i < count; i++) {
            struct cache_use *object = &next[first + at[i]];

            use[i] = *object;
            *object = (struct cache_use){(uint32_t)pass, first + (by_id ? at[i] : i)};
        }
        at += ACCESS_WORDS * (size_t)count;
    }
}

static int complete_block(struct future *f, struct block *b, uint64_t *pass,
                          uint32_t *words, struct cache_use *next, struct err *e)
{
    size_t *starts = NULL;
    size_t count = 0;
    size_t capacity = 0;

    if (transfer(f, words, b->words, b->offset, false, e) != 0)
        return -1;
    for (size_t at = 0; at < b->words; at += words[at]) {
        if (count == capacity) {
            capacity = capacity * 2 + 1024;
            starts = mem_resize(starts, capacity, sizeof *starts);
        }
        starts[count++] = at;
    }
    while (count > 0)
        complete_pass(f, words + starts[--count], --*pass, next);
    b->first_pass = *pass;
    free(starts);
    return transfer(f, words, b->words, b->offset, true, e);
}

struct future *future_finish(struct future_writer *w, struct err *e)
{
    struct future *f = w->future;
    uint32_t objects = f->layers * f->experts;
    uint64_t pass = f->passes;
    uint32_t *words;
    struct cache_use *next;
    int status;

    assert(w->layer == 0);
    status = flush_block(w, e);
    if (status == 0 && f->passes >= CACHE_NEVER)
        status =
            err_set_key(e, "workload.max_passes",
                        "the run has %llu passes; a look-ahead can hold %u; cut it with "
                        "workload.max_passes",
                        (unsigned long long)f->passes, CACHE_NEVER - 1);
    words = mem_alloc(f->largest_block, sizeof *words);
    next = mem_alloc(objects, sizeof *next);
    for (uint32_t i = 0; i < objects; i++)
        next[i] = (struct cache_use){CACHE_NEVER, i};
    for (size_t b = f->block_count; status == 0 && b-- > 0;)
        status = complete_block(f, &f->blocks[b], &pass, words, next, e);
    free(words);
    free(next);
    if (status != 0) {
        future_writer_free(w);
        return NULL;
    }
    free(w->buffer);
    free(w);
    return f;
}

void future_free(struct future *f)
{
    if (f == NULL)
        return;
    (void)fclose(f->file);
    free(f->blocks);
    free(f->uses);
    free(f->largest_step);
    free(f);
}

uint64_t future_passes(const struct future *f)
{
    return f->passes;
}

const uint64_t *future_uses(const struct future *f)
{
    return f->uses;
}

const uint32_t *future_largest_steps(const struct future *f)
{
    return f->largest_step;
}

struct future_reader *future_reader_new(struct future *f)
{
    struct future_reader *r = mem_zalloc(1, sizeof *r);

    r->future = f;
    r->block = mem_alloc(f->largest_block, sizeof *r->block);
    for (int i = 0; i < 2; i++) {
        r->loaded[i].words = mem_alloc(f->largest_pass, sizeof(uint32_t));
        r->loaded[i].layer_at = mem_alloc(f->layers, sizeof(uint32_t));
    }
    return r;
}

void future_reader_free(struct future_reader *r)
{
    if (r == NULL)
        return;
    for (int i = 0; i < 2; i++) {
        free(r->loaded[i].words);
        free(r->loaded[i].layer_at);
    }
    free(r->block);
    free(r);
}

/* Takes the next pass of the file into its place; absent past the end. */
static int load_pass(struct future_reader *r, struct err *e)
{
    struct future *f = r->future;
    struct loaded_pass *p = &r->loaded[r->next_pass & 1];
    uint32_t at = 1;

    p->present = r->next_pass < f->passes;
    if (!p->present)
        return 0;
    if (r->position == r->block_words) {
        const struct block *b = &f->blocks[r->block_index++];

        if (transfer(f, r->block, b->words, b->offset, false, e) != 0)
            return -1;
        r->block_words = b->words;
        r->position = 0;
    }
    memcpy(p->words, r->block + r->position, r->block[r->position] * sizeof(uint32_t));
    r->position += p->words[0];
    p->pass = r->next_pass++;
    for (uint32_t l = 0; l < f->layers; l++) {
        p->layer_at[l] = at;
        at += 1 + ACCESS_WORDS * p->words[at];
    }
    return 0;
}

int future_reader_next(struct future_reader *r, struct err *e)
{
    if (!r->begun) {
        r->begun = true;
        return load_pass(r, e) != 0 ? -1 : load_pass(r, e);
    }
    if (++r->layer < r->future->layers)
        return 0;
    r->layer = 0;
    r->loaded[r->pass & 1].present = false;
    r->pass++;
    return load_pass(r, e);
}

struct future_step future_reader_peek(const struct future_reader *r, uint32_t ahead)
{
    uint32_t layer = r->layer + ahead;
    uint64_t pass = r->pass;
    const struct loaded_pass *p;
    uint32_t *at;

    if (layer >= r->future->layers) {
        layer -= r->future->layers;
        pass++;
        if (layer >= r->future->layers)
            return (struct future_step){0, NULL, NULL};
    }
    p = &r->loaded[pass & 1];
    if (!p->present || p->pass != pass)
        return (struct future_step){0, NULL, NULL};
    at = p->words + p->layer_at[layer];
    return (struct future_step){at[0], at + 1, uses_of(at + 1, at[0])};
}

int future_walk(struct future *f, future_visit *visit, void *context, struct err *e)
{
    struct future_reader *r = future_reader_new(f);
    int status = 0;

    for (uint64_t pass = 0; pass < f->passes && status == 0; pass++) {
        for (uint32_t l = 0; l < f->layers && status == 0; l++) {
            struct future_step step;

            status = future_reader_next(r, e);
            if (status != 0)
                break;
            step = future_reader_peek(r, 0);
            status = visit(context, l, &step);
        }
    }
    future_reader_free(r);
    return status;
}
