"""`route_trace v1`: the CSV that an engine with offloaded experts writes.

    # route_trace v1
    # model=PATH arch=A n_layer=48 n_expert=128 n_expert_used=6
    # layer=0 expert_bytes=3059712 dense_bytes=11953152
    turn,phase,step,layer,slot,expert,weight,residency,expert_bytes

One line per chosen expert. A step is one token: phase 0 is the prompt, read in one pass
layer by layer (so lines are not in order of step), phase 1 one pass per generated token.
An engine may skip the last layer for all prompt tokens but the last: such cells become
"not recorded". Columns go by their names: step, layer and expert must be there, what
is missing of the others is one turn, decode, slots in order of the lines, no scores, no
residency; further ones are passed over. `weight` is nan where there is none; `residency` says
whether the expert was in memory when the layer began (2: put there ahead of its use);
`dropped` is 1 where the engine chose the expert and did not run it; expert_bytes, read for
this line, is not kept. Each turn becomes one request; head lines with expert_bytes above 0
name the MoE layers.
"""

import math
import os
import re

import numpy as np

from moesim.formats import Format
from moesim.models import all_models, named, unknown
from moesim.say import Failure, warn
from moesim.trace_writer import DECODE, NOT_RECORDED, PREFILL, TraceWriter

FORMAT = Format(
    name="route_trace", writer="an engine with offloaded experts, version 1 of its CSV",
    files="csv", holds="routing, scores, residency, sizes of experts",
    source="github.com/Helldez/BigMoeOnEdge")

REQUIRED = ("step", "layer", "expert")
LIMITS = {"turn": 1 << 32, "phase": 2, "step": 1 << 32, "layer": 1024, "slot": 4096,
          "expert": 4096, "residency": 3, "dropped": 2}  # each number is below
UNKNOWN = 255
BLOCK_CELLS = 1 << 21


# ---- reading ----

def whole_number(text, below):
    """None where it is none."""
    text = text.strip()
    if not (text.isascii() and text.isdecimal()) or len(text) > 15 or int(text) >= below:
        return None
    return int(text)


def read_columns(path, number, line):
    names = [name.strip() for name in line.rstrip("\r\n").split(",")]
    missing = [name for name in REQUIRED if name not in names]
    if missing or len(set(names)) != len(names):
        raise Failure(f"{path}: line {number}: column {missing[0]} is missing; "
                           if missing else f"{path}: line {number}: a column stands twice; "
                           f"step, layer and expert must be among the columns, each once")
    return names


def read_head(path, stream):
    """The facts of the lines with `#`, and the names of the columns."""
    facts, sizes = {}, {}
    if not stream.readline().startswith("# route_trace v1"):
        raise Failure(f"{path}: line 1 is not \"# route_trace v1\"; only that version is "
                           "known")
    for number, line in enumerate(stream, start=2):
        if not line.startswith("#"):
            break
        pairs = dict(re.findall(r"(\w+)=(\S+)", line))
        if "layer" in pairs:
            layer = whole_number(pairs["layer"], LIMITS["layer"])
            size = whole_number(pairs.get("expert_bytes", ""), (1 << 48) + 1)
            if layer is None or size is None:
                raise Failure(f"{path}: line {number}: expected layer=N (below 1024) "
                                   "expert_bytes=N (at most 2^48)")
            sizes[layer] = size
        else:
            facts.update(pairs)
    else:
        raise Failure(f"{path}: ends before the line of column names")
    sizes = {layer: size for layer, size in sorted(sizes.items()) if size > 0}
    experts, top_k = (whole_number(facts.get(name, ""), 4097)
                      for name in ("n_expert", "n_expert_used"))
    if not sizes or experts is None or top_k is None or not 1 <= top_k <= experts:
        raise Failure(f"{path}: the head must give n_expert, n_expert_used (1 <= n_expert_used "
                           "<= n_expert <= 4096) and, for each MoE layer, layer=N expert_bytes=N")
    return facts, sizes, experts, top_k, read_columns(path, number, line), number + 1


