#include "paper_replay.h"

#include "models/catalogue.h"
#include "sim/base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- quantities ---- */

static const struct paper_unit units[] = {
    {"", PAPER_RATIO, 1.0},       {"%", PAPER_RATIO, 1e-2},
    {"s", PAPER_TIME, 1.0},       {"ms", PAPER_TIME, 1e-3},
    {"us", PAPER_TIME, 1e-6},     {"B", PAPER_BYTES, 1.0},
    {"kB", PAPER_BYTES, 1e3},     {"MB", PAPER_BYTES, 1e6},
    {"GB", PAPER_BYTES, 1e9},     {"KiB", PAPER_BYTES, 1024.0},
    {"MiB", PAPER_BYTES, 0x1p20}, {"GiB", PAPER_BYTES, 0x1p30},
};

/* Splits "28.9 ms": the number, how many digits it has behind the point, and where its
 * unit begins. 0 or -1. */
static int split_number(const char *text, double *value, int *decimals, const char **unit)
{
    const struct option any = {.name = "", .type = OPT_DOUBLE};
    size_t length = strspn(text, "+-.0123456789");
    const char *point = memchr(text, '.', length);
    char *number = mem_format("%.*s", (int)length, text);
    struct err e = {.text = ""};
    int status = cfg_parse_value(number, &any, value, &e);

    free(number);
    *decimals = point == NULL ? 0 : (int)(text + length - point) - 1;
    *unit = text + length + strspn(text + length, " ");
    return status;
}

int paper_read_quantity(const struct cfg_node *n, const char *what,
                        struct paper_quantity *q, struct err *e)
{
    const char *text = cfg_text(n), *unit;

    if (text != NULL && split_number(text, &q->value, &q->decimals, &unit) == 0) {
        for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
            if (strcmp(unit, units[i].name) == 0) {
                q->unit = &units[i];
                q->value *= units[i].scale;
                return 0;
            }
        }
    }
    return cfg_error(
        n, e,
        "'%s' is %s; expected a number with a unit: s, ms, us, GB, MB, kB, B, "
        "GiB, MiB, KiB, %% or none",
        what, text == NULL ? "no single value" : text);
}

/* A share such as "10 %". */
static int read_share(const struct cfg_node *n, const char *what, double *share,
                      struct err *e)
{
    struct paper_quantity q;

    if (paper_read_quantity(n, what, &q, e) != 0)
        return -1;
    if (q.unit->dimension != PAPER_RATIO)
        return cfg_error(n, e, "'%s' has the unit %s; expected a share such as 10 %%",
                         what, q.unit->name);
    *share = q.value;
    return 0;
}

/* ---- the parts of a file ---- */

struct head {
    const char *name, *title, *source, *notes;
    const struct cfg_node *tolerance, *base, *constants, *replays, *rows;
};

#define HEAD(key) offsetof(struct head, key)
static const struct option head_options[] = {
    {"name", OPT_STRING, HEAD(name), NULL, 0, 0, NULL, "the file's name without .yaml"},
    {"title", OPT_STRING, HEAD(title), NULL, 0, 0, NULL, "what it is, in one line"},
    {"source", OPT_STRING, HEAD(source), NULL, 0, 0, NULL, "the publication"},
    {"notes", OPT_STRING, HEAD(notes), "", 0, 0, NULL,
     "what was not published, and what is made up instead"},
    {"tolerance", OPT_NODE, HEAD(tolerance), "", 0, 0, NULL,
     "of rows that state none, such as 10 %"},
    {"base", OPT_NODE, HEAD(base), "", 0, 0, NULL,
     "machine, model, trace, config, set of all replays"},
    {"constants", OPT_NODE, HEAD(constants), "", 0, 0, NULL, "shared by all replays"},
    {"replays", OPT_NODE, HEAD(replays), "", 0, 0, NULL, "name, set"},
    {"rows", OPT_NODE, HEAD(rows), NULL, 0, 0, NULL, "published against predicted"},
    {.name = NULL},
};

