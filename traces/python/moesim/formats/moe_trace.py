"""CSV of llama.cpp's example moe-trace (`llama-moe-trace`, MOE_TRACE_OUT).

    layer,expert                     one line per choice; the head may be missing
    phase,token,layer,rank,expert    of a fork, where every line says whose it is

With all columns lines may stand in any order. Otherwise order tells: in a pass the layers
come one by one, each with the choices of all its tokens, so that a layer's run of lines is
tokens * k long. k is the model's where --model names one, --top-k, or the shortest run. A
layer not above the one before begins the next pass. A run shorter than the pass's longest is
of its last tokens (the last layer computes no others): the others were not recorded there.
Passes of several tokens are a prompt, passes of one token generate, and a prompt after
generation begins the next request, as where files were put one behind another. (A prompt whose
last ubatch is one token loses that one to generation.)

The tool copies its tensor without regard to the stride of rows, so that in a pass of several
tokens what follows the first token's choices may be the rest of its own ranking. That is
found, as no two of such lines agree in any layer; only the first token is recorded then.

Where runs are no multiples of k, or an expert occurs twice in a token, the order tells no
rows (the file was sorted, say): it becomes counts by pass, and that is said.

Sources: ggml-org/llama.cpp pull request 28544; Cartaz/llama.cpp-vulkan-moe,
examples/moe-trace/moe-trace.cpp at 9149912.
"""

import numpy as np

from moesim import filled
from moesim.cells import Cells, one_sequence
from moesim.counts import Counts
from moesim.files import Scratch, open_file
from moesim.formats import Format
from moesim.models import named
from moesim.recording import Recording, Requests
from moesim.say import Failure, note
from moesim.table import Below, OneOf, Table, column_names, read_line
from moesim.trace_writer import NOT_RECORDED

FORMAT = Format(
    name="moe_trace", writer="llama.cpp's example moe-trace", files="csv",
    holds="routing; load counts where the order of lines tells no rows", options=("top-k",),
    source="github.com/ggml-org/llama.cpp pull request 28544")

COLUMNS = {"phase": OneOf(("prefill", "decode")), "token": Below(1 << 32), "layer": Below(1024),
           "rank": Below(4096), "expert": Below(4096)}
FULL = ("phase", "token", "layer", "rank", "expert")
PLAIN = ("layer", "expert")
BLOCK_VALUES = 1 << 20
THINNEST = 64  # values that a line becomes in a pass of several tokens; more is no such file
SURELY = 7  # pairs of choices expected to agree, so that none does in one pass of a thousand


def open_lines(path, stream):
    line = read_line(path, stream, 1)
    if line is None:
        raise Failure(f"{path}: is empty; was it written to the end?")
    if not line[:1].isdigit():
        return Table(path, stream, column_names(path, 1, line, PLAIN), 2, COLUMNS)
    if line.count(",") != 1:
        raise Failure(f"{path}: line 1 names no columns; only layer,expert may do without")
    stream.seek(0)
    return Table(path, stream, list(PLAIN), 1, COLUMNS)


# ---- layer,expert: by order ----

class Choices:
    """The experts of all lines in a file without a name, and the runs of one layer."""

    def __init__(self, table, out):
        self.path, self.head = table.path, table.line - 1
        self.file = Scratch(out)
        layer, start, self.count = [], [], 0
        for found in table.blocks():
            lines = self.line(self.count) + np.arange(len(found["line"]))
            if (found["line"] != lines).any():
                raise Failure(f"{self.path}: line {lines[np.argmax(found['line'] != lines)]}: is "
                              "empty or a remark; take such lines out")
            self.file.write(2 * self.count, found["expert"].astype("<u2").tobytes())
            begins = np.flatnonzero(np.diff(found["layer"], prepend=layer[-1][-1] if layer else -1))
            if len(begins):
                layer.append(found["layer"][begins])
                start.append(begins + self.count)
            self.count += len(found["expert"])
        if not self.count:
            raise Failure(f"{self.path}: holds no line of routing; was it copied whole?")
        self.layer, self.start = np.concatenate(layer), np.concatenate(start)
        self.length = np.diff(self.start, append=self.count)
        self.run_pass = np.cumsum(np.diff(self.layer, prepend=1024) <= 0) - 1
        self.layers, self.place = np.unique(self.layer, return_inverse=True)
        self.place = self.place.reshape(-1)
        self.first_run = np.searchsorted(self.run_pass, np.arange(self.passes + 1))

    @property
    def passes(self):
        return int(self.run_pass[-1]) + 1

    def line(self, choice):
        return self.head + 1 + choice

    def pieces(self, each=0):
        """(first run, last run) of whole passes, as many as memory allows; `each`: values that a
        pass becomes, by pass or of all."""
        cost = np.cumsum(np.maximum(each, np.diff(self.start[self.first_run[:-1]],
                                                  append=self.count)))
        first = 0
        while first < self.passes:
            most = (cost[first - 1] if first else 0) + BLOCK_VALUES
            last = max(first + 1, int(np.searchsorted(cost, most, side="right")))
            yield int(self.first_run[first]), int(self.first_run[last])
            first = last

    def experts(self, first, last):
        """Of the runs [first, last)."""
        end = self.start[last] if last < len(self.start) else self.count
        begin = int(self.start[first])
        return np.frombuffer(self.file.read(2 * begin, 2 * (int(end) - begin)), dtype="<u2")


