#include "machine.h"

#include "catalogue.h"
#include "sim/base/mem.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Each number of a machine file is a mapping {value, source, error}. A section is a table
 * of such numbers; it makes the option table that finds them. */
enum unit {
    UNIT_BYTES, /* uint64_t */
    UNIT_TIME,  /* sim_time */
    UNIT_RATE,  /* double, bytes per second */
    UNIT_FLOPS, /* double, flop per second */
    UNIT_SHARE, /* double in (0, 1] */
    UNIT_COUNT, /* uint32_t, at least 1 */
    UNIT_PLAIN, /* double, at least 0 */
    UNIT_RATIO, /* double, at least 1 */
    UNIT_TILES, /* struct machine_tiles */
};

struct number {
    const char *name;
    enum unit unit;
    size_t offset; /* into struct machine */
    bool optional; /* absent: the field keeps what it has */
    const char *help;
};

#define MAX_NUMBERS 20

#define ROWS_NUMBERS(field)                                                              \
    {"exposed", UNIT_SHARE, offsetof(struct machine, field.exposed), true,               \
     "share of the shorter of computing and reading that shows; default 0"},             \
        {"fill_rows", UNIT_PLAIN, offsetof(struct machine, field.fill), true,            \
         "a product takes as long as with so many rows more; default 0"},                \
    {                                                                                    \
        "few_rows", UNIT_PLAIN, offsetof(struct machine, field.few), true,               \
            "or so many times as long per row but the first; default: never"             \
    }

static const struct number gpu_numbers[] = {
    {"memory", UNIT_BYTES, offsetof(struct machine, gpu.memory_bytes), false,
     "device memory of one GPU"},
    {"hbm_bandwidth", UNIT_RATE, offsetof(struct machine, gpu.hbm_bytes_per_s), false,
     "peak bandwidth of device memory"},
    {"bf16_flops", UNIT_FLOPS, offsetof(struct machine, gpu.bf16_flops), false,
     "dense bf16 (or fp16) tensor-core peak"},
    {"fp32_flops", UNIT_FLOPS, offsetof(struct machine, gpu.fp32_flops), false,
     "fp32 peak"},
    {"gemm_efficiency", UNIT_SHARE, offsetof(struct machine, gpu.gemm_efficiency), false,
     "share of the flop peak that dense GEMMs reach"},
    {"expert_gemm_efficiency", UNIT_SHARE,
     offsetof(struct machine, gpu.expert_gemm_efficiency), true,
     "share of the flop peak that grouped GEMMs reach; default gemm_efficiency"},
    {"attention_efficiency", UNIT_SHARE,
     offsetof(struct machine, gpu.attention_efficiency), true,
     "share of the flop peak that attention reaches; default gemm_efficiency"},
    {"memory_efficiency", UNIT_SHARE, offsetof(struct machine, gpu.memory_efficiency),
     false, "share of the bandwidth that reading weights reaches"},
    {"move_efficiency", UNIT_SHARE, offsetof(struct machine, gpu.move_efficiency), true,
     "share of the bandwidth that moving activations reaches; default memory_efficiency"},
    ROWS_NUMBERS(gpu.rows),
    {"tile_rows", UNIT_TILES, offsetof(struct machine, gpu.tiles), false,
     "rows of an expert GEMM's tile, or a list of those its kernels come in"},
    {"kernel_floor", UNIT_TIME, offsetof(struct machine, gpu.kernel_floor), false,
     "GPU time of a kernel apart from its flops and bytes"},
    {"expert_floor", UNIT_TIME, offsetof(struct machine, gpu.expert_floor), true,
     "more of it, once per expert group; default 0"},
    {"attention_floor", UNIT_TIME, offsetof(struct machine, gpu.attention_floor), true,
     "more of it, per attention kernel; default 0"},
    {.name = NULL},
};

