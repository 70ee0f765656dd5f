"""Routing row by row, on its way from a file of some format to a trace.

An importer makes a Recording; `write` looks at all of it, finds the model that it suits,
takes out what was not captured (filled.py), and writes the trace.
"""

import os
from typing import NamedTuple

import numpy as np

from moesim import filled
from moesim.model_choice import Recorded
from moesim.models import EXPERTS_MAX
from moesim.say import Failure
from moesim.trace_writer import DECODE, PREFILL, TraceWriter

BLOCK_ROWS = 8192
MOST = (1 << 32) - 1


def block_rows(layers, width):
    """Rows in a block, so that a block of ids has 4 MiB or so."""
    return max(1, min(BLOCK_ROWS, (1 << 22) // max(1, layers * width)))


class Requests(NamedTuple):
    """The requests whose rows follow each other; arrays, one value a request."""
    rows: np.ndarray
    begin: np.ndarray  # position of its first row
    prompt: np.ndarray  # tokens; rows at positions below are prefill
    output: np.ndarray  # tokens
    group: np.ndarray
    groups: list  # their names

    @classmethod
    def of(cls, rows, prompt, output, begin=None, group=None, groups=("all",)):
        none = np.zeros(len(rows), dtype=np.int64)
        return cls(np.asarray(rows, dtype=np.int64),
                   none if begin is None else np.asarray(begin, dtype=np.int64),
                   np.asarray(prompt, dtype=np.int64), np.asarray(output, dtype=np.int64),
                   none if group is None else np.asarray(group), list(groups))


class Recording(Recorded):
    """What a format holds. `blocks()` begins anew each time and yields (first row, ids,
    scores or None, {optional column: values}), the first three by (row, layer, candidate).
    Among the optional ones may be `position` and `phase`, where the file has its own.

    layers: what the file calls each of its layers, ascending; top_k: experts executed a row
    (None: the model's), the first ones of each cell; width: candidates in a cell; experts:
    where the file says so; expert_bytes: by layer; passes: row numbers of each batch; fills:
    whether its writer fills in what it did not capture, which a trace that was exported has
    not.
    """

    def __init__(self, path, format_name, blocks, requests, *, layers, width, top_k=None,
                 experts=None, score_kind="none", fields=(), expert_bytes=None, array="ids",
                 model=None, passes=None, fills=True):
        super().__init__(path, f"{path}: {array}", format_name, layers=layers, top_k=top_k,
                         experts=experts, model=model)
        self.blocks, self.requests, self.width, self.fills = blocks, requests, width, fills
        self.score_kind, self.fields, self.expert_bytes = score_kind, fields, expert_bytes
        self.passes = passes
        if not 1 <= width <= EXPERTS_MAX:
            raise Failure(f"{self.where}: has {width} experts per token; from 1 to {EXPERTS_MAX} "
                          "can be written")
        if (requests.begin + requests.rows > MOST).any():
            raise Failure(f"{path}: a request has a position above {MOST}")

    def look(self):
        """What a sweep over all rows shows."""
        look = filled.Look(self.where, len(self.layers), self.top_k or self.width)
        for first, ids, _, _ in self.blocks():
            look.see(first, ids[:, :, :self.top_k])
        if self.fills:
            look.end()
        return look

    def write(self, out, options):
        look = self.look()
        name, experts, top_k, moe_layer, kept = self.choose_model(look, options)
        if self.fills:
            look.judge(kept)
        r = self.requests
        with TraceWriter(
                out, model=name, experts=experts, top_k=top_k, candidates=self.width,
                moe_layer=moe_layer, source=options.source or os.path.basename(self.path),
                capture=self.capture, places=[self.layers[i] for i in kept],
                score_kind=self.score_kind, group_names=r.groups, fields=self.fields,
                expert_bytes=self.expert_bytes and [self.expert_bytes[i] for i in kept]) as writer:
            self.write_rows(writer, look, kept)
            writer.commit(prompt_tokens=r.prompt, output_tokens=r.output, rows=r.rows,
                          group=r.group, passes=self.passes)

    def write_rows(self, writer, look, kept):
        r, ends = self.requests, np.cumsum(self.requests.rows)
        part = slice(None) if kept == list(range(len(self.layers))) else kept
        for first, ids, score, optional in self.blocks():
            row = np.arange(first, first + len(ids))
            request = np.searchsorted(ends, row, side="right")
            position = row - (ends - r.rows)[request] + r.begin[request]
            position = optional.pop("position", position)
            phase = optional.pop("phase", np.where(position < r.prompt[request], PREFILL, DECODE))
            if self.fills:
                ids, score = look.clear(ids, score)
            writer.rows(self.where, request, position, phase, ids[:, part],
                        None if score is None else score[:, part],
                        **{name: values if values.ndim == 1 else values[:, part]
                           for name, values in optional.items()})


def count_blocks(total, rows):
    """(first, how many) of each block."""
    for first in range(0, total, rows):
        yield first, min(rows, total - first)
