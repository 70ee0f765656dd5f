"""RouterTrace of StrataMoE Lab, versions 1 and 2: one JSON document.

    {"version": 2, "source": {"kind": "captured", "model": {"id": "google/switch-base-8", ...}},
     "seed": 2339, "tokens": 215, "layers": 6, "expertsPerLayer": 8, "topK": 1,
     "selections": [[[3], [1], ...], ...]}

selections[token][layer][rank] are the experts as the router chose them. The model is that of
`source`; of a source of kind "synthetic", and of version 1, which has none, it is said that no
model chose. Beside a captured file the tool leaves capture-metadata.json: from it come
sequences (prompt_spans) and the numbers of layers (sparse_encoder_block_indices), where its
trace_file is this one. They are prefill then; without it all tokens are one sequence and
decode, and that is said. A document is read as a whole (the tool's own limit is a million
selections).

Source: Labeeb2339/stratamoe-lab, docs/ROUTER_TRACE_SCHEMA.md at 91f9d48 and
tools/capture_switch_router_trace.py at d1dd341.
"""

import os

import numpy as np

from moesim.files import read_head
from moesim.formats import Format
from moesim.json_lines import is_whole, parse
from moesim.models import named
from moesim.recording import Recording, Requests, block_rows, count_blocks
from moesim.say import Failure, note

FORMAT = Format(
    name="router_trace", writer="StrataMoE Lab, RouterTrace version 2", files="json",
    holds="routing", source="github.com/Labeeb2339/stratamoe-lab, docs/ROUTER_TRACE_SCHEMA.md")

LARGEST_BYTES = 1 << 28
SIZES = {"tokens": 1 << 32, "layers": 1025, "expertsPerLayer": 4097, "topK": 4097}
AS_WRITTEN = "import the file as the tool wrote it"
SIDECAR = "capture-metadata.json"


def read_json(path):
    data = read_head(path, LARGEST_BYTES + 1)
    if len(data) > LARGEST_BYTES:
        raise Failure(f"{path}: is longer than {LARGEST_BYTES} bytes, which no RouterTrace is; "
                      "take it in parts")
    found = parse(path, data)
    if not isinstance(found, dict):
        raise Failure(f"{path}: is no JSON object, as a RouterTrace is")
    return found


def read_selections(path, trace):
    """By [token][layer][rank]."""
    if trace.get("version") not in (1, 2):
        raise Failure(f"{path}: version is {str(trace.get('version'))[:20]}; only 1 and 2 are "
                      "known; export it again as one of these")
    for name, below in SIZES.items():
        if not is_whole(trace.get(name), below) or not trace[name]:
            raise Failure(f"{path}: {name} is {str(trace.get(name))[:20]}, not a whole number from "
                          f"1 to {below - 1}; {AS_WRITTEN}")
    shape = tuple(trace[name] for name in ("tokens", "layers", "topK"))
    selections = trace.get("selections")
    if not isinstance(selections, list) or len(selections) != shape[0]:
        raise Failure(f"{path}: selections must be a list of {shape[0]} tokens, as `tokens` says; "
                      f"{AS_WRITTEN}")
    flat = []
    for token, layers in enumerate(selections):
        if not isinstance(layers, list) or len(layers) != shape[1]:
            raise Failure(f"{path}: selections[{token}] must be a list of {shape[1]} layers; "
                          f"{AS_WRITTEN}")
        for layer, experts in enumerate(layers):
            if not isinstance(experts, list) or len(experts) != shape[2] or \
                    not all(is_whole(expert, trace["expertsPerLayer"]) for expert in experts):
                raise Failure(f"{path}: selections[{token}][{layer}] must be {shape[2]} whole "
                              f"numbers below expertsPerLayer, {trace['expertsPerLayer']}; "
                              f"{AS_WRITTEN}")
            flat += experts
    return np.array(flat, dtype=np.uint16).reshape(shape)


def model_of(path, trace):
    """The name of the model that ran; says where none did."""
    source = trace.get("source") if isinstance(trace.get("source"), dict) else {}
    model = source.get("model") if isinstance(source.get("model"), dict) else {}
    if source.get("kind") == "captured" and isinstance(model.get("id"), str):
        return model["id"].rsplit("/", 1)[-1].lower().removesuffix(".yaml")[:256] or "unnamed"
    note(f"{path}: by its source a generator made this routing, and no model; what is found with "
         "it says nothing of a model; it is called synthetic")
    return "synthetic"


# ---- what stands beside it ----

def read_sidecar(path, tokens, layers):
    """(rows of each sequence, decoder layers), or None where there is no such file of it."""
    beside = os.path.join(os.path.dirname(path), SIDECAR)
    if not os.path.exists(beside):
        return None
    found = read_json(beside)
    if found.get("trace_file") != os.path.basename(path):
        return None
    spans, numbers = found.get("prompt_spans"), found.get("sparse_encoder_block_indices")
    if not isinstance(numbers, list) or len(numbers) != layers or \
            not all(is_whole(number, 1024) for number in numbers) or \
            sorted(set(numbers)) != numbers:
        raise Failure(f"{beside}: sparse_encoder_block_indices must be {layers} ascending numbers, "
                      "one for each layer of the trace")
    rows, at = [], 0
    for i, span in enumerate(spans if isinstance(spans, list) else [None]):
        start, end = (span.get(name) if isinstance(span, dict) else None
                      for name in ("token_start", "token_end_exclusive"))
        if start != at or not is_whole(end, tokens + 1) or end <= at:
            raise Failure(f"{beside}: prompt_spans[{i}] must begin at token {at}, where the one "
                          "before it ends, and end behind it")
        rows.append(end - at)
        at = end
    if at != tokens:
        raise Failure(f"{beside}: prompt_spans end at token {at}, but the trace has {tokens}")
    return rows, numbers


def recognise(_path, head):
    """Its names stand before the selections, or behind those of a short one."""
    return head.lstrip()[:1] == b"{" and b'"expertsPerLayer"' in head and (
        b'"selections"' in head or b'"topK"' in head)


def convert(paths, out, options):
    path = paths[0]
    trace = read_json(path)
    ids = read_selections(path, trace)
    beside = read_sidecar(path, *ids.shape[:2])
    if beside is None:
        note(f"{path}: nothing tells its sequences, so its {len(ids)} tokens are taken as one, and "
             f"as decode; {SIDECAR} of its capture tells them, beside it")
        rows, layers, requests = [len(ids)], list(range(ids.shape[1])), [0]
    else:
        rows, layers = beside
        requests = rows
    output = [a - b for a, b in zip(rows, requests)]

    def blocks():
        for first, count in count_blocks(len(ids), block_rows(*ids.shape[1:])):
            yield first, ids[first:first + count], None, {}

    name = options.model or model_of(path, trace)

    def record(name):
        return Recording(path, FORMAT.name, blocks, Requests.of(rows, requests, output),
                         layers=layers, width=ids.shape[2], top_k=ids.shape[2], model=name,
                         experts=trace["expertsPerLayer"], array="selections", fills=False)

    model = named(name)
    if model is not None and not options.model and not record(name).fits(model):
        note(f"{path}: {name} has other MoE layers than these {len(layers)} (an encoder's alone, "
             f"say), so the model is called {name}-part; run with model: FILE.yaml of your own")
        name += "-part"
    record(name).write(out, options)
