/* What an eager framework's host adds to runs over several GPUs, seen operation by
 * operation: its loop over experts, and waiting for rows before it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "crew_lab.h"
#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

#define GPUS 4

/* Of the first MoE layer in the first pass. */
struct seen {
    uint32_t gates, dispatches, experts;
    uint64_t gemms, layer_gemms;       /* launches of products: all; of the last layer */
    sim_time dispatched, begun, ended; /* experts: the first start, the last end */
};

static void see(void *context, uint32_t policy, op_id id, enum op_kind kind,
                enum op_lane lane, uint32_t layer, uint32_t expert,
                const struct op_times *times)
{
    struct seen *s = context;

    (void)id;
    (void)lane;
    (void)expert;
    assert_int_equal(policy, 0); /* bounds' runs are not told of */
    if (layer != 0)
        return;
    s->gates += kind == OP_GATE;
    if (kind == OP_DISPATCH && s->dispatches++ == 0)
        s->dispatched = times->end;
    if (kind != OP_EXPERTS || s->experts == GPUS)
        return;
    if (s->experts == 0 || times->start < s->begun)
        s->begun = times->start;
    if (times->end > s->ended)
        s->ended = times->end;
    s->experts++;
}

/* One pass of the case, with this overhead per expert and launch (0: the machine's). */
static struct seen run_case(const struct crew_case *c, sim_time overhead, sim_time launch)
{
    struct crew_lab *lab = crew_lab_new(c, NULL);
    const struct experiment_folders folders = {"models/arch", "models/machine",
                                               "sim/policy/presets"};
    struct seen seen = {.gates = 0};
    struct experiment_hooks hooks = {
        .machine = &lab->machine, .operation = see, .operation_context = &seen};
    char *text = crew_lab_text(lab, "fifo", NULL);
    struct err e = {.text = ""};
    struct cfg *config = cfg_parse("eager", text, strlen(text), &e);
    struct result r;

    lab->machine.host.expert_overhead = overhead;
    if (launch > 0)
        lab->machine.host.launch_eager = launch;
    assert_non_null(config);
    if (experiment_run(config, &folders, 1, &hooks, &r, &e) != 0)
        fail_msg("%s", e.text);
    seen.gemms = r.policy[0].run.total.counts.expert_gemms;
    seen.layer_gemms =
        r.policy[0].run.layer[r.policy[0].run.layers - 1].counts.expert_gemms;
    result_release(&r);
    cfg_free(config);
    free(text);
    crew_lab_free(lab);
    return seen;
}

/* The same on four GPUs of 8 experts each, with this schedule. */
static struct seen run_with(sim_time overhead, const char *schedule)
{
    const struct crew_case c = {.nodes = 1,
                                .gpus = GPUS,
                                .rails = 1,
                                .per_root = 1,
                                .nvlink = true,
                                .layers = 2,
                                .experts = 32,
                                .top_k = 2,
                                .hidden = 64,
                                .requests = 8,
                                .rows = 6,
                                .candidates = 2,
                                .prefill_rows = 6,
                                .seed = 5,
                                .workload = "{mode: static, batch: 8, max_passes: 1}",
                                .place = "linear",
                                .place_more = "",
                                .schedule_more = schedule,
                                .more = ""};

    return run_case(&c, overhead, 0);
}

/* Hooks are told of every GPU's operations, and of a collective once. */
static void every_gpu_is_told_of(void **state)
{
    struct seen s = run_with(0, NULL);

    (void)state;
    assert_int_equal(s.gates, GPUS);
    assert_int_equal(s.dispatches, 1);
    assert_int_equal(s.experts, GPUS);
    assert_true(s.begun >= s.dispatched && s.ended > s.begun);
}

/* A GPU has 8 experts: the loop over them is over before their group begins, and takes
 * 8 ms, much longer than the rest; what the group itself takes stays. */
static void a_group_begins_behind_the_loop(void **state)
{
    struct seen quick = run_with(0, NULL), slow = run_with(SIM_TIME_PER_S / 1000, NULL);

    (void)state;
    assert_true(slow.begun >= 8 * SIM_TIME_PER_S / 1000);
    assert_true(slow.begun < 9 * SIM_TIME_PER_S / 1000);
    assert_int_equal(slow.ended - slow.begun, quick.ended - quick.begun);
}

/* One by one, the first expert begins at once, and the last one ends behind the loop. */
static void a_chain_begins_with_the_loop(void **state)
{
    struct seen s = run_with(SIM_TIME_PER_S / 1000, ", experts: serial");

    (void)state;
    assert_true(s.ended >= 8 * SIM_TIME_PER_S / 1000);
    assert_true(s.ended < 9 * SIM_TIME_PER_S / 1000);
}

/* The loop begins when rows have arrived, which the host hears a round trip later. */
static void waiting_puts_the_loop_behind_the_rows(void **state)
{
    struct seen at_once = run_with(SIM_TIME_PER_S / 1000, NULL);
    struct seen waits = run_with(SIM_TIME_PER_S / 1000, ", wait: yes");

    (void)state;
    assert_int_equal(waits.dispatched, at_once.dispatched);
    assert_true(at_once.begun < at_once.dispatched + 8 * SIM_TIME_PER_S / 1000);
    assert_true(waits.begun > waits.dispatched + 8 * SIM_TIME_PER_S / 1000);
}

