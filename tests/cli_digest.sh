#!/bin/sh
# Same configuration, same figures and same digest: for two runs, for 1 and 2 threads, for
# the FIFO fast path and the event-driven engine, and, where MOESIM_OTHER names the program
# as another compiler built it, for both programs. Compares the JSON and every file written.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh

generate "$folder/trace.h5" || exit 1
cat >"$folder/static.yaml" <<'END'
trace: trace.h5
machine: rtx4090-pcie4
workload: {batch: 3}
policies:
  - {name: lru, cache: {name: lru, slots: 8}}
  - {name: random, cache: {name: random, slots: 9}, schedule: serial}
  - {name: s3fifo, cache: {name: s3fifo, bytes: 3 GB, scope: global}}
  - {name: written, cache: {name: lfu-aging, slots: 7, write_back: yes}}
  - {name: markov, cache: {name: arc, slots: 10}, prefetch: {name: markov, distance: 2}}
  - {name: oracle, cache: {name: belady, slots: 8}, prefetch: {name: oracle, width: 3}}
  - {name: capacity, preset: gshard-capacity, cache: {name: slru, slots: 8}}
END
cat >"$folder/continuous.yaml" <<'END'
trace: trace.h5
machine: a100-80g
seed: 7
workload: {mode: continuous, arrivals: poisson, rate: 3, max_sequences: 5, token_budget: 24}
policies:
  - {name: clock, cache: {name: clock, slots: 12}}
  - {name: sieve, cache: {name: sieve, slots: 12}, prefetch: previous-token}
END

# replay PROGRAM CONFIG NAME [FLAG ...]: the JSON and all files go to the folder NAME.
replay() {
    program=$1 config=$2 name=$3
    shift 3
    mkdir -p "$folder/$name" &&
        "$program" run "$folder/$config.yaml" --out "$folder/$name" --json "$@" \
            >"$folder/$name/run.json" 2>"$folder/$name/said" && [ ! -s "$folder/$name/said" ]
}

digests() { sed -n 's/.*"digest": \("[0-9a-f]*"\).*/\1/p' "$folder/$1/run.json"; }
same() { diff -r "$folder/$1" "$folder/$2" >&2; }

for config in static continuous; do
    replay "$moesim" $config $config.one &&
        [ "$(grep -c '"digest": "[0-9a-f]*[1-9a-f]' "$folder/$config.one/run.json")" -ge 2 ]
    report $? digest_${config}_runs
    replay "$moesim" $config $config.again && same $config.one $config.again
    report $? digest_${config}_two_runs
    replay "$moesim" $config $config.threads --threads 2 && same $config.one $config.threads
    report $? digest_${config}_two_threads
    if [ -z "${MOESIM_OTHER:-}" ]; then
        echo "skip digest_${config}_two_compilers: needs MOESIM_OTHER, another compiler's build"
    else
        replay "$MOESIM_OTHER" $config $config.other && same $config.one $config.other
        report $? digest_${config}_two_compilers
    fi
done

# Another seed is another run: the comparison above can fail.
replay "$moesim" static static.seed --set seed=2 &&
    [ "$(digests static.one)" != "$(digests static.seed)" ]
report $? digest_differs_with_the_seed

# The event-driven engine finds the same times as the fast path, so the same digest.
replay "$moesim" continuous fifo --set policies.1.prefetch=none --set engine=fifo &&
    replay "$moesim" continuous event --set policies.1.prefetch=none --set engine=event &&
    [ -n "$(digests fifo)" ] && [ "$(digests fifo)" = "$(digests event)" ]
report $? digest_fifo_and_event
exit $failed
