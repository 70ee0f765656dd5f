#include "text.h"

#include "mem.h"
#include "plain.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Three significant digits, without an exponent from 0.001 to 999999. */
static void print_scaled(char *text, size_t size, double x, const char *unit)
{
    double a = fabs(x);
    int digits = a >= 99.95 ? 0 : a >= 9.995 ? 1 : 2;

    if (isnan(x))
        (void)snprintf(text, size, "-");
    else if (isinf(x))
        (void)snprintf(text, size, "%sinf%s", x < 0 ? "-" : "", unit);
    else if (a > 999999 || (a != 0 && a < 0.005))
        (void)snprintf(text, size, "%.1e%s", x, unit);
    else
        (void)snprintf(text, size, "%.*f%s", digits, x, unit);
}

struct text_figure text_time(double s)
{
    double a = fabs(s);
    struct text_figure f = {""};

    if (s == 0)
        (void)strcpy(f.text, "0 s");
    else if (a >= 0.9995 || isnan(s))
        print_scaled(f.text, sizeof f.text, s, " s");
    else if (a >= 0.9995e-3)
        print_scaled(f.text, sizeof f.text, s * 1e3, " ms");
    else if (a >= 0.9995e-6)
        print_scaled(f.text, sizeof f.text, s * 1e6, " us");
    else
        print_scaled(f.text, sizeof f.text, s * 1e9, " ns");
    if (isnan(s))
        (void)strcpy(f.text, "-");
    return f;
}

struct text_figure text_bytes(double b)
{
    double a = fabs(b);
    struct text_figure f = {""};

    if (isnan(b))
        (void)strcpy(f.text, "-");
    else if (a >= 0.9995e12)
        print_scaled(f.text, sizeof f.text, b * 1e-12, " TB");
    else if (a >= 0.9995e9)
        print_scaled(f.text, sizeof f.text, b * 1e-9, " GB");
    else if (a >= 0.9995e6)
        print_scaled(f.text, sizeof f.text, b * 1e-6, " MB");
    else if (a >= 0.9995e3)
        print_scaled(f.text, sizeof f.text, b * 1e-3, " kB");
    else
        (void)snprintf(f.text, sizeof f.text, "%.0f B", b);
    return f;
}

struct text_sizes text_sizes(uint64_t a, uint64_t b)
{
    enum { MOST_DIGITS = 12 }; /* a byte, in terabytes */
    static const struct {
        double bytes;
        const char *name;
    } units[] = {{1e12, "TB"}, {1e9, "GB"}, {1e6, "MB"}, {1e3, "kB"}};
    const double most = (double)(a > b ? a : b);
    struct text_sizes s;
    size_t unit = 0;

    if (most < 1e3) {
        (void)snprintf(s.a, sizeof s.a, "%" PRIu64 " B", a);
        (void)snprintf(s.b, sizeof s.b, "%" PRIu64 " B", b);
        return s;
    }
    while (most < units[unit].bytes)
        unit++;
    for (int digits = 2; digits <= MOST_DIGITS; digits++) {
        (void)snprintf(s.a, sizeof s.a, "%.*f %s", digits, (double)a / units[unit].bytes,
                       units[unit].name);
        (void)snprintf(s.b, sizeof s.b, "%.*f %s", digits, (double)b / units[unit].bytes,
                       units[unit].name);
        if (a == b || strcmp(s.a, s.b) != 0)
            break;
    }
    return s;
}

struct text_figure text_share(double share)
{
    struct text_figure f = {""};

    if (isnan(share))
        (void)strcpy(f.text, "-");
    else if (fabs(share) < 9999.5)
        (void)snprintf(f.text, sizeof f.text, "%.1f %%", share * 100);
    else
        (void)snprintf(f.text, sizeof f.text, "%.1e %%", share * 100);
    return f;
}

struct text_figure text_number(double x)
{
    struct text_figure f = {""};

    print_scaled(f.text, sizeof f.text, x, "");
    return f;
}

struct text_figure text_ratio(double x)
{
    struct text_figure f = {""};

    if (isnan(x))
        (void)strcpy(f.text, "-");
    else
        (void)snprintf(f.text, sizeof f.text, x >= 0.1 && x < 10 ? "%.3f" : "%.3g", x);
    return f;
}

void text_right(FILE *out, size_t width, struct text_figure f)
{
    size_t length = strlen(f.text);

    if (length > width) {
        memset(f.text, '#', width);
        f.text[width] = '\0';
    }
    (void)fprintf(out, " %*s", (int)width, f.text);
}

struct text_count text_count(double count)
{
    struct text_count t = {""};
    char plain[32];
    size_t n, at = 0;

    if (!(count >= 0 && count < 1e18)) {
        (void)snprintf(t.text, sizeof t.text, "%.3g", count);
        return t;
    }
    n = (size_t)snprintf(plain, sizeof plain, "%.0f", count);
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && (n - i) % 3 == 0)
            t.text[at++] = ' ';
        t.text[at++] = plain[i];
    }
    t.text[at] = '\0';
    return t;
}

/* ---- tables ---- */

size_t text_columns(FILE *out)
{
    enum { LEAST = 40 };
    const char *given = getenv("COLUMNS");
    struct winsize size = {.ws_col = 0};
    const int fd = fileno(out);
    unsigned long columns;

    if (fd < 0 || !isatty(fd))
        return TEXT_COLUMNS;
    columns = given == NULL ? 0 : strtoul(given, NULL, 10);
    if (columns == 0 && ioctl(fd, TIOCGWINSZ, &size) == 0)
        columns = size.ws_col;
    if (columns == 0 || columns > TEXT_COLUMNS)
        return TEXT_COLUMNS;
    return columns < LEAST ? LEAST : columns;
}

