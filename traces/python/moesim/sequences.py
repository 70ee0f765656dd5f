"""Routed experts request by request: one array [row][layer][k] each, or several that follow
each other, as engines return them with their answers. A request's rows are those of its
prompt and of all generated tokens but the last, or of the generated ones alone."""

import itertools

import numpy as np

from moesim.recording import Recording, Requests, block_rows
from moesim.request_table import groups_of, request_table
from moesim.say import Failure, note

K_MOST = 64  # more per token than any model has: so many are all experts, or counts


class Piece:
    """One request's rows, its parts in order; opened anew each time they are read."""

    def __init__(self, where, parts, prompt=None, output=None, start=None, model=None):
        self.where, self.parts = where, parts
        self.prompt, self.output, self.start, self.model = prompt, output, start, model
        arrays = [part() for part in parts]
        for array in arrays:
            self.check(array)
        self.tail = arrays[0].shape[1:]
        if any(array.shape[1:] != self.tail for array in arrays):
            raise Failure(f"{where}: prompt_routed_experts has shape {arrays[0].shape}, "
                          f"routed_experts {arrays[-1].shape}; they must have the same layers and "
                          "experts per token")
        self.rows = sum(array.shape[0] for array in arrays)

    @staticmethod
    def check(array):
        if len(array.shape) != 3 or 0 in array.shape[1:] or array.dtype.kind not in "ui":
            raise Failure(f"{array.where} must be [token][layer][k], three dimensions of whole "
                          f"numbers, not {array.dtype} {array.shape}; save what the server "
                          "returns as it is")
        if array.shape[2] > K_MOST:
            raise Failure(f"{array.where}: has {array.shape[2]} experts per token: these are "
                          "counts or scores of all experts, not routed ones; counts are imported "
                          "with --from sglang")

    def blocks(self, most):
        for part in self.parts:
            array = part()
            left = array.shape[0]
            while left > 0:
                count = min(most, left)
                yield array.read(count)
                left -= count


def lay(piece):
    """(begin, prompt, output): whole sequences, outputs alone, or what start says."""
    rows, prompt, output = piece.rows, piece.prompt, piece.output
    if prompt is None:
        return None
    start = piece.start or 0
    if output is not None and start and abs(start + rows - prompt - output + 1) > 1:
        raise Failure(f"{piece.where}: {rows} rows from position {start} on contradict a prompt of "
                      f"{prompt} and {output} generated tokens; save the response as it is")
    if start:
        return start, prompt, max(0, start + rows + 1 - prompt) if output is None else output
    if output is None:
        if rows + 1 < prompt:
            raise Failure(f"{piece.where}: a prompt of {prompt} tokens makes {prompt} rows or "
                          f"more, but there are {rows}; give the lengths with --requests CSV")
        return 0, prompt, rows + 1 - prompt
    whole = prompt + output - 1
    if abs(rows - whole) <= 1:
        return 0, prompt, output
    if rows in (output - 1, output):
        return prompt, prompt, output
    raise Failure(f"{piece.where}: a prompt of {prompt} and {output} generated tokens make {whole} "
                  f"rows, or {output - 1} where the outputs alone were recorded, but there are "
                  f"{rows}; give the positions with --requests CSV")


def requests_of(path, pieces, options):
    rows = np.array([piece.rows for piece in pieces], dtype=np.int64)
    laid = [lay(piece) for piece in pieces] if options.requests is None else [None]
    if None not in laid:
        begin, prompt, output = zip(*laid)
        return Requests.of(rows, prompt, output, begin)
    table = request_table(path, options.requests, rows)
    if table is None:
        note(f"{path}: no lengths of requests are in it or beside it, so every row is taken as "
             "decode; give prompt lengths with --requests CSV")
        return Requests.of(rows, rows * 0, rows)
    return Requests.of(rows, *groups_of(table))


def blocks_of(pieces, most):
    """Rows of several short requests together."""
    held, count, first = [], 0, 0
    for part in itertools.chain.from_iterable(piece.blocks(most) for piece in pieces):
        if count and count + len(part) > most:
            yield first, held[0] if len(held) == 1 else np.concatenate(held), None, {}
            first, held, count = first + count, [], 0
        held.append(part)
        count += len(part)
    if count:
        yield first, held[0] if len(held) == 1 else np.concatenate(held), None, {}


def write(format_name, path, pieces, model, out, options):
    empty = [piece.where for piece in pieces if piece.rows == 0]
    pieces = [piece for piece in pieces if piece.rows > 0]
    if not pieces:
        raise Failure(f"{path}: holds no row of routing; run the server with "
                      "--enable-return-routed-experts and ask for routed experts")
    if empty:
        note(f"{empty[0]}: holds no row, as {len(empty)} of the requests, which are left out")
    tail = pieces[0].tail
    for piece in pieces:
        if piece.tail != tail:
            raise Failure(f"{piece.where}: has {piece.tail[0]} layers and {piece.tail[1]} experts "
                          f"per token, {pieces[0].where} has {tail[0]} and {tail[1]}; import what "
                          "one model wrote")
    most = block_rows(*tail)
    Recording(path, format_name, lambda: blocks_of(pieces, most),
              requests_of(path, pieces, options), layers=range(tail[0]), width=tail[1],
              top_k=tail[1], array="routed experts", model=model).write(out, options)
