/* The page of a sweep, by hand and by brute force. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "made_result.h"
#include "report_rig.h"
#include "sim/base/file.h"
#include "sim/base/mem.h"
#include "sim/base/rng.h"
#include "sim/report/report_sweep.h"
#include "sweep_table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A folder of a sweep inside of the rig's, whose every point has the same result. */
struct sweep {
    struct report_rig *g;
    char *folder, *point; /* of the result, below it */
    FILE *table;
    unsigned lines;
};

static char *file_of(const struct sweep *s, const char *name)
{
    return mem_format("%s/%s", s->folder, name);
}

static void begin(struct sweep *s, void **state, const char *keys)
{
    struct err e = {.text = ""};
    char *path, *study;
    FILE *f;

    s->g = *state;
    s->lines = 0;
    s->folder = mem_format("%s/sweep", s->g->folder);
    s->point = file_of(s, "points/ab");
    assert_int_equal(file_make_folder(s->point, &e), 0);
    study = file_of(s, "study.yaml");
    f = fopen(study, "w");
    assert_non_null(f);
    assert_true(fputs("sweep: <b>\n", f) >= 0);
    assert_int_equal(fclose(f), 0);
    free(study);
    path = file_of(s, "sweep.csv");
    s->table = fopen(path, "w");
    assert_non_null(s->table);
    free(path);
    sweep_table_head(s->table, keys);
}

static struct sweep_line line_of(const char *keys, double tokens)
{
    return (struct sweep_line){.identity = "abcd",
                               .keys = keys,
                               .label = "p",
                               .cache = "lru slots=4",
                               .tokens = tokens,
                               .tpot = 1 / tokens,
                               .tail = 2 / tokens,
                               .memory = 5e9,
                               .hits = 0.5};
}

static void enter(struct sweep *s, struct sweep_line line)
{
    line.point = s->lines++;
    sweep_table_line(s->table, &line);
}

static void enter_tokens(struct sweep *s, const char *keys, double tokens)
{
    enter(s, line_of(keys, tokens));
}

/* Closes the table. */
static void end(struct sweep *s)
{
    struct made_shape shape = {.policies = 1, .layers = 1, .requests = 2, .seed = 1};
    struct result r = made_result(&shape);
    char *path = file_of(s, "points/ab/abcd.h5");
    struct err e = {.text = ""};

    assert_int_equal(fclose(s->table), 0);
    if (result_write(&r, path, &e) != 0)
        fail_msg("%s", e.text);
    result_release(&r);
    free(path);
}

static int write_page(const struct sweep *s, struct err *e)
{
    const struct report_sweep_request request = {
        .sweep = s->folder, .folder = s->g->folder, .plots = "plots"};

    e->text[0] = '\0';
    return report_sweep_write(&request, e);
}

/* Removes what begin() and end() made. */
static void clear(struct sweep *s)
{
    char *points = file_of(s, "points");

    made_folder_remove(s->point);
    made_folder_remove(points);
    made_folder_remove(s->folder);
}

/* The page, without what its tables are sorted by. Owned. */
static char *page_of(struct sweep *s, int wanted)
{
    struct err e;
    char *page, *shown;
    int status = write_page(s, &e);

    if (status != wanted)
        print_error("%s\n", e.text);
    assert_int_equal(status, wanted);
    page = report_rig_read(s->g, "report.html");
    shown = report_rig_shown(page);
    free(page);
    clear(s);
    return shown;
}

static char *finish(struct sweep *s)
{
    end(s);
    return page_of(s, 1);
}

/* ---- the answer ---- */

/* Over slots 4, 8, 16: 10, 18, 20 with arc, 8, 9, 10 with lru.
 *   winner   20 with arc and 16 slots; the next has 18, 10 % less
 *   cache    medians of 18 and 9: 50 % less
 *   slots    medians of 9, 13.5 and 15: 40 % less from 16 to 4
 *   knee     of 10, 18, 20: 8 is 1/3 of the way and 4/5 of the height */
