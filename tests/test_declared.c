/* What plug-ins, models and machines declare, against tables of our own: a changed word
 * there changes what is refused or believed, but fails nothing that runs. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "models/machine.h"
#include "models/model.h"
#include "sim/base/file.h"
#include "sim/base/mem.h"
#include "sim/policy/policy.h"
#include "sim/experiment/experiment.h"
#include "traces/draw_scale.h"
#include "traces/generate.h"

#include <stdlib.h>
#include <string.h>

/* ---- plug-ins ---- */

static const struct {
    enum policy_slot slot;
    const char *name;
    enum policy_variant variant;
    bool lossless; /* gates with a capacity and selects are not */
    unsigned needs;
} plugins[] = {
    /* clang-format off */
    {SLOT_GATE, "capacity-factor", VARIANT_RELEASED, false, 0},
    {SLOT_GATE, "capacity-fraction", VARIANT_RELEASED, false, 0},
    {SLOT_GATE, "dropless", VARIANT_STANDARD, true, 0},
    {SLOT_SELECT, "affinity-binning", VARIANT_RECONSTRUCTION, false, NEED_SCORES},
    {SLOT_SELECT, "budget", VARIANT_PAPER, false, NEED_SCORES},
    {SLOT_SELECT, "eras-bias", VARIANT_PAPER, false, NEED_SCORES | NEED_PROFILE},
    {SLOT_SELECT, "eras-threshold", VARIANT_PAPER, false, NEED_SCORES},
    {SLOT_SELECT, "lynx", VARIANT_RECONSTRUCTION, false, NEED_SCORES},
    {SLOT_SELECT, "naee", VARIANT_PAPER, false, NEED_SCORES},
    {SLOT_SELECT, "none", VARIANT_STANDARD, true, 0},
    {SLOT_SELECT, "oea", VARIANT_PAPER, false, NEED_SCORES},
    {SLOT_SELECT, "top-k", VARIANT_STANDARD, false, NEED_SCORES},
    {SLOT_PLACE, "anti-correlation", VARIANT_PAPER, true, NEED_PROFILE},
    {SLOT_PLACE, "eplb", VARIANT_RELEASED, true, NEED_PROFILE},
    {SLOT_PLACE, "file", VARIANT_STANDARD, true, NEED_MAP},
    {SLOT_PLACE, "greedy", VARIANT_PAPER, true, NEED_PROFILE},
    {SLOT_PLACE, "linear", VARIANT_STANDARD, true, 0},
    {SLOT_PLACE, "moeshard", VARIANT_PAPER, true, 0},
    {SLOT_PLACE, "optimal", VARIANT_STANDARD, true, NEED_PROFILE},
    {SLOT_PLACE, "random", VARIANT_STANDARD, true, 0},
    {SLOT_PLACE, "replicate", VARIANT_RECONSTRUCTION, true, NEED_PROFILE},
    {SLOT_PLACE, "round-robin", VARIANT_STANDARD, true, 0},
    {SLOT_PLACE, "tensor", VARIANT_STANDARD, true, 0},
    {SLOT_CACHE, "arc", VARIANT_PAPER, true, 0},
    {SLOT_CACHE, "belady", VARIANT_STANDARD, true, NEED_FUTURE},
    {SLOT_CACHE, "belady-bypass", VARIANT_STANDARD, true, NEED_FUTURE},
    {SLOT_CACHE, "clock", VARIANT_STANDARD, true, 0},
    {SLOT_CACHE, "fifo", VARIANT_STANDARD, true, 0},
    {SLOT_CACHE, "heat-protected-lru", VARIANT_RELEASED, true, 0},
    {SLOT_CACHE, "least-stale-ewma", VARIANT_RELEASED, true, 0},
    {SLOT_CACHE, "least-stale-layer", VARIANT_RELEASED, true, 0},
    {SLOT_CACHE, "least-stale-queue", VARIANT_RECONSTRUCTION, true, 0},
    {SLOT_CACHE, "lfru", VARIANT_RELEASED, true, 0},
    {SLOT_CACHE, "lfru-heat", VARIANT_RECONSTRUCTION, true, 0},
    {SLOT_CACHE, "lfu-aging", VARIANT_STANDARD, true, 0},
    {SLOT_CACHE, "lfu-evict", VARIANT_STANDARD, true, 0},
    {SLOT_CACHE, "lfu-keep", VARIANT_STANDARD, true, 0},
    {SLOT_CACHE, "lifo", VARIANT_PAPER, true, 0},
    {SLOT_CACHE, "lru", VARIANT_STANDARD, true, 0},
    {SLOT_CACHE, "moe-infinity", VARIANT_RELEASED, true, NEED_ROWS},
    {SLOT_CACHE, "pin", VARIANT_STANDARD, true, NEED_PROFILE},
    {SLOT_CACHE, "random", VARIANT_STANDARD, true, 0},
    {SLOT_CACHE, "s3fifo", VARIANT_RELEASED, true, 0},
    {SLOT_CACHE, "sieve", VARIANT_STANDARD, true, 0},
    {SLOT_CACHE, "slru", VARIANT_STANDARD, true, 0},
    {SLOT_PREFETCH, "frequency", VARIANT_STANDARD, true, 0},
    {SLOT_PREFETCH, "markov", VARIANT_STANDARD, true, 0},
    {SLOT_PREFETCH, "none", VARIANT_STANDARD, true, 0},
    {SLOT_PREFETCH, "oracle", VARIANT_STANDARD, true, NEED_FUTURE},
    {SLOT_PREFETCH, "previous-token", VARIANT_STANDARD, true, 0},
    {SLOT_OFFLOAD, "fetch", VARIANT_STANDARD, true, 0},
    {SLOT_OFFLOAD, "fiddler", VARIANT_PAPER, true, 0},
    {SLOT_OFFLOAD, "hobbit", VARIANT_RECONSTRUCTION, false, NEED_SCORES},
    {SLOT_OFFLOAD, "host", VARIANT_STANDARD, true, 0},
    {SLOT_OFFLOAD, "hybrid", VARIANT_STANDARD, true, 0},
    {SLOT_OFFLOAD, "layers", VARIANT_RELEASED, true, 0},
    {SLOT_OFFLOAD, "monde", VARIANT_RECONSTRUCTION, true, 0},
    {SLOT_SCHEDULE, "overlapped", VARIANT_STANDARD, true, 0},
    {SLOT_SCHEDULE, "pipelined", VARIANT_PAPER, true, 0},
    {SLOT_SCHEDULE, "serial", VARIANT_STANDARD, true, 0},
    {SLOT_SCHEDULE, "two-batch", VARIANT_PAPER, true, 0},
    /* clang-format on */
};

