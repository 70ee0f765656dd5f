/* The figure of a sweep's points that lose something for speed. */
#include "lossy_figure.h"
#include "report_differs.h"
#include "report_sweep_state.h"

#include "sim/base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_POINTS = 3000 /* that are drawn */ };

static bool begins_with(const char *key, const char *name)
{
    size_t length = strlen(name);

    return strncmp(key, name, length) == 0 && key[length] == '.';
}

/* Whether a key is of what a policy is made of, which its description says. */
static bool is_of_policy(const char *key)
{
    for (int slot = 0; slot < POLICY_SLOTS; slot++)
        if (begins_with(key, policy_slot_name((enum policy_slot)slot)))
            return true;
    return begins_with(key, "policies");
}

/* Its other choices, and the rest of its point. Owned. */
static char *others_of(const struct sweep_page *p, const struct sweep_row *row)
{
    char *text = mem_strdup(row->others == NULL ? "" : row->others);

    for (size_t k = 0; k < p->t.keys; k++) {
        char *longer;

        if (is_of_policy(p->t.key[k].name))
            continue;
        longer = mem_format("%s%s; ", text, row->value[k]);
        free(text);
        text = longer;
    }
    return text;
}

/* "lru, slots 16": without the keys of one policy alone, and those of selects. Owned. */
static char *name_of(const struct sweep_page *p, const struct sweep_row *row)
{
    char *name = mem_strdup(p->labels ? row->label : "");

    for (size_t k = 0; k < p->t.keys; k++) {
        const char *key = p->t.key[k].name;
        char *value, *longer;

        if (begins_with(key, "policies") ||
            begins_with(key, policy_slot_name(SLOT_SELECT)))
            continue;
        value = sweep_value_text(row->value[k]);
        longer = mem_format("%s%s%s %s", name, *name == '\0' ? "" : ", ",
                            report_differs_short(key), value);
        free(value);
        free(name);
        name = longer;
    }
    return name;
}

/* Whether a point like this is there: one policy at two values of another's key. */
static bool is_there(const struct lossy *l, const struct lossy_point *point)
{
    for (size_t i = 0; i < l->points; i++) {
        const struct lossy_point *other = &l->point[i];

        if (other->time == point->time && other->lost == point->lost &&
            strcmp(other->others, point->others) == 0 &&
            strcmp(other->select, point->select) == 0)
            return true;
    }
    return false;
}

/* Rows whose time nobody knows, or that lose what is no select's, are none. */
static void add_row(const struct sweep_page *p, size_t i, enum sweep_figure time,
                    const char *label, struct lossy *l)
{
    const struct sweep_row *row = p->order[i];
    bool plain = isnan(row->figure[ROW_LOST]);
    struct lossy_point point = {.select = "none",
                                .label = label,
                                .time = row->figure[time],
                                .number = (unsigned)i};

    if (isnan(point.time) || (plain ? !row->lossless : row->select == NULL))
        return;
    if (!plain) {
        point.select = row->select;
        point.lost = row->figure[ROW_LOST];
        point.top1_lost = 1 - row->figure[ROW_TOP1];
        point.rows = row->figure[ROW_CHOSEN];
    }
    point.others = others_of(p, row);
    if (is_there(l, &point))
        free(point.others);
    else
        lossy_add(l, point);
}

static int print_quality(void *context, struct plot *plot, FILE *out, struct err *e)
{
    const struct sweep_page *p = context;
    size_t count = p->ranked < MOST_POINTS ? p->ranked : MOST_POINTS;
    char **label = mem_alloc(count, sizeof *label);
    enum sweep_figure time = ROW_TTFT;
    struct lossy l = {.points = 0};

    (void)e;
    for (size_t i = 0; i < count; i++) {
        label[i] = name_of(p, p->order[i]);
        if (!isnan(p->order[i]->figure[ROW_TPOT]))
            time = ROW_TPOT;
    }
    for (size_t i = 0; i < count; i++)
        add_row(p, i, time, label[i], &l);
    lossy_find(&l);
    plot->y = time == ROW_TPOT ? "time per output token, median (ms)"
                               : "time to the first token, median (ms)";
    if (lossy_is_figure(&l))
        lossy_print_figure(&l, out, plot);
    lossy_release(&l);
    for (size_t i = 0; i < count; i++)
        free(label[i]);
    free(label);
    return 0;
}

int sweep_quality(struct sweep_page *p, struct err *e)
{
    struct plot plot = {.kind = "trade",
                        .name = "quality",
                        .title = "Quality against speed",
                        .x = "gate mass lost (%)"};
    char *caption = mem_format(
        "Left loses less, down is faster; of what is ringed, nothing else is better in "
        "both. A line has the points that differ in one option of their select alone, "
        "whose value stands beside a mark. Grey are the controls: a line that is not "
        "below that of top-k is no progress.%s",
        p->ranked > MOST_POINTS ? " The first 3000 points by rank are shown." : "");
    bool any = false;
    int status = 0;

    for (size_t i = 0; i < p->ranked && !any; i++)
        any = !isnan(p->order[i]->figure[ROW_LOST]);
    if (any && p->timed)
        status = report_html_figure(p->html, &plot, caption, NULL, print_quality, p, e);
    free(caption);
    return status;
}
