/* The prefetch slot: the contract that every plug-in keeps, and a known answer each. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "sim/base/mem.h"
#include "sim/base/rng.h"
#include "sim/policy/slots.h"

#include <stdlib.h>
#include <string.h>

/* ---- a small world: recorded routing, and the view of one step of it ---- */

struct view_future {
    int unused;
};

struct world {
    struct view_future future; /* first: the oracle's context leads back to the world */
    uint32_t passes, layers, experts, top_k, rows;
    uint16_t *choice;     /* (pass, layer, row, rank) */
    struct view_row *row; /* (pass, row) */
    uint64_t *load;       /* (layer, expert) */
    uint32_t at;          /* step that the view shows */
    uint16_t active[256];
    uint32_t tokens[256];
    uint32_t expert[256]; /* what future() hands out */
    const struct cache *cache;
};

static struct world *world_new(uint32_t passes, uint32_t layers, uint32_t experts,
                               uint32_t top_k, uint32_t rows)
{
    struct world *w = mem_zalloc(1, sizeof *w);

    w->passes = passes;
    w->layers = layers;
    w->experts = experts;
    w->top_k = top_k;
    w->rows = rows;
    w->choice = mem_alloc((size_t)passes * layers * rows * top_k, sizeof *w->choice);
    w->row = mem_zalloc((size_t)passes * rows, sizeof *w->row);
    w->load = mem_zalloc((size_t)layers * experts, sizeof *w->load);
    for (uint32_t i = 0; i < passes * rows; i++) {
        w->row[i].request = i % rows;
        w->row[i].position = i / rows;
        w->row[i].phase = 1;
    }
    return w;
}

static void world_free(struct world *w)
{
    free(w->choice);
    free(w->row);
    free(w->load);
    free(w);
}

static uint16_t *choice_at(const struct world *w, uint32_t step, uint32_t row)
{
    return &w->choice[((size_t)step * w->rows + row) * w->top_k];
}

/* The active experts of a step, ascending; fills tokens[experts]. */
static uint32_t active_of(const struct world *w, uint32_t step, uint16_t *active,
                          uint32_t *tokens)
{
    uint32_t count = 0;

    memset(tokens, 0, w->experts * sizeof *tokens);
    for (uint32_t i = 0; i < w->rows * w->top_k; i++) {
        uint16_t e = choice_at(w, step, 0)[i];

        if (e != VIEW_NO_EXPERT)
            tokens[e]++;
    }
    for (uint32_t e = 0; e < w->experts; e++) {
        if (tokens[e] > 0)
            active[count++] = (uint16_t)e;
    }
    return count;
}

static uint32_t future(const struct view_future *f, uint32_t ahead,
                       const uint32_t **expert)
{
    /* The tests own the world and hand it out as const; future() fills its buffer. */
    struct world *w = (struct world *)(uintptr_t)f;
    uint16_t active[256];
    uint32_t tokens[256];
    uint32_t count;

    *expert = w->expert;
    if (w->at + ahead >= w->passes * w->layers)
        return 0;
    count = active_of(w, w->at + ahead, active, tokens);
    for (uint32_t i = 0; i < count; i++)
        w->expert[i] = active[i];
    return count;
}

static struct view view_of(struct world *w, uint32_t step, bool oracle)
{
    struct view v = {.pass = step / w->layers,
                     .layer = step % w->layers,
                     .layers = w->layers,
                     .experts = w->experts,
                     .top_k = w->top_k,
                     .candidates = w->top_k,
                     .rows = w->rows,
                     .row = &w->row[(size_t)(step / w->layers) * w->rows],
                     .choice = choice_at(w, step, 0),
                     .choice_stride = w->top_k,
                     .active = w->active,
                     .tokens = w->tokens,
                     .load = w->load,
                     .cache = w->cache};

    w->at = step;
    v.active_count = active_of(w, step, w->active, w->tokens);
    if (oracle) {
        v.future = future;
        v.future_context = &w->future;
    }
    return v;
}

/* Adds a pass to the loads, as the runner does once it has ended. */
static void count_pass(struct world *w, uint32_t pass)
{
    for (uint32_t l = 0; l < w->layers; l++) {
        uint16_t active[256];
        uint32_t tokens[256];

        (void)active_of(w, pass * w->layers + l, active, tokens);
        for (uint32_t e = 0; e < w->experts; e++)
            w->load[l * w->experts + e] += tokens[e];
    }
}

