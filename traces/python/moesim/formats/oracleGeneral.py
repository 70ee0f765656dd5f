"""libCacheSim's oracleGeneral as `moesim trace export --to oracleGeneral` writes it, read back.

Records of 24 bytes, little-endian: clock u32 (the pass), object u64 (place of the layer among
the MoE layers * experts + expert), size u32 (bytes of an expert, 1 where unknown or left
out), next i64 (number of the next access to that object, -1 if there is none; in a file where
it is -1 throughout nothing shows that it is whole, and that is said). Each distinct
expert of a layer is accessed once in a pass. The numbers mean nothing without the model: it
is named with --model (and --experts, --top-k for one that has no file).

Where no layer of any pass has more than top_k experts the passes are single tokens: each
becomes a row, of one request and decode, the experts ascending as order and scores are gone;
a layer that a pass does not name was not recorded. Otherwise (a prompt's pass, or several
requests in lock step) the file does not say how many tokens chose an expert, or which: it
becomes counts by pass, 1 for each expert that was chosen at all, and that is said.

Source: traces/export.c; github.com/1a1a11a/libCacheSim, oracleGeneralBin.
"""

import os

import numpy as np

from moesim.counts import Counts
from moesim.files import open_file
from moesim.formats import Format
from moesim.models import named, unknown
from moesim.recording import Recording, Requests
from moesim.say import Failure, note
from moesim.trace_writer import NOT_RECORDED

FORMAT = Format(
    name="oracleGeneral", writer="moesim trace export --to oracleGeneral",
    files="oracleGeneral, bin",
    holds="routing of single tokens; of others load counts, 1 for each expert chosen",
    options=("top-k",), source="github.com/1a1a11a/libCacheSim, oracleGeneralBin")

RECORD = np.dtype([("clock", "<u4"), ("object", "<u8"), ("size", "<u4"), ("next", "<i8")])
BLOCK_RECORDS = 1 << 17
NEVER, ENDS = -2, -1  # an object that did not occur yet, or does not again
BLOCK_VALUES = 1 << 20


class Shape:
    """What the model says of layers, experts and top_k."""

    def __init__(self, path, options, highest):
        if not options.model:
            raise Failure(f"{path}: holds numbers of objects alone; name the model that they are "
                          "of with --model (moesim list models has the names)")
        model = named(options.model)
        if model is None and not (options.experts and options.top_k):
            raise Failure(f"{path}: {unknown(options.model)}; give --experts N and --top-k K too, "
                          "as that model has no file")
        self.experts = options.experts or model.experts
        self.top_k = options.top_k or model.top_k
        self.layers = len(model.moe) if model else highest // self.experts + 1
        if highest >= self.layers * self.experts:
            raise Failure(f"{path}: object {highest} is not below {self.layers} layers * "
                          f"{self.experts} experts; name the right model with --model")


