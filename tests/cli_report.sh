#!/bin/sh
# moesim report: of one result, of several, of a sweep; drawings as PDF; without gnuplot, without
# the trace; what is refused.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh
tiny_study || exit 1
study=$folder/study.yaml
for batch in 2 4; do
    "$moesim" run "$study" --set workload.batch=$batch --out "$folder/batch$batch" >/dev/null 2>&1 || exit 1
done
"$moesim" run "$study" --set workload.batch=4 --set workload.max_passes=20 --out "$folder/short" >/dev/null 2>&1 || exit 1
sed '/^policies/,$d' "$study" >"$folder/sweep.yaml"
cat >>"$folder/sweep.yaml" <<'END'
policies: [{name: p, cache: {name: lru, slots: 2}}]
sweep:
  cache.name: [lru, fifo, belady]
  cache.slots: [2, 3, 5, 8, 9]
END
"$moesim" sweep "$folder/sweep.yaml" --out "$folder/sweep" >/dev/null 2>&1
one=$folder/batch2/result.h5 other=$folder/batch4/result.h5
mkdir "$folder/bin" # without gnuplot

# page NAME ARGUMENT...: a page in $folder/NAME without gnuplot; leaves $status, printed, said.
page() {
    name=$1
    shift
    PATH=$folder/bin timeout -k 5 60 "$moesim" report "$@" -o "$folder/$name" \
        >"$folder/printed" 2>"$folder/said" </dev/null
    status=$?
}
program=$moesim
case $program in
/*) ;;
*) moesim=$PWD/$program ;;
esac
timeout=$(command -v timeout)
ln -s "$timeout" "$folder/bin/timeout"
missing="moesim: note: figures are missing, because gnuplot is not installed or failed; the page names their data"

page single "$one"
[ $status -eq 0 ] && [ "$(cat "$folder/said")" = "$missing" ] &&
    [ "$(cat "$folder/printed")" = "Written: $folder/single/report.html" ] &&
    grep -q "gnuplot is not installed, so this figure is not drawn; its data are in curve.csv" \
        "$folder/single/report.html" && [ ! -e "$folder/single/shares.svg" ]
report $? report_without_gnuplot

# The winner is the first of the table, and no bound: the least median that `run` tells.
"$moesim" run "$study" --csv 2>/dev/null >"$folder/run.csv"
"$python" - "$folder" <<'END'
import csv, re, sys

rows = list(csv.DictReader(open(sys.argv[1] + "/run.csv", encoding="utf-8")))
best = min((r for r in rows if r["label"] != "oracle"), key=lambda r: float(r["tpot_p50_s"]))
page = open(sys.argv[1] + "/single/report.html", encoding="utf-8").read()
assert re.search(f"<h1>{best['label']} (wins|leads by a hair): ", page)
table = page[page.index("<h2>Policies</h2>"):]
table = table[:table.index("</table>")]
order = [re.sub("<.*?>", "", "<tr" + row.split("</td>")[0]) for row in table.split("<tr")[2:]]
foreseen = order.index("Bounds, which know what comes")
assert order[foreseen + 1:] == ["oracle"], order
ranked = sorted((r for r in rows if r["label"] != "oracle"), key=lambda r: float(r["tpot_p50_s"]))
assert order[:foreseen] == [f"{i} {r['label']}" for i, r in enumerate(ranked, 1)], order
END
report $? report_ranks_policies

# The hits over slots are those of `curve`.
"$moesim" curve "$folder/trace.h5" -m "$folder/tiny.yaml" -b 2 --csv >"$folder/curve.csv" 2>/dev/null &&
    "$python" - "$folder" <<'END'
import csv, sys

mine = list(csv.reader(open(sys.argv[1] + "/single/curve.csv", encoding="utf-8")))
rows = list(csv.DictReader(open(sys.argv[1] + "/curve.csv", encoding="utf-8")))
assert mine[0][1:] == ["lru", "belady"], mine[0]
for column, policy in enumerate(mine[0][1:], 1):
    told = [(r["slots"], 100 * float(r["hit_rate"])) for r in rows if r["policy"] == policy and r["layer"] == "all"]
    drawn = [(row[0], float(row[column])) for row in mine[1:] if row[column]]
    assert len(told) == len(drawn) == 8
    for one, other in zip(told, drawn):
        assert one[0] == other[0] and abs(one[1] - other[1]) < 1e-6, (policy, one, other)
END
report $? report_curve

page several "$one" "$other"
[ $status -eq 0 ] && grep -q "<th>workload.batch</th>" "$folder/several/report.html" &&
    [ "$(cut -d, -f1 "$folder/several/axis.csv" | tr '\n' ' ')" = "x 2 4 " ]
report $? report_over_one_number
page more "$one" "$other" "$folder/short/result.h5"
[ $status -eq 0 ] && grep -q "<th>workload.batch</th><th>workload.max_passes</th>" "$folder/more/report.html" &&
    [ ! -e "$folder/more/axis.csv" ]
report $? report_over_two_numbers
page again "$one" "$other" && cmp -s "$folder/several/report.html" "$folder/again/report.html"
report $? report_again_the_same

# Policies that lose something for speed: the figure has what `run` tells, the answer and the explanation speak of it.
sed '/^policies/,$d' "$study" >"$folder/lossy.yaml"
cat >>"$folder/lossy.yaml" <<'END'
policies:
  - {name: plain, preset: lru-on-demand, cache: {slots: 3}}
  - {name: fewer, preset: lru-on-demand, cache: {slots: 3}, select: {name: top-k, k: 1}}
  - {name: lynx, preset: lru-on-demand, cache: {slots: 3}, select: {name: lynx}, for: {select.drop: [0, 0.5]}}
END
"$moesim" run "$folder/lossy.yaml" --out "$folder/lossy" --csv 2>/dev/null >"$folder/lossy.csv"
page selects "$folder/lossy/result.h5"
[ $status -eq 0 ] && "$python" - "$folder" <<'END'
import csv, re, sys

rows = {r["label"]: r for r in csv.DictReader(open(sys.argv[1] + "/lossy.csv", encoding="utf-8"))}
drawn = list(csv.reader(open(sys.argv[1] + "/selects/quality.csv", encoding="utf-8")))
marks = {row[0]: row for row in drawn[1:] if row and row[9] != "-1"}
assert list(marks) == ["plain", "fewer", "lynx drop=0", "lynx drop=0.5"] == list(rows), marks
for label, row in marks.items():
    lost, kept = float(rows[label]["mass_lost"] or 0), float(rows[label]["top1_kept"] or 1)
    for told, is_so in zip(row[6:9], (100 * lost, 100 * (1 - kept), 1e3 * float(rows[label]["tpot_p50_s"]))):
        assert abs(float(told) - is_so) <= 1e-6 * max(1, abs(is_so)), (label, told, is_so)
assert float(marks["fewer"][6]) > 5 and float(marks["lynx drop=0"][6]) == 0
page = open(sys.argv[1] + "/selects/report.html", encoding="utf-8").read()
assert "<figure id=figure-quality>" in page
assert re.search(r"<b class=tag>Select</b> lynx [(]drop 0 to 0.5[)] loses 0.0 % ", page)
assert "<th>gate mass<br>lost</th>" in page
END
report $? report_of_selects
"$moesim" explain "$folder/lossy/result.h5" >"$folder/explained" 2>&1 &&
    grep -q "This is the control that other selects have to beat." "$folder/explained" &&
    grep -q "It loses no gate mass. Without a select the policy takes" "$folder/explained"
report $? explain_of_selects

# A sweep: its best point by sweep.csv, and what failed (more slots than experts).
page whole "$folder/sweep"
[ $status -eq 0 ] && [ "$(cat "$folder/printed")" = "Written: $folder/whole/report.html" ] &&
    "$python" - "$folder" <<'END'
import csv, re, sys

rows = list(csv.DictReader(open(sys.argv[1] + "/sweep/sweep.csv", encoding="utf-8")))
failed = {r["point"]: r["why"] for r in rows if r["outcome"] == "failed"}
done = [r for r in rows if r["outcome"] == "done" and r["sweep.cache.name"] != "belady"]
best = max(done, key=lambda r: float(r["tokens_per_s"]))
page = open(sys.argv[1] + "/whole/report.html", encoding="utf-8").read()
assert re.search(f"<h1>{best['sweep.cache.name']}, slots {best['sweep.cache.slots']} (wins|is first of equals): ", page)
assert len(failed) == 3 and "Failed: 3; missing or stopped: 0. The first failure: " in page
winners = set(re.findall("<tr class=winner><td[^>]*>([^<]*)", page))
assert winners == {f"1 {best['sweep.cache.name']}, slots {best['sweep.cache.slots']}"}, winners
assert "Bounds: they know what comes" in page and ">belady, slots 2</td>" in page, "bounds"
END
report $? report_of_a_sweep

# A trace that is gone: the page has no figure of hits over slots, and the note says why.
mv "$folder/trace.h5" "$folder/gone.h5"
page traceless "$one"
[ $status -eq 0 ] && [ "$(wc -l <"$folder/said")" -eq 2 ] && [ -s "$folder/traceless/report.html" ] &&
    grep -q "^moesim: note: no figure of what LRU and Belady hit over slots: .*trace.h5: " "$folder/said" &&
    ! grep -q "figure-curve" "$folder/traceless/report.html" && [ ! -e "$folder/traceless/curve.csv" ]
report $? report_without_the_trace
(generate "$folder/trace.h5" model=tiny layers=3 experts=8 top_k=2 requests=2 >/dev/null)
page changed "$one"
[ $status -eq 0 ] && grep -q "slots: .*trace.h5 is not what the result was made of$" "$folder/said" &&
    [ ! -e "$folder/changed/curve.csv" ]
report $? report_of_another_trace
mv "$folder/gone.h5" "$folder/trace.h5"

# Refused in one sentence, and nothing is left.
mkdir "$folder/empty"
page none "$folder/empty"
[ $status -eq 1 ] && [ ! -s "$folder/printed" ] && [ ! -e "$folder/none" ] && [ "$(cat "$folder/said")" = \
    "moesim: $folder/empty: holds no result.h5 of a run, study.yaml of a sweep or summary.json of a validation; name what \
--out named there" ]
report $? report_of_no_sweep
cp -R "$folder/sweep" "$folder/cut" && head -c 700 "$folder/sweep/sweep.csv" >"$folder/cut/sweep.csv"
page none "$folder/cut"
[ $status -eq 1 ] && [ ! -s "$folder/printed" ] && [ ! -e "$folder/none" ] &&
    grep -q "^moesim: $folder/cut/sweep.csv: .* moesim sweep collect$" "$folder/said"
report $? report_of_a_damaged_sweep
page none "$folder/sweep" "$one"
[ $status -eq 1 ] && [ ! -s "$folder/printed" ] && [ ! -e "$folder/none" ] && [ "$(wc -l <"$folder/said")" -eq 1 ]
report $? report_of_a_sweep_and_a_result

if ! command -v gnuplot >/dev/null; then
    echo "skip report_pdf: needs gnuplot"
    exit $failed
fi
"$moesim" report "$one" --pdf -o "$folder/pdf" >"$folder/printed" 2>"$folder/said" && [ ! -s "$folder/said" ] &&
    "$moesim" report "$one" -o "$folder/svg" >/dev/null 2>&1 &&
    "$python" - "$folder" <<'END'
import pathlib, sys

pdf, svg = pathlib.Path(sys.argv[1], "pdf"), pathlib.Path(sys.argv[1], "svg")
names = [p.stem for p in pdf.glob("*.csv")]
assert len(names) >= 6, names
for name in names:
    assert (pdf / f"{name}.pdf").read_bytes().startswith(b"%PDF"), name
    for end in (".svg", "-narrow.svg"):
        assert "<svg" in (pdf / (name + end)).read_text(encoding="utf-8"), name
assert not list(svg.glob("*.pdf"))
assert (pdf / "report.html").read_bytes() == (svg / "report.html").read_bytes()
END
report $? report_pdf
"$moesim" report "$folder/sweep" --pdf -o "$folder/sweep-pdf" >"$folder/printed" 2>"$folder/said" && [ ! -s "$folder/said" ] &&
    [ "$(head -c 4 "$folder/sweep-pdf/map.pdf")" = "%PDF" ] && ! grep -q "class=note>gnuplot" "$folder/sweep-pdf/report.html"
report $? report_sweep_pdf
# A page without PDFs takes those of an earlier one away.
"$moesim" report "$one" -o "$folder/pdf" >/dev/null 2>&1 && ! ls "$folder/pdf"/*.pdf >/dev/null 2>&1
report $? report_takes_away_old_drawings
exit $failed
