#include "hand_result.h"

#include <string.h>

static const sim_time ms = 1000 * SIM_TIME_PER_US;

static struct run_request request_of(uint64_t number, int arrival, int first, int tpot)
{
    return (struct run_request){
        .trace_request = number,
        .arrival = arrival * ms,
        .first_token = first * ms,
        .last_token = (first + 10 * tpot) * ms,
        .prompt_tokens = 5,
        .output_tokens = 11,
        .finished = true,
    };
}

static void make_run(struct hand *h, int i)
{
    struct run_result *run = &h->p[i].run;
    struct run_counts *c = &run->total.counts;

    h->request[i][0] = request_of(0, 0, i == 0 ? 100 : 150, i == 0 ? 10 : 20);
    h->request[i][1] = request_of(1, 50, i == 0 ? 250 : 100, i == 0 ? 20 : 40);
    run->request = h->request[i];
    run->requests = HAND_REQUESTS;
    run->finished = true;
    run->passes = 10;
    run->output_tokens = 22;
    run->elapsed = (i == 0 ? 1000 : 2000) * ms;
    run->compute_busy = (i == 0 ? 400 : 1000) * ms;
    run->total.latency = (i == 0 ? 900 : 1800) * ms;
    run->total.share[SHARE_DENSE] = (i == 0 ? 200 : 500) * ms;
    run->total.share[SHARE_EXPERT] = (i == 0 ? 400 : 1000) * ms;
    run->total.share[SHARE_COPY] = 300 * ms;
    run->digest = i == 0 ? 0xabc : 0xdef;
    c->activations = 200;
    c->accesses = 100;
    c->hits = i == 0 ? 75 : 90;
    c->loads = 100 - c->hits;
    c->demand_bytes = i == 0 ? 5000000 : 9000000;
    c->prefetch_bytes = i == 0 ? 2000000 : 0;
    c->out_bytes = i == 0 ? 1000000 : 0;
    run->layers = HAND_LAYERS;
    run->layer = h->layer[i];
    for (int l = 0; l < HAND_LAYERS; l++) {
        struct run_layer *y = &h->layer[i][l];

        y->share[SHARE_COPY] = (l == 0 ? 100 : 200) * ms;
        y->counts.accesses = 50;
        y->counts.hits = c->hits / 2;
        y->copies = (uint64_t)l + 1;
    }
}

void hand_make(struct hand *h)
{
    static char trace[] = "t.h5", source[] = "drawn", model[] = "m", machine[] = "gpu";
    static char sheet[] = "sheet", config[] = "c: 1\n", version[] = "moesim 0", a[] = "a";
    static char b[] = "b", standard[] = "standard", lru[] = "lru slots=4",
                none[] = "none";
    static uint16_t decoder[HAND_LAYERS] = {3, 5};

    memset(h, 0, sizeof *h);
    h->r = (struct result){.trace_path = trace,
                           .trace_source = source,
                           .model = model,
                           .machine = machine,
                           .machine_source = sheet,
                           .config = config,
                           .version = version,
                           .seed = 7,
                           .layers = HAND_LAYERS,
                           .experts = 8,
                           .top_k = 2,
                           .moe_layer = decoder,
                           .expert_total_bytes = 60000000000,
                           .dense_bytes = 7000000000,
                           .kv_peak_bytes = 4000000000,
                           .gpu_memory_bytes = 20000000000,
                           .policies = HAND_POLICIES,
                           .policy = h->p};
    for (int i = 0; i < HAND_POLICIES; i++) {
        struct result_policy *p = &h->p[i];

        p->label = i == 0 ? a : b;
        p->variant = standard;
        p->lossless = true;
        p->description[SLOT_CACHE] = lru;
        p->description[SLOT_PREFETCH] = none;
        p->bounds.present = true;
        p->bounds.compute = p->bounds.offline = (i == 0 ? 600 : 1500) * ms;
        p->bounds.belady_time = (i == 0 ? 600 : 1800) * ms;
        make_run(h, i);
    }
}

void hand_make_parallel(struct hand *h)
{
    hand_make(h);
    for (int i = 0; i < HAND_POLICIES; i++) {
        struct result_policy *p = &h->p[i];
        struct run_result *run = &p->run;
        struct run_counts *c = &run->total.counts;

        run->gpus = HAND_GPUS;
        run->nodes = run->shards = 1;
        run->gpu_rows = h->gpu_rows[i];
        for (uint64_t g = 0; g < HAND_GPUS; g++)
            run->gpu_rows[g] = i == 0 ? 20 + 20 * g : 50; /* 50 on average */
        run->gpu_peak = h->gpu_peak[i];
        for (uint64_t g = 0; g < HAND_GPUS; g++)
            run->gpu_peak[g] = ((i == 0 ? 12 : 5) + g) * UINT64_C(1000000000);
        c->hits = c->accesses;
        c->loads = c->demand_bytes = c->prefetch_bytes = c->out_bytes = 0;
        c->computed_rows = c->activations;
        c->busiest_rows = i == 0 ? 80 : 75; /* of 50 */
        c->sent_bytes = i == 0 ? 3000000 : 2000000;
        run->total.share[SHARE_COPY] = 0;
        run->total.share[SHARE_IMBALANCE] = 210 * ms;
        run->total.share[SHARE_COMM] = 90 * ms;
        p->bounds.balanced = (i == 0 ? 720 : 1440) * ms;
        p->bounds.free_network = (i == 0 ? 750 : 1200) * ms;
        p->bounds.belady_hits = RESULT_NONE;
        p->bounds.offline = 0;
        for (int l = 0; l < HAND_LAYERS; l++) {
            run->layer[l].counts.computed_rows = 100;
            run->layer[l].counts.busiest_rows = i == 0 ? 35 : 30;
            run->layer[l].share[SHARE_COPY] = 0;
        }
    }
}
