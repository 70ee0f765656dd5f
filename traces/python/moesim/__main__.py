"""python -m moesim COMMAND: what `moesim trace import`, `moesim trace capture` and
`moesim list formats` run.

Exit 0: done. Exit 1: the input is bad; one sentence on standard error and no file. Exit 2:
misuse. Exit 77: something is not installed. Exit 128 + number: stopped by that signal, and
no file.
"""

import importlib
import os
import signal
import sys

from moesim import temporaries
from moesim.say import Absent, Failure, Misuse, say, say_remarks

# As they are called here, and by the program: the module that does it, and what it does.
COMMANDS = {
    "import": ("trace import", "importing", "a trace from what an engine recorded"),
    "capture": ("trace capture", "capture", "a trace from a model that runs here"),
    "formats": ("list formats", "formats", "what can be imported"),
}


def end_on_signals():
    """A signal ends the command where it stands: what is temporary goes, nothing else."""

    def stop(number, _frame):
        temporaries.forget_all()
        if number != signal.SIGPIPE:
            os.write(2, b"moesim: stopped by a signal\n")
        os._exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, stop)


def choose(arguments):
    """(name, what it is called, its arguments); `moesim` passes two words on, as typed."""
    for name, (words, _, _) in COMMANDS.items():
        if arguments[:2] == words.split():
            return name, f"moesim {words}", arguments[2:]
    if arguments[:1] and arguments[0] in COMMANDS:
        return arguments[0], f"python -m moesim {arguments[0]}", arguments[1:]
    return None, None, arguments


def usage(stream):
    print("usage: python -m moesim COMMAND ...\n", file=stream)
    for name, (_, _, text) in COMMANDS.items():
        print(f"  python -m moesim {name:8} {text}", file=stream)


def run(name, called, arguments):
    """The exit status, with the sentence said unless it is 0."""
    try:
        importlib.import_module(f"moesim.{COMMANDS[name][1]}").main(called, arguments)
    except ImportError as failure:
        say(f"{called} needs python3 with numpy and h5py: {failure}; PYTHON names another "
            "interpreter")
        return 77
    except Absent as failure:
        say(failure)
        return 77
    except Misuse as failure:
        say(failure)
        print(f"usage: {called} ...\nTry --help.", file=sys.stderr)
        return 2
    except Failure as failure:
        say(failure)
        return 1
    except MemoryError:
        say(f"{called}: the input does not fit this machine's memory; take it in parts")
        return 1
    say_remarks()
    return 0


def main():
    end_on_signals()
    name, called, arguments = choose(sys.argv[1:])
    if name is None:
        asked = arguments[:1] in (["--help"], ["-h"])
        usage(sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    try:
        return run(name, called, arguments)
    except SystemExit as ended:  # argparse has said why
        return ended.code or 0


def end(status):
    """Without the interpreter's own end: HDF5 would try again what could not be written."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as failure:
            if stream is sys.stdout:
                say(f"standard output: cannot be written: {failure.strerror}")
                status = status or 1
    os._exit(status)


if __name__ == "__main__":
    end(main())
