/* What is recorded in a trace, as hashes: the same for the same values, however they are
 * compressed, whatever the file is called. */
#ifndef MOESIM_TRACES_TRACE_DIGEST_H
#define MOESIM_TRACES_TRACE_DIGEST_H

#include "trace.h"
#include "sim/base/hash.h"

struct trace_digest {
    struct hash_value whole; /* of everything but the texts `source` and `capture` */
    uint64_t requests;
    uint64_t *request; /* [requests] of the routing of each request's rows, in order */
    uint32_t layers;
    uint64_t *layer; /* [layers] of the routing in each layer, of all rows in order */
};

/* Reads the whole trace, and so checks it. The parts are of /routing/expert; a trace
 * without has only the whole. Fills `d` (trace_digest_release). 0 or -1. */
int trace_digest(struct trace *t, struct trace_digest *d, struct err *e);
void trace_digest_release(struct trace_digest *d);

#endif
