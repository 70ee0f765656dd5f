"""How the router of each architecture is found, and what it returns: one table.

A line of FAMILIES says, for a `model_type` of the transformers library,
  router   the name of the router's module within a decoder layer,
  read     from a call of it: logits (row, expert), weights and ids (row, k), on the model's
           device; an id of NOT_RECORDED was not executed (over the expert's capacity),
  choose   which ids it would choose for a hidden state, without a trace of the question,
  kind     what the weights are: softmax or sigmoid (a factor on all of them is divided out);
           None where that is not known,
  gate     the same in the words of models/arch,
  ordered  whether the ids come with the best first; where not, they are put in the order of
           their weights.
"""

import re
from typing import Callable, NamedTuple

import torch

from moesim.say import Failure, note
from moesim.trace_writer import NOT_RECORDED


class Family(NamedTuple):
    router: str
    kind: str = "softmax"
    gate: str = "softmax"
    ordered: bool = True
    read: Callable = None
    choose: Callable = None
    size: Callable = None  # (experts, top_k) of a router
    by_experts: bool = False  # ids and weights are seen where the experts get them


class Router(NamedTuple):
    """One router of a model: `layer` counts within its side ("" where there are none)."""
    name: str
    side: str
    layer: int
    module: torch.nn.Module
    block: torch.nn.Module  # the MoE block that holds it, and its experts


def flat(values):
    return values.reshape(-1, values.shape[-1])


# ---- most: (logits, weights, ids), from a module that keeps nothing of a call ----

def read_three(router, output):
    good = (isinstance(output, tuple) and len(output) == 3 and
            all(isinstance(part, torch.Tensor) for part in output) and
            output[1].shape == output[2].shape and not output[2].is_floating_point())
    if not good:
        raise Failure(f"{router.name}: returns something else than (logits, weights, ids), as "
                      "routers of transformers 5.24 do; install that version, or one near it")
    logits, weights, ids = output
    return flat(logits), flat(weights), flat(ids)


def choose_three(router, hidden):
    return flat(router.module.forward(hidden)[2])


def size_of_module(router):
    return router.module.num_experts, router.module.top_k


def undo_factor(router, output):
    """The weights before the scaling that all of them get."""
    logits, weights, ids = read_three(router, output)
    return logits, weights / router.module.routed_scaling_factor, ids


def choose_by_weight(router, hidden):
    _, weights, ids = router.module.forward(hidden)
    return flat(ids).gather(1, flat(weights).argsort(dim=1, descending=True, stable=True))


# ---- Llama 4: (weights by expert, logits) ----

def read_llama4(router, output):
    weights, logits = flat(output[0]), flat(output[1])
    ids = torch.topk(logits, router.module.top_k, dim=1).indices
    return logits, weights.gather(1, ids), ids


def choose_llama4(router, hidden):
    logits = torch.nn.functional.linear(flat(hidden), router.module.weight)
    return torch.topk(logits, router.module.top_k, dim=1).indices


# ---- dbrx: logits alone; the block chooses, and hands ids and weights to its experts ----

def read_dbrx(router, output):
    logits, (ids, weights) = output
    return flat(logits), flat(weights), flat(ids)


def choose_dbrx(router, hidden):
    return router.block.route_tokens_to_experts(router.module.forward(hidden))[1]


def size_dbrx(router):
    return router.module.layer.out_features, router.block.top_k


# ---- Switch: (one of E, as long as its expert has room; probability; logits) ----

def read_switch(router, output):
    taken, weights, logits = (flat(part) for part in output)
    ids = taken.argmax(dim=1, keepdim=True)
    has_room = taken.sum(dim=1, keepdim=True) > 0
    return logits, weights * has_room, torch.where(has_room, ids, NOT_RECORDED)


def classify(router, hidden):
    module = router.module
    return torch.nn.functional.linear(
        flat(hidden).to(module.dtype), module.classifier.weight.to(module.dtype),
        None if module.classifier.bias is None else module.classifier.bias.to(module.dtype))


def choose_switch(router, hidden):
    return classify(router, hidden).argmax(dim=1, keepdim=True)


# ---- NLLB: (mask of the first choice, weights by expert, logits); as long as there is room ----

def read_nllb(router, output):
    first, weights, logits = (flat(part) for part in output)
    rank = weights + 2.0 * (first > 0) * (weights > 0)
    best, ids = torch.topk(rank, 2, dim=1)
    return logits, weights.gather(1, ids), torch.where(best > 0, ids, NOT_RECORDED)


