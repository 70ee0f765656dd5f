/* The tables that are printed of a result, and the text in them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "made_result.h"
#include "sim/base/mem.h"
#include "sim/run/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const sim_time ms = 1000 * SIM_TIME_PER_US;

/* ---- text ---- */

static void numbers_with_units(void **state)
{
    (void)state;
    assert_string_equal(text_time(0.0123456).text, "12.3 ms");
    assert_string_equal(text_time(0.00099951).text, "1.00 ms");
    assert_string_equal(text_time(456e-6).text, "456 us");
    assert_string_equal(text_time(1.5e-9).text, "1.50 ns");
    assert_string_equal(text_time(2.385).text, "2.38 s");
    assert_string_equal(text_time(86400).text, "86400 s");
    assert_string_equal(text_time(0).text, "0 s");
    assert_string_equal(text_time(NAN).text, "-");
    assert_string_equal(text_bytes(123456789).text, "123 MB");
    assert_string_equal(text_bytes(1.5e12).text, "1.50 TB");
    assert_string_equal(text_bytes(17).text, "17 B");
    assert_string_equal(text_share(0.749).text, "74.9 %");
    assert_string_equal(text_share(NAN).text, "-");
    assert_string_equal(text_count(1234567).text, "1 234 567");
    assert_string_equal(text_count(7).text, "7");
    assert_string_equal(text_ratio(1.2344).text, "1.234");
}

static void cells_cut_whole_characters(void **state)
{
    const struct {
        const char *text;
        size_t width;
        const char *cell;
    } cases[] = {
        {"lru", 6, "lru   "},
        {"a-long-label", 6, "a-lo.."},
        {"Z\xc3\xbcrich-west", 6, "Z\xc3\xbcri.."},
        {"bad\xff\x1b", 6, "bad?? "},
        {NULL, 2, "  "},
        {"exact!", 6, "exact!"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);

        assert_non_null(out);
        text_cell(out, cases[i].text, cases[i].width);
        assert_int_equal(fclose(out), 0);
        assert_string_equal(text, cases[i].cell);
        free(text);
    }
}

/* ---- the table ---- */

/* Every word is in the row, one behind the other. */
static void assert_row(const char *row, const char *const *word, size_t count)
{
    const char *end = strchr(row + 1, '\n'), *at = row;

    for (size_t i = 0; i < count; i++) {
        const char *found = strstr(at, word[i]);

        if (found == NULL || found >= end)
            fail_msg("\"%s\" is not where it should be in %s", word[i], row);
        at = found + strlen(word[i]);
    }
    assert_int_equal(strspn(at, " "), (size_t)(end - at));
}

static void the_table_says_what_was_summed(void **state)
{
    struct made_shape shape = {.policies = 2, .layers = 3, .requests = 8, .seed = 5};
    struct result r = made_result(&shape);
    struct result_summary s = result_summarise(&r.policy[1]);
    char *text = made_printed(&r, result_print);
    char *row = strstr(text, "\nlfu ");

    (void)state;
    assert_non_null(row);
    assert_row(row,
               (const char *const[]){
                   "lfu", text_time(s.tpot_p50).text, text_time(s.tpot_p99).text,
                   text_time(s.ttft_p50).text, text_number(s.tokens_per_s).text,
                   text_share(s.hit_rate).text, text_bytes(s.link_bytes).text,
                   text_share(s.gpu_busy).text,
                   "200.0 %"}, /* bounds are a third of the time */
               9);
    assert_non_null(strstr(text, "note: 12 prompt rows were resampled.\n"));
    assert_non_null(strstr(text, "note: Bounds hold per layer.\n"));
    assert_non_null(strstr(text, "\n  lru and lfu: no significant difference ("));
    free(text);
    result_release(&r);
}

