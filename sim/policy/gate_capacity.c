#include "gate_capacity.h"

#include <assert.h>
#include <math.h>
#include <string.h>

const char *const gate_dispatch_names[] = {"sparse", "dense", NULL};

struct gate_result gate_capacity_apply(const struct view *v, double capacity,
                                       uint16_t *choice, uint32_t *scratch)
{
    struct gate_result result = {0};
    double whole = ceil(capacity);

    assert(capacity >= 0.0);
    result.capacity = whole < (double)UINT32_MAX ? (uint32_t)whole : UINT32_MAX;
    memset(scratch, 0, v->experts * sizeof *scratch);
    for (uint32_t rank = 0; rank < v->top_k; rank++) {
        for (uint32_t row = 0; row < v->rows; row++) {
            uint16_t *c = &choice[(size_t)row * v->top_k + rank];

            if (*c == VIEW_NO_EXPERT)
                continue;
            assert(*c < v->experts);
            if (scratch[*c]++ >= result.capacity) {
                *c = VIEW_NO_EXPERT;
                result.dropped++;
            }
        }
    }
    return result;
}
