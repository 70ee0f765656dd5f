#include "baseline_parts.h"

#include "sim/base/file.h"
#include "sim/base/file_kind.h"
#include "sim/base/mem.h"
#include "sim/experiment/experiment.h"

#include <stdlib.h>
#include <string.h>

#define FILE_LIMIT ((size_t)16 << 20)

/* ---- reading ---- */

struct keys {
    const char *study, *tables, *machine;
    const struct cfg_node *papers, *set, *measured, *tolerance, *stored;
};

#define KEY(field) offsetof(struct keys, field)
static const struct option keys_options[] = {
    {"study", OPT_STRING, KEY(study), "", 0, 0, NULL,
     "a configuration to predict; paths count from the baseline's folder"},
    {"set", OPT_NODE, KEY(set), "", 0, 0, NULL, "list of KEY=VALUE that change it"},
    {"measured", OPT_NODE, KEY(measured), "", 0, 0, NULL,
     "file, column, policy, first_pass: what its steps were measured to take"},
    {"tables", OPT_STRING, KEY(tables), "", 0, 0, NULL,
     "instead: a folder of moesim calibrate's tables"},
    {"machine", OPT_STRING, KEY(machine), "", 0, 0, NULL, "... and the machine for them"},
    {"papers", OPT_NODE, KEY(papers), "", 0, 0, NULL,
     "instead: published tables, a list of names or all"},
    {"tolerance", OPT_NODE, KEY(tolerance), "", 0, 0, NULL, "times, counts, errors"},
    {"stored", OPT_NODE, KEY(stored), "", 0, 0, NULL, "what an update wrote"},
    {.name = NULL},
};

struct tolerance {
    const char *times, *counts, *errors;
};

static const struct option tolerance_options[] = {
    {"times", OPT_STRING, offsetof(struct tolerance, times), "0 %", 0, 0, NULL,
     "of times, in percent of what is stored"},
    {"counts", OPT_STRING, offsetof(struct tolerance, counts), "0 %", 0, 0, NULL,
     "of counts and bytes, in percent of what is stored"},
    {"errors", OPT_STRING, offsetof(struct tolerance, errors), "1 %", 0, 0, NULL,
     "by which an error may grow, in percentage points"},
    {.name = NULL},
};

static int read_share(const struct cfg_node *n, const char *key, const char *text,
                      double *share, struct err *e)
{
    const struct option percent = {.name = "", .type = OPT_DOUBLE, .max = 1e6};
    size_t length = strcspn(text, " %");
    char *number = mem_format("%.*s", (int)length, text);
    struct err ignored = {.text = ""};
    int status = -1;

    if (strcmp(text + length + strspn(text + length, " "), "%") == 0)
        status = cfg_parse_value(number, &percent, share, &ignored);
    free(number);
    if (status != 0)
        return cfg_error(cfg_find(n, key), e,
                         "'%s' is %.40s; expected a share of at least 0, such as 0.5 %%",
                         key, text);
    *share /= 100.0;
    return 0;
}

static int read_tolerance(const struct cfg_node *n, struct baseline *b, struct err *e)
{
    struct tolerance t;

    if (cfg_bind(n, tolerance_options, &t, e) != 0)
        return -1;
    if (read_share(n, "times", t.times, &b->times, e) != 0 ||
        read_share(n, "counts", t.counts, &b->counts, e) != 0)
        return -1;
    return read_share(n, "errors", t.errors, &b->errors, e);
}

static int check_keys(const struct cfg_node *root, const struct keys *k, struct err *e)
{
    bool study = *k->study != '\0', tables = *k->tables != '\0';

    if (study + tables + (k->papers != NULL) != 1)
        return cfg_error(root, e,
                         "expected one of study, tables and papers, which say what is to "
                         "be predicted");
    if (tables != (*k->machine != '\0'))
        return cfg_error(root, e, "tables and machine go together; give both or neither");
    if (!study && (k->set != NULL || k->measured != NULL))
        return cfg_error(k->set != NULL ? k->set : k->measured, e,
                         "set and measured are about a study, which is not given");
    if (k->set != NULL && !cfg_is_list(k->set))
        return cfg_error(k->set, e,
                         "'set' is no list; expected such as [workload.batch=8]");
    if (k->papers != NULL && !cfg_is_list(k->papers) &&
        (cfg_text(k->papers) == NULL || strcmp(cfg_text(k->papers), "all") != 0))
        return cfg_error(k->papers, e, "'papers' is neither a list of names nor all");
    return 0;
}

