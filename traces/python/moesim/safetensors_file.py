"""Files of safetensors: eight bytes that say how long the head is, the head in JSON (name:
dtype, shape, data_offsets), and the tensors' bytes.

Source: huggingface/safetensors, README.md, of 0.8.
"""

import json
import math
import os

import numpy as np

from moesim.files import open_file
from moesim.json_lines import is_whole
from moesim.say import Failure

HEAD_MOST = 100_000_000  # bytes, as the library has it
KINDS = {"U8": "u1", "I8": "i1", "I16": "<i2", "U16": "<u2", "I32": "<i4", "U32": "<u4",
         "I64": "<i8", "U64": "<u8", "F16": "<f2", "F32": "<f4", "F64": "<f8", "BOOL": "?"}


class SafetensorsFile:
    """`tensors`: name: (type, shape); one is read at a time."""

    def __init__(self, path):
        self.path, self.tensors, self.at = path, {}, {}
        with open_file(path) as stream:
            self.size = os.fstat(stream.fileno()).st_size
            length = int.from_bytes(stream.read(8), "little")
            if self.size < 8 or not 2 <= length <= min(HEAD_MOST, self.size - 8):
                raise Failure(f"{path}: is no file of safetensors, or truncated; copy it again")
            try:
                head = json.loads(stream.read(length))
            except (ValueError, RecursionError):
                head = None
        if not isinstance(head, dict):
            raise Failure(f"{path}: the head of the file is no JSON object; it is damaged; copy it "
                          "again")
        for name, entry in head.items():
            if name != "__metadata__":
                self.enter(name, entry, 8 + length)

    def enter(self, name, entry, begin):
        where = f"{self.path}: {name[:60]}"
        entry = entry if isinstance(entry, dict) else {}
        kind, shape = entry.get("dtype"), entry.get("shape")
        offsets = entry.get("data_offsets")
        if not isinstance(kind, str) or not isinstance(shape, list) or len(shape) > 8 or \
                not all(is_whole(n) for n in shape) or not isinstance(offsets, list) or \
                len(offsets) != 2 or not all(is_whole(n) for n in offsets):
            raise Failure(f"{where}: dtype, shape or data_offsets make no sense; the file is "
                          "damaged; copy it again")
        if kind in KINDS and offsets[1] - offsets[0] != math.prod(shape) * np.dtype(
                KINDS[kind]).itemsize:
            raise Failure(f"{where}: {offsets[1] - offsets[0]} bytes are no {kind} of shape "
                          f"{shape}; the file is damaged; copy it again")
        if not begin + offsets[0] <= begin + offsets[1] <= self.size:
            raise Failure(f"{where}: ends behind the file, which is truncated; copy it again")
        self.tensors[name], self.at[name] = (kind, tuple(shape)), begin + offsets[0]

    def read(self, name, stream):
        kind, shape = self.tensors[name]
        stream.seek(self.at[name])
        size = math.prod(shape) * np.dtype(KINDS[kind]).itemsize
        data = stream.read(size)
        if len(data) != size:
            raise Failure(f"{self.path}: {name[:60]}: ends behind the file; copy it again")
        return np.frombuffer(data, dtype=KINDS[kind]).reshape(shape)
