/* The data of the report's figures, and what becomes of gnuplot's drawings: another
 * gnuplot stands in for it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "hand_result.h"
#include "made_result.h"
#include "sim/base/mem.h"
#include "sim/report/report.h"
#include "sim/report/report_plot.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const sim_time ms = 1000 * SIM_TIME_PER_US;

struct world {
    char *folder, *path;
    struct hand h;
    struct report_entry entry[HAND_POLICIES];
};

static int set_up(void **state)
{
    struct world *w = mem_zalloc(1, sizeof *w);
    const char *path = getenv("PATH");

    w->folder = made_folder();
    w->path = mem_strdup(path == NULL ? "" : path);
    hand_make(&w->h);
    for (uint32_t i = 0; i < HAND_POLICIES; i++)
        w->entry[i] = (struct report_entry){&w->h.r, i, w->h.p[i].label};
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

/* A program called gnuplot that does this: it is called with -d -c SCRIPT FOLDER DATA
 * DRAWING SERIES. */
static void stand_in(const struct world *w, const char *does)
{
    char *path = mem_format("%s/gnuplot", w->folder), *search;
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_true(fprintf(f, "#!/bin/sh\n%s\n", does) > 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, 0700), 0);
    search = mem_format("%s:/usr/bin:/bin", w->folder);
    assert_int_equal(setenv("PATH", search, 1), 0);
    free(search);
    free(path);
}

static char *read_of(const struct world *w, const char *name)
{
    char *path = mem_format("%s/%s", w->folder, name), *text;
    size_t size;

    text = made_read(path, &size);
    free(path);
    return text;
}

static void assert_file(const struct world *w, const char *name, const char *wanted)
{
    char *text = read_of(w, name);

    assert_string_equal(text, wanted);
    free(text);
}

static void assert_data(struct world *w, enum report_figure figure,
                        enum report_drawn wanted, const char *data)
{
    enum report_drawn drawn = DRAWN;
    struct err e = {.text = ""};
    char *name = mem_format("%s.csv", report_figure_name(figure));

    assert_int_equal(
        report_plot(figure, w->entry, HAND_POLICIES, w->folder, "plots", &drawn, &e), 0);
    assert_int_equal(drawn, wanted);
    assert_file(w, name, data);
    free(name);
}

static char *data_of(struct world *w, enum report_figure figure)
{
    enum report_drawn drawn;
    struct err e = {.text = ""};
    char *name = mem_format("%s.csv", report_figure_name(figure)), *text;

    assert_int_equal(
        report_plot(figure, w->entry, HAND_POLICIES, w->folder, "plots", &drawn, &e), 0);
    text = read_of(w, name);
    free(name);
    return text;
}

/* ---- data ---- */

static void times_and_hits(void **state)
{
    static char label[] = "b,\"c\\d";
    struct world *w = *state;

    w->entry[1].label = label;
    assert_data(w, FIGURE_SHARES, NOT_DRAWN_NO_GNUPLOT,
                "policy,dense compute (ms),expert compute (ms),experts on the host (ms),"
                "exposed copy (ms),exposed communication (ms),imbalance wait (ms),launch "
                "and host (ms)\n"
                "a,20,40,0,30,0,0,0\n"
                "b  c d,50,100,0,30,0,0,0\n");
    w->entry[1].label = "a label of 33 columns, that is cut";
    assert_data(w, FIGURE_LAYERS, NOT_DRAWN_NO_GNUPLOT,
                "decoder layer,a,a label of 33 columns  that is..\n3,10,\n5,20,\n3,,10\n"
                "5,,20\n");
    w->entry[1].label = "";
    w->h.p[1].run.passes = 0; /* of the whole, then */
    assert_data(w, FIGURE_LAYERS, NOT_DRAWN_NO_GNUPLOT,
                "decoder layer,a,-\n3,10,\n5,20,\n3,,100\n5,,200\n");
    w->h.p[1].run.passes = 1;
    assert_data(w, FIGURE_LAYERS, NOT_DRAWN_NO_GNUPLOT,
                "decoder layer,a,-\n3,10,\n5,20,\n3,,100\n5,,200\n");
    for (int i = 0; i < HAND_POLICIES; i++)
        for (int q = 0; q < HAND_REQUESTS; q++)
            w->h.request[i][q].last_token = w->h.request[i][q].first_token + 320 * ms;
    assert_data(w, FIGURE_SCATTER, NOT_DRAWN_NO_GNUPLOT,
                "hit rate (%),a,-\n75,32,\n90,,32\n");
    /* Without a time per token, or without hits, there is no mark. */
    for (int q = 0; q < HAND_REQUESTS; q++)
        w->h.request[0][q].output_tokens = 1;
    assert_data(w, FIGURE_SCATTER, NOT_DRAWN_NO_GNUPLOT, "hit rate (%),a,-\n90,,32\n");
    w->h.p[1].run.total.counts.accesses = 0;
    assert_data(w, FIGURE_SCATTER, NOT_DRAWN_NO_DATA, "hit rate (%),a,-\n");
}

