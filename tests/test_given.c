/* What policies are given beside the trace: placements from files, and loads from traces
 * of counts only. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "experiment_lab.h"
#include "trace_maker.h"

#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LAYERS = 3, EXPERTS = 12, TOP_K = 3, ROWS = 6 * 20 };

/* Counts of the lab's rows, `rows` of them a pass, as a count-only trace. */
static void write_counts(const struct lab *lab, const char *path, uint32_t experts,
                         uint32_t rows)
{
    struct trace_info info = *trace_get_info(lab->w->trace);
    struct err e = {.text = ""};
    struct trace_writer *w;
    uint32_t *count = mem_alloc((size_t)LAYERS * experts, sizeof *count);
    const uint16_t *choice = lab->w->expert;

    info.counts_only = true;
    info.score_kind = TRACE_SCORE_NONE;
    info.candidates = info.top_k;
    info.experts = experts;
    w = trace_writer_new(path, &info, &e);
    assert_non_null(w);
    for (uint32_t first = 0; first < ROWS; first += rows) {
        memset(count, 0, (size_t)LAYERS * experts * sizeof *count);
        for (uint32_t i = 0; i < rows * LAYERS * TOP_K; i++, choice++)
            if (*choice != WORLD_NONE)
                count[i / TOP_K % LAYERS * experts + *choice]++;
        assert_int_equal(trace_writer_load(w, count, &e), 0);
    }
    assert_int_equal(trace_writer_commit(w, &e), 0);
    free(count);
}

/* The digests of a study alone, and with that profile. */
static void compare(const struct lab *lab, const char *study, const char *counts)
{
    char *more = mem_format("%sprofile: %s\n", study, counts);
    struct result a = lab_result(lab, study, 1), b = lab_result(lab, more, 1);

    assert_int_equal(a.policies, b.policies);
    for (uint32_t i = 0; i < a.policies; i++)
        assert_int_equal(a.policy[i].run.digest, b.policy[i].run.digest);
    assert_non_null(strstr(a.notes, "profile: FILE"));
    assert_null(strstr(b.notes, "profile: FILE"));
    result_release(&a);
    result_release(&b);
    free(more);
}

/* The counts of the trace itself are what it would be profiled by: its sum however the
 * passes are cut; the samples of a history where a pass is a row. */
static void counts_are_a_profile(void **state)
{
    static const char alone[] = "policies: [{cache: {name: pin, slots: 4}}]\n";
    static const char several[] = "machine: h100-80g\nbounds: no\nparallel: {gpus: 4}\n"
                                  "policies:\n"
                                  "- {name: a, place: {name: eplb, slots: 16}}\n"
                                  "- {name: b, place: greedy}\n";
    static const char history[] = "machine: h100-80g\nbounds: no\nparallel: {gpus: 4}\n"
                                  "policies: [{place: anti-correlation}]\n";
    const struct lab *lab = *state;
    char *path = trace_make_path("given"), *study;

    write_counts(lab, path, EXPERTS, 8);
    compare(lab, alone, path);
    compare(lab, several, path);
    write_counts(lab, path, EXPERTS, 1);
    compare(lab, history, path);
    write_counts(lab, path, EXPERTS + 1, 8);
    study = mem_format("%sprofile: %s\n", alone, path);
    lab_refuse(lab, study, "is of another shape");
    free(study);
    (void)unlink(path);
    free(path);
}

/* Other loads give another placement. */
static void other_counts_place_otherwise(void **state)
{
    static const char study[] = "machine: h100-80g\nbounds: no\nparallel: {gpus: 4}\n"
                                "policies: [{place: {name: eplb, slots: 16}}]\n";
    const struct lab *lab = *state;
    char *path = trace_make_path("given"), *more;
    struct result a = lab_result(lab, study, 1), b;
    const struct run_placements *p = &a.policy[0].run.placed, *q;

    trace_make_counts(path, LAYERS, EXPERTS, 4);
    more = mem_format("%sprofile: %s\n", study, path);
    b = lab_result(lab, more, 1);
    q = &b.policy[0].run.placed;
    assert_int_equal(p->count, 1);
    assert_int_equal(p->slots, 16);
    assert_int_equal(q->slots, 16);
    assert_memory_not_equal(p->expert, q->expert, LAYERS * 16 * sizeof *p->expert);
    result_release(&a);
    result_release(&b);
    (void)unlink(path);
    free(path);
    free(more);
}

/* By hand: GPU 0 has all that is even, GPU 1 all that is odd, in an order of its own. */
static void a_map_by_hand(void **state)
{
    const struct lab *lab = *state;
    char *path = trace_make_path("map"), *study;
    uint64_t rows[2] = {0};
    struct result r;
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_true(fputs("[[0,2,4,6,8,10, 1,3,5,7,9,11],\n"
                      " [10,8,6,4,2,0, 11,9,7,5,3,1],\n"
                      " [2,4,0,6,10,8, 3,1,5,7,11,9]]\n",
                      f) >= 0);
    assert_int_equal(fclose(f), 0);
    for (uint32_t i = 0; i < ROWS * LAYERS * TOP_K; i++)
        if (lab->w->expert[i] != WORLD_NONE)
            rows[lab->w->expert[i] % 2]++;
    study = mem_format("machine: h100-80g\nparallel: {gpus: 2}\n"
                       "policies: [{place: {name: file, file: %s}}]\n",
                       path);
    r = lab_result(lab, study, 1);
    assert_int_equal(r.policy[0].run.gpu_rows[0], rows[0]);
    assert_int_equal(r.policy[0].run.gpu_rows[1], rows[1]);
    assert_int_equal(r.policy[0].run.placed.expert[12], 10);
    result_release(&r);
    (void)unlink(path);
    free(path);
    free(study);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_are_a_profile),
        cmocka_unit_test(other_counts_place_otherwise),
        cmocka_unit_test(a_map_by_hand),
    };

    return cmocka_run_group_tests(tests, lab_setup, lab_teardown);
}
