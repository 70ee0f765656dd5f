#include "select.h"

#include "sim/base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the step ---- */

static void make_room(struct select_room *room, const struct view *v)
{
    size_t cells;

    if (room->mask == NULL)
        room->mask = mem_zalloc((v->experts + 63) / 64, sizeof *room->mask);
    if (v->rows <= room->rows)
        return;
    room->rows = v->rows;
    cells = room->rows * v->candidates;
    room->mass = mem_resize(room->mass, cells, sizeof *room->mass);
    room->pick = mem_resize(room->pick, room->rows * v->top_k, sizeof *room->pick);
    room->executed = mem_resize(room->executed, room->rows, sizeof *room->executed);
    room->recorded = mem_resize(room->recorded, room->rows, sizeof *room->recorded);
    if (v->sorted)
        return;
    room->id = mem_resize(room->id, cells, sizeof *room->id);
    room->score = mem_resize(room->score, cells, sizeof *room->score);
}

void select_room_release(struct select_room *room)
{
    free(room->id);
    free(room->pick);
    free(room->score);
    free(room->mass);
    free(room->executed);
    free(room->recorded);
    free(room->mask);
}

/* A row's executed candidates by score; those of equal score by id. */
static void sort_executed(uint16_t *id, float *score, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        uint16_t x = id[i];
        float of = score[i];
        uint32_t at = i;

        for (; at > 0 && (score[at - 1] < of || (score[at - 1] == of && id[at - 1] > x));
             at--) {
            id[at] = id[at - 1];
            score[at] = score[at - 1];
        }
        id[at] = x;
        score[at] = of;
    }
}

static uint32_t count_recorded(const uint16_t *id, uint32_t most)
{
    while (most > 0 && id[most - 1] == VIEW_NO_EXPERT)
        most--;
    return most;
}

#define LEAST (-700) /* e^LEAST is a normal number */

/* e^x for x from LEAST to 0, in a form that a compiler makes vectors of: e^x = 2^n e^r,
 * with r at most ln 2 / 2 and e^r by its series, to within 3e-16 of it. It is the same on
 * every machine, so that what is chosen does not depend on a library. */
static inline double exponential(double x)
{
    const double shift = 0x1.8p52; /* adding it rounds to a whole number */
    double n, r, sum;
    uint64_t bits;

    n = x * 0x1.71547652b82fep0 + shift;
    memcpy(&bits, &n, sizeof bits);
    n -= shift;
    r = x - n * 0x1.62e42fefa3800p-1 - n * 0x1.ef35793c76730p-45;
    sum = 1.0 / 6227020800;
    sum = sum * r + 1.0 / 479001600;
    sum = sum * r + 1.0 / 39916800;
    sum = sum * r + 1.0 / 3628800;
    sum = sum * r + 1.0 / 362880;
    sum = sum * r + 1.0 / 40320;
    sum = sum * r + 1.0 / 5040;
    sum = sum * r + 1.0 / 720;
    sum = sum * r + 1.0 / 120;
    sum = sum * r + 1.0 / 24;
    sum = sum * r + 1.0 / 6;
    sum = sum * r + 0.5;
    sum = sum * r + 1;
    sum = sum * r + 1;
    bits = (bits + 1023) << 52;
    memcpy(&n, &bits, sizeof n);
    return sum * n;
}

double select_exponential(double x)
{
    return x >= LEAST ? exponential(x) : 0;
}

/* The softmax of logits, from the largest one down, so that nothing overflows. */
static void softmax(const float *z, uint32_t count, float most, float least, double *mass)
{
    double sum = 0, scale;

    if (least - most >= LEAST)
        for (uint32_t i = 0; i < count; i++)
            mass[i] = exponential((double)z[i] - (double)most);
    else
        for (uint32_t i = 0; i < count; i++)
            mass[i] = z[i] - most >= LEAST ? exponential((double)z[i] - (double)most) : 0;
    for (uint32_t i = 0; i < count; i++)
        sum += mass[i];
    scale = 1 / sum;
    for (uint32_t i = 0; i < count; i++)
        mass[i] *= scale;
}

static void weigh(const struct select_step *s, uint32_t row, double *mass)
{
    const float *score = select_scores(s, row);
    uint32_t count = s->recorded[row];
    float most, least;

    if (count == 0)
        return;
    if (s->view->score_kind != VIEW_LOGIT) {
        for (uint32_t i = 0; i < count; i++)
            mass[i] = (double)score[i];
        return;
    }
    most = score[0];
    least = score[count - 1];
    for (uint32_t i = 0; i < count && !s->sorted; i++) {
        most = score[i] > most ? score[i] : most;
        least = score[i] < least ? score[i] : least;
    }
    softmax(score, count, most, least, mass);
}

