/* A table in HDF5: one data set of one dimension for each column, double where each cell
 * is a number or empty (NaN), else text. */
#ifndef MOESIM_REPORT_COLUMNS_H
#define MOESIM_REPORT_COLUMNS_H

#include "sim/base/err.h"

/* Writes the table of the CSV file `csv` (RFC 4180, a header line, all lines of its
 * length; the apostrophe that csv_string() puts before a formula is taken away), which it
 * reads twice: memory does not grow with its lines. `format` becomes an attribute of the
 * file. 0 or -1. */
int columns_write(const char *path, const char *csv, const char *format, struct err *e);

#endif
