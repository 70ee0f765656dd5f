#!/bin/sh
# moesim check BASELINE from outside: what is stored is found again, what changes is named (a number
# of the machine, one expert of one row, a policy), a user's part stays, reports parse and agree, and
# what cannot be is said in one sentence.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh
tiny_study || exit 1
top=$PWD
moesim=$(realpath "$moesim")
cp models/machine/rtx4090-pcie4.yaml "$folder/machine.yaml"
sed -i 's|^machine: .*|machine: ./machine.yaml|' "$folder/study.yaml"
cd "$folder" || exit 1

# check STATUS [arguments]: leaves what it said in out and err.
check() {
    wanted=$1
    shift
    "$moesim" check "$@" >"$folder/out" 2>"$folder/err" </dev/null
    [ $? -eq "$wanted" ]
}
said() { tr '\n' ' ' <out | tr -s ' ' | grep -qF "$1"; }

mkdir guards && check 0 --update guards/guard.yaml --study study.yaml --set workload.batch=1 --set bounds=no &&
    grep -q '^Written: guards/guard.yaml, [0-9]* values$' out && [ "$(sed -n 2,6p guards/guard.yaml)" = \
    "study: ../study.yaml
set:
  - workload.batch=1
  - bounds=no
tolerance: {times: 0 %, counts: 0 %}" ]
report $? "a baseline is started"
check 0 guards/guard.yaml && grep -q '^guards/guard.yaml (study ../study.yaml): [0-9]* values, none failed$' out &&
    [ ! -s err ] && check 0 guards -t 2 && cp guards/guard.yaml first.yaml &&
    check 0 --update guards && cmp first.yaml guards/guard.yaml && grep -q ', 0 of them changed$' out
report $? "what is stored is found again"
mkdir elsewhere && (cd elsewhere && "$moesim" check ../guards/guard.yaml >../out)
report $? "from wherever one is"
mkdir data && cp trace.h5 data/other.h5 && (cd data && "$moesim" check --update ../guards/other.yaml \
    --study ../study.yaml --set trace=other.h5 --set engine=count --set machine=h200 >../out) &&
    grep -qx '  - trace=../data/other.h5' guards/other.yaml && grep -qx '  - machine=h200' guards/other.yaml &&
    check 0 guards/other.yaml && rm guards/other.yaml
report $? "files that --set names"

# ---- what changed is named ----

sed -i 's/value: 23.9 GB/value: 23.661 GB/' machine.yaml
check 1 guards/guard.yaml && said 'machine rtx4090-pcie4: h2d_pinned.bandwidth is 23.661 GB/s, was 23.9 GB/s (-1.0 %)' &&
    [ "$(grep -c '^  \* ' out)" -eq 2 ]
report $? "a number of the machine, 1 % less"
cp "$top/models/machine/rtx4090-pcie4.yaml" machine.yaml
cp trace.h5 kept.h5
"$python" - <<'END'
import h5py
with h5py.File("trace.h5", "r+") as f:
    expert, request = f["/routing/expert"], int(f["/request/first_row"][1])
    row = expert[request + 3]
    row[2, 0] = min(set(range(8)) - set(row[2]))
    expert[request + 3] = row
END
check 1 guards/guard.yaml && said 'trace: request 1 (rows ' && said ') is routed differently, in layer 2 (decoder layer 2)' &&
    ! said 'in the program'
report $? "one expert of one row"
"$python" - <<'END'
import h5py
with h5py.File("trace.h5", "r+") as f, h5py.File("kept.h5") as kept:
    f["/routing/expert"][...] = kept["/routing/expert"][...]
    score = f["/routing/score"][...]
    score[5, 1, 0] /= 2
    f["/routing/score"][...] = score
END
check 1 guards/guard.yaml && said 'trace: experts are the same, but not what stands beside them'
report $? "a column beside the routing"
cp kept.h5 trace.h5
sed -i 's/hidden: 64/hidden: 80/' tiny.yaml
check 1 guards/guard.yaml && said 'model tiny: hidden is 80, was 64 (+25.0 %)'
report $? "a number of the model"
sed -i 's/hidden: 80/hidden: 64/' tiny.yaml
sed -i '0,/lru-on-demand/s//s3fifo/' study.yaml
check 1 guards/guard.yaml && said 'config: policies.0.preset is s3fifo, was lru-on-demand' && ! said 'in the program'
report $? "another policy"
sed -i 's/s3fifo/lru-on-demand/' study.yaml
check 0 guards/guard.yaml
report $? "all put back"

# ---- the user's part ----

{
    printf '# Mine: 100 %% of it, \303\274nchanged.\nstudy:   study.yaml   # here\n\n'
    printf 'set: ["workload.batch=1"]\ntolerance: {times: 5 %%}\n\n# the end'
} >mine.yaml
cp mine.yaml part
check 1 mine.yaml && grep -q 'nothing is stored in it yet; store what is predicted now' err &&
    check 0 --update mine.yaml && head -c "$(wc -c <part)" mine.yaml | cmp - part && check 0 mine.yaml &&
    cp mine.yaml first.yaml && check 0 --update mine.yaml && cmp mine.yaml first.yaml
report $? "a user's part stays as it is"
sed -i 's/value: 23.9 GB/value: 23.661 GB/' machine.yaml
check 1 mine.yaml && grep -q 'within tolerance$' out
report $? "times within their tolerance, the number not"
sed -i 's/^study:.*/study: nowhere.yaml/' mine.yaml && cp mine.yaml first.yaml
check 1 --update mine.yaml && cmp mine.yaml first.yaml && grep -q 'nowhere.yaml: .*No such file' err
report $? "an update that fails writes nothing"

# ---- reports ----

check 1 guards/guard.yaml mine.yaml guards --json --junit x.xml --markdown x.md && "$python" - <<'END'
import json
import xml.etree.ElementTree as xml

j = json.load(open("out"))
assert [c["name"] for c in j["cases"]] == ["guards/guard.yaml", "mine.yaml", "guards/guard.yaml"]
assert [c["kind"] for c in j["cases"]] == ["study", "baseline", "study"]
first, broken, again = j["cases"]
assert first == again and broken["counts"]["broken"] == 1
assert "nowhere.yaml" in broken["table"][0]["note"]
assert first["findings"][0].startswith("machine rtx4090-pcie4: h2d_pinned.bandwidth")
rows = first["table"]
assert sum(r["values"] for r in rows) == first["counts"]["values"] > 500
number = next(r for r in rows if r["name"] == "h2d_pinned.bandwidth")
assert (number["stored"], number["now"]) == (23.9, 23.661) and abs(number["change"] + 0.01) < 1e-9
latency = next(r for r in rows if (r["group"], r["name"]) == ("lru, times", "total_latency_ps"))
assert latency["unit"] == "ps" and latency["stored"] % 1 == 0 and latency["now"] > latency["stored"]
assert latency["verdict"] == "failed" and latency["tolerance"] == 0

suites = xml.parse("x.xml").getroot()
for s, c in zip(suites, j["cases"]):
    tests = list(s.iter("testcase"))
    assert [t.get("name") for t in tests] == [r["group"] + ": " + r["name"] for r in c["table"]]
    assert int(s.get("failures")) == len(list(s.iter("failure"))) == c["counts"]["failed"]
    assert int(s.get("errors")) == len(list(s.iter("error"))) == c["counts"]["broken"]
assert "h2d_pinned.bandwidth is 23.661" in suites[0].find("system-err").text
text = open("x.md").read()
assert text.startswith("## moesim check\n\n### guards/guard.yaml\n\n**Fails:** ")
assert "| machine | h2d\\_pinned.bandwidth | 23.9 GB/s | 23.661 GB/s | -1.0 % | failed |" in text
END
report $? "JSON, JUnit and Markdown agree"
check 1 guards/guard.yaml --junit - && cp out printed.xml && check 1 guards/guard.yaml --junit x.xml && cmp printed.xml x.xml &&
    check 1 guards/guard.yaml --markdown - && cp out printed.md && check 1 guards/guard.yaml --markdown x.md && cmp printed.md x.md
report $? "a report instead of the table"
cp "$top/models/machine/rtx4090-pcie4.yaml" machine.yaml
check 0 guards/guard.yaml --markdown - && grep -q '^Passes: [0-9]* values, none failed$' out
report $? "a report of what passes"

# ---- counts alone, measured steps ----

check 0 --update counts.yaml --study study.yaml --set engine=count && check 0 counts.yaml &&
    ! grep -q '_ps' counts.yaml
report $? "counts alone"
"$moesim" run study.yaml --set bounds=no --out run -q >out && "$python" - <<'END'
import h5py
with h5py.File("run/result.h5") as f:
    seconds = f["/policy/0/pass/latency_ps"][1:4] / 1e12
open("steps.csv", "w").write("wall_ms\n" + "".join("%.9g\n" % (1e3 * s * 1.25) for s in seconds))
END
printf 'study: study.yaml\nset: [bounds=no]\nmeasured: {file: steps.csv, first_pass: 1}\n' >steps.yaml
check 0 --update steps.yaml && check 0 steps.yaml && grep -q 'wall_ms: {points: 3, mean: 0.200000, median: 0.200000,' steps.yaml &&
    sed -i 's/mean: 0.200000/mean: 0.189000/' steps.yaml && check 1 steps.yaml &&
    said 'accuracy: predictions are further from what was measured: wall_ms.mean is 20.0 %, was 18.9 %' &&
    sed -i 's/first_pass: 1/first_pass: 1000/' steps.yaml && check 1 steps.yaml && grep -q 'steps.yaml:3:11: the study has ' err &&
    sed -i 's/first_pass: 1000/policy: mru/' steps.yaml && check 1 steps.yaml && grep -q "has no policy 'mru'" err
report $? "measured steps"

# ---- what is shipped ----

cd "$top" || exit 1
for one in demo expert-parallel host-tables; do
    check 0 "validate/baselines/$one.yaml" || { cat "$folder/out" "$folder/err" && false; }
    report $? "shipped: $one"
done

# ---- what cannot be ----

mkdir "$folder/empty"
check 1 "$folder/empty" && grep -q 'empty: holds no baseline' "$folder/err" &&
    check 1 "$folder/study.yaml" && grep -q 'is a configuration where a baseline is needed' "$folder/err" &&
    check 1 "$folder/none.yaml" && grep -q 'none.yaml: .*No such file' "$folder/err" &&
    check 1 --update "$folder/mine.yaml" --study "$folder/study.yaml" && grep -q 'is there already' "$folder/err" &&
    check 1 --update "$folder/new.yaml" --study "$folder/nowhere.yaml" && grep -q 'nowhere.yaml: .*No such file' "$folder/err" &&
    check 1 --update "$folder/new.yaml" --study "$folder/study.yaml" --set workload.batch=none &&
    grep -q 'workload.batch' "$folder/err" && [ ! -e "$folder/new.yaml" ] &&
    check 1 --update "$folder/no/new.yaml" --study "$folder/study.yaml" && grep -q 'no/: the folder is not there' "$folder/err"
report $? "what cannot be is said in one sentence"
exit "$failed"