def choose_nllb(router, hidden):
    return torch.topk(classify(router, hidden), 2, dim=1).indices


THREE = dict(read=read_three, choose=choose_three, size=size_of_module)
SCALED = dict(read=undo_factor, choose=choose_by_weight, size=size_of_module, ordered=False)
LLAMA4 = Family("feed_forward.router", kind="sigmoid", gate="sigmoid", read=read_llama4,
                choose=choose_llama4, size=size_of_module)

FAMILIES = {
    "mixtral": Family("mlp.gate", **THREE),
    "qwen2_moe": Family("mlp.gate", **THREE),
    "qwen3_moe": Family("mlp.gate", **THREE),
    "olmoe": Family("mlp.gate", **THREE),
    "phimoe": Family("mlp.router", **THREE),
    "gpt_oss": Family("mlp.router", gate="topk_softmax", **THREE),
    "granitemoe": Family("block_sparse_moe.router", gate="topk_softmax", **THREE),
    "deepseek_v2": Family("mlp.gate", **SCALED),
    "deepseek_v3": Family("mlp.gate", kind="sigmoid", gate="sigmoid", **SCALED),
    "glm4_moe": Family("mlp.gate", kind="sigmoid", gate="sigmoid", **SCALED),
    "llama4": LLAMA4,
    "llama4_text": LLAMA4,
    "dbrx": Family("ffn.router", read=read_dbrx, choose=choose_dbrx, size=size_dbrx,
                   by_experts=True),
    "switch_transformers": Family("mlp.router", read=read_switch, choose=choose_switch,
                                  size=lambda router: (router.module.num_experts, 1)),
    "nllb-moe": Family("ffn.router", read=read_nllb, choose=choose_nllb,
                       size=lambda router: (router.module.num_experts, 2)),
}

PLACE = r"^(?:.*\.)?(?:layers|blocks|block|h)\.([0-9]+)\.(?:.*\.)?{}$"
# What the library calls routers that return (logits, weights, ids).
COMMON_CLASS = re.compile(r"Top[kK]Router$")


def found_at(model, pattern, good=lambda module: True):
    """Routers of that name, in the order of layers; the encoder's first."""
    found = []
    for name, module in model.named_modules():
        match = re.match(pattern, name)
        if match and good(module):
            side = re.search(r"(?:^|\.)(encoder|decoder)\.", name)
            block = model.get_submodule(name.rpartition(".")[0])
            found.append(Router(name, side[1] if side else "", int(match[1]), module, block))
    return sorted(found, key=lambda r: (r.side == "decoder", r.layer))


def unknown(model_type, model):
    """An architecture without a line: a router of the common shape will do, with a note."""
    found = found_at(model, PLACE.format("(?:gate|router)"),
                     lambda module: COMMON_CLASS.search(type(module).__name__) and
                     hasattr(module, "num_experts") and hasattr(module, "top_k"))
    if not found:
        raise Failure(
            f"model type {model_type!r} has no line in FAMILIES of moesim/capture/routers.py, and "
            "none of its modules is a router as those of Mixtral are; add a line that says what "
            "its router is called within a layer, what a call of it returns (logits, weights, "
            "ids) and how it chooses")
    note(f"model type {model_type} has no line in moesim/capture/routers.py; taken for routers "
         f"that return (logits, weights, ids): {found[0].name} and {len(found) - 1} more")
    gate = "sigmoid" if hasattr(found[0].module, "e_score_correction_bias") else "softmax"
    return Family(found[0].name.rpartition(".")[2], kind=None, gate=gate, **THREE), found


def find(model):
    """(family, routers in the order of layers, experts, top_k) of a model."""
    model_type = model.config.model_type
    family = FAMILIES.get(model_type)
    if family is None:
        family, found = unknown(model_type, model)
    else:
        found = found_at(model, PLACE.format(re.escape(family.router)))
    if not found:
        raise Failure(f"a model of type {model_type} without a module {family.router} in its "
                      "layers: has it experts at all?")
    sizes = {family.size(router) for router in found}
    if len(sizes) != 1:
        raise Failure(f"the layers of this model differ in (experts, top_k): {sorted(sizes)}; a "
                      "trace has one number of each")
    return family, found, *sizes.pop()
