/* What a run is made of; shared by the files of this folder.
 *
 *   struct runner            walks passes and layers
 *     gpu[0..gpus)           each with
 *       lanes                  submits its operations, remembers them for the books
 *       step                   what it runs of the current layer
 *       residency              its cache, slots, expert groups and copies
 *       hosted                 its experts that run on the host
 *       precision              its experts that do in fewer bits
 *     predictor              what to load early, of all experts of the model
 *     spread                 where rows and experts are; NULL where a GPU is alone
 *
 * Alone, a GPU may hold every expert: expert x of a layer is its local expert x. Of
 * several, GPU g's local experts are the slots [g * local, (g + 1) * local) of the
 * placement. */
#ifndef MOESIM_RUN_RUN_STATE_H
#define MOESIM_RUN_RUN_STATE_H

#include "runner.h"

#include "models/activation.h"
#include "models/collective_count.h"
#include "sim/policy/place.h"
#include "sim/policy/place_migrate.h"
#include "sim/policy/select.h"

/* ---- lanes ---- */

/* An operation of the compute lane in this pass, for the books. */
struct lane_op {
    sim_time *share; /* [RUN_SHARES] of its MoE layer, or of what is outside them */
    enum run_share kind;
};

/* A collective of this pass, as one of its members sees it. */
struct lane_collective {
    op_id id;
    op_id hosted;    /* this GPU's experts on the host, which it came after; or 0 */
    sim_time *share; /* the books of its layer */
};

/* An operation of the compute lane that comes after collectives. */
struct lane_join {
    size_t at;      /* its place in the log */
    uint32_t until; /* it comes after the collectives before this one */
};

/* Of a part of a layer. */
struct lane_part {
    op_id last;      /* what its next collective comes after */
    op_id joined;    /* the collective that its next operation waits for; 0: none */
    uint32_t number; /* ... of this pass */
};

struct lanes {
    const struct exec_ops *ops;
    struct exec *exec;
    op_id pass_first; /* first id of this pass; those before it have ended, but for
                         prefetch copies */
    op_id last_id, last_compute, last_copy;
    op_id retired; /* ids below have ended */
    op_id last;    /* what this GPU did last, alone or together; 0: nothing */
    struct lane_part part[PROGRAM_PARTS]; /* [parts] */
    uint32_t parts;
    bool hosts_layers; /* some layers are on the host as a whole: what the log has may be
                          on its lane, too */
    op_id hosted;  /* experts that run on the host and are not waited for yet; 0: none */
    op_id *log_id; /* [log_count] of the compute lane, and beside it */
    struct lane_op *log;
    size_t log_count;
    struct lane_collective *collective; /* [collectives] in the order of submission */
    uint32_t collectives, collective_room;
    struct lane_join *join; /* [joins] */
    uint32_t joins, join_room;
    struct op_times *times; /* scratch */
    size_t times_room;
    struct op_times *gap; /* of collectives; scratch */
    op_id *gap_id;
    size_t gap_room;
};

/* ---- one layer of a pass on one GPU ---- */

/* The experts that a step takes from the cache, in the order of the accesses; in fewer
 * bits where they are the cache's second forms. */
struct step_accesses {
    const uint16_t *expert;
    const struct cache_use *use; /* each one's next use, or NULL */
    uint32_t count;
};

struct step {
    uint32_t layer;
    struct run_layer *books; /* of the layer */
    bool single;      /* one row, routed as recorded: each active expert has one row */
    uint16_t *active; /* [active_count] ascending local experts with rows */
    uint32_t active_count;
    uint16_t *turn;   /* ... in the order of the accesses; by id: `active` */
    uint32_t *tokens; /* [local experts] rows of each */
    struct op_routing routing;
    const struct cache_use *use; /* by turn; NULL without an oracle */
    op_id arrived; /* the layer's groups come after this, too: the rows' arrival; or 0 */
    size_t logged; /* where in the log the step began; over several GPUs */
    bool waits;    /* for loads in flight, before it goes on */
    /* Experts that are launched one by one. */
    uint32_t loop;   /* experts that an eager loop goes over; 0: no loop */
    uint32_t *piece; /* rows of each chain of kernels; NULL: experts run as one group */
    const uint32_t *by_source; /* (source, expert) rows where chains are by source, too */
    uint32_t sources;
};

