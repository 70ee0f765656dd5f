#include "err.h"

#include "plain.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void set(struct err *e, const char *key, const char *format, va_list args)
{
    if (e->text[0] != '\0')
        return;
    (void)vsnprintf(e->text, sizeof e->text, format, args);
    plain_make(e->text); /* names and cells of other people's files are in it */
    assert(strlen(key) < ERR_KEY_BYTES);
    (void)strcpy(e->key, key);
}

int err_set(struct err *e, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    set(e, "", format, args);
    va_end(args);
    return -1;
}

int err_set_key(struct err *e, const char *key, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    set(e, key, format, args);
    va_end(args);
    return -1;
}

int err_about(struct err *e, const char *key)
{
    assert(strlen(key) < ERR_KEY_BYTES);
    if (e->text[0] != '\0' && err_key(e) == NULL)
        (void)strcpy(e->key, key);
    return -1;
}

const char *err_key(const struct err *e)
{
    return e->text[0] == '\0' || e->key[0] == '\0' ? NULL : e->key;
}
