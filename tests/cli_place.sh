#!/bin/sh
# Placement maps in files as engines load them, in and out: what each form gives, what is
# refused, by one sentence that names the file and the cure, and that the map of a run gives
# the same run again.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh
trap 'rm -rf "$folder" "$folder.said"' EXIT

# Decoder layer 0 is dense, 1 to 3 have eight experts.
cat >"$folder/tiny.yaml" <<'EOF'
{name: tiny, source: made up, layers: 4, first_moe: 1, dense_ffn: 96, hidden: 64,
 expert_ffn: 48, experts: 8, top_k: 2, heads: 4, kv_heads: 2, head_dim: 16, vocab: 96,
 gate: softmax, expert_bits: 16, dense_bits: 16, activation_bits: 16}
EOF
generate "$folder/trace.h5" model=tiny layers=3 first_layer=1 experts=8 top_k=2 \
    requests=6 prompt_tokens=6 output_tokens=10 || exit 1
cat >"$folder/map.yaml" <<'EOF'
trace: trace.h5
model: ./tiny.yaml
machine: h100-80g
parallel: {gpus: 4}
bounds: no
policies: [{name: p, place: {name: file, file: map.json}}]
EOF
rows='[[0,1,2,3,4,5,6,7,0,1,2,3],[7,6,5,4,3,2,1,0,4,5,6,7],[0,2,4,6,1,3,5,7,7,7,7,7]]'
dense=$(echo "$rows" | sed 's/^\[/[[9,9,9,9,9,9,9,9,9,9,9,9],/')

# digest CONFIG [FLAGS]: of the run's only policy.
digest() {
    timeout 60 "$moesim" run "$@" --json | sed -n 's/.*"digest": "*\([0-9a-fx]*\).*/\1/p'
}

# same NAME TEXT: a map of that text runs as the first one did.
same() {
    printf '%s\n' "$2" >"$folder/map.json"
    got=$(digest "$folder/map.yaml")
    [ -n "$got" ] && [ "$got" = "$wanted" ]
    report $? "$1"
}
printf '%s\n' "$rows" >"$folder/map.json"
wanted=$(digest "$folder/map.yaml")
[ -n "$wanted" ] && [ "$wanted" != "$(digest "$folder/map.yaml" --set policies.0.place=linear)" ]
report $? place_a_map_counts
same place_sglang "{\"physical_to_logical_map\": $rows}"
same place_sglang_dense "{\"physical_to_logical_map\": $dense}"
same place_eplb "{\"phy2log\": $rows, \"log2phy\": [], \"logcnt\": []}"
same place_tensorrt_llm "initial_global_assignments:
  1: [0,1,2,3,4,5,6,7,0,1,2,3]
  2: [7,6,5,4,3,2,1,0,4,5,6,7]
  3: [0,2,4,6,1,3,5,7,7,7,7,7]
  4: [0,1,2,3,4,5,6,7,0,1,2,3]
layer_updates_per_iter: 0
num_slots: 12"

# The map of linear is linear, and a path counts from the configuration's folder.
printf '[[0,1,2,3,4,5,6,7],[0,1,2,3,4,5,6,7],[0,1,2,3,4,5,6,7]]' >"$folder/map.json"
[ "$(digest "$folder/map.yaml")" = "$(digest "$folder/map.yaml" --set policies.0.place=linear)" ]
report $? place_linear_by_file

# A sweep has maps of its own, by paths from its folder, too.
cp "$folder/map.json" "$folder/other.json"
cat >"$folder/sweep.yaml" <<'EOF'
trace: trace.h5
model: ./tiny.yaml
machine: h100-80g
parallel: {gpus: 4}
bounds: no
policies: [{name: p}]
sweep: {place: [{name: file, file: map.json}, {name: file, file: other.json}, linear]}
EOF
timeout 60 "$moesim" sweep "$folder/sweep.yaml" --out "$folder/swept" >/dev/null 2>&1
report $? place_swept

# ... and so has a loop over policies, by its own key or by place as a whole.
for loop in '{place: file, for: {place.file: [map.json, other.json]}}' \
    '{for: {place: [{name: file, file: map.json}, {name: file, file: other.json}]}}'; do
    sed "s/^policies.*/policies: [$loop]/" "$folder/map.yaml" >"$folder/loop.yaml"
    timeout 60 "$moesim" run "$folder/loop.yaml" --out "$folder/looped" >/dev/null
    report $? "place_looped_$(echo "$loop" | tr -c 'a-z0-9\n' _)"
done

