"""JSON objects of a file, one a line (JSONL), or one document that is an object or a list of
them. Lines are read one by one and can be read again, so that they need not be held."""

import json

from moesim.files import open_file
from moesim.say import Failure


def parse(where, text):
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as failure:
        raise Failure(f"{where}: is not JSON ({str(failure)[:100]}); is the file whole?") from None


def is_whole(value, below=1 << 48, low=0):
    """Whether it is a whole number of that range; true and false, which Python counts among
    them, are none."""
    return type(value) is int and low <= value < below


def is_by_lines(stream):
    """Whether the first line that is not empty is an object by itself."""
    line = next((line for line in stream if line.strip()), b"")
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


class Line:
    """An object that is read again when it is needed."""

    def __init__(self, path, number, at):
        self.path, self.where, self.at = path, f"{path}: line {number}", at

    def again(self):
        with open_file(self.path) as stream:
            stream.seek(self.at)
            return parse(self.where, stream.readline())


class Held:
    """An object of a document, which can only be read as a whole."""

    def __init__(self, path, number, found):
        self.path, self.where, self.found = path, f"{path}: object {number}", found

    def again(self):
        return self.found


def check(where, found):
    if not isinstance(found, dict):
        raise Failure(f"{where}: is no JSON object; each line, or each item of the list, must be "
                      "one")
    return found


def objects(path):
    """(place, object) of each; `place.again()` gives the object once more."""
    with open_file(path) as stream:
        by_lines, at = is_by_lines(stream), 0
        stream.seek(0)
        for number, line in enumerate(stream if by_lines else (), start=1):
            if line.strip():
                place = Line(path, number, at)
                yield place, check(place.where, parse(place.where, line))
            at += len(line)
        if by_lines:
            return
        document = parse(path, stream.read())
    for number, found in enumerate(document if isinstance(document, list) else [document]):
        place = Held(path, number, found)
        yield place, check(place.where, found)
