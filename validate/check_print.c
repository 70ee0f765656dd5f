#include "check_print.h"

#include "sim/base/json.h"
#include "sim/base/plain.h"
#include "sim/base/text.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Nothing that people need to see: as it should be, and no word about it. */
static bool is_quiet(const struct check_row *row)
{
    bool equal = row->before == NULL && row->after == NULL;

    return row->verdict == CHECK_SHOWN ||
           (row->verdict == CHECK_OK && (equal || row->note == NULL));
}

/* How rows are shown that are not quiet: a few of each group, and not too many in all. */
struct view {
    const struct check_case *c;
    FILE *out;
    void (*group)(const struct check_row *row, FILE *out); /* before its first row */
    void (*row)(const struct check_row *row, FILE *out);
    void (*rest)(size_t rows, FILE *out); /* in the end, of those that were left out */
};

static void show(const struct view *v)
{
    enum { OF_A_GROUP = 6, IN_ALL = 36 };
    const char *group = NULL;
    size_t of_group = 0, shown = 0, hidden = 0;

    for (size_t i = 0; i < v->c->rows; i++) {
        const struct check_row *row = &v->c->row[i];

        if (is_quiet(row))
            continue;
        if (group == NULL || strcmp(group, row->group) != 0) {
            of_group = 0;
            group = row->group;
        }
        if (of_group++ >= OF_A_GROUP || shown >= IN_ALL) {
            hidden++;
            continue;
        }
        shown++;
        if (of_group == 1)
            v->group(row, v->out);
        v->row(row, v->out);
    }
    if (hidden > 0)
        v->rest(hidden, v->out);
}

/* ---- for people ---- */

/* To the right of its column, cut where it is longer. */
static void text_value(const char *value, FILE *out)
{
    enum { WIDTH = 16 };
    size_t width = value == NULL ? 1 : text_width(value, WIDTH);

    (void)fprintf(out, " %*s", (int)(WIDTH - width), "");
    text_name(out, value == NULL ? "-" : value, WIDTH);
}

static void text_group(const struct check_row *row, FILE *out)
{
    plain_printf(out, "  %s\n", row->group);
}

static void text_row(const struct check_row *row, FILE *out)
{
    char *change = check_change_text(row->change);

    (void)fputs("    ", out);
    text_cell(out, row->name, 36);
    text_value(row->before, out);
    text_value(row->after, out);
    plain_printf(out, " %9s  %s\n", change,
                 row->verdict == CHECK_OK && row->note != NULL
                     ? row->note
                     : check_verdict_name(row->verdict));
    free(change);
}

static void text_rest(size_t rows, FILE *out)
{
    (void)fprintf(out, "  and %zu more, which --json has\n", rows);
}

static void text_counts(const struct check_counts *n, FILE *out)
{
    (void)fprintf(out, "%" PRIu64 " values", n->values);
    if (n->failed + n->broken == 0)
        (void)fputs(", none failed", out);
    else
        (void)fprintf(out, ", %" PRIu64 " FAILED", n->failed + n->broken);
    if (n->explained > 0)
        (void)fprintf(out, ", %" PRIu64 " off as explained", n->explained);
    if (n->shown > 0)
        (void)fprintf(out, ", %" PRIu64 " not judged", n->shown);
    (void)fputc('\n', out);
}

static bool any_loud(const struct check_case *c)
{
    for (size_t i = 0; i < c->rows; i++) {
        if (!is_quiet(&c->row[i]))
            return true;
    }
    return false;
}

void check_print(const struct check_case *c, FILE *out)
{
    struct check_counts n = check_count(c);

    plain_printf(out, "%s (%s %s): ", c->name, c->kind, c->title);
    text_counts(&n, out);
    for (size_t i = 0; i < c->findings; i++)
        text_paragraph(out, "  * ", "    ", "%s", c->finding[i]);
    if (!any_loud(c))
        return;
    (void)fprintf(out, "\n  %-38s %16s %16s %9s\n", "", c->before, c->after, "change");
    show(&(struct view){c, out, text_group, text_row, text_rest});
    (void)fputc('\n', out);
}

void check_print_total(const struct check *c, FILE *out)
{
    struct check_counts n = check_count_all(c);

    (void)fprintf(out, "All %zu: ", c->cases);
    text_counts(&n, out);
}

