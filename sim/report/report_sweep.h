/* The page of a sweep: which point wins and what decides, the knee of each axis, the
 * front, who wins where, and the best points. It is written like the page of results
 * (report.h), from what `moesim sweep` left in its folder.
 *
 * Points are ranked by output tokens per second (by hits where nothing was timed); those
 * of policies that foresee are bounds and stand apart. */
#ifndef MOESIM_REPORT_REPORT_SWEEP_H
#define MOESIM_REPORT_REPORT_SWEEP_H

#include "report_place.h"
#include "sim/base/err.h"
#include "sim/base/folder.h"

/* Names all files that report_sweep_write() may write. */
void report_sweep_own_files(struct folder_out *f);
/* Writes the page of the sweep in a folder, and its figures. 0; 1: figures are missing,
 * as the page says; or -1. */
int report_sweep_write(const char *sweep, const struct report_place *place,
                       struct err *e);

#endif
