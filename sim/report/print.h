/* Results for people and programs: the table, JSON, CSV. */
#ifndef MOESIM_REPORT_PRINT_H
#define MOESIM_REPORT_PRINT_H

#include "sim/result/result.h"

/* The table that fits 100 columns, the notes, the pairwise verdicts. */
void result_print(const struct result *r, FILE *out);
void result_print_json(const struct result *r, FILE *out);
/* One line per policy with all figures, and what it is made of (print_options.h). */
void result_print_csv(const struct result *r, FILE *out);
/* Its columns, and one policy's line, without the ends of their lines: for tables that
 * have more columns. The first returns how many there are. */
size_t result_print_csv_head(FILE *out);
void result_print_csv_row(const struct result *r, const struct result_policy *p,
                          FILE *out);

#endif