static void enter_grid(struct sweep *s)
{
    enter_tokens(s, "lru,4,", 8);
    enter_tokens(s, "lru,8,", 9);
    enter_tokens(s, "lru,16,", 10);
    enter_tokens(s, "arc,16,", 20);
    enter_tokens(s, "arc,4,", 10);
    enter_tokens(s, "arc,8,", 18);
}

static void the_answer(void **state)
{
    struct sweep s;
    char *page;

    begin(&s, state, "sweep.cache.name,sweep.cache.slots,");
    enter_grid(&s);
    page = finish(&s);
    text_has(
        page,
        "<section class=\"card answer\">\n"
        "<h1>arc, slots 16 wins: 20.0 tokens per s</h1>\n"
        "<p><b class=tag>Winner</b> point 3, policy p: 50.0 ms per output token "
        "(median; 99 %: 100 ms), GPU memory 5.00 GB. Next, 10.0 % less: arc, slots "
        "8.</p>\n"
        "<p><b class=tag>Reason</b> What decides most is cache.name: from arc to lru "
        "the median point loses 50.0 %. Then cache.slots: from 16 to 4 the median "
        "point loses 40.0 %.</p>\n"
        "<p><b class=tag>Knee</b> cache.slots at 8 (best 18.0 tokens per s): more "
        "brings less from there on.</p>\n"
        "<p><b class=tag>Front</b> No point has less time per output token at 99 % "
        "than the winner. No point has less GPU memory than the winner.</p>\n");
    text_has(page, "<p class=sub>6 rows of policies in points; cache.name (2 values), "
                   "cache.slots (3 values)</p>");
    text_has(page,
             "<tr class=winner><td>1 arc, slots 16</td><td>20.0</td><td>50.0 ms</td>"
             "<td>50.0 %</td><td>5.00 GB</td><td>100 ms</td><td>250 ms</td><td>1.00 "
             "GB</td><td>3</td></tr>\n<tr><td>2 arc, slots 8</td><td>18.0</td>");
    /* 10 tokens per second twice: the first point first. */
    text_in_order(page, "<td>3 lru, slots 16</td>", "<td>4 arc, slots 4</td>");
    text_in_order(page, "<td>4 arc, slots 4</td>", "<td>5 lru, slots 8</td>");
    text_has(page, "<summary>The study</summary><pre>sweep: &lt;b&gt;\n</pre>");
    text_lacks(page, "Failed: ");
    free(page);
    report_rig_data(*state, "effects.csv", "key,loss\ncache.name,50\ncache.slots,40\n");
    report_rig_data(*state, "axis-1.csv",
                    "x,arc,lru,knee\n4,10,8,\n8,18,9,18\n16,20,10,\n");
    report_rig_data(*state, "values-1.csv",
                    "value,5 %,25 %,50 %,75 %,95 %,99 %\n"
                    "arc,10.8,14,18,19,19.8,19.96\nlru,8.1,8.5,9,9.5,9.9,9.98\n");
    report_rig_data(
        *state, "map.csv",
        "panel,x,y,panel,x,y,winner,name,lead\n"
        "-,4,-,0,0,0,1,arc,25\n-,8,-,0,1,0,1,arc,100\n-,16,-,0,2,0,1,arc,100\n");
}

/* A bound has the most tokens, and wins nothing. */
static void a_bound_never_wins(void **state)
{
    struct sweep_line line = line_of("4,", 90);
    struct sweep s;
    char *page;

    begin(&s, state, "sweep.cache.slots,");
    enter_tokens(&s, "4,", 30);
    line.cache = "belady slots=4";
    line.label = "q";
    s.lines--;
    enter(&s, line); /* in the second row of the table, of the same point */
    enter_tokens(&s, "8,", 25);
    page = finish(&s);
    text_has(page, "<h1>p, slots 4 wins: 30.0 tokens per s</h1>");
    text_has(page,
             "</tbody><tbody class=bounds>\n<tr class=group><td colspan=9><span>Bounds: "
             "they know what comes</span></td></tr>\n<tr><td>q, slots 4</td><td>90.0"
             "</td>");
    assert_int_equal(text_counts(page, "<tr class=winner>"), 1);
    text_has(page, "<tr class=winner><td>1 p, slots 4</td>");
    free(page);
    report_rig_data(*state, "axis-1.csv", "x,the best point\n4,30\n8,25\n");
}

