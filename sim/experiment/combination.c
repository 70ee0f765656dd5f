/* What cannot work together: every combination of plug-ins, settings, GPUs, engine and
 * machine that is refused, in one table. */
#include "experiment_state.h"
#include "sim/base/mem.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* What conditions look at, and sentences may name. */
struct facts {
    const struct experiment *x;
    const struct policy *p;
    uint32_t gpus, experts; /* experts of a layer */
    uint32_t slots;         /* for them, on all GPUs; 0 without `parallel` */
    uint32_t parts;         /* that rows go through a layer in */
    uint32_t batches;       /* that rows are cut into before attention */
};

static bool does(const struct facts *f, enum policy_act act)
{
    return policy_does(f->p, act);
}

static bool has(const struct facts *f, enum policy_slot slot, const char *name)
{
    return strcmp(f->p->plugin[slot]->name, name) == 0;
}

static bool is_oracle(const struct facts *f)
{
    return (policy_needs(f->p) & NEED_FUTURE) != 0;
}

static bool shares_experts(const struct facts *f)
{
    return f->x->is_parallel;
}

/* ---- on any number of GPUs ---- */

static bool oracle_of_timed_passes(const struct facts *f)
{
    return is_oracle(f) && !f->x->timeless;
}

static bool oracle_of_residency(const struct facts *f)
{
    return is_oracle(f) && does(f, ACT_RESIDENCY);
}

static bool pinned_and_prefetched(const struct facts *f)
{
    return has(f, SLOT_CACHE, "pin") && does(f, ACT_PREFETCH);
}

static bool bypassed_by_guess(const struct facts *f)
{
    return has(f, SLOT_CACHE, "belady-bypass") && does(f, ACT_PREFETCH) &&
           !has(f, SLOT_PREFETCH, "oracle");
}

static bool two_classes_in_fifo(const struct facts *f)
{
    return f->x->p.engine == ENGINE_FIFO && policy_copies_aside(f->p);
}

static bool shared_links_in_fifo(const struct facts *f)
{
    return f->x->p.engine == ENGINE_FIFO && shares_experts(f) &&
           parallel_needs_events(f->p, &f->x->parallel, &f->x->topology, f->x->info,
                                 f->x->expert_bytes);
}

static bool hosted_without_host(const struct facts *f)
{
    return does(f, ACT_HOST) && f->x->machine->unified;
}

static bool each_in_one_stream(const struct facts *f)
{
    return f->p->schedule.loads == LOADS_EACH && !policy_schedule(f->p)->split;
}

static bool streamed_whole_layers(const struct facts *f)
{
    const struct offload_type *o = policy_offload(f->p);

    return f->p->hosted > 0 && o->streams != NULL &&
           o->streams(f->p->params[SLOT_OFFLOAD]);
}

static bool whole_layers_of_sides(const struct facts *f)
{
    return f->p->hosted > 0 && f->x->model->encoder_layers > 0;
}

static bool whole_layers_shared(const struct facts *f)
{
    return f->p->hosted > 0 && shares_experts(f) && parallel_tensor(&f->x->parallel) > 1;
}

/* Beside all experts, as every GPU's host has its own rows' keys and values. */
static bool whole_layers_too_large(const struct facts *f)
{
    const struct experiment *x = f->x;
    uint64_t room = x->p.host_bytes > 0 ? x->p.host_bytes : x->machine->host.memory_bytes;
    struct model left = experiment_model(x, f->p);
    double kv = (double)x->sizes.kv_tokens * model_kv_bytes(&left) * f->p->hosted;
    double dense = (double)model_dense_bytes(x->model) - (double)model_dense_bytes(&left);

    return f->p->hosted > 0 && (double)x->expert_total_bytes + dense + kv > (double)room;
}

static bool near_without_unit(const struct facts *f)
{
    return does(f, ACT_NEAR) && !f->x->machine->has_near;
}

static bool hosted_from_elsewhere(const struct facts *f)
{
    return does(f, ACT_IN_PLACE) &&
           (f->x->home != TIER_HOST || f->x->host_bytes != UINT64_MAX);
}

/* ---- of experts in fewer bits ---- */

static bool lowers(const struct facts *f)
{
    return does(f, ACT_LOWER);
}

