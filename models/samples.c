#include "samples.h"

#include "sim/base/file.h"
#include "sim/base/mem.h"
#include "sim/base/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_LIMIT = 256 << 20, MOST_CELLS = 32 };

/* No shape that was measured is larger: with these, sizes multiply and add up within 64
 * bits, and what they are predicted to take is within sim_time. */
#define MOST_COUNT ((uint64_t)1 << 20)
#define MOST_BYTES ((uint64_t)1 << 40)
#define MOST_WORK 0x1p60 /* all counts of a shape multiplied */

/* ---- what the tables are ---- */

static const char *const copy_words[] = {"h2d_pinned", "d2h_pinned", "h2d_pageable",
                                         "d2h_pageable", NULL};
static const char *const launch_words[] = {"launch_eager", "launch_graph", "graph_launch",
                                           "copy_call",    "round_trip",   NULL};
static const char *const move_words[] = {"gather", "scatter", "norm",
                                         "add",    "gated",   NULL};

#define EXPERT_COLUMNS                                                                   \
    {                                                                                    \
        {"hidden", NULL}, {"inner", NULL}, {"matrices", NULL}, {"top_k", NULL},          \
            {"distinct", NULL}, {"rows", NULL}, {"first_rows", NULL},                    \
        {                                                                                \
            NULL, NULL                                                                   \
        }                                                                                \
    }

const struct samples_schema samples_copy = {
    "copy", {{"kind", copy_words}, {"bytes", NULL}, {NULL, NULL}}};
const struct samples_schema samples_duplex = {
    "duplex", {{"kind", copy_words}, {"bytes", NULL}, {NULL, NULL}}};
const struct samples_schema samples_chunks = {
    "chunks",
    {{"kind", copy_words}, {"bytes", NULL}, {"chunk_bytes", NULL}, {NULL, NULL}}};
const struct samples_schema samples_launch = {
    "launch", {{"kind", launch_words}, {"count", NULL}, {NULL, NULL}}};
const struct samples_schema samples_move = {
    "move", {{"kind", move_words}, {"rows", NULL}, {"width", NULL}, {NULL, NULL}}};
const struct samples_schema samples_gemm = {
    "gemm", {{"rows", NULL}, {"in", NULL}, {"out", NULL}, {NULL, NULL}}};
const struct samples_schema samples_attention = {"attention",
                                                 {{"heads", NULL},
                                                  {"kv_heads", NULL},
                                                  {"key_dim", NULL},
                                                  {"value_dim", NULL},
                                                  {"requests", NULL},
                                                  {"context", NULL},
                                                  {"rows", NULL},
                                                  {NULL, NULL}}};
const struct samples_schema samples_experts = {"experts", EXPERT_COLUMNS};
const struct samples_schema samples_cpu = {"cpu", EXPERT_COLUMNS};

/* ---- reading ---- */

struct reader {
    struct samples *s;
    size_t cells;                  /* of a line */
    size_t place[SAMPLES_COLUMNS]; /* cell of each of the schema's columns */
    size_t seconds;                /* cell of the seconds */
    double *sample;                /* [samples] of the point being read */
    size_t samples, room, point_room;
};

static int bad(const struct reader *r, unsigned line, struct err *e, const char *what,
               const char *cell, const char *expected)
{
    return err_set(e, "%s:%u: %s is '%.40s'; expected %s", r->s->path, line, what, cell,
                   expected);
}

/* Cuts `line` at its commas, in place. */
static size_t split(char *line, char *cell[MOST_CELLS])
{
    size_t count = 0;

    while (count < MOST_CELLS - 1) {
        char *comma = strchr(line, ',');

        cell[count++] = line;
        if (comma == NULL)
            return count;
        *comma = '\0';
        line = comma + 1;
    }
    cell[count++] = line;
    return count;
}

static int find_column(const struct reader *r, const char *name, char *const *cell,
                       unsigned line, size_t *place, struct err *e)
{
    for (*place = 0; *place < r->cells; ++*place)
        if (strcmp(cell[*place], name) == 0)
            return 0;
    return err_set(e, "%s:%u: column '%s' is missing; measure the table again",
                   r->s->path, line, name);
}

static int read_names(struct reader *r, char *text, unsigned line, struct err *e)
{
    const struct samples_column *column = r->s->schema->column;
    char *cell[MOST_CELLS];

    r->cells = split(text, cell);
    for (size_t i = 0; column[i].name != NULL; i++)
        if (find_column(r, column[i].name, cell, line, &r->place[i], e) != 0)
            return -1;
    return find_column(r, "seconds", cell, line, &r->seconds, e);
}

