/* A sweep made up for the tests of its page. */
#ifndef MOESIM_TESTS_SWEEP_RIG_H
#define MOESIM_TESTS_SWEEP_RIG_H

#include "report_rig.h"
#include "sim/base/err.h"
#include "sweep_table.h"

#include <stdio.h>

/* A folder of a sweep inside of the rig's, whose every point has the same result. */
struct sweep_rig {
    struct report_rig *g;
    char *folder, *point; /* of the result, below it */
    FILE *table;
    unsigned lines;
};

char *sweep_rig_file_of(const struct sweep_rig *s, const char *name);
void sweep_rig_begin(struct sweep_rig *s, void **state, const char *keys);
struct sweep_line sweep_rig_line_of(const char *keys, double tokens);
void sweep_rig_enter(struct sweep_rig *s, struct sweep_line line);
void sweep_rig_enter_tokens(struct sweep_rig *s, const char *keys, double tokens);
/* Closes the table. */
void sweep_rig_end(struct sweep_rig *s);
int sweep_rig_write_page(const struct sweep_rig *s, struct err *e);
/* Removes what sweep_rig_begin() and sweep_rig_end() made. */
void sweep_rig_clear(struct sweep_rig *s);
/* The page, without what its tables are sorted by. Owned. */
char *sweep_rig_page_of(struct sweep_rig *s, int wanted);
char *sweep_rig_finish(struct sweep_rig *s);

#endif
