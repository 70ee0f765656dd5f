#include "print_placement.h"

#include "sim/base/mem.h"
#include "sim/base/plain.h"
#include "sim/base/text.h"
#include "sim/policy/place_map.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* One placement of a policy. */
struct shown {
    const struct result *result;
    const struct result_policy *policy;
    uint64_t number;        /* of those kept */
    const uint16_t *expert; /* (layer, slot) */
};

static int refuse_none(const struct result_policy *p, struct err *e)
{
    if (p->run.shards > 1)
        return err_set(e,
                       "policy '%s' has a slice of every expert on every GPU, which is "
                       "no map; choose another policy",
                       p->label);
    return err_set(e,
                   "policy '%s' ran on one GPU, which holds or loads all experts; run it "
                   "with parallel: {gpus: N}",
                   p->label);
}

/* The placement that was in force in a pass; -1: in the last. 0 or -1. */
static int find_placement(const struct result *r, const struct result_policy *p,
                          int64_t pass, struct shown *s, struct err *e)
{
    const struct run_placements *placed = &p->run.placed;
    uint64_t n = placed->count;

    if (n == 0)
        return refuse_none(p, e);
    if (pass >= 0 && (uint64_t)pass >= p->run.passes)
        return err_set(e,
                       "policy '%s' has no pass %" PRId64 "; it ran %" PRIu64 " passes",
                       p->label, pass, p->run.passes);
    while (n > 1 && pass >= 0 && placed->pass[n - 1] > (uint64_t)pass)
        n--;
    if (pass >= 0 && placed->made > placed->count && n + 1 == placed->count &&
        placed->pass[n - 1] != (uint64_t)pass)
        return err_set(e,
                       "the placement of pass %" PRId64 " of policy '%s' may be one that "
                       "was not kept: of %" PRIu64 " the first %" PRIu64
                       " and the last are; ask for a pass before %" PRIu64
                       " or from %" PRIu64 " on",
                       pass, p->label, placed->made, placed->count - 1,
                       placed->pass[n - 1] + 1, placed->pass[n]);
    *s = (struct shown){r, p, n - 1,
                        placed->expert + (n - 1) * (size_t)r->layers * placed->slots};
    return 0;
}

static const struct result_policy *find_policy(const struct result *r, const char *label,
                                               struct err *e)
{
    for (uint32_t i = 0; i < r->policies; i++)
        if (strcmp(r->policy[i].label, label) == 0)
            return &r->policy[i];
    (void)err_set(e, "there is no policy '%s'; the first one is '%s'", label,
                  r->policy[0].label);
    return NULL;
}

/* ---- as a map ---- */

int result_print_map(const struct result *r, const struct placement_choice *choice,
                     FILE *out, struct err *e)
{
    const struct result_policy *p = &r->policy[0];
    const struct place_map_shape shape = {r->layers, r->experts, r->moe_layer, 0};
    struct shown s;

    if (choice->policy == NULL && r->policies > 1)
        return err_set(e,
                       "there are %u policies; choose one by its name, such as "
                       "--policy '%s'",
                       r->policies, p->label);
    if (choice->policy != NULL)
        p = find_policy(r, choice->policy, e);
    if (p == NULL || find_placement(r, p, choice->pass, &s, e) != 0)
        return -1;
    place_map_print(out, &shape, p->run.placed.slots, s.expert);
    return 0;
}

/* ---- as text ---- */

/* Fills count[experts] with the slots that hold each. */
static void count_replicas(const struct shown *s, uint32_t layer, uint32_t *count)
{
    const uint32_t slots = s->policy->run.placed.slots;
    const uint16_t *expert = s->expert + (size_t)layer * slots;

    memset(count, 0, s->result->experts * sizeof *count);
    for (uint32_t i = 0; i < slots; i++)
        if (expert[i] != UINT16_MAX)
            count[expert[i]]++;
}

