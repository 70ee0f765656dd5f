"""python3 traces/importers/ FORMAT FILE -o OUT: makes a trace from what an engine recorded.

Exit 0: OUT is written. Exit 1: the input is bad; one sentence on standard error and no
file. Exit 2: misuse. Exit 128 + number: stopped by that signal, and no file.
"""

import argparse
import os
import signal
import sys
import warnings

import temporaries
from say import say, say_remarks

FORMATS = ("npz", "route_trace")


def parse(arguments):
    parser = argparse.ArgumentParser(prog="python3 traces/importers/",
                                     description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("format", choices=FORMATS, help="what FILE is")
    parser.add_argument("file")
    parser.add_argument("-o", "--output", required=True, metavar="OUT")
    parser.add_argument("--model", help="name in models/arch, or such a file; guessed where "
                        "omitted")
    parser.add_argument("--experts", type=int, help="experts per layer, for a model that has no "
                        "file")
    parser.add_argument("--source", help="where it was recorded (default: the file's name)")
    parser.add_argument("--requests", metavar="CSV", help="table of the requests (npz)")
    parser.add_argument("--into", metavar="FILE", help="write this existing file, which the "
                        "caller renames to OUT")
    options = parser.parse_args(arguments)
    if options.experts is not None and not 1 <= options.experts <= 4096:
        parser.error("--experts must be from 1 to 4096")
    for name in ("model", "source"):
        if len(os.fsencode(getattr(options, name) or "")) > 4096:
            parser.error(f"--{name} is longer than 4096 bytes")
    return options


def end_on_signals():
    """A signal ends the importer where it stands: what is temporary goes, nothing else."""

    def end(number, _frame):
        temporaries.forget_all()
        os._exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, end)


def convert(options):
    """The exit status, with the sentence said unless it is 0."""
    try:
        import h5
    except ImportError as failure:
        say(f"importers need python3 with numpy and h5py: {failure}; PYTHON names another "
            "interpreter")
        return 77
    try:
        importer = __import__(options.format)
        importer.convert(options.file, options.output, options)
    except h5.ImportFailed as failure:
        say(failure)
        return 1
    except MemoryError:
        say(f"{options.file}: does not fit this machine's memory; import it in parts")
        return 1
    say_remarks()
    return 0


def main():
    end_on_signals()
    options = parse(sys.argv[1:])
    if options.into:
        os.environ["HDF5_USE_FILE_LOCKING"] = "FALSE"  # the caller holds its lock
    warnings.simplefilter("ignore")  # of numpy and zipfile on files that are refused anyway
    return convert(options)


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)  # HDF5 would try once more to write what could not be written
