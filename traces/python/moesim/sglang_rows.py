"""Forward passes of SGLang's recorder (per_token) put in order of requests.

A pass of mode extend has a segment of tokens for each request, one of mode decode a token.
Requests go by rid where rids are recorded. Else a segment at position 0 begins one; a later
one continues the request whose next position it is: of the last batch, in its order, which
SGLang keeps, and where none is, it begins one whose first tokens were not recorded.
"""

import numpy as np

from moesim.json_lines import is_whole
from moesim.pt_file import Tensor
from moesim.recording import MOST, Recording, Requests, block_rows, count_blocks
from moesim.say import Failure, note
from moesim.trace_writer import NOT_RECORDED

EXTEND, DECODE, MIXED, IDLE = 1, 2, 3, 4  # of ForwardMode


class Request:
    __slots__ = ("number", "begin", "next", "prompt")

    def __init__(self, number, begin):
        self.number, self.begin, self.next = number, begin, begin
        self.prompt = begin  # the first position that is no prompt


class Batch:
    """The requests of one rank, in order of the batch."""

    def __init__(self, everything):
        self.everything, self.active, self.by_rid = everything, [], {}
        self.unsure = 0

    def new(self, begin):
        self.everything.append(Request(len(self.everything), begin))
        return self.everything[-1]

    def find(self, position, taken, after, is_decode):
        """(the request, its place in the batch) that goes on at the position."""
        fits = [at for at, one in enumerate(self.active)
                if at not in taken and one.next == position
                and (is_decode or one.prompt == one.next)]
        later = [at for at in fits if at > after]
        if not fits or position == 0:
            return None, after
        return self.active[(later or fits)[0]], (later or fits)[0]

    def take_pass(self, segments, rids, is_decode):
        """The request of each segment, (first position, tokens)."""
        found, taken, after = [], set(), -1
        positions = [start for start, _ in segments]
        if rids is None and is_decode and len(self.active) > len(segments) and len(
                {one.next for one in self.active}) < len(self.active):
            self.unsure += sum(positions.count(one.next) > 0 for one in self.active)
        for place, (start, count) in enumerate(segments):
            if rids is not None:
                one = self.by_rid.get(rids[place])
                one = one if one is not None and one.next == start else None
            else:
                one, after = self.find(start, taken, after, is_decode)
                taken.add(after)
            if one is None:
                one = self.new(start)
            if rids is not None:
                self.by_rid[rids[place]] = one
            one.next = start + count
            if not (is_decode and count == 1):
                one.prompt = one.next
            found.append(one)
        if is_decode:
            self.active = found
        else:
            self.active = [one for one in self.active if one not in found] + found
        return found


def numbers(where, record, name, count=None):
    values = record.get(name)
    if not isinstance(values, list) or count not in (None, len(values)) or not all(
            is_whole(n, MOST + 1) for n in values):
        raise Failure(f"{where}: {name} must be a list of whole numbers" +
                      (f", one for each of {count} tokens" if count is not None else "") +
                      "; import the file as it was written")
    return values


def segments_of(where, record, positions):
    """(first position, tokens) of each request in the pass."""
    mode = record.get("forward_mode")
    if mode not in (EXTEND, DECODE, MIXED):
        raise Failure(f"{where}: forward mode {str(mode)[:20]} is neither extend, decode nor "
                      "mixed: rows of speculative decoding cannot be told apart; record without it")
    if record.get("extend_seq_lens") is None:
        return [(position, 1) for position in positions]
    found, at = [], 0
    for count in numbers(where, record, "extend_seq_lens"):
        part = positions[at:at + count]
        if part and part != list(range(part[0], part[0] + count)):
            raise Failure(f"{where}: positions of a request do not follow each other; import the "
                          "file as it was written")
        if part:
            found.append((part[0], count))
        at += count
    if at != len(positions):
        raise Failure(f"{where}: extend_seq_lens make {at} tokens, but there are {len(positions)} "
                      "positions; import the file as it was written")
    return found


