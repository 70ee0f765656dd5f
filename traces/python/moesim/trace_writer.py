"""The one writer of trace files in Python: exactly what traces/FORMAT.md says.

A `TraceWriter` takes rows block by block, checks them, and puts the file in place under
its name only when `commit` succeeds. Equal calls give byte-equal files.
"""

import collections
import contextlib
import os
import re
import stat

import h5py
import numpy as np

from moesim import chunks as chunk_filters
from moesim import temporaries
from moesim.say import Failure

KIND, VERSION = "moesim-trace", 1  # what the file says of itself
CHUNK_BYTES = 512 << 10
CHUNK_ROWS_MAX = 16384
NOT_RECORDED = 65535
PREFILL, DECODE, DRAFT, VERIFY = range(4)


broken = []  # writers that could not write: HDF5 must not try again, and trips over that


def reason_of(failure):
    """The system's word for it, which HDF5 has somewhere in its own."""
    number = re.search(r"errno = ([0-9]+)", str(failure))
    if number:
        return os.strerror(int(number[1]))
    return getattr(failure, "strerror", None) or str(failure)[:200]


@contextlib.contextmanager
def writing(path, writer=None):
    """What the system or HDF5 says of a failed write, as a sentence."""
    try:
        yield
    except (OSError, RuntimeError) as failure:
        broken.append(writer)
        raise Failure(f"{path}: cannot be written: {reason_of(failure)}; is there room, and "
                      "may you write there?") from None


