#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "made_result.h"
#include "sim/base/mem.h"
#include "sim/run/json.h"
#include "sim/run/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NEAR(a, b, by) assert_true(fabs((a) - (b)) <= (by))

static const sim_time ms = 1000 * SIM_TIME_PER_US;

static char *printed(const struct result *r, void (*print)(const struct result *, FILE *))
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    assert_non_null(out);
    print(r, out);
    assert_int_equal(fclose(out), 0);
    return text;
}

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

static void strings_are_escaped(void **state)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    (void)state;
    assert_non_null(out);
    json_string(out, "a\"b\\c\n\x01\xc3\xbc\xe2\x82\xff");
    csv_string(out, ",plain");
    csv_string(out, "say \"x\"\n");
    json_number(out, NAN);
    json_number(out, 0.1);
    csv_number(out, INFINITY);
    assert_int_equal(fclose(out), 0);
    assert_string_equal(text, "\"a\\\"b\\\\c\\n\\u0001\xc3\xbc\\ufffd\\ufffd\\ufffd\""
                              "\",plain\"\"say \"\"x\"\"\n\""
                              "null0.1");
    free(text);
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
    char *text = printed(&r, result_print);
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
    text = printed(&r, result_print);
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
    text = printed(&r, result_print);
    assert_non_null(strstr(text, "\n  35 pairs: not compared, for one was stopped\n"));
    assert_int_equal(count_of(text, "not compared"), 1);
    free(text);
    result_release(&r);
    shape = (struct made_shape){.policies = 40, .layers = 2, .requests = 8, .seed = 4};
    r = made_result(&shape);
    text = printed(&r, result_print);
    assert_int_equal(count_of(text, "times as fast (") +
                         count_of(text, "no significant difference ("),
                     15);
    assert_non_null(strstr(text, "\n  765 further pairs, "));
    free(text);
    result_release(&r);
    shape = (struct made_shape){.policies = 3, .layers = 2, .requests = 1, .seed = 4};
    r = made_result(&shape);
    text = printed(&r, result_print);
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
    text = printed(&r, result_print);
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
    text = printed(&r, result_print);
    assert_null(strstr(text, "hit"));
    assert_null(strstr(text, "padding  "));
    assert_null(strstr(text, "migra-"));
    free(text);
    r.policy[1].run.total.counts.migrations = 7;
    r.policy[1].run.total.counts.migrated_bytes = 123000000;
    r.policy[1].run.migration_time = 4 * ms;
    text = printed(&r, result_print);
    assert_null(strstr(text, "hit"));
    assert_non_null(strstr(text, "\nlru                       -         -         -\n"));
    assert_non_null(strstr(text, "\nlfu                       7    123 MB   4.00 ms\n"));
    free(text);
    r.policy[0].run.total.counts.hits = 40;
    r.policy[0].run.total.counts.demand_bytes = 5000;
    r.policy[1].run.total.counts.dropped = 25;
    r.policy[1].run.total.counts.computed_rows = 150;
    text = printed(&r, result_print);
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
    text = printed(&r, result_print);
    assert_null(made_too_wide(text));
    free(text);
    result_release(&r);
}

static void one_policy_has_no_pairs(void **state)
{
    struct made_shape shape = {.policies = 1, .layers = 1, .requests = 3, .seed = 5};
    struct result r = made_result(&shape);
    char *text = printed(&r, result_print);

    (void)state;
    assert_null(strstr(text, "Pairs"));
    free(text);
    result_release(&r);
}

/* ---- comparison ---- */

/* One policy whose request i takes tpot[i] milliseconds per token. */
static struct result_policy timed(struct run_request *request, const int *tpot, int count)
{
    struct result_policy p = {.label = NULL};

    for (int i = 0; i < count; i++)
        request[i] = (struct run_request){.trace_request = (uint64_t)i,
                                          .first_token = ms,
                                          .last_token = ms + 10 * tpot[i] * ms,
                                          .output_tokens = 11,
                                          .finished = true};
    p.run.request = request;
    p.run.requests = (uint64_t)count;
    p.run.finished = true;
    return p;
}

