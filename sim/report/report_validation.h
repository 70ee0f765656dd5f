/* The page of a validation: how far predictions were from what a device measured, and
 * where. It is written like the page of results (report.h), from what `moesim validate`
 * left in its folder: summary.json and passes.csv. */
#ifndef MOESIM_REPORT_REPORT_VALIDATION_H
#define MOESIM_REPORT_REPORT_VALIDATION_H

#include "sim/base/err.h"
#include "sim/base/folder.h"

#include <stdbool.h>

struct report_validation_request {
    const char *validation; /* its folder */
    const char *folder;     /* where the page goes; made if need be */
    const char *plots;      /* where the scripts are */
    bool pdf;               /* figures as PDF too */
};

/* Names all files that report_validation_write() may write. */
void report_validation_own_files(struct folder_out *f);
/* Writes FOLDER/report.html and the figures. 0; 1: figures are missing, as the page says;
 * or -1. */
int report_validation_write(const struct report_validation_request *request,
                            struct err *e);

#endif
