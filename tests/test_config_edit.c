/* Configuration once it is read: overrides (--set), dumps, copies of parts. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "config_sample.h"

#include <stdlib.h>
#include <string.h>

/* Applies `assignment` to `text`; the document must then dump as `expected`. */
static void assert_override(const char *text, const char *assignment,
                            const char *expected)
{
    struct cfg *c = sample_parse(text);
    struct err e = {.text = ""};
    char *dump;

    if (cfg_override(c, assignment, &e) != 0)
        fail_msg("%s", e.text);
    dump = cfg_dump(c);
    assert_string_equal(dump, expected);
    free(dump);
    cfg_free(c);
}

static void overrides_replace_and_add(void **state)
{
    (void)state;
    assert_override("a: 1\nb: 2", "a=3", "a: 3\nb: 2\n");
    assert_override("a: 1", "b=x", "a: 1\nb: x\n");
    assert_override("{}", "a.b.c=1", "a:\n  b:\n    c: 1\n");
    assert_override("a: [1, 2]", "a.0=9", "a:\n  - 9\n  - 2\n");
    assert_override("a: [1, 2]", "a.2=9", "a:\n  - 1\n  - 2\n  - 9\n");
    assert_override("a: [{b: 1}]", "a.0.b=[]", "a:\n  - b: []\n");
    assert_override("a:\nb: 1", "a.c=2", "a:\n  c: 2\nb: 1\n");
    assert_override("a: {b: 1}", "a=2", "a: 2\n");
    assert_override("a: 1", "a={x: [1, y], z: 4 GiB}",
                    "a:\n  x:\n    - 1\n    - y\n  z: 4 GiB\n");
    assert_override("a: 1", "a=", "a: null\n");
    assert_override("a: 1", "a='b=c'", "a: \"b=c\"\n");
    assert_override("a: 1", "a='4 '", "a: \"4 \"\n");
    assert_override("a: 1", "a='b -c'", "a: \"b -c\"\n");
    assert_override("[1, 2]", "1=3", "- 1\n- 3\n");
}

static void bad_overrides_name_the_text(void **state)
{
    static const struct refusal cases[] = {
        {"a", "--set a: expected KEY=VALUE, such as seed=2"},
        {"=1", "--set =1: expected KEY=VALUE, where KEY is names and numbers with dots "
               "between, such as seed=2"},
        {"a..b=1", "--set a..b=1: expected KEY=VALUE, where KEY is names and numbers "
                   "with dots between, such as seed=2"},
        {"a.=1", "--set a.=1: expected KEY=VALUE, where KEY is names and numbers with "
                 "dots between, such as seed=2"},
        {"\xff=1", "--set ?=1: expected KEY=VALUE, where KEY is names and numbers "
                   "with dots between, such as seed=2"},
        {"list.3=1",
         "--set list.3=1: '3' is no item of the list in list; expected 0 to 2"},
        {"list.x=1",
         "--set list.x=1: 'x' is no item of the list in list; expected 0 to 2"},
        {"list.99999999999999999999=1",
         "--set list.99999999999999999999=1: "
         "'99999999999999999999' is no item of the list in "
         "list; expected 0 to 2"},
        {"batch.x=1",
         "--set batch.x=1: there is no 'x' in batch, which is a single value"},
        {"batch=[1", "--set batch=[1: not valid YAML: did not find expected ',' or ']' "
                     "while parsing a flow sequence"},
        {"batch=*x", "--set batch=*x: no anchor '&x' stands before alias '*x'"},
        {"extra={a: 1, a: 2}", "--set extra={a: 1, a: 2}: key 'a' is given twice"},
        {"x={" SAMPLE_KEY_48 ": 1, " SAMPLE_KEY_48 ": 2}",
         "--set x={" SAMPLE_KEY_48 ": 1, " SAMPLE_KEY_48 ": 2}: key '" SAMPLE_KEY_48
         "' is given twice"},
        {"x={" SAMPLE_KEY_48 "y: 1, " SAMPLE_KEY_48 "y: 2}",
         "--set x={" SAMPLE_KEY_48 "y: 1, " SAMPLE_KEY_48 "y: 2}: key '" SAMPLE_KEY_48
         "...' is given twice"},
    };
    struct cfg *c = sample_parse("{batch: 4, list: [1, 2]}");
    char *before = cfg_dump(c), *after;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err e = {.text = ""};

        assert_int_equal(cfg_override(c, cases[i].text, &e), -1);
        assert_string_equal(e.text, cases[i].sentence);
    }
    after = cfg_dump(c);
    assert_string_equal(before, after);
    free(before);
    free(after);
    cfg_free(c);
}

