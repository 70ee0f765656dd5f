/* Pieces of explanations, on one GPU and on several. */
#include "explain_state.h"

#include "sim/base/mem.h"

#include <math.h>
#include <stdlib.h>

void explain_add(char **text, char *sentence)
{
    const char *between = **text == '\0' || *sentence == '\0' ? "" : " ";
    char *joined = mem_format("%s%s%s", *text, between, sentence);

    free(*text);
    free(sentence);
    *text = joined;
}

const char *explain_place(const struct run_counts *c)
{
    return c->near_runs > 0 ? "near the data" : "on the host";
}

struct text_figure explain_part(double seconds, double total)
{
    return text_share(total > 0 ? seconds / total : NAN);
}

const struct result_policy *explain_better_policy(const struct result *r, uint32_t policy)
{
    const struct result_policy *best = &r->policy[policy];

    for (uint32_t i = 0; i < r->policies; i++)
        if (!result_is_dense(&r->policy[i]) &&
            r->policy[i].run.total.latency < best->run.total.latency &&
            r->policy[i].run.passes == best->run.passes)
            best = &r->policy[i];
    if (best == &r->policy[policy] ||
        (double)best->run.total.latency >
            (1 - EXPLAIN_PART) * (double)r->policy[policy].run.total.latency)
        return NULL;
    return best;
}

double explain_share(double a, double b)
{
    return b > 0 ? a / b : NAN;
}

double explain_rest(double all, double part)
{
    double rest = all - part;

    return fabs(rest) < 1e-6 * all ? 0 : rest; /* a picosecond a pass and layer */
}

void explain_print_share(FILE *out, const char *name, double seconds, double passes,
                         double total)
{
    (void)fprintf(out, "    %-24s", name);
    text_right(out, 11, text_time(seconds));
    text_right(out, 11, text_time(explain_share(seconds, passes)));
    text_right(out, 9, text_share(explain_share(seconds, total)));
    (void)fputc('\n', out);
}
