"""The importer of JSON lines of token, layer and experts: words and lines changed."""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "..", "traces", "python")]

import importers  # noqa: E402
import json  # noqa: E402


def make(stream):
    lines = []
    for token in range(stream.randrange(1, 6)):
        for layer in (0, 1, 4):
            found = {"token": token, "layer": layer, "experts": stream.sample(range(8), 2),
                     "weights": [0.75, 0.25]}
            if stream.randrange(8) == 0:
                found |= {"domain": "a", "phase": "decode"}
            lines.append(json.dumps(found))
    return ("\n".join(lines) + "\n").encode()


if __name__ == "__main__":
    sys.exit(importers.main("lattice", make, importers.change_lines))
