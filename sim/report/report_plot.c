#include "report_plot.h"

#include "sim/base/child.h"
#include "sim/base/file.h"
#include "sim/base/mem.h"
#include "sim/base/json.h"
#include "sim/base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LABEL_COLUMNS = 32, PASS_POINTS = 200, PASS_BLOCK = 8192, LOAD_BARS = 32 };

#define MAX_SVG_BYTES ((size_t)32 << 20)

const char *report_figure_name(enum report_figure figure)
{
    static const char *const name[REPORT_FIGURES] = {
        "shares", "scatter", "layers", "bounds", "balance", "load", "passes"};

    return name[figure];
}

size_t report_figure_most(enum report_figure figure)
{
    return figure == FIGURE_SHARES || figure == FIGURE_BOUNDS ? REPORT_MAX_BARS
                                                              : REPORT_MAX_SERIES;
}

static bool any_misses(const struct result *r)
{
    bool any = false;

    for (uint32_t i = 0; i < r->policies; i++)
        any = any ||
              r->policy[i].run.total.counts.hits < r->policy[i].run.total.counts.accesses;
    return any;
}

static bool any_bounds(const struct result *r)
{
    bool any = false;

    for (uint32_t i = 0; i < r->policies; i++)
        any = any || r->policy[i].bounds.present;
    return any;
}

bool report_figure_suits(enum report_figure figure, const struct result *r)
{
    bool parallel = result_is_parallel(r);
    bool timed = r->policies == 0 || !r->policy[0].run.counts_only;

    switch (figure) {
    case FIGURE_SCATTER:
    case FIGURE_LAYERS:
        return timed && (!parallel || any_misses(r));
    case FIGURE_BOUNDS:
        return timed && parallel && any_bounds(r);
    case FIGURE_BALANCE:
    case FIGURE_LOAD:
        return parallel;
    case FIGURE_SHARES:
    case FIGURE_PASSES:
    case REPORT_FIGURES:
        break;
    }
    return timed;
}

/* ---- data ---- */

/* No quotes, commas, controls. */
void report_plot_label(FILE *out, const char *label)
{
    struct mem_stream m;
    char *text;

    mem_stream_open(&m);
    text_name(m.out, label, LABEL_COLUMNS);
    text = mem_stream_close(&m);
    for (char *c = text; *c != '\0'; c++)
        if (strchr(",\"\\", *c) != NULL)
            *c = ' ';
    csv_string(out, *text == '\0' ? "-" : text);
    free(text);
}

static void print_head(FILE *out, const char *first, const struct report_entry *entry,
                       size_t count)
{
    (void)fputs(first, out);
    for (size_t i = 0; i < count; i++) {
        (void)fputc(',', out);
        report_plot_label(out, entry[i].label);
    }
    (void)fputc('\n', out);
}

/* A row with one value, in the column of series `i`. */
static void print_point(FILE *out, double x, double y, size_t i, size_t count)
{
    csv_number(out, x);
    for (size_t k = 0; k < count; k++) {
        (void)fputc(',', out);
        if (k == i)
            csv_number(out, y);
    }
    (void)fputc('\n', out);
}

static const struct run_result *run_of(const struct report_entry *entry)
{
    return &entry->result->policy[entry->policy].run;
}

static double passes_of(const struct report_entry *entry)
{
    uint64_t passes = run_of(entry)->passes;

    return passes > 0 ? (double)passes : 1;
}

static bool print_shares(FILE *out, const struct report_entry *entry, size_t count)
{
    (void)fputs("policy", out);
    for (int s = 0; s < RUN_SHARES; s++)
        (void)fprintf(out, ",%s (ms)", run_share_name((enum run_share)s));
    (void)fputc('\n', out);
    for (size_t i = 0; i < count; i++) {
        report_plot_label(out, entry[i].label);
        for (int s = 0; s < RUN_SHARES; s++) {
            (void)fputc(',', out);
            csv_number(out, (double)run_of(&entry[i])->total.share[s] /
                                passes_of(&entry[i]) / 1e9);
        }
        (void)fputc('\n', out);
    }
    return count > 0;
}

