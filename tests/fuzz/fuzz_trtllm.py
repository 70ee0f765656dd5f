"""TensorRT-LLM's statistics: heads of safetensors that lie, tensors that contradict."""

import copy
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "..", "traces", "python")]

import importers  # noqa: E402
import numpy as np  # noqa: E402


def pack(head, data):
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    return len(text).to_bytes(8, "little") + text + data


def make_head(stream):
    head, at = {}, 0
    for iteration in range(stream.randrange(1, 4)):
        for layer in (1, 2, 3):
            head[f"{iteration}_{layer}"] = {"dtype": "I64", "shape": [8],
                                            "data_offsets": [at, at + 64]}
            at += 64
    return head, np.arange(1, at // 8 + 1).tobytes()


def make(stream):
    return pack(*make_head(stream))


ODD = (-1, 0, 1, 7, 64, 1 << 31, 1 << 47, 1 << 62, 1 << 64, 1.5, None, "x", [], {}, True, [8, 8],
       [64, 0], [0, 1 << 40], ["8"], "F32", "I32", "BF16", "U8", [0], [1 << 40])


def odd(stream):
    return copy.copy(stream.choice(ODD))  # an empty head or list of its own, as it may be filled


def change(stream, data):
    if stream.randrange(3) == 0:
        return importers.change_bytes(stream, data)
    head, data = make_head(stream)
    for _ in range(stream.choice((1, 1, 2, 3))):
        name = stream.choice(list(head))
        kind = stream.randrange(4)
        if kind == 0:
            other = stream.choice(("1_1", "x", "__metadata__", "9_9", "1_99999", "\u0661_1"))
            head[other] = head[name]
        elif kind == 1:
            head[name] = odd(stream)
        elif isinstance(head[name], dict):
            head[name][stream.choice(("dtype", "shape", "data_offsets"))] = odd(stream)
    return pack(stream.choice((head, head, head, [], 7, b"{" * 5000, b"[" * 9000)), data)


if __name__ == "__main__":
    sys.exit(importers.main("trtllm", make, change, named=True))