/* ---- residency ---- */

/* One memory slot for an expert. */
struct expert_slot {
    op_id ready;     /* the copy that filled it; 0 once it is known to have ended */
    op_id written;   /* a write-back that reads it and is not waited for yet; 0: none */
    op_id stopped;   /* a copy into it that nobody waited for in the end; 0: none */
    uint64_t group;  /* number of the last expert group that reads it; 0: none */
    bool prefetched; /* loaded ahead, not used yet */
    bool low;        /* filled in fewer bits */
};

/* Experts of this step that will run together. */
struct expert_group {
    uint64_t number; /* groups are counted over the run, from 1 */
    uint16_t *expert;
    uint32_t *slot;
    uint32_t count;
    op_id *after;
    uint32_t after_count;
    struct op op; /* what is submitted of it */
};

struct expert_copy {
    uint32_t layer;
    sim_time asked; /* late prefetches: when it was wanted */
};

/* A load of this step that its host has not waited for. */
struct expert_flight {
    uint32_t expert, slot;
    op_id copy;
};

struct expert_copies {
    op_id *id; /* [count], and beside it */
    struct expert_copy *copy;
    size_t count, room;
};

struct residency {
    struct cache *cache;
    struct machine_tiles tiles;
    bool split, copies_wait, write_back; /* of the policy */
    bool paced;  /* spares, hits first, a limit of loads in flight, or experts in fewer
                    bits: accesses go one after the other */
    bool spares; /* a load takes a spare slot, and does not wait for its victim */
    bool one_stream; /* copies in both directions come one after another, as issued, and
                        compute after those before it */
    bool watched;    /* misses are told to the watch */
    uint64_t *low_bytes; /* [layers] of an expert in fewer bits; NULL: none is */
    float spared;        /* ... the share of its weights that is not read; 0: none is */
    struct expert_slot *slot;
    struct expert_group resident, missing; /* not submitted yet */
    uint64_t group_next, group_first;      /* the next number; the first of this pass */
    op_id *group_id;                       /* [group_next - group_first] submitted */
    op_id *each_after; /* loaded experts run one by one: scratch; NULL: as one group */
    uint32_t *found;   /* slots of accesses that hit; scratch */
    bool *displaced;   /* (layer, expert) evicted by a prefetch since its last load; NULL:
                          nothing is loaded early */
    op_id *wait_for;   /* what the next copy waits for */
    uint32_t wait_count, wait_room;
    struct expert_copies demand, late;
    struct expert_copies ahead; /* prefetches, from the oldest that may not have ended */
    /* Of a step, what is left of it. */
    struct step_accesses left;
    uint16_t *turn; /* order: hits-first, and the accesses in that order; or NULL */
    uint16_t *turned;
    struct cache_use *turned_use;
    /* Where so many loads may be under way at once (0: any number): */
    uint32_t in_flight;
    uint32_t flying;              /* those that the host has not waited for, */
    struct expert_flight *flight; /* [flying] from the oldest; the experts of the first */
    uint32_t landed;              /* [landed] are in their group */
};

struct hosted;    /* hosted.c */
struct precision; /* precision.c */
struct watch;     /* watch.c */

struct gpu {
    struct runner *runner;
    uint32_t rank;
    const struct run_setup *setup;
    struct run_result *result;
    const struct pass *pass;
    struct run_counts counts;            /* of this pass */
    uint64_t kv_bytes, activation_bytes; /* in this pass; the largest layer's */
    uint64_t side_bytes;      /* ... of the sides of this pass that were walked already */
    uint32_t layers, experts; /* experts: local ones of a layer */
    struct lanes lanes;
    struct step step;
    struct residency residency;
    struct hosted *hosted;       /* NULL: every missing expert is fetched */
    struct precision *precision; /* NULL: in the bits that it has */
    /* Reused: only what differs is set anew. The dense block's batch is of the rows whose
     * attention the GPU computes, the gate's of those whose experts it looks for. */
    struct op dense, gate;
    /* How the rows of each batch are arranged for their experts. */
    struct cost_dispatch dispatch[PROGRAM_BATCHES];
};

