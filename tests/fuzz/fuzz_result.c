/* The result reader on real files: any bytes, and good results changed through HDF5. What
 * it accepts can be shown in every form, explained, and read pass by pass. */
#include "damage.h"
#include "tests/made_result.h"
#include "sim/report/print.h"
#include "sim/report/explain.h"

#include "sim/base/mem.h"

#include <hdf5.h>
#include <stdlib.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);

static char *path;
static struct damage *one_gpu, *several;

static struct damage *make_good(const struct made_shape *shape)
{
    struct err e = {.text = ""};
    struct result r = made_result(shape);

    fuzz_require(result_write(&r, path, &e) == 0);
    result_release(&r);
    return damage_learn(path, NULL);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    (void)H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    path = mem_format("%s/result.h5", fuzz_folder());
    one_gpu = make_good(&(struct made_shape){1, 2, 2, 3, 2385, 0});
    several = make_good(&(struct made_shape){1, 2, 2, 0, 2385, 2});
    return 0;
}

static void read_passes(const struct result *r, uint32_t policy)
{
    const uint64_t count = result_pass_count(r, policy);
    struct run_pass pass[2];
    struct err e = {.text = ""};
    int status;

    /* The last ones: each reading opens the file anew. */
    if (count > 0) {
        status = result_read_passes(r, policy, count < 2 ? 0 : count - 2,
                                    count < 2 ? count : 2, pass, &e);
        fuzz_require_sentence(status, &e);
    }
}

static void show(const struct result *r)
{
    struct err e = {.text = ""};
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    fuzz_require(out != NULL);
    result_print(r, out);
    result_print_csv(r, out);
    result_print_json(r, out);
    fuzz_require_sentence(result_explain(r, out, &e), &e);
    (void)fclose(out);
    /* A cell of CSV keeps its tabs. */
    for (size_t i = 0; i < size; i++)
        fuzz_require((unsigned char)text[i] >= 0x20 || text[i] == '\n' ||
                     text[i] == '\t');
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_bytes b = {data, size};
    const struct damage *good = fuzz_choose(&b, 2) == 0 ? one_gpu : several;
    struct err e = {.text = ""};
    struct result r;
    int status;

    damage_write(good, path, &b);
    status = result_read(path, &r, &e);
    fuzz_require_sentence(status, &e);
    if (status != 0)
        return 0;
    for (uint32_t i = 0; i < r.policies; i++)
        read_passes(&r, i);
    show(&r);
    result_release(&r);
    return 0;
}
