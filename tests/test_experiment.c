/* Whole experiments: configuration text in, result out, with one thread and with two. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "experiment_lab.h"
#include "sim/report/print.h"

#include "sim/base/file.h"
#include "sim/base/mem.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the same on any number of threads ---- */

static const char eight[] =
    "workload: {mode: continuous, max_sequences: 3}\n"
    "policies:\n"
    "- {name: bytes, cache: {name: lfu-keep, bytes: 40 MB, scope: global}}\n"
    "- {name: lru, cache: {name: lru, slots: 4}}\n"
    "- {name: all, cache: {name: lru, slots: 12, preload: linear}}\n"
    "- {name: oracle, cache: {name: lru, slots: 6}, prefetch: {name: oracle}}\n"
    "- {name: belady, cache: {name: belady, slots: 4}}\n"
    "- {name: pin, cache: {name: pin, slots: 4}}\n"
    "- {name: swap, cache: {name: s3fifo, slots: 5, write_back: yes},\n"
    "   prefetch: {name: markov}, schedule: serial}\n"
    "- {name: static, cache: {name: random, slots: 4},\n"
    "   gate: {name: capacity-fraction, cf: 0.3}}\n";

static void compare_runs(const struct run_result *a, const struct run_result *b)
{
    assert_int_equal(a->digest, b->digest);
    assert_int_equal(a->passes, b->passes);
    assert_int_equal(a->elapsed, b->elapsed);
    assert_memory_equal(&a->total, &b->total, sizeof a->total);
    assert_int_equal(a->layers, b->layers);
    for (uint32_t l = 0; l < a->layers; l++)
        assert_memory_equal(&a->layer[l], &b->layer[l], sizeof *a->layer);
    assert_int_equal(a->requests, b->requests);
    for (uint64_t i = 0; i < a->requests; i++) {
        assert_int_equal(a->request[i].first_token, b->request[i].first_token);
        assert_int_equal(a->request[i].last_token, b->request[i].last_token);
    }
}

/* What the figures of any result have to do with each other. */
static void check_policy(const struct result *r, const struct result_policy *p)
{
    const struct run_counts *c = &p->run.total.counts;

    assert_true(p->run.finished && p->bounds.present);
    assert_int_equal(p->run.output_tokens, 6 * 20);
    assert_true(p->run.digest != 0);
    assert_true(p->bounds.belady_bytes <= c->demand_bytes + c->prefetch_bytes);
    if (strstr(p->description[SLOT_PREFETCH], "none") != NULL)
        assert_true(c->hits <= p->bounds.belady_hits);
    assert_true(p->bounds.compute > 0);
    assert_true(p->bounds.offline >= p->bounds.compute &&
                p->bounds.offline >= p->bounds.copy);
    assert_true(p->run.total.latency >= p->bounds.offline);
    assert_true(p->bounds.belady_time >= p->bounds.offline);
    assert_true(p->run.cache_bytes + p->run.staging_bytes <= r->gpu_memory_bytes);
}

static void test_threads(void **state)
{
    const struct lab *lab = *state;
    struct result one = lab_result(lab, eight, 1);
    struct result two = lab_result(lab, eight, 2);
    struct result many = lab_result(lab, eight, 64);

    assert_int_equal(one.policies, 8);
    assert_int_equal(two.policies, 8);
    for (uint32_t i = 0; i < 8; i++) {
        check_policy(&one, &one.policy[i]);
        compare_runs(&one.policy[i].run, &two.policy[i].run);
        compare_runs(&one.policy[i].run, &many.policy[i].run);
        assert_memory_equal(&one.policy[i].bounds, &two.policy[i].bounds,
                            sizeof one.policy[i].bounds);
        assert_string_equal(one.policy[i].label, two.policy[i].label);
    }
    assert_string_equal(one.config, two.config);
    assert_string_equal(one.notes, two.notes);
    assert_true(one.policy[2].graph && !one.policy[0].graph);
    assert_true(one.policy[3].event_driven && one.policy[6].event_driven);
    assert_false(one.policy[0].event_driven);
    assert_int_equal(one.policy[2].run.total.counts.demand_bytes, 0);
    assert_int_equal(one.expert_total_bytes, 36 * EXPERT_BYTES);
    assert_int_equal(one.policy[0].run.cache_slots, 40000000 / EXPERT_BYTES);
    result_release(&one);
    result_release(&two);
    result_release(&many);
}

