/* How many layers' experts on the CPU: by hand, and against every count. The lab's model
 * has 3 MoE layers of 12 experts. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "experiment_lab.h"

#include "sim/base/mem.h"
#include "sim/experiment/cpu_moe.h"

#include <stdlib.h>
#include <string.h>

enum { LAYERS = 3, EXPERTS = 12, BATCH = 2, ROWS_EACH = 20 };

/* Attention of 4 heads of 64 (four matrices of 256 x 256), two norms of 256 and a gate of
 * 256 x 12 in each layer; embedding and head of 1000 x 256, and the last norm; 16 bits.
 */
#define DENSE_BYTES                                                                      \
    (UINT64_C(2) * (3 * (4 * 256 * 256 + 2 * 256 + 256 * 12) + 2 * 1000 * 256 + 256))
/* Keys and values of 4 heads of 64 in each of 3 layers; 16 bits. */
#define TOKEN_BYTES (UINT64_C(2) * 2 * 4 * 64 * 3)
#define STAGING_BYTES (2 * EXPERT_BYTES)
#define LAYER_BYTES (EXPERTS * EXPERT_BYTES)

static const struct experiment_folders folders = {"models/arch", "models/machine",
                                                  "sim/policy/presets"};

/* GPU memory that just holds the experts of so many layers beside a context. */
static uint64_t room_for(uint32_t layers, uint64_t context)
{
    return DENSE_BYTES + STAGING_BYTES + BATCH * context * TOKEN_BYTES +
           layers * LAYER_BYTES;
}

static struct cfg *study(const struct lab *lab, uint64_t room, const char *more)
{
    char *text = mem_format("gpu_memory: %llu B\nworkload: {batch: 2}\n%s",
                            (unsigned long long)room, more);
    struct cfg *c = lab_config(lab, text);

    free(text);
    return c;
}

static int find(const struct cfg *c, const uint64_t *context, size_t contexts,
                struct cpu_moe *m, struct err *e)
{
    const struct cpu_moe_task t = {.study = c,
                                   .folders = &folders,
                                   .threads = 2,
                                   .context = context,
                                   .contexts = contexts};

    *e = (struct err){.text = ""};
    return cpu_moe_find(&t, m, e);
}

/* ---- by hand ---- */

static void test_least_counts(void **state)
{
    static const uint64_t context[] = {64, 1000};

    for (uint32_t open = 0; open <= LAYERS; open++)
        for (uint64_t missing = 0; missing <= 1; missing++) {
            /* A byte less, and one more layer goes to the host. */
            uint32_t count = LAYERS - open + (uint32_t)missing;
            struct cfg *c = study(*state, room_for(open, 1000) - missing, "");
            struct cpu_moe m;
            struct err e;
            int status = find(c, context, 2, &m, &e);

            if (status != 0)
                fail_msg("%s", e.text);
            assert_int_equal(m.answers, 4);
            assert_int_equal(m.longest, ROWS_EACH);
            assert_null(m.policy);
            for (size_t i = 0; i < m.answers; i++) {
                const struct cpu_moe_answer *a = &m.answer[i];
                const struct cpu_moe_run *r = &m.run[a->least];

                assert_int_equal(a->context, context[i / 2]);
                assert_int_equal(a->side, i % 2);
                if (i < 2) {
                    /* 936 tokens fewer for each of 2 leave room for 5.7 MB, a third of a
                     * layer. */
                    assert_int_equal(a->count, LAYERS - open);
                } else if (count > LAYERS) {
                    assert_false(a->fits);
                    assert_non_null(strstr(a->why, "the context of each sequence needs"));
                    continue;
                } else {
                    assert_int_equal(a->count, count);
                }
                assert_true(a->fits);
                assert_int_equal(a->kv_bytes, BATCH * a->context * TOKEN_BYTES);
                assert_int_equal(r->count, a->count);
                assert_int_equal(r->dense_bytes, DENSE_BYTES);
                assert_int_equal(r->memory.buffers, STAGING_BYTES);
                assert_int_equal(r->expert_bytes, (LAYERS - a->count) * LAYER_BYTES);
                assert_int_equal(r->memory.kv, BATCH * r->context * TOKEN_BYTES);
                assert_true(a->count == 0 ? a->why == NULL : a->why != NULL);
            }
            cpu_moe_release(&m);
            cfg_free(c);
        }
}