static void every_plugin_says_what_it_is(void **state)
{
    const struct plugin *const *all = registry_all();

    (void)state;
    for (size_t i = 0; i < sizeof plugins / sizeof *plugins; i++) {
        const struct plugin *p = registry_find(plugins[i].slot, plugins[i].name);

        if (p == NULL || p->variant != plugins[i].variant ||
            p->lossless != plugins[i].lossless || p->needs != plugins[i].needs)
            fail_msg("%s is not what the table says", plugins[i].name);
    }
    for (size_t i = 0; all[i] != NULL; i++) {
        size_t k = 0;

        while (k < sizeof plugins / sizeof *plugins &&
               (plugins[k].slot != all[i]->slot ||
                strcmp(plugins[k].name, all[i]->name) != 0))
            k++;
        if (k == sizeof plugins / sizeof *plugins)
            fail_msg("%s is not in the table", all[i]->name);
    }
}

static const struct {
    const char *plugin, *name, *def;
    double min, max; /* 0, 0: not a number */
} options[] = {
    /* clang-format off */
    {"capacity-factor", "cf", "1", 1e-6, 65536},
    {"capacity-factor", "min_capacity", "4", 0, 1000000},
    {"capacity-factor", "dispatch", "sparse", 0, 0},
    {"capacity-fraction", "cf", "1", 1e-6, 1},
    {"capacity-fraction", "dispatch", "sparse", 0, 0},
    {"affinity-binning", "alpha", "2", 0, 1000000},
    {"affinity-binning", "beta", "3", 0, 64},
    {"affinity-binning", "theta", "1", 0, 1000000000},
    {"affinity-binning", "margin", "1", 0, 64},
    {"affinity-binning", "rounding", "ceil", 0, 0},
    {"budget", "experts", "0", 0, 4096},
    {"budget", "share", "0.75", 0, 1},
    {"budget", "warm_up", "0", 0, 4096},
    {"budget", "sum", "all", 0, 0},
    {"eras-bias", "beta", "1", 0, 1000000000},
    {"eras-threshold", "alpha", "0.15", 0, 1000000000},
    {"lynx", "drop", "0.25", 0, 1},
    {"lynx", "form", "latency", 0, 0},
    {"naee", "beta", "0", 0, 1},
    {"naee", "calibrate", "1024", 1, 1000000000},
    {"oea", "k0", "0", 0, 4096},
    {"oea", "k_max", "0", 0, 4096},
    {"oea", "max_p", "0", 0, 4096},
    {"top-k", "k", "1", 1, 4096},
    {"anti-correlation", "w", "0.5", 0, 1000000},
    {"anti-correlation", "form", "literal", 0, 0},
    {"eplb", "form", "auto", 0, 0},
    {"linear", "spare", "empty", 0, 0},
    {"moeshard", "variant", "v2", 0, 0},
    {"replicate", "tau", "1", 1e-3, 1000000},
    {"replicate", "r_max", "8", 1, 65535},
    {"clock", "bits", "1", 1, 8},
    {"clock", "initial", "0", 0, 255},
    {"heat-protected-lru", "hot_uses", "4", 0, 1000000000},
    {"least-stale-ewma", "weight", "0.25", 1e-6, 1},
    {"least-stale-queue", "form", "layers", 0, 0},
    {"lfru-heat", "guard", "2", 0, 1000000000},
    {"lfru-heat", "halve", "1024", 0, 1000000000},
    {"lfu-aging", "decay", "0.99", 0.01, 1},
    {"lfu-aging", "window", "0", 0, 1000000000000000},
    {"lfu-aging", "keep", "true", 0, 0},
    {"moe-infinity", "form", "released", 0, 0},
    {"s3fifo", "small", "0.1", 0, 1},
    {"s3fifo", "ghost", "0.9", 0, 100},
    {"s3fifo", "threshold", "2", 1, 100},
    {"slru", "segments", "2", 2, 16},
    {"frequency", "distance", "1", 1, 64},
    {"frequency", "candidates", "0", 0, 65535},
    {"frequency", "width", "0", 0, 65535},
    {"markov", "distance", "1", 1, 64},
    {"markov", "candidates", "0", 0, 65535},
    {"markov", "width", "0", 0, 65535},
    {"markov", "smoothing", "1", 0, 1000000},
    {"markov", "rows", "64", 1, 4096},
    {"oracle", "distance", "1", 1, 64},
    {"oracle", "width", "0", 0, 65535},
    {"previous-token", "distance", "1", 1, 64},
    {"previous-token", "candidates", "0", 0, 65535},
    {"previous-token", "width", "0", 0, 65535},
    /* clang-format on */
};

