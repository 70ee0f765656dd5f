/* Words of the base: what is expected of a value, what a bound struct says, where long
 * text is cut, characters of UTF-8; and what a child may say and how it ends. */
#define _GNU_SOURCE /* RTLD_NEXT */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "config_sample.h"

#include "sim/base/child.h"
#include "sim/base/config_node.h"
#include "sim/base/mem.h"
#include "sim/base/plain.h"
#include "sim/base/text.h"

#include <dlfcn.h>
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

extern char **environ;

static void describes(enum opt_type type, double min, double max, const char *expected)
{
    static const char *const choices[] = {"a", "b", NULL};
    const struct option o = {.name = "n",
                             .type = type,
                             .min = min,
                             .max = max,
                             .choices = type == OPT_CHOICE ? choices : NULL};

    assert_string_equal(cfg_expected(&o).text, expected);
}

static void ranges_have_two_ends_or_one(void **state)
{
    (void)state;
    describes(OPT_INT, 0, 0, "an integer of 64 bits");
    describes(OPT_INT, 2, INFINITY, "an integer of at least 2");
    describes(OPT_INT, -INFINITY, 9, "an integer of at most 9");
    describes(OPT_INT, -3, 9, "an integer from -3 to 9");
    describes(OPT_DOUBLE, 0.5, INFINITY, "a number of at least 0.5");
    describes(OPT_DOUBLE, -INFINITY, 0.5, "a number of at most 0.5");
    describes(OPT_BOOL, 0, 0, "true or false");
    describes(OPT_STRING, 0, 0, "text");
    describes(OPT_CHOICE, 0, 0, "one of a, b");
    describes(OPT_BYTES, 0, 0, "a size with its unit, such as 64 MiB");
    describes(OPT_TIME, 0, 0, "a time with its unit, such as 2.5 us");
    describes(OPT_NODE, 0, 0, "a list or a mapping");
    describes(OPT_NAMED, 0, 0, "a name or a mapping");
}

/* A third of 1 needs 16 digits to come back, a tenth of 3 the full 17. */
static void bound_structs_are_described(void **state)
{
    const struct sample s = {.batch = -7,
                             .fraction = 1.0 / 3.0,
                             .strict = true,
                             .policy = 2,
                             .capacity_bytes = 1234,
                             .poll = 2500000,
                             .name = "me"};
    struct sample other = s;
    char *text = cfg_describe(sample_options, &s);

    (void)state;
    assert_string_equal(text, "batch=-7 delta=0 fraction=0.3333333333333333 strict=yes "
                              "policy=belady capacity=1234B poll=2500000ps name=me "
                              "extra=...");
    free(text);
    other.fraction = 0.1 + 0.2;
    other.strict = false;
    text = cfg_describe(sample_options, &other);
    assert_non_null(strstr(text, " fraction=0.30000000000000004 strict=no "));
    free(text);
    other.fraction = 0.1;
    text = cfg_describe(sample_options, &other);
    assert_non_null(strstr(text, " fraction=0.1 "));
    free(text);
    text = cfg_describe(NULL, NULL);
    assert_string_equal(text, "");
    free(text);
}

/* The limit falls on each byte of a character of three, which is then left out whole. */
static void text_is_cut_between_characters(void **state)
{
    (void)state;
    assert_string_equal(cfg_show("ab\xe2\x82\xac", 5).text, "ab\xe2\x82\xac");
    assert_string_equal(cfg_show("ab\xe2\x82\xac", 4).text, "ab...");
    assert_string_equal(cfg_show("ab\xe2\x82\xac", 3).text, "ab...");
    assert_string_equal(cfg_show("ab\xe2\x82\xac", 2).text, "ab...");
    assert_string_equal(cfg_show("ab\xe2\x82\xac", 1).text, "a...");
    assert_string_equal(cfg_show("a\x1f\x20\x7e\x7f", 9).text, "a? ~?");
}

/* No character of the locale "C" has this number, and what cannot be converted is not
 * printed in part. */
static void paragraphs_that_cannot_be_formatted_are_none(void **state)
{
    FILE *f = tmpfile();

    (void)state;
    assert_non_null(f);
    text_paragraph(f, "- ", "  ", "%s %ls", "begins well,", L"\x7fffffff");
    assert_int_equal(ftell(f), 0);
    text_paragraph(f, "- ", "  ", "%s %ls", "begins well,", L"ends well");
    assert_int_equal(ftell(f), strlen("- begins well, ends well\n"));
    assert_int_equal(fclose(f), 0);
}