static void test_no_room_at_all(void **state)
{
    static const uint64_t context[] = {1000};
    struct cfg *c = study(*state, room_for(0, 1000) - 1, "");
    struct cpu_moe m;
    struct err e;

    assert_int_equal(find(c, context, 1, &m, &e), -1);
    assert_non_null(strstr(e.text, "not even with the experts of all 3 layers on the CPU "
                                   "is there room for a context of 1000 tokens: "));
    cpu_moe_release(&m);
    /* Contexts that nobody named: those that fit. */
    assert_int_equal(find(c, NULL, 0, &m, &e), 0);
    assert_int_equal(m.answers, 2);
    assert_int_equal(m.answer[0].context, ROWS_EACH);
    cpu_moe_release(&m);
    cfg_free(c);
    c = study(*state, room_for(0, 8192), "");
    assert_int_equal(find(c, NULL, 0, &m, &e), 0);
    assert_int_equal(m.answers, 6);
    assert_int_equal(m.answer[2].context, 4096);
    assert_int_equal(m.answer[4].context, 8192);
    assert_int_equal(m.answer[m.best].context, 8192);
    cpu_moe_release(&m);
    cfg_free(c);
    c = study(*state, DENSE_BYTES, "");
    assert_int_equal(find(c, NULL, 0, &m, &e), -1);
    assert_non_null(strstr(e.text, "on the CPU does the rest fit: "));
    cpu_moe_release(&m);
    cfg_free(c);
}

static void test_decoder_layers(void **state)
{
    uint16_t layer[] = {1, 3, 5};
    struct cpu_moe m = {.layers = 3, .decoder_layer = layer};

    (void)state;
    assert_int_equal(cpu_moe_decoder_layers(&m, 0), 0);
    assert_int_equal(cpu_moe_decoder_layers(&m, 1), 2);
    assert_int_equal(cpu_moe_decoder_layers(&m, 3), 6);
}

/* ---- against every count ---- */

static double tokens_per_s(const struct cfg *c)
{
    struct experiment_hooks hooks = {.progress = NULL};
    struct cfg *copy = cfg_copy(cfg_root(c));
    struct err e = {.text = ""};
    double figure[RESULT_FIGURES];
    struct result r;

    if (experiment_run(copy, &folders, 1, &hooks, &r, &e) != 0)
        fail_msg("%s", e.text);
    result_figures(&r, &r.policy[0], figure);
    result_release(&r);
    cfg_free(copy);
    return figure[result_figure_find("tokens_per_s", &e)];
}

/* Every count of one answer: those that fit are those from its own on, and none of them
 * gives more tokens per second than the fastest. */
static void try_counts(const struct cpu_moe_task *t, const struct cpu_moe *m,
                       const struct cpu_moe_answer *a)
{
    double most = 0;

    for (uint32_t count = 0; count <= m->layers; count++) {
        struct err e = {.text = ""};
        struct experiment_facts facts;
        struct cfg *c = cpu_moe_config(t, m, a->side, count, a->context, &e);
        struct cfg *again = cpu_moe_config(t, m, a->side, count, a->context, &e);
        bool fits = experiment_check(c, &folders, &facts, &e) == 0;

        assert_int_equal(fits, a->fits && count >= a->count);
        assert_int_equal(facts.tight, !fits);
        if (fits) {
            double rate = tokens_per_s(again);

            most = rate > most ? rate : most;
        }
        cfg_free(c);
        cfg_free(again);
    }
    if (a->fits) {
        struct err e = {.text = ""};
        int figure = result_figure_find("tokens_per_s", &e);

        assert_true(most == m->run[a->fastest].figure[figure]);
    }
}