static void every_option_has_its_default_and_range(void **state)
{
    const struct plugin *const *all = registry_all();
    size_t found = 0;

    (void)state;
    for (size_t i = 0; all[i] != NULL; i++) {
        for (const struct option *o = all[i]->options; o != NULL && o->name != NULL;
             o++) {
            for (size_t k = 0; k < sizeof options / sizeof *options; k++) {
                if (strcmp(options[k].plugin, all[i]->name) != 0 ||
                    strcmp(options[k].name, o->name) != 0)
                    continue;
                found++;
                if (strcmp(options[k].def, o->def) != 0 || options[k].min < o->min ||
                    options[k].min > o->min || options[k].max < o->max ||
                    options[k].max > o->max)
                    fail_msg("%s of %s is not what the table says", o->name,
                             all[i]->name);
            }
        }
    }
    assert_int_equal(found, sizeof options / sizeof *options);
}

static void every_setting_of_an_experiment(void **state)
{
    static const struct {
        const char *name, *def; /* NULL: it must be given */
        double min, max;
    } settings[] = {
        {"trace", NULL, 0, 0},
        {"model", "", 0, 0},
        {"machine", NULL, 0, 0},
        {"profile", "", 0, 0},
        {"seed", "1", 0, 9e15},
        {"launch", "auto", 0, 0},
        {"home", "auto", 0, 0},
        {"gpu_memory", "0", 0, 1e18},
        {"host_memory", "0", 0, 1e18},
        {"pageable", "no", 0, 0},
        {"chunk", "0", 0, 1e12},
        {"engine", "auto", 0, 0},
        {"bounds", "yes", 0, 0},
        {"passes", "yes", 0, 0},
        {"timeline_passes", "16", 0, 1e6},
        {"parallel", "", 0, 0},
        {"workload", "", 0, 0},
        {"watch", "", 0, 0},
        {"policies", NULL, 0, 0},
    };
    size_t i = 0;

    (void)state;
    for (const struct option *o = experiment_options; o->name != NULL; o++, i++) {
        assert_true(i < sizeof settings / sizeof *settings);
        assert_string_equal(o->name, settings[i].name);
        assert_int_equal(o->def == NULL, settings[i].def == NULL);
        if (o->def != NULL)
            assert_string_equal(o->def, settings[i].def);
        if (o->min < settings[i].min || o->min > settings[i].min ||
            o->max < settings[i].max || o->max > settings[i].max)
            fail_msg("%s has another range", o->name);
    }
    assert_int_equal(i, sizeof settings / sizeof *settings);
}

