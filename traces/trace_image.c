#include "trace_image.h"

#include "trace_state.h"

#include <unistd.h>

enum { COLUMNS = 8, ALIGN = 64 };

struct columns {
    struct column *column[COLUMNS];
};

static struct columns columns_of(struct trace *t)
{
    return (struct columns){{&t->expert, &t->score, &t->predicted, &t->load, &t->token,
                             &t->pass_first, &t->pass_row, &t->pass_start}};
}

/* 0 where the trace has no such column. */
static size_t column_bytes(const struct column *c)
{
    return c->slot == NULL ? 0 : (size_t)c->rows * c->row_bytes;
}

static size_t align(size_t bytes)
{
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

size_t trace_image_most(void)
{
    return (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE) / 2;
}

size_t trace_image_bytes(struct trace *t)
{
    struct columns c = columns_of(t);
    size_t bytes = 0;

    for (int i = 0; i < COLUMNS; i++)
        bytes += align(column_bytes(c.column[i]));
    return bytes;
}

int trace_image_fill(struct trace *t, void *image, struct err *e)
{
    struct columns c = columns_of(t);
    unsigned char *to = image;

    for (int i = 0; i < COLUMNS; i++) {
        size_t bytes = column_bytes(c.column[i]);

        if (bytes > 0 && column_read(c.column[i], 0, c.column[i]->rows, to, e) != 0)
            return -1;
        to += align(bytes);
    }
    return 0;
}

void trace_image_use(struct trace *t, void *image)
{
    struct columns c = columns_of(t);
    unsigned char *at = image;

    column_cache_release(&t->cache);
    for (int i = 0; i < COLUMNS; i++) {
        size_t bytes = column_bytes(c.column[i]);

        if (bytes > 0)
            column_lend(c.column[i], at);
        at += align(bytes);
    }
}
