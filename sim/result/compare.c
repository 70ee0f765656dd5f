/* Pairwise comparison of the policies of a result: paired t-intervals on log ratios, and
 * Holm's step-down correction (Holm, "A simple sequentially rejective multiple test
 * procedure", Scandinavian Journal of Statistics 6, 1979). */
#include "result.h"

#include "sim/base/mem.h"
#include "sim/base/student.h"

#include <math.h>
#include <stdlib.h>

#define LEVEL 0.05

struct test {
    double p;     /* two-sided p-value; NaN: no test was possible */
    size_t index; /* of the pair */
};

static bool any_tpot(const struct result *r)
{
    for (uint32_t i = 0; i < r->policies; i++)
        for (uint64_t q = 0; q < r->policy[i].run.requests; q++)
            if (r->policy[i].run.request[q].output_tokens >= 2)
                return true;
    return false;
}

/* Mean, variance and count of log(b / a) by Welford's recurrence. */
struct moments {
    uint64_t count;
    double mean, squares;
};

static struct moments log_ratios(const struct run_result *a, const struct run_result *b,
                                 double (*figure)(const struct run_request *))
{
    uint64_t requests = a->requests < b->requests ? a->requests : b->requests;
    bool timed = !a->counts_only && !b->counts_only;
    struct moments m = {0, 0, 0};

    if (!a->finished || !b->finished || !timed)
        return m;
    for (uint64_t i = 0; i < requests; i++) {
        double x = figure(&a->request[i]), y = figure(&b->request[i]);
        double d, from_old;

        if (!(x > 0 && y > 0) ||
            a->request[i].trace_request != b->request[i].trace_request)
            continue;
        d = log(y / x);
        m.count++;
        from_old = d - m.mean;
        m.mean += from_old / (double)m.count;
        m.squares += from_old * (d - m.mean);
    }
    return m;
}

/* Fills all but the names and `significant`; returns the p-value of "the ratio is 1". */
static double compare_pair(const struct moments *m, struct result_comparison *c)
{
    double freedom = (double)m->count - 1, error, half;

    c->pairs = m->count;
    c->ratio = c->low = c->high = NAN;
    if (m->count == 0)
        return NAN;
    c->ratio = exp(m->mean);
    if (m->count == 1)
        return NAN;
    error = sqrt(m->squares / freedom / (double)m->count);
    half = student_quantile(LEVEL / 2, freedom) * error;
    c->low = exp(m->mean - half);
    c->high = exp(m->mean + half);
    if (error == 0) /* every request differs by the same factor */
        return m->mean == 0 ? 1 : 0;
    return 2 * student_tail(fabs(m->mean) / error, freedom);
}

/* By p-value, then by pair. */
static int compare_tests(const void *a, const void *b)
{
    const struct test *x = a, *y = b;

    if (x->p != y->p)
        return (x->p > y->p) - (x->p < y->p);
    return (x->index > y->index) - (x->index < y->index);
}

static void correct(struct test *test, size_t tests, struct result_comparison *c)
{
    if (tests > 1)
        qsort(test, tests, sizeof *test, compare_tests);
    for (size_t k = 0; k < tests; k++) {
        if (test[k].p > LEVEL / (double)(tests - k))
            break;
        c[test[k].index].significant = true;
    }
}

uint32_t result_fastest(const struct result *r)
{
    uint32_t best = 0;
    double least = INFINITY;
    bool foresees = true; /* the best does */

    for (uint32_t i = 0; i < r->policies; i++) {
        struct result_summary s = result_summarise(&r->policy[i]);
        double t = isnan(s.tpot_p50) ? s.ttft_p50 : s.tpot_p50;
        bool bound = result_is_reference(&r->policy[i]);

        if (isnan(t) || bound > foresees || (bound == foresees && !(t < least)))
            continue;
        least = t;
        best = i;
        foresees = bound;
    }
    return best;
}

size_t result_pair_count(const struct result *r)
{
    if (r->policies < 2)
        return 0;
    return r->policies > RESULT_ALL_PAIRS ? r->policies - 1
                                          : (size_t)r->policies * (r->policies - 1) / 2;
}

/* Names the pairs that are compared, in order. */
static void choose_pairs(const struct result *r, struct result_comparison *c)
{
    uint32_t best = r->policies > RESULT_ALL_PAIRS ? result_fastest(r) : 0;

    if (r->policies > RESULT_ALL_PAIRS) {
        for (uint32_t i = 0; i < r->policies; i++) {
            if (i != best)
                *c++ = (struct result_comparison){.a = i < best ? i : best,
                                                  .b = i < best ? best : i};
        }
        return;
    }
    for (uint32_t a = 0; a < r->policies; a++) {
        for (uint32_t b = a + 1; b < r->policies; b++)
            *c++ = (struct result_comparison){.a = a, .b = b};
    }
}

/* Fills all of `c` but `significant`; returns the p-value of "the ratio is 1". */
static double compare_policies(const struct result *r,
                               double (*figure)(const struct run_request *),
                               struct result_comparison *c)
{
    struct moments m = log_ratios(&r->policy[c->a].run, &r->policy[c->b].run, figure);

    return compare_pair(&m, c);
}

void result_compare(const struct result *r, struct result_comparison *c)
{
    size_t pairs = result_pair_count(r), tests = 0;
    double (*figure)(const struct run_request *) =
        any_tpot(r) ? result_request_tpot : result_request_ttft;
    struct test *test = mem_alloc(pairs, sizeof *test);

    choose_pairs(r, c);
    for (size_t i = 0; i < pairs; i++) {
        double p = compare_policies(r, figure, &c[i]);

        if (!isnan(p))
            test[tests++] = (struct test){p, i};
    }
    correct(test, tests, c);
    free(test);
}

struct result_comparison result_compare_two(const struct result *r, uint32_t a,
                                            uint32_t b)
{
    struct result_comparison c = {.a = a, .b = b};
    double p =
        compare_policies(r, any_tpot(r) ? result_request_tpot : result_request_ttft, &c);

    c.significant = p <= LEVEL;
    return c;
}
