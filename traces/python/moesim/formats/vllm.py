"""Routed experts as vLLM returns them (`--enable-return-routed-experts`).

One array per request, [rows][layers][k] of whole numbers, uint8 or uint16 since 0.22 and
int32 before: expert ids of every token that was run, which are those of the prompt and all
generated ones but the last. It is found

  in NAME.npy     the array as saved with numpy.save; each FILE is one request
  in NAME.npz     one array per request, in the archive's order
  in JSON, JSONL  responses of the server (`/v1/completions`, `/v1/chat/completions`,
                  `/inference/v1/generate`), one object each: `choices[].routed_experts` is
                  base64 of an .npy. Also read: nested lists (0.21, where the prompt's rows
                  stand apart in `prompt_routed_experts`) and Dynamo's object of data, shape,
                  dtype and start. `usage`, or prompt_token_ids and token_ids, tell the lengths.

Lengths of arrays without them come from a table (request_table.py). Layers are all of the
model's, those without experts left as allocated (filled.py).

Sources: vllm-project/vllm, vllm/model_executor/layers/fused_moe/routed_experts_capturer.py
and vllm/entrypoints/openai/completion/protocol.py of 0.22; ai-dynamo/dynamo pull request
10529; PrimeIntellect-ai/verifiers pull request 1363.
"""

import base64
import binascii
import io
import os
import zipfile

import numpy as np

from moesim.arrays import MAGIC, Array, Held, Member, NpyFile, begin_of
from moesim.files import open_archive, read_head
from moesim.formats import Format
from moesim.json_lines import is_whole, objects
from moesim.models import named
from moesim.say import Failure, note
from moesim.sequences import K_MOST, Piece, write

FORMAT = Format(
    name="vllm", writer="vLLM, with --enable-return-routed-experts", files="npy, npz, json, jsonl",
    holds="routing", options=("requests",), several=True,
    source="github.com/vllm-project/vllm, routed_experts_capturer.py and protocol.py")

TYPES = ("uint8", "uint16", "int16", "int32", "int64", "uint32", "int8")
KEYS = ("routed_experts", "prompt_routed_experts")


# ---- arrays in files ----

def pieces_of_archive(path):
    archive = open_archive(path)
    names = [name.removesuffix(".npy") for name in archive.namelist()]
    if "ids" in names:
        raise Failure(f"{path}: holds ids, with the rows of all requests; import it with --from "
                      "npz")
    odd = [name for name in archive.namelist() if not name.endswith(".npy")]
    if not names or odd:
        raise Failure(f"{path}: holds {odd[0][:60] if odd else 'nothing'}, which is no array; "
                      "save one for each request with numpy.savez")
    for name in names:
        yield Piece(f"{path}: {name}", [lambda name=name: Member(archive, path, name)])


# ---- responses of the server ----

def plain_array(where, value, shape, dtype):
    """Bytes without a header, whose shape and type stand beside them."""
    if dtype not in TYPES or not isinstance(shape, list) or len(shape) != 3 or not all(
            is_whole(n, 1 << 32) for n in shape):
        raise Failure(f"{where} is no .npy in base64 and no shape and dtype ({', '.join(TYPES)}) "
                      "stand beside it; of SGLang it is imported with --from sglang")
    kind = np.dtype(dtype).newbyteorder("<")
    if len(value) != kind.itemsize * shape[0] * shape[1] * shape[2]:
        raise Failure(f"{where} has {len(value)} bytes, but shape {shape} of {dtype} needs "
                      f"{kind.itemsize * shape[0] * shape[1] * shape[2]}; is the response whole?")
    return np.frombuffer(value, dtype=kind).reshape(shape)


def decode(where, value):
    """One array in any of the forms that it has in JSON."""
    shape = dtype = None
    if isinstance(value, dict):
        shape, dtype, value = value.get("shape"), value.get("dtype"), value.get("data")
    if isinstance(value, list):
        try:
            array = np.array(value)
        except ValueError:
            array = np.array(None)
        if array.size == 0:
            array = np.zeros((0, 1, 1), dtype=np.uint8)
        if array.ndim != 3 or array.dtype.kind not in "ui":
            raise Failure(f"{where} is no list [token][layer][k] of whole numbers; save the "
                          "response as it is")
        return Held(where, array)
    try:
        data = base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise Failure(f"{where} is no base64; save the response as the server gives it"
                      ) from None
    if data.startswith(MAGIC):
        return Array(where, io.BytesIO(data))
    return Held(where, plain_array(where, data, shape, dtype))


