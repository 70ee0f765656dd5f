/* A figure and its drawings: another gnuplot stands in for gnuplot. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "hand_result.h"
#include "made_result.h"
#include "report_rig.h"
#include "sim/base/mem.h"
#include "sim/report/plot.h"
#include "sim/report/report.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct plot bars = {.kind = "bars",
                                 .name = "one",
                                 .title = "A <title> & \"more\"",
                                 .x = "x (ms)",
                                 .y = "",
                                 .series = 3};

static char *label_of(const char *name)
{
    struct mem_stream m;

    mem_stream_open(&m);
    plot_label(m.out, name);
    return mem_stream_close(&m);
}

static void assert_label(const char *name, const char *wanted)
{
    char *label = label_of(name);

    assert_string_equal(label, wanted);
    free(label);
}

/* What gnuplot's reader of CSV takes for one field, and no spreadsheet for a formula. */
static void labels(void **state)
{
    (void)state;
    assert_label("lru", "lru");
    assert_label("a,b\"c\\d", "a b c d");
    assert_label("", "-");
    assert_label("=1+1", "'=1+1");
    assert_label("@x", "'@x");
    assert_label("two\nlines\x01", "two?lines?");
    assert_label("caf\xc3\xa9 \xf0\x9f\x9a\x80", "caf\xc3\xa9 \xf0\x9f\x9a\x80");
    assert_label("\xff", "?");
    assert_label("1234567890123456789012345678901234567890",
                 "1234567890123456789012345678901234567890");
    assert_label("12345678901234567890123456789012345678901",
                 "12345678901234567890123456789012345678..");
}

/* Draws `one` from a folder that has its data. */
static int draw(const struct report_rig *g, const struct plot *p, bool pdf,
                enum plot_drawn *drawn, struct err *e)
{
    char *path = mem_format("%s/%s.csv", g->folder, p->name);
    FILE *f = fopen(path, "w");
    int status;

    assert_non_null(f);
    assert_true(fputs("policy,a,b,c\nlru,1,2,3\n", f) >= 0);
    assert_int_equal(fclose(f), 0);
    e->text[0] = '\0';
    status = plot_draw(p, g->folder, "plots", pdf, drawn, e);
    free(path);
    return status;
}

static void assert_drawn(const struct report_rig *g, bool pdf, enum plot_drawn wanted)
{
    enum plot_drawn drawn = NOT_DRAWN_NO_DATA;
    struct err e = {.text = ""};

    assert_int_equal(draw(g, &bars, pdf, &drawn, &e), 0);
    assert_int_equal(drawn, wanted);
}

static void its_arguments(void **state)
{
    struct report_rig *g = *state;
    struct plot logarithmic = bars;
    enum plot_drawn drawn;
    struct err e = {.text = ""};
    char *said;

    report_rig_stand_in(g,
                        "n=$#\necho \"$1 $2 ${3#./} ${4#./} ${5##*/} $7 $8 [$9] [${10}] "
                        "[${11}] [${12}] $n\" >>\"${6%/*}/said\"\necho drawn >\"$6\"");
    assert_drawn(g, true, DRAWN);
    said = report_rig_read(g, "said");
    assert_string_equal(said, "-d -c plots/figure.gp plots/bars.gp one.csv svg 900 "
                              "[A <title> & \"more\"] [x (ms)] [] [3] 12\n"
                              "-d -c plots/figure.gp plots/bars.gp one.csv svg 360 "
                              "[A <title> & \"more\"] [x (ms)] [] [3] 12\n"
                              "-d -c plots/figure.gp plots/bars.gp one.csv pdf 900 "
                              "[A <title> & \"more\"] [x (ms)] [] [3] 12\n");
    free(said);
    assert_true(report_rig_has(g, "one.svg"));
    assert_true(report_rig_has(g, "one-narrow.svg"));
    assert_true(report_rig_has(g, "one.pdf"));
    made_folder_remove(mem_strdup(g->folder));
    assert_int_equal(mkdir(g->folder, 0700), 0);
    report_rig_stand_in(g, "echo \"${12}\" >\"$6\"");
    logarithmic.log = true;
    assert_int_equal(draw(g, &logarithmic, false, &drawn, &e), 0);
    said = report_rig_read(g, "one-narrow.svg");
    assert_string_equal(said, "3 log\n");
    free(said);
    assert_false(report_rig_has(g, "one.pdf"));
}

