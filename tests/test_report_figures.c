/* The data of the report's figures, by hand: see hand_result.h. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "hand_result.h"
#include "made_result.h"
#include "report_rig.h"
#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

static const sim_time ms = 1000 * SIM_TIME_PER_US;

static void write_page(const struct report_rig *g, const struct result *r)
{
    free(report_rig_page_of(g, r));
}

/* The page of a result that lacks this figure, which leaves no data either. */
static void assert_left_out(const struct report_rig *g, const struct result *r,
                            const char *name)
{
    char *page = report_rig_page_of(g, r);
    char *figure = mem_format("<figure id=figure-%s>", name);
    char *data = mem_format("%s.csv", name);

    text_lacks(page, figure);
    assert_false(report_rig_has(g, data));
    free(data);
    free(figure);
    free(page);
}

/* Parts that no policy has take no column; rows stand by rank. */
static void shares(void **state)
{
    static char label[] = "b,\"c\\d";
    struct hand h;

    hand_make(&h);
    h.p[1].label = label;
    write_page(*state, &h.r);
    report_rig_data(*state, "shares.csv",
                    "policy,dense compute,expert compute,exposed copy\n"
                    "1 a,20,40,30\n2 b  c d,50,100,30\n");
    h.p[0].run.total.share[SHARE_HOST] = 10 * ms;
    h.p[1].run.passes = 0; /* of the whole, then */
    write_page(*state, &h.r);
    report_rig_data(*state, "shares.csv",
                    "policy,dense compute,expert compute,exposed copy,launch and host\n"
                    "1 a,20,40,30,1\n2 b  c d,500,1000,300,0\n");
}

/* Names are cut, and no name is empty or a formula. */
static void names(void **state)
{
    static char cut[] = "a label of 33 columns and more that is cut";
    static char formula[] = "=1+1";
    struct hand h;

    hand_make(&h);
    h.p[0].label = formula;
    h.p[1].label = cut;
    write_page(*state, &h.r);
    report_rig_data(*state, "layers.csv",
                    "policy,3,5\n1 =1+1,10,20\n"
                    "2 a label of 33 columns and more that ..,10,20\n");
    report_rig_data(*state, "scatter.csv",
                    "policy,number,x,y,sort\n'=1+1,1,75,15,1\n"
                    "a label of 33 columns and more that is..,2,90,30,1\n");
}

/* Percentiles of 10 and 20, 20 and 40; 100 and 200, 150 and 50: between two numbers they
 * are in proportion. */
static void how_requests_spread(void **state)
{
    struct hand h;

    hand_make(&h);
    write_page(*state, &h.r);
    report_rig_data(*state, "latency.csv",
                    "policy,5 %,25 %,50 %,75 %,95 %,99 %\n"
                    "1 a,10.5,12.5,15,17.5,19.5,19.9\n2 b,21,25,30,35,39,39.8\n");
    report_rig_data(*state, "first.csv",
                    "policy,5 %,25 %,50 %,75 %,95 %,99 %\n"
                    "1 a,105,125,150,175,195,199\n2 b,55,75,100,125,145,149\n");
    /* One without a time per token has no row. */
    for (int q = 0; q < HAND_REQUESTS; q++)
        h.request[1][q].output_tokens = 1;
    write_page(*state, &h.r);
    report_rig_data(*state, "latency.csv",
                    "policy,5 %,25 %,50 %,75 %,95 %,99 %\n"
                    "1 a,10.5,12.5,15,17.5,19.5,19.9\n");
    for (int q = 0; q < HAND_REQUESTS; q++)
        h.request[0][q].output_tokens = 1;
    made_folder_remove(mem_strdup(((struct report_rig *)*state)->folder));
    assert_left_out(*state, &h.r, "latency");
}

/* Sort 0: another is as good in both and better in one; 1: none is; 2: a bound. */
static void points(void **state)
{
    static char belady[] = "belady slots=4";
    struct hand h;

    hand_make(&h);
    write_page(*state, &h.r);
    report_rig_data(*state, "scatter.csv",
                    "policy,number,x,y,sort\na,1,75,15,1\nb,2,90,30,1\n");
    h.p[0].run.total.counts.hits = 90;
    write_page(*state, &h.r);
    report_rig_data(*state, "scatter.csv",
                    "policy,number,x,y,sort\na,1,90,15,1\nb,2,90,30,0\n");
    h.p[0].run.total.counts.hits = 95;
    h.p[0].description[SLOT_CACHE] = belady; /* beats nobody */
    write_page(*state, &h.r);
    report_rig_data(*state, "scatter.csv",
                    "policy,number,x,y,sort\nb,1,90,30,1\na,b,95,15,2\n");
    made_folder_remove(mem_strdup(((struct report_rig *)*state)->folder));
    h.p[1].run.total.counts.accesses = 0; /* one mark tells nothing */
    assert_left_out(*state, &h.r, "scatter");
}

