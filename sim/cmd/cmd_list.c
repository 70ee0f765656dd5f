#include "cmd.h"
#include "models/catalogue.h"
#include "models/machine.h"
#include "models/model.h"
#include "sim/base/mem.h"
#include "sim/base/nearest.h"
#include "sim/base/plain.h"
#include "sim/policy/policy.h"
#include "sim/experiment/experiment.h"
#include "sim/experiment/parallel.h"
#include "sim/experiment/tune_spec.h"
#include "sim/experiment/watching.h"
#include "sim/base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int list_policies(const struct folders *f, struct err *e)
{
    (void)f;
    (void)e;
    for (const struct plugin *const *p = registry_all(); *p != NULL; p++) {
        const struct plugin *q = *p;

        if (p == registry_all() || p[-1]->slot != q->slot)
            (void)printf("%s%s\n", p == registry_all() ? "" : "\n",
                         policy_slot_name(q->slot));
        (void)printf("  %-18s %s\n", q->name, q->help);
        (void)printf("  %-18s %s, %s; %s\n", "", policy_variant_name(q->variant),
                     q->lossless ? "lossless" : "lossy", q->source);
        if (q->options != NULL)
            cfg_help(q->options, 23, stdout);
    }
    for (int slot = 0; slot < POLICY_SLOTS; slot++) {
        const struct option *shared = policy_shared_options((enum policy_slot)slot);

        if (shared == NULL)
            continue;
        (void)printf("\nevery %s also takes\n", policy_slot_name((enum policy_slot)slot));
        cfg_help(shared, 2, stdout);
    }
    return 0;
}

static int list_presets(const struct folders *f, struct err *e)
{
    char **names = policy_presets(f->presets, e);
    int status = names == NULL ? -1 : 0;

    for (char **n = names; status == 0 && *n != NULL; n++) {
        struct policy_preset preset;
        struct cfg *c = policy_preset_load(f->presets, *n, &preset, e);

        if (c == NULL)
            status = -1;
        else
            plain_printf(stdout, "%-24s %s\n%-24s %s\n", *n, preset.help, "",
                         preset.source);
        cfg_free(c);
    }
    policy_presets_free(names);
    return status;
}

static int list_models(const struct folders *f, struct err *e)
{
    size_t count;
    char **names = catalogue_names(f->models, &count, e);
    int status = names == NULL ? -1 : 0;

    (void)printf("%-24s %10s %7s %5s %10s  %s\n", "model", "MoE layers", "experts",
                 "top-k", "one expert", "source");
    for (size_t i = 0; status == 0 && i < count; i++) {
        struct model *m = model_load(names[i], f->models, e);

        if (m == NULL)
            status = -1;
        else
            plain_printf(stdout, "%-24s %10u %7u %5u %10s  %s%s\n", m->name,
                         m->moe_layers, m->experts, m->top_k,
                         text_bytes((double)model_expert_bytes(m)).text,
                         m->from_memory ? "(from memory) " : "", m->source);
        model_free(m);
    }
    if (names != NULL)
        catalogue_free(names, count);
    return status;
}

/* "2.04 TB/s". */
static struct text_figure rate(double bytes_per_s)
{
    struct text_figure f = text_bytes(bytes_per_s);

    (void)strcat(f.text, "/s"); /* it leaves room: at most 9 characters */
    return f;
}

static int list_machines(const struct folders *f, struct err *e)
{
    size_t count;
    char **names = catalogue_names(f->machines, &count, e);
    int status = names == NULL ? -1 : 0;

    (void)printf("%-20s %10s %12s %12s  %s\n", "machine", "GPU memory", "its rate",
                 "host to GPU", "source");
    for (size_t i = 0; status == 0 && i < count; i++) {
        struct machine *m = machine_load(names[i], f->machines, e);

        if (m == NULL)
            status = -1;
        else
            plain_printf(stdout, "%-20s %10s %12s %12s  %s\n", m->name,
                         text_bytes((double)m->gpu.memory_bytes).text,
                         rate(m->gpu.hbm_bytes_per_s).text,
                         m->unified ? "one memory" : rate(m->h2d_pinned.bytes_per_s).text,
                         m->source);
        machine_free(m);
    }
    if (names != NULL)
        catalogue_free(names, count);
    return status;
}

static int list_config(const struct folders *f, struct err *e)
{
    (void)f;
    (void)e;
    cfg_help(experiment_options, 0, stdout);
    (void)printf("\nworkload:\n");
    cfg_help(workload_options, 2, stdout);
    (void)printf("\nparallel:\n");
    cfg_help(parallel_options, 2, stdout);
    (void)printf("\nwatch:\n");
    cfg_help(watching_options, 2, stdout);
    (void)printf("\ntune:\n");
    cfg_help(tune_options, 2, stdout);
    (void)printf("\npolicies: a list; each item is a preset's name or a mapping of name, "
                 "preset, gate, select,\nplace, cache, prefetch, offload, schedule (see "
                 "moesim list policies, moesim list presets).\nWith for: {KEY: VALUES, "
                 "...} an item is a policy at each point, such as\n{preset: "
                 "lru-on-demand, for: {cache.slots: [4, 8, all]}}; those of one name are "
                 "told\napart by what they differ in\n");
    return 0;
}

int cmd_list(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*list)(const struct folders *f, struct err *e);
    } lists[] = {
        {"policies", list_policies}, {"presets", list_presets}, {"models", list_models},
        {"machines", list_machines}, {"config", list_config},
    };
    struct flag table[] = {{.name = NULL}};
    const struct command command = {
        "moesim list policies|presets|models|machines|config|formats",
        "Shows what there is to choose from, with parameters, defaults and sources.",
        "moesim list policies", table};
    struct folders folders = {.models = NULL};
    struct err e = {.text = ""};
    struct nearest near;
    char *sentence;
    int status = EXIT_MISUSE;
    int count;

    if (argc > 1 && strcmp(argv[1], "formats") == 0)
        return cmd_python("list", "formats", argc - 1, argv + 1);
    count = flags_parse(&command, argc, argv);
    if (count < 0)
        return count == -2 ? EXIT_GOOD : EXIT_MISUSE;
    if (count != 1)
        return flags_misuse(&command, "list takes one word, such as policies");
    near = nearest_to(argv[0]);
    if (folders_find(&folders, &e) != 0) {
        folders_release(&folders);
        return cmd_fail(&e);
    }
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        if (strcmp(lists[i].name, argv[0]) == 0)
            status = lists[i].list(&folders, &e) == 0 ? EXIT_GOOD : cmd_fail(&e);
    }
    folders_release(&folders);
    if (status != EXIT_MISUSE)
        return status;
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        nearest_try(&near, lists[i].name);
    nearest_try(&near, "formats");
    sentence =
        mem_format("list knows policies, presets, models, machines, config and formats%s",
                   nearest_hint(&near).text);
    status = flags_misuse(&command, sentence);
    free(sentence);
    return status;
}
