/* The page of a sweep, by hand. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "made_result.h"
#include "sim/base/mem.h"
#include "sim/base/rng.h"
#include "sweep_rig.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the answer ---- */

/* Over slots 4, 8, 16: 10, 18, 20 with arc, 8, 9, 10 with lru.
 *   winner   20 with arc and 16 slots; the next has 18, 10 % less
 *   cache    medians of 18 and 9: 50 % less
 *   slots    medians of 9, 13.5 and 15: 40 % less from 16 to 4
 *   knee     of 10, 18, 20: 8 is 1/3 of the way and 4/5 of the height */
static void enter_grid(struct sweep_rig *s)
{
    sweep_rig_enter_tokens(s, "lru,4,", 8);
    sweep_rig_enter_tokens(s, "lru,8,", 9);
    sweep_rig_enter_tokens(s, "lru,16,", 10);
    sweep_rig_enter_tokens(s, "arc,16,", 20);
    sweep_rig_enter_tokens(s, "arc,4,", 10);
    sweep_rig_enter_tokens(s, "arc,8,", 18);
}

static void the_answer(void **state)
{
    struct sweep_rig s;
    char *page;

    sweep_rig_begin(&s, state, "sweep.cache.name,sweep.cache.slots,");
    enter_grid(&s);
    page = sweep_rig_finish(&s);
    text_has(
        page,
        "<section class=\"card answer\">\n"
        "<h1>arc, slots 16 wins: 20.0 tokens per s</h1>\n"
        "<p><b class=tag>Winner</b> point 3, policy p: 50.0 ms per output token "
        "(median; 99 %: 100 ms), GPU memory 5.00 GB. Next, 10.0 % less: arc, slots "
        "8.</p>\n"
        "<p><b class=tag>Reason</b> What decides most is cache.name: from arc to lru "
        "the median point loses 50.0 %. Then cache.slots: from 16 to 4 the median "
        "point loses 40.0 %.</p>\n"
        "<p><b class=tag>Knee</b> cache.slots at 8 (best 18.0 tokens per s): more "
        "brings less from there on.</p>\n"
        "<p><b class=tag>Front</b> No point has less time per output token at 99 % "
        "than the winner. No point has less GPU memory than the winner.</p>\n");
    text_has(page, "<p class=sub>6 rows of policies in points; cache.name (2 values), "
                   "cache.slots (3 values)</p>");
    text_has(page,
             "<tr class=winner><td>1 arc, slots 16</td><td>20.0</td><td>50.0 ms</td>"
             "<td>50.0 %</td><td>5.00 GB</td><td>100 ms</td><td>250 ms</td><td>1.00 "
             "GB</td><td>3</td></tr>\n<tr><td>2 arc, slots 8</td><td>18.0</td>");
    /* 10 tokens per second twice: the first point first. */
    text_in_order(page, "<td>3 lru, slots 16</td>", "<td>4 arc, slots 4</td>");
    text_in_order(page, "<td>4 arc, slots 4</td>", "<td>5 lru, slots 8</td>");
    text_has(page, "<summary>The study</summary><pre>sweep: &lt;b&gt;\n</pre>");
    text_lacks(page, "Failed: ");
    free(page);
    report_rig_data(*state, "effects.csv", "key,loss\ncache.name,50\ncache.slots,40\n");
    report_rig_data(*state, "axis-1.csv",
                    "x,arc,lru,knee\n4,10,8,\n8,18,9,18\n16,20,10,\n");
    report_rig_data(*state, "values-1.csv",
                    "value,5 %,25 %,50 %,75 %,95 %,99 %\n"
                    "arc,10.8,14,18,19,19.8,19.96\nlru,8.1,8.5,9,9.5,9.9,9.98\n");
    report_rig_data(
        *state, "map.csv",
        "panel,x,y,panel,x,y,winner,name,lead\n"
        "-,4,-,0,0,0,1,arc,25\n-,8,-,0,1,0,1,arc,100\n-,16,-,0,2,0,1,arc,100\n");
}

/* A bound has the most tokens, and wins nothing. */
static void a_bound_never_wins(void **state)
{
    struct sweep_line line = sweep_rig_line_of("4,", 90);
    struct sweep_rig s;
    char *page;

    sweep_rig_begin(&s, state, "sweep.cache.slots,");
    sweep_rig_enter_tokens(&s, "4,", 30);
    line.cache = "belady slots=4";
    line.label = "q";
    s.lines--;
    sweep_rig_enter(&s, line); /* in the second row of the table, of the same point */
    sweep_rig_enter_tokens(&s, "8,", 25);
    page = sweep_rig_finish(&s);
    text_has(page, "<h1>p, slots 4 wins: 30.0 tokens per s</h1>");
    text_has(page,
             "</tbody><tbody class=bounds>\n<tr class=group><td colspan=9><span>Bounds: "
             "they know what comes</span></td></tr>\n<tr><td>q, slots 4</td><td>90.0"
             "</td>");
    assert_int_equal(text_counts(page, "<tr class=winner>"), 1);
    text_has(page, "<tr class=winner><td>1 p, slots 4</td>");
    free(page);
    report_rig_data(*state, "axis-1.csv", "x,the best point\n4,30\n8,25\n");
}

