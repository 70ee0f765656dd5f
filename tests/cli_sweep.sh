#!/bin/sh
# moesim sweep: every point is the run it stands for; shards, single points, what failed, what
# was killed, what is refused.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh
tiny_study || exit 1
sed -n '1,/^policies/p' "$folder/study.yaml" >"$folder/sweep.yaml"
cat >>"$folder/sweep.yaml" <<'END'
  - {name: p, cache: {name: lru, slots: 2}}
  - {name: q, cache: lru}
sweep:
  cache.slots: [2, 3, 5]
  policies.0.cache.name: [lru, s3fifo]
  machine.h2d_pinned.bandwidth: 10..20 GB/s in 2
END

# sweep OUT [FLAG ...]: leaves $status, out and err.
sweep() {
    to=$1
    shift
    timeout -k 5 60 "$moesim" sweep "$folder/sweep.yaml" --out "$folder/$to" "$@" \
        >"$folder/out" 2>"$folder/err" </dev/null
    status=$?
}

# refuses NAME STATUS WORDS ARGUMENT...: one sentence with the words, nothing on stdout.
refuses() {
    name=$1 wanted=$2 words=$3
    shift 3
    timeout -k 5 60 "$moesim" sweep "$@" >"$folder/out" 2>"$folder/err" </dev/null
    [ $? -eq "$wanted" ] && [ ! -s "$folder/out" ] && grep -qF -- "$words" "$folder/err" &&
        [ "$(grep -c '^moesim: ' "$folder/err")" -eq 1 ]
    good=$?
    [ $good -eq 0 ] || cat "$folder/out" "$folder/err"
    report $good "$name"
}

# same ONE OTHER: two sweeps gave the same, byte for byte.
same() {
    diff -r -x .lock "$folder/$1" "$folder/$2" >"$folder/differences"
}

sweep whole --threads 2
[ $status -eq 0 ] && [ ! -s "$folder/err" ] &&
    grep -q '^12 points: 12 done, 0 failed, 0 missing$' "$folder/out" &&
    [ "$(find "$folder/whole/points" -name '*.h5' | wc -l)" -eq 12 ]
report $? "a grid is run"

# Point 7 is slots 3, s3fifo, 20 GB/s: what `run` says of it.
"$moesim" run "$folder/sweep.yaml" >"$folder/out" 2>"$folder/err"
[ $? -eq 1 ] && [ ! -s "$folder/out" ] && grep -q \
    "^moesim: .*sweep.yaml:9:3: 'sweep' stands for many runs; run them with moesim sweep" "$folder/err"
report $? "run refuses a study with a sweep"
sed '/^sweep:/,$d' "$folder/sweep.yaml" >"$folder/run.yaml"
"$moesim" run "$folder/run.yaml" --csv --set policies.0.cache.slots=3 \
    --set policies.1.cache.slots=3 --set policies.0.cache.name=s3fifo \
    --set 'machine.h2d_pinned.bandwidth=20 GB/s' >"$folder/one.csv" 2>"$folder/err"
[ ! -s "$folder/err" ] && "$python" - "$folder" <<'END'
import csv, sys, h5py, math
folder = sys.argv[1]
one = list(csv.DictReader(open(folder + "/one.csv")))
rows = [r for r in csv.DictReader(open(folder + "/whole/sweep.csv")) if r["point"] == "7"]
assert len(one) == len(rows) == 2
for a, b in zip(one, rows):
    assert b["sweep.cache.slots"] == "3" and b["sweep.policies.0.cache.name"] == "s3fifo"
    assert b["sweep.machine.h2d_pinned.bandwidth"] == "20 GB/s" and b["outcome"] == "done"
    for name, value in a.items():
        if name != "trace_path":
            assert b[name] == value, (name, b[name], value)
h5 = h5py.File(folder + "/whole/sweep.h5")
table = list(csv.DictReader(open(folder + "/whole/sweep.csv")))
assert len(table) == 24 and set(h5) == set(table[0])
for name in h5:
    for cell, value in zip((r[name] for r in table), h5[name][:]):
        if isinstance(value, bytes):
            assert value.decode() == cell.lstrip("'")
        else:
            assert float(cell) == value if cell else math.isnan(value)
END
report $? "a point is the run it stands for; both tables say the same"

