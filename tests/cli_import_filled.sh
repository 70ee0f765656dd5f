#!/bin/sh
# `moesim trace import` of what engines really write: whole sequences with lengths, layers
# without experts, rows that were not captured, columns that came later; damaged files; an
# importer that is stopped or has no room. Formats and refusals in general: cli_import.sh.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh

if ! "$python" -c 'import numpy, h5py' 2>/dev/null; then
    echo "skip capture: needs python3 with numpy and h5py"
    exit 0
fi
mkdir "$folder/out"
out=$folder/out/x.h5

"$python" - "$folder" <<'END'
import sys
import zipfile
import numpy as np
folder = sys.argv[1]
rng = np.random.default_rng(11)

def routing(rows, layers, k, experts):
    return np.argsort(rng.random((rows, layers, experts)), axis=2)[:, :, :k].astype(np.int16)

def save(name, ids, off=None, **more):
    np.savez_compressed(f"{folder}/{name}.npz", ids=ids,
                        off=np.array([0, len(ids)] if off is None else off), **more)

def table(name, *lines):
    with open(f"{folder}/{name}_requests.csv", "w", encoding="utf-8") as stream:
        stream.write("category,prompt_len,gen_len,first_pos\n" + "\n".join(lines) + "\n")

whole = routing(24, 48, 8, 128)
for name, lines in (("whole", ["a,8,5,0", "=b,8,5,0"]), ("longer", ["a,8,5,0", "a,8,7,0"]),
                    ("shorter", ["a,8,5,0", "a,4,5,0"]), ("huge", ["a,8,5,0", "a,8,99999999999,0"]),
                    ("odd", ["a,8,5,0", "a,9,5,0"])):
    save(name, whole, [0, 12, 24])
    table(name, *lines)
dense = routing(10, 27, 6, 64)
dense[:, 0] = 0
save("dense", dense)
top1 = routing(6, 48, 1, 128)
top1[:, ::2] = 0
save("top1", top1)
alive = routing(10, 27, 6, 64)
save("alive", alive)
save("zeros", np.zeros((4, 48, 8), np.int32))
half = routing(10, 48, 8, 128)
half[5:] = np.arange(8)
save("arange", half)
half = half.copy()
half[5:] = -1
half[2, 7] = -1  # one cell alone
save("minus", half)
stuck = routing(10, 48, 8, 128)
stuck[:, 5] = stuck[0, 5]
save("stuck", stuck)
strange = routing(10, 48, 8, 128).astype(np.int64)
strange[3, 4, 5] = 1 << 40
save("strange", strange)
save("v3", routing(8, 58, 8, 256).astype(np.int32))
save("own", routing(8, 7, 2, 16))
save("pickled", np.array([[[object()]]], dtype=object))
np.savez(f"{folder}/lacks.npz", req0=whole, req1=whole)
with zipfile.ZipFile(f"{folder}/deflated.npz", "w", zipfile.ZIP_DEFLATED) as archive:
    with archive.open("ids.npy", "w") as member:
        np.lib.format.write_array(member, routing(40, 24, 4, 32))
    with archive.open("off.npy", "w") as member:
        np.lib.format.write_array(member, np.array([0, 40]))
data = bytearray(open(f"{folder}/deflated.npz", "rb").read())
data[900:960] = b"\xff" * 60
open(f"{folder}/zlib.npz", "wb").write(data)
save("big", routing(30000, 24, 4, 32))

HEAD = """# route_trace v1
# model=/x/Qwen3-30B-A3B-Q4_K_M.gguf arch=qwen3moe n_layer=2 n_expert=128 n_expert_used=2
# layer=0 expert_bytes=SIZE dense_bytes=9
# layer=1 expert_bytes=SIZE dense_bytes=9
"""
COLUMNS = "turn,phase,step,layer,slot,expert,weight,residency,expert_bytes"

