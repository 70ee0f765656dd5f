"""NumPy archives of routing, in the two forms in use.

rows first     ids [T, L, k], probs [T, L, k] (optional), off [R + 1]: first row of each
               request. A table of the requests may lie beside the file: `x_requests.csv` for
               `x_decode.npz` or `x.npz`, with the columns category, prompt_len, gen_len,
               first_pos (the position of the request's first row). Rows at positions below
               prompt_len are prefill, the others decode; without a table all are decode.
layers first   ids [L, T, k], w [L, T, k] (optional), seq_len [R]: whole sequences, teacher
               forced, so every row is prefill (DeepSeek-V2-Lite recordings).

L counts the MoE layers of the model or all of its layers; of the latter those without
experts are left out. What an engine wrote without having captured it is in `filled.py`.
"""

import csv
import math
import os
import zipfile

import numpy as np

from moesim import filled
from moesim.formats import Format
from moesim.recording import MOST, Recording, Requests, block_rows, count_blocks
from moesim.say import Failure, note

FORMAT = Format(
    name="npz", writer="NumPy archives of routing, by rows (ids, off) or layers (ids, seq_len)",
    files="npz", holds="routing, scores", options=("requests",),
    source="github.com/AmanPriyanshu/GPT-OSS-MoE-ExpertFingerprinting, "
    "github.com/deepseek-ai/ESFT")


class Member:
    """One array of an archive, read along its first dimension in blocks."""

    def __init__(self, archive, path, name):
        self.where = f"{path}: {name}"
        if name + ".npy" not in archive.namelist():
            raise Failure(f"{path}: array {name} is missing; it holds "
                               f"{', '.join(archive.namelist()[:8]) or 'nothing'}")
        try:
            self.stream = archive.open(name + ".npy")
            version = np.lib.format.read_magic(self.stream)
            read = (np.lib.format.read_array_header_1_0 if version == (1, 0)
                    else np.lib.format.read_array_header_2_0)
            self.shape, column_major, self.dtype = read(self.stream)
        except Exception as failure:  # of many kinds, on bytes that mean nothing
            raise Failure(f"{self.where} is not a readable array ({failure}); save it again "
                               "with numpy.savez") from None
        if self.dtype.hasobject or column_major or self.dtype.itemsize == 0:
            raise Failure(f"{self.where} must be a plain array in row-major order; save "
                               "numpy.ascontiguousarray() of it, of numbers and without pickling")
        if any(length < 0 for length in self.shape) or math.prod(self.shape) > 1 << 48:
            raise Failure(f"{self.where} has the impossible shape {self.shape}; save it "
                               "again with numpy.savez")

    def read(self, rows):
        shape = (rows,) + self.shape[1:]
        size = self.dtype.itemsize * math.prod(shape)
        try:
            data = self.stream.read(size)
        except Exception as failure:  # as above: of zipfile, zlib, the system
            raise Failure(f"{self.where} is damaged ({failure}); copy or save the file "
                               "again") from None
        if len(data) != size:
            raise Failure(f"{self.where} ends too early: the file is truncated; copy it "
                               "again")
        return np.frombuffer(data, dtype=self.dtype).reshape(shape)

    def whole(self):
        return self.read(self.shape[0])


def member_or_none(archive, path, name):
    return Member(archive, path, name) if name + ".npy" in archive.namelist() else None


def check_shapes(path, ids, score, score_name):
    if len(ids.shape) != 3 or 0 in ids.shape or ids.dtype.kind not in "ui":
        raise Failure(f"{path}: ids must be a three-dimensional array of integers, not "
                           f"{ids.dtype} {ids.shape}")
    if score is not None and (score.shape != ids.shape or score.dtype.kind != "f"):
        raise Failure(f"{path}: {score_name} must be floats of the shape of ids "
                           f"{ids.shape}, not {score.dtype} {score.shape}")


# ---- requests ----

def list_of_numbers(member, what):
    """A list of whole numbers, none below 0."""
    if len(member.shape) != 1 or member.dtype.kind not in "ui":
        raise Failure(f"{member.where} must be a list of {what}, whole numbers")
    values = member.whole()
    if len(values) and (values.min() < 0 or values.max() > 1 << 48):
        raise Failure(f"{member.where} holds a number below 0 or above 2^48; it must be a "
                           f"list of {what}")
    return values.astype(np.int64)


def check_line(path, number, line):
    """One line of the table, its numbers as such."""
    for name in ("category", "prompt_len", "gen_len", "first_pos"):
        value = line.get(name)
        if value is None:
            raise Failure(f"{path}: line {number}: column {name} is missing")
        if name == "category":
            if len(value.encode("utf-8")) > 256:
                raise Failure(f"{path}: line {number}: category is longer than 256 bytes")
        elif not (value.isascii() and value.isdecimal() and int(value[:20]) <= MOST):
            raise Failure(f"{path}: line {number}: {name} is {value[:20]!r}, not a whole "
                               f"number up to {MOST}")
    return {name: line[name] if name == "category" else int(line[name])
            for name in ("category", "prompt_len", "gen_len", "first_pos")}


