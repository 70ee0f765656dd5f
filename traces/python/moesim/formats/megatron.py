"""Router traces of Megatron-Core (`--moe-routing-trace-path`).

router_trace_rankN.jsonl, one object for each step, block and layer:

    {"step": 0, "stage": "pre_dispatch", "block": "decoder", "layer": 3, "rank": 0,
     "num_tokens": 128, "topk": 8, "top_indices": [[12, 45, ...], ...]}

A pass is a run of lines in which no layer comes twice. Lines with block "mtp" are left out.
Where lines have logit_offset, logit_bytes and logit_shape, logits_rankN.bin beside the file
holds the router's logits [token][expert] in bfloat16: they become the scores of all experts,
the chosen ones first. hidden_states_rankN.bin is not read.

The file does not say to which request a token belongs. So each pass is one request, whose
rows are all prompt, and one recorded batch. Several FILES are several ranks of one run, whose
tokens differ (parallel over data or sequence); /token/source says which.

Source: NVIDIA/Megatron-LM, megatron/core/transformer/moe/router_trace.py (2026).
"""

import os

import numpy as np

from moesim.files import open_file
from moesim.formats import Format
from moesim.json_lines import is_whole, objects
from moesim.recording import Recording, Requests
from moesim.say import Failure, note

FORMAT = Format(
    name="megatron", writer="Megatron-Core's router traces (--moe-routing-trace-path)",
    files="jsonl, with logits_rankN.bin beside it", holds="routing, scores", several=True,
    source="github.com/NVIDIA/Megatron-LM, megatron/core/transformer/moe/router_trace.py")

NUMBERS = {"step": 1 << 32, "layer": 1024, "num_tokens": 1 << 32, "topk": 4097, "rank": 65535}


class Line:
    """One object, its numbers checked; the ids become an array when they are asked for."""

    def __init__(self, where, found):
        self.where, self.found = where, found
        for name, below in NUMBERS.items():
            value = found.get(name)
            if not is_whole(value, below):
                raise Failure(f"{where}: {name} is missing or no whole number below {below}; "
                              "import the file as Megatron-Core wrote it")
            setattr(self, name, value)

    def is_decoder(self):
        return self.found.get("block", "decoder") == "decoder"

    def ids(self):
        try:
            ids = np.array(self.found.get("top_indices"))
        except ValueError:
            ids = np.array(None)
        if ids.size == 0 and self.num_tokens == 0:
            ids = np.zeros((0, self.topk), dtype=np.int64)
        if ids.shape != (self.num_tokens, self.topk) or ids.dtype.kind not in "ui":
            raise Failure(f"{self.where}: top_indices is no list of {self.num_tokens} tokens with "
                          f"{self.topk} experts each, as num_tokens and topk say; is the "
                          "file whole?")
        return ids

    def logit_place(self):
        """(offset, experts), or None where the line has no logits."""
        if "logit_offset" not in self.found:
            return None
        offset, size, shape = (self.found.get("logit_" + name)
                               for name in ("offset", "bytes", "shape"))
        if not is_whole(offset) or not isinstance(shape, list) or len(shape) != 2 or \
                shape[0] != self.num_tokens or not is_whole(shape[1], 4097, self.topk) or \
                size != 2 * shape[0] * shape[1]:
            raise Failure(f"{self.where}: logit_offset, logit_bytes or logit_shape contradict its "
                          f"{self.num_tokens} tokens; import the file as it was written")
        return offset, shape[1]


def passes_of(path):
    """Lists of lines, by layer, as they were run together."""
    lines, step = {}, None
    for place, found in objects(path):
        line = Line(place.where, found)
        if not line.is_decoder():
            continue
        if lines and (line.layer in lines or line.step != step):
            yield lines
            lines = {}
        lines[line.layer], step = line, line.step
    if lines:
        yield lines


