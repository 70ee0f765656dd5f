/* A folder for report pages, and a gnuplot that is missing, or another that stands in for
 * it. */
#ifndef MOESIM_TESTS_REPORT_RIG_H
#define MOESIM_TESTS_REPORT_RIG_H

#include "sim/result/result.h"

struct report_rig {
    char *folder;
    char *path; /* PATH as it was */
};

/* For cmocka: makes *state one, and gnuplot not to be found. */
int report_rig_set_up(void **state);
int report_rig_tear_down(void **state);
/* gnuplot as it is. */
void report_rig_real(const struct report_rig *g);
/* A program called gnuplot that does this, in sh: it is called with -d -c figure.gp KIND
 * DATA OUT TERMINAL WIDTH TITLE X Y SERIES. */
void report_rig_stand_in(const struct report_rig *g, const char *does);
/* Writes the page of results, which must end with this status. Owned. */
char *report_rig_page(const struct report_rig *g, const struct result *const *results,
                      size_t count, int wanted);
/* Of one result, without gnuplot. Owned. */
char *report_rig_page_of(const struct report_rig *g, const struct result *r);
/* A file of the folder. Owned. */
char *report_rig_read(const struct report_rig *g, const char *name);
/* Asserts that a file of the folder has the cells of this CSV: numbers to nine digits. */
void report_rig_data(const struct report_rig *g, const char *name, const char *wanted);
/* A page without the values that its tables are sorted by. Owned. */
char *report_rig_shown(const char *page);
bool report_rig_has(const struct report_rig *g, const char *name);

/* Whether a text has a part, or lacks it, to the letter; the test fails if not. */
void text_has(const char *text, const char *part);
void text_lacks(const char *text, const char *part);
/* How often. */
size_t text_counts(const char *text, const char *part);
/* Asserts that a stands before b, and that both are there. */
void text_in_order(const char *text, const char *a, const char *b);

#endif