static bool print_scatter(FILE *out, const struct report_entry *entry, size_t count)
{
    bool any = false;

    print_head(out, "hit rate (%)", entry, count);
    for (size_t i = 0; i < count; i++) {
        struct result_summary s =
            result_summarise(&entry[i].result->policy[entry[i].policy]);

        if (isnan(s.hit_rate) || isnan(s.tpot_p50))
            continue;
        print_point(out, 100 * s.hit_rate, 1e3 * s.tpot_p50, i, count);
        any = true;
    }
    return any;
}

static bool print_layers(FILE *out, const struct report_entry *entry, size_t count)
{
    print_head(out, "decoder layer", entry, count);
    for (size_t i = 0; i < count; i++) {
        const struct run_result *run = run_of(&entry[i]);

        for (uint32_t l = 0; l < run->layers; l++)
            print_point(out, entry[i].result->moe_layer[l],
                        (double)run->layer[l].share[SHARE_COPY] / passes_of(&entry[i]) /
                            1e9,
                        i, count);
    }
    return count > 0;
}

static bool print_bounds(FILE *out, const struct report_entry *entry, size_t count)
{
    bool any = false;

    (void)fputs("policy,this run (ms),rows spread evenly (ms),network that takes no time "
                "(ms)\n",
                out);
    for (size_t i = 0; i < count; i++) {
        const struct result_policy *p = &entry[i].result->policy[entry[i].policy];
        bool bounds = p->bounds.present;
        double ms = 1e-9 / passes_of(&entry[i]);

        report_plot_label(out, entry[i].label);
        (void)fputc(',', out);
        csv_number(out, (double)p->run.total.latency * ms);
        (void)fputc(',', out);
        csv_number(out, bounds ? (double)p->bounds.balanced * ms : NAN);
        (void)fputc(',', out);
        csv_number(out, bounds ? (double)p->bounds.free_network * ms : NAN);
        (void)fputc('\n', out);
        any = any || bounds;
    }
    return any;
}

static bool print_balance(FILE *out, const struct report_entry *entry, size_t count)
{
    bool any = false;

    print_head(out, "decoder layer", entry, count);
    for (size_t i = 0; i < count; i++) {
        const struct run_result *run = run_of(&entry[i]);

        for (uint32_t l = 0; run->gpus > 0 && l < run->layers; l++) {
            double imbalance = result_imbalance(&run->layer[l].counts, run->gpus);

            if (isnan(imbalance))
                continue;
            print_point(out, entry[i].result->moe_layer[l], imbalance, i, count);
            any = true;
        }
    }
    return any;
}

static int compare_most_first(const void *a, const void *b)
{
    uint64_t x, y;

    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x < y) - (x > y);
}

/* Rows of each GPU over their mean; NAN where there are none. Owned. */
static double *relative_loads(const struct run_result *run, uint32_t gpus, bool sorted)
{
    double *load = mem_alloc(gpus, sizeof *load), sum = 0;
    uint64_t *rows = mem_alloc(run->gpus, sizeof *rows);

    for (uint32_t g = 0; g < run->gpus; g++) {
        rows[g] = run->gpu_rows[g];
        sum += (double)rows[g];
    }
    if (sorted && run->gpus > 1)
        qsort(rows, run->gpus, sizeof *rows, compare_most_first);
    for (uint32_t g = 0; g < gpus; g++)
        load[g] = g < run->gpus && sum > 0 ? (double)rows[g] * run->gpus / sum : NAN;
    free(rows);
    return load;
}

/* Up to LOAD_BARS GPUs by number, more of them from the fullest on. */
static bool print_load(FILE *out, const struct report_entry *entry, size_t count)
{
    double **load = mem_alloc(count, sizeof *load);
    uint32_t gpus = 0;

    for (size_t i = 0; i < count; i++)
        gpus = run_of(&entry[i])->gpus > gpus ? run_of(&entry[i])->gpus : gpus;
    for (size_t i = 0; i < count; i++)
        load[i] = relative_loads(run_of(&entry[i]), gpus, gpus > LOAD_BARS);
    print_head(out, gpus > LOAD_BARS ? "GPUs from the fullest on" : "GPU", entry, count);
    for (uint32_t g = 0; g < gpus; g++) {
        csv_number(out, g);
        for (size_t i = 0; i < count; i++) {
            (void)fputc(',', out);
            csv_number(out, load[i][g]);
        }
        (void)fputc('\n', out);
    }
    for (size_t i = 0; i < count; i++)
        free(load[i]);
    free(load);
    return gpus > 0;
}

