/* moesim help: what a word means, or how a command is called. */
#include "cmd.h"
#include "sim/base/mem.h"
#include "sim/base/nearest.h"
#include "sim/base/plain.h"
#include "sim/base/text.h"
#include "sim/report/glossary.h"

#include <stdio.h>
#include <stdlib.h>

static void list_words(void)
{
    char *list = mem_strdup("");

    for (const struct glossary_word *w = glossary_words; w->word != NULL; w++) {
        char *longer = mem_format("%s%s%s", list, *list == '\0' ? "" : ", ", w->word);

        free(list);
        list = longer;
    }
    (void)printf(
        "\nmoesim help WORD tells what it means, of a column of a table, too:\n");
    text_paragraph(stdout, "  ", "  ", "%s", list);
    free(list);
}

static void explain(const struct glossary_word *w)
{
    text_paragraph(stdout, "", "  ", "%s: %s", w->word, w->text);
    text_paragraph(stdout, "  ", "  ", "See %s.", w->more);
}

/* The words of the command line as one, "gap to offline". Owned. */
static char *join(int count, char **words)
{
    char *text = mem_strdup(words[0]);

    for (int i = 1; i < count; i++) {
        char *longer = mem_format("%s %s", text, words[i]);

        free(text);
        text = longer;
    }
    return text;
}

int cmd_help(int count, char **words, const char *const *commands)
{
    const struct glossary_word *found;
    struct nearest near;
    char *text;

    if (count == 0) {
        list_words();
        return EXIT_GOOD;
    }
    text = join(count, words);
    found = glossary_find(text);
    if (found != NULL) {
        explain(found);
        free(text);
        return EXIT_GOOD;
    }
    near = nearest_to(text);
    for (const struct glossary_word *w = glossary_words; w->word != NULL; w++)
        nearest_try(&near, w->word);
    for (; *commands != NULL; commands++)
        nearest_try(&near, *commands);
    plain_printf(stderr, "moesim: there is no word '%s' to explain%s\nTry moesim help.\n",
                 text, nearest_hint(&near).text);
    free(text);
    return EXIT_MISUSE;
}
