#!/bin/sh
# The importers: tiny inputs made here, wrong inputs, and, with MOESIM_DATA, real recordings.
set -u
cd "$(dirname "$0")/.." || exit 1
moesim=${MOESIM:-build/moesim}
python=${PYTHON:-/usr/bin/python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failed=0

report() { # status name
    if [ "$1" -eq 0 ]; then
        echo "ok $2"
    else
        echo "not ok $2"
        failed=1
    fi
}

import() {
    format=$1
    shift
    "$python" traces/python import --from "$format" "$@"
}

# refuses NAME WORDS FORMAT FILE: exit 1, one line with the words, and no file left.
refuses() {
    name=$1 words=$2
    shift 2
    import "$@" -o "$folder/refused.h5" 2>"$folder/said"
    [ $? -eq 1 ] && [ "$(wc -l <"$folder/said")" -eq 1 ] && grep -q -- "$words" "$folder/said" &&
        [ ! -e "$folder/refused.h5" ] && [ -z "$(ls -A "$folder" | grep '\.part$\|\.tmp$')" ]
    report $? "$name"
}

if ! "$python" -c 'import numpy, h5py' 2>/dev/null; then
    echo "skip import: needs python3 with numpy and h5py"
    exit 0
fi

"$python" - "$folder" <<'END'
import sys
import numpy as np
folder = sys.argv[1]
rng = np.random.default_rng(7)
ids = np.argsort(rng.random((40, 24, 32)), axis=2)[:, :, :4].astype(np.uint8)
probs = -np.sort(-rng.random((40, 24, 4)).astype(np.float16), axis=2)
off = np.array([0, 11, 40])
np.savez_compressed(f"{folder}/a_decode.npz", ids=ids, probs=probs, off=off)
np.savez_compressed(f"{folder}/plain.npz", ids=ids, off=off)
with open(f"{folder}/a_requests.csv", "w") as f:
    f.write("category,prompt_len,gen_len,first_pos\nb,100,12,100\na,7,30,7\n")
deep = np.argsort(rng.random((26, 33, 64)), axis=2)[:, :, :6].astype(np.uint8)
w = rng.random((26, 33, 6)).astype(np.float16)
np.savez_compressed(f"{folder}/deep.npz", ids=deep, w=w, seq_len=np.array([20, 13], np.int32))
def spoil(name, **arrays):
    np.savez(f"{folder}/{name}.npz", **{**dict(ids=ids, probs=probs, off=off), **arrays})
big, twice, nan = ids.copy(), ids.copy(), probs.copy()
big[17, 3, 2], nan[5, 1, 0] = 32, np.nan
twice[9, 2, 1] = twice[9, 2, 0]
spoil("big", ids=big)
spoil("twice", ids=twice)
spoil("nan", probs=nan)
spoil("off", off=np.array([0, 41]))
spoil("shape", probs=probs[:, :, :3])
spoil("flat", ids=ids[0])
spoil("odd", ids=ids[:, :20], probs=probs[:, :20])
np.savez(f"{folder}/lost.npz", ids=ids)
data = open(f"{folder}/a_decode.npz", "rb").read()
open(f"{folder}/cut.npz", "wb").write(data[:len(data) // 2])
head = """# route_trace v1
# model=/x/Qwen3-30B-A3B-Q4.gguf arch=qwen3moe n_layer=3 n_expert=128 n_expert_used=2
# layer=0 expert_bytes=0 dense_bytes=9
# layer=1 expert_bytes=30 dense_bytes=9
# layer=2 expert_bytes=40 dense_bytes=9
turn,phase,step,layer,slot,expert,weight,residency,expert_bytes
"""
lines = ["0,0,0,1,0,5,0.75,0,30", "0,0,0,1,1,9,0.25,0,30", "0,0,1,1,0,5,0.5,0,0",
         "0,0,1,1,1,6,0.5,0,30", "0,0,1,2,0,100,0.625,0,40", "0,0,1,2,1,3,0.375,0,40",
         "0,1,2,1,0,5,0.75,1,0", "0,1,2,1,1,8,0.25,0,30", "0,1,2,2,0,100,0.5,1,0",
         "0,1,2,2,1,127,0.5,0,40"]
def route(name, change=None, text=head):
    kept = list(lines)
    if change:
        kept[change[0]] = change[1]
    open(f"{folder}/{name}.csv", "w").write(text + "\n".join(kept) + "\n")
route("run")
route("words", (2, "0,0,1,x,0,5,0.5,0,0"))
route("expert", (2, "0,0,1,1,0,128,0.5,0,0"))
route("layer", (2, "0,0,1,0,0,5,0.5,0,0"))
route("again", (2, "0,0,1,1,1,5,0.5,0,0"))
route("headless", text="turn,phase\n")
END

import npz "$folder/a_decode.npz" -o "$folder/a.h5" && import npz "$folder/a_decode.npz" -o "$folder/b.h5" &&
    cmp -s "$folder/a.h5" "$folder/b.h5"
report $? import_twice_gives_equal_bytes
import npz "$folder/plain.npz" -o "$folder/plain.h5" && import npz "$folder/deep.npz" -o "$folder/deep.h5" &&
    import route_trace "$folder/run.csv" -o "$folder/run.h5"
report $? import_each_form

"$python" - "$folder" <<'END'
import sys
import h5py
import numpy as np
folder = sys.argv[1]
a, plain = h5py.File(f"{folder}/a.h5"), h5py.File(f"{folder}/plain.h5")
given = np.load(f"{folder}/a_decode.npz")
assert (a["/routing/expert"][:] == given["ids"]).all() and a["/routing/expert"].dtype == "<u2"
assert (a["/routing/score"][:] == given["probs"]).all() and a["/routing/score"].dtype == "<f2"
assert dict(a.attrs)["model"] == b"gpt-oss-20b" and a.attrs["sorted"] == 1 and a.attrs["experts"] == 32
assert list(a["/request/prompt_tokens"]) == [100, 7] and list(a["/request/output_tokens"]) == [12, 30]
assert list(a["/group_name"]) == [b"a", b"b"] and list(a["/request/group"]) == [1, 0]
assert list(a["/token/position"][9:13]) == [109, 110, 7, 8] and (a["/token/phase"][:] == 1).all()
assert list(a["/request/first_row"]) == [0, 11] and list(a["/request/rows"]) == [11, 29]
assert plain.attrs["score_kind"] == b"none" and "/routing/score" not in plain
deep = h5py.File(f"{folder}/deep.h5")
given = np.load(f"{folder}/deep.npz")
assert (deep["/routing/expert"][:] == given["ids"].transpose(1, 0, 2)).all()
assert (deep["/routing/score"][:] == given["w"].transpose(1, 0, 2)).all()
assert list(deep["/moe_layer"]) == list(range(1, 27)) and deep.attrs["sorted"] == 0
assert (deep["/token/phase"][:] == 0).all() and deep.attrs["model"] == b"deepseek-v2-lite"
run = h5py.File(f"{folder}/run.h5")
assert list(run["/moe_layer"]) == [1, 2] and list(run["/expert_bytes"]) == [30, 40]
assert run.attrs["top_k"] == 2 and run.attrs["model"] == b"qwen3-30b-a3b"
assert run["/routing/expert"][:].tolist() == [[[5, 9], [65535, 65535]], [[5, 6], [100, 3]],
                                              [[5, 8], [100, 127]]]
assert run["/routing/resident"][:].tolist() == [[[0, 0], [255, 255]], [[0, 0], [0, 0]],
                                                [[1, 0], [1, 0]]]
assert list(run["/token/phase"]) == [0, 0, 1] and list(run["/request/prompt_tokens"]) == [2]
assert list(run["/request/output_tokens"]) == [1] and run["/routing/score"][2, 0, 0] == 0.75
END
report $? import_keeps_every_value

refuses import_missing_file "cannot be opened" npz "$folder/nowhere.npz"
refuses import_not_an_archive "not an npz archive" npz "$folder/run.csv"
refuses import_truncated "npz" npz "$folder/cut.npz"
refuses import_expert_out_of_range "row 17, layer 3: expert 32" npz "$folder/big.npz"
refuses import_expert_twice "row 9, layer 2: an expert occurs twice" npz "$folder/twice.npz"
refuses import_nan "row 5, layer 1: score nan" npz "$folder/nan.npz"
refuses import_bad_rows "off must ascend" npz "$folder/off.npz"
refuses import_bad_shape "probs must be floats" npz "$folder/shape.npz"
refuses import_flat_ids "three-dimensional" npz "$folder/flat.npz"
refuses import_unknown_model "name it with --model" npz "$folder/odd.npz"
refuses import_other_model "deepseek-v2-lite has 26" npz "$folder/plain.npz" --model deepseek-v2-lite
refuses import_lacks_requests "off (rows first)" npz "$folder/lost.npz"
refuses import_bad_number "line 9: layer is .x., not a whole number" route_trace "$folder/words.csv"
refuses import_bad_expert "expert 128" route_trace "$folder/expert.csv"
refuses import_bad_layer "layer 0" route_trace "$folder/layer.csv"
refuses import_line_twice "occurs twice" route_trace "$folder/again.csv"
refuses import_no_head "line 1" route_trace "$folder/headless.csv"
import npz 2>/dev/null
[ $? -eq 2 ]
report $? import_misuse

"$moesim" trace info "$folder/nowhere.h5" >/dev/null 2>&1
if [ $? -ne 1 ]; then
    echo "skip import_read_back: needs the command moesim trace info"
    exit $failed
fi
bad=0
for name in a plain deep run; do
    "$moesim" trace info "$folder/$name.h5" >/dev/null || bad=1
done
report $bad import_read_back

if [ -z "${MOESIM_DATA:-}" ]; then
    echo "skip import_real: needs MOESIM_DATA"
    exit $failed
fi
routing=$MOESIM_DATA/routing
import npz "$routing/gptoss20b_decode.npz" -o "$folder/gptoss.h5" &&
    import npz "$routing/dsv2lite_law.npz" -o "$folder/law.h5" &&
    import npz "$routing/dsv2lite_intent.npz" -o "$folder/intent.h5" &&
    import route_trace "$routing/qwen3-30b-a3b_route_trace_v1.csv" -o "$folder/qwen.h5" &&
    "$moesim" trace info --json "$folder/gptoss.h5" >"$folder/info.json"
report $? import_real
# The figures published with the recording; its unions are of a sample, so within 3 %.
"$python" - "$folder/info.json" <<'END'
import json
import sys
with open(sys.argv[1], encoding="utf-8") as stream:
    info = json.load(stream)

def find(node, name):
    if isinstance(node, dict):
        if name in node:
            return node[name]
        node = list(node.values())
    for item in node if isinstance(node, list) else []:
        found = find(item, name)
        if found is not None:
            return found
    return None

def near(name, want, tolerance):
    value = find(info, name)
    assert value is not None and abs(value - want) <= tolerance, (name, value, want)

near("top1_share", .082, .0005)
near("entropy_bits", 4.60, .005)
near("gini", .40, .005)
near("adjacent_overlap", .437, .0005)
near("independent_overlap", .190, .0005)
union = find(info, "union_size")
union = list(union.values()) if isinstance(union, dict) else union
for i, want in ((0, 4.0), (2, 11.3), (3, 17.4), (4, 22.1), (5, 25.7)):
    assert abs(union[i] / want - 1) < .03, (i, union[i], want)
END
report $? import_real_figures
exit $failed
