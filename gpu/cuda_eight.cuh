/* Eight bf16 elements at a time: 16 bytes in one access where the caller knows that all
 * rows begin at 16 bytes and have a multiple of eight elements (`wide`), else one by one,
 * with `left` of them there and the rest taken for zero. Sums are fp32; a float becomes
 * bf16 by rounding to nearest, ties to even. */
#ifndef MOESIM_GPU_CUDA_EIGHT_CUH
#define MOESIM_GPU_CUDA_EIGHT_CUH

#include <cuda_bf16.h>
#include <stdint.h>

struct eight {
    float f[8];
};

static __device__ __forceinline__ float bf16_load(uint32_t bits)
{
    return __uint_as_float(bits << 16);
}

static __device__ __forceinline__ uint32_t bf16_store(float x)
{
    return __bfloat16_as_ushort(__float2bfloat16_rn(x));
}

static __device__ __forceinline__ struct eight eight_zero(void)
{
    struct eight v;

#pragma unroll
    for (int i = 0; i < 8; i++)
        v.f[i] = 0.0F;
    return v;
}

static __device__ __forceinline__ struct eight eight_load(const uint16_t *p,
                                                          uint32_t left, bool wide)
{
    struct eight v;

    if (wide) {
        const uint4 bits = *(const uint4 *)p;

        v.f[0] = bf16_load(bits.x);
        v.f[1] = bf16_load(bits.x >> 16);
        v.f[2] = bf16_load(bits.y);
        v.f[3] = bf16_load(bits.y >> 16);
        v.f[4] = bf16_load(bits.z);
        v.f[5] = bf16_load(bits.z >> 16);
        v.f[6] = bf16_load(bits.w);
        v.f[7] = bf16_load(bits.w >> 16);
        return v;
    }
#pragma unroll
    for (uint32_t i = 0; i < 8; i++)
        v.f[i] = i < left ? bf16_load(p[i]) : 0.0F;
    return v;
}

static __device__ __forceinline__ void eight_store(uint16_t *p, const struct eight *v,
                                                   uint32_t left, bool wide)
{
    if (wide) {
        uint4 bits;

        bits.x = bf16_store(v->f[0]) | bf16_store(v->f[1]) << 16;
        bits.y = bf16_store(v->f[2]) | bf16_store(v->f[3]) << 16;
        bits.z = bf16_store(v->f[4]) | bf16_store(v->f[5]) << 16;
        bits.w = bf16_store(v->f[6]) | bf16_store(v->f[7]) << 16;
        *(uint4 *)p = bits;
        return;
    }
#pragma unroll
    for (uint32_t i = 0; i < 8; i++)
        if (i < left)
            p[i] = (uint16_t)bf16_store(v->f[i]);
}

/* Whether rows of `columns` elements from p on can be taken wide. */
static inline bool eight_fits(const void *p, uint64_t columns)
{
    return (uintptr_t)p % 16 == 0 && columns % 8 == 0;
}

#endif
