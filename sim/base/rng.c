#include "rng.h"

#include <assert.h>
#include <math.h>

__extension__ typedef unsigned __int128 wide;

struct rng rng_stream(uint64_t seed, const char *purpose, uint64_t entity)
{
    uint64_t key = rng_mix(seed + UINT64_C(0x9e3779b97f4a7c15));

    for (const char *c = purpose; *c != '\0'; c++)
        key = rng_mix(key ^ (uint64_t)(unsigned char)*c);
    return (struct rng){.state = rng_mix(key ^ rng_mix(entity + 1))};
}

uint64_t rng_below(struct rng *r, uint64_t bound)
{
    wide product;
    uint64_t low;

    assert(bound > 0);
    product = (wide)rng_u64(r) * bound;
    low = (uint64_t)product;
    if (low < bound) {
        uint64_t threshold = (0 - bound) % bound;

        while (low < threshold) {
            product = (wide)rng_u64(r) * bound;
            low = (uint64_t)product;
        }
    }
    return (uint64_t)(product >> 64);
}

double rng_exponential(struct rng *r)
{
    return -log1p(-rng_unit(r));
}