static const char *const provenances[] = {"published", "estimate", "fitted", NULL};
#define CONSTANT(key) offsetof(struct paper_constant, key)
static const struct option constant_options[] = {
    {"name", OPT_STRING, CONSTANT(name), NULL, 0, 0, NULL, "for the report"},
    {"value", OPT_STRING, CONSTANT(text), NULL, 0, 0, NULL, "with its unit"},
    {"sets", OPT_NODE, CONSTANT(sets), NULL, 0, 0, NULL,
     "list of what it sets, such as machine.gpu.fp32_flops"},
    {"provenance", OPT_CHOICE, CONSTANT(provenance), NULL, 0, 0, provenances,
     "where it comes from"},
    {"source", OPT_STRING, CONSTANT(source), NULL, 0, 0, NULL, "in words"},
    {"start", OPT_DOUBLE, CONSTANT(start), "0", 0, 0, NULL,
     "fitted: where the search begins, in the value's unit"},
    {"min", OPT_DOUBLE, CONSTANT(min), "0", 0, 0, NULL, "fitted: its lower bound"},
    {"max", OPT_DOUBLE, CONSTANT(max), "0", 0, 0, NULL, "fitted: its upper bound"},
    {.name = NULL},
};

#define REPLAY(key) offsetof(struct paper_replay, key)
static const struct option replay_options[] = {
    {"name", OPT_STRING, REPLAY(name), NULL, 0, 0, NULL, "for the rows"},
    {"set", OPT_NODE, REPLAY(set), "", 0, 0, NULL,
     "list of changes to the base, such as machine.nodes=4"},
    {.name = NULL},
};

struct row_keys {
    const char *what, *figure, *run, *over, *less;
    const struct cfg_node *published, *tolerance, *formula, *miss;
    int relation;
    bool fit;
};

static const char *const relations[] = {"about", "at-least", "at-most", NULL};
#define ROW(key) offsetof(struct row_keys, key)
static const struct option row_options[] = {
    {"what", OPT_STRING, ROW(what), NULL, 0, 0, NULL, "for the report"},
    {"published", OPT_NODE, ROW(published), "", 0, 0, NULL,
     "with its unit; left out: the prediction alone is shown"},
    {"is", OPT_CHOICE, ROW(relation), "about", 0, 0, relations,
     "how the prediction shall stand to it"},
    {"tolerance", OPT_NODE, ROW(tolerance), "", 0, 0, NULL,
     "of |predicted / published - 1|; default: the table's"},
    {"fit", OPT_BOOL, ROW(fit), "no", 0, 0, NULL, "the constants are fitted on it"},
    {"formula", OPT_NODE, ROW(formula), "", 0, 0, NULL, "a closed form: name, options"},
    {"figure", OPT_STRING, ROW(figure), "", 0, 0, NULL, "a figure of a replay"},
    {"run", OPT_STRING, ROW(run), "", 0, 0, NULL, "REPLAY/POLICY"},
    {"over", OPT_STRING, ROW(over), "", 0, 0, NULL, "REPLAY/POLICY it is divided by"},
    {"less", OPT_STRING, ROW(less), "", 0, 0, NULL,
     "REPLAY/POLICY that is taken from it"},
    {"miss", OPT_NODE, ROW(miss), "", 0, 0, NULL, "error and why, where it misses"},
    {.name = NULL},
};

struct miss_keys {
    const struct cfg_node *error;
    const char *why;
};

static const struct option miss_options[] = {
    {"error", OPT_NODE, offsetof(struct miss_keys, error), NULL, 0, 0, NULL,
     "predicted / published - 1"},
    {"why", OPT_STRING, offsetof(struct miss_keys, why), NULL, 0, 0, NULL, "in one line"},
    {.name = NULL},
};

/* ---- reading ---- */

static int want_list(const struct cfg_node *n, const char *what, struct err *e)
{
    if (n == NULL || cfg_is_list(n))
        return 0;
    return cfg_error(n, e, "'%s' is no list", what);
}

static int read_constant(const struct cfg_node *n, struct paper_constant *c,
                         struct err *e)
{
    if (cfg_bind(n, constant_options, c, e) != 0 || want_list(c->sets, "sets", e) != 0)
        return -1;
    if (split_number(c->text, &c->value, &c->decimals, &c->unit) != 0)
        return cfg_error(n, e, "constant '%s' is %s; expected a number and its unit",
                         c->name, c->text);
    if (cfg_count(c->sets) == 0)
        return cfg_error(n, e, "constant '%s' sets nothing", c->name);
    if (c->provenance == PAPER_FITTED &&
        !(0.0 < c->min && c->min <= c->start && c->start <= c->max))
        return cfg_error(n, e,
                         "constant '%s' was fitted; expected 0 < min <= start <= max, so "
                         "that it can be fitted again",
                         c->name);
    return 0;
}

