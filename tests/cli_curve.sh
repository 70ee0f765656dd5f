#!/bin/sh
# moesim curve: each way of printing, what its flags mean to a run, what it writes, and what it refuses.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh

trace=$folder/trace.h5
generate "$trace" requests=4 prompt_tokens=6 output_tokens=30 >/dev/null || exit 1

# Every capacity of every policy, of all layers and of each; threads change nothing.
"$moesim" curve "$trace" --csv >"$folder/one.csv" && "$moesim" curve "$trace" --csv -t 3 | cmp - "$folder/one.csv" &&
    [ "$(wc -l <"$folder/one.csv")" -eq $((1 + 2 * 25 * 32)) ] &&
    [ "$(head -1 "$folder/one.csv")" = policy,layer,slots,memory_bytes,accesses,hits,hit_rate,load_bytes ] &&
    [ "$(grep -c '^belady,all,' "$folder/one.csv")" -eq 32 ] && [ "$(grep -c '^lru,23,' "$folder/one.csv")" -eq 32 ]
report $? curve_csv
"$moesim" curve "$trace" --json >"$folder/one.json" && "$python" - "$folder/one.csv" "$folder/one.json" <<'END'
import csv
import json
import sys

rows = list(csv.DictReader(open(sys.argv[1], encoding="utf-8")))
told = json.load(open(sys.argv[2], encoding="utf-8"))
for p in told["policies"]:
    mine = [r for r in rows if r["policy"] == p["policy"]]
    every = [r for r in mine if r["layer"] == "all"]
    for key in ("slots", "memory_bytes", "hits", "hit_rate", "load_bytes"):
        assert [float(r[key]) for r in every] == p[key], key
    for layer, hits in zip(told["layer"], p["layer_hits"], strict=True):
        assert [int(r["hits"]) for r in mine if r["layer"] == str(layer)] == hits
    assert p["hits"][-1] == sum(told["accesses"]) - sum(told["used"])  # all but first uses
# LRU's hits are the accesses of no greater distance: 1, 2, 4, 8, 16, 32.
lru = next(p for p in told["policies"] if p["policy"] == "lru")
within = [sum(sum(layer[1 : b + 1]) for layer in told["reuse"]) for b in range(1, 7)]
assert within == [lru["hits"][slots - 1] for slots in (1, 2, 4, 8, 16, 32)]
assert sum(layer[0] for layer in told["reuse"]) == sum(told["used"])
END
report $? curve_json

# Its flags are the settings of a run.
cat >"$folder/run.yaml" <<'END'
trace: trace.h5
machine: h200
engine: count
bounds: no
policies: []
END
# same NAME SLOTS CACHE WORKLOAD FLAG...: whether hits and bytes are those of `run`.
same() {
    name=$1 slots=$2 cache=$3 workload=$4
    shift 4
    "$moesim" run "$folder/run.yaml" --json --set "policies=[{cache: {$cache}}]" \
        --set "workload={$workload}" >"$folder/run.json" &&
        "$moesim" curve "$trace" --csv "$@" >"$folder/same.csv" &&
        "$python" - "$folder/run.json" "$folder/same.csv" "$slots" <<'END'
import csv
import json
import sys

run = json.load(open(sys.argv[1], encoding="utf-8"))["policy"][0]
row, = (r for r in csv.DictReader(open(sys.argv[2], encoding="utf-8"))
        if r["layer"] == "all" and r["slots"] == sys.argv[3])
assert (run["total_hits"], run["total_demand_bytes"]) == (int(row["hits"]), int(row["load_bytes"]))
END
    report $? "curve_as_run_$name"
}
same plain 8 "name: lru, slots: 8" "batch: 1" -p lru
same batch 3 "name: belady, slots: 3, protect: none" "batch: 4, prefill: skip" -p belady -b 4 --protect none \
    --set workload.prefill=skip
same order 12 "name: lru, slots: 12, order: recorded, protect: prefer" "batch: 3" -p lru --order recorded \
    --protect prefer --batch 3
same global 100 "name: s3fifo, scope: global, total_slots: 100" "batch: 2" -p s3fifo --scope global --slots 100 -b 2
same mapping 9 "name: lfu-aging, slots: 9, decay: 0.5, admission: second-miss" "batch: 1" --slots 9 \
    -p '{name: lfu-aging, decay: 0.5, admission: second-miss}'
same allocated 6 "name: lru, slots: 6, allocate: profile" "batch: 1" --slots 6 \
    -p '{name: lru, allocate: profile}'
same continuous 7 "name: random, slots: 7" "mode: continuous, max_sequences: 3" -p random \
    --set workload.mode=continuous --set workload.max_sequences=3

# The table has the sizes asked for, else some two dozen; other policies are replayed at some of many.
"$moesim" curve "$trace" -p lru -p s3fifo --slots 8,4,32,4 >"$folder/printed" &&
    [ "$(sed -n '/^slots/,/^$/p' "$folder/printed" | cut -d' ' -f1 | tr '\n' ' ')" = "slots 4 8 32  " ] &&
    grep -q '^knee         lru: ' "$folder/printed" && grep -q '^working set  a token uses 4 experts of each layer ' \
    "$folder/printed" && grep -q '^sizes        s3fifo was replayed at 3 of 32 sizes; --slots' "$folder/printed" &&
    ! grep -q thrashing "$folder/printed"
