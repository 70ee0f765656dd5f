"""`moesim trace import` and `python -m moesim import`: options, and which format it is."""

import os
import warnings

from moesim import formats
from moesim.files import check_apart
from moesim.flags import Command, Flag
from moesim.models import EXPERTS_MAX
from moesim.say import Misuse

TEXT_MAX = 4096

# What only some formats take: each says which in its FORMAT.
SOME = (
    Flag("requests", "CSV", "the requests' table: category, prompt_len, gen_len, first_pos"),
    Flag("top-k", "K", "experts that a token executes, for a model that has no file", kind=int),
)


def command(called):
    return Command(
        called, "[--from FORMAT] FILE... --out TRACE",
        "Makes a trace from what an engine recorded; what the file does not hold stays absent.\n"
        f"Formats: {', '.join(formats.names())}\n(moesim list formats says what each is).",
        "--from npz gptoss20b_decode.npz -o gptoss.h5", (
            Flag("from", "FORMAT", "what FILE is; by default what its contents surely are"),
            Flag("out", "TRACE", "the new trace", letter="o", required=True),
            Flag("model", "NAME", "in models/arch, or such a file; guessed by default"),
            Flag("experts", "N", "experts per layer, for a model that has no file", kind=int),
            Flag("source", "TEXT", "where it was recorded (default: the file's name)"),
            *SOME))


def check(options, format_):
    """Refuses what this format does not take."""
    for name in (flag.name for flag in SOME):
        if getattr(options, name.replace("-", "_")) is not None and name not in format_.options:
            takers = [module.FORMAT.name for module in formats.modules()
                      if name in module.FORMAT.options]
            raise Misuse(f"--{name} is for {', '.join(takers)}, not for {format_.name}; leave it "
                         "out")
    if len(options.file) > 1 and not format_.several:
        raise Misuse(f"{format_.name} takes one file, not {len(options.file)}; import them one "
                     "by one")


def parse(called, arguments):
    options = command(called).parse(arguments)
    if options is None:
        return None
    if options.experts is not None and not 1 <= options.experts <= EXPERTS_MAX:
        raise Misuse(f"--experts must be from 1 to {EXPERTS_MAX}")
    if options.top_k is not None and not 1 <= options.top_k <= EXPERTS_MAX:
        raise Misuse(f"--top-k must be from 1 to {EXPERTS_MAX}")
    for name in ("model", "source"):
        if len(os.fsencode(getattr(options, name) or "")) > TEXT_MAX:
            raise Misuse(f"--{name} is longer than {TEXT_MAX} bytes")
    return options


def main(called, arguments):
    options = parse(called, arguments)
    if options is None:
        return
    warnings.simplefilter("ignore")  # of numpy and zipfile on files that are refused anyway
    name = getattr(options, "from")
    module = formats.module_of(name) if name else formats.guess(options.file[0])
    check(options, module.FORMAT)
    check_apart(options.out, options.file + [options.requests] * bool(options.requests))
    module.convert(options.file, options.out, options)
