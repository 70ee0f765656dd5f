"""Choices of experts that come one by one and in any order, gathered into rows.

A row is known by a key (a token's number, say) and has a record: its experts by (layer,
slot), and scores and residency where the source has them. Records are kept in windows, a
few of them in memory and the others in a file without a name, so that memory does not
grow with the trace, and nothing is left when the import is stopped. A row's key and tags
stay in memory: some 50 bytes a row.
"""

import numpy as np

from moesim.files import Scratch
from moesim.recording import Requests, block_rows
from moesim.say import Failure
from moesim.trace_writer import NOT_RECORDED

WINDOW_BYTES = 1 << 23
WINDOWS_MOST = 8
UNKNOWN = 255
GONE = NOT_RECORDED - 1  # in place of an expert that was chosen and not executed
EMPTY = {"expert": NOT_RECORDED, "score": 0, "resident": UNKNOWN}


class Keys:
    """Rows are numbered as their keys appear."""

    def __init__(self, tags):
        self.sorted = np.zeros(0, dtype=np.int64)
        self.row = np.zeros(0, dtype=np.int64)  # of each in `sorted`
        self.tags = {name: np.zeros(0, dtype=np.int64) for name in tags}

    def __len__(self):
        return len(self.sorted)

    def rows_of(self, key, tags):
        """The row of each key; for a new one, tags of its first appearance are kept."""
        new, first, which = np.unique(key, return_index=True, return_inverse=True)
        which = which.reshape(-1)
        at = np.searchsorted(self.sorted, new)
        known = np.zeros(len(new), dtype=bool)
        inside = at < len(self.sorted)
        known[inside] = self.sorted[at[inside]] == new[inside]
        row = np.empty(len(new), dtype=np.int64)
        row[known] = self.row[at[known]]
        count = len(self)
        row[~known] = count + np.argsort(np.argsort(first[~known]))
        by_appearance = np.argsort(row[~known])
        for name, values in tags.items():
            self.tags[name] = np.concatenate(
                [self.tags[name], values[first[~known]][by_appearance]])
        if not known.all():
            self.sorted = np.insert(self.sorted, at[~known], new[~known])
            self.row = np.insert(self.row, at[~known], row[~known])
        return row[which]


class Windows:
    """Records by number; those used longest ago are put into the file."""

    def __init__(self, out, layers, width, fields):
        self.empty = np.zeros(1, dtype=[(name, kind, (layers, width)) for name, kind in (
            ("expert", "<u2"), ("score", "<f2"), ("resident", "u1"))
            if name == "expert" or name in fields])
        for name in self.empty.dtype.names:
            self.empty[name] = EMPTY[name]
        self.rows = max(1, WINDOW_BYTES // self.empty.itemsize)
        self.held, self.file = {}, Scratch(out)
        self.stored = set()

    def get(self, number):
        window = self.held.pop(number, None)
        if window is None:
            if len(self.held) >= WINDOWS_MOST:
                self.put_away(next(iter(self.held)))
            window = self.take_back(number)
        self.held[number] = window  # the last of them
        return window

    def put_away(self, number):
        self.file.write(number * self.rows * self.empty.itemsize, self.held.pop(number).tobytes())
        self.stored.add(number)

    def take_back(self, number):
        if number not in self.stored:
            return np.repeat(self.empty, self.rows)
        size = self.rows * self.empty.itemsize
        return np.frombuffer(bytearray(self.file.read(number * size, size)), self.empty.dtype)


class Cells:
    """`what`: what a choice is called that occurs twice, with the cure; `tags`: what all lines
    of a row must agree in, with the sentence for those that do not."""

    def __init__(self, path, out, layers, width, *, fields=(), tags=None,
                 what="its row, layer and slot", cure=""):
        self.path, self.width, self.twice = path, width, f"{what} occurs twice{cure}"
        self.agree = tags or {}
        self.keys = Keys(self.agree)
        self.windows = Windows(out, layers, width, fields)

    def put(self, line, key, layer, expert, slot=None, tags=None, **more):
        """A block of choices, all of one length; `layer` is its place. Without `slot` they
        follow each other in a cell as they come."""
        tags = tags or {}
        row = self.keys.rows_of(key, tags)
        for name, values in tags.items():
            self.refuse(self.keys.tags[name][row] != values, line, self.agree[name])
        number = row // self.windows.rows
        for one in np.unique(number):
            part = number == one
            self.put_in(self.windows.get(int(one)), line[part], row[part] % self.windows.rows,
                        layer[part], expert[part], None if slot is None else slot[part],
                        {name: values[part] for name, values in more.items()})

    def put_in(self, window, line, row, layer, expert, slot, more):
        cell = row * window["expert"].shape[1] + layer
        if slot is None:
            order = np.argsort(cell, kind="stable")
            rank = np.arange(len(cell)) - np.searchsorted(cell[order], cell[order])
            slot = np.empty_like(rank)
            slot[order] = rank
            slot += (window["expert"][row, layer] != NOT_RECORDED).sum(axis=1)
            self.refuse(slot >= self.width, line,
                        f"its cell has more experts than {self.width}, as many as a token has")
        at = cell * self.width + slot
        order = np.argsort(at, kind="stable")
        twice = np.zeros(len(at), dtype=bool)
        twice[order[1:]] = at[order[1:]] == at[order[:-1]]
        self.refuse(twice | (window["expert"][row, layer, slot] != NOT_RECORDED), line,
                    self.twice)
        window["expert"][row, layer, slot] = expert
        for name, values in more.items():
            window[name][row, layer, slot] = values

    def refuse(self, bad, line, what):
        if bad.any():
            raise Failure(f"{self.path}: line {line[int(np.argmax(bad))]}: {what}")

    def tag(self, name):
        """(row), in the order of their keys."""
        return self.keys.tags[name][self.keys.row]

    def blocks(self):
        """(first row, records by row, layer and slot, without gaps in a cell), in the order of
        their keys."""
        step = block_rows(*self.windows.empty["expert"].shape[1:])
        for first in range(0, len(self.keys), step):
            yield first, close_up(self.take(self.keys.row[first:first + step]))

    def take(self, rows):
        found = np.repeat(self.windows.empty, len(rows))
        number = rows // self.windows.rows
        for one in np.unique(number):
            part = number == one
            found[part] = self.windows.get(int(one))[rows[part] % self.windows.rows]
        return found


def one_sequence(cells):
    """Requests of one whose positions are the keys, and whose tag `phase` says which of them
    are prefill (0) and decode (1)."""
    position, phase = cells.keys.sorted, cells.tag("phase")
    prompt = int(position[phase == 0].max(initial=-1)) + 1
    if (position[phase == 1] < prompt).any():
        raise Failure(f"{cells.path}: token {int(position[phase == 1].min())} is decode, but token "
                      f"{prompt - 1} is prefill; a prompt comes before what it generates")
    return Requests.of([len(position)], [prompt], [int((phase == 1).sum())])


def close_up(records):
    """Gaps may only end a cell; what is GONE leaves one."""
    gone = records["expert"] == GONE
    for name, value in EMPTY.items():
        if name in records.dtype.names:
            records[name][gone] = value
    missing = records["expert"] == NOT_RECORDED
    if (missing[:, :, :-1] & ~missing[:, :, 1:]).any():
        order = np.argsort(missing, axis=2, kind="stable")
        for name in records.dtype.names:
            records[name] = np.take_along_axis(records[name], order, axis=2)
    return records
