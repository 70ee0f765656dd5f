"""What SGLang writes of its experts.

Counts, which become a count-only trace, one pass a step:

  stat, stat_approx  .pt: a dict whose `logical_count` is [step][layer][expert]; the same as
                     .json, or the array alone as .npy. The recorder's ring of steps is filled
                     with zeros where it did not come round: such steps are left out.
  per_pass           .pt: `records`, one a forward pass and rank, with global_physical_count
                     [layer][physical expert]; last_physical_to_logical_map says whose copies
                     these are. Ranks add up, but where all ranks hold the same they saw the
                     same tokens.
  CSV                layer_id, expert_id, count (recorders before 0.4.5); columns by name

Routing row by row:

  per_token          .pt: `records` with topk_ids_of_layer [layer][token][8] of physical
                     experts, -1 where there are fewer, input_ids, positions, extend_seq_lens
                     and forward_mode. Requests are followed by rids where those are recorded,
                     else by positions in the order of the batch, which SGLang keeps.
  responses          .json, .jsonl of /generate, or of the OpenAI-compatible server: base64 of
                     int32 [token][layer][k] in meta_info.routed_experts or
                     sglext.routed_experts

Layers are all of the model's. Rows of per_token are held in memory, two bytes an expert: a
request's are spread over the whole file.

Sources: sgl-project/sglang, python/sglang/srt/eplb/expert_distribution.py,
srt/managers/tokenizer_manager.py and srt/entrypoints/openai/protocol.py of 0.5.6.
"""

import base64
import binascii

import numpy as np

from moesim.arrays import MAGIC, Held, NpyFile
from moesim.counts import Counts
from moesim.files import names_in_archive, open_file, read_head
from moesim.formats import Format
from moesim.json_lines import is_whole, objects
from moesim.models import all_models, named, unknown
from moesim.pt_file import PtFile, Tensor
from moesim.say import Failure, note
from moesim.sequences import K_MOST, Piece, write
from moesim.sglang_rows import write_rows
from moesim.table import Below, Table, column_names, read_line

FORMAT = Format(
    name="sglang", writer="SGLang: its expert distribution recorder, and routed experts in "
    "responses", files="pt, json, jsonl, npy, csv", holds="load counts, or routing",
    options=("requests", "top-k"), several=True,
    source="github.com/sgl-project/sglang, python/sglang/srt/eplb/expert_distribution.py")

COLUMNS = {"layer_id": Below(1024), "expert_id": Below(4096), "count": Below(1 << 32)}
ALSO = {"layer": "layer_id", "expert": "expert_id", "num_tokens": "count", "tokens": "count"}
BLOCK = 1 << 21  # counts


# ---- counts ----

def write_counts(path, array, blocks, shape, out, options, layers=None):
    """Passes that count nothing at all are not recorded ones."""
    kept = [0, 0]

    def full():
        kept[:] = [0, 0]
        for counts in blocks():
            some = counts.any(axis=(1, 2))
            kept[0] += len(some)
            kept[1] += int(some.sum())
            yield counts[some]

    Counts(path, FORMAT.name, full, layers=layers or range(shape[0]), experts=shape[1],
           array=array, numbered=layers is not None).write(out, options)
    if kept[0] > kept[1]:
        note(f"{path}: {array}: {kept[0] - kept[1]} of {kept[0]} passes count nothing and are left "
             "out; the recorder fills its ring of steps with zeros")


def check_counts(where, shape, dtype):
    if len(shape) not in (2, 3) or 0 in shape or np.dtype(dtype).kind not in "ui":
        raise Failure(f"{where} must be counts [step][layer][expert], or of one step, not "
                      f"{np.dtype(dtype)} {tuple(shape)}; save what the recorder wrote as it is")


def in_steps(counts):
    return counts[None] if counts.ndim == 2 else counts


