/* The figures of a sweep's page. */
#include "report_differs.h"
#include "report_state.h"
#include "report_sweep_state.h"
#include "sim/base/file.h"
#include "sim/base/json.h"
#include "sim/base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    MOST_AXES = 6,    /* figures of keys, those that decide most */
    MOST_LEVELS = 24, /* of an axis of a map */
    MOST_PANELS = 6,
    MOST_POINTS = 3000 /* that are drawn of those beaten */
};

/* What the data of a figure come from. */
struct figure {
    const struct sweep_page *p;
    size_t key;                /* of those over a key */
    const struct trade *trade; /* of a front */
    const struct map *map;
};

typedef int print_figure(void *context, struct plot *plot, FILE *out, struct err *e);

static int draw(struct sweep_page *p, struct plot *plot, const char *caption,
                print_figure *print, struct figure f, struct err *e)
{
    f.p = p;
    return report_html_figure(p->html, plot, caption, NULL, print, &f, e);
}

static void add(FILE *out, double value)
{
    (void)fputc(',', out);
    csv_number(out, value);
}

/* ---- what decides ---- */

static int print_effects(void *context, struct plot *plot, FILE *out, struct err *e)
{
    const struct figure *f = context;
    const struct sweep_page *p = f->p;
    (void)e;
    (void)fputs("key,loss\n", out);
    for (size_t i = 0; i < p->t.keys; i++) {
        if (p->t.key[p->effect[i].key].levels < 2)
            continue;
        plot_label(out, p->t.key[p->effect[i].key].name);
        add(out, 100 * p->effect[i].share);
        (void)fputc('\n', out);
        plot->series = 1;
    }
    return 0;
}

/* ---- axes ---- */

/* The key whose values are the lines of a figure over `axis`: the one of few names that
 * decides most; SIZE_MAX: none. */
static size_t key_of_lines(const struct sweep_page *p, size_t axis)
{
    for (size_t i = 0; i < p->t.keys; i++) {
        size_t k = p->effect[i].key;

        if (k != axis && p->t.key[k].number == NULL && p->t.key[k].levels > 1 &&
            p->t.key[k].levels < PLOT_LINES)
            return k;
    }
    return SIZE_MAX;
}

/* The best goal of each bin and line: [bins * lines]; NaN: none. Owned. */
static double *best_of_bins(const struct sweep_page *p, size_t axis, size_t by,
                            size_t lines)
{
    const struct sweep_key *key = &p->t.key[axis];
    double *best = mem_alloc(sweep_bins(key) * lines, sizeof *best);

    for (size_t i = 0; i < sweep_bins(key) * lines; i++)
        best[i] = NAN;
    for (size_t i = 0; i < p->ranked; i++) {
        size_t bin = sweep_bin_of(key, p->order[i]->level[axis]);
        size_t line = by == SIZE_MAX ? 0 : p->order[i]->level[by];
        double *at = &best[bin * lines + line];

        if (isnan(*at)) /* rows come from the best on */
            *at = sweep_goal(p, p->order[i]);
    }
    return best;
}

enum { QUARTILES = 3 };

/* Quartiles of the goals in each bin: [bins * 3]. Owned. */
static double *quartiles_of_bins(const struct sweep_page *p, size_t axis)
{
    static const double at[QUARTILES] = {0.75, 0.50, 0.25};
    size_t bins = sweep_bins(&p->t.key[axis]);
    double *value = mem_alloc(bins * QUARTILES, sizeof *value);

    for (size_t b = 0; b < bins; b++)
        for (size_t k = 0; k < QUARTILES; k++)
            value[b * QUARTILES + k] = sweep_bin_quantile(p, axis, b, at[k]);
    return value;
}

/* Over a grid the best points, a line for each name of another key; else how points
 * spread, for those of a name would be too few. */
