#include "print_parallel.h"

#include "sim/base/mem.h"
#include "text.h"

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

static const struct text_column columns[] = {
    {{"TPOT", "p50"}, 8},      {{"TPOT", "p99"}, 8},     {{"TTFT", "p50"}, 8},
    {{"tokens", "per s"}, 7},  {{"GPU", "busy"}, 7},     {{"imbal-", "ance"}, 6},
    {{"exposed", "comm"}, 7},  {{"between", "GPUs"}, 8}, {{"gap to", "even"}, 7},
    {{"gap to", "no net"}, 7},
};

static struct text_figure figure_of(const struct result_summary *s, size_t column)
{
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

/* The policies and what they sum up to, [policies]; of the second table also its columns.
 */
struct rows {
    const struct result *r;
    const struct result_summary *s;
    const struct print_column *const *shown;
};

static const char *label_of(const void *context, size_t row)
{
    const struct rows *t = context;

    return t->r->policy[row].label;
}

static struct text_figure figure_at(const void *context, size_t row, size_t column)
{
    const struct rows *t = context;

    return figure_of(&t->s[row], column);
}

static char *stopped_at(const void *context, size_t row)
{
    const struct rows *t = context;

    return result_stopped_text(&t->r->policy[row]);
}

static void print_table(const struct rows *rows, FILE *out)
{
    const struct result *r = rows->r;
    const struct text_table t = {.column = columns,
                                 .columns = sizeof columns / sizeof *columns,
                                 .rows = r->policies,
                                 .label_columns = LABEL_COLUMNS,
                                 .label = label_of,
                                 .figure = figure_at,
                                 .sentence = stopped_at,
                                 .context = rows};
    bool bounds = false;

    text_print_table(out, &t);
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

static struct text_figure hit_rate(const struct result_policy *p,
                                   const struct result_summary *s)
{
    (void)p;
    return text_share(s->hit_rate);
}

static struct text_figure host_bytes(const struct result_policy *p,
                                     const struct result_summary *s)
{
    (void)p;
    return text_bytes(s->link_bytes);
}

static struct text_figure dropped(const struct result_policy *p,
                                  const struct result_summary *s)
{
    (void)p;
    return text_share(s->drop_share);
}

static struct text_figure padding(const struct result_policy *p,
                                  const struct result_summary *s)
{
    (void)p;
    return text_share(s->padding);
}

static struct text_figure activations(const struct result_policy *p,
                                      const struct result_summary *s)
{
    (void)s;
    return text_bytes((double)p->run.activation_bytes);
}

static struct text_figure migrations(const struct result_policy *p,
                                     const struct result_summary *s)
{
    uint64_t count = p->run.total.counts.migrations;
    struct text_figure f = {""};

    (void)s;
    if (count > 999999)
        return text_number((double)count);
    (void)snprintf(f.text, sizeof f.text, "%" PRIu64, count);
    return f;
}

static struct text_figure moved(const struct result_policy *p,
                                const struct result_summary *s)
{
    (void)s;
    return text_bytes((double)p->run.total.counts.migrated_bytes);
}

static struct text_figure waited(const struct result_policy *p,
                                 const struct result_summary *s)
{
    (void)s;
    return text_time(result_seconds(&p->run, p->run.migration_time));
}

const struct print_column print_extra_columns[] = {
    {{"hit", "rate"}, has_misses, hit_rate},
    {{"from the", "host"}, has_misses, host_bytes},
    {{"dropped", "choices"}, has_drops, dropped},
    {{"padding", "rows"}, has_padding, padding},
    {{"MoE layer", "memory"}, has_padding, activations},
    {{"migra-", "tions"}, has_migrations, migrations},
    {{"experts", "moved"}, has_migrations, moved},
    {{"waited", "for them"}, has_migrations, waited},
    {{NULL, NULL}, NULL, NULL},
};

static struct text_figure extra_at(const void *context, size_t row, size_t column)
{
    const struct rows *t = context;
    const struct print_column *c = t->shown[column];
    const struct result_policy *p = &t->r->policy[row];

    return c->has(p, &t->s[row]) ? c->figure(p, &t->s[row]) : (struct text_figure){"-"};
}

/* A policy that was stopped has no row in the second table. */
static char *none_at(const void *context, size_t row)
{
    const struct rows *t = context;

    return t->r->policy[row].run.finished ? NULL : mem_strdup("");
}

/* Columns that no policy has anything in are left out, and so is a table of none. */
static void print_extras(const struct result *r, const struct result_summary *s,
                         FILE *out)
{
    enum { MOST = sizeof print_extra_columns / sizeof *print_extra_columns, WIDTH = 9 };
    const struct print_column *shown[MOST];
    struct text_column column[MOST];
    struct rows rows = {.r = r, .s = s};
    struct text_table t = {.column = column,
                           .rows = r->policies,
                           .label_columns = LABEL_COLUMNS,
                           .label = label_of,
                           .figure = extra_at,
                           .sentence = none_at,
                           .context = &rows};

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
    rows.shown = shown;
    (void)fputc('\n', out);
    text_print_table(out, &t);
}

void print_parallel(const struct result *r, FILE *out)
{
    struct result_summary *s = mem_alloc(r->policies, sizeof *s);
    struct rows rows = {.r = r, .s = s};

    for (uint32_t i = 0; i < r->policies; i++)
        s[i] = result_summarise(&r->policy[i]);
    print_table(&rows, out);
    print_extras(r, s, out);
    free(s);
}