def check_lengths(path, number, line, rows):
    """Rows beyond those expected: the last token is drawn and not run, in most engines, and
    some stop one early; more than that contradicts the lengths."""
    expected = line["prompt_len"] + line["gen_len"] - 1 - line["first_pos"]
    if abs(rows - expected) > 1:
        raise Failure(
            f"{path}: line {number}: a prompt of {line['prompt_len']} and {line['gen_len']} "
            f"generated tokens from position {line['first_pos']} on make {max(expected, 0)} rows, "
            f"but the archive has {rows} for this request; correct the lengths, or off")
    return rows - expected


def request_table(npz_path, given, lengths):
    """The CSV beside the archive as a list of lines, or None where there is none."""
    stem = npz_path.removesuffix(".npz").removesuffix("_decode")
    path = given or stem + "_requests.csv"
    if given is None and not os.path.exists(path):
        return None
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            table = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as failure:
        raise Failure(f"{path}: cannot be read: {failure}") from None
    if len(table) != len(lengths):
        raise Failure(f"{path}: has {len(table)} requests but {npz_path} has "
                           f"{len(lengths)}; one line for each is needed")
    table = [check_line(path, number, line) for number, line in enumerate(table, start=2)]
    odd = [number for number, (line, rows) in enumerate(zip(table, lengths), start=2)
           if check_lengths(path, number, line, int(rows)) != 0]
    if odd:
        note(f"{path}: lines {filled.listed(odd)}: the archive has one row more or less than "
             "prompt_len + gen_len - 1 - first_pos; its rows are taken as they are")
    if len({line["category"] for line in table}) > 65535:
        raise Failure(f"{path}: has more than 65535 categories")
    return table


def request_lengths(bounds, rows):
    off = list_of_numbers(bounds, "row numbers")
    if len(off) < 2 or off[0] != 0 or off[-1] != rows or (np.diff(off) < 0).any():
        raise Failure(f"{bounds.where} must ascend from 0 to the {rows} rows of ids")
    return np.diff(off)


# ---- the two forms ----

def rows_first(path, archive, ids, out, options):
    score = member_or_none(archive, path, "probs")
    check_shapes(path, ids, score, "probs")
    total = ids.shape[0]
    lengths = request_lengths(Member(archive, path, "off"), total)
    table = request_table(path, options.requests, lengths)
    groups = sorted({line["category"] for line in table}) if table else ["all"]
    if table is None:
        note(f"{path}: no table of requests is beside it, so every row is taken as decode; give "
             "prompt lengths with --requests CSV")
        none = np.zeros(len(lengths), dtype=np.int64)
        begin, prompt, output, group = none, none, lengths, none
    else:
        number = {name: i for i, name in enumerate(groups)}
        begin, prompt, output = (np.array([line[name] for line in table], dtype=np.int64)
                                 for name in ("first_pos", "prompt_len", "gen_len"))
        group = [number[line["category"]] for line in table]
    def blocks():
        ids = Member(archive, path, "ids")
        probs = Member(archive, path, "probs") if score is not None else None
        for first, count in count_blocks(total, block_rows(*ids.shape[1:])):
            yield first, ids.read(count), None if probs is None else probs.read(count), {}

    recording(path, blocks, ids.shape[1:], score,
              Requests.of(lengths, prompt, output, begin, group, groups)).write(out, options)


def recording(path, blocks, shape, score, requests):
    return Recording(path, FORMAT.name, blocks, requests, layers=range(shape[0]), width=shape[1],
                     top_k=shape[1], score_kind="none" if score is None else "softmax")


def layers_first(path, archive, ids, out, options):
    score = member_or_none(archive, path, "w")
    check_shapes(path, ids, score, "w")
    layers, total, top_k = ids.shape
    seq_len = Member(archive, path, "seq_len")
    lengths = list_of_numbers(seq_len, "lengths")
    if (lengths < 1).any() or sum(lengths.tolist()) != total or total > MOST:
        raise Failure(f"{seq_len.where} sums to {sum(lengths.tolist())}, but ids has {total} "
                           "tokens; each sequence has at least one")
    values = ids.whole()
    weights = score.whole() if score is not None else None

    def blocks():
        for first, count in count_blocks(total, block_rows(layers, top_k)):
            part = slice(first, first + count)
            yield (first, values[:, part].transpose(1, 0, 2),
                   None if weights is None else weights[:, part].transpose(1, 0, 2), {})

    recording(path, blocks, (layers, top_k), score,
              Requests.of(lengths, lengths, lengths * 0)).write(out, options)


def recognise(path, head):
    """An archive with ids and one of the arrays that tell its requests."""
    if not head.startswith(b"PK"):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # of many kinds, on bytes that mean nothing
        return False
    return "ids.npy" in names and ("off.npy" in names or "seq_len.npy" in names)


def convert(paths, out, options):
    path = paths[0]
    try:
        archive = zipfile.ZipFile(path)
    except OSError as failure:
        raise Failure(f"{path}: cannot be opened: {failure.strerror}") from None
    except Exception:  # of many kinds, on bytes that mean nothing
        raise Failure(f"{path}: is not an npz archive, or truncated; numpy.savez writes one"
                           ) from None
    with archive:
        ids = Member(archive, path, "ids")
        names = archive.namelist()
        if "off.npy" in names:
            rows_first(path, archive, ids, out, options)
        elif "seq_len.npy" in names:
            layers_first(path, archive, ids, out, options)
        else:
            raise Failure(f"{path}: array off (rows first) or seq_len (layers first) is "
                               "missing; add it with numpy.savez")
