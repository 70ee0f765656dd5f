/* What engine.c (the interface, FIFO mode, the accounts) and event.c (event-driven mode)
 * share. Private to this folder and its tests.
 *
 * Works live in a ring indexed by id & mask. It holds ids from `low` on: below it works
 * are retired *and* over by the clock, so that depending on them is depending on nothing
 * and takes no look-up. */
#ifndef MOESIM_ENGINE_ENGINE_STATE_H
#define MOESIM_ENGINE_ENGINE_STATE_H

#include "engine.h"
#include "flow.h"
#include "heap.h"

/* A work that is known by its times only (FIFO mode). */
struct record {
    sim_time release, start, end;
    uint64_t bytes;
};

enum item_state { ITEM_QUEUED, ITEM_BEGUN, ITEM_ENDED };

/* A work in flight (event-driven mode). */
struct item {
    work_id previous, next; /* neighbours in its queue; 0: none */
    sim_time release, latency;
    sim_time start, end;
    sim_time served; /* time on the lane so far */
    uint64_t bytes, chunk_bytes, moved_bytes;
    uint32_t lane, tag;
    uint32_t waits_for;             /* works it comes after that have not ended */
    uint32_t first_edge, last_edge; /* works that come after it */
    double most_bytes_per_s;
    uint16_t path[ENGINE_MAX_PATH];
    uint8_t path_length;
    uint8_t class_;
    uint8_t state; /* enum item_state */
    bool stopping; /* cancelled, ends at the next chunk edge */
    bool cancelled;
    bool promoted;
};

/* One entry of the list of works that come after another. Entry 0 is "none". */
struct edge {
    work_id waiter;
    uint32_t next;
};

enum lane_phase { LANE_IDLE, LANE_LATENCY, LANE_FLOW };

struct queue {
    work_id first, last;
};

struct lane {
    sim_time free; /* end of its last chunk, in FIFO mode also of those to come */
    sim_time busy;
    sim_time idle;   /* not kept in FIFO mode */
    sim_time served; /* what its ended works say it was busy */
    int class_;      /* FIFO mode: the one class it has seen, or -1 */
    char *name;

    /* FIFO mode: the last copy, to spare the divisions when the next is like it; and what
     * has crossed its path that the links do not know of yet. */
    uint64_t last_bytes, last_chunk_bytes;
    double last_most_bytes_per_s;
    sim_time last_flow_time;
    uint64_t last_chunks;
    uint16_t last_path[ENGINE_MAX_PATH];
    uint32_t last_path_length;
    uint64_t path_bytes, path_chunks;

    /* Event-driven mode. An idle lane may have a timer for the first release among the
     * heads of its queues. `generation` numbers the lane's entries in the event queue;
     * only the last is valid. */
    struct queue queue[WORK_CLASSES];
    uint64_t promoted; /* promoted works in the queue of demand */
    work_id current;   /* in its chunk now; stays in its queue until it ends */
    enum lane_phase phase;
    sim_time chunk_start;
    uint64_t chunk_bytes;
    sim_time timer; /* SIM_TIME_MAX: none */
    uint64_t generation;
    bool listed; /* will choose before the clock moves on */
};

/* The account of a link, kept twice: at chunk edges and at the ends of works. */
struct link_account {
    uint64_t chunk_bytes, work_bytes;
    uint64_t chunks;
    uint32_t owner; /* FIFO mode: the one lane that uses it, or UINT32_MAX */
};

struct engine {
    bool event_driven;
    bool plain; /* FIFO mode and nobody observes */
    sim_time clock;
    work_id submitted; /* the last id given */
    work_id low;       /* the lowest id in the ring */
    work_id retired;   /* the caller will not ask about ids below */
    uint64_t mask;
    struct record *record; /* FIFO mode */
    struct item *item;     /* event-driven mode */
    struct lane *lane;
    uint32_t lanes;
    struct flow_net net;
    struct link_account *account;

    engine_observer observer;
    void *observer_context;

    uint64_t digest;
    uint64_t bytes_moved;

    /* Event-driven mode. */
    uint64_t finished, cancelled;
    uint64_t events;
    sim_time last_end;

    struct heap heap;
    struct edge *edge;
    uint32_t edges, edge_room, edge_free;
    uint32_t *listed; /* lanes that have to choose, in the order they were listed */
    uint32_t listed_first, listed_count;
    uint64_t residues; /* flows that ended with bytes left or too many */
};

/* Each step is a bijection of the field it takes in, so two works that differ in one
 * field never hash alike. The rotations bring the high bits, which multiplying mixes
 * best, down to where the next multiplication spreads them. */
static inline uint64_t state_hash(work_id id, uint32_t tag, uint32_t lane, uint64_t bytes,
                                  sim_time start, sim_time end)
{
    uint64_t h = id * UINT64_C(0x9e3779b97f4a7c15) ^ ((uint64_t)tag << 32 | lane);

    h = ((h << 32 | h >> 32) ^ bytes) * UINT64_C(0xbf58476d1ce4e5b9);
    h = ((h << 29 | h >> 35) + (uint64_t)start) * UINT64_C(0x94d049bb133111eb);
    h = ((h << 31 | h >> 33) + (uint64_t)end) * UINT64_C(0xd6e8feb86659fd93);
    return h ^ h >> 32;
}

/* The event-driven side; `t` is not before the clock except in event_run_to(). */
work_id event_submit(struct engine *g, const struct work *w);
void event_run_to_end_of(struct engine *g, work_id id);
void event_run_to(struct engine *g, sim_time t);
void event_run_all(struct engine *g);
void event_promote(struct engine *g, work_id id, sim_time t);
void event_cancel(struct engine *g, work_id id, sim_time t);
bool event_has_ended(const struct engine *g, work_id id);

#endif
