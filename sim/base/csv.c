#include "csv.h"

#include "mem.h"

#include <stdlib.h>

static void add(struct csv_reader *r, size_t length, int c)
{
    if (length == r->room) {
        r->room = r->room * 2 + 64;
        r->cell = mem_resize(r->cell, r->room, 1);
    }
    r->cell[length] = (char)c;
}

bool csv_read(struct csv_reader *r)
{
    size_t length = 0;
    int c = getc(r->in);
    bool quoted = c == '"', open = quoted;

    if (c == EOF)
        return false;
    if (quoted)
        c = getc(r->in);
    while (c != EOF && (quoted || (c != ',' && c != '\n'))) {
        if (quoted && c == '"' && (c = getc(r->in)) != '"') {
            open = false;
            break;
        }
        add(r, length++, c);
        c = getc(r->in);
    }
    if (!quoted && c == '\n' && length > 0 && r->cell[length - 1] == '\r')
        length--;
    if (quoted && c == '\r')
        c = getc(r->in);
    add(r, length, '\0');
    r->behind = open ? '"' : c;
    return true;
}

const char *csv_text(const struct csv_reader *r)
{
    return r->cell + (*r->cell == '\'');
}

void csv_release(struct csv_reader *r)
{
    free(r->cell);
    r->cell = NULL;
}
