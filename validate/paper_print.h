/* What `moesim check --papers` says of tables that have been predicted. */
#ifndef MOESIM_VALIDATE_PAPER_PRINT_H
#define MOESIM_VALIDATE_PAPER_PRINT_H

#include "paper.h"

#include <stdio.h>

/* Constants, rows, what explains each miss, and the sums. */
void paper_print(const struct paper *p, FILE *out);
/* The sums of all tables in one line. */
void paper_print_total(const struct paper *p, size_t count, FILE *out);
void paper_print_json(const struct paper *p, size_t count, FILE *out);
/* One suite per table, one case per row: a row that fails the check is a failure; one
 * that misses as explained is skipped, with the explanation, as test runners show
 * expected failures. */
void paper_print_junit(const struct paper *p, size_t count, FILE *out);
void paper_print_refit(const struct paper *p, const struct paper_refit *r, FILE *out);

#endif
