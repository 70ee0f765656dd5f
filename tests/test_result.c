#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "made_result.h"
#include "sim/base/mem.h"
#include "sim/base/percentile.h"
#include "sim/result/result_hdf.h"

#include <hdf5.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NEAR(a, b) assert_true(fabs((a) - (b)) <= 1e-9 * (1 + fabs(b)))

static const struct made_shape shape = {
    .policies = 3, .layers = 5, .requests = 9, .passes = 20000, .seed = 41};
static const struct made_shape parallel = {
    .policies = 2, .layers = 3, .requests = 4, .passes = 50, .seed = 17, .gpus = 6};

static int set_up(void **state)
{
    *state = made_folder();
    return 0;
}

static int tear_down(void **state)
{
    made_folder_remove(*state);
    return 0;
}

static void assert_same_file(const char *a, const char *b)
{
    size_t a_size, b_size;
    char *x = made_read(a, &a_size), *y = made_read(b, &b_size);

    assert_int_equal(a_size, b_size);
    assert_memory_equal(x, y, a_size);
    free(x);
    free(y);
}

/* ---- the file ---- */

static void two_writes_are_byte_equal(void **state)
{
    char *a = mem_format("%s/a.h5", (char *)*state);
    char *b = mem_format("%s/b.h5", (char *)*state);
    struct err e = {.text = ""};

    for (int i = 0; i < 2; i++) {
        struct result r = made_result(&shape);

        assert_int_equal(result_write(&r, i == 0 ? a : b, &e), 0);
        result_release(&r);
    }
    assert_same_file(a, b);
    free(a);
    free(b);
}

static void what_was_read_writes_the_same_file(void **state)
{
    char *a = mem_format("%s/a.h5", (char *)*state);
    char *b = mem_format("%s/b.h5", (char *)*state);
    struct result made = made_result(&shape), r;
    struct err e = {.text = ""};

    assert_int_equal(result_write(&made, a, &e), 0);
    assert_int_equal(result_read(a, &r, &e), 0);
    assert_int_equal(result_write(&r, b, &e), 0);
    assert_same_file(a, b);
    /* Also onto itself. */
    assert_int_equal(result_write(&r, a, &e), 0);
    assert_same_file(a, b);
    result_release(&r);
    result_release(&made);
    free(a);
    free(b);
}

/* A text may have 16 MiB with the NUL behind it, and not a byte more. */
static void the_longest_text(void **state)
{
    char *path = mem_format("%s/a.h5", (char *)*state);
    struct result a = made_result(&shape), b;
    struct err e = {.text = ""};

    free(a.notes);
    a.notes = mem_zalloc(RESULT_HDF_MAX_TEXT + 1, 1);
    memset(a.notes, 'n', RESULT_HDF_MAX_TEXT - 1);
    assert_int_equal(result_write(&a, path, &e), 0);
    assert_int_equal(result_read(path, &b, &e), 0);
    assert_int_equal(strlen(b.notes), RESULT_HDF_MAX_TEXT - 1);
    a.notes[RESULT_HDF_MAX_TEXT - 1] = 'n';
    assert_int_equal(result_write(&a, path, &e), -1); /* which reads it again */
    assert_non_null(strstr(e.text, "data set /notes is not one string"));
    result_release(&a);
    result_release(&b);
    free(path);
}

