/* Measured tables in MOESIM_DATA/cost, row by row, and the errors of predictions.
 * Include cmocka.h first. */
#ifndef MOESIM_TESTS_DATA_TABLE_H
#define MOESIM_TESTS_DATA_TABLE_H

#include "sim/base/mem.h"
#include "sim/base/units.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DATA_TABLE_COLUMNS 20

struct data_table {
    FILE *pipe;
    size_t columns;
    char *head, *line, *names[DATA_TABLE_COLUMNS], *cells[DATA_TABLE_COLUMNS];
    size_t head_room, line_room;
};

static inline size_t data_table_split(char *line, char *cells[DATA_TABLE_COLUMNS])
{
    size_t n = 0;

    line[strcspn(line, "\r\n")] = '\0';
    for (char *at = line; at != NULL && n < DATA_TABLE_COLUMNS; n++) {
        char *comma = strchr(at, ',');

        cells[n] = at;
        if (comma != NULL)
            *comma = '\0';
        at = comma == NULL ? NULL : comma + 1;
    }
    return n;
}

/* False, having said so, where the real data are not to be had. */
static inline bool data_table_open(struct data_table *t, const char *test,
                                   const char *file)
{
    const char *folder = getenv("MOESIM_DATA");
    char *command;

    *t = (struct data_table){.pipe = NULL};
    if (folder == NULL || folder[0] == '\0') {
        printf("skip %s: needs MOESIM_DATA\n", test);
        return false;
    }
    command = mem_format("gzip -dc '%s/cost/%s'", folder, file);
    t->pipe = popen(command, "r");
    free(command);
    assert_non_null(t->pipe);
    assert_true(getline(&t->head, &t->head_room, t->pipe) > 0);
    t->columns = data_table_split(t->head, t->names);
    return true;
}

static inline bool data_table_next(struct data_table *t)
{
    if (getline(&t->line, &t->line_room, t->pipe) <= 0)
        return false;
    return data_table_split(t->line, t->cells) == t->columns;
}

static inline const char *data_table_cell(const struct data_table *t, const char *name)
{
    for (size_t i = 0; i < t->columns; i++) {
        if (strcmp(t->names[i], name) == 0)
            return t->cells[i];
    }
    fail_msg("no column %s", name);
    return "";
}

static inline uint32_t data_table_number(const struct data_table *t, const char *name)
{
    return (uint32_t)strtoul(data_table_cell(t, name), NULL, 10);
}

/* Most tables hold milliseconds in the column "latency"; in seconds. */
static inline double data_table_ms(const struct data_table *t)
{
    return strtod(data_table_cell(t, "latency"), NULL) * 1e-3;
}

static inline void data_table_close(struct data_table *t)
{
    assert_int_equal(pclose(t->pipe), 0);
    free(t->head);
    free(t->line);
}

struct data_errors {
    double *values;
    size_t count, room;
    double sum;
};

static inline void data_errors_add(struct data_errors *e, sim_time predicted,
                                   double measured_s)
{
    if (e->count == e->room) {
        e->room = e->room == 0 ? 1024 : 2 * e->room;
        e->values = mem_resize(e->values, e->room, sizeof(*e->values));
    }
    e->values[e->count] = fabs(sim_time_seconds(predicted) / measured_s - 1.0);
    e->sum += e->values[e->count++];
}

static inline int data_errors_by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

static inline void data_errors_check(struct data_errors *e, const char *what, double mean,
                                     double median)
{
    double m;

    assert_true(e->count > 100);
    qsort(e->values, e->count, sizeof(*e->values), data_errors_by_value);
    m = e->sum / (double)e->count;
    printf("%s: %zu rows, mean error %.1f %%, median %.1f %%\n", what, e->count, 100 * m,
           100 * e->values[e->count / 2]);
    assert_true(m < mean);
    assert_true(e->values[e->count / 2] < median);
    free(e->values);
}

#endif
