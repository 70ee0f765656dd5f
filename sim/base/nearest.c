#include "nearest.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define NEAR_LENGTH 48

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool same(char a, char b)
{
    return lower(a) == lower(b);
}

/* Edit distance with swaps of neighbours (optimal string alignment), capitals or not;
 * names longer than NEAR_LENGTH are far from everything. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t rows[3][NEAR_LENGTH + 1];
    size_t m = strlen(a), n = strlen(b);

    if (m > NEAR_LENGTH || n > NEAR_LENGTH)
        return SIZE_MAX;
    for (size_t j = 0; j <= n; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= m; i++) {
        size_t *row = rows[i % 3], *above = rows[(i + 2) % 3];

        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t cost = above[j - 1] + !same(a[i - 1], b[j - 1]);

            if (above[j] + 1 < cost)
                cost = above[j] + 1;
            if (row[j - 1] + 1 < cost)
                cost = row[j - 1] + 1;
            if (i > 1 && j > 1 && same(a[i - 1], b[j - 2]) && same(a[i - 2], b[j - 1]) &&
                rows[(i + 1) % 3][j - 2] + 1 < cost)
                cost = rows[(i + 1) % 3][j - 2] + 1;
            row[j] = cost;
        }
    }
    return rows[m % 3][n];
}

/* True where `text` is how `name` begins, as in h100 for h100-80g. */
static bool begins(const char *name, const char *text)
{
    enum { LEAST = 3 };
    size_t n = 0;

    while (text[n] != '\0' && same(name[n], text[n]))
        n++;
    return n >= LEAST && text[n] == '\0';
}

struct nearest nearest_to(const char *text)
{
    return (struct nearest){.text = text, .distance = SIZE_MAX};
}

/* Letters that are wrong count three each; a name of which just the end is missing is
 * nearer than any misspelling, nearest if that is one letter. */
void nearest_try(struct nearest *n, const char *candidate)
{
    size_t length = strlen(candidate), edits = edit_distance(n->text, candidate);
    /* One letter may be wrong, and one more for every four. */
    bool is_near = edits <= 1 + length / 4 && edits < length;
    size_t distance = is_near ? 3 * edits : SIZE_MAX;

    if (edits > 0 && length <= NEAR_LENGTH && begins(candidate, n->text))
        distance = edits == 1 ? 1 : 2;
    if (distance < n->distance) {
        n->best = candidate;
        n->distance = distance;
    }
}

struct nearest_words nearest_hint(const struct nearest *n)
{
    struct nearest_words words = {""};

    if (n->best != NULL)
        (void)snprintf(words.text, sizeof words.text, "; did you mean '%s'?", n->best);
    return words;
}
