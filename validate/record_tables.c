/* What a baseline stores of micro-benchmarks: how far the machine's costs are from them,
 * table by table. */
#include "baseline_parts.h"

#include "models/calibration.h"
#include "models/catalogue.h"
#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

static int record_table(FILE *out, const char *folder, const struct machine *m,
                        unsigned bits, enum calibration_table table, struct err *e)
{
    struct samples s;
    struct record_flow f;
    double *predicted, *measured;

    if (samples_read(folder, calibration_schemas[table], &s, e) != 0)
        return -1;
    predicted = mem_alloc(s.points, sizeof *predicted);
    measured = mem_alloc(s.points, sizeof *measured);
    for (size_t i = 0; i < s.points; i++) {
        predicted[i] = calibration_predict(m, bits, table, &s.point[i]);
        measured[i] = s.point[i].seconds;
    }
    record_key(out, 4, s.schema->name);
    f = record_begin(out, 4, '{', '}');
    record_errors(&f, predicted, measured, s.points);
    record_end(&f);
    free(predicted);
    free(measured);
    samples_release(&s);
    return 0;
}

static int record_table_files(FILE *out, const char *folder, struct err *e)
{
    int status = 0;

    (void)fputs("  files:\n", out);
    for (int t = 0; t < CALIBRATION_TABLES && status == 0; t++) {
        char *name = mem_format("%s.csv", calibration_schemas[t]->name);
        char *path = mem_format("%s/%s", folder, name);

        status = record_file(out, name, path, e);
        free(path);
        free(name);
    }
    return status;
}

static int tables_of(FILE *out, const char *folder, const char *machine,
                     const char *machines, struct err *e)
{
    struct samples_device device;
    struct machine *m = machine_load(machine, machines, e);
    int status = m == NULL ? -1 : samples_read_device(folder, &device, e);

    if (status == 0) {
        status = record_document(out, "machine",
                                 catalogue_load(FILE_MACHINE, machine, machines, e));
        if (status == 0)
            status = record_table_files(out, folder, e);
        (void)fputs("  accuracy:\n", out);
        for (int t = 0; t < CALIBRATION_TABLES && status == 0; t++)
            status = record_table(out, folder, m, device.element_bits,
                                  (enum calibration_table)t, e);
        samples_release_device(&device);
    }
    machine_free(m);
    return status;
}

int record_tables(const struct baseline *b, const char *machines, FILE *out,
                  struct err *e)
{
    char *folder = baseline_path(b->path, b->tables);
    char *machine = catalogue_is_path(b->machine) ? baseline_path(b->path, b->machine)
                                                  : mem_strdup(b->machine);
    int status = tables_of(out, folder, machine, machines, e);

    free(machine);
    free(folder);
    return status;
}
