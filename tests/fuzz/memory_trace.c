#include "memory_trace.h"

#include "sim/base/mem.h"
#include "traces/hdf.h"
#include "traces/trace.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_VALUES = 1 << 16, ATTRIBUTES = 7, TEXTS = 5 };

/* A data set. `values` has bytes for all dimensions. */
struct set {
    const char *name;
    enum hdf_kind kind;
    int rank;
    uint64_t dim[HDF_MAX_RANK];
    uint64_t chunk_rows;
    size_t width;
    bool present;
    unsigned char *values;
};

enum {
    EXPERT,
    SCORE,
    PREDICTED,
    REQUEST,
    POSITION,
    PHASE,
    TOKEN_ID,
    SOURCE,
    FIRST_ROW,
    ROWS,
    GROUP,
    ARRIVAL,
    PROMPT,
    OUTPUT,
    PASS_FIRST,
    PASS_ROW,
    PASS_START,
    MOE_LAYER,
    EXPERT_BYTES,
    GROUP_NAME,
    LOAD,
    SETS
};

static struct set sets[SETS] = {
    [EXPERT] = {.name = "/routing/expert", .kind = HDF_U16, .rank = 3},
    [SCORE] = {.name = "/routing/score", .kind = HDF_F16, .rank = 3},
    [PREDICTED] = {.name = "/routing/predicted", .kind = HDF_U16, .rank = 3},
    [REQUEST] = {.name = "/token/request", .kind = HDF_U32, .rank = 1},
    [POSITION] = {.name = "/token/position", .kind = HDF_U32, .rank = 1},
    [PHASE] = {.name = "/token/phase", .kind = HDF_U8, .rank = 1},
    [TOKEN_ID] = {.name = "/token/token_id", .kind = HDF_I32, .rank = 1},
    [SOURCE] = {.name = "/token/source", .kind = HDF_U16, .rank = 1},
    [FIRST_ROW] = {.name = "/request/first_row", .kind = HDF_U64, .rank = 1},
    [ROWS] = {.name = "/request/rows", .kind = HDF_U32, .rank = 1},
    [GROUP] = {.name = "/request/group", .kind = HDF_U16, .rank = 1},
    [ARRIVAL] = {.name = "/request/arrival_ns", .kind = HDF_I64, .rank = 1},
    [PROMPT] = {.name = "/request/prompt_tokens", .kind = HDF_U32, .rank = 1},
    [OUTPUT] = {.name = "/request/output_tokens", .kind = HDF_U32, .rank = 1},
    [PASS_FIRST] = {.name = "/pass/first", .kind = HDF_U64, .rank = 1},
    [PASS_ROW] = {.name = "/pass/row", .kind = HDF_U64, .rank = 1},
    [PASS_START] = {.name = "/pass/start_ns", .kind = HDF_I64, .rank = 1},
    [MOE_LAYER] = {.name = "/moe_layer", .kind = HDF_U16, .rank = 1},
    [EXPERT_BYTES] = {.name = "/expert_bytes", .kind = HDF_U64, .rank = 1},
    [GROUP_NAME] = {.name = "/group_name", .kind = HDF_TEXT, .rank = 1},
    [LOAD] = {.name = "/load/count", .kind = HDF_U32, .rank = 3},
};

static struct {
    const char *name;
    int64_t value;
    bool present;
} attributes[ATTRIBUTES] = {{"version", 1, true},   {"experts", 0, true},
                            {"top_k", 0, true},     {"candidates", 0, true},
                            {"sorted", 1, true},    {"distance", 1, true},
                            {"score_kind", 0, true}};

static struct {
    const char *name, *value;
} texts[TEXTS] = {{"format", NULL},
                  {"model", NULL},
                  {"source", NULL},
                  {"capture", NULL},
                  {"score_kind", NULL}};

static const char *const kinds[] = {"none", "softmax", "sigmoid", "logit", "odd"};

/* ---- making it ---- */

static size_t kind_width(enum hdf_kind kind)
{
    switch (kind) {
    case HDF_U8:
        return 1;
    case HDF_U16:
    case HDF_F16:
        return 2;
    case HDF_U32:
    case HDF_I32:
        return 4;
    case HDF_U64:
    case HDF_I64:
        return 8;
    case HDF_TEXT:
        break;
    }
    return 5;
}

