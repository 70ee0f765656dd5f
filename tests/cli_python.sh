#!/bin/sh
# The Python package: what it reads of results and traces is what the program says of them.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh

if ! "$python" -c 'import numpy, h5py' 2>/dev/null; then
    echo "skip python: needs python3 with numpy and h5py"
    exit 0
fi
tiny_study && "$moesim" run "$folder/study.yaml" -q --out "$folder/out" --csv >"$folder/summary.csv" &&
    "$moesim" trace export "$folder/trace.h5" -o "$folder/trace.csv"
report $? python_inputs

PYTHONPATH=traces/python "$python" -B - "$folder" <<'END'
import csv
import sys

import numpy as np

import moesim
from moesim.say import Failure

folder, failed = sys.argv[1], False


def report(good, name):
    global failed
    print("ok" if good else "not ok", name)
    failed = failed or not good


def refused(read, path, words):
    try:
        read(path)
    except Failure as failure:
        return words in str(failure)
    return False


with open(f"{folder}/summary.csv", newline="") as stream:
    summary = {line["label"]: line for line in csv.DictReader(stream)}
with moesim.read_result(f"{folder}/out/result.h5") as r:
    report(r.policies == ["lru", "resident", "oracle", "host"] == list(summary), "python_policies")
    for label, line in summary.items():
        passes, layers = r.columns(label, "pass"), r.columns(label, "layer")
        requests = r.columns(label, "request")
        report(len(passes["rows"]) == int(line["passes"])
               and passes["hits"].sum() == layers["hits"].sum() == int(line["total_hits"])
               and abs(passes["latency_s"].sum() - float(line["total_latency_s"])) < 1e-9
               and len(requests["arrival_s"]) == int(line["requests"]), f"python_columns_{label}")
    report(r.columns(0, "pass").keys() == r.columns("lru", "pass").keys()
           and r.columns(0, "queue") == {} and "machine: rtx4090" in r.config
           and list(r.moe_layers) == [0, 1, 2], "python_parts")
    try:
        r.columns("lrv", "pass")
        report(False, "python_no_policy")
    except KeyError as failure:
        report("has no policy lrv; it has lru, resident" in str(failure), "python_no_policy")

count = np.zeros((3, 8), dtype=int)
with open(f"{folder}/trace.csv", newline="") as stream:
    lines = list(csv.DictReader(stream))
for line in lines:
    count[int(line["layer"]), int(line["expert"])] += 1
with moesim.read_trace(f"{folder}/trace.h5") as t:
    report((t.model, t.experts, t.top_k, t.score_kind) == ("tiny", 8, 2, "softmax")
           and t.rows == t.routing().shape[0] == t.routing(what="score").shape[0],
           "python_trace")
    report((t.popularity() == count).all() and (t.popularity(block=7) == count).all(),
           "python_popularity")
report(refused(moesim.read_trace, f"{folder}/out/result.h5", "is no moesim-trace of version 1")
       and refused(moesim.read_result, f"{folder}/trace.h5", "is no moesim-result of version 2")
       and refused(moesim.read_result, f"{folder}/none.h5", "cannot be read as HDF5"),
       "python_refuses")
sys.exit(failed)
END
[ $? -eq 0 ] || failed=1

# The same formats, options and sentences either way, and nothing but Python's own where
# NumPy is missing.
"$moesim" list formats >"$folder/a" && "$python" -B traces/python formats >"$folder/b" &&
    cmp -s "$folder/a" "$folder/b" && grep -q '^npz ' "$folder/a"
report $? python_lists_formats
for words in "" "none.npz" "--from npz none.npz -o $folder/x.h5" "--from nqz a -o $folder/x.h5" "--no a -o b"; do
    # shellcheck disable=SC2086 # words
    "$moesim" trace import $words 2>&1 | sed 's/^moesim: trace /moesim: /' >"$folder/a"
    # shellcheck disable=SC2086
    "$python" -B traces/python import $words 2>&1 | sed 's/python -m moesim/moesim trace/' >"$folder/b"
    cmp -s "$folder/a" "$folder/b" && [ -s "$folder/a" ]
    report $? "python_same_${words%% *}"
done
"$python" -B traces/python >"$folder/a" 2>&1
[ $? -eq 2 ] && grep -q '^usage: python -m moesim COMMAND' "$folder/a"
report $? python_usage
PYTHONPATH= "$python" -I -S -B traces/python formats >"$folder/a" 2>&1
[ $? -eq 77 ] && [ "$(wc -l <"$folder/a")" -eq 1 ] && grep -q "needs python3 with numpy and h5py" "$folder/a"
report $? python_without_numpy
exit $failed