static bool lowered_and_foreseen(const struct facts *f)
{
    return lowers(f) && ((policy_cache(f->p)->plugin.needs &
                          (NEED_FUTURE | NEED_PROFILE | NEED_ROWS)) != 0 ||
                         f->p->cache.allocate != CACHE_ALLOCATE_EVEN);
}

static bool lowered_by_slots(const struct facts *f)
{
    return lowers(f) && f->p->cache.slots > 0;
}

static bool lowered_and_prefetched(const struct facts *f)
{
    return lowers(f) && does(f, ACT_PREFETCH);
}

static bool lowered_and_watched(const struct facts *f)
{
    return lowers(f) && f->x->watch.text != NULL;
}

static bool lowered_and_written_back(const struct facts *f)
{
    return lowers(f) && f->p->cache.write_back;
}

static bool lowered_and_spare(const struct facts *f)
{
    return lowers(f) && f->p->cache.spare > 0;
}

static bool lowered_and_rerouted(const struct facts *f)
{
    return lowers(f) && does(f, ACT_REROUTE);
}

static bool lowered_shards(const struct facts *f)
{
    return lowers(f) && does(f, ACT_SHARD);
}

static bool lowered_one_by_one(const struct facts *f)
{
    return lowers(f) &&
           (f->p->schedule.experts != EXPERTS_GROUPED || f->p->schedule.empty);
}

static bool lowered_in_parts(const struct facts *f)
{
    return lowers(f) && f->parts > 1;
}

static bool lowered_on_device(const struct facts *f)
{
    return lowers(f) && f->x->hooks->element_bits > 0;
}

static bool lowered_above_model(const struct facts *f)
{
    const struct offload_type *o = policy_offload(f->p);

    return lowers(f) && o->bits(f->p->params[SLOT_OFFLOAD]) > f->x->model->expert_bits;
}

/* ---- of an encoder-decoder model ---- */

static bool encodes(const struct facts *f)
{
    return f->x->model->encoder_layers > 0;
}

static bool encoded_in_batches(const struct facts *f)
{
    return encodes(f) && f->batches > 1;
}

/* What predictors learn of a layer is of the layers before it, which a pass of decodes
 * does not go through; a look-ahead knows that. */
static bool encoded_and_predicted(const struct facts *f)
{
    return encodes(f) && does(f, ACT_PREFETCH) && !has(f, SLOT_PREFETCH, "oracle");
}

static bool encoded_and_watched(const struct facts *f)
{
    return encodes(f) && f->x->watch.text != NULL;
}

static bool encoded_and_foreseen(const struct facts *f)
{
    return encodes(f) && f->p->place.foresee > 0;
}

static bool encoded_on_device(const struct facts *f)
{
    return encodes(f) && f->x->hooks->element_bits > 0;
}

/* ---- of a dense equivalent ---- */

static bool equivalent_on_device(const struct facts *f)
{
    return f->p->dense && f->x->hooks->element_bits > 0;
}

/* ---- on one GPU ---- */

static bool placed_alone(const struct facts *f)
{
    const struct policy *p = f->p;

    return !shares_experts(f) && (p->plugin[SLOT_PLACE] != policy_default(SLOT_PLACE) ||
                                  p->place.slots > 0 || p->place.window.interval > 0);
}

/* ---- on a device ---- */

static bool serial_on_device(const struct facts *f)
{
    return f->x->hooks->element_bits > 0 && f->p->schedule.experts != EXPERTS_GROUPED;
}

static bool whole_layers_on_device(const struct facts *f)
{
    return f->x->hooks->element_bits > 0 && f->p->hosted > 0;
}

static bool dense_on_device(const struct facts *f)
{
    const struct gate_type *gate = policy_gate(f->p);

    return f->x->hooks->element_bits > 0 && gate->is_dense != NULL &&
           gate->is_dense(f->p->params[SLOT_GATE]);
}

/* ---- on several ---- */

static bool uneven_slots(const struct facts *f)
{
    return shares_experts(f) && !does(f, ACT_SHARD) &&
           (f->slots % f->gpus != 0 || f->slots < f->experts);
}

static bool padded_replicas(const struct facts *f)
{
    return shares_experts(f) && does(f, ACT_PAD) &&
           (f->slots >= f->experts + f->gpus || does(f, ACT_SHARD));
}

static bool moving_shards(const struct facts *f)
{
    return shares_experts(f) && does(f, ACT_SHARD) && f->p->place.window.interval > 0;
}

