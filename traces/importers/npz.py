"""NumPy archives of routing, in the two forms in use.

rows first     ids [T, L, k], probs [T, L, k] (optional), off [R + 1]: first row of each
               request. Decode only (GPT-OSS-20B recordings). A table of the requests may
               lie beside the file: `x_requests.csv` for `x_decode.npz` or `x.npz`, with the
               columns category, prompt_len, gen_len, first_pos.
layers first   ids [L, T, k], w [L, T, k] (optional), seq_len [R]: whole sequences, teacher
               forced, so every row is prefill (DeepSeek-V2-Lite recordings).
"""

import csv
import os
import zipfile

import numpy as np

from h5 import DECODE, PREFILL, ImportFailed, TraceWriter
from models import MODELS, guess

BLOCK_ROWS = 8192


class Member:
    """One array of an archive, read along its first dimension in blocks."""

    def __init__(self, archive, path, name):
        self.where = f"{path}: {name}"
        try:
            self.stream = archive.open(name + ".npy")
            version = np.lib.format.read_magic(self.stream)
            read = (np.lib.format.read_array_header_1_0 if version == (1, 0)
                    else np.lib.format.read_array_header_2_0)
            self.shape, column_major, self.dtype = read(self.stream)
        except KeyError:
            raise ImportFailed(f"{path}: array {name} is missing") from None
        except (ValueError, zipfile.BadZipFile, NotImplementedError) as failure:
            raise ImportFailed(f"{self.where} is not a readable array: {failure}") from None
        if self.dtype.hasobject or column_major:
            raise ImportFailed(f"{self.where} must be a plain array in row-major order")

    def read(self, rows):
        shape = (rows,) + self.shape[1:]
        size = self.dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        try:
            data = self.stream.read(size)
        except (zipfile.BadZipFile, EOFError, OSError, zipfile.zlib.error) as failure:
            raise ImportFailed(f"{self.where} is damaged: {failure}") from None
        if len(data) != size:
            raise ImportFailed(f"{self.where} ends too early; the file is truncated")
        return np.frombuffer(data, dtype=self.dtype).reshape(shape)

    def whole(self):
        return self.read(self.shape[0])


def member_or_none(archive, path, name):
    return Member(archive, path, name) if name + ".npy" in archive.namelist() else None


def check_shapes(path, ids, score, score_name):
    if len(ids.shape) != 3 or 0 in ids.shape or ids.dtype.kind not in "ui":
        raise ImportFailed(f"{path}: ids must be a three-dimensional array of integers, not "
                           f"{ids.dtype} {ids.shape}")
    if score is not None and (score.shape != ids.shape or score.dtype.kind != "f"):
        raise ImportFailed(f"{path}: {score_name} must be floats of the shape of ids "
                           f"{ids.shape}, not {score.dtype} {score.shape}")


def request_table(npz_path, given, requests):
    """The CSV beside the archive as a list of rows, or None where there is none."""
    stem = npz_path[:-len(".npz")] if npz_path.endswith(".npz") else npz_path
    stem = stem[:-len("_decode")] if stem.endswith("_decode") else stem
    path = given or stem + "_requests.csv"
    if given is None and not os.path.exists(path):
        return None
    columns = ("category", "prompt_len", "gen_len", "first_pos")
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            table = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as failure:
        raise ImportFailed(f"{path}: cannot be read: {failure}") from None
    if len(table) != requests:
        raise ImportFailed(f"{path}: has {len(table)} requests but {npz_path} has {requests}")
    for number, line in enumerate(table):
        for name in columns:
            if line.get(name) is None:
                raise ImportFailed(f"{path}: column {name} is missing in line {number + 2}")
            if name != "category" and not line[name].isdecimal():
                raise ImportFailed(f"{path}: line {number + 2}: {name} is {line[name]!r}, not a "
                                   "whole number")
    return table


def request_lengths(path, bounds, rows):
    if len(bounds.shape) != 1 or bounds.dtype.kind not in "ui" or bounds.shape[0] < 2:
        raise ImportFailed(f"{path}: off must be a list of at least two row numbers")
    off = bounds.whole().astype(np.int64)
    if off[0] != 0 or off[-1] != rows or (np.diff(off) < 0).any():
        raise ImportFailed(f"{path}: off must ascend from 0 to the {rows} rows of ids")
    return np.diff(off)