# refused WORDS TEXT [FLAGS]: a map of that text is refused in one sentence.
refused() {
    words=$1
    printf '%s\n' "$2" >"$folder/map.json"
    shift 2
    timeout 60 "$moesim" run "$folder/map.yaml" --out "$folder/none" "$@" >/dev/null \
        2>"$folder.said"
    got=$?
    case $(cat "$folder.said") in
    "moesim: "*"$words"*) good=1 ;;
    *) good= ;;
    esac
    [ "$got" -eq 1 ] && [ -n "$good" ] && [ "$(wc -l <"$folder.said")" -eq 1 ] &&
        [ ! -e "$folder/none" ]
    status=$?
    [ $status -eq 0 ] || { echo "wanted '$words', status $got, said:" && cat "$folder.said"; }
    report $status "place_refused_$(echo "$words" | tr -c 'a-z0-9\n' _)"
}
one='[0,1,2,3,4,5,6,7]'
refused "decoder layer 2 has no slot for expert 7" "[$one,[0,1,2,3,4,5,6,0],$one]"
refused "decoder layer 2 has no slot for expert 6" "[$one,[0,1,2,3,4,5,-1,7],$one]"
refused "map.json:1:25: 'expert' is 8" "[$one,[0,1,8,3,4,5,6,7],$one]"
refused "decoder layer 3 has 9 slots, the first MoE layer 8" "[$one,$one,[0,1,2,3,4,5,6,7,0]]"
refused "has 2 rows; expected 3, one for each MoE layer, or 4, one for each decoder" "[$one,$one]"
refused "which 4 GPUs do not share evenly" \
    "[[0,1,2,3,4,5,6,7,0],[0,1,2,3,4,5,6,7,0],[0,1,2,3,4,5,6,7,0]]"
refused "leave slots out" "[$one,$one,$one]" --set policies.0.place.slots=12
refused "expected a list of experts" "[$one,3,$one]"
refused "expected a list with a row" '{"physical_to_logical_map": 3}'
refused "has no row for decoder layer 2" "{initial_global_assignments: {1: $one, 3: $one}}"
refused "num_slots is 12, but the rows have 8" \
    "{num_slots: 12, initial_global_assignments: {1: $one, 2: $one, 3: $one}}"
refused "place: eplb" '{"logical_count": [[1]]}'
refused "is no placement" '{"experts": [[1]]}'
refused "not valid YAML" "[$one,$one"
refused "torch.save()" "$(printf 'PK\003\004')"
refused "is a machine where a placement map is needed" "gpu: {name: none}"
refused "needs a map" "" --set policies.0.place=file
refused "missing.json" "" --set "policies.0.place.file=$folder/missing.json"
refused "parallel: {gpus" "[$one,$one,$one]" --set parallel=

# ---- out ----

# round_trip NAME PLACE: the map that a run held, read again, gives the same run.
round_trip() {
    rm -f "$folder/map.json"
    first=$(digest "$folder/map.yaml" --set "policies.0.place=$2")
    timeout 60 "$moesim" run "$folder/map.yaml" --set "policies.0.place=$2" --out "$folder/out" \
        >/dev/null &&
        "$moesim" explain "$folder/out/result.h5" --map "$folder/map.json" &&
        "$python" -B -c 'import json, sys
m = json.load(open(sys.argv[1]))
assert list(m) == ["physical_to_logical_map"] and len(m["physical_to_logical_map"]) == 4
assert m["physical_to_logical_map"][0] == [s % 8 for s in range(len(m["physical_to_logical_map"][1]))]' \
            "$folder/map.json" && [ -n "$first" ] && [ "$(digest "$folder/map.yaml")" = "$first" ]
    report $? "place_round_trip_$1"
}
for plugin in linear round-robin random greedy anti-correlation eplb replicate; do
    round_trip $plugin $plugin
done
round_trip spare_slots "{name: linear, slots: 12}"
round_trip wrapped "{name: linear, slots: 12, spare: wrap}"
round_trip eplb_replicas "{name: eplb, slots: 16}"
round_trip replicate_replicas "{name: replicate, slots: 16}"

# A placement that moves: each one in force is kept, and a pass tells which.
timeout 60 "$moesim" run "$folder/map.yaml" --out "$folder/out" \
    --set "policies=[{name: p, place: {name: eplb, slots: 12, interval: 4, window: 4}}, {name: s, place: tensor}]" \
    >/dev/null
ask() {
    "$moesim" explain "$folder/out/result.h5" "$@" 2>&1
}
ask --placement >"$folder/said" && grep -q "^p: 12 slots a layer for 8 experts on 4 GPUs, 3 on each; placement [0-9]* of [0-9]*, from pass" \
    "$folder/said" && [ "$(grep -c '^  GPU' "$folder/said")" -eq 4 ]
