/* The page of results: who belongs on it, in which order, and its lower parts. */
#include "report.h"

#include "explain.h"
#include "print.h"
#include "report_state.h"
#include "sim/base/file.h"
#include "sim/base/json.h"
#include "sim/base/mem.h"
#include "sim/base/text.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- verdicts ---- */

static void print_verdict(const struct report_page *p, const struct report_entry *entry)
{
    struct explain_finding f = explain_find(entry->policy);
    char *verdict = explain_verdict_text(&f, entry->result, entry->number);
    char *help = explain_help_text(&f, entry->result, entry->number);

    (void)fputs("<div class=card><h3>", p->out);
    text_markup(p->out, entry->row);
    (void)fprintf(p->out, " <span class=chip>%s</span></h3>\n<div>",
                  explain_verdict_name(f.verdict));
    text_markup(p->out, verdict);
    if (*help != '\0') {
        (void)fputs("</div><div><b>What would help:</b> ", p->out);
        text_markup(p->out, help);
    }
    (void)fputs("</div></div>\n", p->out);
    free(verdict);
    free(help);
}

static void print_verdicts(const struct report_page *p)
{
    (void)fputs("<h2>What limits each</h2>\n", p->out);
    for (size_t i = 0; i < p->entries; i++) {
        if (i == 1)
            (void)fputs("<details><summary>All others</summary>\n", p->out);
        print_verdict(p, &p->entry[i]);
    }
    if (p->entries > 1)
        (void)fputs("</details>\n", p->out);
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
        report_html_fact(p->html, "result", r->path);
    report_html_fact(p->html, "trace", r->trace_path);
    report_html_fact(p->html, "source of the trace", r->trace_source);
    report_html_fact(p->html, "model", r->model);
    report_html_fact(p->html, "shape of the trace", shape);
    report_html_fact(p->html, "memory", memory);
    report_html_fact(p->html, "machine", machine);
    report_html_fact(p->html, "source of the machine", r->machine_source);
    report_html_fact(p->html, "seed", seed);
    report_html_fact(p->html, "program", r->version);
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

/* ---- who is there ---- */

static bool any_number(const struct report_page *p,
                       double (*figure)(const struct result_summary *))
{
    for (size_t i = 0; i < p->entries; i++)
        if (!isnan(figure(&p->entry[i].s)))
            return true;
    return false;
}

static double tpot_of(const struct result_summary *s)
{
    return s->tpot_p50;
}

static double ttft_of(const struct result_summary *s)
{
    return s->ttft_p50;
}

/* Policies that anyone can have first, then bounds, then what was stopped. */
static int class_of(const struct report_entry *entry)
{
    if (!entry->policy->run.finished)
        return 2;
    return entry->bound ? 1 : 0;
}

static int by_rank(const void *a, const void *b)
{
    const struct report_entry *x = a, *y = b;

    if (class_of(x) != class_of(y))
        return class_of(x) - class_of(y);
    if (isnan(x->measure) != isnan(y->measure))
        return isnan(x->measure) - isnan(y->measure);
    if (x->measure != y->measure && !isnan(x->measure))
        return (x->measure > y->measure) - (x->measure < y->measure);
    if (x->which != y->which)
        return (x->which > y->which) - (x->which < y->which);
    return (x->number > y->number) - (x->number < y->number);
}

/* A policy's label, with what its result differs in where there are several. Owned. */
static char *label_of(const struct report_page *p, size_t which, const char *label)
{
    enum { MOST_KEYS = 2 };
    char *differs, *text;

    if (p->count == 1)
        return mem_strdup(label == NULL ? "" : label);
    differs = report_differs_text(&p->differs, which, MOST_KEYS);
    if (*differs != '\0')
        text = mem_format("%s, %s", label == NULL ? "" : label, differs);
    else
        text = mem_format("R%zu: %s", which + 1, label == NULL ? "" : label);
    free(differs);
    return text;
}

static void rank_entries(struct report_page *p)
{
    p->measure = any_number(p, tpot_of)   ? MEASURE_TPOT
                 : any_number(p, ttft_of) ? MEASURE_TTFT
                                          : MEASURE_HITS;
    for (size_t i = 0; i < p->entries; i++) {
        struct report_entry *entry = &p->entry[i];

        entry->measure = p->measure == MEASURE_TPOT   ? entry->s.tpot_p50
                         : p->measure == MEASURE_TTFT ? entry->s.ttft_p50
                                                      : -entry->s.hit_rate;
    }
    if (p->entries > 1)
        qsort(p->entry, p->entries, sizeof *p->entry, by_rank);
    for (size_t i = 0; i < p->entries; i++) {
        struct report_entry *entry = &p->entry[i];

        if (class_of(entry) == 0) {
            entry->rank = (unsigned)++p->ranked;
            entry->row = mem_format("%u %s", entry->rank, entry->label);
        } else {
            entry->row = mem_format("%s%s", class_of(entry) == 1 ? "bound " : "stopped ",
                                    entry->label);
        }
    }
}

static void list_entries(struct report_page *p)
{
    size_t at = 0;

    for (size_t i = 0; i < p->count; i++)
        p->entries += p->results[i]->policies;
    p->entry = mem_alloc(p->entries, sizeof *p->entry);
    for (size_t i = 0; i < p->count; i++) {
        for (uint32_t k = 0; k < p->results[i]->policies; k++, at++) {
            const struct result_policy *policy = &p->results[i]->policy[k];

            p->entry[at] = (struct report_entry){.result = p->results[i],
                                                 .policy = policy,
                                                 .number = k,
                                                 .which = i,
                                                 .label = label_of(p, i, policy->label),
                                                 .bound = result_is_reference(policy),
                                                 .s = result_summarise(policy)};
        }
    }
    rank_entries(p);
}

/* ---- the page ---- */

static bool same_subject(const struct result *a, const struct result *b)
{
    char *x = result_machine_text(a), *y = result_machine_text(b);
    bool same = strcmp(x, y) == 0 && strcmp(a->model, b->model) == 0 &&
                strcmp(a->trace_path, b->trace_path) == 0;

    free(x);
    free(y);
    return same;
}

/* What was run on what, once if it is the same for all. */
static void print_subject(const struct report_page *p)
{
    bool same = true;

    for (size_t i = 1; i < p->count; i++)
        same = same && same_subject(p->results[0], p->results[i]);
    for (size_t i = 0; i < p->count && (i == 0 || !same); i++) {
        const struct result *r = p->results[i];
        char *machine = result_machine_text(r);

        (void)fputs("<p class=sub>", p->out);
        if (!same)
            (void)fprintf(p->out, "R%zu: ", i + 1);
        text_markup(p->out, r->model);
        (void)fputs(" on ", p->out);
        text_markup(p->out, machine);
        (void)fputs("; trace ", p->out);
        text_markup(p->out, r->trace_path);
        (void)fputs("</p>\n", p->out);
        free(machine);
    }
}

/* What several results differ in, a row each. */
static void print_differs(const struct report_page *p)
{
    const struct report_differs *d = &p->differs;

    if (p->count == 1)
        return;
    (void)fputs("<h2>What the results differ in</h2>\n", p->out);
    if (d->axes == 0) {
        (void)fputs("<p class=sub>Their policies alone, or nothing.</p>\n", p->out);
        return;
    }
    (void)fputs("<div class=\"card scroll\"><table class=sortable><thead><tr>"
                "<th>result</th>",
                p->out);
    for (size_t a = 0; a < d->axes; a++) {
        (void)fputs("<th>", p->out);
        text_markup(p->out, d->axis[a].key);
        (void)fputs("</th>", p->out);
    }
    (void)fputs("</tr></thead><tbody>\n", p->out);
    for (size_t i = 0; i < p->count; i++) {
        (void)fprintf(p->out, "<tr><td data-v=%zu>R%zu</td>", i, i + 1);
        for (size_t a = 0; a < d->axes; a++) {
            const char *value = d->axis[a].value[i];

            (void)fputs("<td", p->out);
            if (!isnan(d->axis[a].number[i])) {
                (void)fputs(" data-v=\"", p->out);
                csv_number(p->out, d->axis[a].number[i]);
                (void)fputc('"', p->out);
            }
            (void)fputc('>', p->out);
            text_markup(p->out, *value == '\0' ? "(default)" : value);
            (void)fputs("</td>", p->out);
        }
        (void)fputs("</tr>\n", p->out);
    }
    (void)fputs("</tbody></table></div>\n", p->out);
}

static int print_page(void *page, struct report_html *h, struct err *e)
{
    struct report_page *p = page;

    p->html = h;
    p->out = h->out;
    report_answer(p);
    print_subject(p);
    print_differs(p);
    report_tables(p);
    if (report_figures(p, e) != 0)
        return -1;
    print_verdicts(p);
    for (size_t i = 0; i < p->count; i++)
        if (print_provenance(p, i, e) != 0)
            return -1;
    return 0;
}

int report_write(const struct report_request *request, struct err *e)
{
    struct report_page p = {
        .results = request->results, .count = request->count, .curve = request->curve};
    char *title;
    int status;

    report_differs_find(p.results, p.count, &p.differs);
    list_entries(&p);
    report_selects_find(&p);
    title = p.ranked > 0 ? mem_format("%s - moesim report", p.entry[0].label)
                         : mem_strdup("moesim report");
    status = report_html_write(&request->place, title, print_page, &p, e);
    free(title);
    for (size_t i = 0; i < p.entries; i++) {
        free(p.entry[i].label);
        free(p.entry[i].row);
    }
    free(p.entry);
    lossy_release(&p.selects.lossy);
    report_differs_release(&p.differs, p.count);
    return status;
}
