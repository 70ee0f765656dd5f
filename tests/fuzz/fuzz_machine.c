/* Machine files: what is accepted gives costs, and links, that can be. */
#include "input.h"

#include "models/cost.h"
#include "models/machine.h"
#include "models/topology.h"

#include <math.h>

FUZZ_TEXT_MUTATOR

static void check_costs(const struct machine *k)
{
    static struct model *model;
    struct err e = {.text = ""};
    struct cost_batch batch = {.tokens = 3, .outputs = 1, .kv_tokens = 40, .pairs = 90};
    struct cost_experts experts = {.distinct = 0};
    struct cost c = {.machine = k};

    if (model == NULL)
        model = model_load("models/arch/gpt-oss-20b.yaml", "models/arch", &e);
    fuzz_require(model != NULL);
    c.model = model;
    cost_experts_add(&experts, 3, &k->gpu.tiles);
    fuzz_require(experts.padded_rows >= 3);
    for (int graph = 0; graph < 2; graph++) {
        c.graph = graph == 1;
        fuzz_require(cost_dense(&c, 0, &batch) >= 0 && cost_gate(&c, 3) >= 0);
        fuzz_require(cost_head(&c, &batch) >= 0 && cost_expert_alone(&c, 3) >= 0);
        fuzz_require(cost_expert_group(&c, &experts) >= 0);
    }
    fuzz_require(cost_host_experts(&c, &experts) >= 0 && cost_host_trip(&c, 3) >= 0);
    fuzz_require(cost_copy(&k->h2d_pinned, 1000) >= 0 &&
                 cost_copy(&k->d2h_pageable, 1000) >= 0);
    if (k->has_storage)
        fuzz_require(cost_copy(&k->storage_read, 1000) >= 0);
}

static void check_topology(const struct machine *k)
{
    struct topology t = topology_of(k);
    uint16_t path[ENGINE_MAX_PATH];

    fuzz_require(t.ranks == t.nodes * t.gpus && t.ranks > 0);
    for (int port = 0; port < TOPOLOGY_PORTS; port++)
        fuzz_require(t.first[port] <= t.first[port + 1]);
    fuzz_require(t.first[TOPOLOGY_PORTS] == t.links);
    if (t.links > UINT16_MAX)
        return;
    for (uint32_t r = 1; r < t.ranks && r < 40; r++) {
        uint32_t steps;

        if (t.nodes > 1 && !k->has_network)
            break;
        steps = topology_path(&t, 0, r, path);
        fuzz_require(steps > 0 && steps <= ENGINE_MAX_PATH);
        for (uint32_t i = 0; i < steps; i++)
            fuzz_require(path[i] < t.links);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err e = {.text = ""};
    struct cfg *c = cfg_parse("machine.yaml", (const char *)data, size, &e);
    struct machine *k = c == NULL ? NULL : machine_from_cfg(c, &e);

    cfg_free(c);
    fuzz_require_sentence(k == NULL ? -1 : 0, &e);
    if (k == NULL)
        return 0;
    fuzz_require(k->gpus > 0 && k->nodes > 0 && k->gpu.memory_bytes > 0);
    fuzz_require(isfinite(k->gpu.hbm_bytes_per_s) && k->gpu.hbm_bytes_per_s > 0.0);
    check_costs(k);
    check_topology(k);
    machine_free(k);
    return 0;
}
