"""The importer of what trace export writes: words and lines changed."""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "..", "traces", "python")]

import importers  # noqa: E402


def make(stream):
    lines, row = ["row,request,position,phase,layer,slot,expert,score"], 0
    for request in range(stream.randrange(1, 4)):
        for position in range(stream.randrange(1, 4)):
            phase = ("prefill", "decode")[position > 0]
            for layer in (0, 3):
                for slot, expert in enumerate(stream.sample(range(8), 2)):
                    score = stream.choice(("", ("0.75", "0.25")[slot]))
                    lines.append(f"{row},{request},{position},{phase},{layer},{slot},{expert},"
                                 f"{score}")
            row += stream.choice((1, 1, 1, 2))
    return ("\n".join(lines) + "\n").encode()


if __name__ == "__main__":
    sys.exit(importers.main("csv", make, importers.change_lines))
