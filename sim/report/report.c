#include "report.h"

#include "sim/base/file.h"
#include "sim/base/folder.h"
#include "sim/base/mem.h"
#include "explain.h"
#include "report_state.h"
#include "sim/base/text.h"
#include "print.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char style[] =
    "body{margin:0;background:#f6f7f8;color:#222;font:15px/1.5 system-ui,\"Segoe UI\","
    "Roboto,Helvetica,Arial,sans-serif}\n"
    "main{max-width:1160px;margin:0 auto;padding:24px 20px 60px}\n"
    "h1{font-size:26px;margin:8px 0 2px}h2{font-size:19px;margin:36px 0 10px}\n"
    "h3{font-size:16px;margin:0 0 4px}\n"
    ".sub{color:#666;margin:0 0 14px}\n"
    ".card{background:#fff;border:1px solid #e2e4e7;border-radius:8px;padding:14px 18px;"
    "margin:0 0 14px}\n"
    ".scroll{overflow-x:auto}\n"
    "table{border-collapse:collapse;width:100%;background:#fff;font-size:14px}\n"
    "th,td{padding:6px 10px;border-bottom:1px solid #e8eaed;text-align:right;"
    "white-space:nowrap}\n"
    "th{color:#555;font-weight:600;vertical-align:bottom}\n"
    "th:first-child,td:first-child,.left{text-align:left}\n"
    "td.wrap,table.facts td{white-space:normal;text-align:left;overflow-wrap:anywhere}\n"
    "table.facts th{text-align:left;vertical-align:top;width:15em}\n"
    "tbody tr:hover{background:#f3f7fb}\n"
    "td.best{font-weight:700}\n"
    ".chip{display:inline-block;border-radius:10px;padding:1px 10px;font-size:13px;"
    "white-space:nowrap}\n"
    ".v0{background:#e8eaed}.v1{background:#fde3d3;color:#8a3a00}\n"
    ".v2{background:#fdf1c8;color:#6b5200}.v3{background:#f9dcdc;color:#8c1d1d}\n"
    ".v4{background:#d9f0e3;color:#0f5c37}.v5{background:#dcebf9;color:#114a7d}\n"
    ".figures{display:grid;grid-template-columns:1fr 1fr;gap:14px}\n"
    ".figures figure{margin:0;background:#fff;border:1px solid #e2e4e7;border-radius:8px;"
    "padding:10px}\n"
    ".figures .wide{grid-column:1/-1}\n"
    "@media(max-width:820px){.figures{grid-template-columns:1fr}}\n"
    "figure svg{width:100%;height:auto;display:block}\n"
    "figcaption{color:#555;font-size:13px;padding:6px 6px 0}\n"
    ".note{border-left:4px solid #e69f00;padding:2px 12px;margin:6px 0}\n"
    "details{margin:8px 0}summary{cursor:pointer;color:#0b5cad}\n"
    "pre{background:#fff;border:1px solid #e2e4e7;border-radius:8px;padding:12px;"
    "overflow-x:auto;font:12.5px/1.45 ui-monospace,Menlo,Consolas,monospace}\n";

static void print_notes(const struct report_page *p)
{
    for (size_t i = 0; i < p->count; i++) {
        char *notes =
            mem_strdup(p->results[i]->notes == NULL ? "" : p->results[i]->notes);
        char *rest = notes, *line;

        while ((line = rest) != NULL && *line != '\0') {
            rest = strchr(line, '\n');
            if (rest != NULL)
                *rest++ = '\0';
            if (*line == '\0')
                continue;
            (void)fputs("<p class=note>", p->out);
            if (p->count > 1)
                (void)fprintf(p->out, "R%zu: ", i + 1);
            text_markup(p->out, line);
            (void)fputs("</p>\n", p->out);
        }
        free(notes);
    }
}

/* ---- figures ---- */

static void print_not_drawn(FILE *out, enum report_drawn drawn, enum report_figure figure)
{
    const char *name = report_figure_name(figure);

    (void)fputs("<p class=note>", out);
    if (drawn == NOT_DRAWN_NO_GNUPLOT)
        (void)fprintf(out,
                      "gnuplot is not installed, so this figure is not drawn; its data "
                      "are in %s.csv.",
                      name);
    else if (drawn == NOT_DRAWN_FAILED)
        (void)fprintf(out, "gnuplot could not draw this figure; its data are in %s.csv.",
                      name);
    else if (figure == FIGURE_PASSES)
        (void)fputs("The run kept no pass records, so there is no figure of them.", out);
    else
        (void)fputs("There is nothing to draw.", out);
    (void)fputs("</p>\n", out);
}