static const struct number host_numbers[] = {
    {"memory", UNIT_BYTES, offsetof(struct machine, host.memory_bytes), false,
     "host memory of a node"},
    {"dram_bandwidth", UNIT_RATE, offsetof(struct machine, host.dram_bytes_per_s), false,
     "DRAM bandwidth that CPU experts reach"},
    {"flops", UNIT_FLOPS, offsetof(struct machine, host.flops), false,
     "rate that CPU expert GEMMs reach"},
    ROWS_NUMBERS(host.rows),
    {"launch_eager", UNIT_TIME, offsetof(struct machine, host.launch_eager), false,
     "host time per kernel launch"},
    {"launch_graph", UNIT_TIME, offsetof(struct machine, host.launch_graph), false,
     "least GPU time per kernel node of a replayed graph"},
    {"graph_launch", UNIT_TIME, offsetof(struct machine, host.graph_launch), false,
     "host time to launch one graph"},
    {"round_trip", UNIT_TIME, offsetof(struct machine, host.round_trip), false,
     "small device-to-host copy, synchronise, resume"},
    {"copy_call", UNIT_TIME, offsetof(struct machine, host.copy_call), false,
     "host time to issue one asynchronous copy"},
    {"expert_overhead", UNIT_TIME, offsetof(struct machine, host.expert_overhead), true,
     "host time per expert of a serial loop, launches not included; default 0"},
    {"layer_overhead", UNIT_TIME, offsetof(struct machine, host.layer_overhead), true,
     "time of a layer's experts on the host apart from flops and bytes; default 0"},
    {.name = NULL},
};

static const struct number near_numbers[] = {
    {"bandwidth", UNIT_RATE, offsetof(struct machine, near.bytes_per_s), false,
     "at which a unit beside the memory reads weights"},
    {"flops", UNIT_FLOPS, offsetof(struct machine, near.flops), false,
     "rate that its expert GEMMs reach"},
    {"layer_overhead", UNIT_TIME, offsetof(struct machine, near.layer_overhead), true,
     "time of a layer's experts there apart from flops and bytes; default 0"},
    {"units", UNIT_COUNT, offsetof(struct machine, near.units), true,
     "units of a node, which its GPUs share evenly; default 1"},
    {.name = NULL},
};

/* The sections that are one alpha-beta copy; storage has its capacity beside it. */
#define COPY_NUMBERS(field)                                                              \
    {"latency", UNIT_TIME, offsetof(struct machine, field.latency), false,               \
     "of one copy"},                                                                     \
    {                                                                                    \
        "bandwidth", UNIT_RATE, offsetof(struct machine, field.bytes_per_s), false,      \
            "one direction"                                                              \
    }

static const struct number h2d_pinned_numbers[] = {COPY_NUMBERS(h2d_pinned),
                                                   {.name = NULL}};
static const struct number d2h_pinned_numbers[] = {COPY_NUMBERS(d2h_pinned),
                                                   {.name = NULL}};
static const struct number h2d_pageable_numbers[] = {COPY_NUMBERS(h2d_pageable),
                                                     {.name = NULL}};
static const struct number d2h_pageable_numbers[] = {COPY_NUMBERS(d2h_pageable),
                                                     {.name = NULL}};
static const struct number nvlink_numbers[] = {COPY_NUMBERS(nvlink), {.name = NULL}};
static const struct number network_numbers[] = {
    COPY_NUMBERS(network),
    {"rails", UNIT_COUNT, offsetof(struct machine, rails), true,
     "NICs of a node; default one per GPU"},
    {"oversubscription", UNIT_RATIO, offsetof(struct machine, oversubscription), true,
     "bandwidth of a node's NICs over that of its way to the others; default 1"},
    {.name = NULL},
};
static const struct number pcie_numbers[] = {
    {"gpus_per_root", UNIT_COUNT, offsetof(struct machine, gpus_per_root), false,
     "GPUs that share one link to the host"},
    {.name = NULL},
};
#define COLLECTIVE_TIME(key, what)                                                       \
    {                                                                                    \
#key, UNIT_TIME, offsetof(struct machine, collective.key), true, what            \
    }
#define COLLECTIVE_SHARE(key, what)                                                      \
    {                                                                                    \
#key, UNIT_SHARE, offsetof(struct machine, collective.key), true, what           \
    }
