/* What becomes of runs when a signal asks the process to stop: the first test does so,
 * the others are of what comes afterwards. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "crew_lab.h"
#include "sim/base/file.h"
#include "sim/base/mem.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

static void ask_to_stop(void *context, uint32_t policy, op_id id, enum op_kind kind,
                        enum op_lane lane, uint32_t layer, uint32_t expert,
                        const struct op_times *times)
{
    (void)context;
    (void)policy;
    (void)id;
    (void)kind;
    (void)lane;
    (void)layer;
    (void)expert;
    (void)times;
    if (!file_interrupted())
        assert_int_equal(raise(SIGINT), 0);
}

/* The pass that the signal comes in is done, and no other; the next policy has none. */
static void a_run_ends_with_its_pass(void **state)
{
    const struct experiment_folders folders = {"models/arch", "models/machine",
                                               "sim/policy/presets"};
    struct crew_lab *lab = crew_lab_new(&crew_two, NULL);
    const struct experiment_hooks hooks = {.machine = &lab->machine,
                                           .operation = ask_to_stop};
    char *text = crew_lab_text(lab, "fifo", "{name: a}, {name: b}");
    struct err e = {.text = ""};
    struct cfg *config = cfg_parse("stopped", text, strlen(text), &e);
    struct result r;

    (void)state;
    assert_non_null(config);
    file_catch_signals();
    assert_int_equal(experiment_run(config, &folders, 1, &hooks, &r, &e), 1);
    assert_string_equal(e.text, "");
    assert_int_equal(r.policy[0].run.passes, 1);
    assert_int_equal(r.policy[0].run.total.rows, 2);
    assert_false(r.policy[0].run.finished);
    assert_int_equal(r.policy[1].run.passes, 0);
    assert_false(r.policy[1].run.finished);
    assert_non_null(strstr(r.notes, "stopped by a signal: figures cover what was"));
    result_release(&r);
    cfg_free(config);
    free(text);
    crew_lab_free(lab);
}

/* Half a look-ahead is of no use. */
static void a_look_ahead_fails(void **state)
{
    struct crew_lab *lab = crew_lab_new(&crew_two, NULL);
    char *text = mem_format("trace: %s\nmodel: %s\nmachine: by hand\n"
                            "policies: [{cache: {name: belady, slots: 2}}]\n",
                            lab->trace_path, lab->model_path);
    struct err e = {.text = ""};
    struct result r;

    (void)state;
    assert_true(file_interrupted());
    assert_int_equal(crew_lab_run_text(lab, text, 1, &r, &e), -1);
    assert_non_null(
        strstr(e.text, "stopped by a signal while looking ahead; nothing was written"));
    free(text);
    crew_lab_free(lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_ends_with_its_pass),
        cmocka_unit_test(a_look_ahead_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