/* The event-driven engine where FIFO lanes would do, and counts alone. */
static void test_engines(void **state)
{
    static const char policies[] =
        "policies: [{cache: {name: lru, slots: 4}}, {cache: {name: arc, slots: 3}}]\n";
    const struct lab *lab = *state;
    char *event = mem_format("engine: event\n%s", policies);
    char *count = mem_format("engine: count\n%s", policies);
    struct result a = lab_result(lab, policies, 1);
    struct result b = lab_result(lab, event, 1);
    struct result c = lab_result(lab, count, 2);

    for (uint32_t i = 0; i < 2; i++) {
        assert_false(a.policy[i].event_driven);
        assert_true(b.policy[i].event_driven);
        compare_runs(&a.policy[i].run, &b.policy[i].run);
        run_counts_equal(&a.policy[i].run.total.counts, &c.policy[i].run.total.counts,
                         true);
        assert_int_equal(c.policy[i].run.total.latency, 0);
        assert_int_equal(c.policy[i].bounds.belady_hits, a.policy[i].bounds.belady_hits);
    }
    result_release(&a);
    result_release(&b);
    result_release(&c);
    free(event);
    free(count);
}

static char *slurp(const char *path)
{
    FILE *f = fopen(path, "r");
    char *text = mem_zalloc(1 << 22, 1);

    assert_non_null(f);
    assert_true(fread(text, 1, (1 << 22) - 1, f) > 0);
    (void)fclose(f);
    return text;
}

/* ---- the same in any company ---- */

/* Of each order of accesses, with experts that nobody chose, and other choices. */
static const char *const company[] = {
    "{name: dense, cache: {name: lru, slots: 4}, schedule: {empty: yes}}",
    "{name: serial, cache: {name: lru, slots: 4}, schedule: {experts: serial}}",
    "{name: plain, cache: {name: lru, slots: 4}}",
    "{name: belady, cache: {name: belady, slots: 4}}",
    "{name: recorded, cache: {name: lru, slots: 4, order: recorded}}",
    "{name: full, cache: {name: lru, slots: 4, preload: linear}}",
    "{name: pin, cache: {name: pin, slots: 4}}",
    "{name: cf, cache: {name: lru, slots: 4}, gate: {name: capacity-fraction, cf: 0.3}}",
};
enum { COMPANY = sizeof company / sizeof *company };

/* A policy's run and bounds are what they are alone: beside others, whoever comes first,
 * and in experiments that share what they have in common. */
static void test_company(void **state)
{
    const struct lab *lab = *state;
    struct shared *shared = shared_new(3);
    struct experiment_hooks hooks = {.shared = shared};
    struct result alone[COMPANY], all[2];
    char *text[2] = {mem_strdup("policies:\n"), mem_strdup("policies:\n")};

    for (int i = 0; i < COMPANY; i++) {
        char *one = mem_format("policies: [%s]\n", company[i]);

        alone[i] = lab_result(lab, one, 1);
        free(one);
        for (int k = 0; k < 2; k++) {
            char *longer =
                mem_format("%s- %s\n", text[k], company[k == 0 ? i : COMPANY - 1 - i]);

            free(text[k]);
            text[k] = longer;
        }
    }
    all[0] = lab_result(lab, text[0], 2);
    all[1] = lab_result(lab, text[1], 1);
    for (int i = 0; i < COMPANY; i++) {
        char *one = mem_format("policies: [%s]\n", company[i]);
        const struct result_policy *is = &alone[i].policy[0];
        struct err e = {.text = ""};
        struct result r;

        assert_int_equal(lab_run_hooked(lab, one, 1, &hooks, &r, &e), 0);
        for (int k = 0; k < 3; k++) {
            const struct result_policy *other =
                k == 2 ? &r.policy[0] : &all[k].policy[k == 0 ? i : COMPANY - 1 - i];

            compare_runs(&is->run, &other->run);
            assert_memory_equal(&is->bounds, &other->bounds, sizeof is->bounds);
        }
        result_release(&r);
        free(one);
    }
    for (int i = 0; i < COMPANY; i++)
        result_release(&alone[i]);
    for (int k = 0; k < 2; k++) {
        result_release(&all[k]);
        free(text[k]);
    }
    shared_free(shared);
}

