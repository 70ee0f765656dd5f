#include "result_fields.h"

#include <stddef.h>

/* The counts and shares inside `type`, each name with `prefix` before it. */
#define COUNT(type, prefix, at, field, kind)                                             \
    {                                                                                    \
        prefix #field, kind, offsetof(struct type, at.field)                             \
    }
#define COUNTS(type, prefix, at)                                                         \
    COUNT(type, prefix, at, activations, RESULT_U64),                                    \
        COUNT(type, prefix, at, dropped, RESULT_U64),                                    \
        COUNT(type, prefix, at, accesses, RESULT_U64),                                   \
        COUNT(type, prefix, at, hits, RESULT_U64),                                       \
        COUNT(type, prefix, at, late, RESULT_TIMED),                                     \
        COUNT(type, prefix, at, loads, RESULT_U64),                                      \
        COUNT(type, prefix, at, swaps, RESULT_U64),                                      \
        COUNT(type, prefix, at, bypasses, RESULT_U64),                                   \
        COUNT(type, prefix, at, host_runs, RESULT_U64),                                  \
        COUNT(type, prefix, at, near_runs, RESULT_U64),                                  \
        COUNT(type, prefix, at, low_uses, RESULT_U64),                                   \
        COUNT(type, prefix, at, low_loads, RESULT_U64),                                  \
        COUNT(type, prefix, at, prefetches, RESULT_U64),                                 \
        COUNT(type, prefix, at, prefetch_used, RESULT_U64),                              \
        COUNT(type, prefix, at, displaced, RESULT_U64),                                  \
        COUNT(type, prefix, at, demand_bytes, RESULT_BYTES),                             \
        COUNT(type, prefix, at, prefetch_bytes, RESULT_BYTES),                           \
        COUNT(type, prefix, at, wasted_bytes, RESULT_BYTES),                             \
        COUNT(type, prefix, at, out_bytes, RESULT_BYTES),                                \
        COUNT(type, prefix, at, expert_gemms, RESULT_TIMED),                             \
        COUNT(type, prefix, at, computed_rows, RESULT_U64),                              \
        COUNT(type, prefix, at, busiest_rows, RESULT_U64),                               \
        COUNT(type, prefix, at, sent_rows, RESULT_U64),                                  \
        COUNT(type, prefix, at, sent_bytes, RESULT_BYTES),                               \
        COUNT(type, prefix, at, migrations, RESULT_U64),                                 \
        COUNT(type, prefix, at, migrated_bytes, RESULT_BYTES)
#define SHARE(type, prefix, name, at, share)                                             \
    {                                                                                    \
        prefix name "_ps", RESULT_TIME, offsetof(struct type, at[share])                 \
    }
#define SHARES(type, prefix, at)                                                         \
    SHARE(type, prefix, "dense_compute", at, SHARE_DENSE),                               \
        SHARE(type, prefix, "expert_compute", at, SHARE_EXPERT),                         \
        SHARE(type, prefix, "host_experts", at, SHARE_HOSTED),                           \
        SHARE(type, prefix, "exposed_copy", at, SHARE_COPY),                             \
        SHARE(type, prefix, "exposed_communication", at, SHARE_COMM),                    \
        SHARE(type, prefix, "imbalance_wait", at, SHARE_IMBALANCE),                      \
        SHARE(type, prefix, "launch_and_host", at, SHARE_HOST)
#define MEMORY(type, prefix, at)                                                         \
    {prefix "weight_bytes", RESULT_BYTES, offsetof(struct type, at.weights)},            \
        {prefix "buffer_bytes", RESULT_BYTES, offsetof(struct type, at.buffers)},        \
        {prefix "kv_bytes", RESULT_BYTES, offsetof(struct type, at.kv)},                 \
    {                                                                                    \
        prefix "activation_bytes", RESULT_BYTES, offsetof(struct type, at.activations)   \
    }