void select_look(struct select_step *s, struct select_room *room, const struct view *v)
{
    make_room(room, v);
    *s = (struct select_step){.view = v,
                              .rows = v->rows,
                              .top_k = v->top_k,
                              .width = v->candidates,
                              .sorted = v->sorted,
                              .id = v->candidate,
                              .score = v->score,
                              .stride = v->candidate_stride,
                              .mass = room->mass,
                              .executed = room->executed,
                              .recorded = room->recorded};
    for (uint32_t row = 0; row < s->rows; row++) {
        const uint16_t *id = v->candidate + row * v->candidate_stride;

        room->executed[row] = count_recorded(id, s->top_k);
        room->recorded[row] = room->executed[row] < s->top_k || s->width == s->top_k
                                  ? room->executed[row]
                                  : count_recorded(id, s->width);
        if (!s->sorted) {
            size_t to = (size_t)row * s->width;

            memcpy(room->id + to, id, s->width * sizeof *id);
            memcpy(room->score + to, v->score + row * v->score_stride,
                   s->width * sizeof *room->score);
            sort_executed(room->id + to, room->score + to, room->executed[row]);
        }
    }
    if (!s->sorted) {
        s->id = room->id;
        s->score = room->score;
        s->stride = s->width;
    }
    for (uint32_t row = 0; row < s->rows; row++)
        weigh(s, row, room->mass + (size_t)row * s->width);
}

/* ---- choosing ---- */

/* Whether candidate a comes before b. */
static bool is_before(const uint16_t *id, const float *score, uint32_t a, uint32_t b)
{
    return score[a] > score[b] || (score[a] == score[b] && id[a] < id[b]);
}

uint16_t select_next(const struct select_step *s, uint32_t row, const uint8_t *keep,
                     uint16_t after)
{
    const uint16_t *id = select_ids(s, row);
    const float *score = select_scores(s, row);
    uint32_t first = s->executed[row], best = SELECT_NONE;

    if (s->sorted && after != SELECT_NONE)
        first = after + UINT32_C(1);
    for (uint32_t i = first; i < s->recorded[row]; i++) {
        if (keep != NULL && !keep[id[i]])
            continue;
        if (s->sorted)
            return (uint16_t)i;
        if (after != SELECT_NONE && !is_before(id, score, after, i))
            continue;
        if (best == SELECT_NONE || is_before(id, score, i, best))
            best = i;
    }
    return (uint16_t)best;
}

uint32_t select_fill(const struct select_step *s, uint32_t row, const uint8_t *keep,
                     uint16_t *pick, uint32_t have, uint32_t most)
{
    uint16_t at = SELECT_NONE;

    while (have < most && (at = select_next(s, row, keep, at)) != SELECT_NONE)
        pick[have++] = at;
    return have;
}

void select_keep(const struct select_step *s, const uint8_t *keep, uint16_t *pick)
{
    for (uint32_t row = 0; row < s->rows; row++, pick += s->top_k) {
        const uint16_t *id = select_ids(s, row);
        uint32_t executed = s->executed[row], have = 0;

        for (uint32_t i = 0; i < executed; i++)
            if (keep[id[i]])
                pick[have++] = (uint16_t)i;
        if (have < executed)
            have = select_fill(s, row, keep, pick, have, executed);
        if (have == 0 && executed > 0)
            pick[have++] = 0;
        for (uint32_t i = have; i < executed; i++)
            pick[i] = SELECT_NONE;
    }
}

size_t select_tally_size(const struct policy_shape *shape, const void *params)
{
    (void)params;
    return sizeof(struct select_tally) +
           shape->experts * (sizeof(double) + sizeof(uint16_t) + sizeof(uint8_t));
}

void select_tally_init(void *state, const struct policy_shape *shape, const void *params)
{
    struct select_tally *t = state;
    unsigned char *at = (unsigned char *)(t + 1);

    (void)params;
    t->value = (void *)at;
    t->list = (void *)(at + shape->experts * sizeof *t->value);
    t->keep = at + shape->experts * (sizeof *t->value + sizeof *t->list);
    t->count = 0;
    memset(t->value, 0, shape->experts * sizeof *t->value);
    memset(t->keep, 0, shape->experts * sizeof *t->keep);
}

void select_tally_list(struct select_tally *t, const struct select_step *s, uint32_t most)
{
    uint32_t count = 0;

    for (uint32_t row = 0; row < s->rows; row++) {
        const uint16_t *id = select_ids(s, row);
        uint32_t first = s->executed[row] < most ? s->executed[row] : most;

        for (uint32_t i = 0; i < first; i++) {
            if (!t->keep[id[i]])
                t->list[count++] = id[i];
            t->keep[id[i]] = 1;
        }
    }
    t->count = count;
}

void select_tally_clear(struct select_tally *t)
{
    for (uint32_t i = 0; i < t->count; i++) {
        t->value[t->list[i]] = 0;
        t->keep[t->list[i]] = 0;
    }
    t->count = 0;
}

