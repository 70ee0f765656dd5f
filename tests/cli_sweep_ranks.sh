#!/bin/sh
# moesim-mpi on several MPI ranks of this machine: the same bytes as the plain program's, also
# when a rank or all of them are killed; what fails, and what stops. MOESIM_SLOW: twenty kills
# instead of four.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh
mpi_program moesim-mpi
tiny_study || exit 1
sed -n '1,/^policies/p' "$folder/study.yaml" >"$folder/sweep.yaml"
cat >>"$folder/sweep.yaml" <<'END'
  - {name: p, cache: {name: lru, slots: 2}}
sweep:
  seed: 1..10
  cache.slots: 2..6
  cache.name: [lru, s3fifo, arc, sieve]
END

# ranks COUNT OUT [FLAG ...]: leaves $status, out and err.
ranks() {
    count=$1 to=$2
    shift 2
    timeout -k 5 120 mpirun -n "$count" "$program" sweep "$folder/sweep.yaml" \
        --out "$folder/$to" "$@" >"$folder/out" 2>"$folder/err" </dev/null
    status=$?
}

same() {
    diff -r -x .lock "$folder/$1" "$folder/$2" >"$folder/differences"
}

timeout 120 "$moesim" sweep "$folder/sweep.yaml" --out "$folder/whole" >"$folder/out"
grep -q '^200 points: 200 done, 0 failed, 0 missing$' "$folder/out"
report $? "200 points by the plain program"

for n in 1 2 3; do
    ranks $n "n$n" --threads $((4 - n)) --jsonl "$folder/lines$n"
    [ $status -eq 0 ] && same whole "n$n" &&
        [ "$(cat "$folder/lines$n"* | grep -c '"done"')" -eq 200 ] &&
        [ "$(cat "$folder/lines$n"* | sed 's/.*"rank": \([0-9]*\).*/\1/' | sort -u | wc -l)" -eq $n ]
    report $? "the same by $n ranks, each with its share"
done

ranks 2 failing --set 'sweep.cache.slots=[2,9]'
[ $status -eq 1 ] && grep -q '^80 points: 40 done, 40 failed, 0 missing$' "$folder/out" &&
    [ "$(grep -c '^moesim: 40 points failed' "$folder/err")" -eq 1 ]
report $? "what fails stops nothing, and is said once"

ranks 2 refused --set sweep.cache.slot='[2]'
[ $status -eq 1 ] && [ ! -e "$folder/refused" ] && grep -q "unknown key 'slot'" "$folder/err"
report $? "a wrong key is refused by all"

# Every finished point of FOLDER is whole.
intact() {
    for one in "$folder/$1"/points/*/*.h5; do
        [ ! -e "$one" ] || cmp -s "$one" "$folder/whole${one#"$folder/$1"}" || return 1
    done
}

# The numbers of the ranks' processes that work on FOLDER.
workers() {
    pgrep -f "^$program sweep $folder/sweep.yaml --out $folder/$1"
}

good=0
kills=${MOESIM_SLOW:+20}
for i in $(seq "${kills:-4}"); do
    rm -rf "$folder/killed"
    timeout -k 5 120 mpirun -n 2 "$program" sweep "$folder/sweep.yaml" --out "$folder/killed" \
        >/dev/null 2>&1 </dev/null &
    job=$!
    while [ ! -e "$folder/killed/study.yaml" ] && kill -0 $job 2>/dev/null; do sleep 0.01; done
    sleep "0.$(awk -v i="$i" 'BEGIN {srand(i); printf "%03d", 900 * rand()}')"
    if [ $((i % 2)) -eq 0 ]; then # a rank, or all and mpirun
        workers killed | head -1 | xargs -r kill -9
    else
        workers killed | xargs -r kill -9
    fi 2>/dev/null
    wait $job
    intact killed || good=1
    ranks 2 killed
    [ $status -eq 0 ] && same whole killed || good=1
done
report $good "ranks that are killed lose nothing that is finished; the end is the same"

timeout -k 5 120 mpirun -n 2 "$program" sweep "$folder/sweep.yaml" --out "$folder/stopped" \
    >"$folder/out" 2>"$folder/err" </dev/null &
job=$!
while [ ! -e "$folder/stopped/study.yaml" ] && kill -0 $job 2>/dev/null; do sleep 0.01; done
sleep 0.1
workers stopped | xargs -r kill -TERM
wait $job
[ $? -ne 0 ] && intact stopped && [ ! -e "$folder/stopped/sweep.csv" ] &&
    grep -q '^moesim: stopped by a signal; the points that were finished are kept' "$folder/err" &&
    ranks 2 stopped && [ $status -eq 0 ] && same whole stopped
report $? "ranks that are asked to stop do, in good order"
exit $failed
