#include "print_parallel.h"

#include "print_extras.h"
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

void print_parallel(const struct result *r, FILE *out)
{
    struct result_summary *s = print_summaries(r);

    print_first(r, s, out);
    print_extras(r, s, LABEL_COLUMNS, out);
    free(s);
}
