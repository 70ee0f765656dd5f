/* Loops over policies, and what policies of one name are called: the same as written out
 * one by one. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "experiment_lab.h"

#include "sim/base/mem.h"
#include "sim/experiment/loops.h"
#include "sim/policy/label.h"

#include <stdlib.h>
#include <string.h>

/* ---- expansion ---- */

static void same_as_written_out(void **state)
{
    static const struct {
        const char *text, *plain;
    } cases[] = {
        {"policies: [{cache: lru, for: {cache.slots: [4, all]}}]",
         "policies: [{cache: {name: lru, slots: 4}}, {cache: {name: lru, slots: all}}]"},
        {"policies:\n- {preset: x, for: {cache: {slots: 1..5 step 2}}}\n- lru\n",
         "policies: [{preset: x, cache: {slots: 1}}, {preset: x, cache: {slots: 3}}, "
         "{preset: x, cache: {slots: 5}}, lru]"},
        /* The last key changes fastest; what holds another key is put first. */
        {"policies: [{for: {cache.slots: [1, 2], cache: [lru, fifo]}}]",
         "policies: [{cache: {name: lru, slots: 1}}, {cache: {name: fifo, slots: 1}}, "
         "{cache: {name: lru, slots: 2}}, {cache: {name: fifo, slots: 2}}]"},
        {"policies:\n- &b {name: n, for: {prefetch: [none, markov]}}\n"
         "- {<<: *b, name: m}\n- {for: {cache.slots: 3}}\n",
         "policies: [{name: n, prefetch: none}, {name: n, prefetch: markov}, "
         "{name: m, prefetch: none}, {name: m, prefetch: markov}, {cache: {slots: 3}}]"},
        {"policies: [{for: {name: [a, b]}}]", "policies: [{name: a}, {name: b}]"},
        {"policies: [a, {b: 1}]", "policies: [a, {b: 1}]"},
        {"policies: 4", "policies: 4"},
        {"a: 1", "a: 1"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = {.text = ""};
        struct cfg *c = cfg_parse("s", cases[i].text, strlen(cases[i].text), &e);
        struct cfg *plain = cfg_parse("p", cases[i].plain, strlen(cases[i].plain), &e);
        char *said, *wanted = cfg_dump(plain);

        if (loops_expand(c, &e) != 0)
            fail_msg("%s: %s", cases[i].text, e.text);
        said = cfg_dump(c);
        if (strcmp(said, wanted) != 0)
            fail_msg("%s is\n%s", cases[i].text, said);
        free(said);
        assert_int_equal(loops_expand(c, &e), 0); /* again: nothing is left to do */
        said = cfg_dump(c);
        assert_string_equal(said, wanted);
        free(said);
        free(wanted);
        cfg_free(c);
        cfg_free(plain);
    }
}

static void what_cannot_be_is_refused(void **state)
{
    static const struct {
        const char *text, *sentence;
    } cases[] = {
        {"- {for: 3}", "s:2:9: 'for' is no mapping of keys to values; expected such as "
                       "{cache.slots: [4, 8, 16]}"},
        {"- {for: {}}", "s:2:9: 'for' names no key; expected keys with values, such as "
                        "cache.slots: [4, 8, 16]"},
        {"- {for: {cache.slots: []}}", "s:2:23: 'cache.slots' has no values; list some, "
                                       "such as [4, 8, 16]"},
        {"- {cache: {slots: 4}, for: {cache.slots: [4, 8]}}",
         "s:2:42: 'cache.slots' is one of 'for', and stands in the policy itself, too; "
         "take it out of one of them"},
        {"- {cache: lru, for: {cache: [lru, fifo]}}",
         "s:2:29: 'cache' is one of 'for', and stands in the policy itself, too; take it "
         "out of one of them"},
        {"- lru\n- {for: {cache.slots: 1..256}}",
         "s:3:9: 'for' stands for 256 policies, which with the others are more than 256; "
         "take fewer values, or moesim sweep"},
        {"- {for: {cache.slots: 1..20, cache.staging: 1..20}}",
         "s:2:9: 'for' stands for 400 policies"},
        {"- {for: {cache.slots: 4..2}}", "s:2:23: '4..2' is no range"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = mem_format("policies:\n%s\n", cases[i].text);
        struct err e = {.text = ""};
        struct cfg *c = cfg_parse("s", text, strlen(text), &e);

        assert_non_null(c);
        assert_int_equal(loops_expand(c, &e), -1);
        if (strncmp(e.text, cases[i].sentence, strlen(cases[i].sentence)) != 0)
            fail_msg("%s: %s", cases[i].text, e.text);
        cfg_free(c);
        free(text);
    }
}

/* ---- names ---- */

static void called(const char *policies, const char *const *labels, uint32_t count)
{
    struct err e = {.text = ""};
    struct cfg *c = cfg_parse("p", policies, strlen(policies), &e);
    struct policy *p[8];

    assert_non_null(c);
    assert_int_equal(cfg_count(cfg_root(c)), count);
    for (uint32_t i = 0; i < count; i++) {
        p[i] = policy_from_node(cfg_item(cfg_root(c), i), "sim/policy/presets", &e);
        if (p[i] == NULL)
            fail_msg("%s", e.text);
    }
    policy_tell_apart(p, count);
    for (uint32_t i = 0; i < count; i++) {
        assert_string_equal(p[i]->label, labels[i]);
        policy_free(p[i]);
    }
    cfg_free(c);
}

static void told_apart_by_what_differs(void **state)
{
    (void)state;
    called(
        "[{cache: {slots: 4}}, {cache: {slots: all}}, {cache: {name: fifo, slots: 4}}]",
        (const char *const[]){"lru slots=4", "lru slots=all", "fifo"}, 3);
    called("[{cache: {bytes: 62.5 %}}, {cache: {bytes: 3 MB}}]",
           (const char *const[]){"lru bytes=62.5%", "lru bytes=3000000B"}, 2);
    called(
        "[{name: it, cache: {slots: 4, order: recorded}}, {name: it, cache: {slots: 8}}, "
        "{name: other}]",
        (const char *const[]){"it slots=4 order=recorded", "it slots=8 order=id",
                              "other"},
        3);
    /* Several plug-ins under one name: an option that not all have tells nothing. */
    called("[{name: it, cache: {name: lfu-aging, decay: 0.9}}, {name: it, cache: fifo}]",
           (const char *const[]){"it cache=lfu-aging", "it cache=fifo"}, 2);
    /* Three, of which each pair differs in another option. */
    called("[{prefetch: {name: markov, width: 1}}, {prefetch: {name: markov, width: 2}}, "
           "{prefetch: {name: markov, width: 1, distance: 2}}]",
           (const char *const[]){"lru+markov distance=1 width=1",
                                 "lru+markov distance=1 width=2",
                                 "lru+markov distance=2 width=1"},
           3);
    /* Options of one name in two slots. */
    called("[{place: {slots: 8}, cache: {slots: 1}}, {place: {slots: 16}, cache: {slots: "
           "2}}]",
           (const char *const[]){"lru place.slots=8 cache.slots=1",
                                 "lru place.slots=16 cache.slots=2"},
           2);
    called("[{name: it}, {name: it}]", (const char *const[]){"it", "it"}, 2);
}

/* ---- whole experiments ---- */

static void loops_run_as_written_out(void **state)
{
    struct result loops = lab_result(
        *state,
        "policies:\n"
        "- {cache: lru, for: {cache.slots: [3, 6, all]}}\n"
        "- {name: ahead, prefetch: oracle, cache: {slots: 4}, for: {cache.order: [id, "
        "recorded]}}\n",
        2);
    struct result plain = lab_result(
        *state,
        "policies:\n"
        "- {name: lru slots=3, cache: {slots: 3}}\n"
        "- {name: lru slots=6, cache: {slots: 6}}\n"
        "- {name: lru slots=all, cache: {slots: 12, preload: linear}}\n"
        "- {name: ahead order=id, prefetch: oracle, cache: {slots: 4}}\n"
        "- {name: ahead order=recorded, prefetch: oracle, cache: {slots: 4, order: "
        "recorded}}\n",
        1);

    assert_int_equal(loops.policies, 5);
    assert_int_equal(plain.policies, 5);
    for (uint32_t i = 0; i < 5; i++) {
        assert_string_equal(loops.policy[i].label, plain.policy[i].label);
        assert_int_equal(loops.policy[i].run.digest, plain.policy[i].run.digest);
        assert_string_equal(loops.policy[i].description[SLOT_CACHE],
                            plain.policy[i].description[SLOT_CACHE]);
    }
    result_release(&loops);
    result_release(&plain);
}

static void faults_of_loops(void **state)
{
    lab_refuse(
        *state, "policies:\n- {for: {cache.slots: [3, 13]}}\n",
        "test.yaml:5:27: policy 'lru slots=13': cache: slots is 13, but a layer has "
        "12 experts");
    lab_refuse(*state, "policies:\n- {for: {cache.slot: [3, 4]}}\n",
               "test.yaml:5:10: unknown key 'slot' in policies.0.cache; did you mean "
               "'slots'?");
    lab_refuse(*state, "policies:\n- {for: {workload.batch: [3, 4]}}\n",
               "test.yaml:5:10: unknown key 'workload' in policies.0");
    lab_refuse(*state, "policies: [{cache: {slots: 4}}, {cache: {slots: 4}}]\n",
               "two policies are called 'lru', and differ in nothing; take one out, or "
               "give it another 'name'");
    lab_refuse(*state,
               "policies:\n- {for: {cache.slots: [3, 4]}}\n- {name: lru slots=3, cache: "
               "{name: fifo, slots: 3}}\n",
               "two policies are called 'lru slots=3'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_as_written_out),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(told_apart_by_what_differs),
        cmocka_unit_test(loops_run_as_written_out),
        cmocka_unit_test(faults_of_loops),
    };

    return cmocka_run_group_tests(tests, lab_setup, lab_teardown);
}
