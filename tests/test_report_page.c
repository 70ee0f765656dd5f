/* The report page's own words and tables, by hand: see hand_result.h. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "hand_result.h"
#include "report_rig.h"
#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

static const sim_time ms = 1000 * SIM_TIME_PER_US;

/* Without what its tables are sorted by. */
static char *shown_of(void **state, const struct result *r)
{
    char *page = report_rig_page_of(*state, r), *shown = report_rig_shown(page);

    free(page);
    return shown;
}

static void the_table_of_one_gpu(void **state)
{
    struct hand h;
    char *page;

    hand_make(&h);
    h.p[0].run.total.counts.swaps = 31;
    h.p[1].run.total.counts.swaps = 12;
    page = shown_of(state, &h.r);
    text_has(
        page,
        "<h2>Policies</h2>\n"
        "<div class=\"card scroll\"><table class=\"policies sortable\"><thead><tr><th>"
        "policy</th><th>TPOT<br>p50</th><th>over<br>best</th><th>tokens<br>per s</th>"
        "<th>hit<br>rate</th><th>TPOT<br>p99</th><th>TTFT<br>p50</th><th>TTFT<br>p99"
        "</th><th>over<br>the link</th><th>GPU<br>busy</th><th>gap to<br>offline</th>"
        "<th>swaps</th><th class=left>limited by</th></tr></thead>\n<tbody>\n"
        "<tr class=winner><td>1 a</td><td class=best>15.0 ms</td><td>best</td><td "
        "class=best>22.0</td><td>75.0 %</td><td class=best>19.9 ms</td><td>150 ms</td>"
        "<td>199 ms</td><td class=best>8.00 MB</td><td>40.0 %</td><td>50.0 %</td>"
        "<td>31</td><td class=left><span class=chip>cache choices</span></td></tr>\n"
        "<tr><td>2 b</td><td>30.0 ms</td><td>+100.0 %</td><td>11.0</td><td class=best>"
        "90.0 %</td><td>39.8 ms</td><td class=best>100 ms</td><td class=best>149 ms"
        "</td><td>9.00 MB</td><td>50.0 %</td><td>20.0 %</td><td class=best>12</td>"
        "<td class=left><span class=chip>working set</span></td></tr>\n"
        "</tbody></table></div>\n"
        "<p class=sub>A head sorts by its column. TPOT: time per output token of a "
        "request; TTFT: time to its first token; gap: time of all passes above the "
        "bound that no policy beats at this capacity. Limited by: what takes the "
        "largest part of the time that could be saved. The best of a column is "
        "bold.</p>\n");
    free(page);
}

/* Cells are sorted by their numbers, not by their words. */
static void what_cells_are_sorted_by(void **state)
{
    struct hand h;
    char *page;

    hand_make(&h);
    page = report_rig_page_of(*state, &h.r);
    text_has(page, "<td data-v=\"0.75\">75.0 %</td>");
    text_has(page, "<td data-v=\"8000000\" class=best>8.00 MB</td>");
    text_has(page, "<td data-v=\"9000000\">9.00 MB</td>");
    text_has(page, "<tr class=winner><td data-v=0>1 a</td>");
    text_has(page, "<tr><td data-v=1>2 b</td>");
    text_has(page, "<td data-v=\"1\">+100.0 %</td>");
    free(page);
}

static void the_tables_of_several_gpus(void **state)
{
    struct hand h;
    char *page;

    hand_make_parallel(&h);
    page = shown_of(state, &h.r);
    text_has(
        page,
        "<h2>Policies</h2>\n"
        "<div class=\"card scroll\"><table class=\"policies sortable\"><thead><tr><th>"
        "policy</th><th>TPOT<br>p50</th><th>over<br>best</th><th>tokens<br>per s</th>"
        "<th>imbal-<br>ance</th><th>TPOT<br>p99</th><th>TTFT<br>p50</th><th>TTFT<br>"
        "p99</th><th>exposed<br>comm</th><th>between<br>GPUs</th><th>GPU<br>busy</th>"
        "<th>gap to<br>even</th><th>gap to<br>no net</th><th class=left>limited by"
        "</th></tr></thead>\n<tbody>\n"
        "<tr class=winner><td>1 a</td><td class=best>15.0 ms</td><td>best</td><td "
        "class=best>22.0</td><td>1.600</td><td class=best>19.9 ms</td><td>150 ms</td>"
        "<td>199 ms</td><td>10.0 %</td><td>3.00 MB</td><td>40.0 %</td><td>25.0 %</td>"
        "<td>20.0 %</td><td class=left><span class=chip>imbalance</span></td></tr>\n"
        "<tr><td>2 b</td><td>30.0 ms</td><td>+100.0 %</td><td>11.0</td><td class=best>"
        "1.500</td><td>39.8 ms</td><td class=best>100 ms</td><td class=best>149 ms"
        "</td><td class=best>5.0 %</td><td class=best>2.00 MB</td><td>50.0 %</td><td>"
        "25.0 %</td><td>50.0 %</td><td class=left><span class=chip>network</span></td>"
        "</tr>\n</tbody></table></div>\n"
        "<p class=sub>A head sorts by its column. TPOT: time per output token of a "
        "request; TTFT: time to its first token. GPU busy and exposed communication "
        "(comm) are means over the GPUs. Imbalance: rows of the busiest GPU over the "
        "mean, layer by layer and pass by pass; 1 is even. Gaps: time of all passes "
        "above that of the rows spread evenly, all experts resident and nothing padded "
        "or moved (even), and above that of a network that takes no time (no net). "
        "Limited by: what takes the largest part of the time that could be saved. The "
        "best of a column is bold.</p>\n");
    free(page);
}

