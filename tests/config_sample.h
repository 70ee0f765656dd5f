/* A struct with an option of every type, to read configurations into. */
#ifndef MOESIM_TESTS_CONFIG_SAMPLE_H
#define MOESIM_TESTS_CONFIG_SAMPLE_H

#include "sim/base/config.h"
#include "sim/base/units.h"

struct sample {
    int64_t batch;
    int64_t delta;
    double fraction;
    bool strict;
    int policy;
    uint64_t capacity_bytes;
    sim_time poll;
    const char *name;
    const struct cfg_node *extra;
};

extern const struct option sample_options[];

/* The document, called demo.yaml; fails the test where it is not valid. */
struct cfg *sample_parse(const char *text);

/* What is refused, and in which words. */
struct refusal {
    const char *text, *sentence;
};

/* A key of 48 bytes. */
#define SAMPLE_KEY_48 "a_key_of_48_bytes_is_longer_than_that_of_options"

#endif