static void everything_comes_back(void **state)
{
    char *path = mem_format("%s/a.h5", (char *)*state);
    struct result a = made_result(&shape), b;
    struct run_pass *x = mem_alloc(700, sizeof *x), *y = mem_alloc(700, sizeof *y);
    struct err e = {.text = ""};

    assert_int_equal(result_write(&a, path, &e), 0);
    assert_int_equal(result_read(path, &b, &e), 0);
    assert_string_equal(b.path, path);
    assert_string_equal(b.config, a.config);
    assert_string_equal(b.notes, a.notes);
    assert_string_equal(b.machine_source, a.machine_source);
    assert_string_equal(b.watch, a.watch);
    assert_int_equal(b.seed, a.seed);
    assert_string_equal(b.group_names[1], "prose, long");
    assert_memory_equal(b.moe_layer, a.moe_layer, 5 * sizeof *a.moe_layer);
    for (uint32_t i = 0; i < shape.policies; i++) {
        struct result_policy *p = &a.policy[i], *q = &b.policy[i];

        assert_string_equal(q->label, p->label);
        assert_string_equal(q->description[SLOT_CACHE], p->description[SLOT_CACHE]);
        assert_int_equal(q->event_driven, p->event_driven);
        assert_memory_equal(&q->run.total, &p->run.total, sizeof p->run.total);
        assert_memory_equal(q->run.layer, p->run.layer, 5 * sizeof *p->run.layer);
        assert_memory_equal(q->run.request, p->run.request, 9 * sizeof *p->run.request);
        assert_int_equal(q->run.watched, p->run.watched);
        assert_memory_equal(q->run.watch, p->run.watch,
                            p->run.watched * sizeof *p->run.watch);
        assert_int_equal(q->run.digest, p->run.digest);
        assert_int_equal(q->bounds.belady_time, p->bounds.belady_time);
        assert_int_equal(result_pass_count(&b, i), 20000);
        /* Across the edge of a block. */
        assert_int_equal(result_read_passes(&a, i, 7900, 700, x, &e), 0);
        assert_int_equal(result_read_passes(&b, i, 7900, 700, y, &e), 0);
        assert_memory_equal(x, y, 700 * sizeof *x);
    }
    result_release(&a);
    result_release(&b);
    free(x);
    free(y);
    free(path);
}

static void a_result_without_passes_groups_or_requests(void **state)
{
    char *path = mem_format("%s/a.h5", (char *)*state);
    struct made_shape small = {.policies = 1, .layers = 1, .requests = 0, .seed = 3};
    struct result a = made_result(&small), b;
    struct err e = {.text = ""};

    a.groups = 0;
    free(a.group_names[0]);
    free(a.group_names[1]);
    assert_int_equal(result_write(&a, path, &e), 0);
    assert_int_equal(result_read(path, &b, &e), 0);
    assert_int_equal(result_pass_count(&b, 0), 0);
    assert_int_equal(b.policy[0].run.requests, 0);
    result_release(&a);
    result_release(&b);
    free(path);
}

/* Requests that packed well take less room in the file than rows of any kind could. */
static void many_requests_come_back(void **state)
{
    struct made_shape many = {.policies = 1, .layers = 1, .requests = 3000, .seed = 7};
    struct result r = made_result(&many), back = {.path = NULL};
    char *path = mem_format("%s/many.h5", (char *)*state);
    struct err e = {.text = ""};

    assert_int_equal(result_write(&r, path, &e), 0);
    assert_int_equal(result_read(path, &back, &e), 0);
    assert_int_equal(back.policy[0].run.requests, 3000);
    for (int i = 0; i < 3000; i++)
        assert_memory_equal(&back.policy[0].run.request[i].arrival,
                            &r.policy[0].run.request[i].arrival, sizeof(sim_time));
    result_release(&back);
    result_release(&r);
    free(path);
}

