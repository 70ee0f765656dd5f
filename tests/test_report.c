#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "made_result.h"
#include "report_rig.h"
#include "sim/base/mem.h"
#include "sim/report/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct made_shape shape = {
    .policies = 3, .layers = 4, .requests = 9, .passes = 500, .seed = 41};

/* Shares, times to tokens and first tokens, hits, prefetches, layers, passes. */
enum { FIGURES_OF_ONE = 7 };

static const char awkward[] = "<script>alert(\"1\")</script> & 'x', \\ \x01\xff";

static bool gnuplot_is_there(void)
{
    return system("gnuplot --version >/dev/null 2>&1") == 0;
}

static struct result awkward_result(void)
{
    struct result r = made_result(&shape);

    free(r.policy[1].label);
    r.policy[1].label = mem_strdup(awkward);
    free(r.config);
    r.config = mem_format("%s\n", awkward);
    free(r.notes);
    r.notes = mem_format("first note\n\n%s", awkward);
    return r;
}

/* The page of one or two results, with gnuplot where it is there; 1: it is not. */
static char *report_of(void **state, const struct result *r, size_t count)
{
    const struct result *results[2] = {r, r};

    report_rig_real(*state);
    return report_rig_page(*state, results, count, gnuplot_is_there() ? 0 : 1);
}

/* An independent reader: tags balance, ids are unique and references have one, the only
 * script is the page's own, nothing comes from outside, and labels are text. */
