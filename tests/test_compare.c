/* Policies of a result compared in pairs. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "made_result.h"
#include "sim/report/print.h"
#include "sim/base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NEAR(a, b, by) assert_true(fabs((a) - (b)) <= (by))

static const sim_time ms = 1000 * SIM_TIME_PER_US;

/* One policy whose request i takes tpot[i] milliseconds per token. */
static struct result_policy timed(struct run_request *request, const int *tpot, int count)
{
    struct result_policy p = {.label = NULL};

    for (int i = 0; i < count; i++)
        request[i] = (struct run_request){.trace_request = (uint64_t)i,
                                          .first_token = ms,
                                          .last_token = ms + 10 * tpot[i] * ms,
                                          .output_tokens = 11,
                                          .finished = true};
    p.run.request = request;
    p.run.requests = (uint64_t)count;
    p.run.finished = true;
    return p;
}

/* Ratios b / a of 2, 4, 2, 4, 2: logs are ln 2 times 1, 2, 1, 2, 1, of mean 1.4 and
 * variance 0.3. Standard error sqrt(0.3 / 5) = 0.244949; t(0.975; 4) = 2.776445. So the
 * mean is 1.4 -+ 0.680087 in units of ln 2. */
static void an_interval_by_hand(void **state)
{
    static const int x[] = {1, 2, 3, 1, 5}, y[] = {2, 8, 6, 4, 10};
    struct run_request a[5], b[5];
    struct result_policy policy[2] = {timed(a, x, 5), timed(b, y, 5)};
    struct result r = {.policies = 2, .policy = policy};
    struct result_comparison c;

    (void)state;
    result_compare(&r, &c);
    assert_int_equal(c.pairs, 5);
    NEAR(c.ratio, 2.639016, 1e-6); /* 2^1.4 */
    NEAR(c.low, 1.647082, 1e-5);   /* 2^0.719913 */
    NEAR(c.high, 4.228333, 1e-5);  /* 2^2.080087 */
    assert_true(c.significant);
    b[4].trace_request = 7; /* another request: no pair */
    result_compare(&r, &c);
    assert_int_equal(c.pairs, 4);
}

/* a-b: logs 0.0953102 three times and 0.0049875, mean 0.0727295, standard error
 * 0.0225808, t = 3.2209 with 3 degrees of freedom, p = 0.0485: significant alone, but not
 * as the strongest of three tests, which needs p <= 0.05 / 3. */
static void holm_corrects(void **state)
{
    static const int x[] = {1000, 1000, 1000, 1000}, y[] = {1100, 1000, 1100, 1100};
    static const int z[] = {3000, 3000, 3000, 3000};
    struct run_request a[4], b[4], d[4];
    struct result_policy policy[3] = {timed(a, x, 4), timed(b, y, 4), timed(d, z, 4)};
    struct result r = {.policies = 2, .policy = policy};
    struct result_comparison c[3];

    (void)state;
    b[1].last_token = ms + 10050 * ms; /* 1005 */
    result_compare(&r, c);
    assert_true(c[0].low > 1 && c[0].significant); /* alone it is significant */
    r.policies = 3;
    result_compare(&r, c);
    assert_true(c[0].low > 1);
    assert_true(c[1].significant && c[2].significant);
    /* The weakest of three is tested at the full 5 %. */
    assert_true(c[0].significant);
    policy[2] = timed(d, y, 4); /* as weak as a-b, and equal to b */
    d[1].last_token = b[1].last_token;
    result_compare(&r, c);
    assert_true(c[0].low > 1 && c[1].low > 1);
    assert_false(c[0].significant || c[1].significant || c[2].significant);
    NEAR(c[2].ratio, 1, 1e-12);
}

