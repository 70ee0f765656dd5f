#include "lossy_figure.h"

#include "sim/base/json.h"
#include "sim/base/mem.h"
#include "sim/base/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- what is written beside the marks, so that nothing overlaps ---- */

/* Where a text stands, as trade.gp knows it. */
enum side { SIDE_NONE, SIDE_RIGHT, SIDE_LEFT, SIDE_ABOVE, SIDE_BELOW, SIDES };

enum { LABEL_COLUMNS = 22, MOST_TEXTS = 64, MOST_MARKS = 256 /* that have texts */ };

/* Pixels of a panel, as trade.gp draws it, nearly; of a letter; of half a mark. */
struct panel {
    double width, height;
};
static const struct panel drawing[2] = {{380, 320}, {265, 210}};
#define LETTER_WIDTH 6.2
#define LETTER_HEIGHT 13.0
#define MARK_HALF 5.0
#define RING_HALF 8.0
#define MARK_GAP 9.0

struct box {
    double left, right, low, top;
};

static bool overlap(const struct box *a, const struct box *b)
{
    return a->left < b->right && b->left < a->right && a->low < b->top && b->low < a->top;
}

static struct box text_box(double x, double y, size_t letters, enum side side)
{
    double wide = LETTER_WIDTH * (double)letters, high = LETTER_HEIGHT;
    struct box at = {x - wide / 2, x + wide / 2, y - high / 2, y + high / 2};
    double dx = side == SIDE_RIGHT  ? MARK_GAP + wide / 2
                : side == SIDE_LEFT ? -MARK_GAP - wide / 2
                                    : 0;
    double dy = side == SIDE_ABOVE   ? MARK_GAP + LETTER_HEIGHT / 2
                : side == SIDE_BELOW ? -MARK_GAP - LETTER_HEIGHT / 2
                                     : 0;

    return (struct box){at.left + dx, at.right + dx, at.low + dy, at.top + dy};
}

/* A figure's marks in one of its drawings. */
struct scene {
    const struct lossy *l;
    const char *const *text; /* [points] */
    struct panel panel;
    double *x, *y;     /* [points] pixels */
    struct box *taken; /* [points] by texts so far */
    size_t texts;
};

static void place_marks(struct scene *s)
{
    const struct lossy *l = s->l;
    double least = 0, most = 0, low = INFINITY, top = -INFINITY, span, high;

    for (size_t i = 0; i < l->points; i++) {
        least = fmin(least, l->point[i].lost);
        most = fmax(most, l->point[i].lost);
        low = fmin(low, l->point[i].time);
        top = fmax(top, l->point[i].time);
    }
    span = most > least ? most - least : 1;
    high = top > low ? top - low : 1;
    for (size_t i = 0; i < l->points; i++) {
        s->x[i] = s->panel.width * (0.05 + (l->point[i].lost - least) / span) / 1.17;
        s->y[i] = s->panel.height * (0.1 + (l->point[i].time - low) / high) / 1.2;
    }
}

static bool is_crossed(const struct scene *s, const struct box *b)
{
    enum { STEPS = 24 };

    for (size_t i = 1; i < s->l->points; i++)
        for (int k = 0; k <= STEPS && s->l->point[i].line == s->l->point[i - 1].line;
             k++) {
            double x = s->x[i - 1] + (s->x[i] - s->x[i - 1]) * k / STEPS;
            double y = s->y[i - 1] + (s->y[i] - s->y[i - 1]) * k / STEPS;

            if (x > b->left && x < b->right && y > b->low && y < b->top)
                return true;
        }
    return false;
}

static bool is_free(const struct scene *s, const struct box *b, size_t own)
{
    if (b->left < MARK_HALF || b->right > 1.06 * s->panel.width || b->low < 0 ||
        b->top > s->panel.height)
        return false;
    for (size_t i = 0; i < s->texts; i++)
        if (overlap(b, &s->taken[i]))
            return false;
    for (size_t i = 0; i < s->l->points; i++) {
        const double half = s->l->point[i].front ? RING_HALF : MARK_HALF;
        const struct box mark = {s->x[i] - half, s->x[i] + half, s->y[i] - half,
                                 s->y[i] + half};

        if (i != own && overlap(b, &mark))
            return false;
    }
    return true;
}

/* Where no line crosses it; else across one. */
static enum side place_text(struct scene *s, size_t i)
{
    for (int crossed = 0; crossed < 2; crossed++)
        for (int side = SIDE_RIGHT; side < SIDES; side++) {
            struct box b =
                text_box(s->x[i], s->y[i], strlen(s->text[i]), (enum side)side);

            if (!is_free(s, &b, i) || (crossed == 0 && is_crossed(s, &b)))
                continue;
            s->taken[s->texts++] = b;
            return (enum side)side;
        }
    return SIDE_NONE;
}

static bool is_end(const struct lossy *l, size_t i)
{
    const struct lossy_line *line = &l->line[l->point[i].line];

    return i == line->first || i + 1 == line->first + line->count;
}

