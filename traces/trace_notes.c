#include "trace_notes.h"

#include "sim/base/mem.h"

#include "half.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* Of a row: fewer are 0 to k - 1 by chance. python/moesim/filled.py has the same. */
    UNFILLED_VALUES_MIN = 8,
    CONSTANT_ROWS_MIN = 16, /* of a layer */
    EQUAL_SCORES_MIN = 16,  /* of a trace */
    /* Mean over experts: chance leaves one out in e^-16 of traces. */
    USES_OF_EXPERT_MIN = 16,
};

struct trace_notes {
    const struct trace_info *info;
    uint64_t rows;
    uint64_t positions_0;

    uint64_t unfilled, first_unfilled; /* rows of 0 to k - 1 */

    uint64_t *recorded; /* (layer): cells */
    uint16_t *list;     /* (layer, k): what its first recorded cell executed */
    bool *changes;      /* (layer): another did otherwise */

    uint64_t ids; /* recorded */
    uint16_t highest;

    uint64_t scores; /* of recorded candidates */
    uint16_t score;  /* the first of them */
    bool scores_differ;
};

struct trace_notes *trace_notes_new(const struct trace_info *info)
{
    struct trace_notes *n = mem_zalloc(1, sizeof *n);

    n->info = info;
    n->recorded = mem_zalloc(info->layers, sizeof *n->recorded);
    n->list = mem_zalloc((size_t)info->layers * info->top_k, sizeof *n->list);
    n->changes = mem_zalloc(info->layers, sizeof *n->changes);
    return n;
}

void trace_notes_free(struct trace_notes *n)
{
    if (n == NULL)
        return;
    free(n->recorded);
    free(n->list);
    free(n->changes);
    free(n);
}

/* ---- seeing ---- */

static bool counts_up(const uint16_t *cell, uint32_t k)
{
    for (uint32_t i = 0; i < k; i++)
        if (cell[i] != i)
            return false;
    return true;
}

static void see_ids(struct trace_notes *n, const uint16_t *cell)
{
    for (uint32_t i = 0; i < n->info->candidates; i++)
        if (cell[i] != TRACE_NOT_RECORDED) {
            n->ids++;
            if (cell[i] > n->highest)
                n->highest = cell[i];
        }
}

static void see_cell(struct trace_notes *n, uint32_t layer, const uint16_t *cell)
{
    uint32_t k = n->info->top_k;
    uint16_t *list = n->list + (size_t)layer * k;

    if (cell[0] == TRACE_NOT_RECORDED)
        return;
    if (n->recorded[layer]++ == 0)
        memcpy(list, cell, k * sizeof *list);
    else if (!n->changes[layer])
        n->changes[layer] = memcmp(list, cell, k * sizeof *list) != 0;
    see_ids(n, cell);
}

static void see_row(struct trace_notes *n, uint64_t row, const uint16_t *expert)
{
    const struct trace_info *info = n->info;
    bool unfilled = true;

    for (uint32_t l = 0; l < info->layers; l++, expert += info->candidates) {
        unfilled = unfilled && counts_up(expert, info->top_k);
        see_cell(n, l, expert);
    }
    if (unfilled && n->unfilled++ == 0)
        n->first_unfilled = row;
}

static void see_scores(struct trace_notes *n, const uint16_t *expert,
                       const uint16_t *score, uint64_t values)
{
    for (uint64_t i = 0; i < values; i++) {
        if (expert[i] == TRACE_NOT_RECORDED)
            continue;
        if (n->scores++ == 0)
            n->score = score[i];
        n->scores_differ |= score[i] != n->score;
    }
}

void trace_notes_see(void *notes, const struct trace_rows *rows)
{
    struct trace_notes *n = notes;
    size_t width = (size_t)n->info->layers * n->info->candidates;

    for (uint64_t i = 0; i < rows->count; i++) {
        n->positions_0 += rows->token[i].position == 0;
        see_row(n, rows->first + i, rows->expert + (size_t)i * width);
    }
    n->rows += rows->count;
    if (rows->score != NULL && !n->scores_differ)
        see_scores(n, rows->expert, rows->score, rows->count * width);
}

/* ---- telling ---- */

static char *note_unfilled(const struct trace_notes *n)
{
    const struct trace_info *info = n->info;

    if (n->unfilled == 0 || info->layers * info->top_k < UNFILLED_VALUES_MIN ||
        info->top_k == info->experts)
        return NULL;
    return mem_format("/routing/expert lists experts 0 to %" PRIu32
                      " in every layer of %" PRIu64 " of %" PRIu64
                      " rows, the first of them row %" PRIu64
                      "; if they were not captured, write 65535",
                      info->top_k - 1, n->unfilled, n->rows, n->first_unfilled);
}

static char *note_constant(const struct trace_notes *n)
{
    const struct trace_info *info = n->info;
    uint32_t constant = 0, first = 0;

    for (uint32_t l = info->layers; l-- > 0;)
        if (!n->changes[l] && n->recorded[l] >= CONSTANT_ROWS_MIN) {
            first = l;
            constant++;
        }
    if (constant == 0 || info->top_k == info->experts)
        return NULL;
    return mem_format("/routing/expert lists the same experts in all rows of %" PRIu32
                      " of %" PRIu32 " layers, the first of them layer %" PRIu32
                      "; leave out layers that were not captured or have no experts",
                      constant, info->layers, first);
}

static char *note_scores(const struct trace_notes *n)
{
    if (n->scores < EQUAL_SCORES_MIN || n->scores_differ || n->info->candidates == 1)
        return NULL;
    return mem_format("/routing/score: all %" PRIu64
                      " scores are %g; if they were not captured, leave the data set out "
                      "and set score_kind to none",
                      n->scores, (double)half_to_float(n->score));
}

static char *note_positions(const struct trace_notes *n)
{
    if (n->rows < 2 || n->positions_0 < n->rows)
        return NULL;
    return mem_format("/token/position: all %" PRIu64
                      " positions are 0; write where in its sequence each token is",
                      n->rows);
}

/* Which experts are used differs from layer to layer, so that one which no layer uses is
 * one that is not there. */
static char *note_unused(const struct trace_notes *n)
{
    uint32_t last = n->info->experts - 1;

    if (n->ids < (uint64_t)USES_OF_EXPERT_MIN * n->info->experts || n->highest == last)
        return NULL;
    return mem_format("/routing/expert: no layer uses an expert above %u; is attribute "
                      "experts (%" PRIu32 ") right?",
                      (unsigned)n->highest, n->info->experts);
}

static char *note_nothing(const struct trace_notes *n)
{
    return n->rows == 0 || n->ids > 0
               ? NULL
               : mem_strdup("/routing/expert: no cell of it was recorded (65535 "
                            "everywhere); record again with the capture of routing "
                            "switched on");
}

size_t trace_notes_write(const struct trace_notes *n, char *note[TRACE_NOTES_MAX])
{
    static char *(*const tell[TRACE_NOTES_MAX])(const struct trace_notes *n) = {
        note_nothing, note_unfilled, note_constant,
        note_unused,  note_scores,   note_positions,
    };
    size_t count = 0;

    for (size_t i = 0; i < TRACE_NOTES_MAX; i++) {
        note[count] = tell[i](n);
        count += note[count] != NULL;
    }
    return count;
}