static uint64_t most_of(const struct samples_column *column)
{
    return strstr(column->name, "bytes") != NULL ? MOST_BYTES : MOST_COUNT;
}

static int read_value(const struct reader *r, const struct samples_column *column,
                      const char *cell, unsigned line, uint64_t *value, struct err *e)
{
    const uint64_t most = most_of(column);
    char *end;

    if (column->words != NULL) {
        for (*value = 0; column->words[*value] != NULL; ++*value)
            if (strcmp(column->words[*value], cell) == 0)
                return 0;
        return bad(r, line, e, column->name, cell, "one of its kinds");
    }
    *value = strtoull(cell, &end, 10);
    if (*cell < '0' || *cell > '9' || *end != '\0' || *value < 1 || *value > most)
        return err_set(e, "%s:%u: %s is '%.40s'; expected a whole number from 1 to %llu",
                       r->s->path, line, column->name, cell, (unsigned long long)most);
    return 0;
}

/* Whether the numbers of a shape go together. */
static int check_shape(const struct reader *r, const uint64_t *value, unsigned line,
                       struct err *e)
{
    const struct samples_column *column = r->s->schema->column;
    double work = 1.0;

    for (size_t i = 0; column[i].name != NULL; i++)
        if (column[i].words == NULL && most_of(&column[i]) == MOST_COUNT)
            work *= (double)value[i];
    if (work > MOST_WORK)
        return err_set(e,
                       "%s:%u: its counts multiplied are %g, more than can be measured",
                       r->s->path, line, work);
    if (r->s->schema != &samples_attention)
        return 0;
    if (value[ATTENTION_ROWS] > value[ATTENTION_CONTEXT])
        return err_set(e, "%s:%u: rows are %llu, but at most the context, %llu",
                       r->s->path, line, (unsigned long long)value[ATTENTION_ROWS],
                       (unsigned long long)value[ATTENTION_CONTEXT]);
    if (value[ATTENTION_ROWS] * value[ATTENTION_REQUESTS] > UINT32_MAX)
        return err_set(e, "%s:%u: rows of all requests are above %u", r->s->path, line,
                       UINT32_MAX);
    return 0;
}

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static double quantile(const double *sorted, size_t count, double q)
{
    double at = q * (double)(count - 1);
    size_t i = (size_t)at;

    return i + 1 >= count ? sorted[count - 1]
                          : sorted[i] + (at - (double)i) * (sorted[i + 1] - sorted[i]);
}

/* The samples so far are all of their point. */
static void finish_point(struct reader *r)
{
    struct samples_point *p;

    if (r->samples == 0)
        return;
    p = r->s->point + r->s->points - 1;
    qsort(r->sample, r->samples, sizeof *r->sample, by_value);
    p->seconds = quantile(r->sample, r->samples, 0.5);
    p->spread =
        (quantile(r->sample, r->samples, 0.75) - quantile(r->sample, r->samples, 0.25)) /
        p->seconds;
    r->samples = 0;
}

static void add_sample(struct reader *r, const uint64_t *value, double seconds,
                       unsigned line)
{
    struct samples *s = r->s;
    const size_t size = sizeof s->point->value;

    if (s->points == 0 || memcmp(s->point[s->points - 1].value, value, size) != 0) {
        finish_point(r);
        if (s->points == r->point_room) {
            r->point_room = 2 * r->point_room + 64;
            s->point = mem_resize(s->point, r->point_room, sizeof *s->point);
        }
        s->point[s->points] = (struct samples_point){.line = line};
        memcpy(s->point[s->points++].value, value, size);
    }
    if (r->samples == r->room) {
        r->room = 2 * r->room + 64;
        r->sample = mem_resize(r->sample, r->room, sizeof *r->sample);
    }
    r->sample[r->samples++] = seconds;
}

static int read_sample(struct reader *r, char *text, unsigned line, struct err *e)
{
    const struct samples_column *column = r->s->schema->column;
    uint64_t value[SAMPLES_COLUMNS] = {0};
    char *cell[MOST_CELLS];
    size_t count = split(text, cell);
    double seconds;
    char *end;

    if (count != r->cells)
        return err_set(e, "%s:%u: there are %zu cells, but %zu columns", r->s->path, line,
                       count, r->cells);
    for (size_t i = 0; column[i].name != NULL; i++)
        if (read_value(r, &column[i], cell[r->place[i]], line, &value[i], e) != 0)
            return -1;
    if (check_shape(r, value, line, e) != 0)
        return -1;
    seconds = strtod(cell[r->seconds], &end);
    if (end == cell[r->seconds] || *end != '\0' || !(seconds > 0.0) || seconds > 1e5)
        return bad(r, line, e, "seconds", cell[r->seconds], "a number above zero");
    add_sample(r, value, seconds, line);
    return 0;
}