/* The timeline is the same to the byte, and absent where the run fails. */
static void test_timeline(void **state)
{
    const struct lab *lab = *state;
    char *path = mem_format("/tmp/moesim_timeline_%ld.json", (long)getpid());
    char *text[2];
    struct err e = {.text = ""};
    struct result r;

    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(lab_run(lab, eight, i + 1, path, &r, &e), 0);
        result_release(&r);
        text[i] = slurp(path);
        assert_int_equal(unlink(path), 0);
    }
    assert_string_equal(text[0], text[1]);
    assert_non_null(strstr(text[0], "\"static\""));
    free(text[0]);
    free(text[1]);
    assert_int_equal(lab_run(lab, "policies: [{cache: {name: lru}}]\n", 1, path, &r, &e),
                     -1);
    assert_int_equal(access(path, F_OK), -1);
    free(path);
}

/* ---- notes ---- */

static void test_notes(void **state)
{
    const struct lab *lab = *state;
    char *file = mem_format("/tmp/moesim_requests_%ld.csv", (long)getpid());
    FILE *f = fopen(file, "w");
    char *text;
    struct result r;

    assert_non_null(f);
    assert_true(fputs("TIMESTAMP,ContextTokens,GeneratedTokens\n"
                      "2023-11-16 18:17:03.0000000,7,5\n"
                      "2023-11-16 18:17:03.0000000,4,30\n",
                      f) >= 0);
    assert_int_equal(fclose(f), 0);
    r = lab_result(lab, "policies: [{cache: {name: lru, slots: 4}}]\n", 1);
    assert_string_equal(r.notes, "");
    result_release(&r);
    text = mem_format("workload: {arrivals: file, lengths: file, file: %s}\n"
                      "policies:\n"
                      "- {name: counting, cache: {name: lru, slots: 4}}\n"
                      "- {name: capped, cache: {name: pin, slots: 4},\n"
                      "   gate: {name: capacity-factor}}\n",
                      file);
    r = lab_result(lab, text, 2);
    /* 11 prompt rows, and 29 answer rows where 20 were recorded. */
    assert_int_equal(r.policy[0].run.rows_resampled, 11 + 9);
    assert_non_null(strstr(r.notes, "the routing of 20 rows was not recorded and was "
                                    "resampled"));
    assert_non_null(strstr(r.notes, "lossy: capped;"));
    assert_non_null(strstr(r.notes, "profile: FILE"));
    assert_non_null(strstr(r.notes, "passes depend on time"));
    /* Bounds then follow each policy's own batches, in counts only. */
    assert_true(r.policy[0].bounds.present);
    assert_true(r.policy[0].bounds.belady_hits >= r.policy[0].run.total.counts.hits);
    assert_int_equal(r.policy[0].bounds.offline, 0);
    result_release(&r);
    free(text);
    text = mem_format("workload: {arrivals: closed, lengths: file, file: %s, prefill: "
                      "skip}\n"
                      "policies: [{cache: {name: lru, slots: 4}}]\n",
                      file);
    r = lab_result(lab, text, 1);
    assert_non_null(strstr(r.notes, "2 prompts were skipped"));
    result_release(&r);
    free(text);
    (void)unlink(file);
    free(file);
}

/* ---- bounds ---- */

/* The least compute time is that of what holds everything, from graphs or launched one by
 * one, whichever is the shorter; also where a graph is the dearer. */
