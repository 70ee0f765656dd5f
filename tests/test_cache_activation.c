/* Caches that weigh uses, layers and sequences: known answers, and each rule once more,
 * written down as it reads, on random streams. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "cache_rig.h"
#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

/* Replays accesses of one layer, a pass each, and checks which hit and who is resident at
 * the end. */
static void plays(const char *policy, const char *options, uint32_t slots,
                  const char *letters, const char *expected, const char *residents)
{
    struct rig_stream s = rig_stream_of(8, letters);
    struct cache *c = rig_cache(&s, policy, options, rig_unprotected(slots), NULL);
    char got[64] = "", left[9] = "";

    assert_true(strlen(letters) < sizeof got);
    for (uint32_t i = 0; i < s.passes; i++) {
        cache_begin_step(c, 0, &s.expert[i], 1);
        got[i] = cache_access(c, 0, s.expert[i], s.next_use[i]).outcome == CACHE_HIT
                     ? 'h'
                     : '.';
        cache_end_pass(c);
    }
    for (uint32_t x = 0; x < 8; x++)
        if (cache_slot_of(c, 0, x) != CACHE_NONE)
            left[strlen(left)] = (char)('a' + x);
    assert_string_equal(got, expected);
    assert_string_equal(left, residents);
    cache_free(c);
    rig_stream_free(&s);
}

/* ---- known answers ---- */

static void uses_over_age(void **state)
{
    (void)state;
    /* At d, a has 3 uses, the last of them one access before b's: 3/2; b has 1/1 and
     * goes. Back again, it finds a at 3/3 and d at 1/1: of equals the older one goes. */
    plays("lfru", NULL, 2, "aaabd", ".hh..", "ad");
    plays("lfru", NULL, 2, "aaabdb", ".hh...", "bd");
    /* a took its count with it: at c it has 1/2, and b 2/1. */
    plays("lfru", NULL, 2, "aaabdbabc", ".hh....h.", "bc");
    /* In the end a has 3/7 and goes, not c with 2/2, as by counts alone. */
    plays("lfru", NULL, 3, "aaabbcbcbd", ".hh.h.hhh.", "bcd");
}

/* Scores are 256 heat + 255 - age. */
static void heat_wants_a_margin(void **state)
{
    (void)state;
    /* b and c have heat 1: no guard. Each newcomer takes the one used longest ago. */
    plays("lfru-heat", NULL, 2, "abcd", "....", "cd");
    /* a has heat 2; when c comes for the k-th time it scores 766 - k, and c 256 k + 255,
     * which is more than 5/4 of that and 1024 from k = 7 on. */
    plays("lfru-heat", NULL, 2, "ababccccccc", "..hh.......", "bc");
    plays("lfru-heat", NULL, 2, "ababcccccc", "..hh......", "ab");
    /* With a guard of 3 the two make way at once. */
    plays("lfru-heat", "{guard: 3}", 2, "ababc", "..hh.", "bc");
    /* Halved after the fourth pass, they have heat 1 and make way, too. */
    plays("lfru-heat", "{halve: 4}", 2, "ababc", "..hh.", "bc");
    plays("lfru-heat", "{halve: 5}", 2, "ababc", "..hh.", "ab");
}

/* a is hot at its third hit, and spared though used longest ago; b and c are not. */
static void the_hot_are_spared(void **state)
{
    (void)state;
    plays("heat-protected-lru", "{hot_uses: 2}", 2, "aaaabcd", ".hhh...", "ad");
    plays("heat-protected-lru", "{hot_uses: 3}", 2, "aaaabcd", ".hhh...", "cd");
    plays("heat-protected-lru", "{hot_uses: 0}", 2, "aaaabcd", ".hhh...", "cd");
    /* Both are hot: a, longer ago, goes and comes back cold, so that it goes again. */
    plays("heat-protected-lru", "{hot_uses: 1}", 2, "aaabbbcad", ".hh.hh...", "bd");
}

/* One expert, on its own in a step. */
static void uses(struct cache *c, uint32_t layer, uint16_t expert, bool hits)
{
    cache_begin_step(c, layer, &expert, 1);
    assert_int_equal(cache_access(c, layer, expert, CACHE_UNUSED).outcome == CACHE_HIT,
                     hits);
}

static bool is_there(const struct cache *c, uint32_t layer, uint32_t expert)
{
    return cache_slot_of(c, layer, expert) != CACHE_NONE;
}