/* Calls `take` for each line that is no comment. */
typedef int take_line(void *context, char *line, unsigned number, struct err *e);

static int read_lines(const char *path, take_line *take, void *context, struct err *e)
{
    size_t size;
    unsigned number = 0;
    char *text = file_read(path, FILE_LIMIT, &size, e);
    int status = 0;

    if (text == NULL)
        return -1;
    if (strlen(text) != size)
        status = err_set(e, "%s: is no text file", path);
    for (char *line = text; status == 0 && line != NULL;) {
        char *next = strchr(line, '\n');

        if (next != NULL)
            *next++ = '\0';
        number++;
        line[strcspn(line, "\r")] = '\0';
        if (*line != '\0' && *line != '#')
            status = take(context, line, number, e);
        line = next;
    }
    free(text);
    return status;
}

static int take_row(void *context, char *line, unsigned number, struct err *e)
{
    struct reader *r = context;

    return r->cells == 0 ? read_names(r, line, number, e)
                         : read_sample(r, line, number, e);
}

static void hold_out(struct samples *s)
{
    enum { FOLD = 5 };

    for (size_t i = 0; i + FOLD <= s->points; i += FOLD) {
        struct rng r = rng_stream(1, s->schema->name, i);

        s->point[i + rng_below(&r, FOLD)].held = true;
    }
}

int samples_read(const char *folder, const struct samples_schema *schema,
                 struct samples *s, struct err *e)
{
    struct reader r = {.s = s};
    int status;

    *s = (struct samples){.schema = schema,
                          .path = mem_format("%s/%s.csv", folder, schema->name)};
    status = read_lines(s->path, take_row, &r, e);
    finish_point(&r);
    free(r.sample);
    if (status == 0 && s->points == 0)
        status = err_set(e, "%s: holds no sample", s->path);
    hold_out(s);
    if (status != 0)
        samples_release(s);
    return status;
}

void samples_release(struct samples *s)
{
    free(s->path);
    free(s->point);
    *s = (struct samples){.points = 0};
}

/* ---- device.csv ---- */

struct device_reader {
    const char *path;
    struct samples_device *d;
    bool named;
};

static void take_text(char **to, const char *text)
{
    free(*to);
    *to = mem_strdup(text);
}

static int take_property(void *context, char *line, unsigned number, struct err *e)
{
    struct device_reader *r = context;
    char *value = strchr(line, ',');
    unsigned long long count;
    char *end;

    if (value == NULL)
        return err_set(e, "%s:%u: expected name,value", r->path, number);
    *value++ = '\0';
    if (!r->named) {
        r->named = true;
        return 0;
    }
    if (strcmp(line, "device") == 0)
        take_text(&r->d->device, value);
    else if (strcmp(line, "kind") == 0)
        take_text(&r->d->kind, value);
    else if (strcmp(line, "date") == 0)
        take_text(&r->d->date, value);
    else {
        count = strtoull(value, &end, 10);
        if (*value < '0' || *value > '9' || *end != '\0' || count == 0)
            return err_set(e, "%s:%u: %s is '%.40s'; expected a whole number above zero",
                           r->path, number, line, value);
        if (strcmp(line, "element_bits") == 0)
            r->d->element_bits = (unsigned)count;
        else if (strcmp(line, "local_bytes") == 0)
            r->d->local_bytes = count;
        else if (strcmp(line, "host_bytes") == 0)
            r->d->host_bytes = count;
    }
    return 0;
}

int samples_read_device(const char *folder, struct samples_device *d, struct err *e)
{
    char *path = mem_format("%s/device.csv", folder);
    struct device_reader r = {.path = path, .d = d};
    int status;

    *d = (struct samples_device){.device = NULL};
    status = read_lines(path, take_property, &r, e);
    if (status == 0 && (d->device == NULL || d->kind == NULL || d->date == NULL ||
                        (d->element_bits != 16 && d->element_bits != 32) ||
                        d->local_bytes == 0 || d->host_bytes == 0))
        status = err_set(e,
                         "%s: needs device, kind, date, element_bits (16 or 32), "
                         "local_bytes and host_bytes; measure again",
                         path);
    free(path);
    if (status != 0)
        samples_release_device(d);
    return status;
}

void samples_release_device(struct samples_device *d)
{
    free(d->device);
    free(d->kind);
    free(d->date);
    *d = (struct samples_device){.device = NULL};
}
