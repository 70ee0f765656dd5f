#!/bin/sh
# `moesim trace import` of what serving and training engines write: vLLM, SGLang,
# TensorRT-LLM, Megatron-Core. Files of torch.save and safetensors are kept in formats/, made by
# those libraries; the others are made here by the rule of their writers.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh

if ! "$python" -c 'import numpy, h5py' 2>/dev/null; then
    echo "skip engines: needs python3 with numpy and h5py"
    exit 0
fi
mkdir "$folder/out"

"$python" -B - "$folder" <<'END'
import base64
import io
import json
import os
import pickle
import sys
import zipfile
import h5py
import numpy as np

folder = sys.argv[1]
sys.path[:0] = ["traces/python", "tests", "tests/formats"]
from import_lab import Lab  # noqa: E402
lab = Lab(folder)
out, report, run, takes, refuses = lab.out, lab.report, lab.run, lab.takes, lab.refuses
rng = np.random.default_rng(14)


def routing(rows, layers=48, k=8, experts=128):
    return np.argsort(rng.random((rows, layers, experts)), axis=2)[:, :, :k].astype(np.uint8)


def write(name, data):
    with open(f"{folder}/{name}", "wb") as stream:
        stream.write(data if isinstance(data, bytes) else data.encode())


def lines(name, *objects):
    write(name, "".join(json.dumps(one) + "\n" for one in objects))


def columns(trace):
    return [trace[f"/request/{name}"][:].tolist()
            for name in ("prompt_tokens", "output_tokens", "rows")]


# ---- vLLM ----
first, second = routing(12), routing(9)
both = np.concatenate([first, second])
np.save(f"{folder}/a.npy", first.astype(np.int32))
np.save(f"{folder}/b.npy", second)
np.savez(f"{folder}/two.npz", req0=first, req1=second)
np.savez(f"{folder}/three.npz", req0=first, none=first[:0], req1=second)
write("three_requests.csv", "category,prompt_len,gen_len,first_pos\nx,8,5,0\ny,30,10,30\n")
NOTE = "every row is taken as decode; give prompt lengths with --requests CSV"


def same_ids(trace):
    return (trace["/routing/expert"][:] == both).all()


takes("vllm_npy", NOTE, "a.npy b.npy", holds=lambda t: same_ids(t)
      and columns(t) == [[0, 0], [12, 9], [12, 9]] and t.attrs["model"] == b"qwen3-30b-a3b")
takes("vllm_npz", NOTE, "two.npz", holds=lambda t: same_ids(t)
      and list(t["/token/position"]) == [*range(12), *range(9)])
takes("vllm_lengths", "none: holds no row, as 1 of the requests", "three.npz",
      holds=lambda t: same_ids(t) and columns(t) == [[8, 30], [5, 10], [12, 9]]
      and list(t["/token/phase"]) == [0] * 8 + [1] * 4 + [1] * 9
      and list(t["/token/position"])[12:] == list(range(30, 39)))
write("wrong.csv", "category,prompt_len,gen_len,first_pos\nx,8,5,0\ny,8,10,0\n")
refuses("vllm_lengths_contradict", "line 3: a prompt of 8 and 10 generated tokens from position 0",
        "two.npz", "--requests", f"{folder}/wrong.csv")
np.save(f"{folder}/other.npy", routing(4, layers=24))
refuses("vllm_two_models", "has 24 layers and 8 experts per token, .* has 48 and 8",
        "a.npy other.npy")
write("cut.npy", open(f"{folder}/a.npy", "rb").read()[:-9])
refuses("vllm_cut", "ends too early: .* truncated", "cut.npy", "--from", "vllm")
half = routing(10)
half[6:] = np.arange(8)
np.save(f"{folder}/half.npy", half)
takes("vllm_filled", r"4 of 10 rows were not captured \(rows 6 to 9\)", "half.npy", holds=lambda t:
      (t["/routing/expert"][6:] == 65535).all())
dense = routing(10, 27, 6, 64)
dense[:, 0] = 0
np.save(f"{folder}/dense.npy", dense)
takes("vllm_dense", NOTE, "dense.npy", holds=lambda t:
      t.attrs["model"] == b"deepseek-v2-lite" and list(t["/moe_layer"]) == list(range(1, 27)))


