#!/bin/sh
# moesim tune --n-cpu-moe: the least count by hand, what it says for llama.cpp, files, refusals.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh
# A dense layer, then 3 MoE layers.
tiny_study && sed -i 's/layers: 3,/layers: 4, first_moe: 1, dense_ffn: 48,/' "$folder/tiny.yaml" &&
    generate "$folder/trace.h5" model=tiny layers=3 first_layer=1 experts=8 top_k=2 requests=3 || exit 1
sed '/^policies/,$d' "$folder/study.yaml" >"$folder/head.yaml"
{
    cat "$folder/head.yaml"
    echo 'policies: [lru-on-demand, {name: mine, offload: {name: layers, batch: 16}}]'
} >"$folder/layers.yaml"

# tune FLAG...: leaves $status, out and err.
tune() {
    timeout -k 5 60 "$moesim" tune "$@" >"$folder/out" 2>"$folder/err" </dev/null
    status=$?
}

# refuses NAME STATUS WORDS ARGUMENT...: one sentence with the words.
refuses() {
    name=$1 wanted=$2 words=$3
    shift 3
    tune "$@"
    [ $status -eq "$wanted" ] && [ ! -s "$folder/out" ] && grep -qF -- "$words" "$folder/err" &&
        [ "$(grep -c '^moesim: ' "$folder/err")" -eq 1 ]
    good=$?
    [ $good -eq 0 ] || cat "$folder/out" "$folder/err"
    report $good "$name"
}

# By hand: bytes of dense weights as the result says, 8 experts of 3 x 64 x 48 x 2 bytes in a layer,
# 2 for staging; keys and values of 2 heads of 16 in 4 layers for 2 sequences, each 2 bytes.
"$moesim" run "$folder/study.yaml" --json >"$folder/run.json" && "$python" - "$folder" <<'END'
import json, sys
folder = sys.argv[1]
dense = json.load(open(folder + "/run.json"))["dense_bytes"]
expert = 3 * 64 * 48 * 2
room = dense + 2 * expert + 1 * 8 * expert + 2 * 1000 * (2 * 2 * 16 * 2) * 4
open(folder + "/room", "w").write(f"gpu_memory={room} B")
END
room=$(cat "$folder/room")
tune "$folder/layers.yaml" --n-cpu-moe --context 1000,44,1000,2000 --set "$room" --json --out "$folder/one"
[ $status -eq 0 ] && [ ! -s "$folder/err" ] && cp "$folder/out" "$folder/one.json" &&
    "$moesim" run "$folder/one/best.yaml" --json >"$folder/best.json" && "$python" - "$folder" <<'END'
import csv, json, sys
folder = sys.argv[1]
said, run = (json.load(open(f"{folder}/{name}.json")) for name in ("one", "best"))
least = {(a["context"], a["side"]): a.get("count") for a in said["n_cpu_moe"]}
assert said["policy"] == "mine" and said["layers"] == 3
assert list(least)[::2] == [(44, "first"), (1000, "first"), (2000, "first")]
assert least[1000, "first"] == least[1000, "last"] == 2 and least[2000, "first"] is None
flag = {(a["context"], a["side"]): a.get("llama_cpp") for a in said["n_cpu_moe"]}
# Experts this small are done sooner on the host than the GPU has launched them: all layers there are
# faster than the least. Of llama.cpp's layers the dense one counts, too.
assert flag[1000, "first"] == "--n-cpu-moe 4"
assert flag[1000, "last"] == r'-ot "blk\.(1|2|3)\.ffn_.*_exps=CPU"'
rate = {(r["side"], r["count"]): r["figures"]["tokens_per_s"] for r in said["runs"]}
for a in said["n_cpu_moe"][:4]:
    assert rate[a["side"], a["fastest"]] == max(v for (s, _), v in rate.items() if s == a["side"])
best = said["best"]
assert best == {"context": 1000, "side": "first", "count": 3}
it = [r for r in said["runs"] if (r["side"], r["count"]) == (best["side"], best["count"])][0]
assert it["figures"]["tpot_p50_s"] == run["policy"][0]["summary"]["tpot_p50_s"]
assert run["kv_peak_bytes"] == it["kv_bytes"] == 2 * 1000 * 2 * 2 * 16 * 2 * 4
assert len(run["policy"]) == 1
rows = list(csv.DictReader(open(f"{folder}/one/n-cpu-moe.csv")))
assert {r["context"] for r in rows} == {"44", "1000"}
assert [r["count"] for r in rows if r["context"] == "1000"] == ["2", "3"] * 2
END
report $? "the least count by hand; best.yaml is what it says"
grep -q 'batch: 16' "$folder/one/best.yaml"
report $? "... with the policy's own options"

