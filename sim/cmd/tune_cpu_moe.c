#include "tune_cpu_moe.h"

#include "sim/base/file.h"
#include "sim/base/json.h"
#include "sim/base/mem.h"
#include "sim/base/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- contexts ---- */

static int by_size(const void *a, const void *b)
{
    const uint64_t *p = a, *q = b;

    return (*p > *q) - (*p < *q);
}

size_t tune_contexts(const char *text, uint64_t context[TUNE_CONTEXTS], struct err *e)
{
    static const struct option tokens = {"--context", OPT_INT, 0,    NULL,
                                         1,           1e9,     NULL, NULL};
    size_t count = 0, kept = 0;

    for (const char *at = text; at != NULL;) {
        const char *comma = strchr(at, ',');
        char *one =
            mem_format("%.*s", comma == NULL ? (int)strlen(at) : (int)(comma - at), at);
        int64_t value = 0;
        int status = cfg_parse_value(one, &tokens, &value, e);

        free(one);
        if (status != 0)
            return 0;
        if (count == TUNE_CONTEXTS) {
            (void)err_set(e, "--context has more than %d lengths; give fewer",
                          TUNE_CONTEXTS);
            return 0;
        }
        context[count++] = (uint64_t)value;
        at = comma == NULL ? NULL : comma + 1;
    }
    qsort(context, count, sizeof *context, by_size);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || context[i] != context[kept - 1])
            context[kept++] = context[i];
    return kept;
}

/* ---- in words ---- */

enum { ANSWER_COLUMNS = 9, RUN_COLUMNS = 6, LABEL_COLUMNS = 16 };

static const struct text_column answer_columns[ANSWER_COLUMNS] = {
    {{"layers", "on CPU"}, 6}, {{"TPOT", "p50"}, 8},      {{"tokens", "per s"}, 6},
    {{"TTFT", "p50"}, 8},      {{"dense", "weights"}, 8}, {{"experts", "on GPU"}, 8},
    {{"", "staging"}, 8},      {{"KV", "cache"}, 8},      {{"GPU", "memory"}, 8},
};
static const struct text_column run_columns[RUN_COLUMNS] = {
    {{"TPOT", "p50"}, 9},       {{"tokens", "per s"}, 7}, {{"TTFT", "p50"}, 9},
    {{"experts", "on GPU"}, 9}, {{"ran on", "CPU"}, 8},   {{"context", "up to"}, 9},
};

static double figure(const struct cpu_moe_run *r, const char *name)
{
    struct err ignored = {.text = ""};

    return r->figure[result_figure_find(name, &ignored)];
}

/* GPU memory with an answer's least count, activations aside. */
static uint64_t fixed_bytes(const struct cpu_moe_run *r, uint64_t kv_bytes)
{
    return r->memory.weights + r->memory.buffers + kv_bytes;
}

static void fill_answer(const struct cpu_moe *m, const struct cpu_moe_answer *a,
                        struct text_figure *f)
{
    const struct cpu_moe_run *r = &m->run[a->least];
    const uint64_t bytes[] = {r->dense_bytes, r->expert_bytes, r->memory.buffers,
                              a->kv_bytes, fixed_bytes(r, a->kv_bytes)};

    (void)snprintf(f[0].text, sizeof f[0].text, "%u", (unsigned)a->count);
    f[1] = text_time(figure(r, "tpot_p50_s"));
    f[2] = text_number(figure(r, "tokens_per_s"));
    f[3] = text_time(figure(r, "ttft_p50_s"));
    for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++)
        f[4 + i] = text_bytes((double)bytes[i]);
}

static void print_answers(const struct cpu_moe *m, FILE *out)
{
    char **label = mem_zalloc(m->answers, sizeof *label);
    char **sentence = mem_zalloc(m->answers, sizeof *sentence);
    struct text_figure *f = mem_zalloc(m->answers * ANSWER_COLUMNS, sizeof *f);
    struct text_table table = {.column = answer_columns,
                               .columns = ANSWER_COLUMNS,
                               .rows = m->answers,
                               .label_columns = LABEL_COLUMNS,
                               .label_head = "context",
                               .label = (const char *const *)label,
                               .figure = f,
                               .sentence = sentence};

    for (size_t i = 0; i < m->answers; i++) {
        const struct cpu_moe_answer *a = &m->answer[i];

        label[i] = mem_format("%" PRIu64 " %s", a->context, cpu_moe_side_name[a->side]);
        if (a->fits)
            fill_answer(m, a, f + i * ANSWER_COLUMNS);
        else
            sentence[i] = mem_format("no room, not even with all %u layers on the CPU",
                                     (unsigned)m->layers);
    }
    text_print_table(out, &table);
    for (size_t i = 0; i < m->answers; i++) {
        free(label[i]);
        free(sentence[i]);
    }
    free(label);
    free(sentence);
    free(f);
}

