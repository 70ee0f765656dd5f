#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "report_rig.h"

#include "made_result.h"
#include "sim/base/csv.h"
#include "sim/base/mem.h"
#include "sim/report/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int report_rig_set_up(void **state)
{
    struct report_rig *g = mem_zalloc(1, sizeof *g);
    const char *path = getenv("PATH");

    g->folder = made_folder();
    g->path = mem_strdup(path == NULL ? "" : path);
    *state = g;
    return setenv("PATH", "/nowhere", 1);
}

int report_rig_tear_down(void **state)
{
    struct report_rig *g = *state;
    int status = setenv("PATH", g->path, 1);

    made_folder_remove(g->folder);
    free(g->path);
    free(g);
    return status;
}

void report_rig_real(const struct report_rig *g)
{
    assert_int_equal(setenv("PATH", g->path, 1), 0);
}

void report_rig_stand_in(const struct report_rig *g, const char *does)
{
    char *path = mem_format("%s/gnuplot", g->folder);
    char *search = mem_format("%s:/usr/bin:/bin", g->folder);
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_true(fprintf(f, "#!/bin/sh\n%s\n", does) > 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, 0700), 0);
    assert_int_equal(setenv("PATH", search, 1), 0);
    free(search);
    free(path);
}

char *report_rig_read(const struct report_rig *g, const char *name)
{
    char *path = mem_format("%s/%s", g->folder, name), *text;
    size_t size;

    text = made_read(path, &size);
    assert_int_equal(strlen(text), size);
    free(path);
    return text;
}

static bool is_same(const char *a, const char *b)
{
    char *end_of_a, *end_of_b;
    double x = strtod(a, &end_of_a), y = strtod(b, &end_of_b);

    if (end_of_a == a || *end_of_a != '\0' || end_of_b == b || *end_of_b != '\0')
        return strcmp(a, b) == 0;
    return fabs(x - y) <= 1e-9 * fabs(y);
}

void report_rig_data(const struct report_rig *g, const char *name, const char *wanted)
{
    char *path = mem_format("%s/%s", g->folder, name);
    struct csv_reader is = {.in = fopen(path, "r")}, should = {.in = tmpfile()};
    bool more = true;
    int line = 1;

    assert_non_null(is.in);
    assert_non_null(should.in);
    assert_true(fputs(wanted, should.in) >= 0);
    rewind(should.in);
    while (more) {
        more = csv_read(&is);
        assert_int_equal(csv_read(&should), more);
        if (!more)
            break;
        if (!is_same(is.cell, should.cell) || is.behind != should.behind)
            print_error("%s:%d: '%s', not '%s'\n", name, line, is.cell, should.cell);
        assert_true(is_same(is.cell, should.cell));
        assert_int_equal(is.behind, should.behind);
        line += is.behind == '\n';
    }
    assert_int_equal(fclose(is.in), 0);
    assert_int_equal(fclose(should.in), 0);
    csv_release(&is);
    csv_release(&should);
    free(path);
}

char *report_rig_shown(const char *page)
{
    static const char value[] = " data-v=";
    char *shown = mem_strdup(page), *to = shown;

    while (*page != '\0') {
        if (strncmp(page, value, sizeof value - 1) == 0) {
            page += sizeof value - 1;
            page += *page == '"' ? 1 + strcspn(page + 1, "\"") + 1 : strcspn(page, " >");
        } else {
            *to++ = *page++;
        }
    }
    *to = '\0';
    return shown;
}

bool report_rig_has(const struct report_rig *g, const char *name)
{
    char *path = mem_format("%s/%s", g->folder, name);
    bool there = access(path, F_OK) == 0;

    free(path);
    return there;
}

char *report_rig_page(const struct report_rig *g, const struct result *const *results,
                      size_t count, int wanted)
{
    const struct report_request request = {
        .results = results,
        .count = count,
        .place = {.folder = g->folder, .plots = "plots"}};
    struct err e = {.text = ""};
    int status = report_write(&request, &e);

    if (status != wanted)
        print_error("%d: %s\n", status, e.text);
    assert_int_equal(status, wanted);
    return report_rig_read(g, "report.html");
}

char *report_rig_page_of(const struct report_rig *g, const struct result *r)
{
    return report_rig_page(g, &r, 1, 1);
}

void text_has(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        print_error("no '%s'\n", part);
    assert_non_null(strstr(text, part));
}

void text_lacks(const char *text, const char *part)
{
    if (strstr(text, part) != NULL)
        print_error("there is '%s'\n", part);
    assert_null(strstr(text, part));
}

size_t text_counts(const char *text, const char *part)
{
    size_t n = 0;

    while ((text = strstr(text, part)) != NULL) {
        text += strlen(part);
        n++;
    }
    return n;
}

void text_in_order(const char *text, const char *a, const char *b)
{
    text_has(text, a);
    text_has(text, b);
    if (strstr(text, a) >= strstr(text, b))
        print_error("'%s' is not before '%s'\n", a, b);
    assert_true(strstr(text, a) < strstr(text, b));
}
