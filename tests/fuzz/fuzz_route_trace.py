"""The importer of `route_trace` tables: numbers, words and lines changed."""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "..", "traces", "python")]

import importers  # noqa: E402


def make(stream):
    """Two turns of a few steps through two MoE layers of eight experts."""
    lines = ["# route_trace v1",
             "# model=/x/Fuzz.gguf arch=fuzz n_layer=3 n_expert=8 n_expert_used=2",
             "# layer=0 expert_bytes=0 dense_bytes=9", "# layer=1 expert_bytes=30 dense_bytes=9",
             "# layer=2 expert_bytes=40 dense_bytes=9",
             "turn,phase,step,layer,slot,expert,weight,residency,expert_bytes"]
    for turn in range(stream.choice((1, 2))):
        steps = stream.randrange(1, 5)
        for step in range(steps):
            for layer in (1, 2):
                if layer == 2 and 2 * step < steps - 2 and stream.randrange(2) == 0:
                    continue  # the last layer may be skipped for most of a prompt
                pair = stream.sample(range(8), 2)
                for slot in (0, 1):
                    lines.append(f"{turn},{int(2 * step >= steps)},{step},{layer},{slot},"
                                 f"{pair[slot]},{(0.75, 0.25)[slot]},{stream.randrange(2)},30")
    return ("\n".join(lines) + "\n").encode()


if __name__ == "__main__":
    sys.exit(importers.main("route_trace", make, importers.change_lines))
