"""Traces and results of moesim in Python: importers, capture, and reading what it wrote.

    import moesim
    moesim.read_result("out/study/result.h5").passes("lru")
    moesim.read_trace("mine.h5").popularity()
"""


def __getattr__(name):
    """Loaded when used: commands end on signals before NumPy and HDF5 are there."""
    if name == "read_result":
        from moesim.results import read_result
        return read_result
    if name == "read_trace":
        from moesim.trace_reader import read_trace
        return read_trace
    raise AttributeError(f"moesim has no {name}")