static const struct number collective_numbers[] = {
    COLLECTIVE_TIME(launch, "GPU time of one collective apart from hops and bytes"),
    COLLECTIVE_TIME(normal_dispatch, "the same of DeepEP's normal dispatch"),
    COLLECTIVE_TIME(normal_combine, "the same of DeepEP's normal combine"),
    COLLECTIVE_TIME(low_latency_dispatch, "the same of DeepEP's low-latency dispatch"),
    COLLECTIVE_TIME(low_latency_combine, "the same of DeepEP's low-latency combine"),
    COLLECTIVE_SHARE(share, "share of the bandwidth inside a node that NCCL reaches"),
    COLLECTIVE_SHARE(gather_share, "the same of all-gather and reduce-scatter"),
    COLLECTIVE_SHARE(normal_share, "the same of DeepEP's normal kernels"),
    COLLECTIVE_SHARE(low_latency_share, "the same of DeepEP's low-latency kernels"),
    {.name = NULL},
};
static const struct number storage_numbers[] = {
    {"capacity", UNIT_BYTES, offsetof(struct machine, storage_bytes), false,
     "of the storage tier"},
    COPY_NUMBERS(storage_read),
    {.name = NULL},
};
static const struct number duplex_numbers[] = {
    {"h2d", UNIT_SHARE, offsetof(struct machine, h2d_duplex), false,
     "share of its bandwidth that host-to-device keeps under a copy back"},
    {"d2h", UNIT_SHARE, offsetof(struct machine, d2h_duplex), false,
     "share of its bandwidth that device-to-host keeps under a copy in"},
    {.name = NULL},
};

#define NOT_KEPT (SIZE_MAX - 1)

static const struct section {
    const char *name;
    const struct number *numbers;
    size_t present; /* offset of the bool that says so; SIZE_MAX: required; NOT_KEPT:
                       optional, its defaults say all */
    bool copies;    /* not needed where memory is unified */
} sections[] = {
    {"gpu", gpu_numbers, SIZE_MAX, false},
    {"host", host_numbers, SIZE_MAX, false},
    {"near", near_numbers, offsetof(struct machine, has_near), false},
    {"h2d_pinned", h2d_pinned_numbers, SIZE_MAX, true},
    {"h2d_pageable", h2d_pageable_numbers, SIZE_MAX, true},
    {"d2h_pinned", d2h_pinned_numbers, SIZE_MAX, true},
    {"d2h_pageable", d2h_pageable_numbers, SIZE_MAX, true},
    {"duplex", duplex_numbers, SIZE_MAX, true},
    {"storage", storage_numbers, offsetof(struct machine, has_storage), false},
    {"nvlink", nvlink_numbers, offsetof(struct machine, has_nvlink), false},
    {"network", network_numbers, offsetof(struct machine, has_network), false},
    {"pcie", pcie_numbers, NOT_KEPT, false},
    {"collective", collective_numbers, NOT_KEPT, false},
};

#define SECTIONS (sizeof(sections) / sizeof(sections[0]))

struct head {
    const char *name, *source;
    int64_t gpus, nodes;
    bool unified;
    const struct cfg_node *sections[SECTIONS];
};

static const struct option head_options[] = {
    {"name", OPT_STRING, offsetof(struct head, name), NULL, 0, 0, NULL,
     "as the file is called, without .yaml"},
    {"source", OPT_STRING, offsetof(struct head, source), NULL, 0, 0, NULL,
     "what the machine is and where its figures come from"},
    {"gpus", OPT_INT, offsetof(struct head, gpus), "1", 1, 1024, NULL, "GPUs of a node"},
    {"nodes", OPT_INT, offsetof(struct head, nodes), "1", 1, 65536, NULL, "nodes"},
    {"unified", OPT_BOOL, offsetof(struct head, unified), "no", 0, 0, NULL,
     "GPU and host share one memory"},
};

#define HEAD_OPTIONS (sizeof(head_options) / sizeof(head_options[0]))

/* Which units a rate may have, the first one for examples. */
struct unit_name {
    const char *text;
    double factor;
};

static const struct unit_name rate_units[] = {
    {"GB/s", 1e9}, {"MB/s", 1e6}, {"TB/s", 1e12}, {NULL, 0}};
static const struct unit_name flops_units[] = {
    {"TFLOP/s", 1e12}, {"GFLOP/s", 1e9}, {"PFLOP/s", 1e15}, {NULL, 0}};

