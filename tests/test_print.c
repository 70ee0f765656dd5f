/* The tables that are printed of a result, and the text in them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "hand_result.h"
#include "sim/report/print.h"
#include "made_result.h"
#include "sim/base/mem.h"
#include "sim/base/text.h"

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

/* Just below and at the places where the unit or the digits change. */
static void units_and_digits_change(void **state)
{
    (void)state;
    assert_string_equal(text_time(0.99949).text, "999 ms");
    assert_string_equal(text_time(0.9995).text, "1.00 s");
    assert_string_equal(text_time(0.99949e-3).text, "999 us");
    assert_string_equal(text_time(0.99949e-6).text, "999 ns");
    assert_string_equal(text_time(0.99951e-6).text, "1.00 us");
    assert_string_equal(text_time(9.994).text, "9.99 s");
    assert_string_equal(text_time(9.995).text, "10.0 s");
    assert_string_equal(text_time(99.94).text, "99.9 s");
    assert_string_equal(text_time(99.95).text, "100 s");
    assert_string_equal(text_time(999999).text, "999999 s");
    assert_string_equal(text_time(1000001).text, "1.0e+06 s");
    assert_string_equal(text_time(-2.5e-3).text, "-2.50 ms");
    assert_string_equal(text_time(4e-12).text, "4.0e-03 ns");
    assert_string_equal(text_time(5e-12).text, "0.01 ns"); /* no exponent from here on */
    assert_string_equal(text_time(INFINITY).text, "inf s");
    assert_string_equal(text_time(-INFINITY).text, "-inf s");
    assert_string_equal(text_number(NAN).text, "-");
    assert_string_equal(text_number(0).text, "0.00");
    assert_string_equal(text_number(12345).text, "12345");
    assert_string_equal(text_bytes(NAN).text, "-");
    assert_string_equal(text_bytes(999).text, "999 B");
    assert_string_equal(text_bytes(999.5).text, "1.00 kB");
    assert_string_equal(text_bytes(0.99949e6).text, "999 kB");
    assert_string_equal(text_bytes(0.9995e6).text, "1.00 MB");
    assert_string_equal(text_bytes(0.99949e9).text, "999 MB");
    assert_string_equal(text_bytes(0.9995e9).text, "1.00 GB");
    assert_string_equal(text_bytes(0.99949e12).text, "999 GB");
    assert_string_equal(text_bytes(0.9995e12).text, "1.00 TB");
    assert_string_equal(text_bytes(-2e6).text, "-2.00 MB");
    assert_string_equal(text_share(99.99).text, "9999.0 %");
    assert_string_equal(text_share(9999.5).text, "1.0e+06 %");
    assert_string_equal(text_ratio(NAN).text, "-");
    assert_string_equal(text_ratio(0.1).text, "0.100");
    assert_string_equal(text_ratio(0.0999).text, "0.0999");
    assert_string_equal(text_ratio(9.9994).text, "9.999");
    assert_string_equal(text_ratio(10).text, "10");
    assert_string_equal(text_ratio(123.4).text, "123");
    assert_string_equal(text_count(0).text, "0");
    assert_string_equal(text_count(999).text, "999");
    assert_string_equal(text_count(1000).text, "1 000");
    assert_string_equal(text_count(-1).text, "-1");
    assert_string_equal(text_count(1e18).text, "1e+18");
    assert_string_equal(text_count(NAN).text, "nan");
}

