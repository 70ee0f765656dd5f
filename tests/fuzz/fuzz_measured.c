/* Tables of measured steps. The first line says which columns are wanted. */
#include "input.h"

#include "sim/base/mem.h"
#include "validate/measured.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

FUZZ_TEXT_MUTATOR

static void check_columns(const struct measured *m, const char *columns)
{
    struct err e = {.text = ""};
    double *seconds = mem_alloc(m->steps, sizeof *seconds);
    int status = measured_seconds(m, columns, seconds, &e);

    fuzz_require_sentence(status, &e);
    for (size_t i = 0; status == 0 && i < m->steps; i++)
        fuzz_require(seconds[i] > 0.0 && isfinite(seconds[i]));
    free(seconds);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = size == 0 ? NULL : memchr(data, '\n', size);
    size_t length = end == NULL ? size : (size_t)(end - data);
    char *columns = mem_zalloc(length + 1, 1);
    struct err e = {.text = ""};
    struct measured m = {.columns = 0};
    int status;

    if (length > 0)
        memcpy(columns, data, length);
    status = measured_read(
        end == NULL ? fuzz_file("", 0) : fuzz_file(end + 1, size - length - 1), &m, &e);
    fuzz_require_sentence(status, &e);
    if (status == 0) {
        fuzz_require(m.columns > 0 && m.steps > 0);
        for (size_t i = 0; i < m.columns * m.steps; i++)
            fuzz_require(isfinite(m.value[i]));
        check_columns(&m, columns);
        for (size_t i = 0; i < m.columns; i++)
            check_columns(&m, m.name[i]);
        measured_release(&m);
    }
    free(columns);
    return 0;
}
