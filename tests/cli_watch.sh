#!/bin/sh
# moesim explain on misses that could have been foretold, with and without `watch:`, and what of
# it stands in JSON and in the result file.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh

tiny_study || exit 1
cat >"$folder/watched.yaml" <<'END'
trace: trace.h5
model: ./tiny.yaml
machine: rtx4090-pcie4
bounds: no
policies:
  - {name: lru, preset: lru-on-demand, cache: {slots: 3}}
  - {name: resident, preset: lru-on-demand, cache: {slots: all}}
watch: {predictor: markov, distances: [1, 3], width: 2}
END

# explained SETTING...: what explain says of a run, in one line.
explained() {
    rm -rf "$folder/out"
    with_settings "$moesim" run "$folder/watched.yaml" -q --out "$folder/out" -- "$@" >/dev/null &&
        "$moesim" explain "$folder/out/result.h5" | tr -s ' \n' ' '
}
says() { printf '%s\n' "$1" | grep -qE -- "$2"; }

text=$(explained)
says "$text" "Misses that could have been foretold \(by markov width=2\) 1 step ahead: [0-9 ]+ of [0-9 ]+ misses named \([0-9.]+ %\), by [0-9 ]+ guesses, of which [0-9.]+ % were right and [0-9 ]+ would have been loads\. Of the [0-9.]+ .?s that the named misses' copies took there was time to hide [0-9.]+ %, and bandwidth for [0-9.]+ %\. Had every miss been named, there was bandwidth for [0-9.]+ % of all copies' [0-9.]+ .?s\. 3 steps ahead: [0-9 ]+ of" &&
    says "$text" "Swaps, loads on demand that evict an expert: [1-9][0-9 ]* \("
report $? watch_sentences

# A policy that misses nothing has nothing to foretell.
[ "$(printf '%s\n' "$text" | grep -o 'step ahead' | wc -l)" -eq 1 ]
report $? watch_without_misses

text=$(explained engine=count)
says "$text" "1 step ahead: [0-9 ]+ of [0-9 ]+ misses named" && ! says "$text" "copies took there"
report $? watch_without_times

sed -i '/^watch/d' "$folder/watched.yaml"
text=$(explained)
says "$text" "Which misses could have been foretold is not in this result: run with watch: \{predictor: markov\}\."
report $? watch_is_advised

# ... and what is advised can be done.
"$moesim" run "$folder/watched.yaml" --set 'watch={predictor: markov}' --json >"$folder/r.json" &&
    "$python" - "$folder/r.json" <<'END'
import json, sys
r = json.load(open(sys.argv[1]))
assert r["watch"] == "markov", r["watch"]
lru, resident = r["policy"]
assert [(y["distance"], y["layer"]) for y in lru["watch"]] == [(1, 0), (1, 1), (1, 2)]
for y, layer in zip(lru["watch"], lru["layers"]):
    assert y["misses"] == layer["loads"] + layer["bypasses"] > 0
    assert 0 <= y["hidden_s"] <= y["fits_s"] <= y["named_s"] <= layer["copy_s"]
    assert layer["swaps"] <= layer["loads"]
assert sum(layer["swaps"] for layer in lru["layers"]) == lru["total_swaps"] > 0
assert all(y["misses"] == 0 for y in resident["watch"])
END
report $? watch_in_json

# Where no policy copies an expert it is said to have no effect.
with_settings "$moesim" run "$folder/watched.yaml" -- 'policies=[{preset: lru-on-demand, cache: {slots: all}}]' \
    'watch={predictor: markov}' 2>&1 | tr -s ' \n' ' ' | grep -q "'watch' has no effect here: no policy copies an expert"
report $? watch_without_copies
exit "$failed"
