#!/bin/sh
# Text of others (a trace's source and model, labels, tables) reaches terminals, pages and
# spreadsheets as text: no control character, no override of direction, no formula.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh

if ! "$python" -c 'import numpy, h5py' 2>/dev/null; then
    echo "skip plain: needs python3 with numpy and h5py"
    exit 0
fi
if ! generate "$folder/trace.h5" requests=4 >/dev/null; then
    report 1 plain_trace
    exit 1
fi
"$python" - "$folder" <<'END'
import shutil
import sys
import h5py
import numpy as np
folder = sys.argv[1]
evil = b"x\x1b]0;owned\x07\x1b[2J\rmoesim: ok\x9b1m\xc2\x9b2m\xe2\x80\xae<b>\xff\nend"
for name, attributes in (("source", ("source", "capture")), ("model", ("model",))):
    shutil.copy(f"{folder}/trace.h5", f"{folder}/{name}.h5")
    with h5py.File(f"{folder}/{name}.h5", "r+") as trace:
        for attribute in attributes:
            kept = evil if attribute != "model" else evil.replace(b"\n", b"")
            del trace.attrs[attribute]
            trace.attrs.create(attribute, np.array(kept, h5py.string_dtype("utf-8", len(kept))))
with open(f"{folder}/run.yaml", "w", encoding="utf-8") as stream:
    stream.write(r"""
trace: source.h5
model: gpt-oss-20b
machine: rtx4090-pcie4
policies:
  - {name: "=1+1\e[2J<script>\u202e&\x9b", cache: {name: lru, slots: 8}}
  - {name: "@sum\ta", cache: {name: lru, slots: 8}}
  - {name: "-1.5e3", cache: {name: lru, slots: 8}}
  - {name: "-cmd", cache: {name: fifo, slots: 8}}
""")
with open(f"{folder}/measured.csv", "wb") as stream:
    stream.write(b"step,wall_ms,\x1b[31mred\xc2\x9b_ms\n1,1,2\n2,x\x1b[2J,3\n")
END

# plain NAME STATUS FILE ...: the status, and files of text that a terminal only shows.
plain() {
    name=$1 wanted=$2 status=$3
    shift 3
    [ "$status" -eq "$wanted" ] && "$python" - "$@" <<'END'
import sys
import unicodedata
for name in sys.argv[1:]:
    text = open(name, "rb").read().decode("utf-8")  # or it fails
    bad = [c for c in text if c not in "\n\t" and unicodedata.category(c) in ("Cc", "Cf")]
    assert text and not bad, (name, bad)
END
    report $? "$name"
}

# says NAME STATUS COMMAND...: what it says is plain.
says() {
    name=$1 wanted=$2
    shift 2
    "$moesim" "$@" >"$folder/$name.said" 2>&1
    plain "$name" "$wanted" $? "$folder/$name.said"
}

says plain_info 0 trace info "$folder/source.h5"
grep -q "^  source     x?\]0;owned??\[2J?moesim: ok?1m?2m?<b>??end$" "$folder/plain_info.said"
report $? plain_info_line
says plain_info_json 0 trace info "$folder/source.h5" --json
"$python" -c 'import json, sys; assert "\x1b]0;owned\x07" in json.load(open(sys.argv[1]))["source"]' \
    "$folder/plain_info_json.said"
report $? plain_info_json_keeps
says plain_like 0 trace gen --like "$folder/source.h5" -o "$folder/like.h5"
says plain_run 0 run "$folder/run.yaml" --out "$folder/out"
says plain_csv 0 run "$folder/run.yaml" --csv
says plain_json 0 run "$folder/run.yaml" --json
says plain_explain 0 explain "$folder/out/result.h5"
says plain_report 0 report "$folder/out/result.h5" -o "$folder/out"
# Errors name what they are about.
says plain_model 1 run "$folder/run.yaml" --set "trace=$folder/model.h5" --set 'model='
says plain_missing 1 trace info "$(printf '%s/no\033[2Jfile' "$folder")"
says plain_flag 2 trace info "$(printf -- '--\033[2J')"
says plain_command 2 "$(printf 'a\033[2J\302\233b')"
says plain_set 1 run "$folder/run.yaml" --set "$(printf 'polic\033[2Jies=1')"
says plain_measured 1 fit "$folder/run.yaml" --measured "$folder/measured.csv" -p host.step_overhead
says plain_import 1 trace import --from npz "$folder/measured.csv" -o "$(printf '%s/\033[2J' "$folder")"

set -- "$folder/out/report.html" "$folder/out/summary.csv" "$folder/out/timeline.json"
for file in "$folder"/out/*.csv "$folder"/out/*.svg; do
    [ ! -s "$file" ] || set -- "$@" "$file"
done
plain plain_files 0 0 "$@"
# One script: the page's own.
[ "$(grep "<script>" "$folder/out/report.html")" = "<script>" ] && grep -q "&lt;script&gt;" "$folder/out/report.html"
report $? plain_page_escapes
"$python" - "$folder" <<'END'
import csv
import glob
import sys
folder = sys.argv[1]
rows = list(csv.DictReader(open(f"{folder}/out/summary.csv", newline="", encoding="utf-8")))
assert [row["label"] for row in rows] == ["'=1+1?[2J<script>?&?", "'@sum\ta", "-1.5e3", "'-cmd"], rows
for name in glob.glob(f"{folder}/out/*.csv"):
    for row in csv.reader(open(name, newline="", encoding="utf-8")):
        for cell in row:
            try:
                float(cell)
            except ValueError:
                assert not cell.startswith(("=", "+", "-c", "@", "\t", "\r")), (name, cell)
END
report $? plain_no_formula
exit $failed
