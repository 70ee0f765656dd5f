#include "err.h"

#include <stdarg.h>
#include <stdio.h>

/* Names, cells and labels come from files: none of them may move the cursor of a terminal
 * or start a line. Controls are one byte or, in UTF-8, 0xc2 and 0x80 to 0x9f. */
static void mask_controls(char *text)
{
    for (unsigned char *c = (unsigned char *)text; *c != '\0'; c++) {
        if (*c < 0x20 || *c == 0x7f)
            *c = '?';
        else if (*c == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0)
            c[0] = c[1] = '?';
    }
}

int err_set(struct err *e, const char *format, ...)
{
    va_list args;

    if (e->text[0] != '\0')
        return -1;
    va_start(args, format);
    (void)vsnprintf(e->text, sizeof e->text, format, args);
    va_end(args);
    mask_controls(e->text);
    return -1;
}
