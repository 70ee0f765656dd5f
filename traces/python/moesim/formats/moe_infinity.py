"""Expert activation matrices of MoE-Infinity, as its tracer loads them (`trace_path`).

One .npy, [sequences][layers][experts], or [layers][experts] of one sequence: how often each
expert was chosen while the sequence was generated. Each sequence becomes one pass of a
count-only trace. The tracer allots a fixed number of matrices and fills them one by one; those
that are still zero are left out. Layers are those of the decoder, or the MoE layers alone.

Source: EfficientMoE/MoE-Infinity, moe_infinity/memory/expert_tracer.py at a41b5ce
(load_trace reads it with numpy.load and without pickling; finish_entry fills it).
"""

import io

import numpy as np

from moesim import filled
from moesim.arrays import MAGIC, Array, NpyFile
from moesim.counts import Counts
from moesim.formats import Format
from moesim.recorded import EXPERTS_MAX
from moesim.recording import count_blocks
from moesim.say import Failure, note

FORMAT = Format(
    name="moe_infinity", writer="MoE-Infinity's tracer: expert activation matrices",
    files="npy", holds="load counts", options=("top-k",),
    source="github.com/EfficientMoE/MoE-Infinity, moe_infinity/memory/expert_tracer.py")

BLOCK_VALUES = 1 << 20


def floats_of(head):
    """The first values of an .npy of floats; None where it is something else."""
    if not head.startswith(MAGIC):
        return None, ()
    stream = io.BytesIO(head)
    try:
        array = Array("", stream)
    except Failure:
        return None, ()
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        return None, ()
    size = array.dtype.itemsize
    data = stream.read()
    return np.frombuffer(data[:len(data) // size * size], dtype=array.dtype), array.shape


def recognise(_path, head):
    """Floats that count: whole numbers, none below 0."""
    values, shape = floats_of(head)
    return values is not None and len(shape) == 3 and 0 not in shape and len(values) > 0 and \
        bool((np.isfinite(values) & (values >= 0) & (values == np.floor(values))).all()) and \
        bool(values.any())


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

    if experts > EXPERTS_MAX:
        raise Failure(f"{path}: counts {experts} experts; up to {EXPERTS_MAX} can be written")
    if options.experts not in (None, experts):
        raise Failure(f"{path}: counts {experts} experts, not {options.experts}; leave out "
                      "--experts")
    Counts(path, FORMAT.name, blocks, layers=range(layers), experts=experts, top_k=options.top_k,
           array="matrices").write(out, options)
    if empty:
        note(f"{path}: {len(empty)} of {total} matrices ({filled.listed(empty)}) are zero, places "
             "that the tracer had not filled, and are left out")
