/* What is said of a check: for people, as Markdown, and for programs. */
#ifndef MOESIM_VALIDATE_CHECK_PRINT_H
#define MOESIM_VALIDATE_CHECK_PRINT_H

#include "check.h"

#include <stdio.h>

/* A case: why it fails, the rows that are not as they were (a few of each group), and how
 * many there are. */
void check_print(const struct check_case *c, FILE *out);
/* The counts of all cases in one line. */
void check_print_total(const struct check *c, FILE *out);
/* Tables of what is not ok, below each case's sentences. */
void check_print_markdown(const struct check *c, FILE *out);
/* Every row; {"values": N, ..., "cases": [{"kind": ..., "rows": [...]}]}. */
void check_print_json(const struct check *c, FILE *out);
/* A suite for each case, a test for each row: one that fails is a failure; one that is
 * off as explained is skipped, as test runners show expected failures. */
void check_print_junit(const struct check *c, FILE *out);

#endif