/* ---- Markdown ---- */

/* A cell of a table, or a sentence: nothing in it is markup. */
static void mark_text(FILE *out, const char *text)
{
    static const char special[] = "\\`*_{}[]<>|#";

    for (; text != NULL && *text != '\0'; text++) {
        size_t length;
        bool seen = plain_is_seen(text, &length);

        if (strchr(special, *text) != NULL)
            (void)fputc('\\', out);
        if (seen)
            (void)fwrite(text, 1, length, out);
        else
            (void)fputc(*text == '\n' ? ' ' : '?', out);
        text += length - 1;
    }
}

static void mark_group(const struct check_row *row, FILE *out)
{
    (void)row;
    (void)out;
}

static void mark_row(const struct check_row *row, FILE *out)
{
    char *change = check_change_text(row->change);
    const char *cell[] = {row->group,
                          row->name,
                          row->before == NULL ? "-" : row->before,
                          row->after == NULL ? "-" : row->after,
                          change,
                          row->note == NULL ? check_verdict_name(row->verdict)
                                            : row->note};

    for (size_t i = 0; i < sizeof cell / sizeof *cell; i++) {
        (void)fputs("| ", out);
        mark_text(out, cell[i]);
        (void)fputc(' ', out);
    }
    (void)fputs("|\n", out);
    free(change);
}

static void mark_rest(size_t rows, FILE *out)
{
    (void)fprintf(out, "| | and %zu more, which `--json` has | | | | |\n", rows);
}

static void mark_case(const struct check_case *c, FILE *out)
{
    struct check_counts n = check_count(c);

    (void)fputs("### ", out);
    mark_text(out, c->name);
    (void)fprintf(out, "\n\n%s ", n.failed + n.broken == 0 ? "Passes:" : "**Fails:**");
    text_counts(&n, out);
    for (size_t i = 0; i < c->findings; i++) {
        (void)fputs(i == 0 ? "\n* " : "* ", out);
        mark_text(out, c->finding[i]);
        (void)fputc('\n', out);
    }
    if (any_loud(c)) {
        (void)fprintf(out, "\n| | | %s | %s | change | |\n|---|---|---|---|---|---|\n",
                      c->before, c->after);
        show(&(struct view){c, out, mark_group, mark_row, mark_rest});
    }
    (void)fputc('\n', out);
}

void check_print_markdown(const struct check *c, FILE *out)
{
    (void)fputs("## moesim check\n\n", out);
    for (size_t i = 0; i < c->cases; i++)
        mark_case(&c->item[i], out);
}

/* ---- JSON ---- */

static void json_pair(FILE *out, const char *key, const char *value)
{
    (void)fprintf(out, ", \"%s\": ", key);
    json_string(out, value);
}

static void json_figure(FILE *out, const char *key, double value)
{
    (void)fprintf(out, ", \"%s\": ", key);
    json_number(out, value);
}

/* A number where it is one, else the text. */
static void json_value(FILE *out, const char *key, double number, const char *text)
{
    if (isfinite(number) || text == NULL)
        json_figure(out, key, number);
    else
        json_pair(out, key, text);
}

static void json_row(const struct check_case *c, const struct check_row *row, FILE *out)
{
    (void)fputs("{\"group\": ", out);
    json_string(out, row->group);
    json_pair(out, "name", row->name);
    (void)fprintf(out, ", \"values\": %" PRIu64, row->values);
    json_pair(out, "unit", row->unit);
    json_value(out, c->before, row->numbers[0], row->before);
    json_value(out, c->after, row->numbers[1], row->after);
    json_figure(out, "change", row->change);
    json_figure(out, "tolerance", row->tolerance);
    json_pair(out, "verdict", check_verdict_name(row->verdict));
    (void)fprintf(out, ", \"fails\": %s", check_fails(row->verdict) ? "true" : "false");
    if (row->note != NULL)
        json_pair(out, "note", row->note);
    (void)fputc('}', out);
}

static void json_counts(const struct check_counts *n, FILE *out)
{
    (void)fprintf(out,
                  "\"values\": %" PRIu64 ", \"rows\": %" PRIu64 ", \"ok\": %" PRIu64
                  ", \"shown\": %" PRIu64 ", \"explained\": %" PRIu64
                  ", \"failed\": %" PRIu64 ", \"broken\": %" PRIu64,
                  n->values, n->rows, n->ok, n->shown, n->explained, n->failed,
                  n->broken);
}