/* ---- what is loaded early ---- */

struct predictor {
    const struct prefetch_type *type;
    const void *params;
    void *state;
    struct prefetch_want *want;
};

/* ---- which experts rows may use ---- */

struct selecting {
    const struct select_type *type;
    const void *params;
    enum select_phases phases;
    void *state;  /* NULL: it keeps none */
    bool chooses; /* in this pass */
    struct select_room room;
    /* Rows that are not neighbours, collected: [rows] of each. */
    struct view_row *row;
    uint16_t *candidate, *choice;
    float *score;
    uint32_t rows;
    size_t most; /* rows that there is room for */
};

/* ---- several GPUs ---- */

/* Where the rows of a pass are: by the groups of GPUs that share an attention; in a group
 * by batch; in a batch by rank, which dispatches them. */
struct spread_rows {
    uint32_t *order; /* [rows] of the pass, in that order */
    uint32_t *first; /* [gpus * batches + 1] where the rows of a rank and batch begin: see
                        spread_run() */
    struct view_row *row; /* [rows] in that order, like what follows */
    uint16_t *choice;     /* (layer, row, k) */
    /* (layer, row, candidate), where a select chooses in the pass; room for `cells`. */
    uint16_t *candidate;
    float *score;
    size_t cells;
    uint16_t *predicted; /* (layer, row, width), or NULL */
    uint32_t room;
};

/* Of a part of the rows in the current layer. */
struct spread_part {
    struct collective_count count;
    struct collective dispatch, combine;
    uint32_t *tokens;    /* [slots] rows of each */
    uint32_t *of_expert; /* [experts] rows that chose each */
    uint64_t *last_row;  /* [slots] when it was chosen last; NULL: in order of ids */
    /* What the batch gave in a layer is not summed yet. */
    bool is_open;
    uint32_t open_layer;
};

struct spread {
    const struct run_parallel *p;
    struct program program;
    struct spread_part *part; /* [program.parts] */
    uint32_t local, slots;
    uint32_t attentions; /* groups of GPUs that share one */
    op_id *after;        /* [2 gpus] scratch */
    uint32_t *member;    /* [tensor] scratch */
    /* Of each GPU and batch: what its attention computes, and the rows whose experts it
     * looks for. */
    struct cost_batch *attention, *own; /* (gpu, batch) */
    struct cost_batch *whole;           /* [gpus] the attention of all batches */
    /* Rows on their way. */
    struct spread_rows rows;
    uint32_t *tokens;      /* [experts] rows that chose each in a layer */
    uint16_t *active;      /* [experts] those with rows, for predictors */
    uint64_t *turn;        /* (layer, expert) rows so far: which replica is next */
    uint16_t *gpu_of;      /* [slots] */
    uint32_t *destination; /* [top_k] scratch */
    uint32_t *home;        /* [requests] whose attention group has its last row */
    uint32_t *by_source;   /* (gpu, experts) rows: where a GEMM takes one source's */
    uint64_t chosen;       /* the clock of last_row */
    uint64_t choices;      /* of this layer's batches so far */
    bool *seen;            /* [experts] all false; an oracle's scratch, as the next */
    uint32_t *coming_active;
    uint16_t *slot_turn; /* [slots] accesses of all GPUs, for a look-ahead; or NULL */
    struct collective exchange;
    uint64_t sent_unit, back_unit; /* bytes of a row to its experts, and of its sums */
    uint64_t *exchanged;           /* (gpu, gpu) numbers of counts */
    uint64_t *rank_bytes;          /* [gpus] of all-gathers */
    enum collective_form form;
    bool counts_rows; /* the form needs rows by rank and node */
    /* Placement. */
    struct place *place, *coming;   /* coming: still being copied to; or NULL */
    op_id migration;                /* the copies on their way; 0: none */
    struct place_window *window;    /* NULL: placed once */
    bool is_due;                    /* a rebalance */
    uint64_t *migrated;             /* (gpu, gpu) bytes */
    sim_time migrating[RUN_SHARES]; /* over the GPUs: waiting for blocking migrations */
    struct collective migrate;
};

