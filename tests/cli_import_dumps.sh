#!/bin/sh
# `moesim trace import` of what tools dump: router logits, llama.cpp's moe-trace, JSON lines,
# RouterTrace, MoE-Infinity's matrices, FLAME-MoE's parquet, and what `trace export` writes.
# Files are made here by the rule of each writer, and every value is compared. How an import
# ends in general: cli_import.sh, cli_import_filled.sh.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh

if ! "$python" -c 'import numpy, h5py' 2>/dev/null; then
    echo "skip dumps: needs python3 with numpy and h5py"
    exit 0
fi
mkdir "$folder/out" "$folder/flame" "$folder/strata"
cp traces/samples/gpt-oss-20b-like.h5 "$folder/sample.h5"
"$moesim" trace slice "$folder/sample.h5" -o "$folder/few.h5" --requests 0:3 >"$folder/said" &&
    "$moesim" trace slice "$folder/sample.h5" -o "$folder/single.h5" --rows 50:90 >"$folder/said" &&
    "$moesim" trace export "$folder/few.h5" -o "$folder/few.csv" >"$folder/said" &&
    for name in few single; do
        "$moesim" trace export "$folder/$name.h5" --to oracleGeneral -o "$folder/$name.bin" \
            >"$folder/said" || exit 1
    done
report $? dumps_exported

PYTHONDONTWRITEBYTECODE=1 "$python" - "$folder" <<'END'
import json
import os
import random
import sys
import h5py
import numpy as np

folder = sys.argv[1]
sys.path[:0] = ["traces/python", "tests"]
from import_lab import Lab  # noqa: E402
from moesim import cells, formats, table  # noqa: E402
from moesim.formats import moe_infinity, moe_trace, router_logits  # noqa: E402
lab = Lab(folder, "dumps_")
out, report, run, takes, refuses = lab.out, lab.report, lab.run, lab.takes, lab.refuses
rng, shuffle = np.random.default_rng(29), random.Random(29)
NONE = 65535


def write(name, lines):
    with open(f"{folder}/{name}", "w", encoding="utf-8") as stream:
        stream.write("\n".join(lines) + "\n")


def rankings(rows, layers, experts):
    return np.argsort(rng.random((rows, layers, experts)), axis=2)


def equal(trace, name, values):
    return np.array_equal(trace[name][:], values)


def half(values):
    return np.asarray(values).astype(np.float16)


# ---- router_logits: GPT-OSS-20B's shape, 24 layers, 4 of 32 ----
T, L, E, K = 10, 24, 32, 4
logits = rng.standard_normal((L, T, E)).astype(np.float32)
best = np.argsort(-logits, axis=2).transpose(1, 0, 2)  # (row, layer, candidate)
score = half(np.take_along_axis(logits.transpose(1, 0, 2), best, axis=2))
layers = {f"layer_{i}": logits[i] for i in range(L)}
mask = np.array([[1, 1, 1, 0, 0], [0, 1, 1, 1, 1]])
keep = np.flatnonzero(mask.reshape(-1))
tokens = np.arange(100, 110).reshape(2, 5)
np.savez(f"{folder}/logits.npz", **layers)
np.savez(f"{folder}/tuple.npz", *logits)
np.save(f"{folder}/stack.npy", logits)
np.savez(f"{folder}/stack.npz", router_logits=logits, seq_len=np.array([3, 7]))
np.savez_compressed(f"{folder}/masked.npz", **layers, attention_mask=mask, input_ids=tokens)
tied = logits.copy()
tied[3, 5] = np.where(np.arange(E) < 6, 1, 0)  # 6 equal ones where 4 are chosen
np.save(f"{folder}/tied.npy", tied)
np.save(f"{folder}/infinite.npy", np.where(logits > 2.5, -np.inf, logits))
np.savez(f"{folder}/uneven.npz", **(layers | {"layer_3": logits[3, :9]}))
np.savez(f"{folder}/lengths.npz", router_logits=logits, seq_len=np.array([3, 6]))
np.savez(f"{folder}/words.npz", gate=logits, up=logits)
np.save(f"{folder}/v3.npy", rng.standard_normal((58, 3, 256)).astype(np.float32))
np.save(f"{folder}/odd.npy", rng.standard_normal((5, 3, 8)).astype(np.float32))