static int print_axis(void *context, struct plot *plot, FILE *out, struct err *e)
{
    const struct figure *f = context;
    const struct sweep_page *p = f->p;
    static const char *const quartile[QUARTILES] = {"a quarter above", "median",
                                                    "a quarter below"};
    size_t axis = f->key;
    size_t by = p->grid ? key_of_lines(p, axis) : SIZE_MAX;
    const struct sweep_key *key = &p->t.key[axis];
    size_t lines = !p->grid ? QUARTILES : by == SIZE_MAX ? 1 : p->t.key[by].levels;
    size_t knee = sweep_knee(p, axis);
    double *value =
        p->grid ? best_of_bins(p, axis, by, lines) : quartiles_of_bins(p, axis);

    (void)e;
    (void)fputs("x", out);
    for (size_t k = 0; k < lines; k++) {
        (void)fputc(',', out);
        plot_label(out, !p->grid         ? quartile[k]
                        : by == SIZE_MAX ? "the best point"
                                         : p->t.key[by].level[k]);
    }
    (void)fputs(knee > 0 ? ",knee\n" : "\n", out);
    for (size_t b = 0; b < sweep_bins(key); b++) {
        csv_number(out, key->number[sweep_bin_middle(key, b)]);
        for (size_t k = 0; k < lines; k++)
            add(out, value[b * lines + k]);
        if (knee > 0)
            add(out, b == knee ? sweep_height(p, axis, b) : NAN);
        (void)fputc('\n', out);
    }
    free(value);
    plot->x = key->name;
    plot->series = lines + (knee > 0);
    plot->log = key->number[0] > 0 && key->number[key->levels - 1] >= 32 * key->number[0];
    return 0;
}

static int draw_axes(struct sweep_page *p, struct err *e)
{
    int status = 0, number = 0;

    for (size_t i = 0; i < p->t.keys && number < MOST_AXES && status == 0; i++) {
        size_t k = p->effect[i].key;
        char *name, *title;
        struct plot plot;

        if (p->t.key[k].number == NULL || p->t.key[k].levels < 2)
            continue;
        name = mem_format("axis-%d", ++number);
        title = mem_format("Over %s", p->t.key[k].name);
        plot = (struct plot){.kind = "lines",
                             .name = name,
                             .title = title,
                             .x = "",
                             .y = sweep_goal_name(p)};
        status = draw(p, &plot,
                      p->grid ? "The best point at each value, whatever its other keys."
                              : "How the points at each value spread, of many values "
                                "in each of twelve equal parts of them.",
                      print_axis, (struct figure){.key = k}, e);
        free(title);
        free(name);
    }
    return status;
}

/* ---- the front ---- */

/* A cost that points trade for the goal. */
struct trade {
    sweep_cost *cost;
    double scale; /* of the axis */
};

/* The point of rank i, from 0; nothing where it costs nobody knows what. */
static void print_point(const struct sweep_page *p, const struct trade *trade, size_t i,
                        int sort, FILE *out)
{
    const struct sweep_row *row = p->order[i];
    char *name;

    if (isnan(trade->cost(row)))
        return;
    name = sweep_row_name(p, row);
    plot_label(out, name);
    free(name);
    (void)fprintf(out, ",%zu", i + 1);
    add(out, sweep_goal(p, row));
    add(out, trade->scale * trade->cost(row));
    (void)fprintf(out, ",%d\n", sort);
}

/* The front in ascending order of x, then the others, evenly thinned where there are
 * more than can be seen. */
static int print_front(void *context, struct plot *plot, FILE *out, struct err *e)
{
    const struct figure *f = context;
    const struct sweep_page *p = f->p;
    const struct trade *trade = f->trade;
    size_t count, at = p->ranked, each = 1 + p->ranked / MOST_POINTS;
    const struct sweep_row **front = sweep_front(p, trade->cost, &count);

    (void)e;
    (void)fputs("point,number,x,y,sort\n", out);
    for (size_t k = count; k-- > 0;) {
        while (p->order[--at] != front[k])
            continue;
        print_point(p, trade, at, 1, out);
    }
    at = count;
    for (size_t i = p->ranked; i-- > 0;) {
        if (at > 0 && p->order[i] == front[at - 1])
            at--;
        else if (i % each == 0)
            print_point(p, trade, i, 0, out);
    }
    plot->series = count > 1 ? 4 : 0; /* one point is no trade */
    free(front);
    return 0;
}

static int draw_fronts(struct sweep_page *p, struct err *e)
{
    struct plot tail = {.kind = "points",
                        .name = "front",
                        .title = "Throughput against latency",
                        .x = sweep_goal_name(p),
                        .y = "time per output token at 99 % (ms)"};
    struct plot memory = {.kind = "points",
                          .name = "memory",
                          .title = "What GPU memory buys",
                          .x = sweep_goal_name(p),
                          .y = "GPU memory in use at most (GB)"};
    const struct trade by_tail = {sweep_row_tail, 1e3},
                       by_memory = {sweep_row_memory, 1e-9};
    static const char caption[] =
        "Right is better, and down. On the green line nothing "
        "else is better in both. Numbers are the points' ranks.";

    if (draw(p, &tail, caption, print_front, (struct figure){.trade = &by_tail}, e) != 0)
        return -1;
    return draw(p, &memory, caption, print_front, (struct figure){.trade = &by_memory},
                e);
}

/* ---- who wins where ---- */

