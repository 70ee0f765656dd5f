#!/bin/sh
# Experts in place by command line: each kind on one GPU and on two, what tables and explain say
# of them, what a choice's ends are equal to.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh

tiny_study || exit 1
cat >"$folder/offload.yaml" <<'END'
trace: trace.h5
model: ./tiny.yaml
machine: a100-monde
workload: {batch: 2}
policies:
  - {name: fetched, cache: {slots: 2}}
  - {name: host, cache: {slots: 2}, offload: host}
  - {name: fiddler, cache: {slots: 2}, offload: {name: fiddler, objective: max}}
  - {name: hybrid, cache: {slots: 2}, offload: {name: hybrid, fetch: 1, rule: fixed}}
  - {name: first, offload: {name: layers, count: 1}}
  - {name: last, offload: {name: layers, count: 2, side: last}}
  - {name: whole, offload: {name: layers, count: 2, whole: yes, batch: never}}
  - {name: near, cache: {slots: none}, offload: monde, schedule: {name: overlapped, loads: each}}
END

for gpus in 0 2; do
    [ $gpus -eq 0 ] && setting=seed=1 || setting="parallel={gpus: $gpus}"
    timeout 60 "$moesim" run "$folder/offload.yaml" --set "$setting" --csv >"$folder/run.csv" \
        2>"$folder/said"
    report $? "offload_on_$gpus"
    "$python" - "$folder/run.csv" <<'END'
import csv, sys

rows = {row["label"]: row for row in csv.DictReader(open(sys.argv[1], encoding="utf-8"))}
count = lambda name, what: int(rows[name]["total_" + what])
for name in rows:
    assert count(name, "accesses") == sum(count(name, what) for what in (
        "hits", "loads", "bypasses", "host_runs", "near_runs")), name
assert count("fetched", "host_runs") == 0 < count("host", "host_runs")
assert count("host", "loads") == 0 < count("hybrid", "loads") < count("fetched", "loads")
assert 0 < count("hybrid", "host_runs")
for name in ("first", "last", "whole"):  # prompts of `first` and `last` stream the weights
    assert count(name, "host_runs") > 0 and count(name, "loads") == 0, name
assert count("whole", "demand_bytes") == 0 < count("first", "demand_bytes")
assert count("near", "near_runs") > 0 and count("near", "hits") == count("near", "loads") == 0
END
    report $? "offload_counts_on_$gpus"
done

timeout 60 "$moesim" run "$folder/offload.yaml" --out "$folder/out" >"$folder/said" 2>&1 &&
    grep -q 'ran on  *ran near' "$folder/said" && grep -q 'the host  *the data' "$folder/said"
report $? offload_table
timeout 60 "$moesim" explain "$folder/out/result.h5" >"$folder/said" 2>&1 &&
    tr '\n' ' ' <"$folder/said" | tr -s ' ' >"$folder/words" &&
    grep -q 'Ran on the host instead: ' "$folder/words" &&
    grep -q 'Ran near the data instead: ' "$folder/words"
report $? offload_explained

# refused WORDS SETTINGS...: ends with 1 and one sentence.
refused() {
    words=$1
    shift
    with_settings timeout 60 "$moesim" run "$folder/offload.yaml" -- "$@" >/dev/null 2>"$folder/why"
    [ $? -eq 1 ] && [ "$(wc -l <"$folder/why")" -le 4 ] &&
        tr '\n' ' ' <"$folder/why" | tr -s ' ' | grep -q "$words"
    report $? "offload_refused_$(echo "$words" | tr -c 'a-z0-9\n' _)"
}
refused "has no unit there" machine=h100-80g
refused "say batch: never" 'policies=[{offload: {name: layers, whole: yes}}]'
refused "engine: fifo cannot do" engine=fifo 'policies=[{cache: {slots: 2}, offload: hybrid}]'
refused "one of first, last" 'policies=[{offload: {name: layers, side: middle}}]'
refused "not all of them are in host memory" home=storage
exit $failed
