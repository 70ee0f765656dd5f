/* When requests come, and how long they are: the Poisson process, and request files.
 *
 * Two file formats are read, told apart by their first byte. *Azure* (CSV): the head
 * line `TIMESTAMP,ContextTokens,GeneratedTokens`, then `2023-11-16
 * 18:17:03.9799600,4808,10` (up to nine decimals; a time zone `Z` or `+hh:mm` may follow;
 * LF or CRLF). *Mooncake* (JSON lines): `{"timestamp": 0, "input_length": 6758,
 * "output_length": 500, ...}` with the time in milliseconds; other keys are skipped.
 * Blank lines are skipped. Arrivals are counted from the earliest one, and stay in the
 * order of the file. A bad line gives one sentence with file and line number. */
#ifndef MOESIM_WORKLOAD_ARRIVALS_H
#define MOESIM_WORKLOAD_ARRIVALS_H

#include "sim/base/err.h"
#include "sim/base/rng.h"
#include "sim/base/units.h"

#include <stdint.h>

/* A prompt or an answer of a request file is at most so long. */
#define ARRIVALS_MAX_TOKENS UINT32_C(1000000000)

struct arrivals_request {
    sim_time arrival;
    uint32_t prompt_tokens, output_tokens; /* not both 0 */
};

struct arrivals {
    uint64_t count;
    struct arrivals_request *request; /* [count] */
};

/* Reads at most `limit` requests (0: all) of at least one. 0 or -1; `a` needs no release
 * after -1. */
int arrivals_read(struct arrivals *a, const char *path, uint64_t limit, struct err *e);
void arrivals_release(struct arrivals *a);

/* Arrivals with independent exponential gaps of mean 1 / rate, the first one gap after
 * time 0. Its stream is (seed, "arrival", 0): nothing else draws from it. */
struct arrivals_poisson {
    struct rng stream;
    double rate; /* per second, above 0 */
    sim_time last;
};
void arrivals_poisson_init(struct arrivals_poisson *p, uint64_t seed, double rate);
/* The next arrival; -1 when it is beyond the range of sim_time. */
int arrivals_poisson_next(struct arrivals_poisson *p, sim_time *arrival, struct err *e);

#endif
