/* How fast a machine was while it executed, by a small benchmark taken again and again,
 * against what its machine file says of the same shapes. An error of predicted times has
 * two causes: a model that is wrong, and a machine that is not as fast as when it was
 * calibrated. Only the latter shows here, but for the machine file's own error on the two
 * shapes. */
#ifndef MOESIM_VALIDATE_SPEED_H
#define MOESIM_VALIDATE_SPEED_H

#include "models/cost.h"

/* One look at the machine. */
struct speed_probe {
    double gemm_s; /* a product of dense weights */
    double copy_s; /* a copy from pinned memory; 0: the machine copies nothing */
};

/* What the machine file says. `side` is the matrix's; of rows as of bytes, what is
 * measured. */
struct speed_probe speed_predict(const struct cost *c, uint32_t rows, uint32_t side,
                                 uint64_t copy_bytes);

/* Predicted over measured seconds: 2 is twice as fast as the machine file says. */
struct speed {
    struct speed_probe predicted;
    const struct speed_probe *probe; /* [probes], borrowed */
    size_t probes;
    double gemm, copy;         /* medians; copy is NaN where there is none */
    double whole, least, most; /* of a probe's geometric mean: median and range */
};
/* NaN where there is no probe. */
void speed_find(const struct speed_probe *predicted, const struct speed_probe *probe,
                size_t probes, struct speed *s);

#endif
