/* What several experiments have in common and need to find only once: the trace in
 * memory, look-aheads, profiles, the runs that bounds come from.
 *
 * A value is found by a text that says all it depends on, and made by the first who asks
 * for it; others wait for that. Who takes a value gives it back. Values nobody has in
 * hand are kept as long as there is room, the last used ones longest. All functions may
 * be called from any thread. Without (NULL) every taker makes a value of its own. */
#ifndef MOESIM_EXPERIMENT_SHARED_H
#define MOESIM_EXPERIMENT_SHARED_H

#include "sim/base/err.h"
#include "traces/trace.h"

struct shared; /* opaque, owned by the caller */

/* Keeps at most so many values that nobody has in hand. */
struct shared *shared_new(unsigned most);
/* All values must have been given back, all traces closed. NULL is fine. */
void shared_free(struct shared *s);

/* Values of different kinds do not meet, whatever their texts. */
struct shared_kind {
    void *(*make)(void *context, struct err *e); /* owned, or NULL */
    void (*free)(void *value);
};

/* NULL where making it failed; the next to ask tries again. */
void *shared_take(struct shared *s, const struct shared_kind *kind, const char *text,
                  void *context, struct err *e);
/* NULL is fine. */
void shared_give_back(struct shared *s, const struct shared_kind *kind, void *value);

/* From here on readers of the file `path` take its image (traces/trace_image.h), which
 * outlives `s`. Before there are any. */
void shared_lend_trace(struct shared *s, const char *path, void *image);
/* As trace_open(). */
struct trace *shared_open_trace(struct shared *s, const char *path, struct err *e);

#endif
