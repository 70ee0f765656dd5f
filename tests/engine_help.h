/* Short ways to call the engine, for its tests. Include cmocka.h first. */
#ifndef MOESIM_TESTS_ENGINE_HELP_H
#define MOESIM_TESTS_ENGINE_HELP_H

#include "sim/engine/engine.h"

/* At 1e12 B/s one byte takes one picosecond: times by hand. */
#define BYTE_PER_PS 1e12

static inline void engine_help_check(const struct engine *g)
{
    struct err e = {.text = ""};

    if (engine_check(g, &e) != 0)
        fail_msg("%s", e.text);
}

/* Work of fixed length. */
static inline work_id engine_help_put(struct engine *g, uint32_t lane,
                                      enum work_class class_, sim_time release,
                                      sim_time latency, work_id after)
{
    return engine_submit(g, &(struct work){.lane = lane,
                                           .class_ = class_,
                                           .release = release,
                                           .latency = latency,
                                           .after = &after,
                                           .after_count = 1});
}

/* A copy over one link. */
static inline work_id engine_help_copy(struct engine *g, uint32_t lane,
                                       enum work_class class_, sim_time release,
                                       uint64_t bytes, uint64_t chunk_bytes,
                                       uint16_t link)
{
    return engine_submit(g, &(struct work){.lane = lane,
                                           .class_ = class_,
                                           .release = release,
                                           .bytes = bytes,
                                           .chunk_bytes = chunk_bytes,
                                           .path = {link},
                                           .path_length = 1});
}

static inline void engine_help_within(sim_time got, sim_time want, sim_time slack)
{
    if (got < want - slack || got > want + slack)
        fail_msg("%lld is not within %lld of %lld", (long long)got, (long long)slack,
                 (long long)want);
}

#endif
