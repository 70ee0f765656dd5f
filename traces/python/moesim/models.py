"""What the importers know of models: the files of models/arch, or one given by path."""

import difflib
import math
import os
import re
from typing import NamedTuple

from moesim.say import Failure

HERE = os.path.dirname(os.path.abspath(__file__))
# In a wheel beside this file, which setup.py copies; else the program's own.
FOLDER = next((folder for folder in (os.path.join(HERE, "arch"),
                                     os.path.join(HERE, "..", "..", "..", "models", "arch"))
               if os.path.isdir(folder)), None)
LAYERS_MAX = 1024
EXPERTS_MAX = 4096


class Model(NamedTuple):
    name: str
    layers: int  # all of them
    moe: tuple  # decoder layer numbers of the MoE layers
    experts: int
    top_k: int
    weights: int  # of one expert
    bits: float  # stored, of each

    @property
    def dense(self):
        """Decoder layer numbers of the others."""
        return [layer for layer in range(self.layers) if layer not in self.moe]

    @property
    def expert_bytes(self):
        return self.weights * self.bits / 8


def read(path):
    """The file of one model."""
    try:
        with open(path, encoding="utf-8") as stream:
            text = stream.read(1 << 20)
    except (OSError, UnicodeDecodeError) as failure:
        raise Failure(f"{path}: cannot be read as a model: {failure}") from None
    return parse(path, text)


def parse(path, text):
    """Of its YAML only lines `key: number` matter here."""
    found = dict(re.findall(r"^(\w+): *([^\s#]+)", text, re.MULTILINE))

    def number(key, fallback=None):
        value = found.get(key, fallback)
        if value is None or not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value):
            raise Failure(f"{path}: {key} is missing or no number; a file of models/arch "
                          "shows what a model needs")
        return float(value)

    layers, first, every = (int(number(*key)) for key in (
        ("layers",), ("first_moe", "0"), ("moe_every", "1")))
    if not 0 <= first < layers <= LAYERS_MAX or every < 1:
        raise Failure(f"{path}: first_moe must be below layers, at most {LAYERS_MAX}, and "
                      "moe_every at least 1")
    return Model(name=found.get("name", os.path.basename(path).removesuffix(".yaml")),
                 layers=layers, moe=tuple(range(first, layers, every)),
                 experts=int(number("experts")), top_k=int(number("top_k")),
                 weights=math.prod(int(number(*key)) for key in (
                     ("matrices", "3"), ("hidden",), ("expert_ffn",))),
                 bits=number("expert_bits"))


def all_models():
    names = sorted(name for name in os.listdir(FOLDER) if name.endswith(".yaml"))
    return [read(os.path.join(FOLDER, name)) for name in names]


def named(name):
    """The model of that name or file; None for a name that no file has."""
    if "/" in name or name.endswith(".yaml"):
        return read(name)
    return next((model for model in all_models() if model.name == name), None)


def unknown(name):
    """Part of a sentence: no file has that name, and which name may have been meant."""
    near = difflib.get_close_matches(name, [model.name for model in all_models()], n=1)
    return (f"no file of models/arch is called {name[:100]}" +
            (f" (did you mean {near[0]}?)" if near else ""))


def plainest(models):
    """The only one; of variants the one whose name all others begin with; else None."""
    plain = min(models, key=lambda model: len(model.name), default=None)
    if plain and all(model.name.startswith(plain.name) for model in models):
        return plain
    return None
