"""`moesim trace capture` and `python -m moesim capture`: a trace from a model that runs here.

Hooks on the routers of a model of the transformers library write down what it chooses; the
outputs stay as they are, bit for bit. torch and transformers are loaded after the options
are read, so that help needs neither.
"""

from moesim.capture.command import main

__all__ = ["main"]
