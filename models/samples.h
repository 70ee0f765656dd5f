/* Tables of raw samples, as the micro-benchmarks (gpu/bench.h) write them and the fit
 * (calibration.h) reads them: what their columns are, and a strict reader.
 *
 * A table is NAME.csv: comment lines (#), a line that names the columns, then one line
 * per sample, the samples of one shape one after another. device.csv says in lines
 * "name,value" what was measured. */
#ifndef MOESIM_MODELS_SAMPLES_H
#define MOESIM_MODELS_SAMPLES_H

#include "sim/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SAMPLES_COLUMNS = 8 };

/* Numbers, or one of `words` (ends with NULL), which is read as its index. */
struct samples_column {
    const char *name;
    const char *const *words;
};

struct samples_schema {
    const char *name; /* of the table, NAME.csv */
    /* Those of a shape; ends with .name NULL. `sample` and `seconds` follow. */
    struct samples_column column[SAMPLES_COLUMNS + 1];
};

/* Indices into the columns and words of the schemas below. */
enum samples_copy_kind {
    COPY_H2D_PINNED,
    COPY_D2H_PINNED,
    COPY_H2D_PAGEABLE,
    COPY_D2H_PAGEABLE,
    COPY_KINDS
};
enum samples_launch_kind {
    LAUNCH_EAGER,
    LAUNCH_NODE,
    LAUNCH_GRAPH,
    LAUNCH_COPY,
    LAUNCH_ROUND_TRIP,
    LAUNCH_KINDS
};
enum samples_move_kind {
    MOVE_GATHER,
    MOVE_SCATTER,
    MOVE_NORM,
    MOVE_ADD,
    MOVE_GATED,
    MOVE_KINDS
};
enum { MOVE_TOP_K = 4 }; /* rows of a token in a scatter */

/* One copy, alone, and under copies the other way: kind, bytes. */
extern const struct samples_schema samples_copy, samples_duplex;
/* One copy cut into chunks: kind, bytes, chunk_bytes. */
extern const struct samples_schema samples_chunks;
/* kind, count: see the benchmark's help. */
extern const struct samples_schema samples_launch;
/* kind, rows, width. */
extern const struct samples_schema samples_move;
/* rows, in, out. */
extern const struct samples_schema samples_gemm;
enum {
    ATTENTION_HEADS,
    ATTENTION_KV_HEADS,
    ATTENTION_KEY_DIM,
    ATTENTION_VALUE_DIM,
    ATTENTION_REQUESTS,
    ATTENTION_CONTEXT,
    ATTENTION_ROWS
};
/* Each request has `rows` rows at the end of its `context`. */
extern const struct samples_schema samples_attention;
enum {
    EXPERTS_HIDDEN,
    EXPERTS_INNER,
    EXPERTS_MATRICES,
    EXPERTS_TOP_K,
    EXPERTS_DISTINCT,
    EXPERTS_ROWS,
    EXPERTS_FIRST_ROWS
};
/* The first expert has first_rows, the others rows; on the device, and on the host's
 * processors. */
extern const struct samples_schema samples_experts, samples_cpu;

struct samples_point { /* one shape */
    uint64_t value[SAMPLES_COLUMNS];
    double seconds; /* median of its samples */
    double spread;  /* IQR / median */
    bool held;      /* held out of the fit */
    unsigned line;  /* of its first sample */
};

struct samples {
    const struct samples_schema *schema;
    char *path;
    struct samples_point *point;
    size_t points;
};

/* Of every five points that follow each other one is held out, always the same. 0 or -1:
 * one sentence with file and line. */
int samples_read(const char *folder, const struct samples_schema *schema,
                 struct samples *s, struct err *e);
void samples_release(struct samples *s);

struct samples_device {
    char *device, *kind, *date;
    unsigned element_bits;
    uint64_t local_bytes, host_bytes;
};
int samples_read_device(const char *folder, struct samples_device *d, struct err *e);
void samples_release_device(struct samples_device *d);

#endif
