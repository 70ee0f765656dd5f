"""A trace as plain values, and the file that they become; see ../FORMAT.md.

Nothing here comes from the project's own writers: it says what the page says, so that the
page is tested too. A `Trace` holds attributes and data sets under the names of the page; a
change of one of them before `write` makes another file.
"""

import os

import h5py
import numpy as np

STRINGS = {"fixed": lambda data: h5py.string_dtype("utf-8", max(1, len(data))),
           "variable": lambda data: h5py.string_dtype("utf-8")}


def put_group(file, name):
    plist = h5py.h5p.create(h5py.h5p.GROUP_CREATE)
    plist.set_obj_track_times(False)
    h5py.h5g.create(file.id, name.encode(), None, plist)


class Set:
    """A data set: values of a numpy type, or of an HDF5 type of its own, and how they lie."""

    def __init__(self, values, dtype):
        self.values = np.asarray(values, dtype)
        self.file_type = None  # of h5py.h5t, where numpy has none like it
        self.layout = "compact"
        self.chunk = None  # of a chunked one; None: all of it
        self.filters = ("shuffle", "deflate", "fletcher32")
        self.written = None  # rows that are written; None: all of them
        self.attributes = {}

    def set_type(self, dtype):
        """The same values as another type."""
        self.values = self.values.astype(dtype)

    def chunked(self, *chunk, filters=("shuffle", "deflate", "fletcher32")):
        self.layout, self.chunk, self.filters = "chunked", chunk or None, filters

    def properties(self):
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_obj_track_times(False)
        if self.layout == "chunked":
            plist.set_chunk(self.chunk or tuple(max(1, n) for n in self.values.shape))
            for name in self.filters:
                {"shuffle": plist.set_shuffle,
                 "deflate": lambda: plist.set_deflate(9),
                 "fletcher32": plist.set_fletcher32,
                 "lzf": lambda: plist.set_filter(h5py.h5z.FILTER_LZF, h5py.h5z.FLAG_OPTIONAL),
                 "scaleoffset": lambda: plist.set_scaleoffset(h5py.h5z.SO_INT, 0),
                 }[name]()
        else:
            plist.set_layout({"compact": h5py.h5d.COMPACT,
                              "contiguous": h5py.h5d.CONTIGUOUS}[self.layout])
        return plist

    def write(self, file, name):
        shape, most = self.values.shape, None
        if self.layout == "chunked":  # grows by rows; what is 0 must be able to
            most = tuple(h5py.h5s.UNLIMITED if axis == 0 or size == 0 else size
                         for axis, size in enumerate(shape))
        if shape:
            space = h5py.h5s.create_simple(shape, most)
        else:
            space = h5py.h5s.create(h5py.h5s.SCALAR)
        kind = self.file_type or h5py.h5t.py_create(self.values.dtype, logical=True)
        made = h5py.h5d.create(file.id, name.encode(), kind, space, self.properties())
        if self.written is not None or self.values.dtype.kind == "O":
            h5py.Dataset(made)[:self.written] = self.values[:self.written]
        elif self.values.size:
            made.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ascontiguousarray(self.values))
        for key, value in self.attributes.items():
            h5py.Dataset(made).attrs.create(key, value)


class Trace:
    """Attributes of the root, data sets by their names, and how the file is laid out."""

    def __init__(self, attributes, sets):
        self.attributes = attributes
        self.sets = sets
        self.strings = "fixed"
        self.libver = ("v110", "v110")
        self.userblock = 0
        self.finish = []  # functions of the open file, at the end
        self.bytes = []  # functions of the path, once it is closed

    def __getitem__(self, name):
        return self.sets[name]

    def __setitem__(self, name, made):
        self.sets[name] = made

    def __delitem__(self, name):
        del self.sets[name]

    def put_attributes(self, file):
        for name, value in self.attributes.items():
            if isinstance(value, (str, bytes)):
                data = value.encode("utf-8") if isinstance(value, str) else value
                kind = STRINGS[self.strings](data)
                file.attrs.create(name, data if self.strings == "fixed" else data.decode(),
                                  dtype=kind)
            else:
                file.attrs.create(name, value)

    def access(self):
        plist = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
        bound = {"v110": h5py.h5f.LIBVER_V110, "earliest": h5py.h5f.LIBVER_EARLIEST}
        plist.set_libver_bounds(*(bound[name] for name in self.libver))
        plist.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
        return plist

    def put_sets(self, file):
        """By way of a file in memory: a copy leaves out the room for attributes to come,
        which is most of a file as small as these."""
        access = self.access()
        access.set_fapl_core(backing_store=False)
        with h5py.File(h5py.h5f.create(b"in memory", h5py.h5f.ACC_TRUNC, None, access)) as draft:
            for group in sorted({name.rsplit("/", 1)[0] for name in self.sets} - {""}):
                put_group(draft, group)
            for name, made in self.sets.items():
                made.write(draft, name)
            for name in draft:
                h5py.h5o.copy(draft.id, name.encode(), file.id, name.encode())

    def write(self, path):
        create = h5py.h5p.create(h5py.h5p.FILE_CREATE)
        create.set_obj_track_times(False)
        if self.libver[0] != "earliest":
            create.set_attr_phase_change(64, 0)
        if self.userblock:
            create.set_userblock(self.userblock)
        with h5py.File(h5py.h5f.create(os.fsencode(path), h5py.h5f.ACC_TRUNC, create,
                                       self.access())) as file:
            self.put_attributes(file)
            self.put_sets(file)
            for step in self.finish:
                step(file)
        for step in self.bytes:
            step(path)


