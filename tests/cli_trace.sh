#!/bin/sh
# moesim trace on a trace of eight rows made by hand: every figure of info derived on paper, what
# slice, export and gen --like make of it, and an importer that fails.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh

if ! "$python" -c 'import numpy, h5py' 2>/dev/null; then
    echo "skip trace: needs python3 with numpy and h5py"
    exit 0
fi
# Two requests of four rows. Layer 0 uses 0 0 0 1 and 0 0 2 2, layer 1 uses 1 1 1 1 and 1 1 1 3.
{
    cat <<'END'
# route_trace v1
# model=hand arch=made n_layer=2 n_expert=4 n_expert_used=1
# layer=0 expert_bytes=30 dense_bytes=9
# layer=1 expert_bytes=40 dense_bytes=9
turn,phase,step,layer,slot,expert,weight,residency,expert_bytes
END
    step=0
    for row in 0:0:1 0:0:1 0:0:1 0:1:1 1:0:1 1:0:1 1:2:1 1:2:3; do
        rest=${row#*:}
        echo "${row%%:*},1,$step,0,0,${rest%:*},0.5,0,30"
        echo "${row%%:*},1,$step,1,0,${rest#*:},0.5,0,40"
        step=$((step + 1))
    done
} >"$folder/hand.csv"
hand=$folder/hand.h5
prints trace_import 0 trace import --from route_trace "$folder/hand.csv" -o "$hand" --model hand \
    --source "of my own" --experts 4 <<END
moesim: warning: $folder/hand.csv: no file of models/arch is called hand, so the sizes in its head are not compared; run with model: FILE.yaml, a file of your own
END

# Shares of layer 0: 5, 1, 2 and 0 of 8; of layer 1: 7 and 1 of 8. Largest (5/8 + 7/8) / 2.
# Entropy (1.299 + 0.544) / 2; Gini (1/2 + 11/16) / 2. Neighbours agree in 4 and 5 of 6 pairs;
# sums of squares 30/64 and 50/64. One row of eight is not the likeliest behind its expert.
# Two side by side: 1 + 1 + 2 + 2 and 1 + 1 + 1 + 2 experts in four steps.
cat >"$folder/figures" <<'END'
  skew       top-1 expert share 0.750 (uniform 0.250), entropy 0.92 of 2.00 bits, Gini 0.59
  locality   adjacent-token overlap 0.750 (0.625 if independent)
  next layer 0.875 of its experts are among the 1 best guesses from this layer's
  distinct experts per layer for concurrent tokens of different requests
             1: 1.0  2: 1.4 
END
# Layer 0 has three first uses and one 0 behind a 1, layer 1 two first uses; all else comes at once
# again. Each row is a window: of seven neighbours three and one differ, and of two single rows that
# may be either of two experts sqrt(1 / pi) is expected. One executed expert has all the mass.
cat >"$folder/details" <<'END'
  reuse      least slots of a layer that LRU hits an access with, row by row: first use 31.2 %
             1: 62.5 %  2: 6.2 %  3-4: 0.0 % 
  drift      between neighbours of 8 equal windows of rows the shares of a layer's experts differ
             by 0.286 (total variation), from the first to the last by 1.000;
             by chance: 0.161 if rows were independent
  gates      margin: best softmax score less the second; rest: share of the executed gate mass
             that is not the best expert's
             margin   rest
                  -  0.000  decode
  drops      distinct experts of a layer in a batch of rows of different requests, and how many
             of them it could drop at a loss of 1, 5, 10 % of its gate mass
             rows  distinct    1 %    5 %   10 %
                1       1.0    0.0    0.0    0.0  decode
END
prints trace_info 0 trace info "$hand" <<END
$hand
  model      hand: 2 MoE layers, 4 experts, top-1
  source     of my own
  capture    moesim trace import --from route_trace
  rows       8 tokens in 2 requests
  has        /routing/expert /routing/score /expert_bytes
$(cat "$folder/figures" "$folder/details")
END
prints trace_info_json 0 trace info "$hand" --json <<'END'
{
  "model": "hand",
  "source": "of my own",
  "capture": "moesim trace import --from route_trace",
  "layers": 2, "experts": 4, "top_k": 1, "candidates": 1,
  "rows": 8, "requests": 2, "passes": 0,
  "top1_share": 0.750000, "entropy_bits": 0.921180, "gini": 0.593750,
  "adjacent_overlap": 0.750000, "independent_overlap": 0.625000,
  "next_layer_predictability": 0.875000,
  "union_size": {"1": 1.000000, "2": 1.375000},
  "reuse": {"to": [0, 1, 2, 4], "accesses": [
    [3, 4, 1, 0],
    [2, 6, 0, 0]]},
  "drift": {"windows": 8, "neighbours": 0.285714, "neighbours_independent": 0.161197,
    "windows_in_turn": null, "first_to_last": 1.000000, "first_to_last_independent": 0.564190},
  "score_kind": "softmax",
  "gates": [
    {"phase": "decode", "group": null, "cells": 16, "margin": null, "rest": 0.000000, "outside": null}],
  "drops": [
    {"phase": "decode", "group": null, "rows": 1, "batches": 8, "capped": false, "distinct": 1.000000, "dropped": {"1": 0.000000, "5": 0.000000, "10": 0.000000}}],
  "tokens_per_pass": null
}
END
# Where every pass is one row, distances are those that moesim curve finds, in another way.
generate "$folder/single.h5" requests=5 prompt_tokens=1 prompt_spread=0 output_tokens=40 &&
    "$moesim" trace info "$folder/single.h5" --json >"$folder/info.json" &&
    "$moesim" curve "$folder/single.h5" --policy lru --protect none --json >"$folder/curve.json" &&
    "$python" - "$folder" <<'END'
import json
import sys
info, curve = (json.load(open(f"{sys.argv[1]}/{name}.json")) for name in ("info", "curve"))
assert len(curve["reuse"]) == 24 and sum(curve["reuse"][0]) > 100
assert info["reuse"]["accesses"] == curve["reuse"], (info["reuse"], curve["reuse"])
END
report $? trace_info_reuse_is_that_of_curve

# Rows 1 to 5 of the second layer: three of the first request, two of the second; no layer follows.
# Positions go on from one turn to the next.
prints trace_slice 0 trace slice "$hand" --rows 1:6 --layers 1 -o "$folder/part.h5" </dev/null
prints trace_slice_info 0 trace info "$folder/part.h5" <<END
$folder/part.h5
  model      hand: 1 MoE layers, 4 experts, top-1
  source     of my own; rows 1:6, 1 of 2 layers
  capture    moesim trace import --from route_trace
  rows       5 tokens in 2 requests
  has        /routing/expert /routing/score /expert_bytes
  skew       top-1 expert share 1.000 (uniform 0.250), entropy 0.00 of 2.00 bits, Gini 0.75
  locality   adjacent-token overlap 1.000 (1.000 if independent)
  distinct experts per layer for concurrent tokens of different requests
             1: 1.0  2: 1.0 
  reuse      least slots of a layer that LRU hits an access with, row by row: first use 20.0 %
             1: 80.0 %  2: 0.0 %  3-4: 0.0 % 
  drift      between neighbours of 5 equal windows of rows the shares of a layer's experts differ
             by 0.000 (total variation), from the first to the last by 0.000;
             by chance: 0.000 if rows were independent
$(sed -n '/^  gates/,$p' "$folder/details")
END
prints trace_slice_requests 0 trace slice "$hand" --requests 1: -o "$folder/second.h5" </dev/null
"$moesim" trace export "$folder/second.h5" -o "$folder/second.csv" && diff - "$folder/second.csv" <<'END'
row,request,position,phase,layer,slot,expert,score
0,0,4,decode,0,0,0,0.5
0,0,4,decode,1,0,1,0.5
1,0,5,decode,0,0,0,0.5
1,0,5,decode,1,0,1,0.5
2,0,6,decode,0,0,2,0.5
2,0,6,decode,1,0,1,0.5
3,0,7,decode,0,0,2,0.5
3,0,7,decode,1,0,3,0.5
END
report $? trace_export
for flag in requests rows; do
    prints "trace_slice_bad_$flag" 1 trace slice "$hand" --$flag 2:1 -o "$folder/x.h5" <<'END'
moesim: "2:1" is not a range such as 10:20, 10:, :20 or 10
END
done

# An access per distinct expert of a pass and layer: one by one 16, side by side 6 + 5.
accesses() { # what moesim trace export with these flags writes: the objects
    "$moesim" trace export --to oracleGeneral "$hand" -o "$folder/hand.bin" "$@" &&
        od -An -v -tu4 -w24 "$folder/hand.bin" | awk '{ printf "%s%d:%d", (NR > 1 ? " " : ""), $1, $2 }'
}
[ "$(accesses)" = "0:0 0:5 1:0 1:5 2:0 2:5 3:1 3:5 4:0 4:5 5:0 5:5 6:2 6:5 7:2 7:7" ] &&
    [ "$(accesses --batch 1)" = "$(accesses)" ] &&
    [ "$(accesses --batch 2)" = "0:0 0:5 1:0 1:5 2:0 2:2 2:5 3:1 3:2 3:5 3:7" ] &&
    [ "$(accesses --batch=2 --layers 1)" = "0:5 1:5 2:5 3:5 3:7" ]
report $? trace_export_oracle

# Like another: both are described; without a seed that is 1; as many requests as asked for.
"$moesim" trace gen --like "$hand" -o "$folder/like.h5" >"$folder/out" &&
    { echo "$hand"; cat "$folder/figures"; echo "$folder/like.h5"; } >"$folder/wanted" &&
    head -n 7 "$folder/out" | diff "$folder/wanted" - &&
    [ "$(wc -l <"$folder/out")" -eq 12 ] &&
    "$moesim" trace gen --like "$hand" -o "$folder/one.h5" --seed 1 >/dev/null &&
    cmp "$folder/like.h5" "$folder/one.h5" &&
    "$moesim" trace gen --like "$hand" -o "$folder/two.h5" --seed 2 --requests 3 >/dev/null &&
    ! cmp -s "$folder/like.h5" "$folder/two.h5"
report $? trace_like
for what in one:2 two:3; do
    "$moesim" trace info "$folder/${what%:*}.h5" | grep -q " tokens in ${what#*:} requests$"
    report $? "trace_like_requests_$what"
done
# Scores as the source has them, or where they are asked for.
"$python" - "$hand" "$folder" <<'END'
import shutil
import sys
import h5py
import numpy as np
hand, folder = sys.argv[1:]
shutil.copyfile(hand, f"{folder}/bare.h5")
with h5py.File(f"{folder}/bare.h5", "r+") as f:
    del f["/routing/score"]
    f.attrs["score_kind"] = "none"
# The same rows with a second candidate, in one recorded pass.
shutil.copyfile(f"{folder}/bare.h5", f"{folder}/wide.h5")
with h5py.File(f"{folder}/wide.h5", "r+") as f:
    expert = f["/routing/expert"][:]
    del f["/routing/expert"], f["/routing/resident"]
    f["/routing/expert"] = np.concatenate([expert, (expert + 1) % 4], axis=2).astype("<u2")
    f.attrs.modify("candidates", 2)
    f["/pass/first"] = np.array([0, 8], "<u8")
    f["/pass/row"] = np.arange(8, dtype="<u8")
    f["/pass/start_ns"] = np.full(1, -1, "<i8")
# Counts alone: three passes.
with h5py.File(f"{folder}/counts.h5", "w", libver=("v110", "v110")) as f:
    f.attrs.update(format="moesim-trace", version=1, model="hand", source="counted", capture="",
                   experts=4, top_k=1, candidates=1, score_kind="none", sorted=0)
    f["/moe_layer"] = np.arange(2, dtype="<u2")
    f.create_dataset("/load/count", data=np.ones((3, 2, 4), "<u4"), chunks=True)
# So many groups that 32 rows of each count; one has nine requests of eight rows, one has one.
with h5py.File(f"{folder}/groups.h5", "w", libver=("v110", "v110")) as f:
    f.attrs.update(format="moesim-trace", version=1, model="hand", source="", capture="", experts=4,
                   top_k=2, candidates=2, score_kind="softmax", sorted=1)
    f["/moe_layer"] = np.zeros(1, "<u2")
    f["/group_name"] = np.array([b"red", b"blue"] + [b"none"] * 16382)
    f["/request/arrival_ns"] = np.full(10, -1, "<i8")
    f["/request/prompt_tokens"] = np.ones(10, "<u4")
    f["/request/output_tokens"] = np.full(10, 8, "<u4")
    f["/request/rows"] = np.full(10, 8, "<u4")
    f["/request/first_row"] = np.arange(0, 80, 8, dtype="<u8")
    f["/request/group"] = np.array([0] * 9 + [1], "<u2")
    f["/token/request"] = np.arange(80, dtype="<u4") // 8
    f["/token/position"] = np.arange(80, dtype="<u4") % 8
    f["/token/phase"] = np.ones(80, "u1")
    f["/routing/expert"] = np.tile(np.array([0, 1], "<u2"), (80, 1, 1))
    f["/routing/score"] = np.tile(np.array([.9375, .0625], "<f2"), (80, 1, 1))
END
while read -r what wanted flag; do
    "$moesim" trace gen --like "$folder/$what.h5" -o "$folder/x.h5" ${flag:+"$flag"} >/dev/null
    "$moesim" trace info "$folder/x.h5" | grep -q '^  has        /routing/expert /routing/score'
    [ $? -eq "$wanted" ]
    report $? "trace_like_scores_$what$flag"
done <<'END'
hand 0
bare 1
bare 0 --scores
bare 0 --all-scores
END
# Of those of all experts again such ones, with the same mass outside the executed experts.
"$moesim" trace gen -o "$folder/all.h5" --set layers=3 --set experts=8 --set top_k=2 --set requests=20 --set scores=all \
    --set logit_scale=0.5 >/dev/null &&
    "$moesim" trace gen --like "$folder/all.h5" -o "$folder/x.h5" >/dev/null &&
    "$moesim" trace info --json "$folder/all.h5" >"$folder/all.json" &&
    "$moesim" trace info --json "$folder/x.h5" >"$folder/info.json" && "$python" - "$folder" <<'END'
import json
import sys
a, b = (json.load(open(f"{sys.argv[1]}/{name}.json")) for name in ("all", "info"))
assert b["score_kind"] == "logit" and b["candidates"] == 8 and len(b["gates"]) == len(a["gates"]) == 2
for x, y in zip(a["gates"], b["gates"]):
    assert x["outside"] > .1 and abs(x["outside"] - y["outside"]) < .01, (x, y)
END
report $? trace_like_all_scores
"$moesim" trace info -q "$folder/wide.h5" | sed -n '2p;5,6p' >"$folder/out"
diff - "$folder/out" <<'END'
  model      hand: 2 MoE layers, 4 experts, top-1, 2 candidates recorded
  rows       8 tokens in 2 requests, 1 recorded passes
  has        /routing/expert /pass /expert_bytes
END
report $? trace_info_candidates
"$moesim" trace info --json "$folder/wide.h5" | grep -q '^  "rows": 8, "requests": 2, "passes": 1,$' &&
    "$moesim" trace info --json "$folder/wide.h5" | grep -q '"top_k": 1, "candidates": 2,$'
report $? trace_info_json_candidates
# Four tokens a pass and layer; independent ones would differ by 2 sqrt(2/pi 3/16 (1/4 + 1/4)).
prints trace_info_counts 0 trace info "$folder/counts.h5" <<END
$folder/counts.h5
  model      hand: 2 MoE layers, 4 experts, top-1
  source     counted
  capture    
  rows       0 tokens in 0 requests, 3 recorded passes
  has       
  skew       top-1 expert share 0.250 (uniform 0.250), entropy 2.00 of 2.00 bits, Gini 0.00
  passes     4.0 tokens each, from 4.0 to 4.0
  drift      between neighbours of 3 equal windows of passes the shares of a layer's experts differ
             by 0.000 (total variation), from the first to the last by 0.000;
             by chance: 0.000 between windows that take passes in turn, 0.489 if tokens were independent
  gates      margins, gate mass and drops need scores, which the trace does not have
END
"$moesim" trace info --json "$folder/counts.h5" >"$folder/info.json" && "$python" - "$folder" <<'END'
import json
import sys
info = json.load(open(f"{sys.argv[1]}/info.json"))
assert info["gini"] == 0 and info["tokens_per_pass"] == {"mean": 4, "least": 4, "most": 4}
assert info["drift"]["windows"] == 3 and info["drift"]["windows_in_turn"] == 0
for key in ("adjacent_overlap", "union_size", "reuse", "gates", "drops"):
    assert info[key] is None, key
END
report $? trace_info_counts_json
# A batch can lose 1/16 of its mass for 10 %. Groups: the first eight, and those that fill a batch.
"$moesim" trace info "$folder/groups.h5" | sed -n '/^             margin/,$p' >"$folder/out"
diff - "$folder/out" <<'END'
             margin   rest
              0.875  0.062  decode
              0.875  0.062  decode, red
              0.875  0.062  decode, blue
             16376 more groups: --json
  drops      distinct experts of a layer in a batch of rows of different requests, and how many
             of them it could drop at a loss of 1, 5, 10 % of its gate mass
             rows  distinct    1 %    5 %   10 %
                1       2.0    0.0    0.0    1.0  decode
                8       2.0    0.0    0.0    1.0  decode
                1       2.0    0.0    0.0    1.0  decode, red, first 32 rows
                8       2.0    0.0    0.0    1.0  decode, red, first 32 rows
             1 of the groups make no batch of 8: --json
             16376 more groups: --json
END
report $? trace_info_groups
"$moesim" trace info --json "$folder/groups.h5" >"$folder/info.json" && "$python" - "$folder" <<'END'
import json
import sys
drops = json.load(open(f"{sys.argv[1]}/info.json"))["drops"]
assert [(d["group"], d["rows"], d["batches"], d["capped"]) for d in drops] == [
    (None, 1, 80, False), (None, 8, 8, False),
    ("red", 1, 32, True), ("red", 8, 4, True), ("blue", 1, 8, False)], drops
END
report $? trace_info_groups_json
# Where nothing was recorded there are no figures, rather than zeros.
nothing=traces/conformance/good/note_nothing_recorded.h5
prints trace_info_nothing 0 trace info $nothing <<END
$nothing
  model      tiny: 3 MoE layers, 8 experts, top-2
  source     made by hand
  capture    
  rows       12 tokens in 4 requests
  has        /routing/expert prefill rows in /token/phase
  routing    no cell of it was recorded; record again with the capture of routing switched on
END
"$moesim" trace info --json $nothing >"$folder/info.json" && "$python" - "$folder" <<'END'
import json
import sys
info = json.load(open(f"{sys.argv[1]}/info.json"))
for key in ("top1_share", "entropy_bits", "gini", "adjacent_overlap", "independent_overlap",
            "next_layer_predictability", "union_size"):
    assert info[key] is None, key
END
report $? trace_info_nothing_json
prints trace_gen_parameters 1 trace gen "$folder/hand.csv" -o "$folder/y.h5" --set layers=2 <<END
moesim: --set layers=2: there is no 'layers', which is a single value
END
printf 'layers: 3\nrequests: 2\nprompt_tokens: 1\noutput_tokens: 2\n' >"$folder/params.yaml"
"$moesim" trace gen "$folder/params.yaml" -o "$folder/y.h5" -s layers=5 &&
    "$moesim" trace info "$folder/y.h5" | grep -q '^  model      synthetic: 5 MoE layers, 32 experts, top-4$'
report $? trace_gen_file_and_set
"$moesim" trace gen -o "$folder/two.h5" --set requests=16 --set groups=2 --set union_16=22 --set layers=2 >/dev/null
report $? trace_gen_union_of_two_groups
# All scores: good, of every expert, and what those without execute; by numpy, and for the router of
# processes, too. Its logits: 1.2 new in each row is a standard deviation of 1.386.
for processes in no yes; do
    for scores in no all; do
        "$moesim" trace gen -o "$folder/$scores.h5" --set layers=8 --set experts=8 --set top_k=2 --set requests=9 \
            --set autoregressive=$processes --set scores=$scores >/dev/null || break
    done && "$moesim" trace check "$folder/all.h5" | grep -q 'score of every expert, ' &&
        "$python" - "$folder" $processes <<'END'
import sys
import h5py
import numpy as np
folder, processes = sys.argv[1:]
with h5py.File(f"{folder}/no.h5") as f, h5py.File(f"{folder}/all.h5") as g:
    none, expert, score = f["/routing/expert"][:], g["/routing/expert"][:], g["/routing/score"][:]
    assert "/routing/score" not in f and (g.attrs["score_kind"], g.attrs["sorted"]) == (b"logit", 1)
    first, rows = g["/request/first_row"][:], g["/token/request"][:]
assert (expert[..., :2] == none).all() and (np.sort(expert, axis=-1) == np.arange(8)).all()
logit = np.empty_like(score)
np.put_along_axis(logit, expert.astype(int), score, axis=-1)
assert (np.argsort(-logit, axis=-1, kind="stable") == expert).all()
if processes == "yes":
    z = logit.astype(float) - logit.astype(float).mean(axis=0)
    same = rows[1:] == rows[:-1]
    assert abs(z.std() - 1.386) < .03, z.std()
    assert abs((z[1:] * z[:-1])[same].mean() / z.var() - .5) < .02, (z[1:] * z[:-1])[same].mean()
END
    report $? "trace_gen_all_scores_processes_$processes"
done
prints trace_gen_all_scores_alone 1 trace gen -o "$folder/y.h5" --set hot_weight=0.6 --set scores=all <<END
moesim: $folder/y.h5: scores is all, but with hot_weight or independent every row and layer is drawn alone, by the experts' weights; leave scores out
END
sum=$(cksum <"$folder/params.yaml")
prints trace_gen_apart 1 trace gen "$folder/params.yaml" -o "$folder/params.yaml" <<END
moesim: $folder/params.yaml: is the input itself, which is read here; give the output another name
END
[ "$sum" = "$(cksum <"$folder/params.yaml")" ]
report $? trace_gen_apart_stays

# Importers: without Python, and statuses that are passed on.
imports() { # NAME STATUS PYTHON: with that interpreter; what it should say comes on stdin.
    PYTHON=$3 prints "trace_import_$1" "$2" trace import --from npz x.npz -o "$folder/z.h5"
    [ ! -e "$folder/z.h5" ] && [ -z "$(ls "$folder"/.z.h5.* 2>/dev/null)" ]
    report $? "trace_import_$1_leaves_nothing"
}
imports no_python 77 "$folder/nowhere" <<END
moesim: $folder/nowhere cannot be run: No such file or directory; moesim trace import needs python3 with numpy and h5py (PYTHON names another interpreter)
END
for status in 1 2 77; do
    printf '#!/bin/sh\nexit %s\n' $status >"$folder/end$status" && chmod +x "$folder/end$status"
    imports "ends_$status" $status "$folder/end$status" </dev/null
done
# What it is called with: all of it, as typed.
cat >"$folder/shows" <<'END'
#!/bin/sh
shift
printf '%s\n' "$*" | sed "s|$FOLDER|F|g"
exit 2
END
chmod +x "$folder/shows"
FOLDER=$folder
export FOLDER
PYTHON=$folder/shows prints trace_import_arguments 2 trace import --from npz "$folder/a.npz" \
    -o "$folder/z.h5" --model m --experts 4096 --requests r.csv --source s <<'END'
trace import --from npz F/a.npz -o F/z.h5 --model m --experts 4096 --requests r.csv --source s
END
PYTHON=$folder/shows prints trace_import_few_arguments 2 trace import --from route_trace "$folder/a" \
    -o "$folder/z.h5" <<'END'
trace import --from route_trace F/a -o F/z.h5
END
long=$(printf '%04096d' 0)
PYTHON=$folder/end1 prints trace_import_longest 1 trace import --from npz a -o "$folder/z.h5" \
    --model "$long" --source "$long" </dev/null
exit $failed
