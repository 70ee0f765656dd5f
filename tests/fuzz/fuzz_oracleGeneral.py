"""The importer of oracleGeneral: fields of records changed, records cut and doubled."""

import os
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "..", "traces", "python")]

import importers  # noqa: E402

FORMAT = "<IQIq"
SIZE = struct.calcsize(FORMAT)
VALUES = (0, 1, 2, 7, 8, 255, 1 << 22, (1 << 31) - 1)


def make(stream):
    """Passes of one or several tokens through three layers of eight experts."""
    records, tokens = [], stream.choice((1, 1, 3))
    for clock in range(stream.randrange(1, 8)):
        for layer in range(3):
            used = {expert for _ in range(tokens) for expert in stream.sample(range(8), 2)}
            records += [[clock, layer * 8 + expert, 30 + layer, -1] for expert in sorted(used)]
    if stream.randrange(4):
        after = {}
        for i in reversed(range(len(records))):
            records[i][3] = after.get(records[i][1], -1)
            after[records[i][1]] = i
    return b"".join(struct.pack(FORMAT, *record) for record in records)


def change(stream, data):
    if stream.randrange(4) == 0:
        return importers.change_bytes(stream, data)
    records = [list(struct.unpack_from(FORMAT, data, at))
               for at in range(0, len(data) - SIZE + 1, SIZE)] or [[0, 0, 1, -1]]
    for _ in range(stream.choice((1, 1, 2, 4))):
        at = stream.randrange(len(records))
        kind = stream.randrange(4)
        if kind == 0 and len(records) > 1:
            del records[at]
        elif kind == 1:
            records.insert(at, list(records[stream.randrange(len(records))]))
        else:
            records[at][stream.randrange(4)] = stream.choice(VALUES)
    return b"".join(struct.pack(FORMAT, *record) for record in records)


if __name__ == "__main__":
    sys.exit(importers.main("oracleGeneral", make, change))