def npy(array):
    saved = io.BytesIO()
    np.save(saved, array)
    return base64.b64encode(saved.getvalue()).decode()


def response(experts, prompt, output, **more):
    return {"id": "x", "model": "Qwen/Qwen3-30B-A3B", "choices": [
        {"index": 0, "routed_experts": experts}], "usage": {
            "prompt_tokens": prompt, "completion_tokens": output}, **more}


good = response(npy(first), 8, 5)
lines("good.jsonl", good, response(npy(second), 30, 10))
takes("vllm_responses", "", "good.jsonl", holds=lambda t: same_ids(t)
      and columns(t) == [[8, 30], [5, 10], [12, 9]]
      and list(t["/token/position"])[12:] == list(range(30, 39)))
write("one.json", json.dumps([good, response(second.tolist(), 30, 10)], indent=1))
takes("vllm_document", "", "one.json", holds=same_ids)
lines("apart.jsonl", {**response(second.tolist(), 12, 10), "prompt_routed_experts": first.tolist()})
takes("vllm_prompt_apart", "", "apart.jsonl", holds=lambda t: same_ids(t)
      and columns(t) == [[12], [10], [21]])
raw = {"data": base64.b64encode(second.tobytes()).decode(), "shape": [9, 48, 8], "dtype": "uint8"}
lines("start.jsonl", response({**raw, "start": 4}, 6, 8))
takes("vllm_start", "", "start.jsonl", holds=lambda t:
      list(t["/token/position"]) == list(range(4, 13)) and columns(t) == [[6], [8], [9]])
lines("none.jsonl", good, response(None, 3, 4))
takes("vllm_aborted", "1 choices have no routed_experts", "none.jsonl", holds=lambda t:
      columns(t) == [[8], [5], [12]])
lines("long.jsonl", good, response(npy(second), 8, 5))
refuses("vllm_response_contradicts", "line 2: choice 0: a prompt of 8 and 5 generated tokens make "
        "12 rows, or 4 where .* but there are 9", "long.jsonl")
lines("start2.jsonl", response({**raw, "start": 1}, 6, 8))
refuses("vllm_start_contradicts", "9 rows from position 1 on contradict", "start2.jsonl")
lines("short.jsonl", response({**raw, "shape": [9, 48, 9]}, 6, 4))
refuses("vllm_shape", "has 3456 bytes, but shape .* needs 3888", "short.jsonl")
lines("bytes.jsonl", response(raw["data"], 6, 4))
refuses("vllm_no_header", "is no .npy in base64 and no shape and dtype", "bytes.jsonl")
lines("code.jsonl", response("&&", 6, 4))
refuses("vllm_no_base64", "is no base64", "code.jsonl")
write("broken.jsonl", open(f"{folder}/good.jsonl", "rb").read()[:-30])
refuses("vllm_broken", "line 2: is not JSON .* is the file whole", "broken.jsonl")
lines("off.jsonl", response(None, 3, 4))
refuses("vllm_off", "holds no row of routing; run the server with", "off.jsonl")

# ---- SGLang ----
import make_sglang as made  # noqa: E402, without torch it still has the rule
write("tiny.yaml", "name: tiny\nlayers: 4\nfirst_moe: 1\nhidden: 64\nexpert_ffn: 32\nexperts: 8\n"
      "top_k: 2\nexpert_bits: 16\n")
TINY = ("--model", f"{folder}/tiny.yaml")
TOKENS = [100, 101, 102, 103, 104, 200, 201, 202, 203]
PASSES = [[100, 101, 102, 200, 201], [103, 202], [104, 203]]


def counts(passes, mirror=False):
    found = np.zeros((len(passes), 3, 8), dtype=int)
    for at, tokens in enumerate(passes):
        for layer in (1, 2, 3):
            for token in tokens:
                for slot in (0, 1):
                    one = made.expert(token, layer, slot)
                    found[at, layer - 1, 7 - one if mirror else one] += 1
    return found


