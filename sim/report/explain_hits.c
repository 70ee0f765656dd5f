/* Hit rate is not latency: why a policy that hits more takes longer. */
#include "explain_state.h"

#include "sim/base/mem.h"

#include <math.h>
#include <stdlib.h>

#define MORE_HITS 0.01 /* a smaller lead in hit rate tells nothing */
#define LONGER 0.02    /* nor does a smaller one in time */

static double hit_rate(const struct run_counts *c)
{
    return explain_share((double)c->hits, (double)c->accesses);
}

static double link_bytes(const struct run_counts *c)
{
    return (double)c->demand_bytes + (double)c->prefetch_bytes + (double)c->out_bytes;
}

/* Share of the gate mass that a policy's select loses; 0 without one. */
static double mass_lost(const struct result_policy *p)
{
    double lost = result_selected(&p->run.quality).mass_lost;

    return isnan(lost) ? 0 : lost;
}

bool explain_hits_mislead(const struct result_policy *p,
                          const struct result_policy *other)
{
    const struct run_result *a = &p->run, *b = &other->run;

    if (!a->finished || !b->finished || a->counts_only || b->counts_only ||
        a->output_tokens != b->output_tokens || result_foresees(p) ||
        result_foresees(other) ||
        (!other->lossless && (p->lossless || mass_lost(other) > mass_lost(p))))
        return false;
    return hit_rate(&a->total.counts) >= hit_rate(&b->total.counts) + MORE_HITS &&
           (double)a->total.latency > (1 + LONGER) * (double)b->total.latency;
}

const struct result_policy *explain_hits_rival(const struct result *r, uint32_t policy)
{
    const struct result_policy *rival = NULL;

    for (uint32_t i = 0; i < r->policies; i++)
        if (explain_hits_mislead(&r->policy[policy], &r->policy[i]) &&
            (rival == NULL || r->policy[i].run.total.latency < rival->run.total.latency))
            rival = &r->policy[i];
    return rival;
}

/* ---- reasons ---- */

/* The share of the time on which it spends most more. */
static void say_share(char **text, const struct run_result *a, const struct run_result *b)
{
    double most = 0, extra = sim_time_seconds(a->total.latency - b->total.latency);
    int share = -1;

    for (int s = 0; s < RUN_SHARES; s++) {
        double more =
            sim_time_seconds(a->total.share[s]) - sim_time_seconds(b->total.share[s]);

        if (more > most) {
            most = more;
            share = s;
        }
    }
    if (share >= 0)
        explain_add(text, mem_format("It spends %s more on %s (%s more in all).",
                                     text_time(most).text,
                                     run_share_name((enum run_share)share),
                                     text_time(extra).text));
}

static void say_bytes(char **text, const struct run_counts *a, const struct run_counts *b)
{
    double mine = link_bytes(a), theirs = link_bytes(b);

    if (!(mine > (1 + EXPLAIN_PART) * theirs))
        return;
    explain_add(text, mem_format("More bytes: it moves %s, not %s.",
                                 text_bytes(mine).text, text_bytes(theirs).text));
    if ((double)a->wasted_bytes >= EXPLAIN_PART * mine)
        explain_add(text, mem_format("%s of them were prefetched and not used.",
                                     text_bytes((double)a->wasted_bytes).text));
}

static void say_experts(char **text, const struct run_counts *a,
                        const struct run_counts *b)
{
    double mine = (double)a->accesses, theirs = (double)b->accesses;
    double misses = mine - (double)a->hits, their_misses = theirs - (double)b->hits;

    if (!(mine > (1 + EXPLAIN_PART) * theirs))
        return;
    explain_add(text, mem_format("More experts: its layers use %s, not %s%s",
                                 text_count(mine).text, text_count(theirs).text,
                                 misses > their_misses ? "," : "."));
    if (misses > their_misses)
        explain_add(text,
                    mem_format("so that it misses %s times, not %s.",
                               text_count(misses).text, text_count(their_misses).text));
}

/* Misses that run in place. */
static double place_share(const struct run_counts *c)
{
    return explain_share((double)run_in_place(c), (double)c->accesses - (double)c->hits);
}

static void say_in_place(char **text, const struct run_counts *a,
                         const struct run_counts *b)
{
    double mine = place_share(a), theirs = place_share(b);

    if (theirs >= (isnan(mine) ? 0 : mine) + EXPLAIN_PART)
        explain_add(text, mem_format("Fewer loads there: the other runs %s of its misses "
                                     "%s.",
                                     text_share(theirs).text, explain_place(b)));
}

static void say_late(char **text, const struct run_counts *a, const struct run_counts *b)
{
    double mine = explain_share((double)a->late, (double)a->hits);
    double theirs = explain_share((double)b->late, (double)b->hits);

    if (!(mine >= (isnan(theirs) ? 0 : theirs) + EXPLAIN_PART))
        return;
    explain_add(text, mem_format("Late copies: %s of its hits are experts on their way, "
                                 "which it waits for.",
                                 text_share(mine).text));
}

/* How long a demand copy waits for the link on average; NaN without any. */
static double link_wait(const struct run_result *run)
{
    double wait = 0, copies = 0;

    for (uint32_t l = 0; l < run->layers; l++) {
        wait += sim_time_seconds(run->layer[l].queue_time);
        copies += (double)run->layer[l].copies;
    }
    return explain_share(wait, copies);
}

static void say_queue(char **text, const struct run_result *a, const struct run_result *b)
{
    double mine = link_wait(a), theirs = link_wait(b);
    double transfer = 0, copies = 0;

    for (uint32_t l = 0; l < a->layers; l++) {
        transfer += sim_time_seconds(a->layer[l].copy_time);
        copies += (double)a->layer[l].copies;
    }
    if (!(mine > theirs && mine - theirs >= 0.2 * explain_share(transfer, copies)))
        return;
    explain_add(text, mem_format("A busy link: what it misses waits %s for it, not %s.",
                                 text_time(mine).text, text_time(theirs).text));
}

/* Whether waiting for copies is a part of what it takes longer, so that what is copied
 * tells why. */
static bool waits_more(const struct run_result *a, const struct run_result *b)
{
    double more = (double)a->total.share[SHARE_COPY] - (double)b->total.share[SHARE_COPY];

    return more >= 0.2 * ((double)a->total.latency - (double)b->total.latency);
}

char *explain_hits_text(const char *name, const struct result_policy *p,
                        const struct result_policy *rival)
{
    const struct run_result *a = &p->run, *b = &rival->run;
    const struct run_counts *mine = &a->total.counts, *theirs = &b->total.counts;
    char *text = mem_format(
        "%s hits %s of its accesses, %s only %s, and yet its passes take %s times as "
        "long.",
        name, text_share(hit_rate(mine)).text, rival->label == NULL ? "" : rival->label,
        text_share(hit_rate(theirs)).text,
        text_ratio((double)a->total.latency / (double)b->total.latency).text);

    say_share(&text, a, b);
    say_experts(&text, mine, theirs);
    if (waits_more(a, b)) {
        say_bytes(&text, mine, theirs);
        say_in_place(&text, mine, theirs);
        say_late(&text, mine, theirs);
        say_queue(&text, a, b);
    }
    return text;
}
