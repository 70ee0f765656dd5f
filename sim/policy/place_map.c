#include "place_map.h"

#include "place_fill.h"
#include "sim/base/config.h"
#include "sim/base/file_kind.h"
#include "sim/base/mem.h"

#include <inttypes.h>
#include <stdlib.h>

enum { SLOTS_MAX = 65534 };

struct loading {
    struct place_map *map;
    const struct place_map_shape *shape;
    const char *path;
    struct err *e;
};

/* ---- rows ---- */

/* Fills one layer's slots from a row of expert ids. */
static int read_row(const struct loading *l, uint32_t layer, const struct cfg_node *row)
{
    const struct option id = {.name = "expert",
                              .type = OPT_INT,
                              .min = -1,
                              .max = (double)l->shape->experts - 1};
    uint16_t *expert;

    if (row == NULL || !cfg_is_list(row) || cfg_count(row) == 0)
        return cfg_error(row, l->e,
                         "expected a list of experts, one for each slot of decoder "
                         "layer %u",
                         l->shape->moe_layer[layer]);
    if (l->map->expert == NULL) {
        if (cfg_count(row) > SLOTS_MAX)
            return cfg_error(row, l->e, "a layer has %zu slots; there may be %d",
                             cfg_count(row), SLOTS_MAX);
        l->map->slots = (uint32_t)cfg_count(row);
        l->map->expert =
            mem_alloc((size_t)l->shape->layers * l->map->slots, sizeof *l->map->expert);
    }
    if (cfg_count(row) != l->map->slots)
        return cfg_error(row, l->e,
                         "decoder layer %u has %zu slots, the first MoE layer %u; all "
                         "need as many",
                         l->shape->moe_layer[layer], cfg_count(row), l->map->slots);
    expert = &l->map->expert[(size_t)layer * l->map->slots];
    for (uint32_t s = 0; s < l->map->slots; s++) {
        int64_t value;

        if (cfg_bind_value(cfg_item(row, s), &id, &value, l->e) != 0)
            return -1;
        expert[s] = value < 0 ? PLACE_EMPTY : (uint16_t)value;
    }
    return 0;
}

static uint32_t last_layer(const struct place_map_shape *shape)
{
    return shape->moe_layer[shape->layers - 1];
}

/* A list of rows: of the MoE layers, or of all decoder layers. */
static int read_rows(const struct loading *l, const struct cfg_node *rows)
{
    const struct place_map_shape *shape = l->shape;
    const uint32_t all = shape->decoder_layers > last_layer(shape)
                             ? shape->decoder_layers
                             : last_layer(shape) + 1;
    const size_t count = cfg_count(rows);
    const bool dense = count == all || count == last_layer(shape) + 1;

    if (!cfg_is_list(rows))
        return cfg_error(rows, l->e,
                         "expected a list with a row of experts for each layer");
    if (count != shape->layers && all == shape->layers)
        return cfg_error(rows, l->e, "has %zu rows; expected %u, one for each layer",
                         count, shape->layers);
    if (count != shape->layers && !dense)
        return cfg_error(rows, l->e,
                         "has %zu rows; expected %u, one for each MoE layer, or %u, one "
                         "for each decoder layer",
                         count, shape->layers, all);
    for (uint32_t i = 0; i < shape->layers; i++) {
        size_t row = count == shape->layers ? i : shape->moe_layer[i];

        if (read_row(l, i, cfg_item(rows, row)) != 0)
            return -1;
    }
    return 0;
}

/* TensorRT-LLM's mapping from decoder layers to rows; those of other layers, as of a
 * draft head, are passed over. */