/* The example of rustane's own test: layers 3, 59 and 30 in three slots, then 45. */
static void the_lowest_layer_goes(void **state)
{
    struct rig_stream s = rig_stream_new(60, 4, 1, 1);
    struct cache *c;

    (void)state;
    rig_stream_finish(&s);
    c = rig_cache(&s, "least-stale-layer", NULL, rig_unprotected(3), NULL);
    uses(c, 3, 1, false);
    uses(c, 59, 2, false);
    uses(c, 30, 0, false);
    uses(c, 45, 3, false);
    assert_false(is_there(c, 3, 1));
    /* Another one of layer 30, used later, stays; the first goes although it came first
     * and 59 before both: 59 is the highest layer. */
    uses(c, 30, 2, false);
    assert_false(is_there(c, 30, 0));
    assert_true(is_there(c, 59, 2) && is_there(c, 45, 3) && is_there(c, 30, 2));
    cache_free(c);
    rig_stream_free(&s);
}

static struct cache *four_layers(const char *policy, const char *options, int64_t slots)
{
    struct rig_stream s = rig_stream_new(4, 4, 1, 1);
    struct cache *c;

    rig_stream_finish(&s);
    c = rig_cache(&s, policy, options, rig_unprotected(slots), NULL);
    rig_stream_free(&s);
    return c;
}

/* A pass uses expert 0 of each of four layers, all of which are resident then. In the
 * next one, layer 1 has used another one: layer 0 is passed and used, 1 to 3 are ahead or
 * here, and stale. The farthest ahead, layer 3, goes; at layer 3 itself layer 1's expert
 * 0, which is passed and stale; then nothing is stale but layer 2's, if that was not
 * used. */
static void the_stale_go_first(void **state)
{
    struct cache *c = four_layers("least-stale-queue", NULL, 4);

    (void)state;
    for (uint32_t l = 0; l < 4; l++)
        uses(c, l, 0, false);
    cache_end_pass(c);
    uses(c, 0, 0, true);
    uses(c, 1, 1, false);
    assert_false(is_there(c, 3, 0));
    uses(c, 2, 0, true);
    uses(c, 3, 1, false);
    assert_false(is_there(c, 1, 0));
    /* All four were used in this pass: of the layers passed the lowest goes. */
    uses(c, 3, 2, false);
    assert_false(is_there(c, 0, 0));
    uses(c, 0, 1, false); /* none is passed at layer 0: the farthest ahead, by age */
    assert_false(is_there(c, 3, 1));
    assert_true(is_there(c, 3, 2));
    cache_free(c);
}

/* First in, first out, in the order of first uses: what was loaded early in this pass for
 * a layer ahead is used and stays where it came in. LRU would have it behind. */
static void a_queue_is_lru_but_for_early_loads(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        struct rig_stream s = rig_stream_random(seed, 4, 12, 100, 3);

        for (int64_t slots = 3; slots < 40; slots += 6)
            assert_int_equal(
                rig_hits(&s, "least-stale-queue", "{form: fifo}", rig_unprotected(slots)),
                rig_hits(&s, "lru", NULL, rig_unprotected(slots)));
        rig_stream_free(&s);
    }
    for (int i = 0; i < 2; i++) {
        struct cache *c = i == 0 ? four_layers("lru", NULL, 2)
                                 : four_layers("least-stale-queue", "{form: fifo}", 2);

        assert_int_equal(cache_prefetch(c, 2, 0, 0).outcome, CACHE_LOAD);
        uses(c, 0, 0, false);
        uses(c, 2, 0, true);
        uses(c, 3, 0, false);
        assert_int_equal(is_there(c, 2, 0), i == 0);
        cache_free(c);
    }
}

/* The example of the analysis that the rule is from: with three slots a is expected last
 * (at 9, being used every 3) when d comes; then c and d both at 8, and d was used last.
 */
static void the_last_expected_goes(void **state)
{
    (void)state;
    plays("least-stale-ewma", NULL, 3, "abcabcadabcd", "...hhhh..hh.", "abd");
    /* When d comes, b is expected at 6 + 4; a, used after 2 and then after 4, at 7 + 2.5,
     * or by its last interval alone at 7 + 4. */
    plays("least-stale-ewma", NULL, 3, "abaccbad", "..h.hhh.", "acd");
    plays("least-stale-ewma", "{weight: 1}", 3, "abaccbad", "..h.hhh.", "bcd");
}

