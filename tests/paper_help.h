/* Tables for the tests of what is published: their text, and how one is loaded. */
#ifndef MOESIM_TESTS_PAPER_HELP_H
#define MOESIM_TESTS_PAPER_HELP_H

#include "sim/base/mem.h"
#include "trace_maker.h"
#include "validate/paper_replay.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const struct experiment_folders folders = {"models/arch", "models/machine",
                                                  "sim/policy/presets"};

static inline void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

/* Loads a table from its text. 0 or -1. */
static inline int load(const char *text, struct paper *p, struct err *e)
{
    char *path = trace_make_path("paper.yaml");
    int status;

    write_text(path, text);
    status = paper_load(path, "validate/papers", p, e);
    (void)unlink(path);
    free(path);
    return status;
}

static inline void load_well(const char *text, struct paper *p)
{
    struct err e = {.text = ""};

    if (load(text, p, &e) != 0)
        fail_msg("%s", e.text);
}

#define BYTES_2304                                                                       \
    "formula: {name: shard-bytes, gpus: 2, experts: 64, tokens: 8, "                     \
    "hidden: 64, bits: 16}" /* 2 * 8 * 64 * 2 + 4 * 64 */

#define HEAD "name: t\ntitle: t\nsource: s\ntolerance: 0.1\n"
#define BASE                                                                             \
    "base:\n  machine: h200\n  model: mixtral-8x7b\n  config: {policies: [{name: a, "    \
    "cache: {slots: 8}}]}\n"

#define FITTED                                                                           \
    "constants:\n  - {name: c, value: 5 us, sets: [machine.host.launch_eager], "         \
    "provenance: fitted, source: s, start: 3, min: 1, max: 100}\n"
#define REPLAYS "replays: [{name: r}, {name: q, set: [trace.requests=2]}]\n"
#define ROW(rest)                                                                        \
    "  - {what: w, published: 1 ms, figure: pass-latency, run: r/a" rest "}\n"

#endif
