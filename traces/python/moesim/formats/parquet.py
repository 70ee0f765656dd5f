"""Parquet with one file a layer, as the routing traces of FLAME-MoE are published.

    actives/iter_5473/layer_02.parquet ...    indices: experts of a token, [k] whole numbers;
                                              scores: their softmax probabilities (optional)
    samples/000.parquet ...                   token_id: the token (optional; in given order)

All FILEs of one checkpoint are named at once; row i of each is the same token. The number of
a layer is in its file's name. There layers are counted from 1, as Megatron does: layer_02 is
decoder layer 1, which is said; where a file is called layer_00 they are counted from 0.
Where sequences begin is not in the files, so all tokens are one of prefill.

It is read with pyarrow, in batches: the package's extra `parquet`.

Source: huggingface.co/datasets/CMU-FLAME/FLAME-MoE-Traces, README.md at 394919b.
"""

import os
import re

import numpy as np

from moesim.files import open_file
from moesim.formats import Format
from moesim.recording import MOST, Recording, Requests, block_rows
from moesim.say import Absent, Failure, note

FORMAT = Format(
    name="parquet", writer="FLAME-MoE's traces: parquet, one file a layer", files="parquet",
    holds="routing, scores, token ids", several=True,
    source="huggingface.co/datasets/CMU-FLAME/FLAME-MoE-Traces")

KNOWN = ("indices", "scores", "token_id")


def reader():
    """pyarrow.parquet, which only this format needs."""
    try:
        import pyarrow.parquet
    except ImportError as failure:
        raise Absent("trace import --from parquet needs pyarrow, the extra `parquet` (pip install "
                     f"pyarrow): {failure}; PYTHON names another interpreter") from None
    return pyarrow.parquet


class File:
    """One file, opened anew each time it is read."""

    def __init__(self, parquet, path):
        self.parquet, self.path = parquet, path
        file = self.open()
        self.rows = file.metadata.num_rows
        self.columns = set(file.schema_arrow.names)

    def tried(self, what):
        """What of pyarrow fails, of many kinds, on bytes that mean nothing."""
        try:
            return what()
        except StopIteration:
            return None
        except Exception as failure:
            reason = str(failure).split("\n", 1)[0][:200]
            raise Failure(f"{self.path}: cannot be read as parquet ({reason}); copy the file "
                          "again") from None

    def open(self):
        open_file(self.path).close()
        return self.tried(lambda: self.parquet.ParquetFile(self.path))

    def batches(self, name, rows):
        """The column in pieces of exactly `rows` values, but for the last."""
        file = self.open()
        batches = self.tried(lambda: file.iter_batches(batch_size=rows, columns=[name]))
        held, count = [], 0
        while (batch := self.tried(lambda: next(batches))) is not None:
            values = self.values(name, batch.column(0))
            while len(values):
                part, values = values[:rows - count], values[rows - count:]
                held.append(part)
                count += len(part)
                if count == rows:
                    yield np.concatenate(held)
                    held, count = [], 0
        if count:
            yield np.concatenate(held)

    def values(self, name, column):
        """By (row) or (row, slot)."""
        flat, width = column, None
        if name != "token_id":
            if not hasattr(column, "flatten"):
                raise Failure(f"{self.path}: {name} is {column.type}, not a list for each token")
            length = self.tried(lambda: np.asarray(column.value_lengths().to_numpy(
                zero_copy_only=False), dtype=np.float64))
            width = 0 if not len(length) else length[0]
            if not width >= 1 or not (length == width).all():
                raise Failure(f"{self.path}: {name} has lists of several lengths; each token must "
                              "have as many experts")
            flat = self.tried(column.flatten)
        if flat.null_count:
            raise Failure(f"{self.path}: {name} has empty values; each token must have one")
        values = self.tried(lambda: flat.to_numpy(zero_copy_only=False))
        kinds = "f" if name == "scores" else "iu"
        if values.dtype.kind not in kinds:
            raise Failure(f"{self.path}: {name} is of {column.type}, not of "
                          f"{'floating point' if kinds == 'f' else 'whole'} numbers")
        return values if width is None else values.reshape(-1, int(width))


