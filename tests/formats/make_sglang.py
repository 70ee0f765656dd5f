"""Makes tests/formats/sglang/*.pt with torch.save, as the recorder of SGLang's
python/sglang/srt/eplb/expert_distribution.py calls it: the dicts below have its keys, types
and shapes. Needs torch; the files are kept, so that the tests do not."""

import os
import sys

try:
    import torch
except ImportError:  # the tests need the rule alone
    torch = None

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sglang")
LAYERS, EXPERTS, TOP_K, WIDTH = 4, 8, 2, 8


def expert(token, layer, slot):
    """The expert of a token, which the test computes too."""
    return (3 * token + 5 * layer + slot * (1 + token % 3)) % EXPERTS


def record(number, tokens, positions, lengths, mode, rank=0):
    ids = torch.full((LAYERS, 16, WIDTH), -1, dtype=torch.int32)
    count = torch.zeros((LAYERS, EXPERTS), dtype=torch.int32)
    for layer in range(1, LAYERS):  # the first has no experts
        for place, token in enumerate(tokens):
            for slot in range(TOP_K):
                ids[layer, place, slot] = expert(token, layer, slot)
                count[layer, expert(token, layer, slot)] += 1
    return dict(forward_pass_id=number, rank=rank, gatherer_key="primary", input_ids=tokens,
                positions=positions, extend_seq_lens=lengths, forward_mode=mode,
                topk_ids_of_layer=ids[:, :len(tokens), :].clone(), misc_objects=[],
                global_physical_count=count)


def save(name, value):
    torch.save(value, os.path.join(FOLDER, name))


def main():
    straight = torch.arange(EXPERTS).repeat(LAYERS, 1)
    swapped = straight.flip(1)
    tokens = [record(10, [100, 101, 102, 200, 201], [0, 1, 2, 0, 1], [3, 2], 1),
              record(11, [103, 202], [3, 2], None, 2), record(12, [104, 203], [4, 3], None, 2)]
    save("per_token.pt", dict(records=tokens, last_physical_to_logical_map=straight))
    passes = [{k: one[k] for k in ("forward_pass_id", "rank", "gatherer_key",
                                   "global_physical_count")} for one in tokens]
    save("per_pass.pt", dict(records=passes, last_physical_to_logical_map=swapped))
    steps = torch.stack([one["global_physical_count"] for one in tokens] +
                        [torch.zeros((LAYERS, EXPERTS), dtype=torch.int32)])
    save("stat.pt", dict(rank=0, logical_count=steps, average_utilization_rate_over_window=None))


if __name__ == "__main__":
    sys.exit(main())
