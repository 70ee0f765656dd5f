/* The report page's own words and tables, by hand: see hand_result.h. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "hand_result.h"
#include "made_result.h"
#include "sim/base/mem.h"
#include "sim/report/report.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const sim_time ms = 1000 * SIM_TIME_PER_US;

struct world {
    char *folder, *path;
};

/* gnuplot is not found: what it draws is not this page's. */
static int set_up(void **state)
{
    struct world *w = mem_zalloc(1, sizeof *w);
    const char *path = getenv("PATH");

    w->folder = made_folder();
    w->path = mem_strdup(path == NULL ? "" : path);
    *state = w;
    return setenv("PATH", "/nowhere", 1);
}

static int tear_down(void **state)
{
    struct world *w = *state;
    int status = setenv("PATH", w->path, 1);

    made_folder_remove(w->folder);
    free(w->path);
    free(w);
    return status;
}

static char *page_of(const struct world *w, const struct result *const *results,
                     size_t count)
{
    char *path = mem_format("%s/report.html", w->folder), *page;
    struct err e = {.text = ""};
    size_t size;

    assert_true(report_write(results, count, w->folder, "plots", &e) >= 0);
    page = made_read(path, &size);
    free(path);
    return page;
}

static char *page_of_one(const struct world *w, const struct result *r)
{
    const struct result *results[1] = {r};

    return page_of(w, results, 1);
}

static void has(const char *page, const char *part)
{
    if (strstr(page, part) == NULL)
        print_error("no '%s' in the page", part);
    assert_non_null(strstr(page, part));
}

static void lacks(const char *page, const char *part)
{
    assert_null(strstr(page, part));
}

static void the_table_of_one_gpu(void **state)
{
    struct hand h;
    char *page;

    hand_make(&h);
    page = page_of_one(*state, &h.r);
    has(page, "<h1>moesim report</h1>\n"
              "<p class=sub>m on gpu; trace t.h5</p>\n"
              "<h2>Policies</h2>\n"
              "<div class=\"card scroll\"><table><thead><tr><th>policy</th><th>TPOT<br>"
              "p50</th><th>TPOT<br>p99</th><th>TTFT<br>p50</th><th>TTFT<br>p99</th><th>"
              "tokens<br>per s</th><th>hit<br>rate</th><th>over<br>the link</th><th>"
              "GPU<br>busy</th><th>gap to<br>offline</th><th class=left>verdict</th>"
              "</tr></thead><tbody>\n"
              "<tr><td>a</td><td class=best>15.0 ms</td><td class=best>19.9 ms</td><td>"
              "150 ms</td><td>199 ms</td><td class=best>22.0</td><td>75.0 %</td><td "
              "class=best>8.00 MB</td><td>40.0 %</td><td>50.0 %</td><td class=left>"
              "<span class=\"chip v1\">policy failure</span></td></tr>\n"
              "<tr><td>b</td><td>30.0 ms</td><td>39.8 ms</td><td class=best>100 ms</td>"
              "<td class=best>149 ms</td><td>11.0</td><td class=best>90.0 %</td><td>"
              "9.00 MB</td><td>50.0 %</td><td>20.0 %</td><td class=left><span "
              "class=\"chip v2\">working-set failure</span></td></tr>\n"
              "</tbody></table></div>\n"
              "<p class=sub>TPOT: time per output token of a request; TTFT: time to "
              "its first token; gap: time of all passes above the bound that no policy "
              "beats at this capacity. The best of a column is bold.</p>\n");
    free(page);
}