/* A second table, of what only some have. */
static void what_only_some_have(void **state)
{
    struct hand h;
    char *page;

    hand_make_parallel(&h);
    h.p[1].run.total.counts.migrations = 7;
    h.p[1].run.total.counts.migrated_bytes = 123000000;
    h.p[1].run.migration_time = 4 * ms;
    h.p[0].run.total.counts.hits = 40;
    h.p[0].run.total.counts.demand_bytes = 5000;
    h.p[0].run.total.counts.swaps = 31;
    page = shown_of(state, &h.r);
    text_has(
        page,
        "</tbody></table></div>\n"
        "<div class=\"card scroll\"><table class=\"policies sortable\"><thead><tr><th>"
        "policy</th><th>hit<br>rate</th><th>from the<br>host</th><th>migra-<br>tions"
        "</th><th>experts<br>moved</th><th>waited<br>for them</th>"
        "<th><br>swaps</th></tr></thead><tbody>\n"
        "<tr><td>1 a</td><td>40.0 %</td><td>5.00 kB</td><td>-</td><td>-</td><td>-</td>"
        "<td>31</td></tr>\n"
        "<tr><td>2 b</td><td>-</td><td>-</td><td>7</td><td>123 MB</td><td>4.00 ms</td>"
        "<td>-</td></tr>\n"
        "</tbody></table></div>\n<p class=sub>A head sorts");
    free(page);
    /* One that was stopped has no figures. */
    h.p[0].run.finished = false;
    page = shown_of(state, &h.r);
    text_has(page, "<tbody>\n<tr class=winner><td>1 b</td><td class=best>30.0 ms</td>");
    text_has(page, "<tr><td>a</td><td class=left colspan=13>stopped after 2 of 2 requests"
                   "</td></tr>\n</tbody></table>");
    text_has(page, "<tbody>\n<tr><td>1 b</td><td>-</td><td>-</td><td>7</td>");
    text_has(page, "<td>10 stopped after 2 of 2 requests</td>");
    text_lacks(page, "<td>40.0 %</td><td>5.00 kB</td>");
    free(page);
}

/* All that share the best of a column are bold. */
static void a_tie_is_bold_twice(void **state)
{
    struct hand h;
    char *page;

    hand_make(&h);
    h.p[1].run.total.counts.hits = 75;
    page = shown_of(state, &h.r);
    text_has(page, "<td class=best>75.0 %</td><td class=best>19.9 ms</td>");
    text_has(page, "<td class=best>75.0 %</td><td>39.8 ms</td>");
    free(page);
}

/* NAME, CAPTION, NAME, CAPTION, ... NULL: the page has these figures and no other. */
static void assert_figures(void **state, const struct result *r,
                           const char *const *wanted)
{
    char *page = report_rig_page_of(*state, r);
    const char *at = strstr(page, "<h2>Figures</h2>\n");
    size_t length = strlen("<h2>Figures</h2>\n");

    assert_non_null(at);
    for (; *wanted != NULL; wanted += 2) {
        char *figure = mem_format(
            "<figure id=figure-%s>\n<p class=note>gnuplot is not installed, so "
            "this figure is not drawn; its data are in %s.csv.</p>\n"
            "<figcaption>%s</figcaption></figure>\n",
            wanted[0], wanted[0], wanted[1]);

        at += length;
        length = strlen(figure);
        if (strncmp(at, figure, length) != 0)
            print_error("not '%s'\nbut '%.300s'\n", figure, at);
        assert_int_equal(strncmp(at, figure, length), 0);
        free(figure);
    }
    assert_int_equal(strncmp(at + length, "<h2>What limits each</h2>", 25), 0);
    free(page);
}

