/* From tables of raw samples (samples.h) to a machine file: non-linear least squares
 * (fit.h) whose model is the cost functions themselves (cost.h), on the logarithms of
 * medians, so that errors are relative and both ways alike. What is fitted together is
 * what the functions share:
 *
 *   move, gemm, attention, experts   the GPU's rates and floors; tile_rows by trial: one
 *                                    power of two, or all from 1 to it
 *   copy                             latency and bandwidth of each direction and memory
 *   duplex                           the share that a direction keeps, given those
 *   launch                           one constant per kind
 *   cpu                              the host's rate and memory bandwidth
 *
 * Numbers of struct machine_rows are fitted where they make a difference, and otherwise
 * left out of the file. Chunked copies are not fitted, only predicted. One fifth of each
 * table is held out, and its errors are what the machine file states. The cost functions
 * know rates only as peak times efficiency; the peaks written are the highest rates that
 * any shape reached or a fit gave, so that no efficiency is above 1. */
#ifndef MOESIM_MODELS_CALIBRATION_H
#define MOESIM_MODELS_CALIBRATION_H

#include "fit.h"
#include "machine.h"
#include "samples.h"

enum calibration_table {
    CALIBRATE_COPY,
    CALIBRATE_CHUNKS,
    CALIBRATE_DUPLEX,
    CALIBRATE_LAUNCH,
    CALIBRATE_MOVE,
    CALIBRATE_GEMM,
    CALIBRATE_ATTENTION,
    CALIBRATE_EXPERTS,
    CALIBRATE_CPU,
    CALIBRATION_TABLES
};
extern const struct samples_schema *const calibration_schemas[CALIBRATION_TABLES];

/* How a number of the machine file came to be. */
struct calibration_number {
    const char *section, *name; /* as in the file */
    double value;
    struct machine_tiles tiles;  /* the value where it is a list; else count is 0 */
    const char *unit;            /* "" for shares and counts */
    double scale;                /* value / scale is written before the unit */
    enum calibration_table from; /* its held-out error is the number's */
    double standard_error;       /* relative; infinity: not determined, or not fitted */
    const char *how;             /* "fit", "the highest rate", ... */
};

enum { CALIBRATION_NUMBERS = 48 };

struct calibration {
    struct samples_device device;
    struct samples table[CALIBRATION_TABLES];
    double *predicted[CALIBRATION_TABLES]; /* [points], seconds */
    struct fit_errors train[CALIBRATION_TABLES], held[CALIBRATION_TABLES];
    size_t trained[CALIBRATION_TABLES]; /* points */
    struct calibration_number number[CALIBRATION_NUMBERS];
    size_t numbers;
};

/* The value as the file has it; printed numbers may have fewer digits. */
enum { CALIBRATION_TEXT = 64 };
void calibration_number_text(const struct calibration_number *n,
                             char text[static CALIBRATION_TEXT]);

/* Reads the tables of a folder and fits. 0 or -1. */
int calibration_fit(const char *folder, struct calibration *c, struct err *e);
void calibration_release(struct calibration *c);

/* Writes the machine file; `path` ends in ".yaml", and its last part names the machine.
 * 0 or -1. */
int calibration_write(const struct calibration *c, const char *path, struct err *e);

/* Seconds that the cost functions give a point of a table on a machine, for a model whose
 * values and weights have so many bits. */
double calibration_predict(const struct machine *m, unsigned bits,
                           enum calibration_table table,
                           const struct samples_point *point);

#endif
