/* Configuration: what parses, what is refused and in which words. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "config_sample.h"

#include "sim/base/config.h"
#include "sim/base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct required {
    int64_t slots;
    const struct cfg_node *layers;
};

static const struct option required_options[] = {
    {"slots", OPT_INT, offsetof(struct required, slots), NULL, 2, INFINITY, NULL, "h"},
    {"layers", OPT_NODE, offsetof(struct required, layers), NULL, 0, 0, NULL, "h"},
    {.name = NULL},
};

/* Parses and binds; the sentence must be `expected` to the letter. */
static void assert_refused(const char *text, const struct option *table, void *target,
                           const char *expected)
{
    struct err e = {.text = ""};
    struct cfg *c = cfg_parse("demo.yaml", text, strlen(text), &e);

    if (c != NULL)
        assert_int_equal(cfg_bind(cfg_root(c), table, target, &e), -1);
    assert_string_equal(e.text, expected);
    cfg_free(c);
}

static void defaults_fill_the_struct(void **state)
{
    struct cfg *c = sample_parse("{}");
    struct sample a, b;
    struct err e = {.text = ""};

    (void)state;
    memset(&a, 0x5a, sizeof a);
    assert_int_equal(cfg_bind(cfg_root(c), sample_options, &a, &e), 0);
    assert_true(a.batch == 8 && a.delta == 0 && a.fraction == 0.25 && !a.strict);
    assert_true(a.policy == 1 && a.capacity_bytes == 1048576 && a.poll == 2500000);
    assert_string_equal(a.name, "");
    assert_null(a.extra);
    assert_int_equal(cfg_bind(NULL, sample_options, &b, &e), 0);
    assert_true(b.batch == 8 && b.poll == 2500000 && b.extra == NULL);
    cfg_free(c);
    cfg_free(NULL);
}

static void every_type_is_read(void **state)
{
    struct cfg *c = sample_parse("# a comment\n"
                                 "batch: 65536\n"
                                 "delta: -12\n"
                                 "fraction: 2.385e-1\n"
                                 "strict: on\n"
                                 "policy: \"belady\"\n"
                                 "capacity: 1.5 GiB\n"
                                 "poll: 30ns\n"
                                 "name: 'Müller & co'\n"
                                 "extra: [1, {a: b}]\n");
    struct sample s;
    struct err e = {.text = ""};

    (void)state;
    assert_int_equal(cfg_bind(cfg_root(c), sample_options, &s, &e), 0);
    assert_true(s.batch == 65536 && s.delta == -12 && s.fraction == 0.2385 && s.strict);
    assert_true(s.policy == 2 && s.capacity_bytes == UINT64_C(1610612736));
    assert_true(s.poll == 30000);
    assert_string_equal(s.name, "Müller & co");
    assert_true(cfg_is_list(s.extra) && cfg_count(s.extra) == 2);
    assert_true(cfg_is_map(cfg_item(s.extra, 1)));
    assert_string_equal(cfg_text(cfg_find(cfg_item(s.extra, 1), "a")), "b");
    cfg_free(c);
}

static void the_tree_can_be_walked(void **state)
{
    struct cfg *c = sample_parse("{a: {x: 1, y: [p, q]}, b: }");
    const struct cfg_node *root = cfg_root(c), *a = cfg_find(root, "a");

    (void)state;
    assert_int_equal(cfg_count(root), 2);
    assert_string_equal(cfg_key(root, 1), "b");
    assert_null(cfg_key(root, 2));
    assert_null(cfg_find(root, "x"));
    assert_null(cfg_text(a));
    assert_ptr_equal(cfg_item(root, 0), a);
    assert_true(cfg_is_scalar(cfg_find(a, "x")));
    assert_int_equal(cfg_count(cfg_find(a, "x")), 0);
    assert_null(cfg_find(cfg_find(a, "x"), "x"));
    assert_null(cfg_key(cfg_find(a, "y"), 0));
    assert_string_equal(cfg_text(cfg_item(cfg_find(a, "y"), 1)), "q");
    cfg_free(c);
}