/* Layers that rows go through. */
struct run_span {
    uint32_t from, to;     /* layers of the model */
    uint32_t moe, moe_end; /* those of them that have experts to run, as of the trace */
};

struct runner {
    const struct run_setup *setup;
    struct run_result *result;
    struct gpu *gpu; /* [gpus] */
    uint32_t gpus;
    uint32_t layers, experts, top_k, candidates, predicted; /* of the trace */
    const struct pass *pass;
    struct run_span span; /* the layers that its rows go through */
    /* Of an encoder-decoder model each side of a pass is walked as a pass of its own: */
    bool has_sides, encoding; /* encoding: the rows that are walked are the encoder's */
    struct pass side;         /* what `pass` is meanwhile */
    struct run_pass books;    /* of this pass */
    sim_time sum[RUN_SHARES]; /* over the GPUs, of this pass */
    sim_time outside[RUN_SHARES];
    uint64_t dense_bytes; /* of weights on each GPU that are not experts' */
    bool reroutes;        /* a gate or select rewrites choices */
    bool pads;            /* experts run on capacities */
    bool runs_all;        /* a GPU alone: experts without a row run, too */
    bool lowers;          /* experts may come in fewer bits, by their scores */
    bool encodes; /* kernels of their own arrange rows before and after the experts */
    /* The current layer, all GPUs together. */
    struct view view; /* what gate, select, offload and prefetch see */
    uint64_t *load;   /* (layer, expert) in the passes before; NULL without predictor */
    struct selecting selecting;
    struct predictor predictor; /* state NULL: none */
    struct watch *watch;        /* NULL: none */
    bool asks;                  /* there is one of these two */
    bool shows; /* ... or an offload that decides: the view is to be filled */
    /* A GPU alone: which of its experts rows choose. */
    uint64_t most_rows;  /* that experts run on in a layer of this pass; */
    uint64_t known_rows; /* of that whose activations are known */
    uint64_t *mask;
    uint32_t mask_words;
    uint16_t *own_choice; /* (row, rank), where a gate or select rewrites */
    size_t own_choice_rows;
    uint32_t *scratch; /* [experts] */
    bool *waits;       /* [experts] for `order: recorded`, NULL otherwise */
    struct spread *spread;
};

/* The expert of the model that is a GPU's local one. */
static inline uint32_t run_expert(const struct gpu *g, uint32_t layer, uint32_t expert)
{
    const struct spread *s = g->runner->spread;

    return s == NULL
               ? expert
               : s->place->expert[(size_t)layer * s->slots + g->rank * s->local + expert];
}

/* What plug-ins know before the run. */
static inline struct policy_shape run_shape(const struct runner *c)
{
    return (struct policy_shape){.layers = c->layers,
                                 .experts = c->experts,
                                 .top_k = c->top_k,
                                 .seed = c->setup->seed,
                                 .profile = c->setup->profile};
}

/* ---- lanes.c ---- */

/* What the time of a dense block or gate is booked as. */
static inline enum run_share run_share_of(const struct op *op)
{
    return op->lane == LANE_HOST_POOL ? SHARE_HOSTED : SHARE_DENSE;
}

/* The most operations of a pass on a GPU's compute lane, and of its groups: per decoder
 * layer a dense block, a gate, encode and decode, and for each part of the rows one group
 * per expert and two that may stay empty. `parts` is 0 where a GPU is alone. */
size_t lanes_most(const struct run_setup *s, uint32_t parts, uint32_t experts);
void lanes_init(struct lanes *l, const struct run_setup *s, struct exec *exec,
                uint32_t parts, uint32_t experts);
void lanes_release(struct lanes *l);
op_id lanes_submit(struct lanes *l, const struct op *op);
/* Submits an operation of the compute lane and enters it in the log; `share` are the
 * books of its MoE layer or of what is outside them. */
