/* Tensor-parallel experts: every GPU runs its slice of every active expert on all rows,
 * by closed form, and what several GPUs share they do sooner than one. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "schedule_lab.h"

#include "models/cost.h"
#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { GPUS = 4, ROWS = 24 };

/* Passes of 24 rows, of which each chooses 2 of 16 experts, all alike often. */
static const struct crew_case alike = {.nodes = 1,
                                       .gpus = GPUS,
                                       .per_root = 1,
                                       .nvlink = true,
                                       .cyclic = true,
                                       .layers = 2,
                                       .experts = 16,
                                       .top_k = 2,
                                       .candidates = 2,
                                       .hidden = 256,
                                       .requests = ROWS,
                                       .rows = 3,
                                       .seed = 5,
                                       .workload = "{mode: static, batch: 24}",
                                       .place = "tensor",
                                       .place_more = "",
                                       .window = 1,
                                       .more = "bounds: no\nlaunch: eager"};

struct seen {
    sim_time experts; /* of a group, all alike */
    unsigned groups, gathers, scatters, others;
};

static void watch(void *context, uint32_t policy, op_id id, enum op_kind kind,
                  enum op_lane lane, uint32_t layer, uint32_t expert,
                  const struct op_times *t)
{
    struct seen *s = context;

    (void)policy;
    (void)id;
    (void)lane;
    (void)layer;
    (void)expert;
    if (kind == OP_EXPERTS) {
        assert_true(s->groups == 0 || s->experts == t->end - t->start);
        s->experts = t->end - t->start;
        s->groups++;
    }
    s->gathers += kind == OP_GATHER;
    s->scatters += kind == OP_SCATTER;
    s->others += kind == OP_DISPATCH || kind == OP_COMBINE || kind == OP_EXCHANGE ||
                 kind == OP_ENCODE || kind == OP_DECODE;
}

static void slices_take_the_closed_form(void **state)
{
    struct crew_lab *lab = crew_lab_new(&alike, NULL);
    struct seen seen = {.groups = 0};
    struct result r = schedule_lab_run(lab, "{name: p, place: tensor}", watch, &seen);
    const struct run_result *x = &r.policy[0].run;
    const struct run_counts *c = &x->total.counts;
    struct cost_experts work = {.distinct = 0};
    struct model whole, slice;
    struct err e = {.text = ""};
    struct model *m = model_load(lab->model_path, "", &e);
    struct cost cost = {.model = &slice, .machine = &lab->machine};

    (void)state;
    assert_non_null(m);
    whole = *m;
    assert_int_equal(model_slice_experts(&whole, GPUS, &slice, &e), 0);
    for (int i = 0; i < 16; i++) /* 24 rows x 2 choices / 16 experts */
        cost_experts_add(&work, 3, &lab->machine.gpu.tiles);
    assert_int_equal(seen.experts, cost_expert_group(&cost, &work));
    assert_int_equal(seen.groups, 3 * 2 * GPUS);
    assert_int_equal(seen.gathers, 3 * 2);
    assert_int_equal(seen.scatters, 3 * 2);
    assert_int_equal(seen.others, 0);
    /* No row is padded, none is dropped, each goes to all others and back. */
    assert_int_equal(c->activations, 3 * 2 * ROWS * 2);
    assert_int_equal(c->computed_rows, GPUS * c->activations);
    assert_int_equal(c->busiest_rows, c->activations);
    assert_int_equal(c->sent_rows, 3 * 2 * ROWS * (GPUS - 1));
    assert_int_equal(c->sent_bytes, c->sent_rows * 2 * 256 * 2);
    assert_int_equal(c->accesses, 3 * 2 * 16 * GPUS);
    crew_check_shares(&alike, &r, 0);
    result_release(&r);
    model_free(m);
    crew_lab_free(lab);
}

/* Where reading experts takes the most time, two GPUs read half as much each. */
static void two_gpus_are_sooner_than_one(void **state)
{
    sim_time took[2];

    (void)state;
    for (uint32_t gpus = 1; gpus <= 2; gpus++) {
        struct crew_case c = alike;
        struct seen seen = {.groups = 0};
        struct crew_lab *lab;
        struct result r;

        c.gpus = gpus;
        c.hidden = 2048;
        c.more = "bounds: no\nlaunch: graph";
        lab = crew_lab_new(&c, NULL);
        lab->machine.gpu.hbm_bytes_per_s = 1e10; /* slow */
        r = schedule_lab_run(lab, "{name: p, place: tensor}", watch, &seen);
        took[gpus - 1] = r.policy[0].run.elapsed;
        result_release(&r);
        crew_lab_free(lab);
    }
    assert_true(took[1] < took[0] * 2 / 3 && took[1] > took[0] / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices_take_the_closed_form),
        cmocka_unit_test(two_gpus_are_sooner_than_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