class ByOrder:
    """Choices as rows of `k`. `tells_no_rows` is a sentence where they are none."""

    def __init__(self, choices, k):
        self.c, self.k = choices, k
        self.tokens = choices.length // k  # of each run
        longest = np.maximum.reduceat(self.tokens, choices.first_run[:-1])
        self.first_row = np.concatenate([[0], np.cumsum(longest)])  # of each pass
        self.longest, self.rankings = longest, []
        self.tells_no_rows = self.find_uneven() or self.find_thin() or self.find_twice()

    def find_uneven(self):
        uneven = np.flatnonzero(self.c.length % self.k)
        if not len(uneven):
            return None
        run = int(uneven[0])
        return (f"line {self.c.line(self.c.start[run])}: a run of {self.c.length[run]} lines of "
                f"layer {self.c.layer[run]} is no multiple of the {self.k} experts of a token")

    def find_thin(self):
        lines = np.diff(self.c.start[self.c.first_run[:-1]], append=self.c.count)
        thin = np.flatnonzero((self.longest > 1) & (
            self.longest * self.k * len(self.c.layers) > THINNEST * np.maximum(lines, 4096)))
        if not len(thin):
            return None
        return (f"line {self.c.line(self.c.start[self.c.first_run[thin[0]]])}: a pass of "
                f"{self.longest[thin[0]]} tokens names few of the {len(self.c.layers)} layers")

    def find_twice(self):
        """Also looks for rankings."""
        for first, last in self.c.pieces():
            experts = self.c.experts(first, last)
            order = np.sort(experts.reshape(-1, self.k), axis=1)
            twice = np.flatnonzero((order[:, 1:] == order[:, :-1]).any(axis=1))
            if len(twice):
                line = self.c.line(int(self.c.start[first]) + int(twice[0]) * self.k)
                return f"line {line}: an expert occurs twice in the {self.k} lines of one token"
            self.find_rankings(first, experts, last)
        return None

    def find_rankings(self, first, experts, last):
        """Passes of several tokens in which no layer has an expert twice among the lines of
        its first tokens, up to all experts that there are."""
        runs = slice(first, last)
        expected = {}  # by pass: pairs that would agree in independent tokens
        for run in np.flatnonzero(self.tokens[runs] > 1) + first:
            number, at = int(self.c.run_pass[run]), int(self.c.start[run] - self.c.start[first])
            values = experts[at:at + int(self.c.length[run])]
            values = values[:max(2 * self.k, int(values.max()) + 1)]
            if len(np.unique(values)) < len(values):
                expected[number] = -np.inf
            else:
                expected[number] = expected.get(number, 0) + \
                    len(values) * (len(values) - self.k) / 2 / (int(values.max()) + 1)
        self.rankings += [number for number, pairs in expected.items() if pairs > SURELY]

    def requests(self):
        """A prompt after generation begins a new one."""
        prompt = self.longest > 1
        begins = np.flatnonzero(prompt & ~np.concatenate([[False], prompt[:-1]]))
        begins = np.union1d([0], begins)
        rows = np.add.reduceat(self.longest, begins)
        tokens = np.add.reduceat(np.where(prompt, self.longest, 0), begins)
        return Requests.of(rows, tokens, rows - tokens)

    def blocks(self):
        ranked = np.isin(np.arange(self.c.passes), self.rankings)
        for first, last in self.c.pieces(self.longest * len(self.c.layers) * self.k):
            experts, runs = self.c.experts(first, last), slice(first, last)
            number = self.c.run_pass[runs]
            row0, row1 = self.first_row[number[0]], self.first_row[number[-1] + 1]
            ids = np.full((row1 - row0, len(self.c.layers), self.k), NOT_RECORDED, dtype=np.uint16)
            # The tokens of a shorter run are the last ones of its pass.
            row = self.first_row[number] + self.longest[number] - self.tokens[runs] - row0
            of_run = np.repeat(np.arange(last - first), self.tokens[runs])
            token = np.arange(len(of_run)) - np.repeat(
                np.cumsum(self.tokens[runs]) - self.tokens[runs], self.tokens[runs])
            values = experts.reshape(-1, self.k)
            known = ~(ranked[number[of_run]] & (self.tokens[runs][of_run] > 1) & (token > 0))
            ids[(row[of_run] + token)[known], self.c.place[runs][of_run][known]] = values[known]
            yield int(row0), ids, None, {}


