/* Reading the table of a sweep: rows, levels, and what is refused. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "made_result.h"
#include "report_rig.h"
#include "sim/base/mem.h"
#include "sim/report/sweep_rows.h"
#include "sweep_table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct sweep_line good = {.point = 3,
                                       .identity = "abc",
                                       .keys = "8,24 GB/s,",
                                       .label = "p",
                                       .cache = "lru slots=8",
                                       .tokens = 51.5,
                                       .tpot = 0.02,
                                       .tail = 0.025,
                                       .memory = 5e9,
                                       .hits = 0.75};
static const char keys[] = "sweep.cache.slots,sweep.link,";

static char *path_in(void **state)
{
    struct report_rig *g = *state;

    return mem_format("%s/sweep.csv", g->folder);
}

static FILE *begin(void **state)
{
    char *path = path_in(state);
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    free(path);
    return f;
}

/* Closes the table and reads it. */
static int read_table(void **state, FILE *f, struct sweep_rows *t, struct err *e)
{
    char *path = path_in(state);
    int status;

    assert_int_equal(fclose(f), 0);
    e->text[0] = '\0';
    status = sweep_rows_read(path, t, e);
    free(path);
    return status;
}

static void read_good(void **state, FILE *f, struct sweep_rows *t)
{
    struct err e = {.text = ""};

    if (read_table(state, f, t, &e) != 0)
        fail_msg("%s", e.text);
}

/* Columns are found by their heads; those that are not wanted are passed over. */
static void a_row(void **state)
{
    struct sweep_line line = good;
    FILE *f = begin(state);
    struct sweep_rows t;

    sweep_table_head(f, keys);
    sweep_table_line(f, &line);
    line.tokens = line.tpot = line.tail = -1;
    line.cache = "belady slots=8";
    line.select = "lynx drop=0.25";
    line.lost = 0.125;
    line.top1 = 0.75;
    sweep_table_line(f, &line);
    read_good(state, f, &t);
    assert_int_equal(t.rows, 2);
    assert_int_equal(t.keys, 2);
    assert_string_equal(t.key[0].name, "cache.slots");
    assert_string_equal(t.key[1].name, "link");
    assert_int_equal(t.row[0].point, 3);
    assert_string_equal(t.row[0].identity, "abc");
    assert_string_equal(t.row[0].label, "p");
    assert_false(t.row[0].bound);
    assert_true(t.row[1].bound); /* Belady knows what comes */
    assert_string_equal(t.row[0].value[0], "8");
    assert_string_equal(t.row[0].value[1], "24 GB/s");
    assert_true(t.row[0].figure[ROW_TOKENS] == 51.5);
    assert_true(t.row[0].figure[ROW_TPOT] == 0.02);
    assert_true(t.row[0].figure[ROW_TPOT_TAIL] == 0.025);
    assert_true(t.row[0].figure[ROW_TTFT] == 0.25);
    assert_true(t.row[0].figure[ROW_HITS] == 0.75);
    assert_true(t.row[0].figure[ROW_LINK] == 1e9);
    assert_true(t.row[0].figure[ROW_PASSES] == 100);
    assert_true(sweep_row_memory(&t.row[0]) == 5e9);
    assert_true(isnan(t.row[1].figure[ROW_TOKENS]));
    assert_true(t.row[0].lossless && !t.row[1].lossless);
    assert_string_equal(t.row[0].select, "none");
    assert_string_equal(t.row[1].select, "lynx drop=0.25");
    assert_string_equal(t.row[1].others, "belady slots=8; none; ");
    assert_true(isnan(t.row[0].figure[ROW_LOST]));
    assert_true(t.row[1].figure[ROW_LOST] == 0.125);
    assert_true(t.row[1].figure[ROW_TOP1] == 0.75);
    assert_true(t.row[1].figure[ROW_CHOSEN] == 100);
    assert_true(t.failed == 0 && t.missing == 0 && t.first_failure == NULL);
    sweep_rows_release(&t);
    assert_int_equal(t.rows, 0);
}

/* All parts of the memory count. */
static void memory_is_a_sum(void **state)
{
    struct sweep_row row = {.figure = {[ROW_WEIGHTS] = 1,
                                       [ROW_BUFFERS] = 20,
                                       [ROW_KV] = 300,
                                       [ROW_ACTIVATIONS] = 4000,
                                       [ROW_TOKENS] = 5e9}};

    (void)state;
    assert_true(sweep_row_memory(&row) == 4321);
}

