"""What goes to the terminal: names and texts of foreign files must not steer it."""

import sys
import unicodedata


class Failure(Exception):
    """The input cannot become what was asked for; the text is the sentence for the user."""


class Absent(Exception):
    """A part of Python that only this format or command needs is not there; the text says which."""


class Misuse(Exception):
    """Options that contradict, or name what is not there; the text says what to say instead."""


UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # controls, overrides of direction, surrogates


def plain(text):
    return "".join("?" if unicodedata.category(c) in UNSEEN else c for c in str(text))


def say(text):
    print(f"moesim: {plain(text)}", file=sys.stderr, flush=True)


remarks = []  # on an import that succeeds; one that fails says only why


def note(text):
    remarks.append(f"note: {text}")


def warn(text):
    remarks.append(f"warning: {text}")


def say_remarks():
    for text in remarks:
        say(text)
    remarks.clear()
