/* Traces for other tools.
 *
 * CSV: one line per executed expert: request,position,phase,layer,slot,expert,score.
 *
 * oracleGeneral, libCacheSim's binary format: one 24-byte little-endian record per
 * access, packed: u32 time (the number of the pass), u64 object (layer * experts +
 * expert, layer counted over all MoE layers), u32 size (/expert_bytes, or 1 where
 * unknown), i64 next_access_vtime (the number of the next record with the same object,
 * counted from 0; -1 if there is none). An access is one distinct expert of one layer of
 * one pass, in ascending order; passes run layer by layer.
 *
 * Passes: a run of prefill rows of one request is one pass of its own, and any other row
 * is one step. With batch 1 requests follow each other, step by step. With batch B, B
 * requests at a time run in lock step: in each round first the prefill runs that are due,
 * request by request, then one pass of the next row of every request that has one; the
 * next B requests start when all B are done.
 */
#ifndef MOESIM_TRACES_EXPORT_H
#define MOESIM_TRACES_EXPORT_H

#include "trace.h"

int export_csv(struct trace *t, const char *path, struct err *e);

struct export_options {
    uint32_t batch;     /* requests in lock step; 0: 1 */
    const char *layers; /* as struct slice's; NULL: all */
    bool unit_size;     /* record size 1 even where /expert_bytes is known */
};

/* `o` may be NULL. `accesses` (or NULL) gets the number of records. Memory does not grow
 * with the trace: a spill file beside `path` holds the objects meanwhile. */
int export_oracle_general(struct trace *t, const char *path,
                          const struct export_options *o, uint64_t *accesses,
                          struct err *e);

#endif
