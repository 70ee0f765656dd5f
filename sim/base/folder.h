/* Output folders whose files change together. All files of one command are written to a
 * folder beside the one that is meant (".NAME.new"), which takes its place at the end, in
 * one step where the file system has one. Other files in the folder stay in it. Meanwhile
 * a lock (".NAME.lock") keeps a second program out; it ends with the process that holds
 * it. What a crash leaves beside the folder is cleared by the next one to write there. */
#ifndef MOESIM_BASE_FOLDER_H
#define MOESIM_BASE_FOLDER_H

#include "err.h"

#include <stdbool.h>

struct folder_out; /* opaque, owned by the caller */

/* Makes the folders above it and the new folder. Owned, or NULL. */
struct folder_out *folder_out_new(const char *path, struct err *e);
/* A file that the caller will write, or that what it writes makes obsolete: any old one
 * of that name goes. Before the file is written. */
void folder_out_own(struct folder_out *f, const char *name);
/* Whether the folder has such a file so far. */
bool folder_out_has(const struct folder_out *f, const char *name);
/* Refuses an own file that is the same as an input (NULL: none). */
int folder_out_check_apart(const struct folder_out *f, const char *in, struct err *e);
/* Where to write; borrowed. */
const char *folder_out_name(const struct folder_out *f);
/* Puts the files in place and frees. 0, or -1 and the folder is as it was. */
int folder_out_commit(struct folder_out *f, struct err *e);
/* Removes them and frees; the sentence in `e` speaks of the folder that was meant. NULL
 * is fine. */
void folder_out_abandon(struct folder_out *f, struct err *e);

#endif