#define SHARES                                                                           \
    "shares",                                                                            \
        "Every picosecond of a pass belongs to one share; the bars are means over "      \
        "all passes."
#define SPREAD "How the requests spread."

static void the_captions(void **state)
{
    static const char *const one[] = {
        SHARES,
        "latency",
        SPREAD,
        "first",
        SPREAD,
        "scatter",
        "Right is more hits, down is faster. Numbers are those of the table.",
        "layers",
        "Time that each MoE layer waited for weights, mean over all passes.",
        NULL};
    static const char *const several[] = {
        SHARES,
        "latency",
        SPREAD,
        "first",
        SPREAD,
        "front",
        "Left takes less memory, down is faster. Numbers are those of the table.",
        "bounds",
        "Bars: time per pass. Marks: with the rows spread evenly over the GPUs, all "
        "experts resident and nothing padded or moved; and over a network that takes no "
        "time.",
        "balance",
        "Rows of the busiest GPU over the mean, pass by pass; 1 is even.",
        "load",
        "Rows that each GPU's experts ran on in the whole run, over their mean.",
        NULL};
    struct hand h;

    hand_make(&h);
    assert_figures(state, &h.r, one);
    hand_make_parallel(&h);
    assert_figures(state, &h.r, several);
}

static void the_verdicts(void **state)
{
    struct hand h;
    char *page;

    hand_make(&h);
    page = shown_of(state, &h.r);
    text_has(page,
             "<h2>What limits each</h2>\n"
             "<div class=card><h3>1 a <span class=chip>policy failure</span></h3>\n"
             "<div>A better policy exists at this capacity: Belady's choices, fetched "
             "on demand, would take 66.7 % of the time.</div><div><b>What would "
             "help:</b> A cache policy nearer to Belady's gains up to 30.0 ms per "
             "pass; prefetching that hides its loads as well, up to 30.0 ms. The "
             "cache holds 0 B of 60.0 GB of experts (0.0 %). 9.00 GB of GPU memory is "
             "still free: a larger cache is the first thing to try.</div></div>\n"
             "<details><summary>All others</summary>\n<div class=card><h3>2 b <span "
             "class=chip>working-set failure</span>"
             "</h3>\n"
             "<div>Even Belady misses so much that it stalls: 16.7 % of the time goes "
             "to loads that no replacement avoids at this capacity, though the link "
             "could carry them in time.</div><div><b>What would help:</b> Loads must "
             "start earlier: prefetching with good look-ahead gains up to 30.0 ms per "
             "pass; so does a larger cache. The cache holds 0 B of 60.0 GB of experts "
             "(0.0 %). 9.00 GB of GPU memory is still free: a larger cache is the "
             "first thing to try. In this result a takes 50.0 % of its time.</div>"
             "</div>\n</details>\n"
             "<p class=sub>Thresholds: the verdict is the greatest of three parts");
    text_lacks(page, "greater of two savings");
    text_lacks(strstr(page, "<p class=sub>Thresholds") + 1, "<p class=sub>Thresholds");
    free(page);
    h.p[0].run.counts_only = true;
    page = shown_of(state, &h.r);
    text_has(page,
             "<div class=card><h3>2 a <span class=chip>no verdict</span></h3>\n"
             "<div>Nothing was timed (engine: count): the result has hits and bytes "
             "only.</div></div>\n");
    free(page);
    hand_make_parallel(&h);
    page = shown_of(state, &h.r);
    text_has(page,
             "<div class=card><h3>1 a <span class=chip>imbalance-bound</span></h3>");
    text_has(page, "<div class=card><h3>2 b <span class=chip>network-bound</span></h3>");
    text_has(page, "<p class=sub>Thresholds: the verdict is the greater of two savings");
    assert_ptr_equal(strstr(page, "<p class=sub>Thresholds"),
                     strstr(page, "<p class=sub>Thresholds: the verdict is the greater"));
    text_lacks(page, "greatest of three parts");
    free(page);
    h.p[0].run.total.share[SHARE_COPY] = 100 * ms;
    page = shown_of(state, &h.r);
    text_has(page, "<h3>1 a <span class=chip>fetch-bound</span></h3>");
    free(page);
}