/* GPU memory of the fullest GPU, on one of its peak. */
static void memory_against_time(void **state)
{
    struct hand h;

    hand_make_parallel(&h);
    write_page(*state, &h.r);
    report_rig_data(*state, "front.csv",
                    "policy,number,x,y,sort\nb,2,8,30,1\na,1,15,15,1\n");
    h.gpu_peak[0][3] = 8000000000;
    h.gpu_peak[0][1] = 7000000000;
    made_folder_remove(mem_strdup(((struct report_rig *)*state)->folder));
    h.gpu_peak[0][2] = h.gpu_peak[0][0] = 1;
    assert_left_out(*state, &h.r, "front"); /* all take the same */
    hand_make(&h);
    h.p[0].run.total.memory.weights = 3000000000;
    h.p[0].run.total.memory.kv = 1000000000;
    h.p[1].run.total.memory.weights = 6000000000;
    write_page(*state, &h.r);
    report_rig_data(*state, "front.csv",
                    "policy,number,x,y,sort\na,1,4,15,1\nb,2,6,30,0\n");
}

/* 40 prefetched: 30 used, 12 of these late, 10 not used; 4 drove out what was needed. */
static void prefetches(void **state)
{
    struct hand h;

    hand_make(&h);
    assert_left_out(*state, &h.r, "prefetch");
    h.p[1].run.total.counts.prefetches = 40;
    h.p[1].run.total.counts.prefetch_used = 30;
    h.p[1].run.total.counts.late = 12;
    h.p[1].run.total.counts.displaced = 4;
    write_page(*state, &h.r);
    report_rig_data(*state, "prefetch.csv",
                    "policy,in time,late,not used,misses made\n2 b,45,30,25,10\n");
}

static void several_gpus(void **state)
{
    struct hand h;

    hand_make_parallel(&h);
    write_page(*state, &h.r);
    report_rig_data(*state, "bounds.csv",
                    "policy,this run,rows spread evenly,network that takes no time\n"
                    "1 a,90,72,75\n2 b,180,144,120\n");
    report_rig_data(*state, "load.csv",
                    "policy,0,1,2,3\n1 a,0.4,0.8,1.2,1.6\n2 b,1,1,1,1\n");
    report_rig_data(*state, "balance.csv", "policy,3,5\n1 a,1.4,1.4\n2 b,1.2,1.2\n");
    h.p[0].bounds.present = false;
    h.layer[0][1].counts.computed_rows = 0;
    write_page(*state, &h.r);
    report_rig_data(*state, "bounds.csv",
                    "policy,this run,rows spread evenly,network that takes no time\n"
                    "2 b,180,144,120\n");
    report_rig_data(*state, "balance.csv", "policy,3,5\n1 a,1.4,\n2 b,1.2,1.2\n");
    memset(h.gpu_rows[0], 0, sizeof h.gpu_rows[0]);
    write_page(*state, &h.r);
    report_rig_data(*state, "load.csv", "policy,0,1,2,3\n1 a,,,,\n2 b,1,1,1,1\n");
    h.p[1].run.gpus = 2; /* another number of GPUs: not on the same axis */
    write_page(*state, &h.r);
    report_rig_data(*state, "load.csv", "policy,0,1,2,3\n1 a,,,,\n");
}

/* Up to 64 GPUs stand by number, more from the fullest on, in groups. */
static void many_gpus(void **state)
{
    uint64_t rows[130], peak[130] = {0};
    struct hand h;
    char *data;

    hand_make_parallel(&h);
    for (uint64_t g = 0; g < 130; g++)
        rows[g] = g;
    h.p[0].run.gpu_rows = h.p[1].run.gpu_rows = rows;
    h.p[0].run.gpu_peak = h.p[1].run.gpu_peak = peak;
    h.p[0].run.gpus = h.p[1].run.gpus = 64; /* 31.5 on average */
    write_page(*state, &h.r);
    data = report_rig_read(*state, "load.csv");
    text_has(data, ",62,63\n1 a,0,");
    text_has(data, ",2\n2 b,0,");
    free(data);
    /* 64.5 on average; three each: 129, 128 and 127 first, 0 alone last. */
    h.p[0].run.gpus = h.p[1].run.gpus = 130;
    write_page(*state, &h.r);
    data = report_rig_read(*state, "load.csv");
    assert_int_equal(strncmp(data, "policy,0,3,6,", 13), 0);
    text_has(data, ",126,129\n1 a,1.984496124031007");
    text_has(data, ",0\n2 b,");
    free(data);
}

