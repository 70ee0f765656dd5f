/* The first screen of the report, by hand: see hand_result.h. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "hand_result.h"
#include "made_result.h"
#include "report_rig.h"
#include "sim/base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const sim_time ms = 1000 * SIM_TIME_PER_US;
static char belady[] = "belady slots=4";

static void says(void **state, const struct result *r, const char *part)
{
    char *page = report_rig_page(*state, &r, 1, 1);

    text_has(page, part);
    free(page);
}

static void set_tpot(struct run_request *q, int tpot)
{
    q->last_token = q->first_token + 10 * tpot * ms;
}

/* ---- the winner ---- */

/* a takes half of b's time in both requests, and of its passes: 20 + 40 + 30 ms instead
 * of 50 + 100 + 30; b's first tokens come sooner. */
static void who_wins_and_why(void **state)
{
    struct hand h;

    hand_make(&h);
    says(state, &h.r,
         "<section class=\"card answer\">\n"
         "<h1>a wins: 15.0 ms per output token</h1>\n"
         "<p><b class=tag>Winner</b> a, 15.0 ms per output token (median; 99 %: 19.9 "
         "ms), 22.0 tokens per s. 2.000 times as fast as b, the next (95 %: 2.000 to "
         "2.000, on the same 2 requests). Least time to the first token: b.</p>\n"
         "<p><b class=tag>Reason</b> Against b a pass spends 60.0 ms less on expert "
         "compute: it takes 90.0 ms instead of 180 ms on average.</p>\n"
         "<p><b class=tag>Hits</b> b hits 90.0 % of its accesses, a only 75.0 %, and yet "
         "its passes take 2.000 times as long. It spends 600 ms more on expert "
         "compute (900 ms more in all).</p>\n"
         "<p><b class=tag>Limit</b> A better policy exists at this capacity: Belady's "
         "choices, fetched on demand, would take 66.7 % of the time.</p>\n"
         "<div class=caveat><b class=tag>Caveat</b><ul>\n"
         "<li><b>Times are predicted, not measured:</b> the machine is a model "
         "(sheet).</li>\n"
         "</ul></div>\n"
         "</section>\n"
         "<p class=sub>m on gpu; trace t.h5</p>\n");
}

/* The order of policies in the result is not the order of who wins. */
static void the_second_may_win(void **state)
{
    struct hand h;

    hand_make(&h);
    for (int q = 0; q < HAND_REQUESTS; q++)
        set_tpot(&h.request[1][q], q == 0 ? 5 : 10); /* 7.5 ms; half of a's */
    says(state, &h.r, "<h1>b wins: 7.50 ms per output token</h1>\n");
    says(state, &h.r,
         "2.000 times as fast as a, the next (95 %: 2.000 to 2.000, on the same 2 "
         "requests). Most tokens per second: a.</p>");
    /* Its passes take longer, in every part. */
    says(state, &h.r,
         "<b class=tag>Reason</b> Its passes take no less on average than those of a (");
    says(state, &h.r, "): how the requests spread decides.</p>");
}

/* Ratios of 2 and 3/4. Their logs are 0.2027 on average, 0.6935 apart from each other by
 * the standard deviation; 12.706 of Student's t with one degree of freedom: from
 * exp(-6.0286) to exp(6.4340). */
static void not_told_apart(void **state)
{
    struct hand h;

    hand_make(&h);
    set_tpot(&h.request[1][1], 15);
    says(
        state, &h.r,
        "Not told apart from b (17.5 ms), the next: on the same 2 requests it is 0.00241 "
        "to 623 times as fast (95 %).");
    h.r.policies = 1;
    says(state, &h.r,
         "<h1>a: 15.0 ms per output token</h1>\n<p><b class=tag>Policy</b> ");
}

/* 29 requests: in 15 a is ahead by 1 %, in 14 b by 2. The mean of the logs is
 * (15 log 1.01 - 14 log 2) / 29 = -0.3295: b is exp(0.3295) = 1.390 times as fast, though
 * the median is a's. */
