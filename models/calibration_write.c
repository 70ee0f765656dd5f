/* The machine file of a calibration. */
#include "calibration.h"

#include "sim/base/file.h"
#include "sim/base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Within double quotes. */
static void write_text(const char *text, FILE *f)
{
    for (; *text != '\0'; text++)
        (void)fputc(
            *text == '"' || *text == '\\' || (unsigned char)*text < ' ' ? ' ' : *text, f);
}

void calibration_number_text(const struct calibration_number *n,
                             char text[static CALIBRATION_TEXT])
{
    const struct machine_tiles *t = &n->tiles;
    int used = 0;

    if (t->count == 0)
        (void)snprintf(text, CALIBRATION_TEXT, "%.6g%s", n->value / n->scale, n->unit);
    for (uint32_t i = 0; i < t->count && used < CALIBRATION_TEXT; i++)
        used += snprintf(text + used, (size_t)(CALIBRATION_TEXT - used), "%s%u%s",
                         i == 0 ? "[" : ", ", t->rows[i], i + 1 == t->count ? "]" : "");
}

static void write_number(const struct calibration *c, const struct calibration_number *n,
                         FILE *f)
{
    const bool estimate = strncmp(n->how, "estimate", 8) == 0;
    char value[CALIBRATION_TEXT];

    calibration_number_text(n, value);
    (void)fprintf(f, "  %s: {value: %s, source: \"", n->name, value);
    if (!estimate) {
        (void)fprintf(f, "measured on ");
        write_text(c->device.device, f);
        (void)fprintf(f, ", ");
        write_text(c->device.date, f);
        (void)fprintf(f, ", moesim calibrate: ");
    }
    (void)fprintf(f, "%s", n->how);
    if (n->from == CALIBRATION_TABLES) {
        (void)fprintf(f, "\"}\n");
        return;
    }
    (void)fprintf(f, ", %s.csv", c->table[n->from].schema->name);
    if (isfinite(n->standard_error))
        (void)fprintf(f, " (standard error %.2g %%)", 100.0 * n->standard_error);
    else if (strcmp(n->how, "fit") == 0)
        (void)fprintf(f, " (not determined)");
    (void)fprintf(f, "\"");
    if (isfinite(c->held[n->from].mean_abs))
        (void)fprintf(f, ", error: %.3g", fmin(c->held[n->from].mean_abs, 10.0));
    (void)fprintf(f, "}\n");
}

static size_t section_length(const struct calibration_number *n)
{
    return strcspn(n->section, ".");
}

static void write_sections(const struct calibration *c, FILE *f)
{
    for (size_t i = 0; i < c->numbers; i++) {
        const struct calibration_number *n = &c->number[i];

        if (i == 0 || section_length(n) != section_length(n - 1) ||
            strncmp(n->section, (n - 1)->section, section_length(n)) != 0) {
            (void)fprintf(f, "%.*s:\n", (int)section_length(n), n->section);
            if (i == 0) {
                (void)fprintf(f, "  name: \"");
                write_text(c->device.device, f);
                (void)fprintf(f, "\"\n");
            }
        }
        write_number(c, n, f);
    }
}

int calibration_write(const struct calibration *c, const char *path, struct err *e)
{
    const char *slash = strrchr(path, '/');
    const char *base = slash == NULL ? path : slash + 1;
    const size_t length = strlen(base);
    struct file_out *file;
    FILE *f;

    if (length < 6 || strcmp(base + length - 5, ".yaml") != 0)
        return err_set(e, "%s: a machine file's name ends in .yaml", path);
    file = file_out_new(path, e);
    if (file == NULL)
        return -1;
    f = file_out_stream(file);
    (void)fprintf(f, "name: \"%.*s\"\nsource: \"", (int)(length - 5), base);
    write_text(c->device.device, f);
    (void)fprintf(
        f,
        " as moesim's %s device, measured and fitted by moesim calibrate, %s; "
        "each error is the mean over the fifth of its table that was held out\"\n"
        "gpus: 1\nnodes: 1\nunified: no\n",
        c->device.kind, c->device.date);
    write_sections(c, f);
    return file_out_commit(file, e);
}
