#include "tune_largest.h"

#include "sim/base/file.h"
#include "sim/base/json.h"
#include "sim/base/mem.h"
#include "sim/base/text.h"
#include "sim/experiment/largest.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 7, LABEL_COLUMNS = 22 };

static const struct text_column columns[COLUMNS] = {
    {{"largest", "batch"}, 9}, {{"requests", "per s"}, 9}, {{"tokens", "per s"}, 9},
    {{"GPU", "memory"}, 9},    {{"weights,", "slots"}, 9}, {{"KV", "cache"}, 9},
    {{"activa-", "tions"}, 9},
};

static struct text_figure batch_figure(const struct largest *l)
{
    struct text_figure f;

    (void)snprintf(f.text, sizeof f.text, "%s%u", l->all ? ">= " : "",
                   (unsigned)l->batch);
    return f;
}

static void fill_row(const struct largest *l, struct text_figure *figure)
{
    const double bytes[] = {(double)run_memory_bytes(&l->memory),
                            (double)(l->memory.weights + l->memory.buffers),
                            (double)l->memory.kv, (double)l->memory.activations};
    struct err ignored = {.text = ""};

    figure[0] = batch_figure(l);
    figure[1] = text_number(l->figure[result_figure_find("requests_per_s", &ignored)]);
    figure[2] = text_number(l->figure[result_figure_find("tokens_per_s", &ignored)]);
    for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++)
        figure[3 + i] = text_bytes(bytes[i]);
}

static void print_table(const struct largest *l, size_t count, FILE *out)
{
    const char **label = mem_alloc(count, sizeof *label);
    char **sentence = mem_zalloc(count, sizeof *sentence);
    struct text_figure *figure = mem_alloc(count * COLUMNS, sizeof *figure);
    struct text_table table = {.column = columns,
                               .columns = COLUMNS,
                               .rows = count,
                               .label_columns = LABEL_COLUMNS,
                               .label = label,
                               .figure = figure,
                               .sentence = sentence};

    for (size_t i = 0; i < count; i++) {
        label[i] = l[i].policy;
        if (l[i].batch == 0)
            sentence[i] = mem_strdup("not one request fits");
        else
            fill_row(&l[i], figure + i * COLUMNS);
    }
    text_print_table(out, &table);
    (void)fputc('\n', out);
    for (size_t i = 0; i < count; i++) {
        if (l[i].all)
            text_paragraph(out, "", "  ",
                           "%s: all requests of the trace fit at once; a longer trace "
                           "would tell how many more do.",
                           l[i].policy);
        else
            text_paragraph(out, "", "  ", "%s, one more: %s.", l[i].policy, l[i].why);
        free(sentence[i]);
    }
    free(label);
    free(sentence);
    free(figure);
}

static void print_json(const struct largest *l, size_t count, FILE *out)
{
    (void)fputs("{\n  \"largest_batch\": [", out);
    for (size_t i = 0; i < count; i++) {
        (void)fputs(i > 0 ? ",\n    {\"policy\": " : "\n    {\"policy\": ", out);
        json_string(out, l[i].policy);
        (void)fprintf(out, ", \"batch\": %" PRIu64 ", \"all\": %s, \"runs\": %u",
                      l[i].batch, l[i].all ? "true" : "false", l[i].runs);
        (void)fprintf(out,
                      ", \"weight_bytes\": %" PRIu64 ", \"buffer_bytes\": %" PRIu64
                      ", \"kv_bytes\": %" PRIu64 ", \"activation_bytes\": %" PRIu64,
                      l[i].memory.weights, l[i].memory.buffers, l[i].memory.kv,
                      l[i].memory.activations);
        if (l[i].why != NULL) {
            (void)fputs(", \"why\": ", out);
            json_string(out, l[i].why);
        }
        (void)fputs(", \"figures\": {", out);
        for (int k = 0; k < RESULT_FIGURES && l[i].batch > 0; k++) {
            (void)fprintf(out, "%s\"%s\": ", k > 0 ? ", " : "", result_figure[k].name);
            json_number(out, l[i].figure[k]);
        }
        (void)fputs("}}", out);
    }
    (void)fputs("]\n}\n", out);
}

static void print_csv(const struct largest *l, size_t count, FILE *out)
{
    (void)fputs(
        "policy,batch,all,weight_bytes,buffer_bytes,kv_bytes,activation_bytes,why", out);
    for (int k = 0; k < RESULT_FIGURES; k++)
        (void)fprintf(out, ",%s", result_figure[k].name);
    (void)fputc('\n', out);
    for (size_t i = 0; i < count; i++) {
        csv_string(out, l[i].policy);
        (void)fprintf(out,
                      ",%" PRIu64 ",%s,%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",",
                      l[i].batch, l[i].all ? "true" : "false", l[i].memory.weights,
                      l[i].memory.buffers, l[i].memory.kv, l[i].memory.activations);
        csv_string(out, l[i].why);
        for (int k = 0; k < RESULT_FIGURES; k++) {
            (void)fputc(',', out);
            if (l[i].batch > 0)
                csv_number(out, l[i].figure[k]);
        }
        (void)fputc('\n', out);
    }
}

static int write_csv(const struct largest *l, size_t count, const char *folder,
                     struct err *e)
{
    char *path = mem_format("%s/largest.csv", folder);
    struct file_out *f = file_out_new(path, e);

    free(path);
    if (f == NULL)
        return -1;
    print_csv(l, count, file_out_stream(f));
    return file_out_commit(f, e);
}

int tune_largest(const struct cfg *study, const struct tune_largest *t, struct err *e)
{
    struct largest *l;
    size_t count;
    int status = largest_find(study, t->folders, t->shared, t->threads, &l, &count, e);
    bool any = false;

    for (size_t i = 0; status == 0 && i < count; i++)
        any = any || l[i].batch > 0;
    if (status == 0 && !any)
        status = err_set(e, "not one request fits under any policy; the first says: %s",
                         l[0].why);
    if (status == 0 && t->json)
        print_json(l, count, stdout);
    else if (status == 0)
        print_table(l, count, stdout);
    if (status == 0 && t->out != NULL)
        status = write_csv(l, count, t->out, e);
    largest_free(l, count);
    return status;
}
