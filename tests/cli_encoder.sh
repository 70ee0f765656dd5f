#!/bin/sh
# Encoder-decoder models and the dense equivalent from outside: made traces, one GPU against
# several, what is refused.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh

cat >"$folder/sides.yaml" <<'END'
{name: sides, source: made up, layers: 8, encoder_layers: 4, first_moe: 1, moe_every: 2, hidden: 64,
 expert_ffn: 48, dense_ffn: 96, matrices: 2, experts: 8, top_k: 2, heads: 4, head_dim: 16, vocab: 96,
 gate: softmax, expert_bits: 16, dense_bits: 16, activation_bits: 16}
END
sed 's/ encoder_layers: 4,//; s/name: sides/name: plain/' "$folder/sides.yaml" >"$folder/plain.yaml"
cat >"$folder/study.yaml" <<'END'
trace: trace.h5
model: ./sides.yaml
machine: a100-80g
workload: {batch: 3}
policies:
  - {name: all, cache: {slots: all, preload: linear}}
  - {name: lru, cache: {slots: 3}}
  - {name: belady, cache: {name: belady, slots: 3, order: recorded}}
  - {name: oracle, cache: {slots: 3}, prefetch: oracle}
  - {dense-equivalent: yes}
END
# made FILE SETTING...: a trace of that model.
made() {
    file=$1
    shift
    with_settings "$moesim" trace gen -o "$file" -- model=sides layers=4 first_layer=1 moe_every=2 \
        experts=8 top_k=2 requests=9 prompt_tokens=12 output_tokens=8 sources=5 "$@"
}
made "$folder/trace.h5" encoder_layers=2 scores=yes || exit 1

# figures SETTING...: policy, passes, hits, accesses, digest, a line each.
figures() {
    with_settings "$moesim" run "$folder/study.yaml" --json -q -- bounds=no "$@" | $python -c '
import json, sys
for p in json.load(sys.stdin)["policy"]:
    print(p["label"], p["passes"], p["total_hits"], p["total_accesses"], p["digest"])'
}
# refuses WORDS SETTING...
refuses() {
    words=$1
    shift
    with_settings "$moesim" run "$folder/study.yaml" -q -- "$@" >/dev/null 2>"$folder/err"
    [ $? -eq 1 ] && [ "$(wc -l <"$folder/err")" -eq 1 ] && grep -qF -- "$words" "$folder/err"
}

# Each row is routed on its own side alone, and n tokens of an answer are n rows of it.
"$moesim" trace check "$folder/trace.h5" | grep -q ": good" &&
    $python - "$folder/trace.h5" <<'END'
import h5py, sys
t = h5py.File(sys.argv[1])
expert, score, phase = t["routing/expert"][:], t["routing/score"][:], t["token/phase"][:]
prompt, answer = phase == 0, phase == 1
assert (expert[prompt][:, :2] < 8).all() and (expert[prompt][:, 2:] == 65535).all()
assert (expert[answer][:, 2:] < 8).all() and (expert[answer][:, :2] == 65535).all()
assert (score[prompt][:, 2:] == 0).all() and (score[prompt][:, :2] > 0).all()
rows, prompts = t["request/rows"][:], t["request/prompt_tokens"][:]
assert (rows == prompts + t["request/output_tokens"][:]).all()
END
report $? encoder_trace

# A trace like it has sides, too.
"$moesim" trace gen --like "$folder/trace.h5" -o "$folder/like.h5" >/dev/null &&
    $python - "$folder/trace.h5" "$folder/like.h5" <<'END'
import h5py, sys
a, b = (h5py.File(name) for name in sys.argv[1:])
assert ((a["routing/expert"][:] == 65535) == (b["routing/expert"][:] == 65535)).all()
assert (a["token/position"][:] == b["token/position"][:]).all()
END
report $? encoder_like

# One GPU of several does what one alone does, batch by batch and mixed; and whoever shares the
# experts, the passes and what rows choose are the same.
status=0
two='[{name: all}, {name: lru, cache: {slots: 1}}, {dense-equivalent: yes}]'
for mode in '{batch: 3}' '{batch: 3, token_budget: 40}' \
    '{mode: continuous, max_sequences: 4, token_budget: 60}' '{batch: 2, prefill: skip}'; do
    alone=$(figures "workload=$mode") && one=$(figures "workload=$mode" 'parallel={gpus: 1}') || status=1
    [ -n "$alone" ] && [ "$alone" = "$one" ] || status=1
    several=$(figures "workload=$mode" 'parallel={gpus: 4}' "policies=$two" | cut -d ' ' -f 1,2)
    [ "$several" = "$(echo "$alone" | cut -d ' ' -f 1,2 | sed -n '1,2p;$p')" ] || status=1
done
report $status encoder_one_of_several

# Two GPUs that share attention gather around each of its blocks: in the encoder's four layers
# attention, and the FFN of the two without experts; in the decoder's cross-attention as well; each
# pass gathers before its head. With one prompt and one row each, passes alternate in kind.
with_settings "$moesim" run "$folder/study.yaml" -q --out "$folder/tensor" -- timeline_passes=1000 \
    'policies=[{name: all}]' 'parallel={gpus: 2, attention: tensor, tensor: 2}' >/dev/null &&
    $python - "$folder/tensor" <<'END'