void lanes_compute(struct lanes *l, const struct op *op, sim_time *share,
                   enum run_share kind);
/* The same, after the collectives of a part, or of LANES_WHOLE, that this GPU took part
 * in, and lanes_copy_before(). */
enum { LANES_WHOLE = PROGRAM_PARTS };
void lanes_join(struct gpu *g, struct op *op, uint32_t part, sim_time *share,
                enum run_share kind);
/* The copy that an operation waits for because it is on the same stream; 0: none. The
 * head waits for no copy: what is loaded early behind the last layer may go on beside it.
 */
static inline op_id lanes_copy_before(const struct gpu *g, const struct op *op)
{
    return g->residency.copies_wait && op->kind != OP_HEAD ? g->lanes.last_copy : 0;
}
/* Operations of a part were submitted from this place of the log on, after its
 * collective. */
void lanes_join_part(struct lanes *l, uint32_t part, size_t logged);
/* Whether a collective is still to be waited for. */
bool lanes_has_joined(const struct lanes *l);
/* Submits a collective of a part, or of LANES_WHOLE: on the network's stream where all
 * GPUs take part (LANES_ALL), on that of the node where only the GPUs of this group share
 * an attention. Nothing happens for one alone. */
enum { LANES_ALL = UINT16_MAX };
void lanes_collect(struct runner *c, enum op_kind kind, uint32_t layer, uint32_t part,
                   const struct collective *what, uint32_t group, sim_time *share);
/* The same of all GPUs beside what they do, which waits for nothing and nothing for it.
 */
op_id lanes_collect_aside(struct runner *c, const struct collective *what);
/* Every host waits for what its GPU did last. */
void lanes_wait_all(struct runner *c);
/* True if the copy has ended by the host's time. */
bool lanes_copied(const struct lanes *l, op_id copy);
/* Times of operations that have ended; valid until the next call. */
const struct op_times *lanes_times(struct lanes *l, const op_id *id, size_t count);
/* The latest of the hosts' times. */
sim_time lanes_latest(const struct runner *c);

/* ---- books.c ---- */

/* Divides the time of a GPU's pass, which ended for all at `end`. */
void books_attribute(struct runner *c, struct gpu *g, sim_time end);
void books_copies(struct gpu *g);
/* What the GPU has in use in the pass. */
void books_memory(struct runner *c, struct gpu *g);
void books_add(struct run_counts *sum, const struct run_counts *c);
/* Adds a pass to the result. 0 or -1. */
int books_close(const struct run_setup *s, const struct pass *pass,
                const struct run_pass *books, struct run_result *result, struct err *e);
/* Conservation: accesses = hits + misses of each kind, shares = latency, tokens as handed
 * out. */
int books_check(const struct run_setup *s, const struct run_result *r, struct err *e);

/* ---- residency_new.c ---- */

void residency_init(struct gpu *g);
void residency_release(struct residency *r);
/* Makes the cache, by the loads of `profile` (layer, local expert) or NULL, and tells the
 * executor what is resident. 0 or -1. */
int residency_begin(struct gpu *g, const uint64_t *profile, struct err *e);
void residency_begin_pass(struct gpu *g);
/* All operations before this pass have ended, but for prefetches; finds from which id on
 * some may not have. */
void residency_retire(struct gpu *g);

/* ---- residency.c ---- */

/* Accesses, copies and expert groups of the routed step. False: as many loads are in
 * flight as may be, and it must go on. */
bool residency_step(struct gpu *g);
/* The experts of what has arrived run, and the host waits for the oldest load in flight;
 */
void residency_wait(struct gpu *g);
/* ... then the next are asked for; returns as residency_step() does. */
bool residency_go_on(struct gpu *g);
/* What is wanted and there already is held, */
void residency_hold(struct gpu *g, uint32_t layer, uint32_t expert, uint32_t pass);
/* ... and what is not is loaded. */
void residency_load_early(struct gpu *g, uint32_t layer, uint32_t expert, uint32_t pass);

/* ---- hosted.c: experts that run on the host ---- */

