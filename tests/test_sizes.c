/* Sizes of a cache in words and shares: `all`, `auto`, `80 %`. What they stand for, by
 * hand and by trying every number, and what starts resident. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "experiment_lab.h"

#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

/* ---- by hand ---- */

/* Two layers of four experts, of 3 and 2 bytes: 20 in all. */
static void words_by_hand(void **state)
{
    static const struct {
        const char *text;
        int64_t slots;
        uint64_t bytes;
        bool resident;
    } cases[] = {
        {"{slots: all}", 4, 0, true},
        {"{slots: \"all\"}", 4, 0, true},
        {"{slots: 4}", 4, 0, false}, /* a number says nothing of the start */
        {"{slots: 4, preload: linear}", 4, 0, true},
        {"{slots: all, preload: none}", 4, 0, false},
        {"{slots: all, scope: global}", 8, 0, true},
        {"{total_slots: 8, scope: global}", 8, 0, false},
        {"{bytes: 50 %}", 0, 10, false},
        {"{bytes: 62.5%}", 0, 12, false}, /* 12.5, rounded down */
        {"{bytes: 100 %}", 0, 20, false}, /* 10 a layer: 12 are wanted */
        {"{bytes: 100 %, scope: global}", 0, 20, true},
        {"{bytes: 20 B, scope: global}", 0, 20, false},
        {"{bytes: 0.001 %}", 0, 1, false},
    };
    const uint64_t bytes[] = {3, 2};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = {.text = ""};
        struct cfg *c = cfg_parse("p", cases[i].text, strlen(cases[i].text), &e);
        struct cache_params p = {.slots = 0};

        assert_non_null(c);
        if (cfg_bind(cfg_root(c), cache_options, &p, &e) != 0 ||
            cache_resolve(&p, 2, 4, bytes, &e) != NULL)
            fail_msg("%s: %s", cases[i].text, e.text);
        if (p.slots != cases[i].slots || p.bytes != cases[i].bytes ||
            (p.preload == CACHE_PRELOAD_LINEAR) != cases[i].resident)
            fail_msg("%s: %lld slots, %llu bytes, preload %d", cases[i].text,
                     (long long)p.slots, (unsigned long long)p.bytes, p.preload);
        cfg_free(c);
    }
}

static void bad_words(void **state)
{
    static const struct {
        const char *text, *sentence;
    } cases[] = {
        {"{slots: al}", "p:1:9: 'slots' is al; expected an integer from 0 to 4000000000, "
                        "all, auto or none; did you mean 'all'?"},
        {"{slots: -1}", "p:1:9: 'slots' is -1; expected an integer from 0 to 4000000000, "
                        "all, auto or none"},
        {"{slots: \"4\"}", "p:1:9: 'slots' is \"4\"; expected an integer from 0 to "
                           "4000000000, all, auto or none"},
        {"{bytes: 0 %}",
         "a size from 0 to 1000000 TB with its unit, such as 64 MiB, or a "
         "share, such as 80 %"},
        {"{bytes: 100.1 %}", "or a share, such as 80 %"},
        {"{bytes: -5 %}", "or a share, such as 80 %"},
        {"{bytes: 80 % of it}", "or a share, such as 80 %"},
        {"{bytes: all}", "or a share, such as 80 %"},
        {"{total_slots: all}", "'total_slots' is all; expected an integer"},
        {"{slots: all, bytes: 80 %}", "more than one of slots"},
        {"{slots: auto, total_slots: 2}", "more than one of slots"},
        {"{slots: auto}", "slots is auto, but no GPU's memory is known here; give a "
                          "number, or all"},
    };
    const uint64_t bytes[] = {3, 2};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = {.text = ""};
        struct cfg *c = cfg_parse("p", cases[i].text, strlen(cases[i].text), &e);
        struct cache_params p = {.slots = 0};

        assert_non_null(c);
        if (cfg_bind(cfg_root(c), cache_options, &p, &e) == 0 &&
            cache_resolve(&p, 2, 4, bytes, &e) == NULL)
            fail_msg("%s was taken", cases[i].text);
        if (strstr(e.text, cases[i].sentence) == NULL)
            fail_msg("%s: '%s' instead of '%s'", cases[i].text, e.text,
                     cases[i].sentence);
        cfg_free(c);
    }
}

static void described(void **state)
{
    struct cache_params p = {.layer_slots = CACHE_SLOTS_AUTO, .room.percent = 62.5};
    char *text;

    (void)state;
    text = cfg_describe(cache_options, &p);
    assert_non_null(strstr(text, " slots=auto total_slots=0 bytes=62.5% "));
    free(text);
    p = (struct cache_params){.layer_slots = CACHE_SLOTS_ALL, .room.bytes = 7};
    text = cfg_describe(cache_options, &p);
    assert_non_null(strstr(text, " slots=all total_slots=0 bytes=7B "));
    free(text);
}

/* ---- whole experiments ---- */

#define TWO "machine: h100-80g\nparallel: {gpus: 2}\n"
#define FOUR "machine: h100-80g\nparallel: {gpus: 4}\n"

static struct result run_one(const struct lab *lab, const char *memory,
                             const char *parallel, const char *cache)
{
    char *text = mem_format("%sgpu_memory: %s\n"
                            "workload: {mode: static, batch: 2}\n"
                            "policies: [{name: it, cache: {%s}}]\n",
                            parallel, memory, cache);
    struct result r = lab_result(lab, text, 1);

    free(text);
    return r;
}

