/* Pieces of JSON (RFC 8259) and CSV (RFC 4180). */
#ifndef MOESIM_BASE_JSON_H
#define MOESIM_BASE_JSON_H

#include <stdio.h>

/* A string in quotes; NULL is ""; what is not seen (sim/base/plain.h) is escaped, broken
 * UTF-8 becomes U+FFFD. */
void json_string(FILE *out, const char *text);
/* The shortest of 15 to 17 digits that reads back as `x`; null where it is not finite. */
void json_number(FILE *out, double x);
/* A CSV field, in quotes where it has to be. What is not seen, but for tabs and line
 * ends, becomes "?". One that a spreadsheet would take for a formula (it begins with = +
 * - @ or a control and is no number) gets an apostrophe in front, as one types there:
 * readers that want the text drop it. */
void csv_string(FILE *out, const char *text);
/* As json_number, but empty where it is not finite. */
void csv_number(FILE *out, double x);

#endif
