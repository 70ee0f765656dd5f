"""`route_trace v1`: the CSV that an engine with offloaded experts writes.

    # route_trace v1
    # model=PATH arch=A n_layer=48 n_expert=128 n_expert_used=6
    # layer=0 expert_bytes=3059712 dense_bytes=11953152
    turn,phase,step,layer,slot,expert,weight,residency,expert_bytes,dropped

One line per chosen expert. A step is one token: phase 0 is the prompt, read in one pass
layer by layer (so lines are not in order of step), phase 1 one pass per generated token.
An engine may skip the last layer for all prompt tokens but the last: such cells become
"not recorded". Columns go by their names: step, layer and expert must be there, what
is missing of the others is one turn, decode, slots in order of the lines, no scores, no
residency; further ones are passed over. `weight` is nan where there is none; `residency` says
whether the expert was in memory when the layer began (2: put there ahead of its use);
`dropped` is 1 where the engine chose the expert and did not run it; expert_bytes, read for
this line, is not kept. Each turn becomes one request; head lines with expert_bytes above 0
name the MoE layers. Source: docs/telemetry.md, which appends columns within version 1;
`dropped` came after expert_bytes.
"""

import math
import os
import re

import numpy as np

from moesim.cells import GONE, Cells
from moesim.files import open_file
from moesim.formats import Format
from moesim.models import all_models, named, unknown
from moesim.say import Failure, warn
from moesim.table import Below, Between, Table, column_names, read_line
from moesim.trace_writer import DECODE, PREFILL, TraceWriter

FORMAT = Format(
    name="route_trace", writer="an engine with offloaded experts, version 1 of its CSV",
    files="csv", holds="routing, scores, residency, sizes of experts",
    source="github.com/Helldez/BigMoeOnEdge, docs/telemetry.md")

REQUIRED = ("step", "layer", "expert")
COLUMNS = {"turn": Below(1 << 31), "phase": Below(2), "step": Below(1 << 32),
           "layer": Below(1024), "slot": Below(4096), "expert": Below(4096),
           "residency": Below(3), "dropped": Below(2), "weight": Between(0, 1)}
FIELDS = {"weight": "score", "residency": "resident"}


# ---- reading ----

def whole_number(text, below):
    """None where it is none."""
    return Below(below).of_line(text)


def read_head(path, stream):
    """The facts of the lines with `#`, and the names of the columns."""
    facts, sizes, number = {}, {}, 1
    if not (read_line(path, stream, 1) or "").startswith("# route_trace v1"):
        raise Failure(f"{path}: line 1 is not \"# route_trace v1\"; only that version is "
                      "known")
    while True:
        number += 1
        line = read_line(path, stream, number)
        if line is None:
            raise Failure(f"{path}: ends before the line of column names; copy it again")
        if not line.startswith("#"):
            break
        pairs = dict(re.findall(r"(\w+)=(\S+)", line))
        if "layer" in pairs:
            layer = whole_number(pairs["layer"], COLUMNS["layer"].limit)
            size = whole_number(pairs.get("expert_bytes", ""), (1 << 48) + 1)
            if layer is None or size is None:
                raise Failure(f"{path}: line {number}: expected layer=N (below 1024) "
                              "expert_bytes=N (at most 2^48)")
            sizes[layer] = size
        else:
            facts.update(pairs)
    sizes = {layer: size for layer, size in sorted(sizes.items()) if size > 0}
    experts, top_k = (whole_number(facts.get(name, ""), 4097)
                      for name in ("n_expert", "n_expert_used"))
    if not sizes or experts is None or top_k is None or not 1 <= top_k <= experts:
        raise Failure(f"{path}: the head must give n_expert, n_expert_used (1 <= n_expert_used "
                      "<= n_expert <= 4096) and, for each MoE layer, layer=N expert_bytes=N")
    return facts, sizes, experts, top_k, column_names(path, number, line, REQUIRED), number + 1


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
             f"{model.expert_bytes:.0f} in model {model.name} ({model.bits:.4g} bits): copies "
             "would be timed by the first and kernels by the second; name another model with "
             f"--model, or run with model: FILE.yaml, a copy of models/arch/{model.name}.yaml with "
             f"expert_bits: {max(bits, 1):.3g}")
    return model.name


# ---- rows ----

def check_values(path, found, layers, experts, top_k):
    """The place of each line's layer."""
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


def gather(table, out, sizes, experts, top_k):
    """The lines as cells, and whether any has a weight."""
    fields = [field for name, field in FIELDS.items() if name in table.columns]
    cells = Cells(table.path, out, len(sizes), top_k, fields=fields, tags={
        "phase": "its step is both prompt (phase 0) and generated (phase 1)"},
        what="its turn, step, layer and slot")
    layers, scored = np.array(list(sizes)), False
    for found in table.blocks():
        place = check_values(table.path, found, layers, experts, top_k)
        more = {}
        if "score" in fields:
            scored = scored or not np.isnan(found["weight"]).all()
            more["score"] = np.nan_to_num(found["weight"])
        if "resident" in fields:
            more["resident"] = np.minimum(found["residency"], 1)
        dropped = found.get("dropped", place * 0) == 1
        cells.put(found["line"], found.get("turn", place * 0) << 32 | found["step"], place,
                  np.where(dropped, GONE, found["expert"]), found.get("slot"),
                  {"phase": found.get("phase", place * 0 + 1)}, **more)
    if len(cells.keys) == 0:
        raise Failure(f"{table.path}: holds no line of routing; was it copied whole?")
    return cells, scored


def write(path, out, options, cells, scored, model, experts, sizes):
    key, phase = cells.keys.sorted, cells.tag("phase")
    _, request, counts = np.unique(key >> 32, return_inverse=True, return_counts=True)
    prompt = np.bincount(request, weights=phase == 0).astype(np.int64)
    fields = cells.windows.empty.dtype.names
    with TraceWriter(out, model=model, experts=experts, top_k=cells.width,
                     moe_layer=list(sizes), expert_bytes=list(sizes.values()),
                     source=options.source or os.path.basename(path),
                     capture="moesim trace import --from route_trace",
                     score_kind="softmax" if scored else "none", places=list(sizes),
                     fields=("resident",) if "resident" in fields else ()) as writer:
        for first, records in cells.blocks():
            part = slice(first, first + len(records))
            writer.rows(path, request[part], key[part] & 0xffffffff,
                        np.where(phase[part] == 0, PREFILL, DECODE), records["expert"],
                        records["score"] if scored else None,
                        resident=records["resident"] if "resident" in fields else None)
        writer.commit(prompt_tokens=prompt, output_tokens=counts - prompt, rows=counts)


def recognise(_path, head):
    return head.startswith(b"# route_trace")


def convert(paths, out, options):
    path = paths[0]
    with open_file(path) as stream:
        facts, sizes, experts, top_k, names, first_line = read_head(path, stream)
        if options.experts not in (None, experts):
            raise Failure(f"{path}: n_expert is {experts}, not {options.experts}; leave out "
                          "--experts")
        cells, scored = gather(Table(path, stream, names, first_line, COLUMNS), out, sizes, experts,
                               top_k)
    write(path, out, options, cells, scored, choose_model(path, facts, sizes, experts, options),
          experts, sizes)