report $? place_shown
ask --placement --pass 2 --layer 3 | grep -q "placement 1 of [0-9]*, from pass 0$" &&
    ask --placement --pass 4 --layer 3 | grep -q "placement 2 of [0-9]*, from pass 4$" &&
    ask --map "$folder/a.json" --policy p --pass 3 && ask --map "$folder/b.json" --policy p &&
    ! cmp -s "$folder/a.json" "$folder/b.json"
report $? place_shown_by_pass
# Of copies in the background, one placement may be in force for no pass: when the next one
# needs no copies. It is none of those that are told, so that none seems to be missing.
timeout 60 "$moesim" run "$folder/map.yaml" --out "$folder/late" \
    --set "machine={name: h100-80g, nvlink: {bandwidth: 1 GB/s}}" \
    --set "policies=[{place: {name: eplb, slots: 12, interval: 1, window: 2, migrate: background}}]" \
    >/dev/null
for pass in $(seq 0 33); do
    "$moesim" explain "$folder/late/result.h5" --placement --pass "$pass" || echo "placement 0 of"
done 2>&1 | sed -n 's/.*placement \([0-9]*\) of.*/\1/p' |
    awk '$1 < last || $1 > last + 1 {bad = 1} {last = $1} END {exit bad || last < 10}'
report $? place_shown_in_every_pass
told() {
    words=$1
    shift
    case $(ask "$@") in
    "moesim: "*"$words"*) report 0 "place_told_$(echo "$words" | tr -c 'a-z0-9\n' _)" ;;
    *) ask "$@" && report 1 "place_told_$(echo "$words" | tr -c 'a-z0-9\n' _)" ;;
    esac
}
told "decoder layer 0 has no experts; those from 1 to 3 have" --placement --layer 0
told "has a slice of every expert on every GPU" --map "$folder/c.json" --policy s
told "is no map; choose another policy" --placement --policy s
told "there are 2 policies; choose one" --map "$folder/c.json"
told "there is no policy 'q'" --placement --policy q
told "has no pass 6000" --placement --pass 6000 --policy p
told "which is read here" --map "$folder/out/result.h5" --policy p
[ ! -e "$folder/c.json" ]
report $? place_no_map_of_what_was_refused
"$moesim" explain "$folder/out/result.h5" --pass 3 >/dev/null 2>&1
[ $? -eq 2 ]
report $? place_pass_goes_with_placement

# ---- by counts alone ----

if ! "$python" -B -c 'import h5py' 2>/dev/null; then
    echo "skip place_counts: needs h5py"
    exit $failed
fi
# Expert 0 of each layer has as many tokens as all others together.
"$python" -B - "$folder/counts.h5" <<'EOF'
import sys
import h5py
import numpy as np
count = np.full((10, 3, 8), 10, "u4")
count[:, :, 0] = 70
with h5py.File(sys.argv[1], "w", libver=("v110", "v110")) as f:
    f.attrs.update(format="moesim-trace", version=1, model="tiny", source="", capture="", experts=8,
                   top_k=2, candidates=2, score_kind="none", sorted=0)
    f.create_dataset("/moe_layer", data=np.arange(1, 4, dtype="u2"), chunks=True, fletcher32=True)
    f.create_dataset("/load/count", data=count, chunks=True, fletcher32=True)
EOF
cat >"$folder/counts.yaml" <<'EOF'
trace: counts.h5
model: ./tiny.yaml
machine: h100-80g
parallel: {gpus: 4}
policies:
  - {name: linear}
  - {name: eplb, place: {name: eplb, slots: 12}}
EOF
# Linear: GPU 0 has 70 + 10 tokens of 140, 16 / 7 of the mean. EPLB gives expert 0 all four
# spare slots, more than any GPU needs: five parts of 14, and 35 is the even share.
timeout 60 "$moesim" run "$folder/counts.yaml" --out "$folder/counted" >"$folder/said" &&
    grep -q '^linear  *2.286  *2.286  *2.286  *2.286  *0.00' "$folder/said" &&
    grep -q '^eplb ' "$folder/said" && grep -q '^note: policies with a profile' "$folder/said"