/* The keys of a map. */
struct map {
    size_t who;         /* names: its values compete */
    size_t x, y, panel; /* numbers; y and panel may be SIZE_MAX: there is none */
    size_t columns, lines, panels;
    double *best; /* [panels * lines * columns * competitors] */
};

static size_t levels_of(const struct sweep_page *p, size_t key)
{
    return key == SIZE_MAX ? 1 : p->t.key[key].levels;
}

static const char *level_name(const struct sweep_page *p, size_t key, size_t level)
{
    return key == SIZE_MAX ? "" : p->t.key[key].level[level];
}

static size_t level_of(const struct sweep_row *row, size_t key)
{
    return key == SIZE_MAX ? 0 : row->level[key];
}

/* Chooses the keys: false where there is no map to draw. */
static bool choose_map(const struct sweep_page *p, struct map *m)
{
    size_t *number[] = {&m->x, &m->y, &m->panel};
    size_t most[] = {MOST_LEVELS, MOST_LEVELS, MOST_PANELS}, found = 0;

    *m = (struct map){SIZE_MAX, SIZE_MAX, SIZE_MAX, SIZE_MAX, 1, 1, 1, NULL};
    for (size_t i = 0; i < p->t.keys; i++) {
        size_t k = p->effect[i].key, levels = p->t.key[k].levels;

        if (levels < 2)
            continue;
        if (p->t.key[k].number == NULL) {
            if (m->who == SIZE_MAX && levels < PLOT_LINES)
                m->who = k;
        } else if (found < 3 && levels <= most[found]) {
            *number[found++] = k;
        }
    }
    m->columns = levels_of(p, m->x);
    m->lines = levels_of(p, m->y);
    m->panels = levels_of(p, m->panel);
    return m->who != SIZE_MAX && m->x != SIZE_MAX;
}

static void fill_map(const struct sweep_page *p, struct map *m)
{
    size_t rivals = p->t.key[m->who].levels;
    size_t cells = m->panels * m->lines * m->columns;

    m->best = mem_alloc(cells * rivals, sizeof *m->best);
    for (size_t i = 0; i < cells * rivals; i++)
        m->best[i] = NAN;
    for (size_t i = 0; i < p->ranked; i++) {
        const struct sweep_row *row = p->order[i];
        size_t cell =
            (level_of(row, m->panel) * m->lines + level_of(row, m->y)) * m->columns +
            level_of(row, m->x);
        double *at = &m->best[cell * rivals + level_of(row, m->who)];

        if (isnan(*at))
            *at = sweep_goal(p, row);
    }
}

#define TIE 0.05 /* a lead in % below which nobody wins */

/* The best of a cell and its lead over the next in %; false where fewer than two are
 * there. */
static bool find_winner(const double *best, size_t rivals, size_t *winner, double *lead)
{
    double first = -INFINITY, second = -INFINITY;

    for (size_t i = 0; i < rivals; i++) {
        if (isnan(best[i]))
            continue;
        if (best[i] > first) {
            second = first;
            first = best[i];
            *winner = i;
        } else if (best[i] > second) {
            second = best[i];
        }
    }
    *lead = 100 * (first / second - 1);
    return second > 0;
}

/* "batch 8" above a panel. Owned. */
static char *panel_name(const struct sweep_page *p, const struct map *m, size_t panel)
{
    char *value, *name;

    if (m->panel == SIZE_MAX)
        return mem_strdup("");
    value = sweep_value_text(level_name(p, m->panel, panel));
    name = mem_format("%s %s", report_differs_short(p->t.key[m->panel].name), value);
    free(value);
    return name;
}

static void print_cell(const struct sweep_page *p, const struct map *m, size_t at[3],
                       const double *best, FILE *out)
{
    char *panel = panel_name(p, m, at[0]);
    size_t winner = 0;
    double lead;

    if (find_winner(best, p->t.key[m->who].levels, &winner, &lead)) {
        bool tie = lead < TIE;
        size_t rivals = p->t.key[m->who].levels;

        plot_label(out, panel);
        (void)fputc(',', out);
        plot_label(out, level_name(p, m->x, at[2]));
        (void)fputc(',', out);
        plot_label(out, level_name(p, m->y, at[1]));
        (void)fprintf(out, ",%zu,%zu,%zu,%zu,", at[0], at[2], at[1],
                      tie ? rivals + 1 : winner + 1);
        plot_label(out, tie ? "tie" : level_name(p, m->who, winner));
        add(out, lead);
        (void)fputc('\n', out);
    }
    free(panel);
}

