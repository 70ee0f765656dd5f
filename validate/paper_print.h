/* What people are told of a table that has been predicted; the rest is check_print.h's.
 */
#ifndef MOESIM_VALIDATE_PAPER_PRINT_H
#define MOESIM_VALIDATE_PAPER_PRINT_H

#include "paper.h"

#include <stdio.h>

/* Constants, rows, what explains each miss, and the sums. */
void paper_print(const struct paper *p, FILE *out);
void paper_print_refit(const struct paper *p, const struct paper_refit *r, FILE *out);

#endif