class Rows:
    """All rows in order of time."""

    def __init__(self, to_logical, take):
        self.to_logical, self.take = to_logical, take
        self.requests, self.batches = [], {}
        self.request, self.position, self.token, self.rank, self.ids = [], [], [], [], []
        self.passes, self.count, self.width = [], 0, 1

    def ids_of(self, file, where, record, count):
        tensor = self.take(where, record, "topk_ids_of_layer", Tensor)
        layers, physical = self.to_logical.shape
        if len(tensor.shape) != 3 or tensor.shape[:2] != (layers, count) or \
                not 1 <= tensor.shape[2] <= 64 or np.dtype(tensor.kind).kind not in "ui":
            raise Failure(f"{where}: topk_ids_of_layer has shape {tensor.shape}, not [{layers} "
                          f"layers][{count} tokens][k]; import one run's files as they "
                          "were written")
        ids = file.read(where, tensor)
        if ids.min(initial=0) < -1 or ids.max(initial=0) >= physical:
            raise Failure(f"{where}: topk_ids_of_layer has an expert that is not from 0 to "
                          f"{physical - 1}, or -1; record with fusion of shared experts off")
        logical = self.to_logical[np.arange(layers)[:, None, None], ids]
        return np.where(ids == -1, NOT_RECORDED, logical).astype(np.uint16).transpose(1, 0, 2)

    def add(self, file, where, record):
        tokens = numbers(where, record, "input_ids")
        positions = numbers(where, record, "positions", len(tokens))
        if not tokens or record.get("forward_mode") == IDLE:
            return 0
        rids = record.get("rids")
        segments = segments_of(where, record, positions)
        if rids is not None and (not isinstance(rids, list) or len(rids) != len(segments) or
                                 not all(isinstance(rid, (str, int)) for rid in rids)):
            raise Failure(f"{where}: rids must be a list, one for each request of the pass; import "
                          "the file as it was written")
        rank = self.take(where, record, "rank", int)
        batch = self.batches.setdefault(rank, Batch(self.requests))
        found = batch.take_pass(segments, rids, record["forward_mode"] != EXTEND)
        ids = self.ids_of(file, where, record, len(tokens))
        some = np.flatnonzero((ids != NOT_RECORDED).any(axis=(0, 1)))
        self.width = max(self.width, int(some[-1]) + 1 if len(some) else 1)
        self.request.append(np.repeat([one.number for one in found],
                                      [count for _, count in segments]))
        self.position.append(np.array(positions, dtype=np.int64))
        self.token.append(np.array(tokens, dtype=np.int64))
        self.rank.append(np.full(len(tokens), rank))
        self.ids.append(np.ascontiguousarray(ids))
        return len(tokens)

    def add_pass(self, entries):
        """All ranks of it, each set of tokens once."""
        seen, rows, repeated = [], 0, 0
        for file, where, record in entries:
            same = [(r.get("positions"), r.get("input_ids")) for r in seen]
            if (record.get("positions"), record.get("input_ids")) in same:
                repeated += 1
                continue
            seen.append(record)
            rows += self.add(file, where, record)
        if rows:
            self.passes.append(np.arange(self.count, self.count + rows))
            self.count += rows
        return repeated


def write_rows(format_name, passes, to_logical, take, out, options):
    rows = Rows(to_logical, take)
    path = next(iter(passes.values()))[0][0].path
    repeated = sum(rows.add_pass(entries) for entries in passes.values())
    if not rows.count:
        raise Failure(f"{path}: holds no token; record again while requests run")
    if repeated:
        note(f"{path}: {repeated} records hold the same tokens as another rank's of their pass, "
             "and are taken once")
    unsure = sum(batch.unsure for batch in rows.batches.values())
    if unsure:
        note(f"{path}: without rids, {unsure} rows could continue several requests at the same "
             "position; they are taken in the order of the batch")
    request = np.concatenate(rows.request)
    order = np.argsort(request, kind="stable")
    ids = [one[:, :, :rows.width] for one in rows.ids]
    starts = np.cumsum([0] + [len(one) for one in ids])
    token = np.concatenate(rows.token)[order]
    if token.max() > 0x7fffffff:
        raise Failure(f"{path}: input_ids has {token.max()}, which is no token's number")
    rank = np.concatenate(rows.rank)[order]
    fields = ("token_id",) + (("source",) if len(rows.batches) > 1 else ())
    del rows.token, rows.rank

    def blocks():
        for first, count in count_blocks(rows.count, block_rows(ids[0].shape[1], rows.width)):
            where = order[first:first + count]
            passes = np.searchsorted(starts, where, side="right") - 1
            block = np.empty((count,) + ids[0].shape[1:], dtype=np.uint16)
            for one in np.unique(passes):
                block[passes == one] = ids[one][where[passes == one] - starts[one]]
            yield first, block, None, {"token_id": token[first:first + count],
                                       **({"source": rank[first:first + count]}
                                          if "source" in fields else {})}

    counts = np.bincount(request, minlength=len(rows.requests))
    begin = np.array([one.begin for one in rows.requests])
    prompt = np.array([one.prompt for one in rows.requests])
    inverse = np.empty(rows.count, dtype=np.int64)
    inverse[order] = np.arange(rows.count)
    Recording(path, format_name, blocks, Requests.of(
        counts, prompt, begin + counts - prompt + 1, begin), layers=range(to_logical.shape[0]),
        width=rows.width, top_k=rows.width, experts=int(to_logical.max()) + 1, fields=fields,
        array="topk_ids_of_layer", passes=[np.sort(inverse[one]) for one in rows.passes],
        ).write(out, options)
