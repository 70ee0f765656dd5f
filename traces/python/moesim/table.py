"""Tables in text (CSV), parsed in blocks by numpy, so that memory does not grow with the file.

Columns go by name, those that nobody asks for are passed over, lines with `#` and empty ones
too. A block that is not plain is parsed again line by line, which finds the sentence for
the line that is wrong.
"""

import math
from typing import NamedTuple

import numpy as np

from moesim.say import Failure

BLOCK_BYTES = 1 << 22
LINE_MOST = 1 << 16
DIGITS_MOST = 15
NUMBER_BYTES = np.zeros(256, dtype=bool)
NUMBER_BYTES[list(b"0123456789+-.eEnaN\0")] = True


class Below(NamedTuple):
    """A column of whole numbers from 0 on."""
    limit: int

    def of_line(self, text):
        text = text.strip()
        if not (text.isascii() and text.isdecimal()) or len(text) > DIGITS_MOST or \
                int(text) >= self.limit:
            return None
        return int(text)

    def expected(self):
        return f"a whole number from 0 to {self.limit - 1}"

    def of_block(self, bytes_, start, end):
        length = end - start
        longest = int(length.max())
        if length.min() < 1 or longest > DIGITS_MOST:
            return None
        value, power = np.zeros(len(start), dtype=np.int64), 1
        for i in range(longest):
            digit = bytes_[np.maximum(end - 1 - i, 0)].astype(np.int64) - ord("0")
            digit[length <= i] = 0
            if (digit < 0).any() or (digit > 9).any():
                return None
            value += digit * power
            power *= 10
        return value if value.max() < self.limit else None


class Between(NamedTuple):
    """A column of numbers, nan where there is none."""
    low: float
    high: float
    blank: bool = False  # whether an empty cell is one that has none

    def of_line(self, text):
        text = text.strip()
        if self.blank and not text:
            return math.nan
        try:
            value = float(text) if NUMBER_BYTES[list(text.encode())].all() else None
        except ValueError:
            return None
        return value if value is None or math.isnan(value) or self.low <= value <= self.high \
            else None

    def expected(self):
        range_ = (f"a number from {self.low:g} to {self.high:g}" if math.isfinite(self.high)
                  else "a finite number")
        return f"{range_}, or {'empty' if self.blank else 'nan'} where none was recorded"

    def of_block(self, bytes_, start, end):
        words = words_of(bytes_, start, end)
        if words is None or not NUMBER_BYTES[words.view(np.uint8)].all():
            return None
        empty = words == b""
        if empty.any():
            if not self.blank:
                return None
            words = np.where(empty, b"nan", words)
        try:
            value = words.astype(np.float64)
        except ValueError:
            return None
        good = np.isnan(value) | ((value >= self.low) & (value <= self.high))
        return value if good.all() else None


class OneOf(NamedTuple):
    """A column of words; its values are their places in `words`."""
    words: tuple

    def of_line(self, text):
        return self.words.index(text.strip()) if text.strip() in self.words else None

    def expected(self):
        return " or ".join(self.words)

    def of_block(self, bytes_, start, end):
        cells = words_of(bytes_, start, end)
        if cells is None:
            return None
        value = np.full(len(cells), -1, dtype=np.int64)
        for i, word in enumerate(self.words):
            value[cells == word.encode()] = i
        return value if (value >= 0).all() else None


def words_of(bytes_, start, end):
    """The cells as byte strings; None where they are too long."""
    length = end - start
    longest = max(1, int(length.max()))
    if longest > 32:
        return None
    at = start[:, None] + np.arange(longest)
    cells = bytes_[np.minimum(at, len(bytes_) - 1)]
    cells[np.arange(longest) >= length[:, None]] = 0
    return np.ascontiguousarray(cells).view(f"S{longest}")[:, 0]


class Table:
    """`columns`: what is read of each, those among `names`. `blocks()` reads on from where the
    stream stands and yields {name: values}, with the numbers of the lines as "line"."""

    def __init__(self, path, stream, names, first_line, columns):
        self.path, self.stream, self.names, self.line = path, stream, names, first_line
        self.columns = {name: kind for name, kind in columns.items() if name in names}

    def blocks(self):
        rest = b""
        while data := self.stream.read(BLOCK_BYTES):
            data = rest + data
            cut = data.rfind(b"\n") + 1
            rest = data[cut:]
            if len(rest) > LINE_MOST:
                raise Failure(f"{self.path}: line {self.line + data.count(10, 0, cut)} is longer "
                              f"than {LINE_MOST} bytes; is this such a table?")
            if cut:
                yield from self.block(data[:cut])
        if rest:
            yield from self.block(rest + b"\n")

    def block(self, data):
        found = self.plainly(data.replace(b"\r\n", b"\n"))
        if found is None:
            found = self.line_by_line(data)
        self.line += data.count(10)
        if found:
            yield found

    def plainly(self, data):
        bytes_ = np.frombuffer(data, dtype=np.uint8)
        width = len(self.names)
        end = np.flatnonzero((bytes_ == ord(",")) | (bytes_ == ord("\n")))
        if len(end) % width or ord("#") in bytes_[:1] or b"\n#" in data:
            return None
        start = np.concatenate([[0], end[:-1] + 1]).reshape(-1, width)
        end = end.reshape(-1, width)
        if (bytes_[end[:, -1]] != ord("\n")).any() or (bytes_[end[:, :-1]] == ord("\n")).any():
            return None
        found = {"line": self.line + np.arange(len(end))}
        for name, kind in self.columns.items():
            at = self.names.index(name)
            found[name] = kind.of_block(bytes_, start[:, at], end[:, at])
            if found[name] is None:
                return None
        return found

    def line_by_line(self, data):
        found = {name: [] for name in ("line", *self.columns)}
        at = {name: self.names.index(name) for name in self.columns}
        for number, line in enumerate(data.split(b"\n")[:-1], start=self.line):
            cells = text_of(self.path, number, line).rstrip("\r").split(",")
            if line.startswith(b"#") or not line.strip():
                continue
            if len(cells) != len(self.names):
                raise Failure(f"{self.path}: line {number}: has {len(cells)} values, but there "
                              f"are {len(self.names)} columns; is the file whole?")
            found["line"].append(number)
            for name, kind in self.columns.items():
                value = kind.of_line(cells[at[name]])
                if value is None:
                    raise Failure(f"{self.path}: line {number}: {name} is "
                                  f"{cells[at[name]][:20]!r}, not {kind.expected()}")
                found[name].append(value)
        if not found["line"]:
            return None
        return {name: np.array(values, dtype=np.float64 if isinstance(
            self.columns.get(name), Between) else np.int64) for name, values in found.items()}


def text_of(path, number, line):
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        raise Failure(f"{path}: line {number}: is not text in UTF-8, so this is not a text file; "
                      "is it the right one?") from None


def read_line(path, stream, number):
    """The next line as text without its end, or None at the end of the file."""
    line = stream.readline(LINE_MOST + 1)
    if len(line) > LINE_MOST:
        raise Failure(f"{path}: line {number} is longer than {LINE_MOST} bytes; is this such a "
                      "table?")
    return text_of(path, number, line).rstrip("\r\n") if line else None


def column_names(path, number, line, required):
    names = [name.strip() for name in line.split(",")]
    missing = [name for name in required if name not in names]
    if missing or len(set(names)) != len(names):
        wrong = f"column {missing[0]} is missing" if missing else "a column stands twice"
        raise Failure(f"{path}: line {number}: {wrong}; {', '.join(required[:-1])} and "
                      f"{required[-1]} must be among the columns, each once")
    return names