static void a_median_is_not_all(void **state)
{
    enum { REQUESTS = 29 };
    struct run_request request[HAND_POLICIES][REQUESTS];
    struct hand h;

    hand_make(&h);
    for (int i = 0; i < HAND_POLICIES; i++) {
        for (int q = 0; q < REQUESTS; q++) {
            request[i][q] = h.request[i][0];
            request[i][q].trace_request = (uint64_t)q;
            request[i][q].last_token =
                request[i][q].first_token +
                (q < 15 ? (i == 0 ? 1000 : 1010) : (i == 0 ? 8000 : 4000)) * ms;
        }
        h.p[i].run.request = request[i];
        h.p[i].run.requests = REQUESTS;
    }
    says(state, &h.r, "<h1>a wins: 100 ms per output token</h1>");
    says(state, &h.r,
         "Its median is less, but request by request b, the next, is 1.390 times as fast "
         "(95 %: 1.2");
    says(state, &h.r, "Least at 99 %: b.");
}

/* Who knows what comes wins nothing, is best of nothing, and is named as the bound. */
static void a_bound_never_wins(void **state)
{
    struct hand h;
    char *page, *shown;

    hand_make(&h);
    h.p[0].description[SLOT_CACHE] = belady;
    page = report_rig_page_of(*state, &h.r);
    shown = report_rig_shown(page);
    text_has(shown, "<h1>b: 30.0 ms per output token</h1>\n<p><b class=tag>Policy</b> b, "
                    "30.0 ms per output token (median; 99 %: 39.8 ms), 11.0 tokens per "
                    "s.</p>\n<p><b class=tag>Limit</b> ");
    text_has(shown, " a, which knows what comes and nobody can have, takes 15.0 ms.</p>");
    text_lacks(shown, "<b class=tag>Reason</b>");
    text_has(shown, "<tbody>\n<tr class=winner><td>1 b</td><td class=best>30.0 ms</td>"
                    "<td>best</td><td class=best>11.0</td><td class=best>90.0 %</td>");
    text_has(shown, "</tbody><tbody class=bounds>\n<tr class=group><td colspan=13><span>"
                    "Bounds, which know what comes</span></td>"
                    "</tr>\n<tr><td>a</td><td>15.0 ms</td><td>-50.0 %</td><td>22.0</td>"
                    "<td>75.0 %</td>");
    text_has(shown, "<h3>bound a <span");
    text_in_order(shown, "<h3>1 b <span", "<h3>bound a <span");
    assert_int_equal(text_counts(shown, "class=winner"), 1);
    free(shown);
    free(page);
    /* Nor where all are bounds. */
    h.p[1].description[SLOT_CACHE] = belady;
    says(state, &h.r, "<h1>No policy to compare</h1>\n<div class=caveat>");
}

/* ---- the reason ---- */

/* b spends 500 ms more than a, over 10 passes, on one share at a time. */
static void the_share_that_differs_most(void **state)
{
    static const char *const words[RUN_SHARES] = {
        [SHARE_DENSE] = "dense compute: it",
        [SHARE_EXPERT] = "expert compute: it",
        [SHARE_HOSTED] = "waiting for experts in place: it",
        [SHARE_COPY] = "waiting for weights to be copied: it",
        [SHARE_COMM] = "communication that nothing hides: it",
        [SHARE_IMBALANCE] = "waiting for slower GPUs: it",
        [SHARE_HOST] = "launches and the host: it",
    };

    for (int s = 0; s < RUN_SHARES; s++) {
        struct hand h;
        char *wanted =
            mem_format("Against b a pass spends 50.0 ms less on %s takes 140 ms "
                       "instead of 176 ms on average.",
                       words[s]);

        hand_make(&h);
        for (int k = 0; k < RUN_SHARES; k++) {
            h.p[0].run.total.share[k] = 200 * ms;
            h.p[1].run.total.share[k] = 200 * ms;
        }
        h.p[1].run.total.share[s] += 500 * ms;
        /* Where a spends more counts for nothing. */
        h.p[1].run.total.share[(s + 1) % RUN_SHARES] -= 140 * ms;
        says(state, &h.r, wanted);
        free(wanted);
    }
}

