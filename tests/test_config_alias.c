/* Anchors, aliases and merge keys: a document with them is the one in which all is
 * written out; what has no end or is too much is refused. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "config_sample.h"

#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

static void same_as_written_out(void **state)
{
    static const struct {
        const char *text, *plain;
    } cases[] = {
        {"{a: &x 4, b: *x}", "{a: 4, b: 4}"},
        {"{a: &x \"4\", b: *x}", "{a: \"4\", b: \"4\"}"},
        {"{a: &x [1, {c: d}], b: *x, e: [*x, *x]}",
         "{a: [1, {c: d}], b: [1, {c: d}], e: [[1, {c: d}], [1, {c: d}]]}"},
        {"{a: &x , b: *x}", "{a: null, b: null}"},
        {"{a: &x 1, b: &x 2, c: *x}", "{a: 1, b: 2, c: 2}"}, /* the last one before it */
        {"{a: &x [&y 3], b: *y, c: *x}", "{a: [3], b: 3, c: [3]}"},
        {"- &x {a: 1, b: 2}\n- {<<: *x, b: 3}", "[{a: 1, b: 2}, {a: 1, b: 3}]"},
        {"- &x {a: 1, b: 2}\n- {b: 3, <<: *x, c: 4}",
         "[{a: 1, b: 2}, {b: 3, a: 1, c: 4}]"},
        {"- &x {a: 1}\n- &y {a: 2, b: 2}\n- {<<: [*x, *y]}",
         "[{a: 1}, {a: 2, b: 2}, {a: 1, b: 2}]"},
        {"- &x {a: 1}\n- &y {<<: *x, b: 2}\n- {<<: *y, c: 3}",
         "[{a: 1}, {a: 1, b: 2}, {a: 1, b: 2, c: 3}]"},
        {"{<<: {a: 1}, b: 2}", "{a: 1, b: 2}"},
        {"- &x {}\n- {<<: *x}", "[{}, {}]"},
        {"- &x {c: {s: 1, t: 2}}\n- {<<: *x, c: {s: 3}}", /* keys, not what is below */
         "[{c: {s: 1, t: 2}}, {c: {s: 3}}]"},
        {"{\"<<\": {a: 1}}", "{\"<<\": {a: 1}}"}, /* in quotes it is a key */
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct cfg *c = sample_parse(cases[i].text),
                   *plain = sample_parse(cases[i].plain);
        char *said = cfg_dump(c), *wanted = cfg_dump(plain);

        if (strcmp(said, wanted) != 0)
            fail_msg("%s is\n%s", cases[i].text, said);
        free(said);
        free(wanted);
        cfg_free(c);
        cfg_free(plain);
    }
}

static void refused(const char *text, const char *sentence)
{
    struct err e = {.text = ""};
    struct cfg *c = cfg_parse("demo.yaml", text, strlen(text), &e);

    assert_null(c);
    assert_string_equal(e.text, sentence);
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    refused("a: *b", "demo.yaml:1:4: no anchor '&b' stands before alias '*b'");
    refused("a: *base\nb: &base 1",
            "demo.yaml:1:4: no anchor '&base' stands before alias '*base'");
    refused("a: &base 1\nb: *bse", "demo.yaml:2:4: no anchor '&bse' stands before alias "
                                   "'*bse'; did you mean 'base'?");
    refused("a: &x [1, *x]", "demo.yaml:1:11: alias '*x' stands inside what '&x' is, and "
                             "has no end; write the value out");
    refused("&x {b: {c: *x}}", "demo.yaml:1:12: alias '*x' stands inside what '&x' is, "
                               "and has no end; write the value out");
    refused("&x {<<: *x}", "demo.yaml:1:9: alias '*x' stands inside what '&x' is, and "
                           "has no end; write the value out");
    refused("a: &x 1\n*x : 2", "demo.yaml:2:1: a key is an alias; give it a name");
    refused("&x a: 1", "demo.yaml:1:1: anchor '&x' stands at a key; put it before the "
                       "value");
    refused("a: &x 1\nb: {<<: *x}",
            "demo.yaml:1:4: '<<' takes the keys of other mappings; give it an alias of "
            "one, such as *base, or a list of them");
    refused("{<<: 3}", "demo.yaml:1:6: '<<' takes the keys of other mappings; give it an "
                       "alias of one, such as *base, or a list of them");
    refused("a: &x {k: 1}\nb: {<<: [*x, 3]}",
            "demo.yaml:2:14: '<<' takes the keys of other mappings; give it an alias of "
            "one, such as *base, or a list of them");
    refused("a: &x {k: 1}\nb: {<<: *x, <<: *x}",
            "demo.yaml:2:13: key '<<' is given already in line 2 in b");
}

/* A value's place is where it was written. */
static void faults_lie_where_they_were_written(void **state)
{
    static const char text[] = "extra:\n"
                               "- &base {batch: 0}\n"
                               "- {<<: *base, delta: 2}\n";
    struct cfg *c = sample_parse(text);
    const struct cfg_node *second = cfg_item(cfg_find(cfg_root(c), "extra"), 1);
    struct err e = {.text = ""};
    struct sample s;

    (void)state;
    assert_int_equal(cfg_bind(second, sample_options, &s, &e), -1);
    assert_string_equal(e.text, "demo.yaml:2:17: 'batch' is 0; expected an integer from "
                                "1 to 65536");
    cfg_free(c);
}

/* Ten lists of ten aliases each of the list before would be 10^10 values. */
static void bombs_are_refused(void **state)
{
    char *text = mem_strdup("a0: &a0 [1, 1]\n");
    struct err e = {.text = ""};

    (void)state;
    for (int i = 1; i <= 10; i++) {
        char *longer = mem_format("%sa%d: &a%d [", text, i, i);

        for (int k = 0; k < 10; k++) {
            char *more = mem_format("%s*a%d%s", longer, i - 1, k < 9 ? ", " : "]\n");

            free(longer);
            longer = more;
        }
        free(text);
        text = longer;
    }
    assert_null(cfg_parse("demo.yaml", text, strlen(text), &e));
    assert_non_null(strstr(e.text, "aliases stand for more than 100000 values; use fewer "
                                   "of them"));
    free(text);
    e.text[0] = '\0';
    text = mem_strdup("a0: &a0 [1]\n");
    for (int i = 1; i <= 40; i++) {
        char *longer = mem_format("%sa%d: &a%d [*a%d]\n", text, i, i, i - 1);

        free(text);
        text = longer;
    }
    assert_null(cfg_parse("demo.yaml", text, strlen(text), &e));
    assert_non_null(strstr(e.text, "makes values nested deeper than 32 levels"));
    free(text);
}

/* A chain of them of the very depth that is allowed, and one more. */
static void depth_is_exact(void **state)
{
    char text[200] = "";
    struct err e = {.text = ""};
    struct cfg *c;

    (void)state;
    for (int depth = 30; depth <= 31; depth++) {
        size_t used = (size_t)snprintf(text, sizeof text, "[&x [1], ");

        for (int i = 0; i < depth; i++)
            text[used++] = '[';
        used += (size_t)snprintf(text + used, sizeof text - used, "*x");
        for (int i = 0; i < depth; i++)
            text[used++] = ']';
        (void)snprintf(text + used, sizeof text - used, "]");
        c = cfg_parse("demo.yaml", text, strlen(text), &e);
        assert_int_equal(c != NULL, depth == 30);
        cfg_free(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_as_written_out),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(faults_lie_where_they_were_written),
        cmocka_unit_test(bombs_are_refused),
        cmocka_unit_test(depth_is_exact),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