/* ---- what is lost for speed ---- */

/* A policy with a select that loses a quarter of the mass of 40 rows and the best expert
 * of 8. */
static void set_select(struct result_policy *p, char *select)
{
    p->lossless = false;
    p->description[SLOT_SELECT] = select;
    p->run.quality = (struct select_quality){.rows = 40,
                                             .choices = 80,
                                             .top1 = 32,
                                             .mass = 8 * SELECT_MASS_ONE,
                                             .kept = 6 * SELECT_MASS_ONE};
}

/* Lines are ended by empty lines; top-k's ends at the policy without a select, and the
 * texts of three marks find room beside them. */
static void quality_against_speed(void **state)
{
    static char lynx[] = "lynx drop=0.25", top_k[] = "top-k k=1", fifo[] = "fifo slots=4";
    static char c[] = "c", tenth[] = "lynx drop=0.1";
    struct result_policy p[3];
    struct hand h;

    hand_make(&h);
    assert_left_out(*state, &h.r, "quality"); /* no select */
    memcpy(p, h.p, sizeof h.p);
    set_select(&p[0], lynx);
    h.r.policy = p;
    write_page(*state, &h.r);
    report_rig_data(*state, "quality.csv",
                    "policy,group,select,text,side,side narrow,gate mass lost,best lost,"
                    "time,front\nb,-1,no select,b,1,1,0,0,30,1\n\n"
                    "a,1,lynx,a,1,1,25,20,15,1\n");
    /* Two of one select are a line over its knob. */
    p[2] = p[1];
    p[2].label = c;
    h.r.policies = 3;
    set_select(&p[1], top_k);
    p[1].run.quality.top1 = 40;
    p[1].run.quality.kept = 4 * SELECT_MASS_ONE;
    write_page(*state, &h.r);
    report_rig_data(*state, "quality.csv",
                    "policy,group,select,text,side,side narrow,gate mass lost,best lost,"
                    "time,front\nc,-1,no select,c,1,1,0,0,30,1\n\n"
                    "b,0,top-k,b,1,1,50,0,30,0\nc,0,top-k,-,0,0,0,0,30,-1\n\n"
                    "a,1,lynx,a,1,1,25,20,15,1\n");
    p[2].description[SLOT_CACHE] = fifo; /* it is not what top-k is a control of */
    set_select(&p[1], tenth);
    p[1].run.quality.kept = 7 * SELECT_MASS_ONE;
    write_page(*state, &h.r);
    report_rig_data(*state, "quality.csv",
                    "policy,group,select,text,side,side narrow,gate mass lost,best lost,"
                    "time,front\nc,-1,no select,c,1,1,0,0,30,1\n\n"
                    "b,1,lynx: drop,0.1,1,1,12.5,20,30,0\n"
                    "a,1,lynx: drop,0.25,1,1,25,20,15,1\n");
    p[0].run.counts_only = p[1].run.counts_only = true;
    made_folder_remove(mem_strdup(((struct report_rig *)*state)->folder));
    assert_left_out(*state, &h.r, "quality");
}

/* Of marks at one place no two texts stand on each other, nor on a mark. */
static void texts_find_room(void **state)
{
    struct made_shape shape = {.policies = 12, .layers = 1, .requests = 3, .seed = 4};
    struct result r = made_result(&shape);
    size_t sides[5] = {0};
    char *data, *line;

    for (uint32_t i = 0; i < r.policies; i++) {
        free(r.policy[i].description[SLOT_SELECT]);
        r.policy[i].description[SLOT_SELECT] = mem_format("oea k0=%u", i);
        set_select(&r.policy[i], r.policy[i].description[SLOT_SELECT]);
        memcpy(r.policy[i].run.request, r.policy[0].run.request,
               3 * sizeof *r.policy[i].run.request);
    }
    write_page(*state, &r);
    data = report_rig_read(*state, "quality.csv");
    for (line = data; line != NULL; line = strchr(line, '\n')) {
        int side;

        line++; /* of the head the first letter, else the line's end */
        if (*line != '\n' && sscanf(line, "%*[^,],%*[^,],%*[^,],%*[^,],%d", &side) == 1)
            sides[side]++;
    }
    /* Ten of them do not foresee. */
    assert_int_equal(sides[1] + sides[2] + sides[3] + sides[4], 4);
    for (int side = 1; side < 5; side++)
        assert_int_equal(sides[side], 1);
    assert_int_equal(sides[0], 6);
    free(data);
    result_release(&r);
}

