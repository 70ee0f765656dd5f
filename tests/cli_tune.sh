#!/bin/sh
# moesim tune: what it calls the best is the run it stands for, keeps to its limits and is that of
# the whole grid; threads, signals, files; the largest batch; points asked and told in JSON.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh
tiny_study || exit 1
sed -n '1,/^policies/p' "$folder/study.yaml" >"$folder/head.yaml"
{
    cat "$folder/head.yaml"
    echo '  - {name: lru, cache: {name: lru, slots: 3}}'
    echo '  - {name: markov, cache: {name: lru, slots: 3}, prefetch: markov}'
    echo '  - {name: oracle, preset: oracle-prefetch, cache: {slots: 3}}'
} >"$folder/run.yaml"
{
    cat "$folder/run.yaml"
    cat <<'END'
tune:
  minimise: tpot_p99
  over: {cache.slots: 2..8, cache.name: [lru, s3fifo, sieve], workload.batch: [1, 2, 3]}
  at_least: {tokens_per_s: 100}
  evaluations: 40
END
} >"$folder/tune.yaml"

# tune FLAG...: leaves $status, out and err.
tune() {
    timeout -k 5 120 "$moesim" tune "$@" >"$folder/out" 2>"$folder/err" </dev/null
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

tune "$folder/tune.yaml" --json --out "$folder/one"
[ $status -eq 0 ] && [ ! -s "$folder/err" ] && cp "$folder/out" "$folder/one.json" &&
    "$moesim" run "$folder/one/best.yaml" --json >"$folder/best.json" && "$python" - "$folder" <<'END'
import csv, json, sys
folder = sys.argv[1]
said, run = (json.load(open(f"{folder}/{name}.json")) for name in ("one", "best"))
summary = run["policy"][0]["summary"]
assert said["objective"] == summary["tpot_p99_s"] == said["best"]["figures"]["tpot_p99_s"]
assert summary["tokens_per_s"] >= 100 and len(run["policy"]) == 1
assert said["points"] == 3 * 7 * 3 * 3 and said["evaluations"] == 40 and not said["whole"]
rows = list(csv.DictReader(open(f"{folder}/one/tune.csv")))
assert len(rows) == 40 and [int(r["run"]) for r in rows] == list(range(40))
assert not any(r["policy"] == "oracle" for r in rows) and said["foreseeing"] > 0
whole = [float(r["tpot_p99_s"]) for r in rows if r["outcome"] == "allowed"]
assert min(whole) == said["objective"] and all(float(r["share"]) == 1 for r in rows
                                               if r["outcome"] == "allowed")
END
report $? "the best is what best.yaml gives, and keeps to its limit; no oracle is tried"

tune "$folder/tune.yaml" --json --out "$folder/two" --threads 3
[ $status -eq 0 ] && diff -r "$folder/one" "$folder/two" &&
    sed 's/"seconds": [^,]*//' "$folder/out" >"$folder/a" &&
    sed 's/"seconds": [^,]*//' "$folder/one.json" | diff - "$folder/a"
report $? "three threads give the same bytes"

tune "$folder/tune.yaml" --json --set tune.seed=2 --set tune.evaluations=15
sed 's/"seconds": [^,]*//' "$folder/out" | cmp -s - "$folder/a"
[ $? -eq 1 ] && [ $status -eq 0 ]
report $? "another seed looks elsewhere"

# Against the whole grid, run by sweep.
sed '/^tune:/,$d; /name: oracle/d' "$folder/tune.yaml" >"$folder/grid.yaml"
echo 'sweep: {cache.slots: 2..8, cache.name: [lru, s3fifo, sieve], workload.batch: [1, 2, 3]}' \
    >>"$folder/grid.yaml"
"$moesim" sweep "$folder/grid.yaml" --out "$folder/grid" --threads 2 >/dev/null &&
    "$python" - "$folder" <<'END'
import csv, json, sys
folder = sys.argv[1]
rows = csv.DictReader(open(folder + "/grid/sweep.csv"))
best = min(float(r["tpot_p99_s"]) for r in rows if float(r["tokens_per_s"]) >= 100)
assert json.load(open(folder + "/one.json"))["objective"] <= 1.02 * best
END
report $? "it is within 2 % of the best of the grid"

tune "$folder/tune.yaml" --set tune.evaluations=1000 --json --set 'policies=[{preset: lru-on-demand}]'
[ $status -eq 0 ] && grep -q '"whole": true' "$folder/out" && grep -q '"evaluations": 63' "$folder/out"
report $? "a small space is run whole"

tune "$folder/tune.yaml" --set tune.evaluations=15
[ $status -eq 0 ] && grep -q '^best: tpot_p99 ' "$folder/out" &&
    grep -q '  tokens_per_s .* (at least ' "$folder/out" && grep -q '^sure: ' "$folder/out" &&
    grep -q '^next: ' "$folder/out" && grep -q 'points were left out, for their policies know' "$folder/out"
report $? "it is told in words"

# What is drawn makes seeds count: batches that arrive at random.
tune "$folder/tune.yaml" --json --set 'workload={mode: continuous, arrivals: poisson, rate: 40}' \
    --set 'tune.over={cache.slots: [2, 5]}' --set 'tune.at_least={tokens_per_s: 1}' --set tune.seeds=4
[ $status -eq 0 ] && "$python" - "$folder/out" <<'END'
import json, sys
sure = json.load(open(sys.argv[1]))["sure"]
assert sure["drawn"] and sure["over"] == "seeds" and sure["seeds"] == 5
assert sure["low"] < sure["mean"] < sure["high"] and sure["least"] < sure["mean"] < sure["most"]
END
report $? "where requests come at random, seeds say how sure it is"

tune "$folder/tune.yaml" --json --set tune.against=lru --set 'tune.over={cache.slots: [2, 5]}'
[ $status -eq 0 ] && "$python" - "$folder/out" <<'END'
import json, sys
against = json.load(open(sys.argv[1]))["against"]
assert against["a"]["keys"]["policy"] == "lru" and against["b"]["keys"]["policy"] == "markov"
END
report $? "one policy against the best of the others"

tune "$folder/tune.yaml" --json --set 'tune.minimise=[tpot_p99, gpu_peak]' --set tune.seeds=0
[ $status -eq 0 ] && "$python" - "$folder/out" <<'END'
import json, sys
front = json.load(open(sys.argv[1]))["front"]
pairs = [(p["figures"]["tpot_p99_s"], p["figures"]["gpu_peak_bytes"],
          -p["figures"]["tokens_per_s"]) for p in front]
assert len(pairs) > 2 and pairs == sorted(pairs)
for a in pairs:
    assert not any(all(x <= y for x, y in zip(b, a)) and b != a for b in pairs)
END
report $? "two goals give a front"

refuses "nothing keeps to the limits" 1 "no point keeps to all limits; the nearest, " \
    "$folder/tune.yaml" --set tune.evaluations=9 --set 'tune.at_least={tokens_per_s: 1e9}' --out "$folder/none" --json --quiet
[ ! -e "$folder/none" ]
report $? "... and leaves no folder"
refuses "no task" 1 "there is no mapping 'tune'" "$folder/run.yaml"
refuses "an unknown figure" 1 "did you mean 'tpot_p99_s'" "$folder/tune.yaml" --set tune.minimise=tpot_p98
refuses "an unknown key" 1 "unknown key 'slot' in" "$folder/tune.yaml" --set 'tune.over={cache.slot: [2, 3]}'
refuses "an unknown policy" 1 "the study has no policy 'x'" "$folder/tune.yaml" --set tune.against=x
refuses "oracles alone" 1 "all points have policies that know what comes later" "$folder/tune.yaml" \
    --set 'policies=[{preset: oracle-prefetch}]'
refuses "a figure of several GPUs" 1 "no run of this study has the figure imbalance" "$folder/tune.yaml" \
    --set tune.minimise=imbalance --set tune.evaluations=9
refuses "policies in a loop" 1 "'for' stands for several policies, and here one is taken at a time" "$folder/tune.yaml" \
    --set 'policies=[{preset: lru-on-demand, for: {cache.slots: [2, 3]}}]'
refuses "two studies" 2 "tune takes one configuration file" "$folder/tune.yaml" "$folder/tune.yaml"
timeout 20 "$moesim" run "$folder/tune.yaml" >"$folder/out" 2>"$folder/err"
[ $? -eq 1 ] && grep -q "'tune' stands for many runs; run them with moesim tune" "$folder/err"
report $? "run refuses a study with a search"

"$moesim" tune "$folder/tune.yaml" --out "$folder/stopped" --set tune.evaluations=1000 \
    --set tune.over.seed=1..3000 >"$folder/out" 2>"$folder/err" &
job=$!
sleep 0.4
kill -TERM $job
wait $job
[ $? -eq 143 ] && [ ! -s "$folder/out" ] && [ ! -e "$folder/stopped" ] &&
    grep -q '^moesim: stopped by a signal, before the search had ended; nothing was written$' "$folder/err"
report $? "SIGTERM ends a search in good order"

# ---- the largest batch ----

# Of 3 requests; in between, room for two KV caches but not for three.
tune "$folder/run.yaml" --largest-batch --json --out "$folder/largest"
[ $status -eq 0 ] && grep -q '"batch": 3, "all": true' "$folder/out" &&
    [ "$(wc -l <"$folder/largest/largest.csv")" -eq 4 ] && "$python" - "$folder" <<'END'
import json, sys
found = json.load(open(sys.argv[1] + "/out"))["largest_batch"][0]
need = sum(found[k] for k in ("weight_bytes", "buffer_bytes", "kv_bytes", "activation_bytes"))
open(sys.argv[1] + "/room", "w").write(str(need - 1))
END
report $? "all requests of a small trace fit"
tune "$folder/run.yaml" --largest-batch --json --set "gpu_memory=$(cat "$folder/room") B"
[ $status -eq 0 ] && grep -q '"policy": "lru", "batch": 2, "all": false' "$folder/out" &&
    grep -q '"why": "a GPU has ' "$folder/out"
report $? "a byte less, and one does not"
tune "$folder/run.yaml" --largest-batch
[ $status -eq 0 ] && grep -q '^lru  *>= 3 ' "$folder/out"
report $? "... in a table"
refuses "no room at all" 1 "needs 102 kB beside its experts" "$folder/run.yaml" --largest-batch \
    --set 'gpu_memory=1 kB'

# ---- asked and told in JSON ----

# point NAME STATUS WORDS OBJECT FLAG...: what run says of a point.
point() {
    name=$1 wanted=$2 words=$3 object=$4
    shift 4
    printf '%s' "$object" | timeout 20 "$moesim" run "$folder/tune.yaml" --params-json - "$@" \
        >"$folder/out" 2>"$folder/err"
    [ $? -eq "$wanted" ] && [ "$(wc -l <"$folder/out")" -eq 1 ] && grep -qF -- "$words" "$folder/out" &&
        "$python" -c 'import json, sys; json.load(sys.stdin)' <"$folder/out"
    good=$?
    [ $good -eq 0 ] || cat "$folder/out" "$folder/err"
    report $good "$name"
}

point "a point is told in one line" 0 '{"objective": ' \
    '{"cache.slots": 5, "workload": {"batch": 3}, "policy": "lru"}' --objective tpot_p99
"$moesim" run "$folder/run.yaml" --set policies.0.cache.slots=5 --set workload.batch=3 --json \
    >"$folder/plain.json" && "$python" - "$folder" <<'END'
import json, sys
told = json.load(open(sys.argv[1] + "/out"))
plain = json.load(open(sys.argv[1] + "/plain.json"))["policy"][0]["summary"]
assert told["objective"] == plain["tpot_p99_s"] and told["policy"] == "lru"
for name, value in told["figures"].items():
    assert value == plain[name] or name.startswith("gap_"), name
END
report $? "... and is the run it stands for"
point "a policy by flag" 0 '"policy": "markov"' '{}' --objective tokens_per_s --policy markov
point "which policy" 1 '{"error": "' '{"cache.slots": 5}' --objective tpot_p99
point "what does not fit" 1 '{"error": "standard input:1:' '{"cache.slots": 99, "policy": "lru"}' --objective tpot_p99
point "a wrong key" 1 "unknown key 'slot'" '{"cache.slot": 9, "policy": "lru"}' --objective tpot_p99
point "several values" 1 "has several values" '{"cache.slots": [3, 4], "policy": "lru"}' --objective tpot_p99
point "no object" 1 'expected one JSON object' '[3]' --objective tpot_p99
point "half an object" 1 '{"error": "' '{"cache.slots": 3' --objective tpot_p99
point "no figure" 1 "this run has no figure 'imbalance'" '{"policy": "lru"}' --objective imbalance
printf '{"policy": "lru"}' >"$folder/point.json"
"$moesim" run "$folder/tune.yaml" --params-json "$folder/point.json" --objective tpot_p50 \
    >"$folder/out" 2>"$folder/err" && grep -q '^{"objective": ' "$folder/out"
report $? "a point from a file"
"$moesim" run "$folder/tune.yaml" --params-json - >"$folder/out" 2>"$folder/err" </dev/null
[ $? -eq 2 ] && grep -q 'needs --objective FIGURE' "$folder/err"
report $? "an objective is needed"

if "$python" -c 'import optuna' 2>/dev/null; then
    PATH=$(dirname "$(realpath "$moesim")"):$PATH timeout 60 "$python" traces/samples/optuna_tune.py \
        "$folder/tune.yaml" lru 12 >"$folder/out" 2>"$folder/err" &&
        grep -q '^best: ' "$folder/out"
    report $? "optuna asks and tells"
else
    echo "skip optuna: needs python3-optuna"
fi
exit $failed
