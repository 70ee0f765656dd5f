"""Expert statistics of TensorRT-LLM (EXPERT_STATISTIC_ITER_RANGE, EXPERT_STATISTIC_PATH).

Each rank writes rankN.safetensors: for each iteration and layer a tensor ITERATION_LAYER,
tokens per expert; meta_info.json beside them has num_experts and num_experts_per_token. The
ranks' counts add up, as the load balancer of TensorRT-LLM has it; where all ranks counted the same
tokens (attention not parallel over data), one of them is taken. What becomes of them is a
count-only trace, one pass an iteration. Iterations in which a layer is missing, as the
last of a stopped run, are left out.

Sources: NVIDIA/TensorRT-LLM, tensorrt_llm/_torch/expert_statistic.py and
examples/wide_ep/ep_load_balancer/utils.py of 1.2.
"""

import contextlib
import os
import re

import numpy as np

from moesim import filled
from moesim.counts import Counts
from moesim.files import open_file
from moesim.formats import Format
from moesim.json_lines import is_whole, parse
from moesim.safetensors_file import SafetensorsFile
from moesim.say import Failure, note

FORMAT = Format(
    name="trtllm", writer="TensorRT-LLM's expert statistics (EXPERT_STATISTIC_PATH), a file a rank",
    files="safetensors", holds="load counts", options=("top-k",), several=True,
    source="github.com/NVIDIA/TensorRT-LLM, examples/wide_ep/ep_load_balancer")

KEY = re.compile(r"([0-9]{1,9})_([0-9]{1,4})")


def read_meta(paths):
    """(num_experts, num_experts_per_token), None where there is no meta_info.json."""
    path = os.path.join(os.path.dirname(paths[0]), "meta_info.json")
    if not os.path.exists(path):
        note(f"{path}: is not there, so experts per token are the model's")
        return None, None
    with open_file(path) as stream:
        found = parse(path, stream.read(1 << 20))
    values = [found.get(name) if isinstance(found, dict) else None
              for name in ("num_experts", "num_experts_per_token")]
    if not all(is_whole(n, 4097, 1) for n in values) or values[1] > values[0]:
        raise Failure(f"{path}: num_experts and num_experts_per_token must be whole numbers, the "
                      "second at most the first; copy the file that was written with the counts")
    return values


def check_tensors(file, experts):
    """(iteration, layer): name, and how many experts there are."""
    found = {}
    for name, (kind, shape) in file.tensors.items():
        match = KEY.fullmatch(name)
        if not match or kind not in ("I32", "I64", "U32"):
            raise Failure(f"{file.path}: {name[:60]} ({kind[:20]}) is no count of "
                          "ITERATION_LAYER; import rank0.safetensors and the other ranks' files of "
                          "expert statistics")
        if len(shape) == 2:
            raise Failure(f"{file.path}: {name}: holds the experts of each token, without saying "
                          "of which request; import the counts, rankN.safetensors beside it")
        if len(shape) != 1 or shape[0] < 1 or experts not in (None, shape[0]):
            raise Failure(f"{file.path}: {name}: has shape {shape}, but there are {experts} "
                          "experts; import one run's files and its meta_info.json")
        experts = shape[0]
        found[int(match[1]), int(match[2])] = name
    if not found:
        raise Failure(f"{file.path}: holds no counts; record again with "
                      "EXPERT_STATISTIC_ITER_RANGE")
    return found, experts


def note_other_ranks(paths):
    folder = os.path.dirname(paths[0]) or "."
    given = {os.path.basename(path) for path in paths}
    others = sorted(name for name in os.listdir(folder)
                    if re.fullmatch(r"rank[0-9]+\.safetensors", name) and name not in given)
    if others:
        note(f"{folder}: {len(others)} other ranks' files ({', '.join(others[:4])}) are not "
             "counted; give them all to import the tokens of all ranks")


class Ranks:
    """The ranks' files together."""

    def __init__(self, paths, experts):
        self.files = [SafetensorsFile(path) for path in paths]
        self.names = []
        for file in self.files:
            names, experts = check_tensors(file, experts)
            self.names.append(names)
        self.experts = experts
        keys = set().union(*self.names)
        self.layers = sorted({layer for _, layer in keys})
        every = sorted({iteration for iteration, _ in keys})
        self.iterations = [one for one in every
                           if all((one, layer) in keys for layer in self.layers)]
        if not self.iterations:
            raise Failure(f"{paths[0]}: no iteration has counts of all {len(self.layers)} layers; "
                          "record again, longer")
        cut = sorted(set(every) - set(self.iterations))
        if cut:
            note(f"{paths[0]}: iterations {filled.listed(cut)} lack some layers and are left out")

    def counts(self):
        """Of each iteration (rank, layer, expert)."""
        with contextlib.ExitStack() as stack:
            streams = [stack.enter_context(open_file(file.path)) for file in self.files]
            for iteration in self.iterations:
                block = np.zeros((len(streams), len(self.layers), self.experts), dtype=np.int64)
                for rank, (file, names) in enumerate(zip(self.files, self.names)):
                    for place, layer in enumerate(self.layers):
                        name = names.get((iteration, layer))
                        if name is not None:
                            block[rank, place] = file.read(name, streams[rank])
                yield block

    def saw_the_same(self):
        return len(self.files) > 1 and all((block == block[0]).all() for block in self.counts())


def convert(paths, out, options):
    experts, top_k = read_meta(paths)
    ranks = Ranks(paths, experts)
    same = ranks.saw_the_same()
    if same:
        note(f"{paths[0]}: all {len(paths)} ranks counted the same tokens, so one of them is taken")
    note_other_ranks(paths)
    Counts(paths[0], FORMAT.name,
           lambda: (block[:1] if same else block.sum(axis=0, keepdims=True)
                    for block in ranks.counts()),
           layers=ranks.layers, experts=ranks.experts, top_k=top_k, numbered=True
           ).write(out, options)


def recognise(_path, head):
    if head[8:9] != b"{":
        return False
    names = re.findall(rb'"([^"]*)"\s*:\s*\{\s*"dtype"', head[8:])
    return bool(names) and all(KEY.fullmatch(name.decode("ascii", "replace")) for name in names)