static int print_figure(const struct report_page *p, enum report_figure figure,
                        const struct report_entry *entry, size_t count,
                        const char *caption, const char *plots_folder, struct err *e)
{
    size_t most = report_figure_most(figure);
    bool wide =
        figure == FIGURE_SHARES || figure == FIGURE_BOUNDS || figure == FIGURE_PASSES;
    enum report_drawn drawn;

    (void)fprintf(p->out, "<figure%s>\n", wide ? " class=wide" : "");
    if (report_plot(figure, entry, count, p->folder, plots_folder, &drawn, e) != 0)
        return -1;
    if (drawn == NOT_DRAWN_NO_GNUPLOT || drawn == NOT_DRAWN_FAILED)
        *p->undrawn = true;
    if (drawn != DRAWN)
        print_not_drawn(p->out, drawn, figure);
    else if (report_plot_inline(figure, p->folder, p->out, e) != 0)
        return -1;
    (void)fprintf(p->out, "<figcaption>%s", caption);
    if (count > most)
        (void)fprintf(p->out, " The first %zu of %zu policies are shown.", most, count);
    (void)fputs("</figcaption></figure>\n", p->out);
    return 0;
}

static int print_figures(const struct report_page *p, const char *plots_folder,
                         struct err *e)
{
    static const char *const caption[REPORT_FIGURES] = {
        ("Every picosecond of a pass belongs to one share; the bars are means over all "
         "passes."),
        "Each mark is a policy. Right is more hits, down is faster.",
        "Time that each MoE layer waited for weights, mean over all passes.",
        ("Bars: time per pass. Marks: with the rows spread evenly over the GPUs, all "
         "experts resident and nothing padded or moved; and over a network that takes no "
         "time."),
        "Rows of the busiest GPU over the mean, pass by pass; 1 is even.",
        "Rows that each GPU's experts ran on in the whole run, over their mean.",
        "Each point is the mean of consecutive passes; at most 200 points per policy.",
    };

    struct report_entry *shown = mem_alloc(p->entries, sizeof *shown);
    int status = 0;

    (void)fputs("<h2>Figures</h2>\n<div class=figures>\n", p->out);
    for (int i = 0; i < REPORT_FIGURES && status == 0; i++) {
        enum report_figure figure = (enum report_figure)i;
        size_t count = 0;

        for (size_t k = 0; k < p->entries; k++)
            if (report_figure_suits(figure, p->entry[k].result))
                shown[count++] = p->entry[k];
        if (count > 0)
            status = print_figure(p, figure, shown, count, caption[i], plots_folder, e);
    }
    (void)fputs("</div>\n", p->out);
    free(shown);
    return status;
}

/* ---- verdicts ---- */

static void print_verdicts(const struct report_page *p)
{
    (void)fputs("<h2>Verdicts</h2>\n", p->out);
    for (size_t i = 0; i < p->entries; i++) {
        const struct report_entry *entry = &p->entry[i];
        const struct result_policy *policy = &entry->result->policy[entry->policy];
        struct explain_finding f = explain_find(policy);
        char *verdict = explain_verdict_text(&f, entry->result, entry->policy);
        char *help = explain_help_text(&f, entry->result, entry->policy);

        (void)fputs("<div class=card><h3>", p->out);
        text_markup(p->out, entry->label);
        (void)fputc(' ', p->out);
        report_chip(p->out, f.verdict);
        (void)fputs("</h3>\n<div>", p->out);
        text_markup(p->out, verdict);
        if (*help != '\0') {
            (void)fputs("</div><div><b>What would help:</b> ", p->out);
            text_markup(p->out, help);
        }
        (void)fputs("</div></div>\n", p->out);
        free(verdict);
        free(help);
    }
    for (int parallel = 0; parallel < 2; parallel++) {
        if (report_entries(p, parallel == 1) == 0)
            continue;
        (void)fputs("<p class=sub>", p->out);
        text_markup(p->out, explain_thresholds(parallel == 1));
        (void)fputs("</p>\n", p->out);
    }
}