static int read_assignments(const struct loading *l, const struct cfg_node *root,
                            const struct cfg_node *rows)
{
    const struct cfg_node *slots = cfg_find(root, "num_slots");
    const struct option option = {
        .name = "num_slots", .type = OPT_INT, .min = 1, .max = SLOTS_MAX};
    int64_t told;

    for (uint32_t i = 0; i < l->shape->layers; i++) {
        char key[16];
        const struct cfg_node *row;

        (void)snprintf(key, sizeof key, "%u", l->shape->moe_layer[i]);
        row = cfg_find(rows, key);
        if (row == NULL)
            return cfg_error(rows, l->e,
                             "has no row for decoder layer %s, which is an MoE layer",
                             key);
        if (read_row(l, i, row) != 0)
            return -1;
    }
    if (slots == NULL)
        return 0;
    if (cfg_bind_value(slots, &option, &told, l->e) != 0)
        return -1;
    if (told != l->map->slots)
        return cfg_error(slots, l->e, "num_slots is %" PRId64 ", but the rows have %u",
                         told, l->map->slots);
    return 0;
}

static int read_form(const struct loading *l, const struct cfg_node *root)
{
    static const char *const lists[] = {"physical_to_logical_map", "phy2log"};
    const struct cfg_node *found;

    if (cfg_is_list(root))
        return read_rows(l, root);
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        found = cfg_find(root, lists[i]);
        if (found != NULL)
            return read_rows(l, found);
    }
    found = cfg_find(root, "initial_global_assignments");
    if (found != NULL)
        return read_assignments(l, root, found);
    if (cfg_find(root, "logical_count") != NULL)
        return err_set(l->e,
                       "%s: holds loads (logical_count), from which an engine places; "
                       "import them as a trace, and give that as profile: "
                       "with place: eplb",
                       l->path);
    return err_set(l->e,
                   "%s: is no placement; expected physical_to_logical_map (SGLang, "
                   "vLLM), a list of rows (DeepSeek's phy2log) or "
                   "initial_global_assignments (TensorRT-LLM)",
                   l->path);
}

/* Every expert of every layer has a slot. */
static int check_whole(const struct loading *l)
{
    const uint32_t experts = l->shape->experts, slots = l->map->slots;

    for (uint32_t i = 0; i < l->shape->layers; i++) {
        uint32_t missing =
            place_missing(&l->map->expert[(size_t)i * slots], slots, experts);

        if (missing < experts)
            return err_set(l->e,
                           "%s: decoder layer %u has no slot for expert %u; every one of "
                           "its %u experts needs one",
                           l->path, l->shape->moe_layer[i], missing, experts);
    }
    return 0;
}

/* What torch and NumPy save is named with the way to JSON. */
static int check_kind(const char *path, struct err *e)
{
    if (file_kind_of(path) == FILE_NUMPY)
        return err_set(e,
                       "%s: is an array, such as torch.save() and numpy.save() write; "
                       "save it as JSON: "
                       "json.dump({'physical_to_logical_map': map.tolist()}, file)",
                       path);
    return file_kind_check(path, FILE_MAP, e);
}

int place_map_load(struct place_map *m, const char *path,
                   const struct place_map_shape *shape, struct err *e)
{
    const struct loading l = {m, shape, path, e};
    struct cfg *c = NULL;
    int status = -1;

    *m = (struct place_map){.slots = 0};
    if (check_kind(path, e) == 0)
        c = cfg_load(path, e);
    if (c != NULL)
        status = read_form(&l, cfg_root(c));
    cfg_free(c);
    return status == 0 ? check_whole(&l) : -1;
}

void place_map_release(struct place_map *m)
{
    free(m->expert);
    *m = (struct place_map){.slots = 0};
}

void place_map_print(FILE *out, const struct place_map_shape *shape, uint32_t slots,
                     const uint16_t *expert)
{
    uint32_t layer = 0;

    (void)fprintf(out, "{\"physical_to_logical_map\": [");
    for (uint32_t d = 0; d <= last_layer(shape); d++) {
        const bool dense = shape->moe_layer[layer] != d;
        const uint16_t *held = &expert[(size_t)layer * slots];

        (void)fprintf(out, "%s\n  [", d == 0 ? "" : ",");
        for (uint32_t s = 0; s < slots; s++)
            (void)fprintf(out, "%s%d", s == 0 ? "" : ", ",
                          dense                    ? (int)(s % shape->experts)
                          : held[s] == PLACE_EMPTY ? -1
                                                   : (int)held[s]);
        (void)fprintf(out, "]");
        layer += !dense;
    }
    (void)fprintf(out, "\n]}\n");
}
