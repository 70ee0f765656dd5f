#include "glossary.h"

#include <ctype.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define RESULTS "sim/report/README.md"
#define EXPERIMENT "sim/experiment/README.md"
#define POLICIES "`moesim list policies`"
#define CONFIG "`moesim list config`"

const struct glossary_word glossary_words[] = {
    {"access",
     "One expert of one layer in one pass, however many tokens it has: a hit, a load, a "
     "bypass or a run on the host.",
     "accesses", "sim/policy/cache.h"},
    {"activation",
     "One token's use of one expert: a token of a top-4 model has four in each MoE "
     "layer. As memory, activations are the rows that a pass computes on.",
     "activations|activation_bytes|MoE layer memory", RESULTS},
    {"arrivals",
     "When requests come: all at once as fast as they are served (closed loop), or at "
     "times of their own, drawn or recorded (open loop).",
     "arrival", CONFIG},
    {"Belady",
     "The cache policy that evicts what is needed again last, and so has the most hits; "
     "it must know the future, and is a bound, no policy to deploy.",
     "MIN|belady_hits|belady_bytes|belady_time_s|belady_time_hits", EXPERIMENT},
    {"between GPUs", "Bytes that GPUs send each other: rows to their experts and back.",
     "sent_bytes|sent_rows|busiest_port|busiest_port_bytes|busiest_port_busy|links|ports|"
     "gpu_peak_bytes|kind|busiest|busiest_bytes|bytes_per_s|bytes|link|links",
     RESULTS},
    {"bound",
     "What no policy could beat on this trace and machine: most hits, least bytes, least "
     "time. Gaps are measured from it.",
     "bounds|present|compute_s|copy_s|offline_s|balanced_s|free_network_s", EXPERIMENT},
    {"bypass",
     "A missing expert that is loaded for one step into a staging slot, and not kept.",
     "bypasses", "sim/policy/cache.h"},
    {"cache",
     "The slot of a policy that decides which experts stay in GPU memory. Its size is a "
     "number of slots, of bytes, or a word: all, auto, 80 %.",
     "cache_bytes|cache_slots|preload|slots: auto", "sim/policy/README.md"},
    {"capacity factor",
     "How many tokens an expert may take, as a multiple of the even share; choices "
     "beyond it are dropped, and every expert computes on that many rows.",
     "capacity|cf|gate|dropped choices|dropped|dropped_share", "sim/policy/README.md"},
    {"closed loop",
     "Requests come when there is room for them, so that which rows form a pass does not "
     "depend on time, and every policy runs the same passes.",
     "closed|timeless", CONFIG},
    {"comparison",
     "Two policies on the same requests: the mean ratio of their times per output token "
     "with its 95 % interval, and whether it is significant over all pairs.",
     "comparisons|pairs|a|b|ratio|ratio_b_to_a|low|high|significant", RESULTS},
    {"configuration",
     "The YAML file that says what is run: trace, model, machine, workload, policies.",
     "config|study", CONFIG},
    {"control",
     "What a select has to beat: the same policy without a select, and with every row's "
     "k best experts alone (select: top-k). At equal gate mass lost its time is "
     "interpolated between them.",
     "top-k reduction", "sim/report/lossy.h"},
    {"decode",
     "The passes that make a request's output, one token each; they read every weight "
     "for few rows.",
     "decode_rows|outputs|output_tokens|output tokens", "sim/workload/README.md"},
    {"demand",
     "A load that a layer waits for, because its expert was missing; unlike a prefetch.",
     "demand_bytes|loads|from the host|copies", "sim/run/README.md"},
    {"dense",
     "What every token runs whatever its routing: attention, norms, shared experts, the "
     "vocabulary's matrices.",
     "dense_bytes|dense_compute_s", "models/README.md"},
    {"digest",
     "A hash of every operation and its times. Equal digests are equal runs, on any "
     "number of threads.",
     "", "sim/exec/README.md"},
    {"engine",
     "How times are found: fifo lanes, or events where copies overtake each other; both "
     "give the same times where both can. `count` finds hits and bytes only.",
     "event_driven|counts_only", CONFIG},
    {"EPLB",
     "DeepSeek's expert-parallel load balancer: it gives hot experts replicas and deals "
     "the slots out so that GPUs have even loads.",
     "place: eplb", "sim/policy/README.md"},
    {"expert",
     "One of the feed-forward networks of an MoE layer, of which a router chooses a few "
     "for each token.",
     "experts|expert_bytes|expert_total_bytes|expert_compute_s|expert_gemms", POLICIES},
    {"expert parallel",
     "Several GPUs share the experts (`parallel:`), and rows travel to them and back.",
     "parallel|gpus|nodes|gpu_rows|fullest_gpu", EXPERIMENT},
    {"exposed comm",
     "The share of the time of passes in which a GPU waits for the network and nothing "
     "hides it.",
     "exposed communication|exposed_communication_share|exposed_communication_s",
     RESULTS},
    {"exposed copy",
     "Time in which a layer waits for an expert's weights; the part of a copy that "
     "compute hides is not in it.",
     "stall|stall_share|exposed_copy_s|late|late_s|queue_s", "`moesim explain`"},
    {"foretold",
     "Of a miss: a predictor had named its expert before the step's routing was known "
     "(`watch:`), so that it could have been loaded early.",
     "watch|named|misses|guesses|right|absent|distance|named_s|fits_s|hidden_s|"
     "all_hidden_s",
     "sim/run/README.md"},
    {"gap",
     "How far the time of all passes is above a bound: offline (least compute and least "
     "bytes), even (balanced rows, all experts resident), no net (a free network).",
     "gap to offline|gap_to_offline|gap to even|gap_to_balanced|gap to no net|"
     "gap_to_free_network",
     EXPERIMENT},
    {"gate mass",
     "What an expert weighs in a token's output: its probability, or of logits the "
     "softmax over the recorded candidates. What a select gives up of it is not all of "
     "its quality; that the best expert is kept tells more.",
     "gate mass lost|mass_lost|select_mass|select_kept", "sim/policy/select.h"},
    {"GPU busy", "The share of the time in which a GPU computes; of several, their mean.",
     "gpu_busy|compute_busy_s", RESULTS},
    {"GPU memory",
     "What a GPU holds: weights, staging slots, KV cache, activations. What may be used "
     "is the machine's, or gpu_memory.",
     "gpu_memory_bytes|weight_bytes|buffer_bytes", EXPERIMENT},
    {"graph",
     "Kernels launched together from a CUDA graph, which costs less than one by one; "
     "only where the host need not look at the routing in between.",
     "launch|launch_and_host_s|eager", "models/README.md"},
    {"group",
     "The part of a trace that a request belongs to, such as its language or data set.",
     "groups|group_names", "traces/FORMAT.md"},
    {"hit rate",
     "The share of accesses that found their expert in GPU memory, or on its way.",
     "hit|hits|hit_rate", "sim/policy/cache.h"},
    {"imbalance",
     "Rows of the busiest GPU over the mean, layer by layer and pass by pass; 1 is even.",
     "busiest_rows|imbalance_wait_s|balance", RESULTS},
    {"knee",
     "Of a curve, the number of slots from which on one more brings less than on "
     "average.",
     "", "`moesim curve --help`, sim/experiment/README.md"},
    {"KV cache",
     "Keys and values of every token so far, which attention reads; it takes GPU memory "
     "beside the experts.",
     "KV|kv_bytes|kv_peak_bytes", "models/README.md"},
    {"lane",
     "What does one thing at a time: the compute stream, the copy engine, the host, a "
     "link.",
     "copy_busy_s|host_busy_s|stream", "sim/engine/README.md"},
    {"latency",
     "The time of a pass, from its start until its tokens are there; each picosecond of "
     "it is put down to one cause.",
     "latency_s|start_s|elapsed_s|tail_s|passes|pass|finished", "sim/run/README.md"},
    {"layer",
     "A decoder layer with experts; layers count from 0 among those, and `moe_layer` "
     "says which decoder layer it is.",
     "layers|moe_layer", "traces/FORMAT.md"},
    {"lossless",
     "The policy leaves what the model computes as it is. One that is lossy drops or "
     "changes choices: compare its speed with care.",
     "lossy", POLICIES},
    {"low precision",
     "Experts that offload: hobbit copies in fewer bits than the model has, for the rows "
     "that weigh them little: how many were loaded so, and how many accesses one of them "
     "served.",
     "low_uses|low_loads|used in few bits|loads in few bits", POLICIES},
    {"machine",
     "The modelled hardware: every number of it has a unit and a source, and some are "
     "estimates.",
     "machine_source", "`moesim list machines`, models/README.md"},
    {"migration",
     "An expert that a renewed placement moves to another GPU over the links that the "
     "tokens use.",
     "migrations|migrated_bytes|migration_s|experts moved|waited for them|rebalance",
     "sim/policy/README.md"},
    {"model", "The architecture whose experts, layers and sizes are replayed.", "",
     "`moesim list models`, models/README.md"},
    {"notes", "What one should know before one believes the figures of a result.", "note",
     RESULTS},
    {"offload",
     "Experts live in host memory or storage and are copied to the GPU, or run in place: "
     "on "
     "the host's processors, or on a unit beside their memory.",
     "host_runs|near_runs|host_experts_s|home|ran on the host|ran near the data",
     POLICIES},
    {"open loop",
     "Requests come at times of their own, however slow the service is; then which rows "
     "form a pass depends on the policy's speed. Routing is always replayed so: it does "
     "not react to what a policy changes.",
     "poisson", CONFIG},
    {"oracle",
     "A policy that knows the routing to come: how much a perfect prediction would give.",
     "foresight", POLICIES},
    {"over link",
     "Bytes of experts copied to the GPU, on demand or early, and back from it.",
     "link_bytes|out_bytes|wasted_bytes|copied", RESULTS},
    {"padding",
     "Rows computed over rows chosen: gates with a capacity let every expert compute on "
     "as many.",
     "padding rows|computed_rows", RESULTS},
    {"place",
     "The slot of a policy that decides which GPU holds which expert, and how often.",
     "placement|replica|shards", POLICIES},
    {"plug-in",
     "What fills a slot of a policy: one file with its parameters, source and variant.",
     "plugins|plugin|slot|label|policy|policies", POLICIES},
    {"prefetch",
     "An expert loaded before its layer asks for it. Precision is the share of such "
     "loads that were used; displaced counts the misses they made, of experts that they "
     "had driven out.",
     "prefetches|prefetch_used|prefetch_bytes|prefetch_precision|displaced|misses made",
     POLICIES},
    {"prefill",
     "The passes that read a request's prompt, many rows at once; they end with its "
     "first token.",
     "prefill_rows|prompt_tokens|prompts_skipped", "sim/workload/README.md"},
    {"request", "One prompt and what is made of it.",
     "requests|finished_requests|rows_resampled|trace_request", "sim/workload/README.md"},
    {"reuse distance", "Of an access, the least number of slots with which LRU hits it.",
     "reuse", EXPERIMENT},
    {"routing",
     "Which experts each token used in each layer. A trace is a recording of it, and a "
     "run replays it.",
     "top_k|top-k|trace file", "traces/FORMAT.md"},
    {"row", "One token in one pass: what the trace has a line of routing for.",
     "rows|token", "traces/FORMAT.md"},
    {"schedule",
     "The slot of a policy that arranges copies and compute, in one stream or beside "
     "each other.",
     "overlapped", POLICIES},
    {"seed", "Every random draw depends on it, and on nothing else.", "", CONFIG},
    {"select",
     "The slot of a policy that changes which experts a token uses. Rows, choices and "
     "distinct experts are counted as recorded and as chosen, over the layers that it "
     "chose for; replay of it is open loop.",
     "select_rows|select_choices|select_changed|select_fewer|select_top1|select_distinct|"
     "select_left|choices changed|changed_share|choices left out|fewer_share|best one "
     "kept|top1_kept|experts saved|experts_saved",
     "sim/policy/select.h"},
    {"source", "Where a trace was recorded, or what it was drawn from.",
     "trace_source|trace_path", "traces/FORMAT.md"},
    {"staging",
     "Slots for experts that are loaded for one step and not kept, or spare ones that "
     "loads go to before their victims are out.",
     "staging_bytes", "sim/policy/cache.h"},
    {"status",
     "`complete`, or how far a run came before it was stopped; its figures are then no "
     "figures of the whole.",
     "stopped", RESULTS},
    {"summary", "The figures of a policy that the table shows, and a few more.", "total",
     RESULTS},
    {"swap",
     "A load on demand for which an expert that was resident is evicted. A cache that is "
     "not full yet loads without, and an expert in a staging slot evicts nothing.",
     "swaps", POLICIES},
    {"thrashing", "So few slots that even Belady loads more often than it hits.", "",
     EXPERIMENT},
    {"tokens per s",
     "Output tokens of all requests over the time of the whole run; requests per s "
     "likewise.",
     "tokens_per_s|requests_per_s|tokens|throughput", RESULTS},
    {"TPOT",
     "Time per output token: of a request, from its first token to its last, over the "
     "tokens after the first. p50 is the median over requests, p99 what 1 in 100 "
     "exceeds.",
     "TPOT p50|TPOT p99|tpot_mean_s|tpot_p50_s|tpot_p99_s|ITL", RESULTS},
    {"TTFT",
     "Time to first token: of a request, from its arrival until its first token is "
     "there.",
     "TTFT p50|ttft_mean_s|ttft_p50_s|ttft_p99_s|first_token_s|last_token_s|arrival_s",
     RESULTS},
    {"variant",
     "How close a plug-in is to what it follows: standard, paper, released (as the code "
     "does it), or a reconstruction of what was never published in full.",
     "", POLICIES},
    {"version", "Of the program, and of a file's format.", "moesim|format",
     "traces/FORMAT.md"},
    {"working set",
     "The experts that a token, a pass or the whole trace uses; with fewer slots than a "
     "pass uses, some cannot stay.",
     "distinct experts", EXPERIMENT},
    {NULL, NULL, NULL, NULL},
};