takes("sglang_tokens", "", "tests/formats/sglang/per_token.pt", *TINY, holds=lambda t:
      t["/routing/expert"][:].tolist() == [[[made.expert(token, layer, slot) for slot in (0, 1)]
                                            for layer in (1, 2, 3)] for token in TOKENS]
      and columns(t) == [[3, 2], [3, 3], [5, 4]] and list(t["/token/token_id"]) == TOKENS
      and list(t["/token/position"]) == [0, 1, 2, 3, 4, 0, 1, 2, 3]
      and list(t["/pass/first"]) == [0, 5, 7, 9]
      and list(t["/pass/row"]) == [0, 1, 2, 5, 6, 3, 7, 4, 8])
takes("sglang_passes", "placed by a map of copies", "tests/formats/sglang/per_pass.pt", *TINY,
      holds=lambda t: (t["/load/count"][:] == counts(PASSES, True)).all())
takes("sglang_steps", "1 of 4 passes count nothing", "tests/formats/sglang/stat.pt", *TINY,
      holds=lambda t: (t["/load/count"][:] == counts(PASSES)).all())
refuses("sglang_unknown_model", "with --experts N and --top-k K", "tests/formats/sglang/stat.pt")
table = [(layer, expert, (7 * layer + 3 * expert) % 11) for layer in (3, 4, 9)
         for expert in range(250)]
write("counts.csv", "expert_id,rank,count,layer_id\n" + "".join(
    f"{expert},0,{count},{layer}\n" for layer, expert, count in table))
takes("sglang_table", "counts layers 3 to 4, 9 of deepseek-v3", "counts.csv", "--model",
      "deepseek-v3", holds=lambda t: list(t["/moe_layer"]) == [3, 4, 9]
      and t["/load/count"].shape == (1, 3, 256)
      and all(t["/load/count"][0, [3, 4, 9].index(layer), expert] == count
              for layer, expert, count in table))
refuses("sglang_table_ends", "has 3 layers, 250 experts", "counts.csv")
write("counts.csv", open(f"{folder}/counts.csv").read() + "255,0,6,3\n")
takes("sglang_table_whole", "counts layers 3 to 4, 9 of deepseek-v3", "counts.csv", holds=lambda t:
      t["/load/count"][0, 0, 255] == 6 and t["/load/count"][0, 1, 255] == 0)
write("twice.csv", "layer_id,expert_id,count\n3,0,1\n3,0,2\n")
refuses("sglang_twice", "line 3: layer 3 and expert 0 occur twice", "twice.csv")
write("lost.csv", "layer_id,expert,tokens\n3,0,-1\n")
refuses("sglang_negative", "line 2: count is '-1'", "lost.csv", "--from", "sglang")
steps = rng.integers(0, 20, (5, 16, 256)).astype(np.int32)
steps[:, :3] = 0
steps[3] = 0
np.save(f"{folder}/steps.npy", steps)
takes("sglang_array", "counts layers 3 to 15 of deepseek-v3", "steps.npy", holds=lambda t:
      list(t["/moe_layer"]) == list(range(3, 16))
      and (t["/load/count"][:] == steps[[0, 1, 2, 4], 3:]).all())
write("steps.json", json.dumps({"rank": 0, "logical_count": steps.tolist()}))
takes("sglang_json", "1 of 5 passes count nothing", "steps.json", holds=lambda t:
      (t["/load/count"][:] == steps[[0, 1, 2, 4], 3:]).all())
np.save(f"{folder}/idle.npy", steps * 0)
refuses("sglang_idle", "counts nothing", "idle.npy", "--from", "sglang")


def numbers(array):
    return base64.b64encode(array.astype("<i4").tobytes()).decode()


def generated(array, prompt, output):
    return {"text": "x", "meta_info": {"prompt_tokens": prompt, "completion_tokens": output,
                                       "routed_experts": numbers(array)}}


lines("generated.jsonl", generated(first, 8, 5), generated(second, 20, 4))
takes("sglang_responses", "line 2: has fewer rows than tokens", "generated.jsonl",
      holds=lambda t: same_ids(t) and columns(t) == [[8, 20], [5, 4], [12, 9]]
      and list(t["/token/position"])[12:] == list(range(14, 23)))