class Accesses:
    """The records, swept twice: `sweep` checks them and finds what holds for all."""

    def __init__(self, path):
        self.path = path
        with open_file(path) as stream:
            size = os.fstat(stream.fileno()).st_size
        if size % RECORD.itemsize or not size:
            raise Failure(f"{path}: has {size} bytes, which are no whole records of "
                          f"{RECORD.itemsize}; is the file whole?")

    def blocks(self):
        with open_file(self.path) as stream:
            first = 0
            while data := stream.read(BLOCK_RECORDS * RECORD.itemsize):
                block = np.frombuffer(data[:len(data) // RECORD.itemsize * RECORD.itemsize], RECORD)
                yield first, block
                first += len(block)

    def fail(self, first, bad, what):
        if bad.any():
            raise Failure(f"{self.path}: record {first + int(np.argmax(bad))}: {what}")

    def highest(self):
        """The highest object; looks at the order of time on the way."""
        highest, clock, self.foretells = 0, -1, False
        for first, block in self.blocks():
            time = block["clock"].astype(np.int64)
            step = np.diff(time, prepend=clock)
            self.fail(first, (step < 0) | (step > 1),
                      "its clock is not that of the pass before, or the next; is this an export of "
                      "moesim, and whole?")
            if first == 0 and time[0] != 0:
                self.fail(0, np.array([True]), "its clock is not 0; is this an export of moesim?")
            clock = int(time[-1])
            self.fail(first, block["object"] >= 1 << 22, "its object is none of layers and experts")
            highest = max(highest, int(block["object"].max()))
            self.foretells |= bool((block["next"] != ENDS).any())
        self.passes = clock + 1
        return highest

    def sweep(self, shape):
        """Most experts of a layer in a pass, fewest, and the size of each layer's experts."""
        self.most, self.fewest, self.size = 0, shape.top_k, np.zeros(shape.layers, dtype=np.int64)
        follows = np.full(shape.layers * shape.experts, NEVER)
        last_cell, last_count, last_object = -1, 0, -1
        for first, block in self.blocks():
            object_ = block["object"].astype(np.int64)
            if self.foretells:
                self.check_next(first, block, object_, follows)
            layer = object_ // shape.experts
            cell = block["clock"].astype(np.int64) * shape.layers + layer
            rising = np.diff(cell, prepend=last_cell) > 0
            same = np.diff(cell, prepend=last_cell) == 0
            self.fail(first, ~rising & ~(same & (np.diff(object_, prepend=last_object) > 0)),
                      "its object is not above the one before in this pass; an export has each "
                      "once, ascending")
            self.check_size(first, block, layer)
            values, counts = np.unique(cell, return_counts=True)
            if values[0] == last_cell:
                counts[0] += last_count
            elif last_count:
                self.fewest = min(self.fewest, last_count)
            self.most = max(self.most, int(counts.max()))
            self.fewest = min(self.fewest, int(counts[:-1].min(initial=self.fewest)))
            last_cell, last_count, last_object = int(values[-1]), int(counts[-1]), int(object_[-1])
        self.fewest = min(self.fewest, last_count)
        if (follows >= 0).any():
            raise Failure(f"{self.path}: ends before record {int(follows.max())}, which it tells "
                          "of; copy it again")

    def check_next(self, first, block, object_, follows):
        """`follows`: by object, which record its last access names as the next."""
        number, next_ = first + np.arange(len(block)), block["next"]
        order = np.argsort(object_, kind="stable")
        named_by = np.empty(len(block), dtype=np.int64)
        first_of = np.concatenate([[True], object_[order[1:]] != object_[order[:-1]]])
        named_by[order[1:]] = next_[order[:-1]]
        named_by[order[first_of]] = follows[object_[order[first_of]]]
        fresh = np.zeros(len(block), dtype=bool)
        fresh[order[first_of]] = follows[object_[order[first_of]]] == NEVER
        self.fail(first, (named_by != number) & ~fresh,
                  "the access before it to its object names another record as the next; is the "
                  "file whole?")
        self.fail(first, (next_ <= number) & (next_ != ENDS), "its next access lies before it")
        last_of = np.concatenate([first_of[1:], [True]])
        follows[object_[order[last_of]]] = next_[order[last_of]]

    def check_size(self, first, block, layer):
        unknown_ = self.size[layer] == 0
        np.maximum.at(self.size, layer[unknown_], block["size"][unknown_].astype(np.int64))
        self.fail(first, self.size[layer] != block["size"],
                  "its size is not that of its layer's other experts")
        self.fail(first, block["size"] == 0, "its size is 0")

    def expert_bytes(self):
        """None where sizes are left out, or a layer has none."""
        return None if (self.size <= 1).any() else self.size.tolist()


def passes_of(accesses, shape, rows):
    """(first pass, clock - first pass, layer, expert, place in its cell) of `rows` passes."""
    held, first = np.zeros(0, RECORD), 0
    blocks = accesses.blocks()
    while first < accesses.passes:
        end = min(first + rows, accesses.passes)
        while not len(held) or (held["clock"][-1] < end
                                and held["clock"][-1] + 1 < accesses.passes):
            _, block = next(blocks)
            held = np.concatenate([held, block])
        if end == accesses.passes:
            held = np.concatenate([held, *(block for _, block in blocks)])
        cut = int(np.searchsorted(held["clock"], end))
        part, held = held[:cut], held[cut:]
        layer, expert = np.divmod(part["object"].astype(np.int64), shape.experts)
        row = part["clock"].astype(np.int64) - first
        cell = row * shape.layers + layer
        yield first, end - first, row, layer, expert, \
            np.arange(cut) - np.searchsorted(cell, cell)
        first = end


def tell_blind(path, accesses):
    if not accesses.foretells:
        note(f"{path}: no record tells of a next access, so nothing shows whether the file is "
             "whole")


def as_rows(path, accesses, shape, out, options):
    rows = max(1, BLOCK_VALUES // (shape.layers * shape.top_k))

    def blocks():
        for first, count, row, layer, expert, slot in passes_of(accesses, shape, rows):
            ids = np.full((count, shape.layers, shape.top_k), NOT_RECORDED, dtype=np.uint16)
            ids[row, layer, slot] = expert
            yield first, ids, None, {}

    total = accesses.passes
    Recording(path, FORMAT.name, blocks, Requests.of([total], [0], [total]), fills=False,
              layers=range(shape.layers), width=shape.top_k, top_k=shape.top_k, array="records",
              experts=shape.experts, expert_bytes=accesses.expert_bytes()).write(out, options)
    note(f"{path}: its {total} passes are taken as decode rows of one request, experts of a cell "
         "ascending: which request, which order and which scores they had is not in it")
    if accesses.fewest < shape.top_k:
        note(f"{path}: some passes name fewer than {shape.top_k} experts in a layer, as few as "
             f"{accesses.fewest}, or none; the others are \"not recorded\"")


def as_counts(path, accesses, shape, out, options):
    rows = max(1, BLOCK_VALUES // (shape.layers * shape.experts))

    def blocks():
        for _, count, row, layer, expert, _ in passes_of(accesses, shape, rows):
            counts = np.zeros((count, shape.layers, shape.experts), dtype=np.uint32)
            counts[row, layer, expert] = 1
            yield counts

    Counts(path, FORMAT.name, blocks, layers=range(shape.layers), experts=shape.experts,
           top_k=shape.top_k, array="records").write(out, options)
    note(f"{path}: some passes have up to {accesses.most} experts in a layer, so they are of "
         "several tokens, and which token chose which is not in it; it becomes counts by pass, 1 "
         "for each expert that was chosen at all")


def recognise(path, head):
    """Whole records whose clock begins at 0 and steps by 1 at most, each next access ahead."""
    if len(head) < RECORD.itemsize or os.path.getsize(path) % RECORD.itemsize:
        return False
    block = np.frombuffer(head[:len(head) // RECORD.itemsize * RECORD.itemsize], RECORD)
    number, total = np.arange(len(block)), os.path.getsize(path) // RECORD.itemsize
    step, next_ = np.diff(block["clock"].astype(np.int64), prepend=0), block["next"]
    return bool(((step >= 0) & (step <= 1)).all() and (block["object"] < 1 << 22).all() and
                (block["size"] > 0).all() and block["clock"][0] == 0 and
                ((next_ == ENDS) | ((next_ > number) & (next_ < total))).all())


def convert(paths, out, options):
    path = paths[0]
    accesses = Accesses(path)
    shape = Shape(path, options, accesses.highest())
    accesses.sweep(shape)
    if accesses.most <= shape.top_k:
        as_rows(path, accesses, shape, out, options)
    else:
        as_counts(path, accesses, shape, out, options)
    tell_blind(path, accesses)
