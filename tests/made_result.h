/* Results made up for the tests of what is done with results: every number is drawn or
 * given, none comes from a run. */
#ifndef MOESIM_TESTS_MADE_RESULT_H
#define MOESIM_TESTS_MADE_RESULT_H

#include "sim/result/result.h"

struct made_shape {
    uint32_t policies, layers, requests;
    uint64_t passes; /* pass records, in a spool; 0: none */
    uint64_t seed;   /* of the numbers */
    uint32_t gpus;   /* over several GPUs, in nodes of 4 or fewer; 0: on one */
};

/* A result whose every field is filled; books balance. Release with result_release. */
struct result made_result(const struct made_shape *shape);

/* What `print` writes of it. Owned. */
char *made_printed(const struct result *r, void (*print)(const struct result *, FILE *));

/* Makes a folder for temporary files; owned. made_folder_remove empties and frees it. */
char *made_folder(void);
void made_folder_remove(char *folder);

/* The first line of a text that is wider than TEXT_COLUMNS or no UTF-8; NULL: none. */
const char *made_too_wide(const char *text);

/* A whole file with a NUL behind it; fails the program if it cannot be read. Owned. */
char *made_read(const char *path, size_t *size);

#endif