def route(name, columns, *lines, size=2854748):
    with open(f"{folder}/{name}.csv", "w", encoding="utf-8") as stream:
        stream.write(HEAD.replace("SIZE", str(size)) + columns + "\n" + "\n".join(lines) + "\n")

good = ["0,0,0,0,0,5,0.75,0,30", "0,0,0,0,1,9,0.25,1,0", "0,1,1,0,0,7,0.5,0,0",
        "0,1,1,0,1,6,0.5,0,30"]
route("good", COLUMNS, *good)
route("small", COLUMNS, *good, size=1802240)
route("later", COLUMNS + ",dropped,kept_by", *(f"{line},{i == 2:d},x" for i, line in enumerate(good)))
route("codes", COLUMNS, good[0].replace("0.75,0", "0.75,2"), *good[1:])
route("nan", COLUMNS, *(line.replace(line.split(",")[6], "nan") for line in good))
route("few", "expert,layer,step", "5,0,0", "9,0,0", "7,1,1")
route("lost", "turn,phase,step,layer,slot,weight", "0,0,0,0,0,0.5")
route("range", COLUMNS, good[0].replace(",5,", ",99999999999999999999,"), *good[1:])
route("wide", COLUMNS, "99999999999," + good[0][2:])
route("inf", COLUMNS, good[0].replace("0.75", "inf"))
open(f"{folder}/escape.csv", "w").write(HEAD.replace("SIZE", "9").replace("Qwen", "q\x1b[2Jwen")
                                        .replace("A3B", "A4B") + COLUMNS + "\n" + good[0] + "\n")
open(f"{folder}/mine.yaml", "w").write("name: mine\nlayers: 8\nfirst_moe: 1\nhidden: 64\n"
                                       "expert_ffn: 32\nexperts: 16\ntop_k: 2\nexpert_bits: 16\n")
open(f"{folder}/bytes.csv", "wb").write(b"# route_trace v1\n# model=\xff\xfe\n")
END

# Most of it in one process, which is what starts slowly.
"$python" - "$folder" <<'END'
import sys

folder = sys.argv[1]
sys.path[:0] = ["traces/python", "tests"]
from import_lab import Lab  # noqa: E402
lab = Lab(folder, "filled_", unsaid="no table of requests",
          given=lambda name: ["--from", "npz" if name.endswith(".npz") else "route_trace"])
takes, refuses = lab.takes, lab.refuses


# ---- whole sequences ----
takes("whole", "", "whole.npz", holds=lambda t:
      list(t["/token/phase"]) == ([0] * 8 + [1] * 4) * 2
      and list(t["/token/position"]) == list(range(12)) * 2
      and list(t["/request/prompt_tokens"]) == [8, 8]
      and list(t["/request/output_tokens"]) == [5, 5])
refuses("lengths_longer", "line 3: a prompt of 8 and 7 generated.*make 14 rows.*has 12",
        "longer.npz")
refuses("lengths_shorter", "line 3: .*make 8 rows", "shorter.npz")
refuses("lengths_huge", "line 3: gen_len is '99999999999', not a whole number", "huge.npz")
takes("lengths_odd", "note: [^ ]*: lines 3: the recording has one row more or less", "odd.npz")
takes("no_lengths", "every row is taken as decode", "v3.npz")

# ---- what was not captured ----
takes("dense", "", "dense.npz", holds=lambda t:
      t.attrs["model"] == b"deepseek-v2-lite" and list(t["/moe_layer"]) == list(range(1, 27))
      and t["/routing/expert"].shape == (10, 26, 6))
takes("top1", "", "top1.npz", "--model", "llama-4-maverick", holds=lambda t:
      list(t["/moe_layer"]) == list(range(1, 48, 2)))
refuses("top1_unnamed", "0, 2, 4, .* never change, so they are no MoE layers", "top1.npz")
refuses("top1_other", "layers 0, 2, 4, .* hold the same experts in every row", "top1.npz",
        "--model", "llama-4-scout")