static void yaml_beyond_plain_values_is_refused(void **state)
{
    static const struct refusal cases[] = {
        {"", "demo.yaml: the file is empty; expected keys and values"},
        {"# nothing\n", "demo.yaml: the file is empty; expected keys and values"},
        {"---\n...\n", "demo.yaml: the file is empty; expected keys and values"},
        {"batch: 1\nname: x\nbatch: 2",
         "demo.yaml:3:1: key 'batch' is given already in line 1"},
        {"extra:\n  b: {c: 1, d: 2, e: 3, d: 4, c: 5}",
         "demo.yaml:2:25: key 'd' is given already in line 2 in extra.b"},
        {"batch: !int 1", "demo.yaml:1:8: tag '!int' is not supported; remove it"},
        {"extra: !!seq [1]",
         "demo.yaml:1:8: tag 'tag:yaml.org,2002:seq' is not supported; remove it"},
        {"batch: 1\n---\nbatch: 2\n",
         "demo.yaml:2:1: a second document begins here; keep one per file"},
        {"extra:\n\tbatch: 1\n", "demo.yaml:2:1: a tab stands here; YAML wants spaces"},
        {"name: \xc3\xbc\nx: ab\xff", "demo.yaml:2:6: invalid leading UTF-8 octet "
                                      "(0xff); the file must be UTF-8 text"},
        {"name: \xc3\xbc \x01",
         "demo.yaml:1:9: control characters are not allowed (0x01); the file must be "
         "UTF-8 text"},
        {"name: \"a\\0b\"", "demo.yaml:1:7: this text holds a NUL character; remove it"},
        {"extra: [1,\n2", "demo.yaml:3:1: not valid YAML: did not find expected ',' or "
                          "']' while parsing a flow sequence that began in line 1"},
        {"name: @x", "demo.yaml:1:7: not valid YAML: found character that cannot start "
                     "any token while scanning for the next token"},
        {"? [a]\n: b", "demo.yaml:1:3: a key is a list or mapping; give it a name"},
        {"? {a: b}\n: b", "demo.yaml:1:3: a key is a list or mapping; give it a name"},
        {"'': 1", "demo.yaml:1:1: a key is empty; give it a name"},
        {"[1]", "demo.yaml:1:1: a list stands where a mapping belongs; allowed: batch, "
                "delta, fraction, strict, policy, capacity, poll, name, extra"},
        {"just words",
         "demo.yaml:1:1: a single value stands where a mapping belongs; allowed: batch, "
         "delta, fraction, strict, policy, capacity, poll, name, extra"},
    };
    struct sample s;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_refused(cases[i].text, sample_options, &s, cases[i].sentence);
}

static void wrong_values_are_explained(void **state)
{
    static const struct refusal cases[] = {
        {"# x\n\n  batch: 0",
         "demo.yaml:3:10: 'batch' is 0; expected an integer from 1 to 65536"},
        {"bacth: 3", "demo.yaml:1:1: unknown key 'bacth'; did you mean 'batch'?"},
        {"Policy: lru", "demo.yaml:1:1: unknown key 'Policy'; did you mean 'policy'?"},
        {"temperature: 3",
         "demo.yaml:1:1: unknown key 'temperature'; allowed: batch, delta, fraction, "
         "strict, policy, capacity, poll, name, extra"},
        {"batch: 65537",
         "demo.yaml:1:8: 'batch' is 65537; expected an integer from 1 to 65536"},
        {"batch: \"8\"",
         "demo.yaml:1:8: 'batch' is \"8\"; expected an integer from 1 to 65536"},
        {"batch: [8]",
         "demo.yaml:1:8: 'batch' is a list; expected an integer from 1 to 65536"},
        {"batch: {}",
         "demo.yaml:1:8: 'batch' is a mapping; expected an integer from 1 to 65536"},
        {"batch:",
         "demo.yaml:1:7: 'batch' is empty; expected an integer from 1 to 65536"},
        {"batch: ~",
         "demo.yaml:1:8: 'batch' is empty; expected an integer from 1 to 65536"},
        {"delta: 9223372036854775808",
         "demo.yaml:1:8: 'delta' is 9223372036854775808; expected an integer of 64 bits"},
        {"fraction: 1.0000001",
         "demo.yaml:1:11: 'fraction' is 1.0000001; expected a number from 0 to 1"},
        {"fraction: .nan",
         "demo.yaml:1:11: 'fraction' is .nan; expected a number from 0 to 1"},
        {"strict: maybe", "demo.yaml:1:9: 'strict' is maybe; expected true or false"},
        {"strict: 'yes'", "demo.yaml:1:9: 'strict' is \"yes\"; expected true or false"},
        {"policy: beladi", "demo.yaml:1:9: 'policy' is beladi; expected one of lru, lfu, "
                           "belady; did you mean 'belady'?"},
        {"policy: arc cache",
         "demo.yaml:1:9: 'policy' is \"arc cache\"; expected one of lru, lfu, belady"},
        {"capacity: 4 GB/s", "demo.yaml:1:11: 'capacity' is \"4 GB/s\"; expected a size "
                             "with its unit, such as 64 MiB"},
        {"poll: 7", "demo.yaml:1:7: 'poll' is 7; expected a time with its unit, such as "
                    "2.5 us"},
        {"name: null", "demo.yaml:1:7: 'name' is empty; expected text"},
        {"policy: \"a\\nb\\x1b[31m\"",
         "demo.yaml:1:9: 'policy' is \"a?b?[31m\"; expected one of lru, lfu, belady"},
    };
    struct sample s;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_refused(cases[i].text, sample_options, &s, cases[i].sentence);
}

