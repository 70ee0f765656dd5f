/* What kernels compiled by g++ see instead of CUDA's compiler: included before every .cu
 * file (-include), with NVIDIA's own headers for all that is no kernel. A thread of a
 * block is a fiber (block.cpp); threads of a block run one at a time, each until it waits
 * for others, in an order that the seed chooses. Shared memory and device memory read as
 * NaN until they are written. */
#ifndef MOESIM_CUDA_ON_CPU_KERNELS_H
#define MOESIM_CUDA_ON_CPU_KERNELS_H

#ifndef __cplusplus
#error "the emulated CUDA is C++"
#endif

#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>

using std::min;

/* ---- a kernel's surroundings ---- */

#undef __launch_bounds__
#undef __grid_constant__
#undef __forceinline__
#undef __shared__
#define __launch_bounds__(...)
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
/* One block runs at a time, so one copy serves them all; the section is what is filled
 * with NaN before each block. */
#define __shared__ static __attribute__((section("emulated_shared")))
/* Shared memory whose size the launch gives. */
#define CUDA_SHARED(type, name) type *const name = (type *)emulated_dynamic_shared()

extern uint3 emulated_thread, emulated_block;
#define threadIdx emulated_thread
#define blockIdx emulated_block

void *emulated_dynamic_shared(void);
/* All threads of the block that have not returned; `line` tells two barriers apart. */
void emulated_block_barrier(int line);
#define __syncthreads() emulated_block_barrier(__LINE__)
/* What the warp's thread `lane ^ of` gives; all of a warp, in one call. */
uint32_t emulated_shuffle(uint32_t mask, uint32_t value, uint32_t of);
/* This machine's clock. */
uint64_t emulated_look(void);
void emulated_sleep(uint64_t ns);

static inline float __uint_as_float(uint32_t bits)
{
    float f;

    std::memcpy(&f, &bits, sizeof f);
    return f;
}

static inline float __shfl_xor_sync(uint32_t mask, float x, int of)
{
    uint32_t bits;

    std::memcpy(&bits, &x, sizeof bits);
    return __uint_as_float(emulated_shuffle(mask, bits, (uint32_t)of));
}

static inline float emulated_rsqrt(float x)
{
    return 1.0F / std::sqrt(x);
}
#define rsqrtf emulated_rsqrt

static inline uint64_t device_ns(void)
{
    return emulated_look();
}
#define __nanosleep(ns) emulated_sleep(ns)

/* ---- launching ---- */

void emulated_launch(cudaStream_t stream, dim3 grid, uint32_t threads, size_t shared,
                     std::function<void()> kernel);

/* As gpu/cuda_launch.cuh has it: arguments are copied now, the kernel runs later. */
template <class... P, class... A>
static void cuda_launch(cudaStream_t stream, void (*kernel)(P...), dim3 grid,
                        uint32_t threads, size_t shared, A... args)
{
    emulated_launch(stream, grid, threads, shared, [=] { kernel(P(args)...); });
}

#endif
