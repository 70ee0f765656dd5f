/* Any bytes through the configuration parser. Input: a document, then, after the first
 * NUL byte if there is one, an assignment for cfg_override(). Whatever parses must dump
 * to text that parses again, dumps to the same text and binds to the same values. */
#include "sim/base/config.h"

#include <stdlib.h>
#include <string.h>

static const char *const choices[] = {"lru", "lfu", "belady", NULL};

struct sample {
    int64_t integer;
    double number;
    uint64_t bytes;
    int64_t time;
    const char *text;
    const struct cfg_node *node;
    int choice;
    bool truth;
};

#define MEMBER(m) offsetof(struct sample, m)

static const struct option options[] = {
    {"int", OPT_INT, MEMBER(integer), "1", 0, 0, NULL, "help"},
    {"double", OPT_DOUBLE, MEMBER(number), "0.5", -10, 10, NULL, "help"},
    {"bool", OPT_BOOL, MEMBER(truth), "off", 0, 0, NULL, "help"},
    {"string", OPT_STRING, MEMBER(text), "", 0, 0, NULL, "help"},
    {"choice", OPT_CHOICE, MEMBER(choice), "lfu", 0, 0, choices, "help"},
    {"bytes", OPT_BYTES, MEMBER(bytes), "1 KiB", 0, 0, NULL, "help"},
    {"time", OPT_TIME, MEMBER(time), "1 us", 0, 0, NULL, "help"},
    {"node", OPT_NODE, MEMBER(node), "", 0, 0, NULL, "help"},
    {.name = NULL},
};

static void require(bool holds)
{
    if (!holds)
        abort();
}

/* A failure comes with one sentence, without control characters. */
static void require_sentence(int status, const struct err *e)
{
    require((status == 0) == (e->text[0] == '\0'));
    for (const char *c = e->text; *c != '\0'; c++)
        require((unsigned char)*c >= 0x20);
}

static int bind(const struct cfg *c, struct sample *s)
{
    struct err e = {.text = ""};
    int status;

    memset(s, 0, sizeof *s);
    status = cfg_bind(cfg_root(c), options, s, &e);
    require_sentence(status, &e);
    return status;
}

static void require_equal(const struct sample *a, const struct sample *b)
{
    require(a->integer == b->integer && a->number == b->number);
    require(a->bytes == b->bytes && a->time == b->time && a->time >= 0);
    require(a->truth == b->truth && a->choice == b->choice);
    require(strcmp(a->text, b->text) == 0);
    require((a->node == NULL) == (b->node == NULL));
    if (a->node != NULL)
        require(cfg_count(a->node) == cfg_count(b->node));
}

static void check_round_trip(const struct cfg *c)
{
    struct err e = {.text = ""};
    struct sample before, after;
    char *first = cfg_dump(c), *second;
    struct cfg *again = cfg_parse("dump", first, strlen(first), &e);
    int status = bind(c, &before);

    require(again != NULL);
    second = cfg_dump(again);
    require(strcmp(first, second) == 0);
    require(bind(again, &after) == status);
    if (status == 0)
        require_equal(&before, &after);
    free(first);
    free(second);
    cfg_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = size == 0 ? NULL : memchr(data, '\0', size);
    size_t length = nul == NULL ? size : (size_t)(nul - data);
    struct err e = {.text = ""};
    struct cfg *c = cfg_parse("input", (const char *)data, length, &e);

    require_sentence(c == NULL ? -1 : 0, &e);
    if (c == NULL)
        return 0;
    check_round_trip(c);
    if (nul != NULL) {
        char *assignment = calloc(size - length, 1);

        require(assignment != NULL);
        memcpy(assignment, nul + 1, size - length - 1);
        require_sentence(cfg_override(c, assignment, &e), &e);
        free(assignment);
        /* An override may leave nothing but a null behind; that alone is no document. */
        if (cfg_is_map(cfg_root(c)) || cfg_is_list(cfg_root(c)))
            check_round_trip(c);
    }
    cfg_free(c);
    return 0;
}