/* In the unit of the larger, with as many digits as tell them apart. */
static void two_sizes(void **state)
{
    static const struct {
        uint64_t a, b;
        const char *said[2];
    } cases[] = {
        {17, 999, {"17 B", "999 B"}},
        {1000, 999, {"1.000 kB", "0.999 kB"}},
        {1000, 1000, {"1.00 kB", "1.00 kB"}},
        {1500000, 20, {"1.50 MB", "0.00 MB"}},
        {2000000000, 1999999999, {"2.000000000 GB", "1.999999999 GB"}},
        {3000000000000, 2990000000000, {"3.00 TB", "2.99 TB"}},
        {3000000000000, 2999999999999, {"3.000000000000 TB", "2.999999999999 TB"}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct text_sizes s = text_sizes(cases[i].a, cases[i].b);

        assert_string_equal(s.a, cases[i].said[0]);
        assert_string_equal(s.b, cases[i].said[1]);
    }
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
    r.policy[1].run.total.counts.migrations = 1; /* one is enough to tell of */
    text = made_printed(&r, result_print);
    assert_non_null(strstr(text, "migra-"));
    free(text);
    r.policy[1].run.total.counts.migrations = 7;
    r.policy[1].run.total.counts.migrated_bytes = 123000000;
    r.policy[1].run.migration_time = 4 * ms;
    text = made_printed(&r, result_print);
    assert_null(strstr(text, "hit"));
    assert_non_null(strstr(text, "\nlru                       -         -         -\n"));
    assert_non_null(strstr(text, "\nlfu                       7    123 MB   4.00 ms\n"));
    assert_non_null(strstr(text, "Gaps: "));
    free(text);
    r.policy[0].run.total.counts.migrations = 1000000;
    r.policy[1].run.total.counts.migrations = 999999;
    r.policy[0].bounds.present = r.policy[1].bounds.present = false;
    text = made_printed(&r, result_print);
    assert_non_null(strstr(text, "\nlru                 1.0e+06 "));
    assert_non_null(strstr(text, "\nlfu                  999999 "));
    assert_null(strstr(text, "Gaps: "));
    free(text);
    r.policy[0].run.total.counts.migrations = 0;
    r.policy[1].run.total.counts.migrations = 7;
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

/* ---- whole tables, by hand: see hand_result.h ---- */

static const char pairs[] = "\n"
                            "Pairs, on the same requests: ratio of time per output "
                            "token, geometric mean with its 95 % interval;\n"
                            "  significance at 5 % over all pairs (Holm).\n"
                            "  a beats b: 2.000 times as fast (2.000 to 2.000)\n";

static void assert_printed(const struct result *r, const char *wanted)
{
    char *text = made_printed(r, result_print), *all = mem_format("%s%s", wanted, pairs);

    assert_string_equal(text, all);
    free(text);
    free(all);
}

static void a_whole_table(void **state)
{
    struct hand h;

    (void)state;
    hand_make(&h);
    assert_printed(&h.r, "m on gpu; trace t.h5; seed 7\n"
                         "\n"
                         "                             TPOT      TPOT      TTFT    "
                         "tokens     hit      over     GPU   gap to\n"
                         "policy                        p50       p99       p50     per "
                         "s    rate      link    busy  offline\n"
                         "a                         15.0 ms   19.9 ms    150 ms      "
                         "22.0  75.0 %   8.00 MB  40.0 %   50.0 %\n"
                         "b                         30.0 ms   39.8 ms    100 ms      "
                         "11.0  90.0 %   9.00 MB  50.0 %   20.0 %\n");
}

/* Gaps: 900 over 720 and 750 ms, 1800 over 1440 and 1200. */
static void a_whole_table_of_several_gpus(void **state)
{
    struct hand h;

    (void)state;
    hand_make_parallel(&h);
    assert_printed(&h.r, "m on 4 GPUs of gpu, 1 node; trace t.h5; seed 7\n"
                         "\n"
                         "                      TPOT     TPOT     TTFT  tokens     GPU "
                         "imbal- exposed  between  gap to  gap to\n"
                         "policy                 p50      p99      p50   per s    busy   "
                         "ance    comm     GPUs    even  no net\n"
                         "a                  15.0 ms  19.9 ms   150 ms    22.0  40.0 %  "
                         "1.600  10.0 %  3.00 MB  25.0 %  20.0 %\n"
                         "b                  30.0 ms  39.8 ms   100 ms    11.0  50.0 %  "
                         "1.500   5.0 %  2.00 MB  25.0 %  50.0 %\n"
                         "\n"
                         "GPU busy and exposed communication (comm): means over the "
                         "GPUs. Imbalance: rows of the busiest GPU\n"
                         "  over the mean, layer by layer and pass by pass; 1 is even. "
                         "Gaps: time of all passes above that of\n"
                         "  the rows spread evenly, all experts resident and nothing "
                         "padded or moved (even); and above that of\n"
                         "  a network that takes no time (no net).\n");
    h.p[0].run.total.counts.hits = 40;
    h.p[0].run.total.counts.demand_bytes = 5000;
    h.p[0].run.total.counts.swaps = 31;
    h.p[1].run.total.counts.dropped = 50; /* beside 200 that ran */
    h.p[1].run.total.counts.computed_rows = 250;
    h.p[1].run.total.counts.migrations = 7;
    h.p[1].run.total.counts.migrated_bytes = 123000000;
    h.p[1].run.migration_time = 4 * ms;
    h.p[1].run.activation_bytes = 12300000;
    assert_printed(&h.r, "m on 4 GPUs of gpu, 1 node; trace t.h5; seed 7\n"
                         "\n"
                         "                      TPOT     TPOT     TTFT  tokens     GPU "
                         "imbal- exposed  between  gap to  gap to\n"
                         "policy                 p50      p99      p50   per s    busy   "
                         "ance    comm     GPUs    even  no net\n"
                         "a                  15.0 ms  19.9 ms   150 ms    22.0  40.0 %  "
                         "1.600  10.0 %  3.00 MB  25.0 %  20.0 %\n"
                         "b                  30.0 ms  39.8 ms   100 ms    11.0  50.0 %  "
                         "1.200   5.0 %  2.00 MB  25.0 %  50.0 %\n"
                         "\n"
                         "GPU busy and exposed communication (comm): means over the "
                         "GPUs. Imbalance: rows of the busiest GPU\n"
                         "  over the mean, layer by layer and pass by pass; 1 is even. "
                         "Gaps: time of all passes above that of\n"
                         "  the rows spread evenly, all experts resident and nothing "
                         "padded or moved (even); and above that of\n"
                         "  a network that takes no time (no net).\n"
                         "\n"
                         "                        hit  from the   dropped   padding MoE "
                         "layer    migra-   experts    waited\n"
                         "policy                 rate      host   choices      rows    "
                         "memory     tions     moved  for them\n"
                         "a                    40.0 %   5.00 kB         -         -      "
                         "   -         -         -         -\n"
                         "b                         -         -    20.0 %    25.0 %   "
                         "12.3 MB         7    123 MB   4.00 ms\n"
                         "\n"
                         "                           \n"
                         "policy                swaps\n"
                         "a                        31\n"
                         "b                         -\n");
}

/* The faster one is named first, and long names have the verdict below them. */
static void notes_and_pairs(void **state)
{
    static char notes[] = "one\n\ntwo\n", nothing[] = "";
    static char name[2][40] = {"a-name-of-32-columns-no-one-want",
                               "a-name-of-33-columns-no-one-wants"};
    struct hand h;
    char *text;

    (void)state;
    hand_make(&h);
    h.r.notes = notes;
    h.p[1].lossless = false;
    text = made_printed(&h.r, result_print);
    assert_non_null(strstr(
        text, "  20.0 %\n\nnote: one\nnote: two\nnote: policies that change what the "
              "model computes (not lossless): compare their speed with care.\n\n"
              "Pairs, on"));
    free(text);
    h.r.notes = nothing;
    h.p[1].lossless = true;
    text = made_printed(&h.r, result_print);
    assert_non_null(strstr(text, "  20.0 %\n\nPairs"));
    free(text);
    h.p[0].label = name[0];
    h.p[1].label = name[1];
    /* 10, 20 and 20, 20 ms: between them a factor of sqrt 2, which may be chance. */
    h.request[1][1].last_token = h.request[1][1].first_token + 200 * ms;
    text = made_printed(&h.r, result_print);
    assert_non_null(strstr(text, "\n  a-name-of-32-columns-no-one-want and "
                                 "a-name-of-33-columns-no-one-wa..:\n"
                                 "    no significant difference (0.0173 to 116)\n"));
    free(text);
    /* The other way round: b is twice as fast. */
    h.request[1][0].last_token = h.request[1][0].first_token + 50 * ms;
    h.request[1][1].last_token = h.request[1][1].first_token + 100 * ms;
    text = made_printed(&h.r, result_print);
    assert_non_null(strstr(text, "\n  a-name-of-33-columns-no-one-wa.. beats "
                                 "a-name-of-32-columns-no-one-want:\n"
                                 "    2.000 times as fast (2.000 to 2.000)\n"));
    free(text);
    /* One token each: 100 and 200 ms against 150 and 50 until it. */
    for (int i = 0; i < HAND_POLICIES; i++)
        for (int q = 0; q < HAND_REQUESTS; q++)
            h.request[i][q].output_tokens = 1;
    text = made_printed(&h.r, result_print);
    assert_non_null(strstr(text, "ratio of time to first token, geometric mean"));
    free(text);
    h.p[1].run.finished = false;
    text = made_printed(&h.r, result_print);
    assert_non_null(strstr(text, "\n  1 pair: not compared, for one was stopped\n"));
    assert_non_null(
        strstr(text, "\na-name-of-33-columns-.. stopped after 2 of 2 requests\n"));
    free(text);
    h.p[0].run.counts_only = true;
    text = made_printed(&h.r, result_print);
    assert_null(strstr(text, "Pairs"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_with_units),
        cmocka_unit_test(units_and_digits_change),
        cmocka_unit_test(two_sizes),
        cmocka_unit_test(cells_cut_whole_characters),
        cmocka_unit_test(the_table_says_what_was_summed),
        cmocka_unit_test(the_table_fits_whatever_the_numbers),
        cmocka_unit_test(pairs_that_say_nothing_are_counted),
        cmocka_unit_test(the_table_of_several_gpus),
        cmocka_unit_test(what_some_policies_have),
        cmocka_unit_test(the_table_of_several_gpus_fits),
        cmocka_unit_test(one_policy_has_no_pairs),
        cmocka_unit_test(a_whole_table),
        cmocka_unit_test(a_whole_table_of_several_gpus),
        cmocka_unit_test(notes_and_pairs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