static void several_gpus_come_back(void **state)
{
    char *path = mem_format("%s/a.h5", (char *)*state);
    char *again = mem_format("%s/b.h5", (char *)*state);
    struct result a = made_result(&parallel), b;
    struct err e = {.text = ""};

    assert_int_equal(result_write(&a, path, &e), 0);
    assert_int_equal(result_read(path, &b, &e), 0);
    assert_true(result_is_parallel(&b));
    assert_int_equal(b.links, 16); /* 6 and 6 NVLink ports, NICs of 2 nodes */
    for (uint32_t i = 0; i < 16; i++) {
        assert_string_equal(b.link[i].name, a.link[i].name);
        assert_string_equal(b.link[i].kind, a.link[i].kind);
        assert_int_equal(b.link[i].bytes_per_s, a.link[i].bytes_per_s);
    }
    for (uint32_t i = 0; i < 2; i++) {
        struct run_result *x = &a.policy[i].run, *y = &b.policy[i].run;

        assert_int_equal(y->gpus, 6);
        assert_int_equal(y->nodes, 2);
        assert_int_equal(y->shards, 1);
        assert_int_equal(y->activation_bytes, 12345678);
        assert_int_equal(y->migration_time, x->migration_time);
        assert_memory_equal(y->gpu_rows, x->gpu_rows, 6 * sizeof *x->gpu_rows);
        assert_memory_equal(y->gpu_peak, x->gpu_peak, 6 * sizeof *x->gpu_peak);
        assert_memory_equal(y->link_bytes, x->link_bytes, 16 * sizeof *x->link_bytes);
        assert_int_equal(y->placed.count, 2);
        assert_int_equal(y->placed.made, 5);
        assert_int_equal(y->placed.slots, 18);
        assert_memory_equal(y->placed.pass, x->placed.pass, 2 * sizeof(uint64_t));
        assert_memory_equal(y->placed.expert, x->placed.expert,
                            (size_t)2 * b.layers * 18 * sizeof(uint16_t));
        assert_memory_equal(&y->total, &x->total, sizeof x->total);
        assert_int_equal(b.policy[i].bounds.balanced, a.policy[i].bounds.balanced);
        assert_int_equal(b.policy[i].bounds.free_network,
                         a.policy[i].bounds.free_network);
    }
    assert_int_equal(result_write(&b, again, &e), 0);
    assert_same_file(path, again);
    result_release(&a);
    result_release(&b);
    free(path);
    free(again);
}

/* ---- figures ---- */

/* numpy.percentile([15, 20, 35, 40, 50], 40) = 29, at rank 0.4 * 4 = 1.6: 20 + 0.6 * 15;
 * and at 99: rank 3.96, 40 + 0.96 * 10. */
static bool ends_in(const char *name, const char *end)
{
    size_t length = strlen(name), n = strlen(end);

    return length >= n && strcmp(name + length - n, end) == 0;
}

/* A column's name tells its unit; those of words have none. */
static void assert_unit(hid_t column, const char *name)
{
    const char *expected = ends_in(name, "_ps")      ? "ps"
                           : ends_in(name, "_per_s") ? "bytes/s"
                           : ends_in(name, "_bytes") ? "bytes"
                                                     : "1";
    hid_t kind = H5Dget_type(column);
    bool words = H5Tget_class(kind) == H5T_STRING;

    (void)H5Tclose(kind);
    if ((H5Aexists(column, "unit") > 0) == words)
        fail_msg("%s: a unit, or none", name);
    if (!words) {
        hid_t unit = H5Aopen(column, "unit", H5P_DEFAULT), type = H5Aget_type(unit);
        char text[16] = "";

        assert_true(H5Tget_size(type) < sizeof text);
        assert_true(H5Aread(unit, type, text) >= 0);
        if (strcmp(text, expected) != 0)
            fail_msg("%s: '%s', expected '%s'", name, text, expected);
        (void)H5Tclose(type);
        (void)H5Aclose(unit);
    }
}

static herr_t look_at_column(hid_t file, const char *name, const H5O_info_t *info,
                             void *context)
{
    static const H5Z_filter_t filters[] = {H5Z_FILTER_SHUFFLE, H5Z_FILTER_DEFLATE,
                                           H5Z_FILTER_FLETCHER32};
    hid_t column, space, list;
    unsigned *columns = context;

    if (info->type != H5O_TYPE_DATASET)
        return 0;
    column = H5Dopen2(file, name, H5P_DEFAULT);
    space = H5Dget_space(column);
    list = H5Dget_create_plist(column);
    if (H5Sget_simple_extent_ndims(space) == 1) {
        ++*columns;
        assert_int_equal(H5Pget_nfilters(list), 3);
        for (unsigned i = 0; i < 3; i++) {
            unsigned flags;
            size_t values = 0;

            assert_int_equal(
                H5Pget_filter2(list, i, &flags, &values, NULL, 0, NULL, NULL),
                filters[i]);
        }
        assert_unit(column, name);
    }
    (void)H5Pclose(list);
    (void)H5Sclose(space);
    (void)H5Dclose(column);
    return 0;
}

/* Every column is shuffled, which is what makes numbers small, packed and summed, in this
 * order; and says its unit. */