/* Numbers of one unit ascend by what they are, not by how they are written; else texts
 * stand in their order. */
static void levels(void **state)
{
    static const char *const written[] = {"16,100 MB/s,x10,", "4,2 GB/s,x9,",
                                          "8,12 MB/s,x10,", "4,12 MB/s,x9,"};
    static const char *const slots[] = {"4", "8", "16"},
                             *const links[] = {"100 MB/s", "12 MB/s", "2 GB/s"},
                             *const names[] = {"x10", "x9"};
    struct sweep_line line = good;
    FILE *f = begin(state);
    struct sweep_rows t;

    sweep_table_head(f, "sweep.slots,sweep.link,sweep.name,");
    for (unsigned i = 0; i < 4; i++) {
        line.point = i;
        line.keys = written[i];
        sweep_table_line(f, &line);
    }
    read_good(state, f, &t);
    assert_int_equal(t.key[0].levels, 3);
    assert_int_equal(t.key[1].levels, 3);
    assert_int_equal(t.key[2].levels, 2);
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(t.key[0].level[i], slots[i]);
        assert_string_equal(t.key[1].level[i], links[i]);
    }
    assert_string_equal(t.key[2].level[0], names[0]);
    assert_string_equal(t.key[2].level[1], names[1]);
    assert_true(t.key[0].number[0] == 4 && t.key[0].number[1] == 8 &&
                t.key[0].number[2] == 16);
    assert_null(t.key[1].number); /* units differ */
    assert_null(t.key[2].number);
    for (size_t i = 0; i < 4; i++)
        for (size_t k = 0; k < 3; k++)
            assert_string_equal(t.key[k].level[t.row[i].level[k]], t.row[i].value[k]);
    assert_int_equal(t.row[0].level[0], 2);
    sweep_rows_release(&t);
}

/* What failed, is missing or was stopped has no row, and is counted. */
static void what_has_no_row(void **state)
{
    struct sweep_line line = good;
    FILE *f = begin(state);
    struct sweep_rows t;

    sweep_table_head(f, keys);
    line.status = "stopped";
    sweep_table_line(f, &line);
    line.status = "";
    line.outcome = "failed";
    line.why = "\"no room, \"\"at all\"\"\"";
    sweep_table_line(f, &line);
    line.why = "another";
    sweep_table_line(f, &line);
    line.outcome = "missing";
    sweep_table_line(f, &line);
    sweep_table_line(f, &good);
    read_good(state, f, &t);
    assert_int_equal(t.rows, 1);
    assert_int_equal(t.failed, 2);
    assert_int_equal(t.missing, 2);
    assert_string_equal(t.first_failure, "no room, \"at all\"");
    assert_int_equal(t.key[0].levels, 1);
    sweep_rows_release(&t);
}

/* As a spreadsheet saves it; and names that it would take for formulas. */
static void other_line_ends(void **state)
{
    FILE *f = tmpfile(), *out = begin(state);
    struct sweep_line line = good;
    struct sweep_rows t;
    int c;

    assert_non_null(f);
    sweep_table_head(f, keys);
    line.label = "'=1+1";
    sweep_table_line(f, &line);
    rewind(f);
    while ((c = getc(f)) != EOF)
        (void)fputs(c == '\n' ? "\r\n" : (char[]){(char)c, '\0'}, out);
    assert_int_equal(fclose(f), 0);
    read_good(state, out, &t);
    assert_int_equal(t.rows, 1);
    assert_string_equal(t.row[0].label, "=1+1");
    sweep_rows_release(&t);
}

static void no_rows(void **state)
{
    FILE *f = begin(state);
    struct sweep_rows t;

    sweep_table_head(f, keys);
    read_good(state, f, &t);
    assert_int_equal(t.rows, 0);
    assert_int_equal(t.keys, 2);
    assert_int_equal(t.key[0].levels, 0);
    sweep_rows_release(&t);
}

/* ---- refused ---- */

/* One sentence with these words, which names the file. */
static void refused(void **state, FILE *f, const char *words)
{
    struct sweep_rows t;
    struct err e;
    char *path = path_in(state);

    assert_int_equal(read_table(state, f, &t, &e), -1);
    text_has(e.text, words);
    assert_int_equal(strncmp(e.text, path, strlen(path)), 0);
    text_has(e.text, "moesim sweep collect");
    assert_null(strchr(e.text, '\n'));
    assert_int_equal(t.rows, 0);
    assert_int_equal(t.keys, 0);
    free(path);
}

