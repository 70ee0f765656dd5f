"""Files that are read, and one that is put aside meanwhile: opened, or a sentence of what the
system says."""

import os
import tempfile
import zipfile

from moesim.say import Failure


def open_file(path):
    try:
        return open(path, "rb")
    except OSError as failure:
        raise Failure(f"{path}: cannot be opened: {failure.strerror}") from None


def read_head(path, most):
    """Its first bytes."""
    with open_file(path) as stream:
        return stream.read(most)


def check_apart(written, read):
    """What is written must not take the place of what it is made from."""
    for path in read:
        if os.path.exists(path) and os.path.exists(written) and os.path.samefile(path, written):
            raise Failure(f"{written}: is {path}, which is read here; give the output another "
                          "name")


def open_archive(path):
    """What numpy.savez wrote."""
    try:
        return zipfile.ZipFile(path)
    except OSError as failure:
        raise Failure(f"{path}: cannot be opened: {failure.strerror}") from None
    except Exception:  # of many kinds, on bytes that mean nothing
        raise Failure(f"{path}: is not an npz archive, or truncated; numpy.savez writes one"
                      ) from None


def names_in_archive(path):
    """None where it is no archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except Exception:  # as above
        return None


class Scratch:
    """A file without a name in the folder of `out`, which must have room for the trace anyway:
    nothing of it is left when the import is stopped."""

    def __init__(self, out):
        self.folder, self.file = os.path.dirname(os.path.abspath(out)), None

    def write(self, at, data):
        try:
            if self.file is None:
                self.file = tempfile.TemporaryFile(dir=self.folder, buffering=0)
            self.file.seek(at)
            left = memoryview(data)
            while left:
                left = left[self.file.write(left):]
        except OSError as failure:
            raise Failure(f"{self.folder}: a temporary file cannot be written: "
                          f"{failure.strerror}; is there room, and may you write there?") from None

    def read(self, at, size):
        self.file.seek(at)
        return self.file.read(size)
