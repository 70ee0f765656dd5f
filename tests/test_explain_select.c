/* What moesim explain and the page say of selects and of hit rates that mislead: every
 * sentence by hand. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "hand_result.h"
#include "printed_lines.h"
#include "report_rig.h"

#include "sim/base/mem.h"
#include "sim/report/explain_state.h"

#include <stdlib.h>
#include <string.h>

static const sim_time ms = 1000 * SIM_TIME_PER_US;

enum { POLICIES = 4, LAYERS = 11 };

static char none[] = "none", lynx[] = "lynx drop=0.25", top_k[] = "top-k k=1";

/* Lynx in 15 ms per output token; the same without a select in 30 ms; top-k in 10 ms,
 * which loses twice as much. */
struct made {
    struct hand h;
    struct result_policy p[POLICIES];
    struct run_request request[POLICIES][HAND_REQUESTS];
    struct run_layer layer[LAYERS];
    uint16_t decoder[LAYERS];
};

static void set_tpot(struct made *m, int i, int tpot)
{
    for (int q = 0; q < HAND_REQUESTS; q++)
        m->request[i][q].last_token = m->request[i][q].first_token + 10 * tpot * ms;
}

static void make(struct made *m)
{
    static const struct select_quality layer[HAND_LAYERS] = {
        {50, 100, 10, 5, 40, 20, 15, 8 * SELECT_MASS_ONE, 6 * SELECT_MASS_ONE},
        {50, 100, 30, 0, 50, 20, 20, 8 * SELECT_MASS_ONE, 7 * SELECT_MASS_ONE}};
    static char label[POLICIES][8] = {"lynx", "plain", "top-k", "other"};

    memset(m, 0, sizeof *m);
    hand_make(&m->h);
    for (int i = 0; i < POLICIES; i++) {
        m->p[i] = m->h.p[0];
        m->p[i].label = label[i];
        m->p[i].description[SLOT_SELECT] = none;
        memcpy(m->request[i], m->h.request[0], sizeof m->request[i]);
        m->p[i].run.request = m->request[i];
    }
    set_tpot(m, 0, 15);
    set_tpot(m, 1, 30);
    set_tpot(m, 2, 10);
    m->p[0].description[SLOT_SELECT] = lynx;
    m->p[0].lossless = m->p[2].lossless = false;
    for (int l = 0; l < HAND_LAYERS; l++) {
        m->h.layer[0][l].quality = layer[l];
        select_quality_add(&m->p[0].run.quality, &layer[l]);
    }
    m->p[2].description[SLOT_SELECT] = top_k;
    m->p[2].run.quality = (struct select_quality){.rows = 100,
                                                  .choices = 200,
                                                  .top1 = 100,
                                                  .mass = 16 * SELECT_MASS_ONE,
                                                  .kept = 10 * SELECT_MASS_ONE};
    m->h.r.policy = m->p;
    m->h.r.policies = 3;
    m->h.r.top_k = 4;
}

/* Of 200 choices 40 and 5, of 16 of mass 3, of 100 rows 90, of 40 distinct ones 5. */
static void what_it_changed(void **state)
{
    struct made m;
    char *text;

    (void)state;
    make(&m);
    m.h.r.policies = 1;
    text = lines_explained(&m.h.r);
    lines_have(text, "What the select changed (open loop: later routing is as recorded)");
    lines_say(text, "It chose for 100 rows, each layer's counted. Of the experts that "
                    "these would have executed, others took the place of 20.0 %, and "
                    "2.5 % were left out. That loses 18.8 % of their gate mass; 90.0 % "
                    "of the rows keep their best expert. A layer runs 12.5 % fewer "
                    "distinct experts.");
    lines_have(text, "3 10.0 % 5.0 % 25.0 % 80.0 % 25.0 %");
    lines_have(text, "5 30.0 % 0.0 % 12.5 % 100.0 % 0.0 %");
    lines_have(text, "all MoE layers 20.0 % 2.5 % 18.8 % 90.0 % 12.5 %");
    assert_true(strstr(text, "\n3 10.0 % 5.0 %") < strstr(text, "\n5 30.0 % 0.0 %"));
    assert_null(strstr(text, "that lose most"));
    free(text);
    /* The second layer loses most now; more distinct experts are no fewer. */
    m.h.layer[0][1].quality.kept = SELECT_MASS_ONE;
    m.p[0].run.quality.left = 50;
    text = lines_explained(&m.h.r);
    assert_true(strstr(text, "\n5 30.0 % 0.0 %") < strstr(text, "\n3 10.0 % 5.0 %"));
    lines_say(text, "A layer runs 25.0 % more distinct experts.");
    free(text);
    m.p[0].run.quality.rows = 0;
    text = lines_explained(&m.h.r);
    lines_say(text, "Nothing: no pass was of those that it chooses in (select.phases).");
    assert_null(strstr(text, "that lose most"));
    free(text);
    m.p[0].description[SLOT_SELECT] = none;
    text = lines_explained(&m.h.r);
    assert_null(strstr(text, "What the select changed"));
    free(text);
}

