/* Every kernel of device.h again, on one thread, in plain loops with sums in double: what
 * the devices are checked against. All arrays are the caller's floats in host memory, in
 * the shapes of device.h; index arrays too. A bf16 device is checked by giving both the
 * same rounded inputs (reference_round) and allowing for what its results are rounded to.
 *
 * What device.h leaves to the kernels, and all of them share: attention scales scores by
 * 1 / sqrt(key_dim); the norm adds 1e-6 to the mean square. */
#ifndef MOESIM_GPU_REFERENCE_H
#define MOESIM_GPU_REFERENCE_H

#include "device.h"

#define REFERENCE_NORM_EPSILON 1e-6

/* bf16: the upper half of a float, rounded to nearest, ties to even; a NaN stays one. */
uint16_t reference_bf16(float x);
float reference_of_bf16(uint16_t x);
/* Between floats and a device's elements (copies where those are floats). */
void reference_to_elements(enum device_element type, const float *x, void *to,
                           size_t count);
void reference_of_elements(enum device_element type, const void *x, float *to,
                           size_t count);
/* In place, to what the element can hold. */
void reference_round(enum device_element type, float *x, size_t count);

void reference_gemm(const struct device_gemm *g);
/* g->work is not used. */
void reference_experts(const struct device_group *g);
void reference_attention(const struct device_attention *a);
void reference_norm(const struct device_norm *n);
void reference_gather(const struct device_permute *p, const float *x, float *y);
void reference_scatter(const struct device_permute *p, const float *x, float *y);
void reference_add(float *y, const float *x, size_t count);
void reference_gated(const float *x, float *y, uint32_t rows, uint32_t inner);

#endif
