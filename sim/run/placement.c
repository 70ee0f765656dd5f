/* Where experts are, and how they move. */
#include "run_state.h"
#include "sim/base/mem.h"
#include "sim/base/rng.h"

#include <stdlib.h>
#include <string.h>

static bool is_placed_once(const struct runner *c)
{
    return c->setup->policy->place.window.interval == 0;
}

static struct place_problem problem_of(const struct runner *c)
{
    const struct run_setup *s = c->setup;

    return (struct place_problem){
        .layers = c->layers,
        .experts = s->trace->experts,
        .gpus = c->gpus,
        .nodes = c->spread->p->topology->nodes,
        .groups = (uint32_t)s->policy->place.groups,
        .slots = c->spread->p->slots,
        .map = s->policy->map,
        .seed = s->seed,
    };
}

/* By the plug-in that is there where none is named, with its defaults. */
static struct place *default_placement(const struct place_problem *problem, struct err *e)
{
    const struct plugin *plugin = policy_default(SLOT_PLACE);
    void *params = mem_zalloc(1, plugin->params_size);
    struct place *place = NULL;

    if (cfg_bind(NULL, plugin->options, params, e) == 0)
        place = place_new((const struct place_type *)plugin, params, problem, e);
    free(params);
    return place;
}

/* By the profile; with rebalances to come, as if every expert were loaded alike, by the
 * plug-in if it can do without a history, else linearly. */
static struct place *first_placement(const struct runner *c, struct err *e)
{
    const struct run_setup *s = c->setup;
    const struct place_type *type = policy_place(s->policy);
    struct place_problem problem = problem_of(c);
    size_t cells = (size_t)problem.layers * problem.experts;
    double *load = mem_alloc(cells, sizeof *load);
    struct place *place;
    struct err ignored = {.text = ""};

    for (size_t i = 0; i < cells; i++)
        load[i] = is_placed_once(c) && s->profile != NULL ? (double)s->profile[i] : 1;
    problem.load = load;
    if (is_placed_once(c)) {
        problem.history = c->spread->p->history;
        problem.samples = c->spread->p->samples;
        place = place_new(type, s->policy->params[SLOT_PLACE], &problem, e);
    } else {
        place = place_new(type, s->policy->params[SLOT_PLACE], &problem, &ignored);
        if (place == NULL)
            place = default_placement(&problem, e);
    }
    free(load);
    return place;
}

/* A gate that pads has no rule for replicas, which some plug-ins make of spare slots. */
static int check_replicas(const struct runner *c, const struct place *p, struct err *e)
{
    const struct policy *policy = c->setup->policy;

    if (!policy_does(policy, ACT_PAD))
        return 0;
    for (uint32_t l = 0; l < p->layers; l++) {
        for (uint32_t i = 0; i < p->experts; i++) {
            uint32_t count;

            (void)place_replicas(p, l, i, &count);
            if (count > 1)
                return err_set_key(
                    e, "gate",
                    "policy '%s': gate: %s pads every expert's rows, so that "
                    "replicas have no rule, but place: %s makes some of the spare "
                    "slots; choose another, or GPUs that divide the experts",
                    policy->label, policy->plugin[SLOT_GATE]->name,
                    policy->plugin[SLOT_PLACE]->name);
        }
    }
    return 0;
}

/* Keeps what is in force from a pass on. Where there is no room for one more, it takes
 * the place of the last; so does what was in force for no pass. */
static void keep(struct runner *c, uint64_t pass)
{
    struct run_placements *kept = &c->result->placed;
    const struct place *p = c->spread->place;
    const size_t cells = (size_t)p->layers * p->slots;
    const size_t bytes = cells * sizeof *kept->expert;
    const size_t fit = RUN_PLACEMENT_BYTES / bytes;
    const size_t most = fit < 2 ? 2 : fit; /* two, whatever they take */

    if (p->shards > 1)
        return;
    if (kept->made == 0 || kept->pass[kept->count - 1] != pass) {
        kept->made++;
        if (kept->count < most) {
            kept->pass = mem_grow(kept->pass, kept->count, sizeof *kept->pass);
            kept->expert = mem_grow(kept->expert, kept->count, bytes);
            kept->count++;
        }
    }
    kept->slots = p->slots;
    kept->pass[kept->count - 1] = pass;
    memcpy(kept->expert + (kept->count - 1) * cells, p->expert, bytes);
}

int placement_init(struct runner *c, struct err *e)
{
    c->spread->place = first_placement(c, e);
    if (c->spread->place == NULL || check_replicas(c, c->spread->place, e) != 0)
        return -1;
    keep(c, 0);
    c->spread->migrated =
        mem_zalloc((size_t)c->gpus * c->gpus, sizeof *c->spread->migrated);
    c->spread->migrate = (struct collective){
        .form = COLLECTIVE_FLAT, .pairs = c->spread->migrated, .unit_bytes = 1};
    if (!is_placed_once(c))
        c->spread->window =
            place_window_new(&c->setup->policy->place.window, c->layers, c->experts);
    return 0;
}

void placement_release(struct spread *s)
{
    place_free(s->place);
    place_free(s->coming);
    place_window_free(s->window);
    free(s->migrated);
}

