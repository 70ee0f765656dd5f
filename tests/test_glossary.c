/* The glossary: its order, its sentences, that what it points to is there, and that every
 * head of a column and every key of the formats has a word. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "made_result.h"

#include "sim/base/mem.h"
#include "sim/base/text.h"
#include "sim/report/glossary.h"
#include "sim/report/print.h"
#include "sim/report/print_extras.h"
#include "sim/report/print_parallel.h"
#include "sim/report/print_table.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static void in_order(void **state)
{
    const struct glossary_word *w = glossary_words;

    (void)state;
    for (; w[1].word != NULL; w++) {
        if (strcasecmp(w->word, w[1].word) >= 0)
            fail_msg("'%s' stands before '%s'", w->word, w[1].word);
    }
    assert_true(w - glossary_words >= 30);
}

/* A word says one thing, in full sentences, and points to what is there: a path of the
 * tree, or a command in backquotes. */
static void well_said(void **state)
{
    (void)state;
    for (const struct glossary_word *w = glossary_words; w->word != NULL; w++) {
        size_t length = strlen(w->text), path = strcspn(w->more, ",");

        assert_ptr_equal(glossary_find(w->word), w);
        assert_true(length > 10 && length < 280);
        assert_int_equal(w->text[length - 1], '.');
        assert_null(strstr(w->also, "||"));
        if (w->more[0] != '`') {
            char *file = mem_format("%.*s", (int)path, w->more);

            if (access(file, R_OK) != 0)
                fail_msg("%s: there is no %s", w->word, file);
            free(file);
        } else {
            assert_int_equal(strncmp(w->more, "`moesim ", 8), 0);
        }
    }
}

/* No spelling leads to two words: each leads to the word that lists it. */
static void one_meaning(void **state)
{
    (void)state;
    for (const struct glossary_word *w = glossary_words; w->word != NULL; w++) {
        for (const char *at = w->also; *at != '\0';) {
            size_t length = strcspn(at, "|");
            char *spelling = mem_format("%.*s", (int)length, at);
            const struct glossary_word *found = glossary_find(spelling);

            if (found != w)
                fail_msg("'%s' of %s leads to %s", spelling, w->word,
                         found == NULL ? "nothing" : found->word);
            free(spelling);
            at += length;
            at += *at == '|';
        }
    }
}

static void spelled_freely(void **state)
{
    static const struct {
        const char *text, *word;
    } cases[] = {
        {"tpot", "TPOT"},
        {"TPOT_P50_S", "TPOT"},
        {"Hit-Rate", "hit rate"},
        {"total_hits", "hit rate"},
        {"peak_kv_bytes", "KV cache"},
        {"bound_offline_s", "bound"},
        {"GAP TO OFFLINE", "gap"},
        {"eplb", "EPLB"},
    };
    static const char *const none[] = {"",    "hit", "total_", "TPOTS",
                                       "TPO", "|",   "total_x"};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct glossary_word *w = glossary_find(cases[i].text);

        if (w == NULL || strcmp(w->word, cases[i].word) != 0)
            fail_msg("%s is %s", cases[i].text, w == NULL ? "unknown" : w->word);
    }
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        if (strcmp(none[i], "hit") != 0 && glossary_find(none[i]) != NULL)
            fail_msg("'%s' is known", none[i]);
    }
}

static void must_know(const char *name, const char *where)
{
    if (glossary_find(name) == NULL)
        fail_msg("%s: '%s' has no word", where, name);
}

/* "imbal-" above "ance" is one word. */
static void must_know_head(const char *const head[2])
{
    size_t length = strlen(head[0]);
    bool cut = length > 0 && head[0][length - 1] == '-';
    char *name = cut ? mem_format("%.*s%s", (int)length - 1, head[0], head[1])
                     : mem_format("%s%s%s", head[0], length > 0 ? " " : "", head[1]);

    must_know(name, "table");
    free(name);
}

static void heads_have_words(void **state)
{
    size_t heads = 0;

    (void)state;
    for (const struct text_column *c = print_columns; c->head[0] != NULL; c++, heads++)
        must_know_head(c->head);
    for (const struct text_column *c = print_parallel_columns; c->head[0] != NULL;
         c++, heads++)
        must_know_head(c->head);
    for (const struct print_column *c = print_extra_columns; c->has != NULL; c++, heads++)
        must_know_head(c->head);
    assert_int_equal(heads, 8 + 10 + 18);
}

/* Options of plug-ins have their help in `moesim list policies`. */
static void columns_have_words(void **state)
{
    struct result r = made_result(&(struct made_shape){2, 3, 4, 0, 7, 0});
    char *text = made_printed(&r, result_print_csv);
    size_t columns = 0;

    (void)state;
    *strchr(text, '\n') = '\0';
    for (char *name = strtok(text, ","); name != NULL;
         name = strtok(NULL, ","), columns++)
        if (strchr(name, '.') == NULL)
            must_know(name, "CSV");
    assert_true(columns > 100);
    free(text);
    result_release(&r);
}

/* Every quoted text before a colon is a key. */
static void keys_have_words(void **state)
{
    struct result r = made_result(&(struct made_shape){2, 3, 4, 0, 7, 4});
    char *text = made_printed(&r, result_print_json);
    size_t keys = 0;

    (void)state;
    for (char *at = text; (at = strstr(at, "\": ")) != NULL; at += 3) {
        char *name = at;

        while (name[-1] != '"')
            name--;
        *at = '\0';
        must_know(name, "JSON");
        keys++;
    }
    assert_true(keys > 200);
    free(text);
    result_release(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_order),         cmocka_unit_test(well_said),
        cmocka_unit_test(one_meaning),      cmocka_unit_test(spelled_freely),
        cmocka_unit_test(heads_have_words), cmocka_unit_test(columns_have_words),
        cmocka_unit_test(keys_have_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