static void several_gpus(void **state)
{
    struct world *w = *state;

    hand_make_parallel(&w->h);
    assert_data(w, FIGURE_BOUNDS, NOT_DRAWN_NO_GNUPLOT,
                "policy,this run (ms),rows spread evenly (ms),network that takes no time "
                "(ms)\na,90,72,75\nb,180,144,120\n");
    w->h.p[0].bounds.present = false;
    assert_data(w, FIGURE_BOUNDS, NOT_DRAWN_NO_GNUPLOT,
                "policy,this run (ms),rows spread evenly (ms),network that takes no time "
                "(ms)\na,90,,\nb,180,144,120\n");
    w->h.p[1].bounds.present = false;
    assert_data(w, FIGURE_BOUNDS, NOT_DRAWN_NO_DATA,
                "policy,this run (ms),rows spread evenly (ms),network that takes no time "
                "(ms)\na,90,,\nb,180,,\n");
    assert_data(w, FIGURE_LOAD, NOT_DRAWN_NO_GNUPLOT,
                "GPU,a,b\n0,0.4,1\n1,0.8,1\n2,1.2,1\n3,1.6,1\n");
    w->h.p[1].run.gpus = 1; /* has one, which has all */
    w->h.layer[0][1].counts.computed_rows = 0;
    assert_data(w, FIGURE_LOAD, NOT_DRAWN_NO_GNUPLOT,
                "GPU,a,b\n0,0.4,1\n1,0.8,\n2,1.2,\n3,1.6,\n");
    assert_data(w, FIGURE_BALANCE, NOT_DRAWN_NO_GNUPLOT,
                "decoder layer,a,b\n3,1.4,\n3,,0.3\n5,,0.3\n");
    memset(w->h.gpu_rows, 0, sizeof w->h.gpu_rows);
    w->h.p[0].run.gpus = 2;
    w->h.gpu_rows[0][1] = 1;
    assert_data(w, FIGURE_LOAD, NOT_DRAWN_NO_GNUPLOT, "GPU,a,b\n0,0,\n1,2,\n");
    w->h.gpu_rows[0][1] = 0;
    assert_data(w, FIGURE_LOAD, NOT_DRAWN_NO_GNUPLOT, "GPU,a,b\n0,,\n1,,\n");
    w->h.p[0].run.gpus = w->h.p[1].run.gpus = 0;
    assert_data(w, FIGURE_LOAD, NOT_DRAWN_NO_DATA, "GPU,a,b\n");
    assert_data(w, FIGURE_BALANCE, NOT_DRAWN_NO_DATA, "decoder layer,a,b\n");
}

/* Up to 32 stand by number, more from the fullest on. */
static void many_gpus(void **state)
{
    struct world *w = *state;
    uint64_t rows[33];
    char *text;

    hand_make_parallel(&w->h);
    for (uint64_t g = 0; g < 33; g++)
        rows[g] = g;
    w->h.p[0].run.gpu_rows = w->h.p[1].run.gpu_rows = rows;
    w->h.p[1].run.gpus = 31;
    w->h.p[0].run.gpus = 32; /* 15.5 on average */
    text = data_of(w, FIGURE_LOAD);
    assert_int_equal(strncmp(text, "GPU,a,b\n0,0,0\n", 14), 0);
    assert_non_null(strstr(text, "\n31,2,\n"));
    free(text);
    w->h.p[0].run.gpus = 33; /* 16 */
    text = data_of(w, FIGURE_LOAD);
    assert_int_equal(strncmp(text, "GPUs from the fullest on,a,b\n0,2,2\n1,1.9375,", 43),
                     0);
    assert_non_null(strstr(text, "\n32,0,\n"));
    free(text);
}

/* Pass i begins at i seconds and takes i + 1 ms. */
static void spool(struct result_policy *p, int passes)
{
    p->run.passes = (uint64_t)passes;
    p->run.pass_spool = tmpfile();
    assert_non_null(p->run.pass_spool);
    for (int i = 0; i < passes; i++) {
        struct run_pass pass = {.start = i * SIM_TIME_PER_S, .latency = (i + 1) * ms};

        assert_int_equal(fwrite(&pass, sizeof pass, 1, p->run.pass_spool), 1);
    }
}

