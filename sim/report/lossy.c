#include "lossy.h"

#include "report_differs.h"
#include "sim/base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- descriptions: "lynx drop=0.25 form=latency" ---- */

struct option_text {
    const char *name, *value;
    size_t name_length, value_length;
};

static size_t name_length(const char *select)
{
    return strcspn(select, " ");
}

/* The option at `*at`, which moves behind it; at first *at is the description's name.
 * False: there are no more. */
static bool next_option(const char **at, struct option_text *o)
{
    size_t length;

    *at += strcspn(*at, " ");
    *at += strspn(*at, " ");
    length = strcspn(*at, " ");
    if (length == 0)
        return false;
    o->name = *at;
    o->name_length = strcspn(*at, "= ");
    o->value = *at + o->name_length + (o->name_length < length);
    o->value_length = length - (size_t)(o->value - *at);
    return true;
}

static bool is_called(const struct option_text *o, const char *name)
{
    return strlen(name) == o->name_length && strncmp(o->name, name, o->name_length) == 0;
}

/* The value of an option, owned; NULL: there is none. */
static char *value_of(const char *select, const char *name)
{
    struct option_text o;

    while (next_option(&select, &o))
        if (is_called(&o, name))
            return mem_format("%.*s", (int)o.value_length, o.value);
    return NULL;
}

/* A number and nothing behind it; NaN: it is none. */
static double number_of(const char *select, const char *name)
{
    char *value = value_of(select, name);
    double number = NAN;
    const char *unit = value == NULL ? NULL : report_number(value, &number);

    if (unit == NULL || *unit != '\0')
        number = NAN;
    free(value);
    return number;
}

/* The description without one option (NULL: with all of them). Owned. */
static char *without(const char *select, const char *name)
{
    char *text = mem_format("%.*s", (int)name_length(select), select);
    struct option_text o;

    while (next_option(&select, &o)) {
        char *longer;

        if (name != NULL && is_called(&o, name))
            continue;
        longer = mem_format("%s %.*s=%.*s", text, (int)o.name_length, o.name,
                            (int)o.value_length, o.value);
        free(text);
        text = longer;
    }
    return text;
}

static bool same_name(const char *a, const char *b)
{
    return name_length(a) == name_length(b) && strncmp(a, b, name_length(a)) == 0;
}

static enum lossy_role role_of(const char *select)
{
    if (same_name(select, "none"))
        return LOSSY_PLAIN;
    return same_name(select, "top-k") ? LOSSY_TOP_K : LOSSY_SELECT;
}

/* ---- knobs ---- */

