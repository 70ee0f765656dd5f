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

import filled
import numpy as np
from h5 import DECODE, PREFILL, ImportFailed, TraceWriter
from models import all_models, named, plainest, unknown
from say import note

BLOCK_ROWS = 8192
MOST = (1 << 32) - 1


class Member:
    """One array of an archive, read along its first dimension in blocks."""

    def __init__(self, archive, path, name):
        self.where = f"{path}: {name}"
        if name + ".npy" not in archive.namelist():
            raise ImportFailed(f"{path}: array {name} is missing; it holds "
                               f"{', '.join(archive.namelist()[:8]) or 'nothing'}")
        try:
            self.stream = archive.open(name + ".npy")
            version = np.lib.format.read_magic(self.stream)
            read = (np.lib.format.read_array_header_1_0 if version == (1, 0)
                    else np.lib.format.read_array_header_2_0)
            self.shape, column_major, self.dtype = read(self.stream)
        except Exception as failure:  # of many kinds, on bytes that mean nothing
            raise ImportFailed(f"{self.where} is not a readable array ({failure}); save it again "
                               "with numpy.savez") from None
        if self.dtype.hasobject or column_major or self.dtype.itemsize == 0:
            raise ImportFailed(f"{self.where} must be a plain array in row-major order; save "
                               "numpy.ascontiguousarray() of it, of numbers and without pickling")
        if any(length < 0 for length in self.shape) or math.prod(self.shape) > 1 << 48:
            raise ImportFailed(f"{self.where} has the impossible shape {self.shape}; save it "
                               "again with numpy.savez")

    def read(self, rows):
        shape = (rows,) + self.shape[1:]
        size = self.dtype.itemsize * math.prod(shape)
        try:
            data = self.stream.read(size)
        except Exception as failure:  # as above: of zipfile, zlib, the system
            raise ImportFailed(f"{self.where} is damaged ({failure}); copy or save the file "
                               "again") from None
        if len(data) != size:
            raise ImportFailed(f"{self.where} ends too early: the file is truncated; copy it "
                               "again")
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


# ---- requests ----

def list_of_numbers(member, what):
    """A list of whole numbers, none below 0."""
    if len(member.shape) != 1 or member.dtype.kind not in "ui":
        raise ImportFailed(f"{member.where} must be a list of {what}, whole numbers")
    values = member.whole()
    if len(values) and (values.min() < 0 or values.max() > 1 << 48):
        raise ImportFailed(f"{member.where} holds a number below 0 or above 2^48; it must be a "
                           f"list of {what}")
    return values.astype(np.int64)


def check_line(path, number, line):
    """One line of the table, its numbers as such."""
    for name in ("category", "prompt_len", "gen_len", "first_pos"):
        value = line.get(name)
        if value is None:
            raise ImportFailed(f"{path}: line {number}: column {name} is missing")
        if name == "category":
            if len(value.encode("utf-8")) > 256:
                raise ImportFailed(f"{path}: line {number}: category is longer than 256 bytes")
        elif not (value.isascii() and value.isdecimal() and int(value[:20]) <= MOST):
            raise ImportFailed(f"{path}: line {number}: {name} is {value[:20]!r}, not a whole "
                               f"number up to {MOST}")
    return {name: line[name] if name == "category" else int(line[name])
            for name in ("category", "prompt_len", "gen_len", "first_pos")}


