"""Tiny models of every architecture that `capture` knows, made from its configuration class
with fixed seeds, and the rule of each router written once more, in numpy, from its paper.

A rule maps (what the router's layer got, its parameters, the configuration) to (ids, weights,
logits): float64 arrays by row, ids best first, NOT_RECORDED where an expert had no room.
"""

import numpy as np
import torch
import transformers as t

NOT_RECORDED = 65535
BASE = dict(vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=4,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
            pad_token_id=0, bos_token_id=1, eos_token_id=2)
LATENT = {**BASE, **dict(num_key_value_heads=4, n_routed_experts=8, num_experts_per_tok=3,
                         moe_intermediate_size=16, first_k_dense_replace=1, kv_lora_rank=16,
                         qk_rope_head_dim=8, qk_nope_head_dim=8, v_head_dim=8,
                         n_shared_experts=1, routed_scaling_factor=2.5)}
BOTH_SIDES = dict(vocab_size=97, d_model=32, num_experts=4)


# ---- rules ----

def best(values, k):
    return np.argsort(-values, axis=1, kind="stable")[:, :k]


def at(values, ids):
    return np.take_along_axis(values, ids, axis=1)


def softmax(values):
    grown = np.exp(values - values.max(axis=-1, keepdims=True))
    return grown / grown.sum(axis=-1, keepdims=True)


def plain(x, p, c, normalise=None):
    """Softmax over all experts, the largest k (Mixtral, Qwen, OLMoE, dbrx)."""
    logits = x @ p["weight"].T
    share = softmax(logits)
    ids = best(share, c.num_experts_per_tok)
    weights = at(share, ids)
    if c.norm_topk_prob if normalise is None else normalise:
        weights = weights / weights.sum(axis=1, keepdims=True)
    return ids, weights, logits


def mixtral(x, p, c):
    return plain(x, p, c, True)


def dbrx(x, p, c):
    logits = x @ p["layer.weight"].T
    share = softmax(logits)
    ids = best(share, c.ffn_config.moe_top_k)
    return ids, at(share, ids) / at(share, ids).sum(axis=1, keepdims=True), logits


def chosen_first(x, p, c):
    """Softmax over the chosen logits alone (GPT-OSS, Granite)."""
    logits = x @ p["weight"].T + p.get("bias", 0)
    ids = best(logits, c.num_experts_per_tok)
    return ids, softmax(at(logits, ids)), logits