/* Hoare's selection, by the middle one: what is before it goes left. */
void select_greatest(uint16_t *list, uint32_t count, uint32_t keep, const double *value)
{
    uint32_t from = 0, to = count;

    while (keep > from && keep < to && to - from > 1) {
        uint16_t pivot = list[from + (to - from) / 2];
        double of = value[pivot];
        uint32_t left = from, right = to - 1;

        for (;;) {
            while (value[list[left]] > of ||
                   (value[list[left]] == of && list[left] < pivot))
                left++;
            while (value[list[right]] < of ||
                   (value[list[right]] == of && list[right] > pivot))
                right--;
            if (left >= right)
                break;
            {
                uint16_t x = list[left];

                list[left++] = list[right];
                list[right--] = x;
            }
        }
        /* list[from, left) come before list[left, to). */
        if (left == from)
            left++;
        if (keep <= left)
            to = left;
        else
            from = left;
    }
}

/* ---- what it did ---- */

void select_quality_add(struct select_quality *sum, const struct select_quality *q)
{
    sum->rows += q->rows;
    sum->choices += q->choices;
    sum->changed += q->changed;
    sum->fewer += q->fewer;
    sum->top1 += q->top1;
    sum->distinct += q->distinct;
    sum->left += q->left;
    sum->mass += q->mass;
    sum->kept += q->kept;
}

static uint64_t whole(double mass)
{
    return (uint64_t)(mass * (double)SELECT_MASS_ONE + 0.5);
}

/* Of one row; whether its experts are other ones than those executed. */
static bool measure(const struct select_step *s, uint32_t row, const uint16_t *pick,
                    struct select_quality *q)
{
    const double *mass = select_masses(s, row);
    uint32_t executed = s->executed[row], picked = 0, kept = 0;
    double before = 0, after = 0;
    bool top1 = false;

    for (uint32_t i = 0; i < executed; i++)
        before += mass[i];
    for (; picked < s->top_k && pick[picked] != SELECT_NONE; picked++) {
        after += mass[pick[picked]];
        kept += pick[picked] < executed;
        top1 = top1 || pick[picked] == 0;
    }
    q->rows++;
    q->choices += executed;
    q->mass += whole(before);
    if (kept == executed && picked == executed) {
        q->top1++;
        q->kept += whole(before);
        return false;
    }
    q->changed += picked - kept;
    q->fewer += executed > picked ? executed - picked : 0;
    q->top1 += top1;
    q->kept += whole(after);
    return true;
}

static void mark(uint64_t *mask, uint16_t id)
{
    mask[id >> 6] |= UINT64_C(1) << (id & 63);
}

/* How many experts are marked; clears them. */
static uint32_t take_marked(uint64_t *mask, uint32_t experts)
{
    uint32_t count = 0;

    for (uint32_t w = 0; w < (experts + 63) / 64; w++) {
        count += (uint32_t)__builtin_popcountll(mask[w]);
        mask[w] = 0;
    }
    return count;
}

/* Distinct experts of choice (row, top_k). */
static uint32_t count_distinct(const struct select_step *s, uint64_t *mask,
                               const uint16_t *choice)
{
    for (size_t i = 0; i < (size_t)s->rows * s->top_k; i++)
        if (choice[i] != VIEW_NO_EXPERT)
            mark(mask, choice[i]);
    return take_marked(mask, s->view->experts);
}

bool select_chooses(const struct select_type *type, enum select_phases phases,
                    const struct view_row *row, uint32_t rows)
{
    bool prefill = false, verify = false;

    if (type->apply == NULL)
        return false;
    if (phases == SELECT_ALL || (phases == SELECT_AUTO && !type->decode))
        return true;
    for (uint32_t i = 0; i < rows; i++) {
        prefill = prefill || row[i].phase == VIEW_PREFILL;
        verify = verify || row[i].phase == VIEW_VERIFY;
    }
    return !prefill && (phases != SELECT_VERIFY || verify);
}

void select_apply(const struct select_type *type, const void *params, void *state,
                  const struct view *v, struct select_room *room, uint16_t *choice,
                  struct select_quality *q)
{
    struct select_step s;

    select_look(&s, room, v);
    for (uint32_t row = 0; row < s.rows; row++)
        for (uint32_t i = 0; i < s.top_k; i++)
            room->pick[(size_t)row * s.top_k + i] =
                i < s.executed[row] ? (uint16_t)i : SELECT_NONE;
    type->apply(params, state, &s, room->pick);
    q->distinct += count_distinct(&s, room->mask, choice);
    for (uint32_t row = 0; row < s.rows; row++) {
        const uint16_t *pick = room->pick + (size_t)row * s.top_k;
        const uint16_t *id = select_ids(&s, row);

        if (s.executed[row] == 0 || !measure(&s, row, pick, q))
            continue;
        for (uint32_t i = 0; i < s.top_k; i++)
            choice[(size_t)row * s.top_k + i] =
                pick[i] == SELECT_NONE ? VIEW_NO_EXPERT : id[pick[i]];
    }
    q->left += count_distinct(&s, room->mask, choice);
}
