"""The one writer of trace files in Python: exactly what traces/FORMAT.md says.

A `TraceWriter` takes rows block by block, checks them, and puts the file in place under
its name only when `commit` succeeds. Equal calls give byte-equal files.
"""

import contextlib
import os
import re
import stat

import h5py
import numpy as np

import temporaries

CHUNK_BYTES = 512 << 10
CHUNK_ROWS_MAX = 16384
NOT_RECORDED = 65535
PREFILL, DECODE, DRAFT, VERIFY = range(4)


class ImportFailed(Exception):
    """The input cannot become a trace; the text is the sentence for the user."""


def sync(path):
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
        raise ImportFailed(f"{path}: cannot be written: {reason_of(failure)}; is there room, and "
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
    """One growing data set; rows gather until a chunk is full."""

    def __init__(self, file, name, dtype, tail=(), rows=None):
        chunks = chunk_shape(tail, np.dtype(dtype).itemsize, rows)
        self.set = file.create_dataset(
            name, shape=(0,) + tuple(tail), maxshape=(None,) + tuple(tail), dtype=dtype,
            chunks=chunks, shuffle=True, compression="gzip", compression_opts=4,
            fletcher32=True, track_times=False)
        self.chunk_rows = chunks[0]
        self.held = []
        self.filled = 0

    def put(self, values):
        values = np.asarray(values)
        while len(values):
            part = values[:self.chunk_rows - self.filled]
            self.held.append(part.astype(self.set.dtype))
            self.filled += len(part)
            values = values[len(part):]
            if self.filled == self.chunk_rows:
                self.flush()

    def flush(self):
        if self.filled:
            start = self.set.shape[0]
            self.set.resize(start + self.filled, axis=0)
            self.set[start:] = np.concatenate(self.held)
            self.held, self.filled = [], 0


def create_file(path):
    """Checksummed metadata, no times, attributes in the root's header."""
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_libver_bounds(h5py.h5f.LIBVER_V110, h5py.h5f.LIBVER_V110)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    create = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    create.set_obj_track_times(False)
    create.set_attr_phase_change(64, 0)
    return h5py.File(h5py.h5f.create(os.fsencode(path), h5py.h5f.ACC_TRUNC, create, access))


def create_group(file, name):
    create = h5py.h5p.create(h5py.h5p.GROUP_CREATE)
    create.set_obj_track_times(False)
    h5py.h5g.create(file.id, name.encode(), None, create)


class TraceWriter:
    """Writes one trace; use as a context manager, so that a failure leaves no file."""

    def __init__(self, path, *, model, source, capture, experts, top_k, moe_layer,
                 score_kind="none", candidates=None, expert_bytes=None, group_names=("all",),
                 resident=False, into=None, places=None):
        """`into`: an existing file of the caller's, who renames it to `path`. `places`: what
        the source calls each layer, for messages; their numbers from 0 where left out."""
        self.path, self.into = path, into
        self.experts, self.top_k = experts, top_k
        self.candidates = candidates or top_k
        self.layers = len(moe_layer)
        self.places = places or range(self.layers)
        self.score_kind = score_kind
        self.sorted = score_kind != "none"
        self.rows_written = 0
        self.file = self.temporary = None
        self.columns, self.small = {}, []
        if os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode):
            raise ImportFailed(f"{path}: is no plain file; give the trace another name")
        with writing(path):
            self.temporary = into or temporaries.begin(path)
        try:
            with writing(path, self):
                self.begin(model, source, capture, moe_layer, expert_bytes, group_names,
                           resident)
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def begin(self, model, source, capture, moe_layer, expert_bytes, group_names, resident):
        """The small parts, and the growing data sets, empty."""
        self.file = create_file(self.temporary)
        self.file.attrs.create("format", text_value("moesim-trace"))
        self.file.attrs.create("version", np.uint32(1))
        for name, text in (("model", model), ("source", source), ("capture", capture),
                           ("score_kind", self.score_kind)):
            self.file.attrs.create(name, text_value(text))
        for name, value in (("experts", self.experts), ("top_k", self.top_k),
                            ("candidates", self.candidates)):
            self.file.attrs.create(name, np.uint32(value))
        self.whole("/moe_layer", np.asarray(moe_layer, dtype="<u2"))
        if expert_bytes is not None:
            self.whole("/expert_bytes", np.asarray(expert_bytes, dtype="<u8"))
        names = [name.encode("utf-8") for name in group_names]
        width = max(1, max(len(name) for name in names))
        self.whole("/group_name", np.array(names, dtype=h5py.string_dtype("utf-8", width)))
        for group in ("request", "token", "routing"):
            create_group(self.file, group)
        tail = (self.layers, self.candidates)
        self.columns |= {
            "request": Column(self.file, "/token/request", "<u4"),
            "position": Column(self.file, "/token/position", "<u4"),
            "phase": Column(self.file, "/token/phase", "u1"),
            "expert": Column(self.file, "/routing/expert", "<u2", tail),
        }
        if self.score_kind != "none":
            self.columns["score"] = Column(self.file, "/routing/score", "<f2", tail)
        if resident:
            self.columns["resident"] = Column(self.file, "/routing/resident", "u1", tail)

    def whole(self, name, values):
        """A small data set, complete."""
        column = Column(self.file, name, values.dtype, rows=len(values))
        self.small.append(column)
        column.put(values)
        column.flush()

    def refuse(self, bad, where, what):
        """For the first True of `bad`, which is by (row, layer, ...)."""
        if bad.any():
            at = tuple(int(i) for i in np.argwhere(bad)[0])
            raise ImportFailed(f"{where}: row {self.rows_written + at[0]}, layer "
                               f"{self.places[at[1]]}: {what(at)}")

    def check(self, expert, score, where):
        """The rules that a reader enforces, with the sentence of the first breach."""
        expert = expert.astype(np.int64)
        missing = expert == NOT_RECORDED
        self.refuse((expert < 0) | ((expert >= self.experts) & ~missing), where,
                    lambda at: f"expert {expert[at]} is not below {self.experts}")
        self.refuse((missing[:, :, :-1] & ~missing[:, :, 1:]).any(axis=2), where,
                    lambda at: "an expert follows one that was not recorded")
        ordered = np.sort(np.where(missing, -1 - np.arange(expert.shape[2]), expert), axis=2)
        self.refuse((np.diff(ordered, axis=2) == 0).any(axis=2), where,
                    lambda at: "an expert occurs twice")
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

    def rows(self, where, request, position, phase, expert, score=None, resident=None):
        """Appends rows: expert, score and resident are (row, layer, candidate)."""
        self.check(expert, score, where)
        given = {"request": request, "position": position, "phase": phase, "expert": expert,
                 "score": score, "resident": resident}
        with writing(self.path, self):
            for name, values in given.items():
                if values is not None:
                    self.columns[name].put(values)
        self.rows_written += len(expert)

    def commit(self, *, prompt_tokens, output_tokens, rows, group=None, arrival_ns=None):
        """The columns of the requests, in order; `rows` must cover all rows written."""
        rows = np.asarray(rows, dtype=np.int64)
        if int(rows.sum()) != self.rows_written:
            raise ImportFailed(f"{self.path}: requests cover {int(rows.sum())} rows of "
                               f"{self.rows_written}")
        with writing(self.path, self):
            self.finish(prompt_tokens, output_tokens, rows, group, arrival_ns)

    def finish(self, prompt_tokens, output_tokens, rows, group, arrival_ns):
        """Writes what is left, closes, and gives the file its name."""
        for column in self.columns.values():
            column.flush()
        first = np.concatenate([[0], np.cumsum(rows)[:-1]])
        count = len(rows)
        self.whole("/request/arrival_ns", np.asarray(
            arrival_ns if arrival_ns is not None else np.full(count, -1), dtype="<i8"))
        self.whole("/request/prompt_tokens", np.asarray(prompt_tokens, dtype="<u4"))
        self.whole("/request/output_tokens", np.asarray(output_tokens, dtype="<u4"))
        self.whole("/request/first_row", first.astype("<u8"))
        self.whole("/request/rows", rows.astype("<u4"))
        self.whole("/request/group", np.asarray(
            group if group is not None else np.zeros(count), dtype="<u2"))
        self.file.attrs.create("sorted", np.uint8(self.sorted))
        self.file.flush()  # closing alone does not tell of every failure
        self.file.close()
        self.file = None
        sync(self.temporary)
        if self.into is None:
            os.replace(self.temporary, self.path)
            temporaries.names.discard(self.temporary)
            with contextlib.suppress(OSError):  # some folders cannot be synced
                sync(os.path.dirname(os.path.abspath(self.path)))
        self.temporary = None

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        try:
            if self.file is not None and self not in broken:
                self.file.close()
        finally:
            if self.temporary is not None and self.into is None:
                temporaries.forget(self.temporary)
