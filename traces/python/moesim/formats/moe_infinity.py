"""Expert activation matrices of MoE-Infinity, as its tracer loads them (`trace_path`).

One .npy, [sequences][layers][experts], or [layers][experts] of one sequence: how often each
expert was chosen while the sequence was generated. Each sequence becomes one pass of a
count-only trace. The tracer allots a fixed number of matrices and fills them one by one; those
that are still zero are left out. Layers are those of the decoder, or the MoE layers alone.

Source: EfficientMoE/MoE-Infinity, moe_infinity/memory/expert_tracer.py at a41b5ce
(load_trace reads it with numpy.load and without pickling; finish_entry fills it).
"""

import numpy as np

from moesim import filled
from moesim.arrays import NpyFile, begin_of
from moesim.counts import Counts
from moesim.formats import Format
from moesim.recording import count_blocks
from moesim.say import Failure, note

FORMAT = Format(
    name="moe_infinity", writer="MoE-Infinity's tracer: expert activation matrices",
    files="npy", holds="load counts", options=("top-k",),
    source="github.com/EfficientMoE/MoE-Infinity, moe_infinity/memory/expert_tracer.py")

BLOCK_VALUES = 1 << 20


def recognise(_path, head):
    """Floats that count: whole numbers, none below 0."""
    shape, values = begin_of(head)
    return values is not None and values.dtype.kind == "f" and len(shape) == 3 and \
        0 not in shape and bool(values.any()) and \
        bool((np.isfinite(values) & (values >= 0) & (values == np.floor(values))).all())


def convert(paths, out, options):
    path = paths[0]
    array = NpyFile(path)
    if len(array.shape) not in (2, 3) or 0 in array.shape or array.dtype.kind not in "fui":
        raise Failure(f"{path}: must be numbers by [sequence][layer][expert] or [layer][expert], "
                      f"not {array.dtype} {array.shape}; save the tracer's trace_collection with "
                      "numpy.save")
    total = array.shape[0] if len(array.shape) == 3 else 1
    layers, experts = array.shape[-2:]
    empty = []

    def blocks():
        array = NpyFile(path)
        empty.clear()
        for first, count in count_blocks(total, max(1, BLOCK_VALUES // (layers * experts))):
            values = array.read(count if len(array.shape) == 3 else layers)
            values = values.reshape(count, layers, experts)
            full = values.any(axis=(1, 2))
            empty.extend((first + np.flatnonzero(~full)).tolist())
            if full.any():
                yield values[full]

    Counts(path, FORMAT.name, blocks, layers=range(layers), experts=experts, top_k=options.top_k,
           array="matrices").write(out, options)
    if empty:
        note(f"{path}: {len(empty)} of {total} matrices ({filled.listed(empty)}) are zero, places "
             "that the tracer had not filled, and are left out")