static bool foreseen_late(const struct facts *f)
{
    return shares_experts(f) && f->p->place.foresee > 0 &&
           f->p->place.window.interval != 1;
}

static bool empty_in_groups(const struct facts *f)
{
    return shares_experts(f) && f->p->schedule.empty &&
           f->p->schedule.experts != EXPERTS_SERIAL;
}

static bool stages_of_shards(const struct facts *f)
{
    return shares_experts(f) && does(f, ACT_SHARD) && does(f, ACT_STAGES);
}

static bool oracle_in_parts(const struct facts *f)
{
    return is_oracle(f) && f->parts > 1;
}

static bool hosted_in_parts(const struct facts *f)
{
    return does(f, ACT_IN_PLACE) && f->parts > 1;
}

static bool oracle_of_moving(const struct facts *f)
{
    return shares_experts(f) && is_oracle(f) && f->p->place.window.interval > 0;
}

static bool oracle_of_many(const struct facts *f)
{
    return is_oracle(f) && f->slots > UINT16_MAX;
}

static bool moving_cached(const struct facts *f)
{
    return shares_experts(f) && f->p->place.window.interval > 0 &&
           !parallel_is_whole(f->p, &f->x->topology, f->x->info, f->x->expert_bytes);
}

static bool nvlink_missing(const struct facts *f)
{
    int exchange = f->p->schedule.exchange;

    return shares_experts(f) && f->x->topology.nodes > 1 && !f->x->topology.nvlink &&
           (exchange == EXCHANGE_NORMAL || exchange == EXCHANGE_LOW_LATENCY ||
            exchange == EXCHANGE_FORWARD);
}

/* ---- the table ---- */

/* The first that holds is told: "policy 'NAME'", and the sentence, where {slot} is that
 * slot's plug-in and {gpus}, ... are facts. */