def counts_of_array(path, out, options):
    array = NpyFile(path)
    check_counts(path, array.shape, array.dtype)
    shape = array.shape[-2:]
    if len(array.shape) == 2:
        write_counts(path, "counts", lambda: [NpyFile(path).whole()[None]], shape, out, options)
        return
    most = max(1, BLOCK // (shape[0] * shape[1]))

    def blocks():
        array = NpyFile(path)
        for first in range(0, array.shape[0], most):
            yield array.read(min(most, array.shape[0] - first))

    write_counts(path, "counts", blocks, shape, out, options)


def counts_of_table(path, out, options):
    """One pass; further columns are passed over, and experts without a line count 0."""
    found = {}
    with open_file(path) as stream:
        line = (read_line(path, stream, 1) or "").removeprefix("\ufeff").lower()
        names = [ALSO.get(name.strip(), name.strip()) for name in line.split(",")]
        names = column_names(path, 1, ",".join(names), list(COLUMNS))
        for block in Table(path, stream, names, 2, COLUMNS).blocks():
            for line, *cell, count in zip(*(block[name].tolist() for name in ("line", *COLUMNS))):
                if tuple(cell) in found:
                    raise Failure(f"{path}: line {line}: layer {cell[0]} and expert {cell[1]} "
                                  "occur twice; import one rank's file, or add the counts up "
                                  "first")
                found[tuple(cell)] = count
    layers = sorted({layer for layer, _ in found})
    if not layers:
        raise Failure(f"{path}: holds no line of counts; record again")
    experts = max(expert for _, expert in found) + 1
    place = {layer: i for i, layer in enumerate(layers)}
    counts = np.zeros((1, len(layers), max(experts, options.experts or 0)), dtype=np.int64)
    for (layer, expert), count in found.items():
        counts[0, place[layer], expert] = count
    fill_experts(path, counts, layers, out, options)


def fill_experts(path, counts, layers, out, options):
    """The table may end before the last expert: the model that was named has the others."""
    model = named(options.model) if options.model else None
    more = model.experts - counts.shape[2] if model else 0
    if more > 0 and options.experts is None:
        counts = np.pad(counts, ((0, 0), (0, 0), (0, more)))
    write_counts(path, "count", lambda: [counts], counts.shape[1:], out, options, layers)


def as_counts(where, value):
    """Counts of JSON, or of a dict of torch.save read already."""
    try:
        counts = np.array(value)
    except ValueError:
        counts = np.array(None)
    check_counts(where, counts.shape, counts.dtype)
    return in_steps(counts)


# ---- the recorder's .pt ----

def take(where, holder, name, kind):
    value = holder.get(name) if isinstance(holder, dict) else None
    if not isinstance(value, kind):
        raise Failure(f"{where}: {name} is missing or of another kind than the recorder of SGLang "
                      "writes; import the file as it wrote it")
    return value


def counts_of_steps(file, out, options):
    tensor = take(file.path, file.content, "logical_count", Tensor)
    where = f"{file.path}: logical_count"
    check_counts(where, tensor.shape, tensor.kind)
    shape = tensor.shape[-2:]
    most = max(1, BLOCK // (shape[0] * shape[1]))

    def blocks():
        if len(tensor.shape) == 2:
            yield file.read(where, tensor)[None]
        else:
            yield from file.blocks(where, tensor, most)

    write_counts(file.path, "logical_count", blocks, shape, out, options)


def logical_map(file):
    """Which expert each physical one is a copy of, by layer; the last one of the recording."""
    tensor = take(file.path, file.content, "last_physical_to_logical_map", Tensor)
    where = f"{file.path}: last_physical_to_logical_map"
    if len(tensor.shape) != 2 or 0 in tensor.shape or np.dtype(tensor.kind).kind not in "ui":
        raise Failure(f"{where} must be [layer][physical expert], whole numbers; import the file "
                      "as it was written")
    found = file.read(where, tensor)
    if found.min() < 0 or found.max() > 4095:
        raise Failure(f"{where}: has an expert that is not from 0 to 4095")
    return found.astype(np.int64)


def by_pass(files):
    """{forward pass: [(file, record) of each rank]}, in order."""
    found = {}
    for file in files:
        for place, record in enumerate(take(file.path, file.content, "records", list)):
            where = f"{file.path}: record {place}"
            found.setdefault(take(where, record, "forward_pass_id", int), []).append(
                (file, where, record))
    return dict(sorted(found.items()))


def counts_of_passes(files, out, options):
    path, to_logical = files[0].path, logical_map(files[0])
    shape = (to_logical.shape[0], int(to_logical.max()) + 1)
    passes = by_pass(files)

    def of_ranks(entries):
        for file, where, record in entries:
            tensor = take(where, record, "global_physical_count", Tensor)
            if tensor.shape != to_logical.shape:
                raise Failure(f"{where}: global_physical_count has shape {tensor.shape}, the map "
                              f"of physical experts {to_logical.shape}; import one run's files")
            yield file.read(where, tensor)

    same = len(files) > 1 and all(
        len(ranks) > 1 and all((one == ranks[0]).all() for one in ranks)
        for ranks in (list(of_ranks(entries)) for entries in passes.values()))

    def blocks():
        for entries in passes.values():
            logical = np.zeros(shape, dtype=np.int64)
            for count in of_ranks(entries[:1] if same else entries):
                np.add.at(logical, (np.arange(shape[0])[:, None], to_logical), count)
            yield logical[None]

    write_counts(path, "global_physical_count", blocks, shape, out, options)
    if same:
        note(f"{path}: all {len(files)} ranks counted the same tokens, so one of them is taken")
    note_map(path, to_logical)


def note_map(path, to_logical):
    if to_logical.shape[1] > to_logical.max() + 1 or (to_logical != np.sort(to_logical)).any():
        note(f"{path}: experts were placed by a map of copies; the last map of the recording is "
             "taken for all passes")


def recorder_files(paths, out, options):
    files = [PtFile(path) for path in paths]
    for file in files:
        if not isinstance(file.content, dict) or not {"logical_count", "records"} & set(
                file.content):
            raise Failure(f"{file.path}: has neither logical_count nor records; it is no file of "
                          "SGLang's expert distribution recorder")
    first = files[0]
    if "logical_count" in first.content:
        if len(files) > 1:
            raise Failure(f"{files[1].path}: counts of steps are added over ranks already; import "
                          "such files one by one")
        counts_of_steps(first, out, options)
        return
    records = take(first.path, first.content, "records", list)
    if not records:
        raise Failure(f"{first.path}: holds no record; record again while requests run")
    if isinstance(records[0], dict) and "topk_ids_of_layer" in records[0]:
        to_logical = logical_map(first)
        note_map(first.path, to_logical)
        write_rows(FORMAT.name, by_pass(files), to_logical, take, out, options)
    else:
        counts_of_passes(files, out, options)


# ---- responses ----

def routed_of(found):
    """(base64, where the lengths are) in either kind of response, or None."""
    for holder in [found] + [c for c in found.get("choices") or [] if isinstance(c, dict)]:
        for name in ("meta_info", "sglext", "sgl_ext"):
            inner = holder.get(name)
            if isinstance(inner, dict) and inner.get("routed_experts") is not None:
                usage = found.get("usage")
                return inner["routed_experts"], (
                    inner if "prompt_tokens" in inner or not isinstance(usage, dict) else usage)
    return None


def numbers_of(where, text):
    try:
        data = base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error):
        data = None
    if data is None or len(data) % 4:
        raise Failure(f"{where}: routed_experts is no base64 of int32 numbers; save the response "
                      "as the server gives it")
    return np.frombuffer(data, dtype="<i4")


def lengths_of(where, holder):
    found = [holder.get(name) for name in ("prompt_tokens", "completion_tokens")]
    if not all(is_whole(n, 1 << 32) for n in found):
        raise Failure(f"{where}: prompt_tokens and completion_tokens are missing, so the rows "
                      "cannot be told; save the response with meta_info, or its usage")
    return found


def widths(model):
    """Numbers in a row: of all layers, or of those with experts."""
    return {model.layers * model.top_k: (model.layers, model.top_k),
            len(model.moe) * model.top_k: (len(model.moe), model.top_k)}


def shape_of_rows(where, count, rows, options):
    """(layers, k), by the model that was named, or that alone has so wide a row."""
    if options.model:
        model = named(options.model)
        if model is None:
            raise Failure(f"{where}: {unknown(options.model)}; the shape of rows needs a model's "
                          "layers: name a file NAME.yaml of your own")
        fits = [shape for width, shape in widths(model).items()
                if count % width == 0 and count // width <= rows + 1]
        if not fits:
            raise Failure(f"{where}: {count} numbers are no rows of {model.name}, {model.layers} "
                          f"layers of {model.top_k} experts, for {rows} tokens; name another with "
                          "--model")
        return min(fits, key=lambda shape: abs(count // (shape[0] * shape[1]) - rows))
    shapes = {widths(model)[count // rows] for model in all_models()
              if rows > 0 and count % rows == 0 and count // rows in widths(model)}
    if len(shapes) != 1:
        raise Failure(f"{where}: {count} numbers for {rows} tokens suit "
                      f"{'several models' if shapes else 'no model'} of models/arch; name one with "
                      "--model")
    return shapes.pop()


def pieces_of_responses(path, options, known):
    absent, short = 0, []
    for place, found in objects(path):
        routed = routed_of(found)
        if routed is None:
            absent += 1
            continue
        values = numbers_of(place.where, routed[0])
        prompt, output = lengths_of(place.where, routed[1])
        whole = prompt + output - 1
        known[:] = known or [shape_of_rows(place.where, len(values), whole, options)]
        layers, k = known[0]
        if k > K_MOST or len(values) % (layers * k):
            raise Failure(f"{place.where}: {len(values)} numbers are no rows of {layers} layers "
                          f"and {k} experts, as the others; import what one model wrote")

        def opener(place=place, shape=(-1, layers, k)):
            values = numbers_of(place.where, routed_of(place.again())[0])
            return Held(f"{place.where}: routed_experts", values.reshape(shape))

        rows = len(values) // (layers * k)
        trimmed = whole - rows if rows < whole else None
        if trimmed:
            short.append(place.where)
        yield Piece(place.where, [opener], prompt, output, trimmed)
    if short:
        note(f"{short[0]}: has fewer rows than tokens, as {len(short)} of the responses: they are "
             "the last ones, from routed_experts_start_len on")
    if absent:
        note(f"{path}: {absent} objects have no routed_experts and are left out; the server runs "
             "without --enable-return-routed-experts, or return_routed_experts was not asked for")


def from_json(paths, out, options):
    place, first = next(objects(paths[0]), (None, {}))
    if "logical_count" in first:
        counts = as_counts(f"{place.where}: logical_count", first["logical_count"])
        write_counts(paths[0], "logical_count", lambda: [counts], counts.shape[1:], out, options)
        return
    known = []
    pieces = [piece for path in paths for piece in pieces_of_responses(path, options, known)]
    write(FORMAT.name, paths[0], pieces, None, out, options)


# ---- which of them ----

def convert(paths, out, options):
    head = read_head(paths[0], 1 << 16)
    if head.startswith(b"PK"):
        recorder_files(paths, out, options)
    elif head.lstrip()[:1] in (b"{", b"["):
        from_json(paths, out, options)
    elif len(paths) > 1:
        raise Failure(f"{paths[1]}: counts are imported one file at a time")
    elif head.startswith(MAGIC):
        counts_of_array(paths[0], out, options)
    else:
        counts_of_table(paths[0], out, options)


def are_counts(path):
    """Whether an array is too wide, or repeats itself in a row, as routing does not."""
    array = NpyFile(path)
    if len(array.shape) != 3 or array.dtype.kind not in "ui" or 0 in array.shape:
        return False
    order = np.sort(array.read(1)[0], axis=1)
    twice = (order[:, 1:] == order[:, :-1]) & (order[:, 1:] != 0)
    return array.shape[2] > K_MOST or bool(array.shape[2] >= 8 and twice.any() and
                                           (order.max(axis=1) != order.min(axis=1)).any())


def recognise(path, head):
    if head.startswith(MAGIC):
        try:
            return are_counts(path)
        except Failure:
            return False
    if head.startswith(b"PK"):
        return any(name.endswith("/data.pkl") for name in names_in_archive(path) or ())
    if head.lstrip()[:1] in (b"{", b"["):
        return b'"logical_count"' in head or (b'"routed_experts"' in head and (
            b'"meta_info"' in head or b'"sglext"' in head or b'"sgl_ext"' in head))
    names = [name.strip() for name in head.split(b"\n", 1)[0].split(b",")]
    return {b"layer_id", b"expert_id", b"count"} <= set(names)