static void there_is_no_table(void **state)
{
    struct sweep_rows t;
    struct err e = {.text = ""};
    char *path = path_in(state);

    assert_int_equal(sweep_rows_read(path, &t, &e), -1);
    text_has(e.text,
             "sweep.csv: No such file or directory; finish the sweep, or gather it "
             "with moesim sweep collect");
    free(path);
}

static void no_table_of_a_sweep(void **state)
{
    FILE *f = begin(state);

    refused(state, f, "is no table of a sweep of this version");
    f = begin(state);
    (void)fputs("a,b\n1,2\n", f);
    refused(state, f, "is no table of a sweep of this version");
    f = begin(state);
    (void)fputs("point,identity,\"outcome", f);
    refused(state, f, "is no table of a sweep of this version");
    /* Every column is needed. */
    f = begin(state);
    (void)fputs(
        "point,identity,outcome,why,label,status,tokens_per_s,tpot_p50_s,tpot_p99_s,"
        "ttft_p50_s,hit_rate,link_bytes,passes,peak_weight_bytes,peak_buffer_bytes,"
        "peak_kv_bytes\n",
        f);
    refused(state, f, "is no table of a sweep of this version");
}

/* A table that ends anywhere but at the end of a line. */
static void cut_anywhere(void **state)
{
    char *whole;
    size_t size = 0, lines = 0;
    FILE *f = open_memstream(&whole, &size);
    struct sweep_line line = good;

    assert_non_null(f);
    sweep_table_head(f, keys);
    line.why = "\"a, b\"";
    sweep_table_line(f, &line);
    sweep_table_line(f, &good);
    assert_int_equal(fclose(f), 0);
    for (size_t cut = 0; cut <= size; cut++) {
        f = begin(state);
        assert_int_equal(fwrite(whole, 1, cut, f), cut);
        if (cut > 0 && whole[cut - 1] == '\n') {
            struct sweep_rows t;

            read_good(state, f, &t);
            assert_int_equal(t.rows, lines++);
            sweep_rows_release(&t);
        } else {
            refused(state, f,
                    lines == 0 ? "is no table of a sweep of this version"
                               : "a line is not whole");
        }
    }
    assert_int_equal(lines, 3);
    free(whole);
}

static void damaged_lines(void **state)
{
    struct sweep_line line = good;
    FILE *f = begin(state);

    sweep_table_head(f, keys);
    line.keys = "8,24 GB/s,more,"; /* a cell too many */
    sweep_table_line(f, &line);
    refused(state, f, "a line is not whole");
    f = begin(state);
    sweep_table_head(f, keys);
    line.keys = "8,"; /* one too few */
    sweep_table_line(f, &line);
    refused(state, f, "a line is not whole");
    f = begin(state);
    sweep_table_head(f, keys);
    sweep_table_line(f, &good);
    (void)fputs("\"4,abc\n", f); /* quotes that never end */
    refused(state, f, "a line is not whole");
    f = begin(state);
    sweep_table_head(f, keys);
    (void)fputs("x3,abc,done,,8,2,p,complete,lru,none,?,1,1,1,1,1,1,1,1,0,0,0,end\n", f);
    refused(state, f, "a line is not whole"); /* no point */
    f = begin(state);
    sweep_table_head(f, keys);
    (void)fputs("3,abc,done,,8,2,p,complete,lru,none,?,1,1s,1,1,1,1,1,1,0,0,0,end\n", f);
    refused(state, f, "a line is not whole"); /* no time */
}

int main(void)
{
#define ROWS(test)                                                                       \
    cmocka_unit_test_setup_teardown(test, report_rig_set_up, report_rig_tear_down)
    const struct CMUnitTest tests[] = {
        ROWS(a_row),
        ROWS(levels),
        ROWS(what_has_no_row),
        ROWS(other_line_ends),
        ROWS(no_rows),
        ROWS(there_is_no_table),
        ROWS(no_table_of_a_sweep),
        ROWS(cut_anywhere),
        ROWS(damaged_lines),
        cmocka_unit_test(memory_is_a_sum),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