static void print_head(const struct shown *s, FILE *out)
{
    const struct run_result *run = &s->policy->run;
    const struct run_placements *placed = &run->placed;

    plain_printf(out, "%s: %u slots a layer for %u experts on %u GPUs, %u on each; ",
                 s->policy->label, placed->slots, s->result->experts, run->gpus,
                 placed->slots / run->gpus);
    if (placed->made == 1)
        (void)fprintf(out, "placed once\n");
    else
        (void)fprintf(out,
                      "placement %" PRIu64 " of %" PRIu64 ", from pass %" PRIu64 "\n",
                      s->number + 1 == placed->count ? placed->made : s->number + 1,
                      placed->made, placed->pass[s->number]);
}

/* One GPU's experts, in lines that are not too wide. */
static void print_gpu(const struct shown *s, uint32_t gpu, const uint16_t *expert,
                      const uint32_t *count, FILE *out)
{
    const uint32_t local = s->policy->run.placed.slots / s->policy->run.gpus;
    int at = fprintf(out, "  GPU %-4u", gpu);

    for (uint32_t i = 0; i < local; i++) {
        const uint16_t x = expert[(size_t)gpu * local + i];
        char word[24];
        int length;

        if (x == UINT16_MAX)
            length = snprintf(word, sizeof word, " -");
        else if (count[x] > 1)
            length = snprintf(word, sizeof word, " %ux%u", x, count[x]);
        else
            length = snprintf(word, sizeof word, " %u", x);
        if (at + length > TEXT_COLUMNS)
            at = fprintf(out, "\n          ") - 1;
        at += fprintf(out, "%s", word);
    }
    (void)fputc('\n', out);
}

static void print_layer(const struct shown *s, uint32_t layer, FILE *out)
{
    const struct result *r = s->result;
    const struct run_result *run = &s->policy->run;
    const uint16_t *expert = s->expert + (size_t)layer * run->placed.slots;
    uint32_t *count = mem_alloc(r->experts, sizeof *count);
    uint32_t more = 0, most = 1;

    count_replicas(s, layer, count);
    for (uint32_t x = 0; x < r->experts; x++) {
        more += count[x] > 1;
        most = count[x] > most ? count[x] : most;
    }
    print_head(s, out);
    (void)fprintf(out, "decoder layer %u: ", r->moe_layer[layer]);
    if (more == 0)
        (void)fprintf(out, "every expert once\n");
    else
        (void)fprintf(out,
                      "%u experts in more than one slot, at most %u (3x2: expert 3, "
                      "which has 2)\n",
                      more, most);
    for (uint32_t g = 0; g < run->gpus; g++)
        print_gpu(s, g, expert, count, out);
    free(count);
}

/* The number of a decoder layer among the MoE layers. 0 or -1. */
static int find_layer(const struct result *r, int64_t wanted, uint32_t *layer,
                      struct err *e)
{
    for (*layer = 0; *layer < r->layers; (*layer)++)
        if (wanted < 0 || r->moe_layer[*layer] == wanted)
            return 0;
    return err_set(e,
                   "decoder layer %" PRId64 " has no experts; those from %u to %u have",
                   wanted, r->moe_layer[0], r->moe_layer[r->layers - 1]);
}

int result_print_placement(const struct result *r, const struct placement_choice *choice,
                           FILE *out, struct err *e)
{
    uint32_t layer;
    bool any = false;

    if (find_layer(r, choice->layer, &layer, e) != 0 ||
        (choice->policy != NULL && find_policy(r, choice->policy, e) == NULL))
        return -1;
    for (uint32_t i = 0; i < r->policies; i++) {
        const struct result_policy *p = &r->policy[i];
        struct shown s;

        if (choice->policy == NULL ? p->run.placed.count == 0 && r->policies > 1
                                   : strcmp(p->label, choice->policy) != 0)
            continue;
        if (find_placement(r, p, choice->pass, &s, e) != 0)
            return -1;
        if (any)
            (void)fputc('\n', out);
        print_layer(&s, layer, out);
        any = true;
    }
    return any ? 0 : refuse_none(&r->policy[0], e);
}
