/* The emulated CUDA inside: what block.cpp (threads of a block), runtime.cpp (memory,
 * streams, events, graphs) and blas.cpp share. */
#ifndef MOESIM_CUDA_ON_CPU_EMULATED_H
#define MOESIM_CUDA_ON_CPU_EMULATED_H

#include <cuda_runtime.h>

#include <cstdint>
#include <functional>

/* Uniform in [0, below), by the seed in CUDA_ON_CPU_SEED (default 1). */
uint32_t emulated_random(uint32_t below);
uint32_t emulated_seed(void);

/* Does `work` on the stream in its turn; in a capture, at each launch of the graph.
 * `stream` NULL: what no program of ours uses. Returns what the call is to return. */
cudaError_t emulated_enqueue(cudaStream_t stream, std::function<void()> work);
bool emulated_captures(cudaStream_t stream);
/* All that is enqueued afterwards fails with this, as after a kernel that trapped; the
 * sentence goes to stderr. */
void emulated_fail(const char *sentence);

/* Runs one block after another. */
void emulated_run(dim3 grid, uint32_t threads, size_t shared,
                  const std::function<void()> &kernel);

#endif