static void missing_keys_are_named(void **state)
{
    struct required r;
    struct err e = {.text = ""};

    (void)state;
    assert_refused(
        "layers: [1]", required_options, &r,
        "demo.yaml:1:1: 'slots' is missing; expected an integer of at least 2");
    assert_refused("slots: 4\n", required_options, &r,
                   "demo.yaml:1:1: 'layers' is missing; expected a list or a mapping");
    assert_refused("slots: 4\nlayers:\n", required_options, &r,
                   "demo.yaml:2:8: 'layers' is empty; expected a list or a mapping");
    /* A typing error explains more than the absence that follows from it. */
    assert_refused("slot: 4", required_options, &r,
                   "demo.yaml:1:1: unknown key 'slot'; did you mean 'slots'?");
    assert_int_equal(cfg_bind(NULL, required_options, &r, &e), -1);
    assert_string_equal(e.text, "'slots' is missing; expected an integer of at least 2");
}

static void the_path_is_part_of_the_message(void **state)
{
    struct cfg *c =
        sample_parse("cluster:\n  nodes:\n    - {}\n    - cache:\n        slot: 4\n");
    const struct cfg_node *nodes = cfg_find(cfg_find(cfg_root(c), "cluster"), "nodes");
    const struct cfg_node *cache = cfg_find(cfg_item(nodes, 1), "cache");
    struct required r;
    struct err e = {.text = ""};

    (void)state;
    assert_int_equal(cfg_bind(cache, required_options, &r, &e), -1);
    assert_string_equal(e.text, "demo.yaml:5:9: unknown key 'slot' in cluster.nodes.1."
                                "cache; did you mean 'slots'?");
    e.text[0] = '\0';
    assert_int_equal(cfg_bind(cfg_item(nodes, 0), required_options, &r, &e), -1);
    assert_string_equal(e.text, "demo.yaml:3:7: 'slots' is missing in cluster.nodes.0; "
                                "expected an integer of at least 2");
    e.text[0] = '\0';
    assert_int_equal(cfg_error(cache, &e, "%d gpus share it", 3), -1);
    assert_string_equal(e.text, "demo.yaml:5:9: 3 gpus share it");
    cfg_free(c);
}

static void list_items_bind_one_by_one(void **state)
{
    struct cfg *c = sample_parse("extra: [4, 2000, x]");
    const struct cfg_node *list = cfg_find(cfg_root(c), "extra");
    const struct option o = {"slots", OPT_INT, 0, NULL, 1, 4096, NULL, "h"};
    struct err e = {.text = ""};
    int64_t value;

    (void)state;
    assert_int_equal(cfg_bind_value(cfg_item(list, 1), &o, &value, &e), 0);
    assert_true(value == 2000);
    assert_int_equal(cfg_bind_value(cfg_item(list, 2), &o, &value, &e), -1);
    assert_string_equal(
        e.text, "demo.yaml:1:18: 'slots' is x; expected an integer from 1 to 4096");
    cfg_free(c);
}

/* ---- limits and files ---- */

static char *repeat(const char *piece, size_t times)
{
    size_t length = strlen(piece);
    char *text = mem_alloc(length * times + 1, 1);

    for (size_t i = 0; i < times; i++)
        memcpy(text + i * length, piece, length);
    text[length * times] = '\0';
    return text;
}

static void depth_is_limited(void **state)
{
    char *open = repeat("[", 32), *close = repeat("]", 32), *deep = repeat("[", 100000);
    char *text = mem_format("%s1%s", open, close);
    struct cfg *c = sample_parse(text);
    struct sample s;
    struct err e = {.text = ""};

    (void)state;
    cfg_free(c);
    assert_refused(deep, sample_options, &s,
                   "demo.yaml:1:33: nested deeper than 32 levels");
    c = sample_parse("a: 1");
    assert_int_equal(cfg_override(c, "b.c.d=[[[1]]]", &e), 0);
    free(text);
    text = mem_format("b.c.d=%s", deep);
    assert_int_equal(cfg_override(c, text, &e), -1);
    assert_non_null(strstr(e.text, "nested deeper than 32 levels"));
    free(text);
    text = repeat("k.", 40);
    e.text[0] = '\0';
    memcpy(text + 78, "=1", 2);
    assert_int_equal(cfg_override(c, text, &e), -1);
    assert_non_null(strstr(e.text, "with dots between"));
    cfg_free(c);
    free(text);
    free(open);
    free(close);
    free(deep);
}