/* Layer i of 11 loses i of 100; 0, 1 and 2 are the others, and one that chose for no rows
 * comes last. */
static void the_worst_layers(void **state)
{
    struct made m;
    char *text;

    (void)state;
    make(&m);
    m.h.r.policies = 1;
    m.h.r.layers = m.p[0].run.layers = LAYERS;
    m.h.r.moe_layer = m.decoder;
    m.p[0].run.layer = m.layer;
    for (uint64_t i = 0; i < LAYERS; i++) {
        m.decoder[i] = (uint16_t)(20 + i);
        m.layer[i].quality = (struct select_quality){.rows = 10,
                                                     .choices = 100,
                                                     .changed = i,
                                                     .top1 = 10,
                                                     .distinct = 10,
                                                     .left = 10,
                                                     .mass = 100 * SELECT_MASS_ONE,
                                                     .kept = (100 - i) * SELECT_MASS_ONE};
    }
    text = lines_explained(&m.h.r);
    lines_have(text, "The 8 MoE layers of 11 that lose most");
    lines_have(text, "decoder layer choices choices gate mass best one experts\nchanged "
                     "left out lost kept saved\n30 10.0 % 0.0 % 10.0 % 100.0 % 0.0 %");
    lines_have(text, "23 3.0 % 0.0 % 3.0 % 100.0 % 0.0 %\n3 others 1.0 % 0.0 % 1.0 % "
                     "100.0 % 0.0 %\nall MoE layers 20.0 % 2.5 % 18.8 % 90.0 % 12.5 %");
    free(text);
    m.layer[10].quality = (struct select_quality){.rows = 0};
    text = lines_explained(&m.h.r);
    lines_have(text, "22 2.0 % 0.0 % 2.0 % 100.0 % 0.0 %");
    lines_have(text, "3 others 0.5 % 0.0 % 0.5 % 100.0 % 0.0 %");
    free(text);
}

static void explained(const struct made *m, const char *words)
{
    char *text = lines_explained(&m->h.r);

    lines_say(text, words);
    free(text);
}

/* Half of the way from 30 ms to 10 ms. */
static void against_controls(void **state)
{
    struct made m;

    (void)state;
    make(&m);
    explained(&m, "At equal gate mass lost top-k reduction (interpolated between its "
                  "points in this result) takes 20.0 ms per output token, this select "
                  "15.0 ms: it is faster, by 25.0 %.");
    explained(&m, "This is the control that other selects have to beat.");
    set_tpot(&m, 0, 20);
    explained(&m, "this select 20.0 ms: it is not faster, which is no progress.");
    set_tpot(&m, 0, 25);
    explained(&m, "this select 25.0 ms: it is not faster but takes 25.0 % more, which "
                  "is no progress.");
    m.p[0].run.quality.kept = m.p[0].run.quality.mass;
    explained(&m, "It loses no gate mass. Without a select the policy takes 30.0 ms per "
                  "output token, with it 25.0 ms: it is faster, by 16.7 %.");
    m.p[0].run.quality.kept = SELECT_MASS_ONE;
    explained(&m, "A control of this result that loses less gate mass takes 10.0 ms per "
                  "output token, this select 25.0 ms: it is not faster but takes 150.0 % "
                  "more, which is no progress.");
    set_tpot(&m, 0, 5);
    explained(&m, "No control of this result loses as much gate mass (37.5 % at most), "
                  "and none is as fast: fewer experts a row (select: top-k) would tell "
                  "whether this is worth it.");
}

