/* YAML text into nodes, by libyaml's events. Aliases are copies of what their anchors are
 * (config_alias.c). What else YAML allows beyond plain values, keys and lists (tags,
 * several documents) is refused: it would make a configuration that means something else
 * than it says. */
#include "config_node.h"

#include "file.h"
#include "mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

struct reader {
    yaml_parser_t yaml;
    struct cfg *doc;
    const char *source;
    bool located;
    const char *text;
    size_t size;
    size_t depth;
    struct cfg_node *root;
    struct cfg_node *open; /* innermost list or mapping that is not closed yet */
    char *key;             /* owned: read, and waiting for its value */
    bool merges;           /* that key is a plain "<<" */
    struct cfg_anchors anchors;
    struct cfg_place keyed;
    bool started; /* a document has begun */
    struct err *e;
};

static struct cfg_place place_of(const struct reader *r, yaml_mark_t mark)
{
    struct cfg_place place = {.source = r->source};

    if (r->located) {
        place.line = (int)mark.line + 1;
        place.column = (int)mark.column + 1;
    }
    return place;
}

/* libyaml gives only a byte offset for what is wrong with the encoding. Columns count
 * characters, so continuation bytes do not count. */
static yaml_mark_t mark_of_offset(const struct reader *r, size_t offset)
{
    yaml_mark_t mark = {0};

    for (size_t i = 0; i < offset && i < r->size; i++) {
        if (r->text[i] == '\n') {
            mark.line++;
            mark.column = 0;
        } else if (((unsigned char)r->text[i] & 0xc0) != 0x80) {
            mark.column++;
        }
    }
    return mark;
}

static bool tab_at(const struct reader *r, yaml_mark_t mark)
{
    size_t at = 0, column = mark.column;

    for (size_t line = mark.line; line > 0 && at < r->size; line--) {
        const char *end = memchr(r->text + at, '\n', r->size - at);

        if (end == NULL)
            return false;
        at = (size_t)(end - r->text) + 1;
    }
    /* A tab in the indentation has only ASCII before it, so bytes are columns. */
    return at + column < r->size && r->text[at + column] == '\t';
}

static int syntax_error(struct reader *r)
{
    const yaml_parser_t *y = &r->yaml;
    const char *context = y->context == NULL ? "" : y->context;
    struct cfg_place place = place_of(r, y->problem_mark);

    if (y->error == YAML_MEMORY_ERROR)
        return cfg_error_at(place, r->e, "out of memory; make the file smaller");
    if (y->error == YAML_READER_ERROR) {
        place = place_of(r, mark_of_offset(r, y->problem_offset));
        return cfg_error_at(place, r->e, "%s (0x%02x); the file must be UTF-8 text",
                            y->problem, (unsigned)y->problem_value);
    }
    if (tab_at(r, y->problem_mark))
        return cfg_error_at(place, r->e, "a tab stands here; YAML wants spaces");
    if (r->located && context[0] != '\0' && y->context_mark.line != y->problem_mark.line)
        return cfg_error_at(place, r->e, "not valid YAML: %s %s that began in line %d",
                            y->problem, context, (int)y->context_mark.line + 1);
    return cfg_error_at(place, r->e, "not valid YAML: %s%s%s", y->problem,
                        context[0] == '\0' ? "" : " ", context);
}

