"""Hooks on routers, and what they saw as rows of a trace.

Nothing is changed: hooks return nothing, work on what the router returned, and ask other
routers without a call that a hook would see. Rows that a pass only carries along (padding,
requests that have ended) are left out before anything is copied.
"""

from typing import NamedTuple

import numpy as np
import torch

from moesim.say import Failure
from moesim.trace_writer import NOT_RECORDED


class Rows(NamedTuple):
    """What a pass routed: arrays (row, layer, candidate)."""
    expert: np.ndarray
    score: np.ndarray  # or None
    predicted: np.ndarray  # or None

    def part(self, first, count):
        return Rows(*(None if values is None else values[first:first + count] for values in self))


def to_numpy(values):
    values = values.detach()
    if values.dtype in (torch.float16, torch.bfloat16):
        values = values.float()
    return values.cpu().numpy()


def executed_first(ids, logits):
    """Candidates of each row: `ids`, then the other experts from the highest logit down, equal
    ones by number. Where an id was not executed, nothing follows."""
    rows, experts = logits.shape
    order = np.argsort(-logits, axis=1, kind="stable")
    full = (ids != NOT_RECORDED).all(axis=1)
    chosen = np.zeros((rows, experts), dtype=bool)
    np.put_along_axis(chosen, np.where(ids == NOT_RECORDED, 0, ids), True, axis=1)
    out = np.full((rows, experts), NOT_RECORDED, dtype=np.uint16)
    out[:, :ids.shape[1]] = ids
    rest = order[full][~np.take_along_axis(chosen, order, axis=1)[full]]
    out[full, ids.shape[1]:] = rest.reshape(-1, experts - ids.shape[1])
    return out


class Recorder:
    """Of some routers of a model, each a layer of the trace. A context manager: the hooks are
    there inside of it alone."""

    def __init__(self, family, routers, experts, top_k, *, scores="all", distance=1):
        self.family, self.routers = family, routers
        self.experts, self.top_k, self.scores = experts, top_k, scores
        self.distance = distance if self.can_predict(distance) else 0
        self.handles, self.keep = [], None
        self.watched = [index for index, router in enumerate(routers)
                        if isinstance(router.block.experts, torch.nn.ModuleDict)]
        self.partial = 0  # cells in which an expert had no room
        self.strange = set()  # layers in which experts ran that no row chose
        self.reset()

    def can_predict(self, distance):
        return distance > 0 and any(self.asked_by(i, distance) is not None
                                    for i in range(len(self.routers)))

    def asked_by(self, index, distance):
        """The layer whose router is asked in this one; of the same side."""
        ahead = index + distance
        if ahead < len(self.routers) and self.routers[ahead].side == self.routers[index].side:
            return ahead
        return None

    @property
    def candidates(self):
        return self.experts if self.scores == "all" else self.top_k

    def reset(self):
        self.seen = [None] * len(self.routers)
        self.predicted = [None] * len(self.routers)
        self.logits = {}
        self.ran = {index: set() for index in self.watched}
        self.routed = {}

    # ---- hooks ----

    def __enter__(self):
        for index, router in enumerate(self.routers):
            self.handles.append(router.module.register_forward_hook(
                lambda _, given, output, index=index: self.see(index, given[0], output)))
            if self.family.by_experts:
                self.handles.append(router.block.experts.register_forward_pre_hook(
                    lambda _, given, index=index: self.see_experts(index, given[1:3])))
            if index in self.watched:
                self.watch(index, router.block.experts)
        return self

    def __exit__(self, kind, value, trace):
        for handle in self.handles:
            handle.remove()
        self.handles = []

    def watch(self, index, experts):
        """Experts that are modules of their own tell when they run."""
        for number, module in enumerate(experts.values()):
            self.handles.append(module.register_forward_pre_hook(
                lambda *_, number=number: self.ran[index].add(number)))

    def see(self, index, hidden, output):
        if self.keep is None:
            return
        with torch.no_grad():
            self.predict(index, hidden)
            if self.family.by_experts:
                self.logits[index] = output
            else:
                self.store(index, output)

    def see_experts(self, index, given):
        if self.keep is not None and index in self.logits:
            with torch.no_grad():
                self.store(index, (self.logits.pop(index), given))

    def store(self, index, output):
        router = self.routers[index]
        logits, weights, ids = self.family.read(router, output)
        if self.seen[index] is not None:
            raise Failure(f"{router.name}: was called twice in a pass; such a model cannot be "
                          "captured")
        if ids.shape[0] != self.rows_in_pass:
            raise Failure(f"{router.name}: routed {ids.shape[0]} rows in a pass of "
                          f"{self.rows_in_pass}; such a model cannot be captured")
        keep = self.keep.to(ids.device)
        self.seen[index] = tuple(to_numpy(part[keep]) for part in (logits, weights, ids))
        if index in self.ran:
            self.routed[index] = set(to_numpy(ids).ravel().tolist())

    def predict(self, index, hidden):
        ahead = self.asked_by(index, self.distance) if self.distance else None
        if ahead is None:
            return
        ids = self.family.choose(self.routers[ahead], hidden)
        self.predicted[ahead] = to_numpy(ids[self.keep.to(ids.device)])

    # ---- passes ----

    def begin(self, keep):
        """A pass of len(keep) rows begins, of which those are recorded that `keep` says."""
        self.reset()
        self.rows_in_pass = len(keep)
        self.keep = torch.as_tensor(np.flatnonzero(keep))

    def end(self, layers=None):
        """The rows of the pass; `layers`: which of them it went through (all)."""
        layers = range(len(self.routers)) if layers is None else layers
        count = len(self.keep)
        self.keep = None
        shape = (count, len(self.routers))
        expert = np.full(shape + (self.candidates,), NOT_RECORDED, dtype=np.uint16)
        score = None if self.scores == "none" else np.zeros(expert.shape, dtype=np.float32)
        predicted = (np.full(shape + (self.top_k,), NOT_RECORDED, dtype=np.uint16)
                     if self.distance else None)
        for index in layers:
            if self.seen[index] is None:
                raise Failure(f"{self.routers[index].name}: was not called in a pass; such a "
                              "model cannot be captured")
            self.fill(index, expert, score)
            if self.predicted[index] is not None:
                predicted[:, index] = self.predicted[index]
        return Rows(expert, score, predicted)

    def fill(self, index, expert, score):
        logits, weights, ids = self.seen[index]
        ids = ids.astype(np.int64)
        if ids.shape[1] != self.top_k or logits.shape[1] != self.experts:
            raise Failure(f"{self.routers[index].name}: chose {ids.shape[1]} of "
                          f"{logits.shape[1]} experts, not {self.top_k} of {self.experts}; such "
                          "a model cannot be captured")
        if not self.family.ordered:
            order = np.argsort(-weights, axis=1, kind="stable")
            ids = np.take_along_axis(ids, order, axis=1)
            weights = np.take_along_axis(weights, order, axis=1)
        self.partial += int((ids == NOT_RECORDED).any(axis=1).sum())
        if index in self.ran and self.ran[index] - self.routed[index]:
            self.strange.add(index)
        none = ids == NOT_RECORDED
        if self.scores == "all":
            expert[:, index] = executed_first(ids, logits)
            at = expert[:, index].astype(np.int64)
            none = at == NOT_RECORDED
            score[:, index] = np.where(none, 0, np.take_along_axis(
                logits, np.where(none, 0, at), axis=1))
            return
        expert[:, index] = ids
        if score is not None:
            score[:, index] = np.where(none, 0, weights)