static size_t set_values(const struct set *s)
{
    size_t values = 1;

    for (int i = 0; i < s->rank; i++)
        values = s->dim[i] > MAX_VALUES ? (size_t)MAX_VALUES * MAX_VALUES
                                        : values * (size_t)s->dim[i];
    return values;
}

static void put(struct set *s, size_t at, int64_t value)
{
    memcpy(s->values + at * s->width, &value, s->width < 8 ? s->width : 8);
}

/* The set with these dimensions and zeros. */
static struct set *set_make(int which, uint64_t rows, uint64_t layers, uint64_t width)
{
    struct set *s = &sets[which];

    s->dim[0] = rows;
    s->dim[1] = layers;
    s->dim[2] = width;
    s->width = kind_width(s->kind);
    s->present = true;
    s->values = mem_zalloc(set_values(s), s->width);
    return s;
}

static void set_free(struct set *s)
{
    free(s->values);
    s->values = NULL;
    s->present = false;
    s->chunk_rows = 0;
}

/* The value that a set has everywhere. */
static void set_fill(int which, uint64_t rows, int64_t value)
{
    struct set *s = set_make(which, rows, 1, 1);

    for (size_t i = 0; i < (size_t)rows; i++)
        put(s, i, value);
}

struct shape {
    uint64_t experts, top_k, candidates, layers, requests, rows; /* rows of each */
    unsigned optional;                                           /* bits */
};

/* Long traces take long. What the fuzzer makes of one is mostly short again, for whether
 * it is long hangs on all bytes. */
static bool is_long(const struct fuzz_bytes *b)
{
    unsigned sum = 0;

    for (size_t i = 0; i < b->left; i++)
        sum += b->next[i];
    return sum % 256 == 7;
}

static struct shape draw_shape(struct fuzz_bytes *b, const struct memory_trace_shape *o)
{
    struct shape s = {.experts = o->experts, .layers = o->layers};
    bool is_lengthy = o->layers == 0 && is_long(b);

    if (s.experts == 0)
        s.experts = 1 + fuzz_choose(b, 20);
    if (s.layers == 0)
        s.layers = 1 + fuzz_choose(b, 4);
    s.top_k = 1 + fuzz_choose(b, s.experts < 4 ? s.experts : 4);
    s.candidates = fuzz_choose(b, 4) == 0 ? s.experts : s.top_k;
    s.requests = 1 + fuzz_choose(b, 4);
    s.rows = 1 + fuzz_choose(b, 6);
    s.optional = (unsigned)fuzz_take(b, 2);
    /* Then columns have several blocks. */
    if (is_lengthy) {
        s.layers = s.top_k = s.candidates = s.requests = 1;
        s.rows = 5000;
    }
    return s;
}

static void make_routing(const struct shape *s)
{
    uint64_t rows = s->requests * s->rows;
    struct set *expert = set_make(EXPERT, rows, s->layers, s->candidates);
    struct set *score = set_make(SCORE, rows, s->layers, s->candidates);
    struct set *predicted = set_make(PREDICTED, rows, s->layers, 1);

    for (size_t cell = 0; cell < (size_t)(rows * s->layers); cell++) {
        for (size_t j = 0; j < s->candidates; j++) {
            put(expert, cell * (size_t)s->candidates + j,
                (int64_t)((cell * 7 + j) % s->experts));
            put(score, cell * (size_t)s->candidates + j, 0x3800 - (int64_t)j);
        }
        put(predicted, cell, (int64_t)(cell % s->experts));
    }
}

static void make_tokens(const struct shape *s)
{
    uint64_t rows = s->requests * s->rows;
    struct set *request = set_make(REQUEST, rows, 1, 1);
    struct set *position = set_make(POSITION, rows, 1, 1);

    set_fill(PHASE, rows, TRACE_DECODE);
    set_fill(TOKEN_ID, rows, 7);
    set_fill(SOURCE, rows, 1);
    for (size_t row = 0; row < (size_t)rows; row++) {
        put(request, row, (int64_t)(row / s->rows));
        put(position, row, (int64_t)(row % s->rows));
        if (row % s->rows < s->rows / 2)
            put(&sets[PHASE], row, TRACE_PREFILL);
    }
}

