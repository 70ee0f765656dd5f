/* Whatever of HDF5 a trace or a result opens, it closes: the library's functions that
 * open and close are counted here on their way. Leak checkers do not see what stays open,
 * since the library frees it when the program ends. */
#define _GNU_SOURCE /* RTLD_NEXT */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "made_result.h"
#include "spoil.h"
#include "trace_maker.h"

#include "sim/base/file.h"
#include "sim/base/mem.h"
#include "traces/export.h"
#include "traces/slice.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SETS, GROUPS, TYPES, SPACES, LISTS, ATTRIBUTES, FILES, THINGS };

static const char *const thing[THINGS] = {
    "data sets", "groups", "types", "spaces", "property lists", "attributes", "files"};
static int64_t held[THINGS], opened[THINGS];
static uint32_t
    until_refused; /* calls that open something, this one included; 0: none is */

static bool refused(void)
{
    return until_refused > 0 && --until_refused == 0;
}

static void find(const char *name, void *function, size_t size)
{
    void *symbol = dlsym(RTLD_NEXT, name);

    assert_non_null(symbol);
    memcpy(function, &symbol, size);
}

/* In the place of the library's. */
#define OPENS(name, what, parameters, arguments)                                         \
    hid_t name parameters                                                                \
    {                                                                                    \
        hid_t(*real) parameters;                                                         \
        hid_t id;                                                                        \
                                                                                         \
        find(#name, &real, sizeof real);                                                 \
        id = refused() ? -1 : real arguments;                                            \
        held[what] += id >= 0;                                                           \
        opened[what] += id >= 0;                                                         \
        return id;                                                                       \
    }
#define CLOSES(name, what)                                                               \
    herr_t name(hid_t id)                                                                \
    {                                                                                    \
        herr_t (*real)(hid_t);                                                           \
        herr_t status;                                                                   \
                                                                                         \
        find(#name, &real, sizeof real);                                                 \
        status = real(id);                                                               \
        held[what] -= status >= 0;                                                       \
        return status;                                                                   \
    }

OPENS(H5Dopen2, SETS, (hid_t at, const char *name, hid_t list), (at, name, list))
OPENS(H5Dcreate2, SETS,
      (hid_t at, const char *name, hid_t type, hid_t space, hid_t l, hid_t d, hid_t a),
      (at, name, type, space, l, d, a))
OPENS(H5Gopen2, GROUPS, (hid_t at, const char *name, hid_t list), (at, name, list))
OPENS(H5Gcreate2, GROUPS, (hid_t at, const char *name, hid_t l, hid_t g, hid_t a),
      (at, name, l, g, a))
OPENS(H5Tcopy, TYPES, (hid_t type), (type))
OPENS(H5Tget_super, TYPES, (hid_t type), (type))
OPENS(H5Dget_type, TYPES, (hid_t set), (set))
OPENS(H5Aget_type, TYPES, (hid_t attribute), (attribute))
OPENS(H5Screate, SPACES, (H5S_class_t kind), (kind))
OPENS(H5Screate_simple, SPACES, (int rank, const hsize_t *dim, const hsize_t *most),
      (rank, dim, most))
OPENS(H5Dget_space, SPACES, (hid_t set), (set))
OPENS(H5Aget_space, SPACES, (hid_t attribute), (attribute))
OPENS(H5Pcreate, LISTS, (hid_t kind), (kind))
OPENS(H5Dget_create_plist, LISTS, (hid_t set), (set))
OPENS(H5Aopen, ATTRIBUTES, (hid_t at, const char *name, hid_t list), (at, name, list))
OPENS(H5Aopen_by_name, ATTRIBUTES,
      (hid_t at, const char *object, const char *name, hid_t a, hid_t l),
      (at, object, name, a, l))
OPENS(H5Acreate2, ATTRIBUTES,
      (hid_t at, const char *name, hid_t type, hid_t space, hid_t c, hid_t a),
      (at, name, type, space, c, a))
OPENS(H5Acreate_by_name, ATTRIBUTES,
      (hid_t at, const char *object, const char *name, hid_t type, hid_t space, hid_t c,
       hid_t a, hid_t l),
      (at, object, name, type, space, c, a, l))
OPENS(H5Fopen, FILES, (const char *path, unsigned flags, hid_t list), (path, flags, list))
OPENS(H5Fcreate, FILES, (const char *path, unsigned flags, hid_t c, hid_t a),
      (path, flags, c, a))
CLOSES(H5Dclose, SETS)
CLOSES(H5Gclose, GROUPS)
CLOSES(H5Tclose, TYPES)
CLOSES(H5Sclose, SPACES)
CLOSES(H5Pclose, LISTS)
CLOSES(H5Aclose, ATTRIBUTES)
CLOSES(H5Fclose, FILES)

static void nothing_is_held(const char *after)
{
    for (int i = 0; i < THINGS; i++)
        if (held[i] != 0)
            fail_msg("%s: %lld %s are left open", after, (long long)held[i], thing[i]);
}

static const struct trace_make full = {.layers = 2,
                                       .experts = 8,
                                       .top_k = 2,
                                       .candidates = 4,
                                       .requests = 3,
                                       .rows = 40,
                                       .prefill_rows = 10,
                                       .score_kind = TRACE_SCORE_SOFTMAX,
                                       .predicted = 2,
                                       .known_source = true,
                                       .arrivals = true,
                                       .passes = true,
                                       .expert_bytes = true};

static void a_trace(void **state)
{
    char *path = trace_make_path("held.h5"), *other = trace_make_path("held-too.h5");
    struct slice part = SLICE_EVERYTHING;
    struct err e = {.text = ""};
    struct trace *t;

    (void)state;
    trace_make(path, &full);
    nothing_is_held("a trace was written");
    assert_string_equal(spoil_examine(path).text, "");
    nothing_is_held("a trace was checked");
    t = trace_open(path, NULL, &e);
    assert_non_null(t);
    part.last_row = 50;
    assert_int_equal(slice_write(t, &part, other, &e), 0);
    assert_int_equal(export_csv(t, other, &e), 0);
    trace_close(t);
    nothing_is_held("a trace was cut and exported");
    trace_make_counts(path, 2, 8, 5);
    assert_string_equal(spoil_examine(path).text, "");
    nothing_is_held("a trace of counts was written and checked");
    (void)unlink(path);
    (void)unlink(other);
    free(path);
    free(other);
}

/* What is refused is put away as well. */
static void a_bad_trace(void **state)
{
    static const char *const lost[] = {"/token/request",  "/token/phase",
                                       "/routing/expert", "/request/rows",
                                       "/moe_layer",      "/token"};
    char *path = trace_make_path("held-bad.h5");

    (void)state;
    for (size_t i = 0; i < sizeof lost / sizeof *lost; i++) {
        hid_t file;

        trace_make(path, &full);
        hdf_enter();
        file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
        spoil_remove(file, lost[i]);
        assert_true(H5Fclose(file) >= 0);
        hdf_leave();
        assert_string_not_equal(spoil_examine(path).text, "");
        nothing_is_held(lost[i]);
    }
    (void)unlink(path);
    free(path);
}

static void a_result(void **state)
{
    static const struct made_shape shapes[] = {
        {.policies = 2, .layers = 3, .requests = 5, .passes = 9, .seed = 1},
        {.policies = 2, .layers = 3, .requests = 5, .passes = 9, .seed = 1, .gpus = 4}};
    char *folder = made_folder(), *path = mem_format("%s/held.h5", folder);
    struct err e = {.text = ""};

    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct result made = made_result(&shapes[i]), r;

        assert_int_equal(result_write(&made, path, &e), 0);
        result_release(&made);
        nothing_is_held("a result was written");
        assert_int_equal(result_read(path, &r, &e), 0);
        result_release(&r);
        nothing_is_held("a result was read");
    }
    free(path);
    made_folder_remove(folder);
}

/* ---- each call fails in turn ---- */

static char *here, *there;

static int cut(struct err *e)
{
    struct slice part = SLICE_EVERYTHING;
    struct trace *t = trace_open(here, NULL, e);
    int status = t == NULL ? -1 : slice_write(t, &part, there, e);

    trace_close(t);
    return status;
}

static int begin(struct err *e)
{
    uint16_t numbers[] = {0, 1};
    struct trace_info info = {.experts = 8,
                              .top_k = 2,
                              .candidates = 2,
                              .layers = 2,
                              .moe_layer = numbers,
                              .score_kind = TRACE_SCORE_SOFTMAX,
                              .predicted = 2,
                              .distance = 1};
    struct trace_writer *w = trace_writer_new(there, &info, e);

    trace_writer_abandon(w);
    return w == NULL ? -1 : 0;
}

static int check(struct err *e)
{
    struct trace *t = trace_open(here, NULL, e);
    int status = t == NULL ? -1 : trace_check(t, e);

    trace_close(t);
    return status;
}

static int copy_result(struct err *e)
{
    struct result r;
    int status = result_read(here, &r, e);

    if (status != 0)
        return -1;
    status = result_write(&r, there, e);
    result_release(&r);
    return status;
}

/* A call that fails ends with a sentence and leaves no file and nothing open; or there is
 * none and what comes out is the same, where there was another way. */
static void fails_in_turn(const char *what, int (*work)(struct err *e))
{
    uint32_t calls = 0, failed = 0;
    struct err e = {.text = ""};
    size_t size, wanted_size;
    char *file, *wanted;

    assert_int_equal(work(&e), 0);
    wanted = file_read(there, UINT32_MAX, &wanted_size, &e);
    do {
        int status;

        e.text[0] = '\0';
        (void)unlink(there);
        until_refused = ++calls;
        status = work(&e);
        file = file_read(there, UINT32_MAX, &size, &(struct err){.text = ""});
        if (status != 0 ? status != -1 || e.text[0] == '\0' || file != NULL
                        : e.text[0] != '\0' || (file == NULL) != (wanted == NULL) ||
                              (file != NULL &&
                               (size != wanted_size || memcmp(file, wanted, size) != 0)))
            fail_msg("%s, call %u: %d \"%s\"", what, calls, status, e.text);
        free(file);
        nothing_is_held(what);
        failed += status != 0;
        calls += calls / 16;      /* later ones are of a kind */
    } while (until_refused == 0); /* else there were fewer calls */
    until_refused = 0;
    free(wanted);
    assert_true(failed > 20);
}

static void calls_that_fail(void **state)
{
    const struct made_shape shape = {
        .policies = 2, .layers = 3, .requests = 5, .passes = 9, .seed = 1, .gpus = 4};
    struct result made = made_result(&shape);
    struct err e = {.text = ""};

    (void)state;
    here = trace_make_path("held-here.h5");
    there = trace_make_path("held-there.h5");
    trace_make(here, &full);
    fails_in_turn("a trace is begun", begin);
    fails_in_turn("a trace is cut", cut);
    (void)unlink(there);
    fails_in_turn("a trace is checked", check);
    assert_int_equal(result_write(&made, here, &e), 0);
    result_release(&made);
    fails_in_turn("a result is copied", copy_result);
    (void)unlink(here);
    (void)unlink(there);
    free(here);
    free(there);
}

static void all_were_counted(void **state)
{
    (void)state;
    for (int i = 0; i < THINGS; i++)
        if (opened[i] == 0)
            fail_msg("no %s were opened: nothing was counted", thing[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_trace),          cmocka_unit_test(a_bad_trace),
        cmocka_unit_test(a_result),         cmocka_unit_test(calls_that_fail),
        cmocka_unit_test(all_were_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