/* ---- a plug-in at work ---- */

struct run {
    const struct prefetch_type *type;
    void *params, *state;
    struct prefetch_want *want;
    uint32_t most, count;
};

static void run_begin(struct run *r, const struct world *w, const char *name,
                      const char *options, int fill)
{
    struct policy_shape shape = {
        .layers = w->layers, .experts = w->experts, .top_k = w->top_k};
    struct err e = {""};
    struct cfg *c = cfg_parse("test", options, strlen(options), &e);

    r->type = (const struct prefetch_type *)registry_find(SLOT_PREFETCH, name);
    assert_non_null(r->type);
    assert_non_null(c);
    r->params = mem_zalloc(1, r->type->plugin.params_size + 1);
    if (cfg_bind(cfg_root(c), r->type->plugin.options, r->params, &e) != 0)
        fail_msg("%s", e.text);
    cfg_free(c);
    /* Exactly what was asked for, so that the address sanitizer sees any excess. */
    r->state = mem_alloc(1, r->type->state_size(&shape, r->params));
    memset(r->state, fill, r->type->state_size(&shape, r->params));
    r->type->init(r->state, &shape, r->params);
    r->most = r->type->width(&shape, r->params);
    r->want = mem_alloc(r->most, sizeof *r->want);
}

static void run_step(struct run *r, const struct view *v)
{
    r->count = r->type->step(r->state, v, r->want);
    assert_true(r->count <= r->most);
}

static void run_end(struct run *r)
{
    free(r->params);
    free(r->state);
    free(r->want);
}

/* The wants are exactly the active experts of the step that is `ahead` of `step`. */
static bool wants_are(const struct run *r, const struct world *w, uint32_t step,
                      uint32_t ahead)
{
    uint16_t active[256];
    uint32_t tokens[256];
    uint32_t count = active_of(w, step + ahead, active, tokens);
    bool equal = r->count == count;

    for (uint32_t i = 0; i < r->count; i++)
        equal = equal && r->want[i].ahead == ahead && tokens[r->want[i].expert] > 0;
    return equal;
}

static struct world *random_world(struct rng *r)
{
    uint32_t experts = 2 + (uint32_t)rng_below(r, 30);
    struct world *w = world_new(6, 1 + (uint32_t)rng_below(r, 5), experts,
                                1 + (uint32_t)rng_below(r, experts < 4 ? experts : 4),
                                1 + (uint32_t)rng_below(r, 5));

    for (uint32_t s = 0; s < w->passes * w->layers; s++) {
        for (uint32_t row = 0; row < w->rows; row++) {
            uint16_t *c = choice_at(w, s, row);
            uint16_t first = (uint16_t)rng_below(r, experts);

            for (uint32_t j = 0; j < w->top_k; j++) {
                c[j] = (uint16_t)((first + j) % experts);
                if (rng_below(r, 16) == 0)
                    c[j] = VIEW_NO_EXPERT;
            }
        }
    }
    /* Requests change places between passes, and some leave. */
    for (uint32_t i = 0; i < w->passes * w->rows; i++)
        w->row[i].request = (uint32_t)rng_below(r, 6) * 8 + i % w->rows;
    return w;
}

static struct cache *some_cache(const struct world *w, struct rng *r)
{
    uint64_t *bytes = mem_alloc(w->layers, sizeof *bytes);
    struct cache_config config = {
        .algorithm = (const struct cache_algorithm *)registry_find(SLOT_CACHE, "lru"),
        .params = {.scope = CACHE_PER_LAYER,
                   .slots = 1 + (int64_t)rng_below(r, w->experts),
                   .staging = 1},
        .layers = w->layers,
        .experts = w->experts,
        .expert_bytes = bytes,
        .seed = 5};
    struct err e = {""};
    struct cache *c;

    for (uint32_t l = 0; l < w->layers; l++)
        bytes[l] = 1000;
    c = cache_new(&config, &e);
    assert_non_null(c);
    free(bytes);
    return c;
}

/* ---- the contract ---- */

