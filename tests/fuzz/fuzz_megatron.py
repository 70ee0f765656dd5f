"""Megatron-Core's router traces: lines that contradict each other."""

import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "..", "traces", "python")]

import importers  # noqa: E402

ODD = (-1, 0, 1, 2, 3, 9, 1 << 40, 1.5, None, "x", [], {}, True, [[0, 1]],
       [[0], [1, 2]], [[0, 0]], [[9, 9]])


def make_lines(stream):
    lines = []
    for step in range(stream.randrange(1, 4)):
        tokens = stream.randrange(4)
        for layer in (1, 2, 3):
            lines.append({"step": step, "stage": "pre_dispatch", "block": "decoder", "layer": layer,
                          "rank": 0, "num_tokens": tokens, "topk": 2,
                          "top_indices": [stream.sample(range(8), 2) for _ in range(tokens)]})
    return lines


def pack(lines):
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def make(stream):
    return pack(make_lines(stream))


def change(stream, data):
    if stream.randrange(3) == 0:
        return importers.change_text(stream, data)
    lines = make_lines(stream)
    for _ in range(stream.choice((1, 1, 2, 3))):
        line = stream.choice(lines)
        line[stream.choice((*line, "logit_offset", "logit_shape", "mtp_idx"))] = stream.choice(ODD)
    return pack(lines)


if __name__ == "__main__":
    sys.exit(importers.main("megatron", make, change, named=True))