static int print_map(void *context, struct plot *plot, FILE *out, struct err *e)
{
    const struct figure *f = context;
    const struct sweep_page *p = f->p;
    const struct map *m = f->map;
    size_t rivals = p->t.key[m->who].levels, at[3], cell = 0, shown = 0, winner;
    double lead;

    (void)e;
    (void)fputs("panel,x,y,panel,x,y,winner,name,lead\n", out);
    for (at[0] = 0; at[0] < m->panels; at[0]++)
        for (at[1] = 0; at[1] < m->lines; at[1]++)
            for (at[2] = 0; at[2] < m->columns; at[2]++, cell++) {
                shown += find_winner(m->best + cell * rivals, rivals, &winner, &lead);
                print_cell(p, m, at, m->best + cell * rivals, out);
            }
    /* Points at random have few cells in common: there is nothing to compare. */
    if (2 * shown >= cell)
        plot->series = rivals;
    return 0;
}

static int draw_map(struct sweep_page *p, struct err *e)
{
    struct map m;
    struct plot plot = {.kind = "map", .name = "map"};
    char *title;
    int status;

    /* Points at random have no cells in common. */
    if (!p->grid || !choose_map(p, &m))
        return 0;
    fill_map(p, &m);
    title = mem_format("Which %s wins where", p->t.key[m.who].name);
    plot.title = title;
    plot.x = p->t.key[m.x].name;
    plot.y = m.y == SIZE_MAX ? "" : p->t.key[m.y].name;
    status = draw(p, &plot,
                  "The colour is the winner's, the number its lead over the next in %, "
                  "each at its best over all other keys. Where the lead is small, the "
                  "border is where a small error of the model may move it.",
                  print_map, (struct figure){.map = &m}, e);
    free(title);
    free(m.best);
    return status;
}

/* ---- names ---- */

/* The points of each value of a key: how their goals spread. */
static int print_levels(void *context, struct plot *plot, FILE *out, struct err *e)
{
    const struct figure *f = context;
    const struct sweep_page *p = f->p;
    static const double share[] = {0.05, 0.25, 0.50, 0.75, 0.95, 0.99};
    size_t key = f->key;

    (void)e;
    (void)fputs("value,5 %,25 %,50 %,75 %,95 %,99 %\n", out);
    for (size_t level = 0; level < p->t.key[key].levels; level++) {
        if (isnan(sweep_bin_quantile(p, key, level, 0.5)))
            continue;
        plot_label(out, p->t.key[key].level[level]);
        for (size_t k = 0; k < sizeof share / sizeof *share; k++)
            add(out, sweep_bin_quantile(p, key, level, share[k]));
        (void)fputc('\n', out);
        plot->series = sizeof share / sizeof *share;
    }
    return 0;
}

static int draw_levels(struct sweep_page *p, struct err *e)
{
    int status = 0, number = 0;

    for (size_t i = 0; i < p->t.keys && number < MOST_AXES && status == 0; i++) {
        size_t k = p->effect[i].key;
        char *name, *title;
        struct plot plot;

        if (p->t.key[k].number != NULL || p->t.key[k].levels < 2)
            continue;
        name = mem_format("values-%d", ++number);
        title = mem_format("By %s", p->t.key[k].name);
        plot = (struct plot){.kind = "boxes",
                             .name = name,
                             .title = title,
                             .x = sweep_goal_name(p),
                             .y = ""};
        status = draw(p, &plot, "How all points with each value spread.", print_levels,
                      (struct figure){.key = k}, e);
        free(title);
        free(name);
    }
    return status;
}

/* ---- all of them ---- */

int sweep_figures(struct sweep_page *p, struct err *e)
{
    struct plot effects = {.kind = "bars",
                           .name = "effects",
                           .title = "What decides",
                           .x = "loss of the median point (%)",
                           .y = ""};

    (void)fputs("<h2>Figures</h2>\n", p->out);
    if (draw(p, &effects,
             "The keys, by what the median point loses from their best value to their "
             "worst.",
             print_effects, (struct figure){.key = 0}, e) != 0 ||
        draw_axes(p, e) != 0 || draw_map(p, e) != 0 || draw_fronts(p, e) != 0 ||
        sweep_quality(p, e) != 0)
        return -1;
    return draw_levels(p, e);
}

void report_sweep_own_files(struct folder_out *f)
{
    folder_out_own(f, "report.html");
    plot_own(f, "effects");
    plot_own(f, "front");
    plot_own(f, "memory");
    plot_own(f, "map");
    plot_own(f, "quality");
    for (int i = 1; i <= MOST_AXES; i++) {
        char *axis = mem_format("axis-%d", i), *values = mem_format("values-%d", i);

        plot_own(f, axis);
        plot_own(f, values);
        free(axis);
        free(values);
    }
}