static void controls_that_are_missing(void **state)
{
    struct made m;
    char *text;

    (void)state;
    make(&m);
    m.p[2].run.quality.rows = 50;
    explained(&m, "The top-k reduction of this result chose for 50 rows, this select for "
                  "100: to compare them, give both the same select.phases.");
    make(&m);
    m.p[1].run.finished = false;
    explained(&m, "All controls of this result lose more gate mass: to compare it, add "
                  "the same policy without a select.");
    make(&m);
    m.h.r.policies = 2;
    explained(&m, "To tell whether that is worth it, add controls: the same policy "
                  "without a select, and with select: top-k, for: {select.k: 1..3}.");
    m.h.r.top_k = 2;
    explained(&m, "add controls: the same policy without a select, and with select: "
                  "{name: top-k, k: 1}.");
    m.h.r.top_k = 1;
    text = lines_explained(&m.h.r);
    assert_null(strstr(text, "worth it"));
    free(text);
    make(&m);
    m.p[0].run.counts_only = m.p[1].run.counts_only = m.p[2].run.counts_only = true;
    for (int i = 0; i < 3; i++)
        m.p[i].run.requests = 0;
    text = lines_explained(&m.h.r);
    assert_null(strstr(text, "gate mass lost top-k"));
    lines_have(text, "all MoE layers 20.0 % 2.5 % 18.8 % 90.0 % 12.5 %");
    free(text);
}

/* First tokens, 175 ms in the middle of 100 and 250, are 150 behind their arrival. */
static void first_tokens(void **state)
{
    struct made m;

    (void)state;
    make(&m);
    for (int i = 0; i < 3; i++)
        for (int q = 0; q < HAND_REQUESTS; q++)
            m.request[i][q].output_tokens = 1;
    explained(&m, "takes 150 ms to the first token, this select 150 ms: it is not "
                  "faster, which is no progress.");
}

/* ---- hits ---- */

static void assert_hits(const struct made *m, const char *wanted)
{
    const struct result_policy *rival = explain_hits_rival(&m->h.r, 0);
    char *text = rival == NULL ? mem_strdup("") : explain_hits_text("It", m->p, rival);

    assert_string_equal(text, wanted);
    free(text);
}

/* Policy 0 hits 75 of 100 and takes 900 ms; policy 1 hits 50 and takes 600 ms, 300 ms
 * less of copies. */
static void make_hits(struct made *m)
{
    make(m);
    m->h.r.policies = 2;
    m->p[0].lossless = true;
    m->p[0].run.quality = (struct select_quality){.rows = 0};
    m->p[0].description[SLOT_SELECT] = none;
    m->p[1].run.total.counts.hits = 50;
    m->p[1].run.total.latency = 600 * ms;
    m->p[1].run.total.share[SHARE_COPY] = 0;
}

#define HITS                                                                             \
    "It hits 75.0 % of its accesses, plain only 50.0 %, and yet its passes take "        \
    "1.500 times as long. It spends 300 ms more on exposed copy (300 ms more in all)."

static void more_hits_and_slower(void **state)
{
    struct made m;
    char *text;

    (void)state;
    make_hits(&m);
    assert_hits(&m, HITS);
    text = lines_explained(&m.h.r);
    lines_say(text, "Hit rate is not latency: " HITS);
    free(text);
    m.p[1].run.total.counts.demand_bytes = 3000000; /* 4 of 8 MB, then */
    m.p[1].run.total.counts.prefetch_bytes = 0;
    assert_hits(&m, HITS " More bytes: it moves 8.00 MB, not 4.00 MB.");
    m.p[0].run.total.counts.wasted_bytes = 1000000;
    assert_hits(&m, HITS " More bytes: it moves 8.00 MB, not 4.00 MB. 1.00 MB of them "
                         "were prefetched and not used.");
    m.p[1].run.total.counts.demand_bytes = m.p[1].run.total.counts.out_bytes = 0;
    m.p[0].run.total.counts.wasted_bytes = 0;
    assert_hits(&m, HITS " More bytes: it moves 8.00 MB, not 0 B.");
}

