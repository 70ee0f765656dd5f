"""NumPy archives of routing, in the two forms in use.

rows first     ids [T, L, k], probs [T, L, k] (optional), off [R + 1]: first row of each
               request. A table of the requests (request_table.py) may lie beside the file;
               without one all rows are decode.
layers first   ids [L, T, k], w [L, T, k] (optional), seq_len [R]: whole sequences, teacher
               forced, so every row is prefill (DeepSeek-V2-Lite recordings).

L counts the MoE layers of the model or all of its layers; of the latter those without
experts are left out. What an engine wrote without having captured it is in `filled.py`.
"""

import numpy as np

from moesim.arrays import Member, member_or_none
from moesim.files import names_in_archive, open_archive
from moesim.formats import Format
from moesim.recording import MOST, Recording, Requests, block_rows, count_blocks
from moesim.request_table import groups_of, request_table
from moesim.say import Failure, note

FORMAT = Format(
    name="npz", writer="NumPy archives of routing, by rows (ids, off) or layers (ids, seq_len)",
    files="npz", holds="routing, scores", options=("requests",),
    source="github.com/AmanPriyanshu/GPT-OSS-MoE-ExpertFingerprinting, "
    "github.com/deepseek-ai/ESFT")


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
    if table is None:
        note(f"{path}: no table of requests is beside it, so every row is taken as decode; give "
             "prompt lengths with --requests CSV")
        requests = Requests.of(lengths, lengths * 0, lengths)
    else:
        requests = Requests.of(lengths, *groups_of(table))

    def blocks():
        ids = Member(archive, path, "ids")
        probs = Member(archive, path, "probs") if score is not None else None
        for first, count in count_blocks(total, block_rows(*ids.shape[1:])):
            yield first, ids.read(count), None if probs is None else probs.read(count), {}

    recording(path, blocks, ids.shape[1:], score, requests).write(out, options)


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
    names = names_in_archive(path) or ()
    return "ids.npy" in names and ("off.npy" in names or "seq_len.npy" in names)


def convert(paths, out, options):
    path = paths[0]
    with open_archive(path) as archive:
        ids = Member(archive, path, "ids")
        names = archive.namelist()
        if "off.npy" in names:
            rows_first(path, archive, ids, out, options)
        elif "seq_len.npy" in names:
            layers_first(path, archive, ids, out, options)
        else:
            raise Failure(f"{path}: array off (rows first) or seq_len (layers first) is "
                          "missing; add it with numpy.savez")