static int by_double(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

/* How many different numbers an option has among points [first, end); 0 where it is not
 * a number in all. */
static size_t different_numbers(const struct lossy *l, size_t first, size_t end,
                                const char *name)
{
    double *number = mem_alloc(end - first, sizeof *number);
    size_t different = 0;

    for (size_t i = first; i < end; i++) {
        number[i - first] = number_of(l->point[i].select, name);
        if (isnan(number[i - first])) {
            free(number);
            return 0;
        }
    }
    qsort(number, end - first, sizeof *number, by_double);
    for (size_t i = 0; i < end - first; i++)
        different += i == 0 || number[i] > number[i - 1];
    free(number);
    return different;
}

/* The numeric option that has most different values among points of one select, the
 * first of equals; NULL: none has two. Owned. */
static char *find_knob(const struct lossy *l, size_t first, size_t end)
{
    const char *at = l->point[first].select;
    struct option_text o;
    size_t most = 1;
    char *knob = NULL;

    while (next_option(&at, &o)) {
        char *name = mem_format("%.*s", (int)o.name_length, o.name);
        size_t different = different_numbers(l, first, end, name);

        if (different > most) {
            most = different;
            free(knob);
            knob = name;
        } else {
            free(name);
        }
    }
    return knob;
}

/* ---- lines and groups ---- */

/* A point, and what it is sorted by. */
struct sorted {
    struct lossy_point p;
    char *rest; /* of its select, without the knob */
    size_t at;  /* as entered */
};

static int by_select(const void *a, const void *b)
{
    const struct sorted *x = a, *y = b;
    size_t m = name_length(x->p.select), n = name_length(y->p.select);
    int names = strncmp(x->p.select, y->p.select, m < n ? m : n);

    if (x->p.role != y->p.role)
        return (x->p.role > y->p.role) - (x->p.role < y->p.role);
    if (names != 0 || m != n)
        return names != 0 ? names : (m > n) - (m < n);
    return (x->at > y->at) - (x->at < y->at);
}

static int by_line(const void *a, const void *b)
{
    const struct sorted *x = a, *y = b;
    int rests = strcmp(x->rest, y->rest), others = strcmp(x->p.others, y->p.others);

    if (rests != 0 || others != 0)
        return rests != 0 ? rests : others;
    if (x->p.knob != y->p.knob && !isnan(x->p.knob))
        return (x->p.knob > y->p.knob) - (x->p.knob < y->p.knob);
    return (x->at > y->at) - (x->at < y->at);
}

/* Whether some of the sorted points has another value of this option. */
static bool differs(const struct sorted *s, size_t count, const struct option_text *o)
{
    char *name = mem_format("%.*s", (int)o->name_length, o->name);
    bool other = false;

    for (size_t i = 0; i < count && !other; i++) {
        char *value = value_of(s[i].p.select, name);

        other = value == NULL || strlen(value) != o->value_length ||
                strncmp(value, o->value, o->value_length) != 0;
        free(value);
    }
    free(name);
    return other;
}

/* What tells a group from the others of its select. Owned. */
static char *group_name(const struct sorted *s, size_t count, const struct sorted *one)
{
    const char *at = one->rest;
    char *name = mem_format("%.*s", (int)name_length(at), at);
    struct option_text o;

    if (one->p.role == LOSSY_PLAIN) {
        free(name);
        return mem_strdup("no select");
    }
    while (next_option(&at, &o)) {
        char *longer;

        if (!differs(s, count, &o))
            continue;
        longer = mem_format("%s %.*s=%.*s", name, (int)o.name_length, o.name,
                            (int)o.value_length, o.value);
        free(name);
        name = longer;
    }
    return name;
}

static void add_group(struct lossy *l, const struct sorted *s, size_t count,
                      const struct sorted *one, const char *knob)
{
    l->group = mem_grow(l->group, l->groups, sizeof *l->group);
    l->group[l->groups++] =
        (struct lossy_group){.name = group_name(s, count, one),
                             .knob = knob == NULL ? NULL : mem_strdup(knob),
                             .role = one->p.role};
}

/* Makes the lines of one select's points, which begin at `first` of all. */
static void divide(struct lossy *l, struct sorted *s, size_t first, size_t count)
{
    char *knob = find_knob(l, first, first + count);

    for (size_t i = 0; i < count; i++) {
        s[i].p.knob = knob == NULL ? NAN : number_of(s[i].p.select, knob);
        s[i].rest = without(s[i].p.select, knob);
    }
    qsort(s, count, sizeof *s, by_line);
    for (size_t i = 0; i < count; i++) {
        bool fresh = i == 0 || strcmp(s[i].rest, s[i - 1].rest) != 0;

        if (fresh)
            add_group(l, s, count, &s[i], knob);
        if (fresh || strcmp(s[i].p.others, s[i - 1].p.others) != 0) {
            l->line = mem_grow(l->line, l->lines, sizeof *l->line);
            l->line[l->lines++] =
                (struct lossy_line){.first = first + i, .group = l->groups - 1};
        }
        l->line[l->lines - 1].count++;
        s[i].p.line = l->lines - 1;
        l->point[first + i] = s[i].p;
    }
    for (size_t i = 0; i < count; i++)
        free(s[i].rest);
    free(knob);
}

/* ---- the front ---- */

static int by_lost(const void *a, const void *b)
{
    const struct lossy_point *const *x = a, *const *y = b;

    if ((*x)->lost != (*y)->lost)
        return ((*x)->lost > (*y)->lost) - ((*x)->lost < (*y)->lost);
    return ((*x)->time > (*y)->time) - ((*x)->time < (*y)->time);
}

static void find_front(struct lossy *l)
{
    struct lossy_point **order = mem_alloc(l->points, sizeof(struct lossy_point *));
    const struct lossy_point *last = NULL;

    for (size_t i = 0; i < l->points; i++)
        order[i] = &l->point[i];
    qsort(order, l->points, sizeof(struct lossy_point *), by_lost);
    for (size_t i = 0; i < l->points; i++) {
        order[i]->front = last == NULL || order[i]->time < last->time ||
                          (order[i]->time == last->time && order[i]->lost == last->lost);
        if (order[i]->front)
            last = order[i];
    }
    free(order);
}

/* ---- the whole ---- */

void lossy_add(struct lossy *l, struct lossy_point point)
{
    if (point.select == NULL || *point.select == '\0')
        point.select = "none";
    point.role = role_of(point.select);
    l->point = mem_grow(l->point, l->points, sizeof *l->point);
    l->point[l->points++] = point;
}

void lossy_find(struct lossy *l)
{
    struct sorted *s = mem_zalloc(l->points, sizeof *s);
    size_t end;

    if (l->points == 0) {
        free(s);
        return;
    }
    for (size_t i = 0; i < l->points; i++)
        s[i] = (struct sorted){.p = l->point[i], .at = i};
    qsort(s, l->points, sizeof *s, by_select);
    for (size_t i = 0; i < l->points; i++)
        l->point[i] = s[i].p;
    for (size_t first = 0; first < l->points; first = end) {
        for (end = first + 1; end < l->points; end++)
            if (!same_name(s[first].p.select, s[end].p.select))
                break;
        divide(l, s + first, first, end - first);
    }
    free(s);
    find_front(l);
}

void lossy_release(struct lossy *l)
{
    for (size_t i = 0; i < l->points; i++)
        free(l->point[i].others);
    for (size_t i = 0; i < l->groups; i++) {
        free(l->group[i].name);
        free(l->group[i].knob);
    }
    free(l->point);
    free(l->line);
    free(l->group);
    *l = (struct lossy){.points = 0};
}

char *lossy_knob_text(const struct lossy *l, const struct lossy_point *p)
{
    const char *knob = l->group[l->line[p->line].group].knob;

    return knob == NULL ? NULL : value_of(p->select, knob);
}

bool lossy_add_policy(struct lossy *l, const struct result_policy *p,
                      const struct result_summary *s, const char *unlike,
                      const char *label, double time, unsigned number)
{
    const struct select_quality *q = &p->run.quality;
    const char *select = p->description[SLOT_SELECT];
    struct lossy_point point = {
        .select = select, .label = label, .time = time, .number = number};
    bool plain = select == NULL || role_of(select) == LOSSY_PLAIN;
    char *others;

    if (!p->run.finished || isnan(time) || result_foresees(p) ||
        (plain ? !p->lossless : q->rows == 0 || isnan(s->select.mass_lost)))
        return false;
    if (!plain) {
        point.lost = s->select.mass_lost;
        point.top1_lost = 1 - s->select.top1_kept;
        point.rows = (double)q->rows;
    }
    others = mem_strdup(unlike);
    for (int slot = 0; slot < POLICY_SLOTS; slot++) {
        const char *text = p->description[slot];
        char *longer;

        if (slot == SLOT_SELECT)
            continue;
        longer = mem_format("%s; %s", others, text == NULL ? "" : text);
        free(others);
        others = longer;
    }
    point.others = others;
    lossy_add(l, point);
    return true;
}

/* ---- against controls ---- */

static bool is_alike(const struct lossy_point *c, const struct lossy_point *p)
{
    return c->role != LOSSY_SELECT && c != p && strcmp(c->others, p->others) == 0;
}

static bool has_its_rows(const struct lossy_point *c, const struct lossy_point *p)
{
    return c->role == LOSSY_PLAIN || fabs(c->rows - p->rows) <= LOSSY_SAME_ROWS * p->rows;
}

struct lossy_against lossy_compare(const struct lossy *l, const struct lossy_point *p)
{
    struct lossy_against a = {.time = INFINITY, .most = -INFINITY};
    const struct lossy_point *below = NULL, *above = NULL;
    const double lost = fmax(p->lost, 0);

    for (size_t i = 0; i < l->points; i++) {
        const struct lossy_point *c = &l->point[i];

        if (!is_alike(c, p))
            continue;
        if (!has_its_rows(c, p)) {
            a.rows = c->rows;
            continue;
        }
        a.controls += c->role == LOSSY_TOP_K;
        a.most = fmax(a.most, c->lost);
        if (c->lost <= lost) {
            a.time = fmin(a.time, c->time);
            if (below == NULL || c->lost > below->lost ||
                (c->lost == below->lost && c->time < below->time))
                below = c;
        }
        if (c->lost >= lost && (above == NULL || c->lost < above->lost ||
                                (c->lost == above->lost && c->time < above->time)))
            above = c;
    }
    if (below != NULL && above != NULL) {
        double between = above->lost - below->lost;
        double part = between > 0 ? (lost - below->lost) / between : 0;

        a.time = fmin(a.time, below->time + part * (above->time - below->time));
        a.known = LOSSY_KNOWN;
    } else if (a.controls == 0) {
        a.known = a.rows > 0 ? LOSSY_OTHER_ROWS : LOSSY_NO_CONTROL;
    } else if (below == NULL) {
        a.known = LOSSY_NOT_SO_LITTLE;
    } else {
        a.known = a.time <= p->time ? LOSSY_BEATEN_BY_LESS : LOSSY_NOT_SO_MUCH;
    }
    return a;
}

double lossy_lead(const struct lossy_against *a, double time)
{
    if (a->known != LOSSY_KNOWN && a->known != LOSSY_BEATEN_BY_LESS)
        return NAN;
    return 1 - time / a->time;
}
