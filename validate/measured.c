#include "measured.h"

#include "sim/base/file_kind.h"
#include "sim/base/file.h"
#include "sim/base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_LIMIT = 256 << 20, MOST_COLUMNS = 256 };

void measured_release(struct measured *m)
{
    for (size_t i = 0; i < m->columns; i++)
        free(m->name[i]);
    free(m->name);
    free(m->value);
    free(m->path);
    *m = (struct measured){.columns = 0};
}

/* Cuts `line` at its commas, in place. Returns the number of cells, at most `most` + 1.
 */
static size_t split(char *line, char **cell, size_t most)
{
    size_t count = 0;

    for (char *at = line; at != NULL && count <= most;) {
        char *comma = strchr(at, ',');

        if (comma != NULL)
            *comma++ = '\0';
        if (count < most)
            cell[count] = at;
        count++;
        at = comma;
    }
    return count;
}

static int read_names(struct measured *m, char *line, unsigned number, struct err *e)
{
    char *cell[MOST_COLUMNS];
    size_t count = split(line, cell, MOST_COLUMNS);

    if (count > MOST_COLUMNS)
        return err_set(e, "%s: line %u: has more than %d columns", m->path, number,
                       MOST_COLUMNS);
    m->name = mem_alloc(count, sizeof *m->name);
    for (; m->columns < count; m->columns++)
        m->name[m->columns] = mem_strdup(cell[m->columns]);
    return 0;
}

static int read_step(struct measured *m, char *line, unsigned number, size_t *room,
                     struct err *e)
{
    char *cell[MOST_COLUMNS];
    size_t count = split(line, cell, m->columns);
    double *value;

    if (count != m->columns)
        return err_set(e,
                       "%s: line %u: has %s than the %zu columns that the first line "
                       "names",
                       m->path, number, count < m->columns ? "fewer" : "more",
                       m->columns);
    if (m->steps == *room) {
        *room = *room * 2 + 64;
        m->value = mem_resize(m->value, *room * m->columns, sizeof *m->value);
    }
    value = m->value + m->steps++ * m->columns;
    for (size_t i = 0; i < count; i++) {
        char *end;

        value[i] = strtod(cell[i], &end);
        if (end == cell[i] || *end != '\0' || !isfinite(value[i]))
            return err_set(e, "%s: line %u: '%.40s' in column %s is no number", m->path,
                           number, cell[i], m->name[i]);
    }
    return 0;
}

int measured_read(const char *path, struct measured *m, struct err *e)
{
    size_t size, room = 0;
    unsigned number = 0;
    char *text = file_kind_check(path, FILE_TEXT, e) == 0
                     ? file_read(path, FILE_LIMIT, &size, e)
                     : NULL;
    int status = 0;

    *m = (struct measured){.columns = 0};
    if (text == NULL)
        return -1;
    m->path = mem_strdup(path);
    if (strlen(text) != size)
        status = err_set(e, "%s: is no text file", path);
    for (char *line = text; status == 0 && line != NULL;) {
        char *next = strchr(line, '\n');

        if (next != NULL)
            *next++ = '\0';
        number++;
        line[strcspn(line, "\r")] = '\0';
        if (*line != '\0' && *line != '#')
            status = m->columns == 0 ? read_names(m, line, number, e)
                                     : read_step(m, line, number, &room, e);
        line = next;
    }
    if (status == 0 && m->steps == 0)
        status = err_set(e, "%s: holds no measured step", path);
    free(text);
    if (status != 0)
        measured_release(m);
    return status;
}

/* Seconds of a column's unit; 0 if its name has none. */
static double unit_of(const char *name)
{
    static const struct {
        const char *ending;
        double seconds;
    } units[] = {{"_s", 1.0}, {"_ms", 1e-3}, {"_us", 1e-6}, {"_ns", 1e-9}};
    const char *ending = strrchr(name, '_');

    for (size_t i = 0; ending != NULL && i < sizeof units / sizeof *units; i++) {
        if (strcmp(ending, units[i].ending) == 0)
            return units[i].seconds;
    }
    return 0.0;
}

static int add_column(const struct measured *m, const char *name, size_t length,
                      double *seconds, struct err *e)
{
    for (size_t i = 0; i < m->columns; i++) {
        double unit = unit_of(m->name[i]);

        if (strlen(m->name[i]) != length || strncmp(m->name[i], name, length) != 0)
            continue;
        if (unit == 0.0)
            return err_set(e,
                           "%s: column %s is no time; expected a name that ends in _s, "
                           "_ms, _us or _ns",
                           m->path, m->name[i]);
        for (size_t k = 0; k < m->steps; k++)
            seconds[k] += m->value[k * m->columns + i] * unit;
        return 0;
    }
    return err_set(e, "%s: has no column '%.*s'", m->path, (int)length, name);
}

int measured_seconds(const struct measured *m, const char *columns, double *seconds,
                     struct err *e)
{
    for (size_t k = 0; k < m->steps; k++)
        seconds[k] = 0.0;
    for (const char *at = columns;;) {
        size_t length = strcspn(at, "+");

        if (add_column(m, at, length, seconds, e) != 0)
            return -1;
        if (at[length] == '\0')
            break;
        at += length + 1;
    }
    for (size_t k = 0; k < m->steps; k++) {
        if (!(seconds[k] > 0.0))
            return err_set(e, "%s: step %zu: %s is not above zero", m->path, k + 1,
                           columns);
    }
    return 0;
}
