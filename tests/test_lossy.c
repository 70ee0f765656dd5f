/* Selects beside their controls: lines, the front, and what equal mass lost costs. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "hand_result.h"
#include "sim/base/mem.h"
#include "sim/base/rng.h"
#include "sim/report/lossy.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void enter(struct lossy *l, const char *select, const char *others, double lost,
                  double time)
{
    lossy_add(l, (struct lossy_point){.select = select,
                                      .label = select,
                                      .others = mem_strdup(others),
                                      .lost = lost,
                                      .time = time,
                                      .rows = 1000,
                                      .number = (unsigned)l->points});
}

static const struct lossy_point *numbered(const struct lossy *l, unsigned number)
{
    for (size_t i = 0; i < l->points; i++)
        if (l->point[i].number == number)
            return &l->point[i];
    fail_msg("no point %u", number);
    return NULL;
}

/* ---- against controls ---- */

/* A select beside: nothing lost in 100 ms, k = 3 a tenth in 80 ms, k = 2 three tenths in
 * 40 ms. */
static struct lossy controls(double lost, double time)
{
    struct lossy l = {.points = 0};

    enter(&l, "lynx drop=0.25", "lru", lost, time);
    enter(&l, "top-k k=2", "lru", 0.3, 0.040);
    enter(&l, "none", "lru", 0, 0.100);
    enter(&l, "top-k k=3", "lru", 0.1, 0.080);
    enter(&l, "none", "fifo", 0, 0.001); /* has other choices: no control */
    enter(&l, "top-k k=1", "fifo", 0.2, 0.001);
    return l;
}

static void assert_control(double lost, double time, enum lossy_control known,
                           double wanted)
{
    struct lossy l = controls(lost, time);
    struct lossy_against a;

    lossy_find(&l);
    a = lossy_compare(&l, numbered(&l, 0));
    assert_int_equal(a.known, known);
    assert_int_equal(a.controls, 2);
    assert_true(fabs(a.most - 0.3) < 1e-12);
    if (known == LOSSY_KNOWN || known == LOSSY_BEATEN_BY_LESS) {
        assert_true(fabs(a.time - wanted) < 1e-12);
        assert_true(fabs(lossy_lead(&a, time) - (1 - time / wanted)) < 1e-12);
    } else {
        assert_true(isnan(lossy_lead(&a, time)));
    }
    lossy_release(&l);
}

static void between_controls(void **state)
{
    (void)state;
    assert_control(0.2, 0.050, LOSSY_KNOWN, 0.060);
    assert_control(0.05, 0.095, LOSSY_KNOWN, 0.090);
    assert_control(0.25, 0.095, LOSSY_KNOWN, 0.050);
    assert_control(0.1, 0.010, LOSSY_KNOWN, 0.080); /* on a control */
    assert_control(0.3, 0.010, LOSSY_KNOWN, 0.040);
    assert_control(0, 0.099, LOSSY_KNOWN, 0.100);
    assert_control(-0.01, 0.099, LOSSY_KNOWN, 0.100); /* nothing lost */
}

static void beyond_controls(void **state)
{
    (void)state;
    assert_control(0.4, 0.050, LOSSY_BEATEN_BY_LESS, 0.040);
    assert_control(0.4, 0.040, LOSSY_BEATEN_BY_LESS, 0.040);
    assert_control(0.4, 0.039, LOSSY_NOT_SO_MUCH, 0);
}

/* A control that loses less and takes less stands for those beyond it. */
static void a_better_control(void **state)
{
    struct lossy l = controls(0.25, 0.050);
    struct lossy_against a;

    (void)state;
    enter(&l, "top-k k=4", "lru", 0.05, 0.045);
    enter(&l, "none", "lru", 0, 0.090); /* the faster of two that lose as much */
    lossy_find(&l);
    a = lossy_compare(&l, numbered(&l, 0)); /* 50 on the line */
    assert_int_equal(a.known, LOSSY_KNOWN);
    assert_true(fabs(a.time - 0.045) < 1e-12);
    lossy_release(&l);
    l = controls(0.05, 0.050);
    enter(&l, "none", "lru", 0, 0.090);
    lossy_find(&l);
    a = lossy_compare(&l, numbered(&l, 0)); /* of 90 and 80 */
    assert_true(fabs(a.time - 0.085) < 1e-12);
    lossy_release(&l);
}

static enum lossy_control known_of(struct lossy *l, double *rows)
{
    struct lossy_against a;

    lossy_find(l);
    a = lossy_compare(l, numbered(l, 0));
    *rows = a.rows;
    lossy_release(l);
    return a.known;
}