static void json_case(const struct check_case *c, FILE *out)
{
    struct check_counts n = check_count(c);

    (void)fputs("{\"kind\": ", out);
    json_string(out, c->kind);
    json_pair(out, "name", c->name);
    json_pair(out, "title", c->title);
    (void)fputs(", \"counts\": {", out);
    json_counts(&n, out);
    (void)fputs("},\n  \"facts\": [", out);
    for (size_t i = 0; i < c->facts; i++) {
        (void)fputs(i == 0 ? "\n   {\"name\": " : ",\n   {\"name\": ", out);
        json_string(out, c->fact[i].name);
        json_pair(out, "value", c->fact[i].value);
        (void)fputc('}', out);
    }
    (void)fputs("],\n  \"findings\": [", out);
    for (size_t i = 0; i < c->findings; i++) {
        (void)fputs(i == 0 ? "\n   " : ",\n   ", out);
        json_string(out, c->finding[i]);
    }
    (void)fputs("],\n  \"table\": [", out);
    for (size_t i = 0; i < c->rows; i++) {
        (void)fputs(i == 0 ? "\n   " : ",\n   ", out);
        json_row(c, &c->row[i], out);
    }
    (void)fputs("]}", out);
}

void check_print_json(const struct check *c, FILE *out)
{
    struct check_counts n = check_count_all(c);

    (void)fputs("{", out);
    json_counts(&n, out);
    (void)fputs(", \"cases\": [\n ", out);
    for (size_t i = 0; i < c->cases; i++) {
        (void)fputs(i == 0 ? "" : ",\n ", out);
        json_case(&c->item[i], out);
    }
    (void)fputs("]}\n", out);
}

/* ---- JUnit ---- */

static void junit_class(const struct check_case *c, FILE *out)
{
    text_markup(out, c->kind);
    (void)fputc('.', out);
    text_markup(out, c->name);
}

static void junit_row(const struct check_case *c, const struct check_row *row, FILE *out)
{
    static const char *const element[] = {
        [CHECK_OK] = "system-out",     [CHECK_SHOWN] = "system-out",
        [CHECK_EXPLAINED] = "skipped", [CHECK_FAILED] = "failure",
        [CHECK_BROKEN] = "error",
    };
    bool well = row->verdict == CHECK_OK || row->verdict == CHECK_SHOWN;
    char *text = check_row_text(c, row);

    (void)fputs("    <testcase classname=\"", out);
    junit_class(c, out);
    (void)fputs("\" name=\"", out);
    text_markup(out, row->group);
    (void)fputs(": ", out);
    text_markup(out, row->name);
    (void)fprintf(out, "\"><%s%s", element[row->verdict], well ? ">" : " message=\"");
    text_markup(out, text);
    if (well)
        (void)fprintf(out, "</%s></testcase>\n", element[row->verdict]);
    else
        (void)fputs("\"/></testcase>\n", out);
    free(text);
}

/* What the sentences say stands where runners show a suite's output. */
static void junit_case(const struct check_case *c, FILE *out)
{
    struct check_counts n = check_count(c);

    (void)fputs("  <testsuite name=\"", out);
    junit_class(c, out);
    (void)fprintf(out,
                  "\" tests=\"%" PRIu64 "\" failures=\"%" PRIu64 "\" errors=\"%" PRIu64
                  "\" skipped=\"%" PRIu64 "\">\n",
                  n.rows, n.failed, n.broken, n.explained);
    for (size_t i = 0; i < c->rows; i++)
        junit_row(c, &c->row[i], out);
    if (c->findings > 0) {
        (void)fputs("    <system-err>", out);
        for (size_t i = 0; i < c->findings; i++) {
            text_markup(out, c->finding[i]);
            (void)fputc('\n', out);
        }
        (void)fputs("</system-err>\n", out);
    }
    (void)fputs("  </testsuite>\n", out);
}

void check_print_junit(const struct check *c, FILE *out)
{
    (void)fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n", out);
    for (size_t i = 0; i < c->cases; i++)
        junit_case(&c->item[i], out);
    (void)fputs("</testsuites>\n", out);
}