static int parse_rate(const struct cfg_node *n, const char *name,
                      const struct unit_name *units, double *value, struct err *e)
{
    const char *text = cfg_text(n);
    const char *end;
    char *stop = NULL;
    double number;

    number = text == NULL ? NAN : strtod(text, &stop);
    if (text == NULL || stop == text || !isfinite(number))
        return cfg_error(n, e, "'%s' is not a number with its unit, such as 1.5 %s", name,
                         units[0].text);
    end = stop + strspn(stop, " ");
    for (size_t i = 0; units[i].text != NULL; i++) {
        if (strcmp(end, units[i].text) != 0)
            continue;
        number *= units[i].factor;
        if (number < 1.0 || number > 1e21)
            return cfg_error(n, e, "'%s' is out of range: a rate is above zero", name);
        *value = number;
        return 0;
    }
    return cfg_error(n, e, "'%s' has %s; expected %s, %s or %s, such as 1.5 %s", name,
                     *end == '\0' ? "no unit" : "an unknown unit", units[0].text,
                     units[1].text, units[2].text, units[0].text);
}

/* One number, or a list of them. */
static int parse_tiles(const struct cfg_node *n, const char *name,
                       struct machine_tiles *tiles, struct err *e)
{
    const struct option option = {name, OPT_INT, 0, NULL, 1, 65536, NULL, ""};
    size_t count = cfg_is_list(n) ? cfg_count(n) : 1;

    if (count == 0 || count > MACHINE_TILES)
        return cfg_error(n, e, "'%s' lists %zu tiles; expected 1 to %d", name, count,
                         MACHINE_TILES);
    for (size_t i = 0; i < count; i++) {
        const struct cfg_node *item = cfg_is_list(n) ? cfg_item(n, i) : n;
        int64_t rows;

        if (cfg_bind_value(item, &option, &rows, e) != 0)
            return -1;
        tiles->rows[i] = (uint32_t)rows;
        if (i > 0 && tiles->rows[i] <= tiles->rows[i - 1])
            return cfg_error(item, e, "'%s' is not in ascending order: %u comes after %u",
                             name, tiles->rows[i], tiles->rows[i - 1]);
        if (tiles->rows[i] % tiles->rows[0] != 0)
            return cfg_error(item, e, "'%s' has a tile of %u, not a multiple of %u", name,
                             tiles->rows[i], tiles->rows[0]);
    }
    tiles->count = (uint32_t)count;
    return 0;
}

/* What stands for the number is called `value`; the sentence about its unit names it. */
static int check_unit(const struct cfg_node *n, const char *name, struct err *e)
{
    const char *text = cfg_text(n);

    if (text == NULL || text[strspn(text, "0123456789.+-eE ")] != '\0')
        return 0;
    return cfg_error(n, e, "'%s' has no unit; write it with one, such as 24 GB", name);
}

/* How the value of each unit is read; a rate is left to parse_rate(). */
static const struct {
    enum opt_type type;
    double min, max;
} forms[] = {
    [UNIT_BYTES] = {OPT_BYTES, 1, 1e18},   [UNIT_TIME] = {OPT_TIME, 0, 1000},
    [UNIT_RATE] = {OPT_NODE, 0, 0},        [UNIT_FLOPS] = {OPT_NODE, 0, 0},
    [UNIT_SHARE] = {OPT_DOUBLE, 1e-6, 1},  [UNIT_COUNT] = {OPT_INT, 1, 65536},
    [UNIT_PLAIN] = {OPT_DOUBLE, 0, 65536}, [UNIT_RATIO] = {OPT_DOUBLE, 1, 1000},
    [UNIT_TILES] = {OPT_NODE, 0, 0},
};

struct entry {
    union {
        uint64_t bytes;
        sim_time time;
        double share;
        int64_t count;
        const struct cfg_node *node;
    } value;
    const char *source;
    double error;
};

/* Into the field of the number's type. */
static int store(const struct entry *entry, const struct number *number, void *field,
                 struct err *e)
{
    switch (number->unit) {
    case UNIT_BYTES:
        *(uint64_t *)field = entry->value.bytes;
        return 0;
    case UNIT_TIME:
        *(sim_time *)field = entry->value.time;
        return 0;
    case UNIT_SHARE:
    case UNIT_PLAIN:
    case UNIT_RATIO:
        *(double *)field = entry->value.share;
        return 0;
    case UNIT_COUNT:
        *(uint32_t *)field = (uint32_t)entry->value.count;
        return 0;
    case UNIT_RATE:
        return parse_rate(entry->value.node, number->name, rate_units, field, e);
    case UNIT_FLOPS:
        return parse_rate(entry->value.node, number->name, flops_units, field, e);
    case UNIT_TILES:
        return parse_tiles(entry->value.node, number->name, field, e);
    }
    return 0;
}