static void without_controls(void **state)
{
    struct lossy l = {.points = 0};
    double rows;

    (void)state;
    enter(&l, "lynx drop=0.25", "lru", 0.1, 1);
    enter(&l, "lynx drop=0.5", "lru", 0.1, 1); /* no control of another select */
    assert_int_equal(known_of(&l, &rows), LOSSY_NO_CONTROL);
    enter(&l, "lynx drop=0.25", "lru", 0.1, 1);
    enter(&l, "none", "lru", 0, 1);
    assert_int_equal(known_of(&l, &rows), LOSSY_NO_CONTROL); /* the plain one alone */
    enter(&l, "lynx drop=0.25", "lru", 0, 1);
    enter(&l, "none", "lru", 0, 1);
    assert_int_equal(known_of(&l, &rows), LOSSY_KNOWN); /* ... is enough */
    enter(&l, "lynx drop=0.25", "lru", 0.1, 1);
    enter(&l, "top-k k=2", "lru", 0.2, 1);
    assert_int_equal(known_of(&l, &rows), LOSSY_NOT_SO_LITTLE);
}

/* Controls that chose for a tenth more or fewer rows are still compared. */
static void other_rows(void **state)
{
    static const struct {
        double rows;
        enum lossy_control known;
    } cases[] = {{900, LOSSY_KNOWN},
                 {1100, LOSSY_KNOWN},
                 {899, LOSSY_OTHER_ROWS},
                 {1101, LOSSY_OTHER_ROWS}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct lossy l = {.points = 0};
        double rows;

        enter(&l, "lynx drop=0.25", "lru", 0.1, 1);
        enter(&l, "none", "lru", 0, 1);
        enter(&l, "top-k k=2", "lru", 0.2, 1);
        l.point[1].rows = 0;
        l.point[2].rows = cases[i].rows;
        assert_int_equal(known_of(&l, &rows), cases[i].known);
        assert_true(rows == (cases[i].known == LOSSY_KNOWN ? 0 : cases[i].rows));
    }
}

/* ---- the front ---- */

/* Points on a coarse grid, so that many are equal in one or both. */
static void front_by_brute_force(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct rng g = rng_stream(seed, "front", 0);
        struct lossy l = {.points = 0};
        size_t count = 1 + (size_t)rng_below(&g, 12);

        for (size_t i = 0; i < count; i++)
            enter(&l, "lynx drop=0.25", "lru", 0.1 * (double)rng_below(&g, 5),
                  1 + (double)rng_below(&g, 5));
        lossy_find(&l);
        assert_int_equal(l.points, count);
        for (size_t i = 0; i < count; i++) {
            bool beaten = false;

            for (size_t k = 0; k < count; k++)
                beaten = beaten || (l.point[k].lost <= l.point[i].lost &&
                                    l.point[k].time <= l.point[i].time &&
                                    (l.point[k].lost < l.point[i].lost ||
                                     l.point[k].time < l.point[i].time));
            assert_int_equal(l.point[i].front, !beaten);
        }
        lossy_release(&l);
    }
}

/* ---- lines ---- */

static void assert_line(const struct lossy *l, size_t at, const char *group,
                        const char *knob, const char *const *value, size_t count)
{
    const struct lossy_line *line = &l->line[at];

    assert_string_equal(l->group[line->group].name, group);
    assert_int_equal(line->count, count);
    if (knob == NULL)
        assert_null(l->group[line->group].knob);
    else
        assert_string_equal(l->group[line->group].knob, knob);
    for (size_t i = 0; i < count; i++) {
        char *text = lossy_knob_text(l, &l->point[line->first + i]);

        assert_int_equal(l->point[line->first + i].line, at);
        if (knob == NULL)
            assert_null(text);
        else
            assert_string_equal(text, value[i]);
        free(text);
    }
}