static void its_other_reasons(void **state)
{
    struct made m;
    struct run_layer layer[HAND_LAYERS];

    (void)state;
    make_hits(&m);
    m.p[0].run.total.counts.late = 15;
    assert_hits(&m, HITS " Late copies: 20.0 % of its hits are experts on their way, "
                         "which it waits for.");
    m.p[1].run.total.counts.late = 8; /* 16 %, which is as many */
    assert_hits(&m, HITS);
    m.p[1].run.total.counts.accesses = 80;
    m.p[1].run.total.counts.hits = 40;
    m.p[1].run.total.counts.late = 16;
    assert_hits(&m, HITS " More experts: its layers use 100, not 80.");
    m.p[1].run.total.counts.accesses = 40;
    m.p[1].run.total.counts.hits = 20;
    assert_hits(&m, HITS " More experts: its layers use 100, not 40, so that it "
                         "misses 25 times, not 20.");
    make_hits(&m);
    m.p[1].run.total.counts.host_runs = 10; /* of 50 */
    assert_hits(&m, HITS " Fewer loads there: the other runs 20.0 % of its misses on "
                         "the host.");
    m.p[0].run.total.counts.host_runs = 4; /* of 25 */
    assert_hits(&m, HITS);
    /* Three copies of 1 ms wait 0.5 ms each, the other's none; 0.1 ms are too little. */
    make_hits(&m);
    memcpy(layer, m.h.layer[0], sizeof layer);
    m.p[1].run.layer = layer;
    m.h.layer[0][0].queue_time = 3 * ms / 2;
    m.h.layer[0][1].copy_time = 3 * ms;
    assert_hits(&m, HITS " A busy link: what it misses waits 500 us for it, not 0 s.");
    m.h.layer[0][0].queue_time = 3 * ms / 10;
    assert_hits(&m, HITS);
    /* Computing takes longer: what is copied is not why. */
    make_hits(&m);
    m.p[0].run.total.counts.late = 15;
    m.p[1].run.total.share[SHARE_COPY] = 300 * ms;
    m.p[1].run.total.share[SHARE_EXPERT] = 100 * ms;
    assert_hits(
        &m, "It hits 75.0 % of its accesses, plain only 50.0 %, and yet its "
            "passes take 1.500 times as long. It spends 300 ms more on expert compute "
            "(300 ms more in all).");
}

static void no_rival(void **state)
{
    static char belady[] = "belady slots=4";
    struct made m;

    (void)state;
    make_hits(&m);
    m.p[1].run.total.counts.hits = 75;
    assert_hits(&m, "");
    make_hits(&m);
    m.p[1].run.total.latency = 890 * ms;
    assert_hits(&m, "");
    make_hits(&m);
    m.p[1].run.output_tokens++; /* not the same work */
    assert_hits(&m, "");
    make_hits(&m);
    m.p[1].run.counts_only = true;
    assert_hits(&m, "");
    make_hits(&m);
    m.p[1].run.finished = false;
    assert_hits(&m, "");
    make_hits(&m);
    m.p[1].description[SLOT_CACHE] = belady;
    assert_hits(&m, "");
    make_hits(&m);
    m.p[1].lossless = false; /* it computes less */
    assert_hits(&m, "");
    m.p[0].lossless = false;
    m.p[0].run.quality.mass = m.p[1].run.quality.mass = 8 * SELECT_MASS_ONE;
    m.p[0].run.quality.kept = 6 * SELECT_MASS_ONE;
    m.p[1].run.quality.kept = 5 * SELECT_MASS_ONE;
    assert_hits(&m, "");
    m.p[1].run.quality.kept = 6 * SELECT_MASS_ONE;
    assert_hits(&m, HITS);
    /* The fastest of several. */
    m.h.r.policies = 3;
    m.p[2] = m.p[1];
    m.p[2].run.total.latency = 450 * ms;
    assert_int_equal(explain_hits_rival(&m.h.r, 0) - m.p, 2);
}

