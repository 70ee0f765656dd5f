#!/bin/sh
# Experts in fewer bits: what `moesim run` tells of them, and what they do not go with, each in
# one sentence.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh

tiny_study || exit 1
generate "$folder/blind.h5" model="$folder/tiny.yaml" layers=3 experts=8 top_k=2 requests=3 \
    scores=no || exit 1

# with_policy POLICY [LINE]: a study of one policy.
with_policy() {
    cat >"$folder/one.yaml" <<END
trace: ${trace:-trace.h5}
model: ./tiny.yaml
machine: h200
${2:-}
policies: [{preset: hobbit-like, $1}]
END
}

# refuses NAME SENTENCE POLICY [LINE]
refuses() {
    name=$1 sentence=$2
    shift 2
    with_policy "$@"
    "$moesim" run "$folder/one.yaml" -q --out "$folder/out" >"$folder/said" 2>&1 </dev/null
    [ $? -eq 1 ] && [ "$(wc -l <"$folder/said")" -eq 1 ] && grep -qF -- "$sentence" "$folder/said" &&
        ! [ -e "$folder/out" ]
    report $? "hobbit_$name"
}

size='cache: {bytes: 50%}'
refuses slots "give the cache's size in bytes, such as cache: {bytes: 25%}" 'cache: {slots: 3}'
refuses future "choose a cache that needs no future" 'cache: {name: belady, bytes: 50%}'
refuses profile "choose a cache that needs no future" 'cache: {name: pin, bytes: 50%}'
refuses allocation "choose a cache that needs no future" \
    'cache: {allocate: profile, bytes: 50%}'
refuses prefetch "choose prefetch: none" "$size, prefetch: markov"
refuses watch "leave watch out" "$size" 'watch: {predictor: markov, distances: [1], width: 2}'
refuses write_back "leave write_back out" 'cache: {bytes: 50%, write_back: yes}'
refuses spare "leave spare out" 'cache: {bytes: 50%, spare: 1}'
refuses select "changes which ones run" "$size, select: oea"
refuses gate "changes which ones run" "$size, gate: capacity-factor"
refuses serial "experts: serial and empty: yes" "$size, schedule: {experts: serial}"
refuses bits "in fewer bits than tiny has" "$size, offload: {bits: 17}"
refuses shards "choose another place" "$size, place: moeshard" 'parallel: {gpus: 2}'
refuses parts "runs them in 2 parts" "$size, schedule: two-batch" 'parallel: {gpus: 2}'
trace=blind.h5 refuses scores "needs /routing/score" "$size"

# Told apart from the others: lossy, without bounds, how much in few bits.
with_policy "$size"
"$moesim" run "$folder/one.yaml" --out "$folder/out" >"$folder/said" 2>&1 &&
    "$moesim" explain "$folder/out/result.h5" | tr -s ' \n' ' ' >"$folder/explained"
grep -q 'note: lossy: hobbit-like' "$folder/said" &&
    grep -q 'few bits' "$folder/said" && grep -q 'no bound on' "$folder/said" &&
    grep -qE 'In fewer bits: [1-9][0-9 ]* of the loads, and [0-9.]+ % of the accesses' \
        "$folder/explained"
report $? hobbit_told

"$moesim" validate "$folder/one.yaml" --device host >"$folder/said" 2>&1
[ $? -eq 1 ] && tr '\n' ' ' <"$folder/said" | tr -s ' ' |
    grep -q 'has no kernels for experts in fewer bits' || { cat "$folder/said"; false; }
report $? hobbit_device

# As many counts without times, and on several GPUs the same on both engines' terms.
json() {
    with_settings "$moesim" run "$folder/one.yaml" -q --json -- "$@" |
        grep -E '"total_(low_uses|low_loads|hits|loads|bypasses|demand_bytes)"'
}
for more in seed=1 'parallel={gpus: 2}'; do
    [ -n "$(json "$more")" ] && [ "$(json "$more")" = "$(json "$more" engine=count)" ]
    report $? "hobbit_counts_without_times $more"
done
exit $failed