static const struct refusal {
    bool (*holds)(const struct facts *f);
    const char *key; /* what it blames, as err_set_key() takes it; NULL: the policy */
    const char *sentence;
} refusals[] = {
    {two_classes_in_fifo, "engine",
     " loads early, writes back, or loads beside experts that run in place, which "
     "engine: fifo cannot do; choose engine: auto or event"},
    {oracle_of_timed_passes, NULL,
     " is an oracle: it needs a workload whose passes do not depend on time; choose "
     "arrivals: closed"},
    {lowered_and_foreseen, "cache",
     ": cache: {cache} goes by what is known of experts in one number of bits, and "
     "offload: {offload} holds them in two; choose a cache that needs no future, profile "
     "or rows, such as cache: lru"},
    {lowered_by_slots, "cache.slots",
     ": offload: {offload} holds experts in two sizes, which slots do not count; give "
     "the cache's size in bytes, such as cache: {bytes: 25%}"},
    {lowered_and_prefetched, "prefetch",
     ": prefetch: {prefetch} does not know in how many bits an expert will be wanted "
     "(offload: {offload}); choose prefetch: none"},
    {lowered_and_watched, "watch",
     ": watch does not know in how many bits an expert will be wanted (offload: "
     "{offload}); leave watch out"},
    {lowered_and_written_back, "cache.write_back",
     ": write_back swaps an expert's only copy, and offload: {offload} has two of them; "
     "leave write_back out"},
    {lowered_and_spare, "cache.spare",
     ": spare slots are of one size, and offload: {offload} holds experts in two; leave "
     "spare out"},
    {lowered_and_rerouted, "offload",
     ": offload: {offload} goes by the scores of the experts that were recorded, and "
     "gate: {gate} or select: {select} changes which ones run; leave those two out"},
    {lowered_shards, "place",
     ": place: {place} has a slice of every expert on every GPU, and offload: {offload} "
     "loads whole ones; choose another place"},
    {lowered_one_by_one, "schedule",
     ": schedule: experts: serial and empty: yes have no rule for experts in fewer bits "
     "(offload: {offload}); leave them out"},
    {lowered_in_parts, "offload",
     ": offload: {offload} decides on a layer's rows at once; schedule: {schedule} runs "
     "them in {parts} parts; choose another"},
    {lowered_on_device, "offload",
     ": offload: {offload} has no kernels for experts in fewer bits; choose offload: "
     "fetch"},
    {lowered_above_model, "offload.bits",
     ": offload: {offload} loads experts in fewer bits than {model} has; give fewer"},
    {oracle_of_residency, "select",
     " is an oracle, but what select: {select} lets rows execute depends on what is "
     "resident, which nobody knows beforehand; choose another cache or prefetch, or "
     "another select"},
    {pinned_and_prefetched, "prefetch",
     ": cache 'pin' does not go with prefetch '{prefetch}': only the pinned experts ever "
     "stay, so an early load would have nowhere to go; use prefetch 'none'"},
    {bypassed_by_guess, "prefetch",
     ": cache 'belady-bypass' does not go with prefetch '{prefetch}': it keeps only what "
     "is used next, which a guess may never be; use prefetch 'none' or 'oracle'"},
    {placed_alone, NULL,
     " places experts on GPUs, which the runner of one GPU does not know; say parallel: "
     "{gpus: 1} (or more)"},
    {serial_on_device, "schedule.experts",
     ": schedule: experts: serial has no kernels to execute; choose experts: grouped"},
    {whole_layers_on_device, "offload.whole",
     ": offload: whole layers on the host are simulated only; choose whole: no"},
    {dense_on_device, "gate.dispatch",
     ": gate: dispatch: dense has no kernels to execute; choose dispatch: sparse"},
    {uneven_slots, "place.slots",
     ": place: slots is {slots}; {experts} experts on {gpus} GPUs need a multiple of "
     "{gpus}, at least {least}"},
    {padded_replicas, "gate",
     ": gate: {gate} pads every expert's rows, so that replicas and shards have no rule; "
     "choose gate: dropless, or as few slots as hold every expert once"},
    {moving_shards, "place.interval",
     ": place: {place} has every expert everywhere, so that there is nothing to "
     "rebalance; leave interval out"},
    {foreseen_late, "place.foresee",
     ": place: foresee tells of the coming pass, for which interval must be 1"},
    {empty_in_groups, "schedule.empty",
     ": schedule: empty needs experts: serial, which launches expert by expert"},
    {stages_of_shards, "schedule",
     ": schedule: {schedule} has no rule for place: {place}, which sends all rows to all "
     "GPUs; choose another of the two"},
    {oracle_in_parts, "schedule",
     " is an oracle, which looks ahead layer by layer; schedule: {schedule} splits them "
     "in {parts} parts; choose another"},
    {hosted_in_parts, "offload",
     ": offload: {offload} decides on a layer's experts at once; schedule: {schedule} "
     "runs them in {parts} parts; choose another"},
    {oracle_of_moving, "place.interval",
     " is an oracle, which knows where experts are only if they stay there; leave "
     "interval out"},
    {oracle_of_many, "place.slots",
     " is an oracle, which can look ahead for {most} slots of a layer, not {slots}; take "
     "fewer GPUs"},
    {moving_cached, "cache.slots",
     " rebalances, but its caches do not hold all experts of a GPU; leave cache: slots "
     "out, or interval"},
    {nvlink_missing, "schedule.exchange",
     ": schedule: this exchange is made for NVLink in a node, which the machine does not "
     "have; choose exchange: flat or rails"},
    {shared_links_in_fifo, "engine",
     " copies weights or gathers rows while GPUs share the links, which engine: fifo "
     "cannot do; choose engine: auto or event"},
    {encoded_in_batches, "schedule",
     ": schedule: {schedule} cuts the rows of a pass before attention, and the encoder "
     "of "
     "{model} reads a prompt in one piece; choose another schedule"},
    {encoded_and_predicted, "prefetch",
     ": prefetch: {prefetch} learns from layer to layer, but rows of {model} go through "
     "the encoder's layers or the decoder's; choose prefetch: none or oracle"},
    {encoded_and_watched, "watch",
     ": watch asks a predictor that learns from layer to layer, but rows of {model} go "
     "through the encoder's layers or the decoder's; leave watch out"},
    {encoded_and_foreseen, "place.foresee",
     ": place: foresee tells of all layers of a pass at once, but rows of {model} go "
     "through the encoder's layers or the decoder's; leave foresee out"},
    {encoded_on_device, "model",
     ": {model} is an encoder-decoder model, whose cross-attention has no kernels to "
     "execute; choose a decoder-only model (encoder_layers: 0)"},
    {equivalent_on_device, "dense-equivalent",
     ": dense-equivalent has no weights to execute; leave it out"},
    {hosted_without_host, NULL,
     " runs experts on the host (offload: {offload}), but host and GPU of {machine} are "
     "one; choose offload: fetch, or another machine"},
    {streamed_whole_layers, "offload.batch",
     ": offload: {offload} has whole layers on the host, whose weights no pass streams "
     "to "
     "the GPU; say batch: never"},
    {whole_layers_of_sides, "offload.whole",
     ": offload: {offload} has whole layers on the host, which an encoder-decoder model "
     "is "
     "not replayed with; choose whole: no"},
    {whole_layers_too_large, "offload.whole",
     ": offload: {offload} has whole layers on the host, whose memory does not hold "
     "them, "
     "their keys and values and all experts; take fewer layers, or a larger host_memory"},
    {whole_layers_shared, "offload.whole",
     ": offload: {offload} has whole layers on the host, whose attention GPUs cannot "
     "share; "
     "choose whole: no, or attention: data"},
    {each_in_one_stream, "schedule.loads",
     ": schedule: {schedule} runs nothing while experts load, so that loads: each has no "
     "meaning; choose schedule: overlapped, or loads: together"},
    {near_without_unit, NULL,
     " runs experts near their data (offload: {offload}), but {machine} has no unit "
     "there; "
     "give its file a section near: with bandwidth and flops (models/README.md)"},
    {hosted_from_elsewhere, NULL,
     " runs experts where they are stored (offload: {offload}), but not all of them are "
     "in "
     "host memory; choose offload: fetch, or keep them there with home: host and enough "
     "host_memory"},
};