def only_in_best_groups(values, group_score, groups, kept, fill):
    """Values of experts outside the `kept` best groups become `fill` (DeepSeek-V2, 2.2.2)."""
    rows, experts = values.shape
    good = np.zeros((rows, groups), dtype=bool)
    np.put_along_axis(good, best(group_score, kept), True, axis=1)
    return np.where(np.repeat(good, experts // groups, axis=1), values, fill)


def deepseek_v2(x, p, c):
    logits = x @ p["weight"].T
    share = softmax(logits)
    if c.topk_method == "group_limited_greedy":
        of_group = share.reshape(len(x), c.n_group, -1).max(axis=2)
        share = only_in_best_groups(share, of_group, c.n_group, c.topk_group, 0)
    ids = best(share, c.num_experts_per_tok)
    return ids, at(share, ids), logits


def deepseek_v3(x, p, c):
    """Sigmoid; chosen with a bias, among the groups whose two best are best; weighted without."""
    logits = x @ p["weight"].T
    share = 1 / (1 + np.exp(-logits))
    biased = share + p["e_score_correction_bias"]
    of_group = np.sort(biased.reshape(len(x), c.n_group, -1), axis=2)[:, :, -2:].sum(axis=2)
    ids = best(only_in_best_groups(biased, of_group, c.n_group, c.topk_group, -np.inf),
               c.num_experts_per_tok)
    weights = at(share, ids)
    if c.norm_topk_prob:
        weights = weights / weights.sum(axis=1, keepdims=True)
    ids = at(ids, np.argsort(-weights, axis=1, kind="stable"))
    return ids, -np.sort(-weights, axis=1), logits


def sparse_mixer(x, p, c):
    """Two top-1 choices; each weighted among the experts whose logit is near enough."""
    logits = x @ p["weight"].T
    left, ids, weights = logits.copy(), [], []
    for _ in range(2):
        top = left.max(axis=1, keepdims=True)
        far = (top - logits) / np.maximum(np.abs(logits), top) > 2 * c.router_jitter_noise
        one = left.argmax(axis=1)[:, None]
        ids.append(one)
        weights.append(at(softmax(np.where(far, -np.inf, left)), one))
        np.put_along_axis(left, one, -np.inf, axis=1)
    return np.hstack(ids), np.hstack(weights), logits


def llama4(x, p, c):
    logits = x @ p["weight"].T
    ids = best(logits, c.num_experts_per_tok)
    return ids, 1 / (1 + np.exp(-at(logits, ids))), logits


def switch(x, p, c):
    """The best expert, as long as fewer rows before this one took it than it has room for."""
    logits = x @ p["classifier.weight"].T
    ids = best(logits, 1)
    earlier = np.array([(ids[:i] == ids[i]).sum() for i in range(len(ids))])
    has_room = (earlier < c.expert_capacity)[:, None]
    return np.where(has_room, ids, NOT_RECORDED), at(softmax(logits), ids) * has_room, logits


def nllb(x, p, c):
    """The two best of all, shares of each other; room for every token (fraction 1)."""
    assert c.moe_eval_capacity_token_fraction == 1
    logits = x @ p["classifier.weight"].T
    ids = best(logits, 2)
    share = at(softmax(logits), ids)
    return ids, share / share.sum(axis=1, keepdims=True), logits


# ---- models ----

MODELS = {
    "mixtral": (mixtral, lambda: t.MixtralConfig(
        **BASE, num_local_experts=8, num_experts_per_tok=2)),
    "qwen2-moe": (plain, lambda: t.Qwen2MoeConfig(
        **BASE, num_experts=8, num_experts_per_tok=3, moe_intermediate_size=16,
        shared_expert_intermediate_size=24, decoder_sparse_step=2)),
    "qwen3-moe": (plain, lambda: t.Qwen3MoeConfig(
        **BASE, num_experts=8, num_experts_per_tok=3, moe_intermediate_size=16, head_dim=8,
        norm_topk_prob=True)),
    "deepseek-v2": (deepseek_v2, lambda: t.DeepseekV2Config(
        **LATENT, q_lora_rank=None, topk_method="group_limited_greedy", n_group=4,
        topk_group=2)),
    "deepseek-v2-greedy": (deepseek_v2, lambda: t.DeepseekV2Config(
        **LATENT, q_lora_rank=None, topk_method="greedy", n_group=1, topk_group=1)),
    "deepseek-v3": (deepseek_v3, lambda: t.DeepseekV3Config(
        **LATENT, q_lora_rank=16, n_group=4, topk_group=2)),
    "gpt-oss": (chosen_first, lambda: t.GptOssConfig(
        **BASE, num_local_experts=8, num_experts_per_tok=3, head_dim=8, sliding_window=6)),
    "olmoe": (plain, lambda: t.OlmoeConfig(**BASE, num_experts=8, num_experts_per_tok=3)),
    "phimoe": (sparse_mixer, lambda: t.PhimoeConfig(
        **BASE, num_local_experts=8, num_experts_per_tok=2, router_jitter_noise=0.2)),
    "granitemoe": (chosen_first, lambda: t.GraniteMoeConfig(
        **BASE, num_local_experts=8, num_experts_per_tok=3)),
    "llama4": (llama4, lambda: t.Llama4TextConfig(
        **BASE, num_local_experts=4, num_experts_per_tok=1, intermediate_size_mlp=64,
        head_dim=8, interleave_moe_layer_step=2)),
    "llama4-top2": (llama4, lambda: t.Llama4TextConfig(
        **BASE, num_local_experts=4, num_experts_per_tok=2, intermediate_size_mlp=64,
        head_dim=8)),
    "glm4-moe": (deepseek_v3, lambda: t.Glm4MoeConfig(
        **BASE, n_routed_experts=8, num_experts_per_tok=3, moe_intermediate_size=16,
        first_k_dense_replace=1, head_dim=8, n_group=2, topk_group=1)),
    "dbrx": (dbrx, lambda: t.DbrxConfig(
        d_model=32, n_heads=4, n_layers=4, max_seq_len=128, vocab_size=97, eos_token_id=2,
        attn_config=dict(kv_n_heads=2, clip_qkv=8, rope_theta=10000.0),
        ffn_config=dict(ffn_hidden_size=16, moe_num_experts=8, moe_top_k=3, hidden_size=32))),
    "switch": (switch, lambda: t.SwitchTransformersConfig(
        **BOTH_SIDES, d_kv=8, d_ff=48, num_layers=4, num_decoder_layers=4, num_heads=4,
        num_sparse_encoder_layers=2, num_sparse_decoder_layers=2, expert_capacity=3,
        decoder_start_token_id=0, eos_token_id=2)),
    "nllb": (nllb, lambda: t.NllbMoeConfig(
        **BOTH_SIDES, encoder_layers=4, decoder_layers=4, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48,
        encoder_sparse_step=2, decoder_sparse_step=2, max_position_embeddings=128)),
}
ROUTER = ("gate", "router")

# Published models as the library's configuration describes them: the file of models/arch,
# (MoE layers, experts, top_k), and which sides.
PUBLISHED = {
    "mixtral-8x7b": (t.MixtralConfig, {}, (range(32), 8, 2), ""),
    "deepseek-v3": (t.DeepseekV3Config, {}, (range(3, 61), 256, 8), ""),
    "gpt-oss-120b": (t.GptOssConfig, {}, (range(36), 128, 4), ""),
    "olmoe-1b-7b": (t.OlmoeConfig, dict(intermediate_size=1024), (range(16), 64, 8), ""),
    "qwen1.5-moe-a2.7b": (t.Qwen2MoeConfig, {}, (range(24), 60, 4), ""),
    "llama-4-scout": (t.Llama4TextConfig, {}, (range(48), 16, 1), ""),
    "phi-3.5-moe": (t.PhimoeConfig, {}, (range(32), 16, 2), ""),
    "dbrx": (t.DbrxConfig, dict(
        d_model=6144, n_heads=48, n_layers=40, vocab_size=100352, attn_config=dict(kv_n_heads=8),
        ffn_config=dict(ffn_hidden_size=10752, moe_num_experts=16, moe_top_k=4)),
        (range(40), 16, 4), ""),
    "switch-base-8": (t.SwitchTransformersConfig, dict(
        d_ff=3072, num_sparse_encoder_layers=6, num_sparse_decoder_layers=6),
        (range(1, 24, 2), 8, 1), "both"),
    "nllb-moe-54b": (t.NllbMoeConfig, dict(
        encoder_layers=24, decoder_layers=24, d_model=2048, decoder_ffn_dim=8192,
        vocab_size=256206), (range(3, 48, 4), 128, 2), "both"),
}


def routers_of(model):
    """(name, module) of every router, found by its class."""
    return [(name, module) for name, module in model.named_modules()
            if name.rpartition(".")[2] in ROUTER and
            any(word in type(module).__name__ for word in ("Router", "Gate"))]


def make(name, folder, dtype=torch.float64):
    """Saves the model; routers are scaled so that their choices differ."""
    config = MODELS[name][1]()
    torch.manual_seed(sum(map(ord, name)))
    kind = t.AutoModelForSeq2SeqLM if config.is_encoder_decoder else t.AutoModelForCausalLM
    model = kind.from_config(config, experts_implementation="eager").to(dtype)
    with torch.no_grad():
        for _, router in routers_of(model):
            for values in [*router.parameters(), *router.buffers()]:
                values.copy_(torch.randn(values.shape, dtype=torch.float64) *
                             (0.7 if values.ndim == 2 else 0.2))
    model.save_pretrained(folder)
    return model.eval()


def numbers(router):
    return {key: value.detach().to(torch.float64).numpy()
            for key, value in [*router.named_parameters(), *router.named_buffers()]}


class Inputs:
    """What enters each router in one call of a model, by its name: (row, width)."""

    def __init__(self, model, call):
        self.found = {}
        handles = [module.register_forward_pre_hook(
            lambda _, given, name=name: self.keep(name, given[0]))
            for name, module in routers_of(model)]
        with torch.inference_mode():
            call()
        for handle in handles:
            handle.remove()

    def keep(self, name, hidden):
        flat = hidden.detach().to(torch.float64).reshape(-1, hidden.shape[-1])
        self.found.setdefault(name, flat.numpy().copy())
