/* Results for scripts, JSON and CSV, as others read them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "made_result.h"
#include "sim/report/print.h"
#include "sim/base/mem.h"
#include "sim/base/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

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
    json_string(out, "\xf3\xa0\x80\x81"); /* U+E0001, which shows nothing */
    json_number(out, NAN);
    json_number(out, 0.1);
    csv_number(out, INFINITY);
    assert_int_equal(fclose(out), 0);
    assert_string_equal(text, "\"a\\\"b\\\\c\\n\\u0001\xc3\xbc\\ufffd\\ufffd\\ufffd\""
                              "\",plain\"\"say \"\"x\"\"\n\""
                              "\"\\udb40\\udc01\"null0.1");
    free(text);
}

/* What a spreadsheet would compute gets a quote before it; numbers and dashes do not. */
static void formulas_are_texts(void **state)
{
    static const struct {
        const char *text, *cell;
    } known[] = {{"=1+1", "'=1+1"}, {"@x", "'@x"},        {"\tx", "'\tx"},
                 {"-x", "'-x"},     {"-1+2", "'-1+2"},    {"-inf", "'-inf"},
                 {"+1", "+1"},      {"-1.5e3", "-1.5e3"}, {"a=1", "a=1"},
                 {"-", "-"},        {"+", "+"},           {"", ""}};

    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);

        assert_non_null(out);
        csv_string(out, known[i].text);
        assert_int_equal(fclose(out), 0);
        assert_string_equal(text, known[i].cell);
        free(text);
    }
}

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
    char *text = made_printed(&r, result_print_json);

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
    char *text = made_printed(&r, result_print_csv);

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
    char *text = made_printed(&r, result_print_json);

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
    char *text = made_printed(&r, result_print_csv);

    assert_int_equal(check_with_python(*state, program, text), 0);
    free(text);
    result_release(&r);
}

/* Both sorts of results give the same columns, one GPU's empty where it has nothing. */
static void csv_has_the_same_columns_on_one_gpu(void **state)
{
    struct result one = awkward(), several = spread_out();
    char *a = made_printed(&one, result_print_csv),
         *b = made_printed(&several, result_print_csv);

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
        cmocka_unit_test(strings_are_escaped),
        cmocka_unit_test(formulas_are_texts),
        cmocka_unit_test(json_is_read_by_others),
        cmocka_unit_test(csv_is_read_by_others),
        cmocka_unit_test(json_of_several_gpus),
        cmocka_unit_test(csv_of_several_gpus),
        cmocka_unit_test(csv_has_the_same_columns_on_one_gpu),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