#define QUALITY(type, prefix, at)                                                        \
    COUNT(type, prefix "select_", at, rows, RESULT_U64),                                 \
        COUNT(type, prefix "select_", at, choices, RESULT_U64),                          \
        COUNT(type, prefix "select_", at, changed, RESULT_U64),                          \
        COUNT(type, prefix "select_", at, fewer, RESULT_U64),                            \
        COUNT(type, prefix "select_", at, top1, RESULT_U64),                             \
        COUNT(type, prefix "select_", at, distinct, RESULT_U64),                         \
        COUNT(type, prefix "select_", at, left, RESULT_U64),                             \
        COUNT(type, prefix "select_", at, mass, RESULT_U64),                             \
        COUNT(type, prefix "select_", at, kept, RESULT_U64)
#define END                                                                              \
    {                                                                                    \
        NULL, RESULT_U64, 0                                                              \
    }

const struct result_field result_pass_fields[] = {
    {"start_ps", RESULT_TIME, offsetof(struct run_pass, start)},
    {"latency_ps", RESULT_TIME, offsetof(struct run_pass, latency)},
    SHARES(run_pass, "", share),
    {"rows", RESULT_U64, offsetof(struct run_pass, rows)},
    {"outputs", RESULT_U64, offsetof(struct run_pass, outputs)},
    MEMORY(run_pass, "", memory),
    COUNTS(run_pass, "", counts),
    END,
};

const struct result_field result_layer_fields[] = {
    COUNTS(run_layer, "", counts),
    SHARES(run_layer, "", share),
    {"late_ps", RESULT_TIME, offsetof(struct run_layer, late_time)},
    {"queue_ps", RESULT_TIME, offsetof(struct run_layer, queue_time)},
    {"copy_ps", RESULT_TIME, offsetof(struct run_layer, copy_time)},
    {"copies", RESULT_U64, offsetof(struct run_layer, copies)},
    QUALITY(run_layer, "", quality),
    END,
};

const struct result_field result_request_fields[] = {
    {"trace_request", RESULT_U64, offsetof(struct run_request, trace_request)},
    {"arrival_ps", RESULT_TIME, offsetof(struct run_request, arrival)},
    {"first_token_ps", RESULT_TIME, offsetof(struct run_request, first_token)},
    {"last_token_ps", RESULT_TIME, offsetof(struct run_request, last_token)},
    {"prompt_tokens", RESULT_U32, offsetof(struct run_request, prompt_tokens)},
    {"output_tokens", RESULT_U32, offsetof(struct run_request, output_tokens)},
    {"group", RESULT_U16, offsetof(struct run_request, group)},
    {"finished", RESULT_FLAG, offsetof(struct run_request, finished)},
    END,
};

#define RUN(name, field, kind)                                                           \
    {                                                                                    \
        name, kind, offsetof(struct result_policy, run.field)                            \
    }
#define BOUND(name, field, kind)                                                         \
    {                                                                                    \
        "bound_" name, kind, offsetof(struct result_policy, bounds.field)                \
    }

const struct result_field result_policy_fields[] = {
    {"lossless", RESULT_FLAG, offsetof(struct result_policy, lossless)},
    {"event_driven", RESULT_FLAG, offsetof(struct result_policy, event_driven)},
    {"graph", RESULT_FLAG, offsetof(struct result_policy, graph)},
    RUN("finished", finished, RESULT_FLAG),
    RUN("passes", passes, RESULT_U64),
    RUN("requests", requests, RESULT_U64),
    RUN("prefill_rows", prefill_rows, RESULT_U64),
    RUN("decode_rows", decode_rows, RESULT_U64),
    RUN("output_tokens", output_tokens, RESULT_U64),
    RUN("rows_resampled", rows_resampled, RESULT_U64),
    RUN("prompts_skipped", prompts_skipped, RESULT_U64),
    RUN("counts_only", counts_only, RESULT_FLAG),
    RUN("elapsed_ps", elapsed, RESULT_TIME),
    RUN("tail_ps", tail, RESULT_TIME),
    RUN("compute_busy_ps", compute_busy, RESULT_TIME),
    RUN("copy_busy_ps", copy_busy, RESULT_TIME),
    RUN("host_busy_ps", host_busy, RESULT_TIME),
    RUN("digest", digest, RESULT_U64),
    RUN("cache_bytes", cache_bytes, RESULT_BYTES),
    RUN("staging_bytes", staging_bytes, RESULT_BYTES),
    RUN("cache_slots", cache_slots, RESULT_U32),
    RUN("gpus", gpus, RESULT_U32),
    RUN("nodes", nodes, RESULT_U32),
    RUN("shards", shards, RESULT_U32),
    RUN("links", links, RESULT_U32),
    RUN("activation_bytes", activation_bytes, RESULT_BYTES),
    RUN("migration_ps", migration_time, RESULT_TIME),
    RUN("total_start_ps", total.start, RESULT_TIME),
    RUN("total_latency_ps", total.latency, RESULT_TIME),
    SHARES(result_policy, "total_", run.total.share),
    RUN("total_rows", total.rows, RESULT_U64),
    RUN("total_outputs", total.outputs, RESULT_U64),
    MEMORY(result_policy, "peak_", run.total.memory),
    COUNTS(result_policy, "total_", run.total.counts),
    QUALITY(result_policy, "total_", run.quality),
    BOUND("present", present, RESULT_FLAG),
    BOUND("belady_hits", belady_hits, RESULT_U64),
    BOUND("belady_bytes", belady_bytes, RESULT_BYTES),
    BOUND("compute_ps", compute, RESULT_TIME),
    BOUND("copy_ps", copy, RESULT_TIME),
    BOUND("offline_ps", offline, RESULT_TIME),
    BOUND("belady_time_ps", belady_time, RESULT_TIME),
    BOUND("belady_time_hits", belady_time_hits, RESULT_U64),
    BOUND("balanced_ps", balanced, RESULT_TIME),
    BOUND("free_network_ps", free_network, RESULT_TIME),
    END,
};