def read_weight(text):
    """nan: none recorded. None where it is no number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isnan(value) or 0 <= value <= 1 else None


def read_lines(path, stream, columns, first_line):
    """Columns of integers by name, `line` among them, and the weights."""
    numbers = [(name, columns.index(name), below) for name, below in LIMITS.items()
               if name in columns]
    weight_at = columns.index("weight") if "weight" in columns else None
    values, weights = [], []
    for number, line in enumerate(stream, start=first_line):
        if line.startswith("#") or not line.strip():
            continue
        cells = line.rstrip("\r\n").split(",")
        if len(cells) != len(columns):
            raise Failure(f"{path}: line {number}: has {len(cells)} values, but there are "
                               f"{len(columns)} columns; is the file whole?")
        row = [number]
        for name, at, below in numbers:
            value = whole_number(cells[at], below)
            if value is None:
                raise Failure(f"{path}: line {number}: {name} is {cells[at][:20]!r}, not a "
                                   f"whole number from 0 to {below - 1}")
            row.append(value)
        weight = read_weight(cells[weight_at]) if weight_at is not None else math.nan
        if weight is None:
            raise Failure(f"{path}: line {number}: weight is {cells[weight_at][:20]!r}, not a "
                               "number from 0 to 1, or nan where none was recorded")
        values.append(row)
        weights.append(weight)
    if not values:
        raise Failure(f"{path}: holds no line of routing")
    names = ["line"] + [name for name, _, _ in numbers]
    found = dict(zip(names, np.array(values, dtype=np.int64).T))
    return found, np.array(weights)


# ---- the model ----

def choose_model(path, facts, sizes, experts, options):
    """The name, and a warning where its experts are of another size than the head's."""
    size = sum(sizes.values()) / len(sizes)
    if options.model:
        model = named(options.model)
        if model is None:  # of the user's own
            warn(f"{path}: {unknown(options.model)}, so the sizes in its head are not compared; "
                 "run with model: FILE.yaml, a file of your own")
            return options.model
    else:
        file_name = facts.get("model", "").lower().rsplit("/", 1)[-1]
        models = [model for model in all_models()
                  if model.name in file_name.replace("_", "-") and model.experts == experts]
        if not models:
            raise Failure(f"{path}: no model of models/arch goes by "
                               f"{file_name[:100] or 'no name'} and has {experts} experts; name it "
                               "with --model")
        model = min(models, key=lambda model: abs(math.log(model.expert_bytes / size)))
    if abs(model.expert_bytes / size - 1) > 0.1:
        bits = model.bits * size / model.expert_bytes
        warn(f"{path}: an expert has {size:.0f} bytes by its head ({bits:.3g} bits a weight), but "
             f"{model.expert_bytes:.0f} in model {model.name} ({model.bits:.4g} bits): copies would "
             "be timed by the first and kernels by the second; name another model with --model, or "
             f"run with model: FILE.yaml, a copy of models/arch/{model.name}.yaml with "
             f"expert_bits: {max(bits, 1):.3g}")
    return model.name


# ---- rows ----

def check_values(path, found, sizes, experts, top_k):
    layers = np.array(list(sizes))
    place = np.minimum(np.searchsorted(layers, found["layer"]), len(layers) - 1)
    for bad, name, limit in (
            (layers[place] != found["layer"], "layer", "one of the head's MoE layers"),
            (found.get("slot", place * 0) >= top_k, "slot", f"below n_expert_used, {top_k}"),
            (found["expert"] >= experts, "expert", f"below n_expert, {experts}")):
        if bad.any():
            at = int(np.argmax(bad))
            raise Failure(f"{path}: line {found['line'][at]}: {name} {found[name][at]} is not "
                               f"{limit}")
    return place


