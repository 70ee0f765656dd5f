"""`route_trace v1`: the CSV that an engine with offloaded experts writes.

    # route_trace v1
    # model=PATH arch=A n_layer=48 n_expert=128 n_expert_used=6
    # layer=0 expert_bytes=3059712 dense_bytes=11953152
    turn,phase,step,layer,slot,expert,weight,residency,expert_bytes

One line per executed expert. A step is one token: phase 0 is the prompt, read in one pass
layer by layer (so lines are not in order of step), phase 1 one pass per generated token.
An engine may skip the last layer for all prompt tokens but the last: such cells become
"not recorded". `residency` says whether the expert was in memory when the layer began;
the last column is the bytes read for this line, and is not kept. Each turn becomes one
request; head lines with expert_bytes above 0 name the MoE layers.
"""

import os
import re

import numpy as np

from h5 import DECODE, NOT_RECORDED, PREFILL, ImportFailed, TraceWriter
from models import MODELS

COLUMNS = "turn,phase,step,layer,slot,expert,weight,residency,expert_bytes"
UNKNOWN = 255
BLOCK_ROWS = 4096


def read_head(path, stream):
    """The facts of the lines with `#`, up to the line of column names."""
    facts, sizes = {}, {}
    if not stream.readline().startswith("# route_trace v1"):
        raise ImportFailed(f"{path}: line 1 is not \"# route_trace v1\"")
    for number, line in enumerate(stream, start=2):
        if not line.startswith("#"):
            if line.strip() != COLUMNS:
                raise ImportFailed(f"{path}: line {number}: expected the columns {COLUMNS}")
            break
        pairs = dict(re.findall(r"(\w+)=(\S+)", line))
        if "layer" in pairs:
            try:
                sizes[int(pairs["layer"])] = int(pairs["expert_bytes"])
            except (KeyError, ValueError):
                raise ImportFailed(f"{path}: line {number}: expected layer=N expert_bytes=N"
                                   ) from None
        else:
            facts.update(pairs)
    else:
        raise ImportFailed(f"{path}: ends before the line of column names")
    sizes = {layer: size for layer, size in sorted(sizes.items()) if size > 0}
    try:
        experts, top_k = int(facts["n_expert"]), int(facts["n_expert_used"])
    except (KeyError, ValueError):
        raise ImportFailed(f"{path}: the head lacks n_expert or n_expert_used") from None
    if not sizes or not 1 <= top_k <= experts <= 4096:
        raise ImportFailed(f"{path}: the head must name a size for each MoE layer and "
                           "1 <= n_expert_used <= n_expert <= 4096")
    return facts, sizes, experts, top_k, number + 1


def read_lines(path, stream, first_line):
    """All lines as an array of integers (the weight left out) and one of weights."""
    values, weights = [], []
    for number, line in enumerate(stream, start=first_line):
        if line.startswith("#") or not line.strip():
            continue
        cells = line.split(",")
        try:
            if len(cells) != 9:
                raise ValueError
            weights.append(float(cells[6]))
            values.append([int(cell) for cell in cells[:6]] + [int(cells[7])])
        except ValueError:
            raise ImportFailed(f"{path}: line {number}: expected nine numbers") from None
        if min(values[-1]) < 0 or values[-1][1] > 1 or values[-1][6] > 1:
            raise ImportFailed(f"{path}: line {number}: a number is out of range (phase and "
                               "residency are 0 or 1, none is negative)")
    if not values:
        raise ImportFailed(f"{path}: holds no line of routing")
    return np.array(values, dtype=np.int64), np.array(weights)


def choose_model(path, facts, experts, options):
    if options.model:
        return options.model
    file_name = facts.get("model", "").lower().rsplit("/", 1)[-1]
    names = [name for name, m in MODELS.items() if name in file_name and m.experts == experts]
    if len(names) != 1:
        raise ImportFailed(f"{path}: no known model goes by {file_name or 'no name'}; name it "
                           "with --model")
    return names[0]


def convert(path, out, options):
    try:
        with open(path, encoding="utf-8") as stream:
            facts, sizes, experts, top_k, first_line = read_head(path, stream)
            values, weight = read_lines(path, stream, first_line)
    except UnicodeDecodeError:
        raise ImportFailed(f"{path}: is not a text file") from None
    except OSError as failure:
        raise ImportFailed(f"{path}: cannot be opened: {failure.strerror}") from None
    turn, phase, step, layer, slot, expert, residency = values.T
    layers = np.array(list(sizes))
    place = np.searchsorted(layers, layer)
    place[place == len(layers)] = 0
    for bad, name, column, limit in (
            (layers[place] != layer, "layer", layer, "one of the head's MoE layers"),
            (slot >= top_k, "slot", slot, f"below {top_k}"),
            (expert >= experts, "expert", expert, f"below {experts}")):
        if bad.any():
            raise ImportFailed(f"{path}: {name} {column[bad][0]} is not {limit}")
    keys, row = np.unique(np.stack([turn, step], axis=1), axis=0, return_inverse=True)
    row_phase = np.zeros(len(keys), dtype=np.int64)
    row_phase[row] = phase
    if (row_phase[row] != phase).any():
        raise ImportFailed(f"{path}: a step is both prompt and generated")
    index = (row * len(layers) + place) * top_k + slot
    if len(np.unique(index)) != len(index):
        raise ImportFailed(f"{path}: a turn, step, layer and slot occurs twice")
    shape = (len(keys), len(layers), top_k)
    ids = np.full(shape, NOT_RECORDED, dtype=np.uint16)
    score = np.zeros(shape, dtype=np.float16)
    resident = np.full(shape, UNKNOWN, dtype=np.uint8)
    ids.flat[index], score.flat[index], resident.flat[index] = expert, weight, residency
    write(path, out, options, ids, score, resident, keys, row_phase,
          choose_model(path, facts, experts, options), experts, sizes)


def write(path, out, options, ids, score, resident, keys, row_phase, model, experts, sizes):
    _, request, rows = np.unique(keys[:, 0], return_inverse=True, return_counts=True)
    prompt = np.bincount(request, weights=row_phase == 0).astype(np.int64)
    phase = np.where(row_phase == 0, PREFILL, DECODE)
    with TraceWriter(out, model=model, experts=experts, top_k=ids.shape[2],
                     moe_layer=list(sizes), expert_bytes=list(sizes.values()),
                     source=options.source or os.path.basename(path),
                     capture="moesim trace import --from route_trace", score_kind="softmax",
                     resident=True) as writer:
        for first in range(0, len(ids), BLOCK_ROWS):
            part = slice(first, first + BLOCK_ROWS)
            writer.rows(path, request[part], keys[part, 1], phase[part], ids[part], score[part],
                        resident[part])
        writer.commit(prompt_tokens=prompt, output_tokens=rows - prompt, rows=rows)
