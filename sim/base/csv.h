/* Reading CSV (RFC 4180; lines may end without "\r") cell by cell; memory does not grow
 * with the text. */
#ifndef MOESIM_BASE_CSV_H
#define MOESIM_BASE_CSV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct csv_reader {
    FILE *in;
    char *cell; /* the one that was read last */
    size_t room;
    int behind; /* what stood behind it: ',', '\n' or EOF; '"': its quotes never end;
                   anything else: this is no CSV */
};

/* False at the end of the text. */
bool csv_read(struct csv_reader *r);
/* The cell, without the apostrophe that csv_string() (json.h) puts before a formula. */
const char *csv_text(const struct csv_reader *r);
/* Frees the cell; `in` is the caller's. */
void csv_release(struct csv_reader *r);

#endif
