/* The trace reader, fed with two kinds of files: the fuzzer's bytes themselves, and a
 * good trace changed through HDF5 as the bytes say (attributes, values, data sets removed
 * or replaced by others of any type and shape). The latter get past the checksums. */
#include "sim/base/file.h"
#include "sim/base/mem.h"
#include "traces/hdf.h"
#include "traces/trace.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROWS 5
#define LAYERS 2
#define TOP_K 2

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static char *path;
static char *good;
static size_t good_size;

static const char *const set_names[] = {
    "/routing/expert",
    "/routing/score",
    "/routing/predicted",
    "/token/request",
    "/token/position",
    "/token/phase",
    "/token/source",
    "/request/first_row",
    "/request/rows",
    "/request/group",
    "/request/arrival_ns",
    "/pass/first",
    "/pass/row",
    "/pass/start_ns",
    "/moe_layer",
    "/expert_bytes",
    "/group_name",
    "/load/count",
    "/request/prompt_tokens",
    "/token/token_id",
};
static const char *const attribute_names[] = {"version", "experts", "top_k", "candidates",
                                              "sorted"};

/* HDF5 1.10 itself leaks a little on some damaged files; what we leak is still found. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libhdf5";
}

/* ---- the good trace ---- */

static void put_good_rows(struct trace_writer *w, struct err *e)
{
    for (uint32_t t = 0; t < ROWS; t++) {
        struct trace_token token = {t / 3, t % 3, t % 3 != 0, (int32_t)t, 1};
        uint16_t expert[LAYERS * TOP_K] = {0, 1, 2, (uint16_t)(3 + t)};
        uint16_t predicted[LAYERS] = {(uint16_t)t, 7};
        float score[LAYERS * TOP_K] = {0.75F, 0.25F, 0.5F, 0.5F};
        uint64_t row = t;

        (void)trace_writer_rows(w, 1, &token, expert, score, predicted, e);
        (void)trace_writer_pass(w, &row, 1, t, e);
    }
}

static void make_good(void)
{
    struct err e = {{0}};
    char group[] = "all", text[] = "fuzz";
    char *groups[] = {group};
    uint16_t layer[LAYERS] = {0, 1};
    uint64_t bytes[LAYERS] = {10, 20};
    struct trace_info info = {.model = text,
                              .source = text,
                              .capture = text,
                              .experts = 8,
                              .top_k = TOP_K,
                              .candidates = TOP_K,
                              .layers = LAYERS,
                              .moe_layer = layer,
                              .expert_bytes = bytes,
                              .predicted = 1,
                              .distance = 1,
                              .score_kind = TRACE_SCORE_SOFTMAX,
                              .sorted = true,
                              .groups = 1,
                              .group_names = groups};
    struct trace_writer *w = trace_writer_new(path, &info, &e);

    if (w == NULL)
        abort();
    put_good_rows(w, &e);
    for (uint32_t r = 0; r < 2; r++)
        (void)trace_writer_request(
            w, &(struct trace_request){0, 1, 2, r * 3, r == 0 ? 3 : 2, 0}, &e);
    if (trace_writer_commit(w, &e) != 0)
        abort();
    good = file_read(path, (size_t)1 << 24, &good_size, &e);
    if (good == NULL)
        abort();
}

static void remove_path(void)
{
    (void)unlink(path);
    free(path);
    free(good);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    const char *folder = getenv("TMPDIR");

    (void)argc;
    (void)argv;
    path = mem_format("%s/moesim-fuzz-%ld.h5", folder == NULL ? "/tmp" : folder,
                      (long)getpid());
    make_good();
    (void)atexit(remove_path);
    return 0;
}

/* ---- changing it ---- */

struct bytes {
    const uint8_t *next;
    size_t left;
};

static uint64_t take(struct bytes *b, size_t count)
{
    uint64_t value = 0;

    for (size_t i = 0; i < count && b->left > 0; i++, b->left--)
        value = value << 8 | *b->next++;
    return value;
}

/* Small values, and some that lie at the edges of types. */
static int64_t take_value(struct bytes *b)
{
    static const int64_t edges[] = {0,         -1,     1,         65535,     65536,
                                    4096,      4097,   INT64_MAX, INT64_MIN, UINT32_MAX,
                                    INT32_MAX, 0x7c00, 0x7e00,    0x3c01,    0xfc00};
    uint64_t kind = take(b, 1);

    if (kind < 128)
        return (int64_t)(kind % 16);
    if (kind < 192)
        return edges[kind % (sizeof edges / sizeof edges[0])];
    return (int64_t)take(b, 8);
}

static void change_attribute(hid_t f, struct bytes *b)
{
    const char *name = attribute_names[take(b, 1) % 5];
    int64_t value = take_value(b);
    hid_t id = H5Aopen(f, name, H5P_DEFAULT);

    if (id >= 0) {
        (void)H5Awrite(id, H5T_NATIVE_INT64, &value);
        (void)H5Aclose(id);
    }
}

