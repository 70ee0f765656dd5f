/* Changes to a document, copies of its parts, and its way back to text. */
#include "config_node.h"

#include "mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- cfg_override ---- */

/* Position of `name` among the items of `at`; its count when it would be a new item. */
static int find_slot(const struct cfg_node *at, const char *name, struct cfg_place place,
                     size_t *slot, struct err *e)
{
    if (at->kind == CFG_MAP) {
        const struct cfg_node *found = cfg_find(at, name);

        *slot = found == NULL ? at->count : found->index;
        return 0;
    }
    if (at->kind == CFG_SCALAR)
        return cfg_error_at(place, e, "there is no '%s'%s, which is a single value",
                            cfg_show(name, 48).text, cfg_show_path(at).text);
    *slot = 0;
    for (const char *c = name; *c != '\0'; c++) {
        if (*c < '0' || *c > '9' || *slot > at->count)
            *slot = SIZE_MAX;
        else
            *slot = *slot * 10 + (size_t)(*c - '0');
    }
    if (*slot > at->count)
        return cfg_error_at(place, e, "'%s' is no item of the list%s; expected 0 to %zu",
                            cfg_show(name, 48).text, cfg_show_path(at).text, at->count);
    return 0;
}

static void put_child(struct cfg_node *at, size_t slot, const char *name,
                      struct cfg_node *child)
{
    child->key = at->kind == CFG_MAP ? mem_strdup(name) : NULL;
    if (slot == at->count) {
        cfg_node_add(at, child);
        return;
    }
    child->parent = at;
    child->index = slot;
    at->items[slot] = child;
}

/* Whether a mapping has a key that is written with dots, "a.b.c", of these names. */
static bool find_dotted(const struct cfg_node *at, const char *path, size_t parts,
                        size_t *slot)
{
    for (size_t i = 0; at->kind == CFG_MAP && i < at->count; i++) {
        const char *key = at->items[i]->key, *name = path;
        size_t left = parts;

        for (; left > 0 && strncmp(key, name, strlen(name)) == 0; left--) {
            key += strlen(name);
            name += strlen(name) + 1;
            if (*key != (left > 1 ? '.' : '\0'))
                break;
            key++;
        }
        if (left == 0) {
            *slot = i;
            return true;
        }
    }
    return false;
}

/* Puts `value` under `path`, a sequence of `parts` NUL-terminated names. Nothing changes
 * unless all names fit: only names below the last one that exists make new mappings. */
static int put_value(struct cfg *c, const char *path, size_t parts,
                     struct cfg_node *value, struct err *e)
{
    struct cfg_node *at = c->root;

    for (;; path += strlen(path) + 1) {
        struct cfg_node *next;
        size_t slot = 0;

        if (cfg_is_null(at))
            at->kind = CFG_MAP;
        if (parts > 1 && find_dotted(at, path, parts, &slot)) {
            put_child(at, slot, at->items[slot]->key, value);
            return 0;
        }
        if (find_slot(at, path, value->keyed, &slot, e) != 0)
            return -1;
        if (--parts == 0) {
            put_child(at, slot, path, value);
            return 0;
        }
        if (slot < at->count) {
            at = at->items[slot];
            continue;
        }
        next = cfg_node_new(c, CFG_MAP, value->keyed);
        put_child(at, slot, path, next);
        at = next;
    }
}

/* Splits "a.b.0" in place at its dots. Returns the number of names, 0 if one is bad.
 * Only printable ASCII passes, as nothing has checked that these bytes are UTF-8. */
static size_t split_path(char *path)
{
    size_t parts = 1, length = 0;

    for (char *c = path; *c != '\0'; c++) {
        if (*c != '.') {
            if (++length > CFG_KEY_MAX || *c < 0x20 || *c > 0x7e)
                return 0;
            continue;
        }
        if (length == 0)
            return 0;
        length = 0;
        *c = '\0';
        parts++;
    }
    return length == 0 ? 0 : parts;
}

static int set_value(struct cfg *c, struct cfg_place place, const char *path,
                     const char *value, struct err *e)
{
    char *names = mem_strdup(path);
    size_t parts = split_path(names);
    struct cfg_node *node;
    int status = -1;

    if (parts == 0 || parts > CFG_DEPTH_MAX) {
        (void)cfg_error_at(place, e,
                           "expected KEY=VALUE, where KEY is names and numbers with dots "
                           "between, such as seed=2");
    } else {
        node = cfg_read(c, place.source, false, value, strlen(value), parts, e);
        status = node == NULL ? -1 : put_value(c, names, parts, node, e);
    }
    free(names);
    return status;
}

int cfg_set(struct cfg *c, const char *source, const char *path, const char *value,
            struct err *e)
{
    struct cfg_place place = {.source = NULL};

    if (source != NULL)
        place.source = cfg_keep_source(c, source);
    return set_value(c, place, path, value, e);
}

struct cfg *cfg_new(void)
{
    struct cfg *c = mem_zalloc(1, sizeof *c);

    c->root = cfg_node_new(c, CFG_MAP, (struct cfg_place){.source = NULL});
    return c;
}