class Rank:
    """One file: what a first sweep shows, and its passes read again."""

    def __init__(self, path):
        self.path, self.logits = path, None
        self.rows, self.layers, self.top_k, self.experts = [], [], None, None
        counts, self.mtp, self.hidden = [], 0, False
        for lines in passes_of(path):
            counts.append(len(lines))
            self.layers = sorted(set(self.layers) | set(lines))
            self.see(lines)
        if not self.layers:
            raise Failure(f"{path}: holds no line of a decoder layer; trace again, with the hooks "
                          "on (--cuda-graph-impl none)")
        self.whole = [count == len(self.layers) for count in counts]
        self.rows = [rows for rows, whole in zip(self.rows, self.whole) if whole]
        if not any(self.rows):
            raise Failure(f"{path}: no pass has tokens in all {len(self.layers)} layers; trace "
                          "again, longer")
        if not all(self.whole):
            note(f"{path}: {self.whole.count(False)} of {len(counts)} passes lack some layers and "
                 "are left out")
        self.find_logits()

    def see(self, lines):
        first = next(iter(lines.values()))
        self.rows.append(first.num_tokens)
        for line in lines.values():
            self.rank = line.rank
            self.top_k = self.top_k or line.topk
            place = line.logit_place()
            experts = place and place[1]
            if self.experts is None:
                self.experts = experts or 0
            if line.num_tokens != first.num_tokens or line.topk != self.top_k or \
                    (experts or 0) != self.experts:
                raise Failure(f"{line.where}: has other numbers of tokens, experts or logits than "
                              f"the lines before it ({first.num_tokens} tokens, {self.top_k} "
                              "experts); import the file as it was written")
            self.hidden |= "hs_offset" in line.found

    def find_logits(self):
        name = os.path.join(os.path.dirname(self.path), f"logits_rank{self.rank}.bin")
        if self.experts and os.path.exists(name):
            self.logits = name
        elif self.experts:
            note(f"{name}: is not there, so scores are absent, though the lines tell of logits")
        if self.hidden:
            note(f"{self.path}: hidden states beside it are not kept")

    def read_logits(self, line, stream):
        offset, experts = line.logit_place()
        stream.seek(offset)
        size = 2 * line.num_tokens * experts
        data = stream.read(size)
        if len(data) != size:
            raise Failure(f"{self.logits}: ends before byte {offset + size}, where {line.where} "
                          "has its logits; copy it again")
        bits = np.frombuffer(data, dtype="<u2").astype(np.uint32) << 16
        return bits.view(np.float32).reshape(line.num_tokens, experts)

    def blocks(self, scored):
        """(ids, scores or None) of each whole pass with tokens."""
        stream = open_file(self.logits) if scored else None
        for lines, whole in zip(passes_of(self.path), self.whole):
            if not whole or next(iter(lines.values())).num_tokens == 0:
                continue
            cells = [ranked(line, self.read_logits(line, stream) if scored else None)
                     for line in (lines[layer] for layer in self.layers)]
            yield (np.stack([ids for ids, _ in cells], axis=1),
                   np.stack([score for _, score in cells], axis=1) if scored else None)


def ranked(line, logits):
    """All experts of each token: the chosen ones as recorded, then the others by their logits."""
    ids = line.ids()
    if logits is None:
        return ids, None
    if ids.size and (ids.min() < 0 or ids.max() >= logits.shape[1]):
        raise Failure(f"{line.where}: top_indices has an expert that is not from 0 to "
                      f"{logits.shape[1] - 1}, which have logits; import the file as it "
                      "was written")
    key = logits.copy()
    np.put_along_axis(key, ids, np.inf, axis=1)
    order = np.argsort(-key, axis=1, kind="stable")
    order[:, :line.topk] = ids
    return order, np.take_along_axis(logits, order, axis=1)


def convert(paths, out, options):
    ranks = [Rank(path) for path in paths]
    first = ranks[0]
    for rank in ranks:
        if rank.layers != first.layers or rank.top_k != first.top_k:
            raise Failure(f"{rank.path}: has other layers or experts per token than {first.path}; "
                          "import the files of each stage of a pipeline one by one")
    scored = all(rank.logits for rank in ranks)
    if not scored and any(rank.logits for rank in ranks):
        note(f"{first.path}: not all ranks have logits, so scores are absent")
    rows = np.array([count for rank in ranks for count in rank.rows if count], dtype=np.int64)
    source = np.repeat([rank.rank for rank in ranks], [sum(rank.rows) for rank in ranks])

    def blocks():
        begin = 0
        for rank in ranks:
            for ids, score in rank.blocks(scored):
                more = {"source": source[begin:begin + len(ids)]} if len(ranks) > 1 else {}
                yield begin, ids, score, more
                begin += len(ids)

    note(f"{first.path}: does not say to which request a token belongs, so each of its {len(rows)} "
         "passes is one request, all of it prompt")
    ends = np.cumsum(rows)
    experts = first.experts if scored else None
    Recording(first.path, FORMAT.name, blocks, Requests.of(rows, rows, rows * 0),
              layers=first.layers, width=experts or first.top_k, top_k=first.top_k, experts=experts,
              score_kind="logit" if scored else "none", array="top_indices",
              fields=("source",) if len(ranks) > 1 else (),
              passes=[np.arange(end - count, end) for end, count in zip(ends, rows)],
              ).write(out, options)


def recognise(_path, head):
    line = head.split(b"\n", 1)[0]
    return line[:1] == b"{" and all(f'"{name}"'.encode() in line for name in (
        "step", "layer", "num_tokens", "topk", "top_indices"))