static void test_least_launching(void **state)
{
    static const char *const launch[] = {"eager", "graph"};
    const struct lab *lab = *state;
    struct err e = {.text = ""};
    struct machine *m = machine_load("rtx4090-pcie4", "models/machine", &e);
    struct experiment_hooks hooks = {.machine = m};
    struct result r[2];

    assert_non_null(m);
    for (int dear = 0; dear < 2; dear++) {
        sim_time least = INT64_MAX;

        m->host.graph_launch = (dear ? 40 : 1) * SIM_TIME_PER_US;
        for (int k = 0; k < 2; k++) {
            char *text = mem_format("launch: %s\npolicies:\n"
                                    "- {cache: {name: lru, slots: 12, preload: linear}}\n"
                                    "- {name: few, cache: {name: lru, slots: 4}}\n",
                                    launch[k]);

            assert_int_equal(lab_run_hooked(lab, text, 1, &hooks, &r[k], &e), 0);
            if (r[k].policy[0].run.total.latency < least)
                least = r[k].policy[0].run.total.latency;
            free(text);
        }
        assert_int_equal(r[!dear].policy[0].run.total.latency, least);
        assert_true(r[dear].policy[0].run.total.latency > least);
        for (int k = 0; k < 2; k++) {
            for (uint32_t i = 0; i < 2; i++)
                assert_int_equal(r[k].policy[i].bounds.compute, least);
            result_release(&r[k]);
        }
    }
    machine_free(m);
}

/* A policy's bounds are the same alone as beside others that differ in one option. */
static void test_bounds_alone(void **state)
{
    static const char *const cache[] = {
        "slots: 4",
        "slots: 4, protect: none",
        "slots: 4, protect: none, order: recorded",
        "slots: 4, order: recorded",
        "slots: 5",
        "slots: 4, scope: global",
        "slots: 4, preload: linear",
        "slots: 4, staging: 1",
        "slots: 4, write_back: yes",
        "slots: 4, admission: second-miss",
    };
    enum { POLICIES = sizeof cache / sizeof *cache };
    const struct lab *lab = *state;
    char *one[POLICIES], *all = mem_strdup("workload: {batch: 3}\npolicies:\n");
    struct result beside;

    for (int i = 0; i < POLICIES; i++) {
        char *longer;

        one[i] = mem_format("- {name: p%d, cache: {name: lru, %s}}\n", i, cache[i]);
        longer = mem_format("%s%s", all, one[i]);
        free(all);
        all = longer;
    }
    beside = lab_result(lab, all, 2);
    for (int i = 0; i < POLICIES; i++) {
        char *text = mem_format("workload: {batch: 3}\npolicies:\n%s", one[i]);
        struct result alone = lab_result(lab, text, 1);

        assert_memory_equal(&alone.policy[0].bounds, &beside.policy[i].bounds,
                            sizeof alone.policy[0].bounds);
        result_release(&alone);
        free(text);
        free(one[i]);
    }
    /* The order of accesses does make a difference here. */
    assert_true(beside.policy[1].bounds.belady_hits !=
                beside.policy[2].bounds.belady_hits);
    result_release(&beside);
    free(all);
}

/* ---- experts on the host ---- */

/* A bound on hits only, a note, and references that are those of the policies that fetch.
 */
static void test_hosted(void **state)
{
    static const char text[] =
        "policies:\n"
        "- {name: before, cache: {name: lru, slots: 4}}\n"
        "- {name: there, cache: {name: pin, slots: 4}, offload: host}\n"
        "- {name: either, cache: {name: lru, slots: 4}, offload: fiddler}\n"
        "- {name: after, cache: {name: fifo, slots: 4}}\n";
    const struct lab *lab = *state;
    struct result r = lab_result(lab, text, 2);

    check_policy(&r, &r.policy[0]);
    check_policy(&r, &r.policy[3]);
    assert_memory_equal(&r.policy[0].bounds, &r.policy[3].bounds,
                        sizeof r.policy[0].bounds);
    for (uint32_t i = 1; i < 3; i++) {
        const struct result_policy *p = &r.policy[i];
        const struct run_counts *c = &p->run.total.counts;
        struct result_bounds hits_only = {.present = true,
                                          .belady_hits = p->bounds.belady_hits};

        assert_true(p->lossless && c->host_runs > 0 && p->run.host_busy > 0);
        assert_int_equal(c->accesses, r.policy[0].run.total.counts.accesses);
        assert_true(c->hits <= p->bounds.belady_hits);
        assert_memory_equal(&p->bounds, &hits_only, sizeof hits_only);
        assert_true(p->run.total.share[SHARE_HOSTED] > 0);
    }
    assert_int_equal(r.policy[1].run.total.counts.demand_bytes, 0);
    assert_int_equal(r.policy[1].run.copy_busy, 0);
    assert_int_equal(r.policy[0].run.host_busy, 0);
    assert_non_null(strstr(r.notes, "may run in place (there, either): no bound"));
    result_release(&r);
}