static void the_table_fits_whatever_the_numbers(void **state)
{
    struct made_shape shape = {.policies = 9, .layers = 3, .requests = 8, .seed = 5};
    struct result r = made_result(&shape);
    char *text;

    (void)state;
    for (uint32_t i = 0; i < r.policies; i++) {
        struct run_result *run = &r.policy[i].run;

        free(r.policy[i].label);
        r.policy[i].label = mem_format("%080u-\xc3\xbc-\xff", i);
        if (i == 0)
            continue;
        memset(&run->total, i < 4 ? 0x7f : 0xff, sizeof run->total);
        run->elapsed = i % 2 == 0 ? 1 : INT64_MAX;
        run->compute_busy = i % 3 == 0 ? INT64_MAX : 1;
        for (uint64_t q = 0; q < run->requests; q++)
            run->request[q].last_token = i % 2 == 0 ? INT64_MAX : INT64_MIN;
        run->finished = i % 4 != 3;
    }
    free(r.notes);
    r.notes = mem_format("%0300d\n\nA note of many words %s %s.\n", 1,
                         "that goes on and on so that it has to be cut into lines",
                         "of which each fits");
    text = made_printed(&r, result_print);
    assert_null(made_too_wide(text));
    assert_non_null(strstr(text, "further pairs"));
    free(text);
    result_release(&r);
}

static size_t count_of(const char *text, const char *part)
{
    size_t n = 0;

    for (const char *at = strstr(text, part); at != NULL; at = strstr(at + 1, part))
        n++;
    return n;
}

/* A line says something: pairs without a ratio are counted, and of many only some shown.
 */
static void pairs_that_say_nothing_are_counted(void **state)
{
    struct made_shape shape = {.policies = 9, .layers = 2, .requests = 8, .seed = 4};
    struct result r = made_result(&shape);
    char *text;

    (void)state;
    for (uint32_t i = 2; i < r.policies; i++)
        r.policy[i].run.finished = false;
    text = made_printed(&r, result_print);
    assert_non_null(strstr(text, "\n  35 pairs: not compared, for one was stopped\n"));
    assert_int_equal(count_of(text, "not compared"), 1);
    free(text);
    result_release(&r);
    shape = (struct made_shape){.policies = 40, .layers = 2, .requests = 8, .seed = 4};
    r = made_result(&shape);
    text = made_printed(&r, result_print);
    assert_int_equal(count_of(text, "times as fast (") +
                         count_of(text, "no significant difference ("),
                     15);
    assert_non_null(strstr(text, "\n  765 further pairs, "));
    free(text);
    result_release(&r);
    shape = (struct made_shape){.policies = 3, .layers = 2, .requests = 1, .seed = 4};
    r = made_result(&shape);
    text = made_printed(&r, result_print);
    assert_non_null(strstr(text, "\n  3 pairs: too few requests in common\n"));
    free(text);
    result_release(&r);
}

/* ---- the table of several GPUs ---- */

static void the_table_of_several_gpus(void **state)
{
    struct made_shape shape = {
        .policies = 2, .layers = 3, .requests = 8, .seed = 5, .gpus = 6};
    struct result r = made_result(&shape);
    struct run_counts *c = &r.policy[1].run.total.counts;
    struct result_summary s;
    char *text, *row;

    (void)state;
    c->computed_rows = 6000;
    c->busiest_rows = 1500; /* of 1000 */
    s = result_summarise(&r.policy[1]);
    text = made_printed(&r, result_print);
    assert_non_null(
        strstr(text, "gpt-oss-20b on 6 GPUs of rtx4090-pcie4, 2 nodes; trace"));
    row = strstr(text, "\nlfu ");
    assert_non_null(row);
    assert_non_null(strstr(row, text_time(s.tpot_p50).text));
    assert_non_null(strstr(row, text_share(s.comm_share).text));
    assert_non_null(strstr(row, text_bytes(s.sent_bytes).text));
    assert_non_null(strstr(row, "  1.500 "));
    /* The bounds are 4/5 and 5/8 of the time. */
    assert_non_null(strstr(row, "  25.0 %  60.0 %\n"));
    assert_non_null(strstr(text, "Gaps: time of all passes"));
    assert_null(made_too_wide(text));
    free(text);
    result_release(&r);
}

