"""What readers of results and of traces share: the file, text in it, and frames."""

import h5py

from moesim.say import Failure


def text(value):
    return value.decode("utf-8") if isinstance(value, bytes) else value


class Hdf5File:
    """An open file that says of itself that it is of this kind and version. Close it, or use
    it in a `with`. Nothing is read before it is asked for."""

    def __init__(self, path, kind, version):
        self.path = path
        try:
            self.file = h5py.File(path, "r")
        except OSError as failure:
            raise Failure(f"{path}: cannot be read as HDF5: {failure}") from None
        found = text(self.file.attrs.get("format", "")), self.file.attrs.get("version", -1)
        if found != (kind, version):
            self.close()
            raise Failure(f"{path}: is no {kind} of version {version}; this package reads those "
                          "that the moesim of its own version writes")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.file.close()


def pandas():
    try:
        import pandas as module
    except ImportError:
        raise ImportError("frames need pandas: pip install pandas; Result.columns() and "
                          "Trace.routing() need NumPy alone") from None
    return module
