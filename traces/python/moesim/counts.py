"""Tokens per expert, on their way from a file of some format to a count-only trace."""

import os

import numpy as np

from moesim import filled
from moesim.model_choice import Recorded
from moesim.say import Failure, note
from moesim.trace_writer import CountWriter


class Look:
    """Which layers have no counts, so that they can be no MoE layers."""

    def __init__(self, where, layers):
        self.where, self.layers = where, layers
        self.total = np.zeros(len(layers))

    def see(self, counts):
        self.total += counts.sum(axis=(0, 2), dtype=np.float64)

    @property
    def empty(self):
        return np.flatnonzero(self.total == 0).tolist()

    def likeliest(self, models):
        return [model for model in models if self.is_empty_where(model)] or models

    def is_empty_where(self, model):
        return self.empty == ([] if len(self.layers) == len(model.moe) else model.dense)

    def without(self):
        return (f" (layers {filled.listed(self.empty)} count nothing, so they are no MoE layers)"
                if self.empty else "")

    def judge(self, kept):
        wrong = sorted(set(self.empty) & set(kept))
        if wrong:
            raise Failure(f"{self.where}: layers {filled.listed(self.layers[i] for i in wrong)} "
                          "count no token in any pass, so they are no MoE layers or were not "
                          "recorded; name a model without experts there with --model")


class Counts(Recorded):
    """`blocks()` begins anew each time and yields counts by (pass, layer, expert). numbered:
    the file itself numbers its layers, so that they may be some of the model's."""

    def __init__(self, path, format_name, blocks, *, layers, experts, top_k=None, array="counts",
                 numbered=False):
        super().__init__(path, f"{path}: {array}", format_name, layers=layers, top_k=top_k,
                         experts=experts)
        self.blocks, self.numbered, self.empty = blocks, numbered, []

    def part_of(self, model):
        """By their numbers, or the first ones where layers without counts show which. What
        stands behind the last layer of a model that is all there predicts further tokens."""
        if self.numbered and set(self.layers) <= set(model.moe):
            return list(range(len(self.layers)))
        if self.numbered and self.behind(model) == sorted(set(self.layers) - set(model.moe)) and \
                set(model.moe) <= set(self.layers):
            return [i for i, layer in enumerate(self.layers) if layer in model.moe]
        count = len(self.layers)
        dense = [layer for layer in range(count) if layer not in model.moe]
        if self.layers == list(range(count)) and count < model.layers and \
                0 < len(dense) < count and dense == self.empty:
            return [layer for layer in range(count) if layer in model.moe]
        return None

    def behind(self, model):
        return [layer for layer in self.layers if layer >= model.layers]

    def write(self, out, options):
        look = Look(self.where, self.layers)
        for counts in self.blocks():
            look.see(np.asarray(counts))
        if not look.total.any():
            raise Failure(f"{self.where}: counts nothing; record again with the counting of "
                          "experts switched on")
        self.empty = look.empty
        name, experts, top_k, moe_layer, kept = self.choose_model(look, options)
        look.judge(kept)
        model = self.chosen
        if model is not None and len(moe_layer) < len(model.moe):
            note(f"{self.path}: counts layers {filled.listed(moe_layer)} of {name}, which has "
                 f"experts in {len(model.moe)}; the others are absent")
        if model is not None and self.numbered and self.behind(model):
            note(f"{self.path}: layers {filled.listed(self.behind(model))} are behind the last of "
                 f"{name}; they predict further tokens and are left out")
        with CountWriter(out, model=name, experts=experts, top_k=top_k, moe_layer=moe_layer,
                         source=options.source or os.path.basename(self.path),
                         capture=self.capture) as writer:
            for counts in self.blocks():
                writer.passes(self.where, np.asarray(counts)[:, kept])
            writer.commit()
