/* Fiddler (Kamahori et al., ICLR 2025, arXiv 2402.07033, Algorithm 1): a missing expert
 * runs on the host unless that takes longer than to copy its weights and run it on the
 * GPU. The paper measures the times beforehand; here the cost model tells them. The
 * released code has constants in their place, a copy worth ten tokens on the host
 * (`form: released`), and minimises the sum of all experts' costs over all ways to divide
 * them, which is to judge each alone; the comment in it speaks of the larger of both
 * sides, which is `objective: max`. A tie goes to the host. */
#include "offload_plan.h"
#include "slots.h"

enum form { FORM_PAPER, FORM_RELEASED };
enum objective { OBJECTIVE_SUM, OBJECTIVE_MAX };

struct fiddler {
    int form, objective;
    double token_cost, copy_cost;
};

static const char *const forms[] = {"paper", "released", NULL};
static const char *const objectives[] = {"sum", "max", NULL};

static const struct option options[] = {
    {"form", OPT_CHOICE, offsetof(struct fiddler, form), "paper", 0, 0, forms,
     "paper: costs as the machine has them; released: token_cost and copy_cost"},
    {"objective", OPT_CHOICE, offsetof(struct fiddler, objective), "sum", 0, 0,
     objectives,
     "what is least: the sum of the experts' times, each judged alone, or the longer of "
     "host and GPU"},
    {"token_cost", OPT_DOUBLE, offsetof(struct fiddler, token_cost), "7", 1e-6, 1e6, NULL,
     "form: released: of a token of an expert on the host, in any unit"},
    {"copy_cost", OPT_DOUBLE, offsetof(struct fiddler, copy_cost), "70", 1e-6, 1e6, NULL,
     "form: released: of an expert on the GPU, in the same"},
    {.name = NULL},
};

/* ---- the released costs: nothing but tokens on the host and copies on the GPU ---- */

enum { UNIT = 1000000 }; /* of a cost */

static sim_time released_gpu(const void *context, const struct cost_experts *group)
{
    (void)context;
    (void)group;
    return 0;
}

static sim_time released_host(const void *context, const struct cost_experts *group,
                              sim_time sum)
{
    const struct fiddler *f = context;

    (void)sum;
    return (sim_time)(f->token_cost * UNIT * (double)group->rows);
}

static struct offload_costs costs(const struct fiddler *f, const struct view *v,
                                  const uint16_t *missing, uint32_t count)
{
    if (f->form == FORM_PAPER)
        return offload_costs_host(v, missing, count);
    return (struct offload_costs){.copy = (sim_time)(f->copy_cost * UNIT),
                                  .context = f,
                                  .gpu = released_gpu,
                                  .in_place = released_host,
                                  .tokens = v->tokens,
                                  .tiles = &v->cost->machine->gpu.tiles};
}

/* As if it were the only expert of the step. */
static bool is_sooner_on_gpu(const struct fiddler *f, const struct view *v,
                             uint16_t expert)
{
    struct cost_experts work = {.distinct = 0};
    sim_time host, gpu;

    if (f->form == FORM_RELEASED)
        return f->token_cost * v->tokens[expert] > f->copy_cost;
    cost_experts_add(&work, v->tokens[expert], &v->cost->machine->gpu.tiles);
    host = cost_host_trip(v->cost, work.rows) + cost_host_experts(v->cost, &work);
    gpu = cost_copy(v->copy_in, v->expert_bytes[v->layer]) +
          cost_expert_group(v->cost, &work);
    return host > gpu;
}

/* Rows alone decide, which are often as many as the last one's. */
static void judge_each(const struct fiddler *f, const struct view *v,
                       const uint16_t *missing, uint32_t count, uint8_t *where)
{
    uint32_t rows = 0;
    uint8_t last = OFFLOAD_FETCH;

    for (uint32_t i = 0; i < count; i++) {
        if (i == 0 || v->tokens[missing[i]] != rows)
            last = is_sooner_on_gpu(f, v, missing[i]) ? OFFLOAD_FETCH : OFFLOAD_IN_PLACE;
        rows = v->tokens[missing[i]];
        where[i] = last;
    }
}

static void decide(const void *params, const struct view *v, const uint16_t *missing,
                   uint32_t count, uint16_t *order, uint8_t *where)
{
    const struct fiddler *f = params;
    struct offload_costs c;
    uint32_t copied;

    if (f->objective == OBJECTIVE_SUM) {
        judge_each(f, v, missing, count, where);
        return;
    }
    c = costs(f, v, missing, count);
    offload_sort(v->tokens, missing, count, order);
    copied = offload_best(&c, order, count, count);
    offload_leave(missing, count, order + copied, count - copied, where);
}

static bool shares(const void *params)
{
    (void)params;
    return true;
}

const struct offload_type offload_fiddler = {
    .plugin = {.slot = SLOT_OFFLOAD,
               .name = "fiddler",
               .help =
                   "a missing expert runs where it is done sooner: on the host, or on "
                   "the GPU behind its copy",
               .source = "Kamahori et al., Fiddler, ICLR 2025, arXiv 2402.07033, "
                         "Algorithm 1; form: released: its code's constants",
               .variant = VARIANT_PAPER,
               .lossless = true,
               .acts = ACT_HOST,
               .options = options,
               .params_size = sizeof(struct fiddler)},
    .decide = decide,
    .shares = shares,
};
