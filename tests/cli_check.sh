#!/bin/sh
# moesim check --papers from outside: exit statuses, JSON and JUnit that parse and agree,
# what it refuses, and that nothing stays behind.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh
TMPDIR=$folder/tmp
export TMPDIR
mkdir "$TMPDIR"

cat >"$folder/small.yaml" <<'END'
name: small
title: Two replays and two closed forms
source: made up
tolerance: 10 %
base:
  machine: rtx4090-pcie4
  model: olmoe-1b-7b
  trace: {requests: 2, prompt_tokens: 0, output_tokens: 4, output_spread: 0}
  config:
    workload: {prefill: skip, batch: 2}
    policies:
      - {name: lru, cache: {slots: 8}}
      - {name: all, cache: {slots: 64, preload: linear}}
constants:
  - {name: bandwidth, value: 20 GB/s, sets: [machine.h2d_pinned.bandwidth], provenance: estimate, source: made up}
replays:
  - {name: slow}
  - {name: few, set: [trace.requests=1, config.workload.batch=1]}
rows:
  - {what: misses when resident, published: 1, is: at-most, figure: miss-rate, run: slow/all}
  - {what: copies take time, published: 2, is: at-least, figure: pass-latency, run: slow/lru, over: slow/all}
  - {what: fewer rows are quicker, published: 1, is: at-most, figure: pass-latency, run: few/lru, over: slow/lru}
  - {what: 56 slots in 16 layers, published: 11274289152 B, tolerance: 0 %, figure: expert-memory, run: slow/all, less: slow/lru}
  - {what: waste <of> static gating, published: 12.8, tolerance: 0 %, formula: {name: waste, policy: static-gating-lm, experts: 512, top_k: 2, tokens: 40}}
END
sed -e 's/published: 12.8/published: 10/' -e 's/name: small/name: off/' "$folder/small.yaml" >"$folder/off.yaml"
sed -e 's/tokens: 40}}/tokens: 40}, miss: {error: 28 %, why: made up}}/' \
    "$folder/off.yaml" >"$folder/told.yaml"

# check STATUS [arguments]: leaves what it said in out and err.
check() {
    wanted=$1
    shift
    "$moesim" check "$@" >"$folder/out" 2>"$folder/err"
    [ $? -eq "$wanted" ]
}

check 0 --papers "$folder/small.yaml" && grep -q '5 rows, 5 held out; 5 ok' "$folder/out" &&
    grep -q '20 GB/s *estimate' "$folder/out"
report $? "a table that holds"
check 1 --papers "$folder/off.yaml" && grep -q '+28.0 % .*MISS, unexplained' "$folder/out"
report $? "a miss without explanation fails"
check 0 --papers "$folder/told.yaml" && grep -q '+28.0 % .*MISS$' "$folder/out" &&
    grep -q '+28.0 %: made up' "$folder/out"
report $? "a miss with explanation is shown"

check 1 --papers "$folder/small.yaml" "$folder/off.yaml" "$folder/told.yaml" --json \
    --junit "$folder/junit.xml"
"$python" - "$folder" <<'END'
import json, sys, xml.etree.ElementTree as xml
folder = sys.argv[1]
j = json.load(open(folder + "/out"))
assert (j["rows"], j["ok"], j["missed"], j["failed"]) == (15, 13, 1, 1)
assert [t["name"] for t in j["tables"]] == ["small", "off", "off"]
rows = [r for t in j["tables"] for r in t["table"]]
suites = xml.parse(folder + "/junit.xml").getroot()
cases = list(suites.iter("testcase"))
assert [c.get("name") for c in cases] == [r["what"] for r in rows]
for c, r in zip(cases, rows):
    kind = {"ok": "system-out", "missed": "skipped"}.get(r["verdict"], "failure")
    assert [x.tag for x in c] == [kind]
    assert r["fails"] == (kind == "failure")
    assert abs(r["predicted"] / r["published"] - 1 - r["error"]) < 1e-9
assert [s.get("failures") for s in suites] == ["0", "1", "0"]
assert rows[4]["predicted"] == 12.8 and rows[-1]["why"] == "made up"
END
report $? "JSON and JUnit agree"

check 0 --papers --help && grep -q 'layer-latency' "$folder/out" && grep -q 'shard-bytes' "$folder/out"
report $? "the help lists figures and formulas"
check 2 && check 2 --papers --refit "$folder/small.yaml" extra
report $? "misuse"
check 1 --papers nowhere && grep -q "there is no table 'nowhere'" "$folder/err" && [ ! -s "$folder/out" ] &&
    check 1 --papers --refit "$folder/small.yaml" && grep -q 'was fitted' "$folder/err" &&
    check 1 --papers "$folder/small.yaml" --junit "$folder/none/x.xml" && grep -q 'none' "$folder/err"
report $? "what cannot be is said in one sentence"
[ -z "$(ls -A "$TMPDIR")" ]
report $? "no temporary file stays"
exit "$failed"