static void every_setting_of_made_traces(void **state)
{
    static const struct {
        const char *name, *def;
        double min, max;
    } settings[] = {
        {"model", "synthetic", 0, 0},
        {"source", "", 0, 0},
        {"layers", "24", 1, 1024},
        {"first_layer", "0", 0, 4096},
        {"experts", "32", 1, 4096},
        {"top_k", "4", 1, 4096},
        {"requests", "128", 1, 1e9},
        {"groups", "1", 1, 65535},
        {"seed", "1", 0, 9e15},
        {"prompt_tokens", "128", 0, 1e7},
        {"output_tokens", "128", 0, 1e7},
        {"prompt_spread", "0.4", 0, 4},
        {"output_spread", "0.8", 0, 4},
        {"skew", "1.3", 0, 8},
        {"tail", "0.5", 0, 2},
        {"locality", "0.5", 0, 1},
        {"affinity", "0.7", 0, 1},
        {"domain", "0.2", 0, 1},
        {"cross_layer", "0.9", 0, 1},
        {"opening", "0", 0, 1},
        {"prompt_template", "0", 0, 65535},
        {"output_template", "0", 0, 65535},
        {"scores", "no", 0, 0},
        {"gini", "0", 0, 1},
        {"top1_share", "0", 0, 1},
        {"adjacent_overlap", "0", 0, 1},
        {"next_layer_predictability", "0", 0, 1},
        {"union_16", "0", 0, 4096},
        {"independent", "false", 0, 0},
        {"hot_weight", "0", 0, 1e6},
        {"hot_share", "0.1", 0, 1},
        {"sources", "0", 0, 65535},
        {"moe_every", "1", 1, 16},
        {"encoder_layers", "0", 0, 1024},
        {"logit_scale", "1.5", DRAW_SCALE_LEAST, DRAW_SCALE_MOST},
        {"autoregressive", "false", 0, 0},
        {"logit_sd", "1.386", 0, 100},
        {"persistence", "0.5", 0, 1},
        {"popularity_sd", "0.2", 0, 100},
    };
    size_t i = 0;

    (void)state;
    for (const struct option *o = generate_options; o->name != NULL; o++, i++) {
        assert_true(i < sizeof settings / sizeof *settings);
        assert_string_equal(o->name, settings[i].name);
        assert_string_equal(o->def, settings[i].def);
        if (o->min < settings[i].min || o->min > settings[i].min ||
            o->max < settings[i].max || o->max > settings[i].max)
            fail_msg("%s has another range", o->name);
    }
    assert_int_equal(i, sizeof settings / sizeof *settings);
}

/* ---- files, key by key ---- */

static char *read_all(const char *path)
{
    struct err e = {.text = ""};
    size_t size;
    char *text = file_read(path, (size_t)1 << 20, &size, &e);

    if (text == NULL)
        fail_msg("%s", e.text);
    text = mem_resize(text, size + 1, 1);
    text[size] = '\0';
    return text;
}

/* The text without the line at `at`. */
static char *without(const char *text, const char *at)
{
    const char *end = strchr(at, '\n');

    return mem_format("%.*s%s", (int)(at - text), text, end == NULL ? "" : end + 1);
}

static bool is_among(const char *key, const char *const *list)
{
    for (; *list != NULL; list++)
        if (strcmp(*list, key) == 0)
            return true;
    return false;
}

static int load_machine(const char *text, struct err *e)
{
    struct cfg *c = cfg_parse("machine.yaml", text, strlen(text), e);
    struct machine *m = c == NULL ? NULL : machine_from_cfg(c, e);

    machine_free(m);
    cfg_free(c);
    return m == NULL ? -1 : 0;
}

static int load_model(const char *text, struct err *e)
{
    struct cfg *c = cfg_parse("model.yaml", text, strlen(text), e);
    struct model *m = c == NULL ? NULL : model_from_cfg(c, e);

    model_free(m);
    cfg_free(c);
    return m == NULL ? -1 : 0;
}

/* Leaves out one line after another that is a key with its value; those of `optional` may
 * be left out ("section.key", "key"), the others are refused by name. */
