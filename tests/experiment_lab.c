#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "experiment_lab.h"

#include "sim/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char model_text[] = "name: tiny\n"
                                 "source: by hand\n"
                                 "layers: 3\n"
                                 "hidden: 256\n"
                                 "expert_ffn: 1024\n"
                                 "experts: 12\n"
                                 "top_k: 3\n"
                                 "heads: 4\n"
                                 "head_dim: 64\n"
                                 "vocab: 1000\n"
                                 "gate: softmax\n"
                                 "expert_bits: 16\n"
                                 "dense_bits: 16\n"
                                 "activation_bits: 16\n";

int lab_setup(void **state)
{
    struct lab *lab = mem_zalloc(1, sizeof *lab);
    FILE *f;

    lab->w = run_world_new(3, 12, 3, 6, 20, NULL, 4242);
    lab->model = mem_format("/tmp/moesim_model_%ld.yaml", (long)getpid());
    f = fopen(lab->model, "w");
    assert_non_null(f);
    assert_true(fputs(model_text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    *state = lab;
    return 0;
}

int lab_teardown(void **state)
{
    struct lab *lab = *state;

    (void)unlink(lab->model);
    free(lab->model);
    run_world_free(lab->w);
    free(lab);
    return 0;
}

struct cfg *lab_config(const struct lab *lab, const char *more)
{
    struct err e = {.text = ""};
    const char *machine =
        strncmp(more, "machine:", 8) == 0 ? "" : "machine: rtx4090-pcie4\n";
    char *text =
        mem_format("trace: %s\nmodel: %s\n%s%s", lab->w->path, lab->model, machine, more);
    struct cfg *c = cfg_parse("test.yaml", text, strlen(text), &e);

    if (c == NULL)
        fail_msg("%s", e.text);
    free(text);
    return c;
}

int lab_run_hooked(const struct lab *lab, const char *more, unsigned threads,
                   const struct experiment_hooks *hooks, struct result *r, struct err *e)
{
    const struct experiment_folders folders = {"models/arch", "models/machine",
                                               "sim/policy/presets"};
    struct cfg *c = lab_config(lab, more);
    int status = experiment_run(c, &folders, threads, hooks, r, e);

    cfg_free(c);
    return status;
}

int lab_run(const struct lab *lab, const char *more, unsigned threads,
            const char *timeline, struct result *r, struct err *e)
{
    struct experiment_hooks hooks = {.timeline_path = timeline};

    return lab_run_hooked(lab, more, threads, &hooks, r, e);
}

struct result lab_result(const struct lab *lab, const char *more, unsigned threads)
{
    struct err e = {.text = ""};
    struct result r;

    if (lab_run(lab, more, threads, NULL, &r, &e) != 0)
        fail_msg("%s", e.text);
    return r;
}

void lab_refuse(const struct lab *lab, const char *more, const char *sentence)
{
    struct err e = {.text = ""};
    struct result r;
    int status = lab_run(lab, more, 2, NULL, &r, &e);

    if (status == 0)
        result_release(&r);
    if (status != -1 || strstr(e.text, sentence) == NULL)
        fail_msg("%s gives %d: '%s', not '%s'", more, status, e.text, sentence);
}
