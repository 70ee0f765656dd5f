#include "cmd.h"
#include "sim/base/file.h"
#include "sim/base/file_kind.h"
#include "sim/base/plain.h"
#include "traces/generate.h"
#include "traces/statistics.h"

#include <stdio.h>
#include <stdlib.h>

struct gen_flags {
    const char *out, *like;
    unsigned seed, requests;
    bool scores, all_scores;
    struct flag_list set;
};

/* So that one sees how near the generator came. */
static int print_statistics_of(const char *path, struct err *e)
{
    struct trace_statistics s;
    struct trace *t = trace_open(path, NULL, e);
    int status = t == NULL ? -1 : trace_statistics_measure(t, NULL, &s, e);

    if (status == 0) {
        plain_printf(stdout, "%s\n", path);
        trace_print_statistics(&s);
        trace_statistics_release(&s);
    }
    trace_close(t);
    return status;
}

static int gen_like(const struct gen_flags *flags, struct err *e)
{
    struct generate_like_options options = {.seed = flags->seed,
                                            .requests = flags->requests};
    struct trace *t = trace_open(flags->like, NULL, e);
    int status = -1;

    if (t != NULL) {
        options.scores = generate_scores_of(t);
        if (flags->all_scores)
            options.scores = GENERATE_SCORES_ALL;
        else if (flags->scores && options.scores == GENERATE_SCORES_NO)
            options.scores = GENERATE_SCORES_YES;
        status = generate_like(t, &options, flags->out, e);
    }
    trace_close(t);
    if (status == 0)
        status = print_statistics_of(flags->like, e);
    return status == 0 ? print_statistics_of(flags->out, e) : -1;
}

static int gen_from_params(const struct gen_flags *flags, const char *path, struct err *e)
{
    struct generate_params params;
    struct cfg *c = path == NULL ? cfg_parse("--set", "{}", 2, e)
                    : file_kind_check(path, FILE_PARAMETERS, e) == 0 ? cfg_load(path, e)
                                                                     : NULL;
    int status = c == NULL ? -1 : 0;

    for (size_t i = 0; status == 0 && i < flags->set.count; i++)
        status = cfg_override(c, flags->set.item[i], e);
    if (status == 0)
        status = cfg_bind(cfg_root(c), generate_options, &params, e);
    if (status == 0)
        status = generate_trace(&params, flags->out, e);
    cfg_free(c);
    return status;
}

int cmd_trace_gen(int argc, char **argv)
{
    struct gen_flags flags = {.seed = 0};
    struct flag table[] = {
        {"--out", 'o', FLAG_TEXT, &flags.out, "FILE", "the new trace"},
        {"--set", 's', FLAG_LIST, &flags.set, "KEY=VALUE", "a parameter, see below"},
        {"--like", 0, FLAG_TEXT, &flags.like, "TRACE",
         "draw to the statistics, shape and requests of this trace instead"},
        {"--requests", 0, FLAG_COUNT, &flags.requests, "N",
         "with --like: how many (default: the source's)"},
        {"--seed", 0, FLAG_COUNT, &flags.seed, "N", "with --like (default 1)"},
        {"--scores", 0, FLAG_SWITCH, &flags.scores, NULL,
         "with --like: write scores even if the source has none"},
        {"--all-scores", 0, FLAG_SWITCH, &flags.all_scores, NULL,
         "with --like: write logits of all experts even if the source has not all "
         "scores"},
        {.name = NULL},
    };
    const struct command command = {
        "moesim trace gen [PARAMETERS.yaml] -o FILE [--set KEY=VALUE]\n"
        "       moesim trace gen --like TRACE -o FILE",
        "Draws a synthetic trace: from parameters, or with the popularity, locality,\n"
        "cross-layer predictability and batch-union curve of another trace. Equal\n"
        "arguments give equal bytes.\n\n"
        "Scores of all experts (--set scores=all; with --like where the trace has them)\n"
        "are logits, listed in descending order, equal ones by ascending id; the first\n"
        "top_k experts are those that the same arguments without scores execute. With\n"
        "--like their scale is such that the executed experts have as much of the gate\n"
        "mass as in the trace; where that has not all scores it is 1.5.",
        "moesim trace gen -o mine.h5 --set experts=64 --set top_k=6 --set skew=0.5\n"
        "  shape of DeepSeek-V3, 256 decodes from 64 ranks:\n"
        "         moesim trace gen -o v3.h5 --set model=deepseek-v3 --set layers=58 "
        "--set first_layer=3 \\\n"
        "             --set experts=256 --set top_k=8 --set skew=0.5 --set requests=256 "
        "--set sources=64 \\\n"
        "             --set prompt_tokens=0 --set output_tokens=64 --set "
        "output_spread=0\n"
        "  router of MoEShard (rows alone, a tenth of the experts hot), encoder passes:\n"
        "         moesim trace gen -o hot.h5 --set layers=6 --set first_layer=1 --set "
        "moe_every=2 \\\n"
        "             --set experts=128 --set top_k=1 --set hot_weight=0.6 --set "
        "requests=1000 \\\n"
        "             --set prompt_tokens=120 --set prompt_spread=0 --set "
        "output_tokens=0 "
        "--set sources=4\n"
        "  shape of NLLB, prompts in its encoder and answers in its decoder:\n"
        "         moesim trace gen -o nllb.h5 --set model=nllb-moe-54b --set layers=12 "
        "--set first_layer=3 \\\n"
        "             --set moe_every=4 --set encoder_layers=6 --set experts=128 --set "
        "top_k=2\n"
        "  router of MoE-ERAS (a process for each logit), logits of all experts:\n"
        "         moesim trace gen -o eras.h5 --set model=mixtral-8x7b --set layers=32 "
        "--set experts=8 \\\n"
        "             --set top_k=2 --set autoregressive=yes --set scores=all",
        table};
    struct err e = {.text = ""};
    const char *in;
    int status;
    int count = flags_parse(&command, argc, argv);

    if (count == -2) {
        (void)printf("\nparameters (YAML, or --set):\n");
        cfg_help(generate_options, 2, stdout);
        return EXIT_GOOD;
    }
    if (count < 0)
        return EXIT_MISUSE;
    if (flags.out == NULL || count > 1 || (flags.like != NULL && count > 0))
        return flags_misuse(&command,
                            "trace gen takes --out FILE, and either --like or at "
                            "most one parameter file");
    if (flags.like != NULL && flags.set.count > 0)
        return flags_misuse(&command, "trace gen takes --set or --like, not both");
    if (flags.like == NULL &&
        (flags.requests > 0 || flags.seed > 0 || flags.scores || flags.all_scores))
        return flags_misuse(&command,
                            "--requests, --seed, --scores and --all-scores go with "
                            "--like; give parameters instead, such as --set requests=8");
    if (flags.seed == 0)
        flags.seed = 1;
    in = flags.like != NULL ? flags.like : count == 1 ? argv[0] : NULL;
    status = file_check_apart(flags.out, in, &e);
    if (status == 0)
        status =
            flags.like != NULL ? gen_like(&flags, &e) : gen_from_params(&flags, in, &e);
    free(flags.set.item);
    return status == 0 ? EXIT_GOOD : cmd_fail(&e);
}