static void leave_out(const char *path, int (*load)(const char *text, struct err *e),
                      const char *const *optional, uint32_t least)
{
    char *text = read_all(path);
    char section[64] = "";
    uint32_t tried = 0;

    for (const char *at = text; *at != '\0'; at = strchr(at, '\n') + 1) {
        size_t indent = strspn(at, " "), length = strcspn(at + indent, ":\n");
        char *name, *left;
        struct err e = {.text = ""};
        int status;

        if (at[indent] == '#' || at[indent + length] != ':')
            continue;
        if (indent == 0 && at[length + 1] == '\n') {
            memcpy(section, at, length);
            section[length] = '\0';
            continue;
        }
        name = indent == 0 ? mem_format("%.*s", (int)length, at)
                           : mem_format("%s.%.*s", section, (int)length, at + indent);
        left = without(text, at);
        status = load(left, &e);
        if (is_among(name, optional)) {
            if (status != 0)
                fail_msg("%s without %s: %s", path, name, e.text);
        } else if (status != -1 ||
                   strstr(e.text, name + (indent == 0 ? 0 : strlen(section) + 1)) ==
                       NULL) {
            fail_msg("%s without %s: %d \"%s\"", path, name, status, e.text);
        }
        tried++;
        free(left);
        free(name);
    }
    assert_true(tried >= least);
    free(text);
}

static void keys_of_machines(void **state)
{
    static const char *const optional[] = {"gpus",
                                           "nodes",
                                           "unified",
                                           "gpu.expert_gemm_efficiency",
                                           "gpu.attention_efficiency",
                                           "gpu.move_efficiency",
                                           "gpu.expert_floor",
                                           "gpu.attention_floor",
                                           "collective.launch",
                                           "collective.share",
                                           "collective.normal_dispatch",
                                           "collective.normal_combine",
                                           "collective.normal_share",
                                           "collective.low_latency_dispatch",
                                           "collective.low_latency_combine",
                                           "collective.low_latency_share",
                                           NULL};

    (void)state;
    leave_out("models/machine/h100-80g.yaml", load_machine, optional, 45);
}

static void keys_of_models(void **state)
{
    static const char *const optional[] = {
        "from_memory", "first_moe",    "encoder_layers",  "moe_every",
        "matrices",    "shared_ffn",   "kv_heads",        "window",
        "q_rank",      "window_every", "activation_bits", NULL};

    (void)state;
    leave_out("models/arch/gpt-oss-20b.yaml", load_model,
              (const char *const[]){"from_memory", "kv_heads", "window", "window_every",
                                    "activation_bits", NULL},
              12);
    leave_out("models/arch/deepseek-v3.yaml", load_model,
              (const char *const[]){"first_moe", "shared_ffn", "q_rank", "kv_heads",
                                    "activation_bits", NULL},
              12);
    leave_out("models/arch/nllb-moe-54b.yaml", load_model, optional, 12);
}

/* A small model, with one more line. */
static char *model_with(const char *key, double value)
{
    static const struct {
        const char *key;
        double value;
    } base[] = {{"layers", 8},      {"hidden", 64},     {"expert_ffn", 32},
                {"experts", 4},     {"top_k", 1},       {"heads", 4},
                {"head_dim", 16},   {"vocab", 100},     {"dense_ffn", 64},
                {"expert_bits", 8}, {"dense_bits", 16}, {"activation_bits", 16}};
    char *text = mem_strdup("name: small\nsource: by hand\ngate: softmax\n"), *more;

    for (size_t i = 0; i < sizeof base / sizeof *base; i++) {
        if (strcmp(base[i].key, key) == 0)
            continue;
        more = mem_format("%s%s: %.17g\n", text, base[i].key, base[i].value);
        free(text);
        text = more;
    }
    more = mem_format("%s%s: %.17g\n", text, key, value);
    free(text);
    return more;
}

static int model_status(const char *key, double value)
{
    struct err e = {.text = ""};
    char *text = model_with(key, value);
    int status = load_model(text, &e);

    free(text);
    assert_true((status == 0) == (e.text[0] == '\0'));
    if (status != 0 && strstr(e.text, key) == NULL)
        fail_msg("'%s' is not named: %s", key, e.text);
    return status;
}

/* The least and the most of each key of a model; where another key limits it more, as far
 * as that. */
