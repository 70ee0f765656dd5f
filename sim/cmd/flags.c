#include "cmd.h"
#include "sim/base/mem.h"
#include "sim/base/nearest.h"
#include "sim/base/plain.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void flags_help(const struct command *c)
{
    (void)printf("usage: %s\n\n%s\n", c->usage, c->help);
    for (const struct flag *f = c->flags; f->name != NULL; f++) {
        char left[64];

        if (f == c->flags)
            (void)printf("\n");
        (void)snprintf(left, sizeof left, "%s%c%s%s%s%s", f->letter != 0 ? "-" : "",
                       f->letter != 0 ? f->letter : ' ', f->letter != 0 ? ", " : "   ",
                       f->name, f->argument != NULL ? " " : "",
                       f->argument != NULL ? f->argument : "");
        (void)printf("  %-26s %s\n", left, f->help);
    }
    (void)printf("\nexample: %s\n", c->example);
}

/* What the flags hold when a command ends before it begins. */
static void release_lists(const struct command *c)
{
    for (const struct flag *f = c->flags; f->name != NULL; f++) {
        struct flag_list *list = f->target;

        if (f->type != FLAG_LIST)
            continue;
        free(list->item);
        *list = (struct flag_list){NULL, 0};
    }
}

int flags_misuse(const struct command *c, const char *sentence)
{
    release_lists(c);
    plain_printf(stderr, "moesim: %s\nusage: %s\nTry --help.\n", sentence, c->usage);
    return EXIT_MISUSE;
}

static int misuse(const struct command *c, const char *format, const char *what)
{
    char *sentence = mem_format("%s%s", format, what);

    (void)flags_misuse(c, sentence);
    free(sentence);
    return -1;
}

static const struct flag *find(const struct command *c, const char *argument,
                               const char **value)
{
    size_t length = strcspn(argument, "=");

    *value = NULL;
    for (const struct flag *f = c->flags; f->name != NULL; f++) {
        if (strlen(f->name) == length && strncmp(f->name, argument, length) == 0) {
            *value = argument[length] == '=' ? argument + length + 1 : NULL;
            return f;
        }
        if (f->letter != 0 && argument[0] == '-' && argument[1] == f->letter) {
            *value = argument[2] != '\0' ? argument + 2 : NULL;
            return f;
        }
    }
    return NULL;
}

static int take(const struct command *c, const struct flag *f, const char *value)
{
    struct flag_list *list = f->target;
    char *end;
    unsigned long count, least = f->type == FLAG_NUMBER ? 0 : 1;

    switch (f->type) {
    case FLAG_SWITCH:
        *(bool *)f->target = true;
        return value == NULL ? 0 : misuse(c, f->name, " takes no value");
    case FLAG_TEXT:
        *(const char **)f->target = value;
        return 0;
    case FLAG_COUNT:
    case FLAG_NUMBER:
        count = strtoul(value, &end, 10);
        if (*value < '0' || *value > '9' || *end != '\0' || count < least ||
            count > 65536)
            return misuse(c, f->name,
                          least == 0 ? " takes a whole number from 0 to 65536"
                                     : " takes a whole number from 1 to 65536");
        *(unsigned *)f->target = (unsigned)count;
        return 0;
    case FLAG_LIST:
        list->item = mem_resize(list->item, list->count + 1, sizeof *list->item);
        list->item[list->count++] = value;
        return 0;
    }
    return -1;
}

static int unknown(const struct command *c, const char *argument)
{
    char *name = mem_format("%.*s", (int)strcspn(argument, "="), argument);
    struct nearest near = nearest_to(name);
    char *sentence;

    for (const struct flag *f = c->flags; f->name != NULL; f++)
        nearest_try(&near, f->name);
    sentence = mem_format("there is no flag %s%s", argument, nearest_hint(&near).text);
    (void)flags_misuse(c, sentence);
    free(sentence);
    free(name);
    return -1;
}

int flags_parse(const struct command *c, int argc, char **argv)
{
    int kept = 0;
    bool only_operands = false;

    for (int i = 1; i < argc; i++) {
        const char *value;
        const struct flag *f;

        if (only_operands || argv[i][0] != '-' || argv[i][1] == '\0') {
            argv[kept++] = argv[i];
            continue;
        }
        if (strcmp(argv[i], "--") == 0) {
            only_operands = true;
            continue;
        }
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            flags_help(c);
            release_lists(c);
            return -2;
        }
        f = find(c, argv[i], &value);
        if (f == NULL)
            return unknown(c, argv[i]);
        if (f->type != FLAG_SWITCH && value == NULL) {
            if (i + 1 == argc)
                return misuse(c, f->name, " needs a value");
            value = argv[++i];
        }
        if (take(c, f, value) != 0)
            return -1;
    }
    return kept;
}
