/* How much room a run needs on the device that executes it, from what was predicted: the
 * largest pass, the memory beside dense weights, and what is left for those. */
#ifndef MOESIM_VALIDATE_ROOM_H
#define MOESIM_VALIDATE_ROOM_H

#include "models/cost.h"
#include "sim/result/result.h"

/* Makes `most` at least as large as each pass of a run in tokens and outputs, and as its
 * peak in kv_tokens; the books tell how many bytes of KV cache there were at most. */
void room_widen(struct cost_batch *most, const struct run_result *r,
                const struct run_pass *pass, double kv_token_bytes);
/* Device memory, of `local_bytes`, that any of the policies needs beside weights. */
uint64_t room_reserved(const struct result *r, uint64_t local_bytes);
/* What remains of it; 1 where nothing does. */
uint64_t room_left(uint64_t free_bytes, uint64_t reserved_bytes);

#endif
