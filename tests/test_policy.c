/* Composing a policy: the registry's own rules, presets, overrides, refusals. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "sim/base/mem.h"
#include "sim/policy/policy.h"
#include "sim/policy/prefetch_pick.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char presets[] = "sim/policy/presets";

/* A document and the policy that was read from it. */
struct reading {
    struct cfg *document;
    struct policy *policy; /* NULL: e says why */
    struct err e;
};

static struct reading read_from(const char *folder, const char *text)
{
    struct reading r = {.e = {.text = ""}};

    r.document = cfg_parse("test.yaml", text, strlen(text), &r.e);
    if (r.document == NULL)
        fail_msg("%s", r.e.text);
    r.policy = policy_from_node(cfg_root(r.document), folder, &r.e);
    assert_true((r.policy == NULL) == (r.e.text[0] != '\0'));
    return r;
}

static struct reading read_good(const char *text)
{
    struct reading r = read_from(presets, text);

    if (r.policy == NULL)
        fail_msg("%s", r.e.text);
    return r;
}

static void release(struct reading *r)
{
    policy_free(r->policy);
    cfg_free(r->document);
}

static void check_name(const struct policy *p, enum policy_slot slot, const char *name)
{
    assert_string_equal(p->plugin[slot]->name, name);
}

/* How many steps ahead an oracle prefetcher looks; its width is that many layers. */
static uint32_t oracle_distance(const struct policy *p)
{
    struct policy_shape shape = {.layers = 7, .experts = 10, .top_k = 2};

    check_name(p, SLOT_PREFETCH, "oracle");
    return policy_prefetch(p)->width(&shape, p->params[SLOT_PREFETCH]) / shape.experts;
}

/* The parameters of a predictor that aims at one layer begin with its reach. */
static int64_t markov_distance(const struct policy *p)
{
    check_name(p, SLOT_PREFETCH, "markov");
    return ((const struct prefetch_reach *)p->params[SLOT_PREFETCH])->distance;
}

/* ---- the registry ---- */

static size_t option_size(const struct option *o)
{
    switch (o->type) {
    case OPT_INT:
        return sizeof(int64_t);
    case OPT_DOUBLE:
        return sizeof(double);
    case OPT_BOOL:
        return sizeof(bool);
    case OPT_STRING:
        return sizeof(const char *);
    case OPT_CHOICE:
        return sizeof(int);
    case OPT_BYTES:
    case OPT_TIME:
        return sizeof(int64_t);
    case OPT_PART:
        return sizeof(struct cfg_part);
    case OPT_NODE:
    case OPT_NAMED:
        break;
    }
    fail_msg("option %s: a plug-in's options are scalars", o->name);
    return 0;
}

/* All have defaults, fit their struct, and differ in name from each other, from `name`
 * and from `others`. */
static void check_options(const struct option *table, size_t size,
                          const struct option *others)
{
    for (const struct option *o = table; o != NULL && o->name != NULL; o++) {
        assert_non_null(o->def);
        assert_non_null(o->help);
        assert_true(o->offset + option_size(o) <= size);
        assert_string_not_equal(o->name, "name");
        for (const struct option *p = table; p < o; p++)
            assert_string_not_equal(o->name, p->name);
        for (const struct option *p = others; p != NULL && p->name != NULL; p++)
            assert_string_not_equal(o->name, p->name);
    }
}

