/* What one should know of an experiment before one believes its figures: sentences. */
#include "experiment_state.h"
#include "sim/base/mem.h"

#include <inttypes.h>
#include <stdlib.h>

static char *add_note(char *notes, char *note)
{
    char *longer = mem_format("%s%s%s", notes, *notes == '\0' ? "" : "\n", note);

    free(notes);
    free(note);
    return longer;
}

/* Whether policy i has a property that a note is about. */
typedef bool has_property(const struct experiment *x, uint32_t i);

static bool runs_in_place(const struct experiment *x, uint32_t i)
{
    return policy_does(x->policy[i], ACT_IN_PLACE);
}

static bool asks_what_is_resident(const struct experiment *x, uint32_t i)
{
    return policy_does(x->policy[i], ACT_RESIDENCY);
}

static bool lowers(const struct experiment *x, uint32_t i)
{
    return policy_does(x->policy[i], ACT_LOWER);
}

static bool is_lossy(const struct experiment *x, uint32_t i)
{
    return !x->policy[i]->dense && !policy_lossless(x->policy[i]);
}

static bool is_dense(const struct experiment *x, uint32_t i)
{
    return x->policy[i]->dense;
}

/* The policies of that property by name, of many the first few and how many more; owned,
 * or NULL for none. */
static char *list_policies(const struct experiment *x, has_property *has)
{
    enum { MOST = 6 };
    char *list = NULL;
    uint32_t count = 0;

    for (uint32_t i = 0; i < x->policies; i++) {
        char *longer;

        if (!has(x, i) || ++count > MOST)
            continue;
        longer = mem_format("%s%s%s", list == NULL ? "" : list, list == NULL ? "" : ", ",
                            x->policy[i]->label);
        free(list);
        list = longer;
    }
    if (count > MOST) {
        char *longer = mem_format("%s and %" PRIu32 " more", list, count - MOST);

        free(list);
        list = longer;
    }
    return list;
}

char *experiment_notes(const struct experiment *x, bool stopped)
{
    char *notes = mem_strdup(""), *ignored;

    if (stopped)
        notes = add_note(notes, mem_strdup("stopped by a signal: figures cover what was "
                                           "run, and policies may differ in how far they "
                                           "came"));
    ignored = ignored_notes(x);
    if (*ignored != '\0')
        notes = add_note(notes, ignored);
    else
        free(ignored);
    if (x->profile != NULL && *x->p.profile == '\0')
        notes =
            add_note(notes, mem_strdup("policies with a profile know the expert loads "
                                       "of this very trace; give another with "
                                       "profile: FILE for an honest test"));
    return notes;
}

/* Of a policy whose select changes routing. NULL: nothing to tell. Owned. */
static char *select_note(const struct experiment *x, const struct result_policy *p)
{
    if (p->run.quality.rows == 0)
        return mem_format("%s chose no experts: there was no pass of the phases that its "
                          "select is for",
                          p->label);
    if (x->info->candidates == x->info->experts)
        return NULL;
    return mem_format(
        "%s chooses among the %u candidates of %u experts whose scores were "
        "recorded",
        p->label, x->info->candidates, x->info->experts);
}

char *experiment_result_notes(const struct experiment *x, const struct result *r,
                              bool stopped)
{
    const struct run_result *first = &r->policy[0].run;
    char *notes = experiment_notes(x, stopped), *acting;

    if (first->rows_resampled > 0)
        notes =
            add_note(notes, mem_format("the routing of %llu rows was not recorded and "
                                       "was resampled from the same requests' rows",
                                       (unsigned long long)first->rows_resampled));
    if (first->prompts_skipped > 0)
        notes =
            add_note(notes, mem_format("%llu prompts were skipped (prefill: skip): TTFT "
                                       "is that of the first decode pass",
                                       (unsigned long long)first->prompts_skipped));
    acting = list_policies(x, is_lossy);
    if (acting != NULL)
        notes = add_note(notes, mem_format("lossy: %s; what changes routing would have "
                                           "changed later routing too, so this replay is "
                                           "open-loop",
                                           acting));
    free(acting);
    acting = list_policies(x, is_dense);
    if (acting != NULL)
        notes =
            add_note(notes, mem_format("%s: not a policy but another model, dense and "
                                       "of as many FLOPs per token, all of it in GPU "
                                       "memory: without routing, hits or bounds",
                                       acting));
    free(acting);
    for (uint32_t i = 0; i < x->policies; i++) {
        bool chooses = policy_select(x->policy[i])->apply != NULL;
        char *note = chooses ? select_note(x, &r->policy[i]) : NULL;

        if (note != NULL)
            notes = add_note(notes, note);
    }
    acting = x->p.bounds ? list_policies(x, asks_what_is_resident) : NULL;
    if (acting != NULL)
        notes =
            add_note(notes, mem_format("what is executed depends on what is resident "
                                       "(%s): bounds on hits and bytes are those of its "
                                       "own accesses, and there are none on time",
                                       acting));
    free(acting);
    acting = x->p.bounds ? list_policies(x, runs_in_place) : NULL;
    if (acting != NULL)
        notes = add_note(notes, mem_format("experts may run in place (%s): no bound on "
                                           "bytes and time is known there, only on hits",
                                           acting));
    free(acting);
    acting = list_policies(x, lowers);
    if (acting != NULL)
        notes = add_note(
            notes,
            mem_format("experts may come in fewer bits (%s), so that what the model "
                       "computes is less exact by an amount that no trace tells; "
                       "no bound on hits, bytes or time is known there",
                       acting));
    free(acting);
    if (!x->timeless)
        notes = add_note(notes, mem_strdup("passes depend on time: each policy forms its "
                                           "own batches, and bounds are in counts only"));
    return notes;
}
