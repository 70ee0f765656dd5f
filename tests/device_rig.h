/* A device under test: opened for one check, with arrays that are the same in host memory
 * (floats, rounded to what the device's elements hold) and on the device. Everything is
 * freed when the check ends. Include cmocka.h first. */
#ifndef MOESIM_TESTS_DEVICE_RIG_H
#define MOESIM_TESTS_DEVICE_RIG_H

#include "gpu/device.h"
#include "sim/base/rng.h"

struct rig {
    struct device *d;
    const struct device_ops *o;
    struct device_stream *s;
    enum device_element type;
    struct rng rng;
    void *owned[64]; /* host arrays, freed with the rig */
    uint32_t owns;
};

/* Long enough for another stream to overtake one that it should have waited for. */
#define RIG_LONG_NS 5e6

/* Runs the check on every device that can be used here; prints which cannot. */
void rig_each(void (*check)(struct rig *r));
/* The host device alone; skips the test where it cannot be. device_close() it. */
struct device *rig_open_host(void);
bool rig_is_host(const struct rig *r);

/* Values within (-scale, scale). Owned by the rig, as all host arrays here are. */
float *rig_random(struct rig *r, size_t count, double scale);
/* All 2.385, which nothing computed will be by chance. */
float *rig_blank(struct rig *r, size_t count);

/* Memory of the device; fails the test where there is none. */
void *rig_alloc(struct rig *r, enum device_memory kind, size_t bytes);

/* Copies on the device, owned by it; elements are followed by a few that no kernel may
 * write to. */
void *rig_send(struct rig *r, const float *x, size_t count);
void *rig_send_bytes(struct rig *r, const void *x, size_t bytes);

/* Waits; fails unless the device has these values: each within 1e-5 (fp32) or 1e-2 (bf16)
 * of the largest magnitude, and untouched behind them. */
void rig_expect(struct rig *r, const void *device, const float *expected, size_t count);
/* Bit by bit. */
void rig_expect_bytes(struct rig *r, const void *device, const void *expected,
                      size_t bytes);

/* Attention: `shape` without pointers, row i over `length[i]` tokens from `first[i]` of a
 * cache of `tokens`. Returns it with the device's pointers, and in *expected what its
 * `out` is to be (so many floats). */
struct device_attention rig_attention_of(struct rig *r, struct device_attention shape,
                                         size_t tokens, const uint64_t *first,
                                         const uint32_t *length, const float **expected);
static inline size_t rig_attention_outputs(const struct device_attention *a)
{
    return (size_t)a->rows * a->heads * a->value_dim;
}
/* The same, done and compared. */
void rig_attention(struct rig *r, struct device_attention shape, size_t tokens,
                   const uint64_t *first, const uint32_t *length);

/* Finishes the stream; fails with the device's sentence. */
void rig_finish(struct rig *r, struct device_stream *s);
struct device_stream *rig_stream(struct rig *r);
struct device_event *rig_event(struct rig *r);

#endif