# ---- the traces that the files are made from ----

LAYERS, EXPERTS, TOP_K, ROWS = 3, 8, 2, 12
ROWS_OF_REQUEST = (4, 0, 3, 5)


def attributes(**others):
    return {"format": "moesim-trace", "version": np.uint32(1), "model": "tiny",
            "source": "made by hand", "capture": "", "experts": np.uint32(EXPERTS),
            "top_k": np.uint32(TOP_K), "candidates": np.uint32(TOP_K), "score_kind": "none",
            "sorted": np.uint8(0)} | others


def ids(rows, layers, width, experts):
    """[rows][layers][width]: the ids of a cell follow each other, and no two rows are alike."""
    row, layer, slot = np.ogrid[:rows, :layers, :width]
    return (row * 3 + row // experts + layer * 2 + slot) % experts


def plain(rows_of_request=ROWS_OF_REQUEST, layers=LAYERS, experts=EXPERTS, top_k=TOP_K):
    """What must be there, and no more. The first row of a request is prefill."""
    counts = np.array(rows_of_request)
    first = np.cumsum(counts) - counts
    request = np.repeat(np.arange(len(counts)), counts)
    position = np.arange(counts.sum()) - first[request]
    return Trace(attributes(experts=np.uint32(experts), top_k=np.uint32(top_k),
                            candidates=np.uint32(top_k)), {
        "/moe_layer": Set(np.arange(1, layers + 1), "<u2"),
        "/request/arrival_ns": Set([-1] * len(counts), "<i8"),
        "/request/prompt_tokens": Set([1] * len(counts), "<u4"),
        "/request/output_tokens": Set(counts, "<u4"),
        "/request/first_row": Set(first, "<u8"),
        "/request/rows": Set(counts, "<u4"),
        "/request/group": Set([0] * len(counts), "<u2"),
        "/token/request": Set(request, "<u4"),
        "/token/position": Set(position, "<u4"),
        "/token/phase": Set(position > 0, "u1"),
        "/routing/expert": Set(ids(counts.sum(), layers, top_k, experts), "<u2"),
    })


def add_scores(trace, kind="softmax", is_sorted=1):
    """3/4 and 1/4, sevenths in other rows: what halves hold exactly or nearly."""
    shape = trace["/routing/expert"].values.shape
    odd = np.arange(shape[0]).reshape(-1, 1, 1) % 2
    rank = np.arange(shape[2]).reshape(1, 1, -1)
    score = np.broadcast_to(np.where(odd, 0.75 / 3.0 ** rank, 0.625 / 2.0 ** rank), shape)
    trace.attributes |= {"score_kind": kind, "sorted": np.uint8(is_sorted)}
    trace["/routing/score"] = Set(score, "<f2")
    return trace


def add_passes(trace, size=5):
    rows = trace["/routing/expert"].values.shape[0]
    first = [*range(0, rows, size), rows]
    trace["/pass/first"] = Set(first, "<u8")
    trace["/pass/row"] = Set(np.arange(rows)[::-1], "<u8")
    trace["/pass/start_ns"] = Set(np.arange(len(first) - 1) * 1000, "<i8")
    return trace


def add_predicted(trace, width=3):
    rows, layers, _ = trace["/routing/expert"].values.shape
    experts = int(trace.attributes["experts"])
    trace["/routing/predicted"] = Set(ids(rows, layers, width, experts)[::-1], "<u2")
    trace["/routing/predicted"].attributes["distance"] = np.uint32(1)
    return trace


def add_expert_bytes(trace):
    trace["/expert_bytes"] = Set([1 << 20] * trace["/moe_layer"].values.size, "<u8")
    return trace


def add_groups(trace):
    names = ["code".encode(), "Köln".encode()]
    trace["/group_name"] = Set(np.array(names, h5py.string_dtype("utf-8", 6)),
                               h5py.string_dtype("utf-8", 6))
    trace["/request/group"].values[-1] = 1
    return trace


def add_token_id(trace):
    trace["/token/token_id"] = Set(np.arange(len(trace["/token/request"].values)) * 11 - 1, "<i4")
    return trace


def add_source(trace):
    values = np.arange(len(trace["/token/request"].values)) % 4
    values[0] = 65535
    trace["/token/source"] = Set(values, "<u2")
    return trace


def add_resident(trace):
    shape = trace["/routing/expert"].values.shape
    values = np.arange(np.prod(shape)).reshape(shape) % 2
    values[0, 0, 0] = 255
    trace["/routing/resident"] = Set(values, "u1")
    return trace


def full():
    """All that there is."""
    trace = add_scores(plain())
    for add in (add_passes, add_predicted, add_expert_bytes, add_groups, add_token_id,
                add_source, add_resident):
        add(trace)
    trace["/request/arrival_ns"].values[:] = [0, 5, 5, 70]
    return trace


def counts():
    """Counts alone: two passes of twelve tokens."""
    trace = Trace(attributes(), {"/moe_layer": Set(np.arange(1, LAYERS + 1), "<u2")})
    values = np.zeros((2, LAYERS, EXPERTS), "<u4")
    values[:, :, :6] = 4
    trace["/load/count"] = Set(values, "<u4")
    return trace