/* One {value, source, error} into its field of `m`. */
static int read_number(const struct cfg_node *n, const struct number *number,
                       struct machine *m, struct err *e)
{
    const struct option table[] = {
        {"value", forms[number->unit].type, offsetof(struct entry, value), NULL,
         forms[number->unit].min, forms[number->unit].max, NULL, number->help},
        {"source", OPT_STRING, offsetof(struct entry, source), NULL, 0, 0, NULL,
         "where the number comes from; an estimate says so"},
        {"error", OPT_DOUBLE, offsetof(struct entry, error), "0", 0, 10, NULL,
         "mean relative error of the fit"},
        {.name = NULL},
    };
    const struct cfg_node *value = cfg_find(n, "value");
    struct entry entry;

    if (number->unit == UNIT_BYTES && value != NULL &&
        check_unit(value, number->name, e) != 0)
        return -1;
    if (cfg_bind(n, table, &entry, e) != 0)
        return -1;
    if (entry.source[0] == '\0')
        return cfg_error(n, e,
                         "the source of '%s' is empty; say where the number is from",
                         number->name);
    m->numbers++;
    m->estimates += strncmp(entry.source, "estimate", strlen("estimate")) == 0;
    return store(&entry, number, (char *)m + number->offset, e);
}

static const struct option name_option = {
    "name", OPT_STRING, 0, NULL, 0, 0, NULL, "what the GPU is called"};

struct bound {
    const char *name;
    const struct cfg_node *numbers[MAX_NUMBERS];
};

/* A section's numbers; the GPU's has its name beside them. */
static int read_section(const struct cfg_node *n, const struct section *section,
                        struct machine *m, struct err *e)
{
    struct option table[MAX_NUMBERS + 2];
    struct bound bound;
    bool named = section->numbers == gpu_numbers;
    size_t used = 0;
    size_t count = 0;

    if (named)
        table[used++] = name_option;
    for (const struct number *q = section->numbers; q->name != NULL; q++) {
        assert(count < MAX_NUMBERS);
        table[used++] = (struct option){
            .name = q->name,
            .type = OPT_NODE,
            .offset =
                offsetof(struct bound, numbers) + count++ * sizeof(bound.numbers[0]),
            .def = q->optional ? "" : NULL,
            .help = q->help,
        };
    }
    table[used] = (struct option){.name = NULL};
    if (cfg_bind(n, table, &bound, e) != 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (bound.numbers[i] != NULL &&
            read_number(bound.numbers[i], &section->numbers[i], m, e) != 0)
            return -1;
    }
    if (named)
        m->gpu.name = mem_strdup(bound.name);
    return 0;
}

static int read_head(const struct cfg_node *root, struct head *head, struct err *e)
{
    struct option table[HEAD_OPTIONS + SECTIONS + 1];

    memcpy(table, head_options, sizeof(head_options));
    for (size_t i = 0; i < SECTIONS; i++) {
        bool required = sections[i].present == SIZE_MAX && !sections[i].copies;

        table[HEAD_OPTIONS + i] = (struct option){
            .name = sections[i].name,
            .type = OPT_NODE,
            .offset = offsetof(struct head, sections) + i * sizeof(head->sections[0]),
            .def = required ? NULL : "",
            .help = "a section of numbers",
        };
    }
    table[HEAD_OPTIONS + SECTIONS] = (struct option){.name = NULL};
    if (cfg_bind(root, table, head, e) != 0)
        return -1;
    if (head->name[0] == '\0' || head->source[0] == '\0')
        return cfg_error(root, e, "name or source of the machine is empty");
    for (size_t i = 0; i < SECTIONS && !head->unified; i++) {
        if (sections[i].copies && head->sections[i] == NULL)
            return cfg_error(root, e,
                             "%s is missing; only unified memory does without it",
                             sections[i].name);
    }
    return 0;
}