report $? curve_slots
"$moesim" curve "$trace" --scope global -p sieve >"$folder/printed" &&
    [ "$(sed -n '/^slots/,/^$/p' "$folder/printed" | wc -l)" -eq 15 ] &&
    grep -q '^768 ' "$folder/printed" && grep -q 'sieve was replayed at 49 of 768 sizes' "$folder/printed"
report $? curve_global
"$moesim" curve "$trace" --set workload.requests=1 --set workload.max_passes=1 >"$folder/printed" &&
    grep -q '^thrashing    with any number of slots even belady loads more often than it hits$' "$folder/printed" &&
    ! grep -q '^knee' "$folder/printed"
report $? curve_never_reused

# Files, with the figure and without.
"$moesim" curve "$trace" --out "$folder/out" >"$folder/printed" 2>"$folder/said" &&
    cmp "$folder/one.csv" "$folder/out/curve.csv" && [ "$(head -1 "$folder/out/reuse.csv")" = layer,from,to,accesses ] &&
    [ "$(head -1 "$folder/out/hit_rate.csv")" = "slots of each layer,lru,belady" ] &&
    tail -1 "$folder/printed" | grep -q "^Written: $folder/out/curve.csv, reuse.csv, hit_rate.csv"
report $? curve_out
if command -v gnuplot >/dev/null; then
    [ ! -s "$folder/said" ] && grep -q '</svg>' "$folder/out/hit_rate.svg" && grep -q belady "$folder/out/hit_rate.svg" &&
        grep -q 'slots of each layer' "$folder/out/hit_rate.svg"
    report $? curve_svg
else
    echo "skip curve_svg: needs gnuplot"
fi
PATH=/nonexistent "$moesim" curve "$trace" --csv --out "$folder/out" >"$folder/printed" 2>"$folder/said" &&
    cmp "$folder/one.csv" "$folder/printed" && [ ! -e "$folder/out/hit_rate.svg" ] && [ -s "$folder/out/hit_rate.csv" ] &&
    [ "$(cat "$folder/said")" = "moesim: note: hit_rate.svg is missing, because gnuplot is not installed or failed; its \
data are in hit_rate.csv" ]
report $? curve_without_gnuplot
mkdir "$folder/own" && ln "$trace" "$folder/own/curve.csv"
prints curve_onto_its_trace 1 curve "$trace" --out "$folder/own" <<END
moesim: $folder/own/curve.csv: is $trace, which is read here; give the output another name
END

# refused NAME SENTENCE FLAG...: one sentence, and nothing printed.
refused() {
    name=$1 sentence=$2
    shift 2
    prints "curve_$name" 1 curve "$trace" "$@" <<END
moesim: $sentence
END
}
refused slots_above "40 slots are asked for, but a layer has 32 experts to hold; give at most 32 (scope: global \
counts those of all layers)" --slots 4,40
refused slots_far_above "800 slots are asked for, but 24 layers of 32 experts are 768; give at most 768" \
    --scope global --slots 800
refused policy_sized "--policy {name: lru, slots: 4}: policy 'lru slots=4': a curve goes over all sizes of the cache; \
leave its size out" -p '{name: lru, slots: 4}'
refused policy_bytes "--policy {name: lru, bytes: 4 GB}: policy 'lru bytes=4 GB': a curve goes over all sizes of the \
cache; leave its size out" -p '{name: lru, bytes: 4 GB}'
refused policy_scopes "--policy {name: lru, scope: global}: policy 'lru scope=global': the policies of a curve share \
one scope, so that their sizes are alike; leave it out" -p belady -p '{name: lru, scope: global}'
refused policy_rows "--policy moe-infinity: policy 'moe-infinity': cache policy 'moe-infinity' goes by rows and \
sequences, which a curve does not have; sweep cache.slots instead" -p moe-infinity
refused policy_twice "--policy lru: is there twice; leave one out" -p lru -p lru
refused policy_list "--policy [lru]: is a list; expected a name, or a mapping such as {name: lfu-aging, decay: 0.98}" \
    -p '[lru]'
refused policy_yaml "--policy {name: lru: not valid YAML: did not find expected ',' or '}' while parsing a flow \
mapping" -p '{name: lru'
refused protect "--protect no: 'protect' is no; expected one of strict, prefer, none; did you mean 'none'?" --protect no
refused scope "--scope laier: 'scope' is laier; expected one of layer, global; did you mean 'layer'?" --scope laier
refused batch "--batch 8: 'batch' has no effect here: only static batches have a size; leave it out, or choose mode: \
static (continuous has max_sequences)" -b 8 --set workload.mode=continuous
refused setting "--set engine=auto: a curve takes workload.KEY, profile and seed; it has flags of its own for what \
else counts" --set engine=auto
refused setting_unknown "--set workload.btch=3: unknown key 'btch' in workload; did you mean 'batch'?" \
    --set workload.btch=3
