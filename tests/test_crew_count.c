/* Runs over several GPUs against a naive count: rows, drops, bytes over every link. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "naive_crew.h"

#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

/* Tells of the first difference in words; true if there is none. */
static bool same(const char *what, uint64_t index, uint64_t run, uint64_t naive)
{
    if (run == naive)
        return true;
    print_error("%s %llu: the run has %llu, the naive count %llu\n", what,
                (unsigned long long)index, (unsigned long long)run,
                (unsigned long long)naive);
    return false;
}

static bool same_counts(uint64_t i, const struct run_counts *run,
                        const struct run_counts *naive)
{
    bool good = same("activations of layer", i, run->activations, naive->activations);

    good &= same("dropped in layer", i, run->dropped, naive->dropped);
    good &= same("computed rows of layer", i, run->computed_rows, naive->computed_rows);
    good &= same("busiest rows of layer", i, run->busiest_rows, naive->busiest_rows);
    good &= same("sent rows of layer", i, run->sent_rows, naive->sent_rows);
    good &= same("sent bytes of layer", i, run->sent_bytes, naive->sent_bytes);
    good &=
        same("migrated bytes of layer", i, run->migrated_bytes, naive->migrated_bytes);
    return good;
}

/* Counting alone knows no links. */
static bool same_run(const struct run_result *r, const struct crew_count *x, bool timed)
{
    uint32_t links = timed ? x->links : 0;
    bool good = same("gpus", 0, r->gpus, x->gpus) && same("links", 0, r->links, links);
    struct run_counts sum = {0};

    for (uint32_t l = 0; good && l < x->layers; l++) {
        good &= same_counts(l, &r->layer[l].counts, &x->layer[l]);
        good &= same("migrations of layer", l, r->layer[l].counts.migrations,
                     x->layer[l].migrations);
        sum.activations += x->layer[l].activations;
        sum.dropped += x->layer[l].dropped;
        sum.computed_rows += x->layer[l].computed_rows;
        sum.busiest_rows += x->layer[l].busiest_rows;
        sum.sent_rows += x->layer[l].sent_rows;
        sum.sent_bytes += x->layer[l].sent_bytes;
        sum.migrated_bytes += x->layer[l].migrated_bytes;
    }
    good = good && same_counts(99, &r->total.counts, &sum);
    for (uint32_t g = 0; good && g < x->gpus; g++)
        good &= same("rows of GPU", g, r->gpu_rows[g], x->gpu_rows[g]);
    for (uint32_t i = 0; good && i < links; i++)
        good &= same("bytes over link", i, r->link_bytes[i], x->link_bytes[i]);
    good &= same("migrations", 0, r->total.counts.migrations, x->migrations);
    good &= same("migrated bytes", 0, r->total.counts.migrated_bytes, x->migrated_bytes);
    return good;
}

/* How many cases had each, so that none is left out by chance. */
static struct tally {
    unsigned moved, dropped, padded, sent, several_nodes, shards, alone;
} tally;

static void enter(const struct crew_case *c, const struct run_counts *x)
{
    tally.moved += x->migrated_bytes > 0;
    tally.dropped += x->dropped > 0;
    tally.padded += x->computed_rows > x->activations;
    tally.sent += x->sent_rows > 0;
    tally.several_nodes += c->nodes > 1 && x->sent_rows > 0;
    tally.shards += strcmp(c->place, "moeshard") == 0;
    tally.alone += c->nodes * c->gpus == 1;
}

static void check_case(const struct crew_case *c, bool verbose)
{
    static const char *const engines[] = {"fifo", "event", "count"};
    struct crew_lab *lab = crew_lab_new(c, NULL);
    struct crew_count x = crew_count_naively(lab);
    bool good = true;

    for (int i = 0; i < 3; i++) {
        struct result r;

        if (i == 0 && c->policy_more != NULL)
            continue;
        if (crew_lab_run(lab, engines[i], 1, &r, NULL) != 0)
            return;
        if (!same_run(&r.policy[0].run, &x, i < 2)) {
            print_error("with engine: %s\n", engines[i]);
            good = false;
        }
        enter(c, &r.policy[0].run.total.counts);
        result_release(&r);
    }
    if (!good || verbose) {
        char *text = crew_case_text(c);

        print_error("%s\n", text);
        free(text);
    }
    crew_count_release(&x);
    crew_lab_free(lab);
    assert_true(good);
}

static void test_random(void **state)
{
    const char *cases = getenv("MOESIM_CREW_CASES"), *only = getenv("MOESIM_CREW_ONLY");
    int count = cases == NULL ? 60 : atoi(cases);

    (void)state;
    for (int i = 0; i < count; i++) {
        struct rng r = rng_stream(20260, "crew case", (uint64_t)i);
        struct crew_case c;

        if (only != NULL && i != atoi(only))
            continue;
        crew_case_draw(&c, &r);
        c.more = "bounds: no";
        if (c.interval == 0 && rng_below(&r, 5) == 0)
            c.policy_more = ", cache: {name: lru, slots: 1}";
        check_case(&c, only != NULL);
    }
    if (only == NULL) {
        assert_true(tally.moved > 4 && tally.dropped > 4 && tally.padded > 4);
        assert_true(tally.sent > 4 && tally.several_nodes > 4);
        assert_true(tally.shards > 4 && tally.alone > 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
