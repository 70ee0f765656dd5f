"""What the command-line tests of importers share: imports in this process, since starting one
is what takes long, and tests of what they said and wrote."""

import contextlib
import io
import os
import re

import h5py

from moesim import say
from moesim.__main__ import run as run_command


class Lab:
    """Inputs are in `folder`, traces are written into its folder `out`. `prefix`: of the tests'
    names; `given`: arguments for a file of this name; `unsaid`: a line with these words does
    not count as said."""

    def __init__(self, folder, prefix="", given=lambda name: [], unsaid=None):
        self.folder, self.prefix, self.given, self.unsaid = folder, prefix, given, unsaid
        self.out = f"{folder}/out/x.h5"
        self.failed = False

    def report(self, good, name, said=""):
        if not good:
            print(said)
        print("ok" if good else "not ok", self.prefix + name, flush=True)
        self.failed = self.failed or not good

    def run(self, files, arguments=()):
        """Status, and what it said. `files`: a list, or names with spaces between."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.out)
        say.remarks.clear()  # of an import that failed
        files = files.split() if isinstance(files, str) else files
        paths = [file if file.startswith("tests/") else f"{self.folder}/{file}" for file in files]
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            status = run_command("import", "import", [*self.given(files[0]), *paths, "-o", self.out,
                                                      *arguments])
        return status, said.getvalue()

    def takes(self, name, words, files, *arguments, holds=None):
        """A trace that holds what it should; says the words, or nothing."""
        status, said = self.run(files, arguments)
        rest = "".join(line for line in said.splitlines()
                       if self.unsaid is None or self.unsaid not in line)
        good = status == 0 and os.listdir(f"{self.folder}/out") == ["x.h5"] and \
            (re.search(words, said, re.DOTALL) is not None if words else rest == "")
        if good and holds:
            with h5py.File(self.out) as trace:
                good = bool(holds(trace))
                said += str(dict(trace.attrs))
        self.report(good, name, said)

    def refuses(self, name, words, files, *arguments, status=1):
        """One sentence, and nothing left."""
        ended, said = self.run(files, arguments)
        self.report(ended == status and re.fullmatch("moesim: [^\n]*\n", said) is not None
                    and re.search(words, said) is not None
                    and not os.listdir(f"{self.folder}/out"), name, said)
