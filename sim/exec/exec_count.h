/* The counting executor: every operation takes no time. A run on it gives the exact
 * counts (hits, bytes, tokens per expert) of a policy and nothing else, faster. */
#ifndef MOESIM_EXEC_EXEC_COUNT_H
#define MOESIM_EXEC_EXEC_COUNT_H

#include "op.h"

extern const struct exec_ops exec_count_ops;

struct exec *exec_count_new(void);
void exec_count_free(struct exec *x);

#endif