static void where_it_comes_from(void **state)
{
    static char path[] = "r.h5", markov[] = "markov distance=2",
                lossy[] = "reconstruction";
    struct hand h;
    char *page;

    hand_make(&h);
    page = shown_of(state, &h.r);
    text_has(
        page,
        "<h2>Configuration and provenance</h2>\n"
        "<div class=\"card scroll\"><table class=facts><tbody>\n"
        "<tr><th>trace</th><td>t.h5</td></tr>\n"
        "<tr><th>source of the trace</th><td>drawn</td></tr>\n"
        "<tr><th>model</th><td>m</td></tr>\n"
        "<tr><th>shape of the trace</th><td>2 MoE layers, 8 experts, top 2</td>"
        "</tr>\n"
        "<tr><th>memory</th><td>experts 60.0 GB, everything else 7.00 GB, KV "
        "cache at its peak 4.00 GB; GPU memory 20.0 GB</td></tr>\n"
        "<tr><th>machine</th><td>gpu</td></tr>\n"
        "<tr><th>source of the machine</th><td>sheet</td></tr>\n"
        "<tr><th>seed</th><td>7</td></tr>\n"
        "<tr><th>program</th><td>moesim 0</td></tr>\n"
        "</tbody></table></div>\n"
        "<div class=\"card scroll\"><table><thead><tr><th>policy</th><th "
        "class=left>plug-ins</th><th class=left>variant</th><th class=left>"
        "lossless</th><th>passes</th><th>digest</th></tr></thead><tbody>\n"
        "<tr><td>a</td><td class=wrap><b>cache</b> lru slots=4; </td><td "
        "class=left>standard</td><td class=left>yes</td><td>10 </td><td><code>"
        "0000000000000abc</code></td></tr>\n"
        "<tr><td>b</td><td class=wrap><b>cache</b> lru slots=4; </td><td "
        "class=left>standard</td><td class=left>yes</td><td>10 </td><td><code>"
        "0000000000000def</code></td></tr>\n"
        "</tbody></table></div>\n"
        "<details><summary>Configuration as run</summary><pre>c: 1\n"
        "</pre></details>\n"
        "<details><summary>Table and pairwise comparison</summary><pre>m on gpu; trace "
        "t.h5; seed 7\n\n");
    text_has(page,
             "</pre></details>\n<details><summary>Explanation in full: layers, link, "
             "regret</summary><pre>m on gpu; trace t.h5\n\na\n  cache: lru slots=4\n");
    text_has(page, "launch and host time on.\n</pre></details>\n</main>\n<script>\n// "
                   "Tables of class");
    free(page);
    h.r.path = path;
    h.p[0].description[SLOT_PREFETCH] = markov;
    h.p[0].lossless = false;
    h.p[0].variant = lossy;
    h.p[0].run.passes = 1234567;
    page = shown_of(state, &h.r);
    text_has(page, "<tbody>\n<tr><th>result</th><td>r.h5</td></tr>\n"
                   "<tr><th>trace</th><td>t.h5</td></tr>\n");
    text_has(page,
             "<tr><td>a</td><td class=wrap><b>cache</b> lru slots=4; <b>prefetch</b> "
             "markov distance=2; </td><td class=left>reconstruction</td>"
             "<td class=left>no</td><td>1 234 567 </td>"
             "<td><code>0000000000000abc</code></td></tr>\n");
    free(page);
}

/* Both sorts on one page have their tables; nothing stands twice. */
static void two_results(void **state)
{
    static struct hand one, four;
    const struct result *results[2] = {&four.r, &one.r};
    char *page, *shown;

    hand_make(&one);
    hand_make_parallel(&four);
    one.request[0][0].last_token -= 20 * ms; /* 8 and 20 ms: the first of all */
    page = report_rig_page(*state, results, 2, 1);
    shown = report_rig_shown(page);
    text_has(shown, "<p class=sub>R1: m on 4 GPUs of gpu, 1 node; trace t.h5</p>\n"
                    "<p class=sub>R2: m on gpu; trace t.h5</p>\n");
    text_in_order(shown,
                  "<tr class=winner><td>1 R2: a</td><td class=best>14.0 ms</td>"
                  "<td>best</td>",
                  "<tr class=winner><td>2 R1: a</td><td class=best>15.0 ms</td><td>best"
                  "</td>");
    text_in_order(shown, "<th>over<br>the link</th>", "<th>gap to<br>even</th>");
    text_in_order(shown, "<h2>R1: configuration and provenance</h2>\n",
                  "<h2>R2: configuration and provenance</h2>\n");
    text_has(shown, "greatest of three parts");
    text_has(shown, "greater of two savings");
    text_lacks(shown, "policies are shown");
    free(shown);
    free(page);
}

int main(void)
{
#define PAGE(test)                                                                       \
    cmocka_unit_test_setup_teardown(test, report_rig_set_up, report_rig_tear_down)
    const struct CMUnitTest tests[] = {
        PAGE(the_table_of_one_gpu),
        PAGE(the_tables_of_several_gpus),
        PAGE(what_cells_are_sorted_by),
        PAGE(what_only_some_have),
        PAGE(a_tie_is_bold_twice),
        PAGE(the_captions),
        PAGE(the_verdicts),
        PAGE(where_it_comes_from),
        PAGE(two_results),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