sweep again --jsonl "$folder/lines"
same whole again && [ "$(wc -l <"$folder/lines")" -eq 12 ] && "$python" - "$folder" <<'END'
import json, sys
lines = [json.loads(l) for l in open(sys.argv[1] + "/lines")]
assert sorted(l["point"] for l in lines) == list(range(12))
assert all(l["outcome"] == "done" and l["seconds"] > 0 and len(l["policies"]) == 2 and
           l["peak_memory_bytes"] > 1e6 and len(l["identity"]) == 32 for l in lines)
END
report $? "one thread and two give the same bytes; a line of JSON for each point"

sweep again --jsonl -
[ $status -eq 0 ] && same whole again && [ "$(grep -c '"outcome": "was done"' "$folder/out")" -eq 12 ]
report $? "what is done is not done again"

for i in 3 1 2; do sweep shards --shard $i/3; done
[ $status -eq 0 ] && [ ! -e "$folder/shards/sweep.csv" ] &&
    "$moesim" sweep collect "$folder/shards" >"$folder/out" && same whole shards
report $? "three shards and collect give the same"

sweep index --list
[ $status -eq 0 ] && [ "$(wc -l <"$folder/out")" -eq 12 ] && [ ! -e "$folder/index" ] &&
    sh "$folder/out" && sweep index --list && [ ! -s "$folder/out" ] &&
    "$moesim" sweep collect "$folder/index" >/dev/null && same whole index
report $? "the commands of --list, one for each point, give the same"

# A point that cannot be run says why, and the others are.
sweep failing --set 'sweep.cache.slots=[2,9]'
[ $status -eq 1 ] && grep -q '^8 points: 4 done, 4 failed, 0 missing$' "$folder/out" &&
    grep -q '^the first failure: --set sweep.cache.slots=\[2,9\]: .*slots' "$folder/out" &&
    grep -q '^moesim: 4 points failed; sweep.csv says why$' "$folder/err" &&
    [ "$(grep -c ',failed,' "$folder/failing/sweep.csv")" -eq 4 ]
report $? "what fails says why and stops nothing"

# Another study takes the folder over, and finds the points that both have.
sweep failing --set 'sweep.cache.slots=[2,3]' --jsonl -
[ $status -eq 0 ] && [ "$(grep -c '"was done"' "$folder/out")" -eq 4 ] &&
    [ "$(grep -c '"done"' "$folder/out")" -eq 4 ] &&
    ! grep -q failed "$folder/failing/sweep.csv"
report $? "a changed study does what is new"

# ... unless somebody is at work on it.
(
    flock -s 9
    sweep whole
    [ $status -eq 0 ] || exit 1
    sweep whole --set seed=2
    [ $status -eq 1 ] && grep -q 'the sweep of another study is at work there' "$folder/err"
) 9>"$folder/whole/.lock"
report $? "the same study shares a folder, another waits for its turn"

# Other values are other points, another name of the trace is not.
cp "$folder/trace.h5" "$folder/other.h5"
sweep again --set trace="$folder/other.h5" --jsonl -
[ "$(grep -c '"was done"' "$folder/out")" -eq 12 ]
report $? "points are known by what a trace holds"

# Killed at some moment: what was finished is whole, and the end is the same.
all=0
for moment in 0.03 0.06 0.09 0.13; do
    rm -rf "$folder/killed"
    timeout -s KILL $moment "$moesim" sweep "$folder/sweep.yaml" --out "$folder/killed" \
        >/dev/null 2>&1
    before=$(find "$folder/killed" -name '*.h5' 2>/dev/null | wc -l)
    sweep killed --jsonl "$folder/killed.lines"
    [ $status -eq 0 ] && [ "$(grep -c '"was done"' "$folder/killed.lines")" -ge "$before" ] &&
        same whole killed || all=1
    rm -f "$folder/killed.lines"
done
report $all "a sweep that was killed goes on, and ends in the same bytes"

