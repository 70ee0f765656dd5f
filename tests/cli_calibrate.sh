#!/bin/sh
# moesim calibrate: a quick calibration of the host device writes tables and a machine
# file that other commands take; what cannot be done is said in a sentence.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh

refuses() { # NAME STATUS WORDS COMMAND...
    name=$1 status=$2 words=$3
    shift 3
    "$@" >"$folder/out" 2>"$folder/said"
    [ $? -eq "$status" ] && [ "$(wc -l <"$folder/said")" -le 4 ] &&
        grep -q -- "$words" "$folder/said"
    report $? "$name"
}

"$moesim" calibrate --help >"$folder/help" && grep -q -- '--device' "$folder/help" &&
    grep -q 'example: moesim calibrate -o' "$folder/help"
report $? calibrate_help
refuses calibrate_without_out 2 'needs --out' "$moesim" calibrate
refuses calibrate_operand 2 'flags only' "$moesim" calibrate -o "$folder/m.yaml" more
refuses calibrate_flag 2 'there is no flag --fast' "$moesim" calibrate --fast
refuses calibrate_name 1 'name ends in .yaml' "$moesim" calibrate -o "$folder/m.txt"
refuses calibrate_nowhere 1 'nowhere/m.yaml' "$moesim" calibrate -o "$folder/nowhere/m.yaml"
refuses calibrate_unknown_device 1 'device "fpga" is not known' \
    "$moesim" calibrate -o "$folder/m.yaml" --device fpga
refuses calibrate_missing_device 77 'cuda:99' \
    "$moesim" calibrate -o "$folder/m.yaml" --device cuda:99
touch "$folder/file"
refuses calibrate_tables_unwritable 1 'file' \
    "$moesim" calibrate -o "$folder/m.yaml" --tables "$folder/file/tables"
[ ! -e "$folder/m.yaml" ]
report $? calibrate_refused_writes_nothing
# The name needs something before its end; by default the tables go beside the file.
for name in .yaml none/.yaml x.yam; do
    prints "calibrate_name_$name" 1 calibrate -o "$name" --device fpga <<END
moesim: $name: a machine file's name ends in .yaml
END
done
program=$(realpath "$moesim")
(cd "$folder" && "$program" calibrate -o x.yaml -d fpga 2>said)
[ $? -eq 1 ] && grep -q 'device "fpga" is not known' "$folder/said"
report $? calibrate_shortest_name
touch "$folder/blocked-tables"
prints calibrate_tables_beside 1 calibrate -o "$folder/blocked.yaml" <<END
moesim: $folder/blocked-tables: exists and is no folder; choose another name
END

# Stopped on the way: neither a table nor the machine file.
"$moesim" calibrate -o "$folder/stopped.yaml" >"$folder/out" 2>"$folder/said" &
process=$!
sleep 2
kill -INT $process 2>/dev/null || kill -TERM $process
wait $process
status=$?
# A shell may start what it puts in the background with SIGINT ignored.
if [ $status -eq 0 ]; then
    echo "skip calibrate_stopped: the signal was ignored"
else
    [ $status -eq 130 ] && grep -q 'stopped by a signal' "$folder/said" &&
        [ ! -e "$folder/stopped.yaml" ] && [ ! -e "$folder/stopped-tables" ]
    report $? calibrate_stopped
fi

# On a terminal a line tells how far it is, and is taken away at the end.
cat >"$folder/terminal.py" <<'END'
import os
import pty
import re
import subprocess
import sys
ours, theirs = pty.openpty()
run = subprocess.Popen(sys.argv[1:], stderr=theirs)
os.close(theirs)
text = b""
while True:
    try:
        data = os.read(ours, 65536)
    except OSError:  # the last writer has gone
        break
    if not data:
        break
    text += data
assert run.wait() == 0
lines = text.decode().split("\r")
assert lines[0] == "" and lines[-1] == "\x1b[K" and len(lines) > 4, lines
last = -1.0
for line in lines[1:-1]:
    said = re.fullmatch(r"measuring ([a-z]+), (\d+) of (\d+), (\d+) s   \x1b\[K", line)
    assert said and int(said[2]) <= int(said[3]) and last <= float(said[4]) < 600, line
    last = float(said[4])
END
"$python" "$folder/terminal.py" "$moesim" calibrate -o "$folder/mine.yaml" --quick \
    --tables "$folder/mine-tables" >"$folder/out" && grep -q "Written: $folder/mine.yaml" "$folder/out"
report $? calibrate_quick
# The summary is of the samples beside it: shapes, samples, the median of their spreads, top rates.
"$python" - "$folder" <<'END'
import csv
import statistics
import sys
folder = sys.argv[1]
lines = open(f"{folder}/out").read().split("\n")
assert lines[0] == (f"Measured, in {folder}/mine-tables (highest rates; spread is the median of IQR over "
                    "median):")