const struct result_field result_placed_fields[] = {
    {"placements", RESULT_U64, offsetof(struct run_placements, made)},
    {"placements_kept", RESULT_U64, offsetof(struct run_placements, count)},
    {"place_slots", RESULT_U32, offsetof(struct run_placements, slots)},
    END,
};

const struct result_field result_watched_fields[] = {
    {"watched", RESULT_U32, offsetof(struct run_result, watched)},
    END,
};

const struct result_field result_watch_fields[] = {
    {"distance", RESULT_U32, offsetof(struct run_watched, distance)},
    {"layer", RESULT_U32, offsetof(struct run_watched, layer)},
    {"misses", RESULT_U64, offsetof(struct run_watched, misses)},
    {"named", RESULT_U64, offsetof(struct run_watched, named)},
    {"guesses", RESULT_U64, offsetof(struct run_watched, guesses)},
    {"right", RESULT_U64, offsetof(struct run_watched, right)},
    {"absent", RESULT_U64, offsetof(struct run_watched, absent)},
    {"named_ps", RESULT_TIME, offsetof(struct run_watched, named_time)},
    {"fits_ps", RESULT_TIME, offsetof(struct run_watched, fits_time)},
    {"hidden_ps", RESULT_TIME, offsetof(struct run_watched, hidden_time)},
    {"all_hidden_ps", RESULT_TIME, offsetof(struct run_watched, all_hidden_time)},
    END,
};

#define HEAD(field, kind)                                                                \
    {                                                                                    \
#field, kind, offsetof(struct result, field)                                     \
    }

const struct result_field result_head_fields[] = {
    HEAD(seed, RESULT_U64),
    HEAD(layers, RESULT_U32),
    HEAD(experts, RESULT_U32),
    HEAD(top_k, RESULT_U32),
    HEAD(groups, RESULT_U32),
    HEAD(links, RESULT_U32),
    HEAD(policies, RESULT_U32),
    HEAD(expert_total_bytes, RESULT_BYTES),
    HEAD(dense_bytes, RESULT_BYTES),
    HEAD(kv_peak_bytes, RESULT_BYTES),
    HEAD(gpu_memory_bytes, RESULT_BYTES),
    END,
};

const struct result_field result_link_fields[] = {
    {"bytes_per_s", RESULT_RATE, offsetof(struct result_link, bytes_per_s)},
    END,
};

size_t result_field_size(const struct result_field *f)
{
    switch (f->kind) {
    case RESULT_TIME:
    case RESULT_BYTES:
    case RESULT_RATE:
    case RESULT_U64:
    case RESULT_TIMED:
        return 8;
    case RESULT_U32:
        return 4;
    case RESULT_U16:
        return 2;
    case RESULT_FLAG:
        break;
    }
    return 1;
}
