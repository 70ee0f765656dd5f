#!/bin/sh
# moesim validate on the host device: a tiny model predicted and executed, counts asserted
# by the program itself; the files it writes; what it refuses.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh

tiny_study || exit 1

# validate [flags]: leaves $status, and what it said in out and err.
validate() {
    "$moesim" validate "$folder/study.yaml" "$@" >"$folder/out" 2>"$folder/err"
    status=$?
}

# refuses NAME STATUS WORDS [flags]: one sentence with the words, nothing on stdout.
refuses() {
    name=$1 wanted=$2 words=$3
    shift 3
    validate "$@"
    [ "$status" -eq "$wanted" ] && [ ! -s "$folder/out" ] &&
        [ "$(grep -c '^moesim: ' "$folder/err")" -le 2 ] && grep -q "$words" "$folder/err"
    report $? "$name"
}

validate --device host:0 --passes 20 --warmup 1 --repeat 2 --out "$folder/v"
if [ "$status" -eq 77 ]; then
    echo "skip cli_validate: $(cat "$folder/err")"
    exit 0
fi
[ "$status" -eq 0 ] && grep -q '^Order of the policies' "$folder/out" &&
    grep -q '^The machine ran [0-9.]*x as fast as its machine file says, [0-9.]*\.\.[0-9.]*x' \
        "$folder/out" &&
    grep -q '^Counts agree, layer by layer, in each executed run of all policies: [1-9][0-9 ]* accesses, ' \
        "$folder/out" && grep -q '^experts ' "$folder/out" && grep -q '^host experts ' "$folder/out"
report $? "validate prints policies, their order and operations"

"$python" - "$folder/v" <<'END'
import collections, csv, json, sys
folder = sys.argv[1]
s = json.load(open(folder + "/summary.json"))
assert s["device"] == "host" and s["element"] == "fp32" and s["passes"] == 20
assert [p["policy"] for p in s["policies"]] == ["lru", "resident", "oracle", "host"]
for p in s["policies"]:
    assert p["pass"]["count"] == 20 and p["pass"]["measured_s"] > 0
    total = sum(x["measured_s"] for x in p["shares"].values())
    assert total > 0
assert sum(o["count"] for o in s["operations"].values()) > 0
c = s["counts_agree"]
assert c["accesses"] == c["hits"] + c["loads"] + c["bypasses"] + c["host_runs"] and c["host_runs"] > 0
# One look before each of four policies and after the last one, in each of two runs.
v = s["speed"]
assert len(v["probes"]) == 2 * (4 + 1)
ratio = sorted((v["predicted"]["gemm_s"] / p["gemm_s"] * v["predicted"]["copy_s"] / p["copy_s"])
               ** 0.5 for p in v["probes"])
assert abs(v["ratio"] / ((ratio[4] + ratio[5]) / 2) - 1) < 1e-9
assert abs(v["least"] / ratio[0] - 1) < 1e-9 and abs(v["most"] / ratio[9] - 1) < 1e-9
passes = list(csv.DictReader(open(folder + "/passes.csv")))
assert len(passes) == 4 * 21
assert all(float(p["least_s"]) <= float(p["measured_s"]) <= float(p["most_s"]) for p in passes)
ops = list(csv.DictReader(open(folder + "/operations.csv")))
dense = [o for o in ops if o["kind"] == "dense" and o["policy"] == "lru"]
assert len(dense) == 3 * 21
assert all(float(o["predicted_s"]) > 0 and float(o["measured_s"]) > 0 for o in dense)
t = json.load(open(folder + "/timeline.json"))
names = [e["args"]["name"] for e in t["traceEvents"] if e["name"] == "process_name"]
assert names[:2] == ["lru, predicted", "lru, measured"] and len(names) == 8
# Of each side 16 passes are drawn, which end with a head each.
heads = collections.Counter(e["pid"] for e in t["traceEvents"] if e["ph"] == "X" and e["name"] == "head")
assert heads == {pid: 16 for pid in range(8)}, heads
END
report $? "the files agree with each other"

"$moesim" report "$folder/v" -o "$folder/page" >/dev/null 2>"$folder/said" &&
    "$python" - "$folder" <<'END'
import csv, json, re, statistics, sys
folder = sys.argv[1]
s = json.load(open(folder + "/v/summary.json"))
page = open(folder + "/page/report.html", encoding="utf-8").read()
assert "<h1>Predicted passes are off by %.1f %%</h1>" % (100 * s["pass"]["median_abs_error"]) in page
rows = re.findall('<tr><td>([a-z]*)</td><td data-v="([^"]*)">[^<]*</td><td data-v="([^"]*)">', page)
assert [r[0] for r in rows] == [p["policy"] for p in s["policies"]], rows
for row, p in zip(rows, s["policies"]):
    assert float(row[1]) == p["pass"]["predicted_s"] and float(row[2]) == p["pass"]["measured_s"]
