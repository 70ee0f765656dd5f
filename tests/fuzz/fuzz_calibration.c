/* Tables of samples. The first line of an input names the table, the rest is the table;
 * what is accepted can be predicted. */
#include "input.h"

#include "models/calibration.h"
#include "sim/base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

FUZZ_TEXT_MUTATOR

static void check_device(const char *folder)
{
    struct err e = {.text = ""};
    struct samples_device d;
    int status = samples_read_device(folder, &d, &e);

    fuzz_require_sentence(status, &e);
    if (status == 0)
        samples_release_device(&d);
}

static void check_table(const char *folder, enum calibration_table table)
{
    static struct machine *machine;
    struct err e = {.text = ""};
    struct samples s;
    int status = samples_read(folder, calibration_schemas[table], &s, &e);

    fuzz_require_sentence(status, &e);
    if (status != 0)
        return;
    if (machine == NULL)
        machine = machine_load("models/machine/h100-80g.yaml", "models/machine", &e);
    fuzz_require(machine != NULL && s.points > 0);
    for (size_t i = 0; i < s.points; i++) {
        const struct samples_point *p = &s.point[i];
        double seconds = calibration_predict(machine, 16, table, p);

        fuzz_require(p->seconds > 0.0 && p->spread >= 0.0 && isfinite(p->spread));
        fuzz_require(seconds >= 0.0 && isfinite(seconds));
    }
    samples_release(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = size == 0 ? NULL : memchr(data, '\n', size);
    size_t length = end == NULL ? 0 : (size_t)(end - data);
    const char *folder = fuzz_folder(), *name = "device";
    enum calibration_table table = 0;
    char *path;

    if (end == NULL)
        return 0;
    for (; table < CALIBRATION_TABLES; table++) {
        name = calibration_schemas[table]->name;
        if (strlen(name) == length && memcmp(name, data, length) == 0)
            break;
        name = "device";
    }
    path = mem_format("%s/%s.csv", folder, name);
    fuzz_write(path, end + 1, size - length - 1);
    if (table < CALIBRATION_TABLES)
        check_table(folder, table);
    else
        check_device(folder);
    free(path);
    return 0;
}
