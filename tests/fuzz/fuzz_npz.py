"""The importer of NumPy archives: arrays of any type and shape, headers that lie, damage."""

import io
import os
import sys
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "..", "traces", "python")]

import importers  # noqa: E402
import numpy as np  # noqa: E402

NAMES = ("ids", "probs", "off", "w", "seq_len", "routed_experts", "experts")
TYPES = ("u1", "<u2", "<i4", "<i8", ">u2", "<u8", "<f2", "<f4", "<f8", "?", "S3", "O", "<c8", "V4",
         "<M8[s]", "<U2", "i1")


def pack(stream, arrays):
    """The archive of arrays, or of members' bytes."""
    out = io.BytesIO()
    method = stream.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, array in arrays.items():
            if not isinstance(array, bytes):
                member = io.BytesIO()
                np.lib.format.write_array(member, array)
                array = member.getvalue()
            archive.writestr(name + ".npy", array)
    return out.getvalue()


def make_arrays(stream):
    rows, layers, top_k = stream.randrange(1, 9), stream.choice((2, 3, 24)), stream.choice((2, 4))
    generator = np.random.default_rng(stream.randrange(1 << 30))
    ids = np.argsort(generator.random((rows, layers, 8)), axis=2)[:, :, :top_k].astype(np.uint8)
    score = -np.sort(-generator.random((rows, layers, top_k)).astype(np.float16), axis=2)
    middle = stream.randrange(rows + 1)
    if stream.randrange(2) == 0:
        return {"ids": ids, "probs": score, "off": np.array([0, middle, rows])}
    lengths = [n for n in (middle, rows - middle) if n > 0]
    return {"ids": ids.transpose(1, 0, 2).copy(), "w": score.transpose(1, 0, 2).copy(),
            "seq_len": np.array(lengths)}


def make(stream):
    return pack(stream, make_arrays(stream))


def odd_array(stream):
    shape = [stream.choice((0, 1, 2, 3, 24)) for _ in range(stream.randrange(4))]
    kind = stream.choice(TYPES)
    if kind == "O":
        return np.full(shape, None, dtype=object)
    return np.zeros(shape, dtype=kind)


def odd_value(stream, array):
    """One value changed; as far as the type holds it."""
    array = array.copy()
    value = stream.choice((0, 1, -1, 7, 8, 255, 65535, 4096, 2**31, 2**63 - 1, -2**63))
    if array.size and array.dtype.kind in "uif":
        with np.errstate(all="ignore"):
            new = np.array([stream.choice((np.nan, np.inf, value))] if array.dtype.kind == "f"
                           else [value]).astype(array.dtype)
        array.flat[stream.randrange(array.size)] = new[0]
    return array


def lying_header(stream, array):
    """The member's bytes with words of its header changed."""
    out = io.BytesIO()
    np.lib.format.write_array(out, array)
    data = out.getvalue()
    length = 10 + int.from_bytes(data[8:10], "little")
    head = data[10:length].rstrip()
    old, new = stream.choice((
        (b"False", b"True"), (b"(", b"(9999999999, "), (b"(", b"(-1, "), (b"(", b"(0, "),
        (b"'descr'", b"'x'"), (b"<", b">"), (b"|u1", b"|O"), (b"|u1", b"<u4"), (b"<i8", b"<f8"),
        (b")", b""), (b"{", b"[" * 100), (b"|u1", b"|V0"), (b"(", b"(1, 1, 1, ")))
    head = head.replace(old, new, 1) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + data[length:]


def change(stream, data):
    """Bytes of an archive; those of a new one where arrays are changed."""
    if stream.randrange(3) == 0:
        return importers.change_bytes(stream, data)
    arrays = make_arrays(stream)
    for _ in range(stream.choice((1, 1, 2, 3))):
        name = stream.choice(list(arrays) or ["ids"])
        array = arrays.get(name)
        kind = stream.randrange(6)
        if kind == 0:
            arrays[stream.choice(NAMES)] = odd_array(stream)
        elif kind == 1:
            arrays.pop(name, None)
        elif isinstance(array, np.ndarray) and kind == 2 and array.dtype.kind in "uif":
            arrays[name] = array.astype(stream.choice(("u1", "<u2", "<i8", ">i4", "<f4", "<f8")))
        elif isinstance(array, np.ndarray) and kind == 3 and not array.dtype.hasobject:
            arrays[name] = lying_header(stream, array)
        elif isinstance(array, np.ndarray):
            arrays[name] = odd_value(stream, array)
    return pack(stream, {n: a for n, a in arrays.items()
                         if isinstance(a, bytes) or not a.dtype.hasobject or stream.randrange(2)})


if __name__ == "__main__":
    sys.exit(importers.main("npz", make, change))
