/* Printed tables line by line: what the tests of several nouns look for in them. */
#ifndef MOESIM_TESTS_PRINTED_LINES_H
#define MOESIM_TESTS_PRINTED_LINES_H

#include "sim/report/explain.h"

/* The text with one space for each run of them, none before a line, and a line feed in
 * front. Takes the text. Owned. */
char *lines_squeeze(char *text);
/* What moesim explain says of a result. Owned. */
char *lines_explanation(const struct result *r);
/* The same, squeezed. Owned. */
char *lines_explained(const struct result *r);
/* Fails unless one whole line is this. */
void lines_have(const char *text, const char *line);
/* Fails unless the words are in it, wherever a paragraph was broken. */
void lines_say(const char *text, const char *words);
/* Fails unless the first policy has this verdict, these words and this advice. */
void lines_explain(const struct result *r, enum explain_verdict wanted,
                   const char *verdict, const char *help);

#endif