/* ---- every rule once more ---- */

struct past {
    bool resident;
    uint64_t uses;   /* ever, halved where that is the rule */
    uint64_t count;  /* since it was loaded, that access included */
    uint64_t last;   /* the access's number in its set */
    uint64_t loaded; /* likewise */
    uint64_t pass;   /* of the last access, from 1 */
    double interval; /* between uses, averaged since it was loaded */
};

struct naive {
    const struct rig_stream *s;
    struct cache_params p;
    uint64_t *now; /* [layers] accesses of the set so far; [0] for all of a global one */
    uint64_t pass;
    uint32_t layer; /* of the step */
    struct past *past;
    const uint8_t *active; /* (layer, expert) */
};

/* Of the least triple goes; what is equal in it by the lowest id. */
struct score {
    double a, b;
};
struct rule {
    const char *name, *options;
    struct score (*score)(const struct naive *n, uint32_t x);
    /* Whether the victim may go for `x`; NULL: always. */
    bool (*yields)(const struct naive *n, uint32_t victim, uint32_t x);
    uint64_t halve; /* uses after so many passes; 0: never */
};

static uint64_t now_of(const struct naive *n, uint32_t x)
{
    return n->now[n->p.scope == CACHE_GLOBAL ? 0 : x / n->s->experts];
}

static struct score by_use_over_age(const struct naive *n, uint32_t x)
{
    const struct past *p = &n->past[x];

    return (struct score){(double)p->count / (double)(now_of(n, x) - p->last + 1),
                          (double)p->loaded};
}

static double heat_score(const struct naive *n, uint32_t x)
{
    double age = (double)(now_of(n, x) - n->past[x].last);

    return 256.0 * (double)n->past[x].uses + (age < 255 ? 255 - age : 0);
}

static struct score by_heat(const struct naive *n, uint32_t x)
{
    return (struct score){heat_score(n, x), (double)n->past[x].last};
}

static bool is_clearly_hotter(const struct naive *n, uint32_t victim, uint32_t x)
{
    double bar = heat_score(n, victim);

    return n->past[victim].uses < 2 ||
           heat_score(n, x) > bar + (double)((uint64_t)bar / 4) + 1024;
}

static struct score by_hot(const struct naive *n, uint32_t x)
{
    return (struct score){n->past[x].count - 1 > 2, (double)n->past[x].last};
}

static struct score by_layer(const struct naive *n, uint32_t x)
{
    bool global = n->p.scope == CACHE_GLOBAL;

    return (struct score){global ? x / n->s->experts : 0, (double)n->past[x].last};
}

static struct score by_staleness(const struct naive *n, uint32_t x)
{
    double layer = x / n->s->experts, now = n->layer, layers = n->s->layers;
    bool stale = n->past[x].pass != n->pass + 1, passed = layer < now;
    double rank = passed ? layer : 2 * layers - layer;

    if (n->p.scope != CACHE_GLOBAL)
        rank = 0;
    return (struct score){(stale ? 0 : 10 * layers) + rank, (double)n->past[x].last};
}

static struct score by_interval(const struct naive *n, uint32_t x)
{
    const struct past *p = &n->past[x];

    return (struct score){-((double)p->last + (p->interval < 1 ? 1 : p->interval)),
                          -(double)p->last};
}

static const struct rule rules[] = {
    {"lfru", NULL, by_use_over_age, NULL, 0},
    {"heat-protected-lru", "{hot_uses: 2}", by_hot, NULL, 0},
    {"least-stale-layer", NULL, by_layer, NULL, 0},
    {"least-stale-queue", NULL, by_staleness, NULL, 0},
    {"least-stale-ewma", NULL, by_interval, NULL, 0},
    {"lfru-heat", "{halve: 7}", by_heat, is_clearly_hotter, 7},
};

static bool is_before(struct score a, struct score b)
{
    return a.a < b.a || (a.a == b.a && a.b < b.b);
}