/* Prints columns [first, last) of a table. */
static void print_part(FILE *out, const struct text_table *t, size_t label, size_t first,
                       size_t last)
{
    const char *head = t->label_head == NULL ? "policy" : t->label_head;

    for (size_t line = 0; line < 2; line++) {
        text_cell(out, line == 0 ? "" : head, label);
        for (size_t c = first; c < last; c++)
            (void)fprintf(out, " %*s", (int)t->column[c].width, t->column[c].head[line]);
        (void)fputc('\n', out);
    }
    for (size_t row = 0; row < t->rows; row++) {
        text_cell(out, t->label[row], label);
        if (t->sentence[row] != NULL)
            (void)fprintf(out, " %s", t->sentence[row]);
        for (size_t c = first; c < last && t->sentence[row] == NULL; c++)
            text_right(out, t->column[c].width, t->figure[row * t->columns + c]);
        (void)fputc('\n', out);
    }
}

void text_print_table(FILE *out, const struct text_table *t)
{
    size_t room = text_columns(out), label = t->label_columns, last;

    if (room < TEXT_COLUMNS && label > room / 3)
        label = room / 3;
    for (size_t first = 0; first < t->columns; first = last) {
        size_t width = label + 1 + t->column[first].width;

        for (last = first + 1; last < t->columns; last++) {
            width += 1 + t->column[last].width;
            if (width > room)
                break;
        }
        if (first > 0)
            (void)fputc('\n', out);
        print_part(out, t, label, first, last);
    }
}

/* ---- names ---- */

/* Writes one character; returns how many bytes it took. */
static size_t put_character(FILE *out, const char *s)
{
    size_t n;

    if (plain_is_seen(s, &n))
        (void)fwrite(s, 1, n, out);
    else
        (void)fputc('?', out);
    return n;
}

static size_t count_characters(const char *s)
{
    size_t count = 0;

    for (; *s != '\0'; count++) {
        size_t n;

        (void)plain_is_seen(s, &n);
        s += n;
    }
    return count;
}

size_t text_width(const char *text, size_t width)
{
    size_t count = text == NULL ? 0 : count_characters(text);

    return count < width ? count : width;
}

void text_name(FILE *out, const char *text, size_t width)
{
    size_t count, shown;

    if (text == NULL)
        return;
    count = count_characters(text);
    shown = count <= width ? count : width < 2 ? 0 : width - 2;
    for (size_t i = 0; i < shown; i++)
        text += put_character(out, text);
    if (count > width)
        (void)fwrite("..", 1, width < 2 ? width : 2, out);
}

void text_cell(FILE *out, const char *text, size_t width)
{
    text_name(out, text, width);
    for (size_t i = text_width(text, width); i < width; i++)
        (void)fputc(' ', out);
}

/* ---- paragraphs ---- */

/* Bytes up to the next space, at most as many as fill `columns`; and how many columns. */
static size_t next_word(const char *s, size_t columns, size_t *width)
{
    size_t at = 0;

    *width = 0;
    while (s[at] != '\0' && s[at] != ' ' && *width < columns) {
        size_t n;

        (void)plain_is_seen(s + at, &n);
        at += n;
        (*width)++;
    }
    return at;
}

static void wrap(FILE *out, const char *first, const char *rest, const char *s)
{
    const size_t columns = text_columns(out);
    size_t column = (size_t)fprintf(out, "%s", first);
    bool begun = false;

    while (*s != '\0') {
        size_t width, bytes;

        while (*s == ' ')
            s++;
        bytes = next_word(s, columns - strlen(rest), &width);
        if (bytes == 0)
            break;
        if (begun && column + 1 + width > columns) {
            column = (size_t)fprintf(out, "\n%s", rest) - 1;
            begun = false;
        }
        if (begun)
            column += (size_t)fprintf(out, " ");
        for (const char *end = s + bytes; s < end;)
            s += put_character(out, s);
        column += width;
        begun = true;
    }
    (void)fputc('\n', out);
}

void text_paragraph(FILE *out, const char *first, const char *rest, const char *format,
                    ...)
{
    va_list arguments;
    char *text;
    int length;

    va_start(arguments, format);
    length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0)
        return;
    text = mem_alloc((size_t)length + 1, 1);
    va_start(arguments, format);
    (void)vsnprintf(text, (size_t)length + 1, format, arguments);
    va_end(arguments);
    wrap(out, first, rest, text);
    free(text);
}

/* ---- markup ---- */

void text_markup(FILE *out, const char *s)
{
    while (s != NULL && *s != '\0') {
        size_t n;
        bool seen = plain_is_seen(s, &n) || *s == '\n' || *s == '\t';

        if (!seen)
            (void)fputs("\xef\xbf\xbd", out); /* U+FFFD */
        else if (*s == '&')
            (void)fputs("&amp;", out);
        else if (*s == '<')
            (void)fputs("&lt;", out);
        else if (*s == '>')
            (void)fputs("&gt;", out);
        else if (*s == '"')
            (void)fputs("&quot;", out);
        else
            (void)fwrite(s, 1, n, out);
        s += n;
    }
}