write("chat.json", json.dumps({"choices": [{"index": 0}],
    "sglext": {"routed_experts": numbers(first)}, "usage": {
        "prompt_tokens": 8, "completion_tokens": 5}}))
takes("sglang_chat", "", "chat.json", holds=lambda t: columns(t) == [[8], [5], [12]])
refuses("sglang_wrong_model", "4608 numbers are no rows of deepseek-v3", "chat.json", "--model",
        "deepseek-v3")
lines("lengthless.jsonl", {"meta_info": {"routed_experts": numbers(first)}})
refuses("sglang_lengthless", "prompt_tokens and completion_tokens are missing", "lengthless.jsonl")


class Evil:
    def __reduce__(self):
        return os.mkdir, (f"{folder}/executed",)


def pt(name, content):
    with zipfile.ZipFile(f"{folder}/{name}", "w") as archive:
        archive.writestr("x/data.pkl", content)


pt("evil.pt", pickle.dumps({"logical_count": Evil()}, 2))
refuses("sglang_evil", "asks for (posix|os).mkdir, which no recording holds", "evil.pt")
report(not os.path.exists(f"{folder}/executed"), "sglang_evil_did_nothing")
pt("memo.pt", b"\x80\x02}r\xff\xff\xff\x7f.")
refuses("sglang_memo", "has neither logical_count nor records", "memo.pt")
deep = b"\x80\x02]q\x00" + b"".join(b"h\x00\x86q\x00" for _ in range(64)) + b"}h\x00K\x01s."
pt("deep.pt", deep)
refuses("sglang_deep", "adds to what is no dict|keys that are no text|no readable file", "deep.pt")
whole = open("tests/formats/sglang/stat.pt", "rb").read()
write("cut.pt", whole[:-40])
refuses("sglang_cut", "no readable file of torch.save", "cut.pt", "--from", "sglang")

# ---- TensorRT-LLM ----
import make_trtllm as stat  # noqa: E402


def statistic(ranks):
    return [[np.bincount(np.array(sum((stat.chosen(rank, iteration, layer) for rank in ranks),
                                      [])).flatten(), minlength=8).tolist()
             for layer in stat.LAYERS] for iteration in stat.ITERATIONS]


RANK = "tests/formats/trtllm/rank{}.safetensors"
takes("trtllm", "", f"{RANK.format(0)} {RANK.format(1)}", *TINY, holds=lambda t:
      t["/load/count"][:].tolist() == statistic([0, 1]) and t.attrs["top_k"] == 2)
takes("trtllm_one_rank", r"1 other ranks' files \(rank1.safetensors\) are not counted",
      RANK.format(0), *TINY, holds=lambda t: t["/load/count"][:].tolist() == statistic([0]))


def safetensors(name, **tensors):
    head, data = {}, b""
    for key, array in tensors.items():
        head[key.removeprefix("_")] = {
            "dtype": {"q": "I64", "l": "I64", "i": "I32"}[array.dtype.char],
            "shape": list(array.shape), "data_offsets": [len(data), len(data) + array.nbytes]}
        data += array.tobytes()
    text = json.dumps(head).encode()
    write(name, len(text).to_bytes(8, "little") + text + data)


some = np.arange(8) + 1
safetensors("rank0.safetensors", _5_1=some, _5_2=some, _6_1=some, _6_2=some, _7_1=some)
safetensors("rank1.safetensors", _5_1=some, _5_2=some, _6_1=some, _6_2=some, _7_1=some)
OWN = ("--model", "own", "--top-k", "2")
takes("trtllm_same", "all 2 ranks counted the same tokens", "rank0.safetensors rank1.safetensors",
      *OWN, holds=lambda t: t["/load/count"][:].tolist() == [[some.tolist()] * 2] * 2)
takes("trtllm_stopped", "iterations 7 lack some layers", "rank0.safetensors", *OWN,
      holds=lambda t: t["/load/count"].shape == (2, 2, 8))