/* NULL if the policy fetches whatever is missing. */
struct hosted *hosted_new(struct gpu *g);
void hosted_free(struct hosted *h);
/* Asks where the step's missing experts run, and submits those that stay on the host.
 * Returns the rest. */
struct step_accesses hosted_take(struct gpu *g, struct step_accesses all);
/* Submits an operation that adds up what the layer's experts gave: it waits for those on
 * the host, too, of which there are some. */
void hosted_join(struct gpu *g, const struct op *op, sim_time *share);
/* Books the pass's waits for them, which were booked as waits for copies, anew. */
void hosted_attribute(struct runner *c, struct gpu *g);

/* ---- precision.c: experts in fewer bits ---- */

/* NULL if the policy loads all as they are. */
struct precision *precision_new(const struct gpu *g);
void precision_free(struct precision *p);
/* Decides in which form the step accesses each expert: as it is where that is wanted or
 * resident, else in fewer bits. Once the cache has begun the step. */
struct step_accesses precision_take(struct gpu *g, struct step_accesses all);
/* What one in fewer bits takes of each layer, owned; and what is not read of it. NULL and
 * 0 if none is. */
uint64_t *precision_bytes(const struct run_setup *s, uint32_t layers);
float precision_spares(const struct run_setup *s);
/* Experts' worth of weights that a group does not read. */
float precision_spared(const struct residency *r, const struct expert_group *group);

/* ---- predictor.c ---- */

void predictor_init(struct runner *c);
void predictor_release(struct predictor *p);
/* Learns from the routed layer and loads early what it wants. */
void predictor_step(struct runner *c);

/* ---- selecting.c: the select slot ---- */

void selecting_init(struct runner *c);
void selecting_release(struct selecting *s);
/* Whether it chooses in the pass. */
void selecting_begin_pass(struct runner *c);
/* Lets it choose for the rows that `v` shows with their candidates, all of the layer that
 * are routed together; writes choice (row, k). */
void selecting_apply(struct runner *c, const struct view *v, uint16_t *choice);
/* The same for rows that are not neighbours, told one run of neighbours after the other;
 * `v` is any of their views. Returns their choices in turn; valid until the next call. */
void selecting_collect(struct runner *c, const struct view *v);
const uint16_t *selecting_apply_collected(struct runner *c, const struct view *v);

/* ---- watch.c: which misses could have been foretold ---- */

/* Behind predictor_init(). NULL where the setup has none. */
struct watch *watch_new(struct runner *c);
void watch_free(struct watch *w, uint32_t gpus);
/* A miss of the step, whose copy was remembered last; a copy ahead of use. */
void watch_miss(struct gpu *g, uint32_t expert);
void watch_copy_ahead(struct gpu *g, op_id copy);
/* Behind a layer's experts: asks for what comes. */
void watch_step(struct runner *c);
/* Behind a pass, before its operations are retired: books the misses of a GPU. */
void watch_end_pass(struct gpu *g);

/* ---- routing_alone.c: a GPU that may hold every expert ---- */

void routing_alone_init(struct runner *c);
void routing_alone_release(struct runner *c);
/* Finds the executed experts of one layer. */
void routing_alone_layer(struct runner *c, uint32_t layer);
/* Before a pass. */
void routing_alone_pass(struct runner *c);
/* Behind it: what its largest layer takes. */
void routing_alone_activations(struct runner *c);
/* Whether that is known already: as in the pass before. */
static inline bool routing_alone_is_known(const struct runner *c)
{
    return !c->reroutes && c->gpu->dispatch->rows == c->pass->rows &&
           c->most_rows == c->known_rows;
}
/* Clears what it set. */
static inline void routing_alone_clear(struct runner *c)
{
    struct step *step = &c->gpu->step;
    const uint16_t *active = step->active;
    uint32_t *tokens = step->tokens, count = step->active_count;

    if (c->load != NULL)
        for (uint32_t i = 0; i < count; i++)
            c->load[(size_t)step->layer * c->experts + active[i]] += tokens[active[i]];
    for (uint32_t i = 0; i < count; i++)
        tokens[active[i]] = 0;
}

