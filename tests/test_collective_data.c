/* Collectives against measured tables (aiconfigurator's, in MOESIM_DATA/cost), with the
 * constants of the machine files: prints mean and median relative error, and asserts
 * bounds on them that a wrong equation or a slipped unit would break. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "collective_help.h"
#include "data_table.h"

static struct machine *machine_of(const char *name, uint32_t gpus)
{
    struct err e = {.text = ""};
    struct machine *m = machine_load(name, "models/machine", &e);

    if (m == NULL)
        fail_msg("%s", e.text);
    m->gpus = gpus;
    m->nodes = 1;
    return m;
}

static sim_time predict(const struct machine *m, const struct collective *c)
{
    struct topology t = topology_of(m);
    struct collective_terms k = collective_terms_of(m, c, true);

    return collective_help_time(&t, c, &k);
}

/* ---- NCCL ---- */

struct bound {
    const char *operation;
    double mean, median;
};

/* The tables count elements of the whole buffer: of what gathering ends with and
 * scattering begins with, and of what each rank sends in an all-to-all. */
static sim_time predict_nccl(const struct machine *m, const char *operation,
                             uint64_t bytes)
{
    uint64_t *each = collective_help_equal((size_t)m->gpus * m->gpus, bytes / m->gpus);
    struct collective c = {.pairs = each, .unit_bytes = 1, .bytes = each};
    sim_time time;

    if (strcmp(operation, "alltoall") == 0) {
        c.form = COLLECTIVE_FLAT;
    } else if (strcmp(operation, "all_reduce") == 0) {
        c.form = COLLECTIVE_ALL_REDUCE_RING;
        c.bytes = &bytes;
    } else {
        c.form = strcmp(operation, "all_gather") == 0 ? COLLECTIVE_ALL_GATHER
                                                      : COLLECTIVE_REDUCE_SCATTER;
    }
    time = predict(m, &c);
    free(each);
    return time;
}

static void check_nccl(const char *test, const char *file, const char *machine,
                       const struct bound *b)
{
    struct machine *m = machine_of(machine, 1);
    struct data_errors e = {.values = NULL};
    struct data_table t;
    char *what;

    if (!data_table_open(&t, test, file)) {
        machine_free(m);
        skip();
    }
    while (data_table_next(&t)) {
        uint64_t size =
            strcmp(data_table_cell(&t, "nccl_dtype"), "half") == 0 ? UINT64_C(2) : 1;

        if (strcmp(data_table_cell(&t, "op_name"), b->operation) != 0)
            continue;
        m->gpus = data_table_number(&t, "num_gpus");
        data_errors_add(
            &e,
            predict_nccl(m, b->operation, size * data_table_number(&t, "message_size")),
            data_table_ms(&t));
    }
    data_table_close(&t);
    what = mem_format("%s, %s", test, b->operation);
    data_errors_check(&e, what, b->mean, b->median);
    free(what);
    machine_free(m);
}

static void nccl_h100(void **state)
{
    static const struct bound bounds[] = {{"all_gather", 0.19, 0.16},
                                          {"reduce_scatter", 0.17, 0.14},
                                          {"all_reduce", 0.18, 0.15},
                                          {"alltoall", 0.25, 0.21}};

    (void)state;
    for (size_t i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++)
        check_nccl("nccl_h100", "h100_sxm__comm__nccl__2.29.2__nccl_perf.csv.gz",
                   "h100-80g", &bounds[i]);
}

static void nccl_a100(void **state)
{
    static const struct bound bounds[] = {{"all_gather", 0.22, 0.18},
                                          {"reduce_scatter", 0.20, 0.17},
                                          {"all_reduce", 0.19, 0.16},
                                          {"alltoall", 0.21, 0.19}};

    (void)state;
    for (size_t i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++)
        check_nccl("nccl_a100", "a100_sxm__comm__nccl__2.27.3__nccl_perf.csv.gz",
                   "a100-80g", &bounds[i]);
}

/* ---- DeepEP ---- */

/* Tokens of one GPU that have at least one of their experts on a given GPU, experts drawn
 * without repetition: 1 - C(E - E / n, k) / C(E, k). */
static double hit_share(uint32_t experts, uint32_t top_k, uint32_t gpus)
{
    double miss = 1.0;

    for (uint32_t i = 0; i < top_k; i++)
        miss *= (double)(experts - experts / gpus - i) / (experts - i);
    return 1.0 - miss;
}

struct deepep {
    const char *test, *file;
    const char *column[2]; /* dispatch, combine */
    enum collective_form form;
    uint32_t sms;           /* 0: the table has no such column */
    uint32_t least_experts; /* with fewer, most of the kernel's thread blocks idle */
    double bound[2][2];     /* of mean and median */
};

static void check_deepep(const struct deepep *d, bool combine)
{
    struct machine *m = machine_of("h100-80g", 8);
    struct data_errors e = {.values = NULL};
    struct data_table t;
    char *what;

    if (!data_table_open(&t, d->test, d->file)) {
        machine_free(m);
        skip();
    }
    while (data_table_next(&t)) {
        uint32_t tokens = data_table_number(&t, "num_token");
        uint32_t top_k = data_table_number(&t, "num_topk");
        uint32_t experts = data_table_number(&t, "num_experts");
        uint32_t hidden = data_table_number(&t, "hidden_size");
        double rows = d->form == COLLECTIVE_LOW_LATENCY ? top_k / 8.0
                                                        : hit_share(experts, top_k, 8);
        uint64_t *pairs = collective_help_equal(
            64,
            (uint64_t)(rows * tokens * (double)collective_row_bytes(hidden, !combine)));
        struct collective c = {
            .form = d->form, .pairs = pairs, .unit_bytes = 1, .reverse = combine};

        if (experts >= d->least_experts &&
            (d->sms == 0 || d->sms == data_table_number(&t, "dispatch_sms")))
            data_errors_add(&e, predict(m, &c),
                            strtod(data_table_cell(&t, d->column[combine]), NULL) * 1e-6);
        free(pairs);
    }
    data_table_close(&t);
    what = mem_format("%s, %s", d->test, combine ? "combine" : "dispatch");
    data_errors_check(&e, what, d->bound[combine][0], d->bound[combine][1]);
    free(what);
    machine_free(m);
}

static void deepep_low_latency(void **state)
{
    const struct deepep d = {
        "deepep_low_latency",
        "h100_sxm__comm__sglang__0.5.12__wideep_deepep_ll_perf.csv.gz",
        {"dispatch_avg_t_us", "combine_avg_t_us"},
        COLLECTIVE_LOW_LATENCY,
        0,
        64,
        {{0.12, 0.10}, {0.08, 0.07}}};

    (void)state;
    check_deepep(&d, false);
    check_deepep(&d, true);
}

static void deepep_normal(void **state)
{
    const struct deepep d = {
        "deepep_normal",
        "h100_sxm__comm__sglang__0.5.12__wideep_deepep_normal_perf.csv.gz",
        {"dispatch_transmit_us", "combine_transmit_us"},
        COLLECTIVE_NORMAL,
        20,
        0,
        {{0.13, 0.09}, {0.16, 0.13}}};

    (void)state;
    check_deepep(&d, false);
    check_deepep(&d, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nccl_h100),
        cmocka_unit_test(nccl_a100),
        cmocka_unit_test(deepep_low_latency),
        cmocka_unit_test(deepep_normal),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