def all_logits(trace, rows=slice(None)):
    return equal(trace, "/routing/expert", best[rows]) and equal(
        trace, "/routing/score", score[rows]) and (trace["/token/phase"][:] == 0).all() and \
        trace.attrs["model"] == b"gpt-oss-20b" and trace.attrs["score_kind"] == b"logit" and \
        (trace.attrs["top_k"], trace.attrs["candidates"], trace.attrs["sorted"]) == (K, E, 1)


for file in ("logits.npz", "tuple.npz", "stack.npy"):
    takes(f"logits_{file}", "10 tokens are taken as one", file, holds=lambda t:
          all_logits(t) and list(t["/request/prompt_tokens"]) == [T])
takes("logits_sequences", "", "stack.npz", holds=lambda t: all_logits(t)
      and list(t["/request/rows"]) == [3, 7]
      and list(t["/token/position"]) == [*range(3), *range(7)])
takes("logits_masked", "", "masked.npz", holds=lambda t: all_logits(t, keep)
      and list(t["/request/rows"]) == [3, 4] and equal(t, "/token/token_id", tokens.flat[keep]))
router_logits.BLOCK_VALUES = 3 * L * E
takes("logits_in_blocks", "", "masked.npz", holds=lambda t: all_logits(t, keep)
      and equal(t, "/token/token_id", tokens.flat[keep]))
takes("logits_tied", "in 1 cells the logits .* are equal", "tied.npy", holds=lambda t:
      list(t["/routing/expert"][5, 3, :K]) == [0, 1, 2, 3])
refuses("logits_infinite", "score -inf is not one of a logit", "infinite.npy")
refuses("logits_uneven", r"layer_3 has shape \(9, 32\)", "uneven.npz")
refuses("logits_lengths", "seq_len sums to 9, but the logits are of 10 tokens", "lengths.npz")
refuses("logits_words", "holds gate, up; router logits are one array", "words.npz", "--from",
        "router_logits")
refuses("logits_biased", "deepseek-v3 chooses its experts with a correction bias", "v3.npy")
refuses("logits_no_top_k", "say so with --top-k", "odd.npy", "--model", "mine", "--experts", "8")
refuses("logits_other_top_k", "gpt-oss-20b executes 4 experts, not 5", "stack.npz", "--model",
        "gpt-oss-20b", "--top-k", "5")
takes("logits_own", "3 tokens are taken as one", "odd.npy", "--model", "mine", "--experts", "8",
      "--top-k", "3", holds=lambda t: (t.attrs["top_k"], t.attrs["candidates"]) == (3, 8))

# ---- moe_trace: a prompt of 5, of which the last layer computes the last token alone; then 3 ----
ranks = rankings(8, L, E)
chosen = ranks[:, :, :K]
expected = chosen.copy()
expected[:4, L - 1] = NONE


def by_layers(strided, order=range(L), head=("layer,expert",)):
    """As the tool writes; where it disregards the stride of rows, ranks of the first token."""
    lines = list(head)
    for rows in (range(5), [5], [6], [7]):
        for layer in order:
            part = rows[-1:] if layer == L - 1 else rows
            values = chosen[list(part), layer].reshape(-1)
            if not strided:
                values = ranks[list(part), layer].reshape(-1)[:len(values)]
            lines += [f"{layer},{expert}" for expert in values]
    return lines


def prompt_of_5(trace, ids=expected):
    return equal(trace, "/routing/expert", ids) and all(
        list(trace[name]) == values for name, values in (
            ("/token/phase", [0] * 5 + [1] * 3), ("/token/position", list(range(8))),
            ("/request/prompt_tokens", [5]), ("/request/output_tokens", [3])))


write("moe.csv", by_layers(True))
write("headless.csv", by_layers(True, head=()))
write("ranks.csv", by_layers(False))
write("twice.csv", by_layers(True) + by_layers(True)[1:])
write("sorted.csv", ["layer,expert"] + sorted(
    by_layers(True)[1:], key=lambda line: [int(word) for word in line.split(",")]))
