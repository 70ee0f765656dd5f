"""Flags of a command: one table parses, and prints help as `moesim` itself does."""

import argparse
from typing import NamedTuple

from moesim.say import Misuse

COLUMN = 29  # where what a flag does begins


class Flag(NamedTuple):
    name: str
    metavar: str  # None: a switch
    text: str
    letter: str = None
    kind: type = str
    required: bool = False


class Parser(argparse.ArgumentParser):
    """Leaves help and what is said of mistakes to Command."""

    def error(self, message):
        raise Misuse(message)


class Command(NamedTuple):
    called: str  # "moesim trace import", or as it was called
    operands: str  # behind it, for the line of usage
    help: str
    example: str  # behind the name
    flags: tuple
    files: str = "FILE"  # what operands are called, of which there is at least one; None: none

    @property
    def usage(self):
        return f"usage: {self.called} {self.operands}"

    def print_help(self):
        print(f"{self.usage}\n\n{self.help}\n")
        for flag in self.flags:
            names = (f"-{flag.letter}, " if flag.letter else "    ") + f"--{flag.name}"
            left = f"  {names} {flag.metavar or ''}".rstrip()
            print(f"{left:<{COLUMN - 1}} {flag.text}")
        print(f"\nexample: {self.called} {self.example}")

    def parse(self, arguments):
        """The options, with `file` for the operands; None where help was asked for."""
        if "--help" in arguments or "-h" in arguments:
            self.print_help()
            return None
        parser = Parser(prog=self.called, add_help=False, allow_abbrev=False)
        if self.files is not None:
            parser.add_argument("file", nargs="*", metavar=self.files)
        for flag in self.flags:
            names = [f"-{flag.letter}"] * bool(flag.letter) + [f"--{flag.name}"]
            kind = {"action": "store_true"} if flag.metavar is None else {"type": flag.kind}
            parser.add_argument(*names, dest=flag.name.replace("-", "_"), **kind)
        options = parser.parse_args(arguments)
        lacking = [flag.name for flag in self.flags
                   if flag.required and getattr(options, flag.name.replace("-", "_")) is None]
        if lacking or (self.files is not None and not options.file):
            words = self.called.removeprefix("python -m ").removeprefix("moesim ")
            raise Misuse(f"{words} takes {self.operands}")
        return options
