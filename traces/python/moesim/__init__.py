"""Traces and results of moesim in Python: importers, capture, and reading what it wrote."""