static void make_requests(const struct shape *s)
{
    uint64_t rows = s->requests * s->rows;
    struct set *first = set_make(FIRST_ROW, s->requests, 1, 1);
    struct set *bound = set_make(PASS_FIRST, s->requests + 1, 1, 1);
    struct set *row = set_make(PASS_ROW, rows, 1, 1);

    set_fill(ROWS, s->requests, (int64_t)s->rows);
    set_fill(GROUP, s->requests, 0);
    set_fill(ARRIVAL, s->requests, 5);
    set_fill(PROMPT, s->requests, (int64_t)(s->rows / 2));
    set_fill(OUTPUT, s->requests, (int64_t)(s->rows - s->rows / 2));
    set_fill(PASS_START, s->requests, 5);
    for (size_t i = 0; i < (size_t)s->requests; i++)
        put(first, i, (int64_t)(i * s->rows));
    for (size_t i = 0; i <= (size_t)s->requests; i++)
        put(bound, i, (int64_t)(i * s->rows));
    for (size_t i = 0; i < (size_t)rows; i++)
        put(row, i, (int64_t)i);
}

static void make_good(const struct shape *s, const char *model)
{
    static const int optional[] = {SCORE,      PREDICTED,  TOKEN_ID,     SOURCE,
                                   PASS_FIRST, GROUP_NAME, EXPERT_BYTES, LOAD};
    struct set *layer = set_make(MOE_LAYER, s->layers, 1, 1);

    make_routing(s);
    make_tokens(s);
    make_requests(s);
    set_fill(EXPERT_BYTES, s->layers, 1000);
    set_fill(GROUP_NAME, 2, 0x61);
    (void)set_make(LOAD, 3, s->layers, s->experts);
    for (size_t l = 0; l < (size_t)s->layers; l++)
        put(layer, l, (int64_t)l);
    for (size_t i = 0; i < sizeof optional / sizeof optional[0]; i++)
        sets[optional[i]].present = (s->optional >> i & 1) != 0;
    sets[PASS_ROW].present = sets[PASS_START].present = sets[PASS_FIRST].present;
    /* Some are counts alone; nothing has both. */
    sets[LOAD].present =
        sets[LOAD].present && sets[GROUP_NAME].present && sets[EXPERT_BYTES].present;
    for (int i = 0; i <= PASS_START && sets[LOAD].present; i++)
        sets[i].present = false;
    for (int i = 0; i < ATTRIBUTES; i++)
        attributes[i].present = true;
    attributes[0].value = 1;
    attributes[1].value = (int64_t)s->experts;
    attributes[2].value = (int64_t)s->top_k;
    attributes[3].value = (int64_t)s->candidates;
    attributes[4].value = 1;
    attributes[5].value = 1;
    texts[0].value = "moesim-trace";
    texts[1].value = model;
    texts[2].value = texts[3].value = "fuzz";
    texts[4].value = kinds[sets[SCORE].present ? 1 + s->optional / 256 % 3 : 0];
}

/* ---- changing it ---- */

/* Another type or shape, with zeros for what is new. */
static void change_shape(struct set *s, struct fuzz_bytes *b)
{
    struct set old = *s;
    size_t before = set_values(s) * s->width, after;

    switch (fuzz_choose(b, 4)) {
    case 0:
        s->kind = (enum hdf_kind)fuzz_choose(b, HDF_TEXT + 1);
        break;
    case 1:
        s->rank = 1 + (int)fuzz_choose(b, HDF_MAX_RANK);
        break;
    case 2:
        s->chunk_rows = fuzz_choose(b, 9);
        break;
    default:
        s->dim[fuzz_choose(b, HDF_MAX_RANK)] = (uint64_t)fuzz_value(b);
    }
    s->width = kind_width(s->kind);
    for (int i = 0; i < HDF_MAX_RANK; i++)
        if (s->dim[i] > MAX_VALUES)
            s->dim[i] = 3;
    if (set_values(s) > MAX_VALUES)
        *s = old;
    after = set_values(s) * s->width;
    s->values = mem_resize(s->values, after + 1, 1);
    if (after > before)
        memset(s->values + before, 0, after - before);
    s->present = true;
}

static void change(struct fuzz_bytes *b)
{
    struct set *s = &sets[fuzz_choose(b, SETS)];
    size_t values = set_values(s), at;

    switch (fuzz_choose(b, 8)) {
    case 0:
        at = fuzz_choose(b, ATTRIBUTES);
        attributes[at].value = fuzz_value(b);
        attributes[at].present = fuzz_choose(b, 16) != 15;
        break;
    case 1:
        change_shape(s, b);
        break;
    case 2:
        s->present = !s->present;
        break;
    case 3:
        texts[4].value = kinds[fuzz_choose(b, 5)];
        break;
    default:
        at = (size_t)fuzz_take(b, values > 256 ? 2 : 1);
        if (values > 0)
            put(s, at % values, fuzz_value(b));
    }
}