/* ---- telling ---- */

static struct facts look(const struct experiment *x, const struct policy *p)
{
    struct facts f = {.x = x, .p = p, .gpus = 1, .experts = x->info->experts, .parts = 1};

    if (x->is_parallel) {
        f.gpus = x->topology.ranks;
        f.slots = parallel_slots(p, &x->topology, f.experts);
        f.parts = parallel_program(p, &x->topology).parts;
        f.batches = parallel_program(p, &x->topology).batches;
    }
    return f;
}

/* What stands for a word in braces; owned, or NULL where it is no word of ours. */
static char *word(const struct facts *f, const char *name, size_t length)
{
    const struct {
        const char *name;
        uint32_t value;
    } numbers[] = {
        {"gpus", f->gpus},    {"experts", f->experts},
        {"slots", f->slots},  {"least", (f->experts + f->gpus - 1) / f->gpus * f->gpus},
        {"most", UINT16_MAX}, /* slots of a look-ahead */
        {"parts", f->parts},
    };

    for (int slot = 0; slot < POLICY_SLOTS; slot++) {
        const char *own = policy_slot_name((enum policy_slot)slot);

        if (strlen(own) == length && strncmp(own, name, length) == 0)
            return mem_strdup(f->p->plugin[slot]->name);
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (strlen(numbers[i].name) == length &&
            strncmp(numbers[i].name, name, length) == 0)
            return mem_format("%" PRIu32, numbers[i].value);
    if (length == strlen("machine") && strncmp(name, "machine", length) == 0)
        return mem_strdup(f->x->machine->name);
    if (length == strlen("model") && strncmp(name, "model", length) == 0)
        return mem_strdup(f->x->model->name);
    return NULL;
}

/* The sentence with its words filled in; owned. */
static char *fill(const struct facts *f, const char *sentence)
{
    char *text = mem_strdup("");

    while (*sentence != '\0') {
        size_t plain = strcspn(sentence + 1, "{") + 1;
        size_t inside = *sentence == '{' ? strcspn(sentence + 1, "}") : 0;
        char *filled = inside > 0 ? word(f, sentence + 1, inside) : NULL;
        char *longer = filled != NULL ? mem_format("%s%s", text, filled)
                                      : mem_format("%s%.*s", text, (int)plain, sentence);

        sentence += filled != NULL ? inside + 2 : plain;
        free(filled);
        free(text);
        text = longer;
    }
    return text;
}

int combination_check(const struct experiment *x, const struct policy *p, struct err *e)
{
    struct facts f = look(x, p);

    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        const struct refusal *r = &refusals[i];
        char *sentence;

        if (!r->holds(&f))
            continue;
        sentence = fill(&f, r->sentence);
        if (r->key != NULL)
            (void)err_set_key(e, r->key, "policy '%s'%s", p->label, sentence);
        else
            (void)err_set(e, "policy '%s'%s", p->label, sentence);
        free(sentence);
        return -1;
    }
    return 0;
}