refuses("changing", "layers 0 have no experts in this model, but change", "alive.npz",
        "--model", "deepseek-v2-lite")
refuses("zeros", "none of the 4 rows holds routing: layers 0 to 47", "zeros.npz")
refuses("stuck", "layers 5 hold the same experts", "stuck.npz", "--model", "qwen3-30b-a3b")
takes("arange", r"5 of 10 rows were not captured \(rows 5 to 9\)", "arange.npz",
      holds=lambda t: (t["/routing/expert"][5:] == 65535).all()
      and (t["/routing/expert"][:5] < 128).all())
takes("minus", "5 of 10 rows were not captured", "minus.npz",
      holds=lambda t: (t["/routing/expert"][5:] == 65535).all()
      and (t["/routing/expert"][2, 7] == 65535).all() and (t["/routing/expert"][2, 8] < 128).all())

# ---- models ----
takes("v3", "", "v3.npz", "--model", "deepseek-v3", holds=lambda t:
      list(t["/moe_layer"]) == list(range(3, 61)) and t.attrs["experts"] == 256)
refuses("misspelt", r"called deepseek_v3 \(did you mean deepseek-v3\?\)", "v3.npz",
        "--model", "deepseek_v3")
refuses("no_expert", "ids: 1099511627776 is no expert's number", "strange.npz")
takes("route_misspelt", r"warning: .*did you mean qwen3-30b-a3b\?", "good.csv",
      "--model", "qwen3-30b-a3")
refuses("own_unnamed", "7 layers and 2 experts per token; name it with --model", "own.npz")
refuses("own_without_experts", "no file of models/arch is called mine", "own.npz",
        "--model", "mine")
takes("own", "", "own.npz", "--model", "mine", "--experts", "16", "--source", "elsewhere",
      holds=lambda t: t.attrs["model"] == b"mine" and t.attrs["experts"] == 16
      and t.attrs["source"] == b"elsewhere" and list(t["/moe_layer"]) == list(range(7)))
takes("own_file", "", "own.npz", "--model", f"{folder}/mine.yaml",
      holds=lambda t: list(t["/moe_layer"]) == list(range(1, 8)))
refuses("contrary_experts", "deepseek-v3 has 256 experts, not 8; leave out --experts",
        "v3.npz", "--model", "deepseek-v3", "--experts", "8")
takes("q4", "", "good.csv", holds=lambda t: t.attrs["model"] == b"qwen3-30b-a3b-q4-k-m")
takes("small", r"warning: .*1802240 bytes.*3.06 bits.*2854748 in model "
      r"qwen3-30b-a3b-q4-k-m \(4.84 bits\).*--model.*expert_bits: 3.06", "small.csv")
takes("bf16", r"warning: .*9437184 in model qwen3-30b-a3b \(16 bits\)", "good.csv",
      "--model", "qwen3-30b-a3b")

# ---- columns ----
takes("later", "", "later.csv", holds=lambda t:
      t["/routing/expert"][:, 0].tolist() == [[5, 9], [6, 65535]])
takes("codes", "", "codes.csv", holds=lambda t:
      t["/routing/resident"][0, 0].tolist() == [1, 1])
takes("nan", "", "nan.csv", holds=lambda t:
      t.attrs["score_kind"] == b"none" and "/routing/score" not in t)
takes("few", "", "few.csv", holds=lambda t:
      t["/routing/expert"][:].tolist() == [[[5, 9], [65535, 65535]], [[65535, 65535], [7, 65535]]]
      and list(t["/token/phase"]) == [1, 1])
refuses("lost", "line 5: column expert is missing", "lost.csv")
refuses("range", "line 6: expert is '99999999999999999999', not a whole number",
        "range.csv")