static void size_and_keys_are_limited(void **state)
{
    char *large = repeat("#123456789abcde\n", (1 << 20) + 1);
    char *key = repeat("k", 129);
    char *text = mem_format("%s: 1", key);
    struct sample s;

    (void)state;
    assert_refused(
        large, sample_options, &s,
        "demo.yaml: 16777232 bytes long; a configuration has at most 16777216");
    assert_refused(text, sample_options, &s,
                   "demo.yaml:1:1: key 'kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk...' is longer "
                   "than 128 bytes");
    free(large);
    free(key);
    free(text);
}

/* Long text in messages is cut between characters, and the cure is still there. */
static void long_values_are_cut(void **state)
{
    char *value = repeat("ü", 400);
    char *text = mem_format("policy: %s", value);
    struct sample s;

    (void)state;
    assert_refused(
        text, sample_options, &s,
        "demo.yaml:1:9: 'policy' is üüüüüüüüüüüüüüüüüüüüüüüüüüüüüü...; expected "
        "one of lru, lfu, belady");
    free(text);
    free(value);
}

/* Of a key that is given twice 48 bytes are shown. */
static void long_repeated_keys_are_shown_in_part(void **state)
{
    static const struct refusal cases[] = {
        {SAMPLE_KEY_48 ": 1\n" SAMPLE_KEY_48 ": 2",
         "demo.yaml:2:1: key '" SAMPLE_KEY_48 "' is given already in line 1"},
        {SAMPLE_KEY_48 "x: 1\n" SAMPLE_KEY_48 "x: 2",
         "demo.yaml:2:1: key '" SAMPLE_KEY_48 "...' is given already in line 1"},
    };
    struct sample s;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_refused(cases[i].text, sample_options, &s, cases[i].sentence);
}

static void files_are_loaded(void **state)
{
    char path[] = "/tmp/moesim-config-XXXXXX";
    int fd = mkstemp(path);
    struct err e = {.text = ""};
    struct cfg *c;
    char *expected;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "batch: 3\nbatch: 4\n", 18), 18);
    assert_null(cfg_load(path, &e));
    expected = mem_format("%s:2:1: key 'batch' is given already in line 1", path);
    assert_string_equal(e.text, expected);
    free(expected);
    assert_int_equal(ftruncate(fd, 9), 0);
    assert_int_equal(close(fd), 0);
    e.text[0] = '\0';
    c = cfg_load(path, &e);
    assert_non_null(c);
    assert_string_equal(cfg_text(cfg_find(cfg_root(c), "batch")), "3");
    cfg_free(c);
    assert_int_equal(unlink(path), 0);
    assert_null(cfg_load(path, &e));
    expected = mem_format("%s: cannot open: No such file or directory", path);
    assert_string_equal(e.text, expected);
    free(expected);
}

static void help_lists_every_option(void **state)
{
    static const char *const lines[] = {
        "  batch     requests together (an integer from 1 to 65536; default 8)\n",
        "  policy    who is evicted (one of lru, lfu, belady; default lfu)\n",
        "(a time with its unit, such as 2.5 us; default 2.5 us)\n",
        "  name      what reports call it (text; optional)\n",
    };
    char text[4096] = "";
    FILE *out = fmemopen(text, sizeof text, "w");
    size_t rows = 0;

    (void)state;
    assert_non_null(out);
    cfg_help(sample_options, 2, out);
    cfg_help(required_options, 0, out);
    assert_int_equal(fclose(out), 0);
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        assert_non_null(strstr(text, lines[i]));
    assert_non_null(
        strstr(text, "\nslots   h (an integer of at least 2; required)\nlayers  h "));
    for (const char *c = text; *c != '\0'; c++)
        rows += *c == '\n';
    assert_int_equal(rows, 9 + 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_fill_the_struct),
        cmocka_unit_test(every_type_is_read),
        cmocka_unit_test(the_tree_can_be_walked),
        cmocka_unit_test(yaml_beyond_plain_values_is_refused),
        cmocka_unit_test(wrong_values_are_explained),
        cmocka_unit_test(missing_keys_are_named),
        cmocka_unit_test(the_path_is_part_of_the_message),
        cmocka_unit_test(list_items_bind_one_by_one),
        cmocka_unit_test(depth_is_limited),
        cmocka_unit_test(size_and_keys_are_limited),
        cmocka_unit_test(long_values_are_cut),
        cmocka_unit_test(long_repeated_keys_are_shown_in_part),
        cmocka_unit_test(files_are_loaded),
        cmocka_unit_test(help_lists_every_option),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
