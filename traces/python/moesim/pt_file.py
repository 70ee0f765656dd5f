"""Files of torch.save: read without torch, and nothing in them is executed.

Such a file is a zip of NAME/data.pkl, a pickle of plain containers in which tensors stand by
reference, and NAME/data/KEY, the bytes of each tensor's storage. The pickle is read by an
interpreter that knows only the opcodes below: numbers, text, lists, tuples, dicts with plain
keys, tensors and OrderedDict. What else a pickle may ask for is refused by name.

Source: pytorch/pytorch, torch/serialization.py and torch/_utils.py of 2.15.
"""

import io
import math
import pickle
import zipfile

import numpy as np

from moesim.say import Failure

PICKLE_MOST = 1 << 30  # bytes
STORAGES = {
    "ByteStorage": "u1", "CharStorage": "i1", "ShortStorage": "<i2", "IntStorage": "<i4",
    "LongStorage": "<i8", "HalfStorage": "<f2", "FloatStorage": "<f4", "DoubleStorage": "<f8",
    "BoolStorage": "?", "BFloat16Storage": "<u2", "UInt16Storage": "<u2", "UInt32Storage": "<u4",
    "UInt64Storage": "<u8",
}
# Later types have one storage for all, and the type stands with the tensor.
KINDS = {"uint8": "u1", "int8": "i1", "int16": "<i2", "int32": "<i4", "int64": "<i8",
         "float16": "<f2", "float32": "<f4", "float64": "<f8", "bool": "?", "uint16": "<u2",
         "uint32": "<u4", "uint64": "<u8"}
OPCODES = (
    "PROTO FRAME STOP MARK POP POP_MARK NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG "
    "LONG1 LONG4 FLOAT BINFLOAT SHORT_BINSTRING BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE "
    "BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 "
    "EMPTY_LIST LIST APPEND APPENDS EMPTY_DICT DICT SETITEM SETITEMS GET BINGET LONG_BINGET "
    "PUT BINPUT LONG_BINPUT MEMOIZE GLOBAL STACK_GLOBAL BINPERSID REDUCE").split()


class Refused(Exception):
    """The pickle asks for what no recording needs; the text is part of a sentence."""


class Storage:
    __slots__ = ("kind", "key", "count")

    def __init__(self, kind, key, count):
        self.kind, self.key, self.count = kind, key, count


class Tensor:
    """Where a tensor's values are; `PtFile.read` fetches them."""
    __slots__ = ("storage", "offset", "shape", "stride", "kind")

    def __init__(self, storage, offset, shape, stride, kind):
        self.storage, self.offset, self.shape, self.stride, self.kind = (
            storage, offset, shape, stride, kind)

    def is_dense(self):
        """Row after row, without gaps."""
        return self.stride == tuple(math.prod(self.shape[i + 1:]) for i in range(len(self.shape)))


def whole_numbers(values):
    return isinstance(values, (tuple, list)) and len(values) <= 8 and all(
        type(n) is int and 0 <= n < 1 << 48 for n in values)


def rebuild(*given):
    """What torch._utils._rebuild_tensor_v2 is given: storage, offset, size, stride, ..."""
    storage, offset, shape, stride = given[:4]
    if not isinstance(storage, Storage) or not whole_numbers([offset]) or \
            not whole_numbers(shape) or not whole_numbers(stride) or len(shape) != len(stride):
        raise Refused("has a tensor whose description makes no sense")
    kind = given[6] if len(given) > 6 and given[6] in tuple(KINDS.values()) else storage.kind
    return Tensor(storage, offset, tuple(shape), tuple(stride), kind)


def rebuild_parameter(data, *_rest):
    return data


def ordered_dict(*given):
    if given not in ((), ([],)):
        raise Refused("has a dict made in an unknown way")
    return {}


FUNCTIONS = {("torch._utils", "_rebuild_tensor_v2"): rebuild,
             ("torch._utils", "_rebuild_tensor_v3"): rebuild,
             ("torch._utils", "_rebuild_parameter"): rebuild_parameter,
             ("collections", "OrderedDict"): ordered_dict}


def is_plain(key):
    return isinstance(key, (str, int, float, bytes, type(None)))


