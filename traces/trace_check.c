#include "trace_state.h"

#include "half.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#define PAIRWISE_MAX 8 /* candidates compared pair by pair; above, through `seen` */

/* ---- expert ids ---- */

/* What is wrong with the ids of one (row, layer), found slowly, or 0 if nothing is. */
static int explain_ids(struct trace *t, const char *name, uint64_t row, uint32_t layer,
                       const uint16_t *id, uint32_t width, struct err *e)
{
    for (uint32_t i = 0; i < width; i++) {
        if (id[i] == TRACE_NOT_RECORDED)
            continue;
        if (id[i] >= t->info.experts)
            return err_set(e,
                           "%s: %s, row %" PRIu64 ", layer %" PRIu32 ": expert %u is not "
                           "below %" PRIu32 " (attribute experts)",
                           t->path, name, row, layer, (unsigned)id[i], t->info.experts);
        if (i > 0 && id[i - 1] == TRACE_NOT_RECORDED)
            return err_set(e,
                           "%s: %s, row %" PRIu64 ", layer %" PRIu32
                           ": expert %u follows "
                           "one that was not recorded; 65535 may only end a list",
                           t->path, name, row, layer, (unsigned)id[i]);
        for (uint32_t j = 0; j < i; j++)
            if (id[j] == id[i])
                return err_set(e,
                               "%s: %s, row %" PRIu64 ", layer %" PRIu32 ": expert %u "
                               "occurs twice",
                               t->path, name, row, layer, (unsigned)id[i]);
    }
    return 0;
}

/* Whether all lists are whole and right. Without branches, and so quick where the width
 * is known to the compiler. */
static inline bool few_are_good(const uint16_t *id, uint64_t cells, uint32_t width,
                                uint32_t experts)
{
    uint16_t top = (uint16_t)(experts - 1); /* experts are at most TRACE_MAX_EXPERTS */
    uint16_t bad = 0;

    for (uint64_t cell = 0; cell < cells; cell++, id += width)
        for (uint32_t i = 0; i < width; i++) {
            bad |= id[i] > top;
            for (uint32_t j = 0; j < i; j++)
                bad |= id[j] == id[i];
        }
    return bad == 0;
}

/* Lists of four and eight, the most common ones, are taken as numbers of four digits of
 * 16 bits. A digit is zero if its top bit is set in (x - ones) & ~x and, below the lowest
 * such digit, only then: so there is one exactly if any top bit is set. */
static const uint64_t ones = UINT64_C(0x0001000100010001);
static const uint64_t tops = UINT64_C(0x8000800080008000);

/* Top bits are set where a digit of `a` equals the one of `b` at its place. */
static inline uint64_t find_equal(uint64_t a, uint64_t b)
{
    uint64_t x = a ^ b;

    return (x - ones) & ~x;
}

static inline uint64_t rotate(uint64_t x, int digits)
{
    return x << 16 * digits | x >> (64 - 16 * digits);
}

/* ... if a digit is not below `experts`; `up` brings that number to the top bit. */
static inline uint64_t find_large(uint64_t x, uint64_t up)
{
    return x | ((x & ~tops) + up);
}

/* ... if two digits are equal: neighbours, or those two apart. */
static inline uint64_t find_twice(uint64_t x)
{
    return find_equal(x, rotate(x, 1)) | find_equal(x, rotate(x, 2));
}

static bool fours_are_good(const uint16_t *id, uint64_t cells, uint32_t experts)
{
    const uint64_t up = ones * (0x8000u - experts);
    uint64_t bad = 0;

    for (uint64_t cell = 0; cell < cells; cell++, id += 4) {
        uint64_t x;

        memcpy(&x, id, sizeof x);
        bad |= find_large(x, up) | find_twice(x);
    }
    return (bad & tops) == 0;
}

static bool eights_are_good(const uint16_t *id, uint64_t cells, uint32_t experts)
{
    const uint64_t up = ones * (0x8000u - experts);
    uint64_t bad = 0;

    for (uint64_t cell = 0; cell < cells; cell++, id += 8) {
        uint64_t x[2];

        memcpy(x, id, sizeof x);
        bad |= find_large(x[0], up) | find_large(x[1], up);
        bad |= find_twice(x[0]) | find_twice(x[1]) | find_equal(x[0], x[1]);
        for (int digits = 1; digits < 4; digits++)
            bad |= find_equal(x[0], rotate(x[1], digits));
    }
    return (bad & tops) == 0;
}

