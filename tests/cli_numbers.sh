#!/bin/sh
# Numbers that once came out wrong without a word: settings without effect are refused,
# what was not timed has no time, serving ends with the last token.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh

generate "$folder/trace.h5" requests=8 prompt_tokens=0 output_tokens=5 output_spread=0 ||
    exit 1
cat >"$folder/one.yaml" <<'END'
trace: trace.h5
machine: h100-80g
policies: [{name: p, cache: {slots: 8}}, {name: host, cache: {slots: 8}, offload: host}]
END
cat >"$folder/many.yaml" <<'END'
trace: trace.h5
machine: h100-80g
bounds: no
parallel: {gpus: 8}
workload: {batch: 8, prefill: skip}
policies:
  - {name: late, place: {name: eplb, slots: 128, interval: 4, window: 4, migrate: background}}
END

# refused NAME WORDS CONFIG SETTING...: exit status 1 and one sentence with the words.
refused() {
    name=$1 words=$2 config=$3
    shift 3
    with_settings "$moesim" run "$folder/$config.yaml" -- "$@" >"$folder/out" 2>"$folder/err"
    [ $? -eq 1 ] && [ ! -s "$folder/out" ] && grep -q -- "$words" "$folder/err" &&
        [ "$(wc -l <"$folder/err")" -eq 1 ]
    report $? "$name"
}
refused numbers_batch "'batch' has no effect here.*choose mode: static" one \
    workload.mode=continuous workload.batch=8
refused numbers_max_sequences "'max_sequences' has no effect" one workload.max_sequences=8
refused numbers_rate "'rate' has no effect.*arrivals: poisson" one workload.rate=3
refused numbers_profile "'profile' has no effect" one "profile=$folder/trace.h5"
refused numbers_place "'window' has no effect" one 'policies.0.place={window: 4}'
refused numbers_exchange "'exchange' has no effect" one \
    'policies.0.schedule={exchange: flat}'
refused numbers_placed_once "'migrate' has no effect.*interval" many \
    'policies.0.place={migrate: background}'
refused numbers_tensor "'tensor' has no effect" many parallel.tensor=2
refused numbers_spare "'spare' has no effect" one 'policies.0.place={spare: wrap}'
refused numbers_no_size "needs one of .*give one, such as" one 'policies.0.cache={name: lru}'

# noted NAME WORDS CONFIG SETTING...: it runs, and one note has the words, in this place.
noted() {
    name=$1 words=$2 config=$3
    shift 3
    with_settings "$moesim" run "$folder/$config.yaml" --json -- "$@" \
        >"$folder/out" 2>"$folder/err" &&
        [ "$(grep '"notes"' "$folder/out" | grep -o 'has no effect\|have no effect' | wc -l)" -eq 1 ] &&
        grep -q "\"notes\".*$words" "$folder/out"
    report $? "$name"
}
for one in admission:second-miss preload:linear protect:none write_back:yes; do
    noted "numbers_pin_${one%:*}" "'${one%:*}' has no effect here: cache: pin" one \
        "policies.0.cache={name: pin, slots: 8, ${one%:*}: ${one#*:}}"
done
for one in admission:second-miss protect:none write_back:yes staging:3; do
    noted "numbers_host_${one%:*}" "policies.1.cache.${one%:*}=.*'${one%:*}' has no effect" one \
        "policies.1.cache.${one%:*}=${one#*:}"
done
noted numbers_staging "'staging' has no effect.*is kept" one \
    'policies.0.cache={slots: 8, protect: prefer, staging: 3}'
noted numbers_staging_spare "'staging' has no effect.*a spare slot" one \
    'policies.0.cache={slots: 8, staging: 3, spare: 2}'
for one in spare in_flight; do
    noted "numbers_$one" "'$one' has no effect.*from the start" one \
        "policies.0.cache={slots: all, $one: 3}"
done
# Whatever lets an expert pass the cache by needs a place for it: strict protection, a
# filter, an algorithm that would rather not keep it.
for passing in protect:strict admission:second-miss name:belady-bypass; do
    with_settings "$moesim" run "$folder/one.yaml" --json -- \
        "policies.0.cache={name: lru, slots: 8, protect: prefer, staging: 3}" \
        "policies.0.cache.${passing%:*}=${passing#*:}" >"$folder/out" 2>"$folder/err" &&
        ! grep -q "'staging' has no effect" "$folder/out"
    report $? "numbers_staging_${passing%:*}"
done
noted numbers_protect "'protect' has no effect.*ever evicted" one \
    'policies.0.cache={slots: 32, protect: none}'
noted numbers_chunk "'chunk' has no effect.*no policy copies" one 'chunk=1 MiB' \
    'policies=[{cache: {name: pin, slots: 8}, offload: host}]'
noted numbers_replica "'replica' has no effect.*give more slots" many \
    'policies.0.place={replica: nearest}'
noted numbers_interval "'interval' has no effect.*place: greedy" many \
    'policies.0.place={name: linear, interval: 4}'
noted numbers_fp8 "'fp8_dispatch' has no effect" many \
    'policies.0={place: moeshard, schedule: {fp8_dispatch: yes}}'
for schedule in pipelined two-batch; do
    noted "numbers_$schedule" "'schedule' has no effect.*one GPU sends no rows" one \
        "policies.0.schedule=$schedule"
    noted "numbers_${schedule}_group_of_one" "'schedule' has no effect.*one GPU sends no rows" many \
        parallel.gpus=1 "policies.0={schedule: $schedule}"
    with_settings "$moesim" run "$folder/many.yaml" --json -- parallel.gpus=2 \
        "policies.0={schedule: $schedule}" >"$folder/out" 2>"$folder/err" &&
        ! grep -q "'schedule' has no effect" "$folder/out"
    report $? "numbers_${schedule}_of_two"