void memory_trace_make(struct fuzz_bytes *b, const struct memory_trace_shape *shape)
{
    static struct set first[SETS];
    struct shape s;

    if (first[0].name == NULL)
        memcpy(first, sets, sizeof first);
    for (int i = 0; i < SETS; i++)
        set_free(&sets[i]);
    memcpy(sets, first, sizeof sets);
    s = draw_shape(b, shape);
    make_good(&s, shape->model);
    for (int i = 0; i < 16 && b->left > 0 && fuzz_choose(b, 8) != 7; i++)
        change(b);
}

/* ---- what traces/hdf.h promises ---- */

void hdf_enter(void)
{
}

void hdf_leave(void)
{
}

hid_t hdf_file_open(const char *path, struct err *e)
{
    (void)path;
    (void)e;
    /* That this is no file of its own the library need not say. */
    (void)H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    return 1;
}

static struct set *find_set(const char *name)
{
    for (int i = 0; i < SETS; i++)
        if (strcmp(sets[i].name, name) == 0)
            return &sets[i];
    return NULL;
}

/* A data set, or a group of any. */
bool hdf_exists(hid_t file, const char *name)
{
    size_t length = strlen(name);

    (void)file;
    for (int i = 0; i < SETS; i++)
        if (sets[i].present && strncmp(sets[i].name, name, length) == 0 &&
            (sets[i].name[length] == '\0' || sets[i].name[length] == '/'))
            return true;
    return false;
}

int hdf_check_link(hid_t file, const char *path, const char *name, struct err *e)
{
    (void)file;
    (void)path;
    (void)name;
    (void)e;
    return 0;
}

int hdf_set_open(struct hdf_set *s, hid_t file, const char *path, const char *name,
                 enum hdf_kind kind, int rank, struct err *e)
{
    const struct set *from = find_set(name);

    *s = (struct hdf_set){
        .id = -1, .memory_type = -1, .path = path, .name = name, .kind = kind};
    (void)file;
    if (from == NULL || !from->present || from->kind != kind || from->rank != rank)
        return err_set(e, "%s: %s is missing, or of another type or rank", path, name);
    for (int i = 0; i < rank; i++) {
        if (from->dim[i] == 0)
            return err_set(e, "%s: %s is empty", path, name);
        s->dim[i] = from->dim[i];
    }
    s->id = (hid_t)(from - sets);
    s->rank = rank;
    s->chunk_rows = from->chunk_rows;
    s->width = s->row_bytes = from->width;
    for (int i = 1; i < rank; i++)
        s->row_bytes *= (size_t)from->dim[i];
    return 0;
}

int hdf_set_read(const struct hdf_set *s, uint64_t first, uint64_t count, void *values,
                 struct err *e)
{
    (void)e;
    fuzz_require(s->id >= 0 && first <= s->dim[0] && count <= s->dim[0] - first);
    if (count > 0)
        memcpy(values, sets[s->id].values + (size_t)first * s->row_bytes,
               (size_t)count * s->row_bytes);
    return 0;
}

int hdf_set_close(struct hdf_set *s)
{
    s->id = -1;
    return 0;
}

int hdf_attribute_int(hid_t file, const char *path, const char *name,
                      const char *attribute, int64_t low, int64_t high, int64_t *value,
                      struct err *e)
{
    (void)file;
    for (int i = 0; i < ATTRIBUTES; i++) {
        if (!attributes[i].present || strcmp(attributes[i].name, attribute) != 0)
            continue;
        *value = attributes[i].value;
        return *value >= low && *value <= high
                   ? 0
                   : err_set(e, "%s: attribute %s of %s is out of range", path, attribute,
                             name);
    }
    return err_set(e, "%s: attribute %s of %s is missing", path, attribute, name);
}

char *hdf_attribute_text(hid_t file, const char *path, const char *attribute,
                         struct err *e)
{
    (void)file;
    for (int i = 0; i < TEXTS; i++)
        if (strcmp(texts[i].name, attribute) == 0)
            return mem_strdup(texts[i].value);
    (void)err_set(e, "%s: attribute %s of / is missing", path, attribute);
    return NULL;
}