/* ---- refused ---- */

static void test_refusals(void **state)
{
    const struct lab *lab = *state;
    struct err e = {.text = ""};
    const struct experiment_folders folders = {"models/arch", "models/machine",
                                               "sim/policy/presets"};
    struct experiment_hooks hooks = {.timeline_path = NULL};
    struct result r;
    struct cfg *c = lab_config(lab, "policies: [{cache: {name: lru, slots: 4}}]\n");

    assert_int_equal(cfg_override(c, "trace=/nowhere/none.h5", &e), 0);
    assert_int_equal(experiment_run(c, &folders, 1, &hooks, &r, &e), -1);
    assert_non_null(strstr(e.text, "/nowhere/none.h5"));
    cfg_free(c);
    e = (struct err){.text = ""};
    c = lab_config(lab, "policies: [{cache: {name: lru, slots: 4}}]\n");
    assert_int_equal(cfg_override(c, "model=mixtral-8x7b", &e), 0);
    assert_int_equal(experiment_run(c, &folders, 1, &hooks, &r, &e), -1);
    assert_non_null(strstr(e.text, "has 3 MoE layers of 12 experts, but model "
                                   "mixtral-8x7b has 32 of 8"));
    cfg_free(c);
    e = (struct err){.text = ""};
    c = lab_config(lab, "policies: [{cache: {name: lru, slots: 4}, offload: fiddler}]\n");
    assert_int_equal(cfg_override(c, "machine=phone-flash", &e), 0);
    assert_int_equal(experiment_run(c, &folders, 1, &hooks, &r, &e), -1);
    assert_non_null(strstr(e.text, "(offload: fiddler), but host and GPU of phone-flash "
                                   "are one"));
    cfg_free(c);
    lab_refuse(lab,
               "home: storage\n"
               "policies: [{cache: {name: lru, slots: 4}, offload: host}]\n",
               "(offload: host), but not all of them are in host memory");
    lab_refuse(lab,
               "host_memory: 5 MB\n"
               "policies: [{cache: {name: lru, slots: 4}, offload: host}]\n",
               "(offload: host), but not all of them are in host memory");
    lab_refuse(lab,
               "gpu_memory: 40 MB\npolicies: [{cache: {name: lru, scope: global, "
               "total_slots: 30}}]\n",
               "beside its experts and the cache");
    lab_refuse(lab, "polices: []\n", "polices");
    lab_refuse(lab, "policies: []\n", "one or more policies");
    lab_refuse(lab, "policies: lru\n", "one or more policies");
    lab_refuse(lab, "policies: [{cache: {name: lru, slot: 4}}]\n", "'slot'");
    lab_refuse(lab, "policies: [{cache: {name: lru}}]\n",
               "needs one of 'slots' (per layer)");
    lab_refuse(
        lab,
        "policies: [{cache: {name: lru, slots: 4}}, {cache: {name: lru, slots: 4}}]\n",
        "two policies are called 'lru', and differ in nothing");
    lab_refuse(lab,
               "workload: {mode: continuous, arrivals: poisson, rate: 3}\n"
               "policies: [{cache: {name: belady, slots: 4}}]\n",
               "is an oracle");
    lab_refuse(lab,
               "workload: {mode: continuous, arrivals: poisson, rate: 3}\n"
               "policies: [{cache: {name: lru, slots: 4}, prefetch: oracle}]\n",
               "is an oracle");
    lab_refuse(lab, "policies: [{cache: {name: lru, bytes: 200 GB, staging: 16000}}]\n",
               "take fewer slots, a larger gpu_memory or another machine");
    lab_refuse(
        lab,
        "home: host\nhost_memory: 5 MB\npolicies: [{cache: {name: lru, slots: 4}}]\n",
        "host memory");
    lab_refuse(lab,
               "workload: {mode: recorded}\npolicies: [{cache: {name: lru, slots: 4}}]\n",
               "/pass");
    lab_refuse(
        lab,
        "engine: fifo\npolicies: [{cache: {name: lru, slots: 4}, prefetch: markov}]\n",
        "engine: auto");
    lab_refuse(lab,
               "engine: fifo\n"
               "policies: [{cache: {name: lru, slots: 4, write_back: yes}}]\n",
               "engine: auto");
}