static void points_are_means_of_passes(void **state)
{
    struct world *w = *state;
    enum report_drawn drawn;
    struct err e = {.text = ""};
    char *text;

    spool(&w->h.p[0], 1);
    assert_data(w, FIGURE_PASSES, NOT_DRAWN_NO_GNUPLOT, "start (s),a,b\n0,1,\n");
    (void)fclose(w->h.p[0].run.pass_spool);
    w->h.p[0].run.pass_spool = NULL;
    spool(&w->h.p[1], 3);
    assert_data(w, FIGURE_PASSES, NOT_DRAWN_NO_GNUPLOT,
                "start (s),a,b\n0,,1\n1,,2\n2,,3\n");
    (void)fclose(w->h.p[1].run.pass_spool);
    /* 9000 in 200 points of 45, read in two blocks: the last stands for 8955 to 8999. */
    spool(&w->h.p[1], 9000);
    text = data_of(w, FIGURE_PASSES);
    assert_int_equal(strncmp(text, "start (s),a,b\n0,,23\n45,,68\n", 27), 0);
    assert_non_null(strstr(text, "\n8955,,8978\n"));
    free(text);
    /* 201 in 200: the last has two. */
    w->h.p[1].run.passes = 201;
    text = data_of(w, FIGURE_PASSES);
    assert_non_null(strstr(text, "\n198,,199\n199,,200.5\n"));
    free(text);
    w->h.p[1].run.passes = 9001; /* more than there are */
    assert_int_equal(report_plot(FIGURE_PASSES, w->entry, HAND_POLICIES, w->folder,
                                 "plots", &drawn, &e),
                     -1);
    assert_non_null(strstr(e.text, "pass records cannot be read back"));
    (void)fclose(w->h.p[1].run.pass_spool);
    w->h.p[1].run.pass_spool = NULL;
    assert_data(w, FIGURE_PASSES, NOT_DRAWN_NO_DATA, "start (s),a,b\n");
}

static void what_suits(void **state)
{
    /* Of one GPU, of several that miss nothing, and of those that do. */
    static const bool suits[REPORT_FIGURES][3] = {
        [FIGURE_SHARES] = {true, true, true},   [FIGURE_SCATTER] = {true, false, true},
        [FIGURE_LAYERS] = {true, false, true},  [FIGURE_BOUNDS] = {false, true, true},
        [FIGURE_BALANCE] = {false, true, true}, [FIGURE_LOAD] = {false, true, true},
        [FIGURE_PASSES] = {true, true, true},
    };
    static const bool untimed[REPORT_FIGURES] = {
        [FIGURE_BALANCE] = true, [FIGURE_LOAD] = true};
    struct world *w = *state;
    struct hand *h = &w->h;

    for (int i = 0; i < REPORT_FIGURES; i++) {
        enum report_figure figure = (enum report_figure)i;

        hand_make(h);
        assert_int_equal(report_figure_suits(figure, &h->r), suits[i][0]);
        h->p[0].run.counts_only = true;
        assert_false(report_figure_suits(figure, &h->r));
        hand_make_parallel(h);
        assert_int_equal(report_figure_suits(figure, &h->r), suits[i][1]);
        h->p[1].run.total.counts.hits--;
        assert_int_equal(report_figure_suits(figure, &h->r), suits[i][2]);
        h->p[0].run.counts_only = true;
        assert_int_equal(report_figure_suits(figure, &h->r), untimed[i]);
        assert_int_equal(report_figure_most(figure),
                         figure == FIGURE_SHARES || figure == FIGURE_BOUNDS ? 32 : 8);
    }
    hand_make_parallel(h);
    h->p[0].run.total.counts.hits--;
    assert_true(report_figure_suits(FIGURE_LAYERS, &h->r));
    h->p[1].bounds.present = false;
    assert_true(report_figure_suits(FIGURE_BOUNDS, &h->r));
    h->p[1].bounds.present = true;
    h->p[0].bounds.present = false;
    assert_true(report_figure_suits(FIGURE_BOUNDS, &h->r));
    h->p[1].bounds.present = false;
    assert_false(report_figure_suits(FIGURE_BOUNDS, &h->r));
    h->p[0].run.counts_only = true;
    h->r.policies = 1;
    assert_false(report_figure_suits(FIGURE_SHARES, &h->r));
    h->r.policies = 0;
    assert_true(report_figure_suits(FIGURE_SHARES, &h->r));
}

/* ---- drawings ---- */

static char *inlined(const struct world *w, enum report_figure figure, int wanted,
                     struct err *e)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    assert_non_null(out);
    assert_int_equal(report_plot_inline(figure, w->folder, out, e), wanted);
    assert_int_equal(fclose(out), 0);
    return text;
}