static void the_tables_of_several_gpus(void **state)
{
    struct hand h;
    char *page;

    hand_make_parallel(&h);
    page = page_of_one(*state, &h.r);
    has(page, "<h2>Policies</h2>\n"
              "<div class=\"card scroll\"><table><thead><tr><th>policy</th><th>TPOT<br>"
              "p50</th><th>TPOT<br>p99</th><th>TTFT<br>p50</th><th>TTFT<br>p99</th><th>"
              "tokens<br>per s</th><th>GPU<br>busy</th><th>imbal-<br>ance</th><th>"
              "exposed<br>comm</th><th>between<br>GPUs</th><th>gap to<br>even</th><th>"
              "gap to<br>no net</th><th class=left>verdict</th></tr></thead><tbody>\n"
              "<tr><td>a</td><td class=best>15.0 ms</td><td class=best>19.9 ms</td><td>"
              "150 ms</td><td>199 ms</td><td class=best>22.0</td><td>40.0 %</td><td>"
              "1.600</td><td>10.0 %</td><td>3.00 MB</td><td>25.0 %</td><td>20.0 %</td>"
              "<td class=left><span class=\"chip v1\">imbalance-bound</span></td></tr>\n"
              "<tr><td>b</td><td>30.0 ms</td><td>39.8 ms</td><td class=best>100 ms</td>"
              "<td class=best>149 ms</td><td>11.0</td><td>50.0 %</td><td class=best>"
              "1.500</td><td class=best>5.0 %</td><td class=best>2.00 MB</td><td>25.0 "
              "%</td><td>50.0 %</td><td class=left><span class=\"chip v3\">"
              "network-bound</span></td></tr>\n"
              "</tbody></table></div>\n"
              "<p class=sub>TPOT: time per output token of a request; TTFT: time to "
              "its first token. GPU busy and exposed communication (comm) are means "
              "over the GPUs. Imbalance: rows of the busiest GPU over the mean, layer "
              "by layer and pass by pass; 1 is even. Gaps: time of all passes above "
              "that of the rows spread evenly, all experts resident and nothing padded "
              "or moved (even), and above that of a network that takes no time (no "
              "net). The best of a column is bold.</p>\n");
    free(page);
    h.p[1].run.total.counts.migrations = 7;
    h.p[1].run.total.counts.migrated_bytes = 123000000;
    h.p[1].run.migration_time = 4 * ms;
    h.p[0].run.total.counts.hits = 40;
    h.p[0].run.total.counts.demand_bytes = 5000;
    page = page_of_one(*state, &h.r);
    has(page, "</tbody></table></div>\n"
              "<div class=\"card scroll\"><table><thead><tr><th>policy</th>"
              "<th>hit<br>rate</th><th>from the<br>host</th><th>migra-<br>tions</th>"
              "<th>experts<br>moved</th><th>waited<br>for them</th></tr></thead><tbody>\n"
              "<tr><td>a</td><td>40.0 %</td><td>5.00 "
              "kB</td><td>-</td><td>-</td><td>-</td></tr>\n"
              "<tr><td>b</td><td>-</td><td>-</td><td>7</td><td>123 MB</td><td>4.00 "
              "ms</td></tr>\n"
              "</tbody></table></div>\n<p class=sub>TPOT");
    free(page);
    /* One that was stopped has no figures. */
    h.p[0].run.finished = false;
    page = page_of_one(*state, &h.r);
    has(page, "<tr><td>a (stopped)</td><td class=left colspan=12>stopped after 2 of 2 "
              "requests</td></tr>\n<tr><td>b</td><td class=best>30.0 ms</td>");
    has(page, "<tbody>\n<tr><td>b</td><td>-</td><td>-</td><td>7</td>");
    has(page, "<td>10 stopped after 2 of 2 requests</td>");
    lacks(page, "<td>40.0 %</td><td>5.00 kB</td>");
    free(page);
}

/* All that share the best of a column are bold. */
static void a_tie_is_bold_twice(void **state)
{
    struct hand h;
    char *page;

    hand_make(&h);
    h.p[1].run.total.counts.hits = 75;
    page = page_of_one(*state, &h.r);
    has(page, "<td class=best>75.0 %</td><td class=best>8.00 MB</td>");
    has(page, "<td class=best>75.0 %</td><td>9.00 MB</td>");
    free(page);
}