/* Ratios b / a of 2, 4, 2, 4, 2: logs are ln 2 times 1, 2, 1, 2, 1, of mean 1.4 and
 * variance 0.3. Standard error sqrt(0.3 / 5) = 0.244949; t(0.975; 4) = 2.776445. So the
 * mean is 1.4 -+ 0.680087 in units of ln 2. */
static void an_interval_by_hand(void **state)
{
    static const int x[] = {1, 2, 3, 1, 5}, y[] = {2, 8, 6, 4, 10};
    struct run_request a[5], b[5];
    struct result_policy policy[2] = {timed(a, x, 5), timed(b, y, 5)};
    struct result r = {.policies = 2, .policy = policy};
    struct result_comparison c;

    (void)state;
    result_compare(&r, &c);
    assert_int_equal(c.pairs, 5);
    NEAR(c.ratio, 2.639016, 1e-6); /* 2^1.4 */
    NEAR(c.low, 1.647082, 1e-5);   /* 2^0.719913 */
    NEAR(c.high, 4.228333, 1e-5);  /* 2^2.080087 */
    assert_true(c.significant);
    b[4].trace_request = 7; /* another request: no pair */
    result_compare(&r, &c);
    assert_int_equal(c.pairs, 4);
}

/* a-b: logs 0.0953102 three times and 0.0049875, mean 0.0727295, standard error
 * 0.0225808, t = 3.2209 with 3 degrees of freedom, p = 0.0485: significant alone, but not
 * as the strongest of three tests, which needs p <= 0.05 / 3. */
static void holm_corrects(void **state)
{
    static const int x[] = {1000, 1000, 1000, 1000}, y[] = {1100, 1000, 1100, 1100};
    static const int z[] = {3000, 3000, 3000, 3000};
    struct run_request a[4], b[4], d[4];
    struct result_policy policy[3] = {timed(a, x, 4), timed(b, y, 4), timed(d, z, 4)};
    struct result r = {.policies = 2, .policy = policy};
    struct result_comparison c[3];

    (void)state;
    b[1].last_token = ms + 10050 * ms; /* 1005 */
    result_compare(&r, c);
    assert_true(c[0].low > 1 && c[0].significant); /* alone it is significant */
    r.policies = 3;
    result_compare(&r, c);
    assert_true(c[0].low > 1);
    assert_true(c[1].significant && c[2].significant);
    /* The weakest of three is tested at the full 5 %. */
    assert_true(c[0].significant);
    policy[2] = timed(d, y, 4); /* as weak as a-b, and equal to b */
    d[1].last_token = b[1].last_token;
    result_compare(&r, c);
    assert_true(c[0].low > 1 && c[1].low > 1);
    assert_false(c[0].significant || c[1].significant || c[2].significant);
    NEAR(c[2].ratio, 1, 1e-12);
}

/* Of many policies the pairs with the fastest: their number grows with the policies. */
static void many_policies_have_few_pairs(void **state)
{
    enum { MANY = 1000, BEST = 700 };
    static const int x[] = {20, 30}, y[] = {10, 15};
    static struct run_request request[MANY][2];
    static struct result_policy policy[MANY];
    static struct result_comparison c[MANY];
    struct result r = {.policies = MANY, .policy = policy};

    (void)state;
    for (int i = 0; i < MANY; i++)
        policy[i] = timed(request[i], i == BEST ? y : x, 2);
    assert_int_equal(result_fastest(&r), BEST);
    assert_int_equal(result_pair_count(&r), MANY - 1);
    result_compare(&r, c);
    assert_true(c[0].a == 0 && c[0].b == BEST && c[BEST].a == BEST);
    assert_true(c[MANY - 2].a == BEST && c[MANY - 2].b == MANY - 1);
    NEAR(c[0].ratio, 0.5, 1e-12);
    r.policies = RESULT_ALL_PAIRS;
    assert_int_equal(result_pair_count(&r),
                     RESULT_ALL_PAIRS * (RESULT_ALL_PAIRS - 1) / 2);
    r.policies = 1;
    assert_int_equal(result_pair_count(&r), 0);
}

