"""vLLM's routed experts: arrays of any shape and type, in files, archives and responses."""

import base64
import io
import json
import zipfile
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "..", "traces", "python")]

import importers  # noqa: E402
import numpy as np  # noqa: E402

TYPES = ("u1", "<u2", "<i4", "<i8", "<f4", "?", "S3", "<u8", "i1")


def make_array(stream):
    generator = np.random.default_rng(stream.randrange(1 << 30))
    rows = stream.randrange(9)
    ids = np.argsort(generator.random((rows, 3, 8)), axis=2)[:, :, :2].astype(np.uint8)
    if stream.randrange(4) == 0:
        ids = ids.astype(stream.choice(TYPES))
    if stream.randrange(8) == 0:
        ids = ids.reshape(stream.choice(((-1,), (-1, 2), (-1, 3, 2, 1), (1, -1, 1, 6))))
    return ids


def npy(array):
    out = io.BytesIO()
    np.lib.format.write_array(out, array)
    return out.getvalue()


def experts(stream):
    array = make_array(stream)
    text = base64.b64encode(npy(array)).decode()
    raw = base64.b64encode(array.tobytes()).decode()
    return stream.choice((text, text, text, text[:-5], raw, None, 7, [], [[[1, 2]]], [[1], [2, 3]],
                          {}, array.astype("u1").tolist() if array.dtype.kind != "S" else "x",
                          {"data": raw, "shape": list(array.shape), "dtype": str(array.dtype),
                           "start": stream.choice((None, 0, 1, 3, -1, "x"))}))


def response(stream):
    odd = (0, 1, 2, 3, 5, 9, -1, None, "x", 1 << 40, True)
    found = {"choices": [{"routed_experts": experts(stream)}
                         for _ in range(stream.choice((1, 1, 2)))],
             "usage": {"prompt_tokens": stream.choice(odd),
                       "completion_tokens": stream.choice(odd)}}
    if stream.randrange(4) == 0:
        found["prompt_routed_experts"] = experts(stream)
    if stream.randrange(8) == 0:
        found[stream.choice(("choices", "usage", "model"))] = stream.choice((None, 7, [7], "x", {}))
    return found


def make(stream):
    kind = stream.randrange(4)
    if kind == 0:
        return npy(make_array(stream))
    if kind == 1:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            for number in range(stream.randrange(4)):
                archive.writestr(f"req{number}.npy", npy(make_array(stream)))
        return out.getvalue()
    return "".join(json.dumps(response(stream)) + "\n"
                   for _ in range(stream.randrange(1, 4))).encode()


def change(stream, data):
    if stream.randrange(2):
        return make(stream)
    return (importers.change_text if data[:1] == b"{" else importers.change_bytes)(stream, data)


if __name__ == "__main__":
    sys.exit(importers.main("vllm", make, change, named=True))