/* What holds where a file says nothing. */
static void set_defaults(struct machine *m)
{
    static const struct machine_copy at_once = {.latency = 0, .bytes_per_s = 1e18};

    m->h2d_pinned = m->h2d_pageable = m->d2h_pinned = m->d2h_pageable = at_once;
    m->h2d_duplex = m->d2h_duplex = 1.0;
    m->oversubscription = 1.0;
    m->gpus_per_root = 1;
    m->near.units = 1;
    m->collective = (struct machine_collective){.launch = -1,
                                                .share = 1.0,
                                                .normal_dispatch = -1,
                                                .normal_combine = -1,
                                                .low_latency_dispatch = -1,
                                                .low_latency_combine = -1};
}

static void derive_collective(struct machine *m)
{
    struct machine_collective *c = &m->collective;
    sim_time *kernel[] = {&c->normal_dispatch, &c->normal_combine,
                          &c->low_latency_dispatch, &c->low_latency_combine};

    if (c->launch < 0)
        c->launch = m->gpu.kernel_floor;
    for (size_t i = 0; i < sizeof(kernel) / sizeof(kernel[0]); i++) {
        if (*kernel[i] < 0)
            *kernel[i] = c->launch;
    }
    if (c->gather_share == 0.0)
        c->gather_share = c->share;
    if (c->normal_share == 0.0)
        c->normal_share = c->share;
    if (c->low_latency_share == 0.0)
        c->low_latency_share = c->share;
}

static void derive(struct machine_gpu *g)
{
    if (g->expert_gemm_efficiency == 0.0)
        g->expert_gemm_efficiency = g->gemm_efficiency;
    if (g->attention_efficiency == 0.0)
        g->attention_efficiency = g->gemm_efficiency;
    if (g->move_efficiency == 0.0)
        g->move_efficiency = g->memory_efficiency;
}

static int read_machine(const struct cfg_node *root, struct machine *m, struct err *e)
{
    struct head head;

    if (read_head(root, &head, e) != 0)
        return -1;
    set_defaults(m);
    m->name = mem_strdup(head.name);
    m->source = mem_strdup(head.source);
    m->gpus = (uint32_t)head.gpus;
    m->nodes = (uint32_t)head.nodes;
    m->unified = head.unified;
    for (size_t i = 0; i < SECTIONS; i++) {
        if (head.sections[i] == NULL)
            continue;
        if (read_section(head.sections[i], &sections[i], m, e) != 0)
            return -1;
        if (sections[i].present < NOT_KEPT)
            *(bool *)((char *)m + sections[i].present) = true;
    }
    if (m->nodes > 1 && !m->has_network)
        return cfg_error(root, e, "several nodes need a network section");
    derive(&m->gpu);
    derive_collective(m);
    return 0;
}

struct machine *machine_load(const char *path_or_name, const char *folder, struct err *e)
{
    struct cfg *c = catalogue_load(FILE_MACHINE, path_or_name, folder, e);
    struct machine *m = c == NULL ? NULL : machine_from_cfg(c, e);

    cfg_free(c);
    return m;
}

struct machine *machine_from_cfg(const struct cfg *c, struct err *e)
{
    struct machine *m = mem_zalloc(1, sizeof(*m));

    if (read_machine(cfg_root(c), m, e) == 0)
        return m;
    machine_free(m);
    return NULL;
}

struct machine machine_of_host(const struct machine *m)
{
    struct machine host = *m;

    host.gpu = (struct machine_gpu){.name = m->gpu.name,
                                    .memory_bytes = m->host.memory_bytes,
                                    .hbm_bytes_per_s = m->host.dram_bytes_per_s,
                                    .bf16_flops = m->host.flops,
                                    .fp32_flops = m->host.flops,
                                    .gemm_efficiency = 1,
                                    .expert_gemm_efficiency = 1,
                                    .attention_efficiency = 1,
                                    .memory_efficiency = 1,
                                    .move_efficiency = 1,
                                    .rows = m->host.rows,
                                    .tiles = {.rows = {1}, .count = 1}};
    return host;
}

void machine_free(struct machine *m)
{
    if (m == NULL)
        return;
    free(m->gpu.name);
    free(m->name);
    free(m->source);
    free(m);
}