/* The ends of lines first, then the front, then what finds room. */
static void place_texts(const struct lossy *l, const char *const *text,
                        struct panel panel, enum side *side)
{
    struct scene s = {.l = l,
                      .text = text,
                      .panel = panel,
                      .x = mem_alloc(l->points, sizeof *s.x),
                      .y = mem_alloc(l->points, sizeof *s.y),
                      .taken = mem_alloc(l->points, sizeof *s.taken)};

    place_marks(&s);
    for (size_t i = 0; i < l->points; i++)
        side[i] = SIDE_NONE;
    for (int turn = 0; turn < 3 && l->points <= MOST_MARKS; turn++)
        for (size_t i = 0; i < l->points && s.texts < MOST_TEXTS; i++) {
            int wanted = is_end(l, i) ? 0 : l->point[i].front ? 1 : 2;

            if (wanted == turn && *text[i] != '\0')
                side[i] = place_text(&s, i);
        }
    free(s.x);
    free(s.y);
    free(s.taken);
}

/* A point's knob; of what is no line, the policy. Owned. */
static char *text_of(const struct lossy *l, const struct lossy_point *p)
{
    char *knob = l->line[p->line].count > 1 ? lossy_knob_text(l, p) : NULL;
    struct mem_stream m;

    if (knob != NULL)
        return knob;
    mem_stream_open(&m);
    text_name(m.out, p->label, LABEL_COLUMNS);
    return mem_stream_close(&m);
}

/* ---- the data ---- */

/* Groups of selects from 1. */
static int number_of(const struct lossy *l, size_t group)
{
    int n = 0;

    if (l->group[group].role != LOSSY_SELECT)
        return l->group[group].role == LOSSY_PLAIN ? -1 : 0;
    for (size_t g = 0; g <= group; g++)
        n += l->group[g].role == LOSSY_SELECT;
    return n;
}

/* The point `p` as one of a group; `front`: 1, 0, or -1 where it has no mark here. */
static void print_point(const struct lossy *l, const struct lossy_point *p, size_t group,
                        const char *text, const enum side *side, int front, FILE *out)
{
    const struct lossy_group *g = &l->group[group];
    char *name =
        g->knob == NULL ? mem_strdup(g->name) : mem_format("%s: %s", g->name, g->knob);

    plot_label(out, p->label);
    (void)fprintf(out, ",%d,", number_of(l, group));
    plot_label(out, name);
    (void)fputc(',', out);
    plot_label(out, text);
    (void)fprintf(out, ",%d,%d,", side[0], side[1]);
    csv_number(out, 100 * p->lost);
    (void)fputc(',', out);
    csv_number(out, 100 * p->top1_lost);
    (void)fputc(',', out);
    csv_number(out, 1e3 * p->time);
    (void)fprintf(out, ",%d\n", front);
    free(name);
}

/* The line of top-k reduction ends where a policy loses nothing: at the same one without
 * a select. */
static void print_end(const struct lossy *l, const struct lossy_line *line, FILE *out)
{
    for (size_t i = 0; i < l->points; i++)
        if (l->point[i].role == LOSSY_PLAIN &&
            strcmp(l->point[i].others, l->point[line->first].others) == 0) {
            print_point(l, &l->point[i], line->group, "",
                        (enum side[]){SIDE_NONE, SIDE_NONE}, -1, out);
            return;
        }
}

static void print_line(const struct lossy *l, size_t at, char *const *text,
                       enum side *const side[2], FILE *out)
{
    const struct lossy_line *line = &l->line[at];

    for (size_t i = line->first; i < line->first + line->count; i++)
        print_point(l, &l->point[i], line->group, text[i],
                    (enum side[]){side[0][i], side[1][i]}, l->point[i].front, out);
    if (l->group[line->group].role == LOSSY_TOP_K)
        print_end(l, line, out);
}

bool lossy_is_figure(const struct lossy *l)
{
    bool select = false;

    for (size_t i = 0; i < l->points; i++)
        select = select || l->point[i].role != LOSSY_PLAIN;
    return select && l->points > 1;
}

void lossy_print_figure(const struct lossy *l, FILE *out, struct plot *plot)
{
    char **text = mem_alloc(l->points, sizeof *text);
    enum side *side[2];

    for (size_t i = 0; i < l->points; i++)
        text[i] = text_of(l, &l->point[i]);
    for (int d = 0; d < 2; d++) {
        side[d] = mem_alloc(l->points, sizeof *side[d]);
        place_texts(l, (const char *const *)text, drawing[d], side[d]);
    }
    (void)fputs("policy,group,select,text,side,side narrow,gate mass lost,best lost,"
                "time,front\n",
                out);
    for (size_t i = 0; i < l->lines; i++) {
        if (i > 0)
            (void)fputc('\n', out);
        print_line(l, i, text, side, out);
    }
    plot->series = 9;
    for (size_t i = 0; i < l->points; i++)
        free(text[i]);
    free(text);
    free(side[0]);
    free(side[1]);
}
