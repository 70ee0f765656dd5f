#!/bin/sh
# moesim validate of experts that run in place, on the host device: on the host's processors and
# near the data, where the unit is emulated, which is said, and none of its times is told.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh

tiny_study || exit 1
sed -i '/^ *- /d;s/^machine: .*/machine: a100-monde/' "$folder/study.yaml"
cp "$folder/study.yaml" "$folder/near.yaml"
sed -i 's/^policies:/profile: trace.h5\npolicies:/' "$folder/study.yaml"
cat >>"$folder/study.yaml" <<'END'
  - {name: hybrid, cache: {name: lru, slots: 3}, offload: {name: hybrid, fetch: 1, rule: fixed}}
  - {name: fiddler, cache: {name: lru, slots: 3}, offload: {name: fiddler, form: released}}
  - {name: split, offload: {name: layers, count: 1}}
  - {name: cold, cache: {name: lru, slots: 4, preload: linear}, offload: {name: monde, hot: 0}}
  - {name: each, cache: {name: lru, slots: 3}, schedule: {name: overlapped, loads: each}}
  - {name: none, cache: {slots: none}, offload: host}
  - {name: profiled, cache: {name: lru, slots: 3, allocate: profile}}
  - {name: monde, cache: {slots: none}, offload: {name: monde, hot: 1}}
END
cat >>"$folder/near.yaml" <<'END'
  - {name: near, cache: {slots: none}, offload: {name: monde, hot: 0}}
END

"$moesim" validate "$folder/study.yaml" --device host --passes 8 --warmup 1 --repeat 2 \
    --out "$folder/v" >"$folder/out" 2>"$folder/err"
status=$?
if [ "$status" -eq 77 ]; then
    echo "skip cli_validate_in_place: $(cat "$folder/err")"
    exit 0
fi
# Lines that are wrapped are one again.
tr -s '\n ' '  ' <"$folder/out" >"$folder/line"
[ "$status" -eq 0 ] &&
    grep -q "Near-data unit emulated on this machine's processors (policies 'cold', 'monde'): counts are compared, but the times measure nothing and are not shown\." \
        "$folder/line" &&
    grep -q "Counts agree, layer by layer, in each executed run of all policies: [^;]* [1-9][0-9 ]* on the host, [1-9][0-9 ]* near the data, " \
        "$folder/line" &&
    grep -q '^cold  *[0-9.]* [mun]*s  emulated$' "$folder/out" &&
    grep -q '^monde  *[0-9.]* [mun]*s  emulated$' "$folder/out" &&
    ! grep -q '^near experts' "$folder/out" && grep -q '^host experts ' "$folder/out"
report $? "validate says what is emulated"

"$moesim" report "$folder/v" -o "$folder/page" >/dev/null 2>"$folder/said" &&
    "$python" - "$folder" <<'END'
import csv, json, sys
folder = sys.argv[1]
s = json.load(open(folder + "/v/summary.json"))
assert "(policies 'cold', 'monde')" in s["notes"]
c = s["counts_agree"]
assert c["accesses"] == c["hits"] + c["loads"] + c["bypasses"] + c["host_runs"] + c["near_runs"]
assert c["host_runs"] > 0 and c["near_runs"] > 0
emulated = [p["policy"] for p in s["policies"] if p["emulated"]]
assert emulated == ["cold", "monde"]


def measured(x):
    """Whatever stands under a measured name, or is made of that."""
    if isinstance(x, dict):
        for key, value in x.items():
            if key in ("measured_s", "median_abs_error", "worst_abs_error", "repeats_spread"):
                yield value
            yield from measured(value)
    elif isinstance(x, list):
        for value in x:
            yield from measured(value)


for p in s["policies"]:
    values = list(measured(p))
    assert len(values) > 10
    assert all(v is None for v in values) if p["emulated"] else None not in values, p
    assert p["pass"]["count"] == (0 if p["emulated"] else 8)
    assert all(x["predicted_s"] is not None for x in p["shares"].values())
    assert p["pass"]["predicted_s"] > 0
assert s["pass"]["count"] == 6 * 8 and "near experts" not in s["operations"]
rows = {name: list(csv.DictReader(open(f"{folder}/v/{name}.csv"))) for name in ("passes", "operations")}
for r in rows["passes"]:
    assert all((r[k] == "") == (r["policy"] in emulated) for k in ("measured_s", "least_s", "most_s")), r
for r in rows["operations"]:
    assert (r["measured_s"] == "") == (r["policy"] in emulated), r
near = [r for r in rows["operations"] if r["kind"] == "near experts"]
assert {r["policy"] for r in near} == set(emulated) and all(float(r["predicted_s"]) > 0 for r in near)
t = json.load(open(folder + "/v/timeline.json"))
names = [e["args"]["name"] for e in t["traceEvents"] if e["name"] == "process_name"]
assert [n for n in names if n.endswith(", predicted")] == [p["policy"] + ", predicted" for p in s["policies"]]
assert [n[:-len(", measured")] for n in names if n.endswith(", measured")] == [
    p["policy"] for p in s["policies"] if not p["emulated"]]
# The page: told in its notes, and in no figure.
page = open(folder + "/page/report.html", encoding="utf-8").read()
assert "Near-data unit emulated" in page and "<td>monde</td>" in page
for figure in ("predicted", "errors"):
    drawn = [r[0] for r in list(csv.reader(open(f"{folder}/page/{figure}.csv")))[1:]]
    assert drawn == [p["policy"] for p in s["policies"] if not p["emulated"]], (figure, drawn)
END
report $? "no time of what is emulated is in any file"

"$moesim" validate "$folder/near.yaml" --passes 4 --warmup 1 --repeat 1 --out "$folder/n" \
    >"$folder/out" 2>"$folder/err" && grep -q "^note: " "$folder/out" &&
    grep -q '^near  *[0-9.]* [mun]*s  emulated$' "$folder/out" &&
    ! grep -q '^The machine ran\|^Where\|^operation\|^all ' "$folder/out" &&
    "$moesim" report "$folder/n" -o "$folder/bare" >/dev/null 2>"$folder/said" &&
    grep -q '<h1>No pass was timed</h1>' "$folder/bare/report.html"
report $? "where all is emulated no time is told"

# The machine has no such unit: one sentence, and nothing is executed.
"$moesim" validate "$folder/near.yaml" --machine h200 --out "$folder/none" >"$folder/out" 2>"$folder/err"
[ $? -eq 1 ] && [ ! -s "$folder/out" ] && [ ! -e "$folder/none" ] &&
    grep -q "policy 'near' runs experts near their data (offload: monde), but .*h200.* has no unit there; give its file a section near: " \
        "$folder/err"
report $? "a machine without a unit"
exit "$failed"
