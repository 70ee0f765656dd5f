#!/bin/sh
# Bad input through the program: malformed traces, configurations, request files, results,
# outputs that cannot be written, and misuse. Each is refused with one sentence and exit
# status 1 (2 for misuse), in time, without a crash, and leaves no file.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh

# listing: the names in the folder and one level deeper, hidden ones too.
listing() { echo "$folder"/* "$folder"/.[!.]* "$folder"/*/* "$folder"/*/.[!.]*; }

# refused STATUS WORDS COMMAND...: whether moesim ends so, with the words in its sentence.
refused() {
    want=$1 words=$2
    shift 2
    before=$(listing)
    timeout 60 "$moesim" "$@" >/dev/null 2>"$folder.said" </dev/null
    got=$?
    first= more=
    { IFS= read -r first && IFS= read -r more; } <"$folder.said"
    case $first in
    "moesim: "*"$words"*) good=1 ;;
    *) good= ;;
    esac
    [ "$got" -eq "$want" ] && [ "$(listing)" = "$before" ] && [ -n "$good" ] &&
        { [ "$got" -eq 2 ] || [ -z "$more" ]; } && return 0
    echo "moesim $*: status $got, said:"
    cat "$folder.said"
    [ "$(listing)" = "$before" ] || echo "and changed the files"
    return 1
}

# Every line of a table is WORDS<tab>ARGUMENT; all must be refused by COMMAND ARGUMENT.
table() {
    name=$1 status=$2
    shift 2
    bad=0
    while IFS='	' read -r expected argument; do
        refused "$status" "$expected" "$@" "$argument" || bad=1
    done
    report $bad "$name"
}

trap 'rm -rf "$folder" "$folder.said"' EXIT
generate "$folder/trace.h5" requests=6 prompt_tokens=6 output_tokens=10 || exit 1
cat >"$folder/good.yaml" <<'END'
trace: trace.h5
machine: rtx4090-pcie4
policies: [{name: a, cache: {name: lru, slots: 8}}]
END
"$moesim" run "$folder/good.yaml" --out "$folder/out" >/dev/null
report $? bad_input_good_run

table bad_input_values 1 run "$folder/good.yaml" --set <<'END'
cannot be opened	trace=nowhere.h5
is not an HDF5 file	trace=tests/run
is not a regular file	trace=/dev/null
is a folder where a trace is needed	trace=tests
'trace' is empty	trace=
there is no machine 'nowhere'	machine=nowhere
there is no model 'nowhere'	model=nowhere
name the trace's model	model=mixtral-8x7b
expected one or more policies	policies=[]
expected one or more policies	policies={}
expected one or more policies	policies=lru-on-demand
expected one of	policies=[nonsense]
'total_slots' (over all layers) and 'bytes', above 0; give one, such as cache: {slots: 4}	policies=[{}]
'total_slots' (over all layers) and 'bytes', above 0; give one, such as cache: {slots: 4}	policies=[{cache: {name: lru}}]
'total_slots' (over all layers) and 'bytes', above 0; give one, such as cache: {slots: 4}	policies.0.cache.slots=0
expected an integer from 0	policies.0.cache.slots=-1
expected an integer from 0	policies.0.cache.slots=1e400
expected an integer from 0	policies.0.cache.slots=nan
expected an integer from 0	policies.0.cache.slots=many
expected one of	policies.0.cache.name=lur
unknown key 'slot'	policies.0.cache.slot=3
expected one of	policies.0.prefetch=psychic
holds not one expert	policies=[{cache: {name: lru, bytes: 1 B}}]
expected a size	policies=[{cache: {name: lru, bytes: -5 GB}}]
expected a size	policies=[{cache: {name: lru, bytes: 5 parsecs}}]
two policies are called	policies=[{name: a, cache: {slots: 8}}, {name: a, cache: {slots: 8}}]
'7' is no item	policies.7.cache.slots=3
'seed' is -1	seed=-1
'seed' is 99999999999999999999	seed=99999999999999999999
'batch' is 0	workload.batch=0
'batch' is -3	workload.batch=-3
'mode' is turbo	workload.mode=turbo
has 6 requests	workload.first_request=100
has only 6	workload.requests=100
'rate' is 0	workload.rate=0
has no /pass	workload.mode=recorded
has no /request/arrival_ns	workload.arrivals=trace
neither arrivals nor lengths is file	workload.file=nowhere.csv
cannot be opened	workload={lengths: file, file: nowhere.csv}
workload	workload={mode: continuous, max_sequences: 8, token_budget: 4}
'chunk' is -1	chunk=-1
needs 3.60 GB	gpu_memory=1 B
with its unit, such as 64 MiB	gpu_memory=12
unknown key 'nonsense'	nonsense=1
unknown key 'a'	a.b.c=1
expected KEY=VALUE	=1
expected KEY=VALUE	x
expected KEY=VALUE	
'engine' is warp	engine=warp
a single value stands	workload=3
a list stands	workload=[]
END

bad=0
refused 1 "GB of host memory" run "$folder/good.yaml" --set home=host --set "host_memory=1 B" || bad=1
refused 1 "take fewer slots" run "$folder/good.yaml" --set gpu_memory=4GB || bad=1
report $bad bad_input_does_not_fit

# Whole configuration files, one a line, \n for a new line.
bad=0
while IFS='	' read -r words text; do
    printf '%b' "$text" >"$folder/bad.yaml"
    refused 1 "$words" run "$folder/bad.yaml" || bad=1
done <<'END'
bad.yaml	
bad.yaml	\n\n# nothing\n
bad.yaml	just words
bad.yaml	[1, 2, 3]
bad.yaml	trace: [unclosed
bad.yaml	trace: "unclosed
bad.yaml	a: 1\n\tb: 2
bad.yaml	trace: t\ntrace: u\n
bad.yaml	{{{{{{{{{{{{{{{{{{{{
bad.yaml	&a [*a, *a]
bad.yaml	--- 1\n--- 2\n
bad.yaml	trace: !!binary x\n
bad.yaml	\0377\0376\0001\0000
bad.yaml	trace: a\0000b\n
bad.yaml	policies: []\n
'machine'	trace: trace.h5\npolicies: [lru-on-demand]\n
'trace'	machine: h200\npolicies: [lru-on-demand]\n
'policies'	trace: trace.h5\nmachine: h200\n
END
report $bad bad_input_configurations

bad=0
refused 1 "cannot" run "$folder/nowhere.yaml" || bad=1
refused 1 "is a folder" run "$folder" || bad=1
refused 1 "is a trace" run "$folder/trace.h5" || bad=1
refused 1 "is a configuration" trace info "$folder/good.yaml" || bad=1
refused 1 "cannot" explain "$folder/nowhere.h5" || bad=1
refused 1 "is a trace" explain "$folder/trace.h5" || bad=1
refused 1 "" explain "$folder/good.yaml" || bad=1
refused 1 "" report "$folder/trace.h5" --out "$folder/out" || bad=1
refused 1 "is a result" trace info "$folder/out/result.h5" || bad=1
report $bad bad_input_wrong_files

# Outputs: a folder that is a file, a name that is a folder, a folder that is not there.
bad=0
refused 1 "good.yaml" run "$folder/good.yaml" --out "$folder/good.yaml" || bad=1
refused 1 "good.yaml" run "$folder/good.yaml" --out "$folder/good.yaml/deeper" || bad=1
refused 1 "/proc" run "$folder/good.yaml" --out /proc/nowhere || bad=1
for command in "slice --rows 0:5" "export" "export --to oracleGeneral"; do
    # shellcheck disable=SC2086 # the flags are words
    for out in "$folder" "$folder/nowhere/x" "$folder/good.yaml/x" /dev/full; do
        refused 1 "" trace $command "$folder/trace.h5" -o "$out" || bad=1
    done
done
refused 1 "" trace gen -o "$folder/nowhere/x" || bad=1
refused 1 "" trace gen -o "$folder" || bad=1
"$moesim" list policies >/dev/full 2>"$folder/said"
[ $? -eq 1 ] && grep -q '^moesim: standard output' "$folder/said" || bad=1
rm -f "$folder/said"
report $bad bad_input_outputs

bad=0
for part in "--rows 5:5" "--rows 9:2" "--rows x" "--rows -1:2" "--rows 999:" "--requests 6:7" \
    "--requests 3:2" "--layers 24" "--layers 3:1" "--layers ," "--layers 1,1"; do
    # shellcheck disable=SC2086
    refused 1 "" trace slice "$folder/trace.h5" -o "$folder/part.h5" $part || bad=1
done
refused 1 "" trace export "$folder/trace.h5" -o "$folder/x" --to oracleGeneral --layers 99 || bad=1
report $bad bad_input_slices
table bad_input_generator 1 trace gen -o "$folder/new.h5" --set <<'END'
experts	experts=0
experts	experts=5000
top_k	top_k=0
top_k	top_k=33
layers	layers=0
layers	layers=-1
skew	skew=nan
locality	locality=2
requests	requests=0
unknown key 'nonsense'	nonsense=1
END

table bad_input_misuse 2 <<'END'
there is no command	fly
there is no command	
run takes	run
explain takes	explain
list takes	list
END
bad=0
refused 2 "there is no flag" run "$folder/good.yaml" --fly || bad=1
refused 2 "needs a value" run "$folder/good.yaml" --out || bad=1
refused 2 "whole number" run "$folder/good.yaml" --threads 0 || bad=1
refused 2 "whole number" run "$folder/good.yaml" --threads -1 || bad=1
refused 2 "whole number" run "$folder/good.yaml" --threads 1e9 || bad=1
refused 2 "takes no value" run "$folder/good.yaml" --json=yes || bad=1
refused 2 "--json and --csv exclude each other" run "$folder/good.yaml" --json --csv || bad=1
refused 1 "the folder to write has no name" run "$folder/good.yaml" -o "" || bad=1
refused 1 "the file to write has no name" trace slice "$folder/trace.h5" -o "" || bad=1
if [ -w /dev/full ]; then # the disk's own words, as long as they are known
    "$moesim" list machines >/dev/full 2>"$folder/full"
    [ $? -eq 1 ] && grep -q "standard output cannot be written: No space left" "$folder/full" || bad=1
    "$moesim" list policies >/dev/full 2>"$folder/full" # more than a buffer
    [ $? -eq 1 ] && grep -q "standard output cannot be written" "$folder/full" || bad=1
    refused 1 "/dev/full: writing failed: No space left" trace export "$folder/trace.h5" -o /dev/full ||
        bad=1
fi
refused 2 "one configuration" run "$folder/good.yaml" "$folder/good.yaml" || bad=1
refused 2 "list knows" list nonsense || bad=1
refused 2 "no trace command" trace fly || bad=1
refused 2 "--to is" trace export "$folder/trace.h5" -o "$folder/x" --to xml || bad=1
refused 2 "slice takes" trace slice "$folder/trace.h5" || bad=1
report $bad bad_input_misuse_of_flags

# Request files.
bad=0
while IFS='	' read -r words text; do
    printf '%b' "$text" >"$folder/requests"
    refused 1 "$words" run "$folder/good.yaml" --set "workload={lengths: file, arrivals: file, file: $folder/requests}" || bad=1
done <<'END'
requests	
requests	\n
requests	hello
requests	TIMESTAMP,ContextTokens,GeneratedTokens\n
requests	TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6,x,1\n
requests	TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6,1\n
requests	TIMESTAMP,ContextTokens,GeneratedTokens\n2023-99-99 18:15:46.6,1,1\n
requests	TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6,99999999999999,1\n
requests	{"timestamp": 1}\n
requests	{"timestamp": -5, "input_length": 1, "output_length": 1}\n
requests	{"timestamp": 1, "input_length": 1, "output_length": 1\n
requests	\0000\0000\0000
END
report $bad bad_input_request_files

if ! "$python" -c 'import h5py' 2>/dev/null; then
    echo "skip bad_input_files: needs python3 with h5py"
    exit $failed
fi
"$python" - "$moesim" "$folder" <<'END' || failed=1
import os
import shutil
import subprocess
import sys

import h5py
import numpy as np

moesim, folder = sys.argv[1:]
failed = False


def report(good, name):
    global failed
    print("ok" if good else "not ok", name, flush=True)
    failed = failed or not good


def refused(command, path, maybe=False):
    """Status 1 and one sentence; with `maybe`, status 0 and none will do as well."""
    try:
        run = subprocess.run([moesim, *command, path], capture_output=True, timeout=60,
                             stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        print(f"{command} {path} hangs")
        return False
    said = run.stderr.decode(errors="replace")
    if maybe and run.returncode == 0 and said == "":
        return True
    good = run.returncode == 1 and said.startswith("moesim: ") and said.count("\n") == 1
    if not good:
        print(command, path, run.returncode, said)
    return good


def truncated_and_flipped(path, command, name):
    """Cut short the file is always refused. A bit flip may hit a byte without meaning."""
    with open(path, "rb") as stream:
        data = stream.read()
    bad = f"{folder}/damaged.h5"
    good = True
    for i in range(12):
        with open(bad, "wb") as stream:
            stream.write(data[:len(data) * i // 12])
        good = refused(command, bad) and good
    report(good, f"bad_input_{name}_truncated")
    rng = np.random.default_rng(3)
    good = True
    # Half of the flips go into the first 2 KiB, where the structure is.
    for position in [*rng.integers(0, 2048, 20), *rng.integers(0, len(data), 20)]:
        copy = bytearray(data)
        copy[position] ^= 1 << rng.integers(0, 8)
        with open(bad, "wb") as stream:
            stream.write(copy)
        good = refused(command, bad, maybe=True) and good
    report(good, f"bad_input_{name}_flipped")


def change(f, name, values):
    f[name][:] = values


def replace(f, name, values):
    del f[name]
    f.create_dataset(name, data=values)


def value(f, name, where, what):
    f[name][where] = what


EDITS = {
    "expert_out_of_range": lambda f: value(f, "/routing/expert", (5, 3, 1), 32),
    "expert_twice": lambda f: value(f, "/routing/expert", (5, 3), [4, 4, 5, 6]),
    "expert_after_hole": lambda f: value(f, "/routing/expert", (5, 3), [4, 65535, 5, 6]),
    "score_nan": lambda f: value(f, "/routing/score", (7, 0, 0), np.nan),
    "score_infinite": lambda f: value(f, "/routing/score", (7, 0, 3), np.inf),
    "score_negative": lambda f: value(f, "/routing/score", (7, 0, 3), -1),
    "scores_missing": lambda f: f.__delitem__("/routing/score"),
    "routing_missing": lambda f: f.__delitem__("/routing"),
    "token_missing": lambda f: f.__delitem__("/token"),
    "request_missing": lambda f: f.__delitem__("/request"),
    "layers_missing": lambda f: f.__delitem__("/moe_layer"),
    "layers_descend": lambda f: change(f, "/moe_layer", range(24)[::-1]),
    "version_2": lambda f: f.attrs.modify("version", 2),
    "other_format": lambda f: f.attrs.modify("format", "another"),
    "no_model": lambda f: f.attrs.__delitem__("model"),
    "experts_0": lambda f: f.attrs.modify("experts", 0),
    "experts_negative": lambda f: f.attrs.create("experts", -32),
    "experts_huge": lambda f: f.attrs.create("experts", 1 << 40),
    "top_k_0": lambda f: f.attrs.modify("top_k", 0),
    "top_k_33": lambda f: f.attrs.modify("top_k", 33),
    "candidates_5": lambda f: f.attrs.modify("candidates", 5),
    "kind_unknown": lambda f: f.attrs.modify("score_kind", "magic"),
    "phase_9": lambda f: value(f, "/token/phase", 2, 9),
    "request_lies": lambda f: value(f, "/token/request", 0, 3),
    "position_back": lambda f: value(f, "/token/position", 3, 0),
    "rows_lie": lambda f: value(f, "/request/rows", 1, 1 << 31),
    "first_row_lies": lambda f: value(f, "/request/first_row", 1, 1 << 63),
    "group_lies": lambda f: value(f, "/request/group", 0, 999),
    "expert_flat": lambda f: replace(f, "/routing/expert", np.zeros(10, "<u2")),
    "expert_floats": lambda f: replace(f, "/routing/expert",
                                       np.zeros(f["/routing/expert"].shape)),
    "expert_words": lambda f: replace(f, "/routing/expert", "words"),
    "token_short": lambda f: replace(f, "/token/phase", np.zeros(3, "u1")),
    "empty": lambda f: f["/routing/expert"].resize(0, axis=0),
    "longer": lambda f: f["/routing/expert"].resize(1 << 40, axis=0),
}
trace = f"{folder}/trace.h5"
edited = f"{folder}/edited.h5"
for name, edit in EDITS.items():
    shutil.copyfile(trace, edited)
    with h5py.File(edited, "r+") as f:
        edit(f)
    good = refused(["trace", "info"], edited)
    with open(f"{folder}/edited.yaml", "w", encoding="utf-8") as stream:
        stream.write("trace: edited.h5\nmachine: rtx4090-pcie4\nengine: count\n"
                     "policies: [{name: a, cache: {name: belady, slots: 8}}]\n")
    # A replay reads what it needs, so that it may not see every lie.
    seen = refused(["run", "--quiet"], f"{folder}/edited.yaml", maybe=True)
    report(good and seen, f"bad_input_trace_{name}")
truncated_and_flipped(trace, ["trace", "info"], "trace")
truncated_and_flipped(f"{folder}/out/result.h5", ["explain"], "result")
good = True
names = []
with h5py.File(f"{folder}/out/result.h5") as f:
    f.visit(names.append)
for name in names[::4]:
    shutil.copyfile(f"{folder}/out/result.h5", edited)
    with h5py.File(edited, "r+") as f:
        del f[name]
    good = refused(["explain"], edited, maybe=True) and good
report(good, "bad_input_result_parts_missing")
sys.exit(failed)
END
exit $failed
