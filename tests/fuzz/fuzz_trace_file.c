/* The trace reader on real files: any bytes, and a good trace changed through HDF5. */
#include "damage.h"
#include "read_trace.h"

#include "sim/base/mem.h"
#include "traces/trace.h"

#include <hdf5.h>

#define ROWS 5
#define LAYERS 2
#define TOP_K 2

int LLVMFuzzerInitialize(int *argc, char ***argv);

static char *path;
static struct damage *good;

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
    struct err e = {.text = ""};
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

    fuzz_require(w != NULL);
    put_good_rows(w, &e);
    for (uint32_t r = 0; r < 2; r++)
        (void)trace_writer_request(
            w, &(struct trace_request){0, 1, 2, r * 3, r == 0 ? 3 : 2, 0}, &e);
    fuzz_require(trace_writer_commit(w, &e) == 0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    (void)H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    path = mem_format("%s/trace.h5", fuzz_folder());
    make_good();
    good = damage_learn(path, "/load/count");
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_bytes b = {data, size};

    damage_write(good, path, &b);
    read_trace(path, 1);
    return 0;
}