static void bad_values_of_overrides_name_the_text(void **state)
{
    struct cfg *c = sample_parse("batch: 4");
    struct sample s;
    struct err e = {.text = ""};

    (void)state;
    assert_int_equal(cfg_override(c, "batch=0", &e), 0);
    assert_int_equal(cfg_bind(cfg_root(c), sample_options, &s, &e), -1);
    assert_string_equal(
        e.text, "--set batch=0: 'batch' is 0; expected an integer from 1 to 65536");
    e.text[0] = '\0';
    assert_int_equal(cfg_override(c, "batch=1", &e), 0);
    assert_int_equal(cfg_override(c, "pol=1 ns", &e), 0);
    assert_int_equal(cfg_bind(cfg_root(c), sample_options, &s, &e), -1);
    assert_string_equal(e.text,
                        "--set pol=1 ns: unknown key 'pol'; did you mean 'poll'?");
    cfg_free(c);
}

/* What was handed out stays valid when an override replaces it. */
static void replaced_strings_stay(void **state)
{
    struct cfg *c = sample_parse("name: first");
    struct sample s;
    struct err e = {.text = ""};

    (void)state;
    assert_int_equal(cfg_bind(cfg_root(c), sample_options, &s, &e), 0);
    assert_int_equal(cfg_override(c, "name=second", &e), 0);
    assert_string_equal(s.name, "first");
    assert_int_equal(cfg_bind(cfg_root(c), sample_options, &s, &e), 0);
    assert_string_equal(s.name, "second");
    cfg_free(c);
}

/* What is set is text, also where it looks like nothing or like something else. */
static void set_texts_are_text(void **state)
{
    static const char *const words[][2] = {
        {"null", "name: \"null\"\n"}, {"~", "name: \"~\"\n"}, {"", "name: \"\"\n"},
        {"-", "name: \"-\"\n"},       {"+", "name: \"+\"\n"}, {"..", "name: \"..\"\n"}};

    (void)state;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        struct cfg *c = sample_parse("name: first");
        struct sample s;
        struct err e = {.text = ""};
        char *dump;

        cfg_set_text(c, cfg_find(cfg_root(c), "name"), words[i][0]);
        assert_int_equal(cfg_bind(cfg_root(c), sample_options, &s, &e), 0);
        assert_string_equal(s.name, words[i][0]);
        dump = cfg_dump(c);
        assert_string_equal(dump, words[i][1]);
        free(dump);
        cfg_free(c);
    }
}

static void dumps_parse_to_the_same_dump(void **state)
{
    static const char *const texts[] = {
        "a: 1",
        "[[], {}, [[1, [2]], {a: {b: [c]}}]]",
        "a: \"\\x01\\t\\n\\u0085\\u2028\\ufeff\\ud7ff\\U0001F600 '\\\"\\\\\"",
        "a: |\n  two\n  lines\nb: >\n  folded\n  text\n",
        "'a: b': ' lead'\n'#x': 'trail '\n'- y': \"- z\"\n'?': '!'\n",
        "a: ~\nb: null\nc:\nd: 'null'\ne: '~'\nf: ''\n",
        "a: -1\nb: +.5\nc: -.5\nd: .5\ne: '-1'\nf: ---x\ng: ...x\nh: a -b\n",
        "ключ: значение\nmüller: straße\n",
        "a: x # comment\nb: x#y\nc: 'x #y'\nd: a:b\n",
        "plain words",
        "a: {x: , y: 1}\n",
    };
    struct err e = {.text = ""};

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct cfg *c = cfg_parse("x", texts[i], strlen(texts[i]), &e), *again;
        char *first, *second;

        if (c == NULL)
            fail_msg("%s", e.text);
        first = cfg_dump(c);
        again = sample_parse(first);
        second = cfg_dump(again);
        assert_string_equal(first, second);
        free(first);
        free(second);
        cfg_free(c);
        cfg_free(again);
    }
}

