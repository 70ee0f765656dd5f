#include "print_parallel.h"

#include "text.h"

#include <inttypes.h>
#include <math.h>

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

static void print_row(const struct result_policy *p, FILE *out)
{
    struct result_summary s = result_summarise(p);
    char *stopped = result_stopped_text(p);

    if (stopped != NULL) {
        text_row(out, p->label, LABEL_COLUMNS, stopped);
        return;
    }
    text_cell(out, p->label, LABEL_COLUMNS);
    text_right(out, 8, text_time(s.tpot_p50));
    text_right(out, 8, text_time(s.tpot_p99));
    text_right(out, 8, text_time(s.ttft_p50));
    text_right(out, 7, text_number(s.tokens_per_s));
    text_right(out, 7, text_share(s.gpu_busy));
    text_right(out, 6, text_ratio(s.imbalance));
    text_right(out, 7, text_share(s.comm_share));
    text_right(out, 8, text_bytes(s.sent_bytes));
    text_right(out, 7, gap_figure(s.balanced_gap));
    text_right(out, 7, gap_figure(s.network_gap));
    (void)fputc('\n', out);
}

static void print_table(const struct result *r, FILE *out)
{
    bool bounds = false;

    text_cell(out, "", LABEL_COLUMNS);
    (void)fprintf(out, " %8s %8s %8s %7s %7s %6s %7s %8s %7s %7s\n", "TPOT", "TPOT",
                  "TTFT", "tokens", "GPU", "imbal-", "exposed", "between", "gap to",
                  "gap to");
    text_cell(out, "policy", LABEL_COLUMNS);
    (void)fprintf(out, " %8s %8s %8s %7s %7s %6s %7s %8s %7s %7s\n", "p50", "p99", "p50",
                  "per s", "busy", "ance", "comm", "GPUs", "even", "no net");
    for (uint32_t i = 0; i < r->policies; i++) {
        print_row(&r->policy[i], out);
        bounds = bounds || r->policy[i].bounds.present;
    }
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

/* Columns that no policy has anything in are left out, and so is a table of none. */
static void print_extras(const struct result *r, FILE *out)
{
    const struct print_column
        *shown[sizeof print_extra_columns / sizeof *print_extra_columns];
    size_t count = 0;

    for (const struct print_column *c = print_extra_columns; c->has != NULL; c++) {
        bool any = false;

        for (uint32_t i = 0; i < r->policies && !any; i++) {
            struct result_summary s = result_summarise(&r->policy[i]);

            any = c->has(&r->policy[i], &s);
        }
        if (any)
            shown[count++] = c;
    }
    for (int line = 0; line < 2 && count > 0; line++) {
        (void)fputs(line == 0 ? "\n" : "", out);
        text_cell(out, line == 0 ? "" : "policy", LABEL_COLUMNS);
        for (size_t k = 0; k < count; k++)
            (void)fprintf(out, " %9s", shown[k]->head[line]);
        (void)fputc('\n', out);
    }
    for (uint32_t i = 0; i < r->policies && count > 0; i++) {
        struct result_summary s = result_summarise(&r->policy[i]);

        if (!r->policy[i].run.finished)
            continue;
        text_cell(out, r->policy[i].label, LABEL_COLUMNS);
        for (size_t k = 0; k < count; k++)
            text_right(out, 9,
                       shown[k]->has(&r->policy[i], &s)
                           ? shown[k]->figure(&r->policy[i], &s)
                           : (struct text_figure){"-"});
        (void)fputc('\n', out);
    }
}

void print_parallel(const struct result *r, FILE *out)
{
    print_table(r, out);
    print_extras(r, out);
}
