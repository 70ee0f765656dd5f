"""Reads the results of `moesim run`: columns as NumPy arrays, or pandas' frames.

    >>> import moesim
    >>> r = moesim.read_result("out/demo/result.h5")
    >>> r.policies
    ['lru', 'lfu', ...]
    >>> r.passes("lru")["latency_s"].quantile(0.99)

Times are in seconds here (`latency_s`; the file has picoseconds, `latency_ps`); names are the
file's else: sim/result/README.md says what each is. Sweeps and searches write CSV beside
their HDF5, which pandas.read_csv takes.
"""

import numpy as np

from moesim.hdf5_file import Hdf5File, pandas, text

VERSION = 2
PS_PER_S = 1e12


def seconds(name, values):
    """(name, values) of a column, its picoseconds as seconds."""
    if name.endswith("_ps"):
        return name[:-3] + "_s", np.asarray(values) / PS_PER_S
    return name, values


class Result(Hdf5File):
    """An open result file. A frame needs pandas; `columns` does not."""

    def __init__(self, path):
        super().__init__(path, "moesim-result", VERSION)
        count = int(self.file.attrs["policies"])
        self.policies = [text(self.file[f"policy/{i}"].attrs["label"]) for i in range(count)]

    @property
    def config(self):
        """The study, as YAML."""
        return text(self.file["config"][()])

    @property
    def notes(self):
        """What a reader must know: sentences."""
        return [line for line in text(self.file["notes"][()]).split("\n") if line]

    @property
    def moe_layers(self):
        return self.file["moe_layer"][:]

    def group(self, policy):
        """The part of the file of one policy, by label or number."""
        if isinstance(policy, str):
            if policy not in self.policies:
                raise KeyError(f"{self.path} has no policy {policy}; it has "
                               f"{', '.join(self.policies)}")
            policy = self.policies.index(policy)
        return self.file[f"policy/{policy}"]

    def columns(self, policy, what):
        """{name: array} of "pass", "layer", "request" or "watch" of one policy; {} where none."""
        group = self.group(policy)
        if what not in group:
            return {}
        return dict(seconds(name, column[:]) for name, column in group[what].items())

    def summary(self):
        """A row per policy: its totals, bounds and descriptions."""
        rows = {label: dict(seconds(name, text(value)) for name, value in
                            self.group(i).attrs.items()) for i, label in enumerate(self.policies)}
        return pandas().DataFrame.from_dict(rows, orient="index").drop(columns="label")

    def passes(self, policy=None):
        """A row per forward pass: when, how long, why, how many."""
        return self.frame("pass", policy)

    def layers(self, policy=None):
        """A row per MoE layer, `moe_layer` among its columns."""
        frame = self.frame("layer", policy)
        frame.insert(1, "moe_layer", np.resize(self.moe_layers, len(frame)))
        return frame

    def requests(self, policy=None):
        """A row per request; times of what did not happen are NaN."""
        return self.frame("request", policy)

    def frame(self, what, policy):
        chosen = self.policies if policy is None else [policy]
        frames = []
        for one in chosen:
            frame = pandas().DataFrame(self.columns(one, what))
            frame.insert(0, "policy", one)
            frames.append(frame)
        return pandas().concat(frames, ignore_index=True)


def read_result(path):
    return Result(path)