/* ---- the page ---- */

static void page_has(void **state, const struct made *m, const char *words)
{
    char *page = report_rig_page_of(*state, &m->h.r);

    text_has(page, words);
    free(page);
}

static void in_the_answer(void **state)
{
    static char other[] = "lynx drop=0.5", third[] = "budget share=0.5";
    struct made m;
    char *page;

    make(&m);
    page_has(state, &m,
             "<p><b class=tag>Lossy</b> top-k changes what the model computes; the "
             "fastest that does not is plain with 30.0 ms.</p>\n<p><b "
             "class=tag>Select</b> lynx loses 18.8 % of the gate mass, keeps the best "
             "expert of 90.0 % of the rows and runs 12.5 % fewer distinct experts. At "
             "equal gate mass lost top-k reduction (interpolated between its points in "
             "this result) takes 20.0 ms per output token, this select 15.0 ms: it is "
             "faster, by 25.0 %.</p>\n<div");
    /* Two of one select: the other is at 30 ms, no faster than top-k. */
    m.h.r.policies = 4;
    m.p[3] = m.p[0];
    m.p[3].label = other;
    m.p[3].run.request = m.request[3];
    m.p[3].run.quality.top1 = 80;
    m.p[3].description[SLOT_SELECT] = other;
    set_tpot(&m, 3, 30);
    page_has(state, &m,
             "<p><b class=tag>Select</b> lynx (drop 0.25 to 0.5) loses 18.8 % of the "
             "gate mass and keeps the best expert of 80.0 % to 90.0 % of the rows. "
             "Against top-k reduction that loses as much it is faster at 1 of 2 points, "
             "by up to 25.0 %.</p>\n");
    set_tpot(&m, 0, 20);
    page_has(state, &m,
             "Top-k reduction that loses as much is as fast or faster at all of 2 "
             "points: no progress.</p>\n");
    m.p[2].run.finished = false;
    page_has(state, &m,
             "of the rows. To tell whether that is worth it, add controls: the same "
             "policy without a select, and with select: top-k, for: {select.k: "
             "1..3}.</p>\n");
    m.p[3].description[SLOT_SELECT] = third;
    page = report_rig_page_of(*state, &m.h.r);
    assert_int_equal(text_counts(page, "<b class=tag>Select</b>"), 2);
    text_in_order(page, "lynx drop=0.5 loses", "<b class=tag>Select</b> lynx loses");
    free(page);
    /* Nothing of this without a select. */
    m.h.r.policy = &m.p[1];
    m.h.r.policies = 1;
    page = report_rig_page_of(*state, &m.h.r);
    text_lacks(page, "<b class=tag>Select</b>");
    text_lacks(page, "<b class=tag>Lossy</b>");
    text_lacks(page, "figure-quality");
    free(page);
}

/* Who hits most of those that are slower. */
static void hits_in_the_answer(void **state)
{
    struct made m;

    make_hits(&m);
    m.h.r.policies = 4;
    set_tpot(&m, 1, 10);
    for (int i = 2; i < 4; i++) {
        m.p[i] = m.p[0];
        m.p[i].run.request = m.request[i];
        set_tpot(&m, i, 11 + i);
    }
    m.p[2].run.total.counts.hits = 95;
    m.p[2].run.total.latency = 605 * ms; /* no slower to speak of */
    m.p[3].run.total.counts.hits = 80;
    page_has(state, &m,
             "<p><b class=tag>Hits</b> lynx hits 80.0 % of its accesses, plain only 50.0 "
             "%, and yet its passes take 1.500 times as long. It spends");
}

int main(void)
{
#define PAGE(test)                                                                       \
    cmocka_unit_test_setup_teardown(test, report_rig_set_up, report_rig_tear_down)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_it_changed),
        cmocka_unit_test(the_worst_layers),
        cmocka_unit_test(against_controls),
        cmocka_unit_test(controls_that_are_missing),
        cmocka_unit_test(first_tokens),
        cmocka_unit_test(more_hits_and_slower),
        cmocka_unit_test(its_other_reasons),
        cmocka_unit_test(no_rival),
        PAGE(in_the_answer),
        PAGE(hits_in_the_answer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
