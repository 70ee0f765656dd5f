"""`router_logits` of transformers (output_router_logits=True), saved with numpy.

The tuple that a forward pass returns: for each MoE layer the logits of all experts,
[tokens][experts], where the tokens of a batch stand one behind another. Saved as

  NAME.npz   one array a layer whose names end in its number (layer_0, layer_1, ...; arr_0,
             arr_1, ... of numpy.savez(*tuple)), or one array router_logits,
             [layer][token][expert]
  NAME.npy   that one array

Beside them an archive may hold attention_mask [batch][position], which tells sequences and
padding, input_ids of the same shape, or seq_len [sequences] where there is no padding. Without
them all tokens are one sequence, and that is said. All rows are prefill: nothing was
generated in that pass.

All experts become candidates, by descending logit; the first top_k, which the model or --top-k
tells, are those that were executed. A gate that chooses by something else than its logits,
or by more, is refused. Where the last expert chosen and the next have equal logits the
lower number is taken, and that is said.

Source: huggingface/transformers, modeling_outputs.py of 5.24 (MoeModelOutputWithPast).
"""

import math
import re
import zipfile

import numpy as np

from moesim.arrays import MAGIC, Member, NpyFile, begin_of, member_or_none
from moesim.files import open_archive, read_head
from moesim.formats import Format
from moesim.models import named
from moesim.recording import Recording, Requests, count_blocks
from moesim.say import Failure, note

FORMAT = Format(
    name="router_logits", writer="transformers with output_router_logits=True, saved with numpy",
    files="npz, npy", holds="routing, scores of all experts", options=("top-k",),
    source="github.com/huggingface/transformers, modeling_outputs.py")

STACK = "router_logits"
BESIDE = ("attention_mask", "input_ids", "seq_len")
BLOCK_VALUES = 1 << 20

# Models whose experts do not follow from their logits alone, and what else decides.
OTHERWISE = {
    "deepseek-v2": "within three of eight groups",
    "deepseek-v3": "with a correction bias and within groups",
    "kimi-k2": "with a correction bias",
    "glm-4.5": "with a correction bias",
    "glm-4.5-air": "with a correction bias",
}


# ---- arrays ----

class Layers:
    """One array a layer."""

    def __init__(self, path, archive, numbers):
        self.path, self.archive, self.numbers = path, archive, numbers
        first, *others = [self.open(number) for number in numbers]
        check(first, 2)
        for array in others:
            check(array, 2)
            if array.shape != first.shape:
                raise Failure(f"{array.where} has shape {array.shape}, {first.where} "
                              f"{first.shape}; all layers must have the same tokens and experts")
        self.layers = list(numbers)
        self.tokens, self.experts = first.shape

    def open(self, number):
        return Member(self.archive, self.path, self.numbers[number])

    def blocks(self, rows):
        arrays = [self.open(number) for number in self.numbers]
        for first, count in count_blocks(self.tokens, rows):
            yield first, np.stack([array.read(count) for array in arrays], axis=1)


class Stack:
    """One array of all layers, [layer][token][expert]. In an archive it is read as a whole."""

    def __init__(self, array, path=None):
        check(array, 3)
        self.layers = list(range(array.shape[0]))
        self.tokens, self.experts = array.shape[1:]
        self.values = array.whole() if path is None else np.memmap(
            path, dtype=array.dtype, mode="r", offset=array.stream.tell(), shape=array.shape)

    def blocks(self, rows):
        for first, count in count_blocks(self.tokens, rows):
            yield first, self.values[:, first:first + count].transpose(1, 0, 2)


def check(array, dimensions):
    if len(array.shape) != dimensions or 0 in array.shape or array.dtype.kind != "f":
        what = "[token][expert]" if dimensions == 2 else "[layer][token][expert]"
        raise Failure(f"{array.where} must be logits by {what}, floating point, not {array.dtype} "
                      f"{array.shape}; save .float().cpu().numpy() of what the model returns")


def numbered(names):
    """{layer: array's name} where all names are one word and a number; else None."""
    matches = [re.fullmatch(r"(.*?)([0-9]{1,4})", name) for name in names]
    if not matches or not all(matches) or len({match[1] for match in matches}) != 1:
        return None
    found = {int(match[2]): match[0] for match in matches}
    return dict(sorted(found.items())) if len(found) == len(names) else None


def names_of(archive):
    return [name.removesuffix(".npy") for name in archive.namelist()]


def open_logits(path, archive):
    if archive is None:
        return Stack(NpyFile(path), path)
    names = [name for name in names_of(archive) if name not in BESIDE]
    if names == [STACK]:
        return Stack(Member(archive, path, STACK))
    layers = numbered(names)
    if layers is None:
        raise Failure(f"{path}: holds {', '.join(names[:8]) or 'no array'}; router logits are one "
                      f"array {STACK} [layer][token][expert], or one a layer: layer_0, layer_1, "
                      "...; save them with numpy.savez")
    return Layers(path, archive, layers)


# ---- sequences ----

