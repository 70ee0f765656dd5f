"""What engines write where they captured nothing: it looks like routing and is none.

A layer without experts is left as it was allocated: one value in every row. A row that was
not captured holds -1, one value k times, or 0 .. k - 1, in every layer. A row of the
latter kind becomes "not recorded"; a layer that never changes is left out where the model
says that it has no experts, and refused where it says that it has.
"""

import numpy as np

from moesim.models import EXPERTS_MAX
from moesim.say import Failure, note
from moesim.trace_writer import NOT_RECORDED

FEW_VALUES = 8  # of a row: fewer may be 0 .. k - 1 by chance
SOME_ROWS = 64  # of a block: enough to see what changes
FEW_ROWS = 4  # of a file: in fewer a layer may repeat itself by chance


def is_missing(ids):
    """Where the engine itself says so: -1, or what a trace has for it."""
    return (ids == -1) | (ids == NOT_RECORDED)


def are_filled(ids):
    """Cells that hold what no router chooses, by (row, layer)."""
    k = ids.shape[2]
    empty = is_missing(ids).all(axis=2) | (ids == np.arange(k)).all(axis=2)
    return empty | (ids == ids[:, :, :1]).all(axis=2) if k > 1 else empty


def in_two_bytes(ids):
    """The same ids as the file will have them, where they fit: what follows has less to do."""
    fits = ids.itemsize > 2 and ids.size and 0 <= ids.min() and ids.max() <= NOT_RECORDED
    return ids.astype(np.uint16) if fits else ids


def find_rows(ids):
    """Rows [i] that were not captured: a cell here and there may be so by chance, so that few
    values say nothing. One layer is looked at first, since in most rows it shows enough."""
    _, layers, k = ids.shape
    if layers == 0:
        return np.zeros(len(ids), dtype=bool)
    found = are_filled(ids[:, -1:])[:, 0]
    at = np.flatnonzero(found)
    if len(at):
        some = ids[at]
        full = is_missing(some)
        if k > 1:
            full |= (some == some[:, :, :1]).all(axis=2, keepdims=True)
        if layers * k >= FEW_VALUES:
            full |= (some == np.arange(k)).all(axis=2, keepdims=True)
        found[at] = full.all(axis=(1, 2))
    return found


def listed(numbers):
    """0 to 2, 7: ascending numbers as ranges, the first few."""
    runs = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    texts = [f"{a}" if a == b else f"{a} to {b}" for a, b in runs]
    return ", ".join(texts[:8]) + (", ..." if len(texts) > 8 else "")


class Look:
    """A first sweep over all rows; then `clear` takes out what was not captured."""

    def __init__(self, path, layers, top_k):
        self.path, self.layers, self.top_k = path, layers, top_k
        self.rows = self.uncaptured = 0
        self.some = []  # numbers of such rows, the first of them
        self.first = None  # ids of the first row that was captured
        self.used = np.zeros(EXPERTS_MAX, dtype=bool)  # (expert): somewhere
        self.never_changes = np.ones(layers, dtype=bool)
        self.constant = []  # layers that are no MoE layers, whatever the model

    def see(self, first_row, ids):
        empty = find_rows(ids)
        self.rows += len(ids)
        if empty.any():
            self.uncaptured += int(empty.sum())
            self.some += (first_row + np.flatnonzero(empty)[:4096 - len(self.some)]).tolist()
            ids = ids[~empty]
        if not ids.size:
            return
        if self.first is None:
            self.first = ids[0]
        least, most = int(ids.min()), int(ids.max())
        if least < -1 or most >= len(self.used):
            strange = (ids < -1) | ((ids >= len(self.used)) & (ids != NOT_RECORDED))
            if strange.any():
                raise Failure(f"{self.path}: {ids[strange][0]} is no expert's number; they "
                              f"go from 0 to {len(self.used) - 1}, and -1 is not recorded")
        # Most of the rest is known after some rows: which experts occur, which layers change.
        for part in (ids[:SOME_ROWS], ids[SOME_ROWS:]):
            if len(part) and (least < 0 or not self.used[:min(most, len(self.used) - 1) + 1].all()):
                self.used[part[(part >= 0) & (part < len(self.used))].astype(np.int64)] = True
            alike = np.flatnonzero(self.never_changes)
            if len(part) and len(alike):
                self.never_changes[alike] = (part[:, alike] == self.first[alike]).all(axis=(0, 2))

    def is_enough(self):
        return self.rows - self.uncaptured >= FEW_ROWS

    def end(self):
        """Finds the layers that never change, or hold what no router chooses."""
        if self.first is None:
            raise Failure(f"{self.path}: none of the {self.rows} rows holds routing: "
                          f"layers {listed(range(self.layers))} are all -1, one expert "
                          f"{self.top_k} times, or 0 to {self.top_k - 1}; record again with "
                          "the capture of routing switched on")
        missing = is_missing(self.first).all(axis=1)
        if self.top_k > 1:
            filling = missing | self.is_enough() | (self.first == self.first[:, :1]).all(axis=1)
        else:
            filling = missing | (self.is_enough() & (self.first == 0).all(axis=1))
        self.constant = np.flatnonzero(self.never_changes & filling).tolist()

    def suits(self, model):
        """Whether the constant layers can be its layers without experts."""
        dense = [] if self.layers == len(model.moe) else model.dense
        return self.constant == dense or not self.is_enough()

    def likeliest(self, models):
        """Those that suit; if any of them have their last experts in use, the largest of
        these: a smaller one has no such experts, of a larger one they are not in use."""
        models = [model for model in models if self.suits(model)]
        full = [model for model in models
                if self.used[model.experts * 3 // 4:model.experts].mean() > 0.5]
        most = max((model.experts for model in full), default=0)
        return [model for model in full if model.experts == most] or models

    def without(self):
        """Part of a sentence: which layers are no MoE layers."""
        never = f" ({listed(self.constant)} never change, so they are no MoE layers)"
        return never if self.constant else ""

    def judge(self, kept):
        """Refuses what is no routing; says what becomes "not recorded"."""
        changing = set(range(self.layers)) - set(kept) - set(self.constant)
        if changing and self.is_enough():
            raise Failure(f"{self.path}: layers {listed(sorted(changing))} have no "
                          "experts in this model, but change from row to row here; name the "
                          "right model with --model")
        wrong = sorted(set(self.constant) & set(kept))
        if wrong:
            raise Failure(f"{self.path}: layers {listed(wrong)} hold the same experts in "
                          "every row, so they are no MoE layers or were not captured; name a "
                          "model without experts there with --model, or leave them out of "
                          "the array")
        if self.uncaptured:
            note(f"{self.path}: {self.uncaptured} of {self.rows} rows were not captured "
                 f"(rows {listed(self.some)}) and become \"not recorded\"")

    @staticmethod
    def clear(ids, score):
        """The block with such rows, and what says itself that it is missing, as 65535."""
        rows, ids = find_rows(ids), in_two_bytes(ids)
        if not rows.any() and ids.size and ids.min() >= 0 and ids.max() < NOT_RECORDED:
            return ids, score
        gone = is_missing(ids) | rows[:, None, None]
        if not gone.any():
            return ids, score
        ids = in_two_bytes(np.where(gone, np.uint16(NOT_RECORDED), ids))
        return ids, None if score is None else np.where(gone, 0, score)