# Asked to stop: what was finished is whole, nothing else is there, and it goes on.
sed 's/^  cache.slots: .*/&\n  seed: 1..300/' "$folder/sweep.yaml" >"$folder/long.yaml"
"$moesim" sweep "$folder/long.yaml" --out "$folder/stopped" >"$folder/out" 2>"$folder/err" &
job=$!
while [ ! -e "$folder/stopped/study.yaml" ] && kill -0 $job 2>/dev/null; do sleep 0.01; done
sleep 0.1
kill -TERM $job
wait $job
[ $? -eq 143 ] && [ ! -e "$folder/stopped/sweep.csv" ] && [ ! -s "$folder/out" ] &&
    grep -q '^moesim: stopped by a signal; the points that were finished are kept' "$folder/err" &&
    ! find "$folder/stopped" -name '*.tmp' | grep -q .
report $? "SIGTERM ends a sweep in good order"

# All points draw the same numbers: requests come at the same times whatever the cache.
cat >"$folder/arrive.yaml" <<'END'
trace: trace.h5
model: ./tiny.yaml
machine: rtx4090-pcie4
workload: {mode: continuous, arrivals: poisson, rate: 50, requests: 3}
policies: [{name: p, cache: {name: lru, slots: 2}}]
sweep: {cache.slots: [2, 5]}
END
"$moesim" sweep "$folder/arrive.yaml" --out "$folder/arrive" >/dev/null 2>"$folder/err" &&
    "$python" - "$folder" <<'END'
import glob, h5py, sys
times = []
for path in glob.glob(sys.argv[1] + "/arrive/points/*/*.h5"):
    found = []
    h5py.File(path).visititems(lambda name, x: found.append(x[:].tolist())
                               if name.endswith("request/arrival_ps") else None)
    times += found
assert len(times) == 2 and len(times[0]) > 1 and times[0] == times[1], times
END
report $? "points draw the same random numbers"

# A list of a part, with one point of it done.
sweep part --index 3 && sweep part --list --shard 1/2
[ $status -eq 0 ] && [ "$(wc -l <"$folder/out")" -ge 5 ] && [ "$(wc -l <"$folder/out")" -le 6 ] &&
    ! grep -q 'index 3$' "$folder/out"
report $? "--list of a shard"

# A model that only the trace names is part of what a point is.
mkdir -p "$folder/own/models" && cp -r models/machine "$folder/own/models/machine" &&
    mkdir "$folder/own/models/arch" && cp "$folder/tiny.yaml" "$folder/own/models/arch/tiny.yaml" &&
    mkdir -p "$folder/own/sim/policy" && cp -r sim/policy/presets "$folder/own/sim/policy/"
sed '/^model:/d' "$folder/sweep.yaml" >"$folder/named.yaml"
for width in 48 96; do
    sed "s/expert_ffn: 48/expert_ffn: $width/" "$folder/tiny.yaml" >"$folder/own/models/arch/tiny.yaml"
    MOESIM_HOME="$folder/own" "$moesim" sweep "$folder/named.yaml" --out "$folder/named" \
        --jsonl - >"$folder/out" 2>"$folder/err"
done
[ "$(grep -c '"done"' "$folder/out")" -eq 12 ]
report $? "another model under the same name makes other points"

# What holds another key is put first, whatever their order; the specific wins.
sweep order --set 'sweep={policies.0.cache.slots: [3], policies.1.cache.slots: [4], cache: [lru, arc], machine.h2d_pinned.bandwidth: [10 GB/s, 20 GB/s], machine: [rtx4090-pcie4]}'
[ $status -eq 0 ] && [ "$(find "$folder/order/points" -name '*.h5' | wc -l)" -eq 4 ] &&
    [ "$(grep -c 'lru scope=layer slots=3\|arc scope=layer slots=3' "$folder/order/sweep.csv")" -eq 4 ]
report $? "keys in keys"

# Paths in a sweep count from the study's folder, flat or nested, also in a mapping's name.
mkdir "$folder/elsewhere"
cat >"$folder/paths.yaml" <<'END'
trace: trace.h5
model: ./tiny.yaml
machine: rtx4090-pcie4
policies: [{name: p, cache: {name: pin, slots: 2}}]
sweep: {trace: [trace.h5, ./other.h5], model: {name: [./tiny.yaml]}, profile: trace.h5}
END
program=$(realpath "$moesim")
(cd "$folder/elsewhere" && "$program" sweep ../paths.yaml --out ../paths >"$folder/out" 2>"$folder/err")
[ $? -eq 0 ] && grep -q '^2 points: 2 done' "$folder/out" &&
    [ "$(find "$folder/paths/points" -name '*.h5' | wc -l)" -eq 1 ]