/* Slots and bytes beyond the model's experts are no memory. */
static void test_more_than_all(void **state)
{
    const struct lab *lab = *state;
    struct result r =
        lab_result(lab,
                   "policies:\n"
                   "- {name: slots, cache: {name: lru, scope: global, total_slots: 36}}\n"
                   "- {name: bytes, cache: {name: lru, scope: global, bytes: 900 GB}}\n"
                   "- {name: shares, cache: {name: lru, bytes: 900 GB}}\n",
                   1);

    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(r.policy[i].run.cache_slots, 36);
        assert_int_equal(r.policy[i].run.cache_bytes, 36 * EXPERT_BYTES);
    }
    result_release(&r);
}

/* ---- stopped ---- */

/* Asks the program to stop, once: a second signal would end it. */
static void stop(void *context, uint64_t done, uint64_t total)
{
    bool *asked = context;

    assert_true(done <= total);
    if (!*asked)
        assert_int_equal(raise(SIGINT), 0);
    *asked = true;
}

/* One thread: the first policy stops when it first tells how far it is, the second is
 * never begun. What was run can be shown, bounds are not claimed, nothing is written.
 * Comes last: the program stays asked to stop. */
static void test_stopped(void **state)
{
    struct lab lab = {.w = run_world_new(3, 12, 3, 2, 400, NULL, 11),
                      .model = ((struct lab *)*state)->model};
    const struct experiment_folders folders = {"models/arch", "models/machine",
                                               "sim/policy/presets"};
    bool asked = false;
    char *path = mem_format("/tmp/moesim_stopped_%ld.json", (long)getpid());
    struct experiment_hooks hooks = {
        .progress = stop, .context = &asked, .timeline_path = path};
    struct cfg *c = lab_config(&lab, "policies: [{cache: {name: lru, slots: 4}}, "
                                     "{cache: {name: fifo, slots: 4}}]\n");
    FILE *out = tmpfile();
    struct err e = {.text = ""};
    struct result r;

    file_catch_signals();
    assert_int_equal(experiment_run(c, &folders, 1, &hooks, &r, &e), 1);
    assert_true(asked);
    assert_true(r.policy[0].run.passes > 0 && r.policy[0].run.passes < 800);
    assert_false(r.policy[0].run.finished);
    assert_int_equal(r.policy[1].run.passes, 0);
    assert_false(r.policy[0].bounds.present || r.policy[1].bounds.present);
    assert_non_null(strstr(r.notes, "stopped by a signal"));
    assert_int_equal(access(path, F_OK), -1);
    assert_non_null(out);
    result_print(&r, out);
    result_print_json(&r, out);
    result_print_csv(&r, out);
    assert_true(ftell(out) > 0);
    (void)fclose(out);
    result_release(&r);
    cfg_free(c);
    free(path);
    run_world_free(lab.w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads),      cmocka_unit_test(test_engines),
        cmocka_unit_test(test_company),      cmocka_unit_test(test_timeline),
        cmocka_unit_test(test_notes),        cmocka_unit_test(test_least_launching),
        cmocka_unit_test(test_bounds_alone), cmocka_unit_test(test_hosted),
        cmocka_unit_test(test_refusals),     cmocka_unit_test(test_more_than_all),
        cmocka_unit_test(test_stopped), /* leaves the signal behind */
    };

    return cmocka_run_group_tests(tests, lab_setup, lab_teardown);
}