int cfg_override(struct cfg *c, const char *assignment, struct err *e)
{
    const char *equals = strchr(assignment, '=');
    char *shown = mem_format("--set %s", cfg_show(assignment, 160).text);
    struct cfg_place place = {.source = cfg_keep_source(c, shown)};
    char *path;
    int status;

    free(shown);
    if (equals == NULL)
        return cfg_error_at(place, e, "expected KEY=VALUE, such as seed=2");
    if (strlen(equals) > CFG_SIZE_MAX)
        return cfg_error_at(place, e, "the value is longer than %zu bytes", CFG_SIZE_MAX);
    path = mem_format("%.*s", (int)(equals - assignment), assignment);
    status = set_value(c, place, path, equals + 1, e);
    free(path);
    return status;
}

/* The text that was there stays the document's: it may have been handed out. */
void cfg_set_text(struct cfg *c, const struct cfg_node *n, const char *text)
{
    struct cfg_node *value = cfg_node_new(c, CFG_SCALAR, n->place);

    assert(n->kind == CFG_SCALAR && n->parent != NULL);
    value->text = mem_strdup(text);
    value->quoted = true;
    value->keyed = n->keyed;
    put_child(n->parent, n->index, n->key, value);
}

/* What stands under "a.b.0.c" below `root`, or NULL. */
static struct cfg_node *find_path(const struct cfg_node *root, const char *path)
{
    char *names = mem_strdup(path);
    size_t parts = split_path(names);
    const struct cfg_node *at = root;
    struct cfg_node *found = NULL;
    struct err ignored = {.text = ""};

    for (const char *name = names; at != NULL && parts > 0; parts--) {
        size_t slot = 0;

        found = NULL;
        if (at->kind != CFG_SCALAR &&
            find_slot(at, name, at->place, &slot, &ignored) == 0 && slot < at->count)
            found = at->items[slot];
        at = found;
        name += strlen(name) + 1;
    }
    free(names);
    return found;
}

const struct cfg_node *cfg_find_path(const struct cfg_node *n, const char *path)
{
    return find_path(n, path);
}

void cfg_nest(struct cfg *c, const char *path, const char *below)
{
    struct cfg_node *old = find_path(c->root, path), *parent, *map;
    char *key;

    if (old == NULL || old == c->root || old->kind != CFG_SCALAR || cfg_is_null(old))
        return;
    parent = old->parent;
    key = old->key;
    map = cfg_node_new(c, CFG_MAP, old->place);
    map->keyed = old->keyed;
    put_child(parent, old->index, key, map);
    free(key);
    old->key = mem_strdup(below);
    cfg_node_add(map, old);
}

void cfg_remove(struct cfg *c, const char *path)
{
    struct cfg_node *found = find_path(c->root, path), *from;

    if (found == NULL)
        return;
    from = found->parent;
    for (size_t i = found->index + 1; i < from->count; i++) {
        from->items[i - 1] = from->items[i];
        from->items[i - 1]->index = i - 1;
    }
    from->count--;
}

void cfg_keep_item(struct cfg *c, const char *key, size_t i)
{
    const struct cfg_node *found = cfg_find(c->root, key);
    struct cfg_node *list = found == NULL ? NULL : c->root->items[found->index];

    if (list == NULL || list->kind != CFG_LIST || i >= list->count)
        return;
    list->items[0] = list->items[i];
    list->items[0]->index = 0;
    list->count = 1;
}

/* ---- cfg_copy ---- */

/* Puts a new node where `path` leads, with its key where `key` has its. */
static int put_new(struct cfg *c, const char *path, const struct cfg_node *key,
                   struct cfg_node *value, struct err *e)
{
    char *names = mem_strdup(path);
    size_t parts = split_path(names);
    int status;

    value->keyed = key->keyed;
    value->keyed.source = value->place.source;
    if (parts == 0 || parts > CFG_DEPTH_MAX / 2)
        status = cfg_error_at(value->keyed, e,
                              "'%s' is no key; expected names and numbers with dots "
                              "between, such as workload.batch",
                              cfg_show(path, 60).text);
    else
        status = put_value(c, names, parts, value, e);
    free(names);
    return status;
}

int cfg_put(struct cfg *c, const char *path, const struct cfg_node *key,
            const struct cfg_node *value, struct err *e)
{
    const char *source = cfg_keep_source(c, key->keyed.source);

    return put_new(c, path, key, cfg_node_copy(c, source, value), e);
}

int cfg_put_text(struct cfg *c, const char *path, const struct cfg_node *key,
                 const char *text, struct err *e)
{
    struct cfg_place place = key->place;
    struct cfg_node *value;

    place.source = cfg_keep_source(c, key->keyed.source);
    value = cfg_node_new(c, CFG_SCALAR, place);
    value->text = mem_strdup(text);
    return put_new(c, path, key, value, e);
}

struct cfg *cfg_copy(const struct cfg_node *n)
{
    struct cfg *c = mem_zalloc(1, sizeof *c);