def sort_out(files):
    """({layer's number: its file}, files of token ids)."""
    layers, tokens = {}, []
    for file in files:
        if "indices" not in file.columns:
            if "token_id" not in file.columns:
                raise Failure(f"{file.path}: has columns {', '.join(sorted(file.columns)[:8])}; "
                              "indices (of a layer) or token_id must be among them")
            tokens.append(file)
            continue
        match = re.search(r"layer[_-]?([0-9]{1,4})", os.path.basename(file.path))
        if match is None:
            raise Failure(f"{file.path}: its name does not say which layer it is of; call it "
                          "layer_NN.parquet")
        if int(match[1]) in layers:
            raise Failure(f"{file.path}: layer {int(match[1])} is given twice; name the files of "
                          "one checkpoint")
        layers[int(match[1])] = file
    if not layers:
        raise Failure(f"{files[0].path}: no FILE has indices; name the files of the layers, "
                      "layer_*.parquet, with it")
    return dict(sorted(layers.items())), tokens


def check(layers, tokens):
    """All have the same rows, and all layers the same columns."""
    first = next(iter(layers.values()))
    for file in layers.values():
        if file.rows != first.rows or ("scores" in file.columns) != ("scores" in first.columns):
            raise Failure(f"{file.path}: has {file.rows} rows, with columns "
                          f"{', '.join(sorted(file.columns)[:8])}, but {first.path} {first.rows} "
                          f"with {', '.join(sorted(first.columns)[:8])}; name files of one "
                          "checkpoint")
    if not 0 < first.rows <= MOST:
        raise Failure(f"{first.path}: has {first.rows} rows; from 1 to {MOST} can be written")
    if tokens and sum(file.rows for file in tokens) != first.rows:
        raise Failure(f"{tokens[0].path}: the files of token_id have "
                      f"{sum(file.rows for file in tokens)} rows in all, but {first.path} "
                      f"{first.rows}; name all of them, or none")
    unknown = set().union(*(file.columns for file in (*layers.values(), *tokens))) - set(KNOWN)
    if unknown:
        note(f"{first.path}: columns {', '.join(sorted(unknown)[:8])} are not kept")


class Layers:
    """Rows of all files, side by side."""

    def __init__(self, layers, tokens):
        self.files, self.tokens = list(layers.values()), tokens
        self.rows = self.files[0].rows
        self.scored = "scores" in self.files[0].columns
        self.width = next(self.files[0].batches("indices", 1)).shape[1]
        self.step = block_rows(len(layers), self.width)

    def ids_of(self, name):
        columns = [file.batches(name, self.step) for file in self.files]
        while True:
            parts = [next(column, None) for column in columns]
            if parts[0] is None:
                return
            for file, part in zip(self.files, parts):
                if part is None or part.shape != parts[0].shape or part.shape[1] != self.width:
                    raise Failure(f"{file.path}: {name} is not {self.width} for each token, as in "
                                  f"{self.files[0].path}; name files of one checkpoint")
            yield np.stack(parts, axis=1)

    def token_ids(self):
        left = np.zeros(0, dtype=np.int64)
        for file in self.tokens:
            for values in file.batches("token_id", self.step):
                left = np.concatenate([left, values])
                while len(left) >= self.step:
                    yield left[:self.step]
                    left = left[self.step:]
        if len(left):
            yield left

    def blocks(self):
        scores = self.ids_of("scores") if self.scored else None
        tokens, first = self.token_ids(), 0
        for ids in self.ids_of("indices"):
            yield (first, ids.astype(np.int64), next(scores) if self.scored else None,
                   {"token_id": next(tokens)} if self.tokens else {})
            first += len(ids)


def numbers_of(path, layers):
    """Of the decoder layers, from 0 on."""
    if 0 in layers:
        return list(layers)
    first = min(layers)
    note(f"{path}: names count layers from 1, as Megatron does, so layer {first} is decoder layer "
         f"{first - 1}; call the first layer's file layer_00 where they count from 0")
    return [number - 1 for number in layers]


def recognise(_path, head):
    return head.startswith(b"PAR1")


def convert(paths, out, options):
    parquet = reader()
    layers, tokens = sort_out([File(parquet, path) for path in paths])
    check(layers, tokens)
    both, path = Layers(layers, tokens), next(iter(layers.values())).path
    source = os.path.basename(os.path.dirname(os.path.abspath(path)))
    options.source = options.source or f"{source}/{os.path.basename(path)} and others"
    Recording(path, FORMAT.name, both.blocks, Requests.of([both.rows], [both.rows], [0]),
              layers=numbers_of(path, layers), width=both.width, top_k=both.width,
              experts=options.experts, score_kind="softmax" if both.scored else "none",
              fields=("token_id",) if tokens else (), array="indices").write(out, options)
    note(f"{path}: where sequences begin is not in it, so its {both.rows} tokens are taken as one "
         "of prefill")