report $? "paths of a sweep count from its folder"

# Other people's files stay.
mkdir -p "$folder/theirs/points/aa"
touch "$folder/theirs/.notes.tmp" "$folder/theirs/points/aa/.z.tmp" "$folder/theirs/.sweep.csv.x.tmp"
sweep theirs
[ $status -eq 0 ] && [ -e "$folder/theirs/.notes.tmp" ] && [ -e "$folder/theirs/points/aa/.z.tmp" ] &&
    [ -e "$folder/theirs/.sweep.csv.x.tmp" ]
report $? "only what sweeps left behind is cleared"

# A trace that is gone, a point that is damaged.
cp -r "$folder/whole" "$folder/gone" && mv "$folder/trace.h5" "$folder/away.h5"
cp "$folder/gone/sweep.csv" "$folder/before.csv"
refuses "collect without the trace" 1 "trace.h5" collect "$folder/gone"
cmp -s "$folder/before.csv" "$folder/gone/sweep.csv"
report $? "... leaves the tables alone"
refuses "what is wrong alike is said once" 1 "trace.h5" "$folder/sweep.yaml" --out "$folder/no"
mv "$folder/away.h5" "$folder/trace.h5"
one=$(find "$folder/gone/points" -name '*.h5' | head -1)
truncate -s 1000 "$one"
refuses "a damaged point" 1 "is no whole result; delete it, and run the sweep again" \
    "$folder/sweep.yaml" --out "$folder/gone"
rm "$one" && sweep gone && [ $status -eq 0 ] && same whole gone
report $? "... is made again"

mkdir "$folder/full"
if mount -t tmpfs -o size=64k none "$folder/full" 2>/dev/null; then
    sweep full/it
    [ $status -eq 1 ] && [ "$(grep -c '^moesim: ' "$folder/err")" -eq 1 ] &&
        grep -q 'No space left' "$folder/err" &&
        ! find "$folder/full" -name '*.tmp' | grep -q . &&
        for one in $(find "$folder/full" -name '*.h5'); do
            cmp "$one" "$folder/whole${one#"$folder/full/it"}" || exit 1
        done
    report $? "a full disk ends it with one sentence, and what is finished is whole"
    umount "$folder/full"
else
    echo "skip full_disk: may not mount"
fi

refuses "a wrong key" 1 "wrong.yaml:9:3: unknown key 'slot' in" \
    "$(sed 's/cache.slots: \[2/cache.slot: [2/' "$folder/sweep.yaml" >"$folder/wrong.yaml"; echo "$folder/wrong.yaml")" \
    --out "$folder/no"
refuses "no sweep" 1 "there is no mapping 'sweep'" "$folder/run.yaml" --out "$folder/no"
refuses "no folder" 2 "sweep needs --out FOLDER" "$folder/sweep.yaml"
refuses "a folder without a name" 2 "--out needs the name of a folder" "$folder/sweep.yaml" --out ""
refuses "a list with --jsonl" 2 "--list runs nothing" "$folder/sweep.yaml" --out "$folder/no" \
    --list --jsonl "$folder/no"
refuses "a line to a folder" 1 "cannot be written: Is a directory; give another file" \
    "$folder/sweep.yaml" --out "$folder/whole" --jsonl "$folder"
refuses "no study" 2 "sweep takes one configuration file" --out "$folder/no"
refuses "a shard of none" 2 "--shard takes I/N" "$folder/sweep.yaml" --out "$folder/no" --shard 0/3
refuses "shard and index" 2 "exclude each other" "$folder/sweep.yaml" --out "$folder/no" \
    --shard 1/3 --index 2
refuses "a point too many" 1 "--index 12 is beyond the last point, 11" "$folder/sweep.yaml" \
    --out "$folder/no" --index 12
refuses "collect with flags" 2 "sweep collect takes the folder" collect "$folder/whole" --index 2
refuses "collect nothing" 1 "holds no sweep (study.yaml is not there)" collect "$folder/nowhere"
OMPI_COMM_WORLD_SIZE=2 refuses "under mpirun" 1 "start moesim-mpi (make ranks) instead" \
    "$folder/sweep.yaml" --out "$folder/no"
[ ! -e "$folder/no" ]
report $? "what is refused makes no folder"
exit $failed
