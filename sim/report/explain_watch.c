/* moesim explain: which misses could have been foretold, and what that would have hidden.
 */
#include "explain_state.h"

#include "sim/base/mem.h"

#include <stdlib.h>

/* Of all layers at a distance. In double, as the values may come from any file. */
struct foretold {
    double misses, named, guesses, right, absent;
    double named_time, fits, hidden, all_hidden; /* picoseconds */
};

static struct foretold sum_of(const struct run_watched *y, uint32_t layers)
{
    struct foretold s = {0};

    for (uint32_t l = 0; l < layers; l++, y++) {
        s.misses += (double)y->misses;
        s.named += (double)y->named;
        s.guesses += (double)y->guesses;
        s.right += (double)y->right;
        s.absent += (double)y->absent;
        s.named_time += (double)y->named_time;
        s.fits += (double)y->fits_time;
        s.hidden += (double)y->hidden_time;
        s.all_hidden += (double)y->all_hidden_time;
    }
    return s;
}

static char *count_named(const struct run_watched *y, const struct foretold *s)
{
    const char *plural = y->distance == 1 ? "" : "s";

    if (!(s->guesses > 0))
        return mem_format("%u step%s ahead: nothing was guessed of %s misses.",
                          y->distance, plural, text_count(s->misses).text);
    return mem_format(
        "%u step%s ahead: %s of %s misses named (%s), by %s guesses, of which %s were "
        "right and %s would have been loads.",
        y->distance, plural, text_count(s->named).text, text_count(s->misses).text,
        text_share(explain_share(s->named, s->misses)).text, text_count(s->guesses).text,
        text_share(explain_share(s->right, s->guesses)).text, text_count(s->absent).text);
}

static char *tell_times(const struct run_result *run, const struct foretold *s)
{
    double copies = 0;
    char *text = mem_strdup("");

    for (uint32_t l = 0; l < run->layers; l++)
        copies += (double)run->layer[l].copy_time;
    if (s->named_time > 0)
        explain_add(&text, mem_format("Of the %s that the named misses' copies took "
                                      "there was time to hide %s, and bandwidth for %s.",
                                      text_time(1e-12 * s->named_time).text,
                                      text_share(s->fits / s->named_time).text,
                                      text_share(s->hidden / s->named_time).text));
    explain_add(&text, mem_format("Had every miss been named, there was bandwidth for %s "
                                  "of all copies' %s.",
                                  text_share(explain_share(s->all_hidden, copies)).text,
                                  text_time(1e-12 * copies).text));
    return text;
}

static void print_distance(const struct run_result *run, const struct run_watched *y,
                           FILE *out)
{
    const struct foretold s = sum_of(y, run->layers);
    char *text = count_named(y, &s);

    if (!run->counts_only)
        explain_add(&text, tell_times(run, &s));
    text_paragraph(out, "    ", "      ", "%s", text);
    free(text);
}

void explain_print_watch(const struct result *r, const struct run_result *run, FILE *out)
{
    if (run->total.counts.loads + run->total.counts.bypasses == 0)
        return;
    if (run->watched == 0) {
        text_paragraph(out, "    ", "      ",
                       "Which misses could have been foretold is not in this result: "
                       "run with watch: {predictor: markov}.");
        return;
    }
    (void)fputc('\n', out);
    text_paragraph(out, "  ", "    ", "Misses that could have been foretold (by %s)",
                   r->watch == NULL ? "" : r->watch);
    for (uint32_t i = 0; i < run->watched; i += run->layers)
        print_distance(run, &run->watch[i], out);
    if (!run->counts_only)
        text_paragraph(
            out, "    ", "      ",
            "Time: from when the routing of the step that was asked was known. "
            "Bandwidth: the link's idle time since then, no moment twice, and "
            "none for wrong guesses, so that this is the most.");
}