def check_lengths(path, number, line, rows):
    """Rows beyond those expected: the last token is drawn and not run, in most engines, and
    some stop one early; more than that contradicts the lengths."""
    expected = line["prompt_len"] + line["gen_len"] - 1 - line["first_pos"]
    if abs(rows - expected) > 1:
        raise ImportFailed(
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
        raise ImportFailed(f"{path}: cannot be read: {failure}") from None
    if len(table) != len(lengths):
        raise ImportFailed(f"{path}: has {len(table)} requests but {npz_path} has "
                           f"{len(lengths)}; one line for each is needed")
    table = [check_line(path, number, line) for number, line in enumerate(table, start=2)]
    odd = [number for number, (line, rows) in enumerate(zip(table, lengths), start=2)
           if check_lengths(path, number, line, int(rows)) != 0]
    if odd:
        note(f"{path}: lines {filled.listed(odd)}: the archive has one row more or less than "
             "prompt_len + gen_len - 1 - first_pos; its rows are taken as they are")
    if len({line["category"] for line in table}) > 65535:
        raise ImportFailed(f"{path}: has more than 65535 categories")
    return table


def request_lengths(bounds, rows):
    off = list_of_numbers(bounds, "row numbers")
    if len(off) < 2 or off[0] != 0 or off[-1] != rows or (np.diff(off) < 0).any():
        raise ImportFailed(f"{bounds.where} must ascend from 0 to the {rows} rows of ids")
    return np.diff(off)


# ---- layers ----

def choose_model(look, options):
    """(name, experts, decoder layer of each MoE layer, which layers of the file those are)."""
    def fits(model):
        return model.top_k == look.top_k and look.layers in (len(model.moe), model.layers)

    if options.model:
        model = named(options.model)
    else:
        model = plainest(look.likeliest([model for model in all_models() if fits(model)]))
    if model is None and options.model and options.experts:
        return options.model, options.experts, range(look.layers), range(look.layers)
    if model is None:
        what = (unknown(options.model) if options.model else
                f"not one model of models/arch alone has {look.layers} layers{look.without()} and "
                f"{look.top_k} experts per token")
        raise ImportFailed(f"{look.path}: {what}; name it with --model (moesim list models has "
                           "the names; a file NAME.yaml of your own will do), or give --model NAME "
                           "with --experts N")
    if not fits(model):
        raise ImportFailed(f"{look.path}: {model.name} has {len(model.moe)} MoE layers "
                           f"({model.layers} in all) and {model.top_k} experts per token, the "
                           f"file {look.layers} and {look.top_k}; name another with --model")
    if options.experts not in (None, model.experts):
        raise ImportFailed(f"{look.path}: {model.name} has {model.experts} experts, not "
                           f"{options.experts}; leave out --experts, or name another model")
    every = look.layers == len(model.moe)
    return model.name, model.experts, model.moe, range(look.layers) if every else model.moe


class Source:
    """The routing of the archive, block by block, without what was not captured."""

    def __init__(self, path, out, options, shape, blocks, score, groups):
        """`blocks()` yields (first row, ids, scores or None) from the first row on."""
        _, layers, top_k = shape
        if layers > 1024 or top_k > 4096:
            raise ImportFailed(f"{path}: ids has {layers} layers and {top_k} experts per token; "
                               "at most 1024 and 4096 can be written")
        self.path, self.blocks = path, blocks
        self.look = filled.Look(path, layers, top_k)
        for first, ids, _ in blocks():
            self.look.see(first, ids)
        self.look.end()
        model, experts, moe_layer, kept = choose_model(self.look, options)
        self.kept = list(kept)
        self.look.judge(self.kept)
        self.writer = TraceWriter(
            out, model=model, experts=experts, top_k=top_k, moe_layer=list(moe_layer),
            source=options.source or os.path.basename(path), into=options.into,
            capture="moesim trace import --from npz", places=self.kept,
            score_kind="softmax" if score else "none", group_names=groups)

    def write(self, lengths, begin, prompt):
        """All rows; position from `begin` on in each request, prefill below `prompt`."""
        ends = np.cumsum(lengths)
        for first, ids, score in self.blocks():
            rows = np.arange(first, first + len(ids))
            request = np.searchsorted(ends, rows, side="right")
            position = rows - (ends - lengths)[request] + begin[request]
            phase = np.where(position < prompt[request], PREFILL, DECODE)
            ids, score = self.look.clear(ids, score)
            self.writer.rows(f"{self.path}: ids", request, position, phase,
                             ids[:, self.kept], None if score is None else score[:, self.kept])



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
    if (begin + lengths > MOST).any():
        raise ImportFailed(f"{path}: a request has a position above {MOST}")

    def blocks():
        ids = Member(archive, path, "ids")
        probs = Member(archive, path, "probs") if score is not None else None
        for first in range(0, total, BLOCK_ROWS):
            count = min(BLOCK_ROWS, total - first)
            yield first, ids.read(count), None if probs is None else probs.read(count)

    source = Source(path, out, options, ids.shape, blocks, score is not None, groups)
    with source.writer as writer:
        source.write(lengths, begin, prompt)
        writer.commit(prompt_tokens=prompt, output_tokens=output, rows=lengths, group=group)


def layers_first(path, archive, ids, out, options):
    score = member_or_none(archive, path, "w")
    check_shapes(path, ids, score, "w")
    layers, total, top_k = ids.shape
    seq_len = Member(archive, path, "seq_len")
    lengths = list_of_numbers(seq_len, "lengths")
    if (lengths < 1).any() or sum(lengths.tolist()) != total or total > MOST:
        raise ImportFailed(f"{seq_len.where} sums to {sum(lengths.tolist())}, but ids has {total} "
                           "tokens; each sequence has at least one")
    values = ids.whole()
    weights = score.whole() if score is not None else None

    def blocks():
        for first in range(0, total, BLOCK_ROWS):
            part = slice(first, min(first + BLOCK_ROWS, total))
            yield (first, values[:, part].transpose(1, 0, 2),
                   None if weights is None else weights[:, part].transpose(1, 0, 2))

    source = Source(path, out, options, (total, layers, top_k), blocks, score is not None, ["all"])
    none = np.zeros(len(lengths), dtype=np.int64)
    with source.writer as writer:
        source.write(lengths, none, lengths)
        writer.commit(prompt_tokens=lengths, output_tokens=none, rows=lengths)


def convert(path, out, options):
    try:
        archive = zipfile.ZipFile(path)
    except OSError as failure:
        raise ImportFailed(f"{path}: cannot be opened: {failure.strerror}") from None
    except Exception:  # of many kinds, on bytes that mean nothing
        raise ImportFailed(f"{path}: is not an npz archive, or truncated; numpy.savez writes one"
                           ) from None
    with archive:
        ids = Member(archive, path, "ids")
        names = archive.namelist()
        if "off.npy" in names:
            rows_first(path, archive, ids, out, options)
        elif "seq_len.npy" in names:
            layers_first(path, archive, ids, out, options)
        else:
            raise ImportFailed(f"{path}: array off (rows first) or seq_len (layers first) is "
                               "missing; add it with numpy.savez")