static int compare_keys(const void *a, const void *b)
{
    const struct cfg_node *x = *(const struct cfg_node *const *)a;
    const struct cfg_node *y = *(const struct cfg_node *const *)b;
    int order = strcmp(x->key, y->key);

    if (order != 0)
        return order;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* Sorting keeps a mapping of a million keys cheap. The first repetition is reported. */
static int refuse_duplicates(struct reader *r, const struct cfg_node *map)
{
    const struct cfg_node *first = NULL, *again = NULL;
    const struct cfg_node **sorted;

    if (map->count < 2)
        return 0;
    sorted = mem_alloc(map->count, sizeof *sorted);
    for (size_t i = 0; i < map->count; i++)
        sorted[i] = map->items[i];
    qsort(sorted, map->count, sizeof *sorted, compare_keys);
    for (size_t i = 1; i < map->count; i++) {
        if (strcmp(sorted[i - 1]->key, sorted[i]->key) == 0 &&
            (again == NULL || sorted[i]->index < again->index)) {
            first = sorted[i - 1];
            again = sorted[i];
        }
    }
    free(sorted);
    if (again == NULL)
        return 0;
    if (!r->located)
        return cfg_error_at(again->keyed, r->e, "key '%s' is given twice",
                            cfg_show(again->key, 48).text);
    return cfg_error_at(again->keyed, r->e, "key '%s' is given already in line %d%s",
                        cfg_show(again->key, 48).text, first->keyed.line,
                        cfg_show_path(map).text);
}

static int take_key(struct reader *r, const yaml_event_t *event)
{
    struct cfg_place place = place_of(r, event->start_mark);
    const char *text = (const char *)event->data.scalar.value;

    if (text[0] == '\0')
        return cfg_error_at(place, r->e, "a key is empty; give it a name");
    if (event->data.scalar.anchor != NULL)
        return cfg_error_at(place, r->e,
                            "anchor '&%s' stands at a key; put it before the value",
                            cfg_show((const char *)event->data.scalar.anchor, 48).text);
    if (strlen(text) > CFG_KEY_MAX)
        return cfg_error_at(place, r->e, "key '%s' is longer than %zu bytes",
                            cfg_show(text, 32).text, CFG_KEY_MAX);
    r->key = mem_strdup(text);
    r->keyed = place;
    r->merges =
        event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && strcmp(text, "<<") == 0;
    return 0;
}

/* Puts a node below what is open, under the key that waits for it. */
static void hang(struct reader *r, struct cfg_node *n)
{
    if (r->open == NULL) {
        r->root = n;
        return;
    }
    if (r->open->kind == CFG_MAP) {
        n->key = r->key;
        n->keyed = r->keyed;
        n->merges = r->merges;
        r->key = NULL;
    }
    cfg_node_add(r->open, n);
}

static const char *anchor_of(const yaml_event_t *event)
{
    const yaml_char_t *anchor =
        event->type == YAML_SCALAR_EVENT           ? event->data.scalar.anchor
        : event->type == YAML_SEQUENCE_START_EVENT ? event->data.sequence_start.anchor
        : event->type == YAML_MAPPING_START_EVENT  ? event->data.mapping_start.anchor
                                                   : NULL;

    return (const char *)anchor;
}

static int add_node(struct reader *r, const yaml_event_t *event, enum cfg_kind kind)
{
    struct cfg_place place = place_of(r, event->start_mark);
    struct cfg_node *n;

    if (r->doc->values == CFG_VALUES_MAX)
        return cfg_error_at(place, r->e, "more than %zu values; make the file smaller",
                            CFG_VALUES_MAX);
    n = cfg_node_new(r->doc, kind, place);
    if (kind == CFG_SCALAR) {
        n->text = mem_strdup((const char *)event->data.scalar.value);
        n->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    }
    hang(r, n);
    if (anchor_of(event) != NULL)
        cfg_anchor_set(&r->anchors, anchor_of(event), n);
    if (kind != CFG_SCALAR)
        r->open = n;
    return 0;
}

static int take_alias(struct reader *r, const yaml_event_t *event)
{
    const char *name = (const char *)event->data.alias.anchor;
    struct cfg_place place = place_of(r, event->start_mark);
    struct cfg_node *n;

    if (r->open != NULL && r->open->kind == CFG_MAP && r->key == NULL)
        return cfg_error_at(place, r->e, "a key is an alias; give it a name");
    n = cfg_alias(&r->anchors, r->doc, name, r->open, r->depth, place, r->e);
    if (n == NULL)
        return -1;
    hang(r, n);
    return 0;
}

static int take_scalar(struct reader *r, const yaml_event_t *event)
{
    const char *text = (const char *)event->data.scalar.value;

    if (strlen(text) != event->data.scalar.length)
        return cfg_error_at(place_of(r, event->start_mark), r->e,
                            "this text holds a NUL character; remove it");
    if (r->open != NULL && r->open->kind == CFG_MAP && r->key == NULL)
        return take_key(r, event);
    return add_node(r, event, CFG_SCALAR);
}

static int open_collection(struct reader *r, const yaml_event_t *event,
                           enum cfg_kind kind)
{
    struct cfg_place place = place_of(r, event->start_mark);

    if (r->open != NULL && r->open->kind == CFG_MAP && r->key == NULL)
        return cfg_error_at(place, r->e, "a key is a list or mapping; give it a name");
    if (r->depth == CFG_DEPTH_MAX)
        return cfg_error_at(place, r->e, "nested deeper than %zu levels", CFG_DEPTH_MAX);
    r->depth++;
    return add_node(r, event, kind);
}

static int close_collection(struct reader *r)
{
    struct cfg_node *closed = r->open;

    r->depth--;
    r->open = closed->parent;
    if (closed->kind != CFG_MAP)
        return 0;
    return refuse_duplicates(r, closed) == 0 ? cfg_merge(closed, r->e) : -1;
}

static int refuse_extras(struct reader *r, const yaml_event_t *event)
{
    const yaml_char_t *tag = NULL;

    if (event->type == YAML_SCALAR_EVENT)
        tag = event->data.scalar.tag;
    else if (event->type == YAML_SEQUENCE_START_EVENT)
        tag = event->data.sequence_start.tag;
    else if (event->type == YAML_MAPPING_START_EVENT)
        tag = event->data.mapping_start.tag;
    if (tag != NULL)
        return cfg_error_at(place_of(r, event->start_mark), r->e,
                            "tag '%s' is not supported; remove it",
                            cfg_show((const char *)tag, 48).text);
    return 0;
}

/* -1: refused, 1: that was the last event. */
static int take_event(struct reader *r, const yaml_event_t *event)
{
    if (refuse_extras(r, event) != 0)
        return -1;
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (r->started)
            return cfg_error_at(place_of(r, event->start_mark), r->e,
                                "a second document begins here; keep one per file");
        r->started = true;
        return 0;
    case YAML_ALIAS_EVENT:
        return take_alias(r, event);
    case YAML_SCALAR_EVENT:
        return take_scalar(r, event);
    case YAML_SEQUENCE_START_EVENT:
        return open_collection(r, event, CFG_LIST);
    case YAML_MAPPING_START_EVENT:
        return open_collection(r, event, CFG_MAP);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        return close_collection(r);
    case YAML_STREAM_END_EVENT:
        return 1;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        break;
    }
    return 0;
}

