#include "print_parallel.h"

#include "text.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

enum { LABEL_COLUMNS = 18 };

static void print_row(const struct result_policy *p, FILE *out)
{
    struct result_summary s = result_summarise(p);

    text_cell(out, p->label, LABEL_COLUMNS);
    text_right(out, 8, text_time(s.tpot_p50));
    text_right(out, 8, text_time(s.tpot_p99));
    text_right(out, 8, text_time(s.ttft_p50));
    text_right(out, 7, text_number(s.tokens_per_s));
    text_right(out, 7, text_share(s.gpu_busy));
    text_right(out, 6, text_ratio(s.imbalance));
    text_right(out, 7, text_share(s.comm_share));
    text_right(out, 8, text_bytes(s.sent_bytes));
    text_right(out, 7, text_share(s.balanced_gap));
    text_right(out, 7, text_share(s.network_gap));
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
    text_paragraph(out, "", "  ",
                   "GPU busy and exposed communication (comm): means over the GPUs. "
                   "Imbalance: rows of the busiest GPU over the mean, layer by layer and "
                   "pass by pass; 1 is even.%s",
                   !bounds ? ""
                           : " Gaps: time of all passes above that of the rows spread "
                             "evenly, all experts resident and nothing padded (even); "
                             "and above that of a network that takes no time (no net).");
}

/* ---- the second table ---- */

enum extra { MISSES, DROPS, PADDING, MIGRATIONS, EXTRAS };

static bool has_extra(const struct result_policy *p, const struct result_summary *s,
                      enum extra extra)
{
    const struct run_counts *c = &p->run.total.counts;

    switch (extra) {
    case MISSES:
        return c->hits < c->accesses;
    case DROPS:
        return c->dropped > 0;
    case PADDING:
        return fabs(s->padding) > 0; /* not so where there are no rows */
    case MIGRATIONS:
        return c->migrations > 0;
    case EXTRAS:
        break;
    }
    return false;
}

/* The columns of one kind; `p` NULL is the first line of their head, then the second. */
static void print_extra_head(FILE *out, enum extra extra, bool second)
{
    static const char *const head[EXTRAS][2][3] = {
        {{"hit", "from the", NULL}, {"rate", "host", NULL}},
        {{"dropped", NULL, NULL}, {"choices", NULL, NULL}},
        {{"padding", "MoE layer", NULL}, {"rows", "memory", NULL}},
        {{"migra-", "experts", "waited"}, {"tions", "moved", "for them"}},
    };

    for (int i = 0; i < 3 && head[extra][second][i] != NULL; i++)
        (void)fprintf(out, " %9s", head[extra][second][i]);
}

static struct text_figure count_figure(uint64_t count)
{
    struct text_figure f = {""};

    if (count > 999999)
        return text_number((double)count);
    (void)snprintf(f.text, sizeof f.text, "%" PRIu64, count);
    return f;
}

/* "-" where there is nothing. */
static struct text_figure or_none(bool has, struct text_figure f)
{
    return has ? f : (struct text_figure){"-"};
}

static void print_extra(FILE *out, const struct result_policy *p,
                        const struct result_summary *s, enum extra extra)
{
    const struct run_counts *c = &p->run.total.counts;
    bool has = has_extra(p, s, extra);

    switch (extra) {
    case MISSES:
        text_right(out, 9, text_share(s->hit_rate));
        text_right(out, 9, text_bytes(s->link_bytes));
        return;
    case DROPS:
        text_right(out, 9, or_none(has, text_share(s->drop_share)));
        return;
    case PADDING:
        text_right(out, 9, or_none(has, text_share(s->padding)));
        text_right(out, 9, text_bytes((double)p->run.activation_bytes));
        return;
    case MIGRATIONS:
        text_right(out, 9, or_none(has, count_figure(c->migrations)));
        text_right(out, 9, or_none(has, text_bytes((double)c->migrated_bytes)));
        text_right(out, 9,
                   or_none(has, text_time(sim_time_seconds(p->run.migration_time))));
        return;
    case EXTRAS:
        return;
    }
}

static void print_extra_heads(FILE *out, const bool *shown)
{
    for (int line = 0; line < 2; line++) {
        text_cell(out, line == 0 ? "" : "policy", LABEL_COLUMNS);
        for (int k = 0; k < EXTRAS; k++)
            if (shown[k])
                print_extra_head(out, (enum extra)k, line == 1);
        (void)fputc('\n', out);
    }
}

/* Columns that no policy has anything in are left out, and so is a table of none. */
static void print_extras(const struct result *r, FILE *out)
{
    bool shown[EXTRAS] = {false}, any = false;

    for (uint32_t i = 0; i < r->policies; i++) {
        struct result_summary s = result_summarise(&r->policy[i]);

        for (int k = 0; k < EXTRAS; k++)
            shown[k] = shown[k] || has_extra(&r->policy[i], &s, (enum extra)k);
    }
    for (int k = 0; k < EXTRAS; k++)
        any = any || shown[k];
    if (!any)
        return;
    (void)fputc('\n', out);
    print_extra_heads(out, shown);
    for (uint32_t i = 0; i < r->policies; i++) {
        struct result_summary s = result_summarise(&r->policy[i]);

        text_cell(out, r->policy[i].label, LABEL_COLUMNS);
        for (int k = 0; k < EXTRAS; k++)
            if (shown[k])
                print_extra(out, &r->policy[i], &s, (enum extra)k);
        (void)fputc('\n', out);
    }
}

void print_parallel(const struct result *r, FILE *out)
{
    print_table(r, out);
    print_extras(r, out);
}