def choose_model(path, layers, top_k, options):
    name = options.model or guess(layers, top_k)
    if name is None or (name not in MODELS and options.experts is None):
        raise ImportFailed(f"{path}: no known model has {layers} MoE layers and {top_k} experts "
                           "per token; name it with --model and give --experts")
    known = MODELS.get(name)
    if known is not None and (known.layers, known.top_k) != (layers, top_k):
        raise ImportFailed(f"{path}: {name} has {known.layers} MoE layers and {known.top_k} "
                           f"experts per token, the file {layers} and {top_k}")
    first = known.first if known is not None else 0
    return name, options.experts or known.experts, range(first, first + layers)


def open_writer(path, out, options, ids_shape, score, groups):
    layers, top_k = ids_shape[1], ids_shape[2]
    model, experts, moe_layer = choose_model(path, layers, top_k, options)
    return TraceWriter(out, model=model, experts=experts, top_k=top_k, moe_layer=moe_layer,
                       source=options.source or os.path.basename(path),
                       capture="moesim trace import --from npz",
                       score_kind="softmax" if score is not None else "none",
                       group_names=groups)


def rows_first(path, archive, ids, out, options):
    score = member_or_none(archive, path, "probs")
    check_shapes(path, ids, score, "probs")
    total = ids.shape[0]
    lengths = request_lengths(path, Member(archive, path, "off"), total)
    table = request_table(path, options.requests, len(lengths))
    groups = sorted({line["category"] for line in table}) if table else ["all"]
    begin = [int(line["first_pos"]) for line in table] if table else [0] * len(lengths)
    request = np.repeat(np.arange(len(lengths)), lengths)
    position = np.arange(total) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    position += np.repeat(begin, lengths)
    with open_writer(path, out, options, ids.shape, score, groups) as writer:
        for first in range(0, total, BLOCK_ROWS):
            last = min(first + BLOCK_ROWS, total)
            writer.rows(f"{path}: ids", request[first:last], position[first:last],
                        np.full(last - first, DECODE), ids.read(last - first),
                        score.read(last - first) if score is not None else None)
        if table:
            number = {name: i for i, name in enumerate(groups)}
            writer.commit(prompt_tokens=[int(line["prompt_len"]) for line in table],
                          output_tokens=[int(line["gen_len"]) for line in table],
                          rows=lengths, group=[number[line["category"]] for line in table])
        else:
            writer.commit(prompt_tokens=np.zeros(len(lengths)), output_tokens=lengths,
                          rows=lengths)


def layers_first(path, archive, ids, out, options):
    score = member_or_none(archive, path, "w")
    check_shapes(path, ids, score, "w")
    lengths = Member(archive, path, "seq_len").whole()
    layers, total, top_k = ids.shape
    if lengths.ndim != 1 or lengths.dtype.kind not in "ui":
        raise ImportFailed(f"{path}: seq_len must be a list of lengths")
    lengths = lengths.astype(np.int64)
    if (lengths < 1).any() or lengths.sum() != total:
        raise ImportFailed(f"{path}: seq_len sums to {lengths.sum()}, but ids has {total} tokens")
    request = np.repeat(np.arange(len(lengths)), lengths)
    position = np.arange(total) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    values = ids.whole()
    weights = score.whole() if score is not None else None
    with open_writer(path, out, options, (total, layers, top_k), score, ["all"]) as writer:
        for first in range(0, total, BLOCK_ROWS):
            part = slice(first, min(first + BLOCK_ROWS, total))
            writer.rows(f"{path}: ids", request[part], position[part],
                        np.full(part.stop - first, PREFILL), values[:, part].transpose(1, 0, 2),
                        weights[:, part].transpose(1, 0, 2) if weights is not None else None)
        writer.commit(prompt_tokens=lengths, output_tokens=np.zeros(len(lengths)), rows=lengths)


def convert(path, out, options):
    try:
        archive = zipfile.ZipFile(path)
    except OSError as failure:
        raise ImportFailed(f"{path}: cannot be opened: {failure.strerror}") from None
    except zipfile.BadZipFile:
        raise ImportFailed(f"{path}: is not an npz archive, or truncated") from None
    with archive:
        ids = Member(archive, path, "ids")
        names = archive.namelist()
        if "off.npy" in names:
            rows_first(path, archive, ids, out, options)
        elif "seq_len.npy" in names:
            layers_first(path, archive, ids, out, options)
        else:
            raise ImportFailed(f"{path}: array off (rows first) or seq_len (layers first) is "
                               "missing")
