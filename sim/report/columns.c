#include "columns.h"

#include "sim/base/mem.h"
#include "traces/hdf.h"
#include "traces/hdf_out.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Cells in the order of the text: those of the header first. */
struct table {
    char *text;   /* the cells, each with its end */
    size_t *cell; /* [cells] where it begins */
    size_t cells, columns;
};

/* Takes a cell from `from` to `to`; returns what stands behind it. */
static const char *take_cell(const char *from, char **to)
{
    bool quoted = *from == '"';

    from += quoted;
    while (*from != '\0' && (quoted || (*from != ',' && *from != '\n'))) {
        if (quoted && *from == '"' && *++from != '"')
            break;
        *(*to)++ = *from++;
    }
    *(*to)++ = '\0';
    return from;
}

static struct table split(const char *csv)
{
    struct table t = {.text = mem_alloc(strlen(csv) + 2, 1)};
    char *to = t.text;

    while (*csv != '\0') {
        t.cell = mem_grow(t.cell, t.cells, sizeof *t.cell);
        t.cell[t.cells++] = (size_t)(to - t.text);
        csv = take_cell(csv, &to);
        if (*csv == '\n' && t.columns == 0)
            t.columns = t.cells;
        csv += *csv != '\0';
    }
    return t;
}

static const char *cell(const struct table *t, size_t row, size_t column)
{
    const char *text = t->text + t->cell[row * t->columns + column];

    return text + (*text == '\'');
}

static bool is_number(const char *text)
{
    char *end;

    (void)strtod(text, &end);
    return *end == '\0' && strspn(text, "+-0123456789.eE") == strlen(text);
}

static hid_t new_set(hid_t file, const char *name, hid_t type, hsize_t rows)
{
    hid_t plist = H5Pcreate(H5P_DATASET_CREATE);
    hid_t space = H5Screate_simple(1, &rows, NULL);
    hid_t id;

    (void)H5Pset_obj_track_times(plist, false);
    id = H5Dcreate2(file, name, type, space, H5P_DEFAULT, plist, H5P_DEFAULT);
    (void)H5Sclose(space);
    (void)H5Pclose(plist);
    return id;
}

static bool write_set(hid_t file, const char *name, hid_t type, hsize_t rows,
                      const void *values)
{
    hid_t id = new_set(file, name, type, rows);
    bool good = id >= 0 && H5Dwrite(id, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0;

    return (id < 0 || H5Dclose(id) >= 0) && good;
}

static bool write_numbers(hid_t file, const struct table *t, size_t column, size_t rows)
{
    double *value = mem_alloc(rows, sizeof *value);
    bool good;

    for (size_t r = 0; r < rows; r++) {
        const char *text = cell(t, r + 1, column);

        value[r] = *text == '\0' ? NAN : strtod(text, NULL);
    }
    good = write_set(file, cell(t, 0, column), H5T_NATIVE_DOUBLE, rows, value);
    free(value);
    return good;
}

static bool write_texts(hid_t file, const struct table *t, size_t column, size_t rows)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    size_t width = 1;
    char *value;
    bool good;

    for (size_t r = 0; r < rows; r++) {
        size_t length = strlen(cell(t, r + 1, column)) + 1;

        width = length > width ? length : width;
    }
    value = mem_zalloc(rows, width);
    for (size_t r = 0; r < rows; r++)
        (void)strcpy(value + r * width, cell(t, r + 1, column));
    (void)H5Tset_size(type, width);
    (void)H5Tset_cset(type, H5T_CSET_UTF8);
    good = write_set(file, cell(t, 0, column), type, rows, value);
    (void)H5Tclose(type);
    free(value);
    return good;
}

static bool write_column(hid_t file, const struct table *t, size_t column, size_t rows)
{
    for (size_t r = 0; r < rows; r++) {
        if (!is_number(cell(t, r + 1, column)))
            return write_texts(file, t, column, rows);
    }
    return write_numbers(file, t, column, rows);
}

static int write_all(struct hdf_out *out, const struct table *t, size_t rows,
                     const char *path, const char *format, struct err *e)
{
    hid_t file = hdf_out_file(out);

    if (hdf_attribute_put_text(file, path, "format", format, e) != 0)
        return -1;
    for (size_t c = 0; c < t->columns; c++) {
        bool good = write_column(file, t, c, rows);

        if (hdf_out_check(out, e) != 0)
            return -1;
        if (!good)
            return err_set(e, "%s: column '%s' cannot be written", path, cell(t, 0, c));
    }
    return hdf_out_close(out, e);
}

int columns_write(const char *path, const char *csv, const char *format, struct err *e)
{
    struct table t = split(csv);
    size_t rows = t.columns == 0 ? 0 : t.cells / t.columns - 1;
    struct hdf_out *out;
    int status;

    hdf_enter();
    out = hdf_out_new(path, e);
    status = out == NULL ? -1 : write_all(out, &t, rows, path, format, e);
    if (status == 0)
        status = hdf_out_commit(out, e);
    else
        hdf_out_abandon(out);
    hdf_leave();
    free(t.cell);
    free(t.text);
    return status;
}
