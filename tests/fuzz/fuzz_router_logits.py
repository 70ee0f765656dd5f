"""The importer of router logits: arrays of any type and shape, headers that lie, damage."""

import io
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "..", "traces", "python")]

import fuzz_npz  # noqa: E402
import importers  # noqa: E402
import numpy as np  # noqa: E402

NAMES = ("layer_0", "layer_9", "router_logits", "attention_mask", "input_ids", "seq_len", "x")


def make_arrays(stream):
    """Logits of eight experts, with what may stand beside them."""
    tokens, layers = stream.choice((1, 4, 6)), stream.randrange(1, 4)
    generator = np.random.default_rng(stream.randrange(1 << 30))
    logits = generator.standard_normal((layers, tokens, 8)).astype(stream.choice(("<f2", "<f4")))
    arrays = {"router_logits": logits} if stream.randrange(2) else {
        f"layer_{i}": logits[i] for i in range(layers)}
    beside = stream.randrange(4)
    if beside == 1:
        arrays["seq_len"] = np.array([tokens])
    elif beside > 1 and tokens > 1:
        arrays["attention_mask"] = generator.integers(0, 2, (2, tokens // 2))
        arrays["input_ids"] = generator.integers(0, 99, (2, tokens // 2))
    return arrays


def make(stream):
    arrays = make_arrays(stream)
    if list(arrays) == ["router_logits"] and stream.randrange(2):
        out = io.BytesIO()
        np.lib.format.write_array(out, arrays["router_logits"])
        return out.getvalue()
    return fuzz_npz.pack(stream, arrays)


def change(stream, data):
    if stream.randrange(3) == 0:
        return importers.change_bytes(stream, data)
    arrays = make_arrays(stream)
    for _ in range(stream.choice((1, 1, 2))):
        name = stream.choice(list(arrays) or ["layer_0"])
        array = arrays.get(name)
        kind = stream.randrange(5)
        if kind == 0:
            arrays[stream.choice(NAMES)] = fuzz_npz.odd_array(stream)
        elif kind == 1:
            arrays.pop(name, None)
        elif isinstance(array, np.ndarray) and not array.dtype.hasobject:
            odd = fuzz_npz.lying_header if kind == 2 else fuzz_npz.odd_value
            arrays[name] = odd(stream, array)
    return fuzz_npz.pack(stream, arrays)


if __name__ == "__main__":
    sys.exit(importers.main("router_logits", make, change))