static void registry_is_well_formed(void **unused)
{
    const struct plugin *const *all = registry_all();
    unsigned slots = 0;

    (void)unused;
    for (size_t i = 0; all[i] != NULL; i++) {
        const struct plugin *p = all[i];

        assert_true(p->slot < POLICY_SLOTS);
        slots |= 1U << p->slot;
        assert_ptr_equal(registry_find(p->slot, p->name), p);
        assert_int_equal(strspn(p->name, "abcdefghijklmnopqrstuvwxyz0123456789-"),
                         strlen(p->name));
        assert_true(strlen(p->help) > 0 && strchr(p->help, '\n') == NULL);
        assert_true(strlen(p->source) > 0 && strchr(p->source, '\n') == NULL);
        assert_true(strlen(policy_variant_name(p->variant)) > 0);
        check_options(p->options, p->params_size,
                      p->slot == SLOT_CACHE ? cache_options : NULL);
        if (i > 0 && all[i - 1]->slot == p->slot)
            assert_true(strcmp(all[i - 1]->name, p->name) < 0);
        if (i > 0)
            assert_true(all[i - 1]->slot <= p->slot);
    }
    check_options(cache_options, sizeof(struct cache_params), NULL);
    assert_int_equal(slots, (1U << POLICY_SLOTS) - 1);
    assert_null(registry_find(SLOT_CACHE, "markov"));
}

/* Every plug-in can be chosen by its bare name, and by a mapping with its defaults. */
static void every_plugin_by_name(void **unused)
{
    (void)unused;
    for (const struct plugin *const *all = registry_all(); *all != NULL; all++) {
        const char *slot = policy_slot_name((*all)->slot);

        for (int i = 0; i < 2; i++) {
            char *text = i == 0 ? mem_format("{%s: %s}", slot, (*all)->name)
                                : mem_format("{%s: {name: %s}}", slot, (*all)->name);
            struct reading r = read_good(text);

            assert_ptr_equal(r.policy->plugin[(*all)->slot], *all);
            assert_true((r.policy->params[(*all)->slot] != NULL) ==
                        ((*all)->params_size > 0));
            release(&r);
            free(text);
        }
    }
}

/* ---- presets ---- */

static void every_preset_loads(void **unused)
{
    struct err e = {.text = ""};
    char **names = policy_presets(presets, &e);
    size_t count = 0;

    (void)unused;
    assert_non_null(names);
    for (; names[count] != NULL; count++) {
        struct policy_preset preset = {0};
        struct cfg *c = policy_preset_load(presets, names[count], &preset, &e);
        struct reading r;

        if (c == NULL)
            fail_msg("%s", e.text);
        assert_true(strlen(preset.help) > 10);
        assert_true(strlen(preset.source) > 10);
        cfg_free(c);
        r = read_good(names[count]);
        assert_string_equal(r.policy->label, names[count]);
        assert_string_equal(r.policy->preset, names[count]);
        /* Capacity is the user's, or none. */
        assert_true(r.policy->cache.layer_slots == 0 ||
                    r.policy->cache.layer_slots == CACHE_SLOTS_NONE);
        assert_int_equal(r.policy->cache.bytes, 0);
        release(&r);
        if (count > 0)
            assert_true(strcmp(names[count - 1], names[count]) < 0);
    }
    assert_true(count >= 10);
    policy_presets_free(names);
}

static void what_presets_choose(void **unused)
{
    struct reading r = read_good("mixtral-offloading");

    (void)unused;
    check_name(r.policy, SLOT_CACHE, "lru");
    check_name(r.policy, SLOT_SCHEDULE, "serial");
    assert_true(r.policy->cache.write_back);
    assert_int_equal(r.policy->cache.scope, CACHE_PER_LAYER);
    release(&r);
    r = read_good("expert-buffering");
    check_name(r.policy, SLOT_CACHE, "lifo");
    assert_int_equal(r.policy->cache.protect, CACHE_PROTECT_PREFER);
    assert_false(r.policy->cache.write_back);
    release(&r);
    r = read_good("belady-oracle");
    assert_int_equal(oracle_distance(r.policy), 4);
    assert_int_equal(policy_needs(r.policy), NEED_FUTURE);
    release(&r);
    r = read_good("static-pin");
    assert_int_equal(policy_needs(r.policy), NEED_PROFILE);
    assert_true(policy_lossless(r.policy));
    release(&r);
    r = read_good("fiddler");
    check_name(r.policy, SLOT_OFFLOAD, "fiddler");
    check_name(r.policy, SLOT_CACHE, "pin");
    assert_int_equal(r.policy->cache.scope, CACHE_GLOBAL);
    assert_true(policy_lossless(r.policy));
    release(&r);
    r = read_good("ktransformers");
    check_name(r.policy, SLOT_OFFLOAD, "host");
    assert_int_equal(r.policy->cache.scope, CACHE_PER_LAYER);
    release(&r);
    r = read_good("static-gating-lm");
    assert_false(policy_lossless(r.policy));
    release(&r);
}