static void check_wants(const struct run *r, const struct view *v, uint32_t distance,
                        uint32_t width)
{
    uint32_t missing = 0;

    for (uint32_t i = 0; i < r->count; i++) {
        struct prefetch_want want = r->want[i];
        uint32_t layer = (v->layer + want.ahead) % v->layers;

        assert_true(want.ahead >= 1 && want.ahead <= distance);
        assert_true(want.expert < v->experts);
        missing += cache_slot_of(v->cache, layer, want.expert) == CACHE_NONE;
        for (uint32_t j = 0; j < i; j++)
            assert_false(r->want[j].ahead == want.ahead &&
                         r->want[j].expert == want.expert);
    }
    assert_true(missing <= width);
}

/* Two runs over the same world, whose memory differs before init, want the same; wants
 * are in range, distinct, and load at most `width` experts. The cache does what it is
 * asked for, so that residency changes as it does in a replay. */
static void contract_of(const char *name, bool oracle, struct rng *rng)
{
    struct world *w = random_world(rng);
    struct cache *c = some_cache(w, rng);
    uint32_t distance = 1 + (uint32_t)rng_below(rng, 2 * w->layers + 1);
    uint32_t width = 1 + (uint32_t)rng_below(rng, 4);
    char *options = mem_format("{distance: %u, width: %u}", distance, width);
    struct run a, b;

    w->cache = c;
    run_begin(&a, w, name, options, 0);
    run_begin(&b, w, name, options, 0xa5);
    for (uint32_t s = 0; s < w->passes * w->layers; s++) {
        struct view v = view_of(w, s, oracle);

        cache_begin_step(c, v.layer, v.active, v.active_count);
        for (uint32_t i = 0; i < v.active_count; i++)
            (void)cache_access(c, v.layer, v.active[i], CACHE_NEVER);
        run_step(&a, &v);
        run_step(&b, &v);
        assert_int_equal(a.count, b.count);
        for (uint32_t i = 0; i < a.count; i++) {
            assert_int_equal(a.want[i].ahead, b.want[i].ahead);
            assert_int_equal(a.want[i].expert, b.want[i].expert);
        }
        check_wants(&a, &v, distance, width);
        for (uint32_t i = 0; i < a.count; i++)
            (void)cache_prefetch(c, (v.layer + a.want[i].ahead) % w->layers,
                                 a.want[i].expert, (s + a.want[i].ahead) / w->layers);
        if (v.layer + 1 == w->layers) {
            count_pass(w, (uint32_t)v.pass);
            cache_end_pass(c);
        }
    }
    run_end(&a);
    run_end(&b);
    free(options);
    cache_free(c);
    world_free(w);
}

static void contract(void **unused)
{
    uint32_t tried = 0;

    (void)unused;
    for (const struct plugin *const *p = registry_all(); *p != NULL; p++) {
        const struct prefetch_type *t = (const struct prefetch_type *)*p;

        if ((*p)->slot != SLOT_PREFETCH || t->step == NULL)
            continue;
        for (uint64_t round = 0; round < 60; round++) {
            struct rng r = rng_stream(11, "prefetch", round);

            contract_of((*p)->name, ((*p)->needs & NEED_FUTURE) != 0, &r);
        }
        assert_true((*p)->lossless);
        tried++;
    }
    assert_true(tried >= 4);
}

/* ---- known answers ---- */

/* Pass p takes expert 3 l + p at layer l (modulo E), with its neighbour as second choice:
 * a deterministic chain, within a pass and from one to the next. Once every path was seen
 * the counts alone give the coming step exactly, at any distance. */
static void markov_learns_a_chain(void **unused)
{
    (void)unused;
    for (uint32_t distance = 1; distance <= 9; distance++) {
        struct world *w = world_new(30, 4, 8, 2, 1);
        char *options = mem_format("{distance: %u, smoothing: 0}", distance);
        struct run r;
        uint32_t exact = 0;

        for (uint32_t s = 0; s < w->passes * w->layers; s++) {
            uint32_t e = 3 * (s % w->layers) + 2 * (s / w->layers);

            choice_at(w, s, 0)[0] = (uint16_t)(e % 8);
            choice_at(w, s, 0)[1] = (uint16_t)((e + 1) % 8);
        }
        run_begin(&r, w, "markov", options, 0xa5);
        for (uint32_t s = 0; s + distance < w->passes * w->layers; s++) {
            struct view v = view_of(w, s, false);

            run_step(&r, &v);
            if (s < distance)
                assert_int_equal(r.count, 0);
            /* Paths repeat after 4 passes; the last of them is known `distance` later. */
            if (s >= 4 * w->layers + distance) {
                assert_true(wants_are(&r, w, s, distance));
                exact++;
            }
            if (v.layer + 1 == w->layers)
                count_pass(w, (uint32_t)v.pass);
        }
        assert_true(exact >= 80);
        run_end(&r);
        free(options);
        world_free(w);
    }
}