write("cut.csv", by_layers(True)[:-1])
write("blank.csv", by_layers(True)[:9] + [""] + by_layers(True)[9:])
full = [f"{('prefill', 'decode')[row > 4]},{row},{layer},{rank},{expected[row, layer, rank]}"
        for row in range(8) for layer in range(L) for rank in range(K)
        if expected[row, layer, rank] != NONE]
shuffle.shuffle(full)
write("full.csv", ["phase,token,layer,rank,expert"] + full)
write("again.csv", ["phase,token,layer,rank,expert"] + full + full[:1])
takes("moe_trace", "", "moe.csv", holds=prompt_of_5)
takes("moe_trace_headless", "", "headless.csv", "--from", "moe_trace", holds=prompt_of_5)
alone = expected.copy()
alone[1:4] = NONE
alone[4, :L - 1] = NONE
takes("moe_trace_ranks", "passes 0 have several tokens and in no layer an expert twice",
      "ranks.csv", holds=lambda t: prompt_of_5(t, alone))
takes("moe_trace_two_files", "", "twice.csv", holds=lambda t:
      equal(t, "/routing/expert", np.concatenate([expected] * 2))
      and list(t["/request/rows"]) == [8, 8] and list(t["/request/prompt_tokens"]) == [5, 5])
moe_trace.BLOCK_VALUES = 500
takes("moe_trace_in_blocks", "", "twice.csv", holds=lambda t:
      equal(t, "/routing/expert", np.concatenate([expected] * 2)))
takes("moe_trace_any_order", "", "full.csv", holds=prompt_of_5)
count = np.zeros((1, L, E), dtype=int)
for row in expected:
    for layer in range(L):
        count[0, layer, row[layer][row[layer] != NONE]] += 1
takes("moe_trace_counts", "the order of lines tells no rows; it becomes counts of 1 passes",
      "sorted.csv", "--model", "gpt-oss-20b", holds=lambda t: equal(t, "/load/count", count))
refuses("moe_trace_sorted", "an expert occurs twice in the .* lines of one token.*--top-k",
        "sorted.csv")
refuses("moe_trace_cut", "a run of 3 lines of layer 23 is no multiple", "cut.csv", "--top-k", "4")
refuses("moe_trace_blank", "line 10: is empty or a remark", "blank.csv")
refuses("moe_trace_again", "line .*: its token, layer and rank occurs twice; import sequences",
        "again.csv")
refuses("moe_trace_no_folder", "nowhere: a temporary file cannot be written: No such file .*; is "
        "there room", "twice.csv", "-o", f"{folder}/nowhere/x.h5")
refuses("moe_trace_other_k", "up to 4 experts by rank, not 5", "full.csv", "--top-k", "5")

# ---- lattice ----
weights = half(-np.sort(-rng.random((8, L, K)), axis=2))
objects = [json.dumps({"token": row, "layer": layer, "experts": chosen[row, layer].tolist(),
                       "weights": weights[row, layer].astype(float).tolist()})
           for layer in range(L) for row in range(8)]
phased = [{"token": row, "layer": layer, "experts": chosen[row, layer].tolist(), "domain": "maths",
           "phase": "prefill" if row < 5 else "decode", "schema_version": "2.0", "batch_size": 1}
          for row in range(8) for layer in range(L)]
phased[3]["experts"][2:] = [-1, -1]
fewer = chosen.copy()
fewer[0, 3, 2:] = NONE
write("lattice.jsonl", objects)
write("phased.jsonl", map(json.dumps, phased))
write("uneven.jsonl", objects[:3] + [json.dumps(phased[4])])
early = phased[75] | {"phase": "decode"}  # of token 3
write("early.jsonl", map(json.dumps, phased[:30] + [early] + phased[99:]))
for name, old, new in (("word", '"layer": 2', '"layer": "2"'),
                       ("share", '"weights": [', '"weights": [2'),
                       ("true", '"token": 3', '"token": true'),
                       ("minus", '"experts": [', '"experts": [-2, ')):
    write(f"{name}.jsonl", [line.replace(old, new, 1) if i == 19 else line  # token 3 of layer 2
                            for i, line in enumerate(objects)])