/* `options` are among those of its plug-in. */
static void check_offload(const char *preset, const char *plugin, const char *options)
{
    struct reading r = read_good(preset);
    char *text = cfg_describe(r.policy->plugin[SLOT_OFFLOAD]->options,
                              r.policy->params[SLOT_OFFLOAD]);

    check_name(r.policy, SLOT_OFFLOAD, plugin);
    if (strstr(text, options) == NULL)
        fail_msg("%s has %s, not %s", preset, text, options);
    free(text);
    release(&r);
}

static void where_presets_run_experts(void **unused)
{
    static const char *const monde[] = {"monde", "monde-near-only", "monde-fetch-only"};

    (void)unused;
    check_offload("monde", "monde", "hot=rule alpha=1 link=overlap");
    check_offload("monde-near-only", "monde", "hot=0 ");
    check_offload("monde-fetch-only", "monde", "hot=all ");
    check_offload("fiddler", "fiddler", "form=paper objective=sum");
    check_offload("fiddler-released", "fiddler", "form=released objective=sum");
    check_offload("llama-n-cpu-moe", "layers", "count=all side=first batch=32");
    check_offload("llama-cpu-moe", "layers", "count=all ");
    check_offload("expert-cache-hybrid", "hybrid", "fetch=2 rule=fixed");
    for (size_t i = 0; i < sizeof monde / sizeof *monde; i++) {
        struct reading r = read_good(monde[i]);

        assert_int_equal(r.policy->cache.layer_slots, CACHE_SLOTS_NONE);
        assert_int_equal(r.policy->schedule.loads, LOADS_EACH);
        release(&r);
    }
}

static void defaults(void **unused)
{
    struct err e = {.text = ""};
    struct policy *p = policy_from_node(NULL, presets, &e);

    (void)unused;
    assert_non_null(p);
    check_name(p, SLOT_GATE, "dropless");
    check_name(p, SLOT_SELECT, "none");
    check_name(p, SLOT_PLACE, "linear");
    check_name(p, SLOT_CACHE, "lru");
    check_name(p, SLOT_PREFETCH, "none");
    check_name(p, SLOT_OFFLOAD, "fetch");
    check_name(p, SLOT_SCHEDULE, "overlapped");
    assert_string_equal(p->label, "lru");
    assert_null(p->preset);
    assert_int_equal(policy_needs(p), 0);
    assert_true(policy_lossless(p));
    assert_int_equal(p->cache.staging, 2);
    policy_free(p);
    policy_free(NULL);
}

static void labels(void **unused)
{
    static const char *const cases[][2] = {
        {"{cache: arc, prefetch: markov, schedule: serial}", "arc+markov+serial"},
        {"{cache: arc, name: mine}", "mine"},
        {"{preset: belady, cache: {slots: 3}}", "belady"},
        {"{preset: mixtral-offloading, cache: sieve, schedule: overlapped}",
         "mixtral-offloading+sieve+overlapped"},
        {"{preset: belady, name: three, cache: {slots: 3}}", "three"},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct reading r = read_good(cases[i][0]);

        assert_string_equal(r.policy->label, cases[i][1]);
        release(&r);
    }
}

/* ---- overrides ---- */

