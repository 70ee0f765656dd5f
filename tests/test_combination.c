/* What cannot work together is refused in its words; what differs by little runs. What a
 * plug-in declares is what its functions say. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "crew_lab.h"

#include "sim/base/mem.h"
#include "sim/policy/slots.h"

#include <stdlib.h>
#include <string.h>

/* `sentence` NULL: it runs. */
struct combination {
    const char *policy, *lines, *sentence;
};

/* On four GPUs of a server, or of one alone. */
static void run(const struct combination *x, const struct crew_case *c,
                const char *engine)
{
    struct crew_case own = *c;
    struct crew_lab *lab;
    struct err e = {.text = ""};
    struct result r = {.path = NULL};
    char *policies = mem_format("{name: p, %s}", x->policy), *text;
    int status;

    own.more = x->lines;
    lab = crew_lab_new(&own, NULL);
    text = crew_lab_text(lab, engine, policies);
    status = crew_lab_run_text(lab, text, 1, &r, &e);
    if (x->sentence == NULL && status != 0)
        fail_msg("%s %s: %s", x->policy, x->lines, e.text);
    if (x->sentence != NULL && (status == 0 || strstr(e.text, x->sentence) == NULL))
        fail_msg("%s %s: '%s', not '%s'", x->policy, x->lines, e.text, x->sentence);
    result_release(&r);
    free(text);
    free(policies);
    crew_lab_free(lab);
}

static const struct crew_case four = {.nodes = 1,
                                      .gpus = 4,
                                      .per_root = 1,
                                      .nvlink = true,
                                      .layers = 2,
                                      .experts = 8,
                                      .top_k = 2,
                                      .candidates = 2,
                                      .hidden = 64,
                                      .requests = 4,
                                      .rows = 3,
                                      .seed = 2,
                                      .workload = "{mode: static, batch: 4}",
                                      .place = "linear",
                                      .place_more = "",
                                      .window = 1};

