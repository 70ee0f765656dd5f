"""Makes tests/formats/trtllm/* with safetensors, as tensorrt_llm/_torch/expert_statistic.py
of TensorRT-LLM calls it. Needs torch and safetensors; the files are kept, so that the tests do
not."""

import json
import os
import sys

try:
    import safetensors.torch
    import torch
except ImportError:  # the tests need the rule alone
    torch = None

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "trtllm")
ITERATIONS, LAYERS, EXPERTS, TOP_K = (50, 51, 52), (1, 2, 3), 8, 2


def chosen(rank, iteration, layer):
    """Experts of each token, which the test computes too."""
    return [[(token * 3 + layer + rank) % EXPERTS, (token * 3 + layer + rank + 1) % EXPERTS]
            for token in range(1 + (iteration + rank) % 3)]


def main():
    os.makedirs(FOLDER, exist_ok=True)
    for rank in range(2):
        records = {f"{iteration}_{layer}": torch.bincount(
            torch.tensor(chosen(rank, iteration, layer)).flatten(), minlength=EXPERTS)
            for iteration in ITERATIONS for layer in LAYERS}
        safetensors.torch.save_file(records, f"{FOLDER}/rank{rank}.safetensors")
    with open(f"{FOLDER}/meta_info.json", "w", encoding="utf-8") as stream:
        json.dump({"num_experts": EXPERTS, "num_experts_per_token": TOP_K}, stream)


if __name__ == "__main__":
    sys.exit(main())