static bool narrow_are_good(const uint16_t *id, uint64_t cells, uint32_t width,
                            uint32_t experts)
{
    switch (width) {
    case 1:
        return few_are_good(id, cells, 1, experts);
    case 2:
        return few_are_good(id, cells, 2, experts);
    case 4:
        return fours_are_good(id, cells, experts);
    case 8:
        return eights_are_good(id, cells, experts);
    default:
        return few_are_good(id, cells, width, experts);
    }
}

static bool many_are_good(struct trace *t, const uint16_t *id, uint32_t width)
{
    if (++t->cell == 0) { /* the numbers are used up: start over */
        memset(t->seen, 0, t->info.experts * sizeof t->seen[0]);
        t->cell = 1;
    }
    for (uint32_t i = 0; i < width; i++) {
        if (id[i] >= t->info.experts || t->seen[id[i]] == t->cell)
            return false;
        t->seen[id[i]] = t->cell;
    }
    return true;
}

static int check_ids(struct trace *t, const char *name, uint64_t first, uint64_t count,
                     const uint16_t *id, uint32_t width, struct err *e)
{
    if (width <= PAIRWISE_MAX &&
        narrow_are_good(id, count * t->info.layers, width, t->info.experts))
        return 0;
    for (uint64_t row = first; row < first + count; row++)
        for (uint32_t layer = 0; layer < t->info.layers; layer++, id += width)
            if ((width <= PAIRWISE_MAX || !many_are_good(t, id, width)) &&
                explain_ids(t, name, row, layer, id, width, e) != 0)
                return -1;
    return 0;
}

int trace_check_expert(struct trace *t, uint64_t first, uint64_t count,
                       const uint16_t *expert, struct err *e)
{
    return check_ids(t, "/routing/expert", first, count, expert, t->info.candidates, e);
}

int trace_check_predicted(struct trace *t, uint64_t first, uint64_t count,
                          const uint16_t *expert, struct err *e)
{
    return check_ids(t, "/routing/predicted", first, count, expert, t->info.predicted, e);
}

/* ---- scores ---- */

/* Whether a comes before b where scores descend. A zero ends the recorded candidates. */
static inline bool descends(uint16_t a, uint16_t b)
{
    return (int)(half_order(b) == 0) | (int)(half_order(a) >= half_order(b));
}

/* Whether all logits are finite and, where they must, descend in every cell: without
 * branches, so that compilers make vectors of it. */
static bool logits_are_good(const uint16_t *score, uint64_t values, uint32_t width,
                            bool sorted)
{
    uint16_t bad = 0;

    for (uint64_t i = 0; i < values; i++)
        bad |= (score[i] & 0x7fffu) >= HALF_INFINITY;
    for (uint64_t i = 0; i < values && sorted; i += width)
        for (uint32_t j = 1; j < width; j++)
            bad |= !descends(score[i + j - 1], score[i + j]);
    return bad == 0;
}

static int explain_score(const struct trace *t, uint64_t value, uint64_t first,
                         const uint16_t *score, struct err *e)
{
    uint64_t cell = value / t->info.candidates;
    uint64_t row = first + cell / t->info.layers;
    uint64_t layer = cell % t->info.layers;
    uint16_t half = score[value];

    if ((half & 0x7fffu) >= HALF_INFINITY)
        return err_set(e,
                       "%s: /routing/score, row %" PRIu64 ", layer %" PRIu64
                       ": a score is "
                       "not a finite number",
                       t->path, row, layer);
    if (t->info.score_kind != TRACE_SCORE_LOGIT && (half > HALF_ONE && half != 0x8000u))
        return err_set(e,
                       "%s: /routing/score, row %" PRIu64 ", layer %" PRIu64
                       ": score %g is "
                       "not in [0, 1], as attribute score_kind says",
                       t->path, row, layer, (double)half_to_float(half));
    return err_set(e,
                   "%s: /routing/score, row %" PRIu64 ", layer %" PRIu64
                   ": the scores do "
                   "not descend; set attribute sorted to 0 or sort the candidates",
                   t->path, row, layer);
}

