/* What the hashes of a trace notice, and where. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "row_trace.h"
#include "trace_maker.h"

#include "traces/trace_digest.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct trace_make whole = {.layers = 5,
                                        .experts = 16,
                                        .top_k = 2,
                                        .candidates = 4,
                                        .requests = 6,
                                        .rows = 90,
                                        .score_kind = TRACE_SCORE_SOFTMAX,
                                        .predicted = 2,
                                        .uneven = true,
                                        .known_source = true,
                                        .arrivals = true,
                                        .passes = true,
                                        .seed = 4};

static struct trace_digest digest_file(const char *path)
{
    struct err e = {.text = ""};
    struct trace *t = trace_open(path, NULL, &e);
    struct trace_digest d;

    assert_non_null(t);
    if (trace_digest(t, &d, &e) != 0)
        fail_msg("%s", e.text);
    trace_close(t);
    return d;
}

static struct trace_digest digest(const struct trace_make *m, const char *poked, int rank,
                                  uint64_t row, int64_t value)
{
    char *path = trace_make_path("digest");
    struct trace_digest d;

    trace_make(path, m);
    if (poked != NULL)
        trace_poke(path, poked, rank, row, value);
    d = digest_file(path);
    (void)unlink(path);
    free(path);
    return d;
}

static bool same(struct hash_value a, struct hash_value b)
{
    return strcmp(hash_text(a).text, hash_text(b).text) == 0;
}

static void test_same_values(void **state)
{
    struct trace_digest a = digest(&whole, NULL, 0, 0, 0);
    struct trace_digest b = digest(&whole, NULL, 0, 0, 0);

    (void)state;
    assert_true(same(a.whole, b.whole));
    assert_int_equal(a.requests, 6);
    assert_int_equal(a.layers, 5);
    assert_memory_equal(a.request, b.request, 6 * sizeof *a.request);
    assert_memory_equal(a.layer, b.layer, 5 * sizeof *a.layer);
    trace_digest_release(&a);
    trace_digest_release(&b);
}

/* One expert of one row in the first layer: its request and that layer, nothing else. */
static void test_one_expert(void **state)
{
    struct trace_request r = trace_make_request(&whole, 3);
    struct trace_token token;
    uint16_t expert[20];
    uint16_t other = 0;
    struct trace_digest a = digest(&whole, NULL, 0, 0, 0), b;

    (void)state;
    trace_make_row(&whole, r.first_row + 7, &token, expert, NULL, NULL);
    while (other == expert[0] || other == expert[1] || other == expert[2] ||
           other == expert[3])
        other++;
    b = digest(&whole, "/routing/expert", 3, r.first_row + 7, other);
    assert_false(same(a.whole, b.whole));
    for (uint64_t n = 0; n < 6; n++)
        assert_int_equal(a.request[n] == b.request[n], n != 3);
    for (uint32_t l = 0; l < 5; l++)
        assert_int_equal(a.layer[l] == b.layer[l], l != 0);
    trace_digest_release(&a);
    trace_digest_release(&b);
}

/* What is beside the routing changes the whole, and no part. */
static void test_other_columns(void **state)
{
    static const struct {
        const char *name;
        int rank;
        int64_t value;
    } column[] = {{"/request/arrival_ns", 1, 5},
                  {"/token/token_id", 1, 77},
                  {"/token/source", 1, 9},
                  {"/routing/predicted", 3, 14},
                  {"/pass/start_ns", 1, 12345}};
    struct trace_digest a = digest(&whole, NULL, 0, 0, 0);

    (void)state;
    for (size_t i = 0; i < sizeof column / sizeof *column; i++) {
        struct trace_digest b =
            digest(&whole, column[i].name, column[i].rank, 2, column[i].value);

        assert_false(same(a.whole, b.whole));
        assert_memory_equal(a.request, b.request, 6 * sizeof *a.request);
        trace_digest_release(&b);
    }
    trace_digest_release(&a);
}

/* A request without rows has the hash of nothing. */
static void test_empty_request(void **state)
{
    struct row_trace *s = row_trace_make(
        &(struct row_trace_plan){.requests = 4, .decode_to = 5, .empty = true}, 3);
    struct trace_digest d = digest_file(s->path);
    struct hash *nothing = hash_new();

    (void)state;
    assert_int_equal(d.requests, 4);
    assert_int_equal(d.request[3], hash_now(nothing).low);
    assert_int_not_equal(d.request[2], d.request[3]);
    hash_free(nothing);
    trace_digest_release(&d);
    row_trace_free(s);
}

static void test_counts_only(void **state)
{
    char *path = trace_make_path("digest-counts");
    struct trace_digest d;

    (void)state;
    trace_make_counts(path, 3, 8, 4);
    d = digest_file(path);
    assert_int_equal(d.requests, 0);
    assert_int_not_equal(d.whole.low, 0);
    trace_digest_release(&d);
    (void)unlink(path);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_values),   cmocka_unit_test(test_one_expert),
        cmocka_unit_test(test_other_columns), cmocka_unit_test(test_empty_request),
        cmocka_unit_test(test_counts_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
