/* `moesim tune CONFIG --n-cpu-moe`. */
#ifndef MOESIM_CMD_TUNE_CPU_MOE_H
#define MOESIM_CMD_TUNE_CPU_MOE_H

#include "sim/experiment/cpu_moe.h"

enum { TUNE_CONTEXTS = 32 };
/* The token counts of "4096,32768", ascending, each once. How many; or 0 with a sentence.
 */
size_t tune_contexts(const char *text, uint64_t context[TUNE_CONTEXTS], struct err *e);

/* Finds, prints (as JSON or as tables) and writes best.yaml and n-cpu-moe.csv into `out`
 * (NULL: nothing). 0, 1 (stopped by a signal) or -1. */
int tune_cpu_moe(const struct cpu_moe_task *t, bool json, const char *out, struct err *e);

#endif