static void when_it_is_missing_or_fails(void **state)
{
    struct report_rig *g = *state;
    const struct result *results[1];
    struct hand h;
    char *page;

    assert_drawn(g, true, NOT_DRAWN_NO_GNUPLOT);
    report_rig_stand_in(g, "echo '<svg></svg>' >\"$6\"\nexit 3");
    assert_drawn(g, false, NOT_DRAWN_FAILED);
    assert_false(report_rig_has(g, "one.svg"));
    /* The second drawing alone. */
    report_rig_stand_in(g, "echo '<svg></svg>' >\"$6\"\n[ $8 = 900 ]");
    assert_drawn(g, false, NOT_DRAWN_FAILED);
    assert_false(report_rig_has(g, "one-narrow.svg"));
    hand_make(&h);
    results[0] = &h.r;
    page = report_rig_page(g, results, 1, 1);
    text_has(page, "<p class=note>gnuplot could not draw this figure; its data are in "
                   "shares.csv.</p>\n");
    free(page);
    report_rig_stand_in(g, "echo '<svg></svg>' >\"$6\"");
    page = report_rig_page(g, results, 1, 0);
    text_lacks(page, "gnuplot could not");
    text_has(page,
             "<figure id=figure-shares>\n<svg class=wide role=img aria-label=\"Where "
             "the time of a pass goes\"></svg>\n<svg class=narrow role=img "
             "aria-label=\"Where the time of a pass goes\"></svg>\n<figcaption>");
    free(page);
}

static char *inlined(const struct report_rig *g, int wanted, struct err *e)
{
    struct mem_stream m;

    mem_stream_open(&m);
    assert_int_equal(plot_inline(&bars, g->folder, m.out, e), wanted);
    return mem_stream_close(&m);
}

/* Ids are made the figure's and the drawing's, inside of tags only; gnuplot's own title
 * is left out, and the figure's is what a reader of the screen hears. */
static void into_a_page(void **state)
{
    struct report_rig *g = *state;
    struct err e = {.text = ""};
    char *text;

    report_rig_stand_in(g,
                        "echo \"<?xml?><svg id='x'><title>Gnuplot</title><a id=\\\"y\\\""
                        "/><a href='#x'/><a href=\\\"#y\\\" fill='url(#z)' "
                        "mask=\\\"url('#z')\\\"/>id='no' <title>own</title></svg>\" "
                        ">\"$6\"");
    assert_drawn(g, false, DRAWN);
    text = inlined(g, 0, &e);
    assert_string_equal(
        text,
        "<svg class=wide role=img aria-label=\"A &lt;title&gt; &amp; &quot;more&quot;\" "
        "id='one-wide-x'><a id=\"one-wide-y\"/><a href='#one-wide-x'/><a "
        "href=\"#one-wide-y\" fill='url(#one-wide-z)' "
        "mask=\"url('#one-wide-z')\"/>id='no' "
        "<title>own</title></svg>\n"
        "<svg class=narrow role=img aria-label=\"A &lt;title&gt; &amp; "
        "&quot;more&quot;\" "
        "id='one-narrow-x'><a id=\"one-narrow-y\"/><a href='#one-narrow-x'/><a "
        "href=\"#one-narrow-y\" fill='url(#one-narrow-z)' "
        "mask=\"url('#one-narrow-z')\"/>id='no' <title>own</title></svg>\n");
    free(text);
}

static void a_drawing_that_is_cut_short(void **state)
{
    struct report_rig *g = *state;
    struct hand h;
    const struct result *results[1] = {&h.r};
    const struct report_request request = {
        .results = results, .count = 1, .place = {.folder = g->folder, .plots = "plots"}};
    struct err e = {.text = ""};
    char *text;

    report_rig_stand_in(g, "echo '<svg>' >\"$6\"");
    assert_drawn(g, false, DRAWN);
    text = inlined(g, -1, &e);
    assert_string_equal(text, "");
    free(text);
    text_has(e.text, "one.svg: gnuplot did not write it to its end; is the disk full?");
    /* No page is left of it. */
    hand_make(&h);
    e.text[0] = '\0';
    assert_int_equal(report_write(&request, &e), -1);
    text_has(e.text, "shares.svg: gnuplot did not write it to its end");
    assert_false(report_rig_has(g, "report.html"));
}

/* Where a drawing cannot be written, or a script is missing. */
static void files_in_the_way(void **state)
{
    struct report_rig *g = *state;
    char *drawing = mem_format("%s/one-narrow.svg", g->folder);
    struct plot unknown = bars;
    enum plot_drawn drawn;
    struct err e = {.text = ""};

    report_rig_stand_in(g, "echo '<svg></svg>' >\"$6\"");
    assert_int_equal(mkdir(drawing, 0700), 0);
    assert_int_equal(draw(g, &bars, false, &drawn, &e), -1);
    text_has(e.text, "one-narrow.svg");
    assert_int_equal(rmdir(drawing), 0);
    free(drawing);
    unknown.kind = "cubes";
    assert_int_equal(draw(g, &unknown, false, &drawn, &e), -1);
    text_has(e.text,
             "plots/cubes.gp: cannot be read: No such file or directory; give the "
             "folder of the plot scripts");
    e.text[0] = '\0';
    assert_int_equal(plot_draw(&bars, g->folder, "no/such/folder", false, &drawn, &e),
                     -1);
    text_has(e.text, "no/such/folder/figure.gp: cannot be read");
}

