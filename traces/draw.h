/* The generative model of routing that `moesim trace gen` draws from.
 *
 * An expert's score in a cell (row t, layer l) is
 *
 *     z(t, l, e) = bias(l, e) + sqrt(1 - noise^2) loading(l, e) . h(t, l) + noise n(t, l,
 * e)
 *
 * and the top_k best are executed, in descending order. n is standard normal, loading a
 * random unit vector, and h, the row's hidden state, a normal vector of DRAW_DIMENSIONS
 * whose components have variance 1:
 *
 *     h(t, l)  = sqrt(1 - c) x(t) + sqrt(c) y(t),                 c = persistence(l)
 *     y(t)     = sqrt(1 - o) (sqrt(1 - affinity) r(t) + sqrt(affinity) u) + sqrt(o) s
 *     u        = sqrt(1 - domain) v(request) + sqrt(domain) w(group)
 *
 * x is new in each row, r an autoregressive process within the request; v and w are
 * constant; s is an autoregressive process over the rows after a template, the same in
 * all requests, and o fades there from `opening` on. Each of the dependences of recorded
 * routing
 * thus has one parameter: popularity is the bias; layers depend on each other because
 * they see the same hidden state (noise hides it); adjacent rows of a request because it
 * persists; far rows of a request by affinity; requests of a group by domain; concurrent
 * requests also because they begin alike: the first rows of prompts and of outputs, the
 * templates, are the same rows in all requests, and those after them still resemble each
 * other (opening).
 *
 * Beside it there is a router without any dependence, `alone`: the executed experts of
 * each cell are drawn one after the other, without replacement, by weights that are 1 /
 * experts, and more by hot_weight for the first `hot` experts (the synthetic router of
 * MoEShard, EuroMLSys 2025). Nothing else of the model matters then. And there is one
 * whose scores are processes of their own: draw_process.h.
 *
 * Logits, and the weights that are their softmax, are the scores times logit_scale.
 *
 * All draws are keyed by (seed, purpose, entity) and a counter, so that a row is a
 * function of the model and of where it is, whatever else is drawn. */
#ifndef MOESIM_TRACES_DRAW_H
#define MOESIM_TRACES_DRAW_H

#include "sim/base/rng.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DRAW_DIMENSIONS 4
#define DRAW_NORMALS 3 /* normal numbers that 64 random bits give */
#define DRAW_FEW 64    /* candidates that are put in order one by one */
/* Recorded gates weigh the first expert about twice the last; scores have unit scale. */
#define DRAW_LOGIT_SCALE 1.5F
#define DRAW_OPENING 256 /* rows after which openings have nothing in common */

/* What a request is made of. Its rows are prompt rows, then output rows. */
struct draw_request {
    uint32_t prompt_rows, output_rows;
    uint32_t first_position;
    uint32_t prompt_tokens, output_tokens; /* as served */
    uint16_t group;
};

/* First rows that all requests share. */
struct draw_template {
    uint32_t rows, width; /* experts of a cell that are listed: top_k, or all */
    uint16_t *expert;     /* (row, layer, width) */
    float *score;         /* likewise */
};

struct draw_model {
    uint64_t seed;
    uint32_t layers, experts, top_k, groups;
    double noise, affinity, domain, opening; /* each in [0, 1] */
    double *persistence;                     /* [layers], each in [0, 1] */
    uint32_t width;                          /* of a table of experts: see draw_place */
    float *bias;    /* (layer, width); what is no expert's is -INFINITY */
    float *loading; /* (layer, dimension, width) */
    float section[2][DRAW_OPENING][DRAW_DIMENSIONS]; /* of prompts, of outputs: s */
    float *group;                                    /* (group, dimension): w */
    uint32_t encoder_layers; /* of an encoder-decoder model: prompt rows are in the first
                                so many layers alone, output rows in the others */
    bool alone;
    uint32_t hot; /* experts 0 to hot - 1 */
    double hot_weight;
    struct draw_process *process; /* or NULL */
    bool all; /* draw_walk_row_all() may be called: set before templates are drawn */
    float logit_scale;
    float *quantile; /* of the standard normal, for drawing from it */
    /* Work space of a cell. */
    float *score, *knot, *top, *candidate_score, *best;
    uint32_t *list, *candidate;
    uint64_t *bits, *ranked;
    struct draw_template prompt, output;
};

/* No skew, no persistence, no templates, noise 0.3; draws the loadings and the groups'
 * vectors. `top_k` is at most `experts`, `groups` at least 1. Owned. */
struct draw_model *draw_model_new(uint64_t seed, uint32_t layers, uint32_t experts,
                                  uint32_t top_k, uint32_t groups);
void draw_model_free(struct draw_model *m);

/* Where an expert is in the tables. Those that take their noise from one draw, which are
 * neighbours, lie a third of the width apart, so that draws can be compared side by side.
 */
static inline uint32_t draw_place(const struct draw_model *m, uint32_t expert)
{
    return expert % DRAW_NORMALS * (m->width / DRAW_NORMALS) + expert / DRAW_NORMALS;
}

static inline float *draw_bias(struct draw_model *m, uint32_t layer, uint32_t expert)
{
    return &m->bias[(size_t)layer * m->width + draw_place(m, expert)];
}

/* Draws the template rows with the model as it stands; they stay when it changes later,
 * so that fitting the model does not disturb them. */
void draw_model_templates(struct draw_model *m, uint32_t prompt_rows,
                          uint32_t output_rows);

/* A standard normal number. */
float draw_normal(const struct draw_model *m, struct rng *r);

/* The standard normal quantile of `p`, from a table: not beyond 3.8 either way. */
double draw_quantile(const struct draw_model *m, double p);

/* Walks the rows of one request. Value type; borrows model and request. With processes a
 * walk ends when another of the same model begins. */
struct draw_walk {
    struct draw_model *m;
    const struct draw_request *request;
    struct rng fresh, recent, noise;
    uint32_t row;
    float constant[DRAW_DIMENSIONS]; /* u */
    float r[DRAW_DIMENSIONS];
    uint64_t number_of_walk; /* with processes: how many had begun */
};
void draw_walk_begin(struct draw_walk *w, struct draw_model *m, uint64_t number,
                     const struct draw_request *request);
/* Draws a cell of the router without dependence into expert[top_k]. */
void draw_alone(const struct draw_model *m, struct rng *r, uint16_t *expert);

/* Draws the present row into expert (layer, top_k) and moves on; with NULL it only moves
 * on, which is cheap. `weight`, of the same shape, may be NULL: the softmax of the chosen
 * logits; the router without dependence has none. */
void draw_walk_row(struct draw_walk *w, uint16_t *expert, float *weight);

/* The same of all experts: (layer, experts), in descending order, of which the first
 * top_k are those that draw_walk_row() gives; and their logits, which 16-bit floats hold
 * exactly. Not of the router without dependence. */
void draw_walk_row_all(struct draw_walk *w, uint16_t *expert, float *logit);

#endif
