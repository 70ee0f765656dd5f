/* A timeline in Chrome's trace-event JSON, which opens in Perfetto (ui.perfetto.dev): one
 * process per policy, one thread per lane, one complete event ("ph": "X", microseconds)
 * per operation of the first `passes` passes. */
#ifndef MOESIM_EXEC_TIMELINE_H
#define MOESIM_EXEC_TIMELINE_H

#include "sim/base/err.h"

#include "op.h"

struct timeline;

struct timeline *timeline_new(const char *path, struct err *e);
/* Adds a process; returns its number. They are shown in the order in which they were
 * added: add them before the threads start where files are to be byte-equal. Safe to call
 * from several threads, as is timeline_op. */
int timeline_add_process(struct timeline *t, const char *label);
void timeline_op(struct timeline *t, int process, enum op_kind kind, enum op_lane lane,
                 uint32_t layer, uint32_t expert, const struct op_times *times);
/* Writes all and frees, also on failure. Operations are written in (process, lane, start,
 * ...) order, so that equal runs give byte-equal files whatever the thread timing. They
 * are held in memory until then. */
int timeline_commit(struct timeline *t, struct err *e);
/* Frees, and leaves no file. NULL is fine. */
void timeline_abandon(struct timeline *t);

#endif
