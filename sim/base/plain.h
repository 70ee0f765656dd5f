/* Text of others (names, labels, sources, cells of tables) on its way to people. A
 * terminal obeys control characters, and some invisible ones reverse or hide what stands
 * around them: such are not "seen" here, and neither is broken UTF-8. Sentences of err.h
 * are made plain as they are set; printers use plain_print(), or text.h, which
 * stands on this. */
#ifndef MOESIM_BASE_PLAIN_H
#define MOESIM_BASE_PLAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* The length in bytes of the UTF-8 character at `s`; 0 where it is broken or the end. */
size_t plain_utf8(const char *s);
/* Its number in Unicode; 0 where it is broken. */
uint32_t plain_code(const char *s);
/* Whether the character at `s` is seen: UTF-8; no control (C0, DEL, C1); no mark of
 * direction, separator of lines, tag or other invisible character that changes what is
 * around it. `length` (or NULL) is set to the bytes to go on by, at least 1. */
bool plain_is_seen(const char *s, size_t *length);
/* Puts "?" for each character that is not seen, in place. */
void plain_make(char *text);
/* Writes the text so (NULL: nothing). */
void plain_print(FILE *out, const char *text);
/* Formats, and writes the whole so; only the format's own line ends stay. Texts with line
 * ends of their own must go through plain_print. */
void plain_printf(FILE *out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