static void print_runs(const struct cpu_moe *m, FILE *out)
{
    char **label = mem_zalloc(m->runs, sizeof *label);
    char **sentence = mem_zalloc(m->runs, sizeof *sentence);
    struct text_figure *f = mem_zalloc(m->runs * RUN_COLUMNS, sizeof *f);
    struct text_table table = {.column = run_columns,
                               .columns = RUN_COLUMNS,
                               .rows = m->runs,
                               .label_columns = LABEL_COLUMNS,
                               .label_head = "layers on CPU",
                               .label = (const char *const *)label,
                               .figure = f,
                               .sentence = sentence};

    for (size_t i = 0; i < m->runs; i++) {
        const struct cpu_moe_run *r = &m->run[i];
        struct text_figure *row = f + i * RUN_COLUMNS;

        label[i] = mem_format("%s %u", cpu_moe_side_name[r->side], (unsigned)r->count);
        row[0] = text_time(figure(r, "tpot_p50_s"));
        row[1] = text_number(figure(r, "tokens_per_s"));
        row[2] = text_time(figure(r, "ttft_p50_s"));
        row[3] = text_bytes((double)r->expert_bytes);
        row[4] = text_share(r->on_cpu);
        (void)snprintf(row[5].text, sizeof row[5].text, "%" PRIu64, r->context);
    }
    (void)fputc('\n', out);
    text_print_table(out, &table);
    for (size_t i = 0; i < m->runs; i++)
        free(label[i]);
    free(label);
    free(sentence);
    free(f);
}

/* What gives llama.cpp so many layers. Owned. Its own flag counts decoder layers from the
 * first one; the last ones are named one by one, by their tensors (--override-tensor). */
static char *llama_flag(const struct cpu_moe *m, enum cpu_moe_side side, uint32_t count)
{
    char *text, *whole;

    if (count == 0 || side == CPU_MOE_FIRST)
        return mem_format("--n-cpu-moe %u", (unsigned)cpu_moe_decoder_layers(m, count));
    text = mem_strdup("-ot \"blk\\.(");
    for (uint32_t l = m->layers - count; l < m->layers; l++) {
        char *longer = mem_format("%s%s%u", text, l > m->layers - count ? "|" : "",
                                  (unsigned)m->decoder_layer[l]);

        free(text);
        text = longer;
    }
    whole = mem_format("%s)\\.ffn_.*_exps=CPU\"", text);
    free(text);
    return whole;
}

static void print_flags(const struct cpu_moe *m, const struct cpu_moe_answer *a,
                        FILE *out)
{
    const struct cpu_moe_run *fastest = &m->run[a->fastest];
    char *flag = llama_flag(m, a->side, fastest->count);

    text_paragraph(out, "", "  ", "llama.cpp, context %" PRIu64 "%s: %s", a->context,
                   a->side == CPU_MOE_FIRST ? "" : ", last layers", flag);
    if (a->fastest != a->least)
        text_paragraph(out, "  ", "  ",
                       "%u layers are enough, but %u are faster: %s instead of %s tokens "
                       "per s.",
                       (unsigned)a->count, (unsigned)fastest->count,
                       text_number(figure(fastest, "tokens_per_s")).text,
                       text_number(figure(&m->run[a->least], "tokens_per_s")).text);
    free(flag);
}

/* What one should know before one believes the figures. */
static void print_notes(const struct cpu_moe *m, FILE *out)
{
    const struct cpu_moe_answer *best = &m->answer[m->best];
    const struct cpu_moe_run *r = &m->run[best->fastest];
    uint64_t used = fixed_bytes(r, best->kv_bytes) + r->memory.activations;

    if (m->longest > 0 && m->answer[m->answers - 1].context > m->longest)
        text_paragraph(out, "", "  ",
                       "Times are of the study's own requests, of up to %" PRIu64
                       " tokens; where a context is full, attention takes longer.",
                       m->longest);
    if (used > r->room_bytes)
        text_paragraph(
            out, "", "  ",
            "Beside those kinds of memory a pass takes up to %s for "
            "activations of an MoE layer, together %s, of %s that may be used: "
            "cut prompts (workload.token_budget), or take a layer more.",
            text_bytes((double)r->memory.activations).text,
            text_sizes(used, r->room_bytes).a, text_sizes(used, r->room_bytes).b);
    if (m->parallel)
        text_paragraph(
            out, "", "  ",
            "Memory is that of one GPU. llama.cpp deals out layers to GPUs, not "
            "experts, so that its flags do not say this.");
    if (m->policy == NULL)
        text_paragraph(out, "", "  ",
                       "No policy of the study has offload: layers, so that one with its "
                       "defaults was taken.");
}

