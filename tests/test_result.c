#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "made_result.h"
#include "sim/base/mem.h"
#include "sim/base/rng.h"
#include "sim/run/percentile.h"

#include <hdf5.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
        assert_memory_equal(y->link_bytes, x->link_bytes, 16 * sizeof *x->link_bytes);
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

/* ---- malformed files ---- */

static void assert_refused(const char *path, const char *says)
{
    struct err e = {.text = ""};
    struct result r;

    assert_int_equal(result_read(path, &r, &e), -1);
    if (strstr(e.text, says) == NULL || strstr(e.text, path) == NULL)
        fail_msg("'%s' does not say '%s'", e.text, says);
    assert_null(strchr(e.text, '\n'));
    assert_null(r.policy);
}

static void write_bytes(const char *path, const char *bytes, size_t size)
{
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

static void files_that_are_no_results(void **state)
{
    char *path = mem_format("%s/bad.h5", (char *)*state);
    hid_t file;

    assert_refused(path, "cannot be opened: No such file");
    assert_refused(*state, "is a folder where a result is needed");
    write_bytes(path, "", 0);
    assert_refused(path, "is not a result of moesim");
    write_bytes(path, "label,variant\n", 14);
    assert_refused(path, "is not a result of moesim");
    file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    (void)H5Fclose(file);
    assert_refused(path, "is not a result of moesim");
    free(path);
}

static void truncated_files(void **state)
{
    char *path = mem_format("%s/a.h5", (char *)*state);
    struct made_shape small = {.policies = 2, .layers = 3, .requests = 4, .passes = 50};
    struct result a = made_result(&small);
    struct err e = {.text = ""};
    size_t size;
    char *bytes;

    assert_int_equal(result_write(&a, path, &e), 0);
    bytes = made_read(path, &size);
    for (size_t part = 1; part < 40; part++) {
        struct result r;

        e.text[0] = '\0';
        write_bytes(path, bytes, size * part / 40);
        assert_int_equal(result_read(path, &r, &e), -1);
        assert_non_null(strstr(e.text, path));
    }
    free(bytes);
    result_release(&a);
    free(path);
}

/* One bit anywhere: headers and columns have checksums, so most are refused; what is read
 * all the same can be printed. */
static void flip_bits(const char *path, const struct made_shape *small)
{
    struct result a = made_result(small);
    struct rng g = rng_stream(2385, "flips", 0);
    struct run_pass pass[50];
    struct err e = {.text = ""};
    FILE *nowhere = fopen("/dev/null", "w");
    int refused = 0;
    size_t size;
    char *bytes;

    assert_non_null(nowhere);
    assert_int_equal(result_write(&a, path, &e), 0);
    bytes = made_read(path, &size);
    for (int i = 0; i < 150; i++) {
        size_t at = (size_t)rng_below(&g, size);
        char bit = (char)(1 << rng_below(&g, 7));
        struct result r;

        bytes[at] ^= bit;
        write_bytes(path, bytes, size);
        bytes[at] ^= bit;
        e.text[0] = '\0';
        if (result_read(path, &r, &e) != 0) {
            assert_non_null(strstr(e.text, path));
            refused++;
            continue;
        }
        result_print(&r, nowhere);
        result_print_json(&r, nowhere);
        if (result_pass_count(&r, 0) == 50)
            (void)result_read_passes(&r, 0, 0, 50, pass, &e);
        result_release(&r);
    }
    assert_in_range(refused, 50, 149);
    (void)fclose(nowhere);
    free(bytes);
    result_release(&a);
}

static void flipped_bits(void **state)
{
    char *path = mem_format("%s/a.h5", (char *)*state);
    struct made_shape small = {.policies = 1, .layers = 2, .requests = 4, .passes = 50};

    flip_bits(path, &small);
    small.gpus = 5;
    flip_bits(path, &small);
    free(path);
}

/* Each entry damages a good file in one way. */
struct damage {
    const char *object, *name; /* attribute `name` of `object`; or the link `name` */
    bool remove_link;
    uint64_t value; /* u32 or u64 attribute gets this; text where `text` */
    bool text;
    const char *says;
};

static void apply_damage(const char *path, const struct damage *d)
{
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    hid_t object = H5Oopen(file, d->object, H5P_DEFAULT);

    if (d->remove_link) {
        assert_true(H5Ldelete(object, d->name, H5P_DEFAULT) >= 0);
    } else if (d->text) {
        hid_t space = H5Screate(H5S_SCALAR);
        hid_t id;

        assert_true(H5Adelete(object, d->name) >= 0);
        id = H5Acreate2(object, d->name, H5T_STD_I16LE, space, H5P_DEFAULT, H5P_DEFAULT);
        assert_true(id >= 0);
        (void)H5Aclose(id);
        (void)H5Sclose(space);
    } else {
        hid_t id = H5Aopen(object, d->name, H5P_DEFAULT);

        assert_true(H5Awrite(id, H5T_NATIVE_UINT64, &d->value) >= 0);
        (void)H5Aclose(id);
    }
    (void)H5Oclose(object);
    (void)H5Fclose(file);
}

/* Each damage of a written file is refused with its sentence. */
static void check_damage(const char *folder, const struct made_shape *made,
                         const struct damage *damage, size_t count)
{
    char *path = mem_format("%s/a.h5", folder);
    struct result a = made_result(made);
    struct err e = {.text = ""};

    for (size_t i = 0; i < count; i++) {
        assert_int_equal(result_write(&a, path, &e), 0);
        apply_damage(path, &damage[i]);
        assert_refused(path, damage[i].says);
    }
    result_release(&a);
    free(path);
}

/* Requests of the last group are taken, those of one beyond are not. */
static void a_group_that_is_not_there(void **state)
{
    char *path = mem_format("%s/a.h5", (char *)*state);
    struct made_shape small = {.policies = 2, .layers = 1, .requests = 4};
    struct result a = made_result(&small), b;
    struct err e = {.text = ""};
    uint32_t all = a.groups;

    for (a.groups = 1; a.groups <= all; a.groups++) {
        char *says = mem_format("/policy/1/request/group, row 2: %u is no group; there "
                                "are %u",
                                a.groups, a.groups);

        for (uint32_t i = 0; i < 8; i++)
            a.policy[i / 4].run.request[i % 4].group = (uint16_t)(a.groups - 1);
        assert_int_equal(result_write(&a, path, &e), 0);
        assert_int_equal(result_read(path, &b, &e), 0);
        result_release(&b);
        a.policy[1].run.request[2].group = (uint16_t)a.groups;
        assert_int_equal(result_write(&a, path, &e), -1); /* which reads it again */
        assert_non_null(strstr(e.text, says));
        e.text[0] = '\0';
        free(says);
    }
    a.groups = 0; /* then they are numbers without a name */
    assert_int_equal(result_write(&a, path, &e), 0);
    a.groups = all;
    result_release(&a);
    free(path);
}

static void lying_files(void **state)
{
    static const struct damage damage[] = {
        {"/", "version", false, 7, false, "version 7, and this moesim reads version 2"},
        {"/", "version", false, 0, true, "attribute version of / has the wrong type"},
        {"/", "layers", false, 0, false, "0 MoE layers"},
        {"/", "layers", false, 4, false, "/moe_layer has 3 rows where 4 are told of"},
        {"/", "layers", false, UINT32_MAX, false, "MoE layers and"},
        {"/", "policies", false, 3, false, "group /policy/2 is missing"},
        {"/", "policies", false, UINT32_MAX, false, "policies cannot be"},
        {"/", "groups", false, 1, false, "does not name 1 groups"},
        {"/", "seed", false, 0, true, "attribute seed of / has the wrong type"},
        {"/", "model", false, 0, true, "attribute model of / is not a string"},
        {"/", "config", true, 0, false, "data set /config is missing"},
        {"/policy/1", "requests", false, 5, false, "has 4 rows where 5 are told of"},
        {"/policy/1", "requests", false, UINT64_MAX, false, "more requests than"},
        {"/policy/1", "layer", true, 0, false, "group /policy/1/layer is missing"},
        {"/policy/1/layer", "hits", true, 0, false, "data set /policy/1/layer/hits"},
        {"/policy/0", "digest", false, 0, true, "attribute digest of /policy/0/ has"},
    };
    struct made_shape small = {.policies = 2, .layers = 3, .requests = 4, .passes = 50};

    check_damage(*state, &small, damage, sizeof damage / sizeof *damage);
}

static void lying_files_of_several_gpus(void **state)
{
    static const struct damage damage[] = {
        {"/", "links", false, 15, false, "/link/name does not name 15 links"},
        {"/", "links", false, 0, false, "6 GPUs and 16 links, which cannot be"},
        {"/", "links", false, UINT32_MAX, false, "links cannot be"},
        {"/", "link", true, 0, false, "group /link is missing"},
        {"/link", "kind", true, 0, false, "data set /link/kind is missing"},
        {"/link", "bytes_per_s", true, 0, false, "/link/bytes_per_s is missing"},
        {"/policy/0", "gpus", false, 7, false, "has 6 rows where 7 are told of"},
        {"/policy/0", "gpus", false, UINT32_MAX, false, "which cannot be"},
        {"/policy/1", "links", false, 17, false, "6 GPUs and 17 links, which cannot be"},
        {"/policy/1", "gpu_rows", true, 0, false, "/policy/1/gpu_rows is missing"},
        {"/policy/1", "link_bytes", true, 0, false, "/policy/1/link_bytes is missing"},
        {"/policy/0", "shards", false, 0, true, "attribute shards of /policy/0/ has"},
    };

    check_damage(*state, &parallel, damage, sizeof damage / sizeof *damage);
}

/* A file of before several GPUs: one sentence, with what to do. */
static void an_older_file_is_refused(void **state)
{
    char *path = mem_format("%s/a.h5", (char *)*state);
    struct result a = made_result(&parallel);
    struct err e = {.text = ""};
    hid_t file;

    assert_int_equal(result_write(&a, path, &e), 0);
    file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    assert_true(H5Adelete(file, "links") >= 0);
    (void)H5Fclose(file);
    assert_refused(path, "made by another version of moesim; run again");
    result_release(&a);
    free(path);
}

/* ... and of half its bytes: it is what it was, but broken. */
static void a_file_cut_short(void **state)
{
    char *path = mem_format("%s/a.h5", (char *)*state), *bytes;
    struct result a = made_result(&parallel);
    struct err e = {.text = ""};
    size_t size;

    assert_int_equal(result_write(&a, path, &e), 0);
    bytes = made_read(path, &size);
    assert_int_equal(truncate(path, (off_t)size / 2), 0);
    assert_refused(path, "is an HDF5 file, but damaged, cut short or not readable");
    result_release(&a);
    free(bytes);
    free(path);
}

/* What was lost behind the library's back: a pass more than there are records, a column,
 * all of them, a column that was made and never written. */
static void passes_that_are_not_there(void **state)
{
    static const struct damage damage = {"/policy/0", "passes", false, 51, false, ""};
    static const char lost[] = "/policy/0/pass/latency_ps";
    char *path = mem_format("%s/a.h5", (char *)*state);
    struct made_shape small = {.policies = 1, .layers = 3, .requests = 4, .passes = 50};
    struct result a = made_result(&small);
    struct err e = {.text = ""};
    hid_t file, list, space, empty;
    const hsize_t rows = 50;

    assert_int_equal(result_write(&a, path, &e), 0);
    apply_damage(path, &damage);
    assert_refused(path, "tells of 51 passes and of records of 50");
    assert_int_equal(result_write(&a, path, &e), 0);
    file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    assert_true(H5Ldelete(file, lost, H5P_DEFAULT) >= 0);
    (void)H5Fclose(file);
    assert_refused(path, "latency_ps is missing");
    file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    list = H5Pcreate(H5P_DATASET_CREATE);
    (void)H5Pset_chunk(list, 1, &rows);
    space = H5Screate_simple(1, &rows, NULL);
    empty = H5Dcreate2(file, lost, H5T_STD_I64LE, space, H5P_DEFAULT, list, H5P_DEFAULT);
    assert_true(empty >= 0);
    (void)H5Dclose(empty);
    (void)H5Sclose(space);
    (void)H5Pclose(list);
    (void)H5Fclose(file);
    assert_refused(path, "latency_ps was not written to its end");
    file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    assert_true(H5Ldelete(file, "/policy/0/pass", H5P_DEFAULT) >= 0);
    (void)H5Fclose(file);
    assert_refused(path, "/policy/0/pass is missing");
    result_release(&a);
    free(path);
}

static void a_folder_that_is_not_there(void **state)
{
    char *path = mem_format("%s/none/a.h5", (char *)*state);
    struct result a = made_result(&shape);
    struct err e = {.text = ""};

    assert_int_equal(result_write(&a, path, &e), -1);
    assert_non_null(strstr(e.text, "none/a.h5"));
    result_release(&a);
    free(path);
}

/* ---- figures ---- */

/* numpy.percentile([15, 20, 35, 40, 50], 40) = 29, at rank 0.4 * 4 = 1.6: 20 + 0.6 * 15;
 * and at 99: rank 3.96, 40 + 0.96 * 10. */
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
        cmocka_unit_test(everything_comes_back),
        cmocka_unit_test(a_result_without_passes_groups_or_requests),
        cmocka_unit_test(many_requests_come_back),
        cmocka_unit_test(several_gpus_come_back),
        cmocka_unit_test(files_that_are_no_results),
        cmocka_unit_test(truncated_files),
        cmocka_unit_test(flipped_bits),
        cmocka_unit_test(lying_files),
        cmocka_unit_test(a_group_that_is_not_there),
        cmocka_unit_test(lying_files_of_several_gpus),
        cmocka_unit_test(an_older_file_is_refused),
        cmocka_unit_test(a_file_cut_short),
        cmocka_unit_test(passes_that_are_not_there),
        cmocka_unit_test(a_folder_that_is_not_there),
        cmocka_unit_test(percentiles_interpolate),
        cmocka_unit_test(a_summary_by_hand),
        cmocka_unit_test(a_summary_of_several_gpus),
        cmocka_unit_test(a_summary_of_nothing),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