/* b takes 100 ms of this share, and of no other; a takes no time. */
static void less_on(struct hand *h, int share)
{
    hand_make(h);
    for (int s = 0; s < RUN_SHARES; s++)
        h->p[0].run.total.share[s] = h->p[1].run.total.share[s] = 0;
    h->p[1].run.total.share[share] = 100 * ms;
}

static void copies_and_hits(void **state)
{
    struct hand h;

    less_on(&h, SHARE_COPY); /* 8 of 9 MB */
    says(state, &h.r,
         "on average. It copies 11.1 % fewer bytes of weights (8.00 MB against 9.00 MB). "
         "Hit rate: 75.0 % against 90.0 %.</p>");
    h.p[0].run.total.counts.out_bytes = 3000000; /* 10 of 9 MB */
    h.p[0].run.total.counts.prefetches = 8;
    h.p[0].run.total.counts.late = 2;
    says(state, &h.r,
         "It copies 11.1 % more bytes of weights (10.0 MB against 9.00 MB). Hit rate: "
         "75.0 % against 90.0 %. Of the prefetched experts 25.0 % come late, against 0.0 "
         "%.</p>");
    h.p[0].run.total.counts.out_bytes = 2000000; /* as many */
    says(state, &h.r, "on average. Hit rate: 75.0 % against 90.0 %.");
}

static void computing_and_the_host(void **state)
{
    struct run_counts *a, *b;
    struct hand h;

    less_on(&h, SHARE_EXPERT);
    a = &h.p[0].run.total.counts;
    b = &h.p[1].run.total.counts;
    a->computed_rows = 300;
    b->computed_rows = 400;
    a->expert_gemms = 80;
    b->expert_gemms = 50;
    says(state, &h.r,
         "on average. It computes 25.0 % fewer rows in experts (300 against 400). It "
         "launches 60.0 % more products of experts (80.0 against 50.0).</p>");
    less_on(&h, SHARE_HOSTED);
    h.p[0].run.total.counts.host_runs = 5;
    h.p[1].run.total.counts.host_runs = 10;
    says(state, &h.r, "It runs 50.0 % fewer experts in place (5.00 against 10.0).</p>");
    less_on(&h, SHARE_HOST);
    says(state, &h.r, "on average.</p>");
    h.p[0].graph = true;
    says(state, &h.r, "a is launched from graphs, the other kernel by kernel.</p>");
    h.p[1].graph = true;
    says(state, &h.r, "on average.</p>");
}

static void between_gpus(void **state)
{
    struct hand h;

    hand_make_parallel(&h);
    h.p[1].run.total.share[SHARE_COMM] = 2000 * ms;
    says(state, &h.r,
         "communication that nothing hides: it takes 90.0 ms instead of 371 ms "
         "on average. It sends 50.0 % more bytes between the GPUs (3.00 MB against 2.00 "
         "MB).</p>");
    h.p[1].run.total.share[SHARE_COMM] = 0;
    h.p[1].run.total.share[SHARE_IMBALANCE] = 2000 * ms;
    says(state, &h.r, "on average. Imbalance: 1.600 against 1.500.</p>");
}

/* ---- what they are ranked by ---- */

/* Where no request has a second token the first one counts: 150 and 100 ms. */
static void first_tokens(void **state)
{
    struct hand h;

    hand_make(&h);
    for (int i = 0; i < HAND_POLICIES; i++)
        for (int q = 0; q < HAND_REQUESTS; q++)
            h.request[i][q].output_tokens = 1;
    says(state, &h.r,
         "<h1>b leads by a hair: 100 ms to the first token</h1>\n<p><b class=tag>"
         "Winner</b> b, 100 ms to the first token (median). ");
}

