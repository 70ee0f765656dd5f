#include "paper_check.h"

#include "sim/base/mem.h"

#include <math.h>
#include <stdlib.h>

char *paper_predicted_text(const struct paper_row *row)
{
    const struct paper_quantity *q = &row->published;
    const char *unit = q->unit->name;

    return mem_format("%.*f%s%s", q->decimals + (row->tolerance > 0.0),
                      row->predicted / q->unit->scale, *unit == '\0' ? "" : " ", unit);
}

char *paper_published_text(const struct paper_row *row)
{
    static const char *const sign[] = {"", ">= ", "<= "};
    const struct paper_quantity *q = &row->published;
    const char *unit = q->unit->name;

    if (!paper_row_is_published(row))
        return mem_strdup("-");
    return mem_format("%s%.*f%s%s", sign[row->relation], q->decimals,
                      q->value / q->unit->scale, *unit == '\0' ? "" : " ", unit);
}

const char *paper_provenance_name(const struct paper_constant *k)
{
    static const char *const name[] = {"published", "estimate", "fitted"};

    return name[k->provenance];
}

static enum check_verdict verdict_of(enum paper_verdict v)
{
    switch (v) {
    case PAPER_OK:
        return CHECK_OK;
    case PAPER_SHOWN:
        return CHECK_SHOWN;
    case PAPER_EXPLAINED:
        return CHECK_EXPLAINED;
    case PAPER_OPEN:
    case PAPER_BROKEN:
        return CHECK_BROKEN;
    default:
        return CHECK_FAILED;
    }
}

/* What the verdict's name does not say. */
static char *note_of(const struct paper_row *row)
{
    const char *name = paper_verdict_name(row->verdict);

    if (row->broken.text[0] != '\0')
        return mem_format("%s: %s", name, row->broken.text);
    if (row->why != NULL)
        return mem_format("%s; explained %+.1f %%: %s", name, row->miss * 100.0,
                          row->why);
    return row->verdict == PAPER_OK ? NULL : mem_strdup(name);
}

static void add_row(const struct paper_row *row, const char *group, struct check_case *c)
{
    static const char *const unit[] = {"", "s", "B"};
    enum check_verdict verdict = verdict_of(row->verdict);
    struct check_row *to = check_add_row(c, group, row->what, verdict);

    to->unit = unit[row->published.unit->dimension];
    to->note = note_of(row);
    if (paper_row_is_published(row)) {
        to->before = paper_published_text(row);
        to->numbers[0] = row->published.value;
        to->tolerance = row->tolerance;
    }
    if (verdict == CHECK_BROKEN)
        return;
    to->after = paper_predicted_text(row);
    to->numbers[1] = row->predicted;
    to->change = row->error;
}

void paper_check_rows(const struct paper *p, const char *group, struct check_case *c)
{
    for (size_t i = 0; i < p->rows; i++)
        add_row(&p->row[i], group, c);
}

static void add_facts(const struct paper *p, struct check_case *c)
{
    check_add_fact(c, "source", p->source);
    if (*p->notes != '\0')
        check_add_fact(c, "notes", p->notes);
    for (size_t i = 0; i < p->constants; i++) {
        const struct paper_constant *k = &p->constant[i];
        char *value =
            mem_format("%s, %s: %s", k->text, paper_provenance_name(k), k->source);

        check_add_fact(c, k->name, value);
        free(value);
    }
}

struct check_case *paper_check(const struct paper *p, struct check *c)
{
    struct check_case *item = check_add(c, "papers", p->name, p->title);

    item->before = "published";
    item->after = "predicted";
    add_facts(p, item);
    for (size_t i = 0; i < p->rows; i++) {
        const struct paper_row *row = &p->row[i];

        add_row(row,
                !paper_row_is_published(row) ? "shown"
                : row->fit                   ? "fit"
                                             : "held-out",
                item);
    }
    return item;
}