write("same.jsonl", objects + objects[:1])
write("cut.jsonl", [*objects[:7], objects[7][:40]])
takes("lattice", "no line has a phase, so every row is taken as decode", "lattice.jsonl",
      holds=lambda t: equal(t, "/routing/expert", chosen) and equal(t, "/routing/score", weights)
      and (t["/token/phase"][:] == 1).all() and list(t["/token/position"]) == list(range(8)))
takes("lattice_phases", "batch_size of its lines is not kept", "phased.jsonl", holds=lambda t:
      equal(t, "/routing/expert", fewer) and list(t["/token/phase"]) == [0] * 5 + [1] * 3
      and list(t["/request/prompt_tokens"]) == [5] and list(t["/group_name"]) == [b"maths"]
      and t.attrs["score_kind"] == b"none")
refuses("lattice_uneven", "line 4: has no weights, unlike those before", "uneven.jsonl")
refuses("lattice_word", "line 20: layer is '2', not a whole number", "word.jsonl")
refuses("lattice_true", "line 20: token is True", "true.jsonl")
refuses("lattice_minus", r"line 20: experts is \[-2, ", "minus.jsonl")
refuses("lattice_share", "line 20: weights is ", "share.jsonl")
refuses("lattice_early", "token 3 is decode, but token 4 is prefill", "early.jsonl")
refuses("lattice_same", "line 193: its token, layer and place among the experts occurs twice",
        "same.jsonl")
refuses("lattice_cut", "line 8: is no JSON object", "cut.jsonl")

# ---- router_trace ----
strata = {"version": 2, "source": {"kind": "captured", "model": {"id": "openai/gpt-oss-20b"}},
          "scenario": "domain-shift", "seed": 9, "tokens": 8, "layers": L, "expertsPerLayer": E,
          "topK": K, "selections": chosen.tolist()}


def document(name, **changes):
    with open(f"{folder}/{name}", "w", encoding="utf-8") as stream:
        json.dump(strata | changes, stream, indent=2, sort_keys=True)


document("router.json")
document("strata/router.json")
document("drawn.json", source={"kind": "synthetic", "generator": "x"})
document("encoder.json", source={"kind": "captured", "model": {"id": "google/switch-base-8"}},
         layers=6, expertsPerLayer=8, topK=1, selections=(chosen[:, :6, :1] % 8).tolist())
document("third.json", version=3)
document("short.json", tokens=9)
document("range.json", expertsPerLayer=31)
with open(f"{folder}/strata/capture-metadata.json", "w", encoding="utf-8") as stream:
    json.dump({"trace_file": "router.json", "sparse_encoder_block_indices": list(range(L)),
               "prompt_spans": [{"token_start": 0, "token_end_exclusive": 3},
                                {"token_start": 3, "token_end_exclusive": 8}]}, stream)
takes("router_trace", "its 8 tokens are taken as one, and as decode", "router.json", holds=lambda t:
      equal(t, "/routing/expert", chosen) and t.attrs["model"] == b"gpt-oss-20b"
      and (t["/token/phase"][:] == 1).all())
takes("router_trace_sidecar", "", "strata/router.json", holds=lambda t:
      equal(t, "/routing/expert", chosen) and list(t["/request/rows"]) == [3, 5]
      and (t["/token/phase"][:] == 0).all())
takes("router_trace_drawn", "a generator made this routing, and no model", "drawn.json",
      holds=lambda t: equal(t, "/routing/expert", chosen) and t.attrs["model"] == b"synthetic")
takes("router_trace_encoder", "the model is called switch-base-8-part", "encoder.json",
      holds=lambda t: equal(t, "/routing/expert", chosen[:, :6, :1] % 8))
refuses("router_trace_version", "version is 3; only 1 and 2", "third.json")
refuses("router_trace_short", "selections must be a list of 9 tokens", "short.json")
refuses("router_trace_range", r"selections\[\d\]\[\d+\] must be 4 whole numbers below "
        "expertsPerLayer, 31", "range.json")

