/* What only CUDA's own compiler can say: the launch of a kernel, shared memory whose size
 * the launch gives, the GPU's clock. tests/cuda_on_cpu/kernels.h says the same for a CPU,
 * so that all other code of the kernels is compiled there as it is. */
#ifndef MOESIM_GPU_CUDA_LAUNCH_CUH
#define MOESIM_GPU_CUDA_LAUNCH_CUH

#include <cuda_runtime.h>
#include <stdint.h>

#ifndef CUDA_ON_CPU

#define CUDA_SHARED(type, name) extern __shared__ type name[]

/* Enqueues the kernel with a copy of its arguments; cudaGetLastError() tells whether it
 * could be. `shared`: bytes of a CUDA_SHARED. */
template <class... P, class... A>
static void cuda_launch(struct CUstream_st *stream, void (*kernel)(P...), dim3 grid,
                        uint32_t threads, size_t shared, A... args)
{
    kernel<<<grid, threads, shared, stream>>>(P(args)...);
}

/* %globaltimer counts nanoseconds, in steps of up to a microsecond. */
static __device__ __forceinline__ uint64_t device_ns(void)
{
    uint64_t ns;

    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(ns));
    return ns;
}

#endif

#endif
