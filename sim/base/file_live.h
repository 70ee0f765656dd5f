/* Shared by file.c and folder.c: temporaries that must not outlive the program, however
 * it ends. */
#ifndef MOESIM_BASE_FILE_LIVE_H
#define MOESIM_BASE_FILE_LIVE_H

#include <stdatomic.h>

enum live_kind { LIVE_FILE, LIVE_FOLDER, LIVE_LOCK }; /* in the order of their removal */

struct live; /* opaque */
typedef _Atomic(struct live *) live_slot;

/* `inside`: paths of all that a folder may hold, ended by NULL; taken, each to be freed.
 * NULL when all slots are taken. */
live_slot *live_add(enum live_kind kind, const char *name, char **inside);
/* The temporary is gone, or no temporary any more. NULL is fine. */
void live_drop(live_slot *slot);

/* fsync of a folder, as far as its file system can. */
void file_sync_folder(const char *folder);
/* "." or what comes before the last slash, with it. Owned. */
char *file_folder_of(const char *path);

#endif
