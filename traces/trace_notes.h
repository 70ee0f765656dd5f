/* What is legal in a trace and looks unintended: buffers that were never filled, layers
 * that were not captured, fields that were never set.
 *
 * Rows are shown in order by trace_check_seen(); memory does not grow with them. A note
 * is a sentence without the file's name. Each has a bound below which chance explains
 * what it would say, and then it is not said. */
#ifndef MOESIM_TRACES_TRACE_NOTES_H
#define MOESIM_TRACES_TRACE_NOTES_H

#include "trace.h"

enum { TRACE_NOTES_MAX = 6 };

struct trace_notes;

/* Borrows `info`. Returns owned. */
struct trace_notes *trace_notes_new(const struct trace_info *info);
void trace_notes_free(struct trace_notes *n);
/* A trace_see_rows; `notes` is the struct trace_notes. */
void trace_notes_see(void *notes, const struct trace_rows *rows);
/* The notes on all rows that were shown, owned strings; their number. */
size_t trace_notes_write(const struct trace_notes *n, char *note[TRACE_NOTES_MAX]);

#endif