static bool runs(const struct lab *lab, const char *memory, const char *parallel,
                 uint32_t slots)
{
    struct err e = {.text = ""};
    struct result r;
    char *text = mem_format("%sgpu_memory: %s\n"
                            "workload: {mode: static, batch: 2}\n"
                            "policies: [{cache: {slots: %u}}]\n",
                            parallel, memory, slots);
    int status = lab_run(lab, text, 1, NULL, &r, &e);

    free(text);
    if (status == 0)
        result_release(&r);
    else
        assert_true(strstr(e.text, "may be used; take ") != NULL ||
                    strstr(e.text, "beside the weights") != NULL);
    return status == 0;
}

static uint32_t count_of(const struct result *r)
{
    const char *at = strstr(r->policy[0].description[SLOT_CACHE], " slots=");

    assert_non_null(at);
    return (uint32_t)strtoul(at + strlen(" slots="), NULL, 10);
}

/* By trying every number: the largest that runs. Its run is that number's, but for the
 * start where it is all of them. */
static void check_auto(const struct lab *lab, const char *memory, const char *parallel,
                       uint32_t experts, uint32_t *seen)
{
    struct result found = run_one(lab, memory, parallel, "slots: auto"), same;
    uint32_t most = 0;
    char *text;

    for (uint32_t slots = 1; slots <= experts; slots++) {
        if (runs(lab, memory, parallel, slots))
            most = slots;
    }
    assert_true(most > 0);
    assert_int_equal(count_of(&found), most);
    text = mem_format("slots: %u%s", most, most == experts ? ", preload: linear" : "");
    same = run_one(lab, memory, parallel, text);
    assert_int_equal(found.policy[0].run.digest, same.policy[0].run.digest);
    assert_string_equal(found.policy[0].description[SLOT_CACHE],
                        same.policy[0].description[SLOT_CACHE]);
    seen[most]++;
    free(text);
    result_release(&found);
    result_release(&same);
}

static void auto_is_the_most(void **state)
{
    static const char *const memory[] = {"22 MB", "29 MB", "43 MB", "56 MB", "1 GB"};
    static const char *const little[] = {"12 MB", "17 MB", "1 GB"};
    uint32_t seen[13] = {0}, kinds = 0;

    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
        check_auto(*state, memory[i], "", 12, seen);
    assert_int_equal(seen[12], 1);
    for (uint32_t i = 1; i <= 12; i++)
        kinds += seen[i] > 0;
    assert_int_equal(kinds, 5);
    memset(seen, 0, sizeof seen);
    for (size_t i = 0; i < sizeof little / sizeof *little; i++)
        check_auto(*state, little[i], FOUR, 3, seen);
    assert_true(seen[1] == 1 && seen[2] == 1 && seen[3] == 1);
}

static void all_starts_resident(void **state)
{
    static const char *const parallel[] = {"", TWO};

    for (size_t i = 0; i < 2; i++) {
        struct result words = run_one(*state, "20 GB", parallel[i], "slots: all");
        struct result share = run_one(*state, "20 GB", parallel[i], "bytes: 100 %");
        struct result cold =
            run_one(*state, "20 GB", parallel[i], "slots: all, preload: none");
        struct result number =
            run_one(*state, "20 GB", parallel[i], i == 0 ? "slots: 12" : "slots: 6");
        const struct run_counts *n = &words.policy[0].run.total.counts;

        assert_int_equal(n->demand_bytes, 0);
        assert_int_equal(n->hits, n->accesses);
        assert_int_equal(share.policy[0].run.digest, words.policy[0].run.digest);
        assert_true(cold.policy[0].run.total.counts.demand_bytes > 0);
        assert_int_equal(cold.policy[0].run.digest, number.policy[0].run.digest);
        assert_true(words.policy[0].run.total.latency < cold.policy[0].run.total.latency);
        result_release(&words);
        result_release(&share);
        result_release(&cold);
        result_release(&number);
    }
}

/* Without a size each of several GPUs holds its experts; that start can be cold, too. */
static void gpus_start_cold_if_asked(void **state)
{
    const char *const gpus = TWO;
    struct result plain = run_one(*state, "20 GB", gpus, "name: lru");
    struct result all = run_one(*state, "20 GB", gpus, "slots: all");
    struct result cold = run_one(*state, "20 GB", gpus, "preload: none");
    struct result same = run_one(*state, "20 GB", gpus, "slots: all, preload: none");

    assert_int_equal(plain.policy[0].run.digest, all.policy[0].run.digest);
    assert_int_equal(cold.policy[0].run.digest, same.policy[0].run.digest);
    assert_true(cold.policy[0].run.total.counts.demand_bytes > 0);
    result_release(&plain);
    result_release(&all);
    result_release(&cold);
    result_release(&same);
}

static void auto_that_cannot_be(void **state)
{
    lab_refuse(
        *state, "gpu_memory: 8 MB\npolicies: [{cache: {slots: auto}}]\n",
        "test.yaml:5:28: policy 'lru': cache: slots: auto finds no room in the "
        "8.00 MB of a GPU of rtx4090-pcie4 that may be used for one expert of each "
        "layer, beside dense weights, staging and the largest KV cache; take a "
        "larger gpu_memory, a smaller batch or another machine");
    lab_refuse(*state,
               "workload: {mode: continuous, arrivals: poisson, rate: 3}\n"
               "policies: [{cache: {slots: auto}}]\n",
               "is not known beforehand where passes depend on time; give a number");
    lab_refuse(*state, "policies: [{cache: {slots: auto, bytes: 1 GB}}]\n",
               "more than one of slots");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_by_hand),       cmocka_unit_test(bad_words),
        cmocka_unit_test(described),           cmocka_unit_test(auto_is_the_most),
        cmocka_unit_test(all_starts_resident), cmocka_unit_test(gpus_start_cold_if_asked),
        cmocka_unit_test(auto_that_cannot_be),
    };

    return cmocka_run_group_tests(tests, lab_setup, lab_teardown);
}