static void the_captions(void **state)
{
    struct hand h;
    char *page;

    hand_make(&h);
    page = page_of_one(*state, &h.r);
    has(page, "<h2>Figures</h2>\n"
              "<div class=figures>\n"
              "<figure class=wide>\n"
              "<p class=note>gnuplot is not installed, so this figure is not drawn; "
              "its data are in shares.csv.</p>\n"
              "<figcaption>Every picosecond of a pass belongs to one share; the bars "
              "are means over all passes.</figcaption></figure>\n"
              "<figure>\n"
              "<p class=note>gnuplot is not installed, so this figure is not drawn; "
              "its data are in scatter.csv.</p>\n"
              "<figcaption>Each mark is a policy. Right is more hits, down is "
              "faster.</figcaption></figure>\n"
              "<figure>\n"
              "<p class=note>gnuplot is not installed, so this figure is not drawn; "
              "its data are in layers.csv.</p>\n"
              "<figcaption>Time that each MoE layer waited for weights, mean over all "
              "passes.</figcaption></figure>\n"
              "<figure class=wide>\n"
              "<p class=note>The run kept no pass records, so there is no figure of "
              "them.</p>\n"
              "<figcaption>Each point is the mean of consecutive passes; at most 200 "
              "points per policy.</figcaption></figure>\n"
              "</div>\n");
    free(page);
    hand_make_parallel(&h);
    page = page_of_one(*state, &h.r);
    has(page, "<h2>Figures</h2>\n"
              "<div class=figures>\n"
              "<figure class=wide>\n"
              "<p class=note>gnuplot is not installed, so this figure is not drawn; "
              "its data are in shares.csv.</p>\n"
              "<figcaption>Every picosecond of a pass belongs to one share; the bars "
              "are means over all passes.</figcaption></figure>\n"
              "<figure class=wide>\n"
              "<p class=note>gnuplot is not installed, so this figure is not drawn; "
              "its data are in bounds.csv.</p>\n"
              "<figcaption>Bars: time per pass. Marks: with the rows spread evenly "
              "over the GPUs, all experts resident and nothing padded or moved; and "
              "over a network that takes no time.</figcaption></figure>\n"
              "<figure>\n"
              "<p class=note>gnuplot is not installed, so this figure is not drawn; "
              "its data are in balance.csv.</p>\n"
              "<figcaption>Rows of the busiest GPU over the mean, pass by pass; 1 is "
              "even.</figcaption></figure>\n"
              "<figure>\n"
              "<p class=note>gnuplot is not installed, so this figure is not drawn; "
              "its data are in load.csv.</p>\n"
              "<figcaption>Rows that each GPU's experts ran on in the whole run, over "
              "their mean.</figcaption></figure>\n"
              "<figure class=wide>\n"
              "<p class=note>The run kept no pass records, so there is no figure of "
              "them.</p>\n"
              "<figcaption>Each point is the mean of consecutive passes; at most 200 "
              "points per policy.</figcaption></figure>\n"
              "</div>\n");
    free(page);
}

static void the_verdicts(void **state)
{
    struct hand h;
    char *page;

    hand_make(&h);
    page = page_of_one(*state, &h.r);
    has(page, "<h2>Verdicts</h2>\n"
              "<div class=card><h3>a <span class=\"chip v1\">policy failure</span></h3>\n"
              "<div>A better policy exists at this capacity: Belady's choices, fetched "
              "on demand, would take 66.7 % of the time.</div><div><b>What would "
              "help:</b> A cache policy nearer to Belady's gains up to 30.0 ms per "
              "pass; prefetching that hides its loads as well, up to 30.0 ms. The "
              "cache holds 0 B of 60.0 GB of experts (0.0 %). 9.00 GB of GPU memory is "
              "still free: a larger cache is the first thing to try.</div></div>\n"
              "<div class=card><h3>b <span class=\"chip v2\">working-set failure</span>"
              "</h3>\n"
              "<div>Even Belady misses so much that it stalls: 16.7 % of the time goes "
              "to loads that no replacement avoids at this capacity, though the link "
              "could carry them in time.</div><div><b>What would help:</b> Loads must "
              "start earlier: prefetching with good look-ahead gains up to 30.0 ms per "
              "pass; so does a larger cache. The cache holds 0 B of 60.0 GB of experts "
              "(0.0 %). 9.00 GB of GPU memory is still free: a larger cache is the "
              "first thing to try. In this result a takes 50.0 % of its time.</div>"
              "</div>\n"
              "<p class=sub>Thresholds: the verdict is the greatest of three parts");
    lacks(page, "greater of two savings");
    lacks(strstr(page, "<p class=sub>Thresholds") + 1, "<p class=sub>Thresholds");
    free(page);
    h.p[0].run.counts_only = true;
    page = page_of_one(*state, &h.r);
    has(page, "<div class=card><h3>a <span class=\"chip v0\">no verdict</span></h3>\n"
              "<div>Nothing was timed (engine: count): the result has hits and bytes "
              "only.</div></div>\n");
    free(page);
    hand_make_parallel(&h);
    page = page_of_one(*state, &h.r);
    has(page,
        "<div class=card><h3>a <span class=\"chip v1\">imbalance-bound</span></h3>");
    has(page, "<div class=card><h3>b <span class=\"chip v3\">network-bound</span></h3>");
    has(page, "<p class=sub>Thresholds: the verdict is the greater of two savings");
    assert_ptr_equal(strstr(page, "<p class=sub>Thresholds"),
                     strstr(page, "<p class=sub>Thresholds: the verdict is the greater"));
    lacks(page, "greatest of three parts");
    free(page);
    h.p[0].run.total.share[SHARE_COPY] = 100 * ms;
    page = page_of_one(*state, &h.r);
    has(page, "<h3>a <span class=\"chip v2\">fetch-bound</span></h3>");
    free(page);
}