/* Point k stands for the passes [k * passes / points, (k + 1) * passes / points). */
static int print_pass_points(FILE *out, const struct report_entry *entry, size_t i,
                             size_t count, uint64_t passes, struct err *e)
{
    uint64_t points = passes < PASS_POINTS ? passes : PASS_POINTS;
    struct run_pass *block = mem_alloc(PASS_BLOCK, sizeof *block);
    uint64_t first = 0, in_block = 0, at = 0;
    int status = 0;

    for (uint64_t k = 0; k < points && status == 0; k++) {
        uint64_t begin = at, end = (k + 1) * passes / points;
        double start = 0, sum = 0;

        for (; at < end && status == 0; at++) {
            const struct run_pass *p;

            if (at >= first + in_block) {
                first = at;
                in_block = passes - at < PASS_BLOCK ? passes - at : PASS_BLOCK;
                status = result_read_passes(entry[i].result, entry[i].policy, first,
                                            in_block, block, e);
                if (status != 0)
                    break;
            }
            p = &block[at - first];
            if (at == begin)
                start = (double)p->start / 1e12;
            sum += (double)p->latency / 1e9;
        }
        if (status == 0)
            print_point(out, start, sum / (double)(end - begin), i, count);
    }
    free(block);
    return status;
}

static int print_passes(FILE *out, const struct report_entry *entry, size_t count,
                        bool *any, struct err *e)
{
    print_head(out, "start (s)", entry, count);
    for (size_t i = 0; i < count; i++) {
        uint64_t passes = result_pass_count(entry[i].result, entry[i].policy);

        if (print_pass_points(out, entry, i, count, passes, e) != 0)
            return -1;
        *any = *any || passes > 0;
    }
    return 0;
}

static int write_data(enum report_figure figure, const struct report_entry *entry,
                      size_t count, const char *path, bool *any, struct err *e)
{
    struct file_out *out = file_out_new(path, e);
    int status = 0;

    if (out == NULL)
        return -1;
    *any = false;
    switch (figure) {
    case FIGURE_SHARES:
        *any = print_shares(file_out_stream(out), entry, count);
        break;
    case FIGURE_SCATTER:
        *any = print_scatter(file_out_stream(out), entry, count);
        break;
    case FIGURE_LAYERS:
        *any = print_layers(file_out_stream(out), entry, count);
        break;
    case FIGURE_BOUNDS:
        *any = print_bounds(file_out_stream(out), entry, count);
        break;
    case FIGURE_BALANCE:
        *any = print_balance(file_out_stream(out), entry, count);
        break;
    case FIGURE_LOAD:
        *any = print_load(file_out_stream(out), entry, count);
        break;
    case FIGURE_PASSES:
    case REPORT_FIGURES:
        status = print_passes(file_out_stream(out), entry, count, any, e);
        break;
    }
    if (status == 0)
        return file_out_commit(out, e);
    file_out_abandon(out);
    return -1;
}

/* ---- gnuplot ---- */

/* gnuplot takes a name that begins with "<" or "|" for a command: none may begin so. */
static char *safe_path(const char *folder, const char *name, const char *ending)
{
    return mem_format("%s%s%s%s%s", folder[0] == '/' ? "" : "./", folder,
                      *name == '\0' ? "" : "/", name, ending);
}

/* Runs gnuplot without a shell, silent, its messages in the C locale. */
static enum report_drawn run_gnuplot(char *const argument[])
{
    const char *search = getenv("PATH");
    char *path = mem_format("PATH=%s", search == NULL ? "/usr/bin:/bin" : search);
    char locale[] = "LC_ALL=C";
    char *environment[] = {path, locale, NULL};
    int status = child_run(argument, environment, true);

