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

/* ---- every rule once more ---- */

struct past {
    bool resident;
    uint64_t uses;   /* ever, halved where that is the rule */
    uint64_t count;  /* since it was loaded, that access included */
    uint64_t last;   /* the access's number in its set */
    uint64_t loaded; /* likewise */
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

static const struct rule rules[] = {
    {"lfru", NULL, by_use_over_age, NULL, 0},
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
    p->last = ++*now;
    if (p->resident)
        return true;
    p->resident = true;
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
        cmocka_unit_test(every_rule_once_more),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