class Reader(pickle._Unpickler):  # the one written in Python: its opcodes can be chosen
    dispatch = {getattr(pickle, name)[0]: pickle._Unpickler.dispatch[getattr(pickle, name)[0]]
                for name in OPCODES}

    def find_class(self, module, name):
        if (module, name) in FUNCTIONS:
            return FUNCTIONS[module, name]
        if module in ("torch", "torch.storage") and name in STORAGES:
            return Storage(STORAGES[name], None, None)
        if module in ("torch", "torch.storage") and name == "UntypedStorage":
            return Storage("u1", None, None)
        if module == "torch" and name in KINDS:
            return KINDS[name]
        raise Refused(f"asks for {str(module)[:60]}.{str(name)[:60]}, which no recording holds")

    def persistent_load(self, pid):
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage" or \
                not isinstance(pid[1], Storage) or not isinstance(pid[2], str) or \
                not whole_numbers(pid[4:5]):
            raise Refused("has a tensor whose storage makes no sense")
        return Storage(pid[1].kind, pid[2], pid[4])

    def load_reduce(self):
        given = self.stack.pop()
        function = self.stack[-1]
        if function not in FUNCTIONS.values() or not isinstance(given, tuple):
            raise Refused("calls what is no tensor")
        self.stack[-1] = function(*given)
    dispatch[pickle.REDUCE[0]] = load_reduce

    def load_appends(self):
        items = self.pop_mark()
        self.target(list).extend(items)
    dispatch[pickle.APPENDS[0]] = load_appends

    def load_append(self):
        item = self.stack.pop()
        self.target(list).append(item)
    dispatch[pickle.APPEND[0]] = load_append

    def target(self, kind):
        if type(self.stack[-1]) is not kind:
            raise Refused(f"adds to what is no {kind.__name__}")
        return self.stack[-1]

    def put(self, keys, values):
        if not all(is_plain(key) for key in keys):
            raise Refused("has a dict with keys that are no text and no numbers")
        self.target(dict).update(zip(keys, values))

    def load_setitems(self):
        items = self.pop_mark()
        self.put(items[::2], items[1::2])
    dispatch[pickle.SETITEMS[0]] = load_setitems

    def load_setitem(self):
        value, key = self.stack.pop(), self.stack.pop()
        self.put([key], [value])
    dispatch[pickle.SETITEM[0]] = load_setitem

    def load_dict(self):
        items = self.pop_mark()
        self.stack.append({})
        self.put(items[::2], items[1::2])
    dispatch[pickle.DICT[0]] = load_dict


class PtFile:
    """`content`: what was saved, with a Tensor for each tensor."""

    def __init__(self, path):
        self.path = path
        try:
            self.archive = zipfile.ZipFile(path)
            names = self.archive.namelist()
            found = [name for name in names if name.split("/")[1:] == ["data.pkl"]]
            if len(found) != 1:
                raise Refused("holds no data.pkl")
            self.folder = found[0].removesuffix("data.pkl")
            if self.archive.getinfo(found[0]).file_size > PICKLE_MOST:
                raise Refused("has a data.pkl of more than 1 GiB")
            order = self.folder + "byteorder"
            if order in names and self.archive.read(order)[:16].strip() != b"little":
                raise Refused("was written on a machine with the other byte order")
            self.content = Reader(io.BytesIO(self.archive.read(found[0]))).load()
        except Refused as refusal:
            raise Failure(f"{path}: {refusal}; save plain dicts, lists and tensors with torch.save"
                          ) from None
        except OSError as failure:
            raise Failure(f"{path}: cannot be read: {failure.strerror or failure}") from None
        except MemoryError:
            raise
        except Exception as failure:  # of many kinds, on bytes that mean nothing
            raise Failure(f"{path}: is no readable file of torch.save ({str(failure)[:100]}); copy "
                          "or save it again") from None

    def open(self, where, tensor):
        """The stream of the tensor's storage, from its offset on, once what the tensor says
        of it is possible."""
        kind = np.dtype(tensor.kind)
        last = tensor.offset + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride))
        try:
            name = self.folder + "data/" + tensor.storage.key
            size = self.archive.getinfo(name).file_size
            if 0 not in tensor.shape and (last + 1) * kind.itemsize > size:
                raise Failure(f"{where}: tensor of shape {tensor.shape} is larger than its "
                              f"storage of {size} bytes; the file is damaged; save it again")
            stream = self.archive.open(name)
            stream.seek(tensor.offset * kind.itemsize)
            return stream, (last + 1 - tensor.offset) * kind.itemsize
        except Failure:
            raise
        except Exception as failure:  # as above
            raise Failure(f"{where}: is damaged ({str(failure)[:100]}); copy or save the file again"
                          ) from None

    def read(self, where, tensor):
        """All of a tensor."""
        if 0 in tensor.shape:
            return np.zeros(tensor.shape, dtype=tensor.kind)
        stream, size = self.open(where, tensor)
        values = self.values(where, tensor, stream, size)
        kind = values.itemsize
        return np.lib.stride_tricks.as_strided(
            values, tensor.shape, tuple(s * kind for s in tensor.stride), writeable=False)

    def blocks(self, where, tensor, most):
        """Along the first dimension, `most` at a time; all at once where it has gaps."""
        if 0 in tensor.shape:
            return
        if not tensor.is_dense():
            yield self.read(where, tensor)
            return
        stream, _ = self.open(where, tensor)
        inner = math.prod(tensor.shape[1:]) * np.dtype(tensor.kind).itemsize
        for first in range(0, tensor.shape[0], most):
            count = min(most, tensor.shape[0] - first)
            yield self.values(where, tensor, stream, count * inner).reshape(
                (count,) + tensor.shape[1:])

    @staticmethod
    def values(where, tensor, stream, size):
        try:
            data = stream.read(size)
        except Exception as failure:  # of zipfile, the system
            raise Failure(f"{where}: is damaged ({str(failure)[:100]}); copy or save the file again"
                          ) from None
        if len(data) != size:
            raise Failure(f"{where}: ends too early; the file is truncated; copy it again")
        return np.frombuffer(data, dtype=tensor.kind)
