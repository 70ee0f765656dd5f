"""Writes a trace whose /routing/expert is 1 GiB, by repeating one packed chunk.

usage: large_trace.py FILE
"""

import os
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "traces", "python"))
from moesim.trace_writer import DECODE, TraceWriter  # noqa: E402

LAYERS, EXPERTS, TOP_K = 24, 32, 4
BLOCK = 2048  # rows of a chunk of /routing/expert
CHUNKS = (1 << 30) // (BLOCK * LAYERS * TOP_K * 2) + 1
REQUEST = 512  # rows of a request; a block holds four


def main():
    rng = np.random.default_rng(5)
    popular = np.log(rng.random((1, LAYERS, EXPERTS)))
    # Adjacent rows share three of four scores, so that a cache has something to hit.
    scores = rng.random((BLOCK, LAYERS, EXPERTS))
    for row in range(1, BLOCK):
        keep = rng.random((LAYERS, EXPERTS)) < 0.75
        scores[row][keep] = scores[row - 1][keep]
    expert = np.argsort(scores + 0.2 * popular, axis=2)[:, :, :TOP_K]
    rows = BLOCK * CHUNKS
    with TraceWriter(sys.argv[1], model="gpt-oss-20b", source="one random block, repeated",
                     capture="", experts=EXPERTS, top_k=TOP_K,
                     moe_layer=range(LAYERS)) as writer:
        routing = writer.columns["expert"].set
        assert routing.chunks[0] == BLOCK
        writer.columns["expert"].put(expert)
        writer.columns["expert"].flush()
        routing.resize(rows, axis=0)
        packed = routing.id.read_direct_chunk((0, 0, 0))[1]
        for chunk in range(1, CHUNKS):
            routing.id.write_direct_chunk((chunk * BLOCK, 0, 0), packed)
        row = np.arange(rows)
        writer.columns["request"].put(row // REQUEST)
        writer.columns["position"].put(row % REQUEST)
        writer.columns["phase"].put(np.full(rows, DECODE))
        writer.rows_written = rows
        count = rows // REQUEST
        writer.commit(prompt_tokens=np.zeros(count), output_tokens=np.full(count, REQUEST),
                      rows=np.full(count, REQUEST))


main()
