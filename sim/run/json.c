#include "json.h"

#include "text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void json_string(FILE *out, const char *text)
{
    (void)fputc('"', out);
    while (text != NULL && *text != '\0') {
        size_t n = text_utf8(text);

        if (n == 0) {
            (void)fputs("\\ufffd", out);
            n = 1;
        } else if (*text == '"' || *text == '\\') {
            (void)fprintf(out, "\\%c", *text);
        } else if (*text == '\n') {
            (void)fputs("\\n", out);
        } else if ((unsigned char)*text < 0x20) {
            (void)fprintf(out, "\\u%04x", (unsigned)*text);
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

void csv_string(FILE *out, const char *text)
{
    if (text == NULL)
        return;
    if (strpbrk(text, ",\"\r\n") == NULL) {
        (void)fputs(text, out);
        return;
    }
    (void)fputc('"', out);
    for (; *text != '\0'; text++) {
        if (*text == '"')
            (void)fputc('"', out);
        (void)fputc(*text, out);
    }
    (void)fputc('"', out);
}

void csv_number(FILE *out, double x)
{
    if (isfinite(x))
        print_number(out, x);
}