static void nothing_is_allowed_where_there_are_no_keys(void **state)
{
    static const struct option none[] = {{.name = NULL}};
    struct cfg *c = sample_parse("xyz: 1");
    struct err e = {.text = ""};

    (void)state;
    assert_int_equal(cfg_bind(cfg_root(c), none, NULL, &e), -1);
    assert_string_equal(e.text, "demo.yaml:1:1: unknown key 'xyz'; no keys are allowed");
    cfg_free(c);
}

static void overrides_have_a_longest(void **state)
{
    const size_t most = (size_t)16 << 20;
    char *text = mem_alloc(most + 6, 1);
    struct cfg *c = sample_parse("{}");
    struct err e = {.text = ""};

    (void)state;
    memset(text, 'v', most + 6);
    memcpy(text, "name=", 5);
    text[4 + most] = '\0'; /* '=' and what follows: just as long as may be */
    assert_int_equal(cfg_override(c, text, &e), 0);
    assert_int_equal(strlen(cfg_text(cfg_find(cfg_root(c), "name"))), most - 1);
    text[4 + most] = 'v';
    text[5 + most] = '\0';
    assert_int_equal(cfg_override(c, text, &e), -1);
    assert_non_null(strstr(e.text, ": the value is longer than 16777216 bytes"));
    cfg_free(c);
    free(text);
}