static void columns_are_packed_and_have_units(void **state)
{
    char *path = mem_format("%s/columns.h5", (char *)*state);
    struct result r = made_result(&parallel);
    struct err e = {.text = ""};
    unsigned columns = 0;
    hid_t file;

    assert_int_equal(result_write(&r, path, &e), 0);
    result_release(&r);
    file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    assert_true(H5Ovisit2(file, H5_INDEX_NAME, H5_ITER_INC, look_at_column, &columns,
                          H5O_INFO_BASIC) >= 0);
    assert_true(columns > 100);
    (void)H5Fclose(file);
    free(path);
}

static herr_t count_errors(hid_t stack, void *data)
{
    (void)stack;
    ++*(unsigned *)data;
    return 0;
}

static void assert_handler(const unsigned *errors)
{
    H5E_auto2_t handler;
    void *data;

    assert_true(H5Eget_auto2(H5E_DEFAULT, &handler, &data) >= 0);
    assert_true(handler == count_errors && data == errors);
    assert_int_equal(*errors, 0);
}

/* Who handles HDF5's errors himself goes on doing so, and hears of none from here. */
static void a_handler_of_errors_stays(void **state)
{
    char *path = mem_format("%s/handled.h5", (char *)*state);
    struct result made = made_result(&parallel), r;
    struct err e = {.text = ""};
    H5E_auto2_t before;
    struct run_pass pass;
    unsigned errors = 0;
    void *data;

    (void)H5Eget_auto2(H5E_DEFAULT, &before, &data);
    (void)H5Eset_auto2(H5E_DEFAULT, count_errors, &errors);
    assert_int_equal(result_write(&made, path, &e), 0);
    assert_handler(&errors);
    assert_int_equal(result_read(path, &r, &e), 0);
    assert_handler(&errors);
    assert_int_equal(result_read_passes(&r, 1, 3, 1, &pass, &e), 0);
    assert_handler(&errors);
    (void)remove(path);
    assert_int_equal(result_read_passes(&r, 1, 3, 1, &pass, &e), -1);
    assert_handler(&errors);
    result_release(&r);
    e.text[0] = '\0';
    assert_int_equal(result_read(path, &r, &e), -1);
    assert_handler(&errors);
    (void)H5Eset_auto2(H5E_DEFAULT, before, data);
    result_release(&made);
    free(path);
}

static void percentiles_interpolate(void **state)
{
    double value[] = {50, 15, 40, 20, 35};

    (void)state;
    percentile_sort(value, 5);
    NEAR(percentile_of_sorted(value, 5, 0.40), 29.0);
    NEAR(percentile_of_sorted(value, 5, 0.99), 49.6);
    NEAR(percentile_of_sorted(value, 5, 0), 15.0);
    NEAR(percentile_of_sorted(value, 5, 1), 50.0);
    NEAR(percentile_of_sorted(value, 1, 0.5), 15.0);
    assert_true(isnan(percentile_of_sorted(value, 0, 0.5)));
}

static void a_summary_by_hand(void **state)
{
    const sim_time ms = 1000 * SIM_TIME_PER_US;
    /* TPOT 10 ms, 30 ms, none (one token), 20 ms (cut short); TTFT 5, 7, 9 ms. */
    struct run_request request[] = {
        {.arrival = 0, .first_token = 5 * ms, .last_token = 25 * ms, .output_tokens = 3},
        {.arrival = ms, .first_token = 8 * ms, .last_token = 38 * ms, .output_tokens = 2},
        {.arrival = ms,
         .first_token = 10 * ms,
         .last_token = 10 * ms,
         .output_tokens = 1},
        {.first_token = 10 * ms, .last_token = 30 * ms, .output_tokens = 2},
    };
    struct result_policy p = {
        .run = {.requests = 4,
                .request = request,
                .output_tokens = 8,
                .elapsed = 40 * ms,
                .compute_busy = 10 * ms,
                .total = {.latency = 36 * ms,
                          .counts = {.accesses = 40,
                                     .hits = 30,
                                     .demand_bytes = 1000,
                                     .prefetch_bytes = 200,
                                     .wasted_bytes = 70,
                                     .out_bytes = 30}}},
        .bounds = {.present = true, .offline = 24 * ms},
    };
    struct result_summary s;

    (void)state;
    for (int i = 0; i < 3; i++)
        request[i].finished = true;
    s = result_summarise(&p);
    assert_int_equal(s.requests, 3);
    NEAR(s.tpot_mean, 20e-3);
    NEAR(s.tpot_p50, 20e-3);
    NEAR(s.tpot_p99, 29.8e-3); /* rank 1.98 of 10, 20, 30 */
    NEAR(s.ttft_mean, 7e-3);
    NEAR(s.ttft_p50, 7e-3);
    NEAR(s.ttft_p99, 8.96e-3);
    NEAR(s.tokens_per_s, 200.0);
    NEAR(s.hit_rate, 0.75);
    NEAR(s.gpu_busy, 0.25);
    NEAR(s.link_bytes, 1230.0);
    NEAR(s.gap, 0.5);
}