bars = list(csv.reader(open(folder + "/page/predicted.csv")))[1:]
for bar, p in zip(bars, s["policies"]):
    assert abs(float(bar[1]) - 1e3 * p["pass"]["measured_s"]) < 1e-9 and bar[0] == p["policy"]
off = {}
for p in csv.DictReader(open(folder + "/v/passes.csv")):
    if p["warmup"] == "0":
        off.setdefault(p["policy"], []).append(100 * abs(float(p["predicted_s"]) / float(p["measured_s"]) - 1))
for row in list(csv.reader(open(folder + "/page/errors.csv")))[1:]:
    assert abs(float(row[3]) - statistics.median(off[row[0]])) < 1e-6, row
worst = max(s["operations"].items(), key=lambda o: abs(o[1]["predicted_s"] - o[1]["measured_s"]))[0]
assert f"most of it is {worst} (" in page, worst
END
report $? "the page of a validation"
cp -R "$folder/v" "$folder/cut" && head -c 300 "$folder/v/summary.json" >"$folder/cut/summary.json"
"$moesim" report "$folder/cut" -o "$folder/none" >"$folder/out" 2>"$folder/err"
[ $? -eq 1 ] && [ ! -e "$folder/none" ] && [ "$(grep -c "^moesim: $folder/cut/summary.json" "$folder/err")" -eq 1 ] &&
    echo '{"policies": 3}' >"$folder/cut/summary.json" &&
    ! "$moesim" report "$folder/cut" -o "$folder/none" >/dev/null 2>"$folder/err" &&
    grep -q "summary.json: is no summary of moesim validate; name the folder that it had as --out$" "$folder/err"
report $? "a damaged validation has no page"

# Choices that a select has made are executed: fewer, others, and by what is resident.
sed '/^ *- /d' "$folder/study.yaml" >"$folder/select.yaml"
cat >>"$folder/select.yaml" <<'END'
  - {name: plain, cache: {name: lru, slots: 3}}
  - {name: lynx, select: {name: lynx, drop: 0.6}, cache: {name: lru, slots: 3}}
  - {name: few, select: {name: top-k, phases: all}, cache: {name: lru, slots: 3}}
  - {name: eras, select: {name: eras-threshold, alpha: 1}, cache: {name: lru, slots: 3}}
END
"$moesim" validate "$folder/select.yaml" --passes 20 --warmup 1 --repeat 1 >"$folder/out" 2>"$folder/err" &&
    grep -q '^Counts agree, layer by layer, in each executed run of all policies: [1-9]' "$folder/out"
report $? "what a select chooses is executed"