static void test_every_count(void **state)
{
    static const uint64_t context[] = {20, 500, 4000};
    static const char *const policies[] = {
        "",
        ("policies: [lru-on-demand, {name: mine, offload: {name: layers, batch: 4, "
         "count: 2, side: last}}]\n"),
        "policies: [{name: mine, schedule: serial, offload: layers}]\n",
    };

    for (size_t i = 0; i < sizeof policies / sizeof *policies; i++)
        for (uint32_t open = 0; open <= LAYERS; open++) {
            struct cfg *c = study(*state, room_for(open, 700), policies[i]);
            const struct cpu_moe_task t = {c, &folders, NULL, 1, context, 3};
            struct cpu_moe m;
            struct err e = {.text = ""};

            if (cpu_moe_find(&t, &m, &e) != 0)
                fail_msg("%s", e.text);
            if (i == 0)
                assert_null(m.policy);
            else
                assert_string_equal(m.policy, "mine");
            for (size_t k = 0; k < m.answers; k++)
                try_counts(&t, &m, &m.answer[k]);
            cpu_moe_release(&m);
            cfg_free(c);
        }
}

/* ---- contexts that memory keeps room for ---- */

static void test_contexts_are_kept(void **state)
{
    static const char policy[] = "policies: [{offload: layers}]\n";
    struct result r = lab_result(
        *state, "workload: {batch: 2, context: 1000}\npolicies: [{offload: layers}]\n",
        1);
    char *text;

    assert_int_equal(r.kv_peak_bytes, BATCH * 1000 * TOKEN_BYTES);
    assert_int_equal(r.policy[0].run.total.memory.kv, BATCH * 1000 * TOKEN_BYTES);
    result_release(&r);
    /* On two GPUs each has one of the sequences; of three one has two. */
    for (int batch = 2; batch <= 3; batch++) {
        text = mem_format("machine: h100-80g\nparallel: {gpus: 2}\n"
                          "workload: {batch: %d, context: 1000}\n%s",
                          batch, policy);
        r = lab_result(*state, text, 1);
        assert_int_equal(r.policy[0].run.total.memory.kv,
                         (unsigned)(batch - 1) * 1000 * TOKEN_BYTES);
        result_release(&r);
        free(text);
    }
    lab_refuse(*state, "workload: {context: 19}\npolicies: [{offload: layers}]\n",
               "context is 19, but a request has 20 tokens; give at least as many");
    r = lab_result(*state, "workload: {context: 20}\npolicies: [{offload: layers}]\n", 1);
    assert_int_equal(r.kv_peak_bytes, 20 * TOKEN_BYTES);
    result_release(&r);
    /* Where passes depend on time, too, and then `auto` has something to count beside. */
    text = mem_format("gpu_memory: %llu B\n"
                      "workload: {mode: continuous, max_sequences: 2, arrivals: poisson, "
                      "rate: 100, context: 1000}\npolicies: [{cache: {slots: auto}}]\n",
                      (unsigned long long)(room_for(0, 1000) + 3 * 5 * EXPERT_BYTES));
    r = lab_result(*state, text, 1);
    assert_int_equal(r.kv_peak_bytes, BATCH * 1000 * TOKEN_BYTES);
    assert_int_equal(r.policy[0].run.cache_bytes, 3 * 5 * EXPERT_BYTES);
    result_release(&r);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_least_counts, lab_setup, lab_teardown),
        cmocka_unit_test_setup_teardown(test_no_room_at_all, lab_setup, lab_teardown),
        cmocka_unit_test(test_decoder_layers),
        cmocka_unit_test_setup_teardown(test_every_count, lab_setup, lab_teardown),
        cmocka_unit_test_setup_teardown(test_contexts_are_kept, lab_setup, lab_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