class Sequences:
    """Which of the tokens are rows, and of which sequence."""

    def __init__(self, path, tokens, mask=None, ids=None, lengths=None):
        self.keep = np.ones(tokens, dtype=bool)
        for array in (mask, ids):
            if array is not None and (len(array.shape) != 2 or math.prod(array.shape) != tokens
                                      or array.dtype.kind not in "iub"):
                raise Failure(f"{array.where} must be whole numbers by [batch][position], in all "
                              f"{tokens} as the logits have, not {array.dtype} {array.shape}")
        if mask is not None:
            values = mask.whole() != 0
            self.keep, self.rows = values.reshape(-1), values.sum(axis=1)
        elif ids is not None:
            self.rows = np.full(ids.shape[0], ids.shape[1])
        elif lengths is not None:
            self.rows = read_lengths(lengths, tokens)
        else:
            self.rows = np.array([tokens])
            note(f"{path}: nothing tells its sequences, so its {tokens} tokens are taken as one; "
                 "put attention_mask or seq_len beside the logits if there were more")
        self.rows = self.rows.astype(np.int64)
        if not self.keep.any():
            raise Failure(f"{mask.where}: masks all tokens; save the one that the model was given")
        self.token = None if ids is None else ids.whole().reshape(-1)[self.keep]
        self.before = np.concatenate([[0], np.cumsum(self.keep)])  # rows before each token


def read_lengths(lengths, tokens):
    if len(lengths.shape) != 1 or lengths.dtype.kind not in "iu":
        raise Failure(f"{lengths.where} must be a list of lengths, whole numbers")
    values = lengths.whole()
    if (values < 1).any() or sum(values.tolist()) != tokens:
        raise Failure(f"{lengths.where} sums to {sum(values.tolist())}, but the logits are of "
                      f"{tokens} tokens; each sequence has at least one")
    return values


def read_sequences(path, archive, tokens):
    beside = [None if archive is None else member_or_none(archive, path, name) for name in BESIDE]
    return Sequences(path, tokens, *beside)


# ---- routing ----

class Ranking:
    """Blocks of rows with all experts by descending logit; counts ties at the last executed."""

    def __init__(self, path, logits, sequences, top_k):
        self.path, self.logits, self.sequences, self.top_k = path, logits, sequences, top_k
        self.rows = max(1, BLOCK_VALUES // (len(logits.layers) * logits.experts))
        self.ties = 0

    def blocks(self):
        s, self.ties = self.sequences, 0
        for first, values in self.logits.blocks(self.rows):
            keep = s.keep[first:first + len(values)]
            values = values[keep].astype(np.float32)
            if not len(values):
                continue
            order = np.argsort(-values, axis=2, kind="stable")
            score = np.take_along_axis(values, order, axis=2)
            if self.top_k and self.top_k < score.shape[2]:
                self.ties += int((score[:, :, self.top_k - 1] == score[:, :, self.top_k]).sum())
            row = int(s.before[first])
            yield row, order, score, ({} if s.token is None else
                                      {"token_id": s.token[row:row + len(values)]})

    def tell(self):
        if self.ties:
            note(f"{self.path}: in {self.ties} cells the logits of the last expert chosen and the "
                 "next are equal, so that either may have been executed; the lower number is taken")


def choose_top_k(path, recording, options):
    """Of the model that this surely is; None lets Recording say why there is none."""
    name = options.model
    if name is None:
        look = recording.look()
        name = recording.choose_model(look, options)[0]
    model = named(name)
    plain = model.name if model else name
    if plain in OTHERWISE:
        raise Failure(f"{path}: {plain} chooses its experts {OTHERWISE[plain]}, which logits "
                      "alone do not tell; record the experts that its router returns")
    if model and options.top_k not in (None, model.top_k):
        raise Failure(f"{path}: a token of {model.name} executes {model.top_k} experts, not "
                      f"{options.top_k}; leave out --top-k, or name another model")
    if model is None and options.top_k is None:
        raise Failure(f"{path}: how many experts a token of {plain[:100]} executes is not in the "
                      "file; say so with --top-k K")
    return model.top_k if model else options.top_k


def recognise(path, head):
    """Logits in an .npy have fractions, or are below 0."""
    if head.startswith(MAGIC):
        shape, values = begin_of(head)
        return values is not None and values.dtype.kind == "f" and len(shape) == 3 and \
            bool(((values < 0) | (values != np.floor(values))).any())
    if not head.startswith(b"PK"):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in names_of(archive) if name not in BESIDE]
            if names != [STACK] and numbered(names) is None:
                return False
            array = Member(archive, path, names[0])
    except Exception:  # of many kinds, on bytes that mean nothing
        return False
    return array.dtype.kind == "f" and len(array.shape) == (3 if names == [STACK] else 2)


def convert(paths, out, options):
    path = paths[0]
    archive = None if read_head(path, len(MAGIC)) == MAGIC else open_archive(path)
    logits = open_logits(path, archive)
    sequences = read_sequences(path, archive, logits.tokens)

    def record(top_k):
        ranking = Ranking(path, logits, sequences, top_k)
        fields = () if sequences.token is None else ("token_id",)
        return ranking, Recording(
            path, FORMAT.name, ranking.blocks,
            Requests.of(sequences.rows, sequences.rows, sequences.rows * 0), layers=logits.layers,
            width=logits.experts, top_k=top_k, experts=logits.experts, score_kind="logit",
            fields=fields, array="logits")

    top_k = choose_top_k(path, record(options.top_k)[1], options)
    ranking, recording = record(top_k)
    recording.write(out, options)
    ranking.tell()
