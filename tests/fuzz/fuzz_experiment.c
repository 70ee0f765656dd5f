/* Whole small experiments: the bytes make a trace in memory, and a configuration out of
 * the option tables that the program itself documents: any plug-in, any key, values at
 * and beyond their bounds. What runs has books that balance and can be shown; what does
 * not says why. */
#include "memory_trace.h"

#include "sim/base/mem.h"
#include "sim/policy/policy.h"
#include "sim/experiment/experiment.h"
#include "sim/report/print.h"
#include "sim/report/explain.h"
#include "sim/experiment/parallel.h"
#include "sim/workload/workload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);

enum { EXPERTS = 8, LAYERS = 3 };

static char *model_path;

/* Small, but for the KV cache of a token: 1.6 MB, so that no prompt of millions fits. */
static const char model_text[] =
    "name: small\nsource: made for fuzzing\nlayers: 3\nhidden: 64\nexpert_ffn: 96\n"
    "experts: 8\ntop_k: 2\nheads: 4\nkv_heads: 4\nhead_dim: 32768\nvocab: 500\n"
    "gate: softmax\nexpert_bits: 16\ndense_bits: 16\nactivation_bits: 16\n";

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    model_path = mem_format("%s/model.yaml", fuzz_folder());
    fuzz_write(model_path, model_text, sizeof model_text - 1);
    return 0;
}

/* ---- the configuration ---- */

static const char *draw_number(struct fuzz_bytes *b)
{
    static const char *const numbers[] = {
        "0",   "1",    "2",   "3",   "4",     "5",   "7",    "8",     "9",    "12",
        "16",  "24",   "25",  "64",  "-1",    "0.5", "1.5",  "0.999", "1e-6", "100",
        "255", "1000", "1e6", "1e9", "65536", "4e9", "1e15", "1e18",  "nan",  "1e-300",
    };

    return numbers[fuzz_choose(b, sizeof numbers / sizeof numbers[0])];
}

/* A value of an option's kind, mostly; owned. */
static char *draw_value(struct fuzz_bytes *b, const struct option *o)
{
    static const char *const byte_units[] = {"", " B", " KiB", " MB", " GiB"};
    static const char *const time_units[] = {"", " ps", " us", " ms", " s"};
    static const char *const gpus[] = {"0", "1", "2", "4", "8", "16", "24", "2049", "x"};
    static const char *const odd[] = {"yes", "no", "[]", "[1, 2]", "{}", "x", ""};
    size_t count = 0;

    /* Thousands of GPUs are right, and take long. */
    if (strcmp(o->name, "gpus") == 0)
        return mem_strdup(gpus[fuzz_choose(b, sizeof gpus / sizeof gpus[0])]);
    if (fuzz_choose(b, 16) == 15)
        return mem_strdup(odd[fuzz_choose(b, 7)]);
    switch (o->type) {
    case OPT_CHOICE:
        while (o->choices[count] != NULL)
            count++;
        return mem_strdup(o->choices[fuzz_choose(b, count)]);
    case OPT_BOOL:
        return mem_strdup(odd[fuzz_choose(b, 2)]);
    case OPT_BYTES:
        return mem_format("%s%s", draw_number(b), byte_units[fuzz_choose(b, 5)]);
    case OPT_TIME:
        return mem_format("%s%s", draw_number(b), time_units[fuzz_choose(b, 5)]);
    default:
        return mem_strdup(draw_number(b));
    }
}

/* Sets one option of a table, under `prefix`. */
static void set_option(struct cfg *c, struct fuzz_bytes *b, const char *prefix,
                       const struct option *table)
{
    struct err e = {.text = ""};
    char *value, *assignment;
    size_t count = 0;

    while (table != NULL && table[count].name != NULL)
        count++;
    if (count == 0)
        return;
    table += fuzz_choose(b, count);
    value = draw_value(b, table);
    assignment = mem_format("%s%s=%s", prefix, table->name, value);
    fuzz_require_sentence(cfg_override(c, assignment, &e), &e);
    free(assignment);
    free(value);
}

