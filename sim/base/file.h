/* Output files that are complete or absent. A file is written under a temporary name in
 * the same folder and renamed into place when it is whole; if the program is stopped
 * (SIGINT, SIGTERM, SIGHUP) or fails, the temporary file is removed. If it is killed
 * (SIGKILL), the next one to write that file removes it. A device or pipe that exists
 * already is written in place. All functions may be called from any thread, each
 * `struct file_out` from one at a time. */
#ifndef MOESIM_BASE_FILE_H
#define MOESIM_BASE_FILE_H

#include "err.h"

#include <stdbool.h>
#include <stdio.h>

struct file_out; /* one output being written; opaque, owned by the caller */

/* Makes the temporary file (empty). The folder must exist. Returns owned, or NULL. */
struct file_out *file_out_new(const char *path, struct err *e);
/* The temporary name to write to (for libraries that open by name); borrowed. */
const char *file_out_name(const struct file_out *f);
/* The stdio stream on the temporary file; borrowed, never NULL. */
FILE *file_out_stream(struct file_out *f);
/* Flushes, checks for write errors, renames into place and frees. 0 or -1. */
int file_out_commit(struct file_out *f, struct err *e);
/* Removes the temporary file and frees. NULL is fine. */
void file_out_abandon(struct file_out *f);

/* How many bytes of a folder's entry, behind its dot, are the name of the file that it is
 * a temporary of, and which process made it; 0: it is none. */
size_t file_temporary_of(const char *entry, long *process);

/* Removes all temporaries, for a program that ends without exit(). Async-signal-safe. */
void file_remove_temporaries(void);

/* Refuses an output that is the same file as an input (NULL: none), by whatever name. */
int file_check_apart(const char *out, const char *in, struct err *e);

/* mkdir -p. 0 or -1. */
int file_make_folder(const char *path, struct err *e);
/* Reads a whole file of at most `limit` bytes, with a NUL after the last byte. Owned by
 * the caller (free). NULL on failure. */
char *file_read(const char *path, size_t limit, size_t *size, struct err *e);

/* ---- SIGINT, SIGTERM, and unless they are ignored SIGHUP and SIGPIPE ---- */

/* From here on such a signal ends the program at once: the children of child.h are
 * killed, temporaries removed, `last_words` (a constant, or NULL) written to standard
 * error; exit status 128 + the signal's number. A file that may grow no more is a failed
 * write. */
void file_end_on_signals(const char *last_words);
/* From here on the first one, unless it is SIGPIPE, only makes file_interrupted() true,
 * so that long loops can stop in good order; the second one ends the program. */
void file_catch_signals(void);
bool file_interrupted(void);
/* The exit status that says so: 128 + the number of the first one; 0 without. */
int file_stop_status(void);

#endif
