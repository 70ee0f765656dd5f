/* What `moesim validate` says and writes: the table for people, the summary for scripts,
 * raw tables of passes and operations, and both timelines in one file. */
#ifndef MOESIM_VALIDATE_AGREEMENT_PRINT_H
#define MOESIM_VALIDATE_AGREEMENT_PRINT_H

#include "agreement.h"
#include "speed.h"

#include <stdio.h>

/* Policies are told apart in speed where measured times differ by more than this. */
#define AGREEMENT_APART 0.1

struct agreement_report {
    const char *version, *date; /* of moesim; ISO 8601 */
    const char *device, *device_name, *driver, *clocks, *element;
    const char *machine, *model, *trace;
    uint64_t seed;
    uint32_t repeats;
    const char *notes;              /* what a reader must know, in whole sentences; "" */
    struct agreement_counts counts; /* of each executed run, as predicted */
    const struct speed *speed;
    size_t policies;
    const struct agreement *policy; /* [policies] */
};

/* Kendall's tau-b of the policies' mean pass times; NaN where no pair is told apart. */
double agreement_report_tau(const struct agreement_report *r, size_t *pairs);

void agreement_print(const struct agreement_report *r, FILE *out);
void agreement_print_json(const struct agreement_report *r, FILE *out);
/* One line per policy and pass; per policy and aligned operation. */
void agreement_print_passes(const struct agreement_report *r, FILE *out);
void agreement_print_operations(const struct agreement_report *r, FILE *out);

/* One policy's operations for the timeline: two processes, `passes` passes from the first
 * that counts on, both beginning at 0. */
struct agreement_drawing {
    const char *label;
    const struct agreement_ops *side[2]; /* predicted, measured (NULL: emulated) */
};
int agreement_draw(const char *path, const struct agreement_drawing *d, size_t policies,
                   uint64_t first, uint64_t passes, struct err *e);

#endif
