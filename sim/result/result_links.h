/* The links between GPUs in a result: their names, and what went over them by kind.
 *
 * A port is one direction of a link. The busiest port of a kind is the one that its bytes
 * would keep busy longest at its full rate. */
#ifndef MOESIM_RESULT_RESULT_LINKS_H
#define MOESIM_RESULT_RESULT_LINKS_H

#include "result.h"

#include "models/topology.h"

/* Fills r->link and r->links in the topology's order, so that run.link_bytes fits. */
void result_links_fill(struct result *r, const struct topology *t);

/* The links of one kind, of one policy's run. */
struct result_port {
    const char *kind; /* borrowed */
    uint32_t first, count;
    double bytes;     /* of all of them */
    uint32_t busiest; /* a link */
    double busiest_bytes;
    double busiest_time; /* seconds at full rate */
};

/* The kind that begins at link *next, which moves on; false behind the last. */
bool result_links_next(const struct result *r, const struct run_result *run,
                       uint32_t *next, struct result_port *port);
/* The kind whose busiest port is the busiest of all; false if nothing was sent. */
bool result_links_busiest(const struct result *r, const struct run_result *run,
                          struct result_port *port);

#endif
