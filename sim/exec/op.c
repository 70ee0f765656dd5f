#include "op.h"

#include <assert.h>

const char *op_kind_name(enum op_kind kind)
{
    static const char *const names[OP_KINDS] = {
        [OP_DENSE] = "dense",
        [OP_GATE] = "gate",
        [OP_HOST] = "host",
        [OP_EXPERTS] = "experts",
        [OP_COPY_IN] = "copy in",
        [OP_COPY_OUT] = "copy out",
        [OP_HEAD] = "head",
        [OP_HOST_EXPERTS] = "host experts",
        [OP_ENCODE] = "encode",
        [OP_DECODE] = "decode",
        [OP_EXCHANGE] = "counts",
        [OP_DISPATCH] = "dispatch",
        [OP_COMBINE] = "combine",
        [OP_GATHER] = "all-gather",
        [OP_SCATTER] = "reduce-scatter",
        [OP_MIGRATE] = "migrate",
        [OP_NEAR_EXPERTS] = "near experts",
    };

    assert((unsigned)kind < OP_KINDS);
    return names[kind];
}

const char *op_lane_name(enum op_lane lane)
{
    static const char *const names[OP_LANES] = {
        [LANE_COMPUTE] = "compute",     [LANE_COPY_IN] = "copy in",
        [LANE_COPY_OUT] = "copy out",   [LANE_HOST] = "host",
        [LANE_HOST_POOL] = "host pool", [LANE_NETWORK] = "network",
        [LANE_NODE] = "node network",   [LANE_NEAR] = "near data",
    };

    assert((unsigned)lane < OP_LANES);
    return names[lane];
}
