/* "Did you mean": the name nearest to a mistyped one, by edit distance, if it is near
 * enough for a hint. Start with nearest_to(), feed every name there is to nearest_try().
 */
#ifndef MOESIM_BASE_NEAREST_H
#define MOESIM_BASE_NEAREST_H

#include <stddef.h>

struct nearest {
    const char *text; /* borrowed */
    const char *best; /* borrowed from who fed it; NULL: none is near */
    size_t distance;
};

struct nearest_words {
    char text[96];
};

struct nearest nearest_to(const char *text);
/* Of names that are equally near the first stays. */
void nearest_try(struct nearest *n, const char *candidate);
/* "; did you mean 'h200'?", or "" where no name is near. */
struct nearest_words nearest_hint(const struct nearest *n);

#endif
