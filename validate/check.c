#include "check.h"

#include "sim/base/mem.h"

#include <math.h>
#include <stdlib.h>

const char *check_verdict_name(enum check_verdict v)
{
    static const char *const name[] = {
        [CHECK_OK] = "ok",
        [CHECK_SHOWN] = "shown",
        [CHECK_EXPLAINED] = "explained",
        [CHECK_FAILED] = "failed",
        [CHECK_BROKEN] = "broken",
    };

    return name[v];
}

/* ---- building ---- */

struct check_case *check_add(struct check *c, const char *kind, const char *name,
                             const char *title)
{
    struct check_case *item;

    c->item = mem_grow(c->item, c->cases, sizeof *c->item);
    item = &c->item[c->cases++];
    *item = (struct check_case){.kind = mem_strdup(kind),
                                .name = mem_strdup(name),
                                .title = mem_strdup(title),
                                .before = "stored",
                                .after = "now"};
    return item;
}

static void release_case(struct check_case *c)
{
    for (size_t i = 0; i < c->rows; i++) {
        free(c->row[i].group);
        free(c->row[i].name);
        free(c->row[i].before);
        free(c->row[i].after);
        free(c->row[i].note);
    }
    for (size_t i = 0; i < c->facts; i++) {
        free(c->fact[i].name);
        free(c->fact[i].value);
    }
    for (size_t i = 0; i < c->findings; i++)
        free(c->finding[i]);
    free(c->row);
    free(c->fact);
    free(c->finding);
    free(c->kind);
    free(c->name);
    free(c->title);
}

void check_drop(struct check *c)
{
    release_case(&c->item[--c->cases]);
}

void check_release(struct check *c)
{
    for (size_t i = 0; i < c->cases; i++)
        release_case(&c->item[i]);
    free(c->item);
    *c = (struct check){.cases = 0};
}

struct check_row *check_add_row(struct check_case *c, const char *group, const char *name,
                                enum check_verdict verdict)
{
    struct check_row *row;

    c->row = mem_grow(c->row, c->rows, sizeof *c->row);
    row = &c->row[c->rows++];
    *row = (struct check_row){.group = mem_strdup(group),
                              .name = mem_strdup(name),
                              .numbers = {NAN, NAN},
                              .unit = "",
                              .change = NAN,
                              .tolerance = NAN,
                              .values = 1,
                              .verdict = verdict};
    return row;
}

void check_add_fact(struct check_case *c, const char *name, const char *value)
{
    c->fact = mem_grow(c->fact, c->facts, sizeof *c->fact);
    c->fact[c->facts++] =
        (struct check_fact){.name = mem_strdup(name), .value = mem_strdup(value)};
}

void check_add_finding(struct check_case *c, char *sentence)
{
    c->finding = mem_grow(c->finding, c->findings, sizeof *c->finding);
    c->finding[c->findings++] = sentence;
}

/* ---- counting ---- */

static void count(const struct check_case *c, struct check_counts *n)
{
    for (size_t i = 0; i < c->rows; i++) {
        enum check_verdict v = c->row[i].verdict;

        n->values += c->row[i].values;
        n->rows++;
        n->ok += v == CHECK_OK;
        n->shown += v == CHECK_SHOWN;
        n->explained += v == CHECK_EXPLAINED;
        n->failed += v == CHECK_FAILED;
        n->broken += v == CHECK_BROKEN;
    }
}

struct check_counts check_count(const struct check_case *c)
{
    struct check_counts n = {.rows = 0};

    count(c, &n);
    return n;
}

struct check_counts check_count_all(const struct check *c)
{
    struct check_counts n = {.rows = 0};

    for (size_t i = 0; i < c->cases; i++)
        count(&c->item[i], &n);
    return n;
}

bool check_is_good(const struct check *c)
{
    struct check_counts n = check_count_all(c);

    return n.failed + n.broken == 0;
}

/* ---- words ---- */

char *check_change_text(double change)
{
    double percent = change * 100.0;

    if (isnan(change))
        return mem_strdup("");
    if (isinf(change))
        return mem_strdup("from 0");
    if (fabs(percent) >= 0.05 || percent == 0.0)
        return mem_format("%+.1f %%", percent);
    return mem_format("%+.1g %%", percent);
}

char *check_row_text(const struct check_case *c, const struct check_row *row)
{
    char *change = check_change_text(row->change);
    const char *note = row->note == NULL ? "" : row->note;
    const char *between = *note == '\0' ? "" : "; ";
    char *text;

    if (row->before == NULL && row->after == NULL)
        text = mem_strdup(note);
    else
        text = mem_format("%s %s, %s %s%s%s%s%s%s", c->before,
                          row->before == NULL ? "nothing" : row->before, c->after,
                          row->after == NULL ? "nothing" : row->after,
                          *change == '\0' ? "" : " (", change, *change == '\0' ? "" : ")",
                          between, note);
    free(change);
    return text;
}