    c->root = cfg_node_copy(c, cfg_keep_source(c, n->place.source), n);
    return c;
}

void cfg_repeat(struct cfg *c, const char *path, size_t count)
{
    struct cfg_node *n = find_path(c->root, path), *list, all = {.kind = CFG_LIST};

    assert(n != NULL && n->parent != NULL && n->parent->kind == CFG_LIST && count > 0);
    list = n->parent;
    for (size_t i = 0; i < list->count; i++) {
        cfg_node_add(&all, list->items[i]);
        for (size_t k = 1; list->items[i] == n && k < count; k++)
            cfg_node_add(&all, cfg_node_copy(c, n->place.source, n));
    }
    free(list->items);
    list->items = all.items;
    list->count = all.count;
    list->room = all.room;
    for (size_t i = 0; i < list->count; i++)
        list->items[i]->parent = list;
}

/* ---- cfg_dump ---- */

struct text {
    char *bytes;
    size_t used, room;
};

static void append(struct text *t, const char *bytes, size_t count)
{
    if (t->room - t->used < count + 1) {
        t->room = (t->used + count + 1) * 2;
        t->bytes = mem_resize(t->bytes, t->room, 1);
    }
    memcpy(t->bytes + t->used, bytes, count);
    t->used += count;
    t->bytes[t->used] = '\0';
}

static void append_text(struct text *t, const char *text)
{
    append(t, text, strlen(text));
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           c == '_' || c == '/';
}

/* True for text that means itself when written without quotes in a block: words,
 * numbers, paths and sizes such as "4 GiB". Everything else is quoted, which changes no
 * meaning: no number or null looks like that. */
static bool stays_plain(const char *text)
{
    size_t sign = text[0] == '-' || text[0] == '+' || text[0] == '.' ? 1 : 0;

    if (!is_word(text[sign]) && !(sign == 1 && text[0] != '.' && text[1] == '.'))
        return false;
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == ' ' && !is_word(c[1]))
            return false;
        if (!is_word(*c) && strchr(" +-.", *c) == NULL)
            return false;
    }
    return true;
}

/* Decodes one character; the text came out of libyaml, so it is valid UTF-8. */
static unsigned long decode(const char *text, size_t *length)
{
    unsigned char first = (unsigned char)text[0];
    unsigned long code;

    *length = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    code = *length == 1 ? first : first & (0xffUL >> (*length + 1));
    for (size_t i = 1; i < *length; i++)
        code = code << 6 | ((unsigned char)text[i] & 0x3fUL);
    return code;
}

/* Escapes what YAML would fold, drop or refuse: controls, odd spaces and line ends,
 * byte order marks, non-characters. */
static void append_quoted(struct text *t, const char *text)
{
    size_t length;

    append_text(t, "\"");
    for (; *text != '\0'; text += length) {
        unsigned long code = decode(text, &length);
        char escape[16];

        if (code == '"' || code == '\\') {
            append_text(t, "\\");
            append(t, text, 1);
        } else if ((code >= 0x20 && code < 0x7f) || (code > 0xa0 && code < 0x2000) ||
                   (code > 0x206f && code < 0xd800) ||
                   (code >= 0xe000 && code < 0xfe00)) {
            append(t, text, length);
        } else {
            (void)snprintf(escape, sizeof escape,
                           code < 0x10000 ? "\\u%04lX" : "\\U%08lX", code);
            append_text(t, escape);
        }
    }
    append_text(t, "\"");
}

static void append_scalar(struct text *t, const struct cfg_node *n)
{
    if (cfg_is_null(n))
        append_text(t, "null");
    else if (!n->quoted && stays_plain(n->text))
        append_text(t, n->text);
    else
        append_quoted(t, n->text);
}

static void append_key(struct text *t, const char *key)
{
    if (stays_plain(key))
        append_text(t, key);
    else
        append_quoted(t, key);
    append_text(t, ":");
}

/* Writes `n` from the current column on; further lines are indented by `indent`. The
 * depth of a document, and so of this recursion, is bounded. */
static void append_node(struct text *t, const struct cfg_node *n, int indent)
{
    if (n->kind == CFG_SCALAR || n->count == 0) {
        if (n->kind == CFG_SCALAR)
            append_scalar(t, n);
        else
            append_text(t, n->kind == CFG_LIST ? "[]" : "{}");
        append_text(t, "\n");
        return;
    }
    for (size_t i = 0; i < n->count; i++) {
        const struct cfg_node *item = n->items[i];
        bool below = n->kind == CFG_MAP && item->kind != CFG_SCALAR && item->count > 0;

        for (int k = 0; i > 0 && k < indent; k++)
            append_text(t, " ");
        if (n->kind == CFG_MAP)
            append_key(t, item->key);
        else
            append_text(t, "-");
        append_text(t, below ? "\n" : " ");
        for (int k = 0; below && k < indent + 2; k++)
            append_text(t, " ");
        append_node(t, item, indent + 2);
    }
}

char *cfg_dump(const struct cfg *c)
{
    struct text t = {0};

    append_node(&t, c->root, 0);
    return t.bytes;
}
