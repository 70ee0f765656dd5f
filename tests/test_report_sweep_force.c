/* The page of a sweep against brute force. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "made_result.h"
#include "sim/base/mem.h"
#include "sim/base/rng.h"
#include "sweep_rig.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

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

static void enter_points(struct sweep_rig *s)
{
    for (int i = 0; i < POINTS; i++) {
        const struct drawn *p = &point[i];
        char *keys = mem_format("%s,%d,%d GB/s,%d,", caches[p->cache], 4 << p->slots,
                                12 * (p->link + 1), p->seed + 1);
        struct sweep_line line = sweep_rig_line_of(keys, p->tokens);

        line.tail = p->tail;
        line.memory = p->memory;
        sweep_rig_enter(s, line);
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
    struct sweep_rig s;
    char *page, *wanted;
    int best = 0, equals = 0;

    draw_points(round);
    sweep_rig_begin(&s, state,
                    "sweep.cache.name,sweep.cache.slots,sweep.machine.link,sweep.seed,");
    enter_points(&s);
    page = sweep_rig_finish(&s);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(against_brute_force, report_rig_set_up,
                                        report_rig_tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