static void what_failed_is_said(void **state)
{
    struct sweep_line line = sweep_rig_line_of("4,", 1);
    struct sweep_rig s;
    char *page;

    sweep_rig_begin(&s, state, "sweep.cache.slots,");
    sweep_rig_enter_tokens(&s, "8,", 30);
    line.outcome = "failed";
    line.why = "\"slots <4>, too few\"";
    sweep_rig_enter(&s, line);
    line.outcome = "missing";
    sweep_rig_enter(&s, line);
    sweep_rig_enter(&s, line);
    sweep_rig_end(&s);
    page = sweep_rig_page_of(&s, 0); /* one value is no axis: no figure is missing */
    text_has(page, "<p class=note>Failed: 1; missing or stopped: 2. The first "
                   "failure: slots &lt;4&gt;, too few</p>");
    text_has(page,
             "<p class=sub>1 rows of policies in points; cache.slots (1 values)</p>");
    text_lacks(page, "<b class=tag>Reason</b>");
    free(page);
}

/* Where nothing was timed hits count, in %. */
static void hits_alone(void **state)
{
    struct sweep_line line = sweep_rig_line_of("4,", 1);
    struct sweep_rig s;
    char *page;

    sweep_rig_begin(&s, state, "sweep.cache.slots,");
    line.tokens = line.tpot = line.tail = -1;
    line.hits = 0.25;
    sweep_rig_enter(&s, line);
    line.keys = "8,";
    line.hits = 0.75;
    sweep_rig_enter(&s, line);
    page = sweep_rig_finish(&s);
    text_has(page,
             "<h1>slots 8 wins: 75.0 % hits</h1>\n<p><b class=tag>Winner</b> point 1, "
             "policy p. Next, 66.7 % less: slots 4.</p>");
    text_lacks(page, "Times are predicted");
    assert_false(report_rig_has(*state, "front.csv"));
    free(page);
    report_rig_data(*state, "axis-1.csv", "x,the best point\n4,25\n8,75\n");
}

/* ---- odd sweeps ---- */

/* Without any key there is no axis, and a page all the same. */
static void one_point(void **state)
{
    struct sweep_rig s;
    char *page;

    sweep_rig_begin(&s, state, "");
    sweep_rig_enter_tokens(&s, "", 30);
    sweep_rig_end(&s);
    page = sweep_rig_page_of(&s, 0);
    text_has(page, "<h1>p wins: 30.0 tokens per s</h1>");
    text_lacks(page, "<figure");
    free(page);
}

/* Points at random share no cells: there is no map; many values are put in bins. */
static void points_at_random(void **state)
{
    struct sweep_rig s;
    static const char *const caches[] = {"arc", "lru", "sieve"};
    struct rng g = rng_stream(7, "random", 0);
    char *page, *data;

    sweep_rig_begin(&s, state, "sweep.cache.name,sweep.a,sweep.b,");
    for (int i = 0; i < 60; i++) {
        char *keys = mem_format("%s,%d.5,%d,", caches[i % 3], i, (i * 37 + 11) % 101);

        sweep_rig_enter_tokens(&s, keys, 10 + rng_unit(&g));
        free(keys);
    }
    page = sweep_rig_finish(&s);
    text_lacks(page, "figure-map");
    text_has(page, "<figure id=figure-axis-1>");
    text_has(page, "How the points at each value spread, of many values in each of "
                   "twelve equal parts of "
                   "them.");
    free(page);
    data = report_rig_read(*state, "axis-1.csv");
    assert_int_equal(text_counts(data, "\n"), 13);
    free(data);
}

/* The best 200 are on the page. */
static void many_points(void **state)
{
    struct sweep_rig s;
    char *page;

    sweep_rig_begin(&s, state, "sweep.seed,");
    for (int i = 0; i < 205; i++) {
        char *keys = mem_format("%d,", i);

        sweep_rig_enter_tokens(&s, keys, 100 + i);
        free(keys);
    }
    page = sweep_rig_finish(&s);
    text_has(page, "<p class=sub>The best 200 of 205; sweep.csv has all.</p>");
    text_has(page, "<td>200 seed 5</td>");
    text_lacks(page, "<td>201 seed 4</td>");
    free(page);
}

static void labels_are_text(void **state)
{
    struct sweep_line line = sweep_rig_line_of("<i>4</i>,", 5);
    struct sweep_rig s;
    char *page, *data;

    sweep_rig_begin(&s, state, "sweep.<script>,");
    sweep_rig_enter_tokens(&s, "<i>8</i>,", 30);
    line.label = "<script>alert(1)</script>";
    sweep_rig_enter(&s, line);
    page = sweep_rig_finish(&s);
    assert_int_equal(text_counts(page, "<script>"), 1); /* the page's own */
    text_lacks(page, "<i>");
    text_has(page, "&lt;script&gt;alert(1)&lt;/script&gt;, &lt;i&gt;4&lt;/i&gt;");
    free(page);
    data = report_rig_read(*state, "values-1.csv");
    text_has(data, "\n<i>4</i>,5,");
    free(data);
}

