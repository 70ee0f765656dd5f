/* Numbers, names and sentences for people. Output is at most TEXT_COLUMNS wide; on a
 * narrower terminal, as wide as that. */
#ifndef MOESIM_BASE_TEXT_H
#define MOESIM_BASE_TEXT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define TEXT_COLUMNS 100

/* Columns of `out`: TEXT_COLUMNS, or what a narrower terminal has (COLUMNS, or what it
 * says itself), 40 at least. */
size_t text_columns(FILE *out);

/* A number with its unit, three digits, in 9 columns or a few more.
 * NaN is "-". */
struct text_figure {
    char text[16];
};
struct text_figure text_time(double seconds); /* 12.3 ms; s, ms, us, ns */
struct text_figure text_bytes(double bytes);  /* 1.23 GB; decimal units */
struct text_figure text_share(double share);  /* 12.3 % */
struct text_figure text_number(double x);     /* 1234, 12.3, 1.2e+09 */

struct text_figure text_ratio(double x); /* 0.991, 1.234, 12.3, 1.23e+10 */

/* Two sizes in one unit, with as many digits as tell them apart. */
struct text_sizes {
    char a[32], b[32];
};
struct text_sizes text_sizes(uint64_t a, uint64_t b);

/* Writes a space and the figure, to the right of `width` columns; one that does not fit
 * is filled with "#". */
void text_right(FILE *out, size_t width, struct text_figure f);

/* A count with thousands set apart: 1 234 567. */
struct text_count {
    char text[32];
};
struct text_count text_count(double count);

/* Writes `text` (UTF-8; NULL is "") in exactly `width` columns: cut with ".." or filled
 * with spaces. What is not seen (plain.h) becomes "?". */
void text_cell(FILE *out, const char *text, size_t width);
/* The same without filling, cut at `width`. */
void text_name(FILE *out, const char *text, size_t width);
/* Columns that text_name uses. */
size_t text_width(const char *text, size_t width);

/* A table: a label, and figures in columns with a head of two lines. Where it is wider
 * than `out`, the label is shortened and columns that do not fit go below, in a table of
 * their own. All is borrowed. */
struct text_column {
    const char *head[2];
    size_t width;
};
struct text_table {
    const struct text_column *column;
    size_t columns, rows;
    size_t label_columns;
    const char *label_head;           /* NULL: "policy" */
    const char *const *label;         /* [rows] */
    const struct text_figure *figure; /* (row, column) */
    char *const *sentence;            /* [rows]: what a row has instead, or NULL */
};
void text_print_table(FILE *out, const struct text_table *t);

/* Writes a paragraph wrapped at TEXT_COLUMNS: `first` before the first line, `rest`
 * before the others. A word longer than a line is cut into lines. */
void text_paragraph(FILE *out, const char *first, const char *rest, const char *format,
                    ...) __attribute__((format(printf, 4, 5)));

/* Writes text into HTML or XML (NULL is ""); what is not seen (plain.h), but for tabs and
 * line ends, becomes U+FFFD. */
void text_markup(FILE *out, const char *text);

#endif
