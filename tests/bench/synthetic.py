"""Writes the synthetic benchmark trace: 48 layers of 128 experts, top-8, 20 M accesses.

usage: synthetic.py FILE

Scores are log-normal popularities plus noise; from a row to the next three quarters of
the noise stays, so that a cache has something to hit.
"""

import os
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "traces", "python"))
from moesim.trace_writer import DECODE, TraceWriter  # noqa: E402

LAYERS, EXPERTS, TOP_K = 48, 128, 8
ROWS = 20_000_000 // (LAYERS * TOP_K) + 1
BLOCK = 256


def main():
    rng = np.random.default_rng(11)
    popular = rng.normal(0, 0.7, (LAYERS, EXPERTS)).astype(np.float32)
    noise = rng.standard_normal((LAYERS, EXPERTS), dtype=np.float32)
    with TraceWriter(sys.argv[1], model="qwen3-30b-a3b", source="tests/bench/synthetic.py",
                        capture="", experts=EXPERTS, top_k=TOP_K,
                        moe_layer=range(LAYERS)) as writer:
        for first in range(0, ROWS, BLOCK):
            count = min(BLOCK, ROWS - first)
            fresh = rng.standard_normal((count, LAYERS, EXPERTS), dtype=np.float32)
            keep = rng.random((count, LAYERS, EXPERTS), dtype=np.float32) < 0.75
            for row in range(count):
                noise = np.where(keep[row], noise, fresh[row])
                fresh[row] = noise
            expert = np.argpartition(-(fresh + popular), TOP_K, axis=2)[:, :, :TOP_K]
            index = np.arange(first, first + count)
            writer.rows("synthetic", np.zeros(count), index, np.full(count, DECODE), expert)
        writer.commit(prompt_tokens=[0], output_tokens=[ROWS], rows=[ROWS])


main()