static int check_stored(const struct cfg_node *n, struct err *e)
{
    const struct cfg_node *format = cfg_find(n, "format");
    const char *text = format == NULL ? NULL : cfg_text(format);

    if (text == NULL)
        return cfg_error(n, e,
                         "'stored' names no format; it was not written by `moesim check "
                         "--update`, which would renew it");
    if (atoi(text) != BASELINE_FORMAT)
        return cfg_error(
            format, e,
            "stored in format %.20s, but this moesim reads %d; renew it with "
            "`moesim check --update`",
            text, BASELINE_FORMAT);
    return 0;
}

static int bind(struct baseline *b, struct err *e)
{
    const struct cfg_node *root = cfg_root(b->document);
    struct keys k;

    if (cfg_bind(root, keys_options, &k, e) != 0 || check_keys(root, &k, e) != 0 ||
        read_tolerance(k.tolerance, b, e) != 0)
        return -1;
    b->study = k.study;
    b->tables = k.tables;
    b->machine = k.machine;
    b->papers = k.papers;
    b->set = k.set;
    b->measured = k.measured;
    b->stored = k.stored;
    return 0;
}

/* The length of the user's part of a baseline's text. */
static size_t own_length(const char *text)
{
    const size_t mark = strlen(BASELINE_MARK);

    for (const char *line = text; line != NULL;) {
        if (strncmp(line, BASELINE_MARK, mark) == 0)
            return (size_t)(line - text);
        line = strchr(line, '\n');
        line = line == NULL ? NULL : line + 1;
    }
    return strlen(text);
}

int baseline_read(const char *path, char *text, struct baseline *b, struct err *e)
{
    *b = (struct baseline){.path = mem_strdup(path), .text = text};
    b->document = cfg_parse(path, text, strlen(text), e);
    if (b->document != NULL && bind(b, e) == 0) {
        b->own = own_length(text);
        return 0;
    }
    baseline_release(b);
    return -1;
}

int baseline_load(const char *path, struct baseline *b, struct err *e)
{
    size_t size;
    char *text = NULL;

    if (file_kind_check(path, FILE_BASELINE, e) == 0)
        text = file_read(path, FILE_LIMIT, &size, e);
    if (text == NULL)
        return -1;
    if (strlen(text) == size)
        return baseline_read(path, text, b, e);
    free(text);
    return err_set(e, "%s: is no text file", path);
}

void baseline_release(struct baseline *b)
{
    cfg_free(b->document);
    free(b->text);
    free(b->path);
    *b = (struct baseline){.path = NULL};
}

/* ---- predicting ---- */

/* `c` as record_papers() takes it. Owned text in `text`. Returns as baseline_check(). */
static int predict(const struct baseline *b, const struct baseline_world *w,
                   struct check_case *c, char **text, struct err *e)
{
    struct mem_stream m;
    FILE *out;
    int status;

    mem_stream_open(&m);
    out = m.out;
    (void)fprintf(out, "stored:\n  format: %d\n", BASELINE_FORMAT);
    record_pair(out, 2, "moesim", MOESIM_VERSION);
    if (*b->study != '\0')
        status = record_study(b, w, out, e);
    else if (*b->tables != '\0')
        status = record_tables(b, w->folders->machines, out, e);
    else
        status = record_papers(b, w, c, out, e);
    *text = mem_stream_close(&m);
    return status;
}

static int compare(const struct baseline *b, const char *text, struct check_case *c,
                   struct err *e)
{
    struct cfg *now = cfg_parse(b->path, text, strlen(text), e);

    if (now == NULL)
        return -1;
    baseline_judge(b, cfg_find(cfg_root(now), "stored"), c);
    cfg_free(now);
    return 0;
}