static void keys_override_one_by_one(void **unused)
{
    /* Without a name the preset's plug-in and its other values stay. */
    struct reading r = read_good("{preset: belady-oracle, prefetch: {width: 2}, "
                                 "cache: {slots: 5}}");

    (void)unused;
    assert_int_equal(oracle_distance(r.policy), 4);
    assert_int_equal(r.policy->cache.layer_slots, 5);
    check_name(r.policy, SLOT_CACHE, "belady");
    release(&r);
    r = read_good("{preset: belady-oracle, prefetch: {name: oracle, distance: 2}}");
    assert_int_equal(oracle_distance(r.policy), 2);
    release(&r);
    /* A bare name of the same plug-in changes nothing. */
    r = read_good("{preset: belady-oracle, prefetch: oracle}");
    assert_int_equal(oracle_distance(r.policy), 4);
    release(&r);
}

static void another_plugin_starts_afresh(void **unused)
{
    /* Another cache keeps the preset's cache options, another prefetcher nothing. */
    struct reading r = read_good("{preset: mixtral-offloading, cache: {name: lfu-keep, "
                                 "staging: 2}, prefetch: oracle}");

    (void)unused;
    check_name(r.policy, SLOT_CACHE, "lfu-keep");
    assert_true(r.policy->cache.write_back);
    assert_int_equal(r.policy->cache.protect, CACHE_PROTECT_PREFER);
    assert_int_equal(r.policy->cache.staging, 2);
    assert_int_equal(oracle_distance(r.policy), 1);
    check_name(r.policy, SLOT_SCHEDULE, "serial");
    release(&r);
    r = read_good("{preset: belady-oracle, prefetch: markov}");
    assert_int_equal(markov_distance(r.policy), 1);
    release(&r);
    r = read_good("{preset: mixtral-offloading, cache: fifo}");
    check_name(r.policy, SLOT_CACHE, "fifo");
    assert_true(r.policy->cache.write_back);
    release(&r);
    r = read_good("{preset: mixtral-offloading, cache: {write_back: false}}");
    assert_false(r.policy->cache.write_back);
    assert_int_equal(r.policy->cache.protect, CACHE_PROTECT_PREFER);
    release(&r);
}

/* ---- what is refused ---- */

static void check_refused(const char *folder, const char *text, const char *const *parts)
{
    struct reading r = read_from(folder, text);

    if (r.policy != NULL)
        fail_msg("accepted: %s", text);
    assert_null(strchr(r.e.text, '\n'));
    for (; *parts != NULL; parts++) {
        if (strstr(r.e.text, *parts) == NULL)
            fail_msg("\"%s\" is not in: %s", *parts, r.e.text);
    }
    release(&r);
}