/* What a command prints on a result, as it is. */
static int print_details(const struct report_page *p, const char *summary,
                         int (*print)(const struct result *, FILE *, struct err *),
                         const struct result *r, struct err *e)
{
    struct mem_stream m;
    char *text;
    int status;

    mem_stream_open(&m);
    status = print(r, m.out, e);
    text = mem_stream_close(&m);
    if (status == 0) {
        (void)fprintf(p->out, "<details><summary>%s</summary><pre>", summary);
        text_markup(p->out, text);
        (void)fputs("</pre></details>\n", p->out);
    }
    free(text);
    return status;
}

static int print_as_run(const struct result *r, FILE *out, struct err *e)
{
    (void)e;
    result_print(r, out);
    return 0;
}

/* ---- configuration and provenance ---- */

static void print_fact(FILE *out, const char *name, const char *value)
{
    (void)fprintf(out, "<tr><th>%s</th><td>", name);
    text_markup(out, value);
    (void)fputs("</td></tr>\n", out);
}

static void print_policy_facts(const struct result *r, FILE *out)
{
    (void)fputs("<div class=\"card scroll\"><table><thead><tr><th>policy</th>"
                "<th class=left>plug-ins</th><th class=left>variant</th>"
                "<th class=left>lossless</th><th>passes</th><th>digest</th></tr></thead>"
                "<tbody>\n",
                out);
    for (uint32_t i = 0; i < r->policies; i++) {
        const struct result_policy *p = &r->policy[i];
        char *stopped = result_stopped_text(p);

        (void)fputs("<tr><td>", out);
        text_markup(out, p->label);
        (void)fputs("</td><td class=wrap>", out);
        for (int slot = 0; slot < POLICY_SLOTS; slot++) {
            const char *text = p->description[slot];

            if (text == NULL || *text == '\0' || strcmp(text, "none") == 0)
                continue;
            (void)fprintf(out, "<b>%s</b> ", policy_slot_name((enum policy_slot)slot));
            text_markup(out, text);
            (void)fputs("; ", out);
        }
        (void)fputs("</td><td class=left>", out);
        text_markup(out, p->variant);
        (void)fprintf(out,
                      "</td><td class=left>%s</td><td>%s %s</td>"
                      "<td><code>%016" PRIx64 "</code></td></tr>\n",
                      p->lossless ? "yes" : "no", text_count((double)p->run.passes).text,
                      stopped == NULL ? "" : stopped, p->run.digest);
        free(stopped);
    }
    (void)fputs("</tbody></table></div>\n", out);
}

static int print_provenance(const struct report_page *p, size_t i, struct err *e)
{
    const struct result *r = p->results[i];
    char *seed = mem_format("%" PRIu64, r->seed);
    char *shape = mem_format("%" PRIu32 " MoE layers, %" PRIu32 " experts, top %" PRIu32,
                             r->layers, r->experts, r->top_k);
    char *machine = result_machine_text(r);
    char *memory = mem_format(
        "experts %s, everything else %s, KV cache at its peak %s; GPU memory %s",
        text_bytes((double)r->expert_total_bytes).text,
        text_bytes((double)r->dense_bytes).text,
        text_bytes((double)r->kv_peak_bytes).text,
        text_bytes((double)r->gpu_memory_bytes).text);

    if (p->count > 1)
        (void)fprintf(p->out, "<h2>R%zu: configuration and provenance</h2>\n", i + 1);
    else
        (void)fputs("<h2>Configuration and provenance</h2>\n", p->out);
    (void)fputs("<div class=\"card scroll\"><table class=facts><tbody>\n", p->out);
    if (r->path != NULL)
        print_fact(p->out, "result", r->path);
    print_fact(p->out, "trace", r->trace_path);
    print_fact(p->out, "source of the trace", r->trace_source);
    print_fact(p->out, "model", r->model);
    print_fact(p->out, "shape of the trace", shape);
    print_fact(p->out, "memory", memory);
    print_fact(p->out, "machine", machine);
    print_fact(p->out, "source of the machine", r->machine_source);
    print_fact(p->out, "seed", seed);
    print_fact(p->out, "program", r->version);
    (void)fputs("</tbody></table></div>\n", p->out);
    free(seed);
    free(shape);
    free(memory);
    free(machine);
    print_policy_facts(r, p->out);
    (void)fputs("<details><summary>Configuration as run</summary><pre>", p->out);
    text_markup(p->out, r->config);
    (void)fputs("</pre></details>\n", p->out);
    if (print_details(p, "Table and pairwise comparison", print_as_run, r, e) != 0)
        return -1;
    return print_details(p, "Explanation in full: layers, link, regret", result_explain,
                         r, e);
}