/* A constant trace is known after one pass: layer 0 comes `distance` steps later. */
static void markov_after_one_pass(void **unused)
{
    struct world *w = world_new(4, 5, 16, 1, 1);
    struct run r;

    (void)unused;
    for (uint32_t s = 0; s < w->passes * w->layers; s++)
        choice_at(w, s, 0)[0] = (uint16_t)(7 * (s % w->layers) % 16);
    run_begin(&r, w, "markov", "{distance: 1, candidates: 16}", 0xa5);
    for (uint32_t s = 0; s + 1 < w->passes * w->layers; s++) {
        struct view v = view_of(w, s, false);

        run_step(&r, &v);
        if (s >= w->layers)
            assert_true(wants_are(&r, w, s, 1));
        if (v.layer + 1 == w->layers)
            count_pass(w, (uint32_t)v.pass);
    }
    run_end(&r);
    world_free(w);
}

/* Two requests on paths of their own, changing places in the batch: a token's successor
 * in the next pass is looked for by request. In the end request 0 is alone; what follows
 * it must be its own path and nothing of the other's. */
static void markov_follows_requests(void **unused)
{
    struct world *w = world_new(12, 2, 8, 1, 2);
    struct run r;
    uint32_t last = w->passes * w->layers - 2;

    (void)unused;
    for (uint32_t p = 0; p < w->passes; p++) {
        for (uint32_t row = 0; row < 2; row++) {
            uint32_t request = (row + p) % 2;

            w->row[p * 2 + row].request = request;
            choice_at(w, 2 * p, row)[0] = (uint16_t)(2 + 4 * request);
            choice_at(w, 2 * p + 1, row)[0] = (uint16_t)(3 + 4 * request);
        }
    }
    run_begin(&r, w, "markov", "{distance: 1, smoothing: 0, candidates: 8}", 0xa5);
    for (uint32_t s = 0; s < w->passes * w->layers; s++) {
        struct view v = view_of(w, s, false);
        uint32_t mine = v.row[0].request == 0 ? 0 : 1;

        if (s >= last) {
            v.rows = 1;
            v.row = &v.row[mine];
            v.choice = choice_at(w, s, mine);
            w->active[0] = v.choice[0];
            v.active_count = 1;
            memset(w->tokens, 0, sizeof w->tokens);
            w->tokens[v.choice[0]] = 1;
        }
        run_step(&r, &v);
        if (s >= last) {
            assert_int_equal(r.count, 1);
            assert_int_equal(r.want[0].expert, s == last ? 3 : 2);
        }
    }
    run_end(&r);
    world_free(w);
}

/* Layer 0: expert 0 in four tokens, followed by 1 1 1 2; expert 3 in six, all followed by
 * 2. Then expert 0 alone: counts give 1 (3/4) before 2 (1/4). The layer's popularity is
 * 0.3 for 1 and 0.7 for 2, so a heavy prior turns that round: (3 + 30) / 104 against
 * (1 + 70) / 104. Two rows of expert 3 beside it weigh in: 2 gets 1/4 + 2. */