static void what_failed_is_said(void **state)
{
    struct sweep_line line = line_of("4,", 1);
    struct sweep s;
    char *page;

    begin(&s, state, "sweep.cache.slots,");
    enter_tokens(&s, "8,", 30);
    line.outcome = "failed";
    line.why = "\"slots <4>, too few\"";
    enter(&s, line);
    line.outcome = "missing";
    enter(&s, line);
    enter(&s, line);
    end(&s);
    page = page_of(&s, 0); /* one value is no axis: no figure is missing */
    text_has(page, "<p class=note>Failed: 1; missing or stopped: 2. The first "
                   "failure: slots &lt;4&gt;, too few</p>");
    text_has(page,
             "<p class=sub>1 rows of policies in points; cache.slots (1 values)</p>");
    text_lacks(page, "<b class=tag>Reason</b>");
    free(page);
}

/* Where nothing was timed hits count, in %. */
static void hits_alone(void **state)
{
    struct sweep_line line = line_of("4,", 1);
    struct sweep s;
    char *page;

    begin(&s, state, "sweep.cache.slots,");
    line.tokens = line.tpot = line.tail = -1;
    line.hits = 0.25;
    enter(&s, line);
    line.keys = "8,";
    line.hits = 0.75;
    enter(&s, line);
    page = finish(&s);
    text_has(page,
             "<h1>slots 8 wins: 75.0 % hits</h1>\n<p><b class=tag>Winner</b> point 1, "
             "policy p. Next, 66.7 % less: slots 4.</p>");
    text_lacks(page, "Times are predicted");
    assert_false(report_rig_has(*state, "front.csv"));
    free(page);
    report_rig_data(*state, "axis-1.csv", "x,the best point\n4,25\n8,75\n");
}

/* ---- by brute force ---- */

enum {
    CACHES = 3,
    SLOTS = 4,
    LINKS = 3,
    SEEDS = 2,
    POINTS = CACHES * SLOTS * LINKS * SEEDS
};

static const char *const caches[CACHES] = {"arc", "lru", "sieve"};

struct drawn {
    int cache, slots, link, seed;
    double tokens, tail, memory;
};
static struct drawn point[POINTS];

/* Few different values, so that there are ties. */
static void draw_points(uint64_t seed)
{
    struct rng g = rng_stream(seed, "sweep", 0);

    for (int i = 0; i < POINTS; i++)
        point[i] = (struct drawn){.cache = i % CACHES,
                                  .slots = i / CACHES % SLOTS,
                                  .link = i / CACHES / SLOTS % LINKS,
                                  .seed = i / CACHES / SLOTS / LINKS,
                                  .tokens = 10 + (double)rng_below(&g, 12),
                                  .tail = 1e-3 * (double)(20 + rng_below(&g, 10)),
                                  .memory = 1e9 * (double)(3 + rng_below(&g, 8))};
}

static void enter_points(struct sweep *s)
{
    for (int i = 0; i < POINTS; i++) {
        const struct drawn *p = &point[i];
        char *keys = mem_format("%s,%d,%d GB/s,%d,", caches[p->cache], 4 << p->slots,
                                12 * (p->link + 1), p->seed + 1);
        struct sweep_line line = line_of(keys, p->tokens);

        line.tail = p->tail;
        line.memory = p->memory;
        enter(s, line);
        free(keys);
    }
}

/* What the best point has that satisfies these, -1: any. */
static double best_of(int cache, int slots, int link, int seed)
{
    double best = 0;

    for (int i = 0; i < POINTS; i++)
        if ((cache < 0 || point[i].cache == cache) &&
            (slots < 0 || point[i].slots == slots) &&
            (link < 0 || point[i].link == link) && (seed < 0 || point[i].seed == seed))
            best = fmax(best, point[i].tokens);
    return best;
}

