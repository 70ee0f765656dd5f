"""The CSV that `moesim trace export` writes, read back.

    row,request,position,phase,layer,slot,expert,score

One line per executed expert. Columns go by their names; row, layer and expert must be there.
Back come the rows with request, position, phase, and the executed experts with scores.
What the CSV does not hold is told or stays absent: prompt and output tokens are counted in
the rows (positions below the first that is not prefill are the prompt; what is generated
is one token more than its rows), scores in [0, 1] are taken as softmax, others as logits;
candidates that were not executed, groups, arrivals, sizes of experts and rows of which
nothing was recorded are gone.
"""

import numpy as np

from moesim.cells import Cells
from moesim.files import open_file
from moesim.formats import Format
from moesim.recording import Recording, Requests
from moesim.say import Failure, note
from moesim.table import Below, Between, OneOf, Table, column_names, read_line
from moesim.trace_writer import DECODE, PREFILL, VERIFY

FORMAT = Format(
    name="csv", writer="moesim trace export, or anything with its columns", files="csv",
    holds="routing, scores", source="moesim trace export --help")

PHASES = ("prefill", "decode", "draft", "verify")
REQUIRED = ("row", "layer", "expert")
COLUMNS = {"row": Below(1 << 48), "request": Below(1 << 32), "position": Below(1 << 32),
           "phase": OneOf(PHASES), "layer": Below(1024), "slot": Below(4096),
           "expert": Below(4096), "score": Between(-65504, 65504, blank=True)}
EMPTY_MOST = 1 << 20  # requests without a row
TAGS = {"request": "its row is of two requests", "position": "its row has two positions",
        "phase": "its row has two phases"}


class Survey:
    """What holds for all lines: layers, experts executed, whether there are scores."""

    def __init__(self, table):
        self.layers, self.top_k, self.lines = np.zeros(0, dtype=np.int64), 1, 0
        self.low, self.high, self.scored = 0.0, 0.0, 0
        self.last = (-1, 0)  # the last cell of a block, and its lines
        for found in table.blocks():
            self.lines += len(found["line"])
            self.layers = np.union1d(self.layers, found["layer"])
            if "slot" in found:
                self.top_k = max(self.top_k, int(found["slot"].max()) + 1)
            else:
                self.top_k = max(self.top_k, self.longest(found))
            if "score" in found:
                there = found["score"][~np.isnan(found["score"])]
                self.scored += len(there)
                self.low = min(self.low, float(there.min(initial=0)))
                self.high = max(self.high, float(there.max(initial=0)))
        if not self.lines:
            raise Failure(f"{table.path}: holds no line of routing; was it copied whole?")

    def longest(self, found):
        """Most lines of one cell, which stand together."""
        key = found["row"] * 1024 + found["layer"]
        begins = np.flatnonzero(np.diff(key, prepend=key[0] - 1))
        length = np.diff(begins, append=len(key))
        if key[0] == self.last[0]:
            length[0] += self.last[1]
        self.last = (int(key[-1]), int(length[-1]))
        return int(length.max())

    @property
    def score_kind(self):
        if not self.scored:
            return "none"
        return "softmax" if self.low >= 0 and self.high <= 1 else "logit"


def open_lines(path, stream):
    line = read_line(path, stream, 1)
    if line is None:
        raise Failure(f"{path}: is empty; was it written to the end?")
    names, columns = column_names(path, 1, line, REQUIRED), COLUMNS
    if "position" not in names:  # the row's number stands for it
        columns = COLUMNS | {"row": COLUMNS["position"]}
    return Table(path, stream, names, 2, columns)


def gather(path, out, survey):
    with open_file(path) as stream:
        table = open_lines(path, stream)
        scored = survey.score_kind != "none"
        cells = Cells(path, out, len(survey.layers), survey.top_k,
                      fields=("score",) if scored else (), tags=TAGS)
        for found in table.blocks():
            none = np.zeros(len(found["line"]), dtype=np.int64)
            tags = {"request": found.get("request", none),
                    "position": found.get("position", found["row"]),
                    "phase": found.get("phase", none + DECODE)}
            cells.put(found["line"], found["row"], np.searchsorted(survey.layers, found["layer"]),
                      found["expert"], found.get("slot"), tags,
                      **({"score": np.nan_to_num(found["score"])} if scored else {}))
    return cells


def read_requests(path, cells):
    """Requests by their numbers; their rows must follow each other."""
    number, position, phase = (cells.tag(name) for name in ("request", "position", "phase"))
    if (np.diff(number) < 0).any():
        at = int(np.argmax(np.diff(number) < 0)) + 1
        raise Failure(f"{path}: row {cells.keys.sorted[at]} is of request {number[at]}, the row "
                      f"before it of {number[at - 1]}; requests must follow each other")
    plain = np.flatnonzero(phase <= DECODE)
    back = (np.diff(position[plain]) <= 0) & (np.diff(number[plain]) == 0)
    if back.any():
        at = plain[int(np.argmax(back)) + 1]
        raise Failure(f"{path}: row {cells.keys.sorted[at]} has position {position[at]}, which "
                      "does not follow that of the row before it; a request's positions ascend")
    if int(number[-1]) > EMPTY_MOST + len(number):
        raise Failure(f"{path}: request {number[-1]} is of a file of {len(number)} rows; number "
                      "requests from 0 on")
    count = int(number[-1]) + 1
    rows = np.bincount(number, minlength=count)
    prompt = np.zeros(count, dtype=np.int64)
    late = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(late, number[phase != PREFILL], position[phase != PREFILL])
    np.maximum.at(prompt, number[phase == PREFILL], position[phase == PREFILL] + 1)
    later = late < np.iinfo(np.int64).max
    prompt[later] = np.maximum(prompt[later], late[later])
    output = np.bincount(number, weights=(phase == DECODE) | (phase == VERIFY), minlength=count)
    # The last token drawn is not run, so a request that generates has one more than its rows.
    return Requests.of(rows, prompt, output.astype(np.int64) + (output > 0))


def recognise(_path, head):
    names = head.split(b"\n", 1)[0].strip().split(b",")
    return {name.encode() for name in REQUIRED + ("slot",)} <= set(names)


def convert(paths, out, options):
    path = paths[0]
    with open_file(path) as stream:
        survey = Survey(open_lines(path, stream))
    cells = gather(path, out, survey)
    requests = read_requests(path, cells)
    position, phase = cells.tag("position"), cells.tag("phase")
    scored = survey.score_kind != "none"

    def blocks():
        for first, records in cells.blocks():
            part = slice(first, first + len(records))
            yield (first, records["expert"], records["score"] if scored else None,
                   {"position": position[part], "phase": phase[part]})

    Recording(path, FORMAT.name, blocks, requests, layers=survey.layers.tolist(),
              width=survey.top_k, top_k=survey.top_k, array="lines",
              score_kind=survey.score_kind, fills=False).write(out, options)
    tell(path, cells, survey)


def tell(path, cells, survey):
    lost = int(cells.keys.sorted[-1]) + 1 - len(cells.keys)
    if lost:
        note(f"{path}: {lost} of its rows have no line, as nothing was recorded of them, and are "
             "left out")
    if survey.score_kind != "none":
        note(f"{path}: its scores lie between {survey.low:.4g} and {survey.high:.4g}, so they are "
             f"taken as {survey.score_kind}")