static void mistakes_are_explained(void **unused)
{
    static const struct {
        const char *text;
        const char *parts[4];
    } cases[] = {
        {"{cache: lrv}", {"test.yaml:1:9", "lrv", "did you mean 'lru'"}},
        {"{cache: {name: sive}}", {"test.yaml:1:16", "did you mean 'sieve'"}},
        {"{prefetch: lru}", {"test.yaml:1:12", "lru", "markov"}},
        {"{prefetch: {name: markof, width: 2}}", {"did you mean 'markov'"}},
        {"{prefetch: {name: markov, widht: 2}}", {"widht", "did you mean 'width'"}},
        {"{prefetch: {name: none, width: 2}}", {"unknown key 'width'"}},
        {"{cache: {slotz: 2}}", {"did you mean 'slots'"}},
        {"{cache: {name: lru, slots: -1}}", {"test.yaml:1:28", "'slots' is -1"}},
        {"{cach: lru}", {"did you mean 'cache'"}},
        {"{cache: [lru]}", {"a list"}},
        {"{cache: {name: [lru]}}", {"a list"}},
        {"[lru]", {"a list"}},
        {"lru-on-demmand", {"did you mean 'lru-on-demand'"}},
        {"{preset: ../presets/belady}", {"../presets/belady", "expected"}},
        {"{preset: {name: belady}}", {"a mapping"}},
        {"{prefetch: {name: oracle, distance: 0}}", {"'distance' is 0", "from 1 to 64"}},
        {"{gate: {name: capacity-fraction, cf: 0}}", {"'cf' is 0"}},
        {"{gate: {name: capacity-fraction, cf: 1.5}}", {"'cf' is 1.5"}},
        {"{gate: {name: capacity-fraction, cf: nan}}", {"'cf' is nan"}},
        {"{preset: belady-oracle, prefetch: {name: markov, distance: 65}}",
         {"'distance' is 65"}},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_refused(presets, cases[i].text, cases[i].parts);
}

/* A predictor that errs takes the router's place; one that never errs is the router. */
static void foresight_is_lossy_where_it_errs(void **unused)
{
    static const struct {
        const char *text;
        bool lossless;
    } cases[] = {
        {"{place: {name: eplb, interval: 1, foresee: 0}}", true},
        {"{place: {name: eplb, interval: 1, foresee: 0.001}}", false},
        {"{place: {name: eplb, interval: 1, foresee: 0.999}}", false},
        {"{place: {name: eplb, interval: 1, foresee: 1}}", true},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct reading r = read_good(cases[i].text);

        assert_int_equal(policy_lossless(r.policy), cases[i].lossless);
        release(&r);
    }
}

/* ---- a folder of presets of one's own ---- */

static void write_preset(const char *folder, const char *name, const char *text)
{
    char *path = mem_format("%s/%s", folder, name);
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    free(path);
}

static void bad_presets_are_blamed(void **unused)
{
    static const struct {
        const char *file, *text, *policy;
        const char *parts[4];
    } cases[] = {
        {"range.yaml",
         "help: h\nsource: s\nprefetch: {name: markov, distance: 99}\n",
         "{preset: range, prefetch: {distance: 1}}",
         {"range.yaml:3:", "'distance' is 99"}},
        {"unknown.yaml",
         "help: h\nsource: s\ncache: lrv\n",
         "unknown",
         {"unknown.yaml:3:8", "did you mean 'lru'"}},
        {"silent.yaml", "source: s\n", "silent", {"silent.yaml", "'help' is missing"}},
        {"nested.yaml",
         "help: h\nsource: s\npreset: silent\n",
         "nested",
         {"nested.yaml:3:1", "unknown key 'preset'"}},
        {"empty.yaml", "", "empty", {"empty.yaml", "empty"}},
    };
    const char *tmp = getenv("TMPDIR");
    char *notes;
    char *folder = mem_format("%s/moesim-presets-XXXXXX", tmp != NULL ? tmp : "/tmp");

    (void)unused;
    assert_non_null(mkdtemp(folder));
    write_preset(folder, "notes.txt", "not a preset\n");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        write_preset(folder, cases[i].file, cases[i].text);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_refused(folder, cases[i].policy, cases[i].parts);
    check_refused(folder, "notes", (const char *const[]){"notes", "expected", NULL});
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *path = mem_format("%s/%s", folder, cases[i].file);

        assert_int_equal(unlink(path), 0);
        free(path);
    }
    notes = mem_format("%s/notes.txt", folder);
    assert_int_equal(unlink(notes), 0);
    free(notes);
    assert_int_equal(rmdir(folder), 0);
    check_refused(folder, "belady",
                  (const char *const[]){folder, "cannot be read", NULL});
    free(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(registry_is_well_formed),
        cmocka_unit_test(every_plugin_by_name),
        cmocka_unit_test(every_preset_loads),
        cmocka_unit_test(what_presets_choose),
        cmocka_unit_test(where_presets_run_experts),
        cmocka_unit_test(defaults),
        cmocka_unit_test(labels),
        cmocka_unit_test(keys_override_one_by_one),
        cmocka_unit_test(another_plugin_starts_afresh),
        cmocka_unit_test(mistakes_are_explained),
        cmocka_unit_test(foresight_is_lossy_where_it_errs),
        cmocka_unit_test(bad_presets_are_blamed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
