#include "json.h"

#include "plain.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* As UTF-16, which JSON's escapes are. */
static void put_escaped(FILE *out, uint32_t code)
{
    if (code >= 0x10000)
        (void)fprintf(out, "\\u%04x\\u%04x", 0xd800 + ((code - 0x10000) >> 10),
                      0xdc00 + (code & 0x3ff));
    else
        (void)fprintf(out, "\\u%04x", code);
}

void json_string(FILE *out, const char *text)
{
    (void)fputc('"', out);
    while (text != NULL && *text != '\0') {
        size_t n;
        bool seen = plain_is_seen(text, &n);

        if (plain_utf8(text) == 0) {
            (void)fputs("\\ufffd", out);
        } else if (*text == '"' || *text == '\\') {
            (void)fprintf(out, "\\%c", *text);
        } else if (*text == '\n') {
            (void)fputs("\\n", out);
        } else if (!seen) {
            put_escaped(out, plain_code(text));
        } else {
            (void)fwrite(text, 1, n, out);
        }
        text += n;
    }
    (void)fputc('"', out);
}

static void print_number(FILE *out, double x)
{
    char text[32];

    for (int digits = 15; digits <= 17; digits++) {
        (void)snprintf(text, sizeof text, "%.*g", digits, x);
        if (strtod(text, NULL) == x)
            break;
    }
    (void)fputs(text, out);
}

void json_number(FILE *out, double x)
{
    if (isfinite(x))
        print_number(out, x);
    else
        (void)fputs("null", out);
}

/* Whether a spreadsheet would take the text for a formula: no mere number, no lone sign.
 */
static bool is_formula(const char *text)
{
    char *end;

    if (*text == '\0' || strchr("=+-@\t\r\n", *text) == NULL)
        return false;
    if (*text != '+' && *text != '-')
        return true;
    if (text[1] == '\0')
        return false;
    (void)strtod(text, &end);
    return *end != '\0' || strspn(text, "+-.0123456789eE") != strlen(text);
}

void csv_string(FILE *out, const char *text)
{
    bool quoted;

    if (text == NULL)
        return;
    quoted = strpbrk(text, ",\"\r\n") != NULL;
    if (quoted)
        (void)fputc('"', out);
    if (is_formula(text))
        (void)fputc('\'', out);
    while (*text != '\0') {
        size_t n;
        bool seen = plain_is_seen(text, &n) || *text == '\n' || *text == '\t';

        if (*text == '"')
            (void)fputc('"', out);
        if (seen)
            (void)fwrite(text, 1, n, out);
        else
            (void)fputc('?', out);
        text += n;
    }
    if (quoted)
        (void)fputc('"', out);
}

void csv_number(FILE *out, double x)
{
    if (isfinite(x))
        print_number(out, x);
}
