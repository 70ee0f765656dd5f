"""Chunks of HDF5 data sets, put through shuffle, deflate and fletcher32 by threads: byte for
byte what the library's own filters write, which would do so one after the other."""

import concurrent.futures
import os
import zlib

import numpy as np

LEVEL = 4
AHEAD = 8  # chunks of a data set that may wait, on any machine: their order in the file follows
WORKERS = max(1, min(AHEAD, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity")
                     else os.cpu_count() or 1))
pool = concurrent.futures.ThreadPoolExecutor(WORKERS)  # threads begin with the first chunk


def shuffle(values):
    """All first bytes of the elements, then all second ones, ..."""
    data = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    if values.itemsize == 1:
        return data
    return np.ascontiguousarray(data.reshape(-1, values.itemsize).T)


def fletcher32(data):
    """Of 16-bit words, the first byte the upper one. The sums are reduced once, at the end: by
    end-around carry no sum but that of zeros becomes 0, so 65535 stands for 0 in others."""
    words = np.frombuffer(data[:len(data) // 2 * 2], dtype=">u2").astype(np.uint64)
    if len(data) % 2:
        words = np.append(words, np.uint64(data[-1] << 8))
    first = int(words.sum())
    second = int((words * np.arange(len(words), 0, -1, dtype=np.uint64)).sum())
    one, two = ((s - 1) % 65535 + 1 if s else 0 for s in (first, second))
    return two << 16 | one


def pack(values):
    """The chunk as it stands in the file."""
    data = zlib.compress(shuffle(values), LEVEL)
    return data + fletcher32(data).to_bytes(4, "little")


def start(values):
    """A future of the same. zlib and NumPy let other threads run meanwhile."""
    return pool.submit(pack, values)