static void markov_probabilities(void **unused)
{
    static const uint16_t from[] = {0, 0, 0, 0, 3, 3, 3, 3, 3, 3};
    static const uint16_t to[] = {1, 1, 1, 2, 2, 2, 2, 2, 2, 2};
    static const struct {
        const char *options;
        uint32_t threes, first;
    } cases[] = {
        {"{smoothing: 0, candidates: 4}", 0, 1},
        {"{smoothing: 100, candidates: 4}", 0, 2},
        {"{smoothing: 0, candidates: 4}", 2, 2},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct world *w = world_new(2, 2, 4, 1, 10);
        struct run r;

        for (uint32_t row = 0; row < 10; row++) {
            choice_at(w, 0, row)[0] = from[row];
            choice_at(w, 1, row)[0] = to[row];
            choice_at(w, 2, row)[0] = row <= cases[i].threes ? 3 : VIEW_NO_EXPERT;
        }
        choice_at(w, 2, 0)[0] = 0;
        run_begin(&r, w, "markov", cases[i].options, 0xa5);
        for (uint32_t s = 0; s < 3; s++) {
            struct view v = view_of(w, s, false);

            run_step(&r, &v);
            if (s == 1)
                count_pass(w, 0);
        }
        assert_int_equal(r.count, 2);
        assert_int_equal(r.want[0].expert, cases[i].first);
        assert_int_equal(r.want[1].expert, 3 - cases[i].first);
        run_end(&r);
        world_free(w);
    }
}

/* Only the first `rows` rows teach: with one row of two, the other's path is unknown. */
static void markov_learns_from_few_rows(void **unused)
{
    struct world *w = world_new(3, 2, 8, 1, 2);
    struct run r;

    (void)unused;
    for (uint32_t s = 0; s < 6; s++) {
        choice_at(w, s, 0)[0] = (uint16_t)(s % 2);
        choice_at(w, s, 1)[0] = (uint16_t)(4 + s % 2);
    }
    run_begin(&r, w, "markov", "{rows: 1, smoothing: 0, candidates: 8}", 0xa5);
    for (uint32_t s = 0; s < 5; s++) {
        struct view v = view_of(w, s, false);

        run_step(&r, &v);
    }
    assert_int_equal(r.count, 1);
    assert_int_equal(r.want[0].expert, 1);
    run_end(&r);
    world_free(w);
}

static void oracle_is_the_future(void **unused)
{
    (void)unused;
    for (uint64_t round = 0; round < 40; round++) {
        struct rng rng = rng_stream(13, "oracle", round);
        struct world *w = random_world(&rng);
        uint32_t distance = 1 + (uint32_t)rng_below(&rng, 7);
        char *options = mem_format("{distance: %u}", distance);
        struct run r;

        run_begin(&r, w, "oracle", options, 0xa5);
        for (uint32_t s = 0; s < w->passes * w->layers; s++) {
            struct view v = view_of(w, s, true);
            uint32_t at = 0;

            run_step(&r, &v);
            for (uint32_t ahead = 1; ahead <= distance; ahead++) {
                uint16_t active[256];
                uint32_t tokens[256];

                if (s + ahead >= w->passes * w->layers)
                    break;
                for (uint32_t i = 0, n = active_of(w, s + ahead, active, tokens); i < n;
                     i++, at++) {
                    assert_true(at < r.count);
                    assert_int_equal(r.want[at].ahead, ahead);
                    assert_int_equal(r.want[at].expert, active[i]);
                }
            }
            assert_int_equal(r.count, at);
        }
        run_end(&r);
        free(options);
        world_free(w);
    }
}

/* The last use of a layer, for any trace; so it is exact on a constant one. */
static void previous_token_repeats(void **unused)
{
    (void)unused;
    for (uint64_t round = 0; round < 40; round++) {
        struct rng rng = rng_stream(17, "previous", round);
        struct world *w = random_world(&rng);
        uint32_t distance = 1 + (uint32_t)rng_below(&rng, w->layers);
        char *options =
            mem_format("{distance: %u, candidates: %u}", distance, w->experts);
        struct run r;

        run_begin(&r, w, "previous-token", options, 0xa5);
        for (uint32_t s = 0; s < w->passes * w->layers; s++) {
            struct view v = view_of(w, s, false);

            run_step(&r, &v);
            if (s + distance < w->layers) {
                assert_int_equal(r.count, 0);
                continue;
            }
            for (uint32_t i = 0; i < r.count; i++) {
                assert_int_equal(r.want[i].ahead, distance);
                r.want[i].ahead = 0;
            }
            assert_true(wants_are(&r, w, s + distance - w->layers, 0));
        }
        run_end(&r);
        free(options);
        world_free(w);
    }
}