# Whatever the configuration says of these, what is executed is launched one by one and copied from
# host memory, and each pass is kept; the machine that predicts may be another.
sed 's/^name: .*/name: mine/' models/machine/h200.yaml >"$folder/mine.yaml"
sed -i '/name: resident/d;/name: oracle/d;s/^workload/seed: 7\nworkload/' "$folder/study.yaml"
validate --passes 3 --warmup 2 --repeat 2 --machine "$folder/mine.yaml" --out "$folder/w" &&
    [ "$(tail -n 2 "$folder/out")" = "
Written: $folder/w/summary.json, passes.csv, operations.csv, timeline.json (opens in ui.perfetto.dev)" ]
report $? "validate says what it wrote"
printf 'launch: graph\nhome: storage\nengine: count\npasses: no\nhost_memory: 1 kB\n' >>"$folder/study.yaml"
validate -n 3 -w 2 -r 1 -m "$folder/mine.yaml" -o "$folder/x" --json && ! grep -q Written "$folder/out" &&
    [ "$status" -eq 0 ]
report $? "validate sets what is executed"
"$python" - "$folder" <<'END'
import csv
import json
import sys
folder = sys.argv[1]


def read(name):
    rows = list(csv.DictReader(open(f"{folder}/{name}.csv")))
    return rows, [{k: v for k, v in r.items() if k not in ("measured_s", "least_s", "most_s")} for r in rows]


for name in ("passes", "operations"):
    assert read("w/" + name)[1] == read("x/" + name)[1], name
for x, repeats in (("w", 2), ("x", 1)):
    s = json.load(open(f"{folder}/{x}/summary.json"))
    want = {"seed": 7, "passes": 3, "warmup": 2, "repeats": repeats, "machine": "mine", "model": "tiny",
            "trace": folder + "/trace.h5", "element": "fp32", "device": "host"}
    assert {k: s[k] for k in want} == want, s
    assert s["notes"].startswith("Every weight and activation has 32 bits on both sides, and kernels are "
                                 "launched one by one."), s["notes"]
    assert s["version"].startswith("moesim ") and len(s["date"]) == 20 and s["date"][4::3][:2] == "--"
    passes, _ = read(x + "/passes")
    assert [r["warmup"] for r in passes] == ["1", "1", "0", "0", "0"] * 2
    # Sums of what counts, and the median of one or two repeats.
    for p in s["policies"]:
        own = [r for r in passes if r["policy"] == p["policy"] and r["warmup"] == "0"]
        for key in ("predicted_s", "measured_s"):
            assert abs(sum(float(r[key]) for r in own) / p["pass"][key] - 1) < 1e-9, (p, key)
    for r in passes:
        least, most = float(r["least_s"]), float(r["most_s"])
        assert abs((least + most) / 2 / float(r["measured_s"]) - 1) < 1e-9 and (repeats == 2 or least == most)
    assert len(s["speed"]["probes"]) == repeats * 3
    # A pass runs each layer's dense block and gate once, and the head.
    count = {k: v["count"] for k, v in s["operations"].items()}
    assert count["dense"] == count["gate"] == 2 * 3 * 3 and count["head"] == 2 * 3
    assert count["host experts"] > 0 and count["copy in"] > 0
    drawn = [e for e in json.load(open(f"{folder}/{x}/timeline.json"))["traceEvents"] if e["ph"] == "X"]
    assert drawn
assert json.load(open(folder + "/out")) == json.load(open(folder + "/x/summary.json"))
END
report $? "the summary says what was asked"

# One pass behind those of the warm-up is enough, none is not.
validate --set workload.requests=1 --warmup 5000 --passes 60000
passes=$(sed -n 's/.*has only \([0-9]*\) passes, and 5000 of them.*/\1/p' "$folder/err")
refuses "no pass behind the warm-up" 1 \
    "^moesim: the workload has only $passes passes, and $passes of them are for warm-up; take more requests or a smaller --warmup$" \
    --set workload.requests=1 --warmup "$passes"
validate --set workload.requests=1 --warmup $((passes - 1)) --repeat 1 --json --expert-memory 1 &&
    grep -q '"passes": 1, "warmup": '$((passes - 1))', "repeats": 1' "$folder/out"
report $? "one pass behind the warm-up"
before=$(cksum <"$folder/study.yaml")
ln "$folder/study.yaml" "$folder/w/summary.json" -f
refuses "what is read is not written" 1 "summary.json: is .*study.yaml, which is read here" --out "$folder/w"
[ "$(cksum <"$folder/study.yaml")" = "$before" ]
report $? "what is read stays"
"$moesim" validate "$folder/none.yaml" >"$folder/out" 2>"$folder/err"
[ $? -eq 1 ] && grep -q "^moesim: $folder/none.yaml: cannot open: No such file or directory$" "$folder/err"
report $? "a configuration that is not there"

printf -- '- a\n' >"$folder/list.yaml"
"$moesim" validate "$folder/list.yaml" --passes 4 --warmup 3 >"$folder/out" 2>"$folder/err"
[ $? -eq 1 ] && [ ! -s "$folder/out" ] && grep -v ' busy with other things; ' "$folder/err" >"$folder/said" &&
    [ "$(cat "$folder/said")" = "moesim: --set workload.max_passes=7: 'workload' is no item of the list; expected 0 to 1" ]
report $? "a configuration that is a list"

# A disk that takes 10 kB of a file: the larger tables do not fit, and none appears.
(ulimit -f 20 && "$moesim" validate "$folder/study.yaml" --passes 20 --repeat 1 --out "$folder/full" \
    >"$folder/out" 2>"$folder/err")
[ $? -eq 1 ] && grep -q "^moesim: $folder/full/operations.csv: writing failed: File too large$" "$folder/err" &&
    ! grep -q Written "$folder/out" && [ ! -e "$folder/full" ]
report $? "no room for a table"

# Too little memory to measure the device's speed: a sentence, and nothing is executed. A
# sanitizer's build reserves more than any limit.
limited() { # KIB: what it says; the status is the program's
    (
        ulimit -v "$1"
        "$moesim" validate "$folder/study.yaml" --passes 3 --repeat 1 2>&1 >"$folder/out"
    )
}
if limited 4000000 >/dev/null; then
    told=0
    for kib in 200000 400000; do
        limited $kib >"$folder/err"
        [ $? -eq 1 ] && [ ! -s "$folder/out" ] &&
            grep -q '^moesim: host: 268435456 bytes of .* memory were asked for, but only' "$folder/err" &&
            told=$((told + 1))
    done
    [ $told -eq 2 ]
    report $? "too little memory to measure the speed"
else
    echo "skip too little memory to measure the speed: this build needs more than 4 GB of addresses"
fi

# A long run on a terminal tells how far it is, and ends in good order when it is stopped.
generate "$folder/long.h5" model=tiny layers=3 experts=8 top_k=2 requests=2 output_tokens=9000 \
    prompt_spread=0 output_spread=0 scores=no || exit 1
sed '/name: host/d;s/trace.h5/long.h5/' "$folder/study.yaml" >"$folder/long.yaml"
"$moesim" validate "$folder/long.yaml" --json 2>/dev/null | "$python" -c 'import json, sys
s = json.load(sys.stdin)
assert [s[k] for k in ("device", "passes", "warmup", "repeats")] == ["host", 64, 2, 3], s'
report $? "what validate does unasked"
"$python" - "$moesim" "$folder" <<'END'
import os
import pty
import re
import signal
import subprocess
import sys
import time
moesim, folder = sys.argv[1:]
ours, theirs = pty.openpty()
begun = time.monotonic()
run = subprocess.Popen([moesim, "validate", folder + "/long.yaml", "--passes", "8000", "--out", folder + "/long"],
                       stderr=theirs, stdout=subprocess.DEVNULL)
os.close(theirs)
text, took = b"", 0.0
while True:
    try:
        data = os.read(ours, 65536)
    except OSError:  # the last writer has gone
        break
    text += data
    if b"tokens/s" in text and took == 0.0:
        run.send_signal(signal.SIGTERM)
        took = time.monotonic() - begun
assert run.wait() == 128 + signal.SIGTERM, run.returncode
lines = text.decode().split("\r")
assert lines[-2:] == ["\x1b[Kmoesim: stopped by a signal; nothing was written", "\n"], lines
# Two prompts of 20 tokens, then two tokens a pass; it looks every 256 passes.
said = next(filter(None, (re.fullmatch(r"executing (\d+) tokens, (\d+) tokens/s   \x1b\[K", x) for x in lines)))
rows, rate = int(said[1]), int(said[2])
assert rows % 512 == 40 + 2 * 255 - 512 and 0.19 < rows / rate < took, lines
assert not os.path.exists(folder + "/long")
END
report $? "a long run on a terminal"

# A machine that does other things is said to: as much as it is, if this test could make it.
"$python" - "$moesim" "$folder" <<'END'
import os
import re
import subprocess
import sys


def read():
    with open("/proc/stat") as f:
        field = [int(x) for x in f.readline().split()[1:9]]
    return sum(field), field[3] + field[4]


spin = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in os.sched_getaffinity(0)]
before = read()
run = subprocess.run([sys.argv[1], "validate", sys.argv[2] + "/none.yaml"], stderr=subprocess.PIPE, text=True)
after = read()
for x in spin:
    x.kill()
    x.wait()
busy = 1 - (after[1] - before[1]) / (after[0] - before[0])
if busy > 0.5:
    said = re.fullmatch(r"moesim: warning: this machine is (\d+) % busy with other things; what is measured now "
                        r"will be too slow\nmoesim: \S+/none.yaml: cannot open: No such file or directory\n",
                        run.stderr)
    assert said and abs(int(said[1]) - 100 * busy) < 20, (run.stderr, busy)
END
report $? "a machine that is busy"

refuses "a workload that depends on time is refused" 1 "choose arrivals: closed" \
    --set workload.mode=continuous --set workload.arrivals=poisson --set workload.rate=3
refuses "a warm-up longer than the workload is refused" 1 "are for warm-up" \
    --set workload.requests=1 --warmup 5000
refuses "experts launched one by one are refused" 1 "choose experts: grouped" \
    --set 'policies.0.schedule={experts: serial}'
refuses "a dispatch by dense products is refused" 1 "choose dispatch: sparse" \
    --set 'policies.0.gate={name: capacity-factor, dispatch: dense}'
refuses "an unknown device is misuse of a name" 1 "device" --device toaster
refuses "a device that is not here" 77 "cuda" --device cuda:63
exit "$failed"