/* gnuplot itself draws every kind, of ordinary and of the least data. */
static void every_kind(void **state)
{
    static const struct {
        struct plot plot;
        const char *data;
    } figure[] = {
        {{.kind = "bars", .series = 2},
         "policy,dense compute,late\n1 a,1,2\n2 b,0.5,0\n"},
        {{.kind = "bars", .series = 1}, "policy,x\nlru,0\n"},
        {{.kind = "boxes", .series = 6},
         "p,5 %,25 %,50 %,75 %,95 %,99 %\na,1,2,3,4,5,6\n"},
        {{.kind = "boxes", .series = 6, .log = true},
         "p,5 %,25 %,50 %,75 %,95 %,99 %\na,1,2,3,4,5,600\nb,2,2,2,2,2,2\n"},
        {{.kind = "marks", .series = 3}, "p,this run,even,free\na,9,8,7\nb,9,,7\n"},
        {{.kind = "heat", .series = 3}, "p,0,1,2\na,1,2,3\nb,,2,\n"},
        {{.kind = "heat", .series = 1}, "p,0\na,0\n"},
        {{.kind = "points", .series = 4},
         "p,number,x,y,sort\na,1,1,2,1\nb,2,2,3,0\nc,b,3,1,2\n"},
        {{.kind = "trade", .series = 9},
         "p,g,s,t,a,b,mass,best,time,front\nlru,-1,no select,lru,1,0,0,0,30,1\n\n"
         "k,0,top-k: k,1,2,3,40,0,10,0\nlru,0,top-k: k,-,0,0,0,0,30,-1\n\n"
         "x,1,lynx: drop,0.1,3,4,5,2,25,1\ny,1,lynx: drop,0.5,4,2,9,8,12,1\n"},
        {{.kind = "trade", .series = 9},
         "p,g,s,t,a,b,mass,best,time,front\nlru,-1,no select,lru,1,1,0,0,30,1\n\n"
         "k,0,top-k,k,1,1,0,0,30,1\n"},
        {{.kind = "strips", .series = 2}, "s,a,b\n0,1,\n1,2,\n0,,3\n1,,400\n"},
        {{.kind = "strips", .series = 1}, "s,a\n0,1\n"},
        {{.kind = "lines", .series = 2}, "x,a,b\n4,15,30\n8,,60\n16,10,20\n"},
        {{.kind = "lines", .series = 3, .log = true}, "x,a,b,knee\n1,2,3,\n64,5,6,6\n"},
        {{.kind = "map", .series = 2},
         "panel,x,y,panel,x,y,winner,name,lead\nbatch 1,4,12,0,0,0,1,lru,3\n"
         "batch 1,8,12,0,1,0,3,tie,0\nbatch 2,4,24,1,0,1,2,arc,12\n"},
    };
    struct report_rig *g = *state;

    report_rig_real(g);
    if (system("gnuplot --version >/dev/null 2>&1") != 0)
        skip();
    for (size_t i = 0; i < sizeof figure / sizeof *figure; i++) {
        struct plot p = figure[i].plot;
        char *path = mem_format("%s/kind.csv", g->folder), *drawing;
        enum plot_drawn drawn = NOT_DRAWN_NO_DATA;
        struct err e = {.text = ""};
        FILE *f = fopen(path, "w");

        assert_non_null(f);
        assert_true(fputs(figure[i].data, f) >= 0);
        assert_int_equal(fclose(f), 0);
        p.name = "kind";
        p.title = "Title";
        p.x = "across";
        p.y = "up";
        assert_int_equal(plot_draw(&p, g->folder, "plots", true, &drawn, &e), 0);
        if (drawn != DRAWN)
            print_error("%s, number %zu, is not drawn\n", p.kind, i);
        assert_int_equal(drawn, DRAWN);
        drawing = report_rig_read(g, "kind-narrow.svg");
        text_has(drawing, "width=\"360\"");
        text_has(drawing, "Title");
        text_has(drawing, "<path ");
        free(drawing);
        free(path);
    }
}

int main(void)
{
#define PLOT(test)                                                                       \
    cmocka_unit_test_setup_teardown(test, report_rig_set_up, report_rig_tear_down)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labels),
        PLOT(its_arguments),
        PLOT(when_it_is_missing_or_fails),
        PLOT(into_a_page),
        PLOT(a_drawing_that_is_cut_short),
        PLOT(files_in_the_way),
        PLOT(every_kind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