refuses("wide", "line 6: turn is '99999999999'", "wide.csv")
refuses("inf", "line 6: weight is 'inf'", "inf.csv")
refuses("bytes", "not a text file", "bytes.csv")
refuses("escape", r"by q\?\[2jwen", "escape.csv")

# ---- damage ----
refuses("zlib", "is damaged|not a readable array", "zlib.npz")
refuses("pickled", "plain array", "pickled.npz")
refuses("lacks", "array ids is missing; it holds req0.npy, req1.npy", "lacks.npz")
sys.exit(lab.failed)
END
[ $? -eq 0 ] || failed=1

# ---- the program in front of it ----
"$moesim" trace import --from npz "$folder/whole.npz" -o "$folder/whole.h5" 2>"$folder/said"
[ $? -eq 0 ] && [ ! -s "$folder/said" ] &&
    printf '%s\n' "trace: whole.h5" "machine: h100-80g" \
        "policies: [{name: lru, cache: {name: lru, slots: 16}}]" >"$folder/run.yaml" &&
    "$moesim" run "$folder/run.yaml" --json >"$folder/run.json" && "$python" - "$folder/run.json" <<'END'
import json, sys
row = json.load(open(sys.argv[1]))["policy"][0]
assert [row[n] for n in ("prefill_rows", "decode_rows", "output_tokens", "rows_resampled")] == \
    [16, 8, 10, 0], row
END
report $? filled_whole_runs
"$moesim" trace import --from npz "$folder/stuck.npz" -o "$out" --model=mine --experts=128 \
    --source=-x 2>"$folder/said"
[ $? -eq 1 ] && [ "$(wc -l <"$folder/said")" -eq 1 ] && grep -q "layers 5 hold" "$folder/said" &&
    [ -z "$(ls -A "$folder/out")" ]
report $? filled_refused

# ---- usage ----
"$moesim" trace import --from np "$folder/whole.npz" -o "$out" >"$folder/said" 2>&1
[ $? -eq 2 ] && grep -q "^moesim: --from np is no format" "$folder/said" &&
    grep -q "^usage: moesim trace import" "$folder/said" && ! grep -q "python" "$folder/said"
report $? filled_usage
PYTHON=/nowhere/python "$moesim" trace import --from npz "$folder/whole.npz" -o "$out" 2>"$folder/said"
[ $? -eq 77 ] && grep -q "PYTHON names another interpreter" "$folder/said" &&
    [ ! -e "$out" ] && [ -z "$(ls -A "$folder/out")" ]
report $? filled_no_python

# ---- no room, and signals ----
for blocks in 1 40 100; do
    (ulimit -f $blocks && "$moesim" trace import --from npz "$folder/big.npz" -o "$out") 2>"$folder/said"
    [ $? -eq 1 ] && [ "$(grep -c . "$folder/said")" -eq 1 ] &&
        grep -q "cannot be written: File too large; is there room" "$folder/said" &&
        [ -z "$(ls -A "$folder/out")" ]
    report $? "filled_no_room_$blocks"
done
"$python" - "$python" "$folder" <<'END'
import os, signal, subprocess, sys, time
python, folder = sys.argv[1:]
failed = False
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, by children too
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    run = subprocess.Popen([python, "traces/python", "import", "--from", "npz", f"{folder}/big.npz", "-o",
                            f"{folder}/out/x.h5"], stderr=subprocess.PIPE)
    while run.poll() is None and not os.listdir(f"{folder}/out"):
        time.sleep(0.001)
    run.send_signal(number)
    said = run.communicate(timeout=60)[1]
    good = run.returncode == 128 + number and said == b"moesim: stopped by a signal\n" and not os.listdir(f"{folder}/out")
    print("ok" if good else f"not ok ({run.returncode}, {said}, {os.listdir(folder + '/out')})",
          f"filled_{number.name.lower()}")
    failed = failed or not good
sys.exit(failed)
END
[ $? -eq 0 ] || failed=1
exit $failed
