#include "cache_allocate.h"

#include "sim/base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* least[layer][j]: of the layers up to this one with j slots; take[layer][j]: how many of
 * them this one has then. */
void cache_allocate(const double *expected, uint32_t layers, uint32_t most,
                    uint32_t total, uint32_t *slots)
{
    size_t width = (size_t)total + 1;
    double *least = mem_alloc(2 * width, sizeof *least), *before = least + width;
    uint32_t *take = mem_zalloc(layers * width, sizeof *take);

    for (uint32_t j = 0; j <= total; j++)
        before[j] = j == 0 ? 0.0 : HUGE_VAL;
    for (uint32_t l = 0; l < layers; l++) {
        const double *misses = expected + (size_t)l * (most + 1);

        for (uint32_t j = 0; j <= total; j++) {
            least[j] = HUGE_VAL;
            for (uint32_t k = 1; k <= most && k <= j; k++) {
                if (before[j - k] + misses[k] < least[j]) {
                    least[j] = before[j - k] + misses[k];
                    take[l * width + j] = k;
                }
            }
        }
        memcpy(before, least, width * sizeof *before);
    }
    for (uint32_t l = layers; l > 0; l--) {
        slots[l - 1] = take[(l - 1) * width + total];
        total -= slots[l - 1];
    }
    free(least);
    free(take);
}

static int most_first(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? 1 : x > y ? -1 : 0;
}

void cache_expect_misses(const uint64_t *load, uint32_t layers, uint32_t experts,
                         double *expected)
{
    uint64_t *sorted = mem_alloc(experts, sizeof *sorted);

    for (uint32_t l = 0; l < layers; l++) {
        double *misses = expected + (size_t)l * (experts + 1);
        uint64_t all = 0, left;

        memcpy(sorted, load + (size_t)l * experts, experts * sizeof *sorted);
        qsort(sorted, experts, sizeof *sorted, most_first);
        for (uint32_t x = 0; x < experts; x++)
            all += sorted[x];
        left = all;
        for (uint32_t s = 0; s <= experts; s++) {
            misses[s] = all > 0 ? (double)left / (double)all : 0.0;
            left -= s < experts ? sorted[s] : 0;
        }
    }
    free(sorted);
}