static void another_reader_agrees(void **state)
{
    static const char program[] =
        "import sys\n"
        "from html.parser import HTMLParser\n"
        "VOID = {'meta', 'br', 'link'}\n"
        "class P(HTMLParser):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.open, self.ids, self.refs, self.text, self.scripts = [], [], [], "
        "[], []\n"
        "    def handle_starttag(self, tag, attributes):\n"
        "        assert tag not in ('iframe', 'img', 'object', 'embed', 'base'), tag\n"
        "        assert tag != 'script' or attributes == [], attributes\n"
        "        if tag == 'link': assert dict(attributes) == {'rel': 'icon', 'href': "
        "'data:,'}\n"
        "        for name, value in attributes:\n"
        "            assert not name.startswith('on'), name\n"
        "            if name == 'id': self.ids.append(value)\n"
        "            if name in ('href', 'xlink:href', 'src') and tag != 'link':\n"
        "                assert value.startswith('#'), value\n"
        "                self.refs.append(value[1:])\n"
        "            for part in (value or '').split('url(')[1:]:\n"
        "                assert part.startswith(('#', \"'#\")), part\n"
        "                "
        "self.refs.append(part.strip(\"'#\").split(')')[0].strip(\"'\"))\n"
        "        if tag not in VOID: self.open.append(tag)\n"
        "    def handle_startendtag(self, tag, attributes):\n"
        "        self.handle_starttag(tag, attributes)\n"
        "        if tag not in VOID: self.open.pop()\n"
        "    def handle_endtag(self, tag):\n"
        "        assert self.open.pop() == tag, tag\n"
        "    def handle_data(self, data):\n"
        "        (self.scripts if self.open[-1:] == ['script'] else "
        "self.text).append(data)\n"
        "p = P()\n"
        "p.feed(open(sys.argv[1], encoding='utf-8').read())\n"
        "p.close()\n"
        "assert not p.open, p.open\n"
        "assert len(set(p.ids)) == len(p.ids)\n"
        "assert set(p.refs) <= set(p.ids), set(p.refs) - set(p.ids)\n"
        "assert ''.join(p.scripts).strip() == open('plots/report.js').read().strip()\n"
        "text = ''.join(p.text)\n"
        "assert text.count('<script>alert(\"1\")</script> & ') >= 5\n";
    struct report_rig *g = *state;
    char *script = mem_format("%s/check.py", g->folder);
    char *command =
        mem_format("/usr/bin/python3 '%s' '%s/report.html'", script, g->folder);
    struct result r = awkward_result();
    FILE *f = fopen(script, "w");
    char *page = report_of(state, &r, 1);

    assert_non_null(f);
    assert_true(fputs(program, f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(system(command), 0);
    assert_int_equal(text_counts(page, "<script"), 1);
    text_has(page, "policy failure");
    assert_int_equal(text_counts(page, "<figure"), FIGURES_OF_ONE);
    assert_int_equal(text_counts(page, "<svg"),
                     gnuplot_is_there() ? 2 * FIGURES_OF_ONE : 0);
    assert_int_equal(text_counts(page, "<p class=note>"),
                     gnuplot_is_there() ? 0 : FIGURES_OF_ONE);
    free(page);
    free(command);
    free(script);
    result_release(&r);
}

/* A label that would end its field, its line or its quotes is one field in all the data.
 */
static void labels_are_one_field(void **state)
{
    static const char *const figure[] = {"shares",   "latency", "first", "scatter",
                                         "prefetch", "layers",  "passes"};
    struct result r = awkward_result();

    free(report_rig_page_of(*state, &r));
    for (size_t i = 0; i < sizeof figure / sizeof *figure; i++) {
        char *name = mem_format("%s.csv", figure[i]);
        char *data = report_rig_read(*state, name), *line = data;
        size_t columns = 0, at = 0;

        text_has(data, "<script>alert( 1 )</script>");
        assert_null(strchr(data, '\\'));
        for (; *line != '\0'; line += strcspn(line, "\n") + 1, at = 0) {
            size_t length = strcspn(line, "\n");

            /* No field has a comma, in quotes or out of them. */
            for (size_t k = 0; k < length; k++)
                at += line[k] == ',';
            columns = columns == 0 ? at : columns;
            assert_int_equal(at, columns);
        }
        free(data);
        free(name);
    }
    result_release(&r);
}

static void equal_results_give_equal_pages(void **state)
{
    struct result r = awkward_result();
    char *a = report_of(state, &r, 2), *b = report_of(state, &r, 2);

    assert_string_equal(a, b);
    text_has(a, "R2: lru");
    free(a);
    free(b);
    result_release(&r);
}

static void without_gnuplot_the_page_says_so(void **state)
{
    struct result r = awkward_result();
    char *page = report_rig_page_of(*state, &r);

    assert_int_equal(text_counts(page, "gnuplot is not installed"), FIGURES_OF_ONE);
    text_lacks(page, "<svg");
    free(page);
    result_release(&r);
}

/* A folder whose name gnuplot would run as a command, were it given as it is. */
static void no_name_is_a_command(void **state)
{
    struct report_rig *g = *state;
    struct result r = awkward_result();
    const struct result *results[1] = {&r};
    char *here = getcwd(NULL, 0), *plots = mem_format("%s/plots", here), *folder;
    const struct report_request request = {
        .results = results,
        .count = 1,
        .place = {"|touch pwned; '`touch pwned`", plots, false}};
    struct err e = {.text = ""};

    report_rig_real(g);
    assert_int_equal(chdir(g->folder), 0);
    if (report_write(&request, &e) < 0)
        fail_msg("%s", e.text);
    assert_int_not_equal(access("pwned", F_OK), 0);
    assert_int_equal(access("|touch pwned; '`touch pwned`/report.html", F_OK), 0);
    folder = mem_format("%s/%s", g->folder, request.place.folder);
    assert_int_equal(chdir(here), 0);
    made_folder_remove(folder);
    free(plots);
    free(here);
    result_release(&r);
}

/* Figures of balance, and of hits where something is missed. */
static void several_gpus_have_their_own(void **state)
{
    static const char *const those[] = {"shares", "latency", "first",    "scatter",
                                        "front",  "bounds",  "prefetch", "layers",
                                        "load",   "balance", "passes"};
    enum { THOSE = sizeof those / sizeof *those };
    struct made_shape spread = shape;
    struct result r;
    char *page;

    spread.gpus = 6;
    r = made_result(&spread);
    page = report_of(state, &r, 1);
    for (int i = 0; i < THOSE; i++) {
        char *figure = mem_format("<figure id=figure-%s>", those[i]);

        text_has(page, figure);
        free(figure);
    }
    assert_int_equal(text_counts(page, "<figure"), THOSE);
    assert_int_equal(text_counts(page, "<svg"), gnuplot_is_there() ? 2 * THOSE : 0);
    text_has(page, "on 6 GPUs of rtx4090-pcie4, 2 nodes");
    text_has(page, "<th>gap to<br>no net</th>");
    text_has(page, "<th>migra-<br>tions</th>");
    text_lacks(page, "over<br>the link");
    free(page);
    for (uint32_t i = 0; i < r.policies; i++)
        r.policy[i].run.total.counts.hits = r.policy[i].run.total.counts.accesses;
    page = report_of(state, &r, 1);
    assert_int_equal(text_counts(page, "<figure"), THOSE - 2);
    text_lacks(page, "figure-scatter");
    text_lacks(page, "figure-layers");
    text_lacks(page, "<th>hit<br>rate</th>");
    free(page);
    result_release(&r);
}

static void both_sorts_on_one_page(void **state)
{
    struct made_shape spread = {
        .policies = 2, .layers = 3, .requests = 4, .passes = 9, .seed = 3, .gpus = 130};
    struct result one = awkward_result(), several = made_result(&spread);
    const struct result *results[2] = {&several, &one};
    char *page, *data;

    report_rig_real(*state);
    page = report_rig_page(*state, results, 2, gnuplot_is_there() ? 0 : 1);
    text_lacks(page, "gnuplot could not draw");
    text_has(page, "over<br>the link");
    text_has(page, "gap to<br>even");
    assert_int_equal(text_counts(page, "<p class=sub>Thresholds"), 2);
    /* Of many GPUs the fullest come first; only several GPUs have loads. */
    data = report_rig_read(*state, "load.csv");
    assert_int_equal(strncmp(data, "policy,0,3,6,", 13), 0);
    assert_int_equal(text_counts(data, "\n"), 3);
    text_lacks(data, "R2");
    free(data);
    free(page);
    result_release(&one);
    result_release(&several);
}

static void without_requests_or_passes(void **state)
{
    struct made_shape small = {.policies = 1, .layers = 1, .requests = 0, .seed = 1};
    struct result r = made_result(&small);
    char *page = report_of(state, &r, 1);

    text_lacks(page, "figure-passes");
    text_lacks(page, "figure-latency");
    text_has(page, "figure-shares");
    free(page);
    result_release(&r);
}

static void failures_are_told(void **state)
{
    struct report_rig *g = *state;
    struct result r = awkward_result();
    const struct result *results[1] = {&r};
    char *inside = mem_format("%s/file/report", g->folder);
    char *file = mem_format("%s/file", g->folder);
    struct report_request request = {
        .results = results, .count = 1, .place = {.folder = inside, .plots = "plots"}};
    struct err e = {.text = ""};
    FILE *f = fopen(file, "w");

    assert_non_null(f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(report_write(&request, &e), -1);
    text_has(e.text, "exists and is no folder");
    e.text[0] = '\0';
    request.place.folder = g->folder;
    request.place.plots = "no/such/folder";
    assert_int_equal(report_write(&request, &e), -1);
    text_has(e.text, "no/such/folder/report.css");
    assert_false(report_rig_has(g, "report.html"));
    free(inside);
    free(file);
    result_release(&r);
}

int main(void)
{
#define REPORT(test)                                                                     \
    cmocka_unit_test_setup_teardown(test, report_rig_set_up, report_rig_tear_down)
    const struct CMUnitTest tests[] = {
        REPORT(another_reader_agrees),
        REPORT(labels_are_one_field),
        REPORT(equal_results_give_equal_pages),
        REPORT(without_gnuplot_the_page_says_so),
        REPORT(no_name_is_a_command),
        REPORT(several_gpus_have_their_own),
        REPORT(both_sorts_on_one_page),
        REPORT(without_requests_or_passes),
        REPORT(failures_are_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
