"""Writes the conformance suite of the trace format: good/, bad/ and expected.tsv.

    python3 make.py FOLDER

Needs numpy and h5py. Two runs give equal bytes under one version of HDF5.
"""

import os
import sys

sys.dont_write_bytecode = True

import bad  # noqa: E402
import bad_file  # noqa: E402, F401
import bad_shape  # noqa: E402, F401
import bad_values  # noqa: E402, F401
import good  # noqa: E402

HEAD = ("file", "verdict", "breaks", "words", "what is special about it")


def write_files(folder):
    for name in ("good", "bad"):
        os.makedirs(os.path.join(folder, name), exist_ok=True)
    for name, (function, notes) in sorted(good.CASES.items()):
        function().write(os.path.join(folder, "good", f"{name}.h5"))
        yield f"good/{name}.h5", "good", "-", notes, function.__doc__
    for name, (base, change, breaks, words, said) in sorted(bad.CASES.items()):
        trace = base()
        change(trace)
        trace.write(os.path.join(folder, "bad", f"{name}.h5"))
        yield f"bad/{name}.h5", "bad", breaks, words, said


def main(arguments):
    if len(arguments) != 1:
        sys.exit("usage: make.py FOLDER")
    lines = [HEAD]
    for name, verdict, breaks, words, said in write_files(arguments[0]):
        lines.append((name, verdict, breaks, " | ".join(words), said))
    with open(os.path.join(arguments[0], "expected.tsv"), "w", encoding="utf-8") as table:
        for line in lines:
            table.write("\t".join(line) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
