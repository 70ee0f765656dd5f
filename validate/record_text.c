/* Pieces of YAML, as a baseline stores them: a line or a few for what belongs together,
 * so that its differences can be read. */
#include "baseline_parts.h"

#include "sim/base/json.h"
#include "sim/base/mem.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 100, LONGEST_KEY = 128 };

static bool is_plain(const char *text)
{
    static const char word[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                               "0123456789_";

    bool path =
        *text == '/' || strncmp(text, "./", 2) == 0 || strncmp(text, "../", 3) == 0;

    if (*text == '\0' || (!path && strchr(word, *text) == NULL))
        return false;
    for (; *text != '\0'; text++) {
        if (strchr(word, *text) == NULL && strchr("./+-=", *text) == NULL &&
            (*text != ' ' || text[1] == '\0' || text[1] == ' '))
            return false;
    }
    return true;
}

/* JSON's strings are YAML's. */
void record_text(FILE *out, const char *text)
{
    if (is_plain(text))
        (void)fputs(text, out);
    else
        json_string(out, text);
}

void record_key(FILE *out, int indent, const char *key)
{
    char cut[LONGEST_KEY + 1]; /* what YAML takes */

    (void)snprintf(cut, sizeof cut, "%s", key);
    (void)fprintf(out, "%*s", indent, "");
    record_text(out, cut);
    (void)fputs(": ", out);
}

void record_pair(FILE *out, int indent, const char *key, const char *value)
{
    record_key(out, indent, key);
    record_text(out, value);
    (void)fputc('\n', out);
}

void record_count(FILE *out, int indent, const char *key, uint64_t value)
{
    record_key(out, indent, key);
    (void)fprintf(out, "%" PRIu64 "\n", value);
}

/* ---- flow lists and mappings ---- */

struct record_flow record_begin(FILE *out, int indent, char begin, char end)
{
    (void)fputc(begin, out);
    return (struct record_flow){
        .out = out, .indent = indent + 2, .column = COLUMNS / 4, .end = end};
}

void record_item(struct record_flow *f, const char *text)
{
    size_t length = strlen(text);

    if (f->items++ > 0) {
        (void)fputc(',', f->out);
        f->column++;
    }
    if (f->column + 1 + length >= COLUMNS) {
        (void)fprintf(f->out, "\n%*s", f->indent, "");
        f->column = (size_t)f->indent;
    } else if (f->items > 1) {
        (void)fputc(' ', f->out);
        f->column++;
    }
    (void)fputs(text, f->out);
    f->column += length;
}

void record_item_text(struct record_flow *f, const char *key, const char *text)
{
    struct mem_stream m;
    char *item;

    mem_stream_open(&m);
    if (key != NULL)
        record_key(m.out, 0, key);
    record_text(m.out, text);
    item = mem_stream_close(&m);
    record_item(f, item);
    free(item);
}

static void put(struct record_flow *f, const char *key, char *value)
{
    char *text = key == NULL ? mem_strdup(value) : mem_format("%s: %s", key, value);

    record_item(f, text);
    free(text);
    free(value);
}

void record_number(struct record_flow *f, const char *key, uint64_t value)
{
    put(f, key, mem_format("%" PRIu64, value));
}

/* Enough digits to see a hundredth of a percent. */
void record_share(struct record_flow *f, const char *key, double value)
{
    put(f, key, mem_format("%.6f", value));
}

void record_hash(struct record_flow *f, uint64_t hash)
{
    put(f, NULL, mem_format("x%016" PRIx64, hash));
}

void record_end(struct record_flow *f)
{
    (void)fprintf(f->out, "%c\n", f->end);
}

/* ---- documents ---- */

static bool is_left_out(const char *key, const char *const *but)
{
    for (; *but != NULL; but++) {
        if (strcmp(*but, key) == 0)
            return true;
    }
    return false;
}

/* A path is another on each machine; the file's name is what it is known by. */
static const char *known_as(const char *path, const char *text)
{
    static const char *const files[] = {"trace", "profile", "file", "model", "machine"};
    const char *dot = strrchr(path, '.'), *slash = strrchr(text, '/');
    const char *key = dot == NULL ? path : dot + 1;

    for (size_t i = 0; slash != NULL && i < sizeof files / sizeof *files; i++) {
        if (strcmp(key, files[i]) == 0)
            return slash + 1;
    }
    return text;
}

static bool holds_scalars(const struct cfg_node *list)
{
    for (size_t i = 0; i < cfg_count(list); i++) {
        if (!cfg_is_scalar(cfg_item(list, i)))
            return false;
    }
    return true;
}

static void flat_list(FILE *out, int indent, const char *path, const struct cfg_node *n)
{
    struct record_flow f;

    record_key(out, indent, path);
    f = record_begin(out, indent, '[', ']');
    for (size_t i = 0; i < cfg_count(n); i++)
        record_item_text(&f, NULL, cfg_text(cfg_item(n, i)));
    record_end(&f);
}

static void flat(FILE *out, int indent, const char *path, const struct cfg_node *n,
                 const char *const *but)
{
    const struct cfg_node *value = cfg_find(n, "value");

    if (value != NULL)
        n = value;
    if (cfg_is_scalar(n)) {
        record_pair(out, indent, path, known_as(path, cfg_text(n)));
        return;
    }
    if (cfg_count(n) == 0 || (cfg_is_list(n) && holds_scalars(n))) {
        flat_list(out, indent, path, n);
        return;
    }
    for (size_t i = 0; i < cfg_count(n); i++) {
        const char *key = cfg_key(n, i);
        char *below;

        if (key != NULL && is_left_out(key, but))
            continue;
        below = key == NULL ? mem_format("%s.%zu", path, i)
                            : mem_format("%s%s%s", path, *path == '\0' ? "" : ".", key);
        flat(out, indent, below, cfg_item(n, i), but);
        free(below);
    }
}

void record_flat(FILE *out, int indent, const struct cfg_node *n, const char *const *but)
{
    flat(out, indent, "", n, but);
}
