/* What the answer says of policies that change routing: what each loses, and whether that
 * is worth it. */
#include "explain_state.h"
#include "report_state.h"

#include "sim/base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_GROUPS = 4 };

void report_selects_find(struct report_page *p)
{
    p->selects = (struct explain_selects){.first_token = p->measure == MEASURE_TTFT};
    for (size_t i = 0; i < p->entries && p->measure != MEASURE_HITS; i++) {
        const struct report_entry *entry = &p->entry[i];
        char *unlike = mem_format("%zu", entry->which);

        (void)lossy_add_policy(&p->selects.lossy, entry->policy, &entry->s, unlike,
                               entry->label, entry->measure, (unsigned)i);
        free(unlike);
    }
    lossy_find(&p->selects.lossy);
}

/* ---- one point ---- */

static char *describe_point(const struct report_page *p, const struct lossy_point *point)
{
    const struct report_entry *entry = &p->entry[point->number];
    char *text =
        mem_format("%s loses %s of the gate mass, keeps the best expert of %s of "
                   "the rows and runs %s %s distinct experts.",
                   point->label, text_share(entry->s.select.mass_lost).text,
                   text_share(entry->s.select.top1_kept).text,
                   text_share(fabs(entry->s.select.saved)).text,
                   entry->s.select.saved < 0 ? "more" : "fewer");

    explain_add(&text, explain_select_control(entry->result, &p->selects, point));
    return text;
}

/* ---- a group ---- */

/* The least and the most of what the points of a group have. */
struct range {
    double least, most;
};

static void widen(struct range *r, double x)
{
    r->least = fmin(r->least, x);
    r->most = fmax(r->most, x);
}

struct tally {
    size_t points, known, faster;
    double lead;                            /* the greatest */
    struct range lost, kept;                /* shares */
    const struct lossy_point *first, *last; /* of its lines */
};

static struct tally tally_group(const struct lossy *l, size_t group)
{
    struct tally t = {
        .lead = -INFINITY, .lost = {INFINITY, -INFINITY}, .kept = {INFINITY, -INFINITY}};

    for (size_t i = 0; i < l->points; i++) {
        const struct lossy_point *point = &l->point[i];
        struct lossy_against a;
        double lead;

        if (l->line[point->line].group != group)
            continue;
        a = lossy_compare(l, point);
        lead = lossy_lead(&a, point->time);
        if (t.first == NULL || point->knob < t.first->knob)
            t.first = point;
        if (t.last == NULL || point->knob > t.last->knob)
            t.last = point;
        t.points++;
        widen(&t.lost, point->lost);
        widen(&t.kept, 1 - point->top1_lost);
        if (!isnan(lead)) {
            t.known++;
            t.faster += lead > LOSSY_SAME_TIME;
            t.lead = fmax(t.lead, lead);
        }
    }
    return t;
}

/* "lynx (drop 0.1 to 0.5)". Owned. */
static char *group_text(const struct lossy *l, size_t group, const struct tally *t)
{
    char *low = lossy_knob_text(l, t->first), *high = lossy_knob_text(l, t->last);
    char *text = low == NULL || high == NULL
                     ? mem_strdup(l->group[group].name)
                     : mem_format("%s (%s %s to %s)", l->group[group].name,
                                  l->group[group].knob, low, high);

    free(low);
    free(high);
    return text;
}

static char *range_text(const struct range *r)
{
    struct text_figure low = text_share(r->least), high = text_share(r->most);

    return strcmp(low.text, high.text) == 0 ? mem_strdup(low.text)
                                            : mem_format("%s to %s", low.text, high.text);
}

static char *describe_group(const struct report_page *p, size_t group)
{
    const struct lossy *l = &p->selects.lossy;
    struct tally t = tally_group(l, group);
    char *name, *lost, *kept, *text;

    if (t.points == 1)
        return describe_point(p, t.first);
    name = group_text(l, group, &t);
    lost = range_text(&t.lost);
    kept = range_text(&t.kept);
    text = mem_format("%s loses %s of the gate mass and keeps the best expert of %s of "
                      "the rows.",
                      name, lost, kept);
    if (t.known == 0)
        explain_add(&text, explain_select_control(p->entry[t.first->number].result,
                                                  &p->selects, t.first));
    else if (t.faster == 0)
        explain_add(&text, mem_format("Top-k reduction that loses as much is as fast or "
                                      "faster at all of %zu points: no progress.",
                                      t.known));
    else
        explain_add(&text, mem_format("Against top-k reduction that loses as much it is "
                                      "faster at %zu of %zu points, by up to %s.",
                                      t.faster, t.known, text_share(t.lead).text));
    free(name);
    free(lost);
    free(kept);
    return text;
}

/* ---- the whole ---- */

/* Who wins by changing what the model computes, and who is the fastest of the others. */
static char *describe_lossless(const struct report_page *p)
{
    const struct report_entry *w = &p->entry[0], *other = NULL;

    if (p->ranked == 0 || w->policy->run.quality.rows == 0)
        return mem_strdup("");
    for (size_t i = 1; i < p->ranked && other == NULL; i++)
        if (p->entry[i].policy->lossless)
            other = &p->entry[i];
    if (other == NULL)
        return mem_format("%s changes what the model computes.", w->label);
    return mem_format("%s changes what the model computes; the fastest that does not is "
                      "%s with %s.",
                      w->label, other->label, report_measure_text(p, other).text);
}

void report_selects(const struct report_page *p)
{
    const struct lossy *l = &p->selects.lossy;
    size_t told = 0, left = 0;

    report_html_paragraph(p->html, "Lossy", describe_lossless(p));
    for (size_t g = 0; g < l->groups; g++) {
        if (l->group[g].role != LOSSY_SELECT)
            continue;
        if (told++ < MOST_GROUPS)
            report_html_paragraph(p->html, "Select", describe_group(p, g));
        else
            left++;
    }
    if (left > 0)
        report_html_paragraph(p->html, "Select",
                              mem_format("%zu more are in the figure of quality against "
                                         "speed.",
                                         left));
}

/* The winner hits less than another: that this is so, and why. */
void report_hits(const struct report_page *p)
{
    const struct report_entry *w = &p->entry[0], *most = NULL;

    for (size_t i = 1; i < p->ranked; i++)
        if (p->entry[i].result == w->result &&
            explain_hits_mislead(p->entry[i].policy, w->policy) &&
            (most == NULL || p->entry[i].s.hit_rate > most->s.hit_rate))
            most = &p->entry[i];
    if (most != NULL)
        report_html_paragraph(p->html, "Hits",
                              explain_hits_text(most->label, most->policy, w->policy));
}
