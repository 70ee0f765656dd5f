/* Random streams. A stream is keyed by (seed, purpose, entity), so that a new draw in one
 * place shifts nothing elsewhere, and by a counter, so that its n-th number is a function
 * of the key and n alone: draw = mix(key + n * golden) (SplitMix64: Steele, Lea, Flood,
 * "Fast splittable pseudorandom number generators", OOPSLA 2014). Value type; copy it to
 * fork it. */
#ifndef MOESIM_BASE_RNG_H
#define MOESIM_BASE_RNG_H

#include <stdint.h>

struct rng {
    uint64_t state;
};

/* SplitMix64's finaliser; also the hash used for digests. */
static inline uint64_t rng_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* `purpose` is a short literal such as "arrival"; `entity` the request, layer, ... */
struct rng rng_stream(uint64_t seed, const char *purpose, uint64_t entity);

static inline uint64_t rng_u64(struct rng *r)
{
    r->state += UINT64_C(0x9e3779b97f4a7c15);
    return rng_mix(r->state);
}

/* Uniform in [0, 1), 53 bits. */
static inline double rng_unit(struct rng *r)
{
    return (double)(rng_u64(r) >> 11) * 0x1.0p-53;
}

/* Uniform in [0, bound), bound > 0, without bias (Lemire 2019). */
uint64_t rng_below(struct rng *r, uint64_t bound);

/* Exponential with mean 1. */
double rng_exponential(struct rng *r);

#endif