# ---- moe_infinity ----
matrices = np.zeros((6, L, E), dtype=np.float32)
matrices[[0, 1, 4]] = rng.integers(0, 9, (3, L, E))
np.save(f"{folder}/eam.npy", matrices)
np.save(f"{folder}/one.npy", matrices[4])
np.save(f"{folder}/parts.npy", matrices / 2)
np.save(f"{folder}/empty.npy", matrices * 0)
moe_infinity.BLOCK_VALUES = 2 * L * E
takes("moe_infinity", r"3 of 6 matrices \(2 to 3, 5\) are zero", "eam.npy", holds=lambda t:
      equal(t, "/load/count", matrices[[0, 1, 4]]) and t.attrs["model"] == b"gpt-oss-20b")
takes("moe_infinity_one", "", "one.npy", "--from", "moe_infinity", holds=lambda t:
      equal(t, "/load/count", matrices[[4]]))
refuses("moe_infinity_parts", "the count of expert .* is .*.5, not a whole number", "parts.npy",
        "--from", "moe_infinity")
refuses("moe_infinity_empty", "counts nothing", "empty.npy", "--from", "moe_infinity")

# ---- csv and oracleGeneral: exported by the program ----
KEPT = ("/moe_layer", "/routing/expert", "/token/request", "/token/position", "/token/phase",
        "/request/rows", "/request/first_row", "/request/prompt_tokens", "/request/output_tokens")
with h5py.File(f"{folder}/few.h5") as trace:
    few = {name: trace[name][:] for name in KEPT}
with h5py.File(f"{folder}/single.h5") as trace:
    single = trace["/routing/expert"][:]
takes("csv", "", "few.csv", holds=lambda t: all(equal(t, name, few[name]) for name in KEPT)
      and t.attrs["model"] == b"gpt-oss-20b")
with open(f"{folder}/few.csv", encoding="utf-8") as stream:
    lines = stream.read().splitlines()
write("scores.csv", [lines[0]] + [f"{line}{0.9 - 0.1 * int(line.split(',')[5]):.2f}"
                                  for line in lines[1:]])
takes("csv_scores", "scores lie between 0 and 0.9, so they are taken as softmax", "scores.csv",
      holds=lambda t: all(equal(t, name, few[name]) for name in KEPT)
      and (t["/routing/score"][:] == half([0.9, 0.8, 0.7, 0.6])).all())
write("bare.csv", ["row,layer,expert"] + [",".join(np.array(line.split(","))[[0, 4, 6]])
                                          for line in lines[1:1 + 20 * L * K]])
takes("csv_bare", "", "bare.csv", "--from", "csv", holds=lambda t:
      equal(t, "/routing/expert", few["/routing/expert"][:20]))
write("same.csv", [lines[0]] + [f"{row},0,{row},decode,{layer},{k},{k}," for row in range(5)
                              for layer in range(L) for k in range(K)])
takes("csv_same", "", "same.csv", "--model", "gpt-oss-20b", holds=lambda t:
      equal(t, "/routing/expert", np.zeros((5, L, 1)) + np.arange(K)))  # nothing is filled in
write("phase.csv", [lines[0], lines[1].replace("prefill", "dream")])
write("back.csv", [lines[0], lines[1], lines[1].replace("0,0,0,", "1,0,0,", 1)])
write("far.csv", ["row,layer,expert", "0,0,0", "4294967296,0,0"])
refuses("csv_far_row", "line 3: row is '4294967296', not a whole number", "far.csv", "--from", "csv")
refuses("csv_phase", "line 2: phase is 'dream', not prefill or decode", "phase.csv")
refuses("csv_back", "row 1 has position 0, which does not follow", "back.csv")
takes("oracle", "its 40 passes are taken as decode rows", "single.bin", "--model", "gpt-oss-20b",
      holds=lambda t: equal(t, "/routing/expert", np.sort(single, axis=2)))
