/* Bounds of a run on one GPU: the time that copies take at least. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "crew_lab.h"
#include "sim/base/mem.h"

#include <stdlib.h>

/* Experts pass as quickly as the slowest part of their way lets them: the link, or, where
 * they live in storage, that if it is slower. */
static void copies_go_by_the_slowest_part(void **state)
{
    static const struct {
        const char *home;
        double storage_bytes_per_s, slowest;
    } cases[] = {{"host", 6e9, 50e9}, {"storage", 6e9, 6e9}, {"storage", 100e9, 50e9}};
    struct crew_case c = crew_two;
    struct crew_lab *lab;

    (void)state;
    c.gpus = 1;
    c.nvlink = false;
    lab = crew_lab_new(&c, NULL);
    lab->machine.h2d_pinned.bytes_per_s = 50e9;
    lab->machine.has_storage = true;
    lab->machine.storage_bytes = UINT64_C(1000000000000);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = mem_format("trace: %s\nmodel: %s\nmachine: by hand\nhome: %s\n"
                                "policies: [{cache: {name: lru, slots: 2}}]\n",
                                lab->trace_path, lab->model_path, cases[i].home);
        const struct result_bounds *b;
        struct result r;

        lab->machine.storage_read = (struct machine_copy){
            .latency = SIM_TIME_PER_US, .bytes_per_s = cases[i].storage_bytes_per_s};
        (void)crew_lab_run_text(lab, text, 1, &r, NULL);
        b = &r.policy[0].bounds;
        assert_true(b->present && b->belady_bytes > 0);
        assert_int_equal(b->copy,
                         sim_time_of_seconds((double)b->belady_bytes / cases[i].slowest));
        result_release(&r);
        free(text);
    }
    crew_lab_free(lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies_go_by_the_slowest_part),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
