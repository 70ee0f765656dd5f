/* Model files: what is accepted has sizes, and costs, that can be. */
#include "input.h"

#include "models/cost.h"
#include "models/machine.h"
#include "models/model.h"

#include <math.h>

FUZZ_TEXT_MUTATOR

static void check_slices(const struct model *m)
{
    for (uint32_t parts = 1; parts <= 8; parts *= 2) {
        struct err e = {.text = ""};
        struct model slice;

        fuzz_require_sentence(model_slice(m, parts, &slice, &e), &e);
        e.text[0] = '\0';
        fuzz_require_sentence(model_slice_experts(m, parts, &slice, &e), &e);
    }
}

static void check_costs(const struct model *m)
{
    static struct machine *machine;
    struct err e = {.text = ""};
    struct cost_batch batch = {.tokens = 3, .outputs = 1, .kv_tokens = 40, .pairs = 90};
    struct cost_experts experts = {.distinct = 1, .rows = 3, .padded_rows = 64};
    struct cost c = {.model = m};

    if (machine == NULL)
        machine = machine_load("models/machine/h100-80g.yaml", "models/machine", &e);
    fuzz_require(machine != NULL);
    c.machine = machine;
    fuzz_require(cost_dense(&c, 0, &batch) >= 0 &&
                 cost_dense(&c, m->layers - 1, &batch) >= 0);
    fuzz_require(cost_gate(&c, 3) >= 0 && cost_head(&c, &batch) >= 0);
    fuzz_require(cost_expert_group(&c, &experts) >= 0 && cost_expert_alone(&c, 3) >= 0);
    fuzz_require(cost_host_experts(&c, &experts) >= 0 && cost_host_trip(&c, 3) >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err e = {.text = ""};
    struct cfg *c = cfg_parse("model.yaml", (const char *)data, size, &e);
    struct model *m = c == NULL ? NULL : model_from_cfg(c, &e);

    cfg_free(c);
    fuzz_require_sentence(m == NULL ? -1 : 0, &e);
    if (m == NULL)
        return 0;
    fuzz_require(m->layers > 0 && m->moe_layers > 0 && m->moe_layers <= m->layers);
    fuzz_require(m->top_k > 0 && m->top_k <= m->experts);
    fuzz_require(model_expert_bytes(m) > 0 && isfinite(model_kv_bytes(m)));
    fuzz_require(model_dense_bytes(m) > 0 && model_kv_bytes(m) >= 0.0);
    check_slices(m);
    check_costs(m);
    model_free(m);
    return 0;
}