/* What a batch's activations take on a GPU that runs experts on so many rows, at most so
 * many of one expert. One GPU sends nothing. */
static inline uint64_t routing_activations(const struct runner *c, const struct gpu *g,
                                           uint32_t batch, uint64_t rows, uint64_t most)
{
    struct activation a = activation_count(c->setup->cost->model, &g->dispatch[batch],
                                           rows, g->step.piece != NULL ? most : rows);

    if (c->gpus == 1 && !c->pads)
        a.dispatched = a.returned = 0;
    return activation_peak(&a);
}
/* How a GPU's rows are arranged for their experts, after its gate. */
struct cost_dispatch routing_dispatch(const struct runner *c, uint32_t rows,
                                      struct gate_result gate);

/* ---- routing_spread.c, routing_layer.c: rows and experts of several GPUs ---- */

void routing_spread_init(struct runner *c);
void routing_spread_release(struct runner *c);
/* Shares the rows of the pass out over the GPUs. 0 or -1. */
int routing_spread_pass(struct runner *c, struct err *e);
/* The rows of a rank and batch are in spread_rows from first[spread_run()] to the next.
 */
static inline uint32_t spread_run(const struct spread *s, uint32_t rank, uint32_t batch)
{
    uint32_t tensor = s->p->tensor;

    if (s->program.batches == 1)
        return rank;
    return (rank / tensor * s->program.batches + batch) * tensor + rank % tensor;
}
/* Finds how many rows of a batch go from where to where in a layer; after the last batch,
 * books the layer.
 * 0, or -1 where a gate's capacities are more rows than can be counted. */
int routing_spread_batch(struct runner *c, uint32_t layer, uint32_t batch, struct err *e);
/* Makes a part of the layer every GPU's step. */
void routing_spread_part(struct runner *c, uint32_t layer, uint32_t part);
void routing_spread_clear(struct runner *c);

/* ---- placement.c: where experts are, and how they move ---- */

int placement_init(struct runner *c, struct err *e);
void placement_release(struct spread *s);
/* The loads of the profile on a GPU's slots, (layer, local slot). Owned. */
uint64_t *placement_profile(const struct runner *c, uint32_t gpu);
/* Takes up copies that are there, and rebalances if that is due. 0 or -1. */
int placement_begin_pass(struct runner *c, struct err *e);
void placement_end_pass(struct runner *c);

/* ---- even_work.c: the balanced bound ---- */

/* Work of one GPU on the experts of a layer. */
struct even_work {
    struct cost_experts work;
    sim_time time;
};
/* Of the rows that chose each expert, the least that some GPU has to do whatever the
 * placement. */
struct even_work even_work_of(const struct runner *c, const uint32_t *of_expert);
/* Whether a GPU has more to do than that, */
bool even_work_exceeds(const struct gpu *g, const struct even_work *even);
/* ... and the share instead of it. */
void even_work_run(struct gpu *g, uint32_t layer, const struct even_work *even);

/* ---- stages.c ---- */

/* All layers of a pass, and its head. 0 or -1. */
int stages_run(struct runner *c, struct err *e);
/* The same of the layers of c->span. Apart, so that what walks all of them is told so. */
int stages_run_span(struct runner *c, struct err *e);
/* Tells the setup's future_writer what the step accesses. 0 or -1. */
int stages_record(struct runner *c, struct err *e);

/* ---- sides.c: passes of an encoder-decoder model ---- */

/* What is done with the rows of a side, which are c->pass, in its layers, c->span. 0 or
 * -1. */
typedef int sides_walk(struct runner *c, struct err *e);
/* The encoder's rows of c->pass, then the decoder's, each in the layers of their side.
 * Layers that no row goes through access nothing. 0 or -1. */
int sides_each(struct runner *c, sides_walk *walk, struct err *e);

/* ---- kv_memory.c ---- */

/* Books the KV cache of a batch for GPUs [first, first + count), and refuses one that
 * does not fit beside the weights. */
int kv_memory_check(struct runner *c, uint32_t first, uint32_t count,
                    const struct cost_batch *b, struct err *e);

#endif
