#!/bin/sh
# Placement maps in files as engines load them, in: what each form gives, and what is
# refused, by one sentence that names the file and the cure.
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
refused "torch.save()" "PK"
refused "needs a map" "" --set policies.0.place=file
refused "missing.json" "" --set "policies.0.place.file=$folder/missing.json"
refused "parallel: {gpus" "[$one,$one,$one]" --set parallel=
exit $failed