/* ---- the page ---- */

static void print_head(const struct report_page *p)
{
    (void)fprintf(
        p->out,
        "<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8>\n"
        "<meta name=viewport content=\"width=device-width, initial-scale=1\">\n"
        "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; "
        "style-src 'unsafe-inline'\">\n"
        "<title>moesim report</title>\n<style>\n%s</style></head><body><main>\n"
        "<h1>moesim report</h1>\n",
        style);
    for (size_t i = 0; i < p->count; i++) {
        char *machine = result_machine_text(p->results[i]);

        (void)fputs("<p class=sub>", p->out);
        if (p->count > 1)
            (void)fprintf(p->out, "R%zu: ", i + 1);
        text_markup(p->out, p->results[i]->model);
        (void)fputs(" on ", p->out);
        text_markup(p->out, machine);
        (void)fputs("; trace ", p->out);
        text_markup(p->out, p->results[i]->trace_path);
        (void)fputs("</p>\n", p->out);
        free(machine);
    }
}

static int print_page(const struct report_page *p, const char *plots_folder,
                      struct err *e)
{
    print_head(p);
    report_tables(p);
    print_notes(p);
    if (print_figures(p, plots_folder, e) != 0)
        return -1;
    print_verdicts(p);
    for (size_t i = 0; i < p->count; i++)
        if (print_provenance(p, i, e) != 0)
            return -1;
    (void)fputs("</main></body></html>\n", p->out);
    return 0;
}

static void list_entries(struct report_page *p)
{
    size_t at = 0;

    for (size_t i = 0; i < p->count; i++)
        p->entries += p->results[i]->policies;
    p->entry = mem_alloc(p->entries, sizeof *p->entry);
    p->label = mem_alloc(p->entries, sizeof *p->label);
    for (size_t i = 0; i < p->count; i++) {
        for (uint32_t k = 0; k < p->results[i]->policies; k++, at++) {
            const struct result_policy *policy = &p->results[i]->policy[k];
            char *result = p->count > 1 ? mem_format("R%zu: ", i + 1) : mem_strdup("");

            p->label[at] =
                mem_format("%s%s%s", result, policy->label == NULL ? "" : policy->label,
                           policy->run.finished ? "" : " (stopped)");
            free(result);
            p->entry[at] = (struct report_entry){p->results[i], k, p->label[at]};
        }
    }
}

void report_own_files(struct folder_out *f)
{
    folder_out_own(f, "report.html");
    for (int i = 0; i < REPORT_FIGURES; i++) {
        const char *name = report_figure_name((enum report_figure)i);
        char *data = mem_format("%s.csv", name), *drawing = mem_format("%s.svg", name);

        folder_out_own(f, data);
        folder_out_own(f, drawing);
        free(data);
        free(drawing);
    }
}

int report_write(const struct result *const *results, size_t count, const char *folder,
                 const char *plots_folder, struct err *e)
{
    bool undrawn = false;
    struct report_page p = {
        .results = results, .count = count, .folder = folder, .undrawn = &undrawn};
    char *path = mem_format("%s/report.html", folder);
    struct file_out *out = NULL;
    int status = file_make_folder(folder, e);

    list_entries(&p);
    if (status == 0) {
        out = file_out_new(path, e);
        status = out == NULL ? -1 : 0;
    }
    if (status == 0) {
        p.out = file_out_stream(out);
        status = print_page(&p, plots_folder, e);
        if (status == 0)
            status = file_out_commit(out, e);
        else
            file_out_abandon(out);
    }
    for (size_t i = 0; i < p.entries; i++)
        free(p.label[i]);
    free(p.label);
    free(p.entry);
    free(path);
    return status == 0 && undrawn ? 1 : status;
}