def chunk_shape(tail, width, rows=None):
    """Whole rows, a power of two of them, or a part of a row where one is too large."""
    row_bytes = width * int(np.prod(tail, dtype=np.int64)) if tail else width
    if row_bytes > CHUNK_BYTES:
        inner = width * int(np.prod(tail[1:], dtype=np.int64))
        return (1, CHUNK_BYTES // inner) + tuple(tail[1:])
    count = 1
    while (count * 2 * row_bytes <= CHUNK_BYTES and count < CHUNK_ROWS_MAX
           and (rows is None or count < rows)):
        count *= 2
    return (count,) + tuple(tail)


def text_value(text):
    data = text.encode("utf-8", "replace")  # names of files may be no UTF-8
    return np.array(data, dtype=h5py.string_dtype("utf-8", max(1, len(data))))


class Column:
    """One growing data set; rows gather until a chunk is full, which threads then compress.
    Chunks are written in order, so that equal calls give equal files."""

    def __init__(self, file, name, dtype, tail=(), rows=None):
        chunks = chunk_shape(tail, np.dtype(dtype).itemsize, rows)
        self.set = file.create_dataset(
            name, shape=(0,) + tuple(tail), maxshape=(None,) + tuple(tail), dtype=dtype,
            chunks=chunks, shuffle=True, compression="gzip", compression_opts=chunk_filters.LEVEL,
            fletcher32=True, track_times=False)
        self.chunk_rows = chunks[0]
        # A row in several chunks, and text, go the library's way.
        self.direct = chunks[1:] == tuple(tail) and self.set.dtype.kind in "uif"
        self.held = None  # the chunk that fills
        self.filled = self.written = 0
        self.packing = collections.deque()  # (first row, future)

    def put(self, values):
        values = np.asarray(values)
        while len(values):
            part = values[:self.chunk_rows - self.filled]
            if self.held is None:
                self.held = np.zeros((self.chunk_rows,) + self.set.shape[1:], dtype=self.set.dtype)
            self.held[self.filled:self.filled + len(part)] = part
            self.filled += len(part)
            values = values[len(part):]
            if self.filled == self.chunk_rows:
                self.close_chunk()

    def close_chunk(self):
        start, self.written = self.written, self.written + self.filled
        if self.direct:
            self.packing.append((start, chunk_filters.start(self.held)))
            while len(self.packing) > chunk_filters.AHEAD:
                self.write_first()
        else:
            self.set.resize(self.written, axis=0)
            self.set[start:] = self.held[:self.filled]
        self.held, self.filled = None, 0

    def write_first(self):
        start, future = self.packing.popleft()
        data = future.result()
        self.set.resize(min(start + self.chunk_rows, self.written), axis=0)
        self.set.id.write_direct_chunk((start,) + (0,) * (self.set.ndim - 1), data)

    def flush(self):
        if self.filled:
            self.close_chunk()
        while self.packing:
            self.write_first()


def create_file(path):
    """Checksummed metadata, no times, attributes in the root's header."""
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_libver_bounds(h5py.h5f.LIBVER_V110, h5py.h5f.LIBVER_V110)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    access.set_file_locking(False, True)  # temporaries.py holds a lock of its own
    create = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    create.set_obj_track_times(False)
    create.set_attr_phase_change(64, 0)
    return h5py.File(h5py.h5f.create(os.fsencode(path), h5py.h5f.ACC_TRUNC, create, access))


def create_group(file, name):
    create = h5py.h5p.create(h5py.h5p.GROUP_CREATE)
    create.set_obj_track_times(False)
    h5py.h5g.create(file.id, name.encode(), None, create)


def check_ids(expert, experts, refuse):
    """Ids are below `experts` and differ in a cell, and NOT_RECORDED only ends one; else
    refuse(where it is not so, what to say there)."""
    expert = np.asarray(expert)
    if expert.dtype.kind == "i" and expert.size and expert.min() < 0:
        refuse(expert < 0, lambda at: f"expert {expert[at]} is not below {experts}")
    missing = expert == NOT_RECORDED
    some_missing = missing.any()
    top = expert.max(initial=0)
    if top >= experts and (top != NOT_RECORDED or some_missing):
        refuse((expert >= experts) & ~missing,
               lambda at: f"expert {expert[at]} is not below {experts}")
    if some_missing:
        refuse((missing[:, :, :-1] & ~missing[:, :, 1:]).any(axis=2),
               lambda at: "an expert follows one that was not recorded")
    twice = find_twice(expert, missing if some_missing else None)
    refuse(twice, lambda at: "an expert occurs twice")


def find_twice(expert, missing):
    """Cells (row, layer) in which an expert occurs twice."""
    width = expert.shape[2]
    if width <= 16:  # pairs, which costs less than sorting
        twice = np.zeros(expert.shape[:2], dtype=bool)
        column = [np.ascontiguousarray(expert[:, :, i]) for i in range(width)]
        for j in range(1, width):
            for i in range(j):
                same = column[i] == column[j]
                if missing is not None:
                    same &= ~missing[:, :, j]
                twice |= same
        return twice
    order = np.sort(expert, axis=2)
    same = order[:, :, 1:] == order[:, :, :-1]
    if missing is not None:
        same &= order[:, :, 1:] != NOT_RECORDED
    return same.any(axis=2)


class TraceFile:
    """The file, under a temporary name until `finish`; a context manager, so that a failure
    leaves none."""

    def __init__(self, path, *, model, source, capture, experts, top_k, moe_layer,
                 score_kind="none", candidates=None, expert_bytes=None):
        self.path, self.experts, self.top_k = path, experts, top_k
        self.candidates = candidates or top_k
        self.layers = len(moe_layer)
        self.score_kind = score_kind
        self.sorted = score_kind != "none"
        self.file = self.temporary = None
        self.columns, self.small = {}, []
        if os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode):
            raise Failure(f"{path}: is no plain file; give the trace another name")
        with writing(path):
            self.temporary = temporaries.begin(path)
        with self.whole_or_nothing():
            self.file = create_file(self.temporary)
            self.file.attrs.create("format", text_value(KIND))
            self.file.attrs.create("version", np.uint32(VERSION))
            for name, text in (("model", model), ("source", source), ("capture", capture),
                               ("score_kind", score_kind)):
                self.file.attrs.create(name, text_value(text))
            for name, value in (("experts", experts), ("top_k", top_k),
                                ("candidates", self.candidates)):
                self.file.attrs.create(name, np.uint32(value))
            self.whole("/moe_layer", np.asarray(moe_layer, dtype="<u2"))
            if expert_bytes is not None:
                self.whole("/expert_bytes", np.asarray(expert_bytes, dtype="<u8"))

    @contextlib.contextmanager
    def whole_or_nothing(self):
        try:
            with writing(self.path, self):
                yield
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def whole(self, name, values):
        """A small data set, complete."""
        column = Column(self.file, name, values.dtype, values.shape[1:], rows=len(values))
        self.small.append(column)
        column.put(values)
        column.flush()

    def finish(self):
        """Writes what is left, closes, and gives the file its name."""
        for column in self.columns.values():
            column.flush()
        self.file.attrs.create("sorted", np.uint8(self.sorted))
        self.file.flush()  # closing alone does not tell of every failure
        self.file.close()
        self.file = None
        temporaries.finish(self.temporary, self.path)
        self.temporary = None

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        try:
            if self.file is not None and self not in broken:
                self.file.close()
        finally:
            if self.temporary is not None:
                temporaries.forget(self.temporary)


