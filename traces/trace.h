/* The trace file: recorded expert routing, HDF5, format version 1 (traces/FORMAT.md).
 *
 * A trace is rows (one token's way through all MoE layers), grouped into requests whose
 * rows are contiguous and in position order. `trace_open` reads and checks the small
 * parts (attributes, layers, requests) into memory and streams the rest: token columns
 * and routing are read chunk by chunk through a bounded cache, so that memory does not
 * grow with the trace. Values are checked when their chunk is read: expert ids below
 * `experts` or TRACE_NOT_RECORDED, no executed id twice in a row and layer, finite scores
 * (and in [0, 1] for softmax and sigmoid). A bad file gives one sentence: file, data set,
 * row, what is wrong.
 *
 * Shapes: routing is (row, layer, candidate); the first `top_k` candidates, in recorded
 * order, are the executed ones. HDF5 calls of all traces are serialised by one lock, so
 * several threads may each use their own `struct trace`. */
#ifndef MOESIM_TRACES_TRACE_H
#define MOESIM_TRACES_TRACE_H

#include "sim/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRACE_VERSION 1
#define TRACE_NOT_RECORDED UINT16_MAX
#define TRACE_MAX_EXPERTS 4096
#define TRACE_MAX_LAYERS 1024
#define TRACE_MAX_CANDIDATES 4096 /* M */

enum trace_phase { TRACE_PREFILL, TRACE_DECODE, TRACE_DRAFT, TRACE_VERIFY, TRACE_PHASES };

enum trace_score_kind {
    TRACE_SCORE_NONE,
    TRACE_SCORE_SOFTMAX,
    TRACE_SCORE_SIGMOID,
    TRACE_SCORE_LOGIT,
    TRACE_SCORE_KINDS
};
/* As in files and in what is printed: "prefill", "softmax". */
const char *trace_phase_name(enum trace_phase phase);
const char *trace_score_kind_name(enum trace_score_kind kind);

/* What a policy may need of a trace; bit set. */
enum trace_field {
    TRACE_HAS_IDS = 1 << 0,        /* /routing/expert (else a count-only trace) */
    TRACE_HAS_SCORES = 1 << 1,     /* /routing/score of the executed experts */
    TRACE_HAS_ALL_SCORES = 1 << 2, /* ... of every expert (candidates == experts) */
    TRACE_HAS_PREDICTED = 1 << 3,  /* /routing/predicted */
    TRACE_HAS_PASSES = 1 << 4,     /* /pass: recorded batches */
    TRACE_HAS_SOURCE = 1 << 5,     /* /token/source is known */
    TRACE_HAS_PREFILL = 1 << 6,    /* some rows are prefill */
    TRACE_HAS_ARRIVALS = 1 << 7,   /* /request/arrival_ns is known (>= 0) */
    TRACE_HAS_BYTES = 1 << 8       /* /expert_bytes */
};
/* The data set or attribute a field stands for, for messages ("/routing/score"). */
const char *trace_field_name(enum trace_field field);

struct trace_request {
    int64_t arrival_ns;     /* -1: not recorded */
    uint32_t prompt_tokens; /* as served; rows may cover fewer */
    uint32_t output_tokens;
    uint64_t first_row;
    uint32_t rows;
    uint16_t group; /* index into group_names */
};

struct trace_token {
    uint32_t request;
    uint32_t position;
    uint8_t phase;    /* enum trace_phase */
    int32_t token_id; /* -1 unknown */
    uint16_t source;  /* rank; 65535 unknown */
};

/* What a trace says of itself; strings owned by whoever fills the struct. */
struct trace_info {
    char *model;   /* name in models/arch, e.g. "gpt-oss-20b" */
    char *source;  /* where it was recorded or how it was generated */
    char *capture; /* engine, version, flags */
    uint32_t experts, top_k, candidates;
    uint32_t layers;        /* L: MoE layers */
    uint16_t *moe_layer;    /* [L] decoder layer number of each, ascending */
    uint64_t *expert_bytes; /* [L] bytes of one expert of that layer, or NULL */
    uint32_t predicted;     /* P: width of /routing/predicted; 0 without */
    uint32_t distance;      /* of the predictions, in layers */
    enum trace_score_kind score_kind;
    bool sorted; /* candidates are in descending score */
    uint64_t rows, requests, passes;
    uint32_t groups;
    char **group_names; /* [groups] */
    bool counts_only;   /* /load/count: no tokens, no routing */
};
void trace_info_release(struct trace_info *info);

