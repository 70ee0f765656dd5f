#include "config_node.h"

#include "file.h"
#include "mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void cfg_free(struct cfg *c)
{
    if (c == NULL)
        return;
    while (c->newest != NULL) {
        struct cfg_node *n = c->newest;

        c->newest = n->older;
        free(n->key);
        free(n->text);
        free(n->items);
        free(n);
    }
    for (size_t i = 0; i < c->source_count; i++)
        free(c->sources[i]);
    free(c->sources);
    free(c);
}

const char *cfg_keep_source(struct cfg *c, const char *source)
{
    if (source == NULL)
        return NULL;
    c->sources = mem_resize(c->sources, c->source_count + 1, sizeof *c->sources);
    c->sources[c->source_count] = mem_strdup(source);
    return c->sources[c->source_count++];
}

struct cfg_node *cfg_node_new(struct cfg *c, enum cfg_kind kind, struct cfg_place place)
{
    struct cfg_node *n = mem_zalloc(1, sizeof *n);

    n->kind = kind;
    n->place = place;
    n->keyed = place;
    n->older = c->newest;
    c->newest = n;
    c->values++;
    return n;
}

void cfg_node_add(struct cfg_node *parent, struct cfg_node *child)
{
    assert(parent->kind != CFG_SCALAR);
    assert((parent->kind == CFG_MAP) == (child->key != NULL));
    if (parent->count == parent->room) {
        parent->room = parent->room == 0 ? 4 : parent->room * 2;
        parent->items = mem_resize(parent->items, parent->room, sizeof *parent->items);
    }
    child->parent = parent;
    child->index = parent->count;
    parent->items[parent->count++] = child;
}

/* The depth of a document, and so of this recursion, is bounded. */
struct cfg_node *cfg_node_copy(struct cfg *c, const char *source,
                               const struct cfg_node *from)
{
    struct cfg_node *to = cfg_node_new(c, from->kind, from->place);

    to->place.source = source;
    to->keyed = from->keyed;
    to->keyed.source = source;
    to->quoted = from->quoted;
    if (from->text != NULL)
        to->text = mem_strdup(from->text);
    for (size_t i = 0; i < from->count; i++) {
        struct cfg_node *item = cfg_node_copy(c, source, from->items[i]);

        if (from->items[i]->key != NULL)
            item->key = mem_strdup(from->items[i]->key);
        cfg_node_add(to, item);
    }
    return to;
}

const struct cfg_node *cfg_root(const struct cfg *c)
{
    return c->root;
}

bool cfg_is_map(const struct cfg_node *n)
{
    return n->kind == CFG_MAP;
}

bool cfg_is_list(const struct cfg_node *n)
{
    return n->kind == CFG_LIST;
}

bool cfg_is_scalar(const struct cfg_node *n)
{
    return n->kind == CFG_SCALAR;
}

bool cfg_is_null(const struct cfg_node *n)
{
    return n->kind == CFG_SCALAR && !n->quoted &&
           (n->text[0] == '\0' || strcmp(n->text, "~") == 0 ||
            strcmp(n->text, "null") == 0);
}

size_t cfg_count(const struct cfg_node *n)
{
    return n->count;
}

const struct cfg_node *cfg_item(const struct cfg_node *n, size_t i)
{
    assert(i < n->count);
    return n->items[i];
}

const char *cfg_key(const struct cfg_node *n, size_t i)
{
    return n->kind == CFG_MAP && i < n->count ? n->items[i]->key : NULL;
}

const struct cfg_node *cfg_find(const struct cfg_node *n, const char *key)
{
    if (n->kind != CFG_MAP)
        return NULL;
    for (size_t i = 0; i < n->count; i++) {
        if (strcmp(n->items[i]->key, key) == 0)
            return n->items[i];
    }
    return NULL;
}

const char *cfg_text(const struct cfg_node *n)
{
    return n->kind == CFG_SCALAR ? n->text : NULL;
}

int cfg_error(const struct cfg_node *n, struct err *e, const char *format, ...)
{
    struct cfg_place place = {0};
    va_list args;

    if (n != NULL)
        place = n->place;
    va_start(args, format);
    cfg_verror_at(place, e, format, args);
    va_end(args);
    return -1;
}

bool cfg_blames_key(const struct cfg_node *n, const struct err *e)
{
    struct err place = {.text = ""};

    (void)cfg_error_at(n->keyed, &place, "%s", "");
    return strncmp(e->text, place.text, strlen(place.text)) == 0;
}