static void first_tokens_where_there_are_no_others(void **state)
{
    static const int x[] = {1, 1}, y[] = {1, 1};
    struct run_request a[2], b[2];
    struct result_policy policy[2] = {timed(a, x, 2), timed(b, y, 2)};
    struct result r = {.policies = 2, .policy = policy};
    struct result_comparison c;

    (void)state;
    for (int i = 0; i < 2; i++) {
        a[i].output_tokens = b[i].output_tokens = 1;
        b[i].first_token = 3 * ms;
    }
    result_compare(&r, &c);
    NEAR(c.ratio, 3, 1e-12);
    assert_true(c.significant);
    b[0].finished = b[1].finished = false; /* their arrival is not known */
    result_compare(&r, &c);
    assert_int_equal(c.pairs, 0);
    assert_true(isnan(c.ratio) && !c.significant);
}

/* What a signal cut short is no run to compare with, nor one whose figures count. */
static void a_stopped_run_is_none(void **state)
{
    static const int x[] = {1, 2, 3, 4}, y[] = {2, 4, 6, 8};
    struct made_shape one = {.policies = 2, .layers = 3, .requests = 4, .seed = 5};
    struct made_shape several = {
        .policies = 2, .layers = 3, .requests = 4, .seed = 5, .gpus = 4};
    struct run_request a[4], b[4];
    struct result_policy policy[2] = {timed(a, x, 4), timed(b, y, 4)};
    struct result pair = {.policies = 2, .policy = policy};
    struct result_comparison c;

    (void)state;
    policy[1].run.finished = false;
    result_compare(&pair, &c);
    assert_true(c.pairs == 0 && isnan(c.ratio) && !c.significant);
    for (int i = 0; i < 2; i++) {
        struct result r = made_result(i == 0 ? &one : &several);
        char *text, *row;

        r.policy[1].run.finished = false;
        r.policy[1].run.request[0].finished = r.policy[1].run.request[1].finished = false;
        r.policy[1].run.request[2].finished = true;
        r.policy[1].run.request[3].finished = false;
        free(r.policy[1].label);
        r.policy[1].label = mem_strdup("half");
        text = printed(&r, result_print);
        row = strstr(text, "\nhalf ");
        assert_non_null(row);
        row += 1 + strcspn(row + 1, " ");
        row += strspn(row, " ");
        assert_memory_equal(row, "stopped after 1 of 4 requests\n", 30);
        assert_null(strstr(row + 30, "\nhalf ")); /* in no second table either */
        assert_non_null(strstr(text, "not compared, for one was stopped"));
        free(text);
        text = printed(&r, result_print_csv);
        row = strstr(text, "\nhalf,");
        assert_non_null(row);
        assert_memory_equal(row, "\nhalf,stopped after 1 of 4 requests,", 36);
        free(text);
        text = printed(&r, result_print_json);
        assert_non_null(strstr(text, "\"status\": \"complete\""));
        assert_non_null(strstr(text, "\"status\": \"stopped after 1 of 4 requests\""));
        assert_non_null(strstr(text, "\"finished_requests\": 1, \"tpot_mean_s\": null"));
        free(text);
        result_release(&r);
    }
}

/* ---- for scripts ---- */

static int check_with_python(const char *folder, const char *program, const char *text)
{
    char *data = mem_format("%s/data", folder);
    char *script = mem_format("%s/check.py", folder);
    char *command = mem_format("/usr/bin/python3 '%s' '%s'", script, data);
    FILE *f = fopen(data, "w");
    int status;

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    f = fopen(script, "w");
    assert_non_null(f);
    assert_true(fputs(program, f) >= 0);
    assert_int_equal(fclose(f), 0);
    status = system(command);
    free(command);
    free(script);
    free(data);
    return status;
}