/* ---- over time ---- */

/* Pass i begins at i seconds and takes i + 1 ms. */
static void spool(struct result_policy *p, int passes)
{
    p->run.passes = (uint64_t)passes;
    p->run.pass_spool = tmpfile();
    assert_non_null(p->run.pass_spool);
    for (int i = 0; i < passes; i++) {
        struct run_pass pass = {.start = i * SIM_TIME_PER_S, .latency = (i + 1) * ms};

        assert_int_equal(fwrite(&pass, sizeof pass, 1, p->run.pass_spool), 1);
    }
}

static void points_are_means_of_passes(void **state)
{
    struct hand h;
    char *text;

    hand_make(&h);
    assert_left_out(*state, &h.r, "passes"); /* it kept none */
    spool(&h.p[0], 1);
    write_page(*state, &h.r);
    report_rig_data(*state, "passes.csv", "start (s),1 a\n0,1\n");
    spool(&h.p[1], 3);
    write_page(*state, &h.r);
    report_rig_data(*state, "passes.csv", "start (s),1 a,2 b\n0,1,\n0,,1\n1,,2\n2,,3\n");
    (void)fclose(h.p[0].run.pass_spool);
    h.p[0].run.pass_spool = NULL;
    (void)fclose(h.p[1].run.pass_spool);
    /* 9000 in 200 points of 45, read in two blocks: the last stands for 8955 to 8999. */
    spool(&h.p[1], 9000);
    write_page(*state, &h.r);
    text = report_rig_read(*state, "passes.csv");
    assert_int_equal(strncmp(text, "start (s),2 b\n0,23\n45,68\n", 25), 0);
    text_has(text, "\n8955,8978\n");
    assert_int_equal(text_counts(text, "\n"), 201);
    free(text);
    h.p[1].run.passes = 201; /* in 200: the last has two */
    write_page(*state, &h.r);
    text = report_rig_read(*state, "passes.csv");
    text_has(text, "\n198,199\n199,200.5\n");
    free(text);
    (void)fclose(h.p[1].run.pass_spool);
}

/* ---- which there are ---- */

static void only_counts(void **state)
{
    static const char *const timed[] = {"shares", "latency", "first",  "scatter",
                                        "front",  "layers",  "bounds", "passes"};
    struct hand h;
    char *page;

    hand_make(&h);
    h.p[0].run.counts_only = h.p[1].run.counts_only = true;
    page = report_rig_page(*state, &(const struct result *){&h.r}, 1, 0);
    text_lacks(page, "<figure id="); /* and none is missing */
    free(page);
    hand_make_parallel(&h);
    h.p[0].run.counts_only = h.p[1].run.counts_only = true;
    page = report_rig_page_of(*state, &h.r);
    for (size_t i = 0; i < sizeof timed / sizeof *timed; i++) {
        char *figure = mem_format("figure-%s>", timed[i]);

        text_lacks(page, figure);
        free(figure);
    }
    text_has(page, "<figure id=figure-balance>");
    text_has(page, "<figure id=figure-load>");
    free(page);
}

static void one_that_was_stopped_has_no_row(void **state)
{
    struct hand h;

    hand_make(&h);
    h.p[0].run.finished = false;
    write_page(*state, &h.r);
    report_rig_data(*state, "shares.csv",
                    "policy,dense compute,expert compute,exposed copy\n1 b,50,100,30\n");
}

/* 64 rows have room. */
static void many_policies(void **state)
{
    struct made_shape shape = {.policies = 70, .layers = 1, .requests = 3, .seed = 3};
    struct result r = made_result(&shape);
    char *page = report_rig_page_of(*state, &r), *data;

    text_has(page, "over all passes. The best 64 of 70 policies are shown.</figcaption>");
    data = report_rig_read(*state, "shares.csv");
    assert_int_equal(text_counts(data, "\n"), 65);
    assert_int_equal(strncmp(strchr(data, '\n'), "\n1 ", 3), 0);
    text_has(data, "\n59 "); /* 11 of 70 are Belady's, the bounds */
    text_lacks(data, "\n60 ");
    assert_int_equal(text_counts(data, "\nbound "), 5);
    free(data);
    free(page);
    r.policies = 64;
    page = report_rig_page_of(*state, &r);
    text_lacks(page, "policies are shown");
    free(page);
    r.policies = 70;
    result_release(&r);
}

