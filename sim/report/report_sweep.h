/* The page of a sweep: which point wins and what decides, the knee of each axis, the
 * front, who wins where, and the best points. It is written like the page of results
 * (report.h), from what `moesim sweep` left in its folder.
 *
 * Points are ranked by output tokens per second (by hits where nothing was timed); those
 * of policies that foresee are bounds and stand apart. */
#ifndef MOESIM_REPORT_REPORT_SWEEP_H
#define MOESIM_REPORT_REPORT_SWEEP_H

#include "sim/base/err.h"
#include "sim/base/folder.h"

#include <stdbool.h>

struct report_sweep_request {
    const char *sweep;  /* its folder */
    const char *folder; /* where the page goes; made if need be */
    const char *plots;  /* where the scripts are */
    bool pdf;           /* figures as PDF too */
};

/* Names all files that report_sweep_write() may write. */
void report_sweep_own_files(struct folder_out *f);
/* Writes FOLDER/report.html and the figures. 0; 1: figures are missing, as the page says;
 * or -1. */
int report_sweep_write(const struct report_sweep_request *request, struct err *e);

#endif