static void previous_token_on_a_constant_trace(void **unused)
{
    struct world *w = world_new(5, 3, 9, 2, 2);
    struct run r;

    (void)unused;
    for (uint32_t s = 0; s < w->passes * w->layers; s++) {
        for (uint32_t i = 0; i < 4; i++)
            choice_at(w, s, 0)[i] = (uint16_t)((2 * (s % w->layers) + i) % 9);
    }
    run_begin(&r, w, "previous-token", "{distance: 2}", 0xa5);
    for (uint32_t s = 1; s + 2 < w->passes * w->layers; s++) {
        struct view v = view_of(w, s, false);

        run_step(&r, &v);
        if (s > w->layers)
            assert_true(wants_are(&r, w, s, 2));
    }
    run_end(&r);
    world_free(w);
}

/* Largest load first, equal loads by lower id, unused experts never; by sorting. */
static void frequency_by_brute_force(void **unused)
{
    (void)unused;
    for (uint64_t round = 0; round < 40; round++) {
        struct rng rng = rng_stream(19, "frequency", round);
        struct world *w = random_world(&rng);
        uint32_t candidates = 1 + (uint32_t)rng_below(&rng, w->experts);
        char *options = mem_format("{candidates: %u}", candidates);
        struct run r;

        run_begin(&r, w, "frequency", options, 0xa5);
        for (uint32_t s = 0; s < w->passes * w->layers; s++) {
            struct view v = view_of(w, s, false);
            const uint64_t *load = &w->load[(v.layer + 1) % w->layers * w->experts];
            uint32_t used = 0;

            run_step(&r, &v);
            for (uint32_t e = 0; e < w->experts; e++)
                used += load[e] > 0;
            assert_int_equal(r.count, used < candidates ? used : candidates);
            for (uint32_t i = 0; i < r.count; i++) {
                uint32_t e = r.want[i].expert, before = 0;

                for (uint32_t o = 0; o < w->experts; o++)
                    before += load[o] > load[e] || (load[o] == load[e] && o < e);
                assert_int_equal(before, i);
            }
            if (v.layer + 1 == w->layers)
                count_pass(w, (uint32_t)v.pass);
        }
        run_end(&r);
        free(options);
        world_free(w);
    }
}

/* Four experts by load 5 > 2 > 7 > 1; 5 and 7 are resident. Of two candidates 5 is held
 * and 2 loaded; a width of 1 over all four holds 7 and leaves 1 out. */
static void residents_are_held(void **unused)
{
    struct world *w = world_new(1, 1, 8, 1, 1);
    struct rng rng = rng_stream(23, "held", 0);
    static const uint16_t resident[] = {5, 7};
    static const uint32_t loads[] = {0, 3, 8, 0, 0, 9, 0, 5};
    struct cache *c;
    struct run r;
    struct view v;

    (void)unused;
    do {
        c = some_cache(w, &rng);
        if (cache_slots(c) >= 2)
            break;
        cache_free(c);
    } while (true);
    choice_at(w, 0, 0)[0] = 0;
    for (uint32_t e = 0; e < 8; e++)
        w->load[e] = loads[e];
    cache_begin_step(c, 0, resident, 2);
    for (int i = 0; i < 2; i++)
        (void)cache_access(c, 0, resident[i], CACHE_NEVER);
    w->cache = c;
    v = view_of(w, 0, false);

    run_begin(&r, w, "frequency", "{candidates: 2, width: 1}", 0xa5);
    run_step(&r, &v);
    assert_int_equal(r.count, 2);
    assert_int_equal(r.want[0].expert, 5);
    assert_int_equal(r.want[1].expert, 2);
    run_end(&r);
    run_begin(&r, w, "frequency", "{candidates: 8, width: 1}", 0xa5);
    run_step(&r, &v);
    assert_int_equal(r.count, 3);
    assert_int_equal(r.want[2].expert, 7);
    run_end(&r);
    cache_free(c);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(contract),
        cmocka_unit_test(markov_learns_a_chain),
        cmocka_unit_test(markov_after_one_pass),
        cmocka_unit_test(markov_follows_requests),
        cmocka_unit_test(markov_probabilities),
        cmocka_unit_test(markov_learns_from_few_rows),
        cmocka_unit_test(oracle_is_the_future),
        cmocka_unit_test(previous_token_repeats),
        cmocka_unit_test(previous_token_on_a_constant_trace),
        cmocka_unit_test(frequency_by_brute_force),
        cmocka_unit_test(residents_are_held),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
