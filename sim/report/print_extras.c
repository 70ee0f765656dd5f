#include "print_extras.h"

#include "print_table.h"

#include <math.h>

static bool has_misses(const struct result_policy *p, const struct result_summary *s)
{
    (void)s;
    return p->run.gpus > 0 && /* else the main table says so */
           p->run.total.counts.hits < p->run.total.counts.accesses;
}

static bool has_swaps(const struct result_policy *p, const struct result_summary *s)
{
    (void)p;
    return s->swaps > 0;
}

static bool has_drops(const struct result_policy *p, const struct result_summary *s)
{
    (void)s;
    return p->run.gpus > 0 && p->run.total.counts.dropped > 0;
}

static bool has_padding(const struct result_policy *p, const struct result_summary *s)
{
    return p->run.gpus > 0 && fabs(s->padding) > 0; /* not so where there are no rows */
}

static bool has_migrations(const struct result_policy *p, const struct result_summary *s)
{
    (void)s;
    return p->run.total.counts.migrations > 0;
}

static bool has_select(const struct result_policy *p, const struct result_summary *s)
{
    (void)s;
    return p->run.quality.rows > 0;
}

static bool has_hosted(const struct result_policy *p, const struct result_summary *s)
{
    (void)s;
    return p->run.total.counts.host_runs > 0;
}

static bool has_near(const struct result_policy *p, const struct result_summary *s)
{
    (void)s;
    return p->run.total.counts.near_runs > 0;
}

static bool has_low(const struct result_policy *p, const struct result_summary *s)
{
    (void)s;
    return p->run.total.counts.low_uses > 0;
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

/* Of the accesses; NAN where there are none. */
static double share_of(uint64_t runs, const struct run_counts *c)
{
    return c->accesses > 0 ? (double)runs / (double)c->accesses : NAN;
}

static double hosted(const struct result_policy *p, const struct result_summary *s)
{
    (void)s;
    return share_of(p->run.total.counts.host_runs, &p->run.total.counts);
}

static double near_data(const struct result_policy *p, const struct result_summary *s)
{
    (void)s;
    return share_of(p->run.total.counts.near_runs, &p->run.total.counts);
}

static double low_uses(const struct result_policy *p, const struct result_summary *s)
{
    (void)s;
    return share_of(p->run.total.counts.low_uses, &p->run.total.counts);
}

static double low_loads(const struct result_policy *p, const struct result_summary *s)
{
    (void)s;
    return (double)p->run.total.counts.low_loads;
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

static double changed(const struct result_policy *p, const struct result_summary *s)
{
    (void)p;
    return s->select.changed;
}

static double fewer(const struct result_policy *p, const struct result_summary *s)
{
    (void)p;
    return s->select.fewer;
}

static double mass_lost(const struct result_policy *p, const struct result_summary *s)
{
    (void)p;
    return s->select.mass_lost;
}

static double top1_kept(const struct result_policy *p, const struct result_summary *s)
{
    (void)p;
    return s->select.top1_kept;
}

static double saved(const struct result_policy *p, const struct result_summary *s)
{
    (void)p;
    return s->select.saved;
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
    {{"", "swaps"}, has_swaps, swaps, print_whole_number},
    {{"ran on", "the host"}, has_hosted, hosted, text_share},
    {{"ran near", "the data"}, has_near, near_data, text_share},
    {{"used in", "few bits"}, has_low, low_uses, text_share},
    {{"loads in", "few bits"}, has_low, low_loads, print_whole_number},
    {{"choices", "changed"}, has_select, changed, text_share},
    {{"choices", "left out"}, has_select, fewer, text_share},
    {{"gate mass", "lost"}, has_select, mass_lost, text_share},
    {{"best one", "kept"}, has_select, top1_kept, text_share},
    {{"experts", "saved"}, has_select, saved, text_share},
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

void print_extras(const struct result *r, const struct result_summary *s,
                  size_t label_columns, FILE *out)
{
    enum { MOST = sizeof print_extra_columns / sizeof *print_extra_columns, WIDTH = 9 };
    const struct print_column *shown[MOST];
    struct text_column column[MOST];
    struct print_table t = {.column = column,
                            .label_columns = label_columns,
                            .figure = extra_figure,
                            .context = shown,
                            .whole_only = true};
    bool worth_it = result_is_parallel(r);

    for (const struct print_column *c = print_extra_columns; c->has != NULL; c++) {
        bool any = false;

        for (uint32_t i = 0; i < r->policies && !any; i++)
            any = c->has(&r->policy[i], &s[i]);
        if (!any)
            continue;
        worth_it = worth_it || c->has != has_swaps; /* which the hit rate tells of, too */
        shown[t.columns] = c;
        column[t.columns++] = (struct text_column){{c->head[0], c->head[1]}, WIDTH};
    }
    if (t.columns == 0 || !worth_it)
        return;
    (void)fputc('\n', out);
    print_table(r, s, &t, out);
}
