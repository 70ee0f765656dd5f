#include "err.h"

#include "plain.h"

#include <stdarg.h>
#include <stdio.h>

int err_set(struct err *e, const char *format, ...)
{
    va_list args;

    if (e->text[0] != '\0')
        return -1;
    va_start(args, format);
    (void)vsnprintf(e->text, sizeof e->text, format, args);
    va_end(args);
    plain_make(e->text); /* names and cells of other people's files are in it */
    return -1;
}
