/* moesim explain: what a select changed, layer by layer, and whether it is worth it. */
#include "explain_state.h"

#include "sim/base/mem.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WORST_LAYERS = 8 };

/* ---- all policies beside each other ---- */

void explain_selects_find(const struct result *r, struct explain_selects *x)
{
    struct result_summary *s = mem_alloc(r->policies, sizeof *s);

    *x = (struct explain_selects){.first_token = true};
    for (uint32_t i = 0; i < r->policies; i++) {
        s[i] = result_summarise(&r->policy[i]);
        x->first_token = x->first_token && isnan(s[i].tpot_p50);
    }
    for (uint32_t i = 0; i < r->policies; i++)
        (void)lossy_add_policy(&x->lossy, &r->policy[i], &s[i], "", r->policy[i].label,
                               x->first_token ? s[i].ttft_p50 : s[i].tpot_p50, i);
    lossy_find(&x->lossy);
    free(s);
}

static const struct lossy_point *point_of(const struct lossy *l, uint32_t policy)
{
    for (size_t i = 0; i < l->points; i++)
        if (l->point[i].number == policy)
            return &l->point[i];
    return NULL;
}

/* ---- what it changed ---- */

static void print_whole(const struct result_policy *p, FILE *out)
{
    const struct result_selected s = result_selected(&p->run.quality);

    text_paragraph(
        out, "    ", "      ",
        "It chose for %s rows, each layer's counted. Of the experts that these would "
        "have executed, others took the place of %s, and %s were left out. That loses "
        "%s of their gate mass; %s of the rows keep their best expert. A layer runs %s "
        "%s distinct experts.",
        text_count((double)p->run.quality.rows).text, text_share(s.changed).text,
        text_share(s.fewer).text, text_share(s.mass_lost).text,
        text_share(s.top1_kept).text, text_share(fabs(s.saved)).text,
        s.saved < 0 ? "more" : "fewer");
}

struct worst {
    double lost;
    uint32_t layer;
};

/* Most lost first, what chose for no rows last, then in order of layers. */
static int compare_worst(const void *a, const void *b)
{
    const struct worst *x = a, *y = b;

    if (isnan(x->lost) != isnan(y->lost))
        return isnan(x->lost) - isnan(y->lost);
    if (x->lost != y->lost && !isnan(x->lost))
        return (x->lost < y->lost) - (x->lost > y->lost);
    return (x->layer > y->layer) - (x->layer < y->layer);
}

static void print_quality(FILE *out, const char *name, const struct select_quality *q)
{
    const struct result_selected s = result_selected(q);

    (void)fprintf(out, "    %-15s", name);
    text_right(out, 9, text_share(s.changed));
    text_right(out, 9, text_share(s.fewer));
    text_right(out, 10, text_share(s.mass_lost));
    text_right(out, 9, text_share(s.top1_kept));
    text_right(out, 9, text_share(s.saved));
    (void)fputc('\n', out);
}

static void print_head(uint32_t shown, uint32_t layers, FILE *out)
{
    (void)fputc('\n', out);
    if (shown < layers)
        text_paragraph(out, "    ", "      ",
                       "The %" PRIu32 " MoE layers of %" PRIu32 " that lose most", shown,
                       layers);
    (void)fprintf(out, "    %-15s %9s %9s %10s %9s %9s\n", "decoder layer", "choices",
                  "choices", "gate mass", "best one", "experts");
    (void)fprintf(out, "    %-15s %9s %9s %10s %9s %9s\n", "", "changed", "left out",
                  "lost", "kept", "saved");
}

static void print_layers(const struct result *r, const struct run_result *run, FILE *out)
{
    uint32_t shown = run->layers <= WORST_LAYERS + 1 ? run->layers : WORST_LAYERS;
    struct worst *rank = mem_alloc(run->layers, sizeof *rank);
    struct select_quality others = {.rows = 0};
    char name[32];

    for (uint32_t l = 0; l < run->layers; l++)
        rank[l] = (struct worst){result_selected(&run->layer[l].quality).mass_lost, l};
    if (run->layers > 1)
        qsort(rank, run->layers, sizeof *rank, compare_worst);
    print_head(shown, run->layers, out);
    for (uint32_t i = 0; i < run->layers; i++) {
        const struct select_quality *q = &run->layer[rank[i].layer].quality;

        (void)snprintf(name, sizeof name, "%u", r->moe_layer[rank[i].layer]);
        if (i < shown)
            print_quality(out, name, q);
        else
            select_quality_add(&others, q);
    }
    if (shown < run->layers) {
        (void)snprintf(name, sizeof name, "%" PRIu32 " others", run->layers - shown);
        print_quality(out, name, &others);
    }
    print_quality(out, "all MoE layers", &run->quality);
    free(rank);
}