/* Where nothing was timed hits count, and there is no reason to give. */
static void hits_alone(void **state)
{
    struct hand h;
    const struct result *r = &h.r;
    char *page;

    hand_make(&h);
    h.p[0].run.counts_only = h.p[1].run.counts_only = true;
    page = report_rig_page(*state, &r, 1, 0);
    text_has(page,
             "<h1>b wins: 90.0 % of the accesses hit</h1>\n<p><b class=tag>Winner</b> "
             "b, 90.0 % of the accesses hit. Next: a with 75.0 %.</p>\n");
    text_lacks(page, "<b class=tag>Reason</b>");
    text_lacks(page, "Times are predicted");
    text_lacks(page, "<b class=tag>Caveat</b>"); /* there is nothing to beware of */
    text_has(page, "<td data-v=\"0\">best</td>");
    text_has(page, "\">+15.0 %</td>"); /* points */
    free(page);
    h.p[0].description[SLOT_CACHE] = belady;
    h.p[0].run.total.counts.hits = 95;
    page = report_rig_page(*state, &r, 1, 0);
    text_has(page, " a, which knows what comes and nobody can have, reaches 95.0 %.</p>");
    free(page);
}

static void without_requests(void **state)
{
    struct made_shape none = {.policies = 1, .layers = 1, .requests = 0, .seed = 1};
    struct result r = made_result(&none);

    says(state, &r, " of the accesses hit</h1>\n<p><b class=tag>Policy</b> lru, ");
    result_release(&r);
}

/* ---- the order ---- */

/* 1 for policies anyone can have, 2 for bounds, 3 for what was stopped. */
static int class_of(const struct result_policy *p)
{
    if (!p->run.finished)
        return 3;
    return strcmp(p->description[SLOT_CACHE], "belady slots=16 scope=layer") == 0 ? 2 : 1;
}

/* By a sort of its own: the least first, of all that are left. */
static void rows_by_rank(void **state)
{
    enum { POLICIES = 40 };
    struct made_shape shape = {
        .policies = POLICIES, .layers = 1, .requests = 5, .seed = 8};
    struct result r = made_result(&shape);
    const char *at;
    char *page;
    bool done[POLICIES] = {false};

    for (uint32_t i = 0; i < POLICIES; i += 7)
        r.policy[i].run.finished = false;
    page = report_rig_page_of(*state, &r);
    at = strstr(page, "<tbody>");
    for (int k = 0, rank = 0; k < POLICIES; k++) {
        int next = -1;
        char *row;

        for (int i = 0; i < POLICIES; i++) {
            double mine = result_summarise(&r.policy[i]).tpot_p50;
            int order =
                next < 0 ? -1 : class_of(&r.policy[i]) - class_of(&r.policy[next]);

            if (!done[i] &&
                (order < 0 ||
                 (order == 0 && mine < result_summarise(&r.policy[next]).tpot_p50)))
                next = i;
        }
        done[next] = true;
        if (class_of(&r.policy[next]) == 1)
            row = mem_format("<td data-v=%d>%d %s</td>", k, ++rank, r.policy[next].label);
        else
            row = mem_format("<td data-v=%d>%s</td>", k, r.policy[next].label);
        at = strstr(at, row);
        if (at == NULL)
            print_error("no row '%s' behind the last\n", row);
        assert_non_null(at);
        free(row);
    }
    free(page);
    result_release(&r);
}

/* ---- what to beware of ---- */