safetensors("mtp.safetensors", **{f"_5_{layer}": some * layer for layer in (1, 2, 3, 4)})
takes("trtllm_behind", "layers 4 are behind the last of tiny", "mtp.safetensors", *TINY,
      holds=lambda t: t["/load/count"][0].tolist() == [(some * n).tolist() for n in (1, 2, 3)])
safetensors("raw.safetensors", _5_1=some.reshape(4, 2))
refuses("trtllm_raw", "holds the experts of each token", "raw.safetensors", *OWN)
safetensors("short.safetensors", _5_1=some, _5_2=some[:7])
refuses("trtllm_experts", r"5_2: has shape \(7,\), but there are 8", "short.safetensors", *OWN)
write("cut.safetensors", open(f"{folder}/rank0.safetensors", "rb").read()[:-8])
refuses("trtllm_cut", "7_1: ends behind the file, which is truncated", "cut.safetensors", *OWN)
write("head.safetensors", (1 << 60).to_bytes(8, "little") + b"{}")
refuses("trtllm_head", "no file of safetensors, or truncated", "head.safetensors", "--from",
        "trtllm")

# ---- Megatron-Core ----
logits = {}


def megatron(rank, scored, cut=False):
    """4 steps, decoder layers 1 to 3 and one of another block, as RouterTracer writes them."""
    at, found = 0, []
    with open(f"{folder}/logits_rank{rank}.bin", "wb") as sidecar:
        for step, tokens in enumerate((5, 1, 1, 4)):
            for layer in (1, 2, 3):
                if cut and (step, layer) == (3, 3):
                    continue
                bits = rng.normal(size=(tokens, 8)).astype(np.float32).view(np.uint32) >> 16
                values = (bits << 16).astype(np.uint32).view(np.float32)
                line = {"step": step, "stage": "pre_dispatch", "block": "decoder", "layer": layer,
                        "rank": rank, "num_tokens": tokens, "topk": 2}
                if scored:
                    sidecar.write(bits.astype("<u2").tobytes())
                    line |= {"logit_offset": at, "logit_bytes": 16 * tokens,
                             "logit_shape": [tokens, 8]}
                    at += 16 * tokens
                    logits[step, layer] = values
                line["top_indices"] = np.argsort(-values, axis=1)[:, :2].tolist()
                found.append(line)
                found.append({**line, "block": "mtp", "mtp_idx": 0})
    if not scored:
        os.unlink(f"{folder}/logits_rank{rank}.bin")
    lines(f"router_trace_rank{rank}.jsonl", *found)


megatron(0, True)
megatron(1, False, cut=True)
NOBODY = "does not say to which request a token belongs"
takes("megatron_logits", NOBODY, "router_trace_rank0.jsonl", *TINY, holds=lambda t:
      columns(t) == [[5, 1, 1, 4], [0] * 4, [5, 1, 1, 4]] and t.attrs["candidates"] == 8
      and t.attrs["score_kind"] == b"logit" and t.attrs["sorted"] == 1
      and all((t["/routing/score"][first:last, layer - 1]
               == -np.sort(-logits[step, layer], axis=1).astype(np.float16)).all()
              for step, first, last in ((0, 0, 5), (1, 5, 6), (2, 6, 7), (3, 7, 11))
              for layer in (1, 2, 3))
      and (np.take_along_axis(logits[3, 2], t["/routing/expert"][7:, 1].astype(int), axis=1)
           .astype(np.float16) == t["/routing/score"][7:, 1]).all()
      and list(t["/pass/first"]) == [0, 5, 6, 7, 11])
takes("megatron_ranks", "1 of 4 passes lack some layers",
      "router_trace_rank0.jsonl router_trace_rank1.jsonl", *TINY,
      holds=lambda t: columns(t)[2] == [5, 1, 1, 4, 5, 1, 1] and "/routing/score" not in t
      and list(t["/token/source"]) == [0] * 11 + [1] * 7)
write("logits_rank0.bin", open(f"{folder}/logits_rank0.bin", "rb").read()[:-2])
refuses("megatron_cut", "logits_rank0.bin: ends before byte 528", "router_trace_rank0.jsonl", *TINY)
os.unlink(f"{folder}/logits_rank0.bin")
takes("megatron_without_logits", "logits_rank0.bin: is not there, so scores are absent",
      "router_trace_rank0.jsonl", *TINY, holds=lambda t: t.attrs["score_kind"] == b"none")