/* 4 GPUs, 3 steps: 100 rows chosen in each, 25 of padding; the busiest GPU has 50. */
static void a_summary_of_several_gpus(void **state)
{
    const sim_time ms = 1000 * SIM_TIME_PER_US;
    struct result_policy p = {
        .run = {.gpus = 4,
                .nodes = 1,
                .shards = 1,
                .total = {.latency = 36 * ms,
                          .share = {[SHARE_COMM] = 9 * ms, [SHARE_DENSE] = 27 * ms},
                          .counts = {.activations = 300,
                                     .dropped = 100,
                                     .computed_rows = 375,
                                     .busiest_rows = 150,
                                     .sent_bytes = 4096}}},
        .bounds = {.present = true, .balanced = 24 * ms, .free_network = 30 * ms},
    };
    struct result_summary s = result_summarise(&p);

    (void)state;
    NEAR(s.imbalance, 1.6); /* 150 / (375 / 4) */
    NEAR(s.comm_share, 0.25);
    NEAR(s.sent_bytes, 4096.0);
    NEAR(s.padding, 0.25);
    NEAR(s.drop_share, 0.25);
    NEAR(s.balanced_gap, 0.5);
    NEAR(s.network_gap, 0.2);
    assert_true(isnan(s.gap));
    /* Each GPU runs a slice of every expert on every row: that is no padding. */
    p.run.shards = 4;
    p.run.total.counts.computed_rows = 1200;
    p.run.total.counts.busiest_rows = 300;
    s = result_summarise(&p);
    NEAR(s.padding, 0.0);
    NEAR(s.imbalance, 1.0);
    p.bounds.present = false;
    s = result_summarise(&p);
    assert_true(isnan(s.balanced_gap) && isnan(s.network_gap));
    p.run.gpus = 0;
    s = result_summarise(&p);
    assert_true(isnan(s.imbalance) && isnan(s.comm_share) && isnan(s.padding));
}

static void a_summary_of_nothing(void **state)
{
    struct result_policy p = {.label = NULL};
    struct result_summary s = result_summarise(&p);

    (void)state;
    assert_int_equal(s.requests, 0);
    assert_true(isnan(s.tpot_p50) && isnan(s.ttft_p99) && isnan(s.hit_rate));
    assert_true(isnan(s.tokens_per_s) && isnan(s.gpu_busy) && isnan(s.gap));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_writes_are_byte_equal),
        cmocka_unit_test(what_was_read_writes_the_same_file),
        cmocka_unit_test(the_longest_text),
        cmocka_unit_test(everything_comes_back),
        cmocka_unit_test(a_result_without_passes_groups_or_requests),
        cmocka_unit_test(many_requests_come_back),
        cmocka_unit_test(several_gpus_come_back),
        cmocka_unit_test(columns_are_packed_and_have_units),
        cmocka_unit_test(a_handler_of_errors_stays),
        cmocka_unit_test(percentiles_interpolate),
        cmocka_unit_test(a_summary_by_hand),
        cmocka_unit_test(a_summary_of_several_gpus),
        cmocka_unit_test(a_summary_of_nothing),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
