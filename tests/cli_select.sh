#!/bin/sh
# Selects by command line: the study that ships, what a select needs of a trace, and what is said
# of candidates that were not recorded.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh

"$moesim" trace gen traces/samples/scored.yaml --set requests=4 --set output_tokens=24 \
    -o "$folder/scored.h5" >/dev/null 2>&1
report $? select_trace
timeout 120 "$moesim" run traces/samples/selects.yaml --set "trace=$folder/scored.h5" \
    --out "$folder/out" >"$folder/said" 2>&1
report $? select_study
# Every policy of the study has a row of quality, but for the two that change nothing.
[ "$(sed -n '/choices   choices/,/^$/p' "$folder/said" | grep -c ' - .* - ')" -eq 2 ] &&
    [ "$(sed -n '/choices   choices/,/^$/p' "$folder/said" | grep -c '%')" -eq 23 ]
report $? select_table
timeout 60 "$moesim" explain "$folder/out/result.h5" >"$folder/said" 2>&1 &&
    grep -q 'What the select changed (open loop' "$folder/said" &&
    grep -q 'Hit rate is not latency: It hits' "$folder/said"
report $? select_explained

# refused WORDS ARGUMENTS...: ends with 1 and one sentence.
refused() {
    words=$1
    shift
    timeout 60 "$moesim" run "$@" >/dev/null 2>"$folder/why"
    [ $? -eq 1 ] && [ "$(wc -l <"$folder/why")" -le 3 ] && tr '\n' ' ' <"$folder/why" | grep -q "$words"
    report $? "select_refused_$(echo "$words" | tr -c 'a-z0-9\n' _)"
}
refused "needs /routing/score" traces/samples/selects.yaml \
    --set trace=traces/samples/gpt-oss-20b-like.h5
refused "oracle, but what select" traces/samples/selects.yaml --set "trace=$folder/scored.h5" \
    --set "policies=[{select: eras-threshold, cache: {name: belady, slots: 12}}]"
refused "expected one of auto, decode, verify, all" traces/samples/selects.yaml \
    --set "trace=$folder/scored.h5" --set "policies=[{select: {name: lynx, phases: prefill}}]"

# Scores of the executed experts alone: a select stays among them, and says so.
"$moesim" trace gen traces/samples/scored.yaml --set requests=4 --set output_tokens=24 \
    --set scores=yes -o "$folder/few.h5" >/dev/null 2>&1
timeout 60 "$moesim" run traces/samples/selects.yaml --set "trace=$folder/few.h5" \
    --set "policies=[{preset: lynx, cache: {slots: 12}}, {name: verified, preset: moe-spec, cache: {slots: 12}}]" >"$folder/said" 2>&1 &&
    tr '\n' ' ' <"$folder/said" | grep -q 'lynx chooses among the 4 candidates of 32 experts' &&
    tr '\n' ' ' <"$folder/said" | grep -q 'verified chose no experts: there was no pass'
report $? select_candidates
exit $failed