/* Its arguments, and what it draws: ids are made the figure's, in tags only. */
static void a_drawing(void **state)
{
    struct world *w = *state;
    struct err e = {.text = ""};
    char *text, *arguments;

    stand_in(w, "echo \"$1 $2 ${3##*/} $4 ${5##*/} $7\" >\"${6%/*}/said\"\n"
                "echo \"<?xml?><svg id='x'><title>Gnuplot</title><a id=\\\"y\\\"/>"
                "<a href='#x'/><a href=\\\"#y\\\" fill='url(#z)' mask=\\\"url('#z')\\\"/>"
                "id='no' <title>own</title></svg>\" >\"$6\"");
    assert_data(w, FIGURE_LAYERS, DRAWN,
                "decoder layer,a,b\n3,10,\n5,20,\n3,,10\n5,,20\n");
    arguments = read_of(w, "said");
    assert_string_equal(arguments, "-d -c layers.gp ./plots layers.csv 2\n");
    free(arguments);
    text = inlined(w, FIGURE_LAYERS, 0, &e);
    assert_string_equal(text,
                        "<svg id='layers-x'><a id=\"layers-y\"/><a href='#layers-x'/>"
                        "<a href=\"#layers-y\" fill='url(#layers-z)' "
                        "mask=\"url('#layers-z')\"/>id='no' <title>own</title></svg>\n");
    free(text);
}

static void a_drawing_that_is_cut_short(void **state)
{
    struct world *w = *state;
    const struct result *results[1] = {&w->h.r};
    struct err e = {.text = ""};
    char *text;

    stand_in(w, "echo '<svg>' >\"$6\"");
    assert_data(w, FIGURE_LAYERS, DRAWN,
                "decoder layer,a,b\n3,10,\n5,20,\n3,,10\n5,,20\n");
    text = inlined(w, FIGURE_LAYERS, -1, &e);
    assert_string_equal(text, "");
    assert_non_null(strstr(e.text, "layers.svg: gnuplot did not write it to its end; is "
                                   "the disk full?"));
    free(text);
    /* No page is left of it. */
    e.text[0] = '\0';
    assert_int_equal(report_write(results, 1, w->folder, "plots", &e), -1);
    assert_non_null(strstr(e.text, "shares.svg: gnuplot did not write it to its end"));
    text = mem_format("%s/report.html", w->folder);
    assert_int_not_equal(access(text, F_OK), 0);
    free(text);
}

/* One that fails leaves no drawing, and the page says so. */
static void a_drawing_that_fails(void **state)
{
    struct world *w = *state;
    const struct result *results[1] = {&w->h.r};
    struct err e = {.text = ""};
    char *text;

    stand_in(w, "echo '<svg></svg>' >\"$6\"\nexit 3");
    assert_data(w, FIGURE_LAYERS, NOT_DRAWN_FAILED,
                "decoder layer,a,b\n3,10,\n5,20,\n3,,10\n5,,20\n");
    text = mem_format("%s/layers.svg", w->folder);
    assert_int_not_equal(access(text, F_OK), 0);
    free(text);
    assert_int_equal(report_write(results, 1, w->folder, "plots", &e), 1);
    text = read_of(w, "report.html");
    assert_non_null(strstr(text, "<p class=note>gnuplot could not draw this figure; its "
                                 "data are in shares.csv.</p>\n"));
    free(text);
    /* All drawn: nothing is missing but passes, which were not kept. */
    stand_in(w, "echo '<svg></svg>' >\"$6\"");
    assert_int_equal(report_write(results, 1, w->folder, "plots", &e), 0);
    text = read_of(w, "report.html");
    assert_non_null(strstr(text, "<figure>\n<svg></svg>\n<figcaption>Each mark"));
    free(text);
}

/* Where data or drawing cannot be written. */
static void files_in_the_way(void **state)
{
    struct world *w = *state;
    char *data = mem_format("%s/layers.csv", w->folder);
    char *drawing = mem_format("%s/layers.svg", w->folder);
    enum report_drawn drawn;
    struct err e = {.text = ""};

    stand_in(w, "echo '<svg></svg>' >\"$6\"");
    assert_int_equal(mkdir(drawing, 0700), 0);
    assert_int_equal(report_plot(FIGURE_LAYERS, w->entry, HAND_POLICIES, w->folder,
                                 "plots", &drawn, &e),
                     -1);
    assert_non_null(strstr(e.text, "layers.svg"));
    assert_int_equal(rmdir(drawing), 0);
    assert_int_equal(unlink(data), 0);
    assert_int_equal(mkdir(data, 0700), 0);
    e.text[0] = '\0';
    assert_int_equal(report_plot(FIGURE_LAYERS, w->entry, HAND_POLICIES, w->folder,
                                 "plots", &drawn, &e),
                     -1);
    assert_non_null(strstr(e.text, "layers.csv"));
    assert_int_equal(rmdir(data), 0);
    free(data);
    free(drawing);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(times_and_hits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(several_gpus, set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_gpus, set_up, tear_down),
        cmocka_unit_test_setup_teardown(points_are_means_of_passes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_suits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_drawing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_drawing_that_is_cut_short, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_drawing_that_fails, set_up, tear_down),
        cmocka_unit_test_setup_teardown(files_in_the_way, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