assert lines[1] == "" and lines[12] == ""
assert lines[2] == (f"{'table':<10} {'shapes':>7} {'left out':>8} {'samples':>8} {'GFLOP/s':>9} {'GB/s':>9} "
                    f"{'spread':>8}")


def percentile(values, share):
    values = sorted(values)
    at = share * (len(values) - 1)
    low = int(at)
    high = min(low + 1, len(values) - 1)
    return values[low] + (at - low) * (values[high] - values[low])


for line in lines[3:12]:
    name = line.split()[0]
    text = [x for x in open(f"{folder}/mine-tables/{name}.csv") if x[0] != "#"]
    shapes = {}
    for row in csv.DictReader(text):
        key = tuple(v for k, v in row.items() if k not in ("sample", "seconds"))
        shapes.setdefault(key, []).append(float(row["seconds"]))
    middle = {k: percentile(v, .5) for k, v in shapes.items()}
    spread = percentile([(percentile(v, .75) - percentile(v, .25)) / middle[k]
                         for k, v in shapes.items()], .5)
    assert int(line[10:18]) == len(shapes) and int(line[27:36]) == len(text) - 1
    assert len(text) - 1 == 7 * len(shapes) and int(line[18:27]) >= 0
    assert line.endswith(" %") and abs(float(line[56:63]) - 100 * spread) < 0.051, (line, spread)
    flops, rate = line[36:46].strip(), line[46:56].strip()
    assert (flops != "") == (name in ("gemm", "attention", "experts", "cpu")), line
    assert (rate != "") == (name not in ("launch", "move")), line
    if name == "copy":
        want = max(int(k[1]) / v for k, v in middle.items())
        assert abs(float(rate) / (want * 1e-9) - 1) < 1e-3, (line, want)
    if name == "gemm":
        want = max(2 * int(k[0]) * int(k[1]) * int(k[2]) / v for k, v in middle.items())
        assert abs(float(flops) / (want * 1e-9) - 1) < 1e-3, (line, want)