static int read_constants(const struct cfg_node *n, struct paper *p, struct err *e)
{
    if (want_list(n, "constants", e) != 0)
        return -1;
    if (n == NULL)
        return 0;
    p->constants = cfg_count(n);
    p->constant = mem_zalloc(p->constants + 1, sizeof *p->constant);
    for (size_t i = 0; i < p->constants; i++) {
        if (read_constant(cfg_item(n, i), &p->constant[i], e) != 0)
            return -1;
    }
    return 0;
}

static int read_replays(const struct cfg_node *n, struct paper *p, struct err *e)
{
    if (want_list(n, "replays", e) != 0)
        return -1;
    if (n == NULL)
        return 0;
    p->replays = cfg_count(n);
    p->replay = mem_zalloc(p->replays + 1, sizeof *p->replay);
    for (size_t i = 0; i < p->replays; i++) {
        struct paper_replay *r = &p->replay[i];

        if (cfg_bind(cfg_item(n, i), replay_options, r, e) != 0 ||
            want_list(r->set, "set", e) != 0)
            return -1;
        for (size_t j = 0; j < i; j++) {
            if (strcmp(r->name, p->replay[j].name) == 0)
                return cfg_error(cfg_item(n, i), e, "two replays are called '%s'",
                                 r->name);
        }
    }
    return 0;
}

/* "REPLAY/POLICY". */
static int find_side(const struct cfg_node *row, const struct paper *p, const char *key,
                     const char *text, struct paper_side *side, struct err *e)
{
    const char *slash = strchr(text, '/');

    for (size_t i = 0; slash != NULL && i < p->replays; i++) {
        const char *name = p->replay[i].name;

        if (strncmp(name, text, (size_t)(slash - text)) == 0 &&
            name[slash - text] == '\0') {
            *side = (struct paper_side){.replay = i, .policy = slash + 1};
            return 0;
        }
    }
    return cfg_error(row, e,
                     "'%s' is '%s'; expected REPLAY/POLICY with a replay of this "
                     "table",
                     key, text);
}

static int read_source(const struct cfg_node *n, const struct row_keys *k,
                       const struct paper *p, struct paper_row *row, struct err *e)
{
    bool over = *k->over != '\0', less = *k->less != '\0';
    bool replay = *k->figure != '\0' || *k->run != '\0' || over || less;

    if (replay == (k->formula != NULL))
        return cfg_error(n, e, "row '%s': expected either formula, or figure and run",
                         k->what);
    if (!replay)
        return row->fit ? cfg_error(n, e,
                                    "row '%s': no constant enters a formula, so "
                                    "none can be fitted on it",
                                    k->what)
                        : 0;
    row->figure = paper_figure_find(k->figure);
    if (row->figure == NULL)
        return cfg_error(n, e,
                         "row '%s': there is no figure '%s'; moesim check --help "
                         "lists them",
                         k->what, k->figure);
    if (over && less)
        return cfg_error(n, e, "row '%s': expected over or less, not both", k->what);
    row->join = over ? PAPER_OVER : less ? PAPER_LESS : PAPER_ALONE;
    if (find_side(n, p, "run", k->run, &row->run, e) != 0 ||
        (over && find_side(n, p, "over", k->over, &row->other, e) != 0) ||
        (less && find_side(n, p, "less", k->less, &row->other, e) != 0))
        return -1;
    if (row->published.unit->dimension != (over ? PAPER_RATIO : row->figure->dimension))
        return cfg_error(n, e, "row '%s': %s%s does not have the unit '%s'", k->what,
                         k->figure, over ? " over another" : "",
                         row->published.unit->name);
    return 0;
}

/* A row that shows a figure alone has nothing to be judged by. */
static int read_shown(const struct cfg_node *n, const struct row_keys *k,
                      const struct paper *p, struct paper_row *row, struct err *e)
{
    static const struct paper_unit unit[] = {[PAPER_RATIO] = {"", PAPER_RATIO, 1.0},
                                             [PAPER_TIME] = {"ms", PAPER_TIME, 1e-3},
                                             [PAPER_BYTES] = {"MB", PAPER_BYTES, 1e6}};
    const struct paper_figure *figure = paper_figure_find(k->figure);

    if (k->fit || k->tolerance != NULL || k->miss != NULL || k->formula != NULL ||
        k->relation != PAPER_ABOUT)
        return cfg_error(n, e,
                         "row '%s' has no published figure, so that it has only what, "
                         "figure, run, over and less",
                         k->what);
    row->published.unit =
        &unit[*k->over != '\0' || figure == NULL ? PAPER_RATIO : figure->dimension];
    row->published.decimals = row->published.unit->dimension == PAPER_RATIO ? 2 : 1;
    return read_source(n, k, p, row, e);
}