static int ascending(const void *a, const void *b)
{
    double x, y;

    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

static int value_of(const struct drawn *p, int key)
{
    return key == 0 ? p->cache : key == 1 ? p->slots : key == 2 ? p->link : p->seed;
}

/* The median of the points with a value. */
static double median_of(int key, int value)
{
    double tokens[POINTS];
    size_t count = 0;

    for (int i = 0; i < POINTS; i++)
        if (value_of(&point[i], key) == value)
            tokens[count++] = point[i].tokens;
    qsort(tokens, count, sizeof *tokens, ascending);
    return (tokens[(count - 1) / 2] + tokens[count / 2]) / 2;
}

/* What the median point loses from the best value of a key to the worst. */
static double loss_of(int key)
{
    static const int values[] = {CACHES, SLOTS, LINKS, SEEDS};
    double worst = INFINITY, best = 0;

    for (int v = 0; v < values[key]; v++) {
        worst = fmin(worst, median_of(key, v));
        best = fmax(best, median_of(key, v));
    }
    return 100 * (1 - worst / best);
}

/* Whether no other has more tokens for no more cost, or less cost for no fewer tokens. */
static bool on_front(int i, bool memory)
{
    double mine = memory ? point[i].memory : point[i].tail;

    for (int k = 0; k < POINTS; k++) {
        double its = memory ? point[k].memory : point[k].tail;

        if (point[k].tokens >= point[i].tokens && its <= mine &&
            (point[k].tokens > point[i].tokens || its < mine))
            return false;
    }
    return true;
}

/* Reads a table of the page: its fields by line, without the head. */
static char *body_of(void **state, const char *name)
{
    char *data = report_rig_read(*state, name), *body;

    body = mem_strdup(strchr(data, '\n') + 1);
    free(data);
    return body;
}

static void check_effects(void **state)
{
    static const char *const names[] = {"cache.name", "cache.slots", "machine.link",
                                        "seed"};
    char *body = body_of(state, "effects.csv"), *at = body;
    double last = INFINITY;
    bool seen[4] = {false};

    for (int i = 0; i < 4; i++) {
        int key = 0;
        double loss;

        while (key < 4 && strncmp(at, names[key], strlen(names[key])) != 0)
            key++;
        assert_true(key < 4 && !seen[key]);
        seen[key] = true;
        loss = strtod(at + strlen(names[key]) + 1, &at);
        assert_true(fabs(loss - loss_of(key)) < 1e-9);
        assert_true(loss <= last);
        last = loss;
        at++;
    }
    assert_string_equal(at, "");
    free(body);
}

/* Every pair of tokens and cost that nothing beats is marked once, and no other. */
static void check_front(void **state, bool memory)
{
    const char *name = memory ? "memory.csv" : "front.csv";
    int marked = 0, wanted = 0, lines = 0;
    char *body, *at;

    for (int i = 0; i < POINTS; i++) {
        bool first = on_front(i, memory);

        for (int k = 0; k < i; k++) /* of equal ones one stands for all */
            first = first && (point[k].tokens != point[i].tokens ||
                              (memory ? point[k].memory != point[i].memory
                                      : point[k].tail != point[i].tail));
        wanted += first;
    }
    assert_int_equal(report_rig_has(*state, name), wanted > 1); /* one is no trade */
    if (wanted == 1)
        return;
    at = body = body_of(state, name);
    for (; *at != '\0'; at = strchr(at, '\n') + 1, lines++) {
        char *end = strchr(at, '\n');
        double x, y;
        bool any = false;

        if (end[-1] != '1')
            continue;
        marked++;
        while (*end != ',' || strncmp(end, ",1\n", 3) == 0)
            end--;
        y = strtod(end + 1, NULL);
        for (end--; *end != ','; end--)
            ;
        x = strtod(end + 1, NULL);
        for (int i = 0; i < POINTS; i++)
            any =
                any ||
                (point[i].tokens == x && on_front(i, memory) &&
                 fabs((memory ? point[i].memory / 1e9 : 1e3 * point[i].tail) - y) < 1e-9);
        assert_true(any);
    }
    assert_int_equal(lines, POINTS);
    assert_int_equal(marked, wanted);
    free(body);
}

/* The keys with numbers, those that decide most first: across, up, panels. */
static void axes_of_map(int axis[3])
{
    int left[3] = {1, 2, 3};

    for (int a = 0; a < 3; a++) {
        int best = -1;

        for (int k = 0; k < 3; k++)
            if (left[k] > 0 && (best < 0 || loss_of(left[k]) > loss_of(left[best])))
                best = k;
        axis[a] = left[best];
        left[best] = 0;
    }
}

static void check_map(void **state)
{
    static const int values[] = {CACHES, SLOTS, LINKS, SEEDS};
    char *body = body_of(state, "map.csv"), *at = body;
    int axis[3], cells = 0;

    axes_of_map(axis);
    for (; *at != '\0'; at = strchr(at, '\n') + 1, cells++) {
        int level[4] = {-1, -1, -1, -1}, panel, x, y, winner, best = 0;
        double first = 0, second = 0, lead;
        char name[20], *field = at;

        for (int i = 0; i < 3; i++) /* names */
            field = strchr(field, ',') + 1;
        assert_int_equal(sscanf(field, "%d,%d,%d,%d,%19[^,],%lf", &panel, &x, &y, &winner,
                                name, &lead),
                         6);
        level[axis[0]] = x;
        level[axis[1]] = y;
        level[axis[2]] = panel;
        for (int c = 0; c < CACHES; c++) {
            double t = best_of(c, level[1], level[2], level[3]);

            if (t > first) {
                second = first;
                first = t;
                best = c;
            } else if (t > second) {
                second = t;
            }
        }
        assert_true(fabs(lead - 100 * (first / second - 1)) < 1e-9);
        assert_int_equal(winner, first == second ? CACHES + 1 : best + 1);
        assert_string_equal(name, first == second ? "tie" : caches[best]);
    }
    assert_int_equal(cells, values[1] * values[2] * values[3]);
    free(body);
}

static void one_round(void **state, uint64_t round)
{
    struct sweep s;
    char *page, *wanted;
    int best = 0, equals = 0;

    draw_points(round);
    begin(&s, state, "sweep.cache.name,sweep.cache.slots,sweep.machine.link,sweep.seed,");
    enter_points(&s);
    page = finish(&s);
    for (int i = 1; i < POINTS; i++)
        if (point[i].tokens > point[best].tokens)
            best = i;
    for (int i = 0; i < POINTS; i++)
        equals += point[i].tokens == point[best].tokens;
    wanted = mem_format("<h1>%s, slots %d, link %d GB/s, seed %d%s: %.1f tokens per s"
                        "</h1>\n<p><b class=tag>Winner</b> point %d, ",
                        caches[point[best].cache], 4 << point[best].slots,
                        12 * (point[best].link + 1), point[best].seed + 1,
                        equals > 1 ? " is first of equals" : " wins", point[best].tokens,
                        best);
    text_has(page, wanted);
    free(wanted);
    free(page);
    check_effects(state);
    check_front(state, false);
    check_front(state, true);
    check_map(state);
}

static void against_brute_force(void **state)
{
    enum { ROUNDS = 12 };
    struct report_rig *g = *state;

    for (uint64_t round = 0; round < ROUNDS; round++) {
        one_round(state, round);
        made_folder_remove(mem_strdup(g->folder)); /* no round sees another's files */
    }
}

/* ---- odd sweeps ---- */

/* Without any key there is no axis, and a page all the same. */
static void one_point(void **state)
{
    struct sweep s;
    char *page;

    begin(&s, state, "");
    enter_tokens(&s, "", 30);
    end(&s);
    page = page_of(&s, 0);
    text_has(page, "<h1>p wins: 30.0 tokens per s</h1>");
    text_lacks(page, "<figure");
    free(page);
}

/* Points at random share no cells: there is no map; many values are put in bins. */
static void points_at_random(void **state)
{
    struct sweep s;
    struct rng g = rng_stream(7, "random", 0);
    char *page, *data;

    begin(&s, state, "sweep.cache.name,sweep.a,sweep.b,");
    for (int i = 0; i < 60; i++) {
        char *keys =
            mem_format("%s,%d.5,%d,", caches[i % CACHES], i, (i * 37 + 11) % 101);

        enter_tokens(&s, keys, 10 + rng_unit(&g));
        free(keys);
    }
    page = finish(&s);
    text_lacks(page, "figure-map");
    text_has(page, "<figure id=figure-axis-1>");
    text_has(page, "How the points at each value spread, of many values in each of "
                   "twelve equal parts of "
                   "them.");
    free(page);
    data = report_rig_read(*state, "axis-1.csv");
    assert_int_equal(text_counts(data, "\n"), 13);
    free(data);
}

/* The best 200 are on the page. */
static void many_points(void **state)
{
    struct sweep s;
    char *page;

    begin(&s, state, "sweep.seed,");
    for (int i = 0; i < 205; i++) {
        char *keys = mem_format("%d,", i);

        enter_tokens(&s, keys, 100 + i);
        free(keys);
    }
    page = finish(&s);
    text_has(page, "<p class=sub>The best 200 of 205; sweep.csv has all.</p>");
    text_has(page, "<td>200 seed 5</td>");
    text_lacks(page, "<td>201 seed 4</td>");
    free(page);
}

static void labels_are_text(void **state)
{
    struct sweep_line line = line_of("<i>4</i>,", 5);
    struct sweep s;
    char *page, *data;

    begin(&s, state, "sweep.<script>,");
    enter_tokens(&s, "<i>8</i>,", 30);
    line.label = "<script>alert(1)</script>";
    enter(&s, line);
    page = finish(&s);
    assert_int_equal(text_counts(page, "<script>"), 1); /* the page's own */
    text_lacks(page, "<i>");
    text_has(page, "&lt;script&gt;alert(1)&lt;/script&gt;, &lt;i&gt;4&lt;/i&gt;");
    free(page);
    data = report_rig_read(*state, "values-1.csv");
    text_has(data, "\n<i>4</i>,5,");
    free(data);
}

/* ---- refused ---- */

static void assert_refused(const struct sweep *s, const char *words)
{
    struct err e;

    assert_int_equal(write_page(s, &e), -1);
    text_has(e.text, words);
    assert_false(report_rig_has(s->g, "report.html"));
}

static void refused(void **state)
{
    struct sweep s;
    struct sweep_line line = line_of("4,", 1);
    char *path;

    begin(&s, state, "sweep.slots,");
    line.outcome = "failed";
    line.why = "no room";
    enter(&s, line);
    end(&s);
    assert_refused(&s,
                   "sweep.csv: no point has a figure to rank by; its column 'why' says "
                   "what failed");
    clear(&s);
    begin(&s, state, "sweep.slots,");
    line = line_of("4,", 1);
    line.cache = "belady";
    enter(&s, line); /* nothing but bounds */
    end(&s);
    assert_refused(&s, "sweep.csv: no point has a figure to rank by");
    clear(&s);
    begin(&s, state, "sweep.slots,");
    enter_tokens(&s, "4,", 3);
    end(&s);
    path = file_of(&s, "points/ab/abcd.h5");
    assert_int_equal(unlink(path), 0);
    assert_refused(&s, path);
    free(path);
    clear(&s);
    begin(&s, state, "sweep.slots,");
    enter_tokens(&s, "4,", 3);
    end(&s);
    path = file_of(&s, "study.yaml");
    assert_int_equal(unlink(path), 0);
    assert_refused(&s, path);
    free(path);
    path = file_of(&s, "sweep.csv");
    assert_int_equal(unlink(path), 0);
    assert_refused(&s, "finish the sweep, or gather it with moesim sweep collect");
    free(path);
    clear(&s);
}

int main(void)
{
#define SWEEP(test)                                                                      \
    cmocka_unit_test_setup_teardown(test, report_rig_set_up, report_rig_tear_down)
    const struct CMUnitTest tests[] = {
        SWEEP(the_answer),       SWEEP(a_bound_never_wins),  SWEEP(what_failed_is_said),
        SWEEP(hits_alone),       SWEEP(against_brute_force), SWEEP(one_point),
        SWEEP(points_at_random), SWEEP(many_points),         SWEEP(labels_are_text),
        SWEEP(refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
