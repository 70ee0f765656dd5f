/* Micro-benchmarks of a device, for `moesim calibrate`. A benchmark is one table: it
 * names the columns of its shapes, lists the shapes, and times one sample of one; the
 * runner (bench.c) warms up, repeats, keeps every sample and writes them as CSV, one line
 * each:
 *
 *     # what it is, and the device, driver, clocks, version, date and command
 *     rows,in,out,sample,seconds
 *     1,2048,2048,0,0.00123
 *
 * Kernels and copies are timed by events around them on their stream, behind a spin that
 * lasts until they are enqueued; what the host does is timed by its clock. Weights, KV
 * caches and the sources of copies come from pools larger than the last-level cache that
 * are gone through in turn, so that they are read from memory each time, as they are in a
 * replay. Results are checked against reference.h, outside the timed window, for shapes
 * where that is quick. A shape whose sample would take too long at the best rate so far,
 * or that does not fit in memory, is left out. */
#ifndef MOESIM_GPU_BENCH_H
#define MOESIM_GPU_BENCH_H

#include "device.h"

#include "sim/base/folder.h"

/* Called before each shape. `what` is the table's name. */
typedef void bench_progress(void *context, const char *what, size_t done, size_t total);

struct bench_options {
    const char *folder; /* of the tables; made if it is not there */
    bool quick;         /* fewer and smaller shapes, fewer samples: some ten seconds */
    const char *command, *date, *version; /* for the head of each table */
    bench_progress *progress;             /* or NULL */
    void *context;
};

/* What a table came to. */
struct bench_summary {
    const char *name, *help;
    size_t shapes, left_out, samples;
    double spread;                   /* median over shapes of IQR / median */
    double flops_per_s, bytes_per_s; /* the highest median rates; 0: not counted */
};

enum { BENCH_TABLES = 16 };

/* Names all files that bench_run() may write. */
void bench_own_files(struct folder_out *f);
/* Runs all of them; fills `summary`, with its length in *tables. The tables appear
 * together at the end or not at all. 0, -1, or 1 if it was interrupted (file.h). */
int bench_run(struct device *d, const struct bench_options *o,
              struct bench_summary summary[BENCH_TABLES], size_t *tables, struct err *e);

#endif