static void print_words(const struct cpu_moe *m, FILE *out)
{
    const struct cpu_moe_answer *best = &m->answer[m->best];
    const struct cpu_moe_run *r = &m->run[best->fastest];

    (void)fputc('\n', out);
    for (size_t i = 0; i < m->answers; i++) {
        const struct cpu_moe_answer *a = &m->answer[i];

        if (a->fits && !m->parallel &&
            (a->side == CPU_MOE_FIRST || a->context == best->context))
            print_flags(m, a, out);
    }
    (void)fputc('\n', out);
    text_paragraph(out, "", "  ",
                   "best for a context of %" PRIu64 ": the %s %u of %u MoE layers on the "
                   "CPU, %s tokens per s, TPOT %s, TTFT %s (p50).",
                   best->context, cpu_moe_side_name[best->side], (unsigned)r->count,
                   (unsigned)m->layers, text_number(figure(r, "tokens_per_s")).text,
                   text_time(figure(r, "tpot_p50_s")).text,
                   text_time(figure(r, "ttft_p50_s")).text);
    if (best->why != NULL && best->count > 0)
        text_paragraph(out, "", "  ", "one layer fewer than %u: %s.",
                       (unsigned)best->count, best->why);
    print_notes(m, out);
}

/* ---- as JSON and CSV ---- */

static void json_memory(const struct cpu_moe_run *r, uint64_t kv_bytes, FILE *out)
{
    (void)fprintf(out,
                  ", \"dense_bytes\": %" PRIu64 ", \"expert_bytes\": %" PRIu64
                  ", \"staging_bytes\": %" PRIu64 ", \"kv_bytes\": %" PRIu64,
                  r->dense_bytes, r->expert_bytes, r->memory.buffers, kv_bytes);
}

static void json_answer(const struct cpu_moe *m, const struct cpu_moe_answer *a,
                        FILE *out)
{
    (void)fprintf(out, "    {\"context\": %" PRIu64 ", \"side\": \"%s\", \"fits\": %s",
                  a->context, cpu_moe_side_name[a->side], a->fits ? "true" : "false");
    if (a->fits) {
        const struct cpu_moe_run *r = &m->run[a->least];
        char *flag = llama_flag(m, a->side, m->run[a->fastest].count);

        (void)fprintf(out, ", \"count\": %u, \"fastest\": %u", (unsigned)a->count,
                      (unsigned)m->run[a->fastest].count);
        json_memory(r, a->kv_bytes, out);
        if (!m->parallel) {
            (void)fputs(", \"llama_cpp\": ", out);
            json_string(out, flag);
        }
        free(flag);
    }
    if (a->why != NULL) {
        (void)fputs(", \"why\": ", out);
        json_string(out, a->why);
    }
    (void)fputc('}', out);
}

static void print_json(const struct cpu_moe *m, FILE *out)
{
    const struct cpu_moe_answer *best = &m->answer[m->best];

    (void)fputs("{\n  \"policy\": ", out);
    if (m->policy != NULL)
        json_string(out, m->policy);
    else
        (void)fputs("null", out);
    (void)fprintf(out,
                  ",\n  \"layers\": %u, \"longest_request\": %" PRIu64
                  ",\n  \"n_cpu_moe\": [\n",
                  (unsigned)m->layers, m->longest);
    for (size_t i = 0; i < m->answers; i++) {
        json_answer(m, &m->answer[i], out);
        (void)fputs(i + 1 < m->answers ? ",\n" : "],\n", out);
    }
    (void)fprintf(out,
                  "  \"best\": {\"context\": %" PRIu64
                  ", \"side\": \"%s\", \"count\": %u},\n  \"runs\": [\n",
                  best->context, cpu_moe_side_name[best->side],
                  (unsigned)m->run[best->fastest].count);
    for (size_t i = 0; i < m->runs; i++) {
        const struct cpu_moe_run *r = &m->run[i];

        (void)fprintf(out, "    {\"side\": \"%s\", \"count\": %u, \"context\": %" PRIu64,
                      cpu_moe_side_name[r->side], (unsigned)r->count, r->context);
        json_memory(r, r->memory.kv, out);
        (void)fprintf(out, ", \"activation_bytes\": %" PRIu64 ", \"on_cpu\": ",
                      r->memory.activations);
        json_number(out, r->on_cpu);
        (void)fputs(", \"figures\": {", out);
        for (int k = 0; k < RESULT_FIGURES; k++) {
            (void)fprintf(out, "%s\"%s\": ", k > 0 ? ", " : "", result_figure[k].name);
            json_number(out, r->figure[k]);
        }
        (void)fputs(i + 1 < m->runs ? "}},\n" : "}}]\n}\n", out);
    }
}