static struct result awkward(void)
{
    struct made_shape shape = {.policies = 3, .layers = 4, .requests = 6, .seed = 9};
    struct result r = made_result(&shape);

    free(r.policy[1].label);
    r.policy[1].label = mem_strdup("a \"label\",\nwith \\ all \x02 and \xff");
    r.policy[2].bounds.present = false;
    free(r.policy[2].variant);
    r.policy[2].variant = NULL;
    return r;
}

static void json_is_read_by_others(void **state)
{
    static const char program[] =
        "import json, sys\n"
        "r = json.load(open(sys.argv[1], encoding='utf-8'))\n"
        "p = r['policy']\n"
        "assert len(p) == 3 and len(r['comparisons']) == 3 and r['seed'] == 2385\n"
        "assert p[1]['label'] == 'a \"label\",\\nwith \\\\ all \\x02 and \\ufffd'\n"
        "assert p[2]['summary']['gap_to_offline'] is None\n"
        "assert abs(p[0]['summary']['gap_to_offline'] - 2) < 1e-9\n"
        "assert [l['moe_layer'] for l in p[0]['layers']] == [1, 2, 3, 4]\n"
        "assert sum(l['hits'] for l in p[0]['layers']) == p[0]['total_hits']\n"
        "assert p[0]['summary']['imbalance'] is None and 'ports' not in p[0]\n"
        "assert len(p[0]['digest']) == 16 and p[0]['event_driven'] is False\n";
    struct result r = awkward();
    char *text = printed(&r, result_print_json);

    assert_int_equal(check_with_python(*state, program, text), 0);
    free(text);
    result_release(&r);
}

static void csv_is_read_by_others(void **state)
{
    static const char program[] =
        "import csv, sys\n"
        "f = open(sys.argv[1], encoding='utf-8', newline='')\n"
        "r = list(csv.reader(f))\n"
        "assert len(r) == 4 and len(set(map(len, r))) == 1\n"
        "assert len(set(r[0])) == len(r[0])\n"
        "d = [dict(zip(r[0], x)) for x in r[1:]]\n"
        "assert d[1]['label'] == 'a \"label\",\\nwith \\\\ all ? and ?'\n"
        "assert d[2]['gap_to_offline'] == '' and d[2]['bound_present'] == 'false'\n"
        "assert float(d[0]['hit_rate']) == int(d[0]['total_hits']) / "
        "int(d[0]['total_accesses'])\n";
    struct result r = awkward();
    char *text = printed(&r, result_print_csv);

    assert_int_equal(check_with_python(*state, program, text), 0);
    free(text);
    result_release(&r);
}

static const struct made_shape spread = {
    .policies = 2, .layers = 3, .requests = 6, .seed = 9, .gpus = 6};

/* Nothing but what several GPUs add; GPU 4's NVLink port in carries most. */
static struct result spread_out(void)
{
    struct result r = made_result(&spread);

    for (uint32_t i = 0; i < 2; i++) {
        struct run_result *run = &r.policy[i].run;

        for (uint32_t l = 0; l < run->links; l++)
            run->link_bytes[l] = l == 6 + 4 ? 7200000000 : 1000;
        run->elapsed = SIM_TIME_PER_S;
        run->total.counts.computed_rows = 0;
        for (uint32_t g = 0; g < 6; g++)
            run->total.counts.computed_rows += run->gpu_rows[g];
    }
    return r;
}

