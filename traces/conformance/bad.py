"""How bad files are named: each is a good trace with one change.

`bad(base, breaks, *words)`: the trace that is changed, what of FORMAT.md the change breaks
("rule 2", or the section), and words that the reader's sentence has. The function that makes
the change gives the file its name and, by its docstring, what is said of it.
"""

import tiny

CASES = {}


def bad(base, breaks, *words):
    def keep(function):
        CASES[function.__name__] = (base, function, breaks, words, function.__doc__)
        return function
    return keep


def add(name, base, change, breaks, words, said):
    assert name not in CASES
    CASES[name] = (base, change, breaks, words, said)


def plain_with(add_one):
    return lambda: add_one(tiny.plain())


def in_file(step):
    """A change of the open file, at its end."""
    return lambda trace: trace.finish.append(step)


def poke(name, at, value):
    def change(trace):
        trace[name].values[at] = value
    return change