prompts = few["/token/phase"] == 0
begins = np.flatnonzero(np.diff(np.concatenate([[False], prompts]).astype(int)) == 1)
new_pass = ~prompts
new_pass[begins] = True
number = np.cumsum(new_pass) - 1  # of the pass of each row, one request at a time
sets = np.zeros((number[-1] + 1, L, E), dtype=int)
sets[number[:, None, None], np.arange(L)[None, :, None], few["/routing/expert"]] = 1
takes("oracle_counts", "it becomes counts by pass, 1 for each expert", "few.bin", "--model",
      "gpt-oss-20b", holds=lambda t: equal(t, "/load/count", sets))
with open(f"{folder}/single.bin", "rb") as stream:
    data = stream.read()
open(f"{folder}/cut.bin", "wb").write(data[:24 * 500])
open(f"{folder}/part.bin", "wb").write(data[:1000])
open(f"{folder}/swapped.bin", "wb").write(data[:240] + data[264:288] + data[240:264] + data[288:])
records = np.frombuffer(data, dtype=[("clock", "<u4"), ("object", "<u8"), ("size", "<u4"),
                                     ("next", "<i8")]).copy()
records["next"] = -1
records.tofile(f"{folder}/blind.bin")
takes("oracle_blind", "no record tells of a next access", "blind.bin", "--model", "gpt-oss-20b",
      holds=lambda t: equal(t, "/routing/expert", np.sort(single, axis=2)))
refuses("oracle_unnamed", "name the model that they are of with --model", "single.bin")
refuses("oracle_cut", "ends before record", "cut.bin", "--from", "oracleGeneral", "--model",
        "gpt-oss-20b")
refuses("oracle_part", "1000 bytes, which are no whole records", "part.bin", "--from",
        "oracleGeneral", "--model", "gpt-oss-20b")
refuses("oracle_swapped", "record 11: ", "swapped.bin", "--from", "oracleGeneral", "--model",
        "gpt-oss-20b")
refuses("oracle_other_model", "is not below", "single.bin", "--model", "mixtral-8x7b")

# ---- route_trace: rows in windows of bounded memory, lines in any order ----
head = ["# route_trace v1", "# model=gpt-oss-20b.gguf n_layer=24 n_expert=32 n_expert_used=4",
        *(f"# layer={i} expert_bytes=13219200 dense_bytes=9" for i in range(L)),
        "turn,phase,step,layer,slot,expert,weight,residency,expert_bytes,dropped"]
body = [f"{turn},{int(row > 4)},{row},{layer},{k},{chosen[row, layer, k]},"
        f"{float(weights[row, layer, k])},{(row + k) % 3},0,{int(k == 3 and layer == turn)}"
        for turn in range(2) for layer in range(L) for row in range(8) for k in range(K)]
write("route.csv", head + body)
routed = np.concatenate([chosen] * 2)
routed[:8, 0, 3] = routed[8:, 1, 3] = NONE
resident = np.minimum((np.arange(8)[:, None, None] + np.arange(K) + np.zeros((8, L, K))) % 3, 1)
resident = np.concatenate([resident] * 2)
resident[routed == NONE] = 255


def all_routed(trace):
    scores = np.where(routed == NONE, 0, np.concatenate([weights] * 2))
    return equal(trace, "/routing/expert", routed) and equal(trace, "/routing/score", scores) \
        and equal(trace, "/routing/resident", resident)


takes("route_trace", "", "route.csv", holds=all_routed)
shuffle.shuffle(body)
write("mixed.csv", head + body[:700] + ["# a remark", ""] + body[700:])
table.BLOCK_BYTES, cells.WINDOW_BYTES, cells.WINDOWS_MOST = 3000, 2 * L * K * 5, 2
takes("route_trace_in_windows", "", "mixed.csv", holds=all_routed)
write("worse.csv", head + body + [body[5]])
refuses("route_trace_twice", f"line {len(head) + len(body) + 1}: its turn, step, layer and slot "
        "occurs twice", "worse.csv")
write("x.csv", head + body[:800] + ["0,0,0,x,0,5,0.5,0,0,0"] + body[800:])
refuses("route_trace_late", f"line {len(head) + 801}: layer is 'x', not a whole number", "x.csv")

# ---- parquet ----
try:
    import pyarrow
    import pyarrow.parquet