tune "$folder/layers.yaml" --n-cpu-moe --context 44,1000,2000 --set "$room" --json --threads 3 --out "$folder/two"
[ $status -eq 0 ] && cmp "$folder/out" "$folder/one.json" && diff -r "$folder/one" "$folder/two"
report $? "three threads give the same bytes"

tune "$folder/layers.yaml" --n-cpu-moe --context 1000,2000 --set "$room"
[ $status -eq 0 ] && grep -q '^1000 first  *2 ' "$folder/out" && grep -q '^last 3 ' "$folder/out" &&
    grep -q '^2000 last .*no room, not even with all 3 layers on the CPU' "$folder/out" &&
    grep -q '^llama.cpp, context 1000: --n-cpu-moe 4$' "$folder/out" &&
    grep -q '^  2 layers are enough, but 3 are faster: ' "$folder/out" &&
    grep -q '^best for a context of 1000: the ' "$folder/out" &&
    grep -q "^one layer fewer than 2: .*policy 'mine'" "$folder/out" &&
    grep -q '^Times are of the study' "$folder/out"
report $? "it is told in words"

tune "$folder/study.yaml" --n-cpu-moe --set "$room" --set 'policies=[lru-on-demand]'
[ $status -eq 0 ] && grep -q '^No policy of the study has offload: layers' "$folder/out" &&
    ! grep -q '^4096' "$folder/out"
report $? "a policy of its own, and contexts that fit"

# The study's own context, and of two policies of one preset the one that is meant.
tune "$folder/study.yaml" --n-cpu-moe --set "$room" --set workload.context=1000 --json \
    --set 'policies=[{preset: lru-on-demand, cache: {slots: 2}}, {preset: lru-on-demand, offload: {name: layers, batch: never}}]'
[ $status -eq 0 ] && [ "$(grep -c '"context": 1000, "side": "first", "fits": true, "count": 2,' "$folder/out")" -eq 1 ] &&
    ! grep -q '"context": 4096' "$folder/out"
report $? "the study's own context"

tune "$folder/layers.yaml" --n-cpu-moe --context 1000 --set machine=h100-80g --set 'parallel={gpus: 2}' \
    --set "$room"
[ $status -eq 0 ] && grep -q '^Memory is that of one GPU' "$folder/out" &&
    ! grep -q 'n-cpu-moe [0-9]' "$folder/out"
report $? "several GPUs"

refuses "no room at all" 1 "not even with the experts of all 3 layers on the CPU does the rest fit: " \
    "$folder/layers.yaml" --n-cpu-moe --set 'gpu_memory=1 kB' --out "$folder/none"
[ ! -e "$folder/none" ]
report $? "... and leaves no folder"
refuses "no room for the context" 1 "is there room for a context of 900000 tokens: " \
    "$folder/layers.yaml" --n-cpu-moe --set "$room" --context 900000
refuses "a context too short" 1 "context is 10, but a request has " "$folder/layers.yaml" --n-cpu-moe --context 10
refuses "no number" 1 "'--context' is x; expected an integer" "$folder/layers.yaml" --n-cpu-moe --context 100,x
refuses "a cache with a size" 1 "its cache has a size, but --n-cpu-moe keeps all experts" "$folder/study.yaml" \
    --n-cpu-moe --set 'policies=[{offload: layers, cache: {slots: 2}}]'
refuses "one memory" 1 "host and GPU of phone-flash are one" "$folder/layers.yaml" --n-cpu-moe --set machine=phone-flash
refuses "a length that time decides" 1 "name the contexts with --context" "$folder/layers.yaml" --n-cpu-moe \
    --set 'workload={mode: continuous, arrivals: poisson, rate: 40}'
refuses "two questions" 2 "ask one at a time" "$folder/layers.yaml" --n-cpu-moe --largest-batch
refuses "contexts of nothing" 2 "--context needs --n-cpu-moe" "$folder/layers.yaml" --context 4096
"$moesim" tune --help >"$folder/out" && grep -q 'tune-n-cpu-moe.yaml --n-cpu-moe --context 32768' "$folder/out"
report $? "help has an example"
exit $failed
