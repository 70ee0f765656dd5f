#!/bin/sh
# moesim validate on the host device: a tiny model predicted and executed, counts asserted
# by the program itself; the files it writes; what it refuses.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh

cat >"$folder/tiny.yaml" <<'END'
{name: tiny, source: made up, layers: 3, hidden: 64, expert_ffn: 48, experts: 8, top_k: 2,
 heads: 4, kv_heads: 2, head_dim: 16, vocab: 96, gate: softmax, expert_bits: 16,
 dense_bits: 16, activation_bits: 16}
END
generate "$folder/trace.h5" model=tiny layers=3 experts=8 top_k=2 requests=3 || exit 1
cat >"$folder/study.yaml" <<'END'
trace: trace.h5
model: ./tiny.yaml
machine: rtx4090-pcie4
workload: {batch: 2}
policies:
  - {name: lru, preset: lru-on-demand, cache: {slots: 3}}
  - {name: resident, preset: lru-on-demand, cache: {slots: 8, preload: linear}}
  - {name: oracle, preset: oracle-prefetch, cache: {slots: 3}}
  - {name: host, preset: lru-on-demand, cache: {slots: 3, preload: linear}, offload: host}
END

# validate [flags]: leaves $status, and what it said in out and err.
validate() {
    "$moesim" validate "$folder/study.yaml" "$@" >"$folder/out" 2>"$folder/err"
    status=$?
}

# refuses NAME STATUS WORDS [flags]: one sentence with the words, nothing on stdout.
refuses() {
    name=$1 wanted=$2 words=$3
    shift 3
    validate "$@"
    [ "$status" -eq "$wanted" ] && [ ! -s "$folder/out" ] &&
        [ "$(grep -c '^moesim: ' "$folder/err")" -le 2 ] && grep -q "$words" "$folder/err"
    report $? "$name"
}

validate --device host:0 --passes 12 --warmup 1 --repeat 2 --out "$folder/v"
if [ "$status" -eq 77 ]; then
    echo "skip cli_validate: $(cat "$folder/err")"
    exit 0
fi
[ "$status" -eq 0 ] && grep -q '^Order of the policies' "$folder/out" &&
    grep -q '^The machine ran [0-9.]*x as fast as its machine file says, [0-9.]*\.\.[0-9.]*x' \
        "$folder/out" &&
    grep -q '^experts ' "$folder/out" && grep -q '^host experts ' "$folder/out"
report $? "validate prints policies, their order and operations"

"$python" - "$folder/v" <<'END'
import csv, json, sys
folder = sys.argv[1]
s = json.load(open(folder + "/summary.json"))
assert s["device"] == "host" and s["element"] == "fp32" and s["passes"] == 12
assert [p["policy"] for p in s["policies"]] == ["lru", "resident", "oracle", "host"]
for p in s["policies"]:
    assert p["pass"]["count"] == 12 and p["pass"]["measured_s"] > 0
    total = sum(x["measured_s"] for x in p["shares"].values())
    assert total > 0
assert sum(o["count"] for o in s["operations"].values()) > 0
# One look before each of four policies and after the last one, in each of two runs.
v = s["speed"]
assert len(v["probes"]) == 2 * (4 + 1)
ratio = sorted((v["predicted"]["gemm_s"] / p["gemm_s"] * v["predicted"]["copy_s"] / p["copy_s"])
               ** 0.5 for p in v["probes"])
assert abs(v["ratio"] / ((ratio[4] + ratio[5]) / 2) - 1) < 1e-9
assert abs(v["least"] / ratio[0] - 1) < 1e-9 and abs(v["most"] / ratio[9] - 1) < 1e-9
passes = list(csv.DictReader(open(folder + "/passes.csv")))
assert len(passes) == 4 * 13
assert all(float(p["least_s"]) <= float(p["measured_s"]) <= float(p["most_s"]) for p in passes)
ops = list(csv.DictReader(open(folder + "/operations.csv")))
dense = [o for o in ops if o["kind"] == "dense" and o["policy"] == "lru"]
assert len(dense) == 3 * 13
assert all(float(o["predicted_s"]) > 0 and float(o["measured_s"]) > 0 for o in dense)
t = json.load(open(folder + "/timeline.json"))
names = [e["args"]["name"] for e in t["traceEvents"] if e["name"] == "process_name"]
assert names[:2] == ["lru, predicted", "lru, measured"] and len(names) == 8
END
report $? "the files agree with each other"

validate --passes 4 --repeat 1 --json
[ "$status" -eq 0 ] && "$python" -c 'import json,sys; json.load(open(sys.argv[1]))' "$folder/out"
report $? "validate --json prints JSON"

refuses "a workload that depends on time is refused" 1 "choose arrivals: closed" \
    --set workload.mode=continuous --set workload.arrivals=poisson --set workload.rate=3
refuses "a warm-up longer than the workload is refused" 1 "are for warm-up" \
    --set workload.requests=1 --warmup 5000
refuses "an unknown device is misuse of a name" 1 "device" --device toaster
refuses "a device that is not here" 77 "cuda" --device cuda:63
exit "$failed"