def count_blocks_of(choices, experts):
    layers = len(choices.layers)

    def blocks():
        for first, last in choices.pieces(layers * experts):
            runs, values = slice(first, last), choices.experts(first, last)
            if int(values.max()) >= experts:
                raise Failure(f"{choices.path}: expert {values.max()} is not below {experts}; name "
                              "the right model with --model")
            number = choices.run_pass[runs] - choices.run_pass[first]
            cell = np.repeat(number * layers + choices.place[runs], choices.length[runs])
            count = np.bincount(cell * experts + values, minlength=(
                int(number[-1]) + 1) * layers * experts)
            yield count.reshape(-1, layers, experts)
    return blocks


def by_order(table, out, options):
    choices = Choices(table, out)
    model = named(options.model) if options.model else None
    k = options.top_k or (model.top_k if model else int(choices.length.min()))
    rows = ByOrder(choices, k)
    if not rows.tells_no_rows:
        Recording(table.path, FORMAT.name, rows.blocks, rows.requests(),
                  layers=choices.layers.tolist(), width=k, top_k=k,
                  array="lines").write(out, options)
        tell_rankings(table.path, rows)
        return
    experts = options.experts or (model.experts if model else None)
    if experts is None:
        raise Failure(f"{table.path}: {rows.tells_no_rows}, so the order of lines tells no rows; "
                      "name the model with --model, or how many experts a token has with --top-k")
    Counts(table.path, FORMAT.name, count_blocks_of(choices, experts), experts=experts,
           layers=choices.layers.tolist(), top_k=options.top_k, array="lines").write(out, options)
    note(f"{table.path}: {rows.tells_no_rows}, so the order of lines tells no rows; it becomes "
         f"counts of {choices.passes} passes")


def tell_rankings(path, rows):
    if rows.rankings:
        note(f"{path}: passes {filled.listed(rows.rankings)} have several tokens and in no layer "
             "an expert twice: the tool wrote on with the first token's ranking, so only that "
             "token is recorded, the others become \"not recorded\"")


# ---- with phase, token and rank ----

def by_columns(table, out, options):
    layers, k = survey(table)
    if options.top_k not in (None, k):
        raise Failure(f"{table.path}: a token has up to {k} experts by rank, not {options.top_k}; "
                      "leave out --top-k")
    with open_file(table.path) as stream:
        table = open_lines(table.path, stream)
        cells = Cells(table.path, out, len(layers), k, what="its token, layer and rank", tags={
            "phase": "its token is both prefill and decode"},
            cure="; import sequences that were put one behind another one by one")
        for found in table.blocks():
            cells.put(found["line"], found["token"], np.searchsorted(layers, found["layer"]),
                      found["expert"], found.get("rank"), {"phase": found["phase"]})
    requests, position = one_sequence(cells), cells.keys.sorted

    def blocks():
        for first, records in cells.blocks():
            yield first, records["expert"], None, {
                "position": position[first:first + len(records)]}

    Recording(table.path, FORMAT.name, blocks, requests, layers=layers.tolist(), width=k, top_k=k,
              array="lines").write(out, options)


def survey(table):
    layers, k = np.zeros(0, dtype=np.int64), 0
    for found in table.blocks():
        layers = np.union1d(layers, found["layer"])
        k = max(k, int(found["rank"].max()) + 1)
    if not k:
        raise Failure(f"{table.path}: holds no line of routing; was it copied whole?")
    return layers, k


def recognise(_path, head):
    first = head.split(b"\n", 1)[0].strip().split(b",")
    return first == [b"layer", b"expert"] or first == [name.encode() for name in FULL]


def convert(paths, out, options):
    path = paths[0]
    with open_file(path) as stream:
        table = open_lines(path, stream)
        if set(FULL) <= set(table.names):
            by_columns(table, out, options)
        elif set(FULL) & set(table.names) == set(PLAIN):
            by_order(table, out, options)
        else:
            raise Failure(f"{path}: has columns {', '.join(table.names[:8])}; either layer and "
                          f"expert alone, or all of {', '.join(FULL)}")
