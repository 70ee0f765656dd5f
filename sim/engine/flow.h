/* Links and the flows on them: fluid, max-min fair (progressive filling; Bertsekas &
 * Gallager, Data Networks, 6.5.2).
 *
 * A flow sits in a slot (the engine uses the lane's number) and moves a number of bytes
 * along a path of distinct links, at most at a rate of its own if it has one. Starting
 * and stopping only marks links; flow_settle() computes the rates anew, once for all that
 * happened at one time, and only in the connected parts of the network that were marked.
 * A flow's remaining bytes are touched only when its rate changes, so a flow that keeps
 * one rate r takes exactly sim_time_of_seconds(bytes / r). Rates depend on the set of
 * flows and the numbers of the links, on nothing else. */
#ifndef MOESIM_ENGINE_FLOW_H
#define MOESIM_ENGINE_FLOW_H

#include "sim/base/units.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FLOW_MAX_PATH 6

struct flow_link {
    char *name;
    double capacity_bytes_per_s;
    uint32_t *flow; /* slots of the flows on it */
    uint32_t count, room;
    bool dirty; /* a flow started or stopped since the last settling */
    /* During filling: capacity not yet given away, and flows without a rate. */
    double free_bytes_per_s;
    uint32_t open;
};

struct flow {
    bool active, reached, filled; /* the latter two during filling */
    uint16_t path[FLOW_MAX_PATH];
    uint32_t path_length;
    double rate_bytes_per_s, next_bytes_per_s;
    double most_bytes_per_s; /* INFINITY: as the links allow */
    double remaining_bytes;  /* at time `since` */
    sim_time since;
};

struct flow_net {
    struct flow_link *link;
    uint32_t links;
    struct flow *flow;
    uint32_t slots;
    uint32_t limited; /* active flows with a rate of their own */
    uint32_t *dirty;  /* links to start from, each once */
    uint32_t dirties;
    uint32_t *part;  /* links of the part being filled */
    uint64_t *mark;  /* the same as a set */
    uint32_t *reach; /* flows of the part being filled */
    uint32_t *changed;
};

void flow_init(struct flow_net *n);
void flow_release(struct flow_net *n);
/* Links and slots are added before the first flow. The name is copied. */
uint32_t flow_add_link(struct flow_net *n, const char *name, double bytes_per_s);
uint32_t flow_add_slot(struct flow_net *n);
/* The slot is empty; the links of the path are distinct. `most` is the rate that the flow
 * does not exceed whatever the links allow, or 0. */
void flow_start(struct flow_net *n, uint32_t slot, const uint16_t *path,
                uint32_t path_length, uint64_t bytes, double most, sim_time now);
/* Empties the slot. Returns the bytes that had not flowed by `now`: zero up to the
 * rounding of times if the flow is stopped at its end. */
double flow_stop(struct flow_net *n, uint32_t slot, sim_time now);
/* Brings the rates up to date. Returns how many flows have a new rate; their slots are in
 * n->changed. */
uint32_t flow_settle(struct flow_net *n, sim_time now);
/* When the flow ends if its rate stays. */
sim_time flow_end(const struct flow_net *n, uint32_t slot);

#endif
