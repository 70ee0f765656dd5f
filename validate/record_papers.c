/* What a baseline stores of published tables: how far each row is off. Whether it may be
 * is the table's own verdict. */
#include "baseline_parts.h"

#include "models/catalogue.h"
#include "sim/base/mem.h"
#include "validate/paper_check.h"
#include "validate/paper_replay.h"

#include <stdlib.h>
#include <string.h>

static bool is_judged(const struct paper_row *row)
{
    return paper_row_is_published(row) && row->verdict != PAPER_BROKEN;
}

/* How many of the rows before it are called the same. */
static size_t count_before(const struct paper *p, size_t i)
{
    size_t count = 0;

    for (size_t k = 0; k < i; k++)
        count += is_judged(&p->row[k]) && strcmp(p->row[k].what, p->row[i].what) == 0;
    return count;
}

static void put_row(struct record_flow *f, const struct paper *p, size_t i)
{
    size_t before = count_before(p, i);
    char *label = before == 0 ? mem_strdup(p->row[i].what)
                              : mem_format("%s (%zu)", p->row[i].what, before + 1);

    record_item_text(f, "label", label);
    record_share(f, "error", p->row[i].error);
    free(label);
}

static void put_paper(const struct paper *p, FILE *out)
{
    (void)fputs("    - label: ", out);
    record_text(out, p->name);
    (void)fputs("\n      rows:\n", out);
    for (size_t i = 0; i < p->rows; i++) {
        struct record_flow f;

        if (!is_judged(&p->row[i]))
            continue;
        (void)fputs("        - ", out);
        f = record_begin(out, 8, '{', '}');
        put_row(&f, p, i);
        record_end(&f);
    }
}

static int add_paper(const char *name, const struct baseline_world *w,
                     struct paper_lab *lab, struct check_case *c, FILE *out,
                     struct err *e)
{
    struct paper p;
    int status;

    if (paper_load(name, w->papers, &p, e) != 0)
        return -1;
    status = paper_predict(&p, lab);
    if (status == 0) {
        put_paper(&p, out);
        if (c != NULL)
            paper_check_rows(&p, p.name, c);
    }
    paper_release(&p);
    return status;
}

/* Those named, or all there are; owned as catalogue_names() gives them. */
static char **names_of(const struct baseline *b, const char *folder, size_t *count,
                       struct err *e)
{
    const char *all = cfg_text(b->papers);
    char **names;

    if (all != NULL && strcmp(all, "all") == 0)
        return catalogue_names(folder, count, e);
    *count = cfg_count(b->papers);
    names = mem_zalloc(*count + 1, sizeof *names);
    for (size_t i = 0; i < *count; i++) {
        const char *name = cfg_text(cfg_item(b->papers, i));

        if (name == NULL) {
            (void)cfg_error(cfg_item(b->papers, i), e, "'papers' lists names of tables");
            catalogue_free(names, i);
            return NULL;
        }
        names[i] =
            strchr(name, '/') != NULL ? baseline_path(b->path, name) : mem_strdup(name);
    }
    return names;
}

int record_papers(const struct baseline *b, const struct baseline_world *w,
                  struct check_case *c, FILE *out, struct err *e)
{
    size_t count;
    char **names = names_of(b, w->papers, &count, e);
    struct paper_lab *lab =
        names == NULL ? NULL : paper_lab_new(w->folders, w->threads, e);
    int status = lab == NULL ? -1 : 0;

    (void)fputs("  papers:\n", out);
    for (size_t i = 0; i < count && status == 0; i++)
        status = add_paper(names[i], w, lab, c, out, e);
    paper_lab_free(lab);
    catalogue_free(names, count);
    return status;
}