import json, sys
import h5py
events = json.load(open(sys.argv[1] + "/timeline.json"))["traceEvents"]
names = [e["name"].split(" ")[0] for e in events if e.get("ph") == "X"]
result = h5py.File(sys.argv[1] + "/result.h5")
passes, outputs = result["policy/0/pass/rows"].shape[0], result["policy/0/pass/outputs"][:]
decodes = int((outputs > 0).sum())
assert 0 < decodes < passes
gathers = (passes - decodes) * (4 + 2 + 1) + decodes * (4 + 4 + 2 + 1)
assert names.count("all-gather") == gathers, (names.count("all-gather"), gathers)
assert names.count("reduce-scatter") == gathers - passes
END
report $? encoder_gathers

# Without encoder_layers nothing is new: the same operations whether it is said or not.
made "$folder/plain.h5" && said=$(figures trace="$folder/plain.h5" model.encoder_layers=0) &&
    unsaid=$(figures trace="$folder/plain.h5" model="$folder/plain.yaml")
[ -n "$said" ] && [ "$said" = "$unsaid" ] &&
    refuses "row 0 is of a prompt and lists experts in MoE layer 2, which is the decoder's" \
        trace="$folder/plain.h5"
report $? encoder_none

refuses "prefetch: markov learns from layer to layer" policies.1.prefetch=markov &&
    refuses "watch asks a predictor" 'watch={predictor: markov}' &&
    refuses "cuts the rows of a pass before attention" 'parallel={gpus: 4}' \
        'policies=[{schedule: two-batch}]' &&
    refuses "place: foresee tells of all layers" 'parallel={gpus: 4}' \
        'policies=[{place: {name: replicate, slots: 12, interval: 1, foresee: 0.5}}]' &&
    refuses "an encoder reads in one pass; token_budget 8 is less" \
        'workload={batch: 3, token_budget: 8}'
report $? encoder_refusals

"$moesim" validate "$folder/study.yaml" --device host >/dev/null 2>"$folder/err"
[ $? -eq 1 ] && grep -q "sides is an encoder-decoder model, whose cross-attention has no kernels" \
    "$folder/err"
report $? encoder_device

made "$folder/bad.h5" encoder_layers=5 2>"$folder/err"
[ $? -eq 1 ] && grep -q "encoder_layers 5 is more than the 4 MoE layers" "$folder/err" &&
    ! made "$folder/bad.h5" encoder_layers=2 prompt_tokens=0 2>"$folder/err" &&
    grep -q "no prompts for an encoder to read" "$folder/err" && [ ! -e "$folder/bad.h5" ]
report $? encoder_trace_refusals

# ---- the dense equivalent ----

# It has no hits, and no setting of a policy goes with it or is put to it.
out=$("$moesim" run "$folder/study.yaml" -q --out "$folder/out") &&
    echo "$out" | grep -qE '^dense-equivalent .* - +0 B .* -$' &&
    echo "$out" | grep -q "dense-equivalent: not a policy but another model" &&
    refuses "'cache' has nothing to do beside 'dense-equivalent'" policies.4.cache.slots=3 &&
    refuses "'preset' has nothing to do beside 'dense-equivalent'" policies.4.preset=lru-on-demand &&
    { cat "$folder/study.yaml" && echo 'sweep: {cache.slots: [2, 4]}'; } >"$folder/sweep.yaml" &&
    with_settings "$moesim" sweep "$folder/sweep.yaml" -q --out "$folder/sweep" -- 'policies=[{name: lru}, {dense-equivalent: yes}]' \
        >/dev/null && [ "$(grep -c 'dense-equivalent,complete' "$folder/sweep/sweep.csv")" -eq 2 ]
report $? dense_row

# In memory: 8 attentions and the decoder's 4 to the prompt, with a norm each; a norm of each
# layer; FFNs of 96 in all of them, since two experts are 2 x 48 wide; embedding, head, last norm.
$python - "$folder/out/result.h5" <<'END'
import h5py, sys
weights = 12 * (4 * 64 * 64 + 64) + 8 * 64 + 8 * 2 * 64 * 96 + 2 * 96 * 64 + 64
found = h5py.File(sys.argv[1])["policy/4/pass/weight_bytes"][:]
assert (found == 2 * weights).all(), (found, 2 * weights)
END
report $? dense_memory

# Rows stay where they are: no collective; a device has no weights for it; counts tell nothing.
figures 'parallel={gpus: 4}' 'policies=[{dense-equivalent: yes}]' | grep -q '^dense-equivalent [0-9]* 0 0 ' &&
    ! with_settings "$moesim" validate "$folder/study.yaml" --device host -- trace="$folder/plain.h5" \
        model="$folder/plain.yaml" 'policies=[{dense-equivalent: yes}]' >/dev/null 2>"$folder/err" &&
    grep -q "dense-equivalent has no weights to execute" "$folder/err"
report $? dense_elsewhere

exit "$failed"