line = {"step": 0, "layer": 1, "rank": 0, "num_tokens": 2, "topk": 2, "top_indices": [[0, 1]]}
lines("few.jsonl", line)
refuses("megatron_few", "line 1: top_indices is no list of 2 tokens with 2 experts", "few.jsonl",
        "--model", "own", "--experts", "8")
lines("nameless.jsonl", {**line, "topk": None})
refuses("megatron_nameless", "line 1: topk is missing", "nameless.jsonl")

# ---- what all of them go through ----
from moesim import chunks, filled, trace_writer  # noqa: E402


def naive_rows(ids):
    """Rows that were not captured, cell by cell."""
    k, long = ids.shape[2], ids.shape[1] * ids.shape[2] >= filled.FEW_VALUES
    return [all((k > 1 and len(set(cell)) == 1) or all(value in (-1, 65535) for value in cell)
                or (long and cell == list(range(k))) for cell in row) for row in ids.tolist()]


differ = []
for case in range(400):
    shape = (int(rng.integers(1, 9)), int(rng.integers(1, 5)), int(rng.integers(1, 4)))
    ids = rng.choice(np.array([-1, 0, 1, 2, 65535]), shape, p=[0.2, 0.3, 0.2, 0.2, 0.1])
    for row in range(len(ids)):
        kind = rng.integers(4)
        if kind < 3:
            ids[row] = (-1, 1, np.arange(shape[2]))[kind]
    found = filled.find_rows(ids).tolist()
    if found != naive_rows(ids):
        differ.append((ids.tolist(), found))
    look = filled.Look("x", shape[1], shape[2])
    for first in range(0, len(ids), 3):
        look.see(first, ids[first:first + 3])
    stay = ids[~np.array(found)]
    used = {value for value in stay.flatten().tolist() if 0 <= value < 4096}
    alike = [bool((stay[:, layer] == stay[0, layer]).all()) for layer in range(shape[1])
             ] if len(stay) else [True] * shape[1]
    if set(np.flatnonzero(look.used).tolist()) != used or look.never_changes.tolist() != alike or \
            look.uncaptured != sum(found):
        differ.append((ids.tolist(), "look"))
report(not differ, "filled_as_naively", differ[:1])

differ = []
for case in range(60):
    kind = ("u1", "<u2", "<f2", "<u4", "<u8", "<i4")[case % 6]
    rows = int(rng.integers(1, 40))
    values = rng.integers(0, (2, 200)[case % 2], (rows, 3, int(rng.integers(1, 6)))).astype(kind)
    if case % 10 == 9:
        values[:] = 0
    with h5py.File(f"{folder}/chunks.h5", "w") as file:
        plain = file.create_dataset("plain", data=values, maxshape=(None, *values.shape[1:]),
                                    chunks=(16, *values.shape[1:]), shuffle=True,
                                    compression="gzip", compression_opts=4, fletcher32=True)
        file.flush()
        full = np.zeros((-(-rows // 16) * 16, *values.shape[1:]), dtype=kind)
        full[:rows] = values
        for first in range(0, rows, 16):
            if plain.id.read_direct_chunk((first, 0, 0))[1] != chunks.pack(full[first:first + 16]):
                differ.append((kind, rows, first))
report(not differ, "chunks_as_the_library_packs_them", differ[:4])
with h5py.File(f"{folder}/column.h5", "w") as file:
    column = trace_writer.Column(file, "x", "<u2", (3, 2))
    values = rng.integers(0, 9, (column.chunk_rows * 2 + 7, 3, 2)).astype("<u2")
    for part in np.split(values, [5, 5, column.chunk_rows + 3, column.chunk_rows * 2]):
        column.put(part)
    column.flush()
with h5py.File(f"{folder}/column.h5") as file:
    report((file["x"][:] == values).all() and file["x"].chunks[0] == column.chunk_rows,
           "column_reads_back")
sys.exit(lab.failed)
END
failed=$?
exit $failed
