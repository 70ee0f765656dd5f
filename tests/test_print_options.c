/* Columns of what policies are made of: by hand, and for every plug-in against what its
 * table describes. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "made_result.h"

#include "sim/base/mem.h"
#include "sim/policy/policy.h"
#include "sim/report/print.h"
#include "sim/report/print_options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST = 200 };

struct columns {
    size_t count;
    char *head[MOST], *value[MOST];
    char *heads, *values; /* what these point into */
};

static size_t split(char *text, char **part)
{
    size_t count = 0;

    assert_int_equal(*text, ',');
    while (text != NULL) {
        *text++ = '\0';
        assert_true(count < MOST);
        part[count++] = text;
        text = strchr(text, ',');
    }
    return count;
}

static struct columns columns_of(const struct result_policy *p)
{
    struct columns c = {.count = 0};
    size_t size;
    FILE *out = open_memstream(&c.heads, &size);
    size_t told = print_option_heads(out);

    assert_int_equal(fclose(out), 0);
    c.count = split(c.heads, c.head);
    assert_int_equal(c.count, told);
    out = open_memstream(&c.values, &size);
    print_option_values(p, out);
    assert_int_equal(fclose(out), 0);
    assert_int_equal(split(c.values, c.value), c.count);
    return c;
}

static void release(struct columns *c)
{
    free(c->heads);
    free(c->values);
}

static const char *at(const struct columns *c, const char *head)
{
    const char *value = NULL;

    for (size_t i = 0; i < c->count; i++) {
        if (strcmp(c->head[i], head) == 0) {
            assert_null(value); /* each head once */
            value = c->value[i];
        }
    }
    if (value == NULL)
        fail_msg("there is no column %s", head);
    return value;
}

static void by_hand(void **state)
{
    struct result_policy p = {.description = {
                                  [SLOT_GATE] = "capacity-factor cf=1.5 min_capacity=4",
                                  [SLOT_CACHE] = "s3fifo scope=global slots=0 "
                                                 "total_slots=12 bytes=4096B "
                                                 "write_back=yes small=0.1",
                                  [SLOT_PREFETCH] = "markov distance=2",
                                  [SLOT_SCHEDULE] = "serial empty=no",
                              }};
    struct columns c = columns_of(&p);

    (void)state;
    assert_string_equal(at(&c, "gate.name"), "capacity-factor");
    assert_string_equal(at(&c, "gate.cf"), "1.5");
    assert_string_equal(at(&c, "gate.min_capacity"), "4");
    assert_string_equal(at(&c, "place.name"), ""); /* a result may lack it */
    assert_string_equal(at(&c, "cache.name"), "s3fifo");
    assert_string_equal(at(&c, "cache.scope"), "global");
    assert_string_equal(at(&c, "cache.slots"), "0"); /* not of total_slots */
    assert_string_equal(at(&c, "cache.total_slots"), "12");
    assert_string_equal(at(&c, "cache.bytes"), "4096");
    assert_string_equal(at(&c, "cache.write_back"), "true");
    assert_string_equal(at(&c, "cache.small"), "0.1");
    assert_string_equal(at(&c, "cache.decay"), "");
    assert_string_equal(at(&c, "prefetch.distance"), "2");
    assert_string_equal(at(&c, "schedule.empty"), "false");
    assert_string_equal(c.head[0], "gate.name");
    release(&c);
}

/* Every plug-in's options, as its table describes them; of the slot's other columns none
 * has a value. */
static void check_plugin(const struct plugin *plugin)
{
    void *params = mem_zalloc(1, plugin->params_size + 1);
    struct err e = {.text = ""};
    struct result_policy p = {.label = NULL};
    const char *slot = policy_slot_name(plugin->slot);
    size_t full = 0, wanted = 1;
    struct columns c;
    char *text;

    if (plugin->options != NULL)
        assert_int_equal(cfg_bind(NULL, plugin->options, params, &e), 0);
    text = cfg_describe(plugin->options, params);
    p.description[plugin->slot] = mem_format("%s %s", plugin->name, text);
    c = columns_of(&p);
    for (const struct option *o = plugin->options; o != NULL && o->name != NULL; o++) {
        const struct option one[] = {*o, {.name = NULL}};
        char *head = mem_format("%s.%s", slot, o->name),
             *value = cfg_describe(one, params);
        const char *bare = strchr(value, '=') + 1;

        if (o->type == OPT_BOOL)
            bare = strcmp(bare, "yes") == 0 ? "true" : "false";
        assert_string_equal(at(&c, head), bare);
        wanted += *bare != '\0';
        free(head);
        free(value);
    }
    for (size_t i = 0; i < c.count; i++)
        full += *c.value[i] != '\0';
    assert_int_equal(full, wanted);
    release(&c);
    free(p.description[plugin->slot]);
    free(text);
    free(params);
}

static void every_plugin(void **state)
{
    (void)state;
    for (const struct plugin *const *p = registry_all(); *p != NULL; p++)
        check_plugin(*p);
}

/* A result that was written and read again prints the same table. */
static void same_when_read_again(void **state)
{
    struct result r = made_result(&(struct made_shape){2, 2, 3, 0, 11, 0}), again;
    char *folder = made_folder(), *path = mem_format("%s/result.h5", folder);
    struct err e = {.text = ""};
    char *first, *second;

    (void)state;
    free(r.policy[0].description[SLOT_CACHE]);
    r.policy[0].description[SLOT_CACHE] = mem_strdup("lru scope=layer slots=3 bytes=0B");
    first = made_printed(&r, result_print_csv);
    assert_int_equal(result_write(&r, path, &e), 0);
    assert_int_equal(result_read(path, &again, &e), 0);
    second = made_printed(&again, result_print_csv);
    assert_string_equal(first, second);
    assert_non_null(strstr(first, ",lru,layer,3,,0,"));
    result_release(&r);
    result_release(&again);
    free(first);
    free(second);
    free(path);
    made_folder_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_hand),
        cmocka_unit_test(every_plugin),
        cmocka_unit_test(same_when_read_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