int trace_check_score(struct trace *t, uint64_t first, uint64_t count,
                      const uint16_t *score, struct err *e)
{
    uint32_t width = t->info.candidates;
    uint64_t values = count * t->info.layers * width;
    bool logit = t->info.score_kind == TRACE_SCORE_LOGIT;

    if (logit && logits_are_good(score, values, width, t->info.sorted))
        return 0;
    for (uint64_t i = 0; i < values; i++) {
        uint16_t half = score[i];

        if (logit ? (half & 0x7fffu) >= HALF_INFINITY
                  : half > HALF_ONE && half != 0x8000u)
            return explain_score(t, i, first, score, e);
    }
    if (!t->info.sorted)
        return 0;
    for (uint64_t i = 0; i < values; i += width)
        for (uint32_t j = 1; j < width; j++) {
            /* Halves that are not negative order as their bits do. */
            bool good = logit ? descends(score[i + j - 1], score[i + j])
                              : (score[i + j - 1] & 0x7fffu) >= (score[i + j] & 0x7fffu);

            if (!good)
                return explain_score(t, i + j, first, score, e);
        }
    return 0;
}

int trace_check_unscored(const struct trace *t, uint64_t first, uint64_t count,
                         const uint16_t *expert, const uint16_t *score, struct err *e)
{
    uint32_t width = t->info.candidates;
    uint64_t values = count * t->info.layers * width, i = 0;
    unsigned bad = 0;

    for (uint64_t v = 0; v < values; v++)
        bad |= (expert[v] == TRACE_NOT_RECORDED) & ((score[v] & 0x7fffu) != 0);
    if (bad == 0)
        return 0;
    while (expert[i] != TRACE_NOT_RECORDED || (score[i] & 0x7fffu) == 0)
        i++;
    return err_set(
        e,
        "%s: /routing/score, row %" PRIu64 ", layer %" PRIu64 ": candidate %" PRIu64
        " was not recorded but has the score %g; it must be 0",
        t->path, first + i / width / t->info.layers, i / width % t->info.layers,
        i % width, (double)half_to_float(score[i]));
}

/* ---- residency ---- */

int trace_check_resident(const struct trace *t, uint64_t first, uint64_t count,
                         const uint8_t *resident, struct err *e)
{
    uint64_t cells = t->info.layers, width = t->info.candidates;
    uint64_t values = count * cells * width;

    for (uint64_t i = 0; i < values; i++)
        if (resident[i] > 1 && resident[i] != UINT8_MAX)
            return err_set(e,
                           "%s: /routing/resident, row %" PRIu64 ", layer %" PRIu64
                           ": %u is not one of 0 (no), 1 (yes), 255 (not recorded)",
                           t->path, first + i / width / cells, i / width % cells,
                           (unsigned)resident[i]);
    return 0;
}

/* ---- tokens ---- */

uint32_t trace_request_of(const struct trace *t, uint64_t row)
{
    uint64_t low = 0, high = t->info.requests;

    assert(row < t->info.rows);
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;

        if (t->requests[middle].first_row <= row)
            low = middle;
        else
            high = middle;
    }
    return (uint32_t)low;
}

int trace_check_follows(const struct trace *t, uint64_t row, uint32_t position,
                        uint64_t row_before, uint32_t position_before, struct err *e)
{
    if (position > position_before)
        return 0;
    return err_set(e,
                   "%s: /token/position, row %" PRIu64 ": position %" PRIu32
                   " does not follow %" PRIu32 " of row %" PRIu64
                   "; positions of prefill and decode rows must ascend",
                   t->path, row, position, position_before, row_before);
}

int trace_check_token(struct trace *t, uint64_t first, uint64_t count,
                      const struct trace_token *token, struct err *e)
{
    uint32_t request = trace_request_of(t, first);
    uint64_t last = 0; /* prefill or decode row, if there was any */
    bool any = false;

    for (uint64_t i = 0; i < count; i++) {
        const struct trace_request *r = &t->requests[request];

        while (first + i >= r->first_row + r->rows)
            r = &t->requests[++request];
        if (token[i].request != request)
            return err_set(e,
                           "%s: /token/request, row %" PRIu64 " says request %" PRIu32
                           ", but /request/first_row gives the row to request %" PRIu32,
                           t->path, first + i, token[i].request, request);
        if (token[i].phase >= TRACE_PHASES)
            return err_set(e,
                           "%s: /token/phase, row %" PRIu64 ": phase %u is not one of 0 "
                           "(prefill), 1 (decode), 2 (draft), 3 (verify)",
                           t->path, first + i, (unsigned)token[i].phase);
        if (token[i].phase > TRACE_DECODE)
            continue;
        if (any && token[last].request == request &&
            trace_check_follows(t, first + i, token[i].position, first + last,
                                token[last].position, e) != 0)
            return -1;
        any = true;
        last = i;
    }
    return 0;
}
