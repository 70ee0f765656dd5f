"""What the fuzzers of the importers share: a loop that makes inputs, imports them in this
process and looks for broken promises.

An importer writes a trace that `moesim trace info` reads through, or refuses with one sentence
and leaves no file. Any other exception, more than TIME_S seconds or MEMORY_BYTES, and any
file left over are findings; the input is kept. Inputs that end in a sentence not met
before are kept as parents of others.

A target, fuzz_NAME.py, gives make(stream), a good input, and change(stream, bytes), one
like it (`change_lines` where it is text). `FILE ...` are inputs tried first.
"""

import argparse
import faulthandler
import hashlib
import importlib
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
import traceback
import warnings

TIME_S = 10
MEMORY_BYTES = 2 << 30
NUMBERS = (b"0", b"1", b"2", b"-1", b"7", b"255", b"256", b"65535", b"65536", b"4096", b"4097",
           b"4294967296", b"9223372036854775808", b"99999999999999999999", b"1e400", b"nan",
           b"inf", b"-0.0", b"1.5", b"", b" ", b"x", "\u0665".encode(), b"\x1b[31m", b"1_0")


def change_bytes(stream, data):
    """Some bytes flipped, cut, doubled or put in."""
    data = bytearray(data)
    for _ in range(stream.choice((1, 1, 2, 4, 16))):
        at = stream.randrange(len(data) + 1)
        length = stream.choice((1, 2, 8, 64))
        kind = stream.randrange(5)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << stream.randrange(8)
        elif kind == 1:
            del data[at:at + length]
        elif kind == 2:
            data[at:at] = data[at:at + length]
        elif kind == 3:
            data[at:at] = bytes(stream.randrange(256) for _ in range(length))
        else:
            data[at:at + 8] = stream.choice((0, 1, 2**31, 2**32 - 1, 2**63)).to_bytes(8, "little")
    if stream.randrange(16) == 0:
        del data[stream.randrange(len(data) + 1):]
    return bytes(data)


def change_text(stream, data):
    """Words and lines replaced, removed, doubled and exchanged."""
    lines = data.split(b"\n")
    for _ in range(stream.choice((1, 1, 2, 4))):
        at = stream.randrange(len(lines))
        kind = stream.randrange(8)
        if kind < 4:
            words = re.split(rb"([,= ])", lines[at])
            words[stream.randrange(len(words))] = stream.choice(NUMBERS)
            lines[at] = b"".join(words)
        elif kind == 4 and len(lines) > 1:
            del lines[at]
        elif kind == 5:
            lines.insert(stream.randrange(len(lines) + 1), lines[at])
        elif kind == 6:
            other = stream.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        else:
            lines[at] = change_bytes(stream, lines[at])
    return b"\n".join(lines)


def change_lines(stream, data):
    """What suits a table or lines of text: mostly words and lines, at times bytes."""
    return (change_bytes if stream.randrange(8) == 0 else change_text)(stream, data)


def limit_memory(most=None):
    """Of this process; without `most` as far as it may, which sanitizers need."""
    last = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (last if most is None else most, last))


class Finding(Exception):
    """A promise that an importer broke."""


class Lab:
    """A folder for one input at a time, and what is known of the importer's answers."""

    def __init__(self, name, folder, program, named):
        self.named = named
        self.importer = importlib.import_module(f"moesim.formats.{name}")
        self.refusal = importlib.import_module("moesim.say").Failure
        self.plain = importlib.import_module("moesim.say").plain  # as it is said
        self.folder, self.program = folder, program
        self.file, self.out = f"{folder}/input", f"{folder}/out.h5"
        self.known = set()
        self.checked = 0

    def convert(self, options):
        """The sentence of the refusal, or None."""
        faulthandler.dump_traceback_later(TIME_S, exit=True)
        try:
            self.importer.convert([self.file], self.out, options)
        except self.refusal as refusal:
            return self.plain(refusal)
        except Exception as failure:
            raise Finding(traceback.format_exc()) from failure
        finally:
            faulthandler.cancel_dump_traceback_later()
        return None

    def check_output(self):
        """Asks the program whether a trace not seen before is one."""
        with open(self.out, "rb") as stream:
            digest = hashlib.sha1(stream.read()).digest()
        if self.program is None or digest in self.known:
            return
        self.known.add(digest)
        self.checked += 1
        answer = subprocess.run([self.program, "trace", "info", self.out], capture_output=True,
                                text=True, errors="replace", check=False,
                                preexec_fn=limit_memory)
        if answer.returncode != 0:
            raise Finding(f"trace info: status {answer.returncode}\n{answer.stderr}")

    def run(self, data):
        """True if the input's answer is new. Raises Finding."""
        with open(self.file, "wb") as stream:
            stream.write(data)
        options = argparse.Namespace(file=[self.file], out=self.out, model=None, experts=8,
                                     source=None, requests=None, top_k=2)
        first = b"\x00ab#P{rl\x930123456789"  # bytes of most good inputs
        if data[:1] in first or self.named:
            options.model = "fuzz"
        sentence = self.convert(options)
        names = set(os.listdir(self.folder)) - {"input"}
        if names != (set() if sentence is not None else {"out.h5"}):
            raise Finding(f"left in the folder: {sorted(names)}")
        if sentence is None:
            self.check_output()
            os.unlink(self.out)
            return False
        if not sentence or "\n" in sentence:
            raise Finding(f"not one sentence: {sentence!r}")
        shape = re.sub(r"[0-9]+|'[^']*'", "N", sentence)[:200]
        is_new = shape not in self.known
        self.known.add(shape)
        return is_new


def try_all(lab, stream, seconds, inputs, make, change):
    """Runs inputs until the time is over; returns how many."""
    parents = [make(stream) for _ in range(8)] if seconds > 0 else []
    count, end = 0, time.monotonic() + seconds
    while inputs or time.monotonic() < end:
        data = inputs.pop() if inputs else None
        if data is None:
            fresh = stream.randrange(8) == 0
            data = change(stream, make(stream) if fresh else stream.choice(parents))
        try:
            if lab.run(data):
                parents.append(data)
        except Finding:
            lab.broken = data
            raise
        count += 1
    return count


def main(name, make, change, named=False):
    """named: a model is always named, which formats without numbers of experts need."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--program", help="moesim, to check the traces with")
    parser.add_argument("--keep", default=".", help="folder for an input that breaks a promise")
    parser.add_argument("file", nargs="*", metavar="FILE")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    limit_memory(MEMORY_BYTES)
    inputs = []
    for path in options.file:
        with open(path, "rb") as stream:
            inputs.append(stream.read())
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(name, folder, options.program, named)
        try:
            count = try_all(lab, random.Random(options.seed), options.seconds, inputs, make,
                            change)
        except Finding as finding:
            path = f"{options.keep}/fuzz_{name}-{hashlib.sha1(lab.broken).hexdigest()}"
            with open(path, "wb") as stream:
                stream.write(lab.broken)
            print(f"{finding}\nkept as {path}")
            return 1
    print(f"{count} inputs, {lab.checked} traces checked")
    return 0