static int read_events(struct reader *r)
{
    int status = 0;

    while (status == 0) {
        yaml_event_t event;

        if (!yaml_parser_parse(&r->yaml, &event))
            return syntax_error(r);
        status = take_event(r, &event);
        yaml_event_delete(&event);
    }
    return status < 0 ? -1 : 0;
}

struct cfg_node *cfg_read(struct cfg *c, const char *source, bool located,
                          const char *text, size_t size, size_t depth, struct err *e)
{
    struct reader r = {.doc = c,
                       .source = source,
                       .located = located,
                       .text = text,
                       .size = size,
                       .depth = depth,
                       .e = e};
    int status;

    if (!yaml_parser_initialize(&r.yaml)) {
        (void)cfg_error_at(place_of(&r, r.yaml.mark), e, "out of memory");
        return NULL;
    }
    yaml_parser_set_encoding(&r.yaml, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.yaml, (const unsigned char *)text, size);
    status = read_events(&r);
    yaml_parser_delete(&r.yaml);
    free(r.key);
    cfg_anchors_release(&r.anchors);
    if (status != 0)
        return NULL;
    if (r.root == NULL) {
        r.root = cfg_node_new(c, CFG_SCALAR, (struct cfg_place){.source = source});
        r.root->text = mem_strdup("");
    }
    return r.root;
}

struct cfg *cfg_parse(const char *name, const char *text, size_t size, struct err *e)
{
    struct cfg *c = mem_zalloc(1, sizeof *c);
    struct cfg_place whole = {.source = cfg_keep_source(c, name)};

    if (size > CFG_SIZE_MAX)
        (void)cfg_error_at(whole, e, "%zu bytes long; a configuration has at most %zu",
                           size, CFG_SIZE_MAX);
    else
        c->root = cfg_read(c, whole.source, true, text, size, 0, e);
    if (c->root != NULL && cfg_is_null(c->root)) {
        (void)cfg_error_at(whole, e, "the file is empty; expected keys and values");
        c->root = NULL;
    }
    if (c->root == NULL) {
        cfg_free(c);
        return NULL;
    }
    return c;
}

struct cfg *cfg_load(const char *path, struct err *e)
{
    struct cfg *c;
    size_t size;
    char *text = file_read(path, CFG_SIZE_MAX, &size, e);

    if (text == NULL)
        return NULL;
    c = cfg_parse(path, text, size, e);
    free(text);
    return c;
}
