#include "columns.h"

#include "sim/base/csv.h"
#include "sim/base/mem.h"
#include "traces/hdf.h"
#include "traces/hdf_out.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 512 }; /* lines that are written at once */

/* ---- the columns ---- */

struct column_set {
    char *name;
    bool texts;   /* some cell is no number */
    size_t width; /* of the longest text and its end */
    hid_t type, id;
    char *block; /* [BLOCK] values of `width` bytes, or doubles */
};

struct table {
    struct column_set *column;
    size_t columns;
    hsize_t rows;
};

static bool is_number(const char *text)
{
    char *end;

    (void)strtod(text, &end);
    return *end == '\0' && strspn(text, "+-0123456789.eE") == strlen(text);
}

/* Finds the columns: their names, what they hold, how many lines there are. */
static void survey(struct table *t, struct csv_reader *r)
{
    size_t at = 0;

    do {
        if (!csv_read(r))
            return;
        t->column = mem_grow(t->column, t->columns, sizeof *t->column);
        t->column[t->columns++] = (struct column_set){
            .name = mem_strdup(csv_text(r)), .width = 1, .type = -1, .id = -1};
    } while (r->behind == ',');
    while (csv_read(r)) {
        struct column_set *c = &t->column[at];
        size_t size = strlen(csv_text(r)) + 1;

        c->texts = c->texts || !is_number(csv_text(r));
        c->width = size > c->width ? size : c->width;
        at = at + 1 == t->columns ? 0 : at + 1;
        t->rows += at == 0;
    }
}

static bool create(struct column_set *c, hid_t file, hsize_t rows)
{
    hid_t plist = H5Pcreate(H5P_DATASET_CREATE);
    hid_t space = H5Screate_simple(1, &rows, NULL);

    if (!c->texts)
        c->width = sizeof(double);
    c->block = mem_zalloc(BLOCK, c->width);
    c->type = H5Tcopy(c->texts ? H5T_C_S1 : H5T_NATIVE_DOUBLE);
    if (c->texts) {
        (void)H5Tset_size(c->type, c->width);
        (void)H5Tset_cset(c->type, H5T_CSET_UTF8);
    }
    (void)H5Pset_obj_track_times(plist, false);
    c->id = H5Dcreate2(file, c->name, c->type, space, H5P_DEFAULT, plist, H5P_DEFAULT);
    (void)H5Sclose(space);
    (void)H5Pclose(plist);
    return c->id >= 0;
}

static void store(const struct column_set *c, size_t row, const char *text)
{
    char *to = c->block + row * c->width;
    double number = *text == '\0' ? NAN : strtod(text, NULL);

    if (c->texts)
        (void)strncpy(to, text, c->width);
    else
        memcpy(to, &number, sizeof number);
}

static bool write_block(const struct column_set *c, hsize_t first, hsize_t count)
{
    hid_t disk = H5Dget_space(c->id);
    hid_t memory = H5Screate_simple(1, &count, NULL);
    bool good =
        H5Sselect_hyperslab(disk, H5S_SELECT_SET, &first, NULL, &count, NULL) >= 0 &&
        H5Dwrite(c->id, c->type, memory, disk, H5P_DEFAULT, c->block) >= 0;

    (void)H5Sclose(memory);
    (void)H5Sclose(disk);
    return good;
}

static bool write_rows(const struct table *t, struct csv_reader *r)
{
    bool good = true;

    for (size_t i = 0; i < t->columns; i++) /* the header */
        (void)csv_read(r);
    for (hsize_t row = 0; row < t->rows && good; row++) {
        size_t at = (size_t)(row % BLOCK);

        for (size_t i = 0; i < t->columns && csv_read(r); i++)
            store(&t->column[i], at, csv_text(r));
        for (size_t i = 0; i < t->columns && (at + 1 == BLOCK || row + 1 == t->rows); i++)
            good = write_block(&t->column[i], row - at, at + 1) && good;
    }
    return good;
}

static int write_all(struct hdf_out *out, const struct table *t, struct csv_reader *r,
                     const char *path, const char *format, struct err *e)
{
    hid_t file = hdf_out_file(out);
    bool good = true;

    if (hdf_attribute_put_text(file, path, "format", format, e) != 0)
        return -1;
    for (size_t i = 0; i < t->columns; i++)
        good = create(&t->column[i], file, t->rows) && good;
    good = good && write_rows(t, r);
    for (size_t i = 0; i < t->columns; i++) {
        good = (t->column[i].id < 0 || H5Dclose(t->column[i].id) >= 0) && good;
        (void)H5Tclose(t->column[i].type);
        free(t->column[i].block);
    }
    if (hdf_out_check(out, e) != 0)
        return -1;
    if (!good)
        return err_set(e, "%s: the HDF5 library cannot write the table", path);
    return hdf_out_close(out, e);
}

static int write_table(const char *path, const struct table *t, struct csv_reader *r,
                       const char *format, struct err *e)
{
    struct hdf_out *out;
    int status;

    hdf_enter();
    out = hdf_out_new(path, e);
    status = out == NULL ? -1 : write_all(out, t, r, path, format, e);
    if (status == 0)
        status = hdf_out_commit(out, e);
    else
        hdf_out_abandon(out);
    hdf_leave();
    return status;
}

int columns_write(const char *path, const char *csv, const char *format, struct err *e)
{
    struct csv_reader r = {.in = fopen(csv, "r")};
    struct table t = {.columns = 0};
    int status;

    if (r.in == NULL)
        return err_set(e, "%s: %s", csv, strerror(errno));
    survey(&t, &r);
    rewind(r.in);
    status = write_table(path, &t, &r, format, e);
    if (status == 0 && ferror(r.in) != 0)
        status = err_set(e, "%s cannot be read", csv);
    (void)fclose(r.in);
    for (size_t i = 0; i < t.columns; i++)
        free(t.column[i].name);
    free(t.column);
    csv_release(&r);
    return status;
}