report $? place_counts_table
"$python" -B - "$folder/counted" <<'EOF'
import csv
import json
import sys
rows = list(csv.DictReader(open(sys.argv[1] + "/gpu_tokens.csv")))
assert len(rows) == 2 * 10 * 3 * 4
assert [int(r["tokens"]) for r in rows[:4]] == [80, 20, 20, 20]
last = [r for r in rows if r["policy"] == "eplb"][-4:]
assert sum(int(r["tokens"]) for r in last) == 140
assert all(r["moe_layer"] == "3" and r["pass"] == "9" for r in last)
maps = [json.load(open(f"{sys.argv[1]}/placement-{i}.json"))["physical_to_logical_map"] for i in (0, 1)]
assert maps[0] == [list(range(8))] * 4 and all(row.count(0) == 5 for row in maps[1][1:])
figures = list(csv.DictReader(open(sys.argv[1] + "/summary.csv")))
assert [f["replicas"] for f in figures] == ["0", "12"] and figures[0]["activations"] == "4200"
EOF
report $? place_counts_files
timeout 60 "$moesim" run "$folder/counts.yaml" --json |
    "$python" -B -c 'import json, sys; assert json.load(sys.stdin)["policies"][0]["gpu_tokens"][0] == 2400'
report $? place_counts_json
# The placement that counts led to, for a run of rows; and the same by a profile.
timeout 60 "$moesim" run "$folder/map.yaml" --set "policies.0.place.file=$folder/counted/placement-1.json" \
    --json >"$folder/by_map" &&
    timeout 60 "$moesim" run "$folder/map.yaml" --set "policies.0.place={name: eplb, slots: 12}" \
        --set "profile=$folder/counts.h5" --json >"$folder/by_profile" &&
    [ "$(grep '"digest"' "$folder/by_map")" = "$(grep '"digest"' "$folder/by_profile")" ]
report $? place_counts_to_rows
for command in "curve $folder/counts.h5" "run $folder/counts.yaml --set parallel=" \
    "run $folder/counts.yaml --set policies.0.prefetch=markov"; do
    # shellcheck disable=SC2086
    timeout 60 "$moesim" $command >/dev/null 2>"$folder.said"
    [ $? -eq 1 ] && [ "$(wc -l <"$folder.said")" -eq 1 ] && grep -q "/routing/expert" "$folder.said"
    report $? "place_counts_refused_$(echo "${command##*[ /]}" | tr -c "a-z0-9\n" _)"
done

# DeepSeek's published placements, from their loads as counts of two passes.
if [ -z "${MOESIM_DATA:-}" ]; then
    echo "skip place_counts_eplb: needs MOESIM_DATA"
    exit $failed
fi
"$python" -B - "$MOESIM_DATA/eplb_vectors.json" "$folder" "$moesim" <<'EOF'
import json
import subprocess
import sys
import h5py
import numpy as np
folder, tried = sys.argv[2], 0
for v in json.load(open(sys.argv[1])):
    L, E, G, gpus, nodes = v["layers"], v["experts"], v["groups"], v["gpus"], v["nodes"]
    if gpus % 8 or (G % nodes == 0 and G > 1 and gpus != 8 * nodes):
        continue  # eight GPUs are a node here
    weight = np.array(v["weight"], "u4")
    with h5py.File(folder + "/v.h5", "w", libver=("v110", "v110")) as f:
        f.attrs.update(format="moesim-trace", version=1, model="v", source="", capture="", experts=E, top_k=1,
                       candidates=1, score_kind="none", sorted=0)
        f.create_dataset("/moe_layer", data=np.arange(L, dtype="u2"), chunks=True, fletcher32=True)
        f.create_dataset("/load/count", data=np.stack([weight // 3, weight - weight // 3]), chunks=True,
                         fletcher32=True)
    with open(folder + "/v.yaml", "w") as f:
        f.write(f"""trace: v.h5
model: ./v.model.yaml
machine: h100-80g
parallel: {{gpus: {gpus}}}
policies: [{{place: {{name: eplb, slots: {v["replicas"]}, groups: {G}}}}}]
""")
    with open(folder + "/v.model.yaml", "w") as f:
        f.write(f"""{{name: v, source: made up, layers: {L}, hidden: 64, expert_ffn: 48, experts: {E}, top_k: 1,
 heads: 4, head_dim: 16, vocab: 96, gate: softmax, expert_bits: 16, dense_bits: 16, activation_bits: 16}}
""")
    subprocess.run([sys.argv[3], "run", folder + "/v.yaml", "--out", folder + "/v"], check=True, stdout=subprocess.DEVNULL)
    made = json.load(open(folder + "/v/placement-0.json"))["physical_to_logical_map"]
    assert made == v["phy2log"], v["kind"]
    tried += 1
assert tried >= 12
EOF
report $? place_counts_eplb
exit $failed