static void where_it_comes_from(void **state)
{
    static char path[] = "r.h5", markov[] = "markov distance=2",
                lossy[] = "reconstruction";
    struct hand h;
    char *page;

    hand_make(&h);
    page = page_of_one(*state, &h.r);
    has(page,
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
    has(page, "</pre></details>\n<details><summary>Explanation in full: layers, link, "
              "regret</summary><pre>m on gpu; trace t.h5\n\na\n  cache: lru slots=4\n");
    has(page, "launch and host time on.\n</pre></details>\n</main></body></html>\n");
    free(page);
    h.r.path = path;
    h.p[0].description[SLOT_PREFETCH] = markov;
    h.p[0].lossless = false;
    h.p[0].variant = lossy;
    h.p[0].run.passes = 1234567;
    page = page_of_one(*state, &h.r);
    has(page, "<tbody>\n<tr><th>result</th><td>r.h5</td></tr>\n"
              "<tr><th>trace</th><td>t.h5</td></tr>\n");
    has(page, "<tr><td>a</td><td class=wrap><b>cache</b> lru slots=4; <b>prefetch</b> "
              "markov distance=2; </td><td class=left>reconstruction</td>"
              "<td class=left>no</td><td>1 234 567 </td>"
              "<td><code>0000000000000abc</code></td></tr>\n");
    free(page);
}

/* Of several results each has its number; both sorts have their tables. */
static void two_results(void **state)
{
    static char notes[] = "one\n\ntwo";
    static struct hand one, four;
    const struct result *results[2] = {&one.r, &four.r};
    char *page;

    hand_make(&one);
    hand_make_parallel(&four);
    four.r.notes = notes;
    page = page_of(*state, results, 2);
    has(page, "<p class=sub>R1: m on gpu; trace t.h5</p>\n"
              "<p class=sub>R2: m on 4 GPUs of gpu, 1 node; trace t.h5</p>\n");
    has(page, "<tr><td>R1: a</td><td class=best>15.0 ms</td>");
    has(page, "<tr><td>R2: b</td><td>30.0 ms</td>");
    has(page, "<p class=note>R2: one</p>\n<p class=note>R2: two</p>\n<h2>Figures");
    has(page, "<h2>R1: configuration and provenance</h2>\n");
    has(page, "<h2>R2: configuration and provenance</h2>\n");
    has(page, "greatest of three parts");
    has(page, "greater of two savings");
    lacks(page, "policies are shown");
    free(page);
    page = page_of_one(*state, &four.r);
    has(page, "<p class=note>one</p>\n<p class=note>two</p>\n<h2>Figures");
    free(page);
}

/* Eight series have a colour, thirty-two bars room. */
static void many_policies(void **state)
{
    struct made_shape shape = {.policies = 33, .layers = 1, .requests = 2, .seed = 3};
    struct result r = made_result(&shape);
    char *page = page_of_one(*state, &r);

    has(page, "over all passes. The first 32 of 33 policies are shown.</figcaption>");
    has(page, "down is faster. The first 8 of 33 policies are shown.</figcaption>");
    free(page);
    r.policies = 8;
    page = page_of_one(*state, &r);
    lacks(page, "policies are shown");
    free(page);
    r.policies = 33;
    result_release(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_of_one_gpu),
        cmocka_unit_test(the_tables_of_several_gpus),
        cmocka_unit_test(a_tie_is_bold_twice),
        cmocka_unit_test(the_captions),
        cmocka_unit_test(the_verdicts),
        cmocka_unit_test(where_it_comes_from),
        cmocka_unit_test(two_results),
        cmocka_unit_test(many_policies),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