static const char *kind_of(const struct baseline *b)
{
    return *b->study != '\0' ? "study" : *b->tables != '\0' ? "tables" : "papers";
}

static const char *title_of(const struct baseline *b)
{
    return *b->study != '\0'    ? b->study
           : *b->tables != '\0' ? b->tables
                                : "published tables";
}

int baseline_check(const struct baseline *b, const struct baseline_world *w,
                   struct check *c, struct err *e)
{
    struct check_case *item;
    char *text = NULL;
    int status;

    if (b->stored == NULL)
        return err_set(
            e,
            "%s: nothing is stored in it yet; store what is predicted now with "
            "`moesim check --update %s`",
            b->path, b->path);
    if (check_stored(b->stored, e) != 0)
        return -1;
    item = check_add(c, kind_of(b), b->path, title_of(b));
    status = predict(b, w, item, &text, e);
    if (status == 0)
        status = compare(b, text, item, e);
    free(text);
    if (status != 0)
        check_drop(c);
    return status;
}

/* ---- storing ---- */

/* What an update would drop must be what one wrote. */
static int check_own(const struct baseline *b, struct err *e)
{
    struct cfg *own = cfg_parse(b->path, b->text, b->own, e);
    const struct cfg_node *root = cfg_root(b->document);
    int status = own == NULL ? -1 : 0;

    for (size_t i = 0; status == 0 && i < cfg_count(root); i++) {
        bool above = cfg_find(cfg_root(own), cfg_key(root, i)) != NULL;

        if (above == (cfg_item(root, i) == b->stored))
            status = cfg_error(cfg_item(root, i), e,
                               "'%s' stands on the wrong side of the line %s; yours "
                               "above, stored below",
                               cfg_key(root, i), BASELINE_MARK);
    }
    cfg_free(own);
    return status;
}

static int write_whole(const struct baseline *b, const char *stored, struct err *e)
{
    struct file_out *f = file_out_new(b->path, e);
    FILE *out;

    if (f == NULL)
        return -1;
    out = file_out_stream(f);
    (void)fwrite(b->text, 1, b->own, out);
    if (b->own > 0 && b->text[b->own - 1] != '\n')
        (void)fputc('\n', out);
    (void)fprintf(out, "%s, which writes all below this line anew ----\n%s",
                  BASELINE_MARK, stored);
    return file_out_commit(f, e);
}

int baseline_update(const struct baseline *b, const struct baseline_world *w,
                    uint64_t *values, uint64_t *changed, struct err *e)
{
    struct check c = {.cases = 0};
    struct check_case *item = check_add(&c, kind_of(b), b->path, title_of(b));
    char *text = NULL;
    int status = check_own(b, e);

    if (status == 0)
        status = predict(b, w, NULL, &text, e);
    if (status == 0)
        status = compare(b, text, item, e);
    if (status == 0)
        status = write_whole(b, text, e);
    *values = check_count(item).values;
    *changed = 0;
    for (size_t i = 0; i < item->rows; i++)
        *changed += item->row[i].before != NULL || item->row[i].after != NULL;
    free(text);
    check_release(&c);
    return status;
}

/* ---- starting ---- */

/* The user's part; owned. */
static char *first_part(const char *study, const char *const *set, size_t sets)
{
    struct mem_stream m;
    FILE *out;

    mem_stream_open(&m);
    out = m.out;
    (void)fputs("# `moesim check` predicts this again and compares.\nstudy: ", out);
    record_text(out, study);
    (void)fputs(sets > 0 ? "\nset:\n" : "\n", out);
    for (size_t i = 0; i < sets; i++) {
        (void)fputs("  - ", out);
        record_text(out, set[i]);
        (void)fputc('\n', out);
    }
    (void)fputs("tolerance: {times: 0 %, counts: 0 %}\n", out);
    return mem_stream_close(&m);
}

int baseline_start(const char *path, const char *study, const char *const *set,
                   size_t sets, struct baseline *b, struct err *e)
{
    char *from = baseline_relative(path, study, e);
    int status;

    if (from == NULL)
        return -1;
    status = baseline_read(path, first_part(from, set, sets), b, e);
    free(from);
    return status;
}
