/* Between the files of collective.h: each form adds its transfers to a sink, which is the
 * matrix of transfers or the bytes over each link. */
#ifndef MOESIM_MODELS_COLLECTIVE_PARTS_H
#define MOESIM_MODELS_COLLECTIVE_PARTS_H

#include "collective.h"

struct collective_sink {
    const struct topology *topology;
    bool network_only;
    uint64_t *moved; /* (source, destination); or NULL, and then */
    uint64_t *load;  /* per link */
};

static inline uint32_t collective_path(const struct topology *t, bool network_only,
                                       uint32_t source, uint32_t destination,
                                       uint16_t path[ENGINE_MAX_PATH])
{
    return network_only ? topology_network_path(t, source, destination, path)
                        : topology_path(t, source, destination, path);
}

static inline void collective_move(const struct collective_sink *s, uint32_t source,
                                   uint32_t destination, uint64_t bytes)
{
    uint16_t path[ENGINE_MAX_PATH];
    uint32_t n;

    if (source == destination || bytes == 0)
        return;
    if (s->moved != NULL) {
        s->moved[(size_t)source * s->topology->ranks + destination] += bytes;
        return;
    }
    n = collective_path(s->topology, s->network_only, source, destination, path);
    for (uint32_t i = 0; i < n; i++)
        s->load[path[i]] += bytes;
}

static inline bool collective_is_all_to_all(enum collective_form form)
{
    return form <= COLLECTIVE_LOW_LATENCY;
}

/* collective_alltoall.c */
sim_time collective_all_to_all_alpha(const struct topology *t, const struct collective *c,
                                     uint32_t phase);
void collective_all_to_all_moves(const struct collective *c, uint32_t phase,
                                 const struct collective_sink *s);
/* The same into loads (zero before), by sums over rows and columns; needs NVLink. */
void collective_all_to_all_loads(const struct topology *t, const struct collective *c,
                                 uint32_t phase, uint64_t *load);

/* collective_ring.c */
sim_time collective_ring_alpha(const struct topology *t, const struct collective *c);
void collective_ring_moves(const struct collective *c, uint32_t phase,
                           const struct collective_sink *s);

#endif
