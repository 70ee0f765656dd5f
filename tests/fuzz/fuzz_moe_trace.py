"""The importer of llama.cpp's moe-trace: both sets of columns, lines changed."""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "..", "traces", "python")]

import importers  # noqa: E402


def plain(stream):
    """A prompt of some tokens, and some that are generated, through three layers."""
    layers, lines = (1, 2, 5), ["layer,expert"] * stream.randrange(2)
    for tokens in (stream.randrange(1, 5), *[1] * stream.randrange(4)):
        for layer in layers:
            for _ in range(1 if layer == 5 else tokens):
                lines += [f"{layer},{expert}" for expert in stream.sample(range(8), 2)]
    return lines


def full(stream):
    lines = ["phase,token,layer,rank,expert"]
    for token in range(stream.randrange(1, 6)):
        for layer in (1, 2):
            for rank, expert in enumerate(stream.sample(range(8), 2)):
                lines.append(f"{('prefill', 'decode')[token > 2]},{token},{layer},{rank},{expert}")
    return lines


def make(stream):
    return ("\n".join(stream.choice((plain, full))(stream)) + "\n").encode()


if __name__ == "__main__":
    sys.exit(importers.main("moe_trace", make, importers.change_lines))