    free(path);
    if (status < 0 || status == 127)
        return NOT_DRAWN_NO_GNUPLOT;
    return status == 0 ? DRAWN : NOT_DRAWN_FAILED;
}

int report_plot_draw(const char *name, size_t series, const char *data,
                     const char *drawing, const char *plots_folder,
                     enum report_drawn *drawn, struct err *e)
{
    char *folder = safe_path(plots_folder, "", "");
    char *script = safe_path(plots_folder, name, ".gp");
    char *input = safe_path(data, "", ""), *count = mem_format("%zu", series);
    char *target = safe_path(drawing, "", "");
    struct file_out *out = NULL;
    int status = -1;

    if (access(script, R_OK) != 0)
        (void)err_set(e, "%s: cannot be read: %s; give the folder of the plot scripts",
                      script, strerror(errno));
    else
        out = file_out_new(target, e);
    if (out != NULL) {
        char *output = mem_strdup(file_out_name(out));
        char gnuplot[] = "gnuplot", defaults[] = "-d", call[] = "-c";
        char *argument[] = {gnuplot, defaults, call,  script, folder,
                            input,   output,   count, NULL};

        *drawn = run_gnuplot(argument);
        free(output);
        status = 0;
        if (*drawn == DRAWN)
            status = file_out_commit(out, e);
        else
            file_out_abandon(out);
    }
    free(folder);
    free(script);
    free(input);
    free(target);
    free(count);
    return status;
}

int report_plot(enum report_figure figure, const struct report_entry *entry, size_t count,
                const char *folder, const char *plots_folder, enum report_drawn *drawn,
                struct err *e)
{
    size_t most = report_figure_most(figure);
    char *data = safe_path(folder, report_figure_name(figure), ".csv");
    char *drawing = safe_path(folder, report_figure_name(figure), ".svg");
    bool any = false;
    int status;

    if (count > most)
        count = most;
    status = write_data(figure, entry, count, data, &any, e);
    *drawn = NOT_DRAWN_NO_DATA;
    if (status == 0 && any)
        status = report_plot_draw(report_figure_name(figure), count, data, drawing,
                                  plots_folder, drawn, e);
    free(data);
    free(drawing);
    return status;
}

/* ---- into the page ---- */

/* Where an id or a reference to one begins, behind these; all of it inside of tags. */
static size_t id_prefix(const char *s)
{
    static const char *const before[] = {"id='",     "id=\"", "href='#",
                                         "href=\"#", "url(#", "url('#"};

    for (size_t i = 0; i < sizeof before / sizeof *before; i++)
        if (strncmp(s, before[i], strlen(before[i])) == 0)
            return strlen(before[i]);
    return 0;
}

int report_plot_inline(enum report_figure figure, const char *folder, FILE *out,
                       struct err *e)
{
    static const char title[] = "<title>Gnuplot</title>";
    char *path = safe_path(folder, report_figure_name(figure), ".svg");
    bool in_tag = false;
    size_t size;
    char *text = file_read(path, MAX_SVG_BYTES, &size, e), *s;

    if (text != NULL && strstr(text, "</svg>") == NULL) {
        (void)err_set(e, "%s: gnuplot did not write it to its end; is the disk full?",
                      path);
        free(text);
        text = NULL;
    }
    free(path);
    if (text == NULL)
        return -1;
    s = strstr(text, "<svg");
    while (s != NULL && *s != '\0') {
        size_t prefix = in_tag ? id_prefix(s) : 0;

        if (!in_tag && strncmp(s, title, sizeof title - 1) == 0) {
            s += sizeof title - 1;
        } else if (prefix > 0) {
            (void)fwrite(s, 1, prefix, out);
            (void)fprintf(out, "%s-", report_figure_name(figure));
            s += prefix;
        } else {
            in_tag = *s == '<' || (in_tag && *s != '>');
            (void)fputc(*s++, out);
        }
    }
    free(text);
    return 0;
}
