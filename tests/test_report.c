#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "made_result.h"
#include "sim/base/mem.h"
#include "sim/report/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct made_shape shape = {
    .policies = 3, .layers = 4, .requests = 9, .passes = 500, .seed = 41};

static const char awkward[] = "<script>alert(\"1\")</script> & 'x', \\ \x01\xff";

static int set_up(void **state)
{
    *state = made_folder();
    return 0;
}

static int tear_down(void **state)
{
    made_folder_remove(*state);
    return 0;
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

static char *report_of(const struct result *r, size_t count, const char *folder)
{
    const struct result *results[2] = {r, r};
    char *path = mem_format("%s/report.html", folder);
    struct err e = {.text = ""};
    size_t size;
    char *page;

    if (report_write(results, count, folder, "plots", &e) < 0) /* 1: no gnuplot */
        fail_msg("%s", e.text);
    page = made_read(path, &size);
    assert_int_equal(strlen(page), size);
    free(path);
    return page;
}

static size_t occurrences(const char *text, const char *what)
{
    size_t n = 0;

    while ((text = strstr(text, what)) != NULL) {
        text += strlen(what);
        n++;
    }
    return n;
}

static bool gnuplot_is_there(void)
{
    return system("gnuplot --version >/dev/null 2>&1") == 0;
}

/* An independent reader: tags balance, ids are unique, nothing is executable or comes
 * from outside, and the labels are text. */
static void another_reader_agrees(void **state)
{
    static const char program[] =
        "import sys\n"
        "from html.parser import HTMLParser\n"
        "VOID = {'meta', 'br'}\n"
        "class P(HTMLParser):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.open, self.ids, self.text = [], [], []\n"
        "    def handle_starttag(self, tag, attributes):\n"
        "        assert tag not in ('script', 'iframe', 'link', 'img', 'object'), tag\n"
        "        for name, value in attributes:\n"
        "            assert not name.startswith('on'), name\n"
        "            if name == 'id': self.ids.append(value)\n"
        "            if name in ('href', 'xlink:href', 'src'):\n"
        "                assert value.startswith('#'), value\n"
        "        if tag not in VOID: self.open.append(tag)\n"
        "    def handle_startendtag(self, tag, attributes):\n"
        "        self.handle_starttag(tag, attributes)\n"
        "        if tag not in VOID: self.open.pop()\n"
        "    def handle_endtag(self, tag):\n"
        "        assert self.open.pop() == tag, tag\n"
        "    def handle_data(self, data): self.text.append(data)\n"
        "p = P()\n"
        "p.feed(open(sys.argv[1], encoding='utf-8').read())\n"
        "p.close()\n"
        "assert not p.open, p.open\n"
        "assert len(set(p.ids)) == len(p.ids)\n"
        "text = ''.join(p.text)\n"
        "assert text.count('<script>alert(\"1\")</script> & ') >= 5\n";
    char *script = mem_format("%s/check.py", (char *)*state);
    char *command =
        mem_format("/usr/bin/python3 '%s' '%s/report.html'", script, (char *)*state);
    struct result r = awkward_result();
    FILE *f = fopen(script, "w");
    char *page = report_of(&r, 1, *state);

    assert_non_null(f);
    assert_true(fputs(program, f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(system(command), 0);
    assert_null(strstr(page, "<script"));
    assert_non_null(strstr(page, "policy failure"));
    assert_int_equal(occurrences(page, "<p class=note>"), gnuplot_is_there() ? 2 : 6);
    assert_int_equal(occurrences(page, "<figure"), 4);
    assert_int_equal(occurrences(page, "<svg"), gnuplot_is_there() ? 4 : 0);
    free(page);
    free(command);
    free(script);
    result_release(&r);
}

static void equal_results_give_equal_pages(void **state)
{
    struct result r = awkward_result();
    char *a = report_of(&r, 2, *state), *b = report_of(&r, 2, *state);

    assert_string_equal(a, b);
    assert_non_null(strstr(a, "R2: lru"));
    free(a);
    free(b);
    result_release(&r);
}

static void without_gnuplot_the_page_says_so(void **state)
{
    struct result r = awkward_result();
    char *path = mem_strdup(getenv("PATH"));
    char *page;

    assert_int_equal(setenv("PATH", "/nowhere", 1), 0);
    page = report_of(&r, 1, *state);
    assert_int_equal(setenv("PATH", path, 1), 0);
    assert_int_equal(occurrences(page, "gnuplot is not installed"), 4);
    assert_null(strstr(page, "<svg"));
    free(page);
    free(path);
    result_release(&r);
}

/* A folder whose name gnuplot would run as a command, were it given as it is. */
static void no_name_is_a_command(void **state)
{
    struct result r = awkward_result();
    char *here = getcwd(NULL, 0), *plots = mem_format("%s/plots", here);
    const struct result *results[1] = {&r};
    struct err e = {.text = ""};
    char *folder;

    assert_int_equal(chdir(*state), 0);
    if (report_write(results, 1, "|touch pwned; '`touch pwned`", plots, &e) < 0)
        fail_msg("%s", e.text);
    assert_int_not_equal(access("pwned", F_OK), 0);
    folder = mem_format("%s/|touch pwned; '`touch pwned`", (char *)*state);
    assert_int_equal(chdir(here), 0);
    made_folder_remove(folder);
    free(plots);
    free(here);
    result_release(&r);
}

/* Figures of balance instead of hits, where nothing is missed. */
static void several_gpus_have_their_own(void **state)
{
    struct made_shape spread = shape;
    struct result r;
    char *page;

    spread.gpus = 6;
    r = made_result(&spread);
    page = report_of(&r, 1, *state);
    /* Its policies miss: shares, scatter, layers, bounds, balance, load, passes. */
    assert_int_equal(occurrences(page, "<figure"), 7);
    assert_int_equal(occurrences(page, "<svg"), gnuplot_is_there() ? 7 : 0);
    assert_non_null(strstr(page, "on 6 GPUs of rtx4090-pcie4, 2 nodes"));
    assert_non_null(strstr(page, "<th>gap to<br>no net</th>"));
    assert_non_null(strstr(page, "<th>migra-<br>tions</th>"));
    assert_null(strstr(page, "over<br>the link"));
    free(page);
    for (uint32_t i = 0; i < r.policies; i++)
        r.policy[i].run.total.counts.hits = r.policy[i].run.total.counts.accesses;
    page = report_of(&r, 1, *state);
    assert_int_equal(occurrences(page, "<figure"), 5);
    assert_null(strstr(page, "Hit rate is not latency"));
    assert_null(strstr(page, "<th>hit<br>rate</th>"));
    free(page);
    result_release(&r);
}

static void both_sorts_on_one_page(void **state)
{
    struct made_shape spread = {
        .policies = 2, .layers = 3, .requests = 4, .passes = 9, .seed = 3, .gpus = 40};
    struct result one = awkward_result(), several = made_result(&spread);
    const struct result *results[2] = {&several, &one};
    char *path = mem_format("%s/report.html", (char *)*state);
    char *load = mem_format("%s/load.csv", (char *)*state);
    struct err e = {.text = ""};
    size_t size;
    char *page, *data;

    assert_int_equal(report_write(results, 2, *state, "plots", &e), 0);
    page = made_read(path, &size);
    assert_int_equal(occurrences(page, "<figure"), 7);
    assert_int_equal(occurrences(page, "gnuplot could not draw"), 0);
    assert_non_null(strstr(page, "over<br>the link"));
    assert_non_null(strstr(page, "gap to<br>even"));
    assert_int_equal(occurrences(page, "<p class=sub>Thresholds"), 2);
    /* Of many GPUs the fullest come first; only several GPUs have loads. */
    data = made_read(load, &size);
    assert_int_equal(strncmp(data, "GPUs from the fullest on,R1: lru,R1: lfu\n0,", 43),
                     0);
    assert_int_equal(occurrences(data, "\n"), 41);
    free(data);
    free(page);
    free(load);
    free(path);
    result_release(&one);
    result_release(&several);
}

static void without_passes_or_tokens(void **state)
{
    struct made_shape small = {.policies = 1, .layers = 1, .requests = 0, .seed = 1};
    struct result r = made_result(&small);
    char *page = report_of(&r, 1, *state);

    assert_non_null(strstr(page, "kept no pass records"));
    assert_non_null(strstr(page, "There is nothing to draw."));
    free(page);
    result_release(&r);
}

static void failures_are_told(void **state)
{
    struct result r = awkward_result();
    const struct result *results[1] = {&r};
    char *inside = mem_format("%s/file/report", (char *)*state);
    char *file = mem_format("%s/file", (char *)*state);
    struct err e = {.text = ""};
    FILE *f = fopen(file, "w");

    assert_non_null(f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(report_write(results, 1, inside, "plots", &e), -1);
    assert_non_null(strstr(e.text, "exists and is no folder"));
    e.text[0] = '\0';
    assert_int_equal(report_write(results, 1, *state, "no/such/folder", &e), -1);
    assert_non_null(strstr(e.text, "no/such/folder/shares.gp: cannot be read"));
    free(inside);
    free(file);
    result_release(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_reader_agrees),
        cmocka_unit_test(equal_results_give_equal_pages),
        cmocka_unit_test(without_gnuplot_the_page_says_so),
        cmocka_unit_test(no_name_is_a_command),
        cmocka_unit_test(several_gpus_have_their_own),
        cmocka_unit_test(both_sorts_on_one_page),
        cmocka_unit_test(without_passes_or_tokens),
        cmocka_unit_test(failures_are_told),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
