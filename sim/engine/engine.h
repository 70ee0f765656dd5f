/* The discrete-event engine: lanes, links, work with dependencies. It knows nothing of
 * Mixture-of-Experts; kinds of work are opaque tags.
 *
 * A *lane* does one thing at a time (a compute stream, a copy engine, a CPU pool). It
 * holds one first-in-first-out queue per priority class; the head of a queue waits for
 * its release time and for the work it comes after, and blocks what is behind it in its
 * class (as a CUDA stream does). A free lane takes the ready head of the highest class
 * (lowest number). Work may be cut into chunks; the lane chooses again at each chunk
 * edge, so that demand overtakes prefetch there. Started chunks are never interrupted.
 *
 * A *link* is shared (a PCIe root, host DRAM). Work with bytes first spends `latency` on
 * its lane (per chunk), then its bytes flow along its path of links at the max-min fair
 * share (progressive filling; Bertsekas & Gallager, Data Networks, 6.5.2) of their
 * capacities, recomputed whenever a flow starts or ends, or at a rate of its own where
 * that is less (processors that read weights no faster than they compute). Work without
 * bytes takes `latency`. A flow that keeps one rate r from start to end takes exactly
 * sim_time_of_seconds(bytes / r).
 *
 * Two ways to run, equal by digest where both apply. *Event-driven*: anything above.
 * *FIFO*: completion is known at submit, no queue: one class per lane, each link used by
 * one lane only, no promote or cancel. Ids count from 1 in order of submission. Events at
 * the same time happen in order of submission, so a run is a function of its calls alone.
 * Calls happen at the clock, which waiting and advancing move: nothing begins before it.
 *
 * The digest is the sum, modulo 2^64, of a hash of (id, tag, lane, bytes, start, end) of
 * each finished work: the order in which completions are noticed does not enter. */
#ifndef MOESIM_ENGINE_ENGINE_H
#define MOESIM_ENGINE_ENGINE_H

#include "sim/base/err.h"
#include "sim/base/units.h"

#include <stdbool.h>
#include <stdint.h>

typedef uint64_t work_id; /* 0: none; depending on it is depending on nothing */

#define ENGINE_MAX_LANES 16384
#define ENGINE_MAX_LINKS 4096
#define ENGINE_MAX_PATH 6

enum work_class { WORK_DEMAND, WORK_PREFETCH, WORK_CLASSES };

struct work {
    uint32_t lane;
    uint32_t tag; /* the caller's kind; enters the digest */
    enum work_class class_;
    sim_time release;     /* not before this time */
    sim_time latency;     /* fixed time on the lane; with bytes, before they flow */
    uint64_t bytes;       /* 0: no flow */
    uint64_t chunk_bytes; /* 0: one chunk */
    uint16_t path[ENGINE_MAX_PATH];
    uint32_t path_length;    /* at least 1 where bytes > 0 */
    double most_bytes_per_s; /* that flow whatever the links allow; 0: no such limit */
    const work_id *after;    /* borrowed until submit returns */
    uint32_t after_count;
};

struct work_times {
    sim_time release; /* as submitted */
    sim_time start;   /* when its lane took it up */
    sim_time end;
    uint64_t bytes; /* moved; less than asked for if it was cancelled */
    bool cancelled;
};

/* Called once for each work that ends, in id order in FIFO mode (at submit), in time
 * order when event-driven. */
typedef void (*engine_observer)(void *context, work_id id, uint32_t tag, uint32_t lane,
                                const struct work_times *times);

struct engine;

struct engine *engine_new(bool event_driven);
void engine_free(struct engine *g);
/* Names are copied. Lanes and links are added before the first submit; returns index. */
uint32_t engine_add_lane(struct engine *g, const char *name);
uint32_t engine_add_link(struct engine *g, const char *name, double bytes_per_s);
void engine_observe(struct engine *g, engine_observer observer, void *context);
bool engine_is_event_driven(const struct engine *g);
const char *engine_lane_name(const struct engine *g, uint32_t lane);
uint32_t engine_lane_count(const struct engine *g);

work_id engine_submit(struct engine *g, const struct work *w);
/* The same for work that moves no bytes, in fewer steps. */
struct work_fixed {
    uint32_t lane, tag;
    enum work_class class_;
    sim_time release, latency;
    const work_id *after; /* borrowed until submit returns */
    uint32_t after_count;
};
work_id engine_submit_fixed(struct engine *g, struct work_fixed w);
/* Runs the clock until `id` is done (FIFO: nothing to run). Returns its end. */
sim_time engine_wait(struct engine *g, work_id id);
/* Runs everything that happens up to and including time t. */
void engine_advance(struct engine *g, sim_time t);
/* True if `id` has ended by time t; runs the clock to t. */
bool engine_done_by(struct engine *g, work_id id, sim_time t);
/* Times of work that has ended and is not retired. */
struct work_times engine_times(const struct engine *g, work_id id);

/* How far the clock has run. */
sim_time engine_clock(const struct engine *g);
/* Event-driven only, at time t (not before the clock), before the lanes choose at that
 * time. Raises queued work to WORK_DEMAND, behind the demand work already queued; at a
 * chunk edge if it has begun. It does not wait for demand before it that is not ready. */
void engine_promote(struct engine *g, work_id id, sim_time t);
/* Drops what has not begun; a begun work ends at its next chunk edge. */
void engine_cancel(struct engine *g, work_id id, sim_time t);

/* The caller will not ask for times of ids below `id` again; they are or will be done and
 * may still be named as dependencies. Keeps memory bounded. */
void engine_retire(struct engine *g, work_id id);

/* Runs until nothing is left. Returns the end of the last work. */
sim_time engine_drain(struct engine *g);

struct engine_report {
    uint64_t submitted, finished, cancelled; /* after drain: submitted = the sum */
    uint64_t events;                         /* taken from the event queue */
    uint64_t digest;
    uint64_t bytes_moved;
};
struct engine_report engine_get_report(const struct engine *g);
/* Busy time of a lane and the bytes a link carried, of finished chunks. */
sim_time engine_lane_busy(const struct engine *g, uint32_t lane);
double engine_link_bytes(const struct engine *g, uint32_t link);
/* Conservation, after engine_drain: submitted = finished + cancelled, events pushed =
 * popped, busy time of each lane = the sum over its chunks and at most the elapsed time,
 * bytes over each link = the bytes of the work that crossed it. 0 or -1. */
int engine_check(const struct engine *g, struct err *e);

#endif