/* Of many policies the pairs with the fastest: their number grows with the policies. */
static void many_policies_have_few_pairs(void **state)
{
    enum { MANY = 1000, BEST = 700 };
    static const int x[] = {20, 30}, y[] = {10, 15};
    static struct run_request request[MANY][2];
    static struct result_policy policy[MANY];
    static struct result_comparison c[MANY];
    struct result r = {.policies = MANY, .policy = policy};

    (void)state;
    for (int i = 0; i < MANY; i++)
        policy[i] = timed(request[i], i == BEST ? y : x, 2);
    assert_int_equal(result_fastest(&r), BEST);
    assert_int_equal(result_pair_count(&r), MANY - 1);
    result_compare(&r, c);
    assert_true(c[0].a == 0 && c[0].b == BEST && c[BEST].a == BEST);
    assert_true(c[MANY - 2].a == BEST && c[MANY - 2].b == MANY - 1);
    NEAR(c[0].ratio, 0.5, 1e-12);
    r.policies = RESULT_ALL_PAIRS;
    assert_int_equal(result_pair_count(&r),
                     RESULT_ALL_PAIRS * (RESULT_ALL_PAIRS - 1) / 2);
    r.policies = 1;
    assert_int_equal(result_pair_count(&r), 0);
}

static void first_tokens_where_there_are_no_others(void **state)
{
    static const int x[] = {1, 1}, y[] = {1, 1};
    struct run_request a[2], b[2];
    struct result_policy policy[2] = {timed(a, x, 2), timed(b, y, 2)};
    struct result r = {.policies = 2, .policy = policy};
    struct result_comparison c;

    (void)state;
    for (int i = 0; i < 2; i++) {
        a[i].output_tokens = b[i].output_tokens = 1;
        b[i].first_token = 3 * ms;
    }
    result_compare(&r, &c);
    NEAR(c.ratio, 3, 1e-12);
    assert_true(c.significant);
    b[0].finished = b[1].finished = false; /* their arrival is not known */
    result_compare(&r, &c);
    assert_int_equal(c.pairs, 0);
    assert_true(isnan(c.ratio) && !c.significant);
}

/* What a signal cut short is no run to compare with, nor one whose figures count. */
static void a_stopped_run_is_none(void **state)
{
    static const int x[] = {1, 2, 3, 4}, y[] = {2, 4, 6, 8};
    struct made_shape one = {.policies = 2, .layers = 3, .requests = 4, .seed = 5};
    struct made_shape several = {
        .policies = 2, .layers = 3, .requests = 4, .seed = 5, .gpus = 4};
    struct run_request a[4], b[4];
    struct result_policy policy[2] = {timed(a, x, 4), timed(b, y, 4)};
    struct result pair = {.policies = 2, .policy = policy};
    struct result_comparison c;

    (void)state;
    policy[1].run.finished = false;
    result_compare(&pair, &c);
    assert_true(c.pairs == 0 && isnan(c.ratio) && !c.significant);
    for (int i = 0; i < 2; i++) {
        struct result r = made_result(i == 0 ? &one : &several);
        char *text, *row;

        r.policy[1].run.finished = false;
        r.policy[1].run.request[0].finished = r.policy[1].run.request[1].finished = false;
        r.policy[1].run.request[2].finished = true;
        r.policy[1].run.request[3].finished = false;
        free(r.policy[1].label);
        r.policy[1].label = mem_strdup("half");
        text = made_printed(&r, result_print);
        row = strstr(text, "\nhalf ");
        assert_non_null(row);
        row += 1 + strcspn(row + 1, " ");
        row += strspn(row, " ");
        assert_memory_equal(row, "stopped after 1 of 4 requests\n", 30);
        assert_null(strstr(row + 30, "\nhalf ")); /* in no second table either */
        assert_non_null(strstr(text, "not compared, for one was stopped"));
        free(text);
        text = made_printed(&r, result_print_csv);
        row = strstr(text, "\nhalf,");
        assert_non_null(row);
        assert_memory_equal(row, "\nhalf,stopped after 1 of 4 requests,", 36);
        free(text);
        text = made_printed(&r, result_print_json);
        assert_non_null(strstr(text, "\"status\": \"complete\""));
        assert_non_null(strstr(text, "\"status\": \"stopped after 1 of 4 requests\""));
        assert_non_null(strstr(text, "\"finished_requests\": 1, \"tpot_mean_s\": null"));
        free(text);
        result_release(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_interval_by_hand),
        cmocka_unit_test(holm_corrects),
        cmocka_unit_test(many_policies_have_few_pairs),
        cmocka_unit_test(first_tokens_where_there_are_no_others),
        cmocka_unit_test(a_stopped_run_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
