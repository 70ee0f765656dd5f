/* Placement maps as engines keep them in files: which expert each slot of a layer holds.
 *
 * Read are, told apart by their shape, in JSON or YAML:
 *
 *   {"physical_to_logical_map": [[0, 1, ...], ...]}   a row of slots a layer: SGLang's
 *                                                     --init-expert-location, vLLM's name
 *   [[0, 1, ...], ...], {"phy2log": ...}              as DeepSeek's EPLB gives it
 *   {num_slots: 40, initial_global_assignments:       TensorRT-LLM's, a row for each
 *    {3: [0, 1, ...], ...}}                           decoder layer's number
 *
 * Rows are of the MoE layers in turn or of all decoder layers, whose dense ones are then
 * passed over, as SGLang does. Slots are dealt to GPUs in equal contiguous parts, as all
 * of these do. -1 is an empty slot, which only this program knows. Written is SGLang's
 * form. */
#ifndef MOESIM_POLICY_PLACE_MAP_H
#define MOESIM_POLICY_PLACE_MAP_H

#include "sim/base/err.h"

#include <stdint.h>
#include <stdio.h>

/* What a map must fit. Borrows its array. */
struct place_map_shape {
    uint32_t layers, experts;  /* MoE layers; experts of each */
    const uint16_t *moe_layer; /* [layers] decoder layer of each, ascending */
    uint32_t decoder_layers;   /* 0: none after the last of those */
};

struct place_map {
    uint32_t slots;   /* of a layer */
    uint16_t *expert; /* (layer, slot), or PLACE_EMPTY (place.h); owned */
};

/* 0, or -1 and a sentence about the file: unreadable, of another form or shape, an id
 * that is no expert, an expert without a slot. Either way release it. */
int place_map_load(struct place_map *m, const char *path,
                   const struct place_map_shape *shape, struct err *e);
void place_map_release(struct place_map *m);

/* Prints a map, expert[layer, slot], with rows up to the last MoE layer; dense layers
 * hold expert s mod E in slot s, as SGLang's trivial placement. What is read back is the
 * same. */
void place_map_print(FILE *out, const struct place_map_shape *shape, uint32_t slots,
                     const uint16_t *expert);

#endif