static void json_of_several_gpus(void **state)
{
    static const char program[] =
        "import json, sys\n"
        "r = json.load(open(sys.argv[1], encoding='utf-8'))\n"
        "assert r['links'] == 16\n"
        "for p in r['policy']:\n"
        "    s, g = p['summary'], p['gpu_rows']\n"
        "    assert p['gpus'] == len(g) == 6 and p['nodes'] == 2 and p['shards'] == 1\n"
        "    assert sum(g) == p['total_computed_rows']\n"
        "    assert abs(s['fullest_gpu'] - max(g) * 6 / sum(g)) < 1e-12\n"
        "    assert abs(s['imbalance'] - p['total_busiest_rows'] * 6 / sum(g)) < 1e-12\n"
        "    assert abs(s['gap_to_balanced'] - .25) < 1e-9\n"
        "    assert abs(s['gap_to_free_network'] - .6) < 1e-9\n"
        "    assert abs(s['exposed_communication_share'] -\n"
        "        p['total_exposed_communication_s'] / p['total_latency_s']) < 1e-12\n"
        "    assert s['busiest_port_bytes'] == 7200000000\n"
        "    assert abs(s['busiest_port_busy'] - .02) < 1e-12\n"
        "    k = {x['kind']: x for x in p['ports']}\n"
        "    assert list(k) == ['NVLink out', 'NVLink in', 'NIC out', 'NIC in']\n"
        "    assert k['NVLink in']['busiest'] == 'GPU 4 NVLink in'\n"
        "    assert k['NVLink in']['bytes'] == 7200005000\n"
        "    assert k['NIC in']['links'] == 2 and k['NIC in']['bytes_per_s'] == 45e9\n"
        "    assert p['activation_bytes'] == 12345678\n";
    struct result r = spread_out();
    char *text = printed(&r, result_print_json);

    assert_int_equal(check_with_python(*state, program, text), 0);
    free(text);
    result_release(&r);
}

static void csv_of_several_gpus(void **state)
{
    static const char program[] =
        "import csv, sys\n"
        "r = list(csv.DictReader(open(sys.argv[1], newline='')))\n"
        "assert len(r) == 2\n"
        "for p in r:\n"
        "    assert p['busiest_port'] == 'GPU 4 NVLink in'\n"
        "    assert float(p['busiest_port_bytes']) == 7200000000\n"
        "    assert abs(float(p['gap_to_free_network']) - .6) < 1e-9\n"
        "    assert p['gap_to_offline'] == ''\n"
        "    assert p['total_sent_bytes'] != '' and p['total_migrations'] != ''\n";
    struct result r = spread_out();
    char *text = printed(&r, result_print_csv);

    assert_int_equal(check_with_python(*state, program, text), 0);
    free(text);
    result_release(&r);
}

/* Both sorts of results give the same columns, one GPU's empty where it has nothing. */
static void csv_has_the_same_columns_on_one_gpu(void **state)
{
    struct result one = awkward(), several = spread_out();
    char *a = printed(&one, result_print_csv), *b = printed(&several, result_print_csv);

    (void)state;
    assert_int_equal(strcspn(a, "\n"), strcspn(b, "\n"));
    assert_memory_equal(a, b, strcspn(a, "\n"));
    free(a);
    free(b);
    result_release(&one);
    result_release(&several);
}

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_with_units),
        cmocka_unit_test(cells_cut_whole_characters),
        cmocka_unit_test(strings_are_escaped),
        cmocka_unit_test(the_table_says_what_was_summed),
        cmocka_unit_test(the_table_fits_whatever_the_numbers),
        cmocka_unit_test(pairs_that_say_nothing_are_counted),
        cmocka_unit_test(the_table_of_several_gpus),
        cmocka_unit_test(what_some_policies_have),
        cmocka_unit_test(the_table_of_several_gpus_fits),
        cmocka_unit_test(one_policy_has_no_pairs),
        cmocka_unit_test(an_interval_by_hand),
        cmocka_unit_test(holm_corrects),
        cmocka_unit_test(many_policies_have_few_pairs),
        cmocka_unit_test(first_tokens_where_there_are_no_others),
        cmocka_unit_test(a_stopped_run_is_none),
        cmocka_unit_test(json_is_read_by_others),
        cmocka_unit_test(csv_is_read_by_others),
        cmocka_unit_test(json_of_several_gpus),
        cmocka_unit_test(csv_of_several_gpus),
        cmocka_unit_test(csv_has_the_same_columns_on_one_gpu),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
