"""Arrays as NumPy saves them (.npy, and the members of .npz), read along their first
dimension in blocks, so that memory does not grow with the file. Nothing is unpickled."""

import io
import math
import os

import numpy as np

from moesim.files import open_file
from moesim.say import Failure

MAGIC = b"\x93NUMPY"
LARGEST = 1 << 48  # elements


class Array:
    """One array in a stream; `where` names it in messages."""

    def __init__(self, where, stream):
        self.where, self.stream = where, stream
        try:
            version = np.lib.format.read_magic(stream)
            read = (np.lib.format.read_array_header_1_0 if version == (1, 0)
                    else np.lib.format.read_array_header_2_0)
            self.shape, column_major, self.dtype = read(stream)
        except Exception as failure:  # of many kinds, on bytes that mean nothing
            raise Failure(f"{where} is not a readable array ({failure}); save it again "
                          "with numpy.save or numpy.savez") from None
        if self.dtype.hasobject or column_major or self.dtype.itemsize == 0:
            raise Failure(f"{where} must be a plain array in row-major order; save "
                          "numpy.ascontiguousarray() of it, of numbers and without pickling")
        if any(length < 0 for length in self.shape) or math.prod(self.shape) > LARGEST:
            raise Failure(f"{where} has the impossible shape {self.shape}; save it "
                          "again with numpy.save or numpy.savez")

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


class Held:
    """One that is in memory already."""

    def __init__(self, where, values):
        self.where, self.values, self.at = where, values, 0
        self.shape, self.dtype = values.shape, values.dtype

    def read(self, rows):
        self.at += rows
        return self.values[self.at - rows:self.at]


class Member(Array):
    """One array of an archive, as long as it says, as far as the archive tells."""

    def __init__(self, archive, path, name):
        where = f"{path}: {name}"
        if name + ".npy" not in archive.NameToInfo:
            raise Failure(f"{path}: array {name} is missing; it holds "
                          f"{', '.join(archive.namelist()[:8]) or 'nothing'}")
        try:
            stream = archive.open(name + ".npy")
        except Exception as failure:  # of many kinds, on bytes that mean nothing
            raise Failure(f"{where} is not a readable array ({failure}); save it again "
                          "with numpy.savez") from None
        super().__init__(where, stream)
        if archive.getinfo(name + ".npy").file_size < self.dtype.itemsize * math.prod(self.shape):
            raise Failure(f"{where} ends too early: the file is truncated; copy it again")


def begin_of(head):
    """(shape, values) of the array whose file begins with these bytes: as many values as are
    there. (None, None) where it is none."""
    stream = io.BytesIO(head)
    try:
        array = Array("", stream)
    except Failure:
        return None, None
    data = stream.read()
    size = array.dtype.itemsize
    return array.shape, np.frombuffer(data[:len(data) // size * size], dtype=array.dtype)


def member_or_none(archive, path, name):
    return Member(archive, path, name) if name + ".npy" in archive.NameToInfo else None


class NpyFile(Array):
    """A file of one array; its size is compared first, since a header may claim anything."""

    def __init__(self, path):
        stream = open_file(path)
        super().__init__(path, stream)
        size = self.dtype.itemsize * math.prod(self.shape)
        rest = os.fstat(stream.fileno()).st_size - stream.tell()
        if rest < size:
            raise Failure(f"{path} ends too early: {rest} bytes of {size} are there; the file is "
                          "truncated; copy it again")
