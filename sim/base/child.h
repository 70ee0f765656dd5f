/* Other programs that this one runs and waits for: gnuplot, other moesims. None outlives
 * it: the signals of file.h kill them. */
#ifndef MOESIM_BASE_CHILD_H
#define MOESIM_BASE_CHILD_H

#include <stdbool.h>

/* Runs argument[0], looked for in PATH, without a shell, in a process group of its own;
 * waits until it ends. `silent`: its standard streams are /dev/null. Returns its exit
 * status, 128 + the number of the signal that ended it, or -1 with errno where it cannot
 * be run. `environment` is borrowed. */
int child_run(char *const argument[], char *const environment[], bool silent);

/* Kills all that run and waits for their ends. Async-signal-safe. */
void child_kill_all(void);

/* The path of this program; NULL where /proc is missing. Owned. */
char *child_own_path(void);
/* The path of a program in the folder of this one. Owned. */
char *child_beside(const char *name);

#endif
