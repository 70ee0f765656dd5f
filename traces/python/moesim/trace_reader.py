"""Reads trace files: /token and /request as columns, /routing in blocks of rows.

    >>> import moesim
    >>> t = moesim.read_trace("mine.h5")
    >>> t.experts, t.top_k, t.rows
    (32, 4, 215438)
    >>> ids = t.routing(0, 1000)          # (row, layer, candidate); 65535: not recorded
    >>> t.tokens().groupby("request").size()
"""

import numpy as np

from moesim.hdf5_file import Hdf5File, pandas, text
from moesim.trace_writer import KIND, VERSION


class Trace(Hdf5File):
    """An open trace. A frame needs pandas."""

    def __init__(self, path):
        super().__init__(path, KIND, VERSION)
        attributes = self.file.attrs
        self.model, self.source, self.capture, self.score_kind = (
            text(attributes[name]) for name in ("model", "source", "capture", "score_kind"))
        self.experts, self.top_k, self.candidates = (
            int(attributes[name]) for name in ("experts", "top_k", "candidates"))
        self.moe_layers = self.file["moe_layer"][:]
        self.counts_only = "routing/expert" not in self.file
        self.rows = 0 if self.counts_only else self.file["routing/expert"].shape[0]

    def routing(self, first=0, last=None, what="expert"):
        """Rows first to last - 1 of /routing/WHAT (expert, score, predicted, resident)."""
        return self.file[f"routing/{what}"][first:last]

    def counts(self, first=0, last=None):
        """Of a count-only trace: tokens by (pass, layer, expert)."""
        return self.file["load/count"][first:last]

    def popularity(self, block=65536):
        """Rows that each expert was executed for, by (layer, expert)."""
        total = np.zeros((len(self.moe_layers), self.experts), dtype=np.int64)
        if self.counts_only:
            for first in range(0, self.file["load/count"].shape[0], 1024):
                total += self.counts(first, first + 1024).sum(axis=0, dtype=np.int64)
            return total
        for first in range(0, self.rows, block):
            ids = self.routing(first, first + block)[:, :, :self.top_k]
            for layer in range(ids.shape[1]):
                here = ids[:, layer]
                total[layer] += np.bincount(here[here < self.experts], minlength=self.experts)
        return total

    def tokens(self):
        """A row per row of the trace: request, position, phase, token_id and source if known."""
        return self.frame("token")

    def requests(self):
        """A row per request; `group` by name."""
        frame = self.frame("request")
        if "group_name" in self.file:
            names = [text(name) for name in self.file["group_name"][:]]
            frame["group"] = [names[i] for i in frame["group"]]
        return frame

    def frame(self, what):
        if what not in self.file:
            return pandas().DataFrame()
        return pandas().DataFrame({name: column[:] for name, column in self.file[what].items()})


def read_trace(path):
    return Trace(path)
