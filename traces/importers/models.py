"""What the importers know of models: names as in models/arch and the shapes of routing."""

from typing import NamedTuple


class Model(NamedTuple):
    experts: int
    top_k: int
    layers: int  # MoE layers
    first: int  # decoder layer number of the first of them


MODELS = {
    "gpt-oss-20b": Model(32, 4, 24, 0),
    "deepseek-v2-lite": Model(64, 6, 26, 1),
    "qwen3-30b-a3b": Model(128, 8, 48, 0),
}


def guess(layers, top_k):
    """The one known model with this many MoE layers and experts per token, or None."""
    names = [name for name, m in MODELS.items() if (m.layers, m.top_k) == (layers, top_k)]
    return names[0] if len(names) == 1 else None
