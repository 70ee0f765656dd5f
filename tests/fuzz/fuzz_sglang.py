"""SGLang's files: pickles of torch.save with opcodes of any kind, tensors that lie about their
storage, counts and responses in JSON, tables."""

import base64
import io
import json
import pickle
import struct
import zipfile
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "..", "traces", "python")]

import importers  # noqa: E402
import numpy as np  # noqa: E402

OPCODES = (b"0", b"2", b"(", b"1", b"N", b"K\x01", b"J\xff\xff\xff\xff", b"]", b"}", b")", b"a",
           b"e", b"s", b"u", b"t", b"\x85", b"\x86", b"\x87", b"R", b"Q", b"q\x00", b"h\x00",
           b"r\xff\xff\xff\x7f", b"cos\nsystem\n", b"ccollections\nOrderedDict\n",
           b"ctorch\nLongStorage\n", b"b", b"i", b"o", b"\x81", b"\x92", b"\x82\x01", b"\x8f",
           b"\x90", b"\x91", b"\x96" + b"\xff" * 8, b"\x8e" + b"\xff" * 7 + b"\x7f",
           b"\x95" + b"\xff" * 8, b"G" + b"\x7f" * 8, b"X\x01\x00\x00\x00x",
           b"ctorch._utils\n_rebuild_tensor_v2\n", b"I1\n", b"L1L\n", b"d", b"l", b".")


def text(value):
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def pickled(value):
    """The opcodes of plain values; a tensor is (storage, key, numel, offset, shape, stride)."""
    if isinstance(value, dict):
        return b"}(" + b"".join(text(k) + pickled(v) for k, v in value.items()) + b"u"
    if isinstance(value, list):
        return b"](" + b"".join(pickled(v) for v in value) + b"e"
    if isinstance(value, tuple):
        kind, key, count, offset, shape, stride = value
        return (b"ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") + b"ctorch\n" +
                kind.encode() + b"\n" + text(key) + text("cpu") + pickled(count) + b"tQ" +
                pickled(offset) + b"(" + b"".join(map(pickled, shape)) + b"t(" +
                b"".join(map(pickled, stride)) + b"t\x89ccollections\nOrderedDict\n)RtR")
    return pickle.dumps(value, 2)[2:-1] if not isinstance(value, str) else text(value)


class Maker:
    """A file of torch.save, and its storages."""

    def __init__(self, stream):
        self.stream, self.storages = stream, []

    def tensor(self, array):
        self.storages.append(array.tobytes())
        shape = list(array.shape)
        stride = [int(np.prod(shape[i + 1:])) for i in range(len(shape))]
        numbers = [array.size, 0, shape, stride]
        if self.stream.randrange(8) == 0:
            odd = self.stream.choice((-1, 0, 1, 2, 3, 9, 1 << 31, 1 << 47, 1 << 63))
            at = self.stream.randrange(4)
            if at < 2:
                numbers[at] = odd
            elif numbers[at]:
                numbers[at][self.stream.randrange(len(numbers[at]))] = odd
        return ("IntStorage" if array.itemsize == 4 else "LongStorage", str(len(self.storages) - 1),
                *numbers)

    def record(self, number, per_token):
        tokens = self.stream.randrange(1, 4)
        seed = np.random.default_rng(self.stream.randrange(1 << 30))
        found = {"forward_pass_id": number, "rank": self.stream.choice((0, 0, 1)),
                 "gatherer_key": "primary",
                 "global_physical_count": self.tensor(seed.integers(0, 5, (3, 8), dtype=np.int32))}
        if per_token:
            ids = np.argsort(seed.random((3, tokens, 8)), axis=2)[:, :, :2].astype(np.int32)
            found |= {"input_ids": list(range(tokens)), "positions": list(range(tokens)),
                      "extend_seq_lens": self.stream.choice((None, [tokens], [1, tokens - 1])),
                      "forward_mode": self.stream.choice((1, 1, 2, 2, 3, 5, 4)),
                      "topk_ids_of_layer": self.tensor(ids)}
            if self.stream.randrange(4) == 0:
                found["rids"] = self.stream.choice((["a"], ["a", "b"], [1], None, "a"))
        return found

    def content(self):
        kind = self.stream.randrange(3)
        if kind == 0:
            counts = np.arange(48, dtype=np.int32).reshape(2, 3, 8)
            return {"rank": 0, "logical_count": self.tensor(counts)}
        return {"records": [self.record(n, kind == 1) for n in range(self.stream.randrange(1, 4))],
                "last_physical_to_logical_map": self.tensor(np.tile(np.arange(8), (3, 1)))}

    def file(self, content=None):
        content = self.content() if content is None else content
        data = b"\x80\x02" + pickled(content) + b"."
        if self.stream.randrange(3) == 0:
            for _ in range(self.stream.choice((1, 1, 2, 4))):
                at = self.stream.randrange(len(data))
                rest = data[at + self.stream.choice((0, 1)):]
                data = data[:at] + self.stream.choice(OPCODES) + rest
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("x/data.pkl", data)
            for number, storage in enumerate(self.storages):
                archive.writestr(f"x/data/{number}", storage)
        return out.getvalue()


def response(stream):
    ids = np.tile(np.arange(8), (stream.randrange(1, 9), 48, 1)).astype("<i4")
    return {"meta_info": {"prompt_tokens": stream.choice((1, 3, 4, -1, None)),
                          "completion_tokens": stream.choice((1, 2, 4, 5, 1 << 40)),
                          "routed_experts": base64.b64encode(ids.tobytes()).decode()}}


def make(stream):
    kind = stream.randrange(6)
    if kind == 0:
        return "".join(json.dumps(response(stream)) + "\n" for _ in range(3)).encode()
    if kind == 1:
        return json.dumps({"logical_count": [[[1, 2, 3, 4]] * 2] * 2}).encode()
    if kind == 2:
        return ("layer_id,expert_id,count\n" + "".join(
            f"{layer},{expert},{layer + expert}\n" for layer in (1, 2)
            for expert in range(8))).encode()
    return Maker(stream).file()


def change(stream, data):
    if data.startswith(b"PK"):
        return Maker(stream).file() if stream.randrange(2) else importers.change_bytes(stream, data)
    return importers.change_text(stream, data)


if __name__ == "__main__":
    sys.exit(importers.main("sglang", make, change, named=True))
