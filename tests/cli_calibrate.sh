#!/bin/sh
# moesim calibrate: a quick calibration of the host device writes tables and a machine
# file that other commands take; what cannot be done is said in a sentence.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh

refuses() { # NAME STATUS WORDS COMMAND...
    name=$1 status=$2 words=$3
    shift 3
    "$@" >"$folder/out" 2>"$folder/said"
    [ $? -eq "$status" ] && [ "$(wc -l <"$folder/said")" -le 4 ] &&
        grep -q -- "$words" "$folder/said"
    report $? "$name"
}

"$moesim" calibrate --help >"$folder/help" && grep -q -- '--device' "$folder/help" &&
    grep -q 'example: moesim calibrate -o' "$folder/help"
report $? calibrate_help
refuses calibrate_without_out 2 'needs --out' "$moesim" calibrate
refuses calibrate_operand 2 'flags only' "$moesim" calibrate -o "$folder/m.yaml" more
refuses calibrate_flag 2 'there is no flag --fast' "$moesim" calibrate --fast
refuses calibrate_name 1 'name ends in .yaml' "$moesim" calibrate -o "$folder/m.txt"
refuses calibrate_nowhere 1 'nowhere/m.yaml' "$moesim" calibrate -o "$folder/nowhere/m.yaml"
refuses calibrate_unknown_device 1 'device "fpga" is not known' \
    "$moesim" calibrate -o "$folder/m.yaml" --device fpga
refuses calibrate_missing_device 77 'cuda:99' \
    "$moesim" calibrate -o "$folder/m.yaml" --device cuda:99
touch "$folder/file"
refuses calibrate_tables_unwritable 1 'file' \
    "$moesim" calibrate -o "$folder/m.yaml" --tables "$folder/file/tables"
[ ! -e "$folder/m.yaml" ]
report $? calibrate_refused_writes_nothing

# Stopped on the way: neither a table nor the machine file.
"$moesim" calibrate -o "$folder/stopped.yaml" >"$folder/out" 2>"$folder/said" &
process=$!
sleep 2
kill -INT $process 2>/dev/null || kill -TERM $process
wait $process
status=$?
# A shell may start what it puts in the background with SIGINT ignored.
if [ $status -eq 0 ]; then
    echo "skip calibrate_stopped: the signal was ignored"
else
    [ $status -eq 130 ] && grep -q 'stopped by a signal' "$folder/said" &&
        [ ! -e "$folder/stopped.yaml" ] && [ -z "$(ls -A "$folder/stopped-tables")" ]
    report $? calibrate_stopped
fi

"$moesim" calibrate -o "$folder/mine.yaml" --quick >"$folder/out" 2>"$folder/said" &&
    [ ! -s "$folder/said" ] && grep -q "Written: $folder/mine.yaml" "$folder/out"
report $? calibrate_quick
good=0
for table in copy chunks duplex launch move gemm attention experts cpu; do
    file=$folder/mine-tables/$table.csv
    grep -q '^# command: moesim calibrate -o' "$file" && grep -q '^# driver: ' "$file" &&
        [ "$(grep -c '^[^#]' "$file")" -gt 20 ] || good=1
done
report $good calibrate_tables
[ "$(grep -c 'source: "measured on ' "$folder/mine.yaml")" -ge 30 ]
report $? calibrate_sources

"$moesim" fit --tables "$folder/mine-tables" -o "$folder/again.yaml" >"$folder/out" &&
    sed 's/again/mine/' "$folder/again.yaml" | cmp -s - "$folder/mine.yaml"
report $? calibrate_fit_again
"$moesim" fit --tables "$folder/mine-tables" --csv >"$folder/points.csv" &&
    [ "$(grep -c '^gemm,[0-9]*,1,' "$folder/points.csv")" -ge 3 ]
report $? calibrate_fit_csv
refuses calibrate_fit_operand 2 'goes with --out and --csv' \
    "$moesim" fit run.yaml --tables "$folder/mine-tables"
refuses calibrate_fit_nowhere 1 'device.csv' "$moesim" fit --tables "$folder/nowhere"

# The measured tables that are kept give the machine file beside them, in its digits but
# the last.
numbers() { grep -o 'value: [^,]*' "$1"; }
"$moesim" fit --tables validate/measured/host/host-tables -o "$folder/kept.yaml" \
    >"$folder/out" && numbers "$folder/kept.yaml" >"$folder/kept" &&
    numbers validate/measured/host/host.yaml | paste - "$folder/kept" |
    awk '{ d = $2 - $(NF / 2 + 2); if (d < 0) d = -d; n++
           if (d > 1e-3 * $2 || (NF > 4 && $(NF / 2) != $NF)) bad++ }
         END { exit !(n >= 30 && bad == 0) }'
report $? calibrate_fit_of_kept_tables
# The host's few rows take many values alike: no error in the millions of percent.
grep -q 'host.few_rows .* not determined' "$folder/out" &&
    grep -q 'few_rows: .*cpu.csv (not determined)"' "$folder/kept.yaml" &&
    ! grep -q 'e+0[3-9] %' "$folder/out" "$folder/kept.yaml"
report $? calibrate_not_determined

generate "$folder/trace.h5" >/dev/null
cat >"$folder/run.yaml" <<'END2'
trace: trace.h5
machine: ./mine.yaml
host_memory: 100 GB
workload: {batch: 2}
policies:
  - {name: lru, cache: {name: lru, slots: 8}}
END2
"$moesim" run "$folder/run.yaml" -q >"$folder/out" 2>"$folder/said"
report $? calibrate_file_runs
exit $failed
