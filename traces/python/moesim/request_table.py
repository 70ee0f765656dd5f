"""The table of the requests: a CSV beside the recording (`x_requests.csv` for `x.npz` or
`x_decode.npz`), or one given with --requests, with the columns category, prompt_len, gen_len,
first_pos (the position of the request's first row), one line for each request in the
recording's order. Rows at positions below prompt_len are prefill, the others decode."""

import csv
import os

import numpy as np

from moesim import filled
from moesim.recording import MOST
from moesim.say import Failure, note


def check_line(path, number, line):
    """One line of the table, its numbers as such."""
    for name in ("category", "prompt_len", "gen_len", "first_pos"):
        value = line.get(name)
        if value is None:
            raise Failure(f"{path}: line {number}: column {name} is missing")
        if name == "category":
            if len(value.encode("utf-8")) > 256:
                raise Failure(f"{path}: line {number}: category is longer than 256 bytes")
        elif not (value.isascii() and value.isdecimal() and int(value[:20]) <= MOST):
            raise Failure(f"{path}: line {number}: {name} is {value[:20]!r}, not a whole "
                          f"number up to {MOST}")
    return {name: line[name] if name == "category" else int(line[name])
            for name in ("category", "prompt_len", "gen_len", "first_pos")}


def check_lengths(path, number, line, rows):
    """Rows beyond those expected: the last token is drawn and not run, in most engines, and
    some stop one early; more than that contradicts the lengths."""
    expected = line["prompt_len"] + line["gen_len"] - 1 - line["first_pos"]
    if abs(rows - expected) > 1:
        raise Failure(
            f"{path}: line {number}: a prompt of {line['prompt_len']} and {line['gen_len']} "
            f"generated tokens from position {line['first_pos']} on make {max(expected, 0)} rows, "
            f"but the recording has {rows} for this request; correct the lengths")
    return rows - expected


def request_table(recording, given, lengths):
    """The CSV beside the recording as a list of lines, or None where there is none."""
    stem = os.path.splitext(recording)[0].removesuffix("_decode")
    path = given or stem + "_requests.csv"
    if given is None and not os.path.exists(path):
        return None
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            table = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as failure:
        raise Failure(f"{path}: cannot be read: {failure}") from None
    if len(table) != len(lengths):
        raise Failure(f"{path}: has {len(table)} requests but {recording} has "
                      f"{len(lengths)}; one line for each is needed")
    table = [check_line(path, number, line) for number, line in enumerate(table, start=2)]
    odd = [number for number, (line, rows) in enumerate(zip(table, lengths), start=2)
           if check_lengths(path, number, line, int(rows)) != 0]
    if odd:
        note(f"{path}: lines {filled.listed(odd)}: the recording has one row more or less than "
             "prompt_len + gen_len - 1 - first_pos; its rows are taken as they are")
    if len({line["category"] for line in table}) > 65535:
        raise Failure(f"{path}: has more than 65535 categories")
    return table


def groups_of(table):
    """Columns for the requests: prompt, output, begin, group and the groups' names."""
    groups = sorted({line["category"] for line in table})
    number = {name: i for i, name in enumerate(groups)}
    prompt, output, begin = (np.array([line[name] for line in table], dtype=np.int64)
                             for name in ("prompt_len", "gen_len", "first_pos"))
    return prompt, output, begin, [number[line["category"]] for line in table], groups