/* Whether x hits; makes it resident or not as the rule says. */
static bool naive_access(struct naive *n, const struct rule *r, uint32_t x)
{
    bool global = n->p.scope == CACHE_GLOBAL;
    uint32_t experts = n->s->experts, objects = n->s->layers * experts;
    uint32_t first = global ? 0 : x / experts * experts, residents = 0;
    uint32_t end = global ? objects : first + experts, victim = CACHE_NONE;
    uint64_t *now = &n->now[global ? 0 : x / experts];
    struct past *p = &n->past[x];

    for (uint32_t y = first; y < end; y++) {
        if (!n->past[y].resident)
            continue;
        residents++;
        if (n->p.protect == CACHE_PROTECT_STRICT && n->active[y])
            continue;
        if (victim == CACHE_NONE || is_before(r->score(n, y), r->score(n, victim)))
            victim = y;
    }
    if (p->resident) {
        p->count++;
    } else if (strcmp(r->name, "lfru-heat") == 0) {
        /* Counted before anybody is looked at, and by age up to this access. */
        p->uses++;
        p->last = ++*now;
        if (residents == (uint32_t)n->p.slots &&
            (victim == CACHE_NONE || !r->yields(n, victim, x)))
            return false;
        if (residents == (uint32_t)n->p.slots)
            n->past[victim].resident = false;
        p->resident = true;
        return false;
    }
    if (!p->resident && residents == (uint32_t)n->p.slots) {
        if (victim == CACHE_NONE)
            return false;
        n->past[victim].resident = false;
    }
    p->uses++;
    ++*now;
    if (p->resident)
        p->interval = p->interval == 0
                          ? (double)(*now - p->last)
                          : 0.75 * p->interval + 0.25 * (double)(*now - p->last);
    p->last = *now;
    p->pass = n->pass + 1;
    if (p->resident)
        return true;
    p->resident = true;
    p->interval = 0;
    p->count = 1;
    p->loaded = *now;
    return false;
}

static void compare(const struct rig_stream *s, const struct rule *r,
                    struct cache_params p)
{
    uint32_t objects = s->layers * s->experts;
    uint8_t *active = mem_zalloc(objects, 1);
    struct naive n = {.s = s, .p = p, .active = active};
    struct cache *c = rig_cache(s, r->name, r->options, p, NULL);

    n.now = mem_zalloc(s->layers, sizeof *n.now);
    n.past = mem_zalloc(objects, sizeof *n.past);
    for (uint32_t pass = 0; pass < s->passes; pass++) {
        for (uint32_t layer = 0; layer < s->layers; layer++) {
            const uint16_t *expert = rig_step(s, pass, layer);

            memset(active, 0, objects);
            for (uint32_t i = 0; i < s->width; i++)
                active[layer * s->experts + expert[i]] = 1;
            n.layer = layer;
            cache_begin_step(c, layer, expert, s->width);
            for (uint32_t i = 0; i < s->width; i++) {
                bool hit = naive_access(&n, r, layer * s->experts + expert[i]);

                assert_int_equal(
                    cache_access(c, layer, expert[i], CACHE_UNUSED).outcome == CACHE_HIT,
                    hit);
            }
            for (uint32_t x = 0; x < objects; x++)
                assert_int_equal(cache_slot_of(c, x / s->experts, x % s->experts) !=
                                     CACHE_NONE,
                                 n.past[x].resident);
        }
        cache_end_pass(c);
        n.pass++;
        if (r->halve != 0 && n.pass % r->halve == 0)
            for (uint32_t x = 0; x < objects; x++)
                n.past[x].uses /= 2;
    }
    cache_free(c);
    free(n.now);
    free(n.past);
    free(active);
}

static void every_rule_once_more(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 6; seed++) {
        struct rig_stream s = rig_stream_random(50 + seed, 4, 12, 120, 3);

        for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
            for (uint32_t k = 0; k < 8; k++) {
                bool global = k % 2 == 1;
                struct cache_params p = {
                    .scope = global ? CACHE_GLOBAL : CACHE_PER_LAYER,
                    .slots = global ? 9 + 7 * (k / 4) : 4 + 2 * (k / 4),
                    .protect = k / 2 % 2 == 0 ? CACHE_PROTECT_STRICT : CACHE_PROTECT_NONE,
                    .staging = 1};

                compare(&s, &rules[i], p);
            }
        }
        rig_stream_free(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uses_over_age),
        cmocka_unit_test(heat_wants_a_margin),
        cmocka_unit_test(the_hot_are_spared),
        cmocka_unit_test(the_lowest_layer_goes),
        cmocka_unit_test(the_stale_go_first),
        cmocka_unit_test(a_queue_is_lru_but_for_early_loads),
        cmocka_unit_test(the_last_expected_goes),
        cmocka_unit_test(every_rule_once_more),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