/* A line for each context and side with each count that was run and fits. */
static void print_csv(const struct cpu_moe *m, FILE *out)
{
    static const char *const figures[] = {"tpot_p50_s", "tpot_p99_s",   "ttft_p50_s",
                                          "ttft_p99_s", "tokens_per_s", "requests_per_s"};
    enum { FIGURES = sizeof figures / sizeof *figures };

    (void)fputs("context,side,count,least,fastest,dense_bytes,expert_bytes,"
                "staging_bytes,kv_bytes,activation_bytes,on_cpu",
                out);
    for (int k = 0; k < FIGURES; k++)
        (void)fprintf(out, ",%s", figures[k]);
    (void)fputc('\n', out);
    for (size_t i = 0; i < m->answers; i++) {
        const struct cpu_moe_answer *a = &m->answer[i];

        for (size_t n = a->fits ? a->least : m->runs;
             n < m->runs && m->run[n].side == a->side; n++) {
            const struct cpu_moe_run *r = &m->run[n];

            (void)fprintf(out,
                          "%" PRIu64 ",%s,%u,%s,%s,%" PRIu64 ",%" PRIu64 ",%" PRIu64
                          ",%" PRIu64 ",%" PRIu64 ",",
                          a->context, cpu_moe_side_name[a->side], (unsigned)r->count,
                          n == a->least ? "true" : "false",
                          n == a->fastest ? "true" : "false", r->dense_bytes,
                          r->expert_bytes, r->memory.buffers, a->kv_bytes,
                          r->memory.activations);
            csv_number(out, r->on_cpu);
            for (int k = 0; k < FIGURES; k++) {
                (void)fputc(',', out);
                csv_number(out, figure(r, figures[k]));
            }
            (void)fputc('\n', out);
        }
    }
}

/* ---- files ---- */

static int write_csv(const struct cpu_moe *m, const char *path, struct err *e)
{
    struct file_out *f = file_out_new(path, e);

    if (f == NULL)
        return -1;
    print_csv(m, file_out_stream(f));
    return file_out_commit(f, e);
}

/* The study with the best count, which `moesim run` runs. */
static int write_study(const struct cpu_moe_task *t, const struct cpu_moe *m,
                       const char *path, struct err *e)
{
    const struct cpu_moe_answer *best = &m->answer[m->best];
    struct cfg *c =
        cpu_moe_config(t, m, best->side, m->run[best->fastest].count, best->context, e);
    struct file_out *f = c == NULL ? NULL : file_out_new(path, e);
    char *text = c == NULL ? NULL : cfg_dump(c);
    int status = -1;

    if (f != NULL) {
        (void)fputs(text, file_out_stream(f));
        status = file_out_commit(f, e);
    }
    free(text);
    cfg_free(c);
    return status;
}

static int write_files(const struct cpu_moe_task *t, const struct cpu_moe *m,
                       const char *folder, struct err *e)
{
    char *csv = mem_format("%s/n-cpu-moe.csv", folder);
    char *study = mem_format("%s/best.yaml", folder);
    int status = write_csv(m, csv, e);

    if (status == 0)
        status = write_study(t, m, study, e);
    free(csv);
    free(study);
    return status;
}

int tune_cpu_moe(const struct cpu_moe_task *t, bool json, const char *out, struct err *e)
{
    struct cpu_moe m;
    int status = cpu_moe_find(t, &m, e);

    if (status == 0 && json)
        print_json(&m, stdout);
    else if (status == 0) {
        print_answers(&m, stdout);
        print_runs(&m, stdout);
        print_words(&m, stdout);
    }
    if (status == 0 && out != NULL)
        status = write_files(t, &m, out, e);
    cpu_moe_release(&m);
    return status;
}
