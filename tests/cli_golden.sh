#!/bin/sh
# Whole outputs (table, explanation, CSV, a page; of one JSON and the timeline's beginning) of the
# experiments in tests/golden, as they were when last looked at: a change of any figure or
# word shows here, for someone to judge. What the figures should be is for other tests.
#
#   sh tests/cli_golden.sh           compare
#   sh tests/cli_golden.sh --renew   take what it prints now; look at the difference in git
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh
moesim=$(realpath "$moesim")
golden=$PWD/tests/golden
samples=$PWD/traces/samples
cp tests/golden/*.yaml "$folder" && cd "$folder" || exit 1

draw() { # FILE KEY=VALUE...
    file=$1
    shift
    with_settings "$moesim" trace gen -o "$file" -- model=small layers=10 first_layer=1 \
        experts=16 top_k=2 groups=3 "$@"
}
draw trace.h5 requests=10 prompt_tokens=16 output_tokens=12 scores=yes &&
    draw sources.h5 requests=96 prompt_tokens=8 output_tokens=6 sources=16 || exit 1

outputs() { # NAME: all that is compared
    "$moesim" run "$1.yaml" --out "$1" && "$moesim" explain "$1/result.h5" &&
        cat "$1/summary.csv" || return 1
    [ "$1" != storage ] || {
        "$moesim" run "$1.yaml" --json | sed 's/^  "moesim": .*/  "moesim": any version/' &&
            head -n 150 "$1/timeline.json"
    }
}

# The page of two results, and what its figures would be drawn from.
page() {
    PATH=/nonexistent "$moesim" report tensor/result.h5 serving/result.h5 --out page 2>&1 ||
        return 1
    sed -e '1,/<\/style>/d' -e 's/moesim [0-9.]*[0-9]/moesim/' page/report.html
    tail -n +1 page/*.csv
}

# What each policy of the shipped configurations did, operation by operation and picosecond by
# picosecond, in every mode of the engine.
digest() { # CONFIG SETTING...
    config=$1
    shift
    echo "$config $*"
    with_settings "$moesim" run "$samples/$config.yaml" --json -- bounds=no passes=no \
        "trace=$samples/gpt-oss-20b-like.h5" "$@" >digest.json || return 1
    sed -n -e 's/^ *"label": "\(.*\)",$/    \1:/p' -e 's/^ *"digest": "\(.*\)",$/\1/p' \
        -e 's/^ *"total_hits": \(.*\),$/\1 hits/p' digest.json | paste -d ' ' - - -
}
digests() {
    few=workload.requests=4
    digest demo $few && digest demo $few engine=event && digest demo $few engine=count &&
        digest demo workload.batch=16 workload.requests=16 chunk=4MiB &&
        digest demo 'workload={mode: continuous, max_sequences: 6, requests: 16}' &&
        digest expert-parallel workload.requests=16 && digest expert-parallel engine=count $few &&
        digest expert-parallel engine=event parallel.attention=tensor $few &&
        digest rebalance workload.max_passes=12 workload.token_budget=512
}

# compare NAME RENEW COMMAND...
compare() {
    name=$1 renew=$2
    shift 2
    "$@" >"$name.txt" 2>&1
    status=$?
    if [ "$renew" = --renew ] && [ $status -eq 0 ]; then cp "$name.txt" "$golden/$name.txt"; fi
    diff -u "$golden/$name.txt" "$name.txt" >"$name.diff" && [ $status -eq 0 ]
    status=$?
    [ $status -eq 0 ] || head -n 60 "$name.diff"
    report $status "golden_$name"
}

for config in *.yaml; do
    name=${config%.yaml}
    [ "$name" = small ] || compare "$name" "${1:-}" outputs "$name"
done
compare page "${1:-}" page
compare digests "${1:-}" digests
exit $failed
