/* The ranks of a command that several processes carry out together: ranks_mpi.c in the
 * program built with MPI, ranks_alone.c in the plain one, which is its own only rank. */
#ifndef MOESIM_CMD_RANKS_H
#define MOESIM_CMD_RANKS_H

#include "sim/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Before any other. The plain program refuses to be one of several. 0 or -1. */
int ranks_begin(int *argc, char ***argv, struct err *e);
/* `status` is this rank's; returns what the process should end with: of several that fail
 * the first alone says so. All ranks come here, whatever became of them. */
int ranks_end(int status);

/* Of the ranks that have something to say, whether this one is the first. */
bool ranks_speaks(bool has);

unsigned ranks_number(void); /* of this one, from 0 */
unsigned ranks_count(void);

/* The next of the numbers from 0 that all ranks take together; once some rank has called
 * ranks_stop(), one beyond all. From one thread at a time. */
uint64_t ranks_take(void);
void ranks_stop(void);
/* How many are done by all ranks together, `more` of them since the last call. From one
 * thread at a time. */
uint64_t ranks_done(uint64_t more);

/* Waits until every rank is here. */
void ranks_meet(void);
/* Memory that the ranks of one machine share, all zero; every rank calls it with the same
 * size. NULL: there is not that much. */
void *ranks_memory(size_t bytes);
/* Whether this rank fills in what its machine shares; others see it after ranks_meet().
 */
bool ranks_fills(void);
/* Whether something went well (0) on all ranks; -1 if not on one. */
int ranks_agree(int status);

#endif
