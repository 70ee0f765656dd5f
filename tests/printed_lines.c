#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "printed_lines.h"

#include "sim/base/mem.h"
#include "sim/report/explain.h"

#include <stdlib.h>
#include <string.h>

char *lines_squeeze(char *text)
{
    char *whole = mem_format("\n%s", text), *to = whole;

    free(text);
    for (const char *s = whole; *s != '\0'; s++)
        if (*s != ' ' || (to > whole && to[-1] != ' ' && to[-1] != '\n'))
            *to++ = *s;
    *to = '\0';
    return whole;
}

char *lines_explanation(const struct result *r)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    struct err e = {.text = ""};

    assert_non_null(out);
    assert_int_equal(result_explain(r, out, &e), 0);
    assert_int_equal(fclose(out), 0);
    return text;
}

char *lines_explained(const struct result *r)
{
    return lines_squeeze(lines_explanation(r));
}

void lines_have(const char *text, const char *line)
{
    char *whole = mem_format("\n%s\n", line);

    if (strstr(text, whole) == NULL)
        print_error("no line '%s' in%s", line, text);
    assert_non_null(strstr(text, whole));
    free(whole);
}

void lines_say(const char *text, const char *words)
{
    char *flat = mem_strdup(text);

    for (char *s = flat; *s != '\0'; s++)
        if (*s == '\n')
            *s = ' ';
    if (strstr(flat, words) == NULL)
        print_error("no '%s' in%s", words, text);
    assert_non_null(strstr(flat, words));
    free(flat);
}

void lines_explain(const struct result *r, enum explain_verdict wanted,
                   const char *verdict, const char *help)
{
    struct explain_finding f = explain_find(&r->policy[0]);
    char *said = explain_verdict_text(&f, r, 0), *helped = explain_help_text(&f, r, 0);

    assert_int_equal(f.verdict, wanted);
    assert_string_equal(said, verdict);
    assert_string_equal(helped, help);
    free(said);
    free(helped);
}
