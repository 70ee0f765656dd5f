#include "print_parallel.h"

#include "print_table.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

enum { LABEL_COLUMNS = 17 };

/* A share in 7 columns, however large. */
static struct text_figure gap_figure(double gap)
{
    struct text_figure f = text_share(gap);

    if (fabs(gap) >= 9.9995)
        (void)snprintf(f.text, sizeof f.text, fabs(gap) < 999.995 ? "%.0f %%" : "%.0e %%",
                       100 * gap);
    return f;
}

const struct text_column print_parallel_columns[] = {
    {{"TPOT", "p50"}, 8},      {{"TPOT", "p99"}, 8},     {{"TTFT", "p50"}, 8},
    {{"tokens", "per s"}, 7},  {{"GPU", "busy"}, 7},     {{"imbal-", "ance"}, 6},
    {{"exposed", "comm"}, 7},  {{"between", "GPUs"}, 8}, {{"gap to", "even"}, 7},
    {{"gap to", "no net"}, 7}, {{NULL, NULL}, 0},
};

static struct text_figure figure_of(const struct result_policy *p,
                                    const struct result_summary *s, size_t column,
                                    const void *context)
{
    (void)p, (void)context;
    switch (column) {
    case 0:
        return text_time(s->tpot_p50);
    case 1:
        return text_time(s->tpot_p99);
    case 2:
        return text_time(s->ttft_p50);
    case 3:
        return text_number(s->tokens_per_s);
    case 4:
        return text_share(s->gpu_busy);
    case 5:
        return text_ratio(s->imbalance);
    case 6:
        return text_share(s->comm_share);
    case 7:
        return text_bytes(s->sent_bytes);
    case 8:
        return gap_figure(s->balanced_gap);
    default:
        return gap_figure(s->network_gap);
    }
}

static void print_first(const struct result *r, const struct result_summary *s, FILE *out)
{
    static const struct print_table t = {
        .column = print_parallel_columns,
        .columns = sizeof print_parallel_columns / sizeof *print_parallel_columns - 1,
        .label_columns = LABEL_COLUMNS,
        .figure = figure_of};
    bool bounds = false;

    print_table(r, s, &t, out);
    for (uint32_t i = 0; i < r->policies; i++)
        bounds = bounds || r->policy[i].bounds.present;
    (void)fputc('\n', out);
    text_paragraph(
        out, "", "  ",
        "GPU busy and exposed communication (comm): means over the GPUs. "
        "Imbalance: rows of the busiest GPU over the mean, layer by layer and "
        "pass by pass; 1 is even.%s",
        !bounds ? ""
                : " Gaps: time of all passes above that of the rows spread "
                  "evenly, all experts resident and nothing padded or moved (even); "
                  "and above that of a network that takes no time (no net).");
}

/* ---- the second table ---- */

static bool has_misses(const struct result_policy *p, const struct result_summary *s)
{
    (void)s;
    return p->run.total.counts.hits < p->run.total.counts.accesses;
}

static bool has_drops(const struct result_policy *p, const struct result_summary *s)
{
    (void)s;
    return p->run.total.counts.dropped > 0;
}

static bool has_padding(const struct result_policy *p, const struct result_summary *s)
{
    (void)p;
    return fabs(s->padding) > 0; /* not so where there are no rows */
}

static bool has_migrations(const struct result_policy *p, const struct result_summary *s)
{
    (void)s;
    return p->run.total.counts.migrations > 0;
}

static double hit_rate(const struct result_policy *p, const struct result_summary *s)
{
    (void)p;
    return s->hit_rate;
}

static double host_bytes(const struct result_policy *p, const struct result_summary *s)
{
    (void)p;
    return s->link_bytes;
}

static double swaps(const struct result_policy *p, const struct result_summary *s)
{
    (void)p;
    return s->swaps;
}

static double dropped(const struct result_policy *p, const struct result_summary *s)
{
    (void)p;
    return s->drop_share;
}

static double padding(const struct result_policy *p, const struct result_summary *s)
{
    (void)p;
    return s->padding;
}

static double activations(const struct result_policy *p, const struct result_summary *s)
{
    (void)s;
    return (double)p->run.activation_bytes;
}

static double migrations(const struct result_policy *p, const struct result_summary *s)
{
    (void)s;
    return (double)p->run.total.counts.migrations;
}

static double moved(const struct result_policy *p, const struct result_summary *s)
{
    (void)s;
    return (double)p->run.total.counts.migrated_bytes;
}

static double waited(const struct result_policy *p, const struct result_summary *s)
{
    (void)s;
    return result_seconds(&p->run, p->run.migration_time);
}

const struct print_column print_extra_columns[] = {
    {{"hit", "rate"}, has_misses, hit_rate, text_share},
    {{"from the", "host"}, has_misses, host_bytes, text_bytes},
    {{"dropped", "choices"}, has_drops, dropped, text_share},
    {{"padding", "rows"}, has_padding, padding, text_share},
    {{"MoE layer", "memory"}, has_padding, activations, text_bytes},
    {{"migra-", "tions"}, has_migrations, migrations, print_whole_number},
    {{"experts", "moved"}, has_migrations, moved, text_bytes},
    {{"waited", "for them"}, has_migrations, waited, text_time},
    {{"", "swaps"}, has_misses, swaps, print_whole_number},
    {{NULL, NULL}, NULL, NULL, NULL},
};

static struct text_figure extra_figure(const struct result_policy *p,
                                       const struct result_summary *s, size_t column,
                                       const void *context)
{
    const struct print_column *const *shown = context;
    const struct print_column *c = shown[column];

    return c->has(p, s) ? c->text(c->value(p, s)) : (struct text_figure){"-"};
}

/* Columns that no policy has anything in are left out, and so is a table of none. */
static void print_extras(const struct result *r, const struct result_summary *s,
                         FILE *out)
{
    enum { MOST = sizeof print_extra_columns / sizeof *print_extra_columns, WIDTH = 9 };
    const struct print_column *shown[MOST];
    struct text_column column[MOST];
    struct print_table t = {.column = column,
                            .label_columns = LABEL_COLUMNS,
                            .figure = extra_figure,
                            .context = shown,
                            .whole_only = true};

    for (const struct print_column *c = print_extra_columns; c->has != NULL; c++) {
        bool any = false;

        for (uint32_t i = 0; i < r->policies && !any; i++)
            any = c->has(&r->policy[i], &s[i]);
        if (!any)
            continue;
        shown[t.columns] = c;
        column[t.columns++] = (struct text_column){{c->head[0], c->head[1]}, WIDTH};
    }
    if (t.columns == 0)
        return;
    (void)fputc('\n', out);
    print_table(r, s, &t, out);
}

void print_parallel(const struct result *r, FILE *out)
{
    struct result_summary *s = print_summaries(r);

    print_first(r, s, out);
    print_extras(r, s, out);
    free(s);
}
