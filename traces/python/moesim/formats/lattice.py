"""JSONL with one object per token and layer.

    {"token": 0, "layer": 0, "experts": [15, 5, 31, 30], "weights": [0.4, 0.3, 0.2, 0.1]}

`experts` are the executed ones in order, -1 where none was recorded; `weights` may be missing,
or null. Lines may stand in any order; `token` is the position in the one sequence of the
file. `phase` ("prefill" or "decode") and `domain`, which becomes the group, are read where
they are there, as in the RouterTrace of LEXA HyperMoE (schema_version 1.0 and 2.0); of
further keys it is said that they are not kept. Without `phase` every row is decode.

Source: the class RouterEvent of the package lexa_hypermoe, trace.py.
"""

import json
import math

import numpy as np

from moesim.cells import Cells, one_sequence
from moesim.files import open_file
from moesim.formats import Format
from moesim.json_lines import is_whole
from moesim.recording import Recording
from moesim.say import Failure, note
from moesim.table import LINE_MOST

FORMAT = Format(
    name="lattice", writer="JSON lines of token, layer, experts and weights; LEXA's RouterTrace",
    files="jsonl", holds="routing, scores", source="lexa_hypermoe, trace.py, class RouterEvent")

BLOCK_LINES = 1 << 15
KNOWN = ("token", "layer", "experts", "weights", "phase", "domain", "schema_version")
LIMITS = {"token": 1 << 32, "layer": 1024}
PHASES = ("prefill", "decode")
WIDEST = 4096
TWICE = "its token, layer and place among the experts"


def is_share(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and \
        math.isfinite(value) and 0 <= value <= 1


class Lines:
    """The file, checked; what of it holds for all lines is known after one sweep."""

    def __init__(self, path):
        self.path, self.weighed = path, None
        self.layers, self.width, self.unknown = set(), 0, set()
        self.phased, self.domains, self.count = False, set(), 0
        for number, found in self.objects():
            self.count += 1
            self.layers.add(found["layer"])
            self.width = max(self.width, len(found["experts"]))
            self.unknown |= found.keys() - set(KNOWN)
            self.phased |= "phase" in found
            if len(self.domains) < 2 and isinstance(found.get("domain"), str):
                self.domains.add(found["domain"])
            weighed = found.get("weights") is not None
            if self.weighed not in (None, weighed):
                self.fail(number, f"has {'' if weighed else 'no '}weights, unlike those before; "
                          "all lines must have them, or none")
            self.weighed = weighed
        if not self.width:
            raise Failure(f"{path}: names no expert; was it written to the end?")
        self.layers = sorted(self.layers)

    def fail(self, number, what):
        raise Failure(f"{self.path}: line {number}: {what}")

    def objects(self):
        with open_file(self.path) as stream:
            number = 0
            while line := stream.readline(LINE_MOST + 1):
                number += 1
                if len(line) > LINE_MOST:
                    self.fail(number, f"is longer than {LINE_MOST} bytes; is the file one object a "
                              "line?")
                if line.strip():
                    yield number, self.check(number, line)

    def check(self, number, line):
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            self.fail(number, "is no JSON object; is the file whole, and one object a line?")
        for name, below in LIMITS.items():
            if not is_whole(found.get(name), below):
                self.fail(number, f"{name} is {show(found.get(name))}, not a whole number from 0 "
                          f"to {below - 1}")
        experts, weights = found.get("experts"), found.get("weights")
        if not isinstance(experts, list) or len(experts) > WIDEST or \
                not all(is_whole(expert, 4096, -1) for expert in experts):
            self.fail(number, f"experts is {show(experts)}, not a list of whole numbers from 0 to "
                      "4095, or -1 where none was recorded")
        if weights is not None and not (isinstance(weights, list) and len(weights) == len(experts)
                                        and all(is_share(weight) for weight in weights)):
            self.fail(number, f"weights is {show(weights)}, not {len(experts)} numbers from 0 to "
                      "1, one for each expert")
        if "phase" in found and found["phase"] not in PHASES:
            self.fail(number, f"phase is {show(found['phase'])}, not prefill or decode")
        return found

    def blocks(self):
        """Choices in columns."""
        block = []
        for number, found in self.objects():
            block.append((number, found))
            if len(block) == BLOCK_LINES:
                yield self.columns(block)
                block = []
        if block:
            yield self.columns(block)

    def columns(self, block):
        length = [len(found["experts"]) for _, found in block]
        of_line = {
            "line": [number for number, _ in block],
            "token": [found["token"] for _, found in block],
            "layer": np.searchsorted(self.layers, [found["layer"] for _, found in block]),
            "phase": [PHASES.index(found.get("phase", "decode")) for _, found in block]}
        found_ = {name: np.repeat(np.asarray(values, dtype=np.int64), length)
                  for name, values in of_line.items()}
        found_["slot"] = np.arange(sum(length)) - np.repeat(np.cumsum(length) - length, length)
        found_["expert"] = np.array([x for _, found in block for x in found["experts"]],
                                    dtype=np.int64)
        if self.weighed:
            found_["score"] = np.array([x for _, found in block for x in found["weights"]])
        there = found_["expert"] >= 0
        return {name: values[there] for name, values in found_.items()}


def show(value):
    return "missing" if value is None else repr(value)[:40]


def gather(lines, out):
    cells = Cells(lines.path, out, len(lines.layers), lines.width,
                  fields=("score",) if lines.weighed else (), what=TWICE,
                  cure="; a file is one sequence: import others one by one",
                  tags={"phase": "its token is both prefill and decode"})
    for found in lines.blocks():
        more = {"score": found["score"]} if lines.weighed else {}
        cells.put(found["line"], found["token"], found["layer"], found["expert"], found["slot"],
                  {"phase": found["phase"]}, **more)
    if not len(cells.keys):
        raise Failure(f"{lines.path}: names no expert; was it written to the end?")
    return cells


def recognise(_path, head):
    try:
        found = json.loads(head.split(b"\n", 1)[0])
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and all(is_whole(found.get(name), below)
                                           for name, below in LIMITS.items()) and \
        isinstance(found.get("experts"), list)


def convert(paths, out, options):
    path = paths[0]
    lines = Lines(path)
    cells = gather(lines, out)
    requests, position = one_sequence(cells), cells.keys.sorted

    def blocks():
        for first, records in cells.blocks():
            yield (first, records["expert"], records["score"] if lines.weighed else None,
                   {"position": position[first:first + len(records)]})

    groups = [name.encode("utf-8", "replace").decode() for name in lines.domains]
    groups = groups if len(groups) == 1 else ["all"]
    if len(groups[0].encode()) > 256:
        raise Failure(f"{path}: domain is longer than 256 bytes; shorten it")
    Recording(path, FORMAT.name, blocks, requests._replace(groups=groups), layers=lines.layers,
              width=lines.width, top_k=lines.width, array="lines",
              score_kind="softmax" if lines.weighed else "none").write(out, options)
    tell(path, lines)


def tell(path, lines):
    if not lines.phased:
        note(f"{path}: no line has a phase, so every row is taken as decode; add \"phase\": "
             "\"prefill\" to those of the prompt")
    if len(lines.domains) > 1:
        note(f"{path}: its tokens are of several domains, which is not kept: a group is of a whole "
             "request")
    if lines.unknown:
        note(f"{path}: {', '.join(sorted(map(str, lines.unknown))[:8])} of its lines "
             f"{'is' if len(lines.unknown) == 1 else 'are'} not kept")