int cfg_error_at(struct cfg_place place, struct err *e, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    cfg_verror_at(place, e, format, args);
    va_end(args);
    return -1;
}

/* Length of the longest prefix of at most `limit` bytes that cuts no UTF-8 character. */
static size_t whole_characters(const char *text, size_t limit)
{
    size_t n = strnlen(text, limit + 1);

    if (n <= limit)
        return n;
    n = limit;
    while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
        n--;
    return n;
}

static void mask_controls(char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = '?';
    }
}

void cfg_verror_at(struct cfg_place place, struct err *e, const char *format,
                   va_list args)
{
    char sentence[2 * sizeof e->text];

    (void)vsnprintf(sentence, sizeof sentence, format, args);
    if (place.source == NULL)
        (void)err_set(e, "%s", sentence);
    else if (place.line == 0)
        (void)err_set(e, "%s: %s", place.source, sentence);
    else
        (void)err_set(e, "%s:%d:%d: %s", place.source, place.line, place.column,
                      sentence);
}

/* Where `path`, names with dots between, is written below `n`: its value, or the key of
 * the last one on the way that is there. */
static struct cfg_place nearest_place(const struct cfg_node *n, const char *path)
{
    struct cfg_place place = n->place;

    while (*path != '\0') {
        size_t length = strcspn(path, ".");
        const struct cfg_node *found = NULL;

        for (size_t i = 0; n->kind == CFG_MAP && i < n->count && found == NULL; i++) {
            if (strncmp(n->items[i]->key, path, length) == 0 &&
                n->items[i]->key[length] == '\0')
                found = n->items[i];
        }
        if (found == NULL)
            return place;
        n = found;
        path += length + (path[length] == '.');
        place = *path == '\0' ? n->place : n->keyed;
    }
    return place;
}

static bool begins_with(const char *text, const char *source)
{
    size_t length = source == NULL ? 0 : strlen(source);

    return length > 0 && strncmp(text, source, length) == 0 && text[length] == ':';
}

/* Values may have been put there from other documents. The depth of a document, and so of
 * this recursion, is bounded. */
static bool names_place(const struct cfg_node *n, const char *text)
{
    bool found = begins_with(text, n->place.source) || begins_with(text, n->keyed.source);

    for (size_t i = 0; n->kind != CFG_SCALAR && i < n->count && !found; i++)
        found = names_place(n->items[i], text);
    return found;
}

static bool has_place(const struct cfg_node *n, const struct err *e)
{
    while (n->parent != NULL)
        n = n->parent;
    return strncmp(e->text, "--", 2) == 0 || /* of the command line */
           names_place(n, e->text);
}

int cfg_locate(const struct cfg_node *n, const char *key, struct err *e)
{
    const struct err bare = *e;

    if (has_place(n, e))
        return -1;
    if (err_key(&bare) != NULL)
        key = bare.key;
    e->text[0] = '\0';
    return cfg_error_at(key == NULL ? n->place : nearest_place(n, key), e, "%s",
                        bare.text);
}

struct cfg_words cfg_show(const char *text, size_t limit)
{
    struct cfg_words words;
    size_t n;

    assert(limit <= 200);
    n = whole_characters(text, limit);
    memcpy(words.text, text, n);
    memcpy(words.text + n, "...", 4);
    if (text[n] == '\0')
        words.text[n] = '\0';
    mask_controls(words.text);
    return words;
}

struct cfg_words cfg_show_path(const struct cfg_node *n)
{
    const struct cfg_node *chain[CFG_DEPTH_MAX + 1];
    struct cfg_words words = {""};
    size_t depth = 0, used;

    for (; n->parent != NULL && depth <= CFG_DEPTH_MAX; n = n->parent)
        chain[depth++] = n;
    if (depth == 0)
        return words;
    used = (size_t)snprintf(words.text, sizeof words.text, " in ");
    while (depth-- > 0 && used < 120) {
        const struct cfg_node *at = chain[depth];
        const char *dot = depth > 0 ? "." : "";
        int length;

        if (at->key != NULL)
            length = snprintf(words.text + used, sizeof words.text - used, "%s%s",
                              cfg_show(at->key, 40).text, dot);
        else
            length = snprintf(words.text + used, sizeof words.text - used, "%zu%s",
                              at->index, dot);
        used += (size_t)length;
    }
    return words;
}
