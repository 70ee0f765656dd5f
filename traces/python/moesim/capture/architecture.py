"""A model's configuration as a file of models/arch, and which of those files it is."""

import json
import os
import re

from moesim.models import all_models, parse, plainest
from moesim.say import Failure

BITS = {"float64": 64, "float32": 32, "bfloat16": 16, "float16": 16}
# Stored bits of an expert's weight, scales included: models/arch has examples.
QUANTISED = {"mxfp4": 4.25}


def first_of(config, *names, fallback=None):
    """The first of these that the configuration has, inner ones by a dot."""
    for name in names:
        value = config
        for part in name.split("."):
            value = getattr(value, part, None)
        if value is not None:
            return value
    return fallback


# Where expert, shared and dense inner sizes stand is each architecture's own affair.
EXPERT_FFN = ("moe_intermediate_size", "ffn_config.ffn_hidden_size")
PLAIN_FFN = ("intermediate_size", "d_ff", "decoder_ffn_dim")


def sizes(config):
    """(expert_ffn, shared_ffn, dense_ffn): dense_ffn where some layer is dense."""
    kind = config.model_type
    plain = first_of(config, *PLAIN_FFN, fallback=0)
    expert = first_of(config, *EXPERT_FFN, fallback=plain)
    if kind.startswith("llama4"):
        return plain, plain, config.intermediate_size_mlp
    shared = first_of(config, "shared_expert_intermediate_size",
                      fallback=expert * (first_of(config, "n_shared_experts", fallback=0)))
    return expert, shared, plain


def layer_counts(config, side):
    """(layers, encoder layers) of what is recorded."""
    if not side:
        return config.num_hidden_layers, 0
    encoder = first_of(config, "encoder_layers", "num_layers")
    decoder = first_of(config, "decoder_layers", "num_decoder_layers")
    return {"encoder": (encoder, 0), "decoder": (decoder, 0),
            "both": (encoder + decoder, encoder)}[side]


def window(config, remark):
    """(window, every how many layers) as models/arch says it; a pattern that it cannot say is
    left out, with a remark."""
    size = first_of(config, "sliding_window")
    kinds = getattr(config, "layer_types", None)
    if not size or getattr(config, "use_sliding_window", None) is False:
        return 0, 1
    if kinds is None:
        return size, 1
    at = [i for i, kind in enumerate(kinds) if kind == "sliding_attention"]
    if not at:
        return 0, 1
    every = at[1] - at[0] if len(at) > 1 else len(kinds)
    if at != list(range(0, len(kinds), every)):
        remark("the layers that attend through a window follow no pattern that models/arch can "
             "say; the model's file leaves the window out")
        return 0, 1
    return size, every


def bits(config, stored, remark):
    """(of an expert's weight, of another, of an activation), as stored in the checkpoint."""
    plain = BITS.get(str(stored).removeprefix("torch."), 16)
    quantised = getattr(config, "quantization_config", None)
    method = (quantised.get("quant_method") if isinstance(quantised, dict) else
              getattr(quantised, "quant_method", None))
    method = getattr(method, "value", method)
    if method is not None and method not in QUANTISED:
        remark(f"the checkpoint is quantised ({method}); expert_bits and dense_bits of the model's "
             "file are those of its dtype: set them by hand")
    return QUANTISED.get(method, plain), plain, plain


def describe(config, family, shape, side, name, origin, stored, remark):
    """The text of NAME.yaml. shape: (MoE layers, experts, top_k); stored: the checkpoint's
    dtype; remark: called with what the file cannot say."""
    moe, experts, top_k = shape
    layers, encoder_layers = layer_counts(config, side)
    every = moe[1] - moe[0] if len(moe) > 1 else layers - moe[0]
    if moe != list(range(moe[0], layers, every)):
        raise Failure(f"{origin}: its MoE layers, {', '.join(map(str, moe))} of {layers}, are not "
                      "every so many from a first one on, which a file of models/arch can say; "
                      "leave out --write-model")
    expert, shared, dense = sizes(config)
    heads = first_of(config, "num_attention_heads", "num_heads")
    latent = first_of(config, "kv_lora_rank")
    wide, wide_every = window(config, remark)
    of_expert, of_other, of_activation = bits(config, stored, remark)
    plain = first_of(config, "head_dim", "d_kv", fallback=config.hidden_size // heads)
    lines = [("name", name), ("source", json.dumps(f"the configuration of {origin}")),
             ("layers", layers), ("encoder_layers", encoder_layers or None),
             ("first_moe", moe[0] or None), ("moe_every", every if every > 1 and len(moe) > 1
                                             else layers if len(moe) == 1 and
                                             moe[0] + 1 < layers else None),
             ("hidden", config.hidden_size), ("expert_ffn", expert),
             ("matrices", 2 if side else None), ("experts", experts), ("top_k", top_k),
             ("shared_ffn", shared or None),
             ("dense_ffn", dense if len(moe) < layers else None),
             ("attention", "mla" if latent else None), ("heads", heads),
             ("kv_heads", None if latent else
              first_of(config, "num_key_value_heads", "attn_config.kv_n_heads", fallback=heads)),
             ("head_dim", config.qk_nope_head_dim if latent else plain),
             ("kv_rank", latent), ("q_rank", getattr(config, "q_lora_rank", None) if latent
                                   else None),
             ("rope_dim", config.qk_rope_head_dim if latent else None),
             ("window", wide or None), ("window_every", wide_every if wide_every > 1 else None),
             ("vocab", config.vocab_size), ("gate", family.gate),
             ("expert_bits", of_expert), ("dense_bits", of_other),
             ("activation_bits", of_activation)]
    return "".join(f"{key}: {value}\n" for key, value in lines if value is not None)


def known(text, origin):
    """The model of models/arch that has the layers, sizes, experts and top_k of this one; else
    None."""
    made = parse(origin, text)
    return plainest([model for model in all_models() if
                     model._replace(name=made.name, bits=made.bits) == made])


def plain_name(origin):
    """A name for a model: the last part of its path, in letters that a file's name may have."""
    last = os.path.basename(os.path.normpath(origin)).lower()
    return re.sub(r"[^a-z0-9._-]+", "-", last).strip("-.") or "model"
