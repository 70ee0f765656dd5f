#include "plain.h"

#include "mem.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

size_t plain_utf8(const char *s)
{
    const unsigned char *u = (const unsigned char *)s;
    size_t n = u[0] < 0x80                   ? 1
               : u[0] >= 0xc2 && u[0] < 0xe0 ? 2
               : u[0] >= 0xe0 && u[0] < 0xf0 ? 3
               : u[0] >= 0xf0 && u[0] < 0xf5 ? 4
                                             : 0;

    if (u[0] == 0)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((u[i] & 0xc0) != 0x80)
            return 0;
    /* Over-long forms, surrogates, beyond U+10FFFF. */
    if ((u[0] == 0xe0 && u[1] < 0xa0) || (u[0] == 0xed && u[1] >= 0xa0) ||
        (u[0] == 0xf0 && u[1] < 0x90) || (u[0] == 0xf4 && u[1] >= 0x90))
        return 0;
    return n;
}

uint32_t plain_code(const char *s)
{
    size_t n = plain_utf8(s);
    static const unsigned char first_bits[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t code = (unsigned char)s[0] & first_bits[n]; /* 0 where it is broken */

    for (size_t i = 1; i < n; i++)
        code = code << 6 | ((unsigned char)s[i] & 0x3fu);
    return code;
}

bool plain_is_seen(const char *s, size_t *length)
{
    static const struct {
        uint32_t first, last;
    } unseen[] = {
        {0, 0x1f},        {0x7f, 0x9f},       {0x61c, 0x61c},   {0x200b, 0x200b},
        {0x200e, 0x200f}, {0x2028, 0x202e},   {0x2060, 0x206f}, {0xfeff, 0xfeff},
        {0xfff9, 0xfffb}, {0xe0000, 0xe007f},
    };
    size_t n = plain_utf8(s);
    uint32_t code = plain_code(s);

    if (length != NULL)
        *length = n == 0 ? 1 : n;
    for (size_t i = 0; i < sizeof unseen / sizeof *unseen; i++)
        if (code >= unseen[i].first && code <= unseen[i].last)
            return false;
    return true;
}

/* Copies from `s` to `to`, which may be the same or before it; `kept` stays as it is. */
static void make(char *to, const char *s, char kept)
{
    while (*s != '\0') {
        size_t n;
        bool seen = plain_is_seen(s, &n);

        if (!seen)
            *to++ = *s == kept ? kept : '?';
        for (size_t i = 0; seen && i < n; i++)
            *to++ = s[i];
        s += n;
    }
    *to = '\0';
}

void plain_make(char *text)
{
    make(text, text, '\0');
}

void plain_print(FILE *out, const char *text)
{
    char *copy = mem_strdup(text == NULL ? "" : text);

    plain_make(copy);
    (void)fputs(copy, out);
    free(copy);
}

void plain_printf(FILE *out, const char *format, ...)
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
    make(text, text, '\n');
    (void)fputs(text, out);
    free(text);
}