done
# Without cache: slots a GPU of several holds all that is placed on it.
for choice in prefetch:markov offload:fiddler; do
    noted "numbers_all_there_${choice%:*}" "'${choice%:*}' has no effect.*there from the start" \
        many "policies.0={${choice%:*}: ${choice#*:}}"
done
noted numbers_all_there_alone "'prefetch' has no effect.*there from the start" one \
    'policies.0={cache: {slots: 32, preload: linear}, prefetch: markov}'
noted numbers_untimed "no times, so that these settings have no effect: launch, chunk" one \
    engine=count launch=eager 'chunk=1 MiB'

# misuse NAME WORDS COMMAND...: exit status 2 and the words.
misuse() {
    name=$1 words=$2
    shift 2
    "$moesim" "$@" >"$folder/out" 2>"$folder/err"
    [ $? -eq 2 ] && [ ! -s "$folder/out" ] && grep -q -- "$words" "$folder/err"
    report $? "$name"
}
misuse numbers_json_csv "exclude each other; choose one" run "$folder/one.yaml" --json --csv
misuse numbers_like "go with --like" trace gen -o "$folder/x.h5" --seed 3
misuse numbers_batch_csv "are for oracleGeneral" trace export "$folder/trace.h5" \
    -o "$folder/x.csv" --batch 2
misuse numbers_requests "--requests is for .*npz.*leave it out" trace import --from route_trace x \
    -o "$folder/x.h5" --requests y.csv
misuse numbers_source "with --out, or leave it out" fit "$folder/one.yaml" \
    --measured x.csv -p storage.bandwidth --source me
misuse numbers_tables "leave CONFIG and the other flags out" fit --tables "$folder" --train 3

refused numbers_slots "slots is 5000.*at most 32" one policies.0.cache.slots=5000
refused numbers_total_slots "at most 768" one 'policies.0.cache={total_slots: 769}'
refused numbers_shares "24 layers cannot share equally" one \
    'policies.0.cache={total_slots: 25}'
refused numbers_both "more than one of slots" one 'policies.0.cache={slots: 1, bytes: 1 GB}'
refused numbers_no_unit "'gpu_memory' is 12.*with its unit" one gpu_memory=12

# Per layer whatever the scope: 8 of each of 24 layers are 192 over all.
for cache in '{slots: 8}' '{slots: 8, scope: global}' '{total_slots: 192}' \
    '{total_slots: 192, scope: global}'; do
    "$moesim" run "$folder/one.yaml" --json --set "policies=[{cache: $cache}]"
done >"$folder/slots" && [ "$(grep -c '"cache_slots": 192' "$folder/slots")" -eq 4 ]
report $? numbers_slots_by_layer

"$moesim" run "$folder/one.yaml" --json >"$folder/one.json" &&
    "$moesim" run "$folder/one.yaml" --json --set engine=count >"$folder/count.json" &&
    "$moesim" run "$folder/one.yaml" --csv --set engine=count >"$folder/count.csv" &&
    "$moesim" run "$folder/many.yaml" --json >"$folder/many.json" &&
    "$python" - "$folder" <<'END'
import csv, json, sys
read = lambda name: json.load(open(f"{sys.argv[1]}/{name}.json"))["policy"]
host = read("one")[1]
assert host["total_host_experts_s"] > 0 and host["total_imbalance_wait_s"] == 0
assert abs(sum(l["host_experts_s"] for l in host["layers"])
           - host["total_host_experts_s"]) < 1e-9
for p, q in zip(read("count"), read("one")):
    assert p["counts_only"] and p["total_hits"] == q["total_hits"]
    assert all(p[k] is None for k in p if k.endswith("_s"))
    assert all(p["summary"][k] is None for k in ("tpot_p50_s", "tokens_per_s", "gpu_busy"))
    assert p["total_late"] is None and q["total_late"] == 0
    assert all(l["late"] is None for l in p["layers"])
for row in csv.DictReader(open(f"{sys.argv[1]}/count.csv")):
    assert all(row[k] == "" for k in row if k.endswith("_s") or k == "total_late")
late = read("many")[0]
assert late["total_migrations"] == 1 and late["tail_s"] > 0
assert late["elapsed_s"] == late["total_latency_s"]
assert abs(late["summary"]["tokens_per_s"] * late["elapsed_s"] - 40) < 1e-9
assert sum(l["migrated_bytes"] for l in late["layers"]) == late["total_migrated_bytes"] > 0
assert max(l["migrations"] for l in late["layers"]) == 1
END
report $? numbers_of_results

"$moesim" trace gen -o "$folder/steep.h5" --set layers=48 --set experts=128 --set top_k=8 \
    --set requests=3 --set prompt_tokens=0 --set output_tokens=512 --set output_spread=0 \
    --set cross_layer=0.99 --set adjacent_overlap=0.45
report $? numbers_reachable_overlap

"$moesim" run "$folder/one.yaml" --set engine=count --out "$folder/result" >"$folder/out" &&
    ! grep -q "[0-9] [mun]*s\b" "$folder/out" &&
    "$moesim" explain "$folder/result/result.h5" >"$folder/out" &&
    ! grep -q " [0-9.]* [mun]*s\b" "$folder/out" && ! grep -q "waited most" "$folder/out" &&
    grep -q "MoE layers, those with most copies by name" "$folder/out" &&
    grep -q "Bytes in: .*; least " "$folder/out"
report $? numbers_count_shows_no_time
exit $failed