class Rows:
    """The lines in order of row, layer and slot."""

    def __init__(self, path, found, weight, place, layers, top_k):
        count = len(place)
        turn = found.get("turn", np.zeros(count, dtype=np.int64))
        phase = found.get("phase", np.ones(count, dtype=np.int64))
        slot = found.get("slot", np.arange(count))
        keys, row = np.unique(np.stack([turn, found["step"]], axis=1), axis=0,
                              return_inverse=True)
        row = row.reshape(-1)
        order = np.lexsort((slot, place, row))
        self.path, self.shape = path, (layers, top_k)
        self.keys, self.row, self.cell = keys, row[order], (row * layers + place)[order]
        self.line, self.weight = found["line"][order], weight[order]
        self.expert = found["expert"][order]
        self.resident = np.minimum(found["residency"], 1)[order] if "residency" in found else None
        self.phase = np.zeros(len(keys), dtype=np.int64)
        self.phase[row] = phase
        self.refuse(self.phase[row] != phase, found["line"],
                    "its step is both prompt (phase 0) and generated (phase 1)")
        self.refuse((np.diff(self.cell) == 0) & (np.diff(slot[order]) == 0), self.line[1:],
                    "its turn, step, layer and slot occurs twice")
        self.take_out(found["dropped"][order] if "dropped" in found else None)

    def refuse(self, bad, line, what):
        if bad.any():
            raise Failure(f"{self.path}: line {line[int(np.argmax(bad))]}: {what}")

    def take_out(self, dropped):
        """Leaves out what was not executed; slots close up, as gaps may only end a cell."""
        if dropped is not None:
            stay = dropped == 0
            self.row, self.cell, self.line, self.weight, self.expert = (
                values[stay] for values in (self.row, self.cell, self.line, self.weight,
                                            self.expert))
            self.resident = None if self.resident is None else self.resident[stay]
        starts = np.searchsorted(self.cell, self.cell)
        self.slot = np.arange(len(self.cell)) - starts
        self.refuse(self.slot >= self.shape[1], self.line,
                    f"its cell has more experts than n_expert_used, {self.shape[1]}")

    def blocks(self):
        """(first row, last row, ids, scores, resident) of as many rows as memory allows."""
        layers, top_k = self.shape
        step = max(1, BLOCK_CELLS // (layers * top_k))
        for first in range(0, len(self.keys), step):
            last = min(first + step, len(self.keys))
            part = slice(*np.searchsorted(self.row, (first, last)))
            at = (self.cell[part] - first * layers) * top_k + self.slot[part]
            shape = (last - first, layers, top_k)
            ids = np.full(shape, NOT_RECORDED, dtype=np.uint16)
            score = np.zeros(shape, dtype=np.float16)
            resident = np.full(shape, UNKNOWN, dtype=np.uint8)
            ids.flat[at] = self.expert[part]
            score.flat[at] = np.nan_to_num(self.weight[part])
            if self.resident is not None:
                resident.flat[at] = self.resident[part]
            yield first, last, ids, score, resident


def write(path, out, options, rows, model, experts, sizes):
    scored = not np.isnan(rows.weight).all()
    _, request, counts = np.unique(rows.keys[:, 0], return_inverse=True, return_counts=True)
    prompt = np.bincount(request, weights=rows.phase == 0).astype(np.int64)
    phase = np.where(rows.phase == 0, PREFILL, DECODE)
    with TraceWriter(out, model=model, experts=experts, top_k=rows.shape[1],
                     moe_layer=list(sizes), expert_bytes=list(sizes.values()),
                     source=options.source or os.path.basename(path), 
                     capture="moesim trace import --from route_trace",
                     score_kind="softmax" if scored else "none", places=list(sizes),
                     fields=("resident",) if rows.resident is not None else ()) as writer:
        for first, last, ids, score, resident in rows.blocks():
            part = slice(first, last)
            writer.rows(path, request[part], rows.keys[part, 1], phase[part], ids,
                        score if scored else None,
                        resident=resident if rows.resident is not None else None)
        writer.commit(prompt_tokens=prompt, output_tokens=counts - prompt, rows=counts)


def recognise(_path, head):
    return head.startswith(b"# route_trace")


def convert(paths, out, options):
    path = paths[0]
    try:
        with open(path, encoding="utf-8", newline="\n") as stream:
            facts, sizes, experts, top_k, columns, first_line = read_head(path, stream)
            found, weight = read_lines(path, stream, columns, first_line)
    except UnicodeDecodeError as failure:
        raise Failure(f"{path}: is not a text file in UTF-8 (byte {failure.start} of a block "
                           "of it)") from None
    except OSError as failure:
        raise Failure(f"{path}: cannot be opened: {failure.strerror}") from None
    if options.experts not in (None, experts):
        raise Failure(f"{path}: n_expert is {experts}, not {options.experts}; leave out "
                           "--experts")
    place = check_values(path, found, sizes, experts, top_k)
    rows = Rows(path, found, weight, place, len(sizes), top_k)
    write(path, out, options, rows, choose_model(path, facts, sizes, experts, options), experts,
          sizes)