/* ---- several results ---- */

static struct hand two[2];

/* Two results that differ in this. */
static void make_two(char *first, char *second)
{
    hand_make(&two[0]);
    hand_make(&two[1]);
    two[0].r.config = first;
    two[1].r.config = second;
    for (int i = 0; i < HAND_POLICIES; i++)
        for (int q = 0; q < HAND_REQUESTS; q++) /* twice the time per token */
            two[1].request[i][q].last_token +=
                two[1].request[i][q].last_token - two[1].request[i][q].first_token;
}

static char *page_of_two(const struct report_rig *g)
{
    const struct result *results[2] = {&two[0].r, &two[1].r};

    return report_rig_page(g, results, 2, 1);
}

static void one_number_is_an_axis(void **state)
{
    static char four[] = "workload: {batch: 4}\n", eight[] = "workload: {batch: 8}\n";
    static char other[] = "c";
    char *page;

    make_two(four, eight);
    page = page_of_two(*state);
    text_has(page, "<figure id=figure-axis>");
    report_rig_data(*state, "axis.csv", "x,a,b\n4,15,30\n8,30,60\n");
    /* Places of rows tell the results apart. */
    report_rig_data(*state, "layers.csv",
                    "policy,3,5\n\"1 a  batch 4\",10,20\n\"2 b  batch 4\",10,20\n"
                    "\"3 a  batch 8\",10,20\n\"4 b  batch 8\",10,20\n");
    free(page);
    two[1].p[0].label = other; /* the second result has no policy a */
    free(page_of_two(*state));
    report_rig_data(*state, "axis.csv", "x,a,b\n4,15,30\n8,,60\n");
}

static void two_numbers_are_a_table(void **state)
{
    static char one[] = "workload: {batch: 4, seed: 1}\n",
                other[] = "workload: {batch: 8, seed: 2}\n";
    char *page, *shown;

    make_two(one, other);
    page = page_of_two(*state);
    text_lacks(page, "<figure id=figure-axis>");
    assert_false(report_rig_has(*state, "axis.csv"));
    shown = report_rig_shown(page);
    text_has(shown,
             "<h2>What the results differ in</h2>\n<div class=\"card scroll\"><table "
             "class=sortable><thead><tr><th>result</th><th>workload.batch</th>"
             "<th>workload.seed</th></tr></thead><tbody>\n"
             "<tr><td>R1</td><td>4</td><td>1</td></tr>\n"
             "<tr><td>R2</td><td>8</td><td>2</td></tr>\n</tbody>");
    free(shown);
    free(page);
}

/* More lines than there are colours become rows. */
static void many_over_an_axis(void **state)
{
    struct made_shape shape = {.policies = 9, .layers = 1, .requests = 3, .seed = 5};
    struct result r[2] = {made_result(&shape), made_result(&shape)};
    const struct result *results[2] = {&r[0], &r[1]};
    char *data;

    for (int i = 0; i < 2; i++) {
        free(r[i].config);
        r[i].config = mem_format("link: %d GB/s\n", 12 * (i + 1));
    }
    free(report_rig_page(*state, results, 2, 1));
    data = report_rig_read(*state, "axis.csv");
    assert_int_equal(strncmp(data, "policy,12 GB/s,24 GB/s\n", 23), 0);
    assert_int_equal(text_counts(data, "\n"), 10);
    free(data);
    result_release(&r[0]);
    result_release(&r[1]);
}

int main(void)
{
#define FIGURE(test)                                                                     \
    cmocka_unit_test_setup_teardown(test, report_rig_set_up, report_rig_tear_down)
    const struct CMUnitTest tests[] = {
        FIGURE(shares),
        FIGURE(names),
        FIGURE(how_requests_spread),
        FIGURE(points),
        FIGURE(memory_against_time),
        FIGURE(prefetches),
        FIGURE(several_gpus),
        FIGURE(many_gpus),
        FIGURE(quality_against_speed),
        FIGURE(texts_find_room),
        FIGURE(points_are_means_of_passes),
        FIGURE(only_counts),
        FIGURE(one_that_was_stopped_has_no_row),
        FIGURE(many_policies),
        FIGURE(one_number_is_an_axis),
        FIGURE(two_numbers_are_a_table),
        FIGURE(many_over_an_axis),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