/* The first and the last character of each length, and the nearest that are none. */
static void characters_have_their_bytes(void **state)
{
    static const struct {
        const char *bytes;
        size_t length;
        uint32_t code;
    } cases[] = {
        {"\x01", 1, 1},
        {"\x7f", 1, 0x7f},
        {"\xc2\x80", 2, 0x80},
        {"\xdf\xbf", 2, 0x7ff},
        {"\xe0\xa0\x80", 3, 0x800},
        {"\xed\x9f\xbf", 3, 0xd7ff},
        {"\xee\x80\x80", 3, 0xe000},
        {"\xef\xbf\xbf", 3, 0xffff},
        {"\xf0\x90\x80\x80", 4, 0x10000},
        {"\xf4\x8f\xbf\xbf", 4, 0x10ffff},
        {"", 0, 0},
        {"\x80", 0, 0},
        {"\xbf", 0, 0},
        {"\xc1\xbf", 0, 0},
        {"\xc2", 0, 0},
        {"\xc2\x7f", 0, 0},
        {"\xc2\xc0", 0, 0},
        {"\xe0\x9f\xbf", 0, 0},
        {"\xe1\x80", 0, 0},
        {"\xe1\x80\x41", 0, 0},
        {"\xed\xa0\x80", 0, 0},
        {"\xf0\x8f\xbf\xbf", 0, 0},
        {"\xf4\x90\x80\x80", 0, 0},
        {"\xf5\x80\x80\x80", 0, 0},
        {"\xf1\x80\x80", 0, 0},
        {"\xff", 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (plain_utf8(cases[i].bytes) != cases[i].length ||
            plain_code(cases[i].bytes) != cases[i].code)
            fail_msg("case %zu: %zu bytes, code %x", i, plain_utf8(cases[i].bytes),
                     (unsigned)plain_code(cases[i].bytes));
    }
}

static void seen(const char *bytes, bool is, size_t length)
{
    size_t got = 99;

    assert_int_equal(plain_is_seen(bytes, &got), is);
    assert_int_equal(got, length);
    assert_int_equal(plain_is_seen(bytes, NULL), is);
}

/* At both ends of each range of what is not seen. */
static void unseen_characters_are_known(void **state)
{
    (void)state;
    seen("\x1f", false, 1);
    seen(" ", true, 1);
    seen("~", true, 1);
    seen("\x7f", false, 1);
    seen("\xc2\x9f", false, 2);
    seen("\xc2\xa0", true, 2);
    seen("\xd8\x9b", true, 2);
    seen("\xd8\x9c", false, 2);
    seen("\xd8\x9d", true, 2);
    seen("\xe2\x80\x8a", true, 3);
    seen("\xe2\x80\x8b", false, 3);
    seen("\xe2\x80\x8d", true, 3);
    seen("\xe2\x80\x8e", false, 3);
    seen("\xe2\x80\x8f", false, 3);
    seen("\xe2\x80\x90", true, 3);
    seen("\xe2\x80\xa7", true, 3);
    seen("\xe2\x80\xa8", false, 3);
    seen("\xe2\x80\xae", false, 3);
    seen("\xe2\x80\xaf", true, 3);
    seen("\xe2\x81\x9f", true, 3);
    seen("\xe2\x81\xa0", false, 3);
    seen("\xe2\x81\xaf", false, 3);
    seen("\xe2\x81\xb0", true, 3);
    seen("\xef\xbb\xbf", false, 3);
    seen("\xef\xbf\xb8", true, 3);
    seen("\xef\xbf\xb9", false, 3);
    seen("\xef\xbf\xbb", false, 3);
    seen("\xef\xbf\xbc", true, 3);
    seen("\xf3\xa0\x80\x80", false, 4);
    seen("\xf3\xa0\x81\xbf", false, 4);
    seen("\xf3\xa0\x82\x80", true, 4);
    seen("\x80", false, 1);
}

/* In the place of the C library's: whether all signals wait that can. */
static bool waited;

int posix_spawnp(pid_t *child, const char *file,
                 const posix_spawn_file_actions_t *actions,
                 const posix_spawnattr_t *attributes, char *const argument[],
                 char *const environment[])
{
    int (*next)(pid_t *, const char *, const posix_spawn_file_actions_t *,
                const posix_spawnattr_t *, char *const[], char *const[]);
    void *symbol = dlsym(RTLD_NEXT, "posix_spawnp");
    sigset_t now;

    memcpy(&next, &symbol, sizeof next);
    waited = pthread_sigmask(SIG_SETMASK, NULL, &now) == 0;
    for (int s = 1; s <= SIGSYS; s++)
        waited = waited && (s == SIGKILL || s == SIGSTOP || sigismember(&now, s) == 1);
    return next(child, file, actions, attributes, argument, environment);
}

/* What a child writes to its standard output and standard error, up to 15 bytes. */
static int run(const char *script, bool silent, char said[16])
{
    char shell[] = "/bin/sh", flag[] = "-c", *copy = mem_strdup(script);
    char *const argument[] = {shell, flag, copy, NULL};
    int ends[2], kept[2], status;
    ssize_t got;

    assert_int_equal(pipe(ends), 0);
    for (int i = 0; i < 2; i++) {
        kept[i] = dup(STDOUT_FILENO + i);
        assert_true(dup2(ends[1], STDOUT_FILENO + i) >= 0);
    }
    (void)close(ends[1]);
    status = child_run(argument, environ, silent);
    for (int i = 0; i < 2; i++) {
        (void)dup2(kept[i], STDOUT_FILENO + i);
        (void)close(kept[i]);
    }
    got = read(ends[0], said, 15);
    said[got < 0 ? 0 : got] = '\0';
    (void)close(ends[0]);
    free(copy);
    return status;
}

static void children_end_and_speak(void **state)
{
    char no[] = "/nowhere/at/all", said[16];
    char *const missing[] = {no, NULL};

    (void)state;
    assert_int_equal(run("printf a; printf b >&2; exit 0", false, said), 0);
    assert_string_equal(said, "ab");
    assert_int_equal(run("exit 3", false, said), 3);
    assert_string_equal(said, "");
    assert_int_equal(run("kill -9 $$", false, said), 128 + 9);
    /* Silent, it reads nothing either. */
    assert_int_equal(run("printf a; printf b >&2; read x && exit 7; exit 5", true, said),
                     5);
    assert_string_equal(said, "");
    for (int i = 0; i < 40; i++) { /* more than may run at once */
        errno = 0;
        assert_int_equal(child_run(missing, environ, true), -1);
        assert_int_equal(errno, ENOENT);
    }
    assert_int_equal(run("exit 1", true, said), 1);
}

/* A signal that comes while a child is begun is told of it, too: it waits until the
 * child's number is known, and no longer, nor in the child. */
static void signals_wait_for_the_child(void **state)
{
    sigset_t before, after;
    char said[16];

    (void)state;
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &before), 0);
    waited = false;
    assert_int_equal(run("kill -TERM $$", true, said), 128 + SIGTERM);
    assert_true(waited);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &after), 0);
    for (int s = 1; s <= SIGSYS; s++)
        assert_int_equal(sigismember(&after, s), sigismember(&before, s));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_have_two_ends_or_one),
        cmocka_unit_test(bound_structs_are_described),
        cmocka_unit_test(text_is_cut_between_characters),
        cmocka_unit_test(paragraphs_that_cannot_be_formatted_are_none),
        cmocka_unit_test(nothing_is_allowed_where_there_are_no_keys),
        cmocka_unit_test(overrides_have_a_longest),
        cmocka_unit_test(characters_have_their_bytes),
        cmocka_unit_test(unseen_characters_are_known),
        cmocka_unit_test(children_end_and_speak),
        cmocka_unit_test(signals_wait_for_the_child),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
