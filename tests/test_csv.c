/* Reading CSV: each cell and what stands behind it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "sim/base/csv.h"
#include "sim/base/json.h"
#include "sim/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static FILE *file_of(const char *text, size_t size)
{
    FILE *f = tmpfile();

    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, size, f), size);
    rewind(f);
    return f;
}

/* Cells in brackets, each with what stood behind it, the end of the text as "$". Owned.
 */
static char *cells_of(const char *text)
{
    struct csv_reader r = {.in = file_of(text, strlen(text))};
    char *all = mem_strdup("");

    while (csv_read(&r)) {
        char *longer =
            mem_format("%s[%s]%c", all, r.cell, r.behind == EOF ? '$' : r.behind);

        free(all);
        all = longer;
    }
    assert_false(csv_read(&r));
    assert_int_equal(fclose(r.in), 0);
    csv_release(&r);
    return all;
}

static void assert_cells(const char *text, const char *wanted)
{
    char *cells = cells_of(text);

    assert_string_equal(cells, wanted);
    free(cells);
}

static void plain_cells(void **state)
{
    (void)state;
    assert_cells("", "");
    assert_cells("a", "[a]$");
    assert_cells("a,b\n", "[a],[b]\n");
    assert_cells("a,b\nc", "[a],[b]\n[c]$");
    assert_cells("\n\n", "[]\n[]\n");
    assert_cells(",\n", "[],[]\n");
    assert_cells(" a , b\n", "[ a ],[ b]\n");
    assert_cells("a\"b,c\n", "[a\"b],[c]\n");
}

static void quoted_cells(void **state)
{
    (void)state;
    assert_cells("\"a,b\",c\n", "[a,b],[c]\n");
    assert_cells("\"a\nb\"\n", "[a\nb]\n");
    assert_cells("\"say \"\"a\"\"\",\"\"\"\"\n", "[say \"a\"],[\"]\n");
    assert_cells("\"\",\"\"\n\"\"", "[],[]\n[]$");
    assert_cells("\"a\"", "[a]$");
}

/* Lines of spreadsheets end in two characters; one alone belongs to its cell. */
static void line_ends(void **state)
{
    (void)state;
    assert_cells("a,b\r\nc\r\n", "[a],[b]\n[c]\n");
    assert_cells("\"a\",\"b\"\r\n\r\n", "[a],[b]\n[]\n");
    assert_cells("a\rb,c\r,d\n", "[a\rb],[c\r],[d]\n");
    assert_cells("\"a\r\n\"\r\n", "[a\r\n]\n");
}

/* What is no CSV shows in what stands behind the cell. */
static void damaged(void **state)
{
    (void)state;
    assert_cells("a,\"b,c\nd", "[a],[b,c\nd]\"");
    assert_cells("\"", "[]\"");
    assert_cells("\"\"\"", "[\"]\"");
    assert_cells("\"a\"b,c\n", "[a]b[],[c]\n");
}

/* Of any length: the room grows. */
static void long_cells(void **state)
{
    enum { LENGTH = 100003 };
    char *text = mem_alloc(LENGTH + 3, 1);
    struct csv_reader r;

    (void)state;
    memset(text, 'x', LENGTH);
    memcpy(text + LENGTH, ",y\n", 3);
    r = (struct csv_reader){.in = file_of(text, LENGTH + 3)};
    assert_true(csv_read(&r));
    assert_int_equal(strlen(r.cell), LENGTH);
    assert_int_equal(strspn(r.cell, "x"), LENGTH);
    assert_true(csv_read(&r));
    assert_string_equal(r.cell, "y");
    assert_int_equal(fclose(r.in), 0);
    csv_release(&r);
    assert_null(r.cell);
    free(text);
}

/* What csv_string() writes comes back, formulas too. */
static void what_was_written(void **state)
{
    static const char *const text[] = {
        "",       "a",     "a,b",           "say \"a\"", "=1+1",  "-x",
        "@SUM()", "+a,\"", "two\nlines, =", "-2.385",    "\"=\"", "caf\xc3\xa9",
    };
    enum { TEXTS = sizeof text / sizeof *text };
    struct csv_reader r = {.in = tmpfile()};

    (void)state;
    assert_non_null(r.in);
    for (int i = 0; i < TEXTS; i++) {
        csv_string(r.in, text[i]);
        (void)fputc(i % 3 == 2 ? '\n' : ',', r.in);
    }
    rewind(r.in);
    for (int i = 0; i < TEXTS; i++) {
        assert_true(csv_read(&r));
        assert_string_equal(csv_text(&r), text[i]);
        assert_int_equal(r.behind, i % 3 == 2 ? '\n' : ',');
    }
    assert_false(csv_read(&r));
    assert_int_equal(fclose(r.in), 0);
    csv_release(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_cells), cmocka_unit_test(quoted_cells),
        cmocka_unit_test(line_ends),   cmocka_unit_test(damaged),
        cmocka_unit_test(long_cells),  cmocka_unit_test(what_was_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