except ImportError:
    pyarrow = None
    print("skip dumps_parquet: needs pyarrow")
    open(f"{folder}/flame/layer_02.parquet", "wb").write(b"PAR1" + bytes(99))
    refuses("parquet_absent", r"needs pyarrow, the extra `parquet`.*PYTHON",
            "flame/layer_02.parquet", status=77)
if pyarrow:
    for layer in range(3):
        columns = {"scores": pyarrow.array(list(weights[:, layer]),
                                           pyarrow.list_(pyarrow.float16())),
                   "indices": pyarrow.array(list(chosen[:, layer].astype("i2")))}
        for where, number in (("flame", layer + 2), ("zero", layer)):
            os.makedirs(f"{folder}/{where}", exist_ok=True)
            pyarrow.parquet.write_table(pyarrow.table(columns), row_group_size=3,
                                        where=f"{folder}/{where}/layer_{number:02}.parquet")
    for i, part in enumerate((slice(0, 5), slice(5, 8))):
        pyarrow.parquet.write_table(pyarrow.table({"token_id": tokens.flat[part].astype("i4")}),
                                    f"{folder}/flame/{i:03}.parquet")
    files = [f"flame/layer_{number:02}.parquet" for number in (2, 3, 4)]
    ids = ["flame/000.parquet", "flame/001.parquet"]
    own = ("--model", "flame-moe", "--experts", str(E))

    def all_flame(trace, first=1):
        return equal(trace, "/routing/expert", chosen[:, :3]) and \
            equal(trace, "/routing/score", weights[:, :3]) and \
            list(trace["/moe_layer"]) == [first, first + 1, first + 2]

    takes("parquet", "layer 2 is decoder layer 1.*8 tokens are taken as one of prefill",
          files + ids, *own, holds=lambda t: all_flame(t)
          and equal(t, "/token/token_id", tokens.flat[:8]))
    takes("parquet_zero", "taken as one of prefill",
          [f"zero/layer_{i:02}.parquet" for i in range(3)], *own, holds=lambda t: all_flame(t, 0))
    refuses("parquet_tokens", "files of token_id have 5 rows in all, but .* 8", files + ids[:1],
            *own)
    refuses("parquet_alone", "no FILE has indices", ids, *own)
    cut = open(f"{folder}/{files[0]}", "rb").read()[:400]
    open(f"{folder}/flame/layer_09.parquet", "wb").write(cut)
    refuses("parquet_cut", "cannot be read as parquet", files + ["flame/layer_09.parquet"], *own)

# ---- which format a file is ----
samples = {"router_logits": ["logits.npz", "tuple.npz", "stack.npy", "stack.npz", "masked.npz"],
           "moe_trace": ["moe.csv", "full.csv"], "lattice": ["lattice.jsonl", "phased.jsonl"],
           "router_trace": ["router.json", "drawn.json"], "moe_infinity": ["eam.npy"],
           "csv": ["few.csv", "scores.csv"],
           "oracleGeneral": ["few.bin", "single.bin", "blind.bin"], "route_trace": ["route.csv"],
           "parquet": ["flame/layer_02.parquet"]}
np.savez(f"{folder}/ids.npz", ids=chosen, off=np.array([0, 8]))
samples["npz"] = ["ids.npz"]
for name, files in samples.items():
    for file in files:
        with open(f"{folder}/{file}", "rb") as stream:
            start = stream.read(formats.HEAD_BYTES)
        found = [module.FORMAT.name for module in formats.modules()
                 if hasattr(module, "recognise") and module.recognise(f"{folder}/{file}", start)]
        report(found == [name], f"recognised_{file}", found)
for data in (b"", b"\n", b"{", b"PK", b"\x93NUMPY", bytes(24), b"a,b\n", b"0,1\n", b"{}\n"):
    open(f"{folder}/nothing", "wb").write(data)
    found = [module.FORMAT.name for module in formats.modules()
             if hasattr(module, "recognise") and module.recognise(f"{folder}/nothing", data)]
    report(not found, f"not_recognised_{data[:6]!r}", found)
sys.exit(lab.failed)
