#!/bin/sh
# moesim-ranks on several MPI ranks of this machine: its own check of every collective's
# result, the table it writes, misuse, and ranks that die or hang.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh
mpi_program moesim-ranks

# ranks COUNT [flags]: runs it; leaves $status, and what it said in out and err. COUNT 1
# is without mpirun, which takes its time to end ranks that refuse.
ranks() {
    count=$1
    shift
    if [ "$count" -eq 1 ]; then set -- "$program" "$@"; else
        set -- mpirun -n "$count" "$program" "$@"
    fi
    timeout 120 "$@" >"$folder/out" 2>"$folder/err"
    status=$?
}

# refuses NAME STATUS WORDS COUNT [flags]: one sentence, no more, and nothing on stdout.
refuses() {
    name=$1 wanted=$2 words=$3
    shift 3
    ranks "$@"
    [ "$status" -eq "$wanted" ] && [ ! -s "$folder/out" ] &&
        [ "$(grep -c '^moesim-ranks: ' "$folder/err")" -eq 1 ] &&
        grep -q "^moesim-ranks: .*$words" "$folder/err"
    good=$?
    [ $good -eq 0 ] || cat "$folder/out" "$folder/err"
    report $good "$name"
}

# Every collective at each of three sizes, with 21 samples each. The unequal ones have
# empty blocks on every rank.
for n in 2 3 5; do
    mkdir "$folder/n$n"
    ranks $n --device host --max-bytes 64KiB --min-bytes 16KiB --samples 21 \
        --out "$folder/n$n/table.csv"
    [ "$status" -eq 0 ] && [ ! -s "$folder/err" ] && grep -q 'bus GB/s' "$folder/out" &&
        [ "$(ls -A "$folder/n$n")" = table.csv ] &&
        awk -F , -v ranks=$n '
            /^#/ {head++; next}
            !columns++ {bad += $0 != "collective,ranks,bytes,sample,seconds"; next}
            {bad += $2 != ranks || $3 < 16300 || $3 > 65536 || $5 <= 0 || NF != 5
             bad += $4 != seen[$1, $3]++
             if ($4 == 20) whole[$1]++
             rows++}
            END {split("all_to_all all_to_all_v all_to_all_hot all_gather reduce_scatter",
                       name, " ")
                 for (i in name) bad += whole[name[i]] != 3
                 exit bad || head < 4 || rows != 5 * 3 * 21}' "$folder/n$n/table.csv"
    good=$?
    [ $good -eq 0 ] || cat "$folder/out" "$folder/err"
    report $good "ranks_$n"
done
# Sizes at which Open MPI chooses other ways to send.
ranks 2 --min-bytes 2MiB --max-bytes 2MiB
report "$status" ranks_large

ranks 1 --help
[ "$status" -eq 0 ] && grep -q '^example: mpirun' "$folder/out" && [ ! -s "$folder/err" ]
report $? ranks_help
refuses ranks_one_is_not_enough 77 'at least two ranks' 1
refuses ranks_without_cuda 77 'built without CUDA' 2 --device cuda
refuses ranks_unknown_device 2 "no device 'tpu'" 2 --device tpu
refuses ranks_unknown_flag 2 "no flag '--bytes'" 2 --bytes 4
refuses ranks_flag_without_value 2 '--out needs a value' 1 --out
refuses ranks_bad_size 2 'expected a size' 3 --max-bytes many
refuses ranks_few_samples 2 'from 20 to' 1 --samples 3
refuses ranks_sizes_crossed 2 'below --min-bytes' 1 --max-bytes 4KiB --min-bytes 8KiB
refuses ranks_no_folder 1 'cannot make a file' 2 --out "$folder/none/table.csv"

# start COUNT [flags]: a run that nobody waits for to end; its ranks' ids are in pid.RANK.
start() {
    count=$1
    shift
    rm -f "$folder"/pid.* "$folder/out"
    # shellcheck disable=SC2016 # the ranks' own shell expands it
    timeout 120 mpirun -n "$count" sh -c \
        'echo $$ >"$1/pid.$OMPI_COMM_WORLD_RANK"; shift; exec "$@"' - "$folder" \
        "$program" --samples 100000 --out "$folder/dead/table.csv" "$@" \
        >"$folder/out" 2>"$folder/err" &
    for _ in $(seq 600); do
        if grep -q '^collective' "$folder/out" 2>/dev/null; then break; fi
        sleep 0.05
    done
    sleep 0.3
}

# broken NAME SIGNAL RANK STATUS LINES: what a rank's end leads to. LINES is a pattern for
# the number of sentences.
broken() {
    kill "-$2" "$(cat "$folder/pid.$3")"
    wait $!
    status=$?
    [ "$status" -eq "$4" ] && [ "$(ls -A "$folder/dead")" = table.csv ] &&
        [ "$(cat "$folder/dead/table.csv")" = earlier ] &&
        grep -c '^moesim-ranks: .*nothing was written' "$folder/err" | grep -qx "$5"
    good=$?
    [ $good -eq 0 ] || { echo "status $status" && cat "$folder/out" "$folder/err"; }
    report $good "$1"
}

# mpirun ends with 128 + the signal's number, or with the status of the rank that ended
# itself, and speaks for itself; rank 0 adds a sentence, if it is there. A stopped rank is
# woken to be ended, and may then find its own patience over.
mkdir "$folder/dead"
echo earlier >"$folder/dead/table.csv"
start 3
broken ranks_killed KILL 1 137 1
start 2
broken ranks_first_killed KILL 0 137 0
start 2 --patience 2
broken ranks_hang STOP 0 1 '[12]'
exit $failed