/* What a predictor tells of the pass whose rows are known already. */
static void foresee_load(const struct runner *c, double *load)
{
    double right = c->setup->policy->place.foresee;
    struct rng rng = rng_stream(c->setup->seed, "foresee", c->pass->index);
    const uint16_t *choice = c->spread->rows.choice;
    size_t row_values = (size_t)c->pass->rows * c->top_k;

    memset(load, 0, (size_t)c->layers * c->experts * sizeof *load);
    for (uint32_t l = 0; l < c->layers; l++, load += c->experts) {
        for (size_t i = 0; i < row_values; i++, choice++) {
            if (*choice == VIEW_NO_EXPERT)
                continue;
            if (right >= 1.0 || rng_unit(&rng) < right)
                load[*choice]++;
            else
                load[rng_below(&rng, c->experts)]++;
        }
    }
}

uint64_t *placement_profile(const struct runner *c, uint32_t gpu)
{
    const struct place *p = c->spread->place;
    uint64_t *profile = mem_zalloc((size_t)c->layers * c->spread->local, sizeof *profile);

    for (uint32_t l = 0; l < c->layers; l++) {
        const uint16_t *own =
            p->expert + (size_t)l * p->slots + (size_t)gpu * c->spread->local;

        for (uint32_t j = 0; j < c->spread->local; j++) {
            uint32_t replicas = 1;

            if (own[j] == PLACE_EMPTY)
                continue;
            if (p->shards == 1)
                (void)place_replicas(p, l, own[j], &replicas);
            profile[(size_t)l * c->spread->local + j] =
                c->setup->profile[(size_t)l * c->experts + own[j]] / replicas;
        }
    }
    return profile;
}

static struct place *rebalance(const struct runner *c, struct err *e)
{
    const struct policy *policy = c->setup->policy;
    struct place_problem problem = problem_of(c);
    double *load = mem_alloc((size_t)problem.layers * problem.experts, sizeof *load);
    struct place *place;

    if (policy->place.foresee > 0)
        foresee_load(c, load);
    else
        place_window_load(c->spread->window, load);
    problem.load = load;
    problem.history = place_window_history(c->spread->window, &problem.samples);
    place = place_new(policy_place(policy), policy->params[SLOT_PLACE], &problem, e);
    if (place != NULL && policy->place.keep)
        place_keep(c->spread->place, place);
    free(load);
    return place;
}

/* Enters one layer's copies, which stand together. */
static void book_copies(struct runner *c, const struct place_copy *copy, size_t copies)
{
    struct run_counts *layer = &c->result->layer[copy->layer].counts;
    uint64_t bytes = c->setup->expert_bytes[copy->layer];

    for (size_t i = 0; i < copies; i++)
        c->spread->migrated[(size_t)copy[i].from * c->gpus + copy[i].to] += bytes;
    layer->migrations++;
    layer->migrated_bytes += copies * bytes;
}

/* Submits the copies; returns whether there are any. */
static bool migrate(struct runner *c, const struct place *to)
{
    struct place_migration m;
    bool any;

    place_migration_init(&m, c->spread->place, to, c->setup->expert_bytes);
    any = m.copies > 0;
    if (any) {
        memset(c->spread->migrated, 0,
               (size_t)c->gpus * c->gpus * sizeof *c->spread->migrated);
        for (size_t i = 0, next; i < m.copies; i = next) {
            for (next = i + 1; next < m.copies && m.copy[next].layer == m.copy[i].layer;)
                next++;
            book_copies(c, &m.copy[i], next - i);
        }
        c->books.counts.migrations++;
        c->books.counts.migrated_bytes += m.bytes;
    }
    place_migration_release(&m);
    return any;
}

static void take_up(struct runner *c, struct place *place)
{
    place_free(c->spread->place);
    c->spread->place = place;
    keep(c, c->pass->index);
}

static void start_migration(struct runner *c, struct place *to)
{
    /* What is always balanced has no copies to wait for. */
    if (migrate(c, to) && !c->spread->p->balanced) {
        if (c->setup->policy->place.migrate == PLACE_BACKGROUND) {
            c->spread->coming = to;
            c->spread->migration = lanes_collect_aside(c, &c->spread->migrate);
            return;
        }
        lanes_collect(c, OP_MIGRATE, 0, LANES_WHOLE, &c->spread->migrate, LANES_ALL,
                      c->spread->migrating);
    }
    take_up(c, to);
}

int placement_begin_pass(struct runner *c, struct err *e)
{
    const struct gpu *first = &c->gpu[0];
    struct place *to;

    if (c->spread->coming != NULL &&
        first->lanes.ops->done(first->lanes.exec, c->spread->migration)) {
        take_up(c, c->spread->coming);
        c->spread->coming = NULL;
        c->spread->migration = 0;
    }
    if (!c->spread->is_due || c->spread->coming != NULL)
        return 0;
    c->spread->is_due = false;
    to = rebalance(c, e);
    if (to == NULL)
        return -1;
    if (check_replicas(c, to, e) != 0) {
        place_free(to);
        return -1;
    }
    start_migration(c, to);
    return 0;
}

void placement_end_pass(struct runner *c)
{
    if (c->spread->window != NULL && place_window_end_pass(c->spread->window))
        c->spread->is_due = true;
}
