/* IEEE 754 binary16 and single precision, both ways. Scores are stored as halves. */
#ifndef MOESIM_TRACES_HALF_H
#define MOESIM_TRACES_HALF_H

#include <stdint.h>
#include <string.h>

#define HALF_ONE 0x3c00u      /* 1.0 */
#define HALF_INFINITY 0x7c00u /* this and above, sign aside, is not finite */
#define HALF_MAX 65504.0F

/* Exact for every finite half, subnormal ones too; infinity and NaN are not handled. */
static inline float half_to_float(uint16_t half)
{
    uint32_t bits = (uint32_t)(half & 0x7fffu) << 13;
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    float value;

    memcpy(&value, &bits, sizeof value);
    value *= 0x1p112F; /* the difference of the exponent biases, 127 - 15 */
    memcpy(&bits, &value, sizeof bits);
    bits |= sign;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* A whole number in the order of finite halves, one apart where none lies between; both
 * zeros are 0. */
static inline int16_t half_order(uint16_t half)
{
    int16_t magnitude = (int16_t)(half & 0x7fffu);

    return (int16_t)(half > 0x7fffu ? -magnitude : magnitude);
}

/* Rounds to nearest, ties to even. |value| is at most HALF_MAX. */
static inline uint16_t half_of_float(float value)
{
    uint32_t bits, sign, magnitude;
    float positive;

    memcpy(&bits, &value, sizeof bits);
    sign = (bits >> 16) & 0x8000u;
    magnitude = bits & 0x7fffffffu;
    if (magnitude <
        0x38800000u) { /* below 2^-14: adding 0.5 aligns the subnormal's bits */
        memcpy(&positive, &magnitude, sizeof positive);
        positive += 0.5F;
        memcpy(&bits, &positive, sizeof bits);
        return (uint16_t)(sign | (bits - 0x3f000000u));
    }
    magnitude += 0xfffu + ((magnitude >> 13) & 1u);
    return (uint16_t)(sign | ((magnitude - 0x38000000u) >> 13));
}

#endif