/* Letters of either size, and what stands between words, are alike. */
static char plain(char c)
{
    return c == '_' || c == '-' ? ' ' : (char)tolower((unsigned char)c);
}

static bool same(const char *a, size_t length, const char *b)
{
    for (size_t i = 0; i < length; i++) {
        if (b[i] == '\0' || plain(a[i]) != plain(b[i]))
            return false;
    }
    return b[length] == '\0';
}

static bool is_called(const struct glossary_word *w, const char *text)
{
    if (same(w->word, strlen(w->word), text))
        return true;
    for (const char *at = w->also; *at != '\0';) {
        size_t length = strcspn(at, "|");

        if (same(at, length, text))
            return true;
        at += length;
        at += *at == '|';
    }
    return false;
}

static const struct glossary_word *find(const char *text)
{
    const struct glossary_word *w = glossary_words;

    while (w->word != NULL && !is_called(w, text))
        w++;
    return w->word == NULL ? NULL : w;
}

const struct glossary_word *glossary_find(const char *text)
{
    static const char *const prefixes[] = {"total_", "peak_", "bound_"};
    const struct glossary_word *w = find(text);

    for (size_t i = 0; w == NULL && i < sizeof prefixes / sizeof *prefixes; i++) {
        if (strncmp(text, prefixes[i], strlen(prefixes[i])) == 0)
            w = find(text + strlen(prefixes[i]));
    }
    return w;
}
