/* What the plug-ins of the select slot work on, and what they have in common.
 *
 * A select changes which experts a row executes. It sees the rows of one step (layer of a
 * pass), over several GPUs those of all of them, each with its candidates:
 *
 *     row r    expert    7    2    9    4    0   ...   ids, scores, masses
 *              place     0    1    2    3    4   ...   what it picks
 *                        executed, the others
 *
 * Executed candidates come first, best score first, equal scores by the lower id. The
 * others follow: best first where the trace is sorted, else as recorded, which
 * select_next() hides. A sorted trace keeps its own order of equal scores: it is the
 * router's, before scores were rounded. Nothing that was not executed ranks before what
 * was: a router that does not choose by scores alone (a bias of DeepSeek-V3, groups) thus
 * keeps its choice wherever a rule leaves it alone.
 *
 * Mass is what an expert weighs: its score where scores are probabilities, and of logits
 * the softmax over the recorded candidates. */
#ifndef MOESIM_POLICY_SELECT_H
#define MOESIM_POLICY_SELECT_H

#include "select_options.h"
#include "select_quality.h"
#include "slots.h"

#define SELECT_NONE UINT16_MAX /* no candidate */

struct select_step {
    const struct view *view;
    uint32_t rows, top_k;
    uint32_t width; /* candidates of a row */
    bool sorted;    /* those behind the executed ones are best first, too */
    const uint16_t *id;
    const float *score; /* row r of both from r * stride */
    size_t stride;
    const double *mass;       /* (row, width) */
    const uint32_t *executed; /* [rows] */
    const uint32_t *recorded; /* [rows] candidates that were */
};

static inline const uint16_t *select_ids(const struct select_step *s, uint32_t row)
{
    return s->id + row * s->stride;
}
static inline const float *select_scores(const struct select_step *s, uint32_t row)
{
    return s->score + row * s->stride;
}
static inline const double *select_masses(const struct select_step *s, uint32_t row)
{
    return s->mass + (size_t)row * s->width;
}

/* The best candidate behind the executed ones that is keep[expert] (NULL: any), after
 * `after` in their order; SELECT_NONE: from the first, or at the end. */
uint16_t select_next(const struct select_step *s, uint32_t row, const uint8_t *keep,
                     uint16_t after);
/* Adds such candidates to the `have` places picked until there are `most`, or no more;
 * how many there are. */
uint32_t select_fill(const struct select_step *s, uint32_t row, const uint8_t *keep,
                     uint16_t *pick, uint32_t have, uint32_t most);
/* Every row takes as many experts as it has executed of those that are keep[expert]; one
 * that has no such candidate stays with its best expert. */
void select_keep(const struct select_step *s, const uint8_t *keep, uint16_t *pick);

/* What a rule about a whole batch knows of each expert; all 0 between steps. It is a
 * state: these two are for struct select_type. */
struct select_tally {
    double *value;  /* [experts] votes, scores, sums */
    uint8_t *keep;  /* [experts] whether rows may use it */
    uint16_t *list; /* [count] the experts of the step */
    uint32_t count;
};
size_t select_tally_size(const struct policy_shape *shape, const void *params);
void select_tally_init(void *state, const struct policy_shape *shape, const void *params);
/* Lists the experts that some row has among its first `most` executed ones, by their
 * first occurrence, and keeps them. */
void select_tally_list(struct select_tally *t, const struct select_step *s,
                       uint32_t most);
/* Makes what is listed 0 again. */
void select_tally_clear(struct select_tally *t);
/* Puts the `keep` experts of greatest value first in a list; equal ones by lower id. The
 * rest follow in any order. */
void select_greatest(uint16_t *list, uint32_t count, uint32_t keep, const double *value);

/* e^x for x <= 0, the same on every machine; 0 where it is no normal number. */
double select_exponential(double x);

/* ---- for who runs them ---- */

/* Memory that grows with the rows of a step. Zeroed at first. */
struct select_room {
    uint16_t *id, *pick;
    float *score;
    double *mass;
    uint32_t *executed, *recorded;
    size_t rows;
    uint64_t *mask; /* [experts] bits */
};
void select_room_release(struct select_room *room);

/* Whether the select chooses in a pass of these rows. */
bool select_chooses(const struct select_type *type, enum select_phases phases,
                    const struct view_row *row, uint32_t rows);
/* Lets it choose for the rows of v (candidates, scores) and writes choice (row, top_k).
 * Adds to `q`. */
void select_apply(const struct select_type *type, const void *params, void *state,
                  const struct view *v, struct select_room *room, uint16_t *choice,
                  struct select_quality *q);
/* The step that the view shows, by the room's memory. For select_apply(), and tests. */
void select_look(struct select_step *s, struct select_room *room, const struct view *v);

#endif
