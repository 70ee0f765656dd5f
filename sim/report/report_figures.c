/* The figures of the report: which there are, and for whom. */
#include "figure_data.h"

#include "sim/base/mem.h"

#include <math.h>
#include <stdlib.h>

enum { MOST_ROWS = 64 };

/* ---- which suit ---- */

static bool is_timed(const struct report_entry *entry)
{
    return !entry->policy->run.counts_only;
}

static bool misses(const struct report_entry *entry)
{
    const struct run_counts *c = &entry->policy->run.total.counts;

    return is_timed(entry) && c->hits < c->accesses;
}

static bool prefetches(const struct report_entry *entry)
{
    return entry->policy->run.total.counts.prefetches > 0;
}

static bool has_gpus(const struct report_entry *entry)
{
    return entry->policy->run.gpus > 0;
}

static bool has_time_bounds(const struct report_entry *entry)
{
    return is_timed(entry) && has_gpus(entry) && entry->policy->bounds.present;
}

static bool has_hits(const struct report_entry *entry)
{
    return !has_gpus(entry) && !isnan(entry->s.hit_rate);
}

static bool has_select(const struct report_entry *entry)
{
    return is_timed(entry) && entry->policy->run.quality.rows > 0;
}

static bool is_first(const struct report_entry *entry)
{
    return entry->which == 0;
}

static bool has_passes(const struct report_entry *entry)
{
    return is_timed(entry) && result_pass_count(entry->result, entry->number) > 0;
}

/* ---- all of them ---- */

struct figure {
    struct plot plot;
    const char *caption;
    const char *none; /* where it suits and has no data; NULL: it is left out then */
    bool (*suits)(const struct report_entry *entry);
    figure_print *print;
};

static const struct figure figures[] = {
    {{"lines", "axis", "What the results differ in", "", "ms", 0, false},
     "The same policies in each result.",
     NULL,
     is_first,
     figure_axis},
    {{"trade", "quality", "Quality against speed", "gate mass lost (%)", "", 0, false},
     "Left loses less, down is faster; of what is ringed, nothing else is better in "
     "both. Beside a mark stands the value that its line is over. Grey are the "
     "controls: a select whose line is not below that of top-k is no progress. Mass "
     "alone does not rank quality: who loses best experts, too, loses more. Bounds are "
     "left out.",
     NULL,
     has_select,
     figure_quality},
    {{"bars", "shares", "Where the time of a pass goes", "time per pass (ms)", "", 0,
      false},
     "Every picosecond of a pass belongs to one share; the bars are means over all "
     "passes.",
     "There is nothing to draw.",
     is_timed,
     figure_shares},
    {{"boxes", "latency", "Time per output token", "time per output token (ms)", "", 0,
      false},
     "How the requests spread.",
     NULL,
     is_timed,
     figure_tpot},
    {{"boxes", "first", "Time to the first token", "time to first token (ms)", "", 0,
      false},
     "How the requests spread.",
     NULL,
     is_timed,
     figure_ttft},
    {{"lines", "curve", "How many slots", "", "hits (% of accesses)", 0, false},
     "What LRU and Belady hit with any number of slots, counted from the trace. Belady "
     "is the bound: no policy that loads on demand hits more.",
     NULL,
     has_hits,
     figure_curve},
    {{"points", "scatter", "Hit rate is not latency", "hit rate (%)",
      "time per output token, median (ms)", 0, false},
     "Right is more hits, down is faster. Numbers are those of the table.",
     NULL,
     misses,
     figure_scatter},
    {{"points", "front", "Memory against time", "GPU memory in use at most (GB)",
      "time per output token, median (ms)", 0, false},
     "Left takes less memory, down is faster. Numbers are those of the table.",
     NULL,
     is_timed,
     figure_front},
    {{"bars", "prefetch", "What became of prefetches", "% of the prefetched experts", "",
      0, false},
     "In time: there when its turn came. Late: on its way. Not used: evicted before any "
     "use, or never used. Beyond 100: misses made, loads of experts that a prefetch had "
     "driven out.",
     NULL,
     prefetches,
     figure_prefetch},
    {{"heat", "layers", "Who waits for weights", "decoder layer",
      "exposed copy (ms per pass)", 0, false},
     "Time that each MoE layer waited for weights, mean over all passes.",
     NULL,
     misses,
     figure_layers},
    {{"marks", "bounds", "What balance and network could save", "time per pass (ms)", "",
      0, false},
     "Bars: time per pass. Marks: with the rows spread evenly over the GPUs, all experts "
     "resident and nothing padded or moved; and over a network that takes no time.",
     NULL,
     has_time_bounds,
     figure_bounds},
    {{"heat", "balance", "How uneven the layers are", "decoder layer",
      "rows of the busiest GPU over the mean", 0, false},
     "Rows of the busiest GPU over the mean, pass by pass; 1 is even.",
     NULL,
     has_gpus,
     figure_balance},
    {{"heat", "load", "Load of the GPUs", "GPU", "rows over the mean", 0, false},
     "Rows that each GPU's experts ran on in the whole run, over their mean.",
     NULL,
     has_gpus,
     figure_load},
    {{"strips", "passes", "Latency over the run", "simulated time (s)",
      "latency of a pass (ms)", 0, false},
     "One strip for each policy, all on the same scales. A point is the mean of "
     "consecutive passes, of at most 200 points.",
     NULL,
     has_passes,
     figure_passes},
};
enum { FIGURES = sizeof figures / sizeof *figures };

static int print_data(void *context, struct plot *plot, FILE *out, struct err *e)
{
    struct figure_data *d = context;

    d->out = out;
    d->plot = plot;
    return d->figure->print(d, e);
}

static int print_figure(struct report_page *p, const struct figure *f,
                        struct report_entry *const *entry, size_t count, struct err *e)
{
    struct plot plot = f->plot;
    char *caption = count <= MOST_ROWS || f->print == figure_quality /* all are in it */
                        ? mem_strdup(f->caption)
                        : mem_format("%s The best %d of %zu policies are shown.",
                                     f->caption, MOST_ROWS, count);
    struct figure_data d = {.p = p,
                            .figure = f,
                            .entry = entry,
                            .count = count < MOST_ROWS ? count : MOST_ROWS};
    int status = report_html_figure(p->html, &plot, caption, f->none, print_data, &d, e);

    free(caption);
    return status;
}

int report_figures(struct report_page *p, struct err *e)
{
    struct report_entry **entry = mem_alloc(p->entries, sizeof *entry);
    int status = 0;

    (void)fputs("<h2>Figures</h2>\n", p->out);
    for (int i = 0; i < FIGURES && status == 0; i++) {
        size_t count = 0;

        for (size_t k = 0; k < p->entries; k++)
            if (p->entry[k].policy->run.finished && figures[i].suits(&p->entry[k]))
                entry[count++] = &p->entry[k];
        if (count > 0)
            status = print_figure(p, &figures[i], entry, count, e);
    }
    free(entry);
    return status;
}

void report_own_files(struct folder_out *f)
{
    folder_out_own(f, "report.html");
    for (int i = 0; i < FIGURES; i++)
        plot_own(f, figures[i].plot.name);
}