# Columns of a row that may be absent: data set, type, what its shape ends in.
OPTIONAL = {
    "token_id": ("/token/token_id", "<i4", ""),
    "source": ("/token/source", "<u2", ""),
    "score": ("/routing/score", "<f2", "LM"),
    "resident": ("/routing/resident", "u1", "LM"),
    "predicted": ("/routing/predicted", "<u2", "LP"),
}


class TraceWriter(TraceFile):
    """Rows of routing, block by block."""

    def __init__(self, path, *, group_names=("all",), fields=(), predictions=0, distance=1,
                 places=None, **what):
        """`fields`: which of OPTIONAL are written, besides the scores that score_kind tells
        of; `predictions`: how many each cell has, made `distance` layers ahead. `places`:
        what the source calls each layer, for messages; their numbers from 0 where left out."""
        super().__init__(path, **what)
        self.places = places or range(self.layers)
        self.rows_written = 0
        with self.whole_or_nothing():
            self.begin(group_names, fields, predictions, distance)

    def begin(self, group_names, fields, predictions, distance):
        """The data sets, empty."""
        names = [name.encode("utf-8") for name in group_names]
        width = max(1, max(len(name) for name in names))
        self.whole("/group_name", np.array(names, dtype=h5py.string_dtype("utf-8", width)))
        for group in ("request", "token", "routing"):
            create_group(self.file, group)
        size = {"L": self.layers, "M": self.candidates, "P": predictions}
        self.columns |= {
            "request": Column(self.file, "/token/request", "<u4"),
            "position": Column(self.file, "/token/position", "<u4"),
            "phase": Column(self.file, "/token/phase", "u1"),
            "expert": Column(self.file, "/routing/expert", "<u2",
                             (self.layers, self.candidates)),
        }
        for name, (where, kind, shape) in OPTIONAL.items():
            if name in fields or (name == "score" and self.score_kind != "none"):
                self.columns[name] = Column(self.file, where, kind,
                                            tuple(size[letter] for letter in shape))
        if "predicted" in fields:
            self.columns["predicted"].set.attrs.create("distance", np.uint32(distance))

    def refuse(self, bad, where, what):
        """For the first True of `bad`, which is by (row, layer, ...)."""
        if bad.any():
            at = tuple(int(i) for i in np.argwhere(bad)[0])
            raise Failure(f"{where}: row {self.rows_written + at[0]}, layer "
                          f"{self.places[at[1]]}: {what(at)}")

    def check(self, expert, score, where):
        """The rules that a reader enforces, with the sentence of the first breach."""
        check_ids(expert, self.experts, lambda bad, what: self.refuse(bad, where, what))
        if score is None:
            return
        with np.errstate(over="ignore"):
            half = score.astype(np.float16)
        good = np.isfinite(half)
        if self.score_kind in ("softmax", "sigmoid"):
            good &= (half >= 0) & (half <= 1)
        self.refuse(~good, where,
                    lambda at: f"score {score[at]} is not one of a {self.score_kind}")
        if self.sorted and not (half[:, :, :-1] >= half[:, :, 1:]).all():
            self.sorted = False

    def check_range(self, where, name, values):
        """A number too large for its column would be written as another."""
        if values.dtype.kind not in "iu" or not values.size:
            return
        held = np.iinfo(self.columns[name].set.dtype)
        if values.min() < held.min or values.max() > held.max:
            at = int(np.argmax((values < held.min) | (values > held.max)))
            raise Failure(f"{where}: row {self.rows_written + at}: {name} is {values[at]}, which "
                          f"a trace cannot hold; it must be from {held.min} to {held.max}")

    def rows(self, where, request, position, phase, expert, score=None, **optional):
        """Appends rows: expert, score, resident and predicted are (row, layer, candidate)."""
        self.check(expert, score, where)
        given = {"request": request, "position": position, "phase": phase, "expert": expert,
                 "score": score, **optional}
        for name, values in given.items():
            if values is not None and np.ndim(values) == 1:
                self.check_range(where, name, np.asarray(values))
        with writing(self.path, self):
            for name, values in given.items():
                if values is not None:
                    self.columns[name].put(values)
        self.rows_written += len(expert)

    def add_passes(self, passes):
        """Recorded batches, in order, before `commit`: row numbers of each, of rows that may
        come later. When they began is not recorded."""
        with writing(self.path, self):
            if "pass_row" not in self.columns:
                create_group(self.file, "pass")
                self.columns |= {"pass_first": Column(self.file, "/pass/first", "<u8"),
                                 "pass_row": Column(self.file, "/pass/row", "<u8"),
                                 "pass_start": Column(self.file, "/pass/start_ns", "<i8")}
                self.columns["pass_first"].put([0])
                self.pass_rows = 0
            for one in passes:
                self.pass_rows += len(one)
                self.columns["pass_first"].put([self.pass_rows])
                self.columns["pass_row"].put(one)
                self.columns["pass_start"].put([-1])

    def commit(self, *, prompt_tokens, output_tokens, rows, group=None, arrival_ns=None,
               passes=None):
        """The columns of the requests, in order; `rows` must cover all rows written. `passes`:
        row numbers of each recorded batch, if there were such."""
        rows = np.asarray(rows, dtype=np.int64)
        count = len(rows)
        if int(rows.sum()) != self.rows_written:
            raise Failure(f"{self.path}: requests cover {int(rows.sum())} rows of "
                          f"{self.rows_written}")
        first = np.concatenate([[0], np.cumsum(rows)[:-1]])
        with writing(self.path, self):
            for name, values, kind in (
                    ("arrival_ns", np.full(count, -1) if arrival_ns is None else arrival_ns,
                     "<i8"),
                    ("prompt_tokens", prompt_tokens, "<u4"),
                    ("output_tokens", output_tokens, "<u4"),
                    ("first_row", first, "<u8"), ("rows", rows, "<u4"),
                    ("group", np.zeros(count) if group is None else group, "<u2")):
                self.whole(f"/request/{name}", np.asarray(values).astype(kind))
            if passes is not None:
                self.add_passes(passes)
            self.finish()


class CountWriter(TraceFile):
    """A count-only trace: tokens per expert in each pass, without saying which."""

    def __init__(self, path, **what):
        super().__init__(path, **what)
        with self.whole_or_nothing():
            create_group(self.file, "load")
            self.columns["count"] = Column(self.file, "/load/count", "<u4",
                                           (self.layers, self.experts))

    def passes(self, where, counts):
        """Appends passes: (pass, layer, expert)."""
        counts = np.asarray(counts)
        bad = (counts < 0) | (counts > 0xffffffff) | (counts != np.floor(counts))
        if bad.any():
            at = tuple(int(i) for i in np.argwhere(bad)[0])
            raise Failure(f"{where}: pass {at[0]}, layer {at[1]}: the count of expert {at[2]} is "
                          f"{counts[at]}, not a whole number from 0 to 2^32 - 1")
        with writing(self.path, self):
            self.columns["count"].put(counts)

    def commit(self):
        with writing(self.path, self):
            self.finish()
