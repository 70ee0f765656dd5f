#include "sweep_rows.h"

#include "report_differs.h"
#include "sim/base/csv.h"
#include "sim/base/mem.h"
#include "sim/result/result.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- which columns are wanted ---- */

static const char *const figure_columns[ROW_FIGURES] = {
    [ROW_TOKENS] = "tokens_per_s",
    [ROW_TPOT] = "tpot_p50_s",
    [ROW_TPOT_TAIL] = "tpot_p99_s",
    [ROW_TTFT] = "ttft_p50_s",
    [ROW_HITS] = "hit_rate",
    [ROW_LINK] = "link_bytes",
    [ROW_PASSES] = "passes",
    [ROW_WEIGHTS] = "peak_weight_bytes",
    [ROW_BUFFERS] = "peak_buffer_bytes",
    [ROW_KV] = "peak_kv_bytes",
    [ROW_ACTIVATIONS] = "peak_activation_bytes",
    [ROW_LOST] = "mass_lost",
    [ROW_TOP1] = "top1_kept",
    [ROW_CHOSEN] = "total_select_rows",
};

enum text_column { POINT, IDENTITY, OUTCOME, WHY, LABEL, STATUS, LOSSLESS, TEXTS };
static const char *const text_columns_wanted[TEXTS] = {
    "point", "identity", "outcome", "why", "label", "status", "lossless"};

/* What a column is for. */
enum use { UNUSED, TEXT, FIGURE, SLOT, KEY };
struct use_of {
    enum use use;
    size_t which;
};

struct reading {
    struct sweep_rows *t;
    struct csv_reader r;
    struct use_of *column;
    size_t columns;
    char *text[TEXTS]; /* of the line */
};

static const char key_prefix[] = "sweep.";

static struct use_of find_use(struct reading *g, const char *head)
{
    for (size_t i = 0; i < TEXTS; i++)
        if (strcmp(head, text_columns_wanted[i]) == 0)
            return (struct use_of){TEXT, i};
    for (size_t i = 0; i < ROW_FIGURES; i++)
        if (strcmp(head, figure_columns[i]) == 0)
            return (struct use_of){FIGURE, i};
    for (size_t i = 0; i < POLICY_SLOTS; i++)
        if (strcmp(head, policy_slot_name((enum policy_slot)i)) == 0)
            return (struct use_of){SLOT, i};
    if (strncmp(head, key_prefix, sizeof key_prefix - 1) == 0) {
        struct sweep_rows *t = g->t;

        t->key = mem_grow(t->key, t->keys, sizeof *t->key);
        t->key[t->keys] =
            (struct sweep_key){.name = mem_strdup(head + sizeof key_prefix - 1)};
        return (struct use_of){KEY, t->keys++};
    }
    return (struct use_of){UNUSED, 0};
}

static bool read_head(struct reading *g)
{
    size_t found = 0;

    do {
        if (!csv_read(&g->r))
            return false;
        g->column = mem_grow(g->column, g->columns, sizeof *g->column);
        g->column[g->columns] = find_use(g, csv_text(&g->r));
        found += g->column[g->columns].use == TEXT || g->column[g->columns].use == FIGURE;
        g->columns++;
    } while (g->r.behind == ',');
    return found == TEXTS + ROW_FIGURES && g->r.behind == '\n';
}

/* ---- lines ---- */

static void release_row(const struct sweep_rows *t, struct sweep_row *row)
{
    for (size_t k = 0; k < t->keys; k++)
        free(row->value[k]);
    free(row->value);
    free(row->level);
    free(row->identity);
    free(row->label);
    free(row->select);
    free(row->others);
}

static void take_slot(struct sweep_row *row, enum policy_slot slot, const char *text)
{
    char *longer;

    row->bound = row->bound || result_slot_foresees(slot, text) ||
                 result_slot_is_dense(slot, text);
    if (slot == SLOT_SELECT) {
        free(row->select);
        row->select = mem_strdup(text);
        return;
    }
    longer = mem_format("%s%s; ", row->others == NULL ? "" : row->others, text);
    free(row->others);
    row->others = longer;
}

/* False: a figure is no number. */
static bool take_cell(struct reading *g, struct sweep_row *row, const struct use_of *use)
{
    const char *text = csv_text(&g->r);
    char *end;

    switch (use->use) {
    case TEXT:
        free(g->text[use->which]);
        g->text[use->which] = mem_strdup(text);
        break;
    case FIGURE:
        row->figure[use->which] = *text == '\0' ? NAN : strtod(text, &end);
        if (*text != '\0' && (end == text || *end != '\0'))
            return false;
        break;
    case SLOT:
        take_slot(row, (enum policy_slot)use->which, text);
        break;
    case KEY:
        free(row->value[use->which]);
        row->value[use->which] = mem_strdup(text);
        break;
    case UNUSED:
        break;
    }
    return true;
}

/* Enters the line's row, or why there is none. False: its point is no number. */
static bool keep_row(struct reading *g, struct sweep_row *row)
{
    struct sweep_rows *t = g->t;
    char *end;

    row->point = strtoull(g->text[POINT], &end, 10);
    if (end == g->text[POINT] || *end != '\0') {
        release_row(t, row);
        return false;
    }
    row->identity = mem_strdup(g->text[IDENTITY]);
    row->label = mem_strdup(g->text[LABEL]);
    row->lossless = strcmp(g->text[LOSSLESS], "true") == 0;
    if (strcmp(g->text[OUTCOME], "done") == 0 &&
        strcmp(g->text[STATUS], "complete") == 0) {
        t->row = mem_grow(t->row, t->rows, sizeof *t->row);
        t->row[t->rows++] = *row;
        return true;
    }
    if (strcmp(g->text[OUTCOME], "failed") == 0) {
        t->failed++;
        if (t->first_failure == NULL)
            t->first_failure = mem_strdup(g->text[WHY]);
    } else {
        t->missing++;
    }
    release_row(t, row);
    return true;
}