static void ranges_of_models(void **state)
{
    static const struct {
        const char *key;
        double least, most, step;
    } ranges[] = {{"layers", 1, 1024, 1},
                  {"encoder_layers", 0, 7, 1},
                  {"first_moe", 0, 7, 1},
                  {"moe_every", 1, 1024, 1},
                  {"hidden", 1, 16777216, 1},
                  {"expert_ffn", 1, 16777216, 1},
                  {"matrices", 2, 3, 1},
                  {"experts", 1, 65534, 1},
                  {"top_k", 1, 4, 1},
                  {"shared_ffn", 0, 16777216, 1},
                  {"dense_ffn", 0, 16777216, 1},
                  {"heads", 1, 65536, 1},
                  {"kv_heads", 0, 4, 1},
                  {"head_dim", 1, 65536, 1},
                  {"window", 0, 1e9, 1},
                  {"window_every", 1, 1024, 1},
                  {"vocab", 1, 16777216, 1},
                  {"expert_bits", 1, 64, 0.25},
                  {"dense_bits", 1, 64, 0.25},
                  {"activation_bits", 1, 64, 0.25}};

    (void)state;
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        const char *key = ranges[i].key;

        if (model_status(key, ranges[i].least) != 0 ||
            model_status(key, ranges[i].most) != 0)
            fail_msg("%s has a smaller range", key);
        if (model_status(key, ranges[i].least - ranges[i].step) != -1 ||
            model_status(key, ranges[i].most + ranges[i].step) != -1)
            fail_msg("%s has a larger range", key);
    }
}

/* Every field is read from the key of its name: no two of these numbers are alike. */
static void fields_of_models(void **state)
{
    static const char text[] =
        "name: small\nsource: by hand\nfrom_memory: yes\nlayers: 9\n"
        "first_moe: 3\nmoe_every: 4\nhidden: 71\nexpert_ffn: 37\nmatrices: 2\n"
        "experts: 41\ntop_k: 5\nshared_ffn: 43\ndense_ffn: 47\nheads: 24\nkv_heads: 8\n"
        "head_dim: 19\nwindow: 53\nwindow_every: 6\nvocab: 101\ngate: sigmoid\n"
        "expert_bits: 4.25\ndense_bits: 7.5\nactivation_bits: 12\n";
    struct err e = {.text = ""};
    struct cfg *c = cfg_parse("model.yaml", text, strlen(text), &e);
    struct model *m = model_from_cfg(c, &e);

    (void)state;
    assert_non_null(m);
    assert_string_equal(m->name, "small");
    assert_string_equal(m->source, "by hand");
    assert_true(m->from_memory);
    assert_int_equal(m->layers, 9);
    assert_int_equal(m->encoder_layers, 0); /* which a window does not go with */
    assert_int_equal(m->first_moe, 3);
    assert_int_equal(m->moe_every, 4);
    assert_int_equal(m->moe_layers, 2); /* 3 and 7 */
    assert_int_equal(m->hidden, 71);
    assert_int_equal(m->expert_ffn, 37);
    assert_int_equal(m->matrices, 2);
    assert_int_equal(m->experts, 41);
    assert_int_equal(m->top_k, 5);
    assert_int_equal(m->shared_ffn, 43);
    assert_int_equal(m->dense_ffn, 47);
    assert_int_equal(m->heads, 24);
    assert_int_equal(m->kv_heads, 8);
    assert_int_equal(m->head_dim, 19);
    assert_int_equal(m->window, 53);
    assert_int_equal(m->window_every, 6);
    assert_int_equal(m->vocab, 101);
    assert_true(m->gate == MODEL_GATE_SIGMOID);
    assert_true(m->expert_bits == 4.25 && m->dense_bits == 7.5 &&
                m->activation_bits == 12);
    /* 2 x 71 x 37 weights of 4.25 bits are 2791.1875 bytes: the nearest whole number. */
    assert_int_equal(model_expert_bytes(m), 2791);
    m->expert_bits = 4.253;
    assert_int_equal(model_expert_bytes(m), 2793); /* 2793.16 */
    m->expert_bits = 4.2524;
    assert_int_equal(model_expert_bytes(m), 2793); /* 2792.76 */
    model_free(m);
    cfg_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_plugin_says_what_it_is),
        cmocka_unit_test(every_option_has_its_default_and_range),
        cmocka_unit_test(every_setting_of_an_experiment),
        cmocka_unit_test(every_setting_of_made_traces),
        cmocka_unit_test(keys_of_machines),
        cmocka_unit_test(keys_of_models),
        cmocka_unit_test(ranges_of_models),
        cmocka_unit_test(fields_of_models),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