END
report $? calibrate_summary
command="# command: moesim calibrate -o $folder/mine.yaml --device host --tables $folder/mine-tables --quick"
version=$(sed -n 's/^## \([0-9.]*\).*/\1/p' CHANGELOG.md | head -1)
[ "$(grep -c -x -F -e "$command" -e "# moesim: $version" "$folder/mine-tables/copy.csv")" -eq 2 ] &&
    grep -q '^# date: 20[0-9][0-9]-[01][0-9]-[0-3][0-9]$' "$folder/mine-tables/copy.csv"
report $? calibrate_head
good=0
for table in copy chunks duplex launch move gemm attention experts cpu; do
    file=$folder/mine-tables/$table.csv
    grep -q '^# command: moesim calibrate -o' "$file" && grep -q '^# driver: ' "$file" &&
        [ "$(grep -c '^[^#]' "$file")" -gt 20 ] || good=1
done
report $good calibrate_tables
[ "$(grep -c 'source: "measured on ' "$folder/mine.yaml")" -ge 30 ]
report $? calibrate_sources

"$moesim" fit --tables "$folder/mine-tables" -o "$folder/again.yaml" >"$folder/out" &&
    sed 's/again/mine/' "$folder/again.yaml" | cmp -s - "$folder/mine.yaml"
report $? calibrate_fit_again
"$moesim" fit --tables "$folder/mine-tables" --csv >"$folder/points.csv" &&
    [ "$(grep -c '^gemm,[0-9]*,1,' "$folder/points.csv")" -ge 3 ]
report $? calibrate_fit_csv
refuses calibrate_fit_operand 2 'goes with --out and --csv' \
    "$moesim" fit run.yaml --tables "$folder/mine-tables"
refuses calibrate_fit_nowhere 1 'device.csv' "$moesim" fit --tables "$folder/nowhere"

# The measured tables that are kept give the machine file beside them, in its digits but
# the last.
numbers() { grep -o 'value: [^,]*' "$1"; }
"$moesim" fit --tables validate/measured/host/host-tables -o "$folder/kept.yaml" \
    >"$folder/out" && numbers "$folder/kept.yaml" >"$folder/kept" &&
    numbers validate/measured/host/host.yaml | paste - "$folder/kept" |
    awk '{ d = $2 - $(NF / 2 + 2); if (d < 0) d = -d; n++
           if (d > 1e-3 * $2 || (NF > 4 && $(NF / 2) != $NF)) bad++ }
         END { exit !(n >= 30 && bad == 0) }'
report $? calibrate_fit_of_kept_tables
# What is printed is the file's numbers, and the errors of the points that --csv lists.
"$moesim" fit --tables validate/measured/host/host-tables --csv >"$folder/kept.csv" &&
    "$python" - "$folder" <<'END'
import csv
import re
import statistics
import sys
folder = sys.argv[1]
text = open(f"{folder}/out").read().split("\n")
assert text[0] == f"{'number':<28} {'value':>22}   standard error"
numbers, section = {}, ""
for line in open(f"{folder}/kept.yaml"):
    section = line.split(":")[0] if line[0] != " " else section
    said = re.match(r"  (\w+): \{value: ([^,]*), source: \"[^\"]*calibrate: ([^\"]*)\"", line)
    if said:
        numbers[f"{section}.{said[1]}"] = (said[2].split() + [""])[:2] + [said[3]]
end = text.index("")
assert end - 1 == len(numbers) > 30
for line in text[1:end]:
    name, (value, unit, how) = line.split()[0], numbers[line.split()[0]]
    if value.startswith("["):
        assert line[29:51] == f"{value:>22}", line
    else:
        assert abs(float(line[29:43]) / float(value) - 1) < 6e-5 and line[43:51].strip() == unit, line
    assert line[51:54] == "   ", line
    error = re.search(r"standard error ([0-9.e+]+ %)", how)
    want = error[1] if error else "not determined" if "not determined" in how else "(" + how.split(", ")[0]
    assert line[54:].startswith(want), (line, how)
rows = list(csv.DictReader(open(f"{folder}/kept.csv")))
assert text[end + 1] == ("Predicted against measured medians, in percent of the measured one: mean and "
                         "median")
assert text[end + 2] == "of the absolute error, mean of the signed error."
assert text[end + 4] == f"{'':<10} {'fitted shapes':>29}   {'held out':>29}"
head = f"{'shapes':>7} {'mean':>6} {'median':>6} {'signed':>7}"
assert text[end + 5] == f"{'table':<10} {head}   {head}"
names = list(dict.fromkeys(r["table"] for r in rows))
assert len(names) == 9
for line, name in zip(text[end + 6:], names):
    want = f"{name:<10} "
    for held in ("0", "1"):
        error = [float(r["error"]) for r in rows if r["table"] == name and r["held"] == held]
        size = [abs(x) for x in error]
        got = line[11 + 32 * int(held):][:29].split()
        assert int(got[0]) == len(error)
        for g, w in zip(got[1:], (statistics.mean(size), statistics.median(size), statistics.mean(error))):
            assert abs(float(g) - 100 * w) < 0.0501, (line, w)
        want += f"{got[0]:>7} {got[1]:>6} {got[2]:>6} {got[3]:>7}" + ("   " if held == "0" else "")
    assert line == want, (line, want)
for r in rows:
    assert abs(float(r["predicted_s"]) / float(r["measured_s"]) - 1 - float(r["error"])) < 2e-6
    assert int(r["line"]) > 8
assert text[-2] == f"Written: {folder}/kept.yaml" and text[-3] == "" and len(text) == end + 6 + 9 + 3
END
report $? calibrate_fit_prints
# Of four shapes none is held out.
mkdir "$folder/few" && cp validate/measured/host/host-tables/*.csv "$folder/few" &&
    grep -E '^#|^kind|,(1048576|2097152),' validate/measured/host/host-tables/duplex.csv \
        >"$folder/few/duplex.csv" &&
    "$moesim" fit --tables "$folder/few" >"$folder/few.out" &&
    grep -q '^duplex           4  *[0-9.]*  *[0-9.]*  *[-0-9.]*         0      -      -       -$' "$folder/few.out" &&
    ! grep -q Written "$folder/few.out" && [ -z "$("$moesim" fit --tables "$folder/few" --csv | grep '^duplex,[0-9]*,1,')" ]
report $? calibrate_fit_none_held_out
# The host's few rows take many values alike: no error in the millions of percent.
grep -q 'host.few_rows .* not determined' "$folder/out" &&
    grep -q 'few_rows: .*cpu.csv (not determined)"' "$folder/kept.yaml" &&
    ! grep -q 'e+0[3-9] %' "$folder/out" "$folder/kept.yaml"
report $? calibrate_not_determined

generate "$folder/trace.h5" >/dev/null
cat >"$folder/run.yaml" <<'END2'
trace: trace.h5
machine: ./mine.yaml
host_memory: 100 GB
workload: {batch: 2}
policies:
  - {name: lru, cache: {name: lru, slots: 8}}
END2
"$moesim" run "$folder/run.yaml" -q >"$folder/out" 2>"$folder/said"
report $? calibrate_file_runs
exit $failed