/* Without a select, top-k, then by name; along a line by number, not as text. */
static void lines_over_knobs(void **state)
{
    static const char *const k[] = {"2", "4", "10"}, *const drop[] = {"0.1", "0.25"},
                             *const one[] = {"5e-1"};
    struct lossy l = {.points = 0};

    (void)state;
    enter(&l, "lynx drop=0.25 form=latency", "lru", 0, 1);
    enter(&l, "eras-bias beta=1 phases=auto", "lru", 0, 1);
    enter(&l, "top-k k=10", "lru", 0, 1);
    enter(&l, "lynx drop=5e-1 form=accuracy", "lru", 0, 1);
    enter(&l, "lynx drop=0.1 form=latency", "lru", 0, 1);
    enter(&l, "top-k k=4", "lru", 0, 1);
    enter(&l, NULL, "lru", 0, 1);
    enter(&l, "lynx drop=0.1 form=latency", "fifo", 0, 1);
    enter(&l, "top-k k=2", "lru", 0, 1);
    lossy_find(&l);
    assert_int_equal(l.lines, 6);
    assert_int_equal(l.groups, 5);
    assert_line(&l, 0, "no select", NULL, NULL, 1);
    assert_line(&l, 1, "top-k", "k", k, 3);
    assert_line(&l, 2, "eras-bias", NULL, NULL, 1);
    assert_line(&l, 3, "lynx form=accuracy", "drop", one, 1);
    assert_line(&l, 4, "lynx form=latency", "drop", drop, 1); /* of fifo */
    assert_line(&l, 5, "lynx form=latency", "drop", drop, 2);
    assert_int_equal(l.line[4].group, l.line[5].group);
    assert_int_equal(l.group[0].role, LOSSY_PLAIN);
    assert_int_equal(l.group[1].role, LOSSY_TOP_K);
    assert_int_equal(l.group[2].role, LOSSY_SELECT);
    lossy_release(&l);
}

/* The option with most different numbers is the knob; words and sizes are none. */
static void which_option_is_the_knob(void **state)
{
    struct lossy l = {.points = 0};

    (void)state;
    enter(&l, "oea k0=1 k_max=1 m=a", "", 0, 1);
    enter(&l, "oea k0=2 k_max=4 m=b", "", 0, 1);
    enter(&l, "oea k0=1 k_max=2 m=c", "", 0, 1);
    enter(&l, "xshare bytes=1GB", "", 0, 1);
    enter(&l, "xshare bytes=2GB", "", 0, 1);
    lossy_find(&l);
    assert_string_equal(l.group[0].knob, "k_max");
    assert_string_equal(l.group[0].name, "oea k0=1 m=a");
    assert_int_equal(l.groups, 5);
    assert_null(l.group[3].knob);
    assert_string_equal(l.group[3].name, "xshare bytes=1GB");
    lossy_release(&l);
}

static void nothing(void **state)
{
    struct lossy l = {.points = 0};

    (void)state;
    lossy_find(&l);
    assert_int_equal(l.lines, 0);
    lossy_release(&l);
}

/* ---- policies ---- */

static bool takes(const struct hand *h, double time, struct lossy_point *point)
{
    struct result_summary s = result_summarise(&h->p[0]);
    struct lossy l = {.points = 0};
    bool taken = lossy_add_policy(&l, &h->p[0], &s, "R1", "a", time, 7);

    assert_int_equal(l.points, taken);
    if (taken)
        *point = l.point[0];
    if (taken) {
        assert_non_null(strstr(point->others, "lru slots=4"));
        assert_null(strstr(point->others, "lynx"));
        assert_int_equal(strncmp(point->others, "R1", 2), 0);
    }
    lossy_release(&l);
    return taken;
}

static void of_a_policy(void **state)
{
    static char lynx[] = "lynx drop=0.25", belady[] = "belady slots=4";
    struct lossy_point point;
    struct hand h;

    (void)state;
    hand_make(&h);
    assert_true(takes(&h, 1.5, &point));
    assert_int_equal(point.role, LOSSY_PLAIN);
    assert_true(point.lost == 0 && point.time == 1.5 && point.number == 7);
    h.p[0].lossless = false; /* and no select's doing */
    assert_false(takes(&h, 1, &point));
    h.p[0].description[SLOT_SELECT] = lynx;
    assert_false(takes(&h, 1, &point)); /* it chose for no rows */
    h.p[0].run.quality = (struct select_quality){.rows = 50,
                                                 .choices = 100,
                                                 .top1 = 40,
                                                 .mass = 8 * SELECT_MASS_ONE,
                                                 .kept = 6 * SELECT_MASS_ONE};
    assert_true(takes(&h, 1, &point));
    assert_int_equal(point.role, LOSSY_SELECT);
    assert_true(fabs(point.lost - 0.25) < 1e-12);
    assert_true(fabs(point.top1_lost - 0.2) < 1e-12);
    assert_true(point.rows == 50);
    assert_false(takes(&h, NAN, &point));
    h.p[0].run.finished = false;
    assert_false(takes(&h, 1, &point));
    h.p[0].run.finished = true;
    h.p[0].description[SLOT_CACHE] = belady;
    assert_false(takes(&h, 1, &point));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(between_controls), cmocka_unit_test(beyond_controls),
        cmocka_unit_test(a_better_control), cmocka_unit_test(without_controls),
        cmocka_unit_test(other_rows),       cmocka_unit_test(front_by_brute_force),
        cmocka_unit_test(lines_over_knobs), cmocka_unit_test(which_option_is_the_knob),
        cmocka_unit_test(nothing),          cmocka_unit_test(of_a_policy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