static void caveats(void **state)
{
    static char drawn[] = "synthetic, drawn to published statistics; see the README";
    static char sheet[] = "vendor's sheet; 3 of its 20 numbers are estimates";
    static char notes[] = "one\n\n<two>";
    static char letters[200];
    struct hand h;

    hand_make(&h);
    h.r.trace_source = drawn;
    h.r.machine_source = sheet;
    h.r.notes = notes;
    says(state, &h.r,
         "<div class=caveat><b class=tag>Caveat</b><ul>\n"
         "<li><b>The trace is synthetic:</b> drawn to published statistics ...</li>\n"
         "<li><b>Times are predicted, not measured:</b> the machine is a model "
         "(vendor's sheet; 3 of its 20 numbers are estimates).</li>\n"
         "<li class=remark>one</li>\n<li class=remark>&lt;two&gt;</li>\n</ul></div>\n");
    /* Cut between letters, not inside of one. */
    memset(letters, 'x', sizeof letters);
    memcpy(letters, "Synthetic ", 10);
    memcpy(letters + 109, "\xc3\xa4\xc3\xa4", 4);
    letters[150] = '\0';
    h.r.trace_source = letters;
    letters[109] = '\0';
    char *wanted = mem_format("synthetic:</b> %s ...</li>", letters);
    letters[109] = '\xc3';
    says(state, &h.r, wanted);
    free(wanted);
}

/* Of several results: what is the same is said once, what is not of each. */
static void caveats_of_several(void **state)
{
    static char other[] = "other", fake[] = "a synthetic one", second[] = "u.h5";
    static char note[] = "careful";
    static struct hand one, two;
    const struct result *results[2] = {&one.r, &two.r};
    char *page;

    hand_make(&one);
    hand_make(&two);
    page = report_rig_page(*state, results, 2, 1);
    assert_int_equal(text_counts(page, "<li>"), 1);
    free(page);
    two.r.machine = other;
    two.r.trace_source = fake;
    two.r.trace_path = second;
    two.r.notes = note;
    page = report_rig_page(*state, results, 2, 1);
    assert_int_equal(text_counts(page, "Times are predicted"), 2);
    assert_int_equal(text_counts(page, "The trace is synthetic"), 1);
    text_has(page, "<li class=remark>R2: careful</li>\n");
    free(page);
}

/* ---- several results ---- */

static void the_best_of_each(void **state)
{
    static char four[] = "batch: 4\n", eight[] = "batch: 8\n", same[] = "c: 1\n";
    static struct hand one, two;
    const struct result *results[2] = {&one.r, &two.r};
    char *page;

    hand_make(&one);
    hand_make(&two);
    one.r.config = eight;
    two.r.config = four;
    for (int q = 0; q < HAND_REQUESTS; q++)
        set_tpot(&two.request[1][q], 8);
    page = report_rig_page(*state, results, 2, 1);
    text_has(page, "<h1>b, batch 4 wins: 8.00 ms per output token</h1>");
    /* Of different results nothing is paired. */
    text_has(page, " tokens per s. Next: a, batch 8 with 15.0 ms.");
    text_has(page,
             "<p><b class=tag>Each</b> a, batch 8 15.0 ms; b, batch 4 8.00 ms.</p>");
    free(page);
    one.r.config = two.r.config = same;
    page = report_rig_page(*state, results, 2, 1);
    text_has(page, "<h1>R2: b wins: 8.00 ms per output token</h1>");
    text_has(page, "<p class=sub>m on gpu; trace t.h5</p>\n");
    text_has(page, "<p class=sub>Their policies alone, or nothing.</p>");
    free(page);
}

int main(void)
{
#define ANSWER(test)                                                                     \
    cmocka_unit_test_setup_teardown(test, report_rig_set_up, report_rig_tear_down)
    const struct CMUnitTest tests[] = {
        ANSWER(who_wins_and_why),   ANSWER(the_second_may_win),
        ANSWER(not_told_apart),     ANSWER(a_median_is_not_all),
        ANSWER(a_bound_never_wins), ANSWER(the_share_that_differs_most),
        ANSWER(copies_and_hits),    ANSWER(computing_and_the_host),
        ANSWER(between_gpus),       ANSWER(first_tokens),
        ANSWER(hits_alone),         ANSWER(without_requests),
        ANSWER(rows_by_rank),       ANSWER(caveats),
        ANSWER(caveats_of_several), ANSWER(the_best_of_each),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