/* MoEShard's variants differ in what they launch: a chain of three kernels for each of
 * the 8 experts, which every GPU has a part of, and source; a chain for each expert; or
 * six kernels for all. Beside chains there are three that permute. The rest takes much
 * less than a launch, so that the last GPU ends with its last one. */
static void shards_launch_by_variant(void **state)
{
    static const char *const variants[] = {", variant: v0", ", variant: v1",
                                           ", variant: v2"};
    static const int64_t kernels[] = {3 + 3 * 8 * GPUS, 3 + 3 * 8, 6};
    static const uint64_t gemms[] = {2 * 8 * GPUS, 2 * 8, 2}; /* 2 E G, 2 E, 2 */
    const sim_time launch = SIM_TIME_PER_S / 100;
    sim_time ended[3];

    (void)state;
    for (int i = 0; i < 3; i++) {
        const struct crew_case c = {.nodes = 1,
                                    .gpus = GPUS,
                                    .rails = 1,
                                    .per_root = 1,
                                    .nvlink = true,
                                    .layers = 2,
                                    .experts = 8,
                                    .top_k = 2,
                                    .hidden = 64,
                                    .requests = 8,
                                    .rows = 6,
                                    .candidates = 2,
                                    .cyclic = true,
                                    .prefill_rows = 6,
                                    .seed = 5,
                                    .workload = "{mode: static, batch: 8, max_passes: 1}",
                                    .place = "moeshard",
                                    .place_more = variants[i],
                                    .more = "launch: eager\n"};

        struct seen seen = run_case(&c, 0, launch);

        ended[i] = seen.ended;
        assert_int_equal(seen.layer_gemms, GPUS * gemms[i]);
        assert_int_equal(seen.gemms, 2 * GPUS * gemms[i]);
    }
    for (int i = 0; i < 2; i++)
        assert_int_equal((ended[i] - ended[2] + launch / 2) / launch,
                         kernels[i] - kernels[2]);
}

/* Three of four GPUs have a row each, for two of four experts. Next to what an expert's
 * kernels take at least, rows and permuting them are little, so that a group takes as
 * long as it has chains with rows: under v0 one for each GPU's rows of an expert, under
 * v1 one for each expert. */
static void shards_compute_by_variant(void **state)
{
    static const char *const variants[] = {", variant: v0", ", variant: v1"};
    static const sim_time chains[] = {3 * 2, 4};
    sim_time took[2];

    (void)state;
    for (int i = 0; i < 2; i++) {
        const struct crew_case c = {.nodes = 1,
                                    .gpus = GPUS,
                                    .rails = 1,
                                    .per_root = 1,
                                    .nvlink = true,
                                    .layers = 1,
                                    .experts = 4,
                                    .top_k = 2,
                                    .hidden = 64,
                                    .requests = 3,
                                    .rows = 2,
                                    .candidates = 2,
                                    .cyclic = true,
                                    .seed = 5,
                                    .workload = "{mode: static, batch: 3, max_passes: 1}",
                                    .place = "moeshard",
                                    .place_more = variants[i],
                                    .more = "launch: graph\n"};
        struct seen s = run_case(&c, 0, 0);

        took[i] = s.ended - s.begun;
    }
    assert_int_equal((took[0] * chains[1] + took[1] / 2) / took[1], chains[0]);
}

/* Five rows of one expert on one GPU, by kernels whose tiles are these: what the run
 * takes and its balanced bound. */
static void bound_of(struct machine_tiles tiles, sim_time *latency, sim_time *balanced)
{
    const struct crew_case c = {.nodes = 1,
                                .gpus = 1,
                                .rails = 1,
                                .per_root = 1,
                                .layers = 1,
                                .experts = 4,
                                .top_k = 1,
                                .hidden = 64,
                                .requests = 5,
                                .rows = 6,
                                .candidates = 1,
                                .one_expert = true,
                                .seed = 5,
                                .workload = "{mode: static, batch: 5, max_passes: 1}",
                                .place = "linear",
                                .place_more = "",
                                .schedule_more = ", experts: serial",
                                .more = ""};
    struct crew_lab *lab = crew_lab_new(&c, NULL);
    struct result r;

    lab->machine.gpu.tiles = tiles;
    lab->machine.gpu.bf16_flops = 1e9; /* so that every row counts */
    assert_int_equal(crew_lab_run(lab, "fifo", 1, &r, NULL), 0);
    assert_true(r.policy[0].bounds.present);
    *latency = r.policy[0].run.total.latency;
    *balanced = r.policy[0].bounds.balanced;
    result_release(&r);
    crew_lab_free(lab);
}

/* Kernels pad the five rows to 8, but divided otherwise they could be 6: the bound takes
 * those, as a machine does whose only tile is the smallest. */
static void the_bound_pads_to_the_smallest_tile(void **state)
{
    sim_time latency, balanced, least, least_bound;

    (void)state;
    bound_of((struct machine_tiles){3, {2, 4, 8}}, &latency, &balanced);
    bound_of((struct machine_tiles){1, {2}}, &least, &least_bound);
    assert_int_equal(least_bound, least);
    assert_int_equal(balanced, least);
    assert_true(latency > least);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_gpu_is_told_of),
        cmocka_unit_test(a_group_begins_behind_the_loop),
        cmocka_unit_test(a_chain_begins_with_the_loop),
        cmocka_unit_test(waiting_puts_the_loop_behind_the_rows),
        cmocka_unit_test(shards_launch_by_variant),
        cmocka_unit_test(shards_compute_by_variant),
        cmocka_unit_test(the_bound_pads_to_the_smallest_tile),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
