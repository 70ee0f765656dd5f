"""The formats that can be imported: one module of this folder each, found by being here.

A module says what it reads in FORMAT, and has convert(paths, out, options), which writes
the trace `out` or raises Failure with one sentence. It may have recognise(path, head): is
this file, which begins with the bytes `head`, surely of this format? Without --from the one
module that says so imports it.
"""

import difflib
import importlib
import json
import pkgutil
from typing import NamedTuple

from moesim.files import read_head
from moesim.say import Failure, Misuse

HEAD_BYTES = 65536


class Format(NamedTuple):
    name: str
    writer: str  # what writes such files
    files: str  # their names' endings
    holds: str  # what becomes of them: "routing", "routing, scores", "load counts", ...
    source: str  # where the format is described
    options: tuple = ()  # beyond those that every format takes: names without the dashes
    several: bool = False  # takes more than one FILE


def names():
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def module_of(name):
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=1)
        raise Misuse(f"--from {name[:100]} is no format" +
                     (f" (did you mean {near[0]}?)" if near else "") +
                     f"; there are {', '.join(names())} (moesim list formats says more)")
    return importlib.import_module(f"{__name__}.{name}")


def modules():
    return [module_of(name) for name in names()]


def guess(path):
    """The module whose file this surely is."""
    head = read_head(path, HEAD_BYTES)
    found = [module for module in modules()
             if hasattr(module, "recognise") and module.recognise(path, head)]
    if len(found) == 1:
        return found[0]
    which = ", ".join(module.FORMAT.name for module in found or modules())
    raise Failure(f"{path}: " + ("may be of more than one format" if found else
                                 "is of no format that can be told from its contents") +
                  f"; say which with --from ({which})")


def main(called, arguments):
    """Lists them."""
    if arguments in (["--help"], ["-h"]):
        print(f"usage: {called} [--json]\n\nLists what can be imported.")
    elif arguments == ["--json"]:
        print(json.dumps([module.FORMAT._asdict() for module in modules()], indent=2))
    elif arguments:
        raise Misuse(f"{called} takes no {arguments[0][:100]}; it takes --json")
    else:
        for module in modules():
            f = module.FORMAT
            print(f"{f.name:20} {f.writer} ({f.files})\n{'':20} gives {f.holds}"
                  + (f"; takes {', '.join('--' + name for name in f.options)}" if f.options
                     else "") + (", several files" if f.several else "")
                  + f"\n{'':20} {f.source}")
