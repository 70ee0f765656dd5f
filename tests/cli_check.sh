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
assert (j["rows"], j["ok"], j["explained"], j["failed"]) == (15, 13, 1, 1)
assert [t["name"] for t in j["cases"]] == ["small", "off", "off"]
rows = [r for t in j["cases"] for r in t["table"]]
suites = xml.parse(folder + "/junit.xml").getroot()
cases = list(suites.iter("testcase"))
assert [c.get("name") for c in cases] == ["held-out: " + r["name"] for r in rows]
for c, r in zip(cases, rows):
    kind = {"ok": "system-out", "explained": "skipped"}.get(r["verdict"], "failure")
    assert [x.tag for x in c] == [kind]
    assert r["fails"] == (kind == "failure")
    assert abs(r["predicted"] / r["published"] - 1 - r["change"]) < 1e-9
assert [s.get("failures") for s in suites] == ["0", "1", "0"]
assert rows[4]["predicted"] == 12.8 and rows[-1]["note"].endswith("made up")
END
report $? "JSON and JUnit agree"

# Two rows measured by a replay of 31 us a round trip give that back, whatever is stated. A pass
# takes 17 of them, for 16 layers and its tokens: 35 us are 68 us more.
cat >"$folder/base.yaml" <<'END'
name: fitted
title: One number from two rows
source: made up
tolerance: 10 %
base:
  machine: rtx4090-pcie4
  model: olmoe-1b-7b
  trace: {requests: 2, prompt_tokens: 0, output_tokens: 4, output_spread: 0}
  config: {launch: eager, workload: {prefill: skip, batch: 2}, policies: [{name: lru, cache: {slots: 8}}]}
constants:
  - {name: round trip, value: 31 us, sets: [machine.host.round_trip], provenance: fitted, source: made up,
     start: 10, min: 1, max: 100}
replays:
  - {name: slow}
  - {name: few, set: [trace.requests=1, config.workload.batch=1]}
rows:
  - {what: a pass, published: SLOW ms, figure: pass-latency, run: slow/lru, fit: yes}
  - {what: a pass of one, published: FEW ms, figure: pass-latency, run: few/lru, fit: yes}
  - {what: fewer are quicker, published: 1, is: at-most, figure: pass-latency, run: few/lru, over: slow/lru}
  - {what: more are slower, published: 1, is: at-least, figure: pass-latency, run: slow/lru, over: few/lru}
END
sed 's/SLOW/100/;s/FEW/60/' "$folder/base.yaml" >"$folder/fitted.yaml"
"$moesim" check --papers "$folder/fitted.yaml" --json >"$folder/out"
edit=$("$python" - "$folder/out" <<'END'
import json
import sys
rows = json.load(open(sys.argv[1]))["cases"][0]["table"]
print("s/SLOW/%.9g/;s/FEW/%.9g/" % tuple(1e3 * r["predicted"] for r in rows[:2]))
END
)
sed "$edit" "$folder/base.yaml" >"$folder/fitted.yaml"
sed -e 's/value: 31 us/value: 35 us/' -e 's/name: fitted/name: other/' "$folder/fitted.yaml" >"$folder/other.yaml"
# refitted STATUS TABLE US VERDICT
refitted() {
    check "$1" -p --refit "$folder/$2.yaml" &&
        sed -i 's/  *[0-9.]*e-[0-9]*  / +-  /' "$folder/out" && diff - "$folder/out" <<END
$2: 1 constants, fitted again on the 2 rows marked so

                                         stated       fitted         +-
round trip                                $3 us           31 +-  $4
END
}
check 0 --papers "$folder/fitted.yaml" -t 2 -q && refitted 0 fitted 31 "equal as far as stated" &&
    refitted 1 other 35 DIFFERENT
report $? "a constant is fitted again"
check 0 -p "$folder/other.yaml" --json && "$python" - "$folder/out" <<'END'
import json
import sys
for r in json.load(open(sys.argv[1]))["cases"][0]["table"][:2]:
    assert abs(r["predicted"] - r["published"] - 17 * 4e-6) < 1e-9, r
END
report $? "a pass has 17 round trips"

# Without a name all that there are, by name; a failing one among them decides.
mkdir -p "$folder/elsewhere/validate/papers" && ln -s "$PWD/models" "$PWD/sim" "$folder/elsewhere"
cp "$folder/small.yaml" "$folder/elsewhere/validate/papers/b.yaml"
cp "$folder/off.yaml" "$folder/elsewhere/validate/papers/a.yaml"
all() { MOESIM_HOME=$folder/elsewhere check "$@"; }
all 1 --papers &&
    [ "$(grep -o '^[a-z]*: Two replays\|^All 2: .*' "$folder/out" | tr '\n' ' ')" = \
        "off: Two replays small: Two replays All 2: 10 values, 1 FAILED " ] &&
    [ ! -s "$folder/err" ]
report $? "all tables"
all 0 --papers b --junit "$folder/b.xml" && grep -q 'tests="5"' "$folder/b.xml" &&
    all 1 --papers b nowhere && grep -q "there is no table 'nowhere'" "$folder/err" && [ ! -s "$folder/out" ]
report $? "a table by name"
rm -r "$folder/elsewhere/validate"
all 1 --papers && [ "$(cat "$folder/err")" = "moesim: $folder/elsewhere/validate/papers: No such file or directory" ]
report $? "no table at all"

check 0 --papers --help && grep -q 'layer-latency' "$folder/out" && grep -q 'shard-bytes' "$folder/out"
report $? "the help lists figures and formulas"
check 2 && check 2 --papers --refit "$folder/small.yaml" extra
report $? "misuse"
check 1 --papers nowhere && grep -q "there is no table 'nowhere'" "$folder/err" && [ ! -s "$folder/out" ] &&
    check 1 --papers --refit "$folder/small.yaml" && grep -q 'was fitted' "$folder/err" &&
    check 1 --papers "$folder/small.yaml" --junit "$folder/none/x.xml" && grep -q 'none' "$folder/err" &&
    check 1 --papers "$folder/small.yaml" --markdown "$folder/none/x.md" && grep -q 'none' "$folder/err"
report $? "what cannot be is said in one sentence"
[ -z "$(ls -A "$TMPDIR")" ]
report $? "no temporary file stays"
exit "$failed"
