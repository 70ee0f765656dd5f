"""The importer of RouterTrace: words, lines and bytes of one JSON document changed."""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "..", "traces", "python")]

import importers  # noqa: E402
import json  # noqa: E402


def make(stream):
    tokens, layers = stream.randrange(1, 5), stream.randrange(1, 4)
    source = stream.choice(({"kind": "synthetic", "generator": "x"},
                            {"kind": "captured", "model": {"id": "a/fuzz"}}))
    trace = {"version": stream.choice((1, 2)), "source": source, "tokens": tokens,
             "layers": layers, "expertsPerLayer": 8, "topK": 2,
             "selections": [[stream.sample(range(8), 2) for _ in range(layers)]
                            for _ in range(tokens)]}
    return json.dumps(trace, indent=stream.choice((None, 1))).encode()


if __name__ == "__main__":
    sys.exit(importers.main("router_trace", make, importers.change_lines))
