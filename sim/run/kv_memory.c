/* GPU memory for the KV cache. */
#include "run_state.h"

#include "sim/base/text.h"

uint64_t run_kv_bytes(const struct model *m, uint64_t kv_tokens)
{
    return (uint64_t)((double)kv_tokens * model_kv_bytes(m) * model_kv_layers(m));
}

int run_refuse_kv(const struct policy *p, uint64_t pass, uint64_t bytes, uint64_t room,
                  struct err *e)
{
    struct text_sizes size;
    char what[64] = "the context of each sequence";

    if (bytes <= room)
        return 0;
    size = text_sizes(bytes, room);
    if (pass != WORKLOAD_NO_PASS)
        (void)snprintf(what, sizeof what, "pass %llu", (unsigned long long)pass);
    return err_set_key(e, "cache.slots",
                       "policy '%s': %s needs %s for its KV cache, but only %s of "
                       "GPU memory are left beside the weights; use fewer expert slots, "
                       "a smaller batch or a larger machine",
                       p->label, what, size.a, size.b);
}

int kv_memory_check(struct runner *c, uint32_t first, uint32_t count,
                    const struct cost_batch *b, struct err *e)
{
    /* An encoder's keys and values last as long as its layer. */
    uint64_t kept = c->encoding ? 0 : b->kv_tokens + b->cross_tokens;
    uint64_t least = c->setup->kv_kept_tokens;
    uint64_t bytes = run_kv_bytes(c->setup->cost->model, kept > least ? kept : least);

    for (uint32_t i = first; i < first + count; i++)
        c->gpu[i].kv_bytes = bytes;
    if (bytes > c->result->kv_peak_bytes)
        c->result->kv_peak_bytes = bytes;
    return run_refuse_kv(c->setup->policy, c->pass->index, bytes, c->setup->kv_room_bytes,
                         e);
}