/* ---- reading ---- */

struct trace;

struct trace_options {
    size_t cache_bytes; /* for decompressed chunks; 0: 64 MiB */
};

/* `o` may be NULL. Returns owned, or NULL. */
struct trace *trace_open(const char *path, const struct trace_options *o, struct err *e);
void trace_close(struct trace *t);

const struct trace_info *trace_get_info(const struct trace *t);
const struct trace_request *trace_get_requests(const struct trace *t); /* [requests] */
unsigned trace_fields(const struct trace *t); /* enum trace_field bits */
const char *trace_path(const struct trace *t);

/* Rows [first, first + count): `expert` is (row, layer, candidate), count * L * M values.
 */
int trace_read_expert(struct trace *t, uint64_t first, uint64_t count, uint16_t *expert,
                      struct err *e);
/* Scores of the same candidates as floats. The trace must have scores. */
int trace_read_score(struct trace *t, uint64_t first, uint64_t count, float *score,
                     struct err *e);
/* (row, layer, P). The trace must have predictions. */
int trace_read_predicted(struct trace *t, uint64_t first, uint64_t count,
                         uint16_t *predicted, struct err *e);
int trace_read_token(struct trace *t, uint64_t first, uint64_t count,
                     struct trace_token *token, struct err *e);
/* Recorded pass p: its rows (owned array, *count values) and start time. */
int trace_read_pass(struct trace *t, uint64_t p, uint64_t **rows, uint64_t *count,
                    int64_t *start_ns, struct err *e);
/* Count-only traces: tokens per (layer, expert) of pass n, into count[layers * experts].
 */
int trace_read_load(struct trace *t, uint64_t n, uint32_t *count, struct err *e);
/* Reads and checks every value of the file. */
int trace_check(struct trace *t, struct err *e);
/* ... but for the experts' ids and scores, or counts, for a caller that reads all of
 * those anyway; scores beside candidates that were not recorded are not looked at. */
int trace_check_others(struct trace *t, struct err *e);

/* Rows that were read and are good; borrowed until the call is over. */
struct trace_rows {
    uint64_t first, count;
    const struct trace_token *token; /* [count] */
    const uint16_t *expert;          /* (row, layer, candidate) */
    const uint16_t *score;           /* of the same, as binary16; NULL: there are none */
};
typedef void trace_see_rows(void *context, const struct trace_rows *rows);
/* trace_check() that shows all rows in order, once; none of a count-only trace. */
int trace_check_seen(struct trace *t, trace_see_rows *see, void *context, struct err *e);

/* ---- writing ---- */

struct trace_writer;

/* Rows are appended in order; requests are given as they complete. The file appears under
 * `path` when trace_writer_commit succeeds, not before; two equal sequences of calls give
 * byte-equal files. `info` is copied (rows, requests, passes are counted, not taken);
 * candidates with scores need score_kind other than none. */
struct trace_writer *trace_writer_new(const char *path, const struct trace_info *info,
                                      struct err *e);
/* `score` is NULL iff score_kind is none; `predicted` is NULL iff info->predicted is 0.
 */
int trace_writer_rows(struct trace_writer *w, uint64_t count,
                      const struct trace_token *token, const uint16_t *expert,
                      const float *score, const uint16_t *predicted, struct err *e);
/* Rows of a request are those appended between its first_row and first_row + rows. */
int trace_writer_request(struct trace_writer *w, const struct trace_request *r,
                         struct err *e);
int trace_writer_pass(struct trace_writer *w, const uint64_t *rows, uint64_t count,
                      int64_t start_ns, struct err *e);
/* One pass of a count-only trace: count[layers * experts]; `info->counts_only` only. */
int trace_writer_load(struct trace_writer *w, const uint32_t *count, struct err *e);
/* Checks the whole (requests cover the rows), renames into place, frees. 0 or -1. */
int trace_writer_commit(struct trace_writer *w, struct err *e);
/* Removes the unfinished file and frees. NULL is fine. */
void trace_writer_abandon(struct trace_writer *w);

#endif