/* ---- refused ---- */

/* A policy's drop is swept: the line of lynx has its three values, and what does not hang
 * on it stands once. The batch, which no policy is made of, divides lines. */
static void what_is_lost_for_speed(void **state)
{
    static const char *const keys[] = {"0.1,8,", "0.25,8,", "0.5,8,", "0.1,16,"};
    struct sweep_line lynx = sweep_rig_line_of("", 50), plain = sweep_rig_line_of("", 25);
    struct sweep_rig s;

    sweep_rig_begin(&s, state, "sweep.policies.0.select.drop,sweep.workload.batch,");
    plain.label = "plain";
    for (unsigned i = 0; i < 4; i++) {
        char *select = mem_format("lynx drop=%.*s", (int)strcspn(keys[i], ","), keys[i]);

        lynx.keys = plain.keys = keys[i];
        lynx.select = select;
        lynx.lost = 0.0625 * (i + 1);
        lynx.top1 = 0.5;
        lynx.tpot = 0.032 - 0.008 * i;
        sweep_rig_enter(&s, lynx);
        s.lines--;
        sweep_rig_enter(&s, plain);
        free(select);
    }
    free(sweep_rig_finish(&s));
    report_rig_data(*state, "quality.csv",
                    "policy,group,select,text,side,side narrow,gate mass lost,best lost,"
                    "time,front\n"
                    "plain  batch 16,-1,no select,plain  batch 16,1,1,0,0,40,1\n\n"
                    "plain  batch 8,-1,no select,plain  batch 8,0,0,0,0,40,1\n\n"
                    "p  batch 16,1,lynx: drop,p  batch 16,2,2,25,50,8,1\n\n"
                    "p  batch 8,1,lynx: drop,0.1,1,1,6.25,50,32,1\n"
                    "p  batch 8,1,lynx: drop,0.25,1,1,12.5,50,24,1\n"
                    "p  batch 8,1,lynx: drop,0.5,1,1,18.75,50,16,1\n");
    made_folder_remove(mem_strdup(((struct report_rig *)*state)->folder));
    sweep_rig_begin(&s, state, "sweep.cache.slots,");
    sweep_rig_enter_tokens(&s, "4,", 30);
    sweep_rig_enter_tokens(&s, "8,", 40);
    free(sweep_rig_finish(&s));
    assert_false(report_rig_has(*state, "quality.csv")); /* nothing is lost */
}

static void assert_refused(const struct sweep_rig *s, const char *words)
{
    struct err e;

    assert_int_equal(sweep_rig_write_page(s, &e), -1);
    text_has(e.text, words);
    assert_false(report_rig_has(s->g, "report.html"));
}

static void refused(void **state)
{
    struct sweep_rig s;
    struct sweep_line line = sweep_rig_line_of("4,", 1);
    char *path;

    sweep_rig_begin(&s, state, "sweep.slots,");
    line.outcome = "failed";
    line.why = "no room";
    sweep_rig_enter(&s, line);
    sweep_rig_end(&s);
    assert_refused(&s,
                   "sweep.csv: no point has a figure to rank by; its column 'why' says "
                   "what failed");
    sweep_rig_clear(&s);
    sweep_rig_begin(&s, state, "sweep.slots,");
    line = sweep_rig_line_of("4,", 1);
    line.cache = "belady";
    sweep_rig_enter(&s, line); /* nothing but bounds */
    sweep_rig_end(&s);
    assert_refused(&s, "sweep.csv: no point has a figure to rank by");
    sweep_rig_clear(&s);
    sweep_rig_begin(&s, state, "sweep.slots,");
    sweep_rig_enter_tokens(&s, "4,", 3);
    sweep_rig_end(&s);
    path = sweep_rig_file_of(&s, "points/ab/abcd.h5");
    assert_int_equal(unlink(path), 0);
    assert_refused(&s, path);
    free(path);
    sweep_rig_clear(&s);
    sweep_rig_begin(&s, state, "sweep.slots,");
    sweep_rig_enter_tokens(&s, "4,", 3);
    sweep_rig_end(&s);
    path = sweep_rig_file_of(&s, "study.yaml");
    assert_int_equal(unlink(path), 0);
    assert_refused(&s, path);
    free(path);
    path = sweep_rig_file_of(&s, "sweep.csv");
    assert_int_equal(unlink(path), 0);
    assert_refused(&s, "finish the sweep, or gather it with moesim sweep collect");
    free(path);
    sweep_rig_clear(&s);
}

int main(void)
{
#define SWEEP(test)                                                                      \
    cmocka_unit_test_setup_teardown(test, report_rig_set_up, report_rig_tear_down)
    const struct CMUnitTest tests[] = {
        SWEEP(the_answer),
        SWEEP(a_bound_never_wins),
        SWEEP(what_failed_is_said),
        SWEEP(hits_alone),
        SWEEP(one_point),
        SWEEP(points_at_random),
        SWEEP(many_points),
        SWEEP(labels_are_text),
        SWEEP(refused),
        SWEEP(what_is_lost_for_speed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