/* A plug-in for a slot of a policy, and some of its options. */
static void set_plugin(struct cfg *c, struct fuzz_bytes *b)
{
    const struct plugin *const *all = registry_all();
    const struct cfg_node *policies = cfg_find(cfg_root(c), "policies");
    const struct plugin *p;
    struct err e = {.text = ""};
    size_t count = 0, policy;
    char *prefix, *assignment;

    if (policies == NULL || cfg_count(policies) == 0)
        return;
    policy = fuzz_choose(b, cfg_count(policies));

    while (all[count] != NULL)
        count++;
    p = all[fuzz_choose(b, count)];
    prefix = mem_format("policies.%zu.%s.", policy, policy_slot_name(p->slot));
    assignment = mem_format("%sname=%s", prefix, p->name);
    (void)cfg_override(c, assignment, &e);
    for (size_t i = fuzz_choose(b, 4); i > 0; i--)
        set_option(c, b, prefix,
                   fuzz_choose(b, 2) == 0 ? p->options : policy_shared_options(p->slot));
    free(assignment);
    free(prefix);
}

static struct cfg *draw_config(struct fuzz_bytes *b)
{
    static const char *const machines[] = {"h100-80g", "rtx4090-pcie4", "phone-flash",
                                           "v100-32g-x8"};
    static const char *const policies[] = {
        "[{cache: {name: lru, slots: 3}}]",
        "[{cache: {name: belady, slots: 3}}, {prefetch: {name: markov}}]",
        "[{place: {name: linear}}, {place: {name: eplb}}, {name: x, cache: {slots: 4}}]"};
    static const char *const parallel[] = {"", "parallel: {gpus: 2}\n",
                                           "parallel: {gpus: 8}\n"};
    /* One after the other: compilers differ in which argument they draw first. */
    const char *machine = machines[fuzz_choose(b, 4)],
               *gpus = parallel[fuzz_choose(b, 3)];
    const char *mode = fuzz_choose(b, 2) == 0 ? "static" : "continuous";
    char *text =
        mem_format("trace: t.h5\nmodel: %s\nmachine: %s\n%sworkload: {mode: %s}\n"
                   "policies: %s\n",
                   model_path, machine, gpus, mode, policies[fuzz_choose(b, 3)]);
    struct err e = {.text = ""};
    struct cfg *c = cfg_parse("experiment.yaml", text, strlen(text), &e);

    fuzz_require(c != NULL);
    free(text);
    for (size_t i = fuzz_choose(b, 8); i > 0; i--)
        switch (fuzz_choose(b, 4)) {
        case 0:
            set_option(c, b, "", experiment_options);
            break;
        case 1:
            set_option(c, b, "workload.", workload_options);
            break;
        case 2:
            set_option(c, b, "parallel.", parallel_options);
            break;
        default:
            set_plugin(c, b);
        }
    return c;
}

/* ---- running it ---- */

/* No more is changed, left out or kept than there was. */
static void check_quality(const struct select_quality *q)
{
    fuzz_require(q->rows <= q->choices && q->changed + q->fewer <= q->choices);
    fuzz_require(q->top1 <= q->rows && (q->rows == 0 || q->left > 0));
}

static void check_result(const struct result *r)
{
    struct err e = {.text = ""};
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    fuzz_require(out != NULL);
    for (uint32_t i = 0; i < r->policies; i++) {
        const struct run_counts *c = &r->policy[i].run.total.counts;

        fuzz_require(c->hits + c->loads + c->bypasses + run_in_place(c) == c->accesses);
        fuzz_require(r->policy[i].run.elapsed >= 0);
        check_quality(&r->policy[i].run.quality);
    }
    result_print(r, out);
    result_print_json(r, out);
    fuzz_require_sentence(result_explain(r, out, &e), &e);
    (void)fclose(out);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct experiment_folders folders = {"models/arch", "models/machine",
                                                      "sim/policy/presets"};
    static const struct experiment_hooks hooks = {0};
    struct fuzz_bytes b = {data, size};
    struct err e = {.text = ""};
    struct result r = {.path = NULL};
    struct cfg *c = draw_config(&b);
    int status;

    if (getenv("FUZZ_SAY") != NULL) {
        char *text = cfg_dump(c);

        (void)fputs(text, stderr);
        free(text);
    }
    memory_trace_make(&b, &(struct memory_trace_shape){EXPERTS, LAYERS, "small"});
    status = experiment_run(c, &folders, 1, &hooks, &r, &e);
    fuzz_require_sentence(status, &e);
    if (status == 0) {
        check_result(&r);
        result_release(&r);
    }
    cfg_free(c);
    return 0;
}