/* False: the line is not whole. */
static bool read_line(struct reading *g)
{
    struct sweep_row row = {.value = mem_zalloc(g->t->keys, sizeof *row.value),
                            .level = mem_zalloc(g->t->keys, sizeof *row.level)};

    for (size_t i = 0; i < g->columns; i++) {
        bool whole = i == 0 || csv_read(&g->r);

        if (whole)
            whole = take_cell(g, &row, &g->column[i]);
        if (!whole || g->r.behind != (i + 1 < g->columns ? ',' : '\n')) {
            release_row(g->t, &row);
            return false;
        }
    }
    return keep_row(g, &row);
}

/* ---- levels ---- */

static int by_number(const void *a, const void *b)
{
    double x, y;

    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

/* Sorts levels by their numbers, where all have one and the same unit. */
static void sort_levels(struct sweep_key *key)
{
    struct numbered {
        double number; /* must stay the first: by_number() reads it */
        char *level;
    } *n = mem_alloc(key->levels, sizeof *n);
    const char *unit = NULL;
    bool all = key->levels > 0;

    for (size_t i = 0; i < key->levels; i++) {
        const char *behind = report_number(key->level[i], &n[i].number);

        n[i].level = key->level[i];
        unit = i == 0 ? behind : unit;
        all = all && behind != NULL && unit != NULL && strcmp(behind, unit) == 0;
    }
    if (all) {
        qsort(n, key->levels, sizeof *n, by_number);
        key->number = mem_alloc(key->levels, sizeof *key->number);
        for (size_t i = 0; i < key->levels; i++) {
            key->number[i] = n[i].number;
            key->level[i] = n[i].level;
        }
    }
    free(n);
}

/* A level by its text. */
struct named {
    const char *text;
    size_t level;
};

static int by_text(const void *a, const void *b)
{
    return strcmp(((const struct named *)a)->text, ((const struct named *)b)->text);
}

/* Tells every row which level of a key it has. */
static void name_levels(struct sweep_rows *t, size_t k)
{
    const struct sweep_key *key = &t->key[k];
    struct named *all = mem_alloc(key->levels, sizeof *all);

    for (size_t i = 0; i < key->levels; i++)
        all[i] = (struct named){key->level[i], i};
    if (key->levels > 1)
        qsort(all, key->levels, sizeof *all, by_text);
    for (size_t i = 0; i < t->rows; i++) {
        const struct named wanted = {t->row[i].value[k], 0};
        const struct named *found =
            bsearch(&wanted, all, key->levels, sizeof *all, by_text);

        if (found != NULL) /* it is, for every value is a level */
            t->row[i].level[k] = found->level;
    }
    free(all);
}

/* The different values of a key. */
static void find_levels(struct sweep_rows *t, size_t k)
{
    struct sweep_key *key = &t->key[k];
    struct named *value = mem_alloc(t->rows, sizeof *value);

    for (size_t i = 0; i < t->rows; i++)
        value[i] = (struct named){t->row[i].value[k], 0};
    if (t->rows > 1)
        qsort(value, t->rows, sizeof *value, by_text);
    for (size_t i = 0; i < t->rows; i++) {
        if (i > 0 && by_text(&value[i], &value[i - 1]) == 0)
            continue;
        key->level = mem_grow(key->level, key->levels, sizeof *key->level);
        key->level[key->levels++] = mem_strdup(value[i].text);
    }
    free(value);
    sort_levels(key);
    name_levels(t, k);
}

/* ---- the whole ---- */

int sweep_rows_read(const char *path, struct sweep_rows *t, struct err *e)
{
    struct reading g = {.t = t, .r = {.in = fopen(path, "r")}};
    int status = 0;

    *t = (struct sweep_rows){.keys = 0};
    if (g.r.in == NULL)
        return err_set(e,
                       "%s: %s; finish the sweep, or gather it with moesim sweep collect",
                       path, strerror(errno));
    if (!read_head(&g))
        status = err_set(e,
                         "%s: is no table of a sweep of this version; gather it again "
                         "with moesim sweep collect",
                         path);
    while (status == 0 && csv_read(&g.r))
        if (!read_line(&g))
            status = err_set(e,
                             "%s: a line is not whole; gather it again with moesim "
                             "sweep collect",
                             path);
    if (status == 0 && ferror(g.r.in) != 0)
        status = err_set(e, "%s cannot be read", path);
    for (size_t k = 0; k < t->keys && status == 0; k++)
        find_levels(t, k);
    (void)fclose(g.r.in);
    csv_release(&g.r);
    for (size_t i = 0; i < TEXTS; i++)
        free(g.text[i]);
    free(g.column);
    if (status != 0)
        sweep_rows_release(t);
    return status;
}

void sweep_rows_release(struct sweep_rows *t)
{
    for (size_t i = 0; i < t->rows; i++)
        release_row(t, &t->row[i]);
    for (size_t k = 0; k < t->keys; k++) {
        for (size_t i = 0; i < t->key[k].levels; i++)
            free(t->key[k].level[i]);
        free(t->key[k].level);
        free(t->key[k].number);
        free(t->key[k].name);
    }
    free(t->row);
    free(t->key);
    free(t->first_failure);
    *t = (struct sweep_rows){.keys = 0};
}

double sweep_row_memory(const struct sweep_row *row)
{
    return row->figure[ROW_WEIGHTS] + row->figure[ROW_BUFFERS] + row->figure[ROW_KV] +
           row->figure[ROW_ACTIVATIONS];
}
