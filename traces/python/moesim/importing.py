"""`moesim trace import` and `python -m moesim import`: options, and which format it is."""

import argparse
import os
import warnings

from moesim import formats
from moesim.say import Failure, Misuse

TEXT_MAX = 4096
EXPERTS_MAX = 4096


class Parser(argparse.ArgumentParser):
    """Says what is wrong as the program does."""

    def error(self, message):
        raise Misuse(f"{message}; {self.prog} --help shows how it is called")


def parser(called):
    p = Parser(prog=called, allow_abbrev=False,
               formatter_class=argparse.RawDescriptionHelpFormatter,
               usage=f"{called} [--from FORMAT] FILE... -o TRACE",
               description="Makes a trace from what an engine recorded. What the file does not "
               "hold stays absent.\nFormats: " + ", ".join(formats.names()) + "\n(moesim list "
               "formats says what each is).",
               epilog=f"example:\n  {called} --from npz gptoss20b_decode.npz -o gptoss.h5")
    p.add_argument("file", nargs="+", metavar="FILE")
    p.add_argument("--from", dest="format", metavar="FORMAT",
                   help="what FILE is; where omitted, what its contents surely are")
    p.add_argument("-o", "--out", "--output", required=True, metavar="TRACE", help="the new trace")
    p.add_argument("--model", metavar="NAME",
                   help="in models/arch, or such a file; guessed where omitted")
    p.add_argument("--experts", type=int, metavar="N",
                   help="experts per layer, for a model that has no file")
    p.add_argument("--source", metavar="TEXT",
                   help="where it was recorded (default: the file's name)")
    for name, (kind, metavar, text) in OPTIONS.items():
        p.add_argument(f"--{name}", type=kind, metavar=metavar, help=text)
    return p


# What only some formats take: each says which in its FORMAT.
OPTIONS = {
    "requests": (str, "CSV", "table of the requests: category, prompt_len, gen_len, first_pos"),
}


def check(options, format_):
    """Refuses what this format does not take."""
    for name in OPTIONS:
        if getattr(options, name) is not None and name not in format_.options:
            takers = [module.FORMAT.name for module in formats.modules()
                      if name in module.FORMAT.options]
            raise Misuse(f"--{name} is for {', '.join(takers)}, not for {format_.name}; leave it "
                         "out")
    if len(options.file) > 1 and not format_.several:
        raise Misuse(f"{format_.name} takes one file, not {len(options.file)}; import them one "
                     "by one")


def check_apart(options):
    """The trace must not take the place of what it is made from."""
    for path in options.file + [options.requests]:
        if path and os.path.exists(path) and os.path.exists(options.out) and \
                os.path.samefile(path, options.out):
            raise Failure(f"{options.out}: is what the trace is made from; give the trace another "
                          "name")


def parse(called, arguments):
    options = parser(called).parse_args(arguments)
    if options.experts is not None and not 1 <= options.experts <= EXPERTS_MAX:
        raise Misuse(f"--experts must be from 1 to {EXPERTS_MAX}")
    for name in ("model", "source"):
        if len(os.fsencode(getattr(options, name) or "")) > TEXT_MAX:
            raise Misuse(f"--{name} is longer than {TEXT_MAX} bytes")
    return options


def main(called, arguments):
    options = parse(called, arguments)
    warnings.simplefilter("ignore")  # of numpy and zipfile on files that are refused anyway
    module = (formats.module_of(options.format) if options.format
              else formats.guess(options.file[0]))
    check(options, module.FORMAT)
    check_apart(options)
    module.convert(options.file, options.out, options)
