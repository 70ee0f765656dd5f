"""python3 traces/importers/ FORMAT FILE -o OUT: makes a trace from what an engine recorded.

Exit 0: OUT is written. Exit 1: the input is bad; one sentence on standard error and no
file. Exit 2: misuse.
"""

import argparse
import signal
import sys


def parse(arguments):
    parser = argparse.ArgumentParser(prog="moesim-import", description=__doc__.split("\n")[0])
    parser.add_argument("format", choices=["npz", "route_trace"], help="what FILE is")
    parser.add_argument("file")
    parser.add_argument("-o", "--output", required=True, metavar="OUT")
    parser.add_argument("--model", help="name in models/arch; guessed where omitted")
    parser.add_argument("--experts", type=int, help="experts per layer, for a model that the "
                        "importer does not know")
    parser.add_argument("--source", help="where it was recorded (default: the file's name)")
    parser.add_argument("--requests", metavar="CSV", help="table of the requests (npz)")
    return parser.parse_args(arguments)


def main():
    options = parse(sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))
    try:
        from h5 import ImportFailed
    except ImportError as failure:
        print(f"moesim: importers need python3 with numpy and h5py: {failure}", file=sys.stderr)
        return 77
    if options.experts is not None and not 1 <= options.experts <= 4096:
        print("moesim: --experts must be from 1 to 4096", file=sys.stderr)
        return 2
    try:
        if options.format == "npz":
            import npz as importer
        else:
            import route_trace as importer
        importer.convert(options.file, options.output, options)
    except ImportFailed as failure:
        print(f"moesim: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 1
    except OSError as failure:
        print(f"moesim: {options.output}: cannot be written: {failure}", file=sys.stderr)
        return 1
    return 0


sys.exit(main())