/* The second table has columns only of what some policy has, and "-" for who has not. */
static void what_some_policies_have(void **state)
{
    struct made_shape shape = {
        .policies = 2, .layers = 3, .requests = 8, .seed = 5, .gpus = 4};
    struct result r = made_result(&shape);
    struct run_counts plain = {.activations = 100,
                               .accesses = 50,
                               .hits = 50,
                               .computed_rows = 100,
                               .busiest_rows = 40};
    char *text;

    (void)state;
    r.policy[0].run.total.counts = r.policy[1].run.total.counts = plain;
    text = made_printed(&r, result_print);
    assert_null(strstr(text, "hit"));
    assert_null(strstr(text, "padding  "));
    assert_null(strstr(text, "migra-"));
    free(text);
    r.policy[1].run.total.counts.migrations = 7;
    r.policy[1].run.total.counts.migrated_bytes = 123000000;
    r.policy[1].run.migration_time = 4 * ms;
    text = made_printed(&r, result_print);
    assert_null(strstr(text, "hit"));
    assert_non_null(strstr(text, "\nlru                       -         -         -\n"));
    assert_non_null(strstr(text, "\nlfu                       7    123 MB   4.00 ms\n"));
    free(text);
    r.policy[0].run.total.counts.hits = 40;
    r.policy[0].run.total.counts.demand_bytes = 5000;
    r.policy[1].run.total.counts.dropped = 25;
    r.policy[1].run.total.counts.computed_rows = 150;
    text = made_printed(&r, result_print);
    assert_non_null(strstr(text, "\nlru                  80.0 %   5.00 kB         - "));
    assert_non_null(strstr(text, "\nlfu                       -         -    20.0 %    "
                                 "50.0 %   12.3 MB         7 "));
    free(text);
    result_release(&r);
}

static void the_table_of_several_gpus_fits(void **state)
{
    struct made_shape shape = {
        .policies = 9, .layers = 3, .requests = 8, .seed = 5, .gpus = 4};
    struct result r = made_result(&shape);
    char *text;

    (void)state;
    for (uint32_t i = 0; i < r.policies; i++) {
        struct run_result *run = &r.policy[i].run;

        free(r.policy[i].label);
        r.policy[i].label = mem_format("%080u-\xc3\xbc-\xff", i);
        memset(&run->total, i < 4 ? 0x7f : i < 6 ? 0xff : 0, sizeof run->total);
        run->elapsed = i % 2 == 0 ? 1 : INT64_MAX;
        run->migration_time = INT64_MAX;
        r.policy[i].bounds.balanced = i % 3;
        r.policy[i].bounds.free_network = i % 2 == 0 ? 1 : INT64_MAX;
    }
    text = made_printed(&r, result_print);
    assert_null(made_too_wide(text));
    free(text);
    result_release(&r);
}

static void one_policy_has_no_pairs(void **state)
{
    struct made_shape shape = {.policies = 1, .layers = 1, .requests = 3, .seed = 5};
    struct result r = made_result(&shape);
    char *text = made_printed(&r, result_print);

    (void)state;
    assert_null(strstr(text, "Pairs"));
    free(text);
    result_release(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_with_units),
        cmocka_unit_test(cells_cut_whole_characters),
        cmocka_unit_test(the_table_says_what_was_summed),
        cmocka_unit_test(the_table_fits_whatever_the_numbers),
        cmocka_unit_test(pairs_that_say_nothing_are_counted),
        cmocka_unit_test(the_table_of_several_gpus),
        cmocka_unit_test(what_some_policies_have),
        cmocka_unit_test(the_table_of_several_gpus_fits),
        cmocka_unit_test(one_policy_has_no_pairs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