def length(where, holder, name, ids):
    """How many tokens, by a number or by the list of them; None where neither is there."""
    value = holder.get(name)
    if value is None and isinstance(ids, list):
        return len(ids)
    if value is not None and not is_whole(value, 1 << 32):
        raise Failure(f"{where}: {name} is no whole number up to 2^32; save the response as "
                      "it is")
    return value


def start_of(where, value):
    start = value.get("start") if isinstance(value, dict) else None
    if start is not None and not is_whole(start, 1 << 32):
        raise Failure(f"{where}: start is no whole number up to 2^32; save the response as it is")
    return start


def choices_of(where, found):
    choices = found.get("choices", [found])
    if not isinstance(choices, list) or not all(isinstance(c, dict) for c in choices):
        raise Failure(f"{where}: choices is no list of objects; save the response as it is")
    return choices


def arrays_of(place, number, found):
    """Functions that open the arrays of one choice, in order of the tokens; each reads the
    response again, so that it is not held."""
    where = f"{place.where}: choice {number}"
    choice = choices_of(where, found)[number]

    def opener(key, of_choice):
        def read():
            again = place.again()
            holder = choices_of(where, again)[number] if of_choice else again
            return decode(f"{where}: {key}", holder[key])
        return read

    parts = []
    if "choices" in found and found.get("prompt_routed_experts") is not None:
        parts.append(opener("prompt_routed_experts", False))
    if choice.get("prompt_routed_experts") is not None:
        parts.append(opener("prompt_routed_experts", True))
    return parts + [opener("routed_experts", True)]


def piece_of(place, number, found):
    where = f"{place.where}: choice {number}"
    choices = choices_of(where, found)
    choice, usage = choices[number], found.get("usage")
    if not isinstance(usage, dict):
        usage = found
    prompt = length(where, usage, "prompt_tokens",
                    choice.get("prompt_token_ids", found.get("prompt_token_ids")))
    output = length(where, usage if len(choices) == 1 else {}, "completion_tokens",
                    choice.get("token_ids", choice.get("completion_token_ids")))
    return Piece(where, arrays_of(place, number, found), prompt, output,
                 start_of(where, choice["routed_experts"]), found.get("model"))


def pieces_of_responses(path):
    """One for each choice."""
    absent = 0
    for place, found in objects(path):
        for number, choice in enumerate(choices_of(place.where, found)):
            if choice.get("routed_experts") is None:
                absent += 1
            else:
                yield piece_of(place, number, found)
    if absent:
        note(f"{path}: {absent} choices have no routed_experts and are left out; the request "
             "was aborted, or the server runs without --enable-return-routed-experts")


# ---- files ----

def kind_of(path):
    head = read_head(path, len(MAGIC))
    if head == MAGIC:
        return lambda path: [Piece(path, [lambda: NpyFile(path)])]
    return pieces_of_archive if head.startswith(b"PK") else pieces_of_responses


def model_of(pieces):
    """By the name that the server was given, where it is one of models/arch."""
    names = {piece.model if isinstance(piece.model, str) else "" for piece in pieces}
    name = os.path.basename(names.pop()).lower() if len(names) == 1 else ""
    return name if name and not name.endswith(".yaml") and named(name) else None


def convert(paths, out, options):
    pieces = [piece for path in paths for piece in kind_of(path)(path)]
    write(FORMAT.name, paths[0], pieces, model_of(pieces), out, options)


# ---- which format ----

def are_ids(head):
    """Whether the first cells of the array hold experts, each once: counts do not."""
    shape, values = begin_of(head)
    if values is None or len(shape) != 3 or values.dtype.kind not in "ui" or 0 in shape or \
            shape[2] > K_MOST:
        return False
    k = shape[2]
    cells = values[:len(values) // k * k].reshape(-1, k)[:shape[0] * shape[1]]
    if k == 1:
        return True
    order = np.sort(cells, axis=1)
    once = (order[:, 1:] != order[:, :-1]).all(axis=1) | (order[:, 0] == order[:, -1])
    return bool(once.all())


def recognise(path, head):
    if head.startswith(MAGIC):
        return are_ids(head)
    if head.startswith(b"PK"):
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
                if not names or "ids.npy" in names or not all(n.endswith(".npy") for n in names):
                    return False
                with archive.open(names[0]) as member:
                    return are_ids(member.read(1 << 16))
        except Exception:  # of many kinds, on bytes that mean nothing
            return False
    return (head.lstrip()[:1] in (b"{", b"[") and any(f'"{key}"'.encode() in head for key in KEYS)
            and b'"meta_info"' not in head and b'"sglext"' not in head)