/* ---- against controls ---- */

char *explain_select_lead(double lead)
{
    if (lead > LOSSY_SAME_TIME)
        return mem_format("it is faster, by %s", text_share(lead).text);
    if (lead >= -LOSSY_SAME_TIME)
        return mem_strdup("it is not faster, which is no progress");
    return mem_format("it is not faster but takes %s more, which is no progress",
                      text_share(-lead).text);
}

/* How one gets controls. */
static char *say_advice(const struct result *r)
{
    if (r->top_k < 2)
        return mem_strdup("");
    if (r->top_k == 2)
        return mem_strdup("To tell whether that is worth it, add controls: the same "
                          "policy without a select, and with select: {name: top-k, k: "
                          "1}.");
    return mem_format("To tell whether that is worth it, add controls: the same policy "
                      "without a select, and with select: top-k, for: {select.k: "
                      "1..%" PRIu32 "}.",
                      r->top_k - 1);
}

static char *say_control(const struct result *r, const struct lossy_against *a,
                         const struct lossy_point *p, const char *per, const char *lead)
{
    switch (a->known) {
    case LOSSY_NO_CONTROL:
        return say_advice(r);
    case LOSSY_OTHER_ROWS:
        return mem_format("The top-k reduction of this result chose for %s rows, this "
                          "select for %s: to compare them, give both the same "
                          "select.phases.",
                          text_count(a->rows).text, text_count(p->rows).text);
    case LOSSY_NOT_SO_LITTLE:
        return mem_strdup("All controls of this result lose more gate mass: to compare "
                          "it, add the same policy without a select.");
    case LOSSY_NOT_SO_MUCH:
        return mem_format("No control of this result loses as much gate mass (%s at "
                          "most), and none is as fast: fewer experts a row (select: "
                          "top-k) would tell whether this is worth it.",
                          text_share(a->most).text);
    case LOSSY_BEATEN_BY_LESS:
        return mem_format("A control of this result that loses less gate mass takes %s "
                          "%s, this select %s: %s.",
                          text_time(a->time).text, per, text_time(p->time).text, lead);
    case LOSSY_KNOWN:
        if (p->lost <= 0)
            return mem_format("It loses no gate mass. Without a select the policy takes "
                              "%s %s, with it %s: %s.",
                              text_time(a->time).text, per, text_time(p->time).text,
                              lead);
        return mem_format("At equal gate mass lost top-k reduction (interpolated between "
                          "its points in this result) takes %s %s, this select %s: %s.",
                          text_time(a->time).text, per, text_time(p->time).text, lead);
    }
    return mem_strdup("");
}

char *explain_select_control(const struct result *r, const struct explain_selects *x,
                             const struct lossy_point *p)
{
    struct lossy_against a = lossy_compare(&x->lossy, p);
    char *lead = explain_select_lead(lossy_lead(&a, p->time));
    char *text = say_control(
        r, &a, p, x->first_token ? "to the first token" : "per output token", lead);

    free(lead);
    return text;
}

/* ---- the whole ---- */

void explain_select_print(const struct result *r, uint32_t policy,
                          const struct explain_selects *x, FILE *out)
{
    const struct result_policy *p = &r->policy[policy];
    const struct lossy_point *point = point_of(&x->lossy, policy);
    const char *select = p->description[SLOT_SELECT];
    char *text;

    if (select == NULL || *select == '\0' || strcmp(select, "none") == 0)
        return;
    (void)fputs("\n  What the select changed (open loop: later routing is as "
                "recorded)\n",
                out);
    if (p->run.quality.rows == 0) {
        text_paragraph(out, "    ", "      ",
                       "Nothing: no pass was of those that it chooses in "
                       "(select.phases).");
        return;
    }
    print_whole(p, out);
    if (point != NULL && point->role == LOSSY_TOP_K)
        text_paragraph(out, "    ", "      ",
                       "This is the control that other selects have to beat.");
    if (point != NULL && point->role == LOSSY_SELECT) {
        text = explain_select_control(r, x, point);
        if (*text != '\0')
            text_paragraph(out, "    ", "      ", "%s", text);
        free(text);
    }
    print_layers(r, &p->run, out);
}
