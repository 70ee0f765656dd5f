/* The page of a validation: how far predictions were from what a device measured, and
 * where. It is written like the page of results (report.h), from what `moesim validate`
 * left in its folder: summary.json and passes.csv. */
#ifndef MOESIM_REPORT_REPORT_VALIDATION_H
#define MOESIM_REPORT_REPORT_VALIDATION_H

#include "report_place.h"
#include "sim/base/err.h"
#include "sim/base/folder.h"

/* Names all files that report_validation_write() may write. */
void report_validation_own_files(struct folder_out *f);
/* Writes the page of the validation in a folder, and its figures. 0; 1: figures are
 * missing, as the page says; or -1. */
int report_validation_write(const char *validation, const struct report_place *place,
                            struct err *e);

#endif