static void change_value(hid_t f, struct bytes *b)
{
    hid_t set = H5Dopen2(f, set_names[take(b, 1) % 20], H5P_DEFAULT);
    hid_t space = set >= 0 ? H5Dget_space(set) : -1, one = H5Screate(H5S_SCALAR);
    hid_t type = set >= 0 ? H5Dget_type(set) : -1;
    hsize_t point[3] = {take(b, 1) % 8, take(b, 1) % 2, take(b, 1) % 2};
    hsize_t dim[H5S_MAX_RANK], most[H5S_MAX_RANK];
    int64_t value = take_value(b);

    /* Only the trace's own data sets, which can grow: the library itself crashes when
     * some of those that replace_set made are written to. */
    if (type >= 0 && space >= 0 && H5Sget_simple_extent_dims(space, dim, most) > 0 &&
        most[0] == H5S_UNLIMITED) {
        if (H5Tget_class(type) == H5T_INTEGER) {
            (void)H5Tclose(type);
            type = H5Tcopy(H5T_NATIVE_INT64);
        }
        if (H5Tget_size(type) <= sizeof value &&
            H5Sselect_elements(space, H5S_SELECT_SET, 1, point) >= 0 &&
            H5Sselect_valid(space) > 0)
            (void)H5Dwrite(set, type, one, space, H5P_DEFAULT, &value);
    }
    if (type >= 0)
        (void)H5Tclose(type);
    if (space >= 0)
        (void)H5Sclose(space);
    if (set >= 0)
        (void)H5Dclose(set);
    (void)H5Sclose(one);
}

/* Another data set under the same name, of any type and shape, written or not. */
static void replace_set(hid_t f, struct bytes *b)
{
    static const char zeros[65536];
    const char *name = set_names[take(b, 1) % 20];
    const hid_t types[] = {H5T_STD_U8LE,  H5T_STD_U16LE, H5T_STD_U32LE,  H5T_STD_U64LE,
                           H5T_STD_I64LE, H5T_STD_U16BE, H5T_IEEE_F32LE, H5T_C_S1};
    hid_t type = types[take(b, 1) % 8], list = H5Pcreate(H5P_DATASET_CREATE), space, set;
    int rank = (int)(take(b, 1) % 4);
    hsize_t dim[3], chunk[3], values = 1;

    for (int i = 0; i < rank; i++) {
        int64_t d = take_value(b);

        dim[i] = d < 0 ? 0 : (hsize_t)d;
        chunk[i] = 1 + take(b, 1) % 8;
        values = dim[i] > 4096 ? 65537 : values * dim[i];
    }
    (void)H5Ldelete(f, name, H5P_DEFAULT);
    space = rank == 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple(rank, dim, NULL);
    if (rank > 0 && take(b, 1) % 2 == 0)
        (void)H5Pset_chunk(list, rank, chunk);
    set = H5Dcreate2(f, name, type, space, H5P_DEFAULT, list, H5P_DEFAULT);
    if (set >= 0 && values <= 65536 / H5Tget_size(type) && take(b, 1) % 4 != 0)
        (void)H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, zeros);
    if (set >= 0)
        (void)H5Dclose(set);
    if (space >= 0)
        (void)H5Sclose(space);
    (void)H5Pclose(list);
}

static void change_good(struct bytes *b)
{
    hid_t f;

    hdf_enter();
    f = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    if (f < 0)
        abort();
    for (int i = 0; i < 8 && b->left > 0; i++)
        switch (take(b, 1) % 4) {
        case 0:
            change_attribute(f, b);
            break;
        case 1:
            change_value(f, b);
            break;
        case 2:
            replace_set(f, b);
            break;
        default:
            (void)H5Ldelete(f, set_names[take(b, 1) % 20], H5P_DEFAULT);
        }
    if (H5Fclose(f) < 0)
        abort();
    hdf_leave();
}

/* ---- reading it ---- */

/* A file that passes every check can be read; one that does not says why. */
static void read_it(void)
{
    struct err e = {{0}};
    struct trace *t = trace_open(path, &(struct trace_options){1}, &e);
    int status = t == NULL ? -1 : trace_check(t, &e);

    if ((status == 0) != (e.text[0] == '\0'))
        abort();
    if (status == 0 && !trace_get_info(t)->counts_only) {
        const struct trace_info *info = trace_get_info(t);
        uint16_t *expert = mem_alloc((size_t)info->layers * info->candidates, 2);

        for (uint64_t row = 0; row < info->rows; row++)
            if (trace_read_expert(t, row, 1, expert, &e) != 0)
                abort();
        free(expert);
    }
    trace_close(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes b = {data, size};
    bool raw = take(&b, 1) % 4 == 0;
    FILE *f = fopen(path, "wb");

    if (f == NULL || fwrite(raw ? (const char *)b.next : good, 1,
                            raw ? b.left : good_size, f) != (raw ? b.left : good_size))
        abort();
    (void)fclose(f);
    if (!raw)
        change_good(&b);
    read_it();
    return 0;
}