refused times "--set workload.arrivals=poisson: which rows a pass has depends on time here, and a curve has no times; \
choose arrivals: closed" -p lru --set workload.mode=continuous --set workload.arrivals=poisson --set workload.rate=3
refused times_of_oracle "--policy belady: policy 'belady' is an oracle: it needs a workload whose passes do not depend \
on time; choose arrivals: closed" --set workload.mode=continuous --set workload.arrivals=poisson --set workload.rate=3
refused model "--model mixtral-8x7b: $trace: has 24 MoE layers of 32 experts, but model mixtral-8x7b has 32 of 8; name \
the trace's model with model: NAME" --model mixtral-8x7b
"$moesim" curve "$trace" -p s3foo >"$folder/printed" 2>"$folder/said"
[ $? -eq 1 ] && grep -q "^moesim: --policy s3foo: .*; did you mean 's3fifo'?$" "$folder/said"
report $? curve_policy_unknown
prints curve_no_trace 1 curve "$folder/none.h5" <<END
moesim: $folder/none.h5: cannot be opened: No such file or directory
END

usage='usage: moesim curve TRACE [flags]
Try --help.'
prints curve_of_nothing 2 curve <<END
moesim: curve takes one trace
$usage
END
prints curve_two_formats 2 curve "$trace" --json --csv <<END
moesim: --json and --csv exclude each other; choose one
$usage
END
for slots in "" "4," 0 4,-8 x 4x 5000000000; do
    prints "curve_slots_${slots:-empty}" 2 curve "$trace" --slots "$slots" <<END
moesim: --slots takes whole numbers above 0 with commas between, such as 4,8,16
$usage
END
done

# A disk that takes 20 kB of a file.
(ulimit -f 40 && "$moesim" curve "$trace" --set workload.prefill=skip --set workload.max_passes=5 --out "$folder/full" \
    >"$folder/printed" 2>"$folder/said")
[ $? -eq 1 ] && grep -q "^moesim: $folder/full/curve.csv: .*File too large" "$folder/said" && [ ! -e "$folder/full" ]
report $? curve_no_room

# Told to stop, it leaves nothing.
{
    echo TIMESTAMP,ContextTokens,GeneratedTokens
    for second in $(seq -w 0 59); do
        echo "2023-11-16 18:15:$second.0,20,200000"
    done
} >"$folder/requests.csv"
"$moesim" curve "$trace" --set workload.lengths=file --set "workload.file=$folder/requests.csv" --out "$folder/stopped" \
    >"$folder/printed" 2>"$folder/said" &
sleep 0.3
kill -TERM $!
wait $!
[ $? -eq 143 ] && [ ! -s "$folder/printed" ] && [ ! -e "$folder/stopped" ] &&
    grep -q '^moesim: stopped by a signal' "$folder/said"
report $? curve_stopped

# All that it says, to the letter.
tiny_study >/dev/null || exit 1
prints curve_table 0 curve "$trace" --model "$folder/tiny.yaml" -p lru -p clock -p belady-bypass --batch 2 \
    --slots 1,4,7 <<END
tiny: 3 MoE layers of 8 experts; trace $trace, 41 passes
Slots of each layer, and their GPU memory; of all layers together: hits of all accesses, and bytes
loaded per pass.

                        lru     loads    clock     loads belady-bypass     loads
slots       memory     hits  per pass     hits  per pass          hits  per pass
1          55.3 kB   28.0 %   95.8 kB   28.0 %   95.8 kB        32.8 %   89.5 kB
4           221 kB   75.3 %   32.8 kB   75.0 %   33.3 kB        81.4 %   24.7 kB
7           387 kB   91.9 %   10.8 kB   91.6 %   11.2 kB        91.9 %   10.8 kB

knee         lru: 4 slots (221 kB), 75.3 % hits, 32.8 kB loaded per pass
knee         clock: 4 slots (221 kB), 75.0 % hits, 33.3 kB loaded per pass
knee         belady-bypass: 4 slots (221 kB), 81.4 % hits, 24.7 kB loaded per pass
thrashing    below 2 slots even belady-bypass loads more often than it hits
working set  a token uses 2 experts of each layer (111 kB over all layers), a pass 2.4 (133 kB), at
             most 7 (387 kB), the trace 24 of all 24
reuse        accesses by distance, the least slots that LRU hits with: first use 8.1 %, 1: 28.0 %,
             2: 21.3 %, 3-4: 26.0 %, 5-8: 16.6 %
sizes        clock was replayed at 3 of 8 sizes; --slots chooses others
END
"$moesim" curve "$trace" --model "$folder/tiny.yaml" -p lru --batch 2 --json >"$folder/printed" &&
    grep -q '^ "scope": "layer", "layers": 3, "experts": 8, "top_k": 2, "passes": 41,$' "$folder/printed" &&
    [ "$(sed -n '/^ "reuse"/,/\]\],/p' "$folder/printed" | tr -cd ',' | wc -c)" -eq $((3 * 5)) ]
report $? curve_json_of_few
exit "$failed"
