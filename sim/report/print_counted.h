/* What placements come to by counts: as a table, JSON and CSV. */
#ifndef MOESIM_REPORT_PRINT_COUNTED_H
#define MOESIM_REPORT_PRINT_COUNTED_H

#include "sim/result/counted.h"

#include <stdio.h>

void counted_print(const struct counted *c, FILE *out);
void counted_print_json(const struct counted *c, FILE *out);
void counted_print_csv(const struct counted *c, FILE *out);

#endif
