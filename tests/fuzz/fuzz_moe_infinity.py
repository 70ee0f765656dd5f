"""The importer of MoE-Infinity's matrices: shapes, values and bytes of one array changed."""

import io
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "..", "traces", "python")]

import fuzz_npz  # noqa: E402
import importers  # noqa: E402
import numpy as np  # noqa: E402


def make_array(stream):
    generator = np.random.default_rng(stream.randrange(1 << 30))
    shape = (stream.randrange(1, 5), stream.randrange(1, 4), 8)[stream.randrange(2):]
    array = generator.integers(0, 9, shape).astype(stream.choice(("<f4", "<f8", "<i4")))
    if len(shape) == 3 and stream.randrange(2):
        array[-1] = 0
    return array


def pack(array):
    out = io.BytesIO()
    np.lib.format.write_array(out, array)
    return out.getvalue()


def make(stream):
    return pack(make_array(stream))


def change(stream, data):
    kind = stream.randrange(4)
    if kind == 0:
        return importers.change_bytes(stream, data)
    if kind == 1:
        return fuzz_npz.lying_header(stream, make_array(stream))
    if kind == 2:
        return pack(fuzz_npz.odd_array(stream))
    return pack(fuzz_npz.odd_value(stream, make_array(stream)))


if __name__ == "__main__":
    sys.exit(importers.main("moe_infinity", make, change))