static void dumps_are_readable(void **state)
{
    struct cfg *c =
        sample_parse("{a: [1, {b: c, d: \"4\"}], e: models/x-1.yaml, f: 4 GiB, g: }");
    char *dump = cfg_dump(c);

    (void)state;
    assert_string_equal(dump, "a:\n  - 1\n  - b: c\n    d: \"4\"\n"
                              "e: models/x-1.yaml\nf: 4 GiB\ng: null\n");
    free(dump);
    cfg_free(c);
}

/* A copy is a document of its own: it outlives what it was taken from, changes alone, and
 * its messages name the same place. */
static void parts_can_be_copied(void **state)
{
    static const char text[] = "a: 1\nb:\n  - {c: \"1\", d: [x, ~, 3 ms]}\n  - e: 5\n";
    struct err e = {.text = ""};
    struct cfg *c = cfg_parse("t.yaml", text, sizeof text - 1, &e), *part;
    char *dump;

    (void)state;
    assert_non_null(c);
    part = cfg_copy(cfg_find(cfg_root(c), "b"));
    assert_int_equal(cfg_override(part, "1.e=6", &e), 0);
    assert_string_equal(cfg_text(cfg_find(cfg_item(cfg_find(cfg_root(c), "b"), 1), "e")),
                        "5");
    cfg_free(c);
    dump = cfg_dump(part);
    assert_string_equal(dump,
                        "- c: \"1\"\n  d:\n    - x\n    - null\n    - 3 ms\n- e: 6\n");
    free(dump);
    (void)cfg_error(cfg_find(cfg_item(cfg_root(part), 0), "d"), &e, "is wrong");
    assert_string_equal(e.text, "t.yaml:3:17: is wrong");
    cfg_free(part);
}

/* A configuration that no file holds: sentences name what a value came from, or nothing;
 * a place is written once. */
static void documents_are_made_of_values(void **state)
{
    struct cfg *c = cfg_new();
    struct sample s;
    struct err e = {.text = ""};
    char *dump;

    (void)state;
    assert_int_equal(cfg_set(c, "--batch 0", "batch", "0", &e), 0);
    assert_int_equal(cfg_set(c, NULL, "extra", "[]", &e), 0);
    assert_int_equal(cfg_set(c, NULL, "extra.0.x", "{y: 1}", &e), 0);
    dump = cfg_dump(c);
    assert_string_equal(dump, "batch: 0\nextra:\n  - x:\n      y: 1\n");
    free(dump);
    assert_int_equal(cfg_bind(cfg_root(c), sample_options, &s, &e), -1);
    assert_string_equal(e.text,
                        "--batch 0: 'batch' is 0; expected an integer from 1 to 65536");
    assert_int_equal(cfg_locate(cfg_root(c), "extra", &e), -1);
    assert_string_equal(e.text,
                        "--batch 0: 'batch' is 0; expected an integer from 1 to 65536");
    e.text[0] = '\0';
    (void)err_set(&e, "nothing is extra");
    assert_int_equal(cfg_locate(cfg_root(c), "extra", &e), -1);
    assert_string_equal(e.text, "nothing is extra");
    e.text[0] = '\0';
    assert_int_equal(cfg_set(c, "--batch [", "batch", "[", &e), -1);
    assert_true(strncmp(e.text, "--batch [: not valid YAML: ", 27) == 0);
    cfg_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(overrides_replace_and_add),
        cmocka_unit_test(bad_overrides_name_the_text),
        cmocka_unit_test(bad_values_of_overrides_name_the_text),
        cmocka_unit_test(replaced_strings_stay),
        cmocka_unit_test(set_texts_are_text),
        cmocka_unit_test(dumps_parse_to_the_same_dump),
        cmocka_unit_test(dumps_are_readable),
        cmocka_unit_test(parts_can_be_copied),
        cmocka_unit_test(documents_are_made_of_values),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
