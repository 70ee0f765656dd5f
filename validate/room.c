#include "room.h"

void room_widen(struct cost_batch *most, const struct run_result *r,
                const struct run_pass *pass, double kv_token_bytes)
{
    uint64_t kv = (uint64_t)((double)r->kv_peak_bytes / kv_token_bytes) + 1;

    most->kv_tokens = kv > most->kv_tokens ? kv : most->kv_tokens;
    for (uint64_t i = 0; i < r->passes; i++) {
        uint32_t tokens = (uint32_t)pass[i].rows, outputs = (uint32_t)pass[i].outputs;

        most->tokens = tokens > most->tokens ? tokens : most->tokens;
        most->outputs = outputs > most->outputs ? outputs : most->outputs;
    }
}

uint64_t room_reserved(const struct result *r, uint64_t local_bytes)
{
    uint64_t most = 0;

    for (uint32_t i = 0; i < r->policies; i++) {
        const struct run_result *run = &r->policy[i].run;
        uint64_t bytes = run->cache_bytes + run->staging_bytes;

        bytes += bytes / 64 + 2 * run->kv_peak_bytes;
        most = bytes > most ? bytes : most;
    }
    return most + local_bytes / 16; /* activations */
}

uint64_t room_left(uint64_t free_bytes, uint64_t reserved_bytes)
{
    return free_bytes > reserved_bytes ? free_bytes - reserved_bytes : 1;
}