static int read_row(const struct cfg_node *n, const struct cfg_node *tolerance,
                    const struct paper *p, struct paper_row *row, struct err *e)
{
    struct row_keys k;
    struct miss_keys miss;

    if (cfg_bind(n, row_options, &k, e) != 0)
        return -1;
    *row = (struct paper_row){
        .what = k.what, .relation = k.relation, .fit = k.fit, .formula = k.formula};
    if (k.published == NULL)
        return read_shown(n, &k, p, row, e);
    if (k.tolerance == NULL && tolerance == NULL)
        return cfg_error(n, e, "row '%s' has no tolerance, and neither has the table",
                         k.what);
    if (paper_read_quantity(k.published, "published", &row->published, e) != 0 ||
        read_share(k.tolerance != NULL ? k.tolerance : tolerance, "tolerance",
                   &row->tolerance, e) != 0 ||
        read_source(n, &k, p, row, e) != 0)
        return -1;
    if (row->published.value <= 0.0 || row->tolerance < 0.0)
        return cfg_error(n, e,
                         "row '%s': expected a published figure above 0 and a "
                         "tolerance of at least 0",
                         k.what);
    if (k.miss == NULL)
        return 0;
    if (cfg_bind(k.miss, miss_options, &miss, e) != 0 ||
        read_share(miss.error, "error", &row->miss, e) != 0)
        return -1;
    row->why = miss.why;
    return 0;
}

/* Fitted constants need rows, but no more than half of them. */
static int check_fit(const struct paper *p, const struct cfg_node *rows, struct err *e)
{
    size_t fitted = 0, fit = 0, replays = 0;

    for (size_t i = 0; i < p->constants; i++)
        fitted += p->constant[i].provenance == PAPER_FITTED;
    for (size_t i = 0; i < p->rows; i++) {
        fit += p->row[i].fit;
        replays += p->row[i].figure != NULL && paper_row_is_published(&p->row[i]);
    }
    if (2 * fit > replays)
        return cfg_error(rows, e,
                         "%zu of %zu rows that are replays are used for the fit; at most "
                         "half may be",
                         fit, replays);
    if (fitted > 0 ? fit <= fitted : fit > 0)
        return cfg_error(rows, e,
                         "%zu constants are fitted on %zu rows; expected more rows than "
                         "constants, and none without a fitted constant",
                         fitted, fit);
    return 0;
}

static int read_rows(const struct cfg_node *n, const struct cfg_node *tolerance,
                     struct paper *p, struct err *e)
{
    if (want_list(n, "rows", e) != 0)
        return -1;
    p->rows = cfg_count(n);
    p->row = mem_zalloc(p->rows + 1, sizeof *p->row);
    for (size_t i = 0; i < p->rows; i++) {
        if (read_row(cfg_item(n, i), tolerance, p, &p->row[i], e) != 0)
            return -1;
    }
    return check_fit(p, n, e);
}

int paper_load(const char *path_or_name, const char *folder, struct paper *p,
               struct err *e)
{
    struct head head;

    *p = (struct paper){.document = catalogue_load(FILE_TABLE, path_or_name, folder, e)};
    if (p->document == NULL)
        return -1;
    if (cfg_bind(cfg_root(p->document), head_options, &head, e) == 0) {
        p->name = head.name;
        p->title = head.title;
        p->source = head.source;
        p->notes = head.notes;
        p->base = head.base;
        if (read_constants(head.constants, p, e) == 0 &&
            read_replays(head.replays, p, e) == 0 &&
            read_rows(head.rows, head.tolerance, p, e) == 0)
            return 0;
    }
    paper_release(p);
    return -1;
}

void paper_release(struct paper *p)
{
    free(p->constant);
    free(p->replay);
    free(p->row);
    cfg_free(p->document);
    *p = (struct paper){.document = NULL};
}