static void over_several_gpus(void **state)
{
    static const struct combination cases[] = {
        {"cache: {name: pin, slots: 1}, prefetch: markov", "",
         "cache 'pin' does not go with prefetch 'markov'"},
        {"cache: {name: pin, slots: 1}", "", NULL},
        {"cache: {name: belady-bypass, slots: 1}, prefetch: markov", "",
         "use prefetch 'none' or 'oracle'"},
        {"cache: {name: belady-bypass, slots: 1}, prefetch: oracle", "", NULL},
        {"place: {slots: 10}", "",
         "policy 'p': place: slots is 10; 8 experts on 4 GPUs need a multiple of 4, at "
         "least 8"},
        {"place: {slots: 4}", "", "at least 8"},
        {"place: {slots: 12}", "", NULL},
        {"place: {slots: 12}, gate: capacity-factor", "",
         "gate: capacity-factor pads every expert's rows"},
        {"place: moeshard, gate: capacity-factor", "", "choose gate: dropless"},
        {"place: {slots: 8}, gate: capacity-factor", "", NULL},
        {"place: {name: moeshard, interval: 2}", "", "place: moeshard has every expert"},
        {"place: {name: greedy, interval: 2, foresee: 1}", "", "interval must be 1"},
        {"place: {name: greedy, interval: 1, foresee: 1}", "", NULL},
        {"schedule: {empty: yes}", "", "needs experts: serial"},
        {"schedule: {experts: serial, empty: yes}", "", NULL},
        {"place: moeshard, schedule: two-batch", "",
         "schedule: two-batch has no rule for place: moeshard"},
        {"cache: {name: belady, slots: 1}, schedule: {name: pipelined, chunks: 3}", "",
         "schedule: pipelined splits them in 3 parts"},
        {"cache: {name: belady, slots: 1}, schedule: {name: pipelined, chunks: 1}", "",
         NULL},
        {"cache: {name: lru, slots: 1}, offload: host, schedule: two-batch", "",
         "offload: host decides on a layer's experts at once; schedule: two-batch runs "
         "them in 2 parts"},
        {"cache: {name: belady, slots: 2}, place: {name: greedy, interval: 2}", "",
         "only if they stay there"},
        {"cache: {name: lru, slots: 1}, place: {name: greedy, interval: 2}", "",
         "do not hold all experts"},
        {"cache: {name: lru, slots: 1}, offload: host", "", NULL},
        {"cache: {name: lru, slots: 1}, offload: monde", "",
         "policy 'p' runs experts near their data (offload: monde), but by hand has no "
         "unit "
         "there"},
        {"cache: {name: lru, slots: 1}, schedule: {name: serial, loads: each}", "",
         "schedule: serial runs nothing while experts load"},
        {"cache: {name: lru, slots: 1}, schedule: {name: overlapped, loads: each}", "",
         NULL},
        {"offload: {name: layers, count: 1}", "", NULL},
        {"offload: {name: layers, count: 1, whole: yes, batch: never}", "", NULL},
        {"offload: {name: layers, count: 1, whole: yes}", "", "say batch: never"},
        {"offload: {name: layers, count: 1, whole: yes, batch: never}",
         "host_memory: 17.7 MB\n", "take fewer layers, or a larger host_memory"},
        {"cache: {allocate: profile}, offload: {name: layers, count: 1}", "",
         "leave out allocate"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        run(&cases[i], &four, "auto");
}

static void in_order(void **state)
{
    static const struct combination cases[] = {
        {"cache: {name: lru, slots: 1}, prefetch: markov", "",
         "policy 'p' loads early, writes back, or loads beside experts that run in "
         "place"},
        {"cache: {name: lru, slots: 1}", "",
         "policy 'p' copies weights or gathers rows while GPUs share"},
        {"cache: {name: lru, slots: 2, preload: linear}", "", NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        run(&cases[i], &four, "fifo");
}

/* GPUs that share an attention gather one batch's rows while another one's go out, on the
 * same links; in one batch, or without sharing, nothing does so. */
static void gathering_in_order(void **state)
{
    static const struct combination two = {"schedule: two-batch", "",
                                           "policy 'p' copies weights or gathers rows"};
    static const struct combination one = {"schedule: pipelined", "", NULL};
    static const struct combination alone = {"schedule: two-batch", "", NULL};
    struct crew_case shared = four;

    (void)state;
    shared.tensor = 2;
    run(&two, &shared, "fifo");
    run(&one, &shared, "fifo");
    run(&alone, &four, "fifo");
}

static void over_nodes_without_nvlink(void **state)
{
    static const struct combination cases[] = {
        {"schedule: {exchange: low-latency}", "", "made for NVLink in a node"},
        {"schedule: {exchange: normal}", "", "made for NVLink in a node"},
        {"schedule: {exchange: forward}", "", "choose exchange: flat or rails"},
        {"schedule: {exchange: rails}", "", NULL},
        {"schedule: {exchange: flat}", "", NULL},
    };
    struct crew_case c = four;

    (void)state;
    c.nodes = 2;
    c.gpus = 2;
    c.network = true;
    c.nvlink = false;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        run(&cases[i], &c, "auto");
}

/* What is declared is data, and others decide by it: it must not differ from what the
 * plug-in's functions do. */
static void what_is_declared_is_done(void **state)
{
    (void)state;
    for (const struct plugin *const *all = registry_all(); *all != NULL; all++) {
        const void *type = *all;
        unsigned acts = 0;

        switch ((*all)->slot) {
        case SLOT_GATE:
            acts = ((const struct gate_type *)type)->apply != NULL ? ACT_REROUTE : 0;
            acts |= (*all)->acts & ACT_PAD; /* what it returns tells: test_gate.c */
            break;
        case SLOT_SELECT:
            acts = ((const struct select_type *)type)->apply != NULL ? ACT_REROUTE : 0;
            acts |= (*all)->acts & ACT_RESIDENCY; /* test_select.c */
            break;
        case SLOT_PREFETCH:
            acts = ((const struct prefetch_type *)type)->step != NULL ? ACT_PREFETCH : 0;
            break;
        case SLOT_OFFLOAD:
            if (((const struct offload_type *)type)->decide != NULL)
                acts = ((*all)->acts & ACT_NEAR) != 0 ? ACT_NEAR : ACT_HOST;
            if (((const struct offload_type *)type)->lower != NULL)
                acts |= ACT_LOWER;
            break;
        case SLOT_SCHEDULE:
            acts = ((const struct schedule_type *)type)->stages != NULL ? ACT_STAGES : 0;
            break;
        case SLOT_PLACE:
            acts = (*all)->acts & ACT_SHARD; /* test_place.c */
            break;
        case SLOT_CACHE:
        case POLICY_SLOTS:
            break;
        }
        if ((*all)->acts != acts)
            fail_msg("%s %s declares %x, and does %x", policy_slot_name((*all)->slot),
                     (*all)->name, (*all)->acts, acts);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(over_several_gpus),
        cmocka_unit_test(in_order),
        cmocka_unit_test(gathering_in_order),
        cmocka_unit_test(over_nodes_without_nvlink),
        cmocka_unit_test(what_is_declared_is_done),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
